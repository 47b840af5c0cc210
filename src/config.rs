//! The configuration: one TOML file, the environment over it, flags over both.
//!
//! What keys there are stands once, in [`keys::KEYS`]; what they are called everywhere follows from it:
//! `kafka.group` is `group` below `[kafka]` in the file, `LASTSEEN_KAFKA_GROUP` in the environment, and
//! `--set kafka.group=…` on the command line. A key that does not exist is refused, wherever it stands: a setting
//! that is not understood must not be dropped. All problems are told at once, each with its place.

pub mod keys;
pub mod layers;
mod relations;
mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::effect::InputTopic;
use crate::domain::time::{Millis, Timestamp};
use crate::log::{TOPICS, Topic};
use crate::wire::output::Format;
use crate::wire::rfc3339;

pub use self::layers::{Origin, Said};
pub use self::relations::notes;
pub use self::report::{effective, sample};

use self::keys::{CLIENT, CLIENT_REFUSED, KEYS, Key, Kind, Value};
use self::layers::{Raw, nearest};
use self::relations::relations;

/// The file that is read if no other is named and it exists.
pub const FILE: &str = "lastseen.toml";

/// Which log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// A Kafka cluster.
    Kafka,
    /// The embedded log.
    Embedded,
}

/// Where the first start begins to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartAt {
    /// With the first record that is there.
    Earliest,
    /// With the first record of this time or later.
    Time(Timestamp),
}

/// How Lastseen tells of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TelemetryFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Settings of librdkafka that go to it as they are. Its `Debug` hides secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClientSettings(pub BTreeMap<String, String>);

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

/// A setting of librdkafka as it may be shown.
fn shown<'v>(name: &str, value: &'v str) -> &'v str {
    if keys::is_secret(name) { "(not shown)" } else { value }
}

/// How to reach Kafka, and who we are there.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port,…`
    pub brokers: String,
    /// Consumer group and first part of the transactional ids.
    pub group: String,
    /// The instance; `None`: the id in the state directory.
    pub instance: Option<String>,
    /// Replicas of new topics; `None`: the cluster's default.
    pub replication: Option<u16>,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `transaction.timeout.ms`.
    pub transaction_timeout: Duration,
    /// How often the brokers abort transactions that timed out.
    pub abort_scan: Duration,
    /// Static membership.
    pub static_member: bool,
    /// The bound of one request.
    pub request_timeout: Duration,
    /// Everything else.
    pub client: ClientSettings,
}

impl Kafka {
    /// How long a reader waits for the end of open transactions: until the brokers must have ended them.
    pub fn scan_timeout(&self) -> Duration {
        self.transaction_timeout + self.abort_scan + Duration::from_secs(10)
    }
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Everything.
    All,
    /// The processor alone.
    Processor,
    /// The query service alone.
    Query,
}

/// The query service.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where it listens; `None`: there is none.
    pub listen: Option<SocketAddr>,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// Certificate and key for TLS.
    pub tls: [Option<PathBuf>; 2],
    /// For how long the past can be asked for; `None`: for good.
    pub history: Option<Millis>,
    /// The largest body of a request.
    pub body_bytes: usize,
    /// The longest that an answer takes.
    pub timeout: Duration,
    /// Requests of one token; 0: any number.
    pub requests_per_second: u32,
    /// Whether /metrics takes no token.
    pub open_metrics: bool,
    /// Whether the Watson IoT face tells client connection states.
    pub watson_client_state: bool,
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which log.
    pub log: LogKind,
    /// What this process does.
    pub role: Role,
    /// The state directory.
    pub data_dir: PathBuf,
    /// Where the first start begins.
    pub start: StartAt,
    /// Publish nothing.
    pub dry_run: bool,
    /// Records that are gone before they were read are given up.
    pub accept_loss: bool,
    /// Partitions that other instances own are kept at hand.
    pub standby: bool,
    /// Of [`LogKind::Kafka`].
    pub kafka: Kafka,
    /// Names by [`Topic::number`].
    pub topics: [String; TOPICS],
    /// Partitions of every topic.
    pub partitions: u32,
    /// How long records stay, by [`Topic::number`]; `None` for good, and of compacted topics.
    pub retention: [Option<Millis>; TOPICS],
    /// How long deletions stand on compacted topics.
    pub tombstone_retention: Millis,
    /// How outputs are written.
    pub output_format: Format,
    /// Number of workers; 0: as many as the machine has cores.
    pub workers: usize,
    /// The longest that something decided waits.
    pub commit_interval: Duration,
    /// Records that end a batch early.
    pub batch_records: usize,
    /// How far the clock stays behind.
    pub clock_margin: Millis,
    /// Accept inputs of CreateTime.
    pub allow_create_time: bool,
    /// The largest input record.
    pub record_bytes: usize,
    /// The time of a sweep.
    pub state_refresh: Duration,
    /// The time between checkpoints.
    pub state_checkpoint: Duration,
    /// Verify the live journal, a little behind.
    pub audit_shadow: bool,
    /// The query service.
    pub http: Http,
    /// Directives for tracing.
    pub telemetry_level: String,
    /// The format of what it tells.
    pub telemetry_format: TelemetryFormat,
}

