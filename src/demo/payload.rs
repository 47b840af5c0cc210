//! The events of the demo's fleet as a platform's edge would write them: JSON, as DESIGN §1 has it.

use serde_json::{Map, Value, json};

use super::story::MAKES;
use crate::domain::event::ChannelKind;
use crate::domain::time::Timestamp;

/// An envelope: identity, time and one body.
pub(super) fn of_device(
    tenant: &str,
    device: &str,
    observed_at: Timestamp,
    body: &str,
    fields: Value,
) -> Vec<u8> {
    let mut event = Map::new();
    event.insert("tenant".into(), tenant.into());
    event.insert("deviceId".into(), device.into());
    event.insert("observedAt".into(), observed_at.to_string().into());
    event.insert(body.into(), fields);
    Value::Object(event).to_string().into_bytes()
}

/// A session as brokers name it: an id, when it began and a number that grows.
pub(super) fn session(id: &str, started_at: Timestamp) -> Value {
    let sequence = format!("{:x}", started_at.millis());
    json!({"id": id, "startedAt": started_at.to_string(), "sequence": sequence})
}

/// What is said of a connect.
pub(super) fn connected(channel: ChannelKind, session: Value, node: Option<&str>, address: &str) -> Value {
    let mut body = json!({"channel": channel.word(), "session": session, "clientAddress": address});
    match channel {
        ChannelKind::Mqtt => {
            body["protocol"] = "mqtt5".into();
            body["secure"] = true.into();
            body["keepAliveSeconds"] = 30.into();
        }
        ChannelKind::Vpn => body["protocol"] = "wireguard".into(),
        _ => {}
    }
    if let Some(node) = node {
        body["nodeId"] = node.into();
    }
    body
}

/// A node event; no device, no tenant.
pub(super) fn node(id: &str, status: &str, started_at: Timestamp, observed_at: Timestamp) -> Vec<u8> {
    let node = json!({"nodeId": id, "status": status, "startedAt": started_at.to_string()});
    json!({"observedAt": observed_at.to_string(), "node": node}).to_string().into_bytes()
}

/// The policy of the demo: intervals by type, and shorter spans than the defaults, so that a minute is a long time.
pub(super) fn policy(observed_at: Timestamp) -> Vec<u8> {
    let mut rules = vec![json!({"deviceType": "pump", "labels": {"tier": "critical"}, "minutes": 1})];
    for (device_type, _, minutes) in MAKES {
        // Cameras are judged by their polls alone.
        if device_type != "camera" {
            rules.push(json!({"deviceType": device_type, "minutes": minutes}));
        }
    }
    let policy = json!({
        "version": "demo",
        "requiredIntervals": rules,
        "nodeTimeoutSeconds": 30,
        "longPollLingerSeconds": 60,
        "pollFloorSeconds": 60,
    });
    json!({"observedAt": observed_at.to_string(), "policy": policy}).to_string().into_bytes()
}

/// Bad input of several kinds, in turn: the key of its record and its bytes.
pub(super) fn bad(turn: usize, observed_at: Timestamp) -> (&'static str, Vec<u8>) {
    let at = observed_at.to_string();
    let activity = |kind: &str| json!({"kind": kind});
    let key = "acme/sensor-0000";
    let text = match turn % 5 {
        0 => return (key, of_device("acme", "sensor-0000", observed_at, "activity", activity("telepathy"))),
        1 => format!(r#"{{"tenant":"acme","deviceId":"sensor-0000","observedAt":"{at}","activity":{{"ki"#),
        2 => json!({"tenant": "acme", "observedAt": at, "activity": activity("heartbeat")}).to_string(),
        // In the name of another device than the record's key has.
        3 => return (key, of_device("acme", "pump-9999", observed_at, "activity", activity("heartbeat"))),
        _ => return (key, vec![0xff, 0x00, 0x9c, 0x17, 0xee, 0x03]),
    };
    (key, text.into_bytes())
}
