//! What can happen: the events that come in, as borrowed views of their wire form (SEMANTICS §2).

use super::policy::Policy;
use super::time::Timestamp;

/// Text fields hold at most this many bytes.
pub const TEXT_BYTES_MAX: usize = 1024;
/// A policy's wire form holds at most this many bytes.
pub const POLICY_BYTES_MAX: usize = 128 * 1024;
/// A device carries at most this many labels.
pub const LABELS_MAX: usize = 32;
/// A tenant's name holds at most this many bytes.
pub const TENANT_BYTES_MAX: usize = 64;
/// A device's id holds at most this many bytes.
pub const DEVICE_ID_BYTES_MAX: usize = 256;

/// Declares a closed set of words: the enum, its words as SEMANTICS writes them, and the way back from a word.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* #[doc = concat!("`", $word, "`")] $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word that stands for it, the same on every wire.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The value that a word stands for.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}
pub(crate) use words;

words!(
    /// The way a session runs on.
    ChannelKind {
        Mqtt = "mqtt", Websocket = "websocket", LongPoll = "long_poll", Vpn = "vpn", Http = "http", Coap = "coap",
        Lwm2m = "lwm2m", Lorawan = "lorawan", Other = "other",
    }
);
words!(
    /// Who ended a session.
    Initiator { Client = "client", Server = "server", Network = "network", TakenOver = "taken_over" }
);
words!(
    /// What a device was seen to do.
    ActivityKind {
        MqttPublish = "mqtt_publish", MqttSubscribe = "mqtt_subscribe", MqttUnsubscribe = "mqtt_unsubscribe",
        HttpPostEvent = "http_post_event", HttpPostCommand = "http_post_command",
        HttpPostCommandRequest = "http_post_command_request", EventCreate = "event_create",
        MeasurementCreate = "measurement_create", AlarmCreate = "alarm_create", Heartbeat = "heartbeat",
        LastWill = "last_will", StatePoll = "state_poll", InventoryUpdate = "inventory_update",
        OperationUpdate = "operation_update", Read = "read", Ping = "ping",
    }
);
words!(
    /// What kind of client a device is.
    ClientKind { Device = "device", Gateway = "gateway", Application = "application" }
);
words!(
    /// Who set a required interval.
    IntervalSource { Device = "device", Operator = "operator", Policy = "policy" }
);
words!(
    /// Where a device stands in its life (seed: balena).
    Stage {
        Preregistered = "preregistered", PostProvisioning = "post_provisioning", Configuring = "configuring",
        Active = "active", Deactivated = "deactivated",
    }
);
words!(
    /// How far an update has come.
    UpdatePhase { Downloading = "downloading", Installing = "installing", Done = "done", Failed = "failed" }
);
words!(
    /// What a person does to an alarm.
    AlarmAction { Acknowledge = "acknowledge", Clear = "clear" }
);
words!(
    /// What is said of a broker node.
    NodeStatus { Up = "up", Down = "down", Heartbeat = "heartbeat" }
);

/// A number of up to 256 bits, big-endian, that orders the sessions of a device.
pub type SessionSequence = [u8; 32];

/// How an event names a session. All of it is evidence (SEMANTICS §3); none is required.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionRef<'a> {
    /// Opaque id.
    pub id: Option<&'a str>,
    /// When the session began, by its platform.
    pub started_at: Option<Timestamp>,
    /// Its place in the order of the device's sessions.
    pub sequence: Option<SessionSequence>,
}

/// A session began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connected<'a> {
    /// The channel it runs on.
    pub channel: ChannelKind,
    /// The session.
    pub session: SessionRef<'a>,
    /// The broker node that owns it.
    pub node_id: Option<&'a str>,
    /// The client's network address, with port.
    pub client_address: Option<&'a str>,
    /// The protocol in the platform's words, for example `mqtt5`.
    pub protocol: Option<&'a str>,
    /// Whether the transport is encrypted.
    pub secure: Option<bool>,
    /// The keep-alive that was agreed, in seconds. It ends no session (SEMANTICS §5.3).
    pub keep_alive_seconds: Option<u32>,
    /// MQTT 5 §3.1.2.4 Clean Start (3.1.1: Clean Session).
    pub clean_start: Option<bool>,
    /// The user that was authenticated.
    pub user: Option<&'a str>,
    /// Whether the platform can push operations over it; default true.
    pub can_receive_operations: bool,
}

