//! The vendors' own clients, unchanged, against the service: `tests/sdk/fetch` gets them, the stage `faces` of
//! `tests/run` runs these tests.

mod balena;

use std::path::{Path, PathBuf};
use std::process::Command;

use lastseen::http::{Service, Tls};
use serde_json::{Value, json};

use super::{cumulocity, watson};
use crate::http::{AUDITOR, Bench, OPERATOR, VIEWER};

/// The Python that has the vendors' clients.
fn python() -> PathBuf {
    let said = std::env::var_os("SDK_PYTHON");
    said.map(PathBuf::from).expect(
        "SDK_PYTHON names no Python; run this by `tests/run faces`, or set it to what tests/sdk/fetch prints",
    )
}

/// A service that speaks TLS as this host, and the file of its certificate.
fn encrypted(bench: &Bench, host: &str) -> (Service, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let (certificate, key) = (bench.dir.path().join("cert.pem"), bench.dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Tls { certificate: certificate.clone(), key };
    let service = bench.service_with(&bench.dir.path().join("tls"), Some(tls));
    crate::http::until("the view is there", || service.view.is_caught_up().then_some(()));
    (service, certificate)
}

/// What a script of `tests/sdk` prints. `certificate`: of a service that speaks TLS.
fn printed(script: &str, certificate: Option<&Path>, arguments: &[&str]) -> String {
    let mut command = Command::new(python());
    command.arg(path_of(script)).args(arguments).env("PYTHONWARNINGS", "ignore");
    if let Some(certificate) = certificate {
        command.env("REQUESTS_CA_BUNDLE", certificate);
    }
    output_of(script, command)
}

fn path_of(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script)
}

/// What a command prints that runs a script.
fn output_of(script: &str, mut command: Command) -> String {
    // A proxy of the machine has nothing to do with it.
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let output = command.output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{out}\n{err}");
    out.into_owned()
}

/// The questions and answers that a script of `tests/sdk` prints.
fn told(script: &str, certificate: Option<&Path>, arguments: &[&str]) -> Vec<(String, Value)> {
    answers(&printed(script, certificate, arguments))
}

/// Questions and answers, a line each.
fn answers(out: &str) -> Vec<(String, Value)> {
    let line = |line: &str| {
        let said: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        (said["question"].as_str().unwrap().to_owned(), said["answer"].clone())
    };
    let told: Vec<(String, Value)> = out.lines().map(line).collect();
    if std::env::var_os("SDK_SHOW").is_some() {
        for (question, answer) in &told {
            println!("{question}: {answer:#}");
        }
    }
    told
}

/// What was answered to a question.
#[track_caller]
fn answered(answers: &[(String, Value)], question: &str) -> Value {
    let found = answers.iter().find(|(asked, _)| asked == question);
    found.unwrap_or_else(|| panic!("{question} was not asked")).1.clone()
}

#[test]
fn wiotp_sdk_works_unchanged() {
    let bench = watson::fleet();
    let (service, certificate) = encrypted(&bench, "acme.localhost");
    // More than a page of the client's, which asks for fifty at a time.
    let more = |number: u32| watson::connected(&format!("x{number:03}"), 15, "mqtt5");
    bench.send(&(0..120).map(more).collect::<Vec<_>>());
    let shown = || service.view.state().fleet.len() >= 127;
    crate::http::until("everybody is shown there, too", || shown().then_some(()));
    let port = service.address().port().to_string();
    let answers = told("watson.py", Some(&certificate), &[&port, "acme", VIEWER]);
    let answer = |question: &str| answered(&answers, question);
    let known = [
        "a:acme:billing",
        "g:acme:gate:gate-1",
        "d:acme:untyped:plain",
        "d:acme:pump:pump-1",
        "d:acme:pump:pump-2",
    ];
    let extra: Vec<String> = (0..120).map(|number| format!("d:acme:untyped:x{number:03}")).collect();
    let all: Vec<&str> = known.into_iter().chain(extra.iter().map(String::as_str)).collect();
    assert_eq!(answer("all"), json!(all), "every page, to the end");
    let connected: Vec<&str> =
        all.iter().copied().filter(|id| !id.contains("billing") && !id.contains("pump-2")).collect();
    assert_eq!(answer("connected"), json!(connected));
    assert_eq!(answer("by type"), json!(["g:acme:gate:gate-1"]));
    assert_eq!(answer("by id"), json!(["d:acme:pump:pump-2"]));
    assert_eq!(answer("connected after"), json!(["g:acme:gate:gate-1", "d:acme:pump:pump-2"]));
    let one = super::get(&bench, "/api/v0002/clientconnectionstates/d:acme:pump:pump-1");
    assert_eq!(answer("one"), one);
    assert_eq!(answer("is there"), json!([true, false]));
    assert!(
        answer("nobody")["KeyError"].as_str().unwrap().contains("No status available"),
        "{}",
        answer("nobody")
    );
    assert_eq!(answer("device"), super::get(&bench, "/api/v0002/device/types/pump/devices/pump-1"));
    assert_eq!(answer("device is there"), json!([true, false]));
    assert_eq!(answer("device as a text"), "[d:acme:pump:pump-1] Pump 1");
    let log = answer("connection log");
    assert_eq!(
        (log.as_array().unwrap().len(), &log[0][1]),
        (1, &json!("2025-12-31T22:10:00+00:00")),
        "{log}"
    );
    // What is not served is an error that says what is.
    let listing = answer("all devices").to_string();
    assert!(listing.contains("404") && listing.contains("clientconnectionstates"), "{listing}");
    assert!(answer("location").is_null(), "as of a device that has none");
}

