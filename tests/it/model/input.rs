//! Inputs of the model: SEMANTICS §2, in the JSON form of `scenarios/README.md`.

use super::policy::Policy;
use super::time::{read_time, show};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An enum whose values have one word each, as SEMANTICS writes them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($item:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($item),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$item),+];
            pub fn word(self) -> &'static str { match self { $($name::$item => $word),+ } }
            pub fn parse(text: &str) -> Result<Self, String> {
                match text { $($word => Ok($name::$item),)+ other => Err(format!("unknown {}: {other}", stringify!($name))) }
            }
        }
    };
}

words!(
    /// In the order of SEMANTICS §2, which is also the order in which one step walks through the channels.
    Channel {
        Mqtt = "mqtt", Websocket = "websocket", LongPoll = "long_poll", Vpn = "vpn", Http = "http",
        Coap = "coap", Lwm2m = "lwm2m", Lorawan = "lorawan", Other = "other",
    }
);
words!(Initiator { Client = "client", Server = "server", Network = "network", TakenOver = "taken_over" });
words!(Kind {
    MqttPublish = "mqtt_publish", MqttSubscribe = "mqtt_subscribe", MqttUnsubscribe = "mqtt_unsubscribe",
    HttpPostEvent = "http_post_event", HttpPostCommand = "http_post_command",
    HttpPostCommandRequest = "http_post_command_request", EventCreate = "event_create",
    MeasurementCreate = "measurement_create", AlarmCreate = "alarm_create", Heartbeat = "heartbeat",
    LastWill = "last_will", StatePoll = "state_poll", InventoryUpdate = "inventory_update",
    OperationUpdate = "operation_update", Read = "read", Ping = "ping",
});
words!(Source { Device = "device", Operator = "operator", Policy = "policy" });
words!(Stage {
    Preregistered = "preregistered", PostProvisioning = "post_provisioning", Configuring = "configuring",
    Active = "active", Deactivated = "deactivated",
});
words!(Phase { Downloading = "downloading", Installing = "installing", Done = "done", Failed = "failed" });
words!(NodeStatus { Up = "up", Down = "down", Heartbeat = "heartbeat" });
words!(AlarmAction { Acknowledge = "acknowledge", Clear = "clear" });

/// What an event says about its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRef {
    pub id: Option<String>,
    pub started_at: Option<i64>,
    /// Hexadecimal text.
    pub sequence: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Connected {
        channel: Channel,
        session: SessionRef,
        node_id: Option<String>,
        can_receive: Option<bool>,
    },
    Disconnected {
        channel: Channel,
        session: SessionRef,
        node_id: Option<String>,
        initiator: Option<Initiator>,
        mqtt_reason_code: Option<i64>,
        close_code: Option<i64>,
    },
    ConnectFailed {
        channel: Channel,
        mqtt_reason_code: Option<i64>,
    },
    Activity {
        kind: Kind,
        channel: Option<Channel>,
        session: SessionRef,
        via_application: bool,
    },
    Register {
        device_type: Option<String>,
        name: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    },
    RequiredInterval {
        minutes: Option<i64>,
        source: Source,
        only_if_absent: bool,
    },
    Maintenance {
        on: bool,
    },
    Lifecycle {
        stage: Stage,
        progress: Option<i64>,
    },
    Update {
        phase: Phase,
        progress: Option<i64>,
    },
    PollSettings {
        poll_interval_s: Option<i64>,
        vpn_expected: bool,
    },
    /// Without `alarm_id`: the open alarm of type unavailability.
    AlarmCommand {
        alarm_id: Option<String>,
        action: AlarmAction,
    },
    Delete,
    Node {
        node_id: String,
        status: NodeStatus,
        started_at: Option<i64>,
    },
    Policy(Policy),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelEvent {
    /// Empty for `node` and `policy`, as is `device_id`.
    pub tenant: String,
    pub device_id: String,
    pub observed_at: i64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Event(ModelEvent),
    Tick(i64),
    Sight(i64),
}

fn put<T: Into<Value>>(map: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        map.insert(key.into(), value.into());
    }
}

fn put_session(map: &mut Map<String, Value>, session: &SessionRef) {
    let mut inner = Map::new();
    put(&mut inner, "id", session.id.clone());
    put(&mut inner, "startedAt", session.started_at.map(show));
    put(&mut inner, "sequence", session.sequence.clone());
    if !inner.is_empty() {
        map.insert("session".into(), inner.into());
    }
}

