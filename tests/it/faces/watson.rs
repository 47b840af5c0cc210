//! The Watson IoT face: W01–W16 and W30–W36 of what that product does.

use lastseen::http::Limits;
use serde_json::{Value, json};

use super::{Probe, ask_as, get, holds_its_tables, ids, read};
use crate::http::{BOSS, Bench, INGEST, OPERATOR, STRANGER, VIEWER};

const LIST: &str = "/api/v0002/clientconnectionstates";
const LOG: &str = "/api/v0002/logs/connection";
const STATES: &str = "GET /api/v0002/clientconnectionstates";
const LOGS: &str = "GET /api/v0002/logs/connection";
const DEVICE: &str = "/api/v0002/device/types/{typeId}/devices/{deviceId}";

/// So many minutes after ten in the evening, two hours before the bench begins.
fn at(minute: u32) -> String {
    format!("2025-12-31T22:{minute:02}:00.000Z")
}

fn register(device: &str, fields: Value) -> Value {
    json!({ "deviceId": device, "observedAt": at(0), "register": fields })
}

pub fn connected(device: &str, minute: u32, protocol: &str) -> Value {
    let session = json!({ "id": format!("{device}-{minute}") });
    let body = json!({ "channel": "mqtt", "session": session, "protocol": protocol });
    json!({ "deviceId": device, "observedAt": at(minute), "connected": body })
}

fn disconnected(device: &str, minute: u32, since: u32, code: u8) -> Value {
    let session = json!({ "id": format!("{device}-{since}") });
    let body = json!({ "channel": "mqtt", "session": session, "mqttReasonCode": code });
    json!({ "deviceId": device, "observedAt": at(minute), "disconnected": body })
}

fn activity(device: &str, minute: u32, kind: &str) -> Value {
    json!({ "deviceId": device, "observedAt": at(minute), "activity": { "kind": kind } })
}

const PUMP_1: &str = "d:acme:pump:pump-1";
const PUMP_2: &str = "d:acme:pump:pump-2";
const GATE_1: &str = "g:acme:gate:gate-1";
const BILLING: &str = "a:acme:billing";
const PLAIN: &str = "d:acme:untyped:plain";

/// One client of each kind: connected, disconnected, a gateway, an application that only posts, one without a type; and
/// two of which no state is known.
pub fn fleet() -> Bench {
    let bench = Bench::new();
    bench.send(&[
        register(
            "pump-1",
            json!({ "deviceType": "pump", "name": "Pump 1", "labels": { "model": "P9", "site": "b" } }),
        ),
        register("pump-2", json!({ "deviceType": "pump" })),
        register("gate-1", json!({ "deviceType": "gate", "clientKind": "gateway" })),
        register("billing", json!({ "deviceType": "pump", "clientKind": "application" })),
        register("bare", json!({ "deviceType": "pump" })),
        activity("poller", 1, "state_poll"),
        connected("pump-1", 10, "mqtt4"),
        connected("pump-2", 20, "mqtt5-ws"),
        disconnected("pump-2", 30, 20, 0x8D),
        connected("gate-1", 40, "mqtt3"),
        disconnected("gate-1", 41, 40, 0),
        connected("gate-1", 42, "mqtt3"),
        activity("pump-1", 50, "mqtt_publish"),
        activity("billing", 45, "http_post_command"),
        connected("plain", 5, "lwm2m"),
    ]);
    bench
}

#[test]
fn a_state_is_told_field_for_field() {
    let bench = fleet();
    let one = |id: &str| get(&bench, &format!("{LIST}/{id}"));
    assert_eq!(
        one(PUMP_1),
        json!({
            "id": PUMP_1, "clientType": "device", "connectionStatus": "connected", "lastConnectTime": at(10),
            "lastActivityEvent": "mqttPublish", "lastActivityTime": at(50), "mqttConnectProtocol": "3.1.1",
        })
    );
    assert_eq!(
        one(PUMP_2),
        json!({
            "id": PUMP_2, "clientType": "device", "connectionStatus": "disconnected", "lastConnectTime": at(20),
            "lastDisconnectTime": at(30), "lastActivityEvent": "mqttConnect", "lastActivityTime": at(20),
            "mqttConnectProtocol": "5.0", "disconnectedBy": "network", "mqttDisconnectReasonCode": 0x8D,
        }),
        "the loss of a network is no activity"
    );
    assert_eq!(
        one(GATE_1),
        json!({
            "id": GATE_1, "clientType": "gateway", "connectionStatus": "connected", "lastConnectTime": at(42),
            "lastDisconnectTime": at(41), "lastActivityEvent": "mqttConnect", "lastActivityTime": at(42),
            "mqttConnectProtocol": "3.1",
        }),
        "why it was disconnected is told while it is"
    );
    assert_eq!(
        one(BILLING),
        json!({
            "id": BILLING, "clientType": "application", "lastActivityEvent": "httpPostCommand",
            "lastActivityTime": at(45),
        }),
        "an activity without a connection has no status"
    );
    assert_eq!(one(PLAIN)["connectionStatus"], "connected");
    let all = get(&bench, LIST);
    assert_eq!(ids(&all, "results"), [BILLING, GATE_1, PLAIN, PUMP_1, PUMP_2], "by device id");
    for state in all["results"].as_array().unwrap() {
        assert_eq!(one(state["id"].as_str().unwrap()), *state, "lists tell the same");
    }
}

