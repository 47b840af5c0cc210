//! Restoring a partition that was assigned: checkpoint, rows, packs, up to the entry that the committed offsets name
//! (DESIGN §3.4).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use tracing::{info, warn};

use super::restoring::{Made, Restoring};
use super::sight::Standing;
use super::{Owned, StartAt, Worker, WorkerError};
use crate::domain::effect::InputTopic;
use crate::domain::time::Timestamp;
use crate::engine::journal::{Gap, Head};
use crate::engine::step::Partition;
use crate::log::{Bounds, Committed, INPUTS, Log, LogError, Positions, Topic};
use crate::store::{Checkpoint, CheckpointMeta, Checkpoints};

/// What the log says of a partition before it is restored.
pub(super) struct Known {
    pub(super) number: u32,
    /// The head that the committed offsets name, and the offsets.
    target: Option<(Head, Positions)>,
    state: Bounds,
    journal: Bounds,
    inputs: [Bounds; INPUTS],
}

/// How often a long restore says how it goes.
const WORD_EVERY: Duration = Duration::from_secs(2);

impl<L: Log, S: Checkpoints> Worker<L, S> {
    /// What the log says of partitions, by few requests for all of them. The ends of `devices.state` are asked for after
    /// the committed offsets: all rows of what is committed lie before them.
    pub(super) fn known(&mut self, numbers: &[u32]) -> Result<Vec<Known>, WorkerError> {
        let committed = self.log.committed(numbers)?;
        let inputs = InputTopic::ALL.iter().map(|topic| Topic::Input(*topic));
        let topics: Vec<Topic> = [Topic::State, Topic::Journal].into_iter().chain(inputs).collect();
        let asked: Vec<(Topic, u32)> =
            numbers.iter().flat_map(|number| topics.iter().map(|topic| (*topic, *number))).collect();
        let bounds = self.log.bounds_of(&asked)?;
        let of = |(number, bounds): (&u32, &[Bounds])| {
            let target = committed_head(*number, &committed)?;
            let inputs = std::array::from_fn(|index| bounds[2 + index]);
            Ok(Known { number: *number, target, state: bounds[0], journal: bounds[1], inputs })
        };
        numbers.iter().zip(bounds.chunks(topics.len())).map(of).collect()
    }

