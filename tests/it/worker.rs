//! The worker over the embedded log: what it publishes, and that stops, crashes and restarts change nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lastseen::clock::Clock;
use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::step::Settings;
use lastseen::fold::{FoldClock, FoldOptions, run};
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog, EmbeddedMember};
use lastseen::log::{Append, OutRecord, Topic};
use lastseen::stats::Stats;
use lastseen::store::RocksStore;
use lastseen::wire::partition;
use lastseen::worker::{Standby, Worker, WorkerConfig};
use serde_json::{Value, json};

const START: i64 = 1_767_225_600_000;
const PARTITIONS: u32 = 4;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

/// A processor on an embedded log in one directory, under a clock that the test sets.
struct Bench {
    clock: Clock,
    log: EmbeddedLog,
    worker: Option<Worker<EmbeddedMember, RocksStore>>,
    dir: tempfile::TempDir,
    sent: Vec<(i64, String)>,
    standby: Option<Arc<Standby>>,
    stats: Arc<Stats>,
}

fn open(dir: &Path, clock: &Clock) -> EmbeddedLog {
    let stamps = clock.clone();
    let config =
        EmbeddedConfig { partitions: PARTITIONS, retention_thread: false, ..EmbeddedConfig::default() };
    EmbeddedLog::open(dir.join("log"), config, Arc::new(move || stamps.now())).expect("the log opens")
}

fn config() -> WorkerConfig {
    WorkerConfig {
        log_name: "test".into(),
        settings: Arc::new(Settings { partitions: PARTITIONS, ..Settings::default() }),
        commit_interval: Duration::from_millis(1),
        batch_records: 1000,
        clock_margin: Millis(0),
        checkpoint_interval: Duration::from_secs(3600),
        ..WorkerConfig::default()
    }
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::manual(at(0));
        let log = open(dir.path(), &clock);
        let mut bench =
            Bench { clock, log, worker: None, dir, sent: Vec::new(), standby: None, stats: Arc::default() };
        bench.start();
        bench
    }

    fn start(&mut self) {
        let member = self.log.member().expect("one member");
        let store = RocksStore::new(self.dir.path());
        let worker = Worker::new(member, store, self.clock.clone(), config(), self.stats.clone(), 7);
        self.worker = Some(worker.with_standby(self.standby.clone()));
    }

    /// As a kill -9 would: nothing is committed or checkpointed, the process is gone.
    fn kill(&mut self) {
        self.worker = None;
    }

    /// As SIGTERM does: commit, checkpoint, leave.
    fn stop(&mut self) {
        let stop = std::sync::atomic::AtomicBool::new(true);
        self.worker.take().expect("it runs").run(&stop).expect("it stops well");
    }

    fn send(&mut self, seconds: i64, topic: InputTopic, event: Value) {
        self.clock.set(at(seconds));
        let mut event = event;
        if event.get("observedAt").is_none() {
            event["observedAt"] = json!(at(seconds).to_string());
        }
        let line = event.to_string();
        let key = event.get("deviceId").map(|device| format!("acme/{}", device.as_str().unwrap_or_default()));
        if key.is_some() {
            event["tenant"] = json!("acme");
        }
        let line = if key.is_some() { event.to_string() } else { line };
        let partitions: Vec<u32> = match &key {
            Some(key) => vec![partition::of(key.as_bytes(), PARTITIONS)],
            None => (0..PARTITIONS).collect(),
        };
        let records: Vec<OutRecord> = partitions
            .into_iter()
            .map(|partition| OutRecord {
                topic: Topic::Input(topic),
                partition,
                timestamp: at(seconds),
                key: key.as_ref().map(|key| key.clone().into_bytes()),
                value: Some(line.clone().into_bytes()),
                headers: Vec::new(),
            })
            .collect();
        self.log.append(&records).expect("it is written");
        self.sent.push((seconds, line));
    }

    /// Turns until nothing more happens at this moment.
    fn settle(&mut self, seconds: i64) {
        self.clock.set(at(seconds));
        let worker = self.worker.as_mut().expect("it runs");
        for _ in 0..3 {
            while worker.turn(true).expect("a turn") {}
        }
    }

    /// Everything on the output topics, by device, without places.
    fn outputs(&self) -> Vec<Value> {
        let mut outputs = Vec::new();
        for partition in 0..PARTITIONS {
            for topic in [Topic::Status, Topic::Alarms, Topic::ConnectionLog] {
                let bounds = self.log.bounds(topic, partition).expect("bounds");
                let mut read = |record: lastseen::log::Scanned<'_>| {
                    let mut value: Value =
                        serde_json::from_slice(record.value.expect("a value")).expect("JSON");
                    value["topic"] = json!(topic.default_name().trim_start_matches("devices."));
                    outputs.push(essence(value));
                    std::ops::ControlFlow::Continue(())
                };
                self.log.scan(topic, partition, bounds.low..bounds.high, &mut read).expect("a scan");
            }
        }
        sorted(outputs)
    }

    /// What fold says of the same events in the order of arrival.
    fn folded(&self, until: i64) -> Vec<Value> {
        let mut text = String::new();
        for (seconds, line) in &self.sent {
            text += &format!("{}\n{line}\n", json!({ "tick": at(*seconds).to_string() }));
        }
        let options =
            FoldOptions { clock: FoldClock::Ticks, until: Some(at(until)), ..FoldOptions::default() };
        let mut output = Vec::new();
        run(&options, text.as_bytes(), &mut output).expect("memory does not fail");
        let text = String::from_utf8(output).expect("UTF-8");
        let values = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        sorted(
            values
                .filter(|value| !["audit", "dead-letter"].contains(&value["topic"].as_str().unwrap_or("")))
                .map(essence)
                .collect(),
        )
    }
}

