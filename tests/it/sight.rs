//! Never a false "offline" of its own making (SEMANTICS §9): outages, held-back inputs, clocks that jump, pipelines that
//! die. The worker on the embedded log, under a host's clock and a log's clock that the test sets apart.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastseen::clock::{Clock, TimeSource};
use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::step::Settings;
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog, EmbeddedMember};
use lastseen::log::{
    Append, Bounds, Change, CommitOutcome, Committed, INPUTS, Inbox, Log, LogError, OutRecord, Positions,
    Records, ScanControl, Scanned, Topic, Transaction,
};
use lastseen::stats::Stats;
use lastseen::store::RocksStore;
use lastseen::worker::{Worker, WorkerConfig, WorkerError};
use serde_json::{Value, json};

const START: i64 = 1_767_225_600_000;
const YEAR: i64 = 365 * 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

/// The clocks, in milliseconds: what the host shows, what has really passed, what the log stamps.
#[derive(Debug, Default)]
struct Time {
    wall: AtomicI64,
    passed: AtomicI64,
    brokers: AtomicI64,
}

#[derive(Debug)]
struct Host(Arc<Time>);

impl TimeSource for Host {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(START + self.0.wall.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.passed.load(Ordering::SeqCst) as u64)
    }

    fn pause(&self, _: Duration) {}
}

/// What is wrong with the log.
#[derive(Default)]
struct Faults {
    /// Nothing of this input is delivered, though it is there.
    held: Option<InputTopic>,
    /// No question about ends is answered.
    unreachable: bool,
}

/// A record that is held back: partition, offset, append time, key, value.
type Held = (u32, u64, Timestamp, Vec<u8>, Vec<u8>);

/// A log with faults.
struct Faulty {
    log: EmbeddedMember,
    faults: Arc<Mutex<Faults>>,
    stash: Vec<Held>,
}

impl Records for Faulty {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        self.log.scan(topic, partition, range, each)
    }
}

impl Log for Faulty {
    fn poll(&mut self, wait: Duration, limit: usize, inbox: &mut Inbox) -> Result<Vec<Change>, LogError> {
        let held = self.faults.lock().unwrap().held;
        let mut fresh = Inbox::default();
        let changes = self.log.poll(wait, limit, &mut fresh)?;
        if held.is_none() {
            for (partition, offset, timestamp, key, value) in self.stash.drain(..) {
                let record =
                    Scanned { offset, timestamp, key: Some(&key), value: Some(&value), headers: &[] };
                inbox.push(InputTopic::Activity, partition, record);
            }
        }
        for slot in &fresh.slots {
            let (key, value) = (fresh.key(slot).unwrap_or_default(), fresh.value(slot).unwrap_or_default());
            if held == Some(slot.topic) {
                self.stash.push((slot.partition, slot.offset, slot.append_time, key.into(), value.into()));
                continue;
            }
            let record = Scanned {
                offset: slot.offset,
                timestamp: slot.append_time,
                key: Some(key),
                value: Some(value),
                headers: &[],
            };
            inbox.push(slot.topic, slot.partition, record);
        }
        Ok(changes)
    }

    fn positions(&mut self, partition: u32) -> Positions {
        let mut positions = self.log.positions(partition);
        if let Some((_, offset, ..)) = self.stash.iter().find(|(number, ..)| *number == partition) {
            positions[InputTopic::Activity as usize] = *offset;
        }
        positions
    }

    fn ends(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Positions)>, LogError> {
        if self.faults.lock().unwrap().unreachable {
            return Err(LogError::retriable("asking for watermarks", "no broker answers"));
        }
        self.log.ends(partitions)
    }

    fn start(&mut self, partition: u32, from: Positions) -> Result<(), LogError> {
        self.log.start(partition, from)
    }

    fn hold(&mut self, partition: u32, held: [bool; INPUTS]) -> Result<(), LogError> {
        self.log.hold(partition, held)
    }

    fn release(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        self.log.release(partitions)
    }

    fn committed(&mut self, partitions: &[u32]) -> Result<Vec<Committed>, LogError> {
        self.log.committed(partitions)
    }

