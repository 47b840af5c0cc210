//! What a policy would change among the devices as they are: the domain's own rule, on copies.

use std::collections::BTreeMap;

use crate::domain::effect::{AlarmEventAction, EffectKind, Origin};
use crate::domain::facet::Facets;
use crate::domain::policy::Policy;
use crate::domain::step::Context;
use crate::domain::time::Timestamp;
use crate::wire::row::{self, Row};

use super::fleet::clocks_of;
use super::history::HistoryError;
use super::view::View;

/// What would change.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// Devices that were looked at.
    pub devices: u64,
    /// Devices whose status would change.
    pub changed: u64,
    /// Alarms that would be raised.
    pub raised: u64,
    /// Alarms that would be cleared.
    pub cleared: u64,
    /// By facet and change, how many devices.
    pub changes: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Those devices by record key, and what would change.
    pub named: BTreeMap<String, Vec<String>>,
}

/// Tries a policy on every device, as it would act at the partition's clock: what changes when it comes into force, and
/// the deadlines that are over then. At most `named_max` devices are named.
///
/// # Errors
/// The database fails.
pub fn would_change(view: &View, policy: &Policy, named_max: usize) -> Result<Trial, HistoryError> {
    let partitions: Vec<_> = {
        let state = view.state();
        state
            .partitions
            .iter()
            .map(|known| (known.clock, known.policy.clone(), known.nodes.clone()))
            .collect()
    };
    let mut trial = Trial::default();
    view.history.rows(|partition, key, value| {
        let Some((clock, before, nodes)) = partitions.get(partition as usize) else { return };
        let Ok((_, Row::Device(found))) = row::decode_row(value) else { return };
        let Some(listed) = view.state().fleet.get(key) else { return };
        let Ok(mut device) = row::decode_facts(found.facts, clocks_of(&listed.cells)) else { return };
        trial.devices += 1;
        let context = Context {
            key,
            now: *clock,
            sight: Timestamp::NEVER,
            policy,
            nodes,
            origin: Origin::Clock,
            event_id: None,
        };
        let was = device.facets;
        let mut effects = Vec::new();
        device.policy_changed(before, &context, &mut effects);
        while device.next_due(policy).is_some_and(|(at, _)| at <= *clock) {
            device.fire(&context, &mut effects);
        }
        for effect in &effects {
            if let EffectKind::Alarm(alarm) = &effect.kind {
                trial.raised += u64::from(alarm.action == AlarmEventAction::Raised);
                trial.cleared += u64::from(alarm.action == AlarmEventAction::Cleared);
            }
        }
        let changes = Facets::changes(&was, &device.facets);
        if changes.is_empty() {
            return;
        }
        trial.changed += 1;
        let mut told = Vec::new();
        for change in changes {
            let words = format!("{} → {}", change.from, change.to);
            told.push(format!("{} {words}", change.facet));
            *trial.changes.entry(change.facet.word()).or_default().entry(words).or_default() += 1;
        }
        if trial.named.len() < named_max {
            trial.named.insert(key.to_owned(), told);
        }
    })?;
    Ok(trial)
}