impl Config {
    /// The configured name of a topic.
    pub fn topic(&self, topic: Topic) -> &str {
        &self.topics[topic.number()]
    }
}

impl Default for Config {
    /// What is documented as default.
    fn default() -> Config {
        load(Vec::new(), Vec::new()).expect("the defaults are right").config
    }
}

/// Something wrong with the configuration, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where it was said; `None` where several values do not go together.
    pub origin: Option<Origin>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem with what was said here.
    pub fn at(origin: Origin, message: impl Into<String>) -> Problem {
        Problem { origin: Some(origin), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// A value in force, and where it came from.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it was said.
    pub origin: Origin,
}

/// A configuration together with where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every key, in the order of [`KEYS`].
    pub settings: Vec<(&'static Key, Setting)>,
    /// Settings of librdkafka with their origins.
    pub client: BTreeMap<String, (String, Origin)>,
}

/// Puts layers together, the later ones over the earlier ones. `problems` are those met while reading them.
pub fn load(layers: Vec<Said>, mut problems: Vec<Problem>) -> Result<Loaded, ConfigError> {
    let mut values: BTreeMap<&'static str, Setting> = BTreeMap::new();
    let mut client = BTreeMap::new();
    for said in layers {
        if let Some(setting) = said.name.strip_prefix(CLIENT).and_then(|rest| rest.strip_prefix('.')) {
            match client_setting(setting, &said) {
                Ok(value) => {
                    client.insert(setting.to_owned(), (value, said.origin));
                }
                Err(message) => problems.push(Problem::at(said.origin, message)),
            }
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.name == said.name) else {
            let message = unknown(&said.name);
            problems.push(Problem::at(said.origin, message));
            continue;
        };
        match value(key, &said.raw) {
            Ok(value) => {
                values.insert(key.name, Setting { value, origin: said.origin });
            }
            Err(message) => problems.push(Problem::at(said.origin, message)),
        }
    }
    if problems.is_empty() {
        let settings = KEYS.iter().map(|key| {
            let setting = values.remove(key.name);
            (key, setting.unwrap_or_else(|| Setting { value: key.default.value(), origin: Origin::Default }))
        });
        let settings: Vec<_> = settings.collect();
        let config = typed(&settings, &client);
        problems = relations(&config, &settings);
        if problems.is_empty() {
            return Ok(Loaded { config, settings, client });
        }
    }
    Err(ConfigError(problems))
}

fn unknown(name: &str) -> String {
    if KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))) {
        return format!("{name} is a table, not a value");
    }
    match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(near) => format!("there is no key {name}; did you mean {near}?"),
        None => format!("there is no key {name}; `lastseen check --sample` lists all of them"),
    }
}

