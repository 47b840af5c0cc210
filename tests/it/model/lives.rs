//! Lives of sessions, in order and out of order: SEMANTICS §3 and law 3.

use super::input::{Body, Channel, Initiator, Input, ModelEvent, SessionRef};
use super::time::{SECOND, START};
use proptest::prelude::*;
use serde_json::Value;

/// The same connection events, as they happened and as they arrived: some twice, in any order.
#[derive(Clone, Debug)]
pub struct Lives {
    pub clean: Vec<Input>,
    pub mixed: Vec<Input>,
}

/// What re-ordering must not change.
pub fn settled(facts: Value) -> Value {
    let keys = [
        "connection",
        "push",
        "vpn",
        "sessions",
        "lastConnectTime",
        "lastDisconnectTime",
        "disconnectedBy",
        "mqttReasonCode",
    ];
    let of = |key: &str| (key.to_string(), facts[key].clone());
    Value::Object(keys.iter().map(|key| of(key)).collect())
}

/// One session in a clean history: connect, and perhaps disconnects.
#[derive(Clone, Debug)]
struct Life {
    on_vpn: bool,
    disconnects: Vec<(i64, Initiator, Option<i64>)>,
    /// The connect was lost.
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Common {
    Observed,
    StartedAt,
    Sequence,
}

/// As many sessions as a channel remembers, at most.
pub fn lives() -> impl Strategy<Value = Lives> {
    let initiator = prop_oneof![Just(Initiator::Client), Just(Initiator::Network), Just(Initiator::Server)];
    let code = prop_oneof![2 => Just(None), 1 => Just(Some(0x80)), 1 => Just(Some(0x8d))];
    let disconnects = proptest::collection::vec((1i64..40, initiator, code), 0..3);
    let life = (prop::bool::weighted(0.2), disconnects, prop::bool::weighted(0.1))
        .prop_map(|(on_vpn, disconnects, lost)| Life { on_vpn, disconnects, lost });
    let common = prop_oneof![Just(Common::Observed), Just(Common::StartedAt), Just(Common::Sequence)];
    let shuffle = proptest::collection::vec(any::<u32>(), 32);
    let again = proptest::collection::vec(any::<u8>(), 0..4);
    (proptest::collection::vec(life, 1..9), common, shuffle, again)
        .prop_map(|(lives, common, shuffle, again)| build(&lives, common, &shuffle, &again))
}

fn build(lives: &[Life], common: Common, shuffle: &[u32], again: &[u8]) -> Lives {
    let mut clean: Vec<(i64, Input)> = Vec::new();
    for (number, life) in lives.iter().enumerate() {
        // No two at one moment: a tie is decided by the order of arrival.
        let connected = START + number as i64 * 10 * SECOND;
        let channel = if life.on_vpn { Channel::Vpn } else { Channel::Mqtt };
        let session = SessionRef {
            id: Some(format!("s{number}")),
            started_at: (common == Common::StartedAt).then_some(connected - 100 * SECOND),
            sequence: (common == Common::Sequence).then(|| format!("{:x}", number + 8)),
        };
        let mut push = |observed_at, body| {
            let event = ModelEvent { tenant: "acme".into(), device_id: "p1".into(), observed_at, body };
            clean.push((observed_at, Input::Event(event)));
        };
        if !life.lost {
            let session = session.clone();
            push(
                connected,
                Body::Connected { channel, session, node_id: None, can_receive: Some(number % 3 != 0) },
            );
        }
        for (place, (after, initiator, code)) in life.disconnects.iter().enumerate() {
            let at = connected + after * 2 * SECOND + 1 + (number * 4 + place) as i64;
            let body = Body::Disconnected {
                channel,
                session: session.clone(),
                node_id: None,
                initiator: Some(*initiator),
                mqtt_reason_code: *code,
                close_code: None,
            };
            push(at, body);
        }
    }
    clean.sort_by_key(|(at, _)| *at);
    let clean: Vec<Input> = clean.into_iter().map(|(_, event)| event).collect();
    let mut mixed: Vec<(u32, Input)> =
        clean.iter().cloned().enumerate().map(|(i, event)| (shuffle[i % shuffle.len()], event)).collect();
    for twice in again {
        if let Some((_, event)) = mixed.get(usize::from(*twice) % mixed.len().max(1)).cloned() {
            mixed.push((shuffle[usize::from(*twice) % shuffle.len()], event));
        }
    }
    mixed.sort_by_key(|(place, _)| *place);
    Lives { clean, mixed: mixed.into_iter().map(|(_, event)| event).collect() }
}
