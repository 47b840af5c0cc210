//! The Cumulocity face: C01–C36 of what that product does.

use lastseen::http::Limits;
use serde_json::{Value, json};

use super::{Plain, Probe, ask_as, ask_with, get, holds_its_tables, ids, read};
use crate::http::{AUDITOR, Answer, BOSS, Bench, INGEST, OPERATOR, STRANGER, VIEWER};

const OBJECTS: &str = "/inventory/managedObjects";
const ALARMS: &str = "/alarm/alarms";
const RECORDS: &str = "/audit/auditRecords";

/// So many minutes after ten in the evening, two hours before the bench begins.
fn at(minute: u32) -> String {
    format!("2025-12-31T{}:{:02}:00.000Z", 22 + minute / 60, minute % 60)
}

fn register(device: &str, fields: Value) -> Value {
    json!({ "deviceId": device, "observedAt": at(0), "register": fields })
}

pub fn message(device: &str, minute: u32) -> Value {
    json!({ "deviceId": device, "observedAt": at(minute), "activity": { "kind": "measurement_create" } })
}

fn connected(device: &str, minute: u32) -> Value {
    let body = json!({ "channel": "mqtt", "session": { "id": format!("{device}-{minute}") } });
    json!({ "deviceId": device, "observedAt": at(minute), "connected": body })
}

fn interval(device: &str, minute: u32, minutes: i64) -> Value {
    let body = json!({ "minutes": minutes, "source": "device" });
    json!({ "deviceId": device, "observedAt": at(minute), "requiredInterval": body })
}

/// One device of each status: pump-1 sends and is connected, pump-2 fell silent, gate-1 is in maintenance, fresh was never
/// heard from, plain has no interval, bare is registered and no more; and an application.
pub fn fleet() -> Bench {
    let bench = Bench::new();
    bench.send(&[
        register("pump-1", json!({ "deviceType": "pump", "name": "Pump 1" })),
        register("pump-2", json!({ "deviceType": "pump", "name": "Pump 2" })),
        register("gate-1", json!({ "deviceType": "gate", "name": "Gate 1", "clientKind": "gateway" })),
        register("billing", json!({ "name": "Billing", "clientKind": "application" })),
        register("bare", json!({ "deviceType": "pump*" })),
        connected("pump-1", 100),
        message("pump-1", 110),
        message("pump-2", 1),
        message("gate-1", 60),
        message("plain", 10),
    ]);
    // Their order on different topics is that of their arrival.
    bench.send(&[
        interval("pump-1", 105, 600),
        interval("pump-2", 5, 30),
        interval("gate-1", 61, -15),
        interval("fresh", 90, 600),
    ]);
    bench.until("pump-2 is silent", || {
        let status = bench.get(&format!("{OBJECTS}/pump-2")).good()["c8y_Availability"]["status"].clone();
        (status == "UNAVAILABLE").then_some(())
    });
    bench
}

fn put(bench: &Bench, path: &str, body: Value) -> Answer {
    bench.put(path, body)
}

fn object(bench: &Bench, id: &str) -> Value {
    get(bench, &format!("{OBJECTS}/{id}"))
}

fn listed(bench: &Bench, query: &str) -> Vec<String> {
    ids(&get(bench, &format!("{OBJECTS}?pageSize=100&{query}")), "managedObjects")
}

