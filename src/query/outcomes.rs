//! What became of commands: by the place of their records, for those who wait for them.

use std::collections::BTreeMap;

use crate::domain::effect::{Effect, EffectKind, InputTopic, Origin, Outcome};
use crate::log::Positions;

/// So many outcomes are remembered per partition.
const REMEMBERED: usize = 8192;

/// What became of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Became {
    /// It took effect, or it was ignored and why; the sentence says more.
    Told(Outcome, String),
    /// It was taken, and nothing was said of it: it lies before the delete of its device.
    Untold,
}

/// The outcomes of one partition.
#[derive(Debug, Default)]
pub struct Outcomes {
    told: BTreeMap<u64, Became>,
    taken_to: u64,
}

impl Outcomes {
    /// Takes what an entry told, and how far it consumed the inputs.
    pub fn take<'e>(&mut self, effects: impl Iterator<Item = &'e Effect>, positions: Option<Positions>) {
        for effect in effects {
            let EffectKind::Audit(audit) = &effect.kind else { continue };
            if let Origin::Record { topic: InputTopic::Control, offset, .. } = effect.cause.origin {
                self.told.insert(offset, Became::Told(audit.outcome, effect.cause.sentence.clone()));
            }
        }
        while self.told.len() > REMEMBERED {
            self.told.pop_first();
        }
        if let Some(positions) = positions {
            self.taken_to = self.taken_to.max(positions[InputTopic::Control as usize]);
        }
    }

    /// What became of the record at this offset of the control topic; `None`: it is not taken yet.
    pub fn of(&self, offset: u64) -> Option<Became> {
        match self.told.get(&offset) {
            Some(told) => Some(told.clone()),
            None => (offset < self.taken_to).then_some(Became::Untold),
        }
    }
}