    fn journal_times(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Option<Timestamp>)>, LogError> {
        self.log.journal_times(partitions)
    }

    fn commit(&mut self, transaction: &Transaction) -> CommitOutcome {
        self.log.commit(transaction)
    }

    fn close(&mut self) -> Result<(), LogError> {
        self.log.close()
    }
}

struct Bench {
    time: Arc<Time>,
    faults: Arc<Mutex<Faults>>,
    log: EmbeddedLog,
    dir: tempfile::TempDir,
    worker: Option<Worker<Faulty, RocksStore>>,
    accept_loss: bool,
    batch_records: usize,
    stats: Arc<Stats>,
}

fn open(dir: &Path, time: &Arc<Time>, retention: Option<Millis>) -> EmbeddedLog {
    let brokers = time.clone();
    let mut config = EmbeddedConfig { partitions: 1, retention_thread: false, ..EmbeddedConfig::default() };
    config.retention[Topic::Input(InputTopic::Activity).number()] = retention;
    let clock = Arc::new(move || Timestamp::from_millis(START + brokers.brokers.load(Ordering::SeqCst)));
    EmbeddedLog::open(dir.join("log"), config, clock).expect("the log opens")
}

impl Bench {
    fn new() -> Bench {
        Bench::with_retention(None)
    }

    fn with_retention(retention: Option<Millis>) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let time = Arc::new(Time::default());
        let log = open(dir.path(), &time, retention);
        let faults = Arc::default();
        let mut bench = Bench {
            time,
            faults,
            log,
            dir,
            worker: None,
            accept_loss: false,
            batch_records: 100_000,
            stats: Arc::default(),
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        let config = WorkerConfig {
            settings: Arc::new(Settings::default()),
            commit_interval: Duration::from_millis(1),
            clock_margin: Millis(0),
            checkpoint_interval: Duration::from_secs(30 * 86_400),
            accept_loss: self.accept_loss,
            batch_records: self.batch_records,
            ..WorkerConfig::default()
        };
        let member = self.log.member().expect("one member");
        let log = Faulty { log: member, faults: self.faults.clone(), stash: Vec::new() };
        let clock = Clock::of(Host(self.time.clone()));
        let store = RocksStore::new(self.dir.path());
        self.worker = Some(Worker::new(log, store, clock, config, self.stats.clone(), 7));
        self.turn();
    }

    fn kill(&mut self) {
        self.worker = None;
    }

    /// Time passes for all.
    fn pass(&mut self, seconds: i64) {
        for clock in [&self.time.wall, &self.time.passed, &self.time.brokers] {
            clock.fetch_add(seconds * 1000, Ordering::SeqCst);
        }
    }

    /// Turns until nothing more happens at this moment.
    fn turn(&mut self) {
        let worker = self.worker.as_mut().expect("it runs");
        for _ in 0..3 {
            while worker.turn(true).expect("a turn") {}
        }
    }

    fn live(&mut self, seconds: i64) {
        self.pass(seconds);
        self.turn();
    }

    fn passed(&self) -> i64 {
        self.time.passed.load(Ordering::SeqCst) / 1000
    }

    fn send(&mut self, topic: InputTopic, events: impl IntoIterator<Item = (String, Value)>) {
        let observed_at = at(self.passed()).to_string();
        let record = |(device, mut event): (String, Value)| {
            (event["tenant"], event["deviceId"]) = (json!("acme"), json!(device));
            event["observedAt"] = json!(observed_at);
            OutRecord {
                topic: Topic::Input(topic),
                partition: 0,
                timestamp: at(0),
                key: Some(format!("acme/{device}").into_bytes()),
                value: Some(event.to_string().into_bytes()),
                headers: Vec::new(),
            }
        };
        let records: Vec<OutRecord> = events.into_iter().map(record).collect();
        self.log.append(&records).expect("it is written");
    }

    fn monitor(&mut self, devices: &[String], minutes: i64) {
        let interval = json!({"requiredInterval": {"minutes": minutes, "source": "operator"}});
        self.send(InputTopic::Control, devices.iter().map(|device| (device.clone(), interval.clone())));
    }