/// What an error is there.
#[track_caller]
fn error(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    let error = answer.json();
    assert!(error["error"].as_str().is_some_and(|error| error.starts_with("lastseen/")), "{error}");
    assert_eq!(error["info"], "/docs/cumulocity");
    error["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_managed_object_is_told_field_for_field() {
    let bench = fleet();
    let origin = format!("http://{}", bench.address());
    let pump = object(&bench, "pump-1");
    let none = json!({ "critical": 0, "major": 0, "minor": 0, "warning": 0 });
    assert!(pump["creationTime"].as_str().unwrap().starts_with("2026-01-01T0"), "{pump}");
    assert_eq!(
        pump,
        json!({
            "id": "pump-1", "self": format!("{origin}{OBJECTS}/pump-1"), "name": "Pump 1", "type": "pump",
            "creationTime": pump["creationTime"], "lastUpdated": at(105), "c8y_IsDevice": {},
            "c8y_Availability": { "lastMessage": at(110), "status": "AVAILABLE" },
            "c8y_Connection": { "status": "CONNECTED" },
            "c8y_RequiredAvailability": { "responseInterval": 600 },
            "c8y_ActiveAlarmsStatus": none,
        })
    );
    let fragments = |id: &str| {
        let object = object(&bench, id);
        let names = ["c8y_Availability", "c8y_Connection", "c8y_RequiredAvailability"];
        Value::from(names.map(|name| object.get(name).cloned().unwrap_or_default()).to_vec())
    };
    for (id, availability, connection, required) in [
        ("pump-2", json!({ "lastMessage": at(1), "status": "UNAVAILABLE" }), "DISCONNECTED", 30),
        ("gate-1", json!({ "lastMessage": at(60), "status": "MAINTENANCE" }), "MAINTENANCE", -15),
        ("fresh", Value::Null, "DISCONNECTED", 600),
    ] {
        let expected = json!([availability, { "status": connection }, { "responseInterval": required }]);
        assert_eq!(fragments(id), expected, "{id}");
    }
    assert_eq!(fragments("plain"), json!([{ "lastMessage": at(10) }, null, null]), "not monitored");
    assert_eq!(fragments("bare"), json!([null, null, null]), "never heard from");
    assert_eq!(object(&bench, "pump-2")["c8y_ActiveAlarmsStatus"]["major"], 1);
    assert_eq!(object(&bench, "billing").get("c8y_IsDevice"), None, "an application is no device");
    // Lists tell the same, but for when it was created.
    let all = get(&bench, &format!("{OBJECTS}?pageSize=100"));
    for listed in all["managedObjects"].as_array().unwrap() {
        let mut one = object(&bench, listed["id"].as_str().unwrap());
        one.as_object_mut().unwrap().remove("creationTime");
        assert_eq!(one, *listed);
    }
    assert!(error(bench.get(&format!("{OBJECTS}/pump-9")), 404).contains("\"pump-9\""));
}

#[test]
fn availability_is_told_as_todays_client_reads_it() {
    let bench = fleet();
    let told = |id: &str| get(&bench, &format!("{OBJECTS}/{id}/availability"));
    for (id, last, interval, data, connection) in [
        ("pump-1", json!(at(110)), json!("600 MINUTES"), "AVAILABLE", "CONNECTED"),
        ("pump-2", json!(at(1)), json!("30 MINUTES"), "UNAVAILABLE", "DISCONNECTED"),
        ("gate-1", json!(at(60)), json!("-15 MINUTES"), "MAINTENANCE", "MAINTENANCE"),
        ("fresh", json!(null), json!("600 MINUTES"), "UNKNOWN", "DISCONNECTED"),
        ("plain", json!(at(10)), json!(null), "NOT_MONITORED", "UNKNOWN"),
    ] {
        let expected = json!({
            "deviceId": id, "externalId": id, "lastMessage": last, "interval": interval, "dataStatus": data,
            "connectionStatus": connection,
        });
        assert_eq!(told(id), expected);
    }
    error(bench.get(&format!("{OBJECTS}/pump-9/availability")), 404);
}

#[test]
fn lists_find_whom_they_say() {
    let bench = fleet();
    let all = vec!["bare", "billing", "fresh", "gate-1", "plain", "pump-1", "pump-2"];
    let without = |some: &[&str]| all.iter().copied().filter(|id| !some.contains(id)).collect::<Vec<_>>();
    for (query, expected) in [
        ("", all.clone()),
        ("type=pump", vec!["pump-1", "pump-2"]),
        ("type=pump*", vec!["bare"]),
        ("type=pum", vec![]),
        ("fragmentType=c8y_IsDevice", without(&["billing"])),
        ("fragmentType=c8y_RequiredAvailability", vec!["fresh", "gate-1", "pump-1", "pump-2"]),
        ("fragmentType=c8y_Availability", vec!["gate-1", "plain", "pump-1", "pump-2"]),
        ("fragmentType=c8y_Connection", vec!["fresh", "gate-1", "pump-1", "pump-2"]),
        ("fragmentType=c8y_ActiveAlarmsStatus", all.clone()),
        ("fragmentType=c8y_IsDeviceGroup", vec![]),
        ("ids=pump-2,pump-9,bare", vec!["pump-2", "bare"]),
        ("ids=pump-2,gate-1&type=gate", vec!["gate-1"]),
        ("ids=", vec![]),
        ("type=pump&fragmentType=c8y_Connection&query=name eq 'Pump 2'", vec!["pump-2"]),
        ("colour=red", all.clone()),
    ] {
        assert_eq!(listed(&bench, &query.replace(' ', "%20")), expected, "{query}");
    }
}

#[test]
fn queries_find_whom_they_say() {
    let bench = fleet();
    let ask = |parameter: &str, query: &str| {
        let said = query.replace('%', "%25").replace(' ', "%20").replace('+', "%2B").replace('&', "%26");
        listed(&bench, &format!("{parameter}={said}"))
    };
    let (all, devices) = (listed(&bench, ""), listed(&bench, "fragmentType=c8y_IsDevice"));
    let opposite = |some: &[&str]| -> Vec<String> {
        all.iter().filter(|id| !some.contains(&id.as_str())).cloned().collect()
    };
    for (query, expected) in [
        ("c8y_Availability.status eq 'AVAILABLE'", vec!["pump-1"]),
        ("c8y_Availability.status eq UNAVAILABLE", vec!["pump-2"]),
        ("c8y_Availability.status eq 'MAINTENANCE'", vec!["gate-1"]),
        ("c8y_Connection.status eq 'CONNECTED'", vec!["pump-1"]),
        ("c8y_Connection.status eq 'DISCONNECTED'", vec!["fresh", "pump-2"]),
        ("c8y_Connection.status eq 'MAINTENANCE'", vec!["gate-1"]),
        ("c8y_Availability.lastMessage le '2025-12-31T22:10:00.000Z'", vec!["plain", "pump-2"]),
        ("c8y_Availability.lastMessage lt '2025-12-31T22:10:00.000Z'", vec!["pump-2"]),
        ("c8y_Availability.lastMessage ge '2025-12-31T23:00:00.000+00:00'", vec!["gate-1", "pump-1"]),
        ("c8y_Availability.lastMessage gt '2025-12-31T23:00:00.000Z'", vec!["pump-1"]),
        ("c8y_Availability.lastMessage eq '2025-12-31T23:00:00.000Z'", vec!["gate-1"]),
        ("lastUpdated ge '2025-12-31T23:01:00Z'", vec!["fresh", "gate-1", "pump-1"]),
        ("c8y_RequiredAvailability.responseInterval eq 600", vec!["fresh", "pump-1"]),
        ("c8y_RequiredAvailability.responseInterval le 0", vec!["gate-1"]),
        ("c8y_RequiredAvailability.responseInterval gt 30", vec!["fresh", "pump-1"]),
        ("c8y_ActiveAlarmsStatus.major gt 0", vec!["pump-2"]),
        ("c8y_ActiveAlarmsStatus.critical ge 1", vec![]),
        ("name eq 'Pump 1'", vec!["pump-1"]),
        ("name eq 'pump 1'", vec![]),
        ("name eq 'Pump*'", vec!["pump-1", "pump-2"]),
        ("name eq '*1'", vec!["gate-1", "pump-1"]),
        ("type eq pump", vec!["pump-1", "pump-2"]),
        ("type eq 'p*'", vec!["bare", "pump-1", "pump-2"]),
        ("id eq 'pump-*'", vec!["pump-1", "pump-2"]),
        ("has(c8y_Connection)", vec!["fresh", "gate-1", "pump-1", "pump-2"]),
        ("has(c8y_Availability)", vec!["gate-1", "plain", "pump-1", "pump-2"]),
        ("c8y_Availability.status eq 'AVAILABLE' or type eq 'gate'", vec!["gate-1", "pump-1"]),
        (
            "type eq 'pump' and (id eq 'pump-1' or c8y_ActiveAlarmsStatus.major eq 1)",
            vec!["pump-1", "pump-2"],
        ),
        ("type eq 'pump' and not(c8y_Availability.status eq 'AVAILABLE')", vec!["pump-2"]),
    ] {
        assert_eq!(ask("query", query), expected, "{query}");
        assert_eq!(ask("query", &format!("$filter=({query})")), expected, "{query}");
        assert_eq!(ask("query", &format!("not({query})")), opposite(&expected), "not {query}");
    }
    assert_eq!(ask("query", "name ne 'Pump 1'"), opposite(&["pump-1"]));
    assert_eq!(ask("query", "c8y_Availability.status ne 'AVAILABLE'"), opposite(&["pump-1"]));
    assert_eq!(ask("query", "$filter="), all);
    assert_eq!(ask("q", "not(has(c8y_RequiredAvailability))"), ["bare", "plain"], "devices only");
    assert_eq!(ask("q", ""), devices);
    let ordered = |order: &str| ask("query", &format!("$filter=has(c8y_RequiredAvailability){order}"));
    assert_eq!(ordered("+$orderby=c8y_Availability.lastMessage"), ["fresh", "pump-2", "gate-1", "pump-1"]);
    assert_eq!(ordered(" $orderby=lastUpdated desc"), ["pump-1", "fresh", "gate-1", "pump-2"]);
    assert_eq!(ordered("&$orderby=id asc"), ["fresh", "gate-1", "pump-1", "pump-2"]);
    assert_eq!(
        ask("query", "$filter=type eq 'gate' or type eq 'pump' $orderby=c8y_Availability.lastMessage desc"),
        ["pump-1", "gate-1", "pump-2"]
    );
    for (query, why) in [
        ("owner eq 'kim'", "\"owner\" cannot be asked for"),
        ("bygroupid(12)", "bygroupid(…) cannot be asked for"),
        ("$orderby=name", "lists are not ordered by"),
    ] {
        let said = query.replace(' ', "%20");
        let told = error(bench.get(&format!("{OBJECTS}?query={said}")), 400);
        assert!(told.contains(why) && told.contains("supported are c8y_Availability.status"), "{told}");
    }
}

#[test]
fn pages_are_counted_and_one_past_the_end_is_empty() {
    let bench = Bench::new();
    bench.send(&(0..12).map(|number| message(&format!("p{number:02}"), number)).collect::<Vec<_>>());
    let page = |query: &str| get(&bench, &format!("{OBJECTS}?{query}"));
    let first = page("");
    assert_eq!(ids(&first, "managedObjects"), ["p00", "p01", "p02", "p03", "p04"], "five, as there");
    assert_eq!(first["statistics"], json!({ "currentPage": 1, "pageSize": 5 }));
    assert_eq!(first.get("prev"), None);
    let last = page("currentPage=3&withTotalPages=true&withTotalElements=true");
    assert_eq!(ids(&last, "managedObjects"), ["p10", "p11"]);
    let statistics = json!({ "currentPage": 3, "pageSize": 5, "totalPages": 3, "totalElements": 12 });
    assert_eq!(last["statistics"], statistics);
    assert_eq!(last.get("next"), None);
    for beyond in ["currentPage=4", "currentPage=1000000000&pageSize=2000"] {
        let past = page(beyond);
        assert_eq!(past["managedObjects"], json!([]), "{beyond}");
    }
    for order in
        ["", "$orderby=c8y_Availability.lastMessage", "$filter=id%20eq%20'p0*'%20or%20id%20eq%20'p1*'"]
    {
        let (mut seen, mut number) = (Vec::new(), 1);
        let mut next = Some(format!("{OBJECTS}?pageSize=4&query={order}"));
        while let Some(address) = next {
            let page = get(&bench, address.trim_start_matches(&format!("http://{}", bench.address())));
            assert_eq!(page["statistics"]["currentPage"], number, "{order}");
            seen.extend(ids(&page, "managedObjects"));
            next = page["next"].as_str().map(str::to_owned);
            number += 1;
        }
        let all: Vec<String> = (0..12).map(|number| format!("p{number:02}")).collect();
        assert_eq!(seen, all, "{order}: everybody once, by the links alone");
    }
    for (query, why) in [
        ("pageSize=0", "pageSize: \"0\" is no whole number from 1 to 2000"),
        ("pageSize=2001", "from 1 to 2000"),
        ("currentPage=0", "currentPage: "),
        ("withTotalPages=yes", "withTotalPages: "),
    ] {
        let told = error(bench.get(&format!("{OBJECTS}?{query}")), 400);
        assert!(told.contains(why), "{query}: {told}");
    }
}

#[test]
fn an_empty_put_is_a_heartbeat() {
    let bench = fleet();
    let before = object(&bench, "pump-2");
    for body in ["{}", "{\"id\":\"pump-2\"}", ""] {
        let last = object(&bench, "pump-2")["c8y_Availability"]["lastMessage"].clone();
        let path = format!("{OBJECTS}/pump-2");
        let answer = bench.call("PUT", &path, Some(INGEST), Some(("application/json", body)));
        assert_eq!(answer.good(), json!({ "id": "pump-2" }), "{body}: the id, and nothing else");
        bench.until("it is heard", || {
            let object = object(&bench, "pump-2");
            (object["c8y_Availability"]["lastMessage"] != last).then_some(())
        });
    }
    let after = object(&bench, "pump-2");
    assert_eq!(after["c8y_Availability"]["status"], "AVAILABLE", "{after}");
    assert_eq!(after["lastUpdated"], before["lastUpdated"], "nobody edited it");
    assert_eq!(after["c8y_ActiveAlarmsStatus"]["major"], 0, "cleared by itself (C22)");
    // An application that speaks for the device is not it (C10). What is sent behind it shows that it was passed over.
    let silent = object(&bench, "gate-1")["c8y_Availability"].clone();
    let secret = ("authorization", format!("Bearer {INGEST}"));
    let key = ("x-cumulocity-application-key", "app".to_owned());
    let path = format!("{OBJECTS}/gate-1");
    let answer = bench.ask(bench.address(), "PUT", &path, &[secret, key], Some("{}"));
    assert_eq!(answer.good(), json!({ "id": "gate-1" }));
    bench.send(&[message("gate-1", 2)]);
    assert_eq!(object(&bench, "gate-1")["c8y_Availability"], silent);
    // A device that is not there does not come into being by it.
    error(bench.put(&format!("{OBJECTS}/pump-9"), json!({})), 404);
    error(bench.get(&format!("{OBJECTS}/pump-9")), 404);
}

#[test]
fn a_put_sets_the_interval_negates_it_or_removes_it() {
    let bench = fleet();
    let path = format!("{OBJECTS}/plain");
    let set = |minutes: Value| {
        let body = json!({ "c8y_RequiredAvailability": { "responseInterval": minutes } });
        let told = put(&bench, &path, body).good();
        assert_eq!(object(&bench, "plain")["c8y_RequiredAvailability"], told["c8y_RequiredAvailability"]);
        told
    };
    let told = set(json!(600));
    assert_eq!(told["c8y_RequiredAvailability"], json!({ "responseInterval": 600 }));
    assert_eq!(told["c8y_Connection"]["status"], "DISCONNECTED");
    assert_ne!(told["lastUpdated"], at(0), "edited just now (C28)");
    assert_eq!(told["c8y_Availability"]["lastMessage"], at(10));
    let told = set(json!(-600));
    assert_eq!(told["c8y_RequiredAvailability"], json!({ "responseInterval": -600 }));
    assert_eq!(told["c8y_Availability"]["status"], "MAINTENANCE");
    assert_eq!(set(json!(600))["c8y_RequiredAvailability"]["responseInterval"], 600, "and back");
    assert_eq!(set(json!(0))["c8y_Availability"]["status"], "MAINTENANCE", "zero is maintenance (C03)");
    for (said, clamped) in [(json!(40_000), 32_767), (json!(-1e30), -32_768), (json!(32_768u64), 32_767)] {
        let told = set(said);
        assert_eq!(told["c8y_RequiredAvailability"]["responseInterval"], clamped, "clamped (C02)");
    }
    let told = put(&bench, &path, json!({ "id": "plain", "c8y_RequiredAvailability": null })).good();
    assert_eq!((told.get("c8y_RequiredAvailability"), told.get("c8y_Connection")), (None, None), "{told}");
    // Who negates it switches maintenance; who gives another number sets an interval.
    let audit = bench.call("GET", "/v1/tenants/acme/devices/plain/audit", Some(AUDITOR), None).good();
    let commands: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|item| item["command"].as_str().unwrap()).collect();
    let (set, switched) = ("required_interval", "maintenance");
    assert_eq!(commands, [set, switched, set, set, set, switched, switched, set], "the latest first");
    for (body, why) in [
        (json!({ "name": "Pump" }), "name: it cannot be written"),
        (json!({ "c8y_RequiredAvailability": {} }), "must be a whole number of minutes"),
        (json!({ "c8y_RequiredAvailability": { "responseInterval": 1.5 } }), "whole number"),
        (json!({ "c8y_RequiredAvailability": { "responseInterval": "30" } }), "whole number"),
        (json!({ "id": "pump-1" }), "another than that of the address"),
        (json!([]), "the body: "),
    ] {
        let told = error(put(&bench, &path, body.clone()), 400);
        assert!(told.contains(why), "{body}: {told}");
    }
    error(put(&bench, &format!("{OBJECTS}/pump-9"), json!({ "c8y_RequiredAvailability": null })), 404);
}

