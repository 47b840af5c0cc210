//! The topics on a cluster: what they should be (DESIGN §1, `reference/engine.md` §12.3), what they are, what to do.
//!
//! [`wanted`] says what should be, [`inspect`] what is, [`plan`] compares (pure), [`create`] makes what is missing.
//! Existing topics are never changed: every complaint names the command that does.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::errors::Watch;
use super::{KafkaConfig, creation};
use crate::domain::time::Millis;
use crate::log::{LogError, Topic};

/// Bytes by which the dead-letter topic's record limit exceeds the inputs': its headers say where and why.
pub const DEAD_LETTER_MARGIN: u64 = 64 * 1024;

/// What the owner of a cluster decides.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// Partitions of every topic, fixed for life: keys and journals hang on it.
    pub partitions: u32,
    /// Copies of each; `None`: three, or as many as there are brokers.
    pub replication: Option<u32>,
    /// How long inputs and journal stay: the audit window.
    pub audit: Millis,
    /// How long the other outputs stay.
    pub outputs: Millis,
    /// The largest record batch of the inputs in bytes.
    pub max_message_bytes: u64,
}

impl Default for TopicSettings {
    /// 32 partitions, seven days, 1 MiB.
    fn default() -> TopicSettings {
        const WEEK: Millis = Millis::from_minutes(7 * 24 * 60);
        TopicSettings {
            partitions: 32,
            replication: None,
            audit: WEEK,
            outputs: WEEK,
            max_message_bytes: 1 << 20,
        }
    }
}

/// What one topic should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Which.
    pub topic: Topic,
    /// Its name on the cluster.
    pub name: String,
    /// Partitions.
    pub partitions: u32,
    /// Copies.
    pub replication: u32,
    /// Settings, and how binding each is.
    pub settings: BTreeMap<&'static str, (String, Rule)>,
}

/// How an existing topic's setting is held against the wanted one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Must be equal: something breaks otherwise.
    Must,
    /// A number that must not be lower; -1 is unlimited.
    AtLeast,
    /// Advice: a number that should not be lower; -1 is unlimited.
    BetterAtLeast,
    /// Advice: a number that should not be higher.
    BetterAtMost,
}

/// What one topic is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Existing {
    /// Partitions.
    pub partitions: u32,
    /// Copies of the partition that has the fewest.
    pub replication: u32,
    /// All settings, defaults included.
    pub settings: BTreeMap<String, String>,
}

/// What there is on the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// Its id; empty if it has none.
    pub id: String,
    /// How many brokers.
    pub brokers: u32,
    /// Those of Lastseen's topics that exist, by name.
    pub topics: BTreeMap<String, Existing>,
}

/// Something about an existing topic that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// The topic's name.
    pub topic: String,
    /// The setting.
    pub setting: String,
    /// What it is.
    pub has: String,
    /// What it should be.
    pub wants: String,
    /// Whether `run` must refuse to start.
    pub refuse: bool,
    /// Why it matters.
    pub why: &'static str,
    /// The command that mends it, or what else to do.
    pub mend: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Complaint { topic, setting, has, wants, why, mend, .. } = self;
        write!(f, "{topic}: {setting} is {has}, wanted is {wants}: {why}\n  {mend}")
    }
}

/// What [`plan`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What is missing.
    pub create: Vec<Wanted>,
    /// What is not as it should be.
    pub complaints: Vec<Complaint>,
}

impl Report {
    /// Whether the topics are there and `run` may start.
    pub fn usable(&self) -> bool {
        self.create.is_empty() && !self.complaints.iter().any(|complaint| complaint.refuse)
    }
}

