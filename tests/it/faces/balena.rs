//! The balena face: B01–B18 of what that product does.

use serde_json::{Value, json};

use super::{Plain, Probe, ask_as, get, holds_its_tables, read};
use crate::http::{Answer, BOSS, Bench, INGEST, STRANGER, VIEWER};

pub const KITCHEN: &str = "0123456789abcdef0123456789abcdef";

/// So many minutes after ten in the evening, two hours before the bench begins.
pub fn at(minute: u32) -> String {
    format!("2025-12-31T22:{minute:02}:00.000Z")
}

fn event(device: &str, minute: u32, kind: &str, body: Value) -> Value {
    json!({ "deviceId": device, "observedAt": at(minute), kind: body })
}

pub fn register(device: &str, fields: Value) -> Value {
    event(device, 0, "register", fields)
}

fn connected(device: &str, minute: u32, channel: &str) -> Value {
    let session = json!({ "id": format!("{device}-{minute}") });
    event(device, minute, "connected", json!({ "channel": channel, "session": session }))
}

fn disconnected(device: &str, minute: u32, since: u32, channel: &str) -> Value {
    let session = json!({ "id": format!("{device}-{since}") });
    event(device, minute, "disconnected", json!({ "channel": channel, "session": session }))
}

/// A poll whose window is a day long, or as long as it is without being set: over, by now.
fn polled(device: &str, minute: u32, settings: Option<Value>) -> Vec<Value> {
    let settings = settings.map(|settings| event(device, 0, "pollSettings", settings));
    settings.into_iter().chain([event(device, minute, "activity", json!({ "kind": "state_poll" }))]).collect()
}

fn daily() -> Option<Value> {
    Some(json!({ "pollIntervalSeconds": 57_600 }))
}

/// A device in each state that the decision knows.
pub fn fleet() -> Bench {
    let bench = Bench::new();
    let pump = |name: &str| json!({ "deviceType": "Pump", "name": name });
    let mut events = vec![
        register(KITCHEN, pump("Kitchen")),
        connected(KITCHEN, 10, "vpn"),
        register("vpn-only", pump("attic")),
        connected("vpn-only", 11, "vpn"),
        register("poll-only", pump("Bath")),
        register("no-vpn", pump("cellar")),
        register("gone", pump("Door")),
        connected("gone", 12, "vpn"),
        disconnected("gone", 30, 12, "vpn"),
        register("silent", pump("barn")),
        register("away", pump("Yard")),
        connected("away", 5, "vpn"),
        disconnected("away", 6, 5, "vpn"),
        register("loading", pump("Loft")),
        connected("loading", 13, "vpn"),
        event("loading", 14, "update", json!({ "phase": "downloading", "progress": 40 })),
        event("loading", 14, "lifecycle", json!({ "stage": "configuring", "progress": 90 })),
        register("late", pump("Lobby")),
        connected("late", 13, "vpn"),
        event("late", 14, "update", json!({ "phase": "downloading", "progress": 50 })),
        register("setup", pump("Hall")),
        connected("setup", 15, "vpn"),
        event("setup", 16, "lifecycle", json!({ "stage": "configuring", "progress": 30 })),
        register("inactive", pump("Old")),
        connected("inactive", 17, "vpn"),
        event("inactive", 18, "lifecycle", json!({ "stage": "deactivated" })),
        register("fresh", json!({ "deviceType": "gate", "name": "Fresh \"1\"" })),
        event("fresh", 1, "lifecycle", json!({ "stage": "post_provisioning", "progress": 5 })),
        register("mqtt-1", json!({ "deviceType": "gate" })),
        connected("mqtt-1", 20, "mqtt"),
        register("quiet", json!({ "deviceType": "gate" })),
        connected("quiet", 21, "mqtt"),
        disconnected("quiet", 22, 21, "mqtt"),
        register("bare", json!({})),
    ];
    events.extend(polled(KITCHEN, 50, daily()));
    events.extend(polled("poll-only", 50, daily()));
    events.extend(polled("no-vpn", 50, Some(json!({ "pollIntervalSeconds": 57_600, "vpnExpected": false }))));
    events.extend(polled("silent", 20, None));
    events.extend(polled("loading", 50, daily()));
    events.extend(polled("setup", 50, daily()));
    events.extend(polled("late", 20, None));
    bench.send(&events);
    // What is due by now has happened.
    bench.until("the deadlines", || {
        let found = list(&bench, "/v7/device?$filter=api_heartbeat_state eq 'offline'&$select=uuid");
        (names(&found) == ["late", "silent"]).then_some(())
    });
    bench
}

