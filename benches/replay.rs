//! Verification against the fold: a million heartbeats of one partition lie in an embedded log with all that a
//! processor made of them; they are decoded and folded, then verified. One core, fixed seed, in one run; the hash is
//! that of the last entry.
//!
//! `make micro ARGS=replay`

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lastseen::domain::effect::{InputTopic, Origin};
use lastseen::domain::policy::{IntervalRule, Policy};
use lastseen::domain::time::Timestamp;
use lastseen::engine::core::{Core, Progress};
use lastseen::engine::step::{Input, Partition, Settings};
use lastseen::engine::table::WARM_MAX;
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog};
use lastseen::log::{Append, INPUTS, Inbox, Log, OutRecord, Slot, Topic, Transaction};
use lastseen::replay::{Plan, Report, Span, verify};
use lastseen::wire::decode::{Limits, RawRecord, Scratch, decode};
use lastseen::wire::encode::encode_event;
use lastseen::wire::policy;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: i64 = 1_767_225_600_000;
const EVENTS: usize = 1_000_000;
const STEP: usize = 10_000;
const RUNS: usize = 5;

fn main() {
    println!(
        "{EVENTS} heartbeats in steps of {STEP}, medians of {RUNS}, M/s of a core: folded from memory, folded from the \
         log, verified; shares of both; hash of the head"
    );
    for devices in [1_000, 100_000] {
        let past = Past::new(devices);
        let mut times = [const { Vec::new() }; 3];
        let mut head = None;
        for _ in 0..RUNS {
            let (time, report) = past.verify();
            assert!(report.difference.is_none(), "{:?}", report.difference);
            assert_eq!(report.inputs as usize, past.slots.len());
            head = report.head;
            for (times, time) in times.iter_mut().zip([past.fold(), past.fold_log(), time]) {
                times.push(time);
            }
        }
        let rates = times.map(|mut times| {
            times.sort();
            past.slots.len() as f64 / times[RUNS / 2].as_secs_f64() / 1e6
        });
        let [fold, fold_log, verified] = rates;
        println!(
            "{devices:>8} devices: {fold:.2} {fold_log:.2} {verified:.2}; {:.0} % {:.0} %; {}",
            100.0 * verified / fold,
            100.0 * verified / fold_log,
            head.expect("entries").hash
        );
    }
}

/// Time that this thread had a core for itself: what others do on the machine counts for less.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = stat.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.expect("the first word is a number"))
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = processor_time();
    let made = act();
    (made, processor_time() - began)
}

struct Past {
    _dir: tempfile::TempDir,
    log: EmbeddedLog,
    arena: Vec<u8>,
    slots: Vec<Slot>,
}

impl Past {
    /// Everything arrives at ten thousand events a second, and a step ends every second.
    fn new(devices: usize) -> Past {
        let dir = tempfile::tempdir().expect("a directory");
        let now = Arc::new(AtomicI64::new(START));
        let clock = Arc::clone(&now);
        let config = EmbeddedConfig { partitions: 1, retention_thread: false, ..EmbeddedConfig::default() };
        let stamps = Arc::new(move || Timestamp::from_millis(clock.load(Ordering::SeqCst)));
        let log = EmbeddedLog::open(dir.path(), config, stamps).expect("the log opens");
        let mut random = StdRng::seed_from_u64(7);
        let rule = IntervalRule { minutes: 15, ..IntervalRule::default() };
        let policy = Policy { required_intervals: vec![rule], ..Policy::default() };
        let policy = format!("{{\"policy\":{}}}", String::from_utf8(policy::to_json(&policy)).expect("text"));
        let record = |topic, key: Option<String>, value: Vec<u8>| OutRecord {
            topic: Topic::Input(topic),
            partition: 0,
            timestamp: Timestamp::from_millis(0),
            key: key.map(String::into_bytes),
            value: Some(value),
            headers: Vec::new(),
        };
        log.append(&[record(InputTopic::Control, None, policy.into_bytes())]).expect("written");
        for batch in 0..EVENTS / STEP {
            now.store(START + 1000 * batch as i64, Ordering::SeqCst);
            let heartbeat = |_| {
                let hot = random.random_range(0..5) == 0;
                let device = random.random_range(0..if hot { devices / 20 + 1 } else { devices });
                let key = format!("acme/device-{device:07}");
                let text = format!(
                    "{{\"tenant\":\"acme\",\"deviceId\":\"device-{device:07}\",\"observedAt\":\"{}\",\"activity\":\
                     {{\"kind\":\"mqtt_publish\",\"channel\":\"mqtt\"}}}}",
                    Timestamp::from_millis(now.load(Ordering::SeqCst))
                );
                let scratch = Scratch::new();
                let raw = RawRecord {
                    key: Some(key.as_bytes()),
                    value: Some(text.as_bytes()),
                    partitions: 1,
                    ..RawRecord::default()
                };
                let event = decode(&raw, &scratch, &Limits::default()).expect("an event");
                let value = encode_event(&event);
                record(InputTopic::Activity, Some(key), value)
            };
            let records: Vec<OutRecord> = (0..STEP).map(heartbeat).collect();
            log.append(&records).expect("written");
        }
        let mut past = Past { _dir: dir, log, arena: Vec::new(), slots: Vec::new() };
        past.process();
        past
    }