#[test]
fn filters_find_whom_they_say() {
    let bench = fleet();
    let (day, ten) = (at(20), at(10));
    for (query, expected) in [
        ("connectionStatus=connected", vec![GATE_1, PLAIN, PUMP_1]),
        ("connectionStatus=disconnected", vec![PUMP_2]),
        (&format!("connectedAfter={day}"), vec![GATE_1, PUMP_2]),
        (&format!("lastConnectedAfter={day}"), vec![GATE_1, PUMP_2]),
        ("connectedAfter=2025-12-31T22:20:00", vec![GATE_1, PUMP_2]),
        ("connectedAfter=2025-12-31T23:20:00%2B01:00", vec![GATE_1, PUMP_2]),
        ("connectedAfter=2026-01-01", vec![]),
        // Pump 1 connected long ago and is active: the seed's own example asks for the connect time.
        (&format!("lastActivityAfter={}", at(45)), vec![BILLING, PUMP_1]),
        (&format!("lastActivityBefore={day}"), vec![PLAIN]),
        (&format!("connectedBefore={day}"), vec![BILLING, PLAIN, PUMP_1]),
        (&format!("connectedBefore={day}&connectionStatus=connected"), vec![PLAIN, PUMP_1]),
        ("disconnectedAfter=2025-12-31T22:31:00Z", vec![GATE_1]),
        (&format!("disconnectedBefore={}", at(40)), vec![BILLING, PLAIN, PUMP_1, PUMP_2]),
        ("deviceType=pump", vec![PUMP_1, PUMP_2]),
        ("deviceType=untyped", vec![PLAIN]),
        ("deviceType=pump,gate", vec![]),
        ("deviceType=!pump", vec![]),
        ("deviceId=pump-2", vec![PUMP_2]),
        ("deviceId=pump-2&deviceType=gate", vec![]),
        ("deviceId=pump-2&connectionStatus=connected", vec![]),
        ("deviceId=pump", vec![]),
        ("deviceId=billing", vec![]),
        ("deviceId=bare", vec![]),
        ("clientType=device", vec![PLAIN, PUMP_1, PUMP_2]),
        ("clientType=gateway", vec![GATE_1]),
        ("clientType=application", vec![BILLING]),
        ("_sort=-lastActivityTime", vec![PUMP_1, BILLING, GATE_1, PUMP_2, PLAIN]),
        ("_sort=lastActivityTime", vec![PLAIN, PUMP_2, GATE_1, BILLING, PUMP_1]),
        (&format!("_sort=lastConnectTime&connectedAfter={ten}"), vec![PUMP_1, PUMP_2, GATE_1]),
        (&format!("_sort=-lastDisconnectTime&disconnectedAfter={ten}"), vec![GATE_1, PUMP_2]),
    ] {
        let found = get(&bench, &format!("{LIST}?{query}"));
        assert_eq!(ids(&found, "results"), expected, "{query}");
        assert!(found.get("bookmark").is_none(), "{query}: {found}");
    }
}

#[test]
fn pages_lead_to_the_end_and_no_further() {
    let bench = Bench::new();
    let each = |number: u32| connected(&format!("p{number:03}"), number % 60, "mqtt4");
    bench.send(&(0..120).map(each).collect::<Vec<_>>());
    for (query, sizes) in [
        ("", vec![25, 25, 25, 25, 20]),
        ("_limit=50", vec![50, 50, 20]),
        ("_limit=60&_sort=-lastConnectTime", vec![60, 60]),
        ("_limit=40&connectionStatus=connected", vec![40, 40, 40]),
    ] {
        let (mut seen, mut found): (Vec<String>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut bookmark = String::new();
        loop {
            let page = get(&bench, &format!("{LIST}?{query}{bookmark}"));
            found.push(ids(&page, "results").len());
            seen.extend(ids(&page, "results"));
            let Some(next) = page.get("bookmark") else { break };
            bookmark = format!("&_bookmark={}", next.as_str().expect("a text, never null"));
        }
        assert_eq!(found, sizes, "{query}");
        let mut once = seen.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), 120, "{query}: everybody once");
        if !query.contains("_sort") {
            assert_eq!(once, seen, "{query}: by id");
        }
    }
}

