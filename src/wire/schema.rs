//! Every field of every message: its number and its name in `proto/`, and its name in JSON (in TOML: the same in snake
//! case). A test holds this against the compiled `proto/`.

/// The fields of one message.
pub(super) trait Fields: Copy + Sized + 'static {
    /// Every field.
    const ALL: &'static [Self];
    /// Whether a field that is not among them is refused, rather than ignored.
    const STRICT: bool;
    /// Fields from this number on are alternatives: who reads them sees to it that only one stands there.
    const ALTERNATIVES_FROM: u32;

    /// The number in protobuf.
    fn number(self) -> u32;
    /// The field with a number.
    fn from_number(number: u32) -> Option<Self>;
    /// The name in JSON.
    fn json(self) -> &'static str;
    /// The field with a name.
    fn from_json(name: &str) -> Option<Self>;
    /// The name in protobuf.
    fn proto(self) -> &'static str;
}

/// The fields of a message that come from two tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Either<L, R> {
    /// Of the first.
    Left(L),
    /// Of the second.
    Right(R),
}

impl<L: Fields, R: Fields> Fields for Either<L, R> {
    // Names are listed where an unknown field is refused, which here it is not.
    const ALL: &'static [Self] = &[];
    const STRICT: bool = false;
    const ALTERNATIVES_FROM: u32 = u32::MAX;

    fn number(self) -> u32 {
        match self {
            Either::Left(field) => field.number(),
            Either::Right(field) => field.number(),
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        L::from_number(number).map(Either::Left).or_else(|| R::from_number(number).map(Either::Right))
    }

    fn json(self) -> &'static str {
        match self {
            Either::Left(field) => field.json(),
            Either::Right(field) => field.json(),
        }
    }

    fn from_json(name: &str) -> Option<Self> {
        L::from_json(name).map(Either::Left).or_else(|| R::from_json(name).map(Either::Right))
    }

    fn proto(self) -> &'static str {
        match self {
            Either::Left(field) => field.proto(),
            Either::Right(field) => field.proto(),
        }
    }
}

macro_rules! fields {
    (@strict strict) => { true };
    (@strict) => { false };
    (@from $from:literal) => { $from };
    (@from) => { u32::MAX };
    ($name:ident $([$strict:ident])? $((alternatives from $from:literal))?;
     $($variant:ident = $number:literal $json:literal $proto:literal),+ $(,)?) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum $name { $($variant = $number),+ }

        impl Fields for $name {
            const ALL: &'static [$name] = &[$($name::$variant),+];
            const STRICT: bool = fields!(@strict $($strict)?);
            const ALTERNATIVES_FROM: u32 = fields!(@from $($from)?);

            #[inline(always)]
            fn number(self) -> u32 {
                self as u32
            }

            #[inline(always)]
            fn from_number(number: u32) -> Option<$name> {
                match number { $($number => Some($name::$variant),)+ _ => None }
            }

            fn json(self) -> &'static str {
                match self { $($name::$variant => $json),+ }
            }

            #[inline(always)]
            fn from_json(name: &str) -> Option<$name> {
                match name { $($json => Some($name::$variant),)+ _ => None }
            }

            fn proto(self) -> &'static str {
                match self { $($name::$variant => $proto),+ }
            }
        }
    };
}

fields!(EventField (alternatives from 10);
    Tenant = 2 "tenant" "tenant", DeviceId = 3 "deviceId" "device_id", EventId = 4 "eventId" "event_id",
    ObservedAt = 5 "observedAt" "observed_at_ms",
    Connected = 10 "connected" "connected", Disconnected = 11 "disconnected" "disconnected",
    ConnectFailed = 12 "connectFailed" "connect_failed", Activity = 13 "activity" "activity",
    Register = 14 "register" "register", RequiredInterval = 15 "requiredInterval" "required_interval",
    Maintenance = 16 "maintenance" "maintenance", Lifecycle = 17 "lifecycle" "lifecycle",
    Update = 18 "update" "update", PollSettings = 19 "pollSettings" "poll_settings",
    AlarmCommand = 20 "alarmCommand" "alarm_command", Delete = 21 "delete" "delete", Node = 22 "node" "node",
    Policy = 23 "policy" "policy",
);

// Lines of `fold` that are no events; in JSON only.
fields!(LineField; Tick = 1 "tick" "tick", Sight = 2 "sight" "sight");

