//! Lastseen's log on Kafka; the only place that knows rdkafka.
//!
//! A [`KafkaLog`] is one worker: **a member** that belongs to the group and fetches nothing (its assignment is empty to
//! librdkafka; it heartbeats, learns of rebalances and asks for offsets), **a reader** in no group that is told what to
//! read from which offset, partition by partition, and **a producer** for transactions. Split like this, to start,
//! rewind, pause or drop one partition disturbs no other, a rebalance waits for us without blocking anything, and the
//! records of a partition cannot arrive before they were asked for.
//!
//! * Group protocol: classic, `range` (others break co-partitioning), eager. [`crate::log::Change::Revoked`] is
//!   answered by [`crate::log::Log::release`]; until then the generation stays and a commit goes through.
//! * Offsets are ours: always explicit, `auto.offset.reset=error`, no auto commit.
//! * Transactions: see `producer`. What is unknown is asked: the committed offsets carry metadata.

mod append;
mod archive;
mod errors;
mod group;
mod member;
mod native;
mod producer;
mod scan;
mod tail;
pub mod topics;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::RDKafkaErrorCode;

pub use self::append::KafkaAppender;
pub use self::archive::KafkaArchive;
pub use self::member::KafkaLog;
pub use self::tail::KafkaTail;
use super::{LogError, TOPICS, Topic};

/// How to reach Kafka, and who we are there.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `bootstrap.servers`: host:port, separated by commas.
    pub brokers: String,
    /// librdkafka's settings, passed through (SASL, TLS, …): to all clients, or with the prefix `consumer.` or
    /// `producer.` to those alone. The ones that correctness rests on are refused, see [`KafkaConfig::check`].
    pub client: BTreeMap<String, String>,
    /// The names of the topics, by [`Topic::number`].
    pub topics: [String; TOPICS],
    /// The consumer group, and the first part of the transactional ids.
    pub group: String,
    /// Which instance this process is: stable over restarts, different from all others.
    pub instance: String,
    /// Which worker of the instance.
    pub worker: u32,
    /// Static membership (`group.instance.id`): a restart within the session timeout causes no rebalance, but an
    /// instance that is gone for good is missed only after it, since static members do not say good-bye.
    pub static_member: bool,
    /// `session.timeout.ms`: how long a silent member keeps its partitions.
    pub session_timeout: Duration,
    /// `transaction.timeout.ms`, and how long a commit may take. With the brokers' abort scan (10 s by default) it
    /// should stay below the session timeout, so that a takeover never waits for it longer than for the session.
    pub transaction_timeout: Duration,
    /// How long a question may take (offsets, watermarks, metadata).
    pub request_timeout: Duration,
    /// How long a scan waits for the end of open transactions; more than the transaction timeout and the abort scan.
    pub scan_timeout: Duration,
}

impl KafkaConfig {
    /// With the default names, group `lastseen`, worker 0, static membership, session 45 s, transaction 10 s.
    pub fn new(brokers: impl Into<String>, instance: impl Into<String>) -> KafkaConfig {
        KafkaConfig {
            brokers: brokers.into(),
            client: BTreeMap::new(),
            topics: Topic::ALL.map(|topic| topic.default_name().to_owned()),
            group: "lastseen".to_owned(),
            instance: instance.into(),
            worker: 0,
            static_member: true,
            session_timeout: Duration::from_secs(45),
            transaction_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            scan_timeout: Duration::from_secs(30),
        }
    }

    /// The name of a topic.
    pub fn topic(&self, topic: Topic) -> &str {
        &self.topics[topic.number()]
    }

    /// The topic of a name.
    pub fn topic_named(&self, name: &[u8]) -> Option<Topic> {
        let number = self.topics.iter().position(|topic| topic.as_bytes() == name)?;
        Some(Topic::ALL[number])
    }

    /// The transactional id: group, instance, worker.
    pub fn transactional_id(&self) -> String {
        format!("{}-{}-{}", self.group, self.instance, self.worker)
    }

    /// Refuses what cannot work: settings that correctness rests on, names that are empty or used twice, timeouts in
    /// the wrong order.
    pub fn check(&self) -> Result<(), LogError> {
        let refuse = |message: String| Err(LogError::fatal("checking the Kafka settings", message));
        for key in self.client.keys() {
            let name = key.strip_prefix("consumer.").or_else(|| key.strip_prefix("producer.")).unwrap_or(key);
            if OURS.contains(&name) {
                return refuse(format!("`{key}` is Lastseen's to set: exactly-once rests on it"));
            }
        }
        for (number, name) in self.topics.iter().enumerate() {
            if name.is_empty() {
                return refuse(format!("the topic of {} has no name", Topic::ALL[number]));
            }
            if let Some(other) = self.topics[..number].iter().position(|other| other == name) {
                return refuse(format!(
                    "{} and {} are both called {name}",
                    Topic::ALL[other],
                    Topic::ALL[number]
                ));
            }
        }
        if self.brokers.trim().is_empty() || self.group.is_empty() || self.instance.is_empty() {
            return refuse("brokers, group and instance must have a value".to_owned());
        }
        if self.transaction_timeout >= self.session_timeout {
            let (transaction, session) = (self.transaction_timeout, self.session_timeout);
            return refuse(format!(
                "the transaction timeout ({transaction:?}) must be below the session timeout ({session:?})"
            ));
        }
        Ok(())
    }