fn essence(mut value: Value) -> Value {
    let fields = value.as_object_mut().expect("an object");
    fields.remove("recordedAt");
    if let Some(cause) = fields.get_mut("cause").and_then(Value::as_object_mut) {
        for place in ["line", "topic", "partition", "offset"] {
            cause.remove(place);
        }
    }
    value
}

#[track_caller]
fn same(ours: &[Value], theirs: &[Value]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}

fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(|value| (value["deviceId"].to_string(), value["sequence"].as_u64()));
    values
}

fn connect(device: &str, session: &str) -> Value {
    json!({"deviceId": device, "connected": {"channel": "mqtt", "session": {"id": session}, "nodeId": "n1"}})
}

fn message(device: &str) -> Value {
    json!({"deviceId": device, "activity": {"kind": "mqtt_publish", "channel": "mqtt"}})
}

fn interval(device: &str, minutes: i64) -> Value {
    json!({"deviceId": device, "requiredInterval": {"minutes": minutes, "source": "operator"}})
}

/// A day in the life of ten devices; `between` is called between its parts.
fn story(bench: &mut Bench, mut between: impl FnMut(&mut Bench)) {
    use InputTopic::{Activity, Connections, Control};
    let devices: Vec<String> = (0..10).map(|number| format!("d{number}")).collect();
    bench.send(
        1,
        Control,
        json!({"node": {"nodeId": "n1", "status": "heartbeat", "startedAt": at(-60).to_string()}}),
    );
    for device in &devices {
        bench.send(2, Control, interval(device, 2));
    }
    for device in &devices {
        bench.send(3, Connections, connect(device, "s1"));
    }
    for device in &devices {
        bench.send(4, Activity, message(device));
    }
    bench.settle(10);
    between(bench);
    for device in &devices[..5] {
        bench.send(60, Activity, message(device));
    }
    bench.send(
        61,
        Control,
        json!({"node": {"nodeId": "n1", "status": "heartbeat", "startedAt": at(-60).to_string()}}),
    );
    bench.send(62, Connections, json!({"deviceId": "d0", "disconnected": {"channel": "mqtt", "session": {"id": "s1"}, "initiator": "client"}}));
    bench.settle(70);
    between(bench);
    // Five are silent; their deadline of second 124 passes, the node's of second 121 too.
    bench.settle(130);
    between(bench);
    bench.send(
        140,
        Activity,
        json!({"deviceId": "d9", "observedAt": at(100).to_string(), "activity": {"kind": "mqtt_publish"}}),
    );
    bench.send(150, Control, json!({"deviceId": "d8", "maintenance": {"on": true, "actor": "ops"}}));
    bench.send(151, Control, json!({"policy": {"requiredIntervals": [{"minutes": 3}], "graceSeconds": 5}}));
    bench.send(152, Control, json!({"deviceId": "d7", "delete": {"actor": "ops"}}));
    bench.settle(160);
    between(bench);
    bench.send(170, Activity, message("d7"));
    bench.send(171, Activity, message("d6"));
    bench.settle(600);
    between(bench);
}

