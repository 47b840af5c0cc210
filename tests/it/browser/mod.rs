//! The page as people meet it: a real browser over a real service, processor and log.

mod driver;
mod looks;

use serde_json::{Value, json};

use crate::http::{Bench, OPERATOR, VIEWER};
use driver::Browser;

/// The path of the tenant's fleet.
const FLEET: &str = "/tenants/acme";
const PUMP: &str = "/tenants/acme/devices/pump-1";

fn message(device: &str) -> Value {
    json!({ "deviceId": device, "activity": { "kind": "mqtt_publish", "channel": "mqtt" } })
}

fn connected(device: &str, session: &str) -> Value {
    json!({ "deviceId": device, "connected": { "channel": "mqtt", "session": { "id": session }, "nodeId": "node-a",
        "clientAddress": "192.0.2.7", "protocol": "MQTT 5.0", "secure": true } })
}

fn interval(device: &str, minutes: i64) -> Value {
    json!({ "deviceId": device, "requiredInterval": { "minutes": minutes, "source": "device" } })
}

/// An address that signs in, as whoever types the password does.
fn address(bench: &Bench, (user, secret): (&str, &str), path: &str) -> String {
    format!("http://{user}:{secret}@{}{path}", bench.address())
}

const KIM: (&str, &str) = ("kim", OPERATOR);
const LEE: (&str, &str) = ("lee", VIEWER);

#[test]
fn an_operator_narrows_the_fleet_and_watches_it_change_in_place() {
    let bench = Bench::new();
    bench.send(&[interval("pump-1", 600), interval("pump-2", 600), interval("valve-1", 600)]);
    bench.send(&[connected("pump-1", "s1"), message("pump-1"), connected("pump-2", "s2"), message("pump-2")]);
    let browser = Browser::new();
    browser.open(&address(&bench, KIM, "/"));
    assert_eq!(browser.place(), FLEET, "one tenant needs no choice");
    assert_eq!(browser.text("#matched"), "3 devices");
    assert_eq!(browser.count("tbody tr"), 3);

    // The two arrows in words and shapes, and what they tell when a mouse or the focus is on them.
    let send = "tr[data-id=pump-1] .send";
    let said = browser.script(&format!("return document.querySelector('{send}').getAttribute('aria-label')"));
    assert!(
        said.as_str()
            .unwrap()
            .starts_with("Send connection: Online. Last request from device to server: 2026-"),
        "{said}"
    );
    assert_eq!(browser.text(&format!("{send} .tip")), "", "nobody points at it");
    browser.hover(send);
    browser.reads(&format!("{send} .tip"), "Last request from device to server: 2026-01-");
    browser.script("document.querySelector('tr[data-id=valve-1] .push').focus()");
    browser.reads("tr[data-id=valve-1] .push .tip", "Push connection: inactive");

    // Counts are filters, and the address bar has them.
    assert!(browser.text("#statusLabel-online").contains('2'));
    browser.click("#availability-available");
    browser.comes_true("return document.querySelectorAll('tbody tr').length === 2");
    assert_eq!(browser.place(), "/tenants/acme?availability=AVAILABLE");
    assert_eq!(browser.text("#matched"), "2 of 3 devices");
    browser.fill("input[name=search]", "pump-2");
    browser.click("form.search button");
    browser.comes_true("return document.querySelectorAll('tbody tr').length === 1");
    assert!(
        browser.place().contains("search=pump-2") && browser.place().contains("availability=AVAILABLE"),
        "{}",
        browser.place()
    );
    assert!(!browser.place().contains("lastConnectBefore"), "what says nothing is left out");

    // Live: rows change where they stand, and what would join is told, not squeezed in.
    browser.open(&address(&bench, KIM, &format!("{FLEET}?connection=CONNECTED")));
    browser.script("window.here = true; document.querySelector('tr[data-id=pump-2] .push').focus()");
    browser.reads("#liveness", "Live");
    bench.send(&[json!({ "deviceId": "pump-1", "register": { "name": "The big pump" } })]);
    browser.reads("tr[data-id=pump-1]", "The big pump");
    bench.send(&[connected("valve-1", "s3"), message("valve-1")]);
    browser.reads("#banner", "1 would join");
    assert_eq!(browser.count("tbody tr"), 2, "no row jumps");
    bench.send(&[json!({ "deviceId": "pump-2", "disconnected": { "channel": "mqtt", "session": { "id": "s2" }, "initiator": "client" } })]);
    browser.reads("#banner", "1 would leave");
    assert_eq!(browser.count("tr.gone[data-id=pump-2]"), 1, "it stays, and says that it left");
    assert_eq!(browser.script("return window.here"), true, "the page was never left");
    browser.click("#banner a");
    browser.reads("tr[data-id=valve-1]", "valve-1");
    assert_eq!(browser.count("tr[data-id=pump-2]"), 0);
    browser.is_content();
}

