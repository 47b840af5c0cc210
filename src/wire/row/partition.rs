//! The rows of a partition itself: few and seldom written, so prost's messages do.

use super::CorruptRow;
use super::bytes::{timestamp, word};
use crate::domain::effect::{Blind, InputTopic, Origin};
use crate::domain::habit::{Habit, Hour};
use crate::domain::node::{Node, NodeTimeout, Nodes};
use crate::domain::policy::{AlarmRule, IntervalRule, Policy, Severity};
use crate::domain::time::{Millis, Timestamp};
use crate::wire::pb;

/// The policy of a partition.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyRow {
    /// The one in force.
    pub policy: Policy,
    /// The one before, until the change has gone through all devices.
    pub predecessor: Option<Policy>,
}

/// What a partition keeps besides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionRow {
    /// The last return of sight; never, if there was none.
    pub sight: Timestamp,
    /// Number of the partition's own last effect.
    pub sequence: u64,
    /// A change that is going through the devices.
    pub pending: Option<PendingChange>,
    /// Why the monitor is blind, and since when.
    pub blind: Option<(Blind, Timestamp)>,
    /// How often records arrive.
    pub habit: Habit,
}

/// A change that goes through all devices in key order before anything later happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingChange {
    /// What changes.
    pub kind: PendingKind,
    /// The record that brought it.
    pub origin: Origin,
    /// The last device that it went through.
    pub after: Option<Box<str>>,
}

/// What changes for a whole partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PendingKind {
    /// A node went down.
    NodeDown {
        /// The node.
        node: Box<str>,
        /// The down.
        at: Timestamp,
        /// Concluded from silence.
        timed_out: bool,
    },
    /// A node's time-out was disproved.
    NodeReturned {
        /// The node.
        node: Box<str>,
        /// The sign of life.
        at: Timestamp,
    },
    /// A policy; the one before stands in the policy's row.
    Policy,
    /// The monitor sees again.
    Sight,
}

fn millis(at: Timestamp) -> Option<i64> {
    at.known().map(Timestamp::millis)
}

fn moment(millis: Option<i64>) -> Result<Timestamp, CorruptRow> {
    millis.map_or(Ok(Timestamp::NEVER), timestamp)
}

pub(super) fn nodes_message(nodes: &Nodes) -> pb::NodesRow {
    let timeout = |timeout: &NodeTimeout| pb::NodeTimeout {
        at_ms: millis(timeout.at),
        started_at_ms: timeout.started_at.map(Timestamp::millis),
        last_alive_ms: millis(timeout.last_alive),
    };
    let nodes = nodes.0.iter().map(|(id, node)| pb::NodeFacts {
        id: String::from(&**id),
        up: node.up,
        set_at_ms: millis(node.set_at),
        last_alive_ms: millis(node.last_alive),
        seen_since_ms: millis(node.seen_since),
        beats: node.beats,
        started_at_ms: node.started_at.map(Timestamp::millis),
        said_down_ms: millis(node.said_down),
        timeouts: node.timeouts.iter().map(timeout).collect(),
    });
    pb::NodesRow { nodes: nodes.collect() }
}

pub(super) fn nodes(row: pb::NodesRow) -> Result<Nodes, CorruptRow> {
    let timeout = |timeout: pb::NodeTimeout| {
        Ok(NodeTimeout {
            at: moment(timeout.at_ms)?,
            started_at: timeout.started_at_ms.map(timestamp).transpose()?,
            last_alive: moment(timeout.last_alive_ms)?,
        })
    };
    let mut nodes = Nodes::default();
    for node in row.nodes {
        let read = Node {
            up: node.up,
            set_at: moment(node.set_at_ms)?,
            last_alive: moment(node.last_alive_ms)?,
            seen_since: moment(node.seen_since_ms)?,
            beats: node.beats,
            started_at: node.started_at_ms.map(timestamp).transpose()?,
            said_down: moment(node.said_down_ms)?,
            timeouts: node.timeouts.into_iter().map(timeout).collect::<Result<_, CorruptRow>>()?,
        };
        if nodes.0.insert(node.id.into(), read).is_some() {
            return Err(CorruptRow::Order { what: "node" });
        }
    }
    Ok(nodes)
}

pub(super) fn policy_row_message(row: &PolicyRow) -> pb::PolicyRow {
    pb::PolicyRow {
        policy: Some(policy_message(&row.policy)),
        predecessor: row.predecessor.as_ref().map(policy_message),
    }
}

