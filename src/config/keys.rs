//! The keys: the one table that parsing, `lastseen check`, `deploy/config.toml` and the docs are made of.

/// What a value may be. Spans of time are whole numbers whose unit is the end of the key's name.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text that must pass a check, which says what is allowed.
    Text(fn(&str) -> Result<(), &'static str>),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// Zero, which means "as the sentence about the key says", or a whole number within these bounds.
    ZeroOr(u64, u64),
}

/// A value that passed its [`Kind`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Of [`Kind::Text`] and [`Kind::Word`].
    Text(String),
    /// Of [`Kind::Flag`].
    Flag(bool),
    /// Of [`Kind::Whole`] and [`Kind::ZeroOr`].
    Whole(u64),
}

/// What a key is if nobody says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Default {
    /// A text.
    Text(&'static str),
    /// A flag.
    Flag(bool),
    /// A number.
    Whole(u64),
}

impl Default {
    /// As a value.
    pub fn value(self) -> Value {
        match self {
            Default::Text(text) => Value::Text(text.to_owned()),
            Default::Flag(flag) => Value::Flag(flag),
            Default::Whole(number) => Value::Whole(number),
        }
    }
}

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name, the tables in front: `kafka.group`.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is if nobody says otherwise.
    pub default: Default,
    /// What it does, in a sentence or two.
    pub about: &'static str,
}

