//! What bounds any program: copying the same bytes, folding the same events in memory, writing as many records in
//! transactions.

use std::hint::black_box;
use std::time::{Duration, Instant};

use lastseen::domain::effect::{InputTopic, Origin};
use lastseen::domain::event::Event;
use lastseen::engine::core::{Core, Progress};
use lastseen::wire::decode::{Limits as DecodeLimits, RawRecord, Scratch, decode};
use rdkafka::producer::{BaseRecord, Producer};

use crate::fill::{self, Sender};
use crate::workload::{Batch, Workload};
use crate::{Plan, Site};

const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// Records of a transaction of the bare producer; the bytes of each, about as many as an alarm has.
const TRANSACTION: u64 = 20_000;
const ALARM_BYTES: usize = 180;

/// Records a second, each the best of three.
pub struct Limits {
    pub records: u64,
    pub copied: f64,
    /// Decoded events, folded.
    pub folded: f64,
    /// Decoded and folded.
    pub decoded: f64,
    /// Written in transactions, to as many partitions.
    pub written: f64,
}

/// Measures with the fleet of the plan, or of as many devices as a hundred megabytes hold.
pub fn measure(site: &Site) -> Limits {
    let plan = Plan { devices: site.plan.devices.min(100_000), ..site.plan.clone() };
    let mut workload = Workload::new(fill::spec(&plan));
    let mut batches = Vec::new();
    loop {
        let mut batch = Batch::default();
        if !workload.next(&mut batch) {
            break;
        }
        batches.push(batch);
    }
    let records: u64 = batches.iter().map(|batch| batch.records.len() as u64).sum();
    let best = |act: &mut dyn FnMut() -> Duration| {
        let took = (0..RUNS).map(|_| act()).min().unwrap_or_default();
        records as f64 / took.as_secs_f64()
    };
    let mut copy = vec![1u8; batches.iter().map(|batch| batch.bytes.len()).max().unwrap_or(0)];
    let copied = best(&mut || {
        let began = Instant::now();
        for batch in &batches {
            copy[..batch.bytes.len()].copy_from_slice(black_box(&batch.bytes));
            black_box(&copy);
        }
        began.elapsed()
    });
    let folded = best(&mut || fold(&batches, false));
    let decoded = best(&mut || fold(&batches, true));
    Limits { records, copied, folded, decoded, written: written(site, 10 * TRANSACTION) }
}

/// Folds all batches into one core; how long that took, with or without decoding.
fn fold(batches: &[Batch], decoding: bool) -> Duration {
    let mut core = Core::default();
    let mut took = Duration::ZERO;
    let limits = DecodeLimits::default();
    for batch in batches {
        let scratch = Scratch::new();
        let began = Instant::now();
        let events = batch.records.iter().map(|record| {
            let raw = RawRecord {
                key: batch.key(record),
                value: Some(batch.value(record)),
                partitions: 1,
                ..RawRecord::default()
            };
            decode(&raw, &scratch, &limits).expect("a good record")
        });
        let events: Vec<Event<'_>> = events.collect();
        let decoded = Instant::now();
        for event in &events {
            let at = event.observed_at.unwrap_or(core.clock).max(core.clock);
            assert!(core.advance(at, usize::MAX) == Progress::Done);
            let origin = Origin::Record { topic: InputTopic::Activity, partition: 0, offset: 0 };
            black_box(core.apply(event, event.observed_at.unwrap_or(at), origin));
        }
        core.begin_step();
        took += if decoding { began.elapsed() } else { decoded.elapsed() };
    }
    took
}

/// What a transactional producer that does nothing else writes.
fn written(site: &Site, records: u64) -> f64 {
    site.topics("bare");
    let mut settings = fill::settings(&site.broker.address, "1");
    let producer: Sender =
        settings.set("transactional.id", "bare").set("retry.backoff.ms", "1").create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("the broker answers");
    let value = [7u8; ALARM_BYTES];
    let began = Instant::now();
    for transaction in 0..records / TRANSACTION {
        producer.begin_transaction().expect("a transaction");
        for number in 0..TRANSACTION {
            let key = format!("acme/device-{transaction}-{number}");
            let partition = (number % u64::from(site.plan.partitions)) as i32;
            let record = BaseRecord::<str, [u8]>::to("bare.alarms").key(&key).payload(&value);
            producer.send(record.partition(partition)).expect("there is room");
        }
        producer.commit_transaction(PATIENCE).expect("it is committed");
    }
    records as f64 / began.elapsed().as_secs_f64()
}