#[test]
fn an_alarm_is_told_field_for_field_acknowledged_and_cleared() {
    let bench = fleet();
    let origin = format!("http://{}", bench.address());
    let page = get(&bench, ALARMS);
    let alarm = &page["alarms"][0];
    let id = alarm["id"].as_str().unwrap();
    assert!(alarm["lastUpdated"].as_str().unwrap().starts_with("2026-01-01T0"), "concluded later: {alarm}");
    assert_eq!(
        page,
        json!({
            "self": format!("{origin}{ALARMS}?currentPage=1"),
            "statistics": { "currentPage": 1, "pageSize": 5 },
            "alarms": [{
                "id": id, "self": format!("{origin}{ALARMS}/{id}"), "type": "c8y_UnavailabilityAlarm",
                "source": { "id": "pump-2", "name": "Pump 2", "self": format!("{origin}{OBJECTS}/pump-2") },
                "severity": "MAJOR", "status": "ACTIVE",
                "text": "No data received from device within required interval",
                "time": at(35), "creationTime": at(35), "lastUpdated": alarm["lastUpdated"], "count": 1,
            }],
        })
    );
    let path = format!("{ALARMS}/{id}");
    assert_eq!(get(&bench, &path), *alarm);
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{id}");
    let put = |status: &str| bench.put(&path, json!({ "status": status, "source": { "id": "pump-2" } }));
    assert_eq!(put("ACTIVE").good(), *alarm, "what it is already");
    for _ in 0..2 {
        let told = put("ACKNOWLEDGED").good();
        assert_eq!((&told["status"], &told["id"]), (&json!("ACKNOWLEDGED"), &alarm["id"]), "{told}");
        assert_eq!(told, get(&bench, &path));
    }
    assert_eq!(object(&bench, "pump-2")["c8y_ActiveAlarmsStatus"]["major"], 1, "not resolved yet");
    assert!(error(put("ACTIVE"), 409).contains("does not become ACTIVE again"));
    for _ in 0..2 {
        assert_eq!(put("CLEARED").good()["status"], "CLEARED");
    }
    assert_eq!(object(&bench, "pump-2")["c8y_ActiveAlarmsStatus"]["major"], 0);
    for status in ["ACTIVE", "ACKNOWLEDGED"] {
        error(put(status), 409);
    }
    for (body, why) in [
        (json!({ "severity": "MINOR" }), "severity: of an alarm the status alone can be changed"),
        (json!({ "status": "GONE" }), "none of ACTIVE, ACKNOWLEDGED, CLEARED"),
        (json!({ "status": 1 }), "none of ACTIVE"),
    ] {
        assert!(error(bench.put(&path, body.clone()), 400).contains(why), "{body}");
    }
    for unknown in ["x", &id[1..], "MTIgYQ"] {
        error(bench.get(&format!("{ALARMS}/{unknown}")), 404);
        error(bench.put(&format!("{ALARMS}/{unknown}"), json!({ "status": "CLEARED" })), 404);
    }
}