/// What Lastseen's topics should be on a cluster with so many brokers.
pub fn wanted(config: &KafkaConfig, settings: &TopicSettings, brokers: u32) -> Vec<Wanted> {
    let replication = settings.replication.unwrap_or(brokers.clamp(1, 3));
    let of = |topic: Topic| {
        let mut want: BTreeMap<&'static str, (String, Rule)> = BTreeMap::new();
        let mut set = |key, value: String, rule| want.insert(key, (value, rule));
        set("cleanup.policy", if topic.compacted() { "compact" } else { "delete" }.to_owned(), Rule::Must);
        let stamp = if topic.stamped_by_log() { "LogAppendTime" } else { "CreateTime" };
        set("message.timestamp.type", stamp.to_owned(), Rule::Must);
        if replication >= 3 {
            set("min.insync.replicas", "2".to_owned(), Rule::BetterAtLeast);
        }
        match topic {
            Topic::Input(_) => {
                set("retention.ms", settings.audit.0.to_string(), Rule::BetterAtLeast);
                set("max.message.bytes", settings.max_message_bytes.to_string(), Rule::AtLeast);
            }
            Topic::Journal => {
                set("retention.ms", settings.audit.0.to_string(), Rule::BetterAtLeast);
                set("segment.bytes", (128 << 20).to_string(), Rule::BetterAtMost);
            }
            Topic::State => {
                set("segment.bytes", (64 << 20).to_string(), Rule::BetterAtMost);
                set("segment.ms", "3600000".to_owned(), Rule::BetterAtMost);
                set("min.cleanable.dirty.ratio", "0.2".to_owned(), Rule::BetterAtMost);
                set("max.compaction.lag.ms", "3600000".to_owned(), Rule::BetterAtMost);
                set("delete.retention.ms", "604800000".to_owned(), Rule::BetterAtLeast);
            }
            Topic::DeadLetter => {
                let limit = settings.max_message_bytes + DEAD_LETTER_MARGIN;
                set("max.message.bytes", limit.to_string(), Rule::AtLeast);
                set("retention.ms", settings.outputs.0.to_string(), Rule::BetterAtLeast);
            }
            Topic::Status | Topic::Alarms | Topic::ConnectionLog | Topic::Audit => {
                set("retention.ms", settings.outputs.0.to_string(), Rule::BetterAtLeast);
            }
        }
        if !topic.stamped_by_log() {
            // Our time stamps are those of events and deadlines, however long ago, or ahead of the brokers' clocks.
            for key in ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms"] {
                set(key, i64::MAX.to_string(), Rule::AtLeast);
            }
        }
        let name = config.topic(topic).to_owned();
        Wanted { topic, name, partitions: settings.partitions, replication, settings: want }
    };
    Topic::ALL.map(of).into()
}

/// Compares what is with what should be.
pub fn plan(config: &KafkaConfig, cluster: &Cluster, wanted: &[Wanted]) -> Report {
    let mut report = Report::default();
    for want in wanted {
        match cluster.topics.get(&want.name) {
            None => report.create.push(want.clone()),
            Some(have) => compare(config, want, have, &mut report.complaints),
        }
    }
    dead_letters(config, cluster, &mut report.complaints);
    report
}

fn compare(config: &KafkaConfig, want: &Wanted, have: &Existing, complaints: &mut Vec<Complaint>) {
    let name = &want.name;
    if have.partitions != want.partitions {
        let mend = if have.partitions < want.partitions {
            format!(
                "if it is new and empty: kafka-topics.sh --bootstrap-server {} --alter --topic {name} --partitions {}; \
                 else set the configured number to {}",
                config.brokers, want.partitions, have.partitions
            )
        } else {
            format!("a topic cannot lose partitions: set the configured number to {}", have.partitions)
        };
        complaints.push(Complaint {
            topic: name.clone(),
            setting: "partitions".to_owned(),
            has: have.partitions.to_string(),
            wants: want.partitions.to_string(),
            refuse: true,
            why: "a device's records must lie in the same partition of every topic",
            mend,
        });
    }
    if have.replication < want.replication {
        complaints.push(Complaint {
            topic: name.clone(),
            setting: "replication".to_owned(),
            has: have.replication.to_string(),
            wants: want.replication.to_string(),
            refuse: false,
            why: "with fewer copies the loss of a disk is a loss of data",
            mend: format!(
                "kafka-reassign-partitions.sh --bootstrap-server {} (a reassignment with more replicas)",
                config.brokers
            ),
        });
    }
    for (key, (value, rule)) in &want.settings {
        // An older broker that does not know a setting cannot be told to have it.
        let Some(has) = have.settings.get(*key) else { continue };
        let number =
            |text: &str| text.parse::<f64>().map(|number| if number < 0.0 { f64::INFINITY } else { number });
        let fits = match (rule, number(has), number(value)) {
            (Rule::AtLeast | Rule::BetterAtLeast, Ok(has), Ok(value)) => has >= value,
            (Rule::BetterAtMost, Ok(has), Ok(value)) => has <= value,
            _ => has == value,
        };
        if !fits {
            complaints.push(setting(
                config,
                name,
                key,
                has,
                value.clone(),
                matches!(rule, Rule::Must | Rule::AtLeast),
            ));
        }
    }
}