/// The value that a key takes from what was said.
fn value(key: &Key, raw: &Raw) -> Result<Value, String> {
    let given = match raw {
        Raw::Text(text) => format!("{text:?}"),
        Raw::Number(text) | Raw::Words(text) => text.clone(),
        Raw::Flag(flag) => flag.to_string(),
        Raw::Other(what) => (*what).to_owned(),
    };
    let name = key.name;
    match (key.kind, raw) {
        (Kind::Text(check), Raw::Text(text) | Raw::Words(text)) => match check(text) {
            Ok(()) => Ok(Value::Text(text.clone())),
            Err(allowed) => Err(format!("{name} = {given}: {allowed}")),
        },
        (Kind::Text(_), _) => Err(format!("{name} = {given}: it must be a text in quotes")),
        (Kind::Word(words), _) => match raw {
            Raw::Text(text) | Raw::Words(text) if words.contains(&text.as_str()) => {
                Ok(Value::Text(text.clone()))
            }
            _ => Err(format!("{name} = {given}: it must be {}", words.join(" or "))),
        },
        (Kind::Flag, _) => match raw {
            Raw::Flag(flag) => Ok(Value::Flag(*flag)),
            Raw::Words(text) if text == "true" || text == "1" => Ok(Value::Flag(true)),
            Raw::Words(text) if text == "false" || text == "0" => Ok(Value::Flag(false)),
            _ => Err(format!("{name} = {given}: it must be true or false")),
        },
        (Kind::Whole(low, high) | Kind::ZeroOr(low, high), _) => {
            let number = match raw {
                Raw::Number(text) | Raw::Words(text) => text.replace('_', "").parse::<u64>().ok(),
                _ => None,
            };
            let zero = matches!(key.kind, Kind::ZeroOr(..));
            match number {
                Some(number) if (low..=high).contains(&number) || (zero && number == 0) => {
                    Ok(Value::Whole(number))
                }
                _ => {
                    let or_zero = if zero { "0, or " } else { "" };
                    let unit = unit(name).map(|unit| format!(" {unit}")).unwrap_or_default();
                    Err(format!(
                        "{name} = {given}: it must be {or_zero}a whole number from {low} to {high}{unit}"
                    ))
                }
            }
        }
    }
}

/// The unit that the end of a key's name tells.
fn unit(name: &str) -> Option<&'static str> {
    if name.ends_with("_seconds") {
        Some("seconds")
    } else if name.ends_with("_ms") {
        Some("milliseconds")
    } else if name.ends_with("_bytes") {
        Some("bytes")
    } else {
        None
    }
}

fn client_setting(setting: &str, said: &Said) -> Result<String, String> {
    let plain =
        setting.strip_prefix("consumer.").or_else(|| setting.strip_prefix("producer.")).unwrap_or(setting);
    if let Some((_, instead)) = CLIENT_REFUSED.iter().find(|(refused, _)| *refused == plain) {
        return Err(format!("{CLIENT}.{setting:?} is not yours to set: {instead}"));
    }
    match &said.raw {
        Raw::Text(text) | Raw::Number(text) | Raw::Words(text) => Ok(text.clone()),
        Raw::Flag(flag) => Ok(flag.to_string()),
        Raw::Other(what) => {
            Err(format!("{CLIENT}.{setting:?} is {what}: it must be a text, a number, true or false"))
        }
    }
}

