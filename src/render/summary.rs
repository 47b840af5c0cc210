//! A running summary, folded from outputs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use super::{Ink, Style, ink_of};
use crate::domain::effect::{AlarmEvent, AlarmState, Effect, EffectKind, Rule};
use crate::domain::facet::{Facet, Label};
use crate::domain::time::{Millis, Timestamp};

/// What the outputs seen so far add up to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The label of each device; `None` while it has its starting values.
    devices: HashMap<Box<str>, Option<Label>>,
    open_alarms: HashSet<Box<str>>,
    clocks: BTreeMap<u32, Timestamp>,
    /// Alarms raised.
    pub raised: u64,
    /// Verdicts that later data disproved.
    pub retracted: u64,
    /// Input events that were folded.
    pub events: u64,
    /// Outputs: status changes, alarm events, log and audit entries.
    pub outputs: u64,
    /// Records that were refused.
    pub dead_letters: u64,
}

impl Summary {
    /// Adds an effect of a device, or of a partition as a whole (`key` is empty then).
    pub fn observe(&mut self, key: &str, effect: &Effect) {
        self.outputs += 1;
        if key.is_empty() {
            return;
        }
        if effect.cause.rule == Rule::Deleted {
            self.devices.remove(key);
        } else if !self.devices.contains_key(key) {
            self.devices.insert(key.into(), None);
        }
        match &effect.kind {
            EffectKind::Status(change) => {
                self.retracted += u64::from(change.retracts.is_some());
                let overall = change.changes.iter().find(|change| change.facet == Facet::Overall);
                if let (Some(change), Some(label)) = (overall, self.devices.get_mut(key)) {
                    *label = change.label;
                }
            }
            EffectKind::Alarm(alarm) => self.observe_alarm(alarm),
            EffectKind::Log(_) | EffectKind::Audit(_) => {}
        }
    }

    fn observe_alarm(&mut self, alarm: &AlarmEvent) {
        let is_new = match alarm.state {
            AlarmState::Active | AlarmState::Acknowledged => self.open_alarms.insert(alarm.alarm_id.clone()),
            AlarmState::Cleared => {
                self.open_alarms.remove(&alarm.alarm_id);
                false
            }
        };
        self.raised += u64::from(is_new);
    }

    /// Adds a journal entry: the partition's clock and how many input events it consumed.
    pub fn observe_journal(&mut self, partition: u32, clock: Timestamp, events: u64) {
        self.events += events;
        let known = self.clocks.entry(partition).or_insert(clock);
        *known = clock.max(*known);
    }

    /// Adds a record that was refused.
    pub fn observe_dead_letter(&mut self) {
        self.dead_letters += 1;
    }

    /// Sets the counts back to zero; what is known of devices, alarms and clocks stays.
    pub fn begin_counting(&mut self) {
        (self.raised, self.retracted, self.events, self.outputs, self.dead_letters) = (0, 0, 0, 0, 0);
    }

    /// How many devices are known.
    pub fn devices(&self) -> usize {
        self.devices.len()
    }

    /// How many alarms are open.
    pub fn open_alarms(&self) -> usize {
        self.open_alarms.len()
    }

    /// How far the slowest partition's clock is behind `now`; `None` before any journal entry.
    pub fn lag(&self, now: Timestamp) -> Option<Millis> {
        self.clocks.values().min().map(|clock| Millis((now - *clock).0.max(0)))
    }

    /// Devices by label, in the order of the labels; those that none was told of are Unknown.
    pub fn by_label(&self) -> BTreeMap<Label, usize> {
        let mut counts = BTreeMap::new();
        for label in self.devices.values() {
            *counts.entry(label.unwrap_or(Label::Unknown)).or_default() += 1;
        }
        counts
    }

    /// One line. `lag` is given by the caller, who knows whose time it is to be told in.
    pub fn line(&self, now: Timestamp, lag: Option<Millis>, style: Style) -> String {
        let mut line = style.ink(Ink::Strong, &format!("── {} ", now.time_of_day()));
        let _ = write!(line, "{} devices:", self.devices.len());
        for (label, count) in self.by_label() {
            let _ = write!(line, " {} {}", style.ink(ink_of(label.word()), label.word()), count);
        }
        let alarms = format!("{} open alarms", self.open_alarms.len());
        let ink = if self.open_alarms.is_empty() { Ink::Quiet } else { Ink::Bad };
        let _ = write!(line, " │ {}", style.ink(ink, &alarms));
        let _ = write!(
            line,
            " │ {} events in, {} out, {} dead letters",
            self.events, self.outputs, self.dead_letters
        );
        if let Some(lag) = lag {
            let _ = write!(line, " │ clock {:.1} s behind", lag.0 as f64 / 1000.0);
        }
        line
    }
}