#[test]
fn every_parameter_does_what_the_table_says() {
    let bench = fleet();
    let gate = format!("{LOG}?typeId=gate&deviceId=gate-1");
    let first = get(&bench, &format!("{LIST}?_limit=2"));
    let twenty_past = "2025-12-31T22:20:00Z";
    let state = |name: &'static str, value: &str| Probe {
        route: STATES,
        name,
        said: format!("{LIST}?{name}={value}"),
    };
    let log = |name: &'static str, said: &str| Probe { route: LOGS, name, said: format!("{gate}&{said}") };
    let probes = [
        state("_limit", "1"),
        state("_bookmark", first["bookmark"].as_str().unwrap()),
        state("_sort", "lastActivityTime"),
        state("connectionStatus", "connected"),
        state("connectedAfter", twenty_past),
        state("lastConnectedAfter", twenty_past),
        state("connectedBefore", twenty_past),
        state("disconnectedAfter", twenty_past),
        state("disconnectedBefore", twenty_past),
        state("lastActivityAfter", twenty_past),
        state("lastActivityBefore", twenty_past),
        state("deviceType", "gate"),
        state("deviceId", "pump-1"),
        state("clientType", "gateway"),
        log("limit", "limit=1"),
        log("offset", "offset=1"),
        log("fromTime", "fromTime=2025-12-31T22:42:00Z&toTime=2026-01-01"),
        log("toTime", "fromTime=2025-12-31&toTime=2025-12-31T22:41:00Z"),
        Probe { route: LOGS, name: "typeId", said: format!("{LOG}?typeId=pump&deviceId=pump-2") },
        Probe { route: LOGS, name: "deviceId", said: format!("{LOG}?typeId=pump&deviceId=pump-1") },
    ];
    let device = format!("GET {DEVICE}");
    let plain = [
        read(STATES, LIST),
        read(
            "GET /api/v0002/clientconnectionstates/{clientId}",
            "/api/v0002/clientconnectionstates/d:acme:pump:pump-1",
        ),
        read("GET /api/v0002/config/clientstate", "/api/v0002/config/clientstate"),
        read(LOGS, &gate),
        read(&device, "/api/v0002/device/types/pump/devices/pump-1"),
    ];
    holds_its_tables(&bench, "watson", &plain, &probes);
}

#[test]
fn the_log_tells_what_happened_to_a_device() {
    let bench = fleet();
    let log = |query: &str| get(&bench, &format!("{LOG}?typeId=gate&deviceId=gate-1{query}"));
    let whole = log("");
    let entries = whole.as_array().expect("a bare array");
    let times: Vec<&str> = entries.iter().map(|entry| entry["timestamp"].as_str().unwrap()).collect();
    assert_eq!(times, [at(42), at(41), at(40)], "the latest first");
    for entry in entries {
        assert_eq!(entry.as_object().unwrap().len(), 2, "message and timestamp, nothing else");
        assert!(entry["message"].as_str().is_some_and(|message| message.len() > 10), "{entry}");
    }
    assert!(whole[1]["message"].to_string().contains("ended session gate-1-40"), "{whole}");
    assert_eq!(log("&limit=2"), json!([whole[0], whole[1]]));
    assert_eq!(log("&offset=1&limit=1"), json!([whole[1]]));
    assert_eq!(log("&offset=3"), json!([]));
    assert_eq!(log(&format!("&fromTime={}&toTime={}", at(40), at(42))), json!([whole[1], whole[2]]));
    for (query, why) in [
        ("?deviceId=gate-1", "typeId: it must be said"),
        ("?typeId=gate", "deviceId: it must be said"),
        ("?typeId=gate&deviceId=gate-1&limit=21", "limit: \\\"21\\\" is no whole number from 1 to 20"),
        ("?typeId=gate&deviceId=gate-1&offset=0", "from 1 to 1000"),
        ("?typeId=gate&deviceId=gate-1&fromTime=2026-01-01", "fromTime: it goes with toTime"),
        ("?typeId=gate&deviceId=gate-1&toTime=2026-01-01", "toTime: it goes with fromTime"),
        ("?typeId=gate&deviceId=gate-1&fromTime=soon&toTime=2026-01-01", "fromTime: \\\"soon\\\" is no time"),
    ] {
        let refused = bench.get(&format!("{LOG}{query}"));
        assert_eq!(refused.status, 400, "{query}: {}", refused.text);
        assert!(refused.text.contains(why), "{query}: {}", refused.text);
    }
    for query in
        ["?typeId=pump&deviceId=gate-1", "?typeId=gate&deviceId=gate-2", "?typeId=pump&deviceId=billing"]
    {
        assert_eq!(bench.get(&format!("{LOG}{query}")).status, 404, "{query}");
    }
}