/// Three more devices that fell silent, at 22:10, 22:20 and 22:30: the first acknowledged, the second cleared.
pub fn silent(bench: &Bench) {
    let device = |number: u32| format!("silent-{number}");
    bench.send(&(0..3).map(|number| message(&device(number), number)).collect::<Vec<_>>());
    bench.send(&(0..3).map(|number| interval(&device(number), 10 * number + 5, 5)).collect::<Vec<_>>());
    bench.until("all are silent", || (get(bench, &format!("{ALARMS}/count")) == json!(4)).then_some(()));
    let all = get(bench, &format!("{ALARMS}?revert=true"));
    for (index, status) in [(0, "ACKNOWLEDGED"), (1, "CLEARED")] {
        let id = all["alarms"][index]["id"].as_str().unwrap();
        assert_eq!(
            bench.put(&format!("{ALARMS}/{id}"), json!({ "status": status })).good()["status"],
            status
        );
    }
}

#[test]
fn alarms_are_filtered_counted_and_paged() {
    let bench = fleet();
    silent(&bench);
    let sources = |query: &str| -> Vec<String> {
        let page = get(&bench, &format!("{ALARMS}?{query}"));
        let alarms = page["alarms"].as_array().unwrap().clone();
        alarms.iter().map(|alarm| alarm["source"]["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ["pump-2", "silent-2", "silent-1", "silent-0"];
    for (query, expected) in [
        ("", &all[..]),
        ("revert=true", &["silent-0", "silent-1", "silent-2", "pump-2"]),
        ("revert=false", &all),
        ("status=ACTIVE", &["pump-2", "silent-2"]),
        ("status=ACTIVE,ACKNOWLEDGED", &["pump-2", "silent-2", "silent-0"]),
        ("status=cleared", &["silent-1"]),
        ("resolved=true", &["silent-1"]),
        ("resolved=false", &["pump-2", "silent-2", "silent-0"]),
        ("severity=MAJOR,MINOR", &all),
        ("severity=CRITICAL", &[]),
        ("type=c8y_UnavailabilityAlarm", &all),
        ("type=c8y_Other,c8y_UnavailabilityAlarm", &all),
        ("type=c8y_Other", &[]),
        ("source=pump-2", &["pump-2"]),
        ("source=nobody", &[]),
        ("dateFrom=2025-12-31T22:20:00Z", &["pump-2", "silent-2", "silent-1"]),
        ("dateTo=2025-12-31T22:20:00Z", &["silent-0"]),
        ("createdFrom=2025-12-31T22:20:00Z&createdTo=2025-12-31T22:30:00Z", &["silent-1"]),
        ("createdFrom=2025-12-31T22:20:00Z&createdTo=2025-12-31T22:30:00Z&revert=true", &["silent-1"]),
        ("lastUpdatedTo=2026-01-01T00:00:00Z", &[]),
        ("lastUpdatedFrom=2026-01-01T00:00:00Z", &all),
        ("withSourceDevices=true&source=pump-2", &["pump-2"]),
    ] {
        assert_eq!(sources(query), expected, "{query}");
        let count = get(&bench, &format!("{ALARMS}/count?{}", query.replace("revert", "x")));
        assert_eq!(count, json!(expected.len()), "{query}");
    }
    let page = get(&bench, &format!("{ALARMS}?pageSize=3&currentPage=2&withTotalPages=true"));
    assert_eq!(page["statistics"], json!({ "currentPage": 2, "pageSize": 3, "totalPages": 2 }));
    assert_eq!(page["alarms"].as_array().unwrap().len(), 1);
    assert_eq!(sources("pageSize=3&currentPage=3"), [""; 0]);
    for (query, about) in
        [("status=GONE", "status: "), ("severity=HUGE", "severity: "), ("resolved=perhaps", "resolved: ")]
    {
        let told = error(bench.get(&format!("{ALARMS}?{query}")), 400);
        assert!(told.starts_with(about), "{told}");
    }
}

#[test]
fn many_alarms_are_acknowledged_and_cleared_at_once() {
    let bench = fleet();
    silent(&bench);
    let count = |query: &str| get(&bench, &format!("{ALARMS}/count?{query}"));
    let put = |query: &str, body: Value| bench.put(&format!("{ALARMS}?{query}"), body);
    let answer = put("source=silent-2", json!({ "status": "ACKNOWLEDGED" }));
    assert_eq!((answer.status, answer.json()), (202, json!({ "matched": 1 })));
    bench.until("it is acknowledged", || (count("status=ACKNOWLEDGED") == json!(2)).then_some(()));
    assert_eq!(put("severity=MAJOR", json!({ "status": "CLEARED" })).good(), json!({ "matched": 3 }));
    bench.until("all are cleared", || (count("resolved=false") == json!(0)).then_some(()));
    assert_eq!(count(""), json!(4), "they are told all the same");
    for body in [json!({}), json!({ "status": "ACTIVE" }), json!({ "status": "CLEARED", "text": "x" })] {
        error(put("", body), 400);
    }
}

#[test]
fn audit_records_tell_who_changed_what() {
    let bench = fleet();
    let path = format!("{OBJECTS}/plain");
    for minutes in [json!(600), json!(300), json!(-300), json!(300), json!(null)] {
        let required = if minutes.is_null() { minutes } else { json!({ "responseInterval": minutes }) };
        put(&bench, &path, json!({ "c8y_RequiredAvailability": required })).good();
    }
    let records = |query: &str| {
        let answer = bench.call("GET", &format!("{RECORDS}?{query}"), Some(AUDITOR), None).good();
        answer["auditRecords"].as_array().unwrap().clone()
    };
    let told = records("source=plain&pageSize=100");
    let activities: Vec<&str> = told.iter().map(|one| one["activity"].as_str().unwrap()).collect();
    assert_eq!(
        activities,
        [
            "Device availability disabled",
            "Device availability enabled",
            "Device put into maintenance state",
            "Device availability interval updated",
            "Device availability enabled",
        ]
    );
    for one in &told {
        assert_eq!(
            (&one["type"], &one["user"]),
            (&json!("Devices availability monitoring"), &json!("kim")),
            "{one}"
        );
        assert_eq!(one["source"]["id"], "plain");
        assert!(one["time"].as_str().unwrap().starts_with("2026-01-01T0"), "{one}");
    }
    assert!(
        told[3]["text"].as_str().unwrap().starts_with("Required interval set to 300 min by the operator")
    );
    let change = &told[3]["changes"][0];
    assert_eq!(
        (&change["previousValue"], &change["newValue"]),
        (&json!("600 min (set by the operator)"), &json!("300 min (set by the operator)"))
    );
    let mut once: Vec<&str> = told.iter().map(|one| one["id"].as_str().unwrap()).collect();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), told.len(), "ids are their own");
    assert_eq!(records("source=plain&pageSize=2&currentPage=3"), told[4..]);
    assert_eq!(records("source=plain&currentPage=9"), [""; 0]);
    assert_eq!(records("source=plain&pageSize=2&revert=true")[0], told[4]);
    assert_eq!(records("source=plain&user=nobody"), [""; 0]);
    assert_eq!(records("source=plain&type=Inventory"), [""; 0]);
    assert_eq!(records("source=pump-1&type=Inventory")[0]["activity"], "Managed object updated");
    assert_eq!(records("source=plain&dateTo=2026-01-01"), [""; 0]);
    assert_eq!(records("source=nobody"), [""; 0]);
    let told = error(bench.call("GET", RECORDS, Some(AUDITOR), None), 400);
    assert!(told.contains("source: it must be said"), "{told}");
}

#[test]
fn service_is_available_while_no_critical_alarm_is_open() {
    let bench = fleet();
    let share = |path: &str| {
        let told = get(&bench, path);
        [&told["lastDay"], &told["lastWeek"], &told["lastMonth"]].map(|share| share.as_f64())
    };
    let one = |id: &str| share(&format!("{OBJECTS}/{id}/serviceAvailability"));
    assert_eq!(one("pump-2"), [Some(100.0); 3], "its alarm is MAJOR");
    let policy = json!({ "alarms": [{ "typePrefix": "unavailability", "severity": "CRITICAL" }] });
    let body = policy.to_string();
    let set = bench.call("PUT", "/v1/policy?wait=10", Some(BOSS), Some(("application/json", &body)));
    assert_eq!(set.status, 200, "{}", set.text);
    bench.send(&[message("lost", 1)]);
    bench.send(&[interval("lost", 5, 55)]);
    bench.until("it is lost", || {
        (get(&bench, &format!("{ALARMS}/count?severity=CRITICAL")) == json!(1)).then_some(())
    });
    // Out of service since 23:00: an hour and what passed since, of a day, a week and 30 days.
    let [day, week, month] = one("lost").map(|share| share.unwrap());
    assert!(day < 95.84 && day > 90.0, "{day}");
    assert!(week < 99.41 && week > 98.0, "{week}");
    assert!(month < 99.87 && month > 99.0, "{month}");
    assert_eq!(one("pump-2"), [Some(100.0); 3]);
    let all = get(&bench, "/inventory/serviceAvailability");
    assert_eq!(all["devices"], 8);
    let lost_by_all = 8.0 * (100.0 - all["lastDay"].as_f64().unwrap());
    assert!((lost_by_all - (100.0 - day)).abs() < 0.5, "{all}: of all the time there was");
    error(bench.get(&format!("{OBJECTS}/nobody/serviceAvailability")), 404);
}

#[test]
fn every_parameter_does_what_the_table_says() {
    let bench = fleet();
    silent(&bench);
    put(
        &bench,
        &format!("{OBJECTS}/pump-1"),
        json!({ "c8y_RequiredAvailability": { "responseInterval": 700 } }),
    )
    .good();
    let acknowledge = json!({ "status": "ACKNOWLEDGED" });
    // Said again it changes nothing, so that every answer is the same twice.
    bench.put(ALARMS, acknowledge.clone()).good();
    bench.until("all are acknowledged", || {
        (get(&bench, &format!("{ALARMS}/count?status=ACTIVE")) == json!(0)).then_some(())
    });
    let alarms = get(&bench, ALARMS);
    let alarm = format!("{ALARMS}/{}", alarms["alarms"][0]["id"].as_str().unwrap());
    let records = format!("{RECORDS}?source=pump-1");
    let availability = format!("{OBJECTS}/pump-1/availability");
    let service = format!("{OBJECTS}/pump-1/serviceAvailability");
    let (one, count) = (format!("{OBJECTS}/pump-1"), format!("{ALARMS}/count"));
    let plain = [
        read("GET /inventory/managedObjects", OBJECTS),
        read("GET /inventory/managedObjects/{id}", &one),
        Plain {
            route: "PUT /inventory/managedObjects/{id}",
            address: "/inventory/managedObjects/gate-1",
            body: Some(json!({})),
        },
        read("GET /inventory/managedObjects/{id}/availability", &availability),
        read("GET /inventory/managedObjects/{id}/serviceAvailability", &service),
        read("GET /inventory/serviceAvailability", "/inventory/serviceAvailability"),
        read("GET /alarm/alarms", ALARMS),
        Plain { route: "PUT /alarm/alarms", address: ALARMS, body: Some(acknowledge) },
        read("GET /alarm/alarms/count", &count),
        read("GET /alarm/alarms/{id}", &alarm),
        Plain { route: "PUT /alarm/alarms/{id}", address: &alarm, body: Some(json!({})) },
        read("GET /audit/auditRecords", &records),
    ];
    let mut probes = Vec::new();
    let mut probe = |route: &'static str, address: &str, said: &[(&'static str, &str)]| {
        let mark = if address.contains('?') { '&' } else { '?' };
        for (name, value) in said {
            probes.push(Probe { route, name, said: format!("{address}{mark}{name}={value}") });
        }
    };
    let pages =
        [("pageSize", "2"), ("currentPage", "2"), ("withTotalPages", "true"), ("withTotalElements", "true")];
    let list = "GET /inventory/managedObjects";
    probe(list, OBJECTS, &pages);
    probe(
        list,
        OBJECTS,
        &[
            ("query", "name%20eq%20'Pump*'"),
            ("q", "has(c8y_IsDevice)"),
            ("type", "pump"),
            ("fragmentType", "c8y_Connection"),
            ("ids", "pump-1"),
            ("text", "Pump"),
            ("owner", "kim"),
            ("onlyRoots", "true"),
            ("childAdditionId", "1"),
            ("childAssetId", "1"),
            ("childDeviceId", "1"),
            ("withGroups", "true"),
        ],
    );
    let ignored = [
        ("withChildren", "true"),
        ("withChildrenCount", "true"),
        ("skipChildrenNames", "true"),
        ("withParents", "true"),
        ("withLatestValues", "true"),
    ];
    probe(list, OBJECTS, &ignored);
    probe("GET /inventory/managedObjects/{id}", &one, &ignored);
    let filter = [
        ("source", "pump-2"),
        ("status", "CLEARED"),
        ("severity", "CRITICAL"),
        ("type", "c8y_Other"),
        ("resolved", "true"),
        ("dateFrom", "2025-12-31T22:20:00Z"),
        ("dateTo", "2025-12-31T22:20:00Z"),
        ("createdFrom", "2025-12-31T22:20:00Z"),
        ("createdTo", "2025-12-31T22:20:00Z"),
        ("lastUpdatedFrom", "2027-01-01"),
        ("lastUpdatedTo", "2026-01-01"),
        ("withSourceAssets", "true"),
        ("withSourceDevices", "true"),
    ];
    for (route, address) in
        [("GET /alarm/alarms", ALARMS), ("GET /alarm/alarms/count", &*count), ("PUT /alarm/alarms", ALARMS)]
    {
        probe(route, address, &filter);
    }
    probe("GET /alarm/alarms", ALARMS, &pages);
    probe("GET /alarm/alarms", ALARMS, &[("revert", "true")]);
    let audit = "GET /audit/auditRecords";
    probe(audit, &records, &pages);
    probe(
        audit,
        &records,
        &[
            ("type", "Inventory"),
            ("user", "kim"),
            ("dateFrom", "2026-01-01"),
            ("dateTo", "2026-01-01"),
            ("revert", "true"),
            ("application", "cockpit"),
        ],
    );
    probes.push(Probe { route: audit, name: "source", said: format!("{RECORDS}?source=pump-2") });
    holds_its_tables(&bench, "cumulocity", &plain, &probes);
}