impl Key {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("LASTSEEN_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

/// The table of settings that go to librdkafka as they are.
pub const CLIENT: &str = "kafka.client";

/// What stands at the head of each table of the file.
pub const TABLES: &[(&str, &str)] = &[
    ("kafka", "Only for log = \"kafka\"."),
    (
        CLIENT,
        "Any setting of librdkafka (https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md), for SASL, \
         TLS and tuning; those that Lastseen's promises rest on are refused. By environment: \
         LASTSEEN_KAFKA_CLIENT_SASL_PASSWORD is sasl.password. A name that begins with consumer. or producer. goes to that \
         kind of client alone. Passwords and private keys are never printed.",
    ),
    (
        "topics",
        "Names, and the number of partitions. `lastseen topics create` makes them, `lastseen topics check` compares.",
    ),
    (
        "retention",
        "For how long records stay. `topics create` sets it on Kafka, the embedded log applies it itself. 0 keeps them for \
         good.",
    ),
    ("output", ""),
    ("worker", ""),
    ("clock", ""),
    ("limits", ""),
    ("state", ""),
    ("audit", ""),
    (
        "http",
        "The query service: devices, alarms, histories, the live feed, commands, metrics. It follows the log like any \
         other reader and keeps a database of its own in the data directory.",
    ),
    ("telemetry", "What Lastseen tells of itself, on standard error."),
];

const DAY: u64 = 86_400;
const YEAR: u64 = 365 * DAY;

const fn text(
    name: &'static str,
    check: fn(&str) -> Result<(), &'static str>,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { name, kind: Kind::Text(check), default: Default::Text(default), about }
}

const fn word(
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { name, kind: Kind::Word(words), default: Default::Text(default), about }
}

const fn flag(name: &'static str, default: bool, about: &'static str) -> Key {
    Key { name, kind: Kind::Flag, default: Default::Flag(default), about }
}

const fn whole(name: &'static str, bounds: (u64, u64), default: u64, about: &'static str) -> Key {
    Key { name, kind: Kind::Whole(bounds.0, bounds.1), default: Default::Whole(default), about }
}

const fn zero_or(name: &'static str, bounds: (u64, u64), default: u64, about: &'static str) -> Key {
    Key { name, kind: Kind::ZeroOr(bounds.0, bounds.1), default: Default::Whole(default), about }
}

const fn topic(name: &'static str, default: &'static str, about: &'static str) -> Key {
    text(name, check::topic, default, about)
}

const fn retention(name: &'static str, days: u64, about: &'static str) -> Key {
    zero_or(name, (60, 100 * YEAR), days * DAY, about)
}

/// Every key, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    word(
        "log",
        &["kafka", "embedded"],
        "kafka",
        "Where events come from and verdicts go to: kafka, or embedded, a durable log in the data directory that needs no \
         broker and belongs to one process.",
    ),
    text(
        "data_dir",
        check::present,
        "lastseen-data",
        "The state directory: checkpoints, the instance's id, the embedded log. One process at a time; a relative path \
         counts from the working directory.",
    ),
    text(
        "start",
        check::start,
        "earliest",
        "Where the first start begins to read, when the group has no offsets and the journal is empty: earliest, or a \
         time like 2026-01-01T00:00:00Z. Later starts go on where the last one stopped.",
    ),
    word(
        "role",
        &["all", "processor", "query"],
        "all",
        "What this process does: all, the processor alone, or the query service alone, which joins no group and decides \
         nothing.",
    ),
    flag(
        "dry_run",
        false,
        "Consume and fold, publish nothing, and say what would have been published. Joins no group, keeps its state in a \
         scratch directory.",
    ),
    flag(
        "accept_loss",
        false,
        "Go on although records are gone that were not read yet. The journal says which, and no device is called \
         offline for what was lost. For one start, by --accept-loss.",
    ),
    flag(
        "standby",
        false,
        "Keep at hand what other instances own, so that a takeover needs the tail only: it costs their memory and a \
         reader. Only for log = \"kafka\".",
    ),
    text(
        "kafka.brokers",
        check::brokers,
        "127.0.0.1:9092",
        "host:port of one broker or more, separated by commas.",
    ),
    text(
        "kafka.group",
        check::name,
        "lastseen",
        "The consumer group, and the first part of every transactional id. Instances that share the work share it.",
    ),
    text(
        "kafka.instance",
        check::name_or_empty,
        "",
        "The name of this instance within the group. Empty: an id kept in the data directory. Two processes of one \
         instance fence each other.",
    ),
    zero_or(
        "kafka.replication",
        (1, 32767),
        0,
        "Copies of each topic that `topics create` makes. 0: three, or as many as there are brokers.",
    ),
    whole(
        "kafka.session_timeout_ms",
        (6_000, 1_800_000),
        45_000,
        "An instance that is silent for this long loses its partitions to the others.",
    ),
    whole(
        "kafka.transaction_timeout_ms",
        (1_000, 900_000),
        10_000,
        "A transaction that is open for this long is aborted by the brokers. Must end, abort scan included, before the \
         session does, so that a successor never waits for a dead one.",
    ),
    whole(
        "kafka.abort_scan_ms",
        (100, 900_000),
        10_000,
        "How often the brokers look for such transactions: their transaction.abort.timed.out.transaction.cleanup.interval.ms. \
         Say here what the cluster has.",
    ),
    whole(
        "kafka.request_timeout_ms",
        (1_000, 300_000),
        10_000,
        "How long a single request to the brokers may take.",
    ),
    flag(
        "kafka.static_member",
        true,
        "A restart within the session timeout moves no partitions. Then an instance that is gone for good is missed only \
         after that timeout.",
    ),
    topic("topics.connections", "devices.connections", "In: connects, disconnects, failed connects."),
    topic("topics.activity", "devices.activity", "In: what devices were seen to do."),
    topic(
        "topics.control",
        "devices.control",
        "In: registration, intervals, maintenance, policy, nodes and all other commands.",
    ),
    topic("topics.status", "devices.status", "Out: changes of status with their reasons."),
    topic("topics.alarms", "devices.alarms", "Out: alarms raised, updated, acknowledged, cleared."),
    topic("topics.connection_log", "devices.connection-log", "Out: the history of sessions."),
    topic(
        "topics.audit",
        "devices.audit",
        "Out: the outcome of every command, policies, nodes, blind spells.",
    ),
    topic("topics.state", "devices.state", "Out, compacted: the state of each device."),
    topic(
        "topics.journal",
        "devices.journal",
        "Out: what each transaction consumed and produced. Recovery and audits read it.",
    ),
    topic(
        "topics.dead_letter",
        "devices.dead-letter",
        "Out: input that was refused, byte for byte, with the reason.",
    ),
    whole(
        "topics.partitions",
        (1, 10_000),
        12,
        "Partitions of every topic. Keys belong to partitions: fixed for the life of the topics.",
    ),
    retention(
        "retention.connections_seconds",
        7,
        "Of topics.connections. A verification needs inputs as old as the journal.",
    ),
    retention("retention.activity_seconds", 7, "Of topics.activity."),
    retention("retention.control_seconds", 7, "Of topics.control."),
    retention("retention.status_seconds", 7, "Of topics.status."),
    retention("retention.alarms_seconds", 7, "Of topics.alarms."),
    retention("retention.connection_log_seconds", 7, "Of topics.connection_log."),
    retention("retention.audit_seconds", 7, "Of topics.audit."),
    retention(
        "retention.journal_seconds",
        7,
        "Of topics.journal: the window that audits and verifications can look back.",
    ),
    retention("retention.dead_letter_seconds", 30, "Of topics.dead_letter."),
    whole(
        "retention.state_tombstones_seconds",
        (60, 100 * YEAR),
        7 * DAY,
        "For how long topics.state shows that a device is gone, before compaction drops that too.",
    ),
    word("output.format", &["protobuf", "json"], "protobuf", "How outputs are written."),
    whole(
        "worker.count",
        (0, 256),
        0,
        "Workers of this process: each has its own partitions, consumer, producer and thread. 0: on Kafka one for each \
         core, eight at most; the embedded log has one.",
    ),
    whole(
        "worker.commit_interval_ms",
        (1, 60_000),
        100,
        "The longest that something decided waits for its transaction. Shorter: fresher verdicts, more transactions.",
    ),
    whole(
        "worker.batch_records",
        (1, 1_000_000),
        50_000,
        "A transaction that consumed this many records does not wait for the interval.",
    ),
    whole(
        "clock.margin_ms",
        (0, 60_000),
        10,
        "The partition clock stays this far behind the brokers' time, so that a record under way is not overtaken.",
    ),
    flag(
        "clock.allow_create_time",
        false,
        "Accept input topics whose records are stamped by their producers (CreateTime). Arrival is then the running maximum \
         of those times.",
    ),
    whole(
        "limits.record_bytes",
        (196_608, 67_108_864),
        1_048_576,
        "A larger input record is a dead letter. `topics create` gives the dead-letter topic 64 KiB more.",
    ),
    whole(
        "state.refresh_seconds",
        (60, 7 * DAY),
        3_600,
        "In this time every device's row is written to topics.state once, changed or not. Recovery without local state \
         reads the journal of about this span.",
    ),
    whole(
        "state.checkpoint_seconds",
        (1, 3_600),
        30,
        "How often state is written to the data directory. A restart re-reads the journal since then.",
    ),
    flag(
        "audit.shadow",
        false,
        "Derive each committed entry again, a little behind, and compare it with the log byte for byte; the first difference is \
         an error in the log. Costs the memory of the state a second time, and half as much processor again.",
    ),
    text(
        "http.listen",
        check::listen_or_empty,
        "127.0.0.1:7080",
        "Address and port of the query service. Empty: there is none. Beyond this machine, use TLS here or in front.",
    ),
    text(
        "http.tokens",
        check::any,
        "",
        "The file of tokens, which `lastseen token` adds to; it is read again when it changes. Empty: nobody has one, and \
         everything that needs one is refused.",
    ),
    text(
        "http.tls_certificate",
        check::any,
        "",
        "The chain of certificates for TLS, in PEM. Empty: plain HTTP.",
    ),
    text("http.tls_key", check::any, "", "The private key of the certificate, in PEM."),
    zero_or(
        "http.history_seconds",
        (60, 100 * YEAR),
        30 * DAY,
        "For how long status changes, cleared alarms, the connection log and outcomes of commands can be asked for. 0 \
         keeps them for good.",
    ),
    whole("http.body_bytes", (1024, 64 << 20), 4 << 20, "The largest body of a request."),
    whole(
        "http.timeout_ms",
        (100, 600_000),
        10_000,
        "The longest that an answer takes; live streams and `wait` excepted.",
    ),
    zero_or(
        "http.requests_per_second",
        (1, 1_000_000),
        500,
        "How many requests one token may make, on average; twice as many may come at once. 0: any number.",
    ),
    flag(
        "http.open_metrics",
        false,
        "Whether /metrics takes no token. It names neither tenants nor devices.",
    ),
    flag(
        "http.watson_client_state",
        true,
        "Whether the Watson IoT face tells client connection states. If not, it answers 403, as that product does while \
         the feature is not activated.",
    ),
    text(
        "telemetry.level",
        check::level,
        "info",
        "error, warn, info, debug or trace; or directives of tracing such as info,lastseen::log=debug.",
    ),
    word(
        "telemetry.format",
        &["auto", "human", "json"],
        "auto",
        "human, json, or auto: human on a terminal, JSON otherwise.",
    ),
];