fields!(SessionField;
    Id = 1 "id" "id", StartedAt = 2 "startedAt" "started_at_ms", Sequence = 3 "sequence" "sequence",
);
fields!(ConnectedField;
    Channel = 1 "channel" "channel", Session = 2 "session" "session", NodeId = 3 "nodeId" "node_id",
    ClientAddress = 4 "clientAddress" "client_address", Protocol = 5 "protocol" "protocol",
    Secure = 6 "secure" "secure", KeepAlive = 7 "keepAliveSeconds" "keep_alive_seconds",
    CleanStart = 8 "cleanStart" "clean_start", User = 9 "user" "user",
    CanReceiveOperations = 10 "canReceiveOperations" "can_receive_operations",
);
fields!(DisconnectedField;
    Channel = 1 "channel" "channel", Session = 2 "session" "session", NodeId = 3 "nodeId" "node_id",
    Initiator = 4 "initiator" "initiator", MqttReasonCode = 5 "mqttReasonCode" "mqtt_reason_code",
    CloseCode = 6 "closeCode" "close_code", Reason = 7 "reason" "reason", BytesRead = 8 "bytesRead" "bytes_read",
    BytesWritten = 9 "bytesWritten" "bytes_written", MessagesRead = 10 "messagesRead" "messages_read",
    MessagesWritten = 11 "messagesWritten" "messages_written",
);
fields!(ConnectFailedField;
    Channel = 1 "channel" "channel", ClientAddress = 2 "clientAddress" "client_address",
    MqttReasonCode = 3 "mqttReasonCode" "mqtt_reason_code", CloseCode = 4 "closeCode" "close_code",
    Reason = 5 "reason" "reason",
);
fields!(ActivityField;
    Kind = 1 "kind" "kind", Channel = 2 "channel" "channel", Session = 3 "session" "session",
    ViaApplication = 4 "viaApplication" "via_application", Topic = 5 "topic" "topic", Count = 6 "count" "count",
);
fields!(RegisterField;
    DeviceType = 1 "deviceType" "device_type", Name = 2 "name" "name", ClientKind = 3 "clientKind" "client_kind",
    Parent = 4 "parent" "parent", Labels = 5 "labels" "labels", ClearLabels = 6 "clearLabels" "clear_labels",
);
fields!(RequiredIntervalField;
    Minutes = 1 "minutes" "minutes", Source = 2 "source" "source", OnlyIfAbsent = 3 "onlyIfAbsent" "only_if_absent",
);
fields!(MaintenanceField; On = 1 "on" "on", Actor = 2 "actor" "actor", Note = 3 "note" "note");
fields!(LifecycleField; Stage = 1 "stage" "stage", Progress = 2 "progress" "progress");
fields!(UpdateField; Phase = 1 "phase" "phase", Progress = 2 "progress" "progress");
fields!(PollSettingsField;
    PollInterval = 1 "pollIntervalSeconds" "poll_interval_seconds", VpnExpected = 2 "vpnExpected" "vpn_expected",
);
fields!(AlarmCommandField;
    AlarmId = 1 "alarmId" "alarm_id", Type = 2 "type" "type", Action = 3 "action" "action", Actor = 4 "actor" "actor",
);
fields!(DeleteField; Actor = 1 "actor" "actor");
fields!(NodeField;
    NodeId = 1 "nodeId" "node_id", Status = 2 "status" "status", StartedAt = 3 "startedAt" "started_at_ms",
);