/// An address as it may stand in a request.
fn address(text: &str) -> String {
    text.replace('%', "%25")
        .replace(' ', "%20")
        .replace('"', "%22")
        .replace('+', "%2B")
        .replace('é', "%C3%A9")
}

/// What is in a list.
#[track_caller]
fn list(bench: &Bench, path: &str) -> Vec<Value> {
    get(bench, &address(path))["d"].as_array().expect("a list").clone()
}

fn names(devices: &[Value]) -> Vec<&str> {
    devices.iter().map(|device| device["uuid"].as_str().expect("a uuid")).collect()
}

#[track_caller]
fn one(bench: &Bench, version: &str, device: &str) -> Value {
    let mut found = list(bench, &format!("/{version}/device(uuid='{device}')"));
    assert_eq!(found.len(), 1, "{device}: {found:?}");
    found.remove(0)
}

#[test]
fn a_device_is_told_field_for_field() {
    let bench = fleet();
    let told = one(&bench, "v7", KITCHEN);
    let id = told["id"].as_u64().expect("a whole number");
    assert!(id > 0 && id < 1 << 53, "{id}");
    let application = get(&bench, "/v7/application(slug='acme%2Fpump')")["d"][0].clone();
    let of = |name: &str| application[name].clone();
    assert_eq!(
        told,
        json!({
            "id": id, "uuid": KITCHEN, "device_name": "Kitchen",
            "belongs_to__application": { "__id": of("id") }, "is_of__device_type": of("is_for__device_type"),
            "is_active": true, "is_frozen": false, "is_online": true, "is_connected_to_vpn": true,
            "last_connectivity_event": at(10), "last_vpn_event": at(10), "api_heartbeat_state": "online",
            "overall_status": "operational", "overall_progress": null, "status": "Idle",
            "download_progress": null, "provisioning_state": "", "provisioning_progress": null,
            "modified_at": at(0), "changed_api_heartbeat_state_on__date": at(50),
        })
    );
    let mut sixth = told.clone();
    sixth["overall_status"] = json!("idle");
    assert_eq!(one(&bench, "v6", KITCHEN), sixth, "the words of the status are all that differs");
    assert_eq!(list(&bench, &format!("/v7/device({id})")), std::slice::from_ref(&told));
    assert_eq!(list(&bench, &format!("/v7/device?$filter=uuid eq '{KITCHEN}'")), std::slice::from_ref(&told));
    let fresh = one(&bench, "v7", "fresh");
    assert_eq!(fresh["device_name"], "Fresh \"1\"");
    assert_eq!(
        (&fresh["overall_progress"], &fresh["provisioning_state"]),
        (&json!(5), &json!("Post-Provisioning"))
    );
    let loading = one(&bench, "v7", "loading");
    let progress = ["overall_progress", "download_progress", "provisioning_progress", "status"];
    assert_eq!(
        progress.map(|name| loading[name].clone()),
        [json!(40), json!(40), json!(90), json!("Downloading")]
    );
    let gone = one(&bench, "v7", "gone");
    assert_eq!((&gone["is_online"], &gone["last_vpn_event"]), (&json!(false), &json!(at(30))));
    let quiet = one(&bench, "v7", "quiet");
    assert_eq!((&quiet["last_connectivity_event"], &quiet["last_vpn_event"]), (&json!(at(22)), &Value::Null));
    assert_eq!(one(&bench, "v7", "bare")["device_name"], "bare", "who has no name is called by the id");
    for nobody in
        ["/v7/device(uuid='nobody')", "/v7/device(17)", "/v7/application(17)", "/v7/organization(handle='x')"]
    {
        assert_eq!(list(&bench, nobody), [json!(null); 0], "{nobody}");
    }
}