#[test]
fn a_device_is_told_as_it_is_registered() {
    let bench = fleet();
    let device = get(&bench, "/api/v0002/device/types/pump/devices/pump-1");
    assert_eq!(device["clientId"], PUMP_1);
    assert_eq!((&device["typeId"], &device["deviceId"]), (&json!("pump"), &json!("pump-1")));
    assert_eq!(device["deviceInfo"], json!({ "description": "Pump 1", "model": "P9" }));
    assert_eq!(device["metadata"], json!({ "model": "P9", "site": "b" }));
    assert!(device["registration"]["date"].as_str().unwrap().starts_with("2026-01-01T0"), "{device}");
    // Of whom nothing was heard: registered all the same.
    assert_eq!(get(&bench, "/api/v0002/device/types/pump/devices/bare")["clientId"], "d:acme:pump:bare");
    assert_eq!(get(&bench, "/api/v0002/device/types/untyped/devices/plain")["clientId"], PLAIN);
    for path in ["gate/devices/pump-1", "pump/devices/pump-9", "pump/devices/billing"] {
        assert_eq!(bench.get(&format!("/api/v0002/device/types/{path}")).status, 404, "{path}");
    }
}

#[test]
fn colons_in_types_and_ids_are_no_riddle() {
    let bench = Bench::new();
    bench.send(&[
        register("b:c", json!({ "deviceType": "a" })),
        connected("b:c", 1, "mqtt5"),
        register("d", json!({ "deviceType": "a:b" })),
        connected("d", 2, "mqtt5"),
    ]);
    for id in ["d:acme:a:b:c", "d:acme:a:b:d"] {
        assert_eq!(get(&bench, &format!("{LIST}/{id}"))["id"], id);
    }
    for id in ["d:acme:a:b", "d:acme:c", "d:acme", "d", "é", "g:acme:a:b:c", "a:acme:d", "d:acme2:a:b:c"] {
        assert_eq!(bench.get(&format!("{LIST}/{id}")).status, 404, "{id}");
    }
}

/// What an error is there: a message, and apart from it which it is and what it is about (W12).
#[track_caller]
fn error(answer: crate::http::Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    let error = answer.json();
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
    assert!(error["exception"]["id"].is_string() && error["exception"]["properties"].is_array(), "{error}");
    error
}

#[test]
fn errors_say_what_was_wrong_as_they_do_there() {
    let bench = fleet();
    let unknown = error(bench.get(&format!("{LIST}/d:acme:pump:pump-9")), 404);
    assert_eq!(unknown["exception"], json!({ "id": "not-found", "properties": ["d:acme:pump:pump-9"] }));
    for silent in ["d:acme:pump:bare", "d:acme:untyped:poller"] {
        let silent = error(bench.get(&format!("{LIST}/{silent}")), 404);
        assert!(silent["message"].as_str().unwrap().contains("nothing was heard"), "{silent}");
    }
    for (query, about) in [
        ("_limit=0", "_limit"),
        ("_limit=101", "_limit"),
        ("_limit=1&_limit=2", "_limit"),
        ("_sort=name", "_sort"),
        ("_bookmark=guessed", "_bookmark"),
        ("_bookmark=", "_bookmark"),
        ("connectionStatus=online", "connectionStatus"),
        ("connectedAfter=soon", "connectedAfter"),
        ("clientType=toaster", "clientType"),
        ("colour=red", "colour"),
    ] {
        let refused = error(bench.get(&format!("{LIST}?{query}")), 400);
        assert_eq!(refused["exception"]["properties"], json!([about]), "{query}: {refused}");
        assert!(
            refused["message"].as_str().unwrap().starts_with(&format!("{about}: ")),
            "{query}: {refused}"
        );
    }
    let page = get(&bench, &format!("{LIST}?_limit=1&_sort=lastActivityTime"));
    let other = format!("{LIST}?_sort=lastConnectTime&_bookmark={}", page["bookmark"].as_str().unwrap());
    assert!(error(bench.get(&other), 400)["message"].to_string().contains("another order"));
    // What is not served says what is.
    for (method, path, status) in [
        ("GET", "/api/v0002/bulk/devices", 404),
        ("GET", "/api/v0002/", 404),
        ("POST", LIST, 405),
        ("PUT", "/api/v0002/config/clientstate", 405),
        ("DELETE", "/api/v0002/device/types/pump/devices/pump-1", 405),
    ] {
        let refused = error(bench.call(method, path, Some(OPERATOR), None), status);
        let message = refused["message"].as_str().unwrap();
        for told in [LIST, LOG, DEVICE, "/docs/watson"] {
            assert!(message.contains(told), "{method} {path}: {message}");
        }
    }
    // The native API and the page keep their own words.
    bench.get("/v1/tenants/acme/nothing").problem(404);
    bench.get("/api/v0003/x").problem(404);
}

