//! What the world is told: status changes, alarm events, connection log entries, audit entries. Values only; each
//! says why (SEMANTICS §8).

use super::event::{ChannelKind, IntervalSource, SessionSequence, Traffic, words};
use super::facet::FacetChange;
use super::policy::Severity;
use super::time::Timestamp;

words!(
    /// The rule that decided, by name.
    Rule {
        Connected = "connected", ConnectedStale = "connected_stale", ConnectedLate = "connected_late",
        Disconnected = "disconnected", DisconnectedStale = "disconnected_stale", TakenOver = "taken_over",
        ConnectFailed = "connect_failed", SessionInferred = "session_inferred", NodeDown = "node_down",
        NodeTimedOut = "node_timed_out", NodeTimeoutDisproved = "node_timeout_disproved",
        LongPollLapsed = "long_poll_lapsed", Activity = "activity", DataReceived = "data_received",
        DeadlinePassed = "deadline_passed", VerdictDisproved = "verdict_disproved",
        PollWindowPassed = "poll_window_passed", IntervalSet = "interval_set",
        MonitoringStopped = "monitoring_stopped", MaintenanceOn = "maintenance_on",
        MaintenanceOff = "maintenance_off", Registered = "registered", Lifecycle = "lifecycle", Update = "update",
        PollSettings = "poll_settings", AlarmCommand = "alarm_command", PolicyChanged = "policy_changed",
        Deleted = "deleted", Sight = "sight",
        Blind = "blind", BlindOver = "blind_over", Gap = "gap",
    }
);

words!(
    /// Which input topic a record came from; the order is that of equal arrivals (DESIGN §3.1).
    InputTopic { Control = "control", Connections = "connections", Activity = "activity" }
);

words!(
    /// Why the monitor cannot judge (SEMANTICS §9).
    Blind {
        Backlog = "backlog", Skew = "clock_skew", Unreadable = "unreadable_input", Silence = "silent_input",
    }
);

/// Where the deciding record stands in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A record of an input topic.
    Record {
        /// The topic.
        topic: InputTopic,
        /// The partition.
        partition: u32,
        /// The offset.
        offset: u64,
    },
    /// A line of `fold`'s input, counted from 1.
    Line(u64),
    /// No record: time passed.
    Clock,
}

/// A deadline that decided: SEMANTICS §8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    /// Its value; a verdict holds strictly after it (availability) or from it on (all others).
    pub at: Timestamp,
    /// The required interval in minutes and who set it; only of availability.
    pub interval: Option<(i16, IntervalSource)>,
    /// What it counted from: the last message, or the start of monitoring.
    pub counted_from: Timestamp,
    /// The last message, if there was one.
    pub last_message: Timestamp,
}

/// Why: the rule, the record or the deadline it rests on, and one plain sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// The rule by name.
    pub rule: Rule,
    /// The deciding record.
    pub origin: Origin,
    /// The deadline, if time decided.
    pub deadline: Option<Deadline>,
    /// The event's own id, if it had one.
    pub event_id: Option<Box<str>>,
    /// One plain sentence.
    pub sentence: String,
}

/// What is told of one device.
#[derive(Clone, PartialEq, Debug)]
pub struct Effect {
    /// Its number among the device's effects (status, alarms, connection log), from 1, without gaps. An audit entry
    /// carries the number of the last effect.
    pub sequence: u64,
    /// When it became true, as best known.
    pub at: Timestamp,
    /// The partition clock when it was concluded.
    pub recorded_at: Timestamp,
    /// Why.
    pub cause: Cause,
    /// What.
    pub kind: EffectKind,
}

/// What is told.
#[derive(Clone, PartialEq, Debug)]
pub enum EffectKind {
    /// Facets changed.
    Status(StatusChange),
    /// An alarm was raised, updated, acknowledged or cleared.
    Alarm(AlarmEvent),
    /// Something happened to a session.
    Log(LogEntry),
    /// A command took effect, or did not.
    Audit(AuditEntry),
}

/// All facets that one step changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusChange {
    /// What changed.
    pub changes: Vec<FacetChange>,
    /// Percent of an update or of provisioning under way.
    pub progress: Option<u8>,
    /// The number of the effect that this one disproves.
    pub retracts: Option<u64>,
}

words!(
    /// What happened to an alarm.
    AlarmEventAction { Raised = "RAISED", Updated = "UPDATED", Acknowledged = "ACKNOWLEDGED", Cleared = "CLEARED" }
);
words!(
    /// Where an alarm stands.
    AlarmState { Active = "ACTIVE", Acknowledged = "ACKNOWLEDGED", Cleared = "CLEARED" }
);
words!(
    /// Why an alarm was cleared.
    ClearReason {
        DataReturned = "DATA_RETURNED", Retracted = "RETRACTED", Command = "COMMAND",
        MonitoringStopped = "MONITORING_STOPPED", IntervalChanged = "INTERVAL_CHANGED", Maintenance = "MAINTENANCE",
    }
);

