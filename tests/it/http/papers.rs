//! What is written about the service is what it does.

use std::collections::BTreeSet;

use lastseen::http::metrics::{self, METRICS};
use lastseen::http::openapi;
use serde_json::{Value, json};

use super::{Bench, ROOT};

fn written(path: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with a file that is made from the code; `UPDATE=1` writes it.
fn is_as_checked_in(path: &str, made: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path), made).unwrap();
    }
    assert!(
        written(path) == made,
        "{path} is not what the code says: run this test with UPDATE=1 and look at the difference"
    );
}

#[test]
fn the_interface_is_as_checked_in() {
    is_as_checked_in("deploy/openapi.json", &openapi::text());
    let document = openapi::document();
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(
            !document.pointer(&format!("/{reference}")).unwrap_or(&Value::Null).is_null(),
            "{reference} leads nowhere"
        );
    }
    let bench = Bench::new();
    assert_eq!(bench.call("GET", "/v1/openapi.json", None, None).good(), document);
}

#[test]
fn metrics_are_those_of_the_table() {
    is_as_checked_in("deploy/METRICS.md", &metrics::document());
    let bench = Bench::new();
    bench.send(&[json!({ "deviceId": "a", "connected": { "channel": "mqtt" } })]);
    bench.send(&[json!({ "deviceId": "a", "activity": { "kind": "mqtt_publish" } })]);
    let text = bench.call("GET", "/metrics", Some(ROOT), None).text;
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let plain =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let metric = METRICS.iter().find(|metric| metric.name == plain);
        let metric = metric.unwrap_or_else(|| panic!("{line}: it is not in the table"));
        for label in metric.labels {
            assert!(line.contains(&format!("{label}=\"")), "{line}: no label {label}");
        }
        found.insert(metric.name);
    }
    // Those that need something to have happened.
    let rare = ["lastseen_dead_letters_total"];
    for metric in METRICS.iter().filter(|metric| !rare.contains(&metric.name)) {
        assert!(found.contains(metric.name), "{} is in the table and not exported:\n{text}", metric.name);
    }
    assert!(text.contains("lastseen_view_devices 1"), "{text}");
    assert!(!text.contains("acme"), "no tenant is named");
}

#[test]
fn what_a_device_says_is_what_its_item_says() {
    let bench = Bench::new();
    let connected = json!({ "channel": "mqtt", "session": { "id": "s" } });
    bench.send(&[
        json!({ "deviceId": "a", "register": { "name": "A", "deviceType": "t", "labels": { "k": "v" } } }),
        json!({ "deviceId": "a", "connected": connected }),
        json!({ "deviceId": "a", "activity": { "kind": "state_poll" } }),
        json!({ "deviceId": "a", "activity": { "kind": "event_create" } }),
    ]);
    let device = bench.get("/v1/tenants/acme/devices/a").good();
    let page = bench.get("/v1/tenants/acme/devices").good();
    let item = page["items"][0].as_object().unwrap();
    assert!(item.len() > 15, "{item:?}");
    for (name, value) in item {
        assert_eq!(&device[name], value, "{name}");
    }
}