#[test]
fn when_the_heartbeat_state_changed_is_told_where_it_is_asked_for() {
    const CHANGED: &str = "changed_api_heartbeat_state_on__date";
    let bench = fleet();
    let past = get(&bench, "/v1/tenants/acme/devices/silent/history");
    let changes = past["items"].as_array().expect("a list").iter();
    let of_heartbeat = |change: &&Value| {
        change["changes"].as_array().is_some_and(|all| all.iter().any(|one| one["facet"] == "heartbeat"))
    };
    let went =
        changes.filter(of_heartbeat).map(|change| change["at"].clone()).next().expect("it went offline");
    assert_ne!(went, json!(at(20)), "not the poll, but the end of what it promised");
    let told = list(
        &bench,
        &format!("/v7/device?$select=uuid,{CHANGED}&$filter=is_of__device_type/slug ne 'untyped'"),
    );
    let of = |device: &str| {
        told.iter().find(|told| told["uuid"] == device).unwrap_or_else(|| panic!("{device}"))[CHANGED].clone()
    };
    assert_eq!([of("silent"), of(KITCHEN), of("mqtt-1")], [went, json!(at(50)), Value::Null]);
    assert_eq!(list(&bench, "/v7/device?$filter=uuid in ('poll-only')")[0][CHANGED], json!(at(50)));
    assert_eq!(list(&bench, "/v7/device?$top=1")[0].get(CHANGED), None, "nobody asked");
    for asked in [format!("$filter={CHANGED} eq null"), format!("$orderby={CHANGED} desc")] {
        let path = address(&format!("/v7/device?{asked}"));
        let told = error(bench.call("GET", &path, Some(VIEWER), None), 400);
        assert!(
            told.contains("is read from the past of each device: it is told where $select names it"),
            "{told}"
        );
    }
}

#[test]
fn the_status_of_each_version_is_decided_as_it_does() {
    let bench = fleet();
    for (device, v7, v6) in [
        (KITCHEN, "operational", "idle"),
        ("vpn-only", "reduced-functionality", "idle"),
        ("poll-only", "reduced-functionality", "idle"),
        ("no-vpn", "operational", "idle"),
        ("gone", "disconnected", "offline"),
        ("silent", "disconnected", "offline"),
        ("loading", "updating", "updating"),
        ("late", "reduced-functionality", "updating"),
        ("setup", "configuring", "configuring"),
        ("inactive", "inactive", "inactive"),
        ("fresh", "post-provisioning", "post-provisioning"),
        ("mqtt-1", "operational", "idle"),
        ("quiet", "disconnected", "offline"),
        ("bare", "unknown", "unknown"),
    ] {
        assert_eq!(one(&bench, "v7", device)["overall_status"], v7, "{device}");
        assert_eq!(one(&bench, "v6", device)["overall_status"], v6, "{device}");
    }
}

#[test]
fn filters_find_whom_they_say() {
    let bench = fleet();
    let pump = list(&bench, "/v7/application?$filter=app_name eq 'Pump'").remove(0)["id"].clone();
    let organization = list(&bench, "/v7/organization").remove(0)["id"].clone();
    let gate = ["fresh", "mqtt-1", "quiet"];
    for (filter, expected) in [
        ("is_online".to_owned(), vec![KITCHEN, "inactive", "late", "loading", "mqtt-1", "setup", "vpn-only"]),
        ("overall_status in ('configuring', 'updating')".into(), vec!["loading", "setup"]),
        ("not (overall_status eq 'disconnected') and startswith(uuid,'l')".into(), vec!["late", "loading"]),
        ("startswith(uuid,'012345')".into(), vec![KITCHEN]),
        ("device_name eq 'Kitchen' or device_name eq 'bare'".into(), vec![KITCHEN, "bare"]),
        (
            "contains(tolower(device_name),'l') and is_active".into(),
            vec!["late", "loading", "no-vpn", "setup"],
        ),
        ("endswith(uuid,'-only')".into(), vec!["poll-only", "vpn-only"]),
        (format!("last_connectivity_event lt datetime'{}'", at(12)), vec![KITCHEN, "away", "vpn-only"]),
        (format!("last_connectivity_event ge '{}'", at(21)), vec!["gone", "quiet"]),
        (
            "last_connectivity_event eq null and api_heartbeat_state eq 'unknown'".into(),
            vec!["bare", "fresh"],
        ),
        ("last_vpn_event gt now()".into(), vec![]),
        ("overall_progress gt 35 and overall_progress le 40".into(), vec!["loading"]),
        ("belongs_to__application/app_name eq 'gate'".into(), gate.to_vec()),
        ("is_of__device_type/slug eq 'gate'".into(), gate.to_vec()),
        ("belongs_to__application/any(a:a/slug eq 'acme/untyped')".into(), vec!["bare"]),
        (format!("belongs_to__application eq {pump} and not is_active"), vec!["inactive"]),
        (
            format!(
                "belongs_to__application/any(bta:bta/organization eq {organization}) and uuid in ('gone','x')"
            ),
            vec!["gone"],
        ),
        ("1 eq 2".into(), vec![]),
    ] {
        let found = list(&bench, &format!("/v7/device?$select=uuid&$filter={filter}"));
        assert_eq!(names(&found), expected, "{filter}");
        let counted = get(&bench, &address(&format!("/v7/device/$count?$filter={filter}")));
        assert_eq!(counted, json!({ "d": expected.len() }), "{filter}");
    }
    assert_eq!(get(&bench, "/v7/device/$count"), json!({ "d": 15 }));
}