impl Input {
    /// The line that `lastseen fold` reads.
    pub fn to_line(&self) -> String {
        self.to_json().to_string()
    }

    pub fn to_json(&self) -> Value {
        match self {
            Input::Tick(at) => json!({"tick": show(*at)}),
            Input::Sight(at) => json!({"sight": show(*at)}),
            Input::Event(event) => event.to_json(),
        }
    }

    /// The other way round, for the scenarios. `Err` is what `fold` makes a dead letter of.
    pub fn parse(value: &Value) -> Result<Input, String> {
        if let Some(tick) = value.get("tick") {
            return Ok(Input::Tick(read_time(tick)?));
        }
        if let Some(sight) = value.get("sight") {
            return Ok(Input::Sight(read_time(sight)?));
        }
        Ok(Input::Event(ModelEvent::parse(value)?))
    }
}

impl ModelEvent {
    /// Node and policy events belong to no device (SEMANTICS §2).
    pub fn is_broadcast(&self) -> bool {
        matches!(self.body, Body::Node { .. } | Body::Policy(_))
    }

    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        if !self.is_broadcast() {
            map.insert("tenant".into(), self.tenant.clone().into());
            map.insert("deviceId".into(), self.device_id.clone().into());
        }
        map.insert("observedAt".into(), show(self.observed_at).into());
        let (name, body) = self.body.to_json();
        map.insert(name.into(), body);
        map.into()
    }

    pub fn parse(value: &Value) -> Result<ModelEvent, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_string);
        let body = Body::parse(value)?;
        let observed_at = read_time(value.get("observedAt").ok_or("no observedAt")?)?;
        let broadcast = matches!(body, Body::Node { .. } | Body::Policy(_));
        let named =
            |key: &str| if broadcast { Ok(String::new()) } else { text(key).ok_or(format!("no {key}")) };
        Ok(ModelEvent { tenant: named("tenant")?, device_id: named("deviceId")?, observed_at, body })
    }
}

impl Body {
    fn to_json(&self) -> (&'static str, Value) {
        let mut map = Map::new();
        let name = match self {
            Body::Connected { channel, session, node_id, can_receive } => {
                map.insert("channel".into(), channel.word().into());
                put_session(&mut map, session);
                put(&mut map, "nodeId", node_id.clone());
                put(&mut map, "canReceiveOperations", *can_receive);
                "connected"
            }
            Body::Disconnected { channel, session, node_id, initiator, mqtt_reason_code, close_code } => {
                map.insert("channel".into(), channel.word().into());
                put_session(&mut map, session);
                put(&mut map, "nodeId", node_id.clone());
                put(&mut map, "initiator", initiator.map(Initiator::word));
                put(&mut map, "mqttReasonCode", *mqtt_reason_code);
                put(&mut map, "closeCode", *close_code);
                "disconnected"
            }
            Body::ConnectFailed { channel, mqtt_reason_code } => {
                map.insert("channel".into(), channel.word().into());
                put(&mut map, "mqttReasonCode", *mqtt_reason_code);
                "connectFailed"
            }
            Body::Activity { kind, channel, session, via_application } => {
                map.insert("kind".into(), kind.word().into());
                put(&mut map, "channel", channel.map(Channel::word));
                put_session(&mut map, session);
                if *via_application {
                    map.insert("viaApplication".into(), true.into());
                }
                "activity"
            }
            Body::Register { device_type, name, labels } => {
                put(&mut map, "deviceType", device_type.clone());
                put(&mut map, "name", name.clone());
                put(&mut map, "labels", labels.as_ref().map(|l| json!(l)));
                "register"
            }
            Body::RequiredInterval { minutes, source, only_if_absent } => {
                put(&mut map, "minutes", *minutes);
                map.insert("source".into(), source.word().into());
                if *only_if_absent {
                    map.insert("onlyIfAbsent".into(), true.into());
                }
                "requiredInterval"
            }
            Body::Maintenance { on } => {
                map.insert("on".into(), (*on).into());
                "maintenance"
            }
            Body::Lifecycle { stage, progress } => {
                map.insert("stage".into(), stage.word().into());
                put(&mut map, "progress", *progress);
                "lifecycle"
            }
            Body::Update { phase, progress } => {
                map.insert("phase".into(), phase.word().into());
                put(&mut map, "progress", *progress);
                "update"
            }
            Body::PollSettings { poll_interval_s, vpn_expected } => {
                put(&mut map, "pollIntervalSeconds", *poll_interval_s);
                map.insert("vpnExpected".into(), (*vpn_expected).into());
                "pollSettings"
            }
            Body::AlarmCommand { alarm_id, action } => {
                match alarm_id {
                    Some(id) => map.insert("alarmId".into(), id.clone().into()),
                    None => map.insert("type".into(), "unavailability".into()),
                };
                map.insert("action".into(), action.word().into());
                "alarmCommand"
            }
            Body::Delete => "delete",
            Body::Node { node_id, status, started_at } => {
                map.insert("nodeId".into(), node_id.clone().into());
                map.insert("status".into(), status.word().into());
                put(&mut map, "startedAt", started_at.map(show));
                "node"
            }
            Body::Policy(policy) => return ("policy", policy.to_json()),
        };
        (name, map.into())
    }

