//! The shapes of answers. Names and words are those of the outputs: lowerCamelCase, enum values as SEMANTICS writes
//! them, RFC 3339 times in UTC with milliseconds. What is not known is left out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::domain::clocks::LastActivity;
use crate::domain::effect::{Effect, EffectKind};
use crate::domain::facet::Availability;
use crate::domain::time::Timestamp;
use crate::query::cells::{Facts, Time};
use crate::query::explain::{Explanation, Receipt};
use crate::query::fleet::Listed;
use crate::query::list::Page;
use crate::query::view::{Standing, View};
use crate::wire::output::{self, Format, Output};
use crate::wire::rfc3339;

/// A time, or nothing.
pub fn time(at: Timestamp) -> Option<String> {
    at.known().map(rfc3339::text)
}

/// A device as lists and the live feed tell it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceItem {
    /// Its id within the tenant.
    pub device_id: String,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<String>,
    /// device, gateway or application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_kind: Option<&'static str>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Did data arrive within the required interval: NOT_MONITORED, MAINTENANCE, UNKNOWN, AVAILABLE, UNAVAILABLE.
    pub availability: &'static str,
    /// Can the platform reach it: NOT_MONITORED, MAINTENANCE, ONLINE, OFFLINE.
    pub push: &'static str,
    /// Client connection state: UNKNOWN, CONNECTED, DISCONNECTED.
    pub connection: &'static str,
    /// The same of its VPN.
    pub vpn: &'static str,
    /// Recent API communication: UNKNOWN, ONLINE, TIMEOUT, OFFLINE.
    pub heartbeat: &'static str,
    /// The one word: UNKNOWN, ONLINE, CONFIGURING, UPDATING, OFFLINE, POST_PROVISIONING, INACTIVE.
    pub overall: &'static str,
    /// The same for people.
    pub label: &'static str,
    /// Percent of what is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// The required interval; zero or less in maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_interval_minutes: Option<i16>,
    /// The state of its open alarm: ACTIVE, ACKNOWLEDGED.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<&'static str>,
    /// The severity of its open alarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<&'static str>,
    /// While DISCONNECTED: client, server or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnected_by: Option<&'static str>,
    /// While DISCONNECTED: the MQTT reason code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_reason_code: Option<u8>,
    /// The stage of its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'static str>,
    /// The last data that it sent (last communication).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
    /// The last thing that it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<String>,
    /// What that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity_event: Option<&'static str>,
    /// The last poll of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<String>,
    /// The last connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_connect_time: Option<String>,
    /// The last disconnect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_disconnect_time: Option<String>,
    /// When its record was last edited; not the last communication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<String>,
}

impl From<&Listed> for DeviceItem {
    fn from(listed: &Listed) -> DeviceItem {
        let cells = &listed.cells;
        let facets = cells.facets();
        let alarm = cells.alarm();
        let at = |of: Time| time(cells.time(of).time());
        DeviceItem {
            device_id: listed.id.to_string(),
            name: listed.name.as_ref().map(ToString::to_string),
            device_type: listed.device_type.as_ref().map(ToString::to_string),
            client_kind: cells.client_kind().map(|kind| kind.word()),
            labels: listed.labels.as_deref().cloned().unwrap_or_default(),
            availability: facets.availability.word(),
            push: facets.push.word(),
            connection: facets.connection.word(),
            vpn: facets.vpn.word(),
            heartbeat: facets.heartbeat.word(),
            overall: facets.overall.word(),
            label: facets.label.word(),
            progress: cells.progress(),
            maintenance: facets.availability == Availability::Maintenance,
            required_interval_minutes: cells.minutes(),
            alarm: alarm.map(|(state, _)| state.word()),
            severity: alarm.map(|(_, severity)| severity.word()),
            disconnected_by: cells.disconnected_by().map(|by| by.word()),
            mqtt_reason_code: cells.reason_code(),
            stage: cells.stage().map(|stage| stage.word()),
            last_message: at(Time::LastMessage),
            last_activity: at(Time::LastActivity),
            last_activity_event: Some(cells.kind())
                .filter(|kind| *kind != LastActivity::None)
                .map(|kind| kind.word()),
            last_poll: at(Time::LastPoll),
            last_connect_time: at(Time::LastConnect),
            last_disconnect_time: at(Time::LastDisconnect),
            last_updated: at(Time::LastUpdated),
        }
    }
}

