//! Deriving an entry of the journal again: the same pure step, with the entry's ranges, clock, settings and writer.

use std::sync::Arc;

use crate::domain::effect::InputTopic;
use crate::domain::time::{Millis, Timestamp};
use crate::engine::journal::{Consumed, Entry, FOLD_VERSION, Head};
use crate::engine::recovery::{Recovery, RecoveryError, hash_of};
use crate::engine::step::{Input, Partition, Settings, Told};
use crate::engine::sweep::Sweep;
use crate::log::Archive;
use crate::log::INPUTS;
use crate::log::Positions;
use crate::log::Slot;
use crate::wire::output::Format;
use crate::wire::pb::{ConsumedRange, JournalEntry, OutputFormat};
use crate::wire::row::CorruptRow;

use super::inputs::{InputError, Inputs};

/// A state from which derivation can start: that of a partition after an entry of its journal (DESIGN §3.8).
pub struct Anchor {
    /// The entry.
    pub head: Head,
    /// Input offsets after it.
    pub positions: Positions,
    /// Its clock.
    pub clock: Timestamp,
    /// Where the sweep stood.
    pub sweep: Sweep,
    /// Gives the rows to a recovery.
    #[allow(clippy::type_complexity)]
    pub load: Box<dyn Fn(&mut Recovery) -> Result<(), String> + Send + Sync>,
}

impl std::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anchor").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Why an entry cannot be derived; never that it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// Its inputs cannot be had.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// Other rules made it.
    #[error("fold version {0} made it, this program has {FOLD_VERSION}")]
    FoldVersion(u32),
    /// It says of blindness what stands for nothing.
    #[error(transparent)]
    Blind(#[from] CorruptRow),
    /// The entry has no settings.
    #[error("it does not say with which limits it was made")]
    NoLimits,
    /// The state that an anchor holds cannot be used.
    #[error("the anchor at entry {seq} cannot be used: {why}")]
    Anchor {
        /// Its entry.
        seq: u64,
        /// Why.
        why: String,
    },
}

/// A partition that is derived again, entry by entry.
#[derive(Debug)]
pub struct Deriver {
    /// The partition as it stands after the last entry that was derived.
    pub partition: Partition,
    inputs: Inputs,
}

impl Deriver {
    /// From the beginning of the journal, whose first entry this is. `settings` are those that no entry tells: partitions
    /// and the names of inputs.
    pub fn genesis(number: u32, settings: Settings, first: &Entry) -> Deriver {
        let mut partition = Partition::new(number, Arc::new(settings), 0);
        partition.positions = first.positions_before();
        Deriver { partition, inputs: Inputs::new(number) }
    }

    /// From an anchor. `state_hash` is what the journal says of the state at its entry, if that is still there.
    ///
    /// # Errors
    /// The anchor cannot be used.
    pub fn anchored(
        number: u32,
        settings: Settings,
        anchor: &Anchor,
        state_hash: Option<&[u8]>,
    ) -> Result<Deriver, Obstacle> {
        let unusable = |why: String| Obstacle::Anchor { seq: anchor.head.seq, why };
        let mut recovery = Recovery::new(number, Arc::new(settings), 0);
        (anchor.load)(&mut recovery).map_err(unusable)?;
        recovery.stands_at(anchor.head, anchor.positions, anchor.clock, anchor.sweep);
        let partition = recovery.finish(None).map_err(|error: RecoveryError| unusable(error.to_string()))?;
        if state_hash.is_some_and(|wanted| *wanted != hash_of(&partition).to_le_bytes()) {
            return Err(unusable("its state has another hash than the entry names".into()));
        }
        Ok(Deriver::standing(partition, anchor.head))
    }

    /// Goes on from a recovered partition, as the owner that wrote `head`.
    pub fn standing(mut partition: Partition, head: Head) -> Deriver {
        partition.head = head;
        let inputs = Inputs::new(partition.number);
        Deriver { partition, inputs }
    }

