//! Memory that a backlog must not move, on a real Kafka: ten times as many records wait, half of them of one device, which
//! also opens a new session every tenth time. `make backlog RECORDS=10000000` for a large one.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::latency::Bench;
use crate::broker::{self, Broker};

/// Devices that share what the one leaves.
const OTHERS: u64 = 1_000;
/// What the peak may grow by, in MiB: the reader's queues, half full with the smaller backlog, and what is in the hands
/// of a step. The backlog grows by twice that and more.
const ROOM: u64 = 160;

#[test]
fn a_backlog_and_a_device_with_half_of_it_cost_no_memory() {
    let asked = std::env::var("RECORDS").ok().filter(|text| !text.is_empty());
    let records: u64 = asked.as_ref().map_or(800_000, |text| text.parse().expect("RECORDS is a number"));
    let own = asked.is_some().then(|| Broker::start_for(std::time::Duration::from_secs(3600)));
    let brokers = own.as_ref().map_or_else(broker::brokers, |own| own.brokers.clone());
    let mut peaks = Vec::new();
    let mut bytes = 0;
    for (number, records) in [records / 10, records].into_iter().enumerate() {
        let settings = BTreeMap::from([("worker", "commit_interval_ms = 100".to_owned())]);
        let mut bench = Bench::start(&brokers, &format!("bounded-{number}"), settings);
        bytes = uneven(&bench, records) >> 20;
        let began = Instant::now();
        bench.instance.start();
        bench.consumed(records);
        let rate = records as f64 / began.elapsed().as_secs_f64();
        let peak = bench.instance.peak_mib();
        println!(
            "{records} records ({bytes} MiB), half of them of one device: {rate:.0} records/s from the start of the \
             process on, at most {peak} MiB resident"
        );
        peaks.push(peak);
        bench.end();
    }
    assert!(bytes > 2 * ROOM, "{bytes} MiB would show nothing");
    assert!(peaks[1] < peaks[0] + ROOM, "{} MiB with a tenth of the records, then {}", peaks[0], peaks[1]);
}

/// Half of so many records from one device, a tenth of those a new session; how many bytes they are.
fn uneven(bench: &Bench, records: u64) -> u64 {
    let message =
        json!({"kind": "mqtt_publish", "channel": "mqtt", "topic": "t/".to_owned() + &"x".repeat(500)});
    let mut bytes = 0;
    for number in 0..records {
        let is_one = number % 2 == 0;
        let device = if is_one { "the-one".to_owned() } else { format!("pump-{}", number / 2 % OTHERS) };
        let connects = is_one && number % 20 == 0;
        let body = if connects {
            (
                "connections",
                json!({"connected": {"channel": "mqtt", "session": {"id": format!("s{number}")}}}),
            )
        } else {
            ("activity", json!({"activity": message}))
        };
        bytes += bench.send(body.0, &device, body.1);
    }
    bench.flush();
    bytes
}