/// Whether the answer can be trusted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trust {
    /// Everything that was due by then is decided: the earliest clock of all partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// Whether the view has everything that was there when it started.
    pub caught_up: bool,
    /// Partitions in which the monitor cannot judge; while it cannot, nobody is called offline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blind: Vec<BlindPartition>,
}

/// A partition in which the monitor cannot judge.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlindPartition {
    /// The partition.
    pub partition: u32,
    /// backlog, clock_skew, unreadable_input or silent_input.
    pub reason: &'static str,
    /// The partition clock when it became so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl Trust {
    /// As the view stands; `partition`: of one alone.
    pub fn of(view: &View, partition: Option<u32>) -> Trust {
        let standing = view.standing();
        let standing: Vec<&Standing> =
            standing.iter().filter(|one| partition.is_none_or(|wanted| one.partition == wanted)).collect();
        let blind = standing.iter().filter_map(|one| {
            let (reason, since) = one.blind?;
            Some(BlindPartition { partition: one.partition, reason: reason.word(), since: time(since) })
        });
        Trust {
            as_of: standing.iter().map(|one| one.clock).min().and_then(time),
            caught_up: standing.iter().all(|one| one.caught_up),
            blind: blind.collect(),
        }
    }
}

/// A page of devices.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DevicePage {
    /// The devices.
    pub items: Vec<DeviceItem>,
    /// The cursor of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many devices satisfy the filter, on all pages.
    pub matched: usize,
    /// By facet and word, how many of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, BTreeMap<String, u64>>>)]
    pub counts: Option<BTreeMap<&'static str, BTreeMap<&'static str, u64>>>,
    /// Where the live feed goes on from this answer: give it as `lastEventId`, and nothing in between is missed.
    pub mark: String,
    /// Whether the answer can be trusted.
    pub view: Trust,
}

impl DevicePage {
    /// Of a page.
    pub fn of(page: &Page, with_counts: bool, mark: String, view: Trust) -> DevicePage {
        DevicePage {
            items: page.devices.iter().map(DeviceItem::from).collect(),
            next: page.next.as_ref().map(|cursor| cursor.to_text()),
            matched: page.matched,
            counts: with_counts.then(|| page.counts.clone()),
            mark,
            view,
        }
    }
}

/// The fleet of a tenant in numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many devices there are, or satisfy the filter.
    pub devices: usize,
    /// By facet and word, how many.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    pub counts: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// Whether the answer can be trusted.
    pub view: Trust,
}

/// A page of the past: items as they stand on the output topics, latest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastPage {
    /// The items: status changes, alarms, entries of the connection log, or outcomes of commands.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Box<RawValue>>,
    /// The cursor of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The earliest moment of the past that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_since: Option<String>,
}

/// An output as it stands on its topic in JSON.
pub fn raw(output: &Output) -> Option<Box<RawValue>> {
    let mut bytes = Vec::with_capacity(512);
    output::encode(Format::Json, &output.identity(), &output.effect, &mut bytes);
    RawValue::from_string(String::from_utf8(bytes).ok()?).ok()
}

/// What an effect is called among the events of a stream.
pub fn kind_of(effect: &Effect) -> &'static str {
    match &effect.kind {
        EffectKind::Status(_) => "status",
        EffectKind::Alarm(_) => "alarm",
        EffectKind::Log(_) => "connection-log",
        EffectKind::Audit(_) => "audit",
    }
}

/// Why a device has its status.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplanationShape {
    /// The device.
    pub device_id: String,
    /// The whole in plain sentences, the most telling first.
    pub sentences: Vec<String>,
    /// What they rest on.
    pub receipts: Vec<ReceiptShape>,
    /// Whether the answer can be trusted.
    pub view: Trust,
}