#[test]
fn c8y_api_works_unchanged() {
    let bench = cumulocity::fleet();
    cumulocity::silent(&bench);
    // More than a page of ten.
    let more: Vec<String> = (0..25).map(|number| format!("x{number:02}")).collect();
    bench.send(&more.iter().map(|id| cumulocity::message(id, 1)).collect::<Vec<_>>());
    let url = format!("http://{}", bench.address());
    let answers = told("cumulocity.py", None, &[&url, "acme", OPERATOR, AUDITOR]);
    let answer = |question: &str| answered(&answers, question);
    let known = ["bare", "billing", "fresh", "gate-1", "plain", "pump-1", "pump-2"];
    let silent = ["silent-0", "silent-1", "silent-2"];
    let all: Vec<&str> = known.into_iter().chain(silent).chain(more.iter().map(String::as_str)).collect();
    let devices: Vec<&str> = all.iter().copied().filter(|id| *id != "billing").collect();
    assert_eq!(answer("all"), json!(all));
    assert_eq!(answer("devices"), json!(devices), "every page, to the end");
    assert_eq!(answer("how many"), json!([all.len(), devices.len()]));
    assert_eq!(answer("by type"), json!(["pump-1", "pump-2"]));
    assert_eq!(answer("by name"), json!(["pump-1"]));
    let monitored = ["fresh", "gate-1", "pump-1", "pump-2", "silent-0", "silent-1", "silent-2"];
    assert_eq!(answer("by fragment"), json!(monitored));
    assert_eq!(answer("by ids"), json!(["pump-2", "gate-1"]));
    assert_eq!(answer("by query"), json!(["pump-2", "silent-0", "silent-1", "silent-2"]));
    assert_eq!(answer("groups"), json!([]));
    assert_eq!(answer("ordered")[0], "pump-1", "{}", answer("ordered"));
    assert_eq!(
        answer("one"),
        json!(["Pump 1", "pump", true, "AVAILABLE", "CONNECTED", 600, "2025-12-31T23:45:00+00:00"])
    );
    assert!(answer("nobody")["KeyError"].is_string(), "{}", answer("nobody"));
    assert_eq!(
        answer("availability"),
        json!(["pump-1", "pump-1", "AVAILABLE", "CONNECTED", "600 MINUTES", "2025-12-31T23:50:00+00:00"])
    );
    assert_eq!(
        answer("availability of one without an interval"),
        json!(["plain", "plain", "NOT_MONITORED", "UNKNOWN", null, "2025-12-31T22:10:00+00:00"])
    );
    assert_eq!(answer("maintenance"), json!(["MAINTENANCE", -600]));
    assert_eq!(answer("maintenance is over")[1], 600);
    assert!(answer("another name").to_string().contains("it cannot be written"));
    assert_eq!(
        answer("alarms"),
        json!([[
            "pump-2",
            "c8y_UnavailabilityAlarm",
            "MAJOR",
            "ACTIVE",
            "No data received from device within required interval",
            "2025-12-31T22:35:00+00:00"
        ]])
    );
    assert_eq!(answer("oldest alarms first"), json!(["silent-0", "silent-1", "silent-2", "pump-2"]));
    assert_eq!(answer("alarms counted"), json!([4, 1]));
    assert_eq!(answer("acknowledged"), json!(["ACKNOWLEDGED", "ACKNOWLEDGED"]));
    assert_eq!(answer("all cleared"), Value::Null);
    assert!(answer("deleted").to_string().contains("405"), "{}", answer("deleted"));
    assert_eq!(answer("heartbeat"), Value::Null);
    bench.until("the heartbeat counts", || {
        let told = super::get(&bench, "/inventory/managedObjects/pump-2/availability");
        (told["dataStatus"] == "AVAILABLE").then_some(())
    });
    assert_eq!(answer("no interval"), json!(false));
    let record =
        |activity: &str, user: Value| json!(["Devices availability monitoring", activity, user, "pump-1"]);
    assert_eq!(
        answer("audit"),
        json!([
            record("Device availability disabled", json!("kim")),
            record("Device availability enabled", json!("kim")),
            record("Device put into maintenance state", json!("kim")),
            record("Device availability enabled", Value::Null),
        ])
    );
    assert!(answer("audit of an operator")["AccessDeniedError"].is_string());
    assert!(answer("another tenant")["AccessDeniedError"].is_string());
    let events = answer("events").to_string();
    assert!(events.contains("KeyError"), "{events}");
}

#[test]
fn the_page_shows_what_c8y_api_prints() {
    let bench = cumulocity::fleet();
    cumulocity::silent(&bench);
    let path = format!("{}/src/http/face/cumulocity/README.md", env!("CARGO_MANIFEST_DIR"));
    let client =
        format!("CumulocityApi({:?}, 'acme', 'kim', {OPERATOR:?})", format!("http://{}", bench.address()));
    let setup = ["from c8y_api import CumulocityApi", &format!("c8y = {client}")];
    let typed = printed("transcript.py", None, &[&path, setup[0], setup[1]]);
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(typed.starts_with(">>> ") && typed.len() > 1_000, "{typed}");
    assert!(page.contains(&format!("```text\n{typed}```\n")), "the page should show:\n{typed}");
}