#[test]
fn addresses_and_types_are_those_of_the_vendors_clients() {
    let bench = fleet();
    let plain = object(&bench, "pump-1");
    for path in ["//inventory//managedObjects/pump-1", "/inventory/managedObjects///pump-1?x=//"] {
        assert_eq!(get(&bench, path), plain, "{path}: slashes are merged");
    }
    assert_eq!(bench.get("//v1//tenants/acme/devices").status, 404, "not those of the native API");
    assert_eq!(bench.get("//api/v0002/clientconnectionstates").status, 404, "nor those of another face");
    let accept = |path: &str, accept: &str| {
        let secret = ("authorization", format!("Bearer {VIEWER}"));
        bench.ask(bench.address(), "GET", path, &[secret, ("accept", accept.to_owned())], None)
    };
    let path = format!("{OBJECTS}/pump-1");
    let managed = "application/vnd.com.nsn.cumulocity.managedobject+json";
    for (said, kind) in [
        (managed, managed),
        (
            "application/vnd.com.nsn.cumulocity.managedObjectCollection+json;ver=0.9",
            "application/vnd.com.nsn.cumulocity.managedObjectCollection+json",
        ),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "application/json"),
    ] {
        let answer = accept(&path, said);
        assert_eq!((answer.header("content-type"), answer.json()), (kind, plain.clone()), "{said}");
    }
    error(accept(&format!("{OBJECTS}/pump-9"), managed), 404);
    // Ids are ids of devices, whatever they are made of.
    bench.send(&[message("a b?c#d%é", 1), message("..", 2)]);
    for id in ["a b?c#d%é", ".."] {
        let page = get(
            &bench,
            &format!(
                "{OBJECTS}?query=id%20eq%20'{}'",
                id.replace('%', "%25")
                    .replace(' ', "%20")
                    .replace('#', "%23")
                    .replace('?', "%3F")
                    .replace('é', "%C3%A9")
            ),
        );
        let own = page["managedObjects"][0]["self"].as_str().unwrap_or_else(|| panic!("{id}: {page}"));
        let path = own.trim_start_matches(&format!("http://{}", bench.address()));
        assert_eq!(get(&bench, path)["id"], id, "{own}");
    }
    // Behind TLS of somebody else, addresses say so.
    let secret = ("authorization", format!("Bearer {VIEWER}"));
    let behind = ("x-forwarded-proto", "https".to_owned());
    let told = bench.ask(bench.address(), "GET", &path, &[secret, behind], None).good();
    assert_eq!(told["self"], format!("https://{}{path}", bench.address()));
}