    fn report<'d>(&mut self, devices: impl IntoIterator<Item = &'d String>) {
        let message = json!({"activity": {"kind": "mqtt_publish"}});
        self.send(InputTopic::Activity, devices.into_iter().map(|device| (device.clone(), message.clone())));
    }

    fn records(&self, topic: Topic) -> Vec<Value> {
        let mut records = Vec::new();
        let bounds = self.log.bounds(topic, 0).expect("bounds");
        self.log
            .scan(topic, 0, bounds.low..bounds.high, &mut |record| {
                let value = record.value.expect("a value");
                records.push(serde_json::from_slice(value).expect("JSON"));
                std::ops::ControlFlow::Continue(())
            })
            .expect("a scan");
        records
    }

    /// Who was called UNAVAILABLE, and since when.
    fn offline(&self) -> BTreeMap<String, String> {
        let mut offline = BTreeMap::new();
        for status in self.records(Topic::Status) {
            let changes = status["changes"].as_array().expect("changes");
            if changes.iter().any(|change| change["to"] == "UNAVAILABLE") {
                let device = status["deviceId"].as_str().expect("a device").to_owned();
                offline.insert(device, status["at"].as_str().expect("a time").to_owned());
            }
        }
        offline
    }

    /// The blind spells that were told: reason, start, end.
    fn spells(&self) -> Vec<(String, String, String)> {
        let ended = |entry: &Value| entry["cause"]["rule"] == "blind_over";
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let words = |value: &Value, prefix: &str| {
            text(value).strip_prefix(prefix).unwrap_or_else(|| panic!("{value}")).to_owned()
        };
        let spell = |entry: &Value| {
            (
                text(&entry["subject"]),
                words(&entry["before"], "blind since "),
                words(&entry["after"], "sees since "),
            )
        };
        self.records(Topic::Audit).iter().filter(|entry| ended(entry)).map(spell).collect()
    }

    fn reasons(&self) -> Vec<String> {
        self.spells().into_iter().map(|(reason, ..)| reason).collect()
    }
}

fn fleet(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("d{number:06}")).collect()
}

/// Devices that report every half minute, from now on for so many minutes; `turn`: the processor lives meanwhile.
fn report_for(bench: &mut Bench, devices: &[String], minutes: i64, turn: bool) {
    for _ in 0..minutes * 2 {
        bench.report(devices);
        bench.pass(30);
        if turn {
            bench.turn();
        }
    }
}

#[test]
fn an_outage_of_the_processor_calls_nobody_offline_who_sent_meanwhile() {
    let mut bench = Bench::new();
    let devices = fleet(20);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 10, true);
    bench.kill();
    report_for(&mut bench, &devices[1..], 600, false);
    bench.start();
    bench.turn();
    let offline = bench.offline();
    assert_eq!(offline.keys().collect::<Vec<_>>(), ["d000000"], "the one that was silent, and no other");
}

#[test]
fn while_one_input_is_held_back_deadlines_wait_also_those_of_devices_that_others_bring() {
    let mut bench = Bench::new();
    let devices = fleet(5);
    bench.monitor(&devices, 2);
    bench.report(&devices);
    bench.live(1);
    bench.faults.lock().unwrap().held = Some(InputTopic::Activity);
    for minute in 0..30 {
        bench.report(&devices);
        bench.live(30);
        // The control topic goes on: its events of the same devices are read and wait for the clock.
        let label = json!({"register": {"labels": {"minute": minute.to_string()}}});
        bench.send(InputTopic::Control, devices.iter().map(|device| (device.clone(), label.clone())));
        bench.live(30);
    }
    assert_eq!(bench.offline(), BTreeMap::new());
    bench.faults.lock().unwrap().held = None;
    bench.turn();
    bench.live(1);
    assert_eq!(bench.offline(), BTreeMap::new());
    assert_eq!(bench.reasons(), ["backlog"]);
    bench.live(121);
    assert_eq!(bench.offline().len(), 5, "and then they are judged as ever");
}

