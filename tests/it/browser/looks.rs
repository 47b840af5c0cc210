//! What the page looks like to everybody: light and dark, on a phone, by keyboard, to a screen reader. Pictures are taken
//! for people to look at.

use serde_json::json;

use super::driver::Browser;
use super::{FLEET, KIM, address, connected, interval, message};
use crate::http::{BOSS, Bench};

/// Every text that is seen, with too little contrast to what lies behind it (WCAG 2.2 AA: 4.5, large text 3).
const FAINT: &str = r#"
const parse = (text) => { const found = text.match(/[\d.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour[3] > 0) return colour;
  }
  return [255, 255, 255, 1];
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!says || !element.checkVisibility({ visibilityProperty: true }) || element.closest(".hidden, .skip, svg")) continue;
  const style = getComputedStyle(element);
  const [a, b] = [light(parse(style.color)), light(behind(element))].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize);
  const wanted = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < wanted) found.push(`${element.tagName}.${element.className}: ${element.textContent.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
}
return found;
"#;

/// What a screen reader would stumble over.
const UNSAID: &str = r#"
const found = [];
const say = (what, element) => found.push(`${what}: ${element.outerHTML.slice(0, 120)}`);
const named = (element) => element.getAttribute("aria-label") || element.getAttribute("aria-labelledby") || element.textContent.trim();
for (const element of document.querySelectorAll("button, a[href], summary, [role=img]")) if (!named(element)) say("no name", element);
for (const field of document.querySelectorAll("input:not([type=hidden]), select")) if (!field.labels.length) say("no label", field);
for (const svg of document.querySelectorAll("svg")) if (!svg.closest("[aria-hidden=true]") && svg.getAttribute("role") !== "img") say("a picture that says nothing", svg);
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
for (const id of ids.filter((id, index) => ids.indexOf(id) !== index)) found.push(`twice: #${id}`);
for (const attribute of ["aria-labelledby", "aria-describedby", "for"])
  for (const element of document.querySelectorAll(`[${attribute}]`))
    for (const id of element.getAttribute(attribute).split(" ")) if (!document.getElementById(id)) say(`${attribute} leads nowhere`, element);
let level = 0;
for (const heading of document.querySelectorAll("h1, h2, h3")) {
  const its = Number(heading.tagName[1]);
  if (its > level + 1) say("a heading is left out", heading);
  level = its;
}
if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
for (const landmark of ["header", "main", "footer", "nav"]) if (!document.querySelector(landmark)) found.push(`no ${landmark}`);
if (!document.documentElement.lang) found.push("no language");
return found;
"#;

/// A fleet with something of everything.
fn fleet() -> Bench {
    let bench = Bench::new();
    let mut events = Vec::new();
    for number in 1..=14 {
        let device = format!("pump-{number:02}");
        let labels = json!({ "site": if number % 2 == 0 { "berlin" } else { "lyon" }, "firmware": "2.4.1" });
        events.push(json!({ "deviceId": device, "register":
            { "name": format!("Cooling pump {number}"), "deviceType": "pump-x2", "labels": labels } }));
        events.push(interval(&device, if number < 4 { 1 } else { 600 }));
        if number % 3 != 0 {
            events.push(connected(&device, &format!("s{number}")));
        }
        if number % 5 != 0 {
            events.push(message(&device));
        }
    }
    events.push(json!({ "deviceId": "pump-05", "connectFailed":
        { "channel": "mqtt", "mqttReasonCode": 0x87, "clientAddress": "198.51.100.4", "reason": "not on the list" } }));
    for at in ["edge-1", "edge-2"] {
        events.push(json!({ "deviceId": at, "activity": { "kind": "state_poll", "channel": "http" } }));
    }
    events.push(json!({ "deviceId": "edge-2", "connected": { "channel": "vpn", "session": { "id": "t" } } }));
    events.push(json!({ "deviceId": "edge-2", "update": { "phase": "downloading", "progress": 40 } }));
    events.push(json!({ "deviceId": "spare-1", "lifecycle": { "stage": "preregistered" } }));
    bench.send(&events);
    bench.send(&[json!({ "deviceId": "pump-04", "disconnected":
        { "channel": "mqtt", "session": { "id": "s4" }, "mqttReasonCode": 0x8d } })]);
    bench.put("/v1/tenants/acme/devices/pump-07/maintenance?wait=10", json!({ "on": true })).good();
    for number in [1, 2] {
        bench.until("a silent pump", || {
            let device = bench.get(&format!("/v1/tenants/acme/devices/pump-0{number}")).good();
            (device["availability"] == "UNAVAILABLE").then_some(())
        });
    }
    bench.send(&[message("pump-02")]);
    bench.until("a silent pump again", || {
        let device = bench.get("/v1/tenants/acme/devices/pump-02").good();
        (device["availability"] == "UNAVAILABLE").then_some(())
    });
    bench
}

#[test]
fn every_page_can_be_read_by_everybody() {
    let bench = fleet();
    let browser = Browser::new();
    let boss = ("boss", BOSS);
    let pages = [
        ("fleet", FLEET.to_owned()),
        ("device", format!("{FLEET}/devices/pump-02")),
        ("edge", format!("{FLEET}/devices/edge-1")),
        ("alarms", format!("{FLEET}/alarms?state=all")),
        ("connections", format!("{FLEET}/connections")),
        ("health", format!("{FLEET}/monitor")),
        ("unknown", format!("{FLEET}/devices/nobody")),
    ];
    for (name, path) in &pages {
        browser.is_wide(1280);
        browser.is_dark(false);
        browser.open(&address(&bench, boss, path));
        if *name != "unknown" {
            assert_eq!(browser.script(UNSAID), json!([]), "{path}");
            browser.reads("#liveness", "Live");
        }
        // With everything unfolded.
        browser.script("for (const more of document.querySelectorAll('details')) more.open = true");
        browser.picture(&format!("{name}-light"));
        assert_eq!(browser.script(FAINT), json!([]), "{path} in the light");
        browser.is_dark(true);
        browser.picture(&format!("{name}-dark"));
        assert_eq!(browser.script(FAINT), json!([]), "{path} in the dark");
        for width in [390, 320] {
            browser.is_wide(width);
            browser.open(&address(&bench, boss, path));
            browser.is_dark(false);
            browser.picture(&format!("{name}-{width}"));
            let over = browser
                .script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(over, 0, "{path} is wider than a screen of {width}");
        }
    }
}

#[test]
fn the_page_is_used_by_keyboard_alone() {
    let bench = Bench::new();
    bench.send(&[interval("pump-1", 600), message("pump-1")]);
    let browser = Browser::new();
    browser.open(&address(&bench, KIM, FLEET));
    let (tab, enter, escape) = ("\u{e004}", "\u{e007}", "\u{e00c}");
    browser.press(tab);
    assert_eq!(browser.script("return document.activeElement.textContent"), "Skip to content");
    browser.press(enter);
    browser.comes_true("return document.activeElement.id === 'main'");
    // Through filters and search to the arrow of the first device, then to its name.
    let arrow = "document.activeElement.closest('tbody .send')";
    for _ in 0..40 {
        browser.press(tab);
        if browser.script(&format!("return !!{arrow}")) == true {
            break;
        }
    }
    browser.reads("tbody .send .tip", "Last request from device to server");
    browser.press(escape);
    assert_eq!(browser.text("tbody .send .tip"), "", "Escape hides it");
    browser.press(tab);
    browser.press(tab);
    assert_eq!(browser.script("return document.activeElement.textContent"), "pump-1");
    browser.press(enter);
    browser.reads("h1", "pump-1");
    browser.is_content();
}