/// Settings of librdkafka that are not for [`CLIENT`], and what to do instead.
pub const CLIENT_REFUSED: &[(&str, &str)] = &[
    ("bootstrap.servers", "set kafka.brokers"),
    ("metadata.broker.list", "set kafka.brokers"),
    ("group.id", "set kafka.group"),
    ("group.instance.id", "set kafka.instance"),
    (
        "group.protocol",
        "Lastseen needs the classic protocol and its range assignor, which keeps partitions of a number together",
    ),
    (
        "group.remote.assignor",
        "Lastseen needs the range assignor, which keeps partitions of a number together",
    ),
    (
        "partition.assignment.strategy",
        "Lastseen needs the range assignor, which keeps partitions of a number together",
    ),
    ("session.timeout.ms", "set kafka.session_timeout_ms"),
    ("transactional.id", "it is made of kafka.group, kafka.instance and the worker's number"),
    ("transaction.timeout.ms", "set kafka.transaction_timeout_ms"),
    ("message.timeout.ms", "it follows kafka.transaction_timeout_ms"),
    ("delivery.timeout.ms", "it follows kafka.transaction_timeout_ms"),
    ("enable.idempotence", "exactly-once needs it on"),
    ("acks", "exactly-once needs all"),
    ("request.required.acks", "exactly-once needs all"),
    ("isolation.level", "Lastseen reads committed records only"),
    ("enable.auto.commit", "offsets are committed in the transaction"),
    ("enable.auto.offset.store", "offsets are committed in the transaction"),
    ("auto.offset.reset", "set start"),
    ("enable.partition.eof", "Lastseen decides itself when it is caught up"),
    ("delivery.report.only.error", "commits wait for every report"),
    ("partitioner", "records are written to explicit partitions"),
    ("message.max.bytes", "it follows limits.record_bytes"),
];

