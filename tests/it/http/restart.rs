//! The view after restarts: it goes on where it stood, and made anew it says the same.

use serde_json::{Value, json};

use super::{Bench, OPERATOR, VIEWER, until};

fn events() -> Vec<Value> {
    let mut events = Vec::new();
    for number in 0..20 {
        let device = format!("d{number}");
        events.push(json!({ "deviceId": device, "register": { "name": format!("N{number}"), "labels": { "n": number.to_string() } } }));
        events.push(
            json!({ "deviceId": device, "connected": { "channel": "mqtt", "session": { "id": "s1" } } }),
        );
        events.push(json!({ "deviceId": device, "activity": { "kind": "mqtt_publish", "channel": "mqtt" } }));
        if number % 3 == 0 {
            events.push(json!({ "deviceId": device, "disconnected": { "channel": "mqtt", "session": { "id": "s1" } } }));
        }
    }
    events
}

/// Everything that the service at this address says of the tenant.
fn everything(bench: &Bench, address: std::net::SocketAddr) -> Vec<Value> {
    let ask = |path: &str| {
        let headers = [("authorization", format!("Bearer {VIEWER}"))];
        let mut answer =
            bench.ask(address, "GET", &format!("/v1/tenants/acme/{path}"), &headers, None).good();
        // Clocks move on.
        for name in ["view", "mark", "keptSince"] {
            answer.as_object_mut().unwrap().remove(name);
        }
        answer
    };
    let page = ask("devices?counts=true&limit=1000");
    let ids: Vec<String> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["deviceId"].as_str().unwrap().to_owned())
        .collect();
    let mut all = vec![page, ask("alarms"), ask("connection-log?limit=1000")];
    for id in ids {
        all.extend(
            ["", "/history", "/connection-log", "/alarms"].map(|what| ask(&format!("devices/{id}{what}"))),
        );
    }
    all
}

/// How many partitions the view could not go on with.
fn made_anew(bench: &Bench) -> u64 {
    let state = bench.service.as_ref().unwrap().view.state();
    state.partitions.iter().map(|known| known.measures.made_anew).sum()
}

#[test]
fn a_view_goes_on_where_it_stood_and_made_anew_says_the_same() {
    let mut bench = Bench::new();
    bench.send(&events());
    bench.call("DELETE", "/v1/tenants/acme/devices/d19?wait=10", Some(OPERATOR), None).good();
    let told = everything(&bench, bench.address());
    assert_eq!(told[0]["matched"], 19);
    // Down, while things happen; up again.
    // Twice: what it keeps when nothing happened between must serve the next start, too.
    for _ in 0..2 {
        bench.service = None;
        bench.start_service();
        bench.until_ready();
        assert_eq!(everything(&bench, bench.address()), told, "after a restart");
        assert_eq!(made_anew(&bench), 0, "nothing is read again that was kept");
    }
    // A heartbeat moves clocks only: they come back from the packs, not from rows.
    bench.send(&[json!({ "deviceId": "d1", "activity": { "kind": "mqtt_publish", "channel": "mqtt" } })]);
    let moved = everything(&bench, bench.address());
    assert_ne!(moved, told);
    bench.service = None;
    bench.start_service();
    bench.until_ready();
    assert_eq!(everything(&bench, bench.address()), moved, "clocks included");

    // A second one, from nothing: a replica, or one whose database was lost.
    let anew = bench.another_service(&bench.dir.path().join("anew"));
    until("the replica is ready", || {
        (bench.ask(anew.address(), "GET", "/readyz", &[], None).status == 200).then_some(())
    });
    assert_eq!(everything(&bench, anew.address()), moved, "made anew from the log");
}

#[test]
fn what_was_not_made_durable_is_followed_again() {
    let mut bench = Bench::new();
    bench.send(&events());
    let told = everything(&bench, bench.address());
    // As after a power cut: the database as it was at some moment, and the log beyond it.
    let view = bench.dir.path().join("view");
    bench.service = None;
    let kept = bench.dir.path().join("kept");
    copy(&view, &kept);
    bench.start_service();
    bench.until_ready();
    bench.send(&[
        json!({ "deviceId": "d1", "activity": { "kind": "mqtt_publish", "channel": "mqtt" } }),
        json!({ "deviceId": "d1", "disconnected": { "channel": "mqtt", "session": { "id": "s1" } } }),
    ]);
    let later = everything(&bench, bench.address());
    assert_ne!(later, told);
    bench.service = None;
    std::fs::remove_dir_all(&view).unwrap();
    std::fs::rename(&kept, &view).unwrap();
    bench.start_service();
    bench.until_ready();
    assert_eq!(everything(&bench, bench.address()), later);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
