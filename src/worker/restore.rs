//! Restoring a partition that was assigned: checkpoint, rows, packs, up to the entry that the committed offsets name
//! (DESIGN §3.4).

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use tracing::{info, warn};

use super::sight::Standing;
use super::{Owned, StartAt, Worker, WorkerError};
use crate::domain::effect::InputTopic;
use crate::domain::time::Timestamp;
use crate::engine::journal::{self, Gap, Head};
use crate::engine::recovery::{Recovery, RecoveryError};
use crate::engine::step::Partition;
use crate::log::{INPUTS, Log, LogError, Positions, Topic};
use crate::store::{Checkpoint, CheckpointMeta, Checkpoints};
use crate::wire::row::key;

impl<L: Log, S: Checkpoints> Worker<L, S> {
    /// Recovers a partition that was assigned: newest checkpoint, then rows and packs up to the committed entry.
    pub(super) fn restore(&mut self, number: u32) -> Result<Owned<S::Checkpoint>, WorkerError> {
        let started = self.clock.elapsed();
        let committed = self.log.committed(&[number])?;
        let target = committed_head(number, &committed)?;
        let state_high = self.log.bounds(Topic::State, number)?.high;
        let journal = self.log.bounds(Topic::Journal, number)?;
        let (mut store, note) = self.store.open(number)?;
        if let Some(note) = note {
            warn!(partition = number, "{note}");
        }
        let mut meta = store.meta().ok().flatten().filter(|meta| {
            let is_ours =
                meta.owner == self.config.log_name && target.is_none_or(|(head, _)| meta.seq <= head.seq);
            let is_there = meta.journal_offset >= journal.low && meta.journal_offset <= journal.high;
            is_ours && is_there
        });
        if meta.is_none() && store.meta().ok().flatten().is_some() {
            warn!(
                partition = number,
                "the checkpoint is of another log, or older than the journal; it is made anew"
            );
            store.destroy()?;
            store = self.store.open(number)?.0;
        }
        let mut attempt = self.recover(number, &store, meta.as_ref(), target, state_high, journal.high);
        if matches!(attempt, Err(WorkerError::Recovery { .. })) {
            self.still_at(number, target)?;
        }
        // It cannot be read, or does not fit: the log has everything that it has.
        if meta.is_some() && matches!(attempt, Err(WorkerError::Recovery { .. } | WorkerError::Store(_))) {
            if let Err(error) = &attempt {
                warn!(partition = number, %error, "the checkpoint is thrown away; the partition is made anew from the log");
            }
            store.destroy()?;
            store = self.store.open(number)?.0;
            meta = None;
            attempt = self.recover(number, &store, None, target, state_high, journal.high);
        }
        if let (Some(stands_at), Ok((partition, _))) = (&meta, &attempt)
            && partition.sweep.floor > stands_at.seq + 1
        {
            // Devices that are gone since then may have left no trace that is still there.
            let (floor, seq) = (partition.sweep.floor, stands_at.seq);
            warn!(
                partition = number,
                seq,
                floor,
                "the checkpoint is older than the last sweep; the partition is made anew from the log"
            );
            store.destroy()?;
            store = self.store.open(number)?.0;
            meta = None;
            attempt = self.recover(number, &store, None, target, state_high, journal.high);
        }
        let (mut partition, gone) = attempt?;
        let is_new = partition.head.seq == 0;
        let mut gap = None;
        if is_new {
            for (index, topic) in InputTopic::ALL.iter().enumerate() {
                partition.positions[index] = self.first_offset(*topic, number)?;
            }
        } else {
            if let Some((_, positions)) = target {
                partition.positions = positions;
            }
            gap = self.lost(number, &partition)?;
        }
        info!(
            partition = number,
            devices = partition.core.table.len(),
            seq = partition.head.seq,
            from_checkpoint = meta.as_ref().map(|meta| meta.seq),
            took = ?self.clock.elapsed().saturating_sub(started),
            "partition restored"
        );
        self.stats.set_devices(number, partition.core.table.len());
        let all = (0..partition.core.table.capacity()).collect();
        let blind = partition.core.blind.map(|(why, _)| why);
        Ok(Owned {
            partition,
            store,
            queues: Default::default(),
            held: [false; INPUTS],
            // What the log had beyond the checkpoint is not in it yet; without one, nothing is.
            dirty: if is_new { BTreeSet::new() } else { all },
            gone,
            checkpointed: self.clock.elapsed(),
            anchored: None,
            is_clean: is_new,
            blind: None,
            untold: None,
            standing: Standing::after(blind),
            gap,
        })
    }

    /// Records that are gone before they were read, if that is accepted; and since when nothing is missing.
    fn lost(&mut self, number: u32, partition: &Partition) -> Result<Option<(Gap, Timestamp)>, WorkerError> {
        let mut to = partition.positions;
        let mut since = partition.core.clock;
        for (index, topic) in InputTopic::ALL.iter().enumerate() {
            let bounds = self.log.bounds(Topic::Input(*topic), number)?;
            let position = partition.positions[index];
            if bounds.low <= position {
                continue;
            }
            if !self.config.accept_loss {
                return Err(WorkerError::Gap { partition: number, topic: *topic, low: bounds.low, position });
            }
            to[index] = bounds.low;
            let mut first = None;
            self.log.scan(Topic::Input(*topic), number, bounds.low..bounds.high, &mut |record| {
                first = Some(record.timestamp);
                ControlFlow::Break(())
            })?;
            since = since.max(first.unwrap_or_else(|| self.clock.now()));
        }
        if to == partition.positions {
            return Ok(None);
        }
        let gap = Gap { from: partition.positions, to, note: "accepted at start by --accept-loss".into() };
        warn!(partition = number, lost = gap.words(), "records are lost; sight returns after them");
        Ok(Some((gap, since)))
    }

