//! The live stream.

use serde_json::{Value, json};

use super::Bench;

fn message(device: &str) -> Value {
    json!({ "deviceId": device, "activity": { "kind": "mqtt_publish" } })
}

fn connected(device: &str) -> Value {
    json!({ "deviceId": device, "connected": { "channel": "mqtt", "session": { "id": "s1" } } })
}

fn disconnected(device: &str) -> Value {
    json!({ "deviceId": device, "disconnected": { "channel": "mqtt", "session": { "id": "s1" } } })
}

#[test]
fn a_stream_tells_what_satisfies_the_filter_and_what_does_no_more() {
    let bench = Bench::new();
    bench.send(&[connected("a"), connected("b")]);
    let mut stream = bench.stream("/v1/tenants/acme/live?connection=DISCONNECTED&idPrefix=a", None);
    bench.send(&[disconnected("b")]);
    bench.send(&[disconnected("a")]);
    let seen = stream.next().unwrap();
    assert_eq!((seen.event.as_str(), &seen.data["device"]["deviceId"]), ("device", &json!("a")));
    assert_eq!(seen.data["isNew"], true);
    assert_eq!(seen.data["told"][0]["kind"], "status");
    assert_eq!(seen.data["told"][1]["output"]["kind"], "DISCONNECTED_BY_NETWORK");
    bench.send(&[json!({ "deviceId": "a", "connected": { "channel": "mqtt", "session": { "id": "s2" } } })]);
    let seen = stream.next().unwrap();
    assert_eq!((seen.event.as_str(), &seen.data["deviceId"]), ("left", &json!("a")));
}

#[test]
fn who_was_away_goes_on_where_it_stood() {
    let bench = Bench::new();
    bench.send(&[message("a")]);
    let page = bench.get("/v1/tenants/acme/devices").good();
    let mark = page["mark"].as_str().unwrap();
    bench.send(&[connected("a")]);
    bench.send(&[connected("b")]);
    bench.send(&[disconnected("a")]);
    // From the list on, in order, nothing missed.
    let mut stream = bench.stream(&format!("/v1/tenants/acme/live?lastEventId={mark}"), None);
    let seen: Vec<_> = (0..3).map(|_| stream.next().unwrap()).collect();
    let of_a: Vec<&Value> = seen
        .iter()
        .filter(|seen| seen.data["device"]["deviceId"] == "a")
        .map(|seen| &seen.data["device"]["connection"])
        .collect();
    assert_eq!(of_a, ["CONNECTED", "DISCONNECTED"]);
    // From an event on.
    let place = seen.iter().position(|seen| seen.data["device"]["connection"] == "DISCONNECTED").unwrap();
    let before = &seen[place - 1].id;
    let mut again = bench.stream("/v1/tenants/acme/live?idPrefix=a&connection=DISCONNECTED", Some(before));
    assert_eq!(again.next().unwrap().data["device"]["deviceId"], "a");
    // From before everything that is kept: told so, instead of a silent gap.
    let mut late = bench.stream("/v1/tenants/acme/live", Some("0-0-0-0-0"));
    let reset = late.next().unwrap();
    let at_start = bench.service.as_ref().unwrap().view.live.resume(&lastseen::query::live::Mark(vec![0; 4]));
    // A feed that began with an empty log has everything.
    assert_eq!(reset.event == "reset", at_start.is_err(), "{reset:?}");
    bench.call("GET", "/v1/tenants/acme/live?lastEventId=x", Some(super::VIEWER), None).problem(400);
}

#[test]
fn who_cannot_follow_is_cut_off_with_a_word_and_told_what_to_do() {
    let bench = Bench::with_window(lastseen::http::Limits::default(), 5);
    bench.send(&[connected("a")]);
    let mut stream = bench.stream("/v1/tenants/acme/live?idPrefix=x", None);
    let mark = bench.get("/v1/tenants/acme/devices").good()["mark"].as_str().unwrap().to_owned();
    // More at once than is kept: whoever stood before it has missed some.
    bench.send(&(0..400).map(|number| connected(&format!("b{number}"))).collect::<Vec<_>>());
    let bye = stream.next().unwrap();
    assert_eq!((bye.event.as_str(), &bye.data["reason"]), ("bye", &json!("too_slow")));
    assert!(bye.data["detail"].as_str().unwrap().contains("read the list again"));
    assert!(stream.next().is_none());
    // Coming back, it learns the same, and goes on from now.
    let mut again = bench.stream("/v1/tenants/acme/live", Some(&mark));
    let reset = again.next().unwrap();
    assert_eq!(reset.event, "reset");
    bench.send(&[disconnected("a")]);
    assert_eq!(again.next().unwrap().data["device"]["deviceId"], "a");
}

#[test]
fn a_thousand_watch_and_each_sees_what_is_theirs() {
    use std::io::{BufRead, BufReader, Write};
    let bench = Bench::new();
    bench.send(&[connected("a"), connected("b")]);
    let open = |device: &str| {
        let mut socket = std::net::TcpStream::connect(bench.address()).unwrap();
        socket.set_read_timeout(Some(super::PATIENCE)).unwrap();
        let path = format!("/v1/tenants/acme/live?idPrefix={device}&connection=DISCONNECTED");
        let secret = super::VIEWER;
        write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n\r\n").unwrap();
        let mut lines = BufReader::new(socket).lines();
        assert!(lines.next().unwrap().unwrap().contains("200"));
        lines
    };
    let clients: Vec<_> = (0..1_000).map(|number| open(if number % 2 == 0 { "a" } else { "b" })).collect();
    let began = std::time::Instant::now();
    bench.send(&[disconnected("b")]);
    bench.send(&[disconnected("a")]);
    for (number, lines) in clients.into_iter().enumerate() {
        let data = lines.map_while(Result::ok).find(|line| line.starts_with("data: ")).expect("an event");
        let own = if number % 2 == 0 { "\"deviceId\":\"a\"" } else { "\"deviceId\":\"b\"" };
        assert!(data.contains(own), "client {number} sees {data}");
    }
    println!("a thousand streams told of two events {:?} after the first was sent", began.elapsed());
}

#[test]
fn a_stream_of_one_device_begins_with_its_present_state() {
    let mut bench = Bench::new();
    bench.send(&[connected("a"), connected("b")]);
    let mut stream = bench.stream("/v1/tenants/acme/devices/a/live", None);
    let seen = stream.next().unwrap();
    assert_eq!((seen.event.as_str(), &seen.data["connection"]), ("present", &json!("CONNECTED")));
    bench.send(&[disconnected("b"), disconnected("a")]);
    let seen = stream.next().unwrap();
    assert_eq!(seen.data["device"]["deviceId"], "a");
    bench.call("DELETE", "/v1/tenants/acme/devices/a?wait=10", Some(super::OPERATOR), None).good();
    assert_eq!(stream.next().unwrap().event, "deleted");
    bench.call("GET", "/v1/tenants/acme/devices/c/live", Some(super::VIEWER), None).problem(404);
    // When the service stops, it says so.
    bench.service = None;
    let bye = stream.next().unwrap();
    assert_eq!((bye.event.as_str(), &bye.data["reason"]), ("bye", &json!("stopping")));
    assert!(stream.next().is_none());
}