    /// What a processor makes of it.
    fn process(&mut self) {
        let mut inbox = Inbox::default();
        let mut queues: [Vec<Slot>; INPUTS] = Default::default();
        for topic in InputTopic::ALL {
            let bounds = self.log.bounds(Topic::Input(*topic), 0).expect("bounds");
            let mut read = |record: lastseen::log::Scanned<'_>| {
                inbox.push(*topic, 0, record);
                ControlFlow::Continue(())
            };
            self.log.scan(Topic::Input(*topic), 0, bounds.low..bounds.high, &mut read).expect("a scan");
            queues[*topic as usize].append(&mut inbox.slots);
        }
        let mut member = self.log.member().expect("one member");
        let mut partition = Partition::new(0, Arc::new(Settings::default()), 1);
        let mut commit = |told: Option<lastseen::engine::step::Told>| {
            let told = told.expect("something happened");
            assert!(!told.full || told.taken.iter().sum::<usize>() > 0);
            let offsets = vec![(0, told.positions, told.head.to_metadata())];
            let _ = member.commit(&Transaction { records: told.records, offsets });
        };
        let [control, _, activity] = &queues;
        commit(partition.step(&Input::new([control, &[], &[]], &inbox.arena, [1, 0, 0], at(0))));
        let mut from = 0;
        for batch in 1..=EVENTS / STEP {
            // A step of births may be cut by its limit of effects.
            while from < batch * STEP {
                let taken: [&[Slot]; INPUTS] = [&[], &[], &activity[from..batch * STEP]];
                let input = Input::new(taken, &inbox.arena, [1, 0, (batch * STEP) as u64], at(batch));
                let told = partition.step(&input);
                from += told.as_ref().map_or(0, |told| told.taken[2]);
                commit(told);
            }
        }
        let [mut all, _, mut activity] = queues;
        all.append(&mut activity);
        (self.arena, self.slots) = (inbox.arena, all);
    }

    /// Decodes and folds the same records, and nothing besides.
    fn fold(&self) -> Duration {
        let mut fold = Fold::default();
        let key = |slot: &Slot| slot.key.clone().map(|range| &self.arena[range]);
        let all = || {
            for (index, slot) in self.slots.iter().enumerate() {
                if index % WARM_MAX == 0 {
                    fold.core.table.warm(self.slots[index..].iter().take(WARM_MAX).filter_map(key));
                }
                fold.one(slot.append_time, key(slot), slot.value.clone().map(|range| &self.arena[range]));
            }
        };
        timed(all).1
    }

    /// The same from the form in which a verification has them: as they are read from the log, one by one.
    fn fold_log(&self) -> Duration {
        let mut fold = Fold::default();
        let all = || {
            for topic in [InputTopic::Control, InputTopic::Activity].map(Topic::Input) {
                let bounds = self.log.bounds(topic, 0).expect("bounds");
                let mut each = |record: lastseen::log::Scanned<'_>| {
                    fold.one(record.timestamp, record.key, record.value);
                    ControlFlow::Continue(())
                };
                self.log.scan(topic, 0, bounds.low..bounds.high, &mut each).expect("a scan");
            }
        };
        timed(all).1
    }

    fn verify(&self) -> (Duration, Report) {
        let plan =
            Plan { settings: Settings::default(), span: Span::default(), device: None, heads: Vec::new() };
        let (report, time) =
            timed(|| verify(&mut self.log.clone(), 0, &plan, &[], &|_, _| {}).expect("the log answers"));
        (time, report)
    }
}

#[derive(Default)]
struct Fold {
    core: Core,
    scratch: Scratch,
    count: usize,
}

impl Fold {
    fn one(&mut self, time: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>) {
        let record = RawRecord { key, value, partitions: 1, ..RawRecord::default() };
        self.scratch.clear();
        let event = decode(&record, &self.scratch, &Limits::default()).expect("a good record");
        assert!(self.core.advance(time, usize::MAX) == Progress::Done);
        self.core.apply(&event, event.observed_at.unwrap_or(time), Origin::Clock);
        if self.count.is_multiple_of(STEP) {
            self.core.begin_step();
        }
        self.count += 1;
    }
}

fn at(second: usize) -> Timestamp {
    Timestamp::from_millis(START + 1000 * second as i64)
}
