//! The worker: the one place that knows the order. Poll, step, commit, promote, checkpoint (DESIGN §2, §3.3).
//!
//! One thread, one member of the group, one producer; it owns its partitions and shares nothing. The transaction of
//! the log is the only commit point: a step that was not committed is rolled back, and only committed state reaches
//! the store.

mod changes;
mod checkpoint;
mod restore;
mod restoring;
mod sight;
mod standby;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{debug, warn};

pub use self::standby::Standby;

use self::sight::{HostWatch, Standing, eligible};
use crate::clock::Clock;
use crate::domain::effect::InputTopic;
use crate::domain::time::{Millis, Timestamp};
use crate::engine::clock::Blind;
use crate::engine::core::Touched;
use crate::engine::journal::{BadEntry, Gap};
use crate::engine::recovery::RecoveryError;
use crate::engine::step::{Input, Partition, Settings, Told};
use crate::engine::table::Kind;
use crate::log::{Change, CommitOutcome, INPUTS, Inbox, Log, LogError, Positions, Slot, Transaction};
use crate::stats::Stats;
use crate::store::{Checkpoints, StoreError};

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Names the log, so that a checkpoint of another one is not mistaken for ours.
    pub log_name: String,
    /// Settings of the steps.
    pub settings: Arc<Settings>,
    /// The longest that input waits for a commit.
    pub commit_interval: Duration,
    /// The most records of one transaction, of all partitions together.
    pub batch_records: usize,
    /// Kept between the clock and the host's: records of the last moment may not be visible yet.
    pub clock_margin: Millis,
    /// How often partitions are checkpointed.
    pub checkpoint_interval: Duration,
    /// Kept checkpoints, from which a verification can start, lie so far apart.
    pub anchor_every: Millis,
    /// Where a first start begins.
    pub start: StartAt,
    /// The times of input records may be their writers'.
    pub allow_create_time: bool,
    /// Records that are gone before they were read are given up, which the journal says.
    pub accept_loss: bool,
}

impl Default for WorkerConfig {
    /// One partition, commits every 200 ms, checkpoints every 30 s.
    fn default() -> WorkerConfig {
        WorkerConfig {
            log_name: "log".into(),
            settings: Arc::default(),
            commit_interval: Duration::from_millis(200),
            batch_records: 100_000,
            clock_margin: Millis(10),
            checkpoint_interval: Duration::from_secs(30),
            anchor_every: Millis::from_minutes(7 * 24 * 6),
            start: StartAt::Earliest,
            allow_create_time: false,
            accept_loss: false,
        }
    }
}

/// Where a first start begins: with no committed offsets and an empty journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StartAt {
    /// With the first record that is still there.
    #[default]
    Earliest,
    /// With the first record that arrived at or after this time.
    Time(Timestamp),
}

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The log failed for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A partition cannot be recovered.
    #[error("partition {partition} cannot be recovered: {source}")]
    Recovery {
        /// Which.
        partition: u32,
        /// Why.
        source: RecoveryError,
    },
    /// The same transaction came to nothing again and again, for a reason that does not pass.
    #[error("no transaction goes through, and waiting does not help: {0}")]
    Lasting(LogError),
    /// A journal entry cannot be used.
    #[error("partition {partition}: {source}")]
    Journal {
        /// Which.
        partition: u32,
        /// Why.
        source: BadEntry,
    },
    /// The group's offsets were not written by Lastseen.
    #[error(
        "partition {partition}: the committed offsets of {topic} carry no head of ours; another application commits \
         with this group id. Give Lastseen a group id of its own"
    )]
    ForeignOffsets {
        /// Which.
        partition: u32,
        /// The topic.
        topic: InputTopic,
    },
    /// Records that were not read yet are gone.
    #[error(
        "partition {partition}: {topic} begins at offset {low}, but Lastseen has read up to {position} only: records \
         in between are lost, and so may be what they would have said. Restore them; or go on without them by `run \
         --accept-loss`: the journal then says so, and no device is called offline for what was lost"
    )]
    Gap {
        /// Which.
        partition: u32,
        /// The topic.
        topic: InputTopic,
        /// Its first offset.
        low: u64,
        /// Where we are.
        position: u64,
    },
}

/// A partition that is ours, and what the worker keeps beside it.
struct Owned<C> {
    partition: Partition,
    store: C,
    queues: [Vec<Slot>; INPUTS],
    /// Inputs that are held back, since they are ahead.
    held: [bool; INPUTS],
    /// Numbers whose rows or clocks changed since the last checkpoint.
    dirty: BTreeSet<u32>,
    /// Keys that are gone since then.
    gone: BTreeSet<Box<str>>,
    /// When, by the monotonic clock.
    checkpointed: Duration,
    /// When it was last looked at whether a checkpoint is to be kept.
    anchored: Option<Duration>,
    /// Nothing was committed since.
    is_clean: bool,
    blind: Option<Blind>,
    /// A blind spell that no entry tells of yet.
    untold: Option<Blind>,
    standing: Standing,
    /// Records that are lost, and when sight returns after them: for the first step.
    gap: Option<(Gap, Timestamp)>,
}

