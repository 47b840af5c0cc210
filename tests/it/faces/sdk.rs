//! The vendors' own clients, unchanged, against the service: `tests/sdk/fetch` gets them, the stage `faces` of
//! `tests/run` runs these tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use lastseen::http::{Service, Tls};
use serde_json::{Value, json};

use super::watson;
use crate::http::{Bench, VIEWER};

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

/// What a script of `tests/sdk` prints: questions and answers.
fn told(script: &str, certificate: &Path, arguments: &[&str]) -> Vec<(String, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script);
    let mut command = Command::new(python());
    command.arg(path).args(arguments).env("REQUESTS_CA_BUNDLE", certificate).env("PYTHONWARNINGS", "ignore");
    // A proxy of the machine has nothing to do with it.
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    let output = command.output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}:\n{out}\n{err}");
    let line = |line: &str| {
        let said: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        (said["question"].as_str().unwrap().to_owned(), said["answer"].clone())
    };
    out.lines().map(line).collect()
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
    let answers = told("watson.py", &certificate, &[&port, "acme", VIEWER]);
    let answer = |question: &str| {
        let found = answers.iter().find(|(asked, _)| asked == question);
        found.unwrap_or_else(|| panic!("{question} was not asked")).1.clone()
    };
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
    if std::env::var_os("SDK_SHOW").is_some() {
        for (question, answer) in &answers {
            println!("{question}: {answer:#}");
        }
    }
}