#[test]
fn an_operator_sets_the_interval_and_maintenance_and_sees_it_at_once() {
    let bench = Bench::new();
    bench.send(&[connected("pump-1", "s1"), message("pump-1")]);
    let browser = Browser::new();
    browser.open(&address(&bench, KIM, PUMP));
    assert_eq!(browser.text("#send"), "Not monitored");
    assert_eq!(browser.count("#maintenance"), 0, "no toggle without an interval");
    browser.script("window.here = true");
    browser.fill("#minutes", "90");
    browser.click("button[value=set]");
    browser.reads("#told", "Done.");
    browser.reads("#send", "Online");
    browser.reads("#minutes-by", "Set by an operator");
    assert_eq!(
        browser.script("return document.getElementById('maintenance').getAttribute('aria-checked')"),
        "false"
    );
    // By the keyboard.
    browser.script("document.getElementById('maintenance').focus()");
    browser.press(" ");
    browser.reads("#send", "Maintenance");
    browser.reads("#push", "Maintenance");
    assert_eq!(browser.script("return document.activeElement.id"), "maintenance", "the focus stays");
    assert_eq!(
        browser.script("return document.getElementById('maintenance').getAttribute('aria-checked')"),
        "true"
    );
    assert_eq!(browser.count(".title .push"), 0, "the tool stands for both arrows");
    assert_eq!(bench.get("/v1/tenants/acme/devices/pump-1").good()["requiredIntervalMinutes"], -90);
    browser.click("#maintenance");
    browser.reads("#send", "Online");
    assert_eq!(browser.script("return window.here"), true, "the page was never left");
    // What somebody else does is shown, too; what is being typed is left alone.
    browser.fill("#minutes", "7");
    bench.send(&[interval("pump-1", 45)]);
    browser.reads("#status", "Data is due by");
    browser.comes_true("return document.getElementById('minutes').value === '7'");
    browser.is_content();

    // The same without a script: a form, and a redirect to what it did.
    browser.runs_scripts(false);
    browser.open(&address(&bench, KIM, PUMP));
    browser.fill("#minutes", "30");
    browser.click("button[value=set]");
    browser.reads(".notice.good", "Done.");
    browser.click("#maintenance");
    browser.reads("#send", "Maintenance");
    browser.click("button[value=stop]");
    browser.reads("#send", "Not monitored");
    browser.runs_scripts(true);
}