#[test]
fn a_token_has_the_rights_that_it_has_everywhere() {
    let bench = fleet();
    let one = format!("{LIST}/{PUMP_1}");
    let nobody = bench.call("GET", LIST, None, None);
    assert!(nobody.headers.get("www-authenticate").is_some());
    error(nobody, 401);
    error(bench.call("GET", LIST, Some("guessed"), None), 401);
    for path in
        [LIST, &one, LOG, "/api/v0002/config/clientstate", "/api/v0002/device/types/pump/devices/pump-1"]
    {
        let refused = error(bench.call("GET", path, Some(INGEST), None), 403);
        assert!(refused["message"].as_str().unwrap().contains("viewer or operator or auditor"), "{refused}");
    }
    // The secret says who it is, the user name at most which tenant is meant.
    for user in ["a-acme-k3y", "a-acme-", "lee"] {
        assert_eq!(ask_as(&bench, "GET", &one, user, VIEWER).good()["id"], PUMP_1, "{user}");
    }
    for user in ["a-other-k3y", "a-acm-e", "a-acme", "kim", ""] {
        let refused = error(ask_as(&bench, "GET", &one, user, VIEWER), 403);
        assert!(refused["message"].as_str().unwrap().contains("a-TENANT-ANYTHING"), "{user:?}: {refused}");
    }
    error(ask_as(&bench, "GET", &one, "a-acme-k3y", "guessed"), 401);
    // Of another tenant nothing is seen, nor whether it is there.
    assert_eq!(ids(&bench.call("GET", LIST, Some(STRANGER), None).good(), "results"), [""; 0]);
    let told = |id: &str| {
        let refused = error(bench.call("GET", &format!("{LIST}/{id}"), Some(STRANGER), None), 404);
        refused.to_string().replace(id, "ID")
    };
    assert_eq!(told(PUMP_1), told("d:acme:pump:nobody"));
    assert_eq!(told(PUMP_1), told("d:nowhere:pump:pump-1"));
    let there = "?typeId=pump&deviceId=pump-1";
    error(bench.call("GET", &format!("{LOG}{there}"), Some(STRANGER), None), 404);
    // A token for all tenants must say which.
    let refused = error(bench.call("GET", LIST, Some(BOSS), None), 403);
    assert!(refused["message"].as_str().unwrap().contains("more than one tenant"), "{refused}");
    assert_eq!(ask_as(&bench, "GET", &one, "a-acme-x", BOSS).good()["id"], PUMP_1);
    error(ask_as(&bench, "GET", &one, "a-nowhere-x", BOSS), 403);
}

#[test]
fn while_the_feature_is_off_no_state_is_told() {
    let config = "/api/v0002/config/clientstate";
    let on = fleet();
    assert_eq!(get(&on, config), json!({ "enabled": true }));
    drop(on);
    let off = Bench::with(Limits { client_state: false, ..Limits::default() });
    off.send(&[register("pump-1", json!({ "deviceType": "pump" })), connected("pump-1", 1, "mqtt5")]);
    for path in [config, LIST, &format!("{LIST}/{PUMP_1}")] {
        let refused = error(off.get(path), 403);
        assert!(refused["message"].as_str().unwrap().contains("http.watson_client_state"), "{refused}");
    }
    assert_eq!(get(&off, &format!("{LOG}?typeId=pump&deviceId=pump-1")).as_array().unwrap().len(), 1);
}