/// Records of so many bytes are gathered for one step.
const BATCH_BYTES: usize = 64 << 20;

/// So many transactions in a row may come to nothing for a reason that looks lasting.
const ABORTS_MAX: u32 = 6;

/// One worker.
pub struct Worker<L: Log, S: Checkpoints> {
    log: L,
    store: S,
    clock: Clock,
    config: WorkerConfig,
    stats: Arc<Stats>,
    owned: BTreeMap<u32, Owned<S::Checkpoint>>,
    /// Partitions that were revoked, as they stood, and when: the group often gives them back at once. Whether another went
    /// on with one meanwhile, its committed head tells.
    parked: BTreeMap<u32, (Owned<S::Checkpoint>, Duration)>,
    /// What happened to the assignment and is not dealt with yet: the log did not answer.
    changes: VecDeque<Change>,
    /// Steps of a transaction of which nobody knows yet how it ended. Until that is known no other is taken.
    undecided: Vec<(u32, Told)>,
    inbox: Inbox,
    /// How many records may wait: more than a batch while what waits cannot be taken before what is still unread.
    room: usize,
    nonce: u64,
    host: HostWatch,
    /// Transactions in a row that came to nothing.
    aborts: u32,
    /// Partitions of others that are kept at hand.
    standby: Option<Arc<Standby>>,
}

impl<L: Log, S: Checkpoints> Worker<L, S> {
    /// A worker over `log`, with checkpoints in `store`. `nonce` names it as a writer of journal entries and is drawn at random.
    pub fn new(
        log: L,
        store: S,
        clock: Clock,
        config: WorkerConfig,
        stats: Arc<Stats>,
        nonce: u64,
    ) -> Worker<L, S> {
        let inbox = Inbox::default();
        let room = config.batch_records;
        Worker {
            log,
            store,
            clock,
            config,
            stats,
            owned: BTreeMap::new(),
            parked: BTreeMap::new(),
            changes: VecDeque::new(),
            undecided: Vec::new(),
            inbox,
            room,
            nonce,
            host: HostWatch::default(),
            aborts: 0,
            standby: None,
        }
    }

    /// Takes over from `standby` what it has at hand.
    #[must_use]
    pub fn with_standby(mut self, standby: Option<Arc<Standby>>) -> Worker<L, S> {
        self.standby = standby;
        self
    }