#[test]
fn what_it_publishes_is_what_fold_says() {
    let mut bench = Bench::new();
    story(&mut bench, |_| {});
    let outputs = bench.outputs();
    assert!(outputs.len() > 40, "{} outputs", outputs.len());
    same(&outputs, &bench.folded(600));
}

#[test]
fn stopped_and_started_again_it_goes_on_as_if_nothing_had_happened() {
    let mut bench = Bench::new();
    story(&mut bench, |bench| {
        bench.stop();
        bench.start();
    });
    same(&bench.outputs(), &bench.folded(600));
}

#[test]
fn killed_without_a_word_it_goes_on_as_if_nothing_had_happened() {
    let mut bench = Bench::new();
    let mut count = 0;
    story(&mut bench, |bench| {
        count += 1;
        if count == 2 {
            // One checkpoint on the way: later recoveries start there.
            bench.stop();
        } else {
            bench.kill();
        }
        bench.start();
    });
    same(&bench.outputs(), &bench.folded(600));
}

/// Rounds of a standby of another process, at several moments, until that process takes over: with an empty disk, or with
/// one that has a checkpoint of its last time.
#[test]
fn a_standby_takes_over_and_nothing_shows() {
    let never = std::sync::atomic::AtomicBool::new(false);
    for (late, has_disk) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bench = Bench::new();
        let mut next = Arc::new(Standby::default());
        let other = tempfile::tempdir().expect("a directory");
        let store = RocksStore::new(other.path());
        let follow = |standby: &Standby, bench: &Bench| {
            let round = || standby.round(&mut bench.log.clone(), &store, &config(), &never);
            while round().expect("the log answers") {}
        };
        let mut count = 0;
        story(&mut bench, |bench| {
            count += 1;
            // It has followed up to the last part, or up to the one before: then there is a tail to read.
            if !late || count % 2 == 1 {
                follow(&next, bench);
                assert_eq!(next.caught_up(), PARTITIONS as usize);
            }
            if late && count % 2 == 1 {
                return;
            }
            let (ours, theirs) = (bench.dir.path().join("partitions"), other.path().join("partitions"));
            if has_disk {
                bench.stop();
                // The disks change hands as the processes do; the first of the other is empty.
                let kept = other.path().join("kept");
                std::fs::create_dir_all(&theirs).expect("made");
                std::fs::rename(&theirs, &kept).expect("moved");
                std::fs::rename(&ours, &theirs).expect("moved");
                std::fs::rename(&kept, &ours).expect("moved");
            } else {
                bench.kill();
                std::fs::remove_dir_all(&ours).expect("it was there");
            }
            bench.standby = Some(std::mem::take(&mut next));
            bench.start();
        });
        let taken_over = bench.stats.counts().taken_over;
        assert_eq!(
            taken_over,
            u64::from(PARTITIONS) * if late { 2 } else { 4 },
            "the last start is not followed by a turn"
        );
        same(&bench.outputs(), &bench.folded(600));
    }
}

#[test]
fn a_checkpoint_that_is_damaged_is_made_anew_from_the_log() {
    let mut bench = Bench::new();
    let mut count = 0;
    story(&mut bench, |bench| {
        count += 1;
        bench.stop();
        if count == 3 {
            for partition in 0..PARTITIONS {
                let dir = bench.dir.path().join("partitions").join(partition.to_string());
                std::fs::write(dir.join("CURRENT"), b"nonsense\n").expect("it is there");
            }
        }
        bench.start();
    });
    same(&bench.outputs(), &bench.folded(600));
}

