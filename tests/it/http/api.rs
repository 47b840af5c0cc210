//! Questions and commands.

use serde_json::{Value, json};

use super::{AUDITOR, Bench, INGEST, OPERATOR, VIEWER};
use lastseen::http::Limits;

const PUMP: &str = "/v1/tenants/acme/devices/pump-1";

fn message(device: &str) -> Value {
    json!({ "deviceId": device, "activity": { "kind": "mqtt_publish", "channel": "mqtt" } })
}

fn connected(device: &str, session: &str) -> Value {
    json!({ "deviceId": device, "connected": { "channel": "mqtt", "session": { "id": session } } })
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["deviceId"].as_str().unwrap()).collect()
}

#[test]
fn a_device_falls_silent_and_every_answer_says_so_and_why() {
    let bench = Bench::new();
    bench.send(&[connected("pump-1", "s1"), message("pump-1"), message("pump-2")]);
    let set = bench.put(&format!("{PUMP}/required-interval?wait=10"), json!({ "minutes": 1 })).good();
    assert_eq!(set["outcome"], "applied");
    assert!(set["eventId"].as_str().unwrap().starts_with("http:kim:"), "{set}");

    // A message, then nothing for a minute of the fleet's time.
    bench.send(&[message("pump-1")]);
    assert_eq!(bench.get(PUMP).good()["availability"], "AVAILABLE");
    let silent = bench.until("the silence is told", || {
        let page = bench.get("/v1/tenants/acme/devices?availability=UNAVAILABLE&alarm=open").good();
        (page["matched"] == 1).then_some(page)
    });
    assert_eq!(ids(&silent), ["pump-1"]);
    assert_eq!(silent["items"][0]["alarm"], "ACTIVE");
    assert_eq!(silent["items"][0]["connection"], "CONNECTED", "silent and connected are different things");

    let device = bench.get(PUMP).good();
    assert_eq!(device["alarm"]["text"], "No data received from device within required interval");
    assert_eq!(device["requiredIntervalSetBy"], "operator");
    let history = bench.get(&format!("{PUMP}/history")).good();
    let last = &history["items"][0];
    assert_eq!(last["cause"]["rule"], "deadline_passed");
    assert_eq!(last["at"], device["deadline"], "stamped with the deadline itself");
    let alarms = bench.get(&format!("{PUMP}/alarms?state=open")).good();
    assert_eq!(alarms["items"][0]["alarmId"], device["alarm"]["alarmId"]);
    assert_eq!(bench.get("/v1/tenants/acme/alarms").good()["items"], alarms["items"]);
    let log = bench.get(&format!("{PUMP}/connection-log")).good();
    assert_eq!(log["items"][0]["kind"], "CONNECTED");
    assert_eq!(bench.get("/v1/tenants/acme/connection-log?kind=CONNECTED").good()["items"], log["items"]);
    assert_eq!(bench.get("/v1/tenants/acme/connection-log?kind=CONNECT_FAILED").good()["items"], json!([]));

    let why = bench.get(&format!("{PUMP}/explain")).good();
    let said = why["sentences"].to_string();
    for part in [
        "Connected since",
        "session s1",
        "every 1 min (set by an operator)",
        "the deadline",
        "An alarm is open",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    let receipt = |about: &str| {
        let receipts = why["receipts"].as_array().unwrap();
        receipts
            .iter()
            .find(|receipt| receipt["about"] == about)
            .unwrap_or_else(|| panic!("{about}: {why}"))
            .clone()
    };
    assert_eq!(receipt("availability")["sentence"], last["cause"]["sentence"]);
    assert_eq!(receipt("interval")["record"]["topic"], "control");
    assert_eq!(
        receipt("interval")["record"]["offset"],
        set["position"]["offset"],
        "the very record that set it"
    );
    assert!(receipt("connection")["id"].as_str().unwrap().starts_with("acme/pump-1:"));

    // It was available before, and the past says so as it was known then.
    let before = history["items"][1]["recordedAt"].as_str().unwrap();
    let then = bench.get(&format!("{PUMP}?at={before}")).good();
    assert_eq!(
        (&then["facets"]["availability"], &then["facets"]["connection"]),
        (&json!("AVAILABLE"), &json!("CONNECTED"))
    );
    bench.get(&format!("{PUMP}?at=2020-01-01T00:00:00Z")).problem(404);
    let ahead = bench.get(&format!("{PUMP}?at=2100-01-01T00:00:00Z")).problem(400);
    assert!(ahead["detail"].as_str().unwrap().contains("lies ahead"), "{ahead}");

    // A person sees to it, and the data comes back.
    let alarm = format!("{PUMP}/alarms/{}", device["alarm"]["alarmId"].as_str().unwrap());
    let acknowledged = bench.post(&format!("{alarm}/acknowledge?wait=10"), Value::Null).good();
    assert_eq!(acknowledged["outcome"], "applied");
    let again = bench.post(&format!("{alarm}/acknowledge?wait=10"), Value::Null).problem(409);
    assert_eq!(again["reason"], "already_acknowledged");
    assert_eq!(bench.get("/v1/tenants/acme/alarms?state=acknowledged").good()["items"][0]["actor"], "kim");
    bench.send(&[message("pump-1")]);
    let cleared = bench.get("/v1/tenants/acme/alarms").good();
    assert_eq!(cleared["items"][0]["state"], "CLEARED", "each alarm as it stands");
    assert_eq!(cleared["items"][0]["reason"], "DATA_RETURNED");

    let audit = bench.call("GET", &format!("{PUMP}/audit"), Some(AUDITOR), None).good();
    let commands: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|item| item["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["alarm_command", "alarm_command", "required_interval"]);
    assert!(audit["items"][2]["cause"]["eventId"].as_str().unwrap().contains(":kim:"));
}

#[test]
fn commands_are_answered_with_what_became_of_them() {
    let bench = Bench::new();
    bench.send(&[connected("pump-1", "s1"), message("pump-1")]);
    let refused = bench.put(&format!("{PUMP}/maintenance?wait=10"), json!({ "on": true })).problem(409);
    assert_eq!(refused["reason"], "no_interval");
    assert!(refused["detail"].as_str().unwrap().contains("set an interval first"), "{refused}");
    bench.put(&format!("{PUMP}/required-interval?wait=10"), json!({ "minutes": 600 })).good();
    let body = json!({ "on": true, "note": "new pump" });
    bench.put(&format!("{PUMP}/maintenance?wait=10"), body).good();
    let device = bench.get(PUMP).good();
    assert_eq!(
        (&device["availability"], &device["requiredIntervalMinutes"]),
        (&json!("MAINTENANCE"), &json!(-600))
    );
    bench.put(&format!("{PUMP}/maintenance?wait=10"), json!({ "on": false })).good();
    assert_eq!(bench.get(PUMP).good()["requiredIntervalMinutes"], 600);
    bench.put(&format!("{PUMP}/required-interval?wait=10"), json!({ "minutes": 99_999_999 })).good();
    assert_eq!(bench.get(PUMP).good()["requiredIntervalMinutes"], i16::MAX, "clamped to the border");
    bench.put(&format!("{PUMP}/required-interval?wait=10"), json!({ "minutes": null })).good();
    assert_eq!(bench.get(PUMP).good()["availability"], "NOT_MONITORED");

    let labels = json!({ "labels": { "site": "berlin", "a:b": "c" } });
    bench.put(&format!("{PUMP}/labels?wait=10"), labels).good();
    for label in ["site", "site:berlin", "a:b", "a:b:c"] {
        let page = bench.get(&format!("/v1/tenants/acme/devices?label={label}")).good();
        assert_eq!(ids(&page), ["pump-1"], "{label}");
    }
    assert_eq!(bench.get("/v1/tenants/acme/devices?label=site:bonn").good()["matched"], 0);
    bench.put(&format!("{PUMP}/lifecycle?wait=10"), json!({ "stage": "deactivated" })).good();
    assert_eq!(bench.get(PUMP).good()["overall"], "INACTIVE");

    // Without waiting: accepted, with a place by which anybody can find the outcome.
    let accepted = bench.put(&format!("{PUMP}/lifecycle"), json!({ "stage": "active" }));
    assert_eq!(accepted.status, 202);
    assert_eq!(accepted.json()["position"]["topic"], "control");

    for (path, body, why) in [
        ("lifecycle", json!({ "stage": "retired" }), "none of"),
        ("lifecycle", json!({ "stage": "active", "progress": 101 }), "0 to 100"),
        ("maintenance", json!({ "on": "yes" }), "the body"),
        ("maintenance", json!({ "on": true, "actor": "somebody else" }), "unknown field"),
        ("required-interval", json!({ "minutes": 5, "policy": true }), "not both"),
        ("required-interval?wait=31", json!({ "minutes": 5 }), "0 to 30"),
    ] {
        let problem = bench.put(&format!("{PUMP}/{path}"), body).problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    // A typing error must not bring a device into being.
    let typo = "/v1/tenants/acme/devices/pmup-1";
    bench.put(&format!("{typo}/required-interval"), json!({ "minutes": 1 })).problem(404);
    bench.get(typo).problem(404);

    bench.call("DELETE", &format!("{PUMP}?wait=10"), Some(OPERATOR), None).good();
    bench.get(PUMP).problem(404);
    assert_eq!(bench.get("/v1/tenants/acme/devices").good()["matched"], 0);
    let past = bench.get(&format!("{PUMP}/history")).good();
    assert_eq!(past["items"][0]["cause"]["rule"], "deleted", "its past stays");
}

#[test]
fn many_devices_are_commanded_after_they_were_counted() {
    let bench = Bench::new();
    let devices: Vec<Value> = (0..7).map(|number| message(&format!("pump-{number}"))).collect();
    bench.send(&devices);
    let path = "/v1/tenants/acme/commands?idPrefix=pump-";
    let command = |expect: Value| json!({ "requiredInterval": { "minutes": 30 }, "expect": expect });
    let counted = bench.post(path, command(Value::Null)).good();
    assert_eq!((&counted["outcome"], &counted["matched"]), (&json!("counted"), &json!(7)));
    assert_eq!(
        bench.get("/v1/tenants/acme/summary?availability=NOT_MONITORED").good()["devices"],
        7,
        "nothing was done"
    );
    bench.send(&[message("pump-7")]);
    let changed = bench.post(path, command(json!(7))).problem(409);
    assert!(
        changed["detail"].as_str().unwrap().contains("8 devices match, and 7 were expected"),
        "{changed}"
    );
    assert_eq!(bench.post(path, command(json!(8))).good()["outcome"], "accepted");
    bench.until("all of them are monitored", || {
        let summary = bench.get("/v1/tenants/acme/summary").good();
        (summary["counts"]["availability"] == json!({ "AVAILABLE": 8 })).then_some(())
    });
    bench.post(path, json!({ "acknowledge": true, "clear": true })).problem(400);
}

#[test]
fn a_policy_is_tried_and_then_set() {
    let bench = Bench::new();
    bench.send(&[message("pump-1"), message("pump-2"), connected("pump-3", "s")]);
    let policy = json!({ "requiredIntervals": [{ "tenant": "acme", "minutes": 600 }], "version": "strict" })
        .to_string();
    let ask = |method: &str, path: &str, body: &str| {
        bench.call(method, path, Some(super::BOSS), Some(("application/json", body)))
    };
    let trial = ask("POST", "/v1/policy/try", &policy).good();
    assert_eq!((&trial["devices"], &trial["changed"]), (&json!(3), &json!(3)));
    let expected = json!({ "NOT_MONITORED → AVAILABLE": 2, "NOT_MONITORED → UNKNOWN": 1 });
    assert_eq!(trial["changes"]["availability"], expected);
    assert_eq!(bench.get(PUMP).good()["availability"], "NOT_MONITORED", "a trial changes nothing");
    let refused = ask("PUT", "/v1/policy", "{\"grac\":1}").problem(400);
    assert!(refused["detail"].as_str().unwrap().contains("grac"), "{refused}");
    assert_eq!(ask("PUT", "/v1/policy?wait=10", &policy).good()["outcome"], "applied");
    assert_eq!(ask("GET", "/v1/policy", "").good()["version"], "strict");
    let summary = bench.get("/v1/tenants/acme/summary").good();
    assert_eq!(
        summary["counts"]["availability"],
        json!({ "AVAILABLE": 2, "UNKNOWN": 1 }),
        "as the trial said"
    );
}

#[test]
fn lists_are_filtered_sorted_counted_and_read_in_pages() {
    let bench = Bench::new();
    for number in [3, 1, 2, 5, 4] {
        bench.send(&[
            json!({ "deviceId": format!("d{number}"), "register": { "name": format!("Pump {number}"), "deviceType": "pump" } }),
            message(&format!("d{number}")),
        ]);
    }
    bench.send(&[connected("d2", "s"), json!({ "deviceId": "d9", "register": { "deviceType": "valve" } })]);
    let disconnected = json!({ "channel": "mqtt", "session": { "id": "s" }, "mqttReasonCode": 141 });
    bench.send(&[json!({ "deviceId": "d2", "disconnected": disconnected })]);
    let list = |query: &str| bench.get(&format!("/v1/tenants/acme/devices?{query}")).good();
    assert_eq!(ids(&list("")), ["d1", "d2", "d3", "d4", "d5", "d9"]);
    assert_eq!(ids(&list("sort=-lastMessage&type=pump")), ["d4", "d5", "d2", "d1", "d3"], "latest first");
    assert_eq!(ids(&list("sort=lastMessage")), ["d9", "d3", "d1", "d2", "d5", "d4"], "never is the earliest");
    assert_eq!(ids(&list("lastMessageBefore=-1d")), ["d9"], "before includes never");
    assert_eq!(ids(&list("namePrefix=pump%203")), ["d3"]);
    assert_eq!(ids(&list("search=PUMP%204")), ["d4"]);
    assert_eq!(ids(&list("disconnectedBy=network&reasonCode=0x8D")), ["d2"]);
    assert_eq!(ids(&list("type=!pump")), ["d9"]);
    let counts = list("type=pump&counts=true")["counts"].clone();
    assert_eq!(counts["connection"], json!({ "DISCONNECTED": 1, "UNKNOWN": 4 }));

    let mut found = Vec::new();
    let mut query = "limit=2&sort=-lastMessage".to_owned();
    loop {
        let page = list(&query);
        found.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=2&cursor={next}");
    }
    assert_eq!(found, ["d4", "d5", "d2", "d1", "d3", "d9"]);

    for (query, why) in [
        ("colour=red", "no such parameter"),
        ("limit=0", "1 to 1000"),
        ("connection=ONLINE", "UNKNOWN, CONNECTED, DISCONNECTED"),
        ("cursor=x", "leave it out"),
        ("sort=name", "neither id nor one of"),
        ("lastMessageBefore=soon", "is no time"),
        ("sort=id&sort=id", "said twice"),
    ] {
        let problem = bench.get(&format!("/v1/tenants/acme/devices?{query}")).problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(why), "{query}: {problem}");
    }
}

#[test]
fn events_come_in_every_form_and_all_of_them_or_none() {
    let bench = Bench::new();
    let path = "/v1/tenants/acme/events";
    let post = |kind: &str, body: &str| bench.call("POST", path, Some(INGEST), Some((kind, body)));
    assert_eq!(post("application/json", &message("a").to_string()).good()["accepted"], 1);
    assert_eq!(
        post("application/json", &json!([message("b"), message("c")]).to_string()).good()["accepted"],
        2
    );
    assert_eq!(
        post("application/x-ndjson", &format!("{}\n\n{}\n", message("d"), message("e"))).good()["accepted"],
        2
    );
    let cloud = |id: &str| {
        json!({
            "specversion": "1.0", "id": id, "source": "/edge", "type": "activity", "subject": "f",
            "time": "2026-01-01T00:00:01Z", "data": { "activity": { "kind": "mqtt_publish" } },
        })
    };
    assert_eq!(post("application/cloudevents+json", &cloud("1").to_string()).good()["accepted"], 1);
    let batch = json!([cloud("2"), cloud("3")]).to_string();
    assert_eq!(post("application/cloudevents-batch+json; charset=utf-8", &batch).good()["accepted"], 2);
    let headers = [
        ("authorization", format!("Bearer {INGEST}")),
        ("content-type", "application/json".to_owned()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", "4".to_owned()),
        ("ce-subject", "g".to_owned()),
    ];
    let body = json!({ "activity": { "kind": "heartbeat" } }).to_string();
    assert_eq!(bench.ask(bench.address(), "POST", path, &headers, Some(&body)).status, 202);
    bench.until("all of them", || {
        (bench.get("/v1/tenants/acme/summary").good()["devices"] == 7).then_some(())
    });
    assert_eq!(bench.get("/v1/tenants/acme/devices/f").good()["lastMessage"], "2026-01-01T00:00:01.000Z");

    let bad = json!([
        message("h"),
        { "deviceId": "h", "activity": { "kind": "telepathy" } },
        { "tenant": "other", "deviceId": "h", "activity": { "kind": "ping" } },
        { "deviceId": "h", "maintenance": { "on": true, "actor": "somebody else" } },
        { "node": { "nodeId": "n", "status": "down" } },
        { "tick": "2026-01-01T00:00:00Z" },
        7,
    ]);
    let problem = post("application/json", &bad.to_string()).problem(400);
    let errors = problem["errors"].as_array().unwrap();
    let said: Vec<(u64, &str)> = errors
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["detail"].as_str().unwrap()))
        .collect();
    let says = |index: u64, why: &str| said.iter().any(|(at, detail)| *at == index && detail.contains(why));
    assert_eq!(errors.len(), 6, "{problem}");
    assert!(says(1, "telepathy") && says(2, "another tenant") && says(3, "PUT …/maintenance"), "{problem}");
    assert!(says(4, "all tenants") && says(5, "its own clock"), "{problem}");
    bench.get("/v1/tenants/acme/devices/h").problem(404);
    post("text/csv", "h,1").problem(415);
}

#[test]
fn answers_have_bounds_and_are_as_small_as_they_can_be() {
    let limits = Limits { body_bytes: 2_000, ..Limits::default() };
    let bench = Bench::with(limits);
    bench.send(&(0..15).map(|number| message(&format!("device-{number}"))).collect::<Vec<_>>());
    let large = "x".repeat(3_000);
    let problem = bench
        .call("POST", "/v1/tenants/acme/events", Some(INGEST), Some(("application/json", &large)))
        .problem(413);
    assert!(problem["detail"].as_str().unwrap().contains("2000 bytes"), "{problem}");
    bench.get("/v1/tenants/acme/nothing").problem(404);
    bench.call("PATCH", "/v1/tenants/acme/devices", Some(VIEWER), None).problem(405);
    bench.get("/v1/tenants/acme/devices/a%0Ab").problem(400);

    let path = "/v1/tenants/acme/devices/device-1";
    let first = bench.get(path);
    let tag = first.header("etag").to_owned();
    assert!(tag.len() > 10, "{tag}");
    let ask = |tag: &str| {
        let headers = [("authorization", format!("Bearer {VIEWER}")), ("if-none-match", tag.to_owned())];
        bench.ask(bench.address(), "GET", path, &headers, None)
    };
    let unchanged = ask(&tag);
    assert_eq!((unchanged.status, unchanged.text.as_str()), (304, ""));
    bench.send(&[message("device-1")]);
    assert_eq!(ask(&tag).status, 200, "it was heard from again");

    for coding in ["gzip", "zstd"] {
        let headers = [("authorization", format!("Bearer {VIEWER}")), ("accept-encoding", coding.to_owned())];
        let mut request =
            ureq::http::Request::get(format!("http://{}/v1/tenants/acme/devices", bench.address()));
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        let response = bench.agent.run(request.body(()).unwrap()).unwrap();
        assert_eq!(response.headers()["content-encoding"], coding);
    }
}
