//! Restoring a partition that was assigned: checkpoint, rows, packs, up to the entry that the committed offsets name
//! (DESIGN §3.4).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use tracing::{info, warn};

use super::restoring::{OfLog, Restoring, floor};
use super::sight::Standing;
use super::{Owned, StartAt, Worker, WorkerError};
use crate::domain::effect::InputTopic;
use crate::domain::time::Timestamp;
use crate::engine::journal::{Gap, Head};
use crate::engine::recovery::{Recovery, RecoveryError};
use crate::engine::step::Partition;
use crate::log::{INPUTS, Log, LogError, Positions, Topic};
use crate::store::{Checkpoint, CheckpointMeta, Checkpoints};
use crate::wire::row::key;

/// How often a long restore says how it goes.
const WORD_EVERY: Duration = Duration::from_secs(2);

impl<L: Log, S: Checkpoints> Worker<L, S> {
    /// Recovers a partition that was assigned: newest checkpoint, then rows and packs up to the committed entry.
    pub(super) fn restore(&mut self, number: u32) -> Result<Owned<S::Checkpoint>, WorkerError> {
        let started = self.clock.elapsed();
        let committed = self.log.committed(&[number])?;
        let target = committed_head(number, &committed)?;
        if let Some(owned) = self.unpark(number, target)? {
            return Ok(owned);
        }
        let state_high = self.log.bounds(Topic::State, number)?.high;
        let journal = self.log.bounds(Topic::Journal, number)?;
        let (mut store, note) = self.store.open(number)?;
        if let Some(note) = note {
            warn!(partition = number, "{note}");
        }
        let at_hand = self.take_over(number, target, state_high, journal.high);
        if at_hand.is_some() {
            // The next checkpoint has all of it.
            store.destroy()?;
            store = self.store.open(number)?.0;
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
        let from_standby = at_hand.is_some();
        let mut attempt = match at_hand {
            Some(partition) => Ok((partition, BTreeSet::new())),
            None => self.recover(number, &store, meta.as_ref(), target, state_high, journal.high),
        };
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
            from_standby,
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

    /// A partition that was revoked and is assigned again, as it stood: if nobody went on with it meanwhile.
    fn unpark(
        &mut self,
        number: u32,
        target: Option<(Head, Positions)>,
    ) -> Result<Option<Owned<S::Checkpoint>>, WorkerError> {
        let Some((mut owned, _)) = self.parked.remove(&number) else { return Ok(None) };
        let Some((head, positions)) = target else { return Ok(None) };
        let stood = owned.partition.head;
        if (stood.seq, stood.hash) != (head.seq, head.hash) {
            return Ok(None);
        }
        owned.partition.positions = positions;
        owned.partition.head.epoch += 1;
        owned.gap = self.lost(number, &owned.partition)?;
        info!(partition = number, seq = head.seq, "the partition came back, as it stood");
        Ok(Some(owned))
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

    /// Reads what is left of rows and journal, and says how that goes.
    fn read_on(
        &mut self,
        mut restoring: Restoring,
        target: Option<(Head, Positions)>,
        state_high: u64,
        journal_high: u64,
    ) -> Result<Partition, WorkerError> {
        let number = restoring.number;
        let rows = state_high.saturating_sub(restoring.state_from);
        let entries = journal_high.saturating_sub(restoring.journal_from);
        let (clock, stats) = (&self.clock, &self.stats);
        let began = clock.elapsed();
        let mut told = began;
        let mut word = |done: u64| {
            stats.restoring(number, done, rows + entries);
            let now = clock.elapsed();
            if now.saturating_sub(told) >= WORD_EVERY {
                told = now;
                let rate = (done as f64 / now.saturating_sub(began).as_secs_f64()) as u64;
                info!(partition = number, done, of = rows + entries, per_second = rate, "restoring");
            }
        };
        word(0);
        let source = &mut OfLog(&mut self.log);
        let last = target.map(|(head, _)| head.seq);
        let read = restoring
            .rows(source, state_high, u64::MAX, &mut word)
            .and_then(|_| restoring.entries(source, journal_high, last, &mut |count| word(rows + count)));
        // Also when it failed: nothing is under way any more.
        stats.restored(number);
        read?;
        let failed = |source| WorkerError::Recovery { partition: number, source };
        restoring.recovery.written_by(self.nonce);
        restoring.recovery.finish(target.map(|(head, _)| head)).map_err(failed)
    }

    /// From what a standby has at hand: the tail is left to read. `None`: there is nothing, or it is of no use.
    fn take_over(
        &mut self,
        number: u32,
        target: Option<(Head, Positions)>,
        state_high: u64,
        journal_high: u64,
    ) -> Option<Partition> {
        let restoring = self.standby.as_ref()?.take(number)?;
        target?;
        match self.read_on(restoring, target, state_high, journal_high) {
            Ok(partition) => {
                self.stats.took_over();
                Some(partition)
            }
            Err(error) => {
                warn!(partition = number, %error, "what the standby has is of no use; the partition is made anew");
                None
            }
        }
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
            journal_from = floor(&mut OfLog(&mut self.log), number, journal_from..journal_high, head.seq)?;
        }
        let restoring = Restoring { number, recovery, state_from, journal_from };
        let partition = self.read_on(restoring, target, state_high, journal_high)?;
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
