//! What the view knows of a partition besides its devices.

use std::sync::Arc;

use crate::domain::effect::Blind;
use crate::domain::node::Nodes;
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::engine::journal::EntryHash;
use crate::log::Positions;
use crate::wire::row::blind_of;

use super::measures::Measures;
use super::outcomes::Outcomes;

/// A partition as it is known.
#[derive(Debug)]
pub struct Known {
    /// The last entry that was applied.
    pub seq: u64,
    /// Its hash.
    pub hash: EntryHash,
    /// The last entry whose clocks a checkpoint kept.
    pub clocks_seq: u64,
    /// Its clock.
    pub clock: Timestamp,
    /// When the log took it.
    pub committed_at: Timestamp,
    /// What the monitor could not judge by.
    pub blind: Option<Blind>,
    /// The clock when it became blind.
    pub blind_since: Timestamp,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// The nodes.
    pub nodes: Nodes,
    /// Whether everything that was there at the start has been applied.
    pub caught_up: bool,
    /// Entries that wait in the journal, as last looked; counted by offset.
    pub waiting: u64,
    /// How far the inputs are consumed.
    pub positions: Positions,
    /// Records of each input that were not consumed yet, as last looked; counted by offset.
    pub lag: Positions,
    /// What became of commands.
    pub outcomes: Outcomes,
    /// Counters.
    pub measures: Measures,
    /// Numbers whose clocks moved since the last checkpoint, as bits.
    pub moved: Vec<u64>,
    /// While it catches up: the entry that the row of each number is of.
    pub row_seqs: Vec<u64>,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            seq: 0,
            hash: EntryHash::default(),
            clocks_seq: 0,
            clock: Timestamp::NEVER,
            committed_at: Timestamp::NEVER,
            blind: None,
            blind_since: Timestamp::NEVER,
            policy: Arc::default(),
            nodes: Nodes::default(),
            caught_up: false,
            waiting: 0,
            positions: Positions::default(),
            lag: Positions::default(),
            outcomes: Outcomes::default(),
            measures: Measures::default(),
            moved: Vec::new(),
            row_seqs: Vec::new(),
        }
    }
}

impl Known {
    /// Takes what an entry says of blindness; `None` says nothing.
    pub fn look(&mut self, blind: Option<u32>, clock: Timestamp) {
        let Some(Ok(blind)) = blind.map(blind_of) else { return };
        if blind.is_some() && self.blind.is_none() {
            self.blind_since = clock;
        }
        self.blind = blind;
    }

    /// Notes that a device's clocks moved.
    pub fn note_moved(&mut self, number: u32) {
        let place = number as usize / 64;
        if self.moved.len() <= place {
            self.moved.resize(place + 1, 0);
        }
        self.moved[place] |= 1 << (number % 64);
    }

    /// The numbers whose clocks moved; they count from anew.
    pub fn take_moved(&mut self) -> Vec<u32> {
        let words = std::mem::take(&mut self.moved);
        let numbers = words.iter().zip((0..).step_by(64)).flat_map(|(word, first): (&u64, u32)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit)
        });
        numbers.collect()
    }

    /// Whether what entry `seq` says of a number is newer than its row.
    pub fn is_newer(&self, number: u32, seq: u64) -> bool {
        self.row_seqs.get(number as usize).is_none_or(|known| *known < seq)
    }

    /// Notes of which entry the row of a number is.
    pub fn note_row(&mut self, number: u32, seq: u64) {
        if self.caught_up {
            return;
        }
        let number = number as usize;
        if self.row_seqs.len() <= number {
            self.row_seqs.resize(number + 1, 0);
        }
        self.row_seqs[number] = seq;
    }
}
