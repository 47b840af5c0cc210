//! Why a device has its status: a chain of receipts in plain sentences, with the records that they rest on.

use crate::domain::device::Device;
use crate::domain::effect::{AuditEntry, Deadline, EffectKind, Origin, Outcome};
use crate::domain::event::IntervalSource;
use crate::domain::facet::{Availability, Connection, Facet};
use crate::domain::time::Timestamp;
use crate::wire::output::{self, Output};

use super::cells::client_ends;
use super::history::{HistoryError, Past};
use super::past::word;
use super::view::View;

/// So many status changes are looked at for the one that set a facet.
const LOOKED_AT: usize = 1000;

/// One link of the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// What it explains: a facet, or `interval`, `maintenance`, `alarm`.
    pub about: &'static str,
    /// Its word today.
    pub value: String,
    /// When it became true; never, where it is not known.
    pub at: Timestamp,
    /// When it was concluded.
    pub recorded_at: Timestamp,
    /// The rule that decided.
    pub rule: &'static str,
    /// Why, in one plain sentence.
    pub sentence: String,
    /// The record that decided: topic, partition, offset; `None`: time did.
    pub record: Option<(&'static str, u32, u64)>,
    /// The deadline, if time decided.
    pub deadline: Option<Deadline>,
    /// The id of the output that told it.
    pub id: String,
}

/// An explanation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Explanation {
    /// The whole in a few plain sentences, the most telling first.
    pub sentences: Vec<String>,
    /// What they rest on.
    pub receipts: Vec<Receipt>,
}

fn receipt(about: &'static str, value: &str, output: &Output) -> Receipt {
    let effect = &output.effect;
    let record = match effect.cause.origin {
        Origin::Record { topic, partition, offset } => Some((topic.word(), partition, offset)),
        Origin::Line(_) | Origin::Clock => None,
    };
    Receipt {
        about,
        value: value.to_owned(),
        at: effect.at,
        recorded_at: effect.recorded_at,
        rule: effect.cause.rule.word(),
        sentence: effect.cause.sentence.clone(),
        record,
        deadline: effect.cause.deadline,
        id: String::from_utf8_lossy(&output::id(&output.identity(), effect.sequence)).into_owned(),
    }
}

/// Explains a device; `None`: there is none of that key.
///
/// # Errors
/// The database fails.
pub fn explain(
    view: &View,
    key: &str,
    partition: u32,
    now: Timestamp,
) -> Result<Option<Explanation>, HistoryError> {
    let Some((device, _)) = view.device(key)? else { return Ok(None) };
    let always = (Timestamp::NEVER, Timestamp::MAX);
    let (changes, _) = view.history.of_device(Past::Status, key, always, None, LOOKED_AT, |_| true)?;
    let mut told = Explanation::default();
    for facet in Facet::ALL.iter().rev() {
        let value = word(&device.facets, *facet);
        let sets = |output: &&Output| match &output.effect.kind {
            EffectKind::Status(status) => status.changes.iter().any(|change| change.facet == *facet),
            _ => false,
        };
        // Of this life only.
        let mut of_life = changes.iter().take_while(|output| output.birth == device.birth);
        if let Some(output) = of_life.find(sets) {
            told.receipts.push(receipt(facet.word(), value, output));
        }
    }
    let label = device.facets.label.word();
    match told.receipts.iter().find(|receipt| receipt.about == Facet::Overall.word()) {
        Some(overall) => told.sentences.push(format!("{label} since {}: {}", overall.at, overall.sentence)),
        None => told.sentences.push(format!(
            "{label}: nothing has changed its status since it was first heard of, at {}.",
            device.birth
        )),
    }
    connection(&device, &mut told);
    availability(view, &device, partition, now, &mut told);
    if let Some((about, output)) = interval_setter(view, key, &device)? {
        told.receipts.push(receipt(about, &device.monitoring.describe(), &output));
    }
    if device.verdict.as_ref().is_some_and(|verdict| verdict.alarm.is_some()) {
        let (alarms, _) = view.history.of_device(Past::Alarm, key, always, None, 1, |_| true)?;
        if let Some(output) = alarms.first()
            && let EffectKind::Alarm(alarm) = &output.effect.kind
        {
            told.receipts.push(receipt("alarm", alarm.state.word(), output));
            told.sentences.push(format!(
                "An alarm is open since {} ({}, {}): {}.",
                alarm.first_at, alarm.severity, alarm.state, alarm.text
            ));
        }
    }
    trust(view, partition, now, &mut told);
    Ok(Some(told))
}