/// An alarm as it stands after an event of it (SEMANTICS §6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlarmEvent {
    /// Stable id, safe in a path.
    pub alarm_id: Box<str>,
    /// Its type.
    pub alarm_type: &'static str,
    /// How grave.
    pub severity: Severity,
    /// What happened.
    pub action: AlarmEventAction,
    /// Where it stands now.
    pub state: AlarmState,
    /// Why it was cleared.
    pub reason: Option<ClearReason>,
    /// How many occurrences.
    pub count: u32,
    /// The first occurrence.
    pub first_at: Timestamp,
    /// The last occurrence.
    pub last_at: Timestamp,
    /// Its text.
    pub text: Box<str>,
    /// Who acknowledged or cleared it.
    pub actor: Option<Box<str>>,
}

words!(
    /// What the connection log tells (seed: Watson IoT).
    LogKind {
        Connected = "CONNECTED", ConnectFailed = "CONNECT_FAILED", DisconnectedByClient = "DISCONNECTED_BY_CLIENT",
        DisconnectedByServer = "DISCONNECTED_BY_SERVER", DisconnectedByNetwork = "DISCONNECTED_BY_NETWORK",
        TakenOver = "TAKEN_OVER",
    }
);
words!(
    /// What is special about a log entry.
    Flag {
        /// Of an old session: the state did not follow.
        Stale = "stale",
        /// It arrived after what it began was over, or after its place was inferred.
        Late = "late",
        /// Concluded from other evidence.
        Inferred = "inferred",
        /// Ended by silence.
        Lapsed = "lapsed",
    }
);

/// The session that a log entry names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogSession {
    /// Opaque id.
    pub id: Option<Box<str>>,
    /// When it began, by its platform.
    pub started_at: Option<Timestamp>,
    /// Its place in the order.
    pub sequence: Option<SessionSequence>,
}

/// One entry of the connection log (SEMANTICS §7).
#[derive(Clone, PartialEq, Debug)]
pub struct LogEntry {
    /// What happened.
    pub kind: LogKind,
    /// On which channel.
    pub channel: ChannelKind,
    /// To which session.
    pub session: LogSession,
    /// The broker node.
    pub node_id: Option<Box<str>>,
    /// The client's network address.
    pub client_address: Option<Box<str>>,
    /// The protocol.
    pub protocol: Option<Box<str>>,
    /// Whether the transport was encrypted.
    pub secure: Option<bool>,
    /// The keep-alive that was agreed, in seconds.
    pub keep_alive_seconds: Option<u32>,
    /// Whether the session began clean.
    pub clean_start: Option<bool>,
    /// The user that was authenticated.
    pub user: Option<Box<str>>,
    /// How long the session lasted, in milliseconds, where its beginning and end are known.
    pub duration_millis: Option<i64>,
    /// MQTT reason code.
    pub reason_code: Option<u8>,
    /// Its standard name.
    pub reason_name: Option<&'static str>,
    /// The platform's own close code.
    pub close_code: Option<u32>,
    /// The platform's words.
    pub reason: Option<Box<str>>,
    /// What the session carried.
    pub traffic: Traffic,
    /// One line for people.
    pub message: String,
    /// What is special about it.
    pub flags: Vec<Flag>,
}

words!(
    /// Whether a record took effect.
    Applied { Applied = "applied", Ignored = "ignored" }
);
words!(
    /// Why a record was ignored: bounded, for counters.
    Ignored {
        /// The same event again.
        Duplicate = "duplicate",
        /// It belongs to an old session.
        Stale = "stale",
        /// Observed before the event that set the same fact.
        Older = "older",
        /// Observed at or before the device's delete.
        Deleted = "deleted",
        /// A required interval stands already, and this one was only for devices without.
        IntervalPresent = "interval_present",
        /// Maintenance cannot be switched where no interval is required.
        NoInterval = "no_interval",
        /// No open alarm with that id or type.
        NoAlarm = "no_alarm",
        /// The alarm is acknowledged already.
        AlreadyAcknowledged = "already_acknowledged",
        /// The command was observed before the alarm.
        BeforeAlarm = "before_alarm",
        /// Observed before the earliest event of the device.
        BeforeBirth = "before_birth",
    }
);

/// What became of one record (SEMANTICS law 6); dead letters are decided before the domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It took effect.
    Applied,
    /// It did not, and why.
    Ignored(Ignored),
}

/// The outcome of a command, or of a policy or node event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    /// The command: the name of the event's body, or `node`, `policy`, `blind`, `sight`, `gap`.
    pub command: &'static str,
    /// Whether it took effect.
    pub outcome: Outcome,
    /// Who asked.
    pub actor: Option<Box<str>>,
    /// Its subject where that is no device: the node, the policy's version.
    pub subject: Option<Box<str>>,
    /// The fact before, in words.
    pub before: String,
    /// The fact after, in words.
    pub after: String,
    /// The asker's note.
    pub note: Option<Box<str>>,
}
