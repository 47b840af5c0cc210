//! A partition that is being made from rows and entries, as far as they were read: by a worker that got it, or by a
//! standby that follows those that others own.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::WorkerError;
use crate::domain::time::Timestamp;
use crate::engine::journal::{self, Head};
use crate::engine::recovery::{Recovery, RecoveryError};
use crate::engine::step::{Partition, Settings};
use crate::log::{Bounds, Records, Topic};
use crate::store::{Checkpoint, CheckpointMeta};

/// So many records are applied between two words of the progress.
const WORD_EVERY: u64 = 1 << 16;

/// See the module. Rows up to some end are read before the entries that may be newer than them: a pack touches a row only
/// if it is newer.
#[derive(Debug)]
pub(super) struct Restoring {
    pub(super) number: u32,
    pub(super) recovery: Recovery,
    /// The next offset of `devices.state`, and of the journal.
    pub(super) state_from: u64,
    pub(super) journal_from: u64,
    /// The checkpoint that it began with.
    pub(super) from: Option<CheckpointMeta>,
    /// It stood at the end of the journal once: what is committed since is followed as it comes.
    pub(super) has_caught_up: bool,
}

/// What came of it.
pub(super) struct Made {
    pub(super) partition: Partition,
    /// Keys of the checkpoint that are gone since: the next one has to drop them.
    pub(super) gone: BTreeSet<Box<str>>,
    /// The checkpoint that it began with.
    pub(super) from: Option<CheckpointMeta>,
}

impl Restoring {
    /// Begins with the rows of a checkpoint, or else with where all of the state can be had. `newest`: the entry to come
    /// to; `None`: the last one there.
    pub(super) fn begin<C: Checkpoint>(
        source: &mut (impl Records + ?Sized),
        number: u32,
        settings: &Arc<Settings>,
        checkpoint: Option<(&C, CheckpointMeta)>,
        (state, journal): (Bounds, Bounds),
        newest: Option<u64>,
    ) -> Result<Restoring, WorkerError> {
        let recovery = Recovery::new(number, settings.clone(), 0);
        let (state_from, journal_from) = (state.low, journal.low);
        let mut restoring =
            Restoring { number, recovery, state_from, journal_from, from: None, has_caught_up: false };
        match checkpoint.and_then(|(store, meta)| Some((store, meta.head()?, meta))) {
            Some((store, head, meta)) => {
                let recovery = &mut restoring.recovery;
                let rows = store.rows(|key, value| recovery.row(key, Some(value)));
                rows?.map_err(|source| restoring.failed(source))?;
                let clock = Timestamp::restored(meta.clock_ms);
                restoring.recovery.stands_at(head, meta.positions, clock, meta.sweep());
                restoring.state_from = state_from.max(meta.state_offset);
                restoring.journal_from = meta.journal_offset;
                restoring.from = Some(meta);
            }
            None => restoring.journal_from = floor(source, number, journal.low..journal.high, newest)?,
        }
        Ok(restoring)
    }

    /// Refuses a checkpoint since which devices may be gone without a trace that is still there: a sweep has ended since.
    pub(super) fn not_outdated(&self) -> Result<(), WorkerError> {
        let (floor, before) = (self.recovery.floor(), self.from.as_ref().filter(|_| !self.has_caught_up));
        match before {
            Some(from) if floor > from.seq + 1 => {
                Err(self.failed(RecoveryError::Outdated { seq: from.seq, floor }))
            }
            _ => Ok(()),
        }
    }

    /// Ends it at the entry that the committed offsets name; `None`: at the end of the journal. `nonce` names the writer
    /// of the entries to come.
    pub(super) fn finish(mut self, target: Option<Head>, nonce: u64) -> Result<Made, WorkerError> {
        self.not_outdated()?;
        let number = self.number;
        let failed = |source| WorkerError::Recovery { partition: number, source };
        self.recovery.written_by(nonce);
        let gone = self.recovery.take_gone();
        let partition = self.recovery.finish(target).map_err(failed)?;
        if let Some(from) = self.from.as_ref().filter(|from| from.seq == partition.head.seq)
            && from.state_hash != format!("{:032x}", partition.state_hash)
        {
            // No entry after the checkpoint could tell.
            return Err(failed(RecoveryError::StateHash { seq: from.seq }));
        }
        let gone = gone.into_iter().filter(|key| partition.core.table.find(key).is_none()).collect();
        Ok(Made { partition, gone, from: self.from })
    }