#[test]
fn a_device_falls_silent_and_its_alarm_is_acknowledged_and_cleared() {
    let bench = Bench::new();
    bench.send(&[interval("pump-1", 1), interval("pump-2", 600)]);
    bench.send(&[connected("pump-1", "s1"), message("pump-1"), message("pump-2")]);
    let browser = Browser::new();
    browser.open(&address(&bench, KIM, PUMP));
    // It turns red by itself: a minute of the fleet's time without a message.
    browser.reads("#send", "Offline");
    let said = "No data received from device within required interval";
    browser.reads("#alarms", said);
    browser.reads("#why", "data is required every 1 min (set by the device), and the deadline");
    browser.reads("#connection", "Connected");

    browser.open(&address(&bench, KIM, &format!("{FLEET}/alarms")));
    browser.reads("table.alarms", said);
    assert_eq!(browser.count("tbody tr"), 1);
    browser.script("window.here = true");
    browser.click("form[action$=acknowledge] button");
    browser.reads("table.alarms tbody tr td[data-name=State]", "Acknowledged by kim");
    assert_eq!(browser.count("form[action$=acknowledge]"), 0, "once is enough");
    assert_eq!(browser.script("return window.here"), true, "the page was never left");
    browser.open(&address(&bench, KIM, FLEET));
    browser.reads("tr[data-id=pump-1] .alarm", "Major, acknowledged");

    // Data returns: everything is green again, without a reload.
    browser.open(&address(&bench, KIM, PUMP));
    browser.reads("#alarms", "Acknowledged by kim");
    bench.send(&[message("pump-1")]);
    browser.reads("#send", "Online");
    browser.reads("#alarms", "Data returned");
    // Silent once more, and cleared by hand.
    browser.reads("#alarms tbody tr:first-child td[data-name=State]", "Active");
    browser.click("form[action$=clear] button");
    browser.reads("#alarms tbody tr:first-child td[data-name=State]", "Cleared by kim");
    browser.is_content();
}

#[test]
fn a_support_engineer_finds_why_devices_cannot_connect() {
    let bench = Bench::new();
    let failed = |device: &str, code: u8| json!({ "deviceId": device, "connectFailed": { "channel": "mqtt", "mqttReasonCode": code, "clientAddress": "192.0.2.9" } });
    bench.send(&[
        failed("pump-1", 0x86),
        failed("pump-2", 0x86),
        failed("pump-3", 0x8c),
        connected("pump-4", "s4"),
    ]);
    let browser = Browser::new();
    browser.open(&address(&bench, LEE, &format!("{FLEET}/connections")));
    assert_eq!(browser.count("table.log tbody tr"), 4);
    let first = browser.reads("#reasons tbody tr:first-child", "0x86");
    assert!(first.contains("Bad User Name or Password") && first.contains('2'), "{first}");
    browser.click("#reasons tbody tr:first-child a");
    browser.comes_true("return document.querySelectorAll('table.log tbody tr').length === 2");
    assert!(browser.place().contains("kind=CONNECT_FAILED") && browser.place().contains("reasonCode=134"));
    browser.click("table.log tbody tr:first-child td[data-name=Device] a");
    browser.reads("h1", "pump-");
    browser.reads("#log", "Connect failed");
    assert_eq!(browser.count("form[method=post]"), 0, "a viewer commands nothing");
    browser.is_content();
}

#[test]
fn a_device_with_a_tunnel_shows_check_mark_and_heartbeat_and_what_they_tell() {
    let bench = Bench::new();
    let poll =
        |device: &str| json!({ "deviceId": device, "activity": { "kind": "state_poll", "channel": "http" } });
    let tunnel = |device: &str| json!({ "deviceId": device, "connected": { "channel": "vpn", "session": { "id": "t" } } });
    bench.send(&[poll("edge-1"), poll("edge-2"), tunnel("edge-2"), tunnel("edge-3")]);
    let browser = Browser::new();
    browser.open(&address(&bench, LEE, &format!("{FLEET}/devices/edge-1")));
    browser.reads("h1 ~ .pill", "Online (Heartbeat Only)");
    browser.reads("#reach", "perhaps a firewall blocks the VPN");
    browser.open(&address(&bench, LEE, &format!("{FLEET}/devices/edge-3")));
    browser.reads("h1 ~ .pill", "Online (VPN Only)");
    browser.reads("#reach", "the device did not reach the API");
    browser.open(&address(&bench, LEE, &format!("{FLEET}/devices/edge-2")));
    browser.reads("#reach", "Nothing is amiss");
    browser.open(&address(&bench, LEE, FLEET));
    browser.click("#statusLabel-online-\\(heartbeat-only\\)");
    browser.comes_true("return document.querySelectorAll('tbody tr').length === 1");
    browser.reads("tbody tr", "edge-1");
    browser.is_content();
}