/// A session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnected<'a> {
    /// The channel it ran on.
    pub channel: ChannelKind,
    /// The session.
    pub session: SessionRef<'a>,
    /// The broker node that owned it.
    pub node_id: Option<&'a str>,
    /// Who ended it; derived from the codes where absent ([`super::reason::initiator`]).
    pub initiator: Option<Initiator>,
    /// MQTT reason code, 0 to 255.
    pub mqtt_reason_code: Option<u8>,
    /// The platform's own close code.
    pub close_code: Option<u32>,
    /// The platform's words.
    pub reason: Option<&'a str>,
    /// Traffic of the session, as counted by the platform.
    pub traffic: Traffic,
}

/// What a session carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Bytes that the platform read from the client.
    pub bytes_read: Option<u64>,
    /// Bytes that the platform wrote to the client.
    pub bytes_written: Option<u64>,
    /// Messages that the platform read from the client.
    pub messages_read: Option<u64>,
    /// Messages that the platform wrote to the client.
    pub messages_written: Option<u64>,
}

/// An attempt to connect that was refused or failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectFailed<'a> {
    /// The channel that was tried.
    pub channel: ChannelKind,
    /// The client's network address, with port.
    pub client_address: Option<&'a str>,
    /// MQTT reason code, 0 to 255.
    pub mqtt_reason_code: Option<u8>,
    /// The platform's own close code.
    pub close_code: Option<u32>,
    /// The platform's words.
    pub reason: Option<&'a str>,
}

/// The device did something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Activity<'a> {
    /// What it did.
    pub kind: ActivityKind,
    /// The channel it used.
    pub channel: Option<ChannelKind>,
    /// The session it used.
    pub session: SessionRef<'a>,
    /// Sent by an application on the device's behalf: no sign of the device itself as a sender.
    pub via_application: bool,
    /// The topic, as information.
    pub topic: Option<&'a str>,
    /// How many of them this event stands for, at least 1.
    pub count: u32,
}

/// What is known of a device. Absent fields stay as they are; labels are replaced as a whole (SEMANTICS §12).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Register<'a> {
    /// Its type.
    pub device_type: Option<&'a str>,
    /// Its name for people.
    pub name: Option<&'a str>,
    /// What kind of client it is.
    pub client_kind: Option<ClientKind>,
    /// The device it sits behind.
    pub parent: Option<&'a str>,
    /// Key/value pairs, sorted by key, each key once.
    pub labels: Option<Vec<(&'a str, &'a str)>>,
}

/// The required interval: how often the device is expected to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequiredInterval {
    /// Minutes, clamped to 16 bits; zero or less is maintenance; absent: stop monitoring.
    pub minutes: Option<i16>,
    /// Who sets it; `policy` gives the device back to the policy.
    pub source: IntervalSource,
    /// Only where no event set a value before.
    pub only_if_absent: bool,
}

/// Maintenance on or off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Maintenance<'a> {
    /// On or off.
    pub on: bool,
    /// Who asked.
    pub actor: Option<&'a str>,
    /// Why.
    pub note: Option<&'a str>,
}

/// The stage of a device's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifecycle {
    /// The stage.
    pub stage: Stage,
    /// Percent, 0 to 100.
    pub progress: Option<u8>,
}

/// The state of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Update {
    /// The phase.
    pub phase: UpdatePhase,
    /// Percent, 0 to 100.
    pub progress: Option<u8>,
}

/// How the device polls (seed: balena).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollSettings {
    /// Its poll interval in seconds.
    pub poll_interval_seconds: Option<u32>,
    /// Whether a VPN tunnel is expected; default true.
    pub vpn_expected: bool,
}

/// Which alarm a command means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlarmTarget<'a> {
    /// The alarm with this id.
    Id(&'a str),
    /// The open alarm of this type.
    Type(&'a str),
}

/// A person acknowledges or clears an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlarmCommand<'a> {
    /// Which alarm.
    pub target: AlarmTarget<'a>,
    /// What to do.
    pub action: AlarmAction,
    /// Who asked.
    pub actor: Option<&'a str>,
}