    /// Derives the next entry, which must follow the last one. What it tells is to be compared with what is there.
    ///
    /// # Errors
    /// It cannot be derived.
    pub fn derive(&mut self, archive: &mut dyn Archive, entry: &Entry) -> Result<Told, Obstacle> {
        if entry.entry.fold_version != FOLD_VERSION {
            return Err(Obstacle::FoldVersion(entry.entry.fold_version));
        }
        self.adopt(&entry.entry)?;
        let gap = entry.gap(self.partition.positions);
        let mut ranges = gap.as_ref().map_or(self.partition.positions, |gap| gap.to).map(|to| to..to);
        for range in &entry.entry.ranges {
            if let Some(slot) = ranges.get_mut(place(range)) {
                *slot = range.from..range.to;
            }
        }
        let (queues, arena) = self.inputs.take(archive, &ranges)?;
        let positions = ranges.map(|range| range.end);
        let input = Input::again(entry, queues, arena, positions, gap.as_ref())?;
        Ok(self.partition.step(&input).expect("a step whose entry is wanted has one"))
    }

    /// Takes over what the entry says of its writer and settings.
    fn adopt(&mut self, entry: &JournalEntry) -> Result<(), Obstacle> {
        let limits = entry.limits.as_ref().ok_or(Obstacle::NoLimits)?;
        let partition = &mut self.partition;
        partition.nonce = entry.nonce;
        partition.head.epoch = entry.epoch;
        let settings = Settings {
            effects_max: limits.effects_max as usize,
            record_bytes_max: limits.record_bytes_max as usize,
            dead_letter_bytes_max: limits.dead_letter_bytes_max as usize,
            refresh: Millis(limits.refresh_ms as i64),
            sweep_rows_max: limits.sweep_rows_max,
            format: match OutputFormat::try_from(entry.output_format) {
                Ok(OutputFormat::Json) => Format::Json,
                _ => Format::Protobuf,
            },
            ..(*partition.settings).clone()
        };
        if *partition.settings != settings {
            partition.settings = Arc::new(settings);
        }
        Ok(())
    }

    /// The records that the last entry consumed, and their bytes.
    pub fn last_taken(&self) -> ([&[Slot]; INPUTS], &[u8]) {
        self.inputs.last_taken()
    }

    /// What the entry says that cannot be after the one before, in words.
    pub fn contradiction(&self, entry: &Entry) -> Option<String> {
        let before = self.partition.positions;
        let before = entry.gap(before).map_or(before, |gap| gap.to);
        for range in &entry.entry.ranges {
            let Some(topic) = InputTopic::ALL.get(place(range)) else { continue };
            let (from, position) = (range.from, before[place(range)]);
            if from != position {
                return Some(format!(
                    "its range of {topic} begins at offset {from}, and reading had come to {position}"
                ));
            }
        }
        let sees_within = entry.entry.sight_ms.is_some() && self.partition.core.pending.is_some();
        sees_within.then(|| "sight returns in it while another change is under way".to_owned())
    }
}

/// The place of a range's topic among the inputs.
fn place(range: &ConsumedRange) -> usize {
    (range.topic as usize).wrapping_sub(1)
}

/// What is there of a range of inputs, as an entry would tell it.
///
/// # Errors
/// The log fails.
pub fn consumed(
    archive: &mut dyn Archive,
    partition: u32,
    range: &ConsumedRange,
) -> Result<Option<ConsumedRange>, crate::log::LogError> {
    let Some(topic) = InputTopic::ALL.get(place(range)) else { return Ok(None) };
    let mut found = Consumed::new(range.from);
    let name = crate::log::Topic::Input(*topic);
    let high = archive.bounds(name, partition)?.high;
    archive.scan(name, partition, range.from..range.to.min(high), &mut |record| {
        found.record(record.offset, record.timestamp, record.key, record.value);
        std::ops::ControlFlow::Continue(())
    })?;
    found.to = range.to;
    Ok(Some(found.to_proto(*topic)))
}