#[test]
fn what_is_not_served_says_what_is() {
    let bench = fleet();
    for (method, path, status) in [
        ("GET", "/inventory/binaries", 404),
        ("GET", "/event/events", 404),
        ("GET", "/measurement/measurements", 404),
        ("POST", "/identity/globalIds/1/externalIds", 404),
        ("GET", "/user/currentUser", 404),
        ("GET", "/tenant/currentTenant", 404),
        ("POST", "/devicecontrol/operations", 404),
        ("POST", OBJECTS, 405),
        ("DELETE", "/inventory/managedObjects/pump-1", 405),
        ("POST", ALARMS, 405),
        ("DELETE", ALARMS, 405),
    ] {
        let told = error(bench.call(method, path, Some(OPERATOR), None), status);
        for route in ["GET /inventory/managedObjects/{id}", "PUT /alarm/alarms/{id}", "/docs/cumulocity"] {
            assert!(told.contains(route), "{method} {path}: {told}");
        }
    }
    let told = error(bench.get(&format!("{OBJECTS}?fragmentType=c8y_Hardware")), 400);
    assert!(told.contains("there are c8y_IsDevice, c8y_Availability"), "{told}");
    // The pages of tenants are no face.
    assert!(bench.get("/tenants/acme").text.contains("<html"));
}

