//! Belonging to the group: a member that fetches nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaRespErr;

use super::errors::Watch;
use super::native::{self, EARLIEST, PartitionList};
use super::{KafkaConfig, creation};
use crate::domain::effect::InputTopic;
use crate::log::{Committed, LogError, Topic};

/// The client that is the member.
pub type Member = BaseConsumer<MemberContext>;

/// Records what happens to the assignment; `KafkaLog::poll` acts on it.
pub struct MemberContext {
    /// What went wrong lately.
    pub watch: Watch,
    events: Mutex<VecDeque<Event>>,
    closing: AtomicBool,
}

/// What happened to the assignment.
pub enum Event {
    /// These are ours.
    Assigned(Vec<(String, u32)>),
    /// All are about to go, or gone.
    Revoked {
        /// Gone already.
        lost: bool,
    },
    /// An assignment could not be taken.
    Failed(String),
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        self.watch.log(level, facility, words);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ConsumerContext for MemberContext {
    /// To librdkafka the assignment is empty: the reader reads. A revocation is answered by `release`, later; until then
    /// the member keeps its generation and heartbeats.
    fn rebalance(&self, member: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let event = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let assigned =
                list.elements().iter().map(|at| (at.topic().to_owned(), at.partition() as u32)).collect();
            match member.assign(&TopicPartitionList::new()) {
                Ok(()) => Event::Assigned(assigned),
                Err(error) => Event::Failed(error.to_string()),
            }
        } else if self.closing.load(Ordering::Acquire) {
            let _ = member.unassign();
            return;
        } else {
            Event::Revoked { lost: member.assignment_lost() }
        };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}

impl MemberContext {
    /// What happened next.
    pub fn next(&self) -> Option<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// A client that may become a member: it has not subscribed yet.
pub fn join(config: &KafkaConfig) -> Result<Member, LogError> {
    let millis = |time: Duration| time.as_millis().to_string();
    let mut ours = vec![
        ("group.id", config.group.clone()),
        ("group.protocol", "classic".to_owned()),
        ("partition.assignment.strategy", "range".to_owned()),
        ("session.timeout.ms", millis(config.session_timeout)),
        ("heartbeat.interval.ms", millis(heartbeat(config))),
        ("isolation.level", "read_committed".to_owned()),
        ("enable.auto.commit", "false".to_owned()),
        ("enable.auto.offset.store", "false".to_owned()),
        ("auto.offset.reset", "error".to_owned()),
    ];
    if config.static_member {
        ours.push(("group.instance.id", format!("{}-{}", config.instance, config.worker)));
    }
    let watch = Watch::new(&config.brokers);
    let context = MemberContext { watch, events: Mutex::default(), closing: AtomicBool::new(false) };
    let member = config.client("consumer.", &[], &ours).create_with_context(context);
    member.map_err(|error| creation("joining the group", &error))
}

/// Before a member is dropped, which leaves the group unless it is static: nothing is waited for any more.
pub fn leave(member: &Member) {
    member.context().closing.store(true, Ordering::Release);
    let _ = member.unassign();
}

/// `heartbeat.interval.ms`: a tenth of the session timeout, at most Kafka's default.
pub fn heartbeat(config: &KafkaConfig) -> Duration {
    (config.session_timeout / 10).clamp(Duration::from_millis(200), Duration::from_secs(3))
}

/// The group's offsets of partitions, with their metadata; waits until no transaction is pending on them. The error says
/// what was being done.
pub fn offsets(
    client: *mut rd::rd_kafka_t,
    config: &KafkaConfig,
    partitions: &[u32],
) -> Result<Vec<Committed>, (String, Code, String)> {
    const ACTION: &str = "reading the group's offsets";
    let mut found: BTreeMap<u32, Committed> = partitions
        .iter()
        .map(|&partition| (partition, Committed { partition, offsets: Default::default() }))
        .collect();
    let names = InputTopic::ALL.iter().map(|&topic| config.topic(Topic::Input(topic)));
    let names: Vec<(usize, &str)> = names.enumerate().collect();
    let questions = partitions
        .iter()
        .flat_map(|partition| names.iter().map(|(_, name)| (*name, *partition, EARLIEST, None)));
    let list = PartitionList::new(questions);
    native::committed(client, &list, config.request_timeout)
        .map_err(|(code, words)| (ACTION.to_owned(), code, words))?;
    for (topic, partition, offset, metadata, code) in list.read() {
        if code != Code::NoError {
            return Err((format!("{ACTION}: {topic}, partition {partition}"), code, String::new()));
        }
        let index = names.iter().find(|(_, name)| *name == topic).map(|(index, _)| *index);
        if let (Some(index), Some(committed), Ok(offset)) =
            (index, found.get_mut(&partition), u64::try_from(offset))
        {
            committed.offsets[index] = Some((offset, String::from_utf8_lossy(&metadata).into_owned()));
        }
    }
    Ok(found.into_values().collect())
}
