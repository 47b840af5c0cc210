//! A partition that is being made from rows and entries, as far as they were read: by a worker that got it, or by a
//! standby that follows those that others own.

use std::ops::{ControlFlow, Range};

use super::WorkerError;
use crate::engine::journal;
use crate::engine::recovery::{Recovery, RecoveryError};
use crate::log::{Archive, Bounds, Log, LogError, ScanControl, Scanned, Topic};

/// What recovery reads: a log as its worker sees it, or an archive.
pub(super) trait Source {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError>;

    /// As [`Log::scan`].
    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError>;
}

pub(super) struct OfLog<'l, L>(pub(super) &'l mut L);

impl<L: Log> Source for OfLog<'_, L> {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.0.bounds(topic, partition)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        self.0.scan(topic, partition, range, each)
    }
}

pub(super) struct OfArchive<'a>(pub(super) &'a mut dyn Archive);

impl Source for OfArchive<'_> {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.0.bounds(topic, partition)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        self.0.scan(topic, partition, range, each)
    }
}

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
}

impl Restoring {
    fn failed(&self, source: RecoveryError) -> WorkerError {
        WorkerError::Recovery { partition: self.number, source }
    }

    /// Reads rows up to offset `to`, about `most` of them; whether it got there. `word` is told now and then how many
    /// were read.
    pub(super) fn rows(
        &mut self,
        source: &mut impl Source,
        to: u64,
        most: u64,
        word: &mut dyn FnMut(u64),
    ) -> Result<bool, WorkerError> {
        let (mut count, mut after, mut problem) = (0, to.max(self.state_from), None);
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
        source: &mut impl Source,
        to: u64,
        last: Option<u64>,
        word: &mut dyn FnMut(u64),
    ) -> Result<(), WorkerError> {
        let (mut count, mut problem) = (0, None);
        let (number, recovery) = (self.number, &mut self.recovery);
        source.scan(Topic::Journal, number, self.journal_from..to, &mut |record| {
            let applied = journal::open(record.value.unwrap_or_default())
                .map_err(|source| WorkerError::Journal { partition: number, source })
                .and_then(|entry| {
                    let is_beyond = last.is_some_and(|last| entry.entry.seq > last);
                    let failed = |source| WorkerError::Recovery { partition: number, source };
                    if is_beyond { Ok(()) } else { recovery.entry(entry).map_err(failed) }
                });
            count += 1;
            if count % WORD_EVERY == 0 {
                word(count);
            }
            match applied {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    problem = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        self.journal_from = to.max(self.journal_from);
        Ok(())
    }
}

/// The first offset of the journal, in `range`, whose entry has at least the number `seq`; its end if none has.
fn find_entry(
    source: &mut impl Source,
    number: u32,
    range: Range<u64>,
    seq: u64,
) -> Result<u64, WorkerError> {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        let mut found = None;
        source.scan(Topic::Journal, number, middle..high, &mut |record| {
            found = Some((record.offset, journal::open(record.value.unwrap_or_default())));
            ControlFlow::Break(())
        })?;
        match found {
            Some((offset, entry)) => {
                let entry = entry.map_err(|source| WorkerError::Journal { partition: number, source })?;
                if entry.entry.seq < seq { low = offset + 1 } else { high = middle }
            }
            None => high = middle,
        }
    }
    Ok(low)
}

/// Where the journal has to be read from without a checkpoint: the entry in which the last whole sweep began, for all rows
/// are newer. The state topic has all of them. `seq`: the newest entry that counts.
pub(super) fn floor(
    source: &mut impl Source,
    number: u32,
    range: Range<u64>,
    seq: u64,
) -> Result<u64, WorkerError> {
    let newest = find_entry(source, number, range.clone(), seq)?;
    let mut floor = 0;
    source.scan(Topic::Journal, number, newest..range.end, &mut |record| {
        if let Ok(entry) = journal::open(record.value.unwrap_or_default()) {
            floor = entry.entry.floor;
        }
        ControlFlow::Break(())
    })?;
    if floor == 0 { Ok(range.start) } else { find_entry(source, number, range, floor) }
}

/// The number of the newest entry below offset `end`; `None` if there is none.
pub(super) fn newest_entry(
    source: &mut impl Source,
    number: u32,
    range: Range<u64>,
) -> Result<Option<u64>, WorkerError> {
    // Markers and aborted entries may lie at the end: it goes back in growing steps.
    let mut back = 1_u64;
    loop {
        let from = range.end.saturating_sub(back).max(range.start);
        let mut newest = None;
        source.scan(Topic::Journal, number, from..range.end, &mut |record| {
            newest =
                journal::open(record.value.unwrap_or_default()).ok().map(|entry| entry.entry.seq).or(newest);
            ControlFlow::Continue(())
        })?;
        if newest.is_some() || from == range.start {
            return Ok(newest);
        }
        back = back.saturating_mul(8);
    }
}