/// The device is to be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delete<'a> {
    /// Who asked.
    pub actor: Option<&'a str>,
}

/// What happened to one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// A session began.
    Connected(Connected<'a>),
    /// A session ended.
    Disconnected(Disconnected<'a>),
    /// An attempt to connect failed.
    ConnectFailed(ConnectFailed<'a>),
    /// The device did something.
    Activity(Activity<'a>),
    /// What is known of the device.
    Register(Register<'a>),
    /// How often it must send.
    RequiredInterval(RequiredInterval),
    /// Maintenance on or off.
    Maintenance(Maintenance<'a>),
    /// Stage of its life.
    Lifecycle(Lifecycle),
    /// State of an update.
    Update(Update),
    /// How it polls.
    PollSettings(PollSettings),
    /// An alarm is acknowledged or cleared.
    AlarmCommand(AlarmCommand<'a>),
    /// It is to be forgotten.
    Delete(Delete<'a>),
}

impl Body<'_> {
    /// The name of the body, as the JSON form has it in snake case.
    pub fn name(&self) -> &'static str {
        match self {
            Body::Connected(_) => "connected",
            Body::Disconnected(_) => "disconnected",
            Body::ConnectFailed(_) => "connect_failed",
            Body::Activity(_) => "activity",
            Body::Register(_) => "register",
            Body::RequiredInterval(_) => "required_interval",
            Body::Maintenance(_) => "maintenance",
            Body::Lifecycle(_) => "lifecycle",
            Body::Update(_) => "update",
            Body::PollSettings(_) => "poll_settings",
            Body::AlarmCommand(_) => "alarm_command",
            Body::Delete(_) => "delete",
        }
    }

    /// Who asked, where the body says so.
    pub fn actor(&self) -> Option<&str> {
        match self {
            Body::Maintenance(body) => body.actor,
            Body::AlarmCommand(body) => body.actor,
            Body::Delete(body) => body.actor,
            _ => None,
        }
    }

    /// Whether it is a command, whose outcome is audited.
    pub fn is_command(&self) -> bool {
        !matches!(
            self,
            Body::Connected(_) | Body::Disconnected(_) | Body::ConnectFailed(_) | Body::Activity(_)
        )
    }
}

/// A broker node came up, went down or gave a sign of life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeEvent<'a> {
    /// The node.
    pub node_id: &'a str,
    /// What is said of it.
    pub status: NodeStatus,
    /// When its process started; tells a late process from a new one.
    pub started_at: Option<Timestamp>,
}

/// Whom an event is about.
#[derive(Clone, PartialEq, Debug)]
pub enum Subject<'a> {
    /// One device.
    Device {
        /// The record key, `tenant/device_id`, checked.
        key: &'a str,
        /// What happened.
        body: Body<'a>,
    },
    /// A broker node; stands in every partition.
    Node(NodeEvent<'a>),
    /// A whole policy; stands in every partition.
    Policy(Box<Policy>),
}

/// An event, decoded and checked: whatever reaches the domain is well-formed.
#[derive(Clone, PartialEq, Debug)]
pub struct Event<'a> {
    /// When the platform's own edge saw it; absent: the record's time stands in.
    pub observed_at: Option<Timestamp>,
    /// Carried into causes; decides nothing.
    pub event_id: Option<&'a str>,
    /// Whom it is about, and what.
    pub subject: Subject<'a>,
}

/// Whether `tenant` may name a tenant: 1 to 64 of `A-Z a-z 0-9 _ -`.
pub fn is_tenant(tenant: &str) -> bool {
    (1..=TENANT_BYTES_MAX).contains(&tenant.len())
        && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Whether `id` may name a device: 1 to 256 bytes of UTF-8 without control characters and without `/`.
pub fn is_device_id(id: &str) -> bool {
    if !(1..=DEVICE_ID_BYTES_MAX).contains(&id.len()) {
        return false;
    }
    if id.is_ascii() {
        return id.bytes().all(|b| b > 0x1f && b != 0x7f && b != b'/');
    }
    id.chars().all(|c| !c.is_control() && c != '/')
}

/// Tenant and device id of a record key.
pub fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}