/// The dead-letter topic takes whatever an input took, even if an input takes more than was asked for.
fn dead_letters(config: &KafkaConfig, cluster: &Cluster, complaints: &mut Vec<Complaint>) {
    const KEY: &str = "max.message.bytes";
    let limit = |topic: Topic| -> Option<u64> {
        cluster.topics.get(config.topic(topic))?.settings.get(KEY)?.parse().ok()
    };
    let inputs = Topic::ALL.into_iter().filter(|topic| matches!(topic, Topic::Input(_)));
    let largest = inputs.filter_map(limit).max();
    let name = config.topic(Topic::DeadLetter);
    if let (Some(largest), Some(has)) = (largest, limit(Topic::DeadLetter))
        && has < largest + DEAD_LETTER_MARGIN
    {
        complaints.retain(|complaint| complaint.topic != name || complaint.setting != KEY);
        complaints.push(setting(
            config,
            name,
            KEY,
            &has.to_string(),
            (largest + DEAD_LETTER_MARGIN).to_string(),
            true,
        ));
    }
}

fn setting(
    config: &KafkaConfig,
    topic: &str,
    key: &str,
    has: &str,
    wants: String,
    refuse: bool,
) -> Complaint {
    let why = match key {
        "cleanup.policy" if wants == "compact" => "a row per device must stay for good, and older ones go",
        "cleanup.policy" => "compaction would remove records that are history",
        "message.timestamp.type" if wants == "LogAppendTime" => "the order of arrival is the brokers' time",
        "message.timestamp.type" => {
            "records carry the time of what happened, so that a replay is byte-identical"
        }
        "message.timestamp.before.max.ms" | "message.timestamp.after.max.ms" => {
            "records carry the time of what happened, which may be long ago or ahead of the brokers' clocks"
        }
        "retention.ms" => "what is gone cannot be audited or caught up with",
        "max.message.bytes" => {
            "a record that does not fit blocks its producer, and us if it is a dead letter"
        }
        "min.insync.replicas" => "an acknowledged record must be on two brokers",
        "delete.retention.ms" => "whoever was away for longer never learns that a device is gone",
        _ => "recovery reads everything that compaction has not yet removed",
    };
    let mend = format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} --add-config {key}={wants}",
        config.brokers
    );
    Complaint {
        topic: topic.to_owned(),
        setting: key.to_owned(),
        has: has.to_owned(),
        wants,
        refuse,
        why,
        mend,
    }
}

fn admin(config: &KafkaConfig, action: &str) -> Result<AdminClient<Watch>, LogError> {
    config.check()?;
    let client = config.client("admin.", &[], &[]);
    client.create_with_context(Watch::new(&config.brokers)).map_err(|error| creation(action, &error))
}

fn options(config: &KafkaConfig) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(config.request_timeout))
        .operation_timeout(Some(config.request_timeout))
}

fn explained(config: &KafkaConfig, admin: &AdminClient<Watch>, action: &str, error: &KafkaError) -> LogError {
    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
    let explained = admin.inner().context().explain(action, code, &error.to_string());
    if !explained.retriable {
        return explained;
    }
    // An admin client only ever says that time is up. Another client, left alone for a moment, says why.
    let Ok(mut probe) = super::reader(action, &config.reader("100")) else { return explained };
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        probe.next(Duration::from_millis(50));
    }
    probe.watch().explain(action, code, &error.to_string())
}