/// Whether a setting of librdkafka holds something that must not be printed.
pub fn is_secret(setting: &str) -> bool {
    let setting = setting.to_ascii_lowercase();
    let place = [".location", ".url", ".file"].iter().any(|end| setting.ends_with(end));
    const WORDS: [&str; 9] = [
        "password",
        "passphrase",
        "secret",
        "private",
        "token",
        "credential",
        "oauthbearer.config",
        "ssl.key",
        "ssl_key",
    ];
    !place && WORDS.iter().any(|word| setting.contains(word))
}

/// Checks of texts; the error says what is allowed.
mod check {

    pub fn present(text: &str) -> Result<(), &'static str> {
        if text.trim().is_empty() { Err("it must not be empty") } else { Ok(()) }
    }

    pub fn start(text: &str) -> Result<(), &'static str> {
        if text == "earliest" || super::super::time(text).is_some() {
            return Ok(());
        }
        Err("it must be earliest, or a time of RFC 3339 such as 2026-01-01T00:00:00Z")
    }

    pub fn brokers(text: &str) -> Result<(), &'static str> {
        let good = |broker: &str| {
            let broker = broker.trim();
            let address = broker.split_once("://").map_or(broker, |(_, address)| address);
            match address.rsplit_once(':') {
                Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
                None => false,
            }
        };
        if text.split(',').all(good) {
            return Ok(());
        }
        Err("it must be host:port, or several separated by commas, such as kafka-1:9092,kafka-2:9092")
    }

    fn is_name(text: &str, length_max: usize) -> bool {
        (1..=length_max).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }

    pub fn name(text: &str) -> Result<(), &'static str> {
        if is_name(text, 128) { Ok(()) } else { Err("it must be 1 to 128 of A-Z a-z 0-9 . _ -") }
    }

    pub fn name_or_empty(text: &str) -> Result<(), &'static str> {
        if text.is_empty() || is_name(text, 128) {
            return Ok(());
        }
        Err("it must be empty, or 1 to 128 of A-Z a-z 0-9 . _ -")
    }

    pub fn topic(text: &str) -> Result<(), &'static str> {
        if is_name(text, 249) && text != "." && text != ".." {
            return Ok(());
        }
        Err("it must be a name of a topic: 1 to 249 of A-Z a-z 0-9 . _ -")
    }

    pub fn any(_: &str) -> Result<(), &'static str> {
        Ok(())
    }

    pub fn listen_or_empty(text: &str) -> Result<(), &'static str> {
        if text.is_empty() || text.parse::<std::net::SocketAddr>().is_ok() {
            return Ok(());
        }
        Err("it must be empty, or an address and a port such as 127.0.0.1:7080 or [::]:7080")
    }

    pub fn level(text: &str) -> Result<(), &'static str> {
        if !text.trim().is_empty() && tracing_subscriber::EnvFilter::try_new(text).is_ok() {
            return Ok(());
        }
        Err("it must be error, warn, info, debug or trace, or directives such as info,lastseen::log=debug")
    }
}