pub(super) fn policy_row(row: pb::PolicyRow) -> Result<PolicyRow, CorruptRow> {
    let in_force = row.policy.ok_or(CorruptRow::Missing { what: "policy" })?;
    Ok(PolicyRow { policy: policy(in_force)?, predecessor: row.predecessor.map(policy).transpose()? })
}

/// A policy with every field, defaults too.
fn policy_message(policy: &Policy) -> pb::Policy {
    let interval_rule = |rule: &IntervalRule| pb::IntervalRule {
        tenant: rule.tenant.clone(),
        device_type: rule.device_type.clone(),
        labels: rule.labels.clone(),
        minutes: Some(i64::from(rule.minutes)),
    };
    let alarm_rule = |rule: &AlarmRule| pb::AlarmRule {
        type_prefix: Some(rule.type_prefix.clone()),
        severity: rule.severity.map_or(0, |severity| severity as i32 + 1),
        text: rule.text.clone(),
        drop: rule.drop,
    };
    pb::Policy {
        version: policy.version.clone(),
        grace_ms: Some(policy.grace.0),
        required_intervals: policy.required_intervals.iter().map(interval_rule).collect(),
        max_future_ms: Some(policy.max_future.0),
        tombstone_retention_ms: Some(policy.tombstone_retention.0),
        infer_sessions: Some(policy.infer_sessions),
        node_timeout_ms: Some(policy.node_timeout.0),
        long_poll_linger_ms: Some(policy.long_poll_linger.0),
        inventory_counts_as_message: Some(policy.inventory_counts_as_message),
        poll_floor_ms: Some(policy.poll_floor.0),
        poll_factor_thousandths: Some(policy.poll_factor_thousandths),
        poll_slack_ms: Some(policy.poll_slack.0),
        clear_on_maintenance: Some(policy.clear_on_maintenance),
        alarms: policy.alarms.iter().map(alarm_rule).collect(),
        max_clock_skew_ms: Some(policy.max_clock_skew.0),
        input_silence_ms: Some(policy.input_silence.0),
        input_silence_max_ms: Some(policy.input_silence_max.0),
    }
}

fn policy(message: pb::Policy) -> Result<Policy, CorruptRow> {
    let usual = Policy::default();
    let span = |millis: Option<i64>, usual: Millis| millis.map_or(usual, Millis);
    let interval_rule = |rule: pb::IntervalRule| {
        let minutes = rule.minutes.ok_or(CorruptRow::Missing { what: "minutes" })?;
        Ok(IntervalRule {
            tenant: rule.tenant,
            device_type: rule.device_type,
            labels: rule.labels,
            minutes: i16::try_from(minutes).map_err(|_| CorruptRow::Range { what: "minutes" })?,
        })
    };
    let alarm_rule = |rule: pb::AlarmRule| {
        // A negative number wraps into one that is too large.
        let severity = (rule.severity != 0)
            .then(|| word(Severity::ALL, (rule.severity as u64).wrapping_sub(1), "severity"));
        Ok(AlarmRule {
            type_prefix: rule.type_prefix.unwrap_or_default(),
            severity: severity.transpose()?,
            text: rule.text,
            drop: rule.drop,
        })
    };
    Ok(Policy {
        version: message.version,
        grace: span(message.grace_ms, usual.grace),
        required_intervals: message
            .required_intervals
            .into_iter()
            .map(interval_rule)
            .collect::<Result<_, CorruptRow>>()?,
        max_future: span(message.max_future_ms, usual.max_future),
        tombstone_retention: span(message.tombstone_retention_ms, usual.tombstone_retention),
        infer_sessions: message.infer_sessions.unwrap_or(usual.infer_sessions),
        node_timeout: span(message.node_timeout_ms, usual.node_timeout),
        long_poll_linger: span(message.long_poll_linger_ms, usual.long_poll_linger),
        inventory_counts_as_message: message
            .inventory_counts_as_message
            .unwrap_or(usual.inventory_counts_as_message),
        poll_floor: span(message.poll_floor_ms, usual.poll_floor),
        poll_factor_thousandths: message.poll_factor_thousandths.unwrap_or(usual.poll_factor_thousandths),
        poll_slack: span(message.poll_slack_ms, usual.poll_slack),
        clear_on_maintenance: message.clear_on_maintenance.unwrap_or(usual.clear_on_maintenance),
        alarms: message.alarms.into_iter().map(alarm_rule).collect::<Result<_, CorruptRow>>()?,
        max_clock_skew: span(message.max_clock_skew_ms, usual.max_clock_skew),
        input_silence: span(message.input_silence_ms, usual.input_silence),
        input_silence_max: span(message.input_silence_max_ms, usual.input_silence_max),
    })
}