/// One link of the chain.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptShape {
    /// What it explains: a facet, or interval, maintenance, alarm.
    pub about: &'static str,
    /// Its word today.
    pub value: String,
    /// When it became true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// When it was concluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<String>,
    /// The rule that decided.
    pub rule: &'static str,
    /// Why, in one plain sentence.
    pub sentence: String,
    /// The record that decided; none: time did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Position>,
    /// The deadline, if time decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// The id of the output that told it, as in its header.
    pub id: String,
}

impl ExplanationShape {
    /// Of an explanation.
    pub fn of(device_id: &str, told: Explanation, view: Trust) -> ExplanationShape {
        let receipt = |receipt: Receipt| ReceiptShape {
            about: receipt.about,
            value: receipt.value,
            at: time(receipt.at),
            recorded_at: time(receipt.recorded_at),
            rule: receipt.rule,
            sentence: receipt.sentence,
            record: receipt.record.map(|(topic, partition, offset)| Position { topic, partition, offset }),
            deadline: receipt.deadline.and_then(|deadline| time(deadline.at)),
            id: receipt.id,
        };
        ExplanationShape {
            device_id: device_id.to_owned(),
            sentences: told.sentences,
            receipts: told.receipts.into_iter().map(receipt).collect(),
            view,
        }
    }
}

/// Where a record stands on an input topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Position {
    /// control, connections or activity.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

/// The status of a device at a past time, as it was known then.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastShape {
    /// The device.
    pub device_id: String,
    /// The moment.
    pub at: String,
    /// By facet, its word then.
    #[schema(value_type = BTreeMap<String, String>)]
    pub facets: BTreeMap<&'static str, &'static str>,
    /// The word for people, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'static str>,
    /// When the last change by then became true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<String>,
    /// When it was concluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
}

/// What became of a command.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommandAnswer {
    /// accepted: it is in the log; applied: the view shows its effect.
    pub outcome: &'static str,
    /// Where it stands; its outcome on `devices.audit` names the same place.
    pub position: Position,
    /// Its id: `eventId` in the causes of what it does; it names who asked.
    pub event_id: String,
    /// What became of it, in one plain sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentence: Option<String>,
}

/// What became of a command for many devices.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkAnswer {
    /// counted: nothing was done yet, say so many as `expect`; accepted: the commands are in the log.
    pub outcome: &'static str,
    /// How many devices satisfy the filter.
    pub matched: usize,
    /// The id that all of them carry as `eventId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
}

/// What became of events.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsAnswer {
    /// How many were written, all of them acknowledged by all replicas.
    pub accepted: usize,
    /// Where they stand, in their order; of more than 1,000 the last ones are left out.
    pub positions: Vec<Position>,
}

/// The health of the monitor.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// ready, restoring, lagging or failed.
    pub status: &'static str,
    /// Devices in the view, of all tenants.
    pub devices: usize,
    /// The partitions.
    pub partitions: Vec<PartitionHealth>,
}

/// The health of a partition.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionHealth {
    /// The partition.
    pub partition: u32,
    /// The last journal entry that the view has applied.
    pub entry: u64,
    /// Records of the journal that wait for the view.
    pub waiting: u64,
    /// The partition clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// When the log took that entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<String>,
    /// Whether the view has everything that was there when it started.
    pub caught_up: bool,
    /// Why the monitor cannot judge, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind: Option<&'static str>,
}

impl PartitionHealth {
    /// Of a partition.
    pub fn of(standing: &Standing) -> PartitionHealth {
        PartitionHealth {
            partition: standing.partition,
            entry: standing.seq,
            waiting: standing.waiting,
            clock: time(standing.clock),
            committed_at: time(standing.committed_at),
            caught_up: standing.caught_up,
            blind: standing.blind.map(|(why, _)| why.word()),
        }
    }
}