/// The keys as fields. Every key of the table is used here; a test sees to it.
fn typed(settings: &[(&'static Key, Setting)], client: &BTreeMap<String, (String, Origin)>) -> Config {
    let find =
        |name: &str| &settings.iter().find(|(key, _)| key.name == name).expect("a key of the table").1.value;
    let text = |name: &str| match find(name) {
        Value::Text(text) => text.clone(),
        other => unreachable!("{name} is a text, not {other:?}"),
    };
    let flag = |name: &str| matches!(find(name), Value::Flag(true));
    let whole = |name: &str| match find(name) {
        Value::Whole(number) => *number,
        other => unreachable!("{name} is a number, not {other:?}"),
    };
    let millis = |name: &str| Duration::from_millis(whole(name));
    let seconds = |name: &str| Duration::from_secs(whole(name));
    let stay = |topic: Topic| {
        let seconds = whole(&format!("retention.{}_seconds", word_of(topic)));
        (seconds > 0).then(|| Millis::from_seconds(seconds as i64))
    };
    let path = |name: &str| Some(PathBuf::from(text(name))).filter(|path| !path.as_os_str().is_empty());
    Config {
        role: match text("role").as_str() {
            "processor" => Role::Processor,
            "query" => Role::Query,
            _ => Role::All,
        },
        http: Http {
            listen: text("http.listen").parse().ok(),
            tokens: path("http.tokens"),
            tls: [path("http.tls_certificate"), path("http.tls_key")],
            history: Some(Millis::from_seconds(whole("http.history_seconds") as i64))
                .filter(|kept| kept.0 > 0),
            body_bytes: whole("http.body_bytes") as usize,
            timeout: millis("http.timeout_ms"),
            requests_per_second: whole("http.requests_per_second") as u32,
            open_metrics: flag("http.open_metrics"),
            watson_client_state: flag("http.watson_client_state"),
        },
        log: if text("log") == "embedded" { LogKind::Embedded } else { LogKind::Kafka },
        data_dir: PathBuf::from(text("data_dir")),
        start: time(&text("start")).map_or(StartAt::Earliest, StartAt::Time),
        dry_run: flag("dry_run"),
        accept_loss: flag("accept_loss"),
        standby: flag("standby"),
        kafka: Kafka {
            brokers: text("kafka.brokers").split(',').map(str::trim).collect::<Vec<_>>().join(","),
            group: text("kafka.group"),
            instance: Some(text("kafka.instance")).filter(|name| !name.is_empty()),
            replication: Some(whole("kafka.replication") as u16).filter(|&replicas| replicas > 0),
            session_timeout: millis("kafka.session_timeout_ms"),
            transaction_timeout: millis("kafka.transaction_timeout_ms"),
            abort_scan: millis("kafka.abort_scan_ms"),
            static_member: flag("kafka.static_member"),
            request_timeout: millis("kafka.request_timeout_ms"),
            client: ClientSettings(
                client.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect(),
            ),
        },
        topics: Topic::ALL.map(|topic| text(&format!("topics.{}", word_of(topic)))),
        partitions: whole("topics.partitions") as u32,
        retention: Topic::ALL.map(|topic| if topic.compacted() { None } else { stay(topic) }),
        tombstone_retention: Millis::from_seconds(whole("retention.state_tombstones_seconds") as i64),
        output_format: if text("output.format") == "json" { Format::Json } else { Format::Protobuf },
        workers: whole("worker.count") as usize,
        commit_interval: millis("worker.commit_interval_ms"),
        batch_records: whole("worker.batch_records") as usize,
        clock_margin: Millis(whole("clock.margin_ms") as i64),
        allow_create_time: flag("clock.allow_create_time"),
        record_bytes: whole("limits.record_bytes") as usize,
        state_refresh: seconds("state.refresh_seconds"),
        state_checkpoint: seconds("state.checkpoint_seconds"),
        audit_shadow: flag("audit.shadow"),
        telemetry_level: text("telemetry.level"),
        telemetry_format: match text("telemetry.format").as_str() {
            "human" => TelemetryFormat::Human,
            "json" => TelemetryFormat::Json,
            _ => TelemetryFormat::Auto,
        },
    }
}

/// A topic as keys name it.
pub fn word_of(topic: Topic) -> &'static str {
    match topic {
        Topic::Input(InputTopic::Control) => "control",
        Topic::Input(InputTopic::Connections) => "connections",
        Topic::Input(InputTopic::Activity) => "activity",
        Topic::Status => "status",
        Topic::Alarms => "alarms",
        Topic::ConnectionLog => "connection_log",
        Topic::Audit => "audit",
        Topic::State => "state",
        Topic::Journal => "journal",
        Topic::DeadLetter => "dead_letter",
    }
}

/// A moment of RFC 3339.
pub fn time(text: &str) -> Option<Timestamp> {
    rfc3339::parse(text)
}

#[cfg(test)]
mod tests;