fields!(PolicyField [strict];
    Version = 1 "version" "version", Grace = 2 "graceSeconds" "grace_ms",
    RequiredIntervals = 3 "requiredIntervals" "required_intervals",
    MaxFuture = 4 "maxFutureSeconds" "max_future_ms",
    TombstoneRetention = 5 "tombstoneRetentionSeconds" "tombstone_retention_ms",
    InferSessions = 6 "inferSessions" "infer_sessions", NodeTimeout = 7 "nodeTimeoutSeconds" "node_timeout_ms",
    LongPollLinger = 8 "longPollLingerSeconds" "long_poll_linger_ms",
    InventoryCountsAsMessage = 9 "inventoryCountsAsMessage" "inventory_counts_as_message",
    PollFloor = 10 "pollFloorSeconds" "poll_floor_ms", PollFactor = 11 "pollFactor" "poll_factor_thousandths",
    PollSlack = 12 "pollSlackSeconds" "poll_slack_ms",
    ClearOnMaintenance = 13 "clearOnMaintenance" "clear_on_maintenance", Alarms = 14 "alarms" "alarms",
    MaxClockSkew = 15 "maxClockSkewSeconds" "max_clock_skew_ms",
    InputSilence = 16 "inputSilenceSeconds" "input_silence_ms",
    InputSilenceMax = 17 "inputSilenceMaxSeconds" "input_silence_max_ms",
);
fields!(IntervalRuleField [strict];
    Tenant = 1 "tenant" "tenant", DeviceType = 2 "deviceType" "device_type", Labels = 3 "labels" "labels",
    Minutes = 4 "minutes" "minutes",
);
fields!(AlarmRuleField [strict];
    TypePrefix = 1 "typePrefix" "type_prefix", Severity = 2 "severity" "severity", Text = 3 "text" "text",
    Drop = 4 "drop" "drop",
);

fields!(DeadlineField;
    At = 1 "at" "at_ms", Minutes = 2 "minutes" "minutes", SetBy = 3 "setBy" "set_by",
    CountedFrom = 4 "countedFrom" "counted_from_ms", LastMessage = 5 "lastMessage" "last_message_ms",
);
fields!(CauseField;
    Rule = 1 "rule" "rule", Topic = 2 "topic" "topic", Partition = 3 "partition" "partition",
    Offset = 4 "offset" "offset", Line = 5 "line" "line", Deadline = 6 "deadline" "deadline",
    EventId = 7 "eventId" "event_id", Sentence = 8 "sentence" "sentence",
);
// The fields that all outputs have in common, under the same numbers; then those of each.
fields!(CommonField;
    Tenant = 1 "tenant" "tenant", DeviceId = 2 "deviceId" "device_id", Birth = 3 "birth" "birth_ms",
    Sequence = 4 "sequence" "sequence", At = 5 "at" "at_ms", RecordedAt = 6 "recordedAt" "recorded_at_ms",
    Cause = 7 "cause" "cause",
);
fields!(StatusField;
    Changes = 8 "changes" "changes", Progress = 9 "progress" "progress", Retracts = 10 "retracts" "retracts",
);
fields!(FacetChangeField;
    Facet = 1 "facet" "facet", From = 2 "from" "from", To = 3 "to" "to", Label = 4 "label" "label",
);
fields!(AlarmField;
    AlarmId = 8 "alarmId" "alarm_id", Type = 9 "type" "type", Severity = 10 "severity" "severity",
    Action = 11 "action" "action", State = 12 "state" "state", Reason = 13 "reason" "reason",
    Count = 14 "count" "count", FirstAt = 15 "firstAt" "first_at_ms", LastAt = 16 "lastAt" "last_at_ms",
    Text = 17 "text" "text", Actor = 18 "actor" "actor",
);
fields!(LogField;
    Kind = 8 "kind" "kind", Channel = 9 "channel" "channel", Session = 10 "session" "session",
    NodeId = 11 "nodeId" "node_id", ClientAddress = 12 "clientAddress" "client_address",
    Protocol = 13 "protocol" "protocol", Secure = 14 "secure" "secure",
    KeepAlive = 15 "keepAliveSeconds" "keep_alive_seconds", CleanStart = 16 "cleanStart" "clean_start",
    User = 17 "user" "user", Duration = 18 "durationSeconds" "duration_ms",
    ReasonCode = 19 "reasonCode" "reason_code", ReasonName = 20 "reasonName" "reason_name",
    CloseCode = 21 "closeCode" "close_code", Reason = 22 "reason" "reason", BytesRead = 23 "bytesRead" "bytes_read",
    BytesWritten = 24 "bytesWritten" "bytes_written", MessagesRead = 25 "messagesRead" "messages_read",
    MessagesWritten = 26 "messagesWritten" "messages_written", Message = 27 "message" "message",
    Flags = 28 "flags" "flags",
);
fields!(AuditField;
    Command = 8 "command" "command", Outcome = 9 "outcome" "outcome", Reason = 10 "reason" "reason",
    Actor = 11 "actor" "actor", Subject = 12 "subject" "subject", Before = 13 "before" "before",
    After = 14 "after" "after", Note = 15 "note" "note",
);