#[test]
fn deadlines_that_passed_while_it_was_down_fire_after_the_backlog_and_are_stamped_with_the_deadline() {
    let mut bench = Bench::new();
    bench.send(0, InputTopic::Control, interval("silent", 1));
    bench.send(0, InputTopic::Control, interval("alive", 1));
    bench.send(1, InputTopic::Activity, message("silent"));
    bench.send(1, InputTopic::Activity, message("alive"));
    bench.settle(5);
    bench.stop();
    for minute in 1..60 {
        bench.send(minute * 50, InputTopic::Activity, message("alive"));
    }
    bench.start();
    bench.settle(59 * 50 + 1);
    let outputs = bench.outputs();
    let unavailable: Vec<&Value> = outputs
        .iter()
        .filter(|output| {
            output["changes"]
                .as_array()
                .is_some_and(|changes| changes.iter().any(|change| change["to"] == "UNAVAILABLE"))
        })
        .collect();
    assert_eq!(unavailable.len(), 1, "{unavailable:#?}");
    assert_eq!(unavailable[0]["deviceId"], "silent");
    assert_eq!(unavailable[0]["at"], at(61).to_string());
}

#[test]
fn bad_records_become_dead_letters_byte_for_byte_and_harm_nobody() {
    let mut bench = Bench::new();
    bench.clock.set(at(1));
    let key = b"acme/p1".to_vec();
    let partition = partition::of(&key, PARTITIONS);
    let record = |key: Option<Vec<u8>>, value: Option<&[u8]>, partition: u32| OutRecord {
        topic: Topic::Input(InputTopic::Activity),
        partition,
        timestamp: at(1),
        key,
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    };
    let good = br#"{"tenant":"acme","deviceId":"p1","observedAt":"2026-01-01T00:00:01Z","activity":{"kind":"heartbeat"}}"#;
    type Bad<'a> = (Option<Vec<u8>>, Option<&'a [u8]>, u32, &'a str);
    let bad: [Bad<'_>; 6] = [
        (Some(key.clone()), Some(b"\xa7\x01\x00"), partition, "not_protobuf"),
        (Some(key.clone()), None, partition, "empty"),
        (Some(b"acme/p2".to_vec()), Some(good), partition, "wrong_key"),
        (None, Some(good), partition, "no_key"),
        (Some(key.clone()), Some(good), (partition + 1) % PARTITIONS, "wrong_partition"),
        (Some(key.clone()), Some(br#"{"tenant":"acme""#), partition, "truncated"),
    ];
    for (key, value, partition, _) in &bad {
        bench.log.append(&[record(key.clone(), *value, *partition)]).expect("written");
    }
    bench.log.append(&[record(Some(key), Some(good), partition)]).expect("written");
    bench.settle(5);
    let mut letters = Vec::new();
    for partition in 0..PARTITIONS {
        let bounds = bench.log.bounds(Topic::DeadLetter, partition).expect("bounds");
        let mut read = |record: lastseen::log::Scanned<'_>| {
            let header = |name: &str| {
                record
                    .headers
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            };
            letters.push((
                header("reason").unwrap_or_default(),
                record.value.map(<[u8]>::to_vec),
                header("origin-topic"),
            ));
            std::ops::ControlFlow::Continue(())
        };
        bench.log.scan(Topic::DeadLetter, partition, bounds.low..bounds.high, &mut read).expect("scan");
    }
    for (_, value, _, reason) in &bad {
        let found = letters.iter().find(|(known, ..)| known == reason);
        let (_, bytes, origin) = found.unwrap_or_else(|| panic!("{reason} is missing among {letters:?}"));
        assert_eq!(bytes.as_deref(), *value, "{reason}");
        assert_eq!(origin.as_deref(), Some("devices.activity"));
    }
    assert_eq!(letters.len(), bad.len());
    assert!(bench.outputs().is_empty() || bench.outputs().iter().all(|output| output["deviceId"] == "p1"));
}