    /// What all clients have, then what is passed through, then `ours`.
    fn client(&self, kind: &str, defaults: &[(&str, &str)], ours: &[(&str, String)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // rdkafka would take the level from the `log` crate, which we do not speak.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", format!("lastseen-{}-{}", self.instance, self.worker));
        config.set("socket.nagle.disable", "true");
        config.set("log.connection.close", "false");
        // A topic that is not there may have been made just now; for so long that is believed.
        config.set("topic.metadata.propagation.max.ms", "3000");
        config.set("reconnect.backoff.ms", "50");
        config.set("reconnect.backoff.max.ms", "1000");
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        let own = |key: &str| key.starts_with("consumer.") || key.starts_with("producer.");
        for (key, value) in self.client.iter().filter(|(key, _)| !own(key)) {
            config.set(key, value);
        }
        for (key, value) in &self.client {
            if let Some(key) = key.strip_prefix(kind) {
                config.set(key, value);
            }
        }
        for (key, value) in ours {
            config.set(*key, value);
        }
        config
    }

    /// A client that fetches by assignment. It never joins the group that it names; librdkafka wants a name.
    fn reader(&self, fetch_wait: &str) -> ClientConfig {
        let defaults = [
            ("fetch.wait.max.ms", fetch_wait),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "50"),
            // What waits within librdkafka takes five times its bytes: each record is a message of its own there. A batch
            // at hand and another on its way are enough.
            ("queued.min.messages", "50000"),
            ("queued.max.messages.kbytes", "16384"),
            ("max.partition.fetch.bytes", "262144"),
        ];
        let ours = [
            ("group.id", self.group.clone()),
            ("isolation.level", "read_committed".to_owned()),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
            ("auto.offset.reset", "error".to_owned()),
            // Of no use here, but held against max.poll.interval.ms, which may be passed through.
            ("session.timeout.ms", self.session_timeout.as_millis().to_string()),
            ("enable.partition.eof", "true".to_owned()),
        ];
        self.client("consumer.", &defaults, &ours)
    }
}

/// Settings that nobody else may make.
const OURS: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Makes a client that cannot be made an error that says why: a setting is wrong.
fn creation(action: &str, error: &rdkafka::error::KafkaError) -> LogError {
    LogError::fatal(action, format!("the Kafka client settings do not work: {error}"))
}

/// The same, for a reader.
fn reader(action: &str, config: &ClientConfig) -> Result<native::Reader, LogError> {
    let wrong = |(_, words): (RDKafkaErrorCode, String)| {
        LogError::fatal(action, format!("the Kafka client settings do not work: {words}"))
    };
    native::Reader::new(config).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_pass_through_but_for_ours() {
        let mut config = KafkaConfig::new("h:1", "i");
        for (key, value) in [
            ("sasl.mechanism", "PLAIN"),
            ("linger.ms", "7"),
            ("producer.linger.ms", "9"),
            ("consumer.check.crcs", "true"),
        ] {
            config.client.insert(key.to_owned(), value.to_owned());
        }
        config.check().unwrap();
        let producer = config.client("producer.", &[("linger.ms", "1")], &[("acks", "all".to_owned())]);
        assert_eq!((producer.get("linger.ms"), producer.get("acks")), (Some("9"), Some("all")));
        assert_eq!((producer.get("sasl.mechanism"), producer.get("check.crcs")), (Some("PLAIN"), None));
        let reader = config.reader("50");
        assert_eq!((reader.get("linger.ms"), reader.get("check.crcs")), (Some("7"), Some("true")));
        let admin = config.client("admin.", &[], &[]);
        assert!(
            admin
                .config_map()
                .keys()
                .all(|key| !key.starts_with("consumer.") && !key.starts_with("producer."))
        );
        assert_eq!(config.transactional_id(), "lastseen-i-0");
        config.client.insert("consumer.isolation.level".to_owned(), "read_uncommitted".to_owned());
        assert!(config.check().unwrap_err().to_string().contains("consumer.isolation.level"));
    }

    #[test]
    fn refuses_what_cannot_work() {
        let config = || KafkaConfig::new("h:1", "i");
        let said = |config: KafkaConfig| config.check().unwrap_err().to_string();
        let mut twice = config();
        twice.topics[3] = twice.topics[4].clone();
        assert!(said(twice).contains("both called devices.alarms"));
        let slow = KafkaConfig { transaction_timeout: Duration::from_secs(60), ..config() };
        assert!(said(slow).contains("below the session timeout"));
        assert!(said(KafkaConfig::new("", "i")).contains("must have a value"));
    }
}
