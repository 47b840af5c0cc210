//! The state of a device for people and programs: facts and facets as one JSON object.

use serde_json::{Map, Value, json};

use crate::domain::clocks::LastActivity;
use crate::domain::device::Device;
use crate::domain::event::{ChannelKind, split_key};
use crate::domain::facet::Connection;
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;

fn time(at: Timestamp) -> Value {
    at.known().map_or(Value::Null, |at| Value::String(at.to_string()))
}

/// The state of a device, as `fold --state` prints it. What is not known is left out.
pub fn device_json(key: &str, device: &Device, policy: &Policy) -> Value {
    let (tenant, device_id) = split_key(key);
    let facets = &device.facets;
    let clocks = &device.clocks;
    let monitoring = &device.monitoring;
    let registration = &device.registration;
    let is_client = |kind: ChannelKind| {
        matches!(kind, ChannelKind::Mqtt | ChannelKind::Websocket | ChannelKind::Lwm2m | ChannelKind::Http)
    };
    let clients = || device.channels.iter().filter(|channel| is_client(channel.kind));
    let newest = clients().filter_map(|channel| channel.newest()).max_by_key(|session| session.connected_at);
    let recorded = clients().filter_map(|channel| channel.recorded).max_by_key(|end| end.at);
    let ended_by = recorded.filter(|_| facets.connection == Connection::Disconnected);
    let mut sessions = Map::new();
    for channel in &device.channels {
        if let Some(open) = &channel.open {
            let session = json!({
                "id": open.id, "connectedAt": time(open.connected_at), "nodeId": open.node_id,
                "protocol": open.protocol, "inferred": open.inferred,
            });
            sessions.insert(channel.kind.word().into(), without_nulls(session));
        }
    }
    let alarm = device.verdict.as_ref().and_then(|verdict| verdict.alarm.as_ref()).map(|alarm| {
        json!({
            "alarmId": alarm.id, "severity": alarm.severity.word(), "state": alarm.state().word(),
            "count": alarm.count, "firstAt": time(alarm.first_at), "lastAt": time(alarm.last_at), "text": alarm.text,
        })
    });
    let labels = registration.labels.as_ref().map(|fact| json!(fact.value));
    without_nulls(json!({
        "topic": "state",
        "tenant": tenant,
        "deviceId": device_id,
        "availability": facets.availability.word(),
        "push": facets.push.word(),
        "connection": facets.connection.word(),
        "vpn": facets.vpn.word(),
        "heartbeat": facets.heartbeat.word(),
        "overall": facets.overall.word(),
        "label": facets.label.word(),
        "progress": device.progress(),
        "lastMessage": time(clocks.last_message),
        "lastActivity": time(clocks.last_activity),
        "lastActivityEvent": (clocks.kind != LastActivity::None).then(|| clocks.kind.word()),
        "lastPoll": time(clocks.last_poll),
        "lastUpdated": time(device.last_updated),
        "lastConnectTime": newest.map_or(Value::Null, |session| time(session.connected_at)),
        "lastDisconnectTime": recorded.map_or(Value::Null, |end| time(end.at)),
        "disconnectedBy": ended_by.map(|end| end.initiator.word()),
        "mqttReasonCode": ended_by.and_then(|end| end.reason_code),
        "sessions": (!sessions.is_empty()).then_some(sessions),
        "requiredIntervalMinutes": monitoring.minutes,
        "requiredIntervalSetBy": monitoring.minutes.map(|_| monitoring.set_by.word()),
        "deadline": monitoring.deadline(clocks.last_message, policy).map_or(Value::Null, time),
        "alarm": alarm,
        "deviceType": registration.device_type.as_ref().map(|fact| &fact.value),
        "name": registration.name.as_ref().map(|fact| &fact.value),
        "clientKind": registration.client_kind.as_ref().map(|fact| fact.value.word()),
        "parent": registration.parent.as_ref().map(|fact| &fact.value),
        "labels": labels,
        "stage": device.lifecycle.as_ref().map(|fact| fact.value.stage.word()),
        "updatePhase": device.update.as_ref().map(|fact| fact.value.phase.word()),
        "sequence": device.sequence,
        "birth": time(device.birth),
    }))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    }
}
