//! The clients of balena, in both versions.

use std::process::Command;

use serde_json::{Value, json};

use super::{answered, answers, output_of, path_of};
use crate::faces::balena;
use crate::http::{Bench, STRANGER, VIEWER};

/// What a script prints that asks by the client of this package.
fn printed(bench: &Bench, script: &str, package: &str, arguments: &[&str]) -> String {
    let modules = std::env::var_os("SDK_NODE").expect(
        "SDK_NODE names no directory; run this by `tests/run faces`, or set it to what `tests/sdk/fetch node` prints",
    );
    let mut command = Command::new("node");
    let url = format!("http://{}", bench.address());
    command.arg(path_of(script)).arg(modules).args([package, &url, VIEWER]).args(arguments);
    // What the client keeps at home stays in the test's own directory.
    command.env("HOME", bench.dir.path());
    output_of(script, command)
}

fn told(bench: &Bench, package: &str) -> Vec<(String, Value)> {
    answers(&printed(bench, "balena.js", package, &[STRANGER]))
}

/// What both versions of the client find alike.
fn finds_the_fleet(answers: &[(String, Value)]) {
    let answer = |question: &str| answered(answers, question);
    let kitchen = balena::KITCHEN;
    assert_eq!(answer("logged in"), json!(true));
    let one = answer("one");
    assert_eq!(
        (&one["uuid"], &one["device_name"], &one["is_online"]),
        (&json!(kitchen), &json!("Kitchen"), &json!(true))
    );
    for question in ["by id", "by the beginning"] {
        assert_eq!(answer(question), kitchen, "{question}");
    }
    for question in ["nobody", "nobody of this id"] {
        assert_eq!(answer(question)["code"], "BalenaDeviceNotFound", "{question}: {}", answer(question));
    }
    assert_eq!(answer("is there"), json!([true, false]));
    assert_eq!(answer("name"), "Kitchen");
    assert_eq!(answer("by name"), json!([kitchen]));
    assert_eq!(answer("progress"), json!([40, null]));
    assert_eq!(answer("online"), json!([true, false, true]));
    let online = answer("last online");
    // The two versions have different words for it.
    let is_told =
        online.as_str().is_some_and(|text| text.starts_with("Online") || text.starts_with("Connected"));
    assert!(is_told, "{online}");
    assert_eq!(answer("application of one"), "Pump");
    let pumps = [
        "vpn-only",
        "silent",
        "poll-only",
        "no-vpn",
        "gone",
        "setup",
        kitchen,
        "late",
        "loading",
        "inactive",
        "away",
    ];
    assert_eq!(answer("of an application"), json!(pumps), "by name");
    assert_eq!(answer("of an application by id"), json!(["fresh", "mqtt-1", "quiet"]));
    assert_eq!(answer("of no application")["code"], "BalenaApplicationNotFound");
    assert_eq!(answer("of the organization"), 15);
    let all = answer("all");
    assert_eq!(all.as_array().map(Vec::len), Some(15), "{all}");
    assert_eq!(all[1], "bare", "{all}");
    assert_eq!(
        answer("applications"),
        json!([["gate", "acme/gate"], ["Pump", "acme/pump"], ["untyped", "acme/untyped"]])
    );
    assert_eq!(answer("accessible"), 3);
    let application = answer("an application");
    assert_eq!(
        (&application["app_name"], &application["organization"]),
        (&json!("Pump"), &json!([{ "handle": "acme", "name": "acme" }]))
    );
    assert_eq!(answer("application by name"), "acme/pump");
    assert_eq!(answer("an application is there"), json!([true, false]));
    assert_eq!(answer("organizations"), json!(["acme"]));
    assert_eq!((answer("organization"), answer("organization by id")), (json!("acme"), json!("acme")));
    assert_eq!(answer("counted"), json!([7, 15]));
    let count = |name: &str, count: u64| json!({ "app_name": name, "owns__device": count });
    assert_eq!(
        answer("overview of applications"),
        json!([count("gate", 1), count("Pump", 6), count("untyped", 0)])
    );
    let application = json!([{ "app_name": "Pump", "slug": "acme/pump" }]);
    let found = |uuid: &str, at: String| json!({ "uuid": uuid, "last_connectivity_event": at, "belongs_to__application": application });
    assert_eq!(
        answer("a dashboard"),
        json!([found("inactive", balena::at(17)), found("late", balena::at(13))])
    );
    for (question, told) in [
        ("what is not served", "image_install of device is not served; served are"),
        ("a property that is not served", "\"os_version\" is no property of device that is served"),
        ("renamed", "is not served; of balena Lastseen serves GET /v7/device"),
        ("tags", "device_tag is not served; of balena Lastseen serves"),
    ] {
        assert!(
            answer(question).to_string().contains(&told.replace('"', "\\\"")),
            "{question}: {}",
            answer(question)
        );
    }
    assert_eq!(answer("a stranger"), json!([[], false, false]));
    assert_eq!(answer("somebody unknown is logged in"), json!(false));
    assert!(
        answer("somebody unknown").to_string().contains("this token is not known here"),
        "{}",
        answer("somebody unknown")
    );
}

/// What every device's status is called, and how many there are of each.
fn statuses(answers: &[(String, Value)]) -> Value {
    let mut counted = serde_json::Map::new();
    let statuses = answered(answers, "status");
    for status in statuses.as_object().unwrap().values() {
        let count = counted.entry(status.as_str().unwrap()).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap() + 1);
    }
    let mut overview = answered(answers, "overview");
    overview.as_object_mut().unwrap().retain(|_, count| *count != 0);
    assert_eq!(overview, Value::Object(counted), "the overview counts what each is told to be");
    statuses
}

#[test]
fn balena_sdk_of_v7_works_unchanged() {
    let bench = balena::fleet();
    let answers = told(&bench, "balena-sdk");
    finds_the_fleet(&answers);
    let who = answered(&answers, "whoami");
    assert_eq!((&who["actorType"], &who["username"]), (&json!("user"), &json!("lee")));
    assert_eq!(answered(&answers, "status of one"), "operational");
    let statuses = statuses(&answers);
    let words = ["vpn-only", "gone", "late", "bare"].map(|device| statuses[device].as_str().unwrap());
    assert_eq!(words, ["reduced-functionality", "disconnected", "reduced-functionality", "unknown"]);
}

#[test]
fn balena_sdk_of_v6_works_unchanged() {
    let bench = balena::fleet();
    let answers = told(&bench, "balena-sdk-v6");
    finds_the_fleet(&answers);
    assert_eq!(answered(&answers, "whoami"), "lee");
    assert_eq!(answered(&answers, "status of one"), "idle");
    let statuses = statuses(&answers);
    let words = ["vpn-only", "gone", "late", "bare"].map(|device| statuses[device].as_str().unwrap());
    assert_eq!(words, ["idle", "offline", "updating", "unknown"]);
}

#[test]
fn the_page_shows_what_balena_sdk_prints() {
    let bench = balena::fleet();
    let path = format!("{}/src/http/face/balena/README.md", env!("CARGO_MANIFEST_DIR"));
    let typed = printed(&bench, "transcript.js", "balena-sdk", &[&path]);
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(typed.starts_with("> ") && typed.len() > 500, "{typed}");
    assert!(page.contains(&format!("```text\n{typed}```\n")), "the page should show:\n{typed}");
}
