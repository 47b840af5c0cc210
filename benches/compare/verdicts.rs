//! What a run said, as counts and hashes that do not depend on its order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lastseen::wire::pb;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use xxhash_rust::xxh3::xxh3_128;

const PATIENCE: Duration = Duration::from_secs(120);

/// Reads topics from the beginning to what is their end then.
pub fn read_all(
    brokers: &str,
    topics: &[String],
    partitions: u32,
    isolation: &str,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "compare-reader")
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "20")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", "262144")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..partitions as i32 {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
    }
    consumer.assign(&list).expect("assigned");
    let mut ended = BTreeSet::new();
    while ended.len() < list.count() {
        match consumer.poll(PATIENCE) {
            Some(Ok(message)) => each(&message),
            // Without its topic, which is not needed: each partition of the same number counts until all of them ended.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let free = (0..topics.len()).find(|topic| !ended.contains(&(*topic, partition)));
                ended.extend(free.map(|topic| (topic, partition)));
            }
            Some(Err(error)) => panic!("{topics:?}: {error}"),
            None => panic!("{topics:?} do not end"),
        }
    }
}

/// So many, and the sum of their hashes.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Digest {
    pub count: u64,
    pub sum: u128,
}

impl Digest {
    fn add(&mut self, words: &str) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(words.as_bytes()));
    }
}

/// What was said, by what must be the same for all.
#[derive(Clone, Default)]
pub struct Verdicts {
    pub digests: BTreeMap<&'static str, Digest>,
    /// How many of each kind, for people.
    pub kinds: BTreeMap<String, u64>,
    /// The beginning of the workload, from which times are counted: so the hashes of a seed are the same every day.
    start: i64,
}

impl Verdicts {
    pub fn read(brokers: &str, prefix: &str, partitions: u32, start: i64) -> Verdicts {
        let mut said = Verdicts { start, ..Verdicts::default() };
        let topic = |name: &str| [format!("{prefix}.{name}")];
        read_all(brokers, &topic("status"), partitions, "read_committed", |message| {
            said.status(&decoded(message));
        });
        read_all(brokers, &topic("alarms"), partitions, "read_committed", |message| {
            said.alarm(&decoded(message));
        });
        read_all(brokers, &topic("connection-log"), partitions, "read_committed", |message| {
            said.log(&decoded(message));
        });
        read_all(brokers, &topic("dead-letter"), partitions, "read_committed", |_| {
            said.add("dead letters", "dead letter".to_owned(), "");
        });
        said
    }

    fn add(&mut self, digest: &'static str, kind: String, words: &str) {
        self.digests.entry(digest).or_default().add(words);
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn status(&mut self, status: &pb::StatusChange) {
        let key = format!("{}/{}", status.tenant, status.device_id);
        for change in &status.changes {
            let (digest, facet) = match change.facet() {
                pb::Facet::Availability => ("availability", "availability"),
                pb::Facet::Connection => ("connection", "connection"),
                _ => continue,
            };
            let words = format!("{key} {} {}>{}", status.at_ms - self.start, change.from, change.to);
            self.add(digest, format!("{facet} {}", change.to), &words);
        }
    }

    fn alarm(&mut self, alarm: &pb::AlarmEvent) {
        let (action, reason) = (alarm.action().as_str_name(), alarm.reason().as_str_name());
        let words = format!(
            "{}/{} {} {action} {reason} {} {} {}",
            alarm.tenant,
            alarm.device_id,
            alarm.at_ms - self.start,
            alarm.count,
            alarm.first_at_ms - self.start,
            alarm.last_at_ms - self.start
        );
        let action = action.trim_start_matches("ALARM_EVENT_ACTION_");
        let reason = reason.trim_start_matches("CLEAR_REASON_").replace("UNSPECIFIED", "");
        self.add("alarms", format!("alarm {action} {reason}").trim_end().to_owned(), &words);
    }

    fn log(&mut self, entry: &pb::ConnectionLogEntry) {
        let kind = entry.kind().as_str_name().trim_start_matches("LOG_KIND_");
        let flags: Vec<&str> =
            entry.flags().map(|flag| flag.as_str_name().trim_start_matches("FLAG_")).collect();
        let flags = flags.join(" ");
        let session = entry.session.as_ref().map_or("", |session| &session.id);
        let words = format!(
            "{}/{} {} {kind} {session} {flags} {:?} {:?}",
            entry.tenant,
            entry.device_id,
            entry.at_ms - self.start,
            entry.duration_ms,
            entry.reason_code
        );
        self.add("connection log", format!("log {kind} {flags}").trim_end().to_owned(), &words);
    }

    /// What differs from what another said, in words.
    pub fn differences(&self, other: &Verdicts) -> Vec<String> {
        let names: BTreeSet<&str> = self.digests.keys().chain(other.digests.keys()).copied().collect();
        let of = |said: &Verdicts, name: &str| said.digests.get(name).copied().unwrap_or_default();
        names
            .into_iter()
            .filter(|name| of(self, name) != of(other, name))
            .map(|name| {
                let (mine, theirs) = (of(self, name), of(other, name));
                format!(
                    "{name}: {} of {:032x} and {} of {:032x}",
                    mine.count, mine.sum, theirs.count, theirs.sum
                )
            })
            .collect()
    }
}

fn decoded<M: prost::Message + Default>(message: &BorrowedMessage<'_>) -> M {
    M::decode(message.payload().unwrap_or_default()).expect("an output")
}