    /// Recovers a partition that was assigned: from what a standby has of it, or the newest checkpoint, or the log alone;
    /// then rows and packs up to the committed entry.
    pub(super) fn restore(&mut self, known: &Known) -> Result<Owned<S::Checkpoint>, WorkerError> {
        let started = self.clock.elapsed();
        let (number, target) = (known.number, known.target);
        if let Some(owned) = self.unpark(known)? {
            return Ok(owned);
        }
        let (mut store, note) = self.store.open(number)?;
        if let Some(note) = note {
            warn!(partition = number, "{note}");
        }
        let there = store.meta().ok().flatten();
        let (made, from_standby) = match self.take_over(known) {
            Some(made) => (made, true),
            None => (self.make(&store, there.clone(), known)?, false),
        };
        let Made { mut partition, gone, from } = made;
        if there.is_some() && there != from {
            // Nobody knows which of its rows are gone.
            store.destroy()?;
            store = self.store.open(number)?.0;
        }
        let is_new = partition.head.seq == 0;
        let mut gap = None;
        if is_new {
            for (index, topic) in InputTopic::ALL.iter().enumerate() {
                partition.positions[index] = self.first_offset(*topic, known)?;
            }
        } else {
            if let Some((_, positions)) = target {
                partition.positions = positions;
            }
            gap = self.lost(known, &partition)?;
        }
        info!(
            partition = number,
            devices = partition.core.table.len(),
            seq = partition.head.seq,
            from_checkpoint = from.map(|from| from.seq),
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
    fn unpark(&mut self, known: &Known) -> Result<Option<Owned<S::Checkpoint>>, WorkerError> {
        let Some((mut owned, _)) = self.parked.remove(&known.number) else { return Ok(None) };
        let Some((head, positions)) = known.target else { return Ok(None) };
        let stood = owned.partition.head;
        if (stood.seq, stood.hash) != (head.seq, head.hash) {
            return Ok(None);
        }
        owned.partition.positions = positions;
        owned.partition.head.epoch += 1;
        owned.gap = self.lost(known, &owned.partition)?;
        info!(partition = known.number, seq = head.seq, "the partition came back, as it stood");
        Ok(Some(owned))
    }

    /// Records that are gone before they were read, if that is accepted; and since when nothing is missing.
    fn lost(
        &mut self,
        known: &Known,
        partition: &Partition,
    ) -> Result<Option<(Gap, Timestamp)>, WorkerError> {
        let number = known.number;
        let mut to = partition.positions;
        let mut since = partition.core.clock;
        for (index, topic) in InputTopic::ALL.iter().enumerate() {
            let bounds = known.inputs[index];
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

    fn first_offset(&mut self, topic: InputTopic, known: &Known) -> Result<u64, WorkerError> {
        let (number, bounds) = (known.number, known.inputs[topic as usize]);
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

    /// From the checkpoint that is there, if it is of use; else from the log alone, which has everything.
    fn make(
        &mut self,
        store: &S::Checkpoint,
        there: Option<CheckpointMeta>,
        known: &Known,
    ) -> Result<Made, WorkerError> {
        let partition = known.number;
        if let Some(meta) = there {
            let is_ours = meta.owner == self.config.log_name
                && known.target.is_none_or(|(head, _)| meta.seq <= head.seq);
            if is_ours && (known.journal.low..=known.journal.high).contains(&meta.journal_offset) {
                match self.recover(Some((store, meta)), known) {
                    Err(error @ (WorkerError::Recovery { .. } | WorkerError::Store(_))) => {
                        self.still_at(partition, known.target)?;
                        warn!(partition, %error, "the checkpoint is thrown away; the partition is made anew from the log");
                    }
                    other => return other,
                }
            } else {
                warn!(
                    partition,
                    "the checkpoint is of another log, or older than the journal; it is made anew"
                );
            }
        }
        let made = self.recover(None, known);
        if matches!(made, Err(WorkerError::Recovery { .. })) {
            self.still_at(partition, known.target)?;
        }
        made
    }

    fn recover(
        &mut self,
        checkpoint: Option<(&S::Checkpoint, CheckpointMeta)>,
        known: &Known,
    ) -> Result<Made, WorkerError> {
        let (number, bounds) = (known.number, (known.state, known.journal));
        let newest = known.target.map(|(head, _)| head.seq);
        let settings = &self.config.settings;
        let restoring = Restoring::begin(&mut self.log, number, settings, checkpoint, bounds, newest)?;
        self.read_on(restoring, known)
    }

    /// From what a standby has at hand: the tail is left to read. `None`: there is nothing, or it is of no use.
    fn take_over(&mut self, known: &Known) -> Option<Made> {
        let restoring = self.standby.as_ref()?.take(known.number)?;
        known.target?;
        match self.read_on(restoring, known) {
            Ok(made) => {
                self.stats.took_over();
                Some(made)
            }
            Err(error) => {
                warn!(partition = known.number, %error, "what the standby has is of no use; the partition is made anew");
                None
            }
        }
    }

    /// Reads what is left of rows and journal, and says how that goes.
    fn read_on(&mut self, mut restoring: Restoring, known: &Known) -> Result<Made, WorkerError> {
        let number = restoring.number;
        let (state_high, journal_high) = (known.state.high, known.journal.high);
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
        let log = &mut self.log;
        let target = known.target.map(|(head, _)| head);
        let last = target.map(|head| head.seq);
        let read = restoring
            .rows(log, state_high, u64::MAX, &mut word)
            .and_then(|_| restoring.entries(log, journal_high, last, &mut |count| word(rows + count)));
        // Also when it failed: nothing is under way any more.
        stats.restored(number);
        read?;
        restoring.finish(target, self.nonce)
    }
}

/// The head that the committed offsets name, and the offsets; `None` if nothing is committed.
fn committed_head(number: u32, committed: &[Committed]) -> Result<Option<(Head, Positions)>, WorkerError> {
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