fn connection(device: &Device, told: &mut Explanation) {
    let (newest, recorded) = client_ends(device);
    match device.facets.connection {
        Connection::Connected => {
            let Some(session) = newest else { return };
            let id = session.id.as_deref().map(|id| format!(", session {id}")).unwrap_or_default();
            let node = session.node_id.as_deref().map(|node| format!(", on node {node}")).unwrap_or_default();
            let inferred =
                if session.inferred { "; its connect was lost, activity over it proves it" } else { "" };
            told.sentences.push(format!("Connected since {}{id}{node}{inferred}.", session.connected_at));
        }
        Connection::Disconnected => {
            let Some(end) = recorded else { return };
            let reason =
                end.reason_code.map(|code| format!(", MQTT reason code 0x{code:02X}")).unwrap_or_default();
            told.sentences.push(format!("Disconnected at {} by the {}{reason}.", end.at, end.initiator));
        }
        Connection::Unknown => {
            told.sentences.push("No connect or disconnect of it was ever seen.".into());
        }
    }
}

fn availability(view: &View, device: &Device, partition: u32, now: Timestamp, told: &mut Explanation) {
    let last_message = device.clocks.last_message;
    let last = match last_message.known() {
        Some(at) => format!("Last data at {at}"),
        None => "It never sent data".into(),
    };
    let monitoring = &device.monitoring;
    let by = match monitoring.set_by {
        IntervalSource::Device => "set by the device",
        IntervalSource::Operator => "set by an operator",
        IntervalSource::Policy => "set by the policy",
    };
    let sentence = match (device.facets.availability, monitoring.minutes) {
        (Availability::NotMonitored, _) | (_, None) => {
            format!("{last}; no interval is required of it, so its silence is not judged.")
        }
        (Availability::Maintenance, Some(_)) => {
            format!("{last}; it is in maintenance, so its silence is not judged and no alarm is raised.")
        }
        (Availability::Unavailable, Some(minutes)) => {
            let deadline = device.verdict.as_ref().map_or(Timestamp::NEVER, |verdict| verdict.deadline);
            format!(
                "{last}; data is required every {minutes} min ({by}), and the deadline {deadline} passed."
            )
        }
        (_, Some(minutes)) => {
            let state = view.state();
            let policy = state.partitions.get(partition as usize).map(|known| known.policy.clone());
            let deadline = policy.and_then(|policy| monitoring.deadline(last_message, &policy));
            let ahead = match deadline {
                Some(deadline) if deadline < now => {
                    format!("; the deadline {deadline} is over, but the monitor has not come so far")
                }
                Some(deadline) => format!("; the next deadline is {deadline}"),
                None => String::new(),
            };
            format!("{last}; data is required every {minutes} min ({by}){ahead}.")
        }
    };
    told.sentences.push(sentence);
}

/// The command that set the interval or the maintenance that is in force.
fn interval_setter(
    view: &View,
    key: &str,
    device: &Device,
) -> Result<Option<(&'static str, Output)>, HistoryError> {
    let command = |entry: &AuditEntry| match entry.command {
        "required_interval" => Some("interval"),
        "maintenance" => Some("maintenance"),
        _ => None,
    };
    let always = (Timestamp::NEVER, Timestamp::MAX);
    let is_setter = |output: &Output| match &output.effect.kind {
        EffectKind::Audit(entry) => entry.outcome == Outcome::Applied && command(entry).is_some(),
        _ => false,
    };
    let (found, _) = view.history.of_device(Past::Audit, key, always, None, 1, is_setter)?;
    let found = found.into_iter().find(|output| output.birth == device.birth);
    Ok(found.and_then(|output| {
        let about = match &output.effect.kind {
            EffectKind::Audit(entry) => command(entry)?,
            _ => return None,
        };
        Some((about, output))
    }))
}

/// Whether the monitor could see.
fn trust(view: &View, partition: u32, now: Timestamp, told: &mut Explanation) {
    let Some(standing) = view.standing().into_iter().nth(partition as usize) else { return };
    if let Some((why, since)) = standing.blind {
        told.sentences.push(format!(
            "Mind: the monitor cannot judge since {since} ({why}); until it sees again, nobody is called offline."
        ));
    }
    if !standing.caught_up {
        told.sentences.push("Mind: this view is still being restored; what it says may be old.".into());
    } else if (now - standing.clock).0 > 60_000 {
        told.sentences
            .push(format!("Mind: the monitor has decided what was due by {} only.", standing.clock));
    }
}
