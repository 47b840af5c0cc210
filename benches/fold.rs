//! The fold by itself: decoded events in memory, protobuf records, JSON Lines; and memory per device. Fixed seed; the
//! hash of the result is printed, so that a faster run that does something else shows.
//!
//! `make bench ARGS=fold`

use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use lastseen::domain::effect::Origin;
use lastseen::domain::event::{Activity, ActivityKind, Body, ChannelKind, Connected, Event, SessionRef, Subject};
use lastseen::domain::policy::{IntervalRule, Policy};
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::core::{Core, Progress};
use lastseen::fold::{FoldOptions, run};
use lastseen::wire::decode::{Limits, RawRecord, Scratch, decode};
use lastseen::wire::encode::{encode_event, encode_event_json};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::Xxh3;

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const EVENTS: usize = 1_000_000;

fn main() {
    println!("hash of the state after {EVENTS} events of 100,000 devices: {:016x}", hash_of(&folded(100_000)));
    for closed in [0, 8] {
        println!("memory per device beyond its id, one open session, {closed} closed: {:.0} bytes", memory(closed));
    }
    divan::main();
}

fn policy() -> Policy {
    let rule = IntervalRule { minutes: 15, ..IntervalRule::default() };
    Policy { required_intervals: vec![rule], ..Policy::default() }
}

fn keys(devices: usize) -> Vec<String> {
    (0..devices).map(|number| format!("acme/device-{number:07}")).collect()
}

fn connect<'a>(key: &'a str, session: &'a str, at: Timestamp) -> Event<'a> {
    let body = Body::Connected(Connected {
        channel: ChannelKind::Mqtt,
        session: SessionRef { id: Some(session), ..SessionRef::default() },
        node_id: Some("n1"),
        client_address: Some("203.0.113.9:50122"),
        protocol: Some("mqtt5"),
        secure: None,
        keep_alive_seconds: None,
        clean_start: None,
        user: None,
        can_receive_operations: true,
    });
    Event { observed_at: Some(at), event_id: None, subject: Subject::Device { key, body } }
}

fn heartbeat(key: &str, at: Timestamp) -> Event<'_> {
    let body = Body::Activity(Activity {
        kind: ActivityKind::MqttPublish,
        channel: Some(ChannelKind::Mqtt),
        session: SessionRef::default(),
        via_application: false,
        topic: None,
        count: 1,
    });
    Event { observed_at: Some(at), event_id: None, subject: Subject::Device { key, body } }
}

/// A core with devices that are connected and were heard from.
fn fleet(keys: &[String], closed: usize) -> Core {
    let mut core = Core { policy: std::sync::Arc::new(policy()), ..Core::default() };
    for session in 0..=closed {
        let at = START + Millis::from_seconds(session as i64);
        assert!(core.advance(at, usize::MAX) == Progress::Done);
        for (number, key) in keys.iter().enumerate() {
            let id = format!("s{session:02}{number:05x}");
            core.apply(&connect(key, &id, at), at, Origin::Clock);
        }
        core.begin_step();
    }
    let at = START + Millis::from_seconds(60);
    assert!(core.advance(at, usize::MAX) == Progress::Done);
    for key in keys {
        core.apply(&heartbeat(key, at), at, Origin::Clock);
    }
    core.begin_step();
    core
}

/// Who sends next: skewed, as fleets are.
fn order(devices: usize) -> Vec<u32> {
    let mut random = StdRng::seed_from_u64(7);
    (0..EVENTS)
        .map(|_| {
            let hot = random.random_range(0..5) == 0;
            random.random_range(0..if hot { devices / 20 + 1 } else { devices }) as u32
        })
        .collect()
}

/// Ten thousand events a second of simulated time; a step ends every second.
fn at(index: usize) -> Timestamp {
    START + Millis(61_000 + index as i64 / 10)
}

fn fold_events(core: &mut Core, keys: &[String], order: &[u32]) {
    for (index, device) in order.iter().enumerate() {
        let at = at(index);
        assert!(core.advance(at, usize::MAX) == Progress::Done);
        core.apply(&heartbeat(&keys[*device as usize], at), at, Origin::Clock);
        if index % 10_000 == 0 {
            core.begin_step();
        }
    }
}

fn folded(devices: usize) -> Core {
    let keys = keys(devices);
    let mut core = fleet(&keys, 0);
    fold_events(&mut core, &keys, &order(devices));
    core
}

fn hash_of(core: &Core) -> u64 {
    let mut hash = Xxh3::new();
    for number in core.table.in_key_order(None) {
        let slot = core.table.slot(number);
        hash.update(slot.key.as_bytes());
        hash.update(&slot.row);
        hash.update(&slot.clocks.last_message.millis().to_le_bytes());
    }
    hash.digest()
}

fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

/// Resident memory that a device costs, timers and index included, without the bytes of its id.
fn memory(closed: usize) -> f64 {
    let devices = if closed == 0 { 1_000_000 } else { 200_000 };
    let keys = keys(devices);
    let before = resident();
    let mut core = fleet(&keys, closed);
    core.touched = Vec::new();
    core.outputs = Vec::new();
    let used = resident() - before;
    black_box(&core);
    used / devices as f64 - keys[0].len() as f64
}

#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_count = 5, sample_size = 1)]
fn fold_in_memory(bencher: Bencher, devices: usize) {
    let keys = keys(devices);
    let order = order(devices);
    bencher.counter(ItemsCount::new(EVENTS)).with_inputs(|| fleet(&keys, 0)).bench_values(|mut core| {
        fold_events(&mut core, &keys, &order);
        core
    });
}

#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_count = 5, sample_size = 1)]
fn decode_and_fold_protobuf(bencher: Bencher, devices: usize) {
    let keys = keys(devices);
    let mut arena = Vec::new();
    let records: Vec<(u32, usize, usize)> = order(devices)
        .into_iter()
        .enumerate()
        .map(|(index, device)| {
            let from = arena.len();
            arena.extend(encode_event(&heartbeat(&keys[device as usize], at(index))));
            (device, from, arena.len())
        })
        .collect();
    bencher.counter(ItemsCount::new(EVENTS)).with_inputs(|| fleet(&keys, 0)).bench_values(|mut core| {
        let mut scratch = Scratch::new();
        let limits = Limits::default();
        for (index, (device, from, to)) in records.iter().enumerate() {
            let key = keys[*device as usize].as_bytes();
            let value = &arena[*from..*to];
            let record = RawRecord { key: Some(key), value: Some(value), partitions: 1, ..RawRecord::default() };
            scratch.clear();
            let event = decode(&record, &scratch, &limits).expect("a good record");
            let at = at(index);
            assert!(core.advance(at, usize::MAX) == Progress::Done);
            core.apply(&event, event.observed_at.unwrap_or(at), Origin::Clock);
            if index % 10_000 == 0 {
                core.begin_step();
            }
        }
        core
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn fold_json_lines(bencher: Bencher) {
    let keys = keys(100_000);
    let mut lines = Vec::new();
    for (index, device) in order(keys.len()).into_iter().enumerate() {
        lines.extend(encode_event_json(&heartbeat(&keys[device as usize], at(index))));
        lines.push(b'\n');
    }
    bencher.counter(ItemsCount::new(EVENTS)).bench(|| {
        let options = FoldOptions { policy: Some(policy()), ..FoldOptions::default() };
        run(&options, lines.as_slice(), std::io::sink()).expect("memory does not fail")
    });
}