#[test]
fn the_bounds_of_the_native_api_hold_and_are_told_in_the_words_of_the_face() {
    let bench = Bench::with(Limits { body_bytes: 2_000, ..Limits::default() });
    bench.send(&[message("pump-1", 1)]);
    let path = format!("{OBJECTS}/pump-1");
    let said = |bytes: usize| Some(("application/json", format!("{{{}}}", " ".repeat(bytes - 2))));
    for (bytes, expected) in [(2_000, 200), (2_001, 413)] {
        let body = said(bytes);
        let body = body.as_ref().map(|(kind, body)| (*kind, &**body));
        let answer = bench.call("PUT", &path, Some(OPERATOR), body);
        if expected == 200 {
            assert_eq!(answer.good(), json!({ "id": "pump-1" }));
        } else {
            assert!(error(answer, expected).contains("2000"));
        }
    }
    // An address that is no text names nobody.
    error(bench.get(&format!("{OBJECTS}/%FF")), 400);
    error(bench.get(&format!("{OBJECTS}?currentPage=1&currentPage=2")), 400);
    for body in ["{", "[]", "\"x\""] {
        error(bench.call("PUT", &path, Some(OPERATOR), Some(("application/json", body))), 400);
    }
}

#[test]
fn a_token_has_the_rights_that_it_has_everywhere() {
    let bench = fleet();
    let pump = format!("{OBJECTS}/pump-2");
    let alarm = get(&bench, ALARMS)["alarms"][0]["id"].as_str().unwrap().to_owned();
    let alarm = format!("{ALARMS}/{alarm}");
    let (service, count) = ("/inventory/serviceAvailability", format!("{ALARMS}/count"));
    let records = format!("{RECORDS}?source=pump-2");
    let call = |method: &str, path: &str, secret: Option<&str>, body: &Value| {
        let body = body.to_string();
        let body = (method == "PUT").then_some(("application/json", &*body));
        bench.call(method, path, secret, body).status
    };
    let (empty, status) = (json!({}), json!({ "status": "ACKNOWLEDGED" }));
    let interval = json!({ "c8y_RequiredAvailability": { "responseInterval": 30 } });
    // Who may: viewer, operator, ingest, auditor.
    for (method, path, body, may) in [
        ("GET", OBJECTS, &empty, [true, true, false, true]),
        ("GET", &pump, &empty, [true, true, false, true]),
        ("GET", &format!("{pump}/availability"), &empty, [true, true, false, true]),
        ("GET", &format!("{pump}/serviceAvailability"), &empty, [true, true, false, true]),
        ("GET", service, &empty, [true, true, false, true]),
        ("GET", ALARMS, &empty, [true, true, false, true]),
        ("GET", &count, &empty, [true, true, false, true]),
        ("GET", &alarm, &empty, [true, true, false, true]),
        ("GET", &records, &empty, [false, false, false, true]),
        ("PUT", &pump, &empty, [false, true, true, false]),
        ("PUT", &pump, &interval, [false, true, false, false]),
        ("PUT", &alarm, &empty, [false, true, false, false]),
        ("PUT", ALARMS, &status, [false, true, false, false]),
    ] {
        for (secret, may) in [VIEWER, OPERATOR, INGEST, AUDITOR].into_iter().zip(may) {
            let told = call(method, path, Some(secret), body);
            assert_eq!(told != 403, may, "{method} {path} {secret}: {told}");
            assert!(told < 300 || told == 403, "{method} {path} {secret}: {told}");
        }
        assert_eq!(call(method, path, None, body), 401, "{method} {path}");
        assert_eq!(call(method, path, Some("guessed"), body), 401, "{method} {path}");
    }
    // A viewer's word about an alarm changes nothing, nor does that of another tenant.
    let bench = fleet();
    let page = get(&bench, ALARMS);
    let path = format!("{ALARMS}/{}", page["alarms"][0]["id"].as_str().unwrap());
    let body = status.to_string();
    for (secret, expected) in [(VIEWER, 403), (STRANGER, 404)] {
        let refused = bench.call("PUT", &path, Some(secret), Some(("application/json", &body)));
        error(refused, expected);
    }
    assert_eq!(get(&bench, ALARMS), page);
    for path in [OBJECTS, ALARMS] {
        let told = bench.call("GET", path, Some(STRANGER), None).good();
        assert!(!told.to_string().contains("pump"), "{told}");
    }
    assert_eq!(bench.call("GET", &count, Some(STRANGER), None).good(), json!(0));
    let all = bench.call("PUT", ALARMS, Some(STRANGER), Some(("application/json", &body))).good();
    assert_eq!(all, json!({ "matched": 0 }));
    let told = |id: &str| {
        let refused = error(bench.call("GET", &format!("{OBJECTS}/{id}"), Some(STRANGER), None), 404);
        refused.replace(id, "ID")
    };
    assert_eq!(told("pump-1"), told("nobody"));
    let theirs = bench.call("PUT", &format!("{OBJECTS}/pump-1"), Some(STRANGER), None);
    error(theirs, 404);
}

#[test]
fn user_names_are_those_of_the_vendors_clients() {
    let bench = fleet();
    let one = format!("{OBJECTS}/pump-1");
    for user in ["acme/kim", "acme/", "acme/a@b.c", "lee"] {
        assert_eq!(ask_as(&bench, "GET", &one, user, VIEWER).good()["id"], "pump-1", "{user}");
    }
    for user in ["other/kim", "acme", "kim", "", "ac/me"] {
        let told = error(ask_as(&bench, "GET", &one, user, VIEWER), 403);
        assert!(told.contains("TENANT/ANYTHING"), "{user:?}: {told}");
    }
    error(ask_as(&bench, "GET", &one, "acme/kim", "guessed"), 401);
    // A token for all tenants says by its user which is meant.
    error(bench.call("GET", &one, Some(BOSS), None), 403);
    assert_eq!(ask_as(&bench, "GET", &one, "acme/boss", BOSS).good()["id"], "pump-1");
    error(ask_as(&bench, "GET", &one, "nowhere/boss", BOSS), 403);
    let beat = ask_with(&bench, "PUT", &one, ("acme/boss", BOSS), Some(&json!({})));
    assert_eq!(beat.good(), json!({ "id": "pump-1" }));
}