/// What waits for an input that is behind is bounded, however far ahead the others are.
#[test]
fn an_input_that_is_far_ahead_of_another_is_held_back() {
    let mut bench = Bench::new();
    bench.kill();
    bench.batch_records = 100;
    bench.start();
    let devices = fleet(10);
    bench.monitor(&devices, 2);
    bench.report(&devices);
    bench.live(1);
    bench.faults.lock().unwrap().held = Some(InputTopic::Activity);
    for number in 0..600 {
        bench.report(&devices);
        let label = json!({"register": {"labels": {"number": number.to_string()}}});
        bench.send(InputTopic::Control, devices.iter().map(|device| (device.clone(), label.clone())));
        bench.live(1);
    }
    let counts = bench.stats.counts();
    // 6,000 records of the control topic are there, and two batches' worth of them at most were read.
    assert!((50..=200).contains(&counts.waiting.0), "what is ahead waits, in the log: {:?}", counts.waiting);
    let read = counts.applied;
    bench.faults.lock().unwrap().held = None;
    for _ in 0..600 {
        bench.turn();
    }
    let counts = bench.stats.counts();
    assert_eq!(counts.applied - read, 2 * 600 * 10, "everything is folded");
    assert_eq!(counts.waiting.0, 0);
    assert_eq!(bench.offline(), BTreeMap::new());
}

#[test]
fn while_no_broker_answers_the_clock_waits() {
    let mut bench = Bench::new();
    let devices = fleet(5);
    bench.monitor(&devices, 2);
    bench.report(&devices);
    bench.live(1);
    bench.live(11);
    bench.faults.lock().unwrap().unreachable = true;
    for _ in 0..10 {
        bench.live(60);
    }
    assert_eq!(bench.offline(), BTreeMap::new());
    bench.report(&devices);
    bench.faults.lock().unwrap().unreachable = false;
    bench.live(1);
    bench.live(1);
    assert_eq!(bench.offline().len(), 5, "ten minutes of silence that are known now");
    let spells = bench.spells();
    assert_eq!(spells.len(), 1, "{spells:?}");
    assert_eq!((&*spells[0].0, &*spells[0].1), ("unreadable_input", &*at(12).to_string()));
}

/// Jumps the host's clock by so much while devices report, lets ten minutes pass, and jumps it back.
fn host_jumps(by: i64) {
    let mut bench = Bench::new();
    let devices = fleet(20);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 5, true);
    bench.time.wall.fetch_add(by * 1000, Ordering::SeqCst);
    report_for(&mut bench, &devices, 10, true);
    let told = bench.records(Topic::Audit);
    assert!(
        told.iter().any(|entry| entry["cause"]["rule"] == "blind" && entry["subject"] == "clock_skew"),
        "{told:?}"
    );
    assert_eq!(bench.offline(), BTreeMap::new());
    let folded = bench.log.bounds(Topic::Journal, 0).unwrap().high;
    assert!(folded > 20, "records are folded all the same");
    bench.time.wall.fetch_sub(by * 1000, Ordering::SeqCst);
    report_for(&mut bench, &devices, 5, true);
    assert_eq!(bench.offline(), BTreeMap::new());
    assert!(bench.reasons().contains(&"clock_skew".to_owned()));
    bench.live(60);
    bench.live(60);
    bench.live(60);
    assert_eq!(bench.offline().len(), 20, "it sees again, and judges");
}

#[test]
fn a_host_whose_clock_jumps_a_year_ahead_is_blind_and_calls_nobody_offline() {
    host_jumps(YEAR);
}

#[test]
fn a_host_whose_clock_jumps_a_year_back_is_blind_and_calls_nobody_offline() {
    host_jumps(-YEAR);
}

#[test]
fn a_leader_whose_clock_jumps_a_year_ahead_blinds_and_calls_nobody_offline() {
    let mut bench = Bench::new();
    let devices = fleet(20);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 5, true);
    bench.time.brokers.fetch_add(YEAR * 1000, Ordering::SeqCst);
    report_for(&mut bench, &devices, 10, true);
    let told = bench.records(Topic::Audit);
    assert!(
        told.iter().any(|entry| entry["cause"]["rule"] == "blind" && entry["subject"] == "clock_skew"),
        "{told:?}"
    );
    assert_eq!(bench.offline(), BTreeMap::new());
}

