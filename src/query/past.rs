//! The status of a device at a past time, as it was known then.

use crate::domain::effect::{EffectKind, Rule};
use crate::domain::facet::{Availability, Facet, Facets, Label};
use crate::domain::time::Timestamp;
use crate::wire::output::Output;

use super::history::{History, HistoryError, Past};

/// So many changes before the moment are looked at: a facet that did not change among them is told from later ones.
const LOOKED_AT: usize = 1000;

/// A status as it was known at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PastStatus {
    /// The word of each facet, in the order of [`Facet::ALL`].
    pub facets: Vec<(Facet, &'static str)>,
    /// The label for people, where it is known.
    pub label: Option<Label>,
    /// The last change by then: when it became true, when it was concluded, and why.
    pub last_change: Option<(Timestamp, Timestamp, String)>,
}

/// Whether and how a device was known at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Then {
    /// So.
    Known(PastStatus),
    /// It did not exist, or was deleted.
    Absent,
    /// The past that is kept begins later.
    Forgotten(Timestamp),
}

/// The status of a device at `at`: what had been concluded by then. `now` is its status today, if it exists, and when
/// it came into being.
///
/// # Errors
/// The database fails.
pub fn status_at(
    history: &History,
    key: &str,
    at: Timestamp,
    now: Option<(&Facets, Timestamp)>,
) -> Result<Then, HistoryError> {
    if at < history.horizon() {
        return Ok(Then::Forgotten(history.horizon()));
    }
    let span = (Timestamp::NEVER, at.next());
    let (before, _) = history.of_device(Past::Status, key, span, None, LOOKED_AT, |_| true)?;
    let after = history.statuses_after(key, at)?;
    if before.first().is_some_and(|output| output.effect.cause.rule == Rule::Deleted) {
        return Ok(Then::Absent);
    }
    // A device that never changed a status is known by its birth alone.
    let born = before.first().or(after.first()).map(|output| output.birth).or(now.map(|(_, birth)| birth));
    if born.is_none_or(|born| born > at) {
        return Ok(Then::Absent);
    }
    let alive: Vec<&Output> =
        before.iter().take_while(|output| output.effect.cause.rule != Rule::Deleted).collect();
    let mut label = None;
    let word_of = |facet: Facet, label: &mut Option<Label>| {
        let found = alive.iter().find_map(|output| change_of(output, facet));
        if let Some((_, to, told)) = found {
            *label = told.or(*label);
            return to;
        }
        // It has not changed by then: it was what it changed from later, or what it still is.
        let later = after.iter().find_map(|output| change_of(output, facet));
        later
            .map(|(from, ..)| from)
            .unwrap_or_else(|| word(now.map_or(&Facets::START, |(now, _)| now), facet))
    };
    let facets = Facet::ALL.iter().map(|facet| (*facet, word_of(*facet, &mut label))).collect();
    let last_change = alive.first().map(|output| {
        let effect = &output.effect;
        (effect.at, effect.recorded_at, effect.cause.sentence.clone())
    });
    if label.is_none() && after.iter().all(|output| change_of(output, Facet::Overall).is_none()) {
        label = now.map(|(now, _)| now.label);
    }
    Ok(Then::Known(PastStatus { facets, label, last_change }))
}

/// From, to, and the label, if the output changes the facet.
fn change_of(output: &Output, facet: Facet) -> Option<(&'static str, &'static str, Option<Label>)> {
    let EffectKind::Status(status) = &output.effect.kind else { return None };
    let change = status.changes.iter().find(|change| change.facet == facet)?;
    Some((change.from, change.to, change.label))
}

/// The word of a facet.
pub fn word(facets: &Facets, facet: Facet) -> &'static str {
    match facet {
        Facet::Availability => facets.availability.word(),
        Facet::Push => facets.push.word(),
        Facet::Connection => facets.connection.word(),
        Facet::Vpn => facets.vpn.word(),
        Facet::Heartbeat => facets.heartbeat.word(),
        Facet::Overall => facets.overall.word(),
    }
}

/// Whether a device in this state is watched for silence at all.
pub fn is_monitored(facets: &Facets) -> bool {
    !matches!(facets.availability, Availability::NotMonitored | Availability::Maintenance)
}