/// Looks at the cluster: brokers, and those of Lastseen's topics that exist.
///
/// # Errors
/// No broker answers in time, or none that lets us look (describe and describe-configs on the topics).
pub fn inspect(config: &KafkaConfig) -> Result<Cluster, LogError> {
    const ACTION: &str = "looking at the topics";
    let admin = admin(config, ACTION)?;
    let metadata = admin.inner().fetch_metadata(None, config.request_timeout);
    let metadata = metadata.map_err(|error| explained(config, &admin, ACTION, &error))?;
    // In the metadata already: this asks no broker again.
    let id = admin.inner().fetch_cluster_id(config.request_timeout).unwrap_or_default();
    let mut topics = BTreeMap::new();
    for topic in
        metadata.topics().iter().filter(|topic| config.topics.iter().any(|name| name == topic.name()))
    {
        let replication =
            topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
        let (partitions, replication) = (topic.partitions().len() as u32, replication as u32);
        topics
            .insert(topic.name().to_owned(), Existing { partitions, replication, settings: BTreeMap::new() });
    }
    let asked: Vec<_> = topics.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
    let answers = if asked.is_empty() {
        Vec::new()
    } else {
        let answers = block_on(admin.describe_configs(&asked, &options(config)), config.request_timeout * 2);
        answers
            .unwrap_or(Err(KafkaError::AdminOp(Code::OperationTimedOut)))
            .map_err(|error| explained(config, &admin, ACTION, &error))?
    };
    let names: Vec<String> = topics.keys().cloned().collect();
    for (name, answer) in names.into_iter().zip(answers) {
        let resource = answer.map_err(|code| {
            admin.inner().context().explain(format!("{ACTION}: settings of {name}"), code, "")
        })?;
        let settings =
            resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
        if let Some(topic) = topics.get_mut(&name) {
            topic.settings = settings;
        }
    }
    Ok(Cluster { id, brokers: metadata.brokers().len() as u32, topics })
}

fn new_topic(want: &Wanted) -> NewTopic<'_> {
    let replication = TopicReplication::Fixed(want.replication as i32);
    let new = NewTopic::new(&want.name, want.partitions as i32, replication);
    want.settings.iter().fold(new, |new, (key, (value, _))| new.set(key, value))
}

/// Creates topics and waits until the brokers know them.
///
/// # Errors
/// One could not be created, for a reason other than that it exists already (somebody was faster; check again).
pub fn create(config: &KafkaConfig, topics: &[Wanted]) -> Result<(), LogError> {
    const ACTION: &str = "creating topics";
    if topics.is_empty() {
        return Ok(());
    }
    let admin = admin(config, ACTION)?;
    let wishes: Vec<NewTopic<'_>> = topics.iter().map(new_topic).collect();
    let answers = block_on(admin.create_topics(&wishes, &options(config)), config.request_timeout * 2);
    let answers = answers
        .unwrap_or(Err(KafkaError::AdminOp(Code::OperationTimedOut)))
        .map_err(|error| explained(config, &admin, ACTION, &error))?;
    for answer in answers {
        if let Err((name, code)) = answer
            && code != Code::TopicAlreadyExists
        {
            return Err(admin.inner().context().explain(format!("{ACTION}: {name}"), code, ""));
        }
    }
    // A broker that has much to do tells its clients of new topics late: many requests may see none of them.
    let until = Instant::now() + config.request_timeout * 6;
    loop {
        let cluster = inspect(config)?;
        let known = |want: &Wanted| cluster.topics.get(&want.name).is_some_and(|topic| topic.partitions > 0);
        if topics.iter().all(known) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(LogError::retriable(ACTION, "the brokers created them but do not show them yet"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for a future in this thread; `None` if it takes longer. rdkafka's admin calls are futures that their own
/// thread completes, so no runtime is needed, and this works inside one too.
fn block_on<T>(future: impl Future<Output = T>, timeout: Duration) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    let until = Instant::now() + timeout;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}
