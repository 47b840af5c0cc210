//! The events of the fleet as protobuf, with bodies as large as they are in the field.

use std::io::Write;

use lastseen::domain::effect::InputTopic;
use lastseen::domain::event::{
    Activity, ActivityKind, Body, ChannelKind, ClientKind, ConnectFailed, Connected, Disconnected, Event,
    Initiator, IntervalSource, Register, RequiredInterval, SessionRef, Subject, Traffic,
};
use lastseen::domain::policy::Policy;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::wire::encode::encode_event;

use super::{Batch, Record};

const SITES: [&str; 8] = ["berlin", "bruges", "porto", "turin", "lyon", "gdansk", "malmo", "cork"];
const TYPES: [&str; 4] = ["pump", "meter", "gateway", "charger"];
const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];
const NODES: u64 = 20;

/// How a session ends.
#[derive(Clone, Copy)]
pub enum End {
    ByClient,
    ByServer,
    KeepAlive,
    NodeDown,
    TakenOver,
}

/// A short text without a place on the heap.
struct Text {
    bytes: [u8; 96],
    length: usize,
}

impl Text {
    fn of(words: std::fmt::Arguments<'_>) -> Text {
        let mut bytes = [0; 96];
        let mut left = &mut bytes[..];
        left.write_fmt(words).expect("it is short");
        let length = 96 - left.len();
        Text { bytes, length }
    }

    fn str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("it was made of text")
    }
}

fn site(name: u64) -> &'static str {
    SITES[(name % 8) as usize]
}

fn kind(name: u64) -> &'static str {
    TYPES[(name >> 3 & 3) as usize]
}

fn key(name: u64, device: u32) -> Text {
    let tenant = TENANTS[(name >> 5 & 3) as usize];
    Text::of(format_args!("{tenant}/{}-{}-{device:08}", kind(name), site(name)))
}

fn session(name: u64, session: u32) -> Text {
    Text::of(format_args!("{:08x}-{session}", name >> 32))
}

fn node(name: u64) -> Text {
    Text::of(format_args!("mqtt-{}", (name >> 8) % NODES))
}

fn address(name: u64) -> Text {
    let port = 32_768 + (name >> 24) % 28_000;
    Text::of(format_args!("198.51.{}.{}:{port}", name >> 8 & 0xff, name >> 16 & 0xff))
}

/// Puts a record behind the others; whoever asked for it decides whether it stays.
pub fn put(batch: &mut Batch, topic: InputTopic, key: &[u8], value: &[u8]) -> Record {
    let start = batch.bytes.len();
    batch.bytes.extend_from_slice(key);
    let middle = batch.bytes.len();
    batch.bytes.extend_from_slice(value);
    Record { topic, key: (!key.is_empty()).then_some(start..middle), value: middle..batch.bytes.len() }
}

fn event(batch: &mut Batch, topic: InputTopic, key: &str, at: i64, body: Body<'_>) -> Record {
    let observed_at = Some(Timestamp::from_millis(at));
    let event = Event { observed_at, event_id: None, subject: Subject::Device { key, body } };
    put(batch, topic, key.as_bytes(), &encode_event(&event))
}

/// Sessions are those that are reported, none is concluded: what is compared can be told by every peer.
pub fn policy(batch: &mut Batch) -> Record {
    let policy = Policy {
        version: Some("workload".to_owned()),
        infer_sessions: false,
        tombstone_retention: Millis::from_minutes(24 * 60),
        ..Policy::default()
    };
    let event = Event { observed_at: None, event_id: None, subject: Subject::Policy(Box::new(policy)) };
    put(batch, InputTopic::Control, &[], &encode_event(&event))
}

pub fn register(batch: &mut Batch, name: u64, device: u32, at: i64) -> Record {
    let firmware = Text::of(format_args!("4.{}.{}", name >> 40 & 7, name >> 43 & 15));
    let title = Text::of(format_args!("{} {device} in {}", kind(name), site(name)));
    let body = Body::Register(Register {
        device_type: Some(kind(name)),
        name: Some(title.str()),
        client_kind: Some(ClientKind::Device),
        parent: None,
        labels: Some(vec![("firmware", firmware.str()), ("site", site(name))]),
    });
    event(batch, InputTopic::Control, key(name, device).str(), at, body)
}