    fn failed(&self, source: RecoveryError) -> WorkerError {
        WorkerError::Recovery { partition: self.number, source }
    }

    /// Reads rows up to offset `to`, about `most` of them; whether it got there. `word` is told now and then how many
    /// were read.
    pub(super) fn rows(
        &mut self,
        source: &mut (impl Records + ?Sized),
        to: u64,
        most: u64,
        word: &mut dyn FnMut(u64),
    ) -> Result<bool, WorkerError> {
        if self.state_from >= to {
            return Ok(true);
        }
        let (mut count, mut after, mut problem) = (0, to, None);
        let recovery = &mut self.recovery;
        source.scan(Topic::State, self.number, self.state_from..to, &mut |record| {
            let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
            if let Err(error) = recovery.row(key, record.value) {
                problem = Some(error);
                return ControlFlow::Break(());
            }
            count += 1;
            if count % WORD_EVERY == 0 {
                word(count);
            }
            if count < most {
                return ControlFlow::Continue(());
            }
            after = record.offset + 1;
            ControlFlow::Break(())
        })?;
        if let Some(problem) = problem {
            return Err(self.failed(problem));
        }
        self.state_from = after;
        Ok(after >= to)
    }

    /// Reads entries up to offset `to`, and none that is later than number `last`.
    pub(super) fn entries(
        &mut self,
        source: &mut (impl Records + ?Sized),
        to: u64,
        last: Option<u64>,
        word: &mut dyn FnMut(u64),
    ) -> Result<(), WorkerError> {
        let is_there = |recovery: &Recovery| last.is_some_and(|last| recovery.reached().seq >= last);
        if self.journal_from >= to || is_there(&self.recovery) {
            return Ok(());
        }
        let (mut count, mut after, mut problem) = (0, to, None);
        let (number, recovery) = (self.number, &mut self.recovery);
        source.scan(Topic::Journal, number, self.journal_from..to, &mut |record| {
            let applied = journal::open(record.value.unwrap_or_default())
                .map_err(|source| WorkerError::Journal { partition: number, source })
                .and_then(|entry| {
                    let failed = |source| WorkerError::Recovery { partition: number, source };
                    recovery.entry(entry).map_err(failed)
                });
            count += 1;
            if count % WORD_EVERY == 0 {
                word(count);
            }
            if let Err(error) = applied {
                problem = Some(error);
            } else if is_there(recovery) {
                // What lies behind it is not waited for: markers, and what others left open.
                after = record.offset + 1;
            } else {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        })?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        self.journal_from = after;
        Ok(())
    }
}

/// So many offsets before the end of a journal the newest entry is looked for first: markers lie there, and what was
/// aborted.
const NEAR: u64 = 16;

/// Where the journal has to be read from without a checkpoint: at, or not far before, the entry in which the last whole
/// sweep began, for all rows are newer. The state topic has all of them. `newest`: the newest entry that counts.
fn floor(
    source: &mut (impl Records + ?Sized),
    number: u32,
    range: Range<u64>,
    newest: Option<u64>,
) -> Result<u64, WorkerError> {
    let mut back = NEAR;
    let (offset, seq, floor) = loop {
        let from = range.end.saturating_sub(back).max(range.start);
        let mut found = None;
        source.scan(Topic::Journal, number, from..range.end, &mut |record| {
            if let Ok(entry) = journal::open(record.value.unwrap_or_default())
                && newest.is_none_or(|newest| entry.entry.seq <= newest)
            {
                found = Some((record.offset, entry.entry.seq, entry.entry.floor));
                if newest == Some(entry.entry.seq) {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        match found {
            Some(found) => break found,
            None if from == range.start => return Ok(range.start),
            None => back = back.saturating_mul(8),
        }
    };
    if floor == 0 {
        return Ok(range.start);
    }
    // Most entries take two offsets, one for the marker of their transaction.
    let mut back = 2 * seq.saturating_sub(floor) + NEAR;
    loop {
        let from = offset.saturating_sub(back).max(range.start);
        let mut first = 0;
        if from > range.start {
            source.scan(Topic::Journal, number, from..offset + 1, &mut |record| {
                first = journal::open(record.value.unwrap_or_default()).map_or(0, |entry| entry.entry.seq);
                ControlFlow::Break(())
            })?;
        }
        if first <= floor {
            return Ok(from);
        }
        back = back.saturating_mul(2);
    }
}
