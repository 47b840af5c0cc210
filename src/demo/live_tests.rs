use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;

use super::fleet::FleetEvent;
use super::live::{DemoError, DemoOptions, PROCESSOR, Part, SpawnWorker, run_with};
use super::stand_in::StandIn;
use crate::clock::Clock;
use crate::domain::effect::InputTopic;
use crate::domain::event::split_key;
use crate::domain::time::Timestamp;
use crate::log::embedded::EmbeddedLog;
use crate::log::{Append, OutRecord, Start, Tail, Topic};
use crate::render::Style;
use crate::wire::output::{self, Format, Identity, OutputKind};
use crate::wire::pb;

/// Reads the fleet's records and writes what [`StandIn`] makes of them, as a processor does; all in partition 0, since
/// the stand-in knows no partitions, and each broadcast once.
fn stand_in(log: &EmbeddedLog, clock: &Clock) -> Result<Part, DemoError> {
    let inputs = InputTopic::ALL
        .iter()
        .flat_map(|topic| (0..log.partitions()).map(|p| (Topic::Input(*topic), p, Start::End)));
    let mut tail = log.tail(&inputs.collect::<Vec<_>>());
    let (log, clock) = (log.clone(), clock.clone());
    Part::spawn("stand-in", move |stop| {
        let mut core = StandIn::default();
        loop {
            let last = stop.load(Ordering::SeqCst);
            let mut events = Vec::new();
            tail.read(Duration::from_millis(20), 10_000, &mut |topic, partition, record| {
                let Topic::Input(topic) = topic else { return };
                if record.key.is_some() || partition == 0 {
                    let key = record.key.map(|key| String::from_utf8_lossy(key).into_owned());
                    let payload = record.value.unwrap_or_default().to_vec();
                    events.push(FleetEvent { arrival: record.timestamp, topic, key, payload });
                }
            })?;
            events.sort_by_key(|event| (event.arrival, event.topic));
            let count = events.len() as u64;
            events.iter().for_each(|event| core.take(event));
            let records = told(&mut core, clock.now(), count);
            log.append(&records)?;
            if last {
                return Ok(());
            }
        }
    })
}

fn told(core: &mut StandIn, now: Timestamp, count: u64) -> Vec<OutRecord> {
    let record = |topic, timestamp, key: &str, value, headers| OutRecord {
        topic,
        partition: 0,
        timestamp,
        key: Some(key.as_bytes().to_vec()),
        value: Some(value),
        headers,
    };
    let mut records = Vec::new();
    for (key, effect) in core.told.drain(..) {
        let (tenant, device_id) = split_key(&key);
        let mut value = Vec::new();
        output::encode(
            Format::Protobuf,
            &Identity { tenant, device_id, birth: effect.at },
            &effect,
            &mut value,
        );
        let topic = match output::kind(&effect.kind) {
            OutputKind::Status => Topic::Status,
            OutputKind::Alarms => Topic::Alarms,
            OutputKind::ConnectionLog => Topic::ConnectionLog,
            OutputKind::Audit => Topic::Audit,
        };
        records.push(record(topic, effect.at, &key, value, Vec::new()));
    }
    for reject in core.rejected.drain(..) {
        let headers = [
            ("reason", reject.reason.word().to_owned()),
            ("message", reject.message),
            ("origin-topic", "devices.activity".to_owned()),
            ("origin-partition", "0".to_owned()),
            ("origin-offset", "1".to_owned()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).to_vec();
        records.push(record(Topic::DeadLetter, now, "?", b"bad".to_vec(), headers));
    }
    let range = pb::ConsumedRange { topic: 1, count, ..pb::ConsumedRange::default() };
    let entry =
        pb::JournalEntry { clock_ms: now.millis(), ranges: vec![range], ..pb::JournalEntry::default() };
    records.push(record(Topic::Journal, now, "", entry.encode_to_vec(), Vec::new()));
    records
}

const STAND_IN: &SpawnWorker = &|log, clock, _dir| stand_in(log, clock);

fn demo(options: &DemoOptions) -> String {
    let mut out = Vec::new();
    run_with(options, &AtomicBool::new(false), STAND_IN, Style::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn it_tells_a_choice_of_stories_and_says_how_to_go_on() {
    let out = demo(&DemoOptions { devices: 60, speed: 100.0, seconds: Some(6), ..DemoOptions::default() });
    if std::env::var_os("SHOW_DEMO").is_some() {
        println!("{out}");
    }
    for wanted in [
        "Lastseen",
        "MAJOR alarm unavailability RAISED",
        "dead letter",
        "⇒ Offline",
        "── ",
        "Stopped cleanly",
        "lastseen fold",
    ] {
        assert!(out.contains(wanted), "{wanted}\n{out}");
    }
    assert!(out.lines().count() < 150, "nobody can follow that:\n{out}");
}

#[test]
fn as_json_it_tells_everything() {
    let out = demo(&DemoOptions {
        devices: 40,
        speed: 100.0,
        seconds: Some(2),
        json: true,
        ..DemoOptions::default()
    });
    let mut topics = std::collections::BTreeSet::new();
    for line in out.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        topics.insert(value["topic"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        topics.into_iter().collect::<Vec<_>>(),
        ["alarms", "audit", "connection-log", "dead-letter", "status"]
    );
}

#[test]
fn a_second_run_goes_on_in_the_directory_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = Some(dir.path().to_owned());
    let options =
        DemoOptions { devices: 20, speed: 500.0, seconds: Some(2), data_dir, ..DemoOptions::default() };
    let first = demo(&options);
    assert!(first.contains(" 20 devices:"), "{first}");
    // The first run ended a quarter of an hour ahead of the host's time; the second counts its devices at once.
    let second = demo(&DemoOptions { seconds: Some(0), ..options });
    assert!(second.contains(" devices:") && !second.contains("  0 devices:"), "{second}");
}

#[test]
fn it_ends_when_it_is_told_to_or_when_a_part_of_it_ends() {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        let stopper = scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::SeqCst);
        });
        run_with(&DemoOptions::default(), &stop, STAND_IN, Style::default(), &mut Vec::new()).unwrap();
        stopper.join().unwrap();
    });
    let failing: &SpawnWorker =
        &|_, _, _| Part::spawn("failing", |_| Err(DemoError::Worker("it broke".into())));
    let ended = run_with(
        &DemoOptions::default(),
        &AtomicBool::new(false),
        failing,
        Style::default(),
        &mut Vec::new(),
    );
    assert_eq!(ended.unwrap_err().to_string(), "the demo's processor: it broke");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn options_that_cannot_be_are_refused() {
    for options in [
        DemoOptions { speed: 0.0, ..DemoOptions::default() },
        DemoOptions { speed: f64::NAN, ..DemoOptions::default() },
        DemoOptions { devices: 0, ..DemoOptions::default() },
    ] {
        let ended = run_with(&options, &AtomicBool::new(false), STAND_IN, Style::default(), &mut Vec::new());
        assert!(matches!(ended, Err(DemoError::Options(_))));
    }
}

#[test]
fn the_real_processor_tells_the_same_stories() {
    let options = DemoOptions { devices: 60, speed: 60.0, seconds: Some(6), ..DemoOptions::default() };
    let mut out = Vec::new();
    run_with(&options, &AtomicBool::new(false), PROCESSOR, Style::default(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    if std::env::var_os("SHOW_DEMO").is_some() {
        println!("{out}");
    }
    for wanted in
        ["alarm unavailability RAISED", "RETRACTED", "dead letter", "Node broker-2", "Stopped cleanly"]
    {
        assert!(out.contains(wanted), "{wanted}\n{out}");
    }
}