pub(super) fn partition_message(row: &PartitionRow) -> pb::PartitionRow {
    pb::PartitionRow {
        sight_ms: millis(row.sight),
        sequence: row.sequence,
        pending: row.pending.as_ref().map(pending_message),
        blind: row.blind.map_or(0, |(blind, _)| blind_number(blind)),
        blind_since_ms: row.blind.and_then(|(_, since)| millis(since)),
        habit: row.habit.hours().iter().map(hour_message).collect(),
        last_arrival_ms: millis(row.habit.last()),
    }
}

/// The number that stands for a reason of blindness; 0 is left for sight.
pub fn blind_number(blind: Blind) -> u32 {
    blind as u32 + 1
}

/// What a number of [`blind_number`] stands for; 0: nothing.
pub fn blind_of(number: u32) -> Result<Option<Blind>, CorruptRow> {
    let index = u64::from(number).checked_sub(1);
    index.map(|index| word(Blind::ALL, index, "reason of blindness")).transpose()
}

/// The arrivals of an hour as rows and journal have them.
pub fn hour_message(hour: &Hour) -> pb::HourOfArrivals {
    let gaps = hour.gaps.iter().take_while(|gap| **gap > 0).map(|gap| *gap as u64);
    pb::HourOfArrivals { hour: hour.number, count: hour.count, gaps_ms: gaps.collect() }
}

/// The way back from [`hour_message`].
pub fn hour(message: &pb::HourOfArrivals) -> Hour {
    let mut hour = Hour { number: message.hour, count: message.count, ..Hour::default() };
    for (gap, millis) in hour.gaps.iter_mut().zip(&message.gaps_ms) {
        *gap = i64::try_from(*millis).unwrap_or(i64::MAX);
    }
    hour
}

fn pending_message(pending: &PendingChange) -> pb::PendingChange {
    let mut message = pb::PendingChange::default();
    match &pending.kind {
        PendingKind::NodeDown { node, at, timed_out } => {
            (message.kind, message.timed_out) = (1, *timed_out);
            (message.node_id, message.at_ms) = (node.to_string(), millis(*at));
        }
        PendingKind::NodeReturned { node, at } => {
            message.kind = 2;
            (message.node_id, message.at_ms) = (node.to_string(), millis(*at));
        }
        PendingKind::Policy => message.kind = 3,
        PendingKind::Sight => message.kind = 4,
    }
    if let Origin::Record { topic, partition, offset } = pending.origin {
        message.origin_topic = topic as u32 + 1;
        (message.origin_partition, message.origin_offset) = (partition, offset);
    }
    message.after_key = pending.after.as_deref().map(String::from);
    message
}

pub(super) fn partition(row: pb::PartitionRow) -> Result<PartitionRow, CorruptRow> {
    Ok(PartitionRow {
        sight: moment(row.sight_ms)?,
        sequence: row.sequence,
        pending: row.pending.map(pending).transpose()?,
        blind: match blind_of(row.blind)? {
            Some(blind) => Some((blind, moment(row.blind_since_ms)?)),
            None => None,
        },
        habit: Habit::of(row.habit.iter().map(hour).collect(), moment(row.last_arrival_ms)?),
    })
}

fn pending(message: pb::PendingChange) -> Result<PendingChange, CorruptRow> {
    let node: Box<str> = message.node_id.into();
    let at = moment(message.at_ms)?;
    let kind = match message.kind {
        1 => PendingKind::NodeDown { node, at, timed_out: message.timed_out },
        2 => PendingKind::NodeReturned { node, at },
        3 => PendingKind::Policy,
        4 => PendingKind::Sight,
        index => return Err(CorruptRow::UnknownWord { what: "kind of change", index: u64::from(index) }),
    };
    let origin = match message.origin_topic {
        0 => Origin::Clock,
        number => Origin::Record {
            topic: word(InputTopic::ALL, u64::from(number) - 1, "input topic")?,
            partition: message.origin_partition,
            offset: message.origin_offset,
        },
    };
    Ok(PendingChange { kind, origin, after: message.after_key.map(Into::into) })
}