    fn parse(event: &Value) -> Result<Body, String> {
        let names = [
            "connected",
            "disconnected",
            "connectFailed",
            "activity",
            "register",
            "requiredInterval",
            "maintenance",
            "lifecycle",
            "update",
            "pollSettings",
            "alarmCommand",
            "delete",
            "node",
            "policy",
        ];
        let name = names.iter().find(|name| event.get(**name).is_some()).ok_or("no event")?;
        let body = &event[*name];
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let owned = |key: &str| text(key).map(str::to_string);
        let need = |key: &str| text(key).ok_or(format!("no {key}"));
        let number = |key: &str| body.get(key).and_then(Value::as_i64);
        let truth = |key: &str| body.get(key).and_then(Value::as_bool);
        let channel = || Channel::parse(need("channel")?);
        let session = || -> Result<SessionRef, String> {
            let Some(s) = body.get("session") else { return Ok(SessionRef::default()) };
            let word = |key: &str| s.get(key).and_then(Value::as_str).map(str::to_string);
            let started_at = s.get("startedAt").map(read_time).transpose()?;
            Ok(SessionRef { id: word("id"), started_at, sequence: word("sequence") })
        };
        Ok(match *name {
            "connected" => Body::Connected {
                channel: channel()?,
                session: session()?,
                node_id: owned("nodeId"),
                can_receive: truth("canReceiveOperations"),
            },
            "disconnected" => Body::Disconnected {
                channel: channel()?,
                session: session()?,
                node_id: owned("nodeId"),
                initiator: text("initiator").map(Initiator::parse).transpose()?,
                mqtt_reason_code: number("mqttReasonCode"),
                close_code: number("closeCode"),
            },
            "connectFailed" => {
                Body::ConnectFailed { channel: channel()?, mqtt_reason_code: number("mqttReasonCode") }
            }
            "activity" => Body::Activity {
                kind: Kind::parse(need("kind")?)?,
                channel: text("channel").map(Channel::parse).transpose()?,
                session: session()?,
                via_application: truth("viaApplication").unwrap_or(false),
            },
            "register" => Body::Register {
                device_type: owned("deviceType"),
                name: owned("name"),
                labels: body.get("labels").and_then(Value::as_object).map(|labels| {
                    labels.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().into())).collect()
                }),
            },
            "requiredInterval" => Body::RequiredInterval {
                minutes: number("minutes"),
                source: Source::parse(text("source").unwrap_or("operator"))?,
                only_if_absent: truth("onlyIfAbsent").unwrap_or(false),
            },
            "maintenance" => Body::Maintenance { on: truth("on").ok_or("no on")? },
            "lifecycle" => {
                Body::Lifecycle { stage: Stage::parse(need("stage")?)?, progress: number("progress") }
            }
            "update" => Body::Update { phase: Phase::parse(need("phase")?)?, progress: number("progress") },
            "pollSettings" => Body::PollSettings {
                poll_interval_s: number("pollIntervalSeconds"),
                vpn_expected: truth("vpnExpected").unwrap_or(true),
            },
            "alarmCommand" => Body::AlarmCommand {
                alarm_id: owned("alarmId"),
                action: AlarmAction::parse(need("action")?)?,
            },
            "delete" => Body::Delete,
            "node" => Body::Node {
                node_id: need("nodeId")?.into(),
                status: NodeStatus::parse(need("status")?)?,
                started_at: body.get("startedAt").map(read_time).transpose()?,
            },
            _ => Body::Policy(Policy::parse(body)?),
        })
    }
}