pub fn interval(batch: &mut Batch, name: u64, device: u32, at: i64, minutes: i16) -> Record {
    let source = IntervalSource::Operator;
    let body =
        Body::RequiredInterval(RequiredInterval { minutes: Some(minutes), source, only_if_absent: false });
    event(batch, InputTopic::Control, key(name, device).str(), at, body)
}

pub fn connected(batch: &mut Batch, name: u64, device: u32, at: i64, number: u32) -> Record {
    let (session, node, address) = (session(name, number), node(name), address(name));
    let body = Body::Connected(Connected {
        channel: ChannelKind::Mqtt,
        session: SessionRef {
            id: Some(session.str()),
            started_at: Some(Timestamp::from_millis(at)),
            sequence: None,
        },
        node_id: Some(node.str()),
        client_address: Some(address.str()),
        protocol: Some("mqtt5"),
        secure: Some(true),
        keep_alive_seconds: Some(60),
        clean_start: Some(number == 1),
        user: None,
        can_receive_operations: true,
    });
    event(batch, InputTopic::Connections, key(name, device).str(), at, body)
}

pub fn disconnected(batch: &mut Batch, name: u64, device: u32, at: i64, number: u32, end: End) -> Record {
    let (initiator, code) = match end {
        End::ByClient => (Initiator::Client, 0x00),
        End::ByServer => (Initiator::Server, 0x98),
        End::KeepAlive => (Initiator::Network, 0x8d),
        End::NodeDown => (Initiator::Server, 0x8b),
        End::TakenOver => (Initiator::TakenOver, 0x8e),
    };
    let (session, node) = (session(name, number), node(name));
    let messages = 10 + (name >> 20 & 0xfff);
    let body = Body::Disconnected(Disconnected {
        channel: ChannelKind::Mqtt,
        session: SessionRef { id: Some(session.str()), ..SessionRef::default() },
        node_id: Some(node.str()),
        initiator: Some(initiator),
        mqtt_reason_code: Some(code),
        close_code: None,
        reason: None,
        traffic: Traffic {
            bytes_read: Some(messages * 93),
            bytes_written: Some(messages * 4),
            messages_read: Some(messages),
            messages_written: Some(messages),
        },
    });
    event(batch, InputTopic::Connections, key(name, device).str(), at, body)
}

pub fn failed(batch: &mut Batch, name: u64, device: u32, at: i64) -> Record {
    let address = address(name);
    let body = Body::ConnectFailed(ConnectFailed {
        channel: ChannelKind::Mqtt,
        client_address: Some(address.str()),
        mqtt_reason_code: Some(0x89),
        close_code: None,
        reason: None,
    });
    event(batch, InputTopic::Connections, key(name, device).str(), at, body)
}

/// A sign of life that names no session.
pub fn heartbeat(batch: &mut Batch, name: u64, device: u32, at: i64) -> Record {
    let body = Body::Activity(Activity {
        kind: ActivityKind::Heartbeat,
        channel: Some(ChannelKind::Mqtt),
        session: SessionRef::default(),
        via_application: false,
        topic: None,
        count: 1,
    });
    event(batch, InputTopic::Activity, key(name, device).str(), at, body)
}

/// A sign of life: mostly telemetry, sometimes an empty update, a subscription or an inventory.
pub fn activity(batch: &mut Batch, name: u64, device: u32, at: i64, number: u32, dice: u64) -> Record {
    let kind = match dice % 20 {
        0..=14 => ActivityKind::MqttPublish,
        15 | 16 => ActivityKind::MeasurementCreate,
        17 | 18 => ActivityKind::Heartbeat,
        _ => ActivityKind::MqttSubscribe,
    };
    let session = session(name, number);
    let topic = Text::of(format_args!("telemetry/{}/{}", site(name), dice >> 8 & 15));
    let body = Body::Activity(Activity {
        kind,
        channel: Some(ChannelKind::Mqtt),
        session: SessionRef { id: Some(session.str()), ..SessionRef::default() },
        via_application: false,
        topic: (kind == ActivityKind::MqttPublish).then(|| topic.str()),
        count: 1,
    });
    event(batch, InputTopic::Activity, key(name, device).str(), at, body)
}
