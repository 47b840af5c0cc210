//! Who may do what, and that no tenant learns of another.

use lastseen::http::auth::Need;
use lastseen::http::routes::ROUTES;
use serde_json::json;

use super::{AUDITOR, Answer, Bench, INGEST, OPERATOR, ROOT, STRANGER, VIEWER};

fn message(device: &str) -> serde_json::Value {
    json!({ "deviceId": device, "activity": { "kind": "mqtt_publish" } })
}

/// A path of a route, for this tenant and device.
fn path(template: &str, tenant: &str, device: &str) -> String {
    template.replace("{tenant}", tenant).replace("{deviceId}", device).replace("{alarmId}", "1")
}

#[test]
fn every_route_is_closed_to_whoever_may_not() {
    let bench = Bench::new();
    bench.send(&[message("pump-1")]);
    let all = [(OPERATOR, "operator"), (VIEWER, "viewer"), (INGEST, "ingest"), (AUDITOR, "auditor")];
    for route in ROUTES {
        let Some(need) = route.need else { continue };
        let ask = |secret: Option<&str>, tenant: &str| -> Answer {
            let body = Some(("application/json", "{}"));
            bench.call(route.method, &path(route.path, tenant, "pump-1"), secret, body)
        };
        let what = format!("{} {}", route.method, route.path);
        let nobody = ask(None, "acme");
        // A line each: browsers take a line for one scheme.
        let schemes: Vec<_> = nobody.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(schemes, ["Bearer realm=\"lastseen\"", "Basic realm=\"lastseen\""], "{what}");
        nobody.problem(401);
        ask(Some("guessed"), "acme").problem(401);
        for (secret, role) in all {
            let may =
                need.roles().iter().any(|known| known.word() == role) && route.path.contains("{tenant}");
            if !may {
                ask(Some(secret), "acme").problem(403);
            }
        }
        if route.path.contains("{tenant}") {
            // Of another tenant, the same answer whether tenant and device exist or not.
            let there = ask(Some(STRANGER), "acme").problem(403);
            let nowhere = ask(Some(STRANGER), "acmf").problem(403);
            let said =
                |problem: &serde_json::Value| problem["detail"].as_str().unwrap().replace("acmf", "acme");
            assert_eq!(said(&there), said(&nowhere), "{what}");
        }
    }
    assert!(ROUTES.iter().filter(|route| route.need == Some(Need::Command)).count() >= 7);
    assert_eq!(bench.call("GET", "/healthz", None, None).status, 200);
}

#[test]
fn one_tenant_neither_sees_nor_disturbs_another() {
    let bench = Bench::new();
    bench.send(&[message("pump-1")]);
    let mut theirs = bench.stream("/v1/tenants/acme/live", None);
    let stranger = |method: &str, path: &str, body: &str| {
        bench.call(method, path, Some(STRANGER), Some(("application/json", body)))
    };
    let event = json!({ "deviceId": "pump-1", "connected": { "channel": "mqtt", "session": { "id": "x" } } })
        .to_string();
    stranger("POST", "/v1/tenants/other/events", &event).good();
    bench.until("the stranger's own device", || {
        let summary = stranger("GET", "/v1/tenants/other/summary", "").good();
        (summary["devices"] == 1).then_some(())
    });
    let own = stranger("GET", "/v1/tenants/other/devices", "").good();
    assert_eq!((&own["matched"], &own["items"][0]["connection"]), (&json!(1), &json!("CONNECTED")));
    let ours = bench.get("/v1/tenants/acme/devices").good();
    assert_eq!((&ours["matched"], &ours["items"][0]["connection"]), (&json!(1), &json!("UNKNOWN")));
    stranger("DELETE", "/v1/tenants/other/devices/pump-1?wait=10", "").good();
    assert_eq!(bench.get("/v1/tenants/acme/devices").good()["matched"], 1);
    let log = bench.get("/v1/tenants/acme/connection-log").good();
    assert_eq!(log["items"], json!([]));
    // Nothing of it came through the stream: the next thing on it is our own.
    bench.send(&[json!({ "deviceId": "pump-2", "connected": { "channel": "mqtt" } })]);
    assert_eq!(theirs.next().unwrap().data["device"]["deviceId"], "pump-2");
}

#[test]
fn a_page_of_another_site_commands_nothing() {
    let bench = Bench::new();
    bench.send(&[message("pump-1")]);
    let own = format!("http://{}", bench.address());
    let ask = |method: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("authorization", format!("Bearer {OPERATOR}"))];
        all.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let body = r#"{"minutes":5}"#;
        let path = "/v1/tenants/acme/devices/pump-1";
        let path = if method == "GET" { path.to_owned() } else { format!("{path}/required-interval") };
        bench.ask(bench.address(), method, &path, &all, (method != "GET").then_some(body)).status
    };
    // As browsers say whose page it is that sends.
    assert_eq!(ask("PUT", &[("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(ask("PUT", &[("sec-fetch-site", "same-site")]), 403);
    assert_eq!(ask("PUT", &[("origin", "https://evil.example")]), 403);
    assert_eq!(ask("PUT", &[("origin", "null")]), 403);
    assert_eq!(ask("PUT", &[("sec-fetch-site", "same-origin"), ("origin", &own)]), 202);
    assert_eq!(ask("PUT", &[]), 202, "a program says nothing");
    assert_eq!(ask("GET", &[("sec-fetch-site", "cross-site")]), 200, "its page cannot read the answer");
}

#[test]
fn what_concerns_all_tenants_takes_a_token_for_all() {
    let bench = Bench::new();
    for path in ["/v1/policy", "/v1/monitor", "/metrics"] {
        bench.call("GET", path, Some(AUDITOR), None).problem(403);
        assert_eq!(bench.call("GET", path, Some(ROOT), None).status, 200, "{path}");
    }
    let policy = bench.call("GET", "/v1/policy", Some(ROOT), None).good();
    assert_eq!(policy["nodeTimeoutSeconds"], 60);
    let monitor = bench.call("GET", "/v1/monitor", Some(ROOT), None).good();
    assert_eq!(monitor["health"]["partitions"].as_array().unwrap().len(), 4);
    bench.call("GET", "/v1/tenants/acme/devices", Some(ROOT), None).good();
    let basic = |user: &str| {
        use base64::Engine as _;
        let said = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{VIEWER}"));
        let headers = [("authorization", format!("Basic {said}"))];
        bench.ask(bench.address(), "GET", "/v1/tenants/acme/devices", &headers, None)
    };
    basic("lee").good();
    basic("kim").problem(401);
}
