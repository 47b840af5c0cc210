//! What the view counts while it follows: for the metrics.

use std::collections::BTreeMap;

use crate::domain::effect::{Effect, Rule};
use crate::domain::time::Timestamp;

/// Upper bounds of the buckets of verdict lateness, in milliseconds.
pub const LATENESS_BOUNDS: [i64; 10] = [10, 25, 50, 100, 250, 500, 1_000, 5_000, 60_000, 600_000];

/// Counters since the process began to follow live.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// Entries applied.
    pub entries: u64,
    /// Input records that they consumed.
    pub records: u64,
    /// Signs of life that moved clocks only.
    pub moved: u64,
    /// Bytes of journal entries.
    pub journal_bytes: u64,
    /// Bytes of outputs and rows.
    pub output_bytes: u64,
    /// Outputs, by kind.
    pub outputs: BTreeMap<&'static str, u64>,
    /// Dead letters, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// How often the view was made anew from the topics.
    pub made_anew: u64,
    /// Foreign records that were passed over.
    pub foreign: u64,
    /// Deadline verdicts by lateness: `recordedAt` less `at`; the last bucket has no bound.
    pub lateness: [u64; LATENESS_BOUNDS.len() + 1],
    /// Sum of their lateness, in milliseconds.
    pub lateness_sum: u64,
}

impl Measures {
    /// Counts an effect.
    pub fn effect(&mut self, kind: &'static str, effect: &Effect) {
        *self.outputs.entry(kind).or_default() += 1;
        let is_verdict = matches!(
            effect.cause.rule,
            Rule::DeadlinePassed | Rule::PollWindowPassed | Rule::LongPollLapsed | Rule::NodeTimedOut
        );
        if is_verdict && kind == "status" {
            self.late(effect.at, effect.recorded_at);
        }
    }

    fn late(&mut self, at: Timestamp, recorded_at: Timestamp) {
        let late = (recorded_at - at).0.max(0);
        let bucket = LATENESS_BOUNDS.iter().position(|bound| late <= *bound).unwrap_or(LATENESS_BOUNDS.len());
        self.lateness[bucket] += 1;
        self.lateness_sum += late as u64;
    }
}