#[test]
fn orders_pages_and_expansions_are_those_that_are_asked_for() {
    let bench = fleet();
    let found = |query: &str| {
        let found = list(&bench, &format!("/v7/device?$select=uuid,device_name&{query}"));
        found.iter().map(|device| device["device_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let by_name = found("$orderby=device_name asc");
    assert_eq!(by_name[..6], ["attic", "bare", "barn", "Bath", "cellar", "Door"], "in either case");
    assert_eq!(found("$orderby=device_name desc&$top=2"), ["Yard", "quiet"]);
    assert_eq!(found("$orderby=device_name&$skip=2&$top=3"), ["barn", "Bath", "cellar"]);
    assert_eq!(found("$orderby=last_connectivity_event&$top=2"), ["Yard", "Kitchen"]);
    assert_eq!(
        found("$orderby=last_connectivity_event desc,uuid desc&$top=3"),
        ["barn", "Bath", "cellar"],
        "what is not there"
    );
    assert_eq!(found("$orderby=is_active,overall_status desc&$top=2"), ["Old", "Loft"]);
    assert_eq!(found("$top=0"), [""; 0]);
    assert_eq!(found("$skip=15"), [""; 0]);
    let expanded = list(
        &bench,
        "/v7/device(uuid='gone')?$select=uuid&$expand=belongs_to__application($select=app_name,slug;\
         $expand=organization($select=handle)),is_of__device_type($select=slug)",
    );
    let application =
        json!({ "app_name": "Pump", "slug": "acme/pump", "organization": [{ "handle": "acme" }] });
    assert_eq!(
        expanded,
        [
            json!({ "uuid": "gone", "belongs_to__application": [application], "is_of__device_type": [{ "slug": "pump" }] })
        ]
    );
    let applications = list(
        &bench,
        "/v7/application?$select=app_name&$orderby=app_name desc&$expand=owns__device/$count($filter=is_online)",
    );
    let count = |name: &str, count: u64| json!({ "app_name": name, "owns__device": count });
    assert_eq!(applications, [count("untyped", 0), count("Pump", 6), count("gate", 1)]);
    let all = list(&bench, "/v6/application?$expand=owns__device/$count&$top=1&$skip=1");
    assert_eq!(
        (&all[0]["app_name"], &all[0]["owns__device"]),
        (&json!("gate"), &json!(3)),
        "capitals come first by themselves"
    );
    assert_eq!(get(&bench, "/v7/application/$count"), json!({ "d": 3 }));
    assert_eq!(get(&bench, "/v6/organization/$count"), json!({ "d": 1 }));
}

/// More than is found at a time, and many times what is written at a time: everybody once, in order.
#[test]
fn a_list_without_an_end_tells_everybody_once() {
    let bench = Bench::new();
    let devices: Vec<Value> = (0..17_000u32)
        .map(|number| {
            register(
                &format!("d{:05}", number * 7 % 17_000),
                json!({ "name": format!("N{:05}", number * 11 % 17_000) }),
            )
        })
        .collect();
    devices.chunks(4_000).for_each(|some| bench.send(some));
    for (query, field) in
        [("", "uuid"), ("&$filter=is_active", "uuid"), ("&$orderby=device_name asc", "device_name")]
    {
        let found = list(&bench, &format!("/v7/device?$select=uuid,device_name{query}"));
        let values: Vec<&str> = found.iter().map(|device| device[field].as_str().unwrap()).collect();
        assert_eq!(values.len(), 17_000, "{query}");
        assert!(values.is_sorted_by(|a, b| a < b), "{query}: each once, in order");
    }
    assert_eq!(list(&bench, "/v7/device?$select=uuid&$skip=16990").len(), 10);
    // Compressed, too, as the vendor's client asks, it comes to its end.
    for coding in ["gzip", "zstd"] {
        let url = format!("http://{}/v7/device?$select=uuid", bench.address());
        let request = ureq::get(url).header("authorization", format!("Bearer {VIEWER}"));
        let mut response = request.header("accept-encoding", coding).call().unwrap();
        assert_eq!(response.headers()["content-encoding"], coding);
        let bytes = response.body_mut().read_to_vec().unwrap_or_else(|error| panic!("{coding}: {error}"));
        assert!(bytes.len() > 1_000, "{coding}: {} bytes", bytes.len());
    }
    assert_eq!(list(&bench, "/v7/device?$select=uuid&$top=16500&$orderby=device_name desc").len(), 16_500);
}

#[test]
fn every_parameter_does_what_the_table_says() {
    let bench = fleet();
    let told = ["/v7", "/v6"].map(|root| {
        let mut plain = Vec::new();
        let mut probes = Vec::new();
        for (name, key, filter, select, expand, order) in [
            ("device", "(uuid='gone')", "uuid eq 'gone'", "id", "belongs_to__application", "uuid desc"),
            (
                "application",
                "(slug='acme%2Fpump')",
                "app_name eq 'gate'",
                "slug",
                "organization",
                "app_name desc",
            ),
            ("organization", "(handle='acme')", "handle eq 'x'", "id", "user", "name asc"),
        ] {
            let (list, one, count) =
                (format!("{root}/{name}"), format!("{root}/{name}{key}"), format!("{root}/{name}/$count"));
            plain.push((format!("GET {list}"), list.clone()));
            plain.push((format!("GET {list}({{key}})"), one.clone()));
            plain.push((format!("GET {count}"), count.clone()));
            let mut probe = |route: String, address_of: &str, parameter: &'static str, value: &str| {
                probes.push((route, parameter, format!("{address_of}?{parameter}={}", address(value))));
            };
            for (parameter, value) in [
                ("$filter", filter),
                ("$select", select),
                ("$expand", expand),
                ("$orderby", order),
                ("$top", "0"),
                ("$skip", "1"),
                ("$count", "true"),
                ("$format", "xml"),
            ] {
                probe(format!("GET {list}"), &list, parameter, value);
                let of_one = if parameter == "$filter" { "1 eq 2" } else { value };
                probe(format!("GET {list}({{key}})"), &one, parameter, of_one);
                if !["$count", "$format"].contains(&parameter) {
                    probe(format!("GET {count}"), &count, parameter, of_one);
                }
            }
        }
        (plain, probes)
    });
    let [(mut plain, mut probes), (more_plain, more_probes)] = told;
    plain.extend(more_plain);
    probes.extend(more_probes);
    for whoami in ["/actor/v1/whoami", "/user/v1/whoami"] {
        plain.push((format!("GET {whoami}"), whoami.to_owned()));
    }
    let plain: Vec<Plain<'_>> = plain.iter().map(|(route, address)| read(route, address)).collect();
    let probes: Vec<Probe> =
        probes.into_iter().map(|(route, name, said)| Probe { route: route.leak(), name, said }).collect();
    holds_its_tables(&bench, "balena", &plain, &probes);
}

/// What an error is there: a message.
#[track_caller]
fn error(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()["message"].as_str().expect("a message").to_owned()
}

#[test]
fn what_is_not_served_is_an_error_that_says_what_is() {
    let bench = fleet();
    let refused = |path: &str, status: u16| error(bench.get(&address(path)), status);
    for (path, told) in [
        (
            "/v7/device?$filter=os_version eq 'x'",
            "$filter: at character 1: \"os_version\" is no property of device that is served; served are id, uuid",
        ),
        ("/v7/device?$filter=(is_online", "$filter: at character 11: a ) is missing here"),
        (
            "/v7/device?$filter=device_name eq 'é' and",
            "at character 23: a value is missing here; understood are and, or, not",
        ),
        ("/v7/device?$select=uuid,colour", "$select: \"colour\" is no property of device"),
        ("/v7/device?$orderby=colour", "$orderby: \"colour\" is no property of device"),
        ("/v7/device?$orderby=uuid up", "\"up\" is neither asc nor desc"),
        (
            "/v7/device?$expand=image_install",
            "$expand: image_install of device is not served; served are of a device belongs_to__application",
        ),
        (
            "/v7/device?$expand=belongs_to__application($top=1)",
            "$top is not served within; served there: $select and $expand",
        ),
        (
            "/v7/device?$expand=belongs_to__application($expand=owns__device/$count)",
            "owns__device/$count of application is not served",
        ),
        ("/v7/application?$expand=owns__device", "owns__device of application is not served; served are"),
        (
            "/v7/application?$expand=owns__device/$count($filter=colour)",
            "\"colour\" is no property of device",
        ),
        ("/v7/device?$top=-1", "\"-1\" is no whole number"),
        ("/v7/device(name='x')", "\"name\" is no key that is served; served are id and uuid"),
        ("/v7/device(uuid=x)", "is no key: write a number, or uuid='…'"),
    ] {
        let message = refused(path, 400);
        assert!(message.contains(told), "{path}: {message}");
    }
    for path in ["/v7/release", "/v6/device_tag", "/v7/device(5)/image_install", "/actor/v1/other"] {
        let message = refused(path, 404);
        assert!(
            message.contains("GET /v7/device({key})") && message.contains("/docs/balena"),
            "{path}: {message}"
        );
    }
    let path = address("/v7/device?$filter=id in (5)");
    for method in ["PATCH", "DELETE", "POST"] {
        let message = error(bench.call(method, &path, Some(VIEWER), None), 405);
        assert!(
            message.contains("is not served; of balena Lastseen serves GET /v7/device,"),
            "{method}: {message}"
        );
    }
}

#[test]
fn a_token_has_the_rights_that_it_has_everywhere() {
    let bench = fleet();
    let paths = [
        "/v7/device",
        "/v6/device/$count",
        "/v7/device(uuid='gone')",
        "/v7/application",
        "/v7/organization",
        "/actor/v1/whoami",
    ];
    for path in paths {
        error(bench.call("GET", path, None, None), 401);
        error(bench.call("GET", path, Some("guessed"), None), 401);
        let refused = error(bench.call("GET", path, Some(INGEST), None), 403);
        assert!(refused.contains("viewer or operator or auditor"), "{refused}");
        let refused = error(bench.call("GET", path, Some(BOSS), None), 403);
        assert!(
            refused.contains("more than one tenant") && refused.contains("the user is TENANT"),
            "{refused}"
        );
        assert_eq!(ask_as(&bench, "GET", path, "acme", BOSS).status, 200);
        error(ask_as(&bench, "GET", path, "other", VIEWER), 403);
    }
    let who = get(&bench, "/actor/v1/whoami");
    assert_eq!((&who["username"], &who["actorType"]), (&json!("lee"), &json!("user")));
    assert_eq!(get(&bench, "/user/v1/whoami")["id"], who["actorTypeId"]);
    // Of another tenant nothing is seen, whatever its ids are.
    let of_stranger = |path: &str| bench.call("GET", &address(path), Some(STRANGER), None).good();
    let id = one(&bench, "v7", KITCHEN)["id"].clone();
    let application = list(&bench, "/v7/application").remove(0)["id"].clone();
    let nothing = [
        "/v7/device".to_owned(),
        format!("/v7/device({id})"),
        format!("/v7/device(uuid='{KITCHEN}')"),
        format!("/v7/device?$filter=id in ({id})"),
        format!("/v7/application({application})"),
        "/v7/application".into(),
        "/v7/organization(handle='acme')".into(),
    ];
    for path in nothing {
        assert_eq!(of_stranger(&path), json!({ "d": [] }), "{path}");
    }
    assert_eq!(of_stranger("/v7/device/$count"), json!({ "d": 0 }));
    assert_eq!(of_stranger("/v7/organization")["d"][0]["handle"], "other");
}

#[test]
fn an_id_stays_whatever_else_changes() {
    let mut bench = fleet();
    let before = one(&bench, "v7", "gone");
    bench.send(&[
        register("gone", json!({ "name": "Gate", "deviceType": "gate" })),
        register("another", json!({})),
    ]);
    let after = one(&bench, "v7", "gone");
    assert_ne!(before["device_name"], after["device_name"]);
    assert_eq!(before["id"], after["id"]);
    bench.service = None;
    bench.start_service();
    bench.until_ready();
    assert_eq!(one(&bench, "v6", "gone")["id"], before["id"], "after a restart, too");
}