    /// The first offset of the journal, in `range`, whose entry has at least the number `seq`; its end if none has.
    fn find_entry(&mut self, number: u32, range: Range<u64>, seq: u64) -> Result<u64, WorkerError> {
        let Range { start: mut low, end: mut high } = range;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut found = None;
            self.log.scan(Topic::Journal, number, middle..high, &mut |record| {
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

    /// Where the journal has to be read from without a checkpoint: the entry in which the last whole sweep began, for
    /// all rows are newer. The state topic has all of them.
    fn floor(&mut self, number: u32, range: Range<u64>, head: Head) -> Result<u64, WorkerError> {
        let newest = self.find_entry(number, range.clone(), head.seq)?;
        let mut floor = 0;
        self.log.scan(Topic::Journal, number, newest..range.end, &mut |record| {
            if let Ok(entry) = journal::open(record.value.unwrap_or_default()) {
                floor = entry.entry.floor;
            }
            ControlFlow::Break(())
        })?;
        if floor == 0 { Ok(range.start) } else { self.find_entry(number, range, floor) }
    }

    /// What was read does not fit together if another instance went on with the partition meanwhile: then it is not ours
    /// any more, which the group is about to tell.
    fn still_at(&mut self, number: u32, target: Option<(Head, Positions)>) -> Result<(), WorkerError> {
        let committed = self.log.committed(&[number])?;
        if committed_head(number, &committed)? == target {
            return Ok(());
        }
        let action = format!("restoring partition {number}");
        Err(LogError::retriable(action, "another instance went on with it meanwhile").into())
    }

    fn first_offset(&mut self, topic: InputTopic, number: u32) -> Result<u64, WorkerError> {
        let bounds = self.log.bounds(Topic::Input(topic), number)?;
        let StartAt::Time(start) = self.config.start else { return Ok(bounds.low) };
        let mut first = bounds.high;
        self.log.scan(Topic::Input(topic), number, bounds.low..bounds.high, &mut |record| {
            if record.timestamp >= start {
                first = record.offset;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(first)
    }

    /// The partition, and the keys of the checkpoint that are gone since: its next one has to drop them.
    fn recover(
        &mut self,
        number: u32,
        store: &S::Checkpoint,
        meta: Option<&CheckpointMeta>,
        target: Option<(Head, Positions)>,
        state_high: u64,
        journal_high: u64,
    ) -> Result<(Partition, BTreeSet<Box<str>>), WorkerError> {
        let failed = |source| WorkerError::Recovery { partition: number, source };
        let mut recovery = Recovery::new(number, self.config.settings.clone(), self.nonce);
        let mut kept: BTreeSet<Box<str>> = BTreeSet::new();
        let mut state_from = self.log.bounds(Topic::State, number)?.low;
        let mut journal_from = self.log.bounds(Topic::Journal, number)?.low;
        if let Some(meta) = meta
            && let Some(head) = meta.head()
        {
            let rows = store.rows(|key, value| {
                if key::is_device(key) {
                    kept.insert(key.into());
                }
                recovery.row(key, Some(value))
            });
            rows?.map_err(failed)?;
            recovery.stands_at(head, meta.positions, Timestamp::restored(meta.clock_ms), meta.sweep());
            state_from = state_from.max(meta.state_offset);
            journal_from = meta.journal_offset;
        } else if let Some((head, _)) = target {
            journal_from = self.floor(number, journal_from..journal_high, head)?;
        }
        let mut problem = None;
        self.log.scan(Topic::State, number, state_from..state_high, &mut |record| {
            let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
            match recovery.row(key, record.value) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    problem = Some(failed(error));
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        let mut problem = None;
        self.log.scan(Topic::Journal, number, journal_from..journal_high, &mut |record| {
            let applied = journal::open(record.value.unwrap_or_default())
                .map_err(|source| WorkerError::Journal { partition: number, source })
                .and_then(|entry| {
                    let is_beyond = target.is_some_and(|(head, _)| entry.entry.seq > head.seq);
                    if is_beyond { Ok(()) } else { recovery.entry(entry).map_err(failed) }
                });
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
        let partition = recovery.finish(target.map(|(head, _)| head)).map_err(failed)?;
        if let Some(meta) = meta.filter(|meta| meta.seq == partition.head.seq)
            && meta.state_hash != format!("{:032x}", partition.state_hash)
        {
            // No entry after the checkpoint could tell.
            return Err(failed(RecoveryError::StateHash { seq: meta.seq }));
        }
        kept.retain(|key| partition.core.table.find(key).is_none());
        Ok((partition, kept))
    }
}

/// The head that the committed offsets name, and the offsets; `None` if nothing is committed.
fn committed_head(
    number: u32,
    committed: &[crate::log::Committed],
) -> Result<Option<(Head, Positions)>, WorkerError> {
    let Some(known) = committed.iter().find(|known| known.partition == number) else { return Ok(None) };
    let mut positions = [0; INPUTS];
    let mut newest: Option<Head> = None;
    for (index, topic) in InputTopic::ALL.iter().enumerate() {
        let Some((offset, metadata)) = &known.offsets[index] else { continue };
        let foreign = WorkerError::ForeignOffsets { partition: number, topic: *topic };
        let head = Head::from_metadata(metadata).ok_or(foreign)?;
        positions[index] = *offset;
        newest = newest.filter(|newest| newest.seq >= head.seq).or(Some(head));
    }
    Ok(newest.map(|head| (head, positions)))
}