#[test]
fn a_leader_whose_clock_stands_still_blinds_and_calls_nobody_offline() {
    let mut bench = Bench::new();
    let devices = fleet(20);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 5, true);
    for _ in 0..20 {
        bench.report(&devices);
        for clock in [&bench.time.wall, &bench.time.passed] {
            clock.fetch_add(30_000, Ordering::SeqCst);
        }
        bench.turn();
    }
    let told = bench.records(Topic::Audit);
    assert!(
        told.iter().any(|entry| entry["cause"]["rule"] == "blind" && entry["subject"] == "clock_skew"),
        "{told:?}"
    );
    assert_eq!(bench.offline(), BTreeMap::new());
}

#[test]
fn a_host_that_slept_with_its_log_gives_every_device_its_time_anew() {
    let mut bench = Bench::new();
    let devices = fleet(20);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 5, true);
    // Neither the process nor its log ran; only the clocks show that time passed.
    for clock in [&bench.time.wall, &bench.time.brokers] {
        clock.fetch_add(8 * 3_600_000, Ordering::SeqCst);
    }
    for _ in 0..8 {
        bench.live(10);
    }
    assert_eq!(bench.offline(), BTreeMap::new());
    // No record says whether the clocks of the inputs went with the host's: it waits for one, ten minutes at most.
    for _ in 0..54 {
        bench.live(10);
    }
    assert_eq!(bench.offline(), BTreeMap::new());
    for _ in 0..20 {
        bench.live(10);
    }
    assert_eq!(bench.offline().len(), 20, "two minutes after it was sure that it had slept");
}

#[test]
fn a_host_that_slept_believes_the_first_record_that_comes() {
    let mut bench = Bench::new();
    let devices = fleet(20);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 5, true);
    for clock in [&bench.time.wall, &bench.time.brokers] {
        clock.fetch_add(8 * 3_600_000, Ordering::SeqCst);
    }
    bench.live(10);
    bench.report(&devices[..1]);
    for _ in 0..11 {
        bench.live(10);
    }
    assert_eq!(bench.offline(), BTreeMap::new());
    for _ in 0..3 {
        bench.live(10);
    }
    assert_eq!(bench.offline().len(), 20, "two minutes after that record");
}

/// An input's leader that is far behind makes what devices report look like the future.
#[test]
fn a_leader_that_was_an_hour_behind_and_is_set_right_calls_nobody_offline() {
    let mut bench = Bench::new();
    let devices = fleet(20);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 5, true);
    bench.time.brokers.fetch_sub(3_600_000, Ordering::SeqCst);
    report_for(&mut bench, &devices, 20, true);
    bench.time.brokers.fetch_add(3_600_000, Ordering::SeqCst);
    bench.live(40);
    report_for(&mut bench, &devices, 5, true);
    assert_eq!(bench.offline(), BTreeMap::new());
    // Ten minutes of silence are waited for, and then it is theirs.
    for _ in 0..75 {
        bench.live(10);
    }
    assert_eq!(bench.offline().len(), 20, "they are judged again");
}

/// Reports a tenth of the fleet every three seconds: each device twice a minute.
fn report_in_turn(bench: &mut Bench, devices: &[String], seconds: i64) {
    for tenth in 0..seconds / 3 {
        bench.report(devices.iter().skip(tenth as usize % 10).step_by(10));
        bench.live(3);
    }
}

