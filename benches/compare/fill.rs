//! The backlog: the workload, sent as fast as the broker takes it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lastseen::domain::effect::InputTopic;
use lastseen::wire::partition;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use xxhash_rust::xxh3::Xxh3;

use crate::Plan;
use crate::workload::{Batch, Record, Spec, Tally, Workload};

const PATIENCE: Duration = Duration::from_secs(300);

pub struct Filled {
    pub spec: Spec,
    pub tally: Tally,
    /// Of topics, keys and lengths in their order: of all but the times, which are those of the day.
    pub hash: u64,
    /// Records on the topics: broadcasts count once a partition.
    pub records: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// What of that one core needed to draw and encode it.
    pub drawing: f64,
}

/// The fleet of a plan. Its time is over when the first record is sent; who lives has hours until a deadline, so that no
/// verdict hangs on how long anything takes.
pub fn spec(plan: &Plan) -> Spec {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    // Whole minutes: nothing in the events is shorter, and a hash of the same minute is the same.
    let start = (now / 60_000 - 1) * 60_000 - i64::from(plan.seconds) * 1000;
    let spec = Spec::new(plan.seed, plan.devices, start, plan.seconds);
    Spec { required_minutes_min: (plan.seconds / 60 + 240) as i16, ..spec }
}

/// A producer as fast as librdkafka makes one; it waits so many milliseconds for a batch to fill.
pub fn settings(brokers: &str, linger: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", linger)
        .set("batch.size", "1000000")
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "524288")
        .set_log_level(RDKafkaLogLevel::Warning);
    settings
}

pub type Sender = ThreadedProducer<DefaultProducerContext>;

pub fn fill(brokers: &str, plan: &Plan) -> Filled {
    let producer: Sender = settings(brokers, "20").create().expect("a producer");
    let began = Instant::now();
    let spec = spec(plan);
    let mut workload = Workload::new(spec.clone());
    let mut batch = Batch::default();
    let mut hash = Xxh3::new();
    let (mut records, mut drawing) = (0, Duration::ZERO);
    loop {
        let was_registered = workload.is_registered();
        let drawn = Instant::now();
        if !workload.next(&mut batch) {
            break;
        }
        drawing += drawn.elapsed();
        for record in &batch.records {
            hash.update(&[record.topic as u8]);
            hash.update(batch.key(record).unwrap_or_default());
            hash.update(&(record.value.len() as u32).to_le_bytes());
            records += put(&producer, &batch, record, plan.partitions);
        }
        if !was_registered && workload.is_registered() {
            // Of another topic, and of a later millisecond: whoever merges by time sees it first.
            producer.flush(PATIENCE).expect("the broker takes it");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    producer.flush(PATIENCE).expect("the broker takes it");
    Filled {
        tally: workload.tally.clone(),
        hash: hash.digest(),
        bytes: workload.tally.bytes,
        records,
        seconds: began.elapsed().as_secs_f64(),
        drawing: drawing.as_secs_f64(),
        spec,
    }
}

/// Sends a record of a batch to its partition, or to all of them; how many were sent.
pub fn put(producer: &Sender, batch: &Batch, record: &Record, partitions: u32) -> u64 {
    let to = match batch.key(record) {
        Some(key) => {
            let one = partition::of(key, partitions);
            one..one + 1
        }
        None => 0..partitions,
    };
    let count = to.len() as u64;
    for partition in to {
        send(producer, record.topic, partition, batch.key(record), batch.value(record));
    }
    count
}

fn send(producer: &Sender, topic: InputTopic, partition: u32, key: Option<&[u8]>, value: &[u8]) {
    let topic = match topic {
        InputTopic::Control => "devices.control",
        InputTopic::Connections => "devices.connections",
        InputTopic::Activity => "devices.activity",
    };
    let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition as i32).payload(value);
    record.key = key;
    while let Err((error, back)) = producer.send(record) {
        assert!(
            matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)),
            "it cannot be sent: {error}"
        );
        std::thread::sleep(Duration::from_millis(1));
        record = back;
    }
}