    /// Works until `stop`; then commits, checkpoints and leaves.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), WorkerError> {
        let result = self.work(stop);
        if result.is_ok() {
            for number in self.owned.keys().copied().collect::<Vec<_>>() {
                self.checkpoint(number)?;
            }
        }
        let closed = self.log.close();
        result?;
        closed?;
        Ok(())
    }

    fn work(&mut self, stop: &AtomicBool) -> Result<(), WorkerError> {
        let mut more = false;
        while !stop.load(Ordering::Relaxed) {
            match self.turn(more) {
                Ok(again) => more = again,
                Err(WorkerError::Log(error)) if error.retriable => {
                    warn!(%error, "the log did not answer; trying again");
                    self.stats.log_error();
                    self.clock.pause(Duration::from_millis(200));
                }
                Err(error) => return Err(error),
            }
        }
        // What was read is committed before leaving.
        self.step_and_commit()?;
        Ok(())
    }

    /// One turn: gather input for up to a commit interval, then step and commit. Whether there is more to do at once.
    pub fn turn(&mut self, at_once: bool) -> Result<bool, WorkerError> {
        let deadline =
            self.clock.elapsed() + if at_once { Duration::ZERO } else { self.config.commit_interval };
        let left = self.inbox.arena.len();
        let is_full = |worker: &Self| {
            worker.waiting(false) >= worker.room || worker.inbox.arena.len() - left >= BATCH_BYTES
        };
        loop {
            let room = self.room.saturating_sub(self.waiting(false));
            // Without room there is nothing to wait for.
            let wait = if room == 0 { Duration::ZERO } else { deadline.saturating_sub(self.clock.elapsed()) };
            let changes = self.log.poll(wait, room, &mut self.inbox)?;
            self.sort_inbox();
            self.changes(changes)?;
            if self.clock.elapsed() >= deadline || is_full(self) {
                break;
            }
        }
        let (was_full, waited) = (is_full(self), self.waiting(true));
        let more = self.step_and_commit()?;
        self.hold_back()?;
        // The first millisecond of an input can fill the batch; the clock stands before its end, nothing is taken, and
        // without room for the rest of it nothing would ever be.
        let is_stuck = was_full && self.waiting(true) >= waited && self.waiting(false) >= self.room;
        self.room = if is_stuck { self.room.saturating_mul(2).max(1) } else { self.config.batch_records };
        self.stats.set_waiting(self.waiting(true), self.inbox.arena.len());
        self.checkpoint_due()?;
        Ok(more)
    }

    /// Records that wait to be taken; with `held`, those of inputs that are held back too.
    fn waiting(&self, held: bool) -> usize {
        let of = |owned: &Owned<S::Checkpoint>| -> usize {
            let queues = owned.queues.iter().zip(owned.held);
            queues.filter(|(_, is_held)| held || !is_held).map(|(queue, _)| queue.len()).sum()
        };
        self.owned.values().map(of).sum()
    }

    /// No input is read ahead of another that is behind (SEMANTICS §9) once what waits for it takes much room: so memory
    /// does not grow with the distance between them.
    fn hold_back(&mut self) -> Result<(), WorkerError> {
        let presses =
            self.waiting(true) >= self.config.batch_records / 2 || self.inbox.arena.len() >= BATCH_BYTES / 2;
        for (number, owned) in &mut self.owned {
            let held = if presses { owned.ahead(self.log.positions(*number)) } else { [false; INPUTS] };
            if held != owned.held {
                debug!(partition = number, ?held, "inputs that are ahead of the others are held back");
                self.log.hold(*number, held)?;
                owned.held = held;
            }
        }
        Ok(())
    }

    /// Gives what was polled to its partitions.
    fn sort_inbox(&mut self) {
        for slot in self.inbox.slots.drain(..) {
            if let Some(owned) = self.owned.get_mut(&slot.partition) {
                owned.queues[slot.topic as usize].push(slot);
            }
        }
    }

    /// Steps every partition and commits all they have to say. Whether a step stopped early.
    fn step_and_commit(&mut self) -> Result<bool, WorkerError> {
        if !self.undecided.is_empty() {
            return self.settle();
        }
        if self.owned.is_empty() {
            return Ok(false);
        }
        let numbers: Vec<u32> = self.owned.keys().copied().collect();
        let jump = self.host.jump(&self.clock);
        let (host, now) = (self.clock.now(), self.clock.elapsed());
        let ends = match self.log.ends(&numbers) {
            Ok(ends) => ends.into_iter().collect(),
            Err(error) if error.retriable => {
                debug!(%error, "the ends of the inputs are not known; the clocks wait");
                BTreeMap::new()
            }
            Err(error) => return Err(error.into()),
        };
        let mut transaction = Transaction::default();
        let mut told: Vec<(u32, Told)> = Vec::new();
        for number in &numbers {
            let read_to = self.log.positions(*number);
            let Some(owned) = self.owned.get_mut(number) else { continue };
            let sight = owned.read_clock((host, now), jump, read_to, ends.get(number), &self.config);
            if !sight.clock.happened() && owned.gap.is_none() {
                // A first entry must have a time.
                continue;
            }
            let blind = owned.judge_blindness(*number, &sight, host, &self.stats);
            let counts = eligible(&owned.queues, sight.clock, host, self.config.allow_create_time);
            let mut queues: [&[Slot]; INPUTS] =
                std::array::from_fn(|index| &owned.queues[index][..counts[index]]);
            let all = (0..INPUTS).all(|index| counts[index] == owned.queues[index].len());
            let mut positions = if all { read_to } else { owned.partition.positions };
            let (mut clock, mut returns) = (sight.clock, sight.returns);
            if let Some((gap, since)) = &owned.gap {
                (queues, positions) = ([&[][..]; INPUTS], gap.to);
                (clock, returns) = (*since, Some(*since));
            }
            let max_skew = owned.partition.core.policy.max_clock_skew;
            let input = Input {
                sight: returns,
                gap: owned.gap.as_ref().map(|(gap, _)| gap),
                blind,
                entry_wanted: owned.standing.is_stale(now, max_skew),
                ..Input::new(queues, &self.inbox.arena, positions, clock)
            };
            if let Some(mut says) = owned.partition.step(&input) {
                transaction.records.append(&mut says.records);
                transaction.offsets.push((*number, says.positions, says.head.to_metadata()));
                told.push((*number, says));
            }
        }
        if told.is_empty() {
            return Ok(false);
        }
        let began = self.clock.now();
        let started = self.clock.elapsed();
        let outcome = self.log.commit(&transaction);
        self.stats.committed(self.clock.elapsed().saturating_sub(started), &transaction);
        let numbers: Vec<u32> = told.iter().map(|(number, _)| *number).collect();
        let is_committed = matches!(outcome, CommitOutcome::Committed);
        let more = self.conclude(outcome, told)?;
        if is_committed {
            self.hear_brokers(&numbers, began);
        }
        Ok(more)
    }

    /// Holds the host's clock against the append times of entries that were written since `began`, where that was not
    /// done lately.
    fn hear_brokers(&mut self, numbers: &[u32], began: Timestamp) {
        let now = self.clock.elapsed();
        let is_stale = |owned: &Owned<S::Checkpoint>| {
            owned.standing.is_stale(now, owned.partition.core.policy.max_clock_skew)
        };
        let stale: Vec<u32> =
            numbers.iter().copied().filter(|number| self.owned.get(number).is_some_and(is_stale)).collect();
        if stale.is_empty() {
            return;
        }
        let ended = self.clock.now();
        match self.log.journal_times(&stale) {
            Ok(times) => {
                for number in stale {
                    let stamp = times.iter().find(|(known, _)| *known == number).and_then(|(_, time)| *time);
                    if let Some(owned) = self.owned.get_mut(&number) {
                        owned.standing.journal(began, ended, stamp, now);
                    }
                }
            }
            Err(error) => debug!(%error, "the brokers' clock is not known; it is asked for again"),
        }
    }

    fn conclude(&mut self, outcome: CommitOutcome, told: Vec<(u32, Told)>) -> Result<bool, WorkerError> {
        match outcome {
            CommitOutcome::Committed => {
                self.aborts = 0;
                Ok(self.promote(told))
            }
            CommitOutcome::Aborted(error) => {
                warn!(%error, "the transaction was aborted; its step is taken back and tried again");
                self.stats.aborted();
                for (number, _) in &told {
                    self.take_back(*number)?;
                }
                self.aborts += 1;
                if !error.retriable && self.aborts >= ABORTS_MAX {
                    return Err(WorkerError::Lasting(error));
                }
                self.clock.pause(Duration::from_millis(10) * (1 << self.aborts.min(8)));
                Ok(true)
            }
            CommitOutcome::Unknown(error) => {
                warn!(%error, "nobody knows whether the transaction was committed; asking for the committed head");
                self.undecided = told;
                self.settle()
            }
            CommitOutcome::Lost(error) => {
                warn!(%error, "this member is not in the group any more; all partitions are given up");
                self.stats.aborted();
                let numbers: Vec<u32> = self.owned.keys().copied().collect();
                self.changes.clear();
                self.drop_partitions(&numbers)?;
                Ok(false)
            }
        }
    }

    fn take_back(&mut self, number: u32) -> Result<(), WorkerError> {
        if let Some(owned) = self.owned.get_mut(&number) {
            owned.partition.roll_back();
            // What was taken from the queues is still there: a step copies, promotion drops.
        }
        Ok(())
    }

    /// The steps are committed: what they took is dropped, what they touched awaits the next checkpoint.
    fn promote(&mut self, told: Vec<(u32, Told)>) -> bool {
        let mut more = false;
        for (number, says) in told {
            more |= says.full;
            self.stats.promoted(&says);
            let Some(owned) = self.owned.get_mut(&number) else { continue };
            for (queue, taken) in owned.queues.iter_mut().zip(says.taken) {
                queue.drain(..taken);
            }
            owned.remember_touched();
            owned.is_clean = false;
            owned.gap = None;
            if !says.full {
                owned.untold = owned.blind;
            }
            self.stats.set_devices(number, owned.partition.core.table.len());
            self.stats.set_clock(number, owned.partition.core.clock);
        }
        let queues = self.owned.values_mut().flat_map(|owned| owned.queues.iter_mut().flatten());
        self.inbox.compact(queues);
        more
    }
}

impl<C> Owned<C> {
    /// The inputs that are ahead of one that is behind: what was read of them is later than all that was read of it.
    fn ahead(&self, read_to: Positions) -> [bool; INPUTS] {
        let reached = |index: usize| self.queues[index].last().map(|slot| slot.append_time);
        let Some(ends) = self.standing.ends() else { return [false; INPUTS] };
        let behind = (0..INPUTS).filter(|index| read_to[*index] < ends[*index]).map(reached).min();
        std::array::from_fn(|index| behind.is_some_and(|behind| reached(index) > behind))
    }

    fn remember_touched(&mut self) {
        for Touched { number, rest, .. } in &self.partition.core.touched {
            self.dirty.insert(*number);
            if let Some(before) = rest
                && before.kind != Kind::Free
                && self.partition.core.table.slot(*number).key() != &*before.key
            {
                self.gone.insert(before.key.clone());
            }
        }
    }
}