#[test]
fn a_pipeline_that_dies_for_five_minutes_under_a_fleet_raises_no_alarm() {
    let mut bench = Bench::new();
    let devices = fleet(100_000);
    bench.monitor(&devices, 1);
    report_in_turn(&mut bench, &devices, 60);
    let died = bench.passed();
    for _ in 0..60 {
        bench.live(5);
    }
    assert_eq!(bench.offline(), BTreeMap::new());
    let told = bench.records(Topic::Audit);
    let words = told.iter().filter(|entry| entry["cause"]["rule"] == "blind").collect::<Vec<_>>();
    assert_eq!(words.len(), 1, "one loud word: {words:?}");
    assert_eq!(words[0]["subject"], "silent_input");
    report_in_turn(&mut bench, &devices, 60);
    assert_eq!(bench.offline(), BTreeMap::new(), "not one false alarm");
    let spells = bench.spells();
    assert_eq!(spells.len(), 1, "{spells:?}");
    assert!(
        spells[0].1 >= at(died - 3).to_string() && spells[0].2 >= at(died + 300).to_string(),
        "{spells:?}"
    );
}

#[test]
fn a_fleet_that_is_really_down_gets_its_verdicts_after_the_longest_silence_that_is_waited_for() {
    let mut bench = Bench::new();
    let devices = fleet(1_000);
    bench.monitor(&devices, 2);
    report_in_turn(&mut bench, &devices, 60);
    let last = bench.passed() - 3;
    while bench.passed() < last + 600 {
        bench.live(3);
    }
    assert_eq!(bench.offline(), BTreeMap::new(), "silence is waited for");
    bench.live(3);
    let offline = bench.offline();
    assert_eq!(offline.len(), 1_000);
    assert_eq!(offline["d000009"], at(last + 120).to_string(), "and the verdict says since when");
}

#[test]
fn a_fleet_that_reports_in_one_burst_a_minute_gets_every_verdict_on_time() {
    let mut bench = Bench::new();
    let devices = fleet(100);
    bench.monitor(&devices, 2);
    for _ in 0..30 {
        bench.report(&devices);
        bench.live(60);
    }
    let last = bench.passed();
    bench.report(&devices);
    for _ in 0..6 {
        bench.live(20);
        bench.report(&devices[1..]);
    }
    assert_eq!(bench.offline(), BTreeMap::new());
    bench.live(1);
    assert_eq!(bench.offline(), BTreeMap::from([("d000000".to_owned(), at(last + 120).to_string())]));
}

#[test]
fn records_lost_to_retention_are_refused_or_journaled_as_a_gap_with_sight_after_it() {
    let mut bench = Bench::with_retention(Some(Millis::from_minutes(10)));
    let devices = fleet(10);
    bench.monitor(&devices, 2);
    report_for(&mut bench, &devices, 5, true);
    bench.kill();
    report_for(&mut bench, &devices, 60, false);
    bench.log.apply_retention(at(bench.passed())).expect("retention is applied");
    let begun = bench.log.bounds(Topic::Input(InputTopic::Activity), 0).unwrap().low;
    assert!(begun > 500, "{begun}");

    let config = WorkerConfig { commit_interval: Duration::from_millis(1), ..WorkerConfig::default() };
    let log = Faulty { log: bench.log.member().unwrap(), faults: bench.faults.clone(), stash: Vec::new() };
    let clock = Clock::of(Host(bench.time.clone()));
    let store = RocksStore::new(bench.dir.path());
    let mut refused = Worker::new(log, store, clock, config, Arc::new(Stats::default()), 7);
    let error = refused.turn(true).expect_err("records are missing");
    assert!(matches!(error, WorkerError::Gap { .. }), "{error}");
    let words = error.to_string();
    assert!(words.contains(&begun.to_string()) && words.contains("--accept-loss"), "{words}");
    drop(refused);

    bench.accept_loss = true;
    bench.start();
    bench.turn();
    assert_eq!(bench.offline(), BTreeMap::new());
    let told = bench.records(Topic::Audit);
    let gap = told.iter().find(|entry| entry["cause"]["rule"] == "gap").expect("it is told");
    assert!(gap["after"].as_str().unwrap().contains(&(begun - 1).to_string()), "{gap}");
    // The next start needs no acceptance: the journal has it.
    bench.accept_loss = false;
    bench.kill();
    bench.start();
    bench.live(121);
    bench.live(1);
    assert_eq!(bench.offline().len(), 10, "it judges again");
}
