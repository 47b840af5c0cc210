//! The query service over Kafka: what it shows is what was committed, beside the processor and alone.

use serde_json::{Value, json};

use super::main_job::Job;
use crate::http::{Serving, until};

#[test]
fn a_service_beside_the_processor_and_one_alone_say_the_same() {
    let job = Job::new("query");
    assert!(job.lastseen(&["topics", "create"]).output().expect("it runs").status.success());
    let made = job
        .lastseen(&["token", "kim", "--tenant", "acme", "--role", "operator", "--file", "tokens.toml"])
        .output()
        .expect("it runs");
    let secret = String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned();
    let tokens = ["--set", "http.tokens=tokens.toml"];
    let run = || Serving::start(job.lastseen(&[&["run"][..], &tokens].concat()));
    let both = run();
    let events: Vec<Value> = (0..20)
        .map(|number| {
            let session = json!({ "id": format!("s{number}") });
            json!({ "deviceId": format!("pump-{number}"), "connected": { "channel": "mqtt", "session": session } })
        })
        .collect();
    let (status, answer) = both.ask("POST", "/v1/tenants/acme/events", &secret, &json!(events).to_string());
    assert_eq!((status, &answer["accepted"]), (202, &json!(20)), "{answer}");
    let list = |serving: &Serving, query: &str| {
        serving.ask("GET", &format!("/v1/tenants/acme/devices?{query}"), &secret, "").1
    };
    until("all of them are shown", || (list(&both, "connection=CONNECTED")["matched"] == 20).then_some(()));
    // The first command of a group may wait for the coordinator.
    let interval = "/v1/tenants/acme/devices/pump-7/required-interval?wait=15";
    let (status, answer) = both.ask("PUT", interval, &secret, r#"{"minutes":30}"#);
    assert_eq!((status, &answer["outcome"]), (200, &json!("applied")), "{answer}");

    let alone = Serving::start(
        job.lastseen(&[&["run", "--role", "query", "--data-dir", "alone"][..], &tokens].concat()),
    );
    until("the other one has caught up", || {
        (alone.ask("GET", "/readyz", &secret, "").0 == 200).then_some(())
    });
    let query = "requiredIntervalMinutes=30";
    assert_eq!(alone.ask("GET", &format!("/v1/tenants/acme/devices?{query}"), &secret, "").0, 400);
    assert_eq!(list(&alone, "limit=1000")["items"], list(&both, "limit=1000")["items"]);
    let why =
        |serving: &Serving| serving.ask("GET", "/v1/tenants/acme/devices/pump-7/explain", &secret, "").1;
    assert_eq!(why(&alone)["receipts"], why(&both)["receipts"]);

    // The processor dies, events go on coming, it comes back: both show them.
    both.kill();
    let gone =
        json!({ "deviceId": "pump-3", "disconnected": { "channel": "mqtt", "session": { "id": "s3" } } });
    let (status, answer) = alone.ask("POST", "/v1/tenants/acme/events", &secret, &gone.to_string());
    assert_eq!(status, 202, "{answer}");
    let both = run();
    for serving in [&both, &alone] {
        until("the disconnect is shown", || {
            let page = list(serving, "connection=DISCONNECTED");
            (page["matched"] == 1 && page["items"][0]["deviceId"] == "pump-3").then_some(())
        });
    }
    assert_eq!(list(&alone, "limit=1000")["items"], list(&both, "limit=1000")["items"]);
}
