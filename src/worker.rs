//! The worker: the one place that knows the order. Poll, step, commit, promote, checkpoint (DESIGN §2, §3.3).
//!
//! One thread, one member of the group, one producer; it owns its partitions and shares nothing. The transaction of
//! the log is the only commit point: a step that was not committed is rolled back, and only committed state reaches
//! the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::domain::effect::InputTopic;
use crate::domain::time::{Millis, Timestamp};
use crate::engine::clock::{self as partition_clock, Blind, Reading, TopicReading};
use crate::engine::core::Touched;
use crate::engine::journal::{self, BadEntry, Head};
use crate::engine::recovery::{Recovery, RecoveryError};
use crate::engine::step::{Input, Partition, Settings, Told};
use crate::engine::table::Kind;
use crate::log::{Change, CommitOutcome, INPUTS, Inbox, Log, LogError, Positions, Slot, Topic, Transaction};
use crate::stats::Stats;
use crate::store::{CheckpointMeta, Store, StoreError};

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Where checkpoints are kept.
    pub data_dir: PathBuf,
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
    /// Where a first start begins.
    pub start: StartAt,
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
         in between are lost, and so may be what they would have said. Restore them; or begin anew, with new names for \
         the group, the journal and the state topic, and another data directory"
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
struct Owned {
    partition: Partition,
    store: Store,
    queues: [Vec<Slot>; INPUTS],
    /// Numbers whose rows or clocks changed since the last checkpoint.
    dirty: BTreeSet<u32>,
    /// Keys that are gone since then.
    gone: BTreeSet<Box<str>>,
    checkpointed: Instant,
    /// Nothing was committed since.
    is_clean: bool,
    blind: Option<Blind>,
}

/// One worker.
pub struct Worker<L: Log> {
    log: L,
    clock: Clock,
    config: WorkerConfig,
    stats: Arc<Stats>,
    owned: BTreeMap<u32, Owned>,
    inbox: Inbox,
    nonce: u64,
    host: HostWatch,
}

/// Watches the host's wall clock against its monotonic one.
struct HostWatch {
    last: Option<(Instant, Timestamp)>,
}

/// A jump of this much counts as one.
const JUMP: i64 = 1_000;

impl<L: Log> Worker<L> {
    /// A worker over `log`. `nonce` names it as a writer of journal entries and is drawn at random.
    pub fn new(log: L, clock: Clock, config: WorkerConfig, stats: Arc<Stats>, nonce: u64) -> Worker<L> {
        let inbox = Inbox::default();
        Worker {
            log,
            clock,
            config,
            stats,
            owned: BTreeMap::new(),
            inbox,
            nonce,
            host: HostWatch { last: None },
        }
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
                    std::thread::park_timeout(Duration::from_millis(200));
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
        let deadline = Instant::now() + if at_once { Duration::ZERO } else { self.config.commit_interval };
        loop {
            let room = self.config.batch_records.saturating_sub(self.waiting());
            let wait = deadline.saturating_duration_since(Instant::now());
            let changes = self.log.poll(wait, room, &mut self.inbox)?;
            self.sort_inbox();
            for change in changes {
                self.change(change)?;
            }
            if Instant::now() >= deadline || self.waiting() >= self.config.batch_records {
                break;
            }
        }
        let more = self.step_and_commit()?;
        self.checkpoint_due()?;
        Ok(more)
    }

    fn waiting(&self) -> usize {
        self.owned.values().flat_map(|owned| &owned.queues).map(Vec::len).sum()
    }

    /// Gives what was polled to its partitions.
    fn sort_inbox(&mut self) {
        for slot in self.inbox.slots.drain(..) {
            if let Some(owned) = self.owned.get_mut(&slot.partition) {
                owned.queues[slot.topic as usize].push(slot);
            }
        }
    }

    fn change(&mut self, change: Change) -> Result<(), WorkerError> {
        match change {
            Change::Assigned(partitions) => {
                for number in partitions {
                    let owned = self.restore(number)?;
                    self.log.start(number, owned.partition.positions)?;
                    self.owned.insert(number, owned);
                }
                self.stats.set_partitions(self.owned.len());
            }
            Change::Revoked(partitions) => {
                // Every step is committed as it is taken: only what was read and not stepped is dropped.
                for number in &partitions {
                    self.checkpoint(*number)?;
                }
                self.drop_partitions(&partitions)?;
            }
            Change::Lost(partitions) => self.drop_partitions(&partitions)?,
        }
        Ok(())
    }

    fn drop_partitions(&mut self, partitions: &[u32]) -> Result<(), WorkerError> {
        for number in partitions {
            self.owned.remove(number);
        }
        self.stats.set_partitions(self.owned.len());
        self.log.release(partitions)?;
        Ok(())
    }

    /// Steps every partition and commits all they have to say. Whether a step stopped early.
    fn step_and_commit(&mut self) -> Result<bool, WorkerError> {
        if self.owned.is_empty() {
            return Ok(false);
        }
        let numbers: Vec<u32> = self.owned.keys().copied().collect();
        let jumped = self.host.jumped(&self.clock);
        let host = self.clock.now();
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
            let (clock, blind) = read_clock(owned, host, jumped, read_to, ends.get(number), &self.config);
            owned.note_blindness(*number, blind, clock, host, &self.stats);
            let counts = eligible(&owned.queues, clock, host);
            let queues: [&[Slot]; INPUTS] =
                std::array::from_fn(|index| &owned.queues[index][..counts[index]]);
            let all = (0..INPUTS).all(|index| counts[index] == owned.queues[index].len());
            let positions = if all { read_to } else { owned.partition.positions };
            let input = Input { queues, arena: &self.inbox.arena, positions, clock };
            if let Some(mut says) = owned.partition.step(&input) {
                transaction.records.append(&mut says.records);
                transaction.offsets.push((*number, says.positions, says.head.to_metadata()));
                told.push((*number, says));
            }
        }
        if told.is_empty() {
            return Ok(false);
        }
        let started = Instant::now();
        let outcome = self.log.commit(&transaction);
        self.stats.committed(started.elapsed(), &transaction);
        self.conclude(outcome, told)
    }

    fn conclude(&mut self, outcome: CommitOutcome, told: Vec<(u32, Told)>) -> Result<bool, WorkerError> {
        match outcome {
            CommitOutcome::Committed => Ok(self.promote(told)),
            CommitOutcome::Aborted(error) => {
                warn!(%error, "the transaction was aborted; its step is taken back and tried again");
                self.stats.aborted();
                for (number, _) in &told {
                    self.take_back(*number)?;
                }
                Ok(true)
            }
            CommitOutcome::Unknown(error) => {
                warn!(%error, "nobody knows whether the transaction was committed; asking for the committed head");
                self.ask(told)
            }
            CommitOutcome::Lost(error) => {
                warn!(%error, "this member is not in the group any more; all partitions are given up");
                self.stats.aborted();
                let numbers: Vec<u32> = self.owned.keys().copied().collect();
                self.drop_partitions(&numbers)?;
                Ok(false)
            }
        }
    }

    /// The committed head tells how an unknown commit ended: mine, the one before, or another's.
    fn ask(&mut self, told: Vec<(u32, Told)>) -> Result<bool, WorkerError> {
        let numbers: Vec<u32> = told.iter().map(|(number, _)| *number).collect();
        let committed = self.log.committed(&numbers)?;
        let mut mine = Vec::new();
        for (number, says) in told {
            let head = committed.iter().find(|known| known.partition == number).and_then(|known| {
                known
                    .offsets
                    .iter()
                    .flatten()
                    .filter_map(|(_, metadata)| Head::from_metadata(metadata))
                    .max_by_key(|h| h.seq)
            });
            match head {
                Some(head) if head == says.head => mine.push((number, says)),
                Some(head) if head.seq >= says.head.seq => {
                    warn!(partition = number, "another instance went on with the partition; it is given up");
                    self.drop_partitions(&[number])?;
                }
                _ => self.take_back(number)?,
            }
        }
        Ok(self.promote(mine))
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
            self.stats.set_devices(number, owned.partition.core.table.len());
            self.stats.set_clock(number, owned.partition.core.clock);
        }
        self.compact_inbox();
        more
    }

    /// Drops the bytes of records that were taken.
    fn compact_inbox(&mut self) {
        if self.waiting() == 0 {
            self.inbox.arena.clear();
            return;
        }
        let mut arena = Vec::new();
        let mut keep = |range: &mut std::ops::Range<usize>| {
            let start = arena.len();
            arena.extend_from_slice(&self.inbox.arena[range.clone()]);
            *range = start..arena.len();
        };
        for slot in self.owned.values_mut().flat_map(|owned| owned.queues.iter_mut().flatten()) {
            slot.key.iter_mut().for_each(&mut keep);
            slot.value.iter_mut().for_each(&mut keep);
        }
        self.inbox.arena = arena;
    }

    fn checkpoint_due(&mut self) -> Result<(), WorkerError> {
        let interval = self.config.checkpoint_interval;
        let due = self.owned.iter().filter(|(_, owned)| owned.checkpointed.elapsed() >= interval);
        // One a turn: the others wait for the next.
        if let Some(number) = due.map(|(number, _)| *number).next() {
            self.checkpoint(number)?;
        }
        Ok(())
    }

    /// Writes what changed since the last checkpoint, and where the partition stands.
    fn checkpoint(&mut self, number: u32) -> Result<(), WorkerError> {
        let Some(owned) = self.owned.get_mut(&number) else { return Ok(()) };
        owned.checkpointed = Instant::now();
        if owned.is_clean || owned.partition.head.seq == 0 {
            return Ok(());
        }
        let state = self.log.bounds(Topic::State, number)?.high;
        let journal = self.log.bounds(Topic::Journal, number)?.high;
        let partition = &owned.partition;
        let meta = CheckpointMeta::new(
            self.config.log_name.clone(),
            partition.head,
            partition.positions,
            partition.core.clock,
            partition.state_hash,
            state,
            journal,
        );
        let mut rows: Vec<(Box<str>, Option<Vec<u8>>)> =
            Vec::with_capacity(owned.dirty.len() + owned.gone.len() + 3);
        for key in &owned.gone {
            if partition.core.table.find(key).is_none() {
                rows.push((key.clone(), None));
            }
        }
        for device in &owned.dirty {
            rows.extend(partition.row(*device).map(|(key, value)| (key, Some(value))));
        }
        rows.extend(partition.own_rows().into_iter().map(|(key, value)| (key.into(), Some(value))));
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let count = rows.len();
        let started = Instant::now();
        owned.store.write(rows.iter_mut().map(|(key, value)| (&**key, value.take())), &meta)?;
        debug!(partition = number, rows = count, seq = meta.seq, took = ?started.elapsed(), "checkpoint");
        owned.dirty.clear();
        owned.gone.clear();
        owned.is_clean = true;
        Ok(())
    }

    /// Recovers a partition that was assigned: newest checkpoint, then rows and packs up to the committed entry.
    fn restore(&mut self, number: u32) -> Result<Owned, WorkerError> {
        let started = Instant::now();
        let committed = self.log.committed(&[number])?;
        let target = committed_head(number, &committed)?;
        let state_high = self.log.bounds(Topic::State, number)?.high;
        let journal = self.log.bounds(Topic::Journal, number)?;
        let (mut store, note) = Store::open(&self.config.data_dir, number)?;
        if let Some(note) = note {
            warn!(partition = number, "{note}");
        }
        let meta = store.meta().ok().flatten().filter(|meta| {
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
            store = Store::open(&self.config.data_dir, number)?.0;
        }
        let mut attempt = self.recover(number, &store, meta.as_ref(), target, state_high, journal.high);
        if meta.is_some() && matches!(attempt, Err(WorkerError::Recovery { .. })) {
            if let Err(error) = &attempt {
                warn!(partition = number, %error, "the checkpoint is thrown away; the partition is made anew from the log");
            }
            store.destroy()?;
            store = Store::open(&self.config.data_dir, number)?.0;
            attempt = self.recover(number, &store, None, target, state_high, journal.high);
        }
        let mut partition = attempt?;
        let is_new = partition.head.seq == 0;
        if is_new {
            for (index, topic) in InputTopic::ALL.iter().enumerate() {
                partition.positions[index] = self.first_offset(*topic, number)?;
            }
        } else {
            if let Some((_, positions)) = target {
                partition.positions = positions;
            }
            for (index, topic) in InputTopic::ALL.iter().enumerate() {
                let low = self.log.bounds(Topic::Input(*topic), number)?.low;
                let position = partition.positions[index];
                if low > position {
                    return Err(WorkerError::Gap { partition: number, topic: *topic, low, position });
                }
            }
        }
        info!(
            partition = number,
            devices = partition.core.table.len(),
            seq = partition.head.seq,
            from_checkpoint = meta.as_ref().map(|meta| meta.seq),
            took = ?started.elapsed(),
            "partition restored"
        );
        self.stats.set_devices(number, partition.core.table.len());
        let all = (0..partition.core.table.capacity()).collect();
        Ok(Owned {
            partition,
            store,
            queues: Default::default(),
            // What the log had beyond the checkpoint is not in it yet; without one, nothing is.
            dirty: if is_new { BTreeSet::new() } else { all },
            gone: BTreeSet::new(),
            checkpointed: Instant::now(),
            is_clean: is_new,
            blind: None,
        })
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

    fn recover(
        &mut self,
        number: u32,
        store: &Store,
        meta: Option<&CheckpointMeta>,
        target: Option<(Head, Positions)>,
        state_high: u64,
        journal_high: u64,
    ) -> Result<Partition, WorkerError> {
        let failed = |source| WorkerError::Recovery { partition: number, source };
        let mut recovery = Recovery::new(number, self.config.settings.clone(), self.nonce);
        let mut state_from = self.log.bounds(Topic::State, number)?.low;
        let mut journal_from = self.log.bounds(Topic::Journal, number)?.low;
        if let Some(meta) = meta
            && let Some(head) = meta.head()
        {
            store.rows(|key, value| recovery.row(key, Some(value)))?.map_err(failed)?;
            recovery.stands_at(head, meta.positions, Timestamp::from_millis(meta.clock_ms));
            state_from = state_from.max(meta.state_offset);
            journal_from = meta.journal_offset;
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
        recovery.finish(target.map(|(head, _)| head)).map_err(failed)
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

/// How many records of each queue a step up to `clock` takes: those that arrived by then. One stamped later than the
/// host's now is taken at once: its leader's clock is ahead.
fn eligible(queues: &[Vec<Slot>; INPUTS], clock: Timestamp, host: Timestamp) -> [usize; INPUTS] {
    queues.each_ref().map(|queue| {
        queue
            .iter()
            .position(|slot| slot.append_time > clock && slot.append_time <= host)
            .unwrap_or(queue.len())
    })
}

fn read_clock(
    owned: &Owned,
    host: Timestamp,
    jumped: bool,
    read_to: Positions,
    ends: Option<&Positions>,
    config: &WorkerConfig,
) -> (Timestamp, Option<Blind>) {
    let before = owned.partition.core.clock;
    let Some(ends) = ends else { return (before, Some(Blind::Unreadable)) };
    let topics = std::array::from_fn(|index| TopicReading {
        caught_up: read_to[index] >= ends[index],
        last_at_hand: owned.queues[index].last().map(|slot| slot.append_time),
    });
    let reading = Reading { host, host_ahead: Millis(0), jumped, topics };
    let max_skew = owned.partition.core.policy.max_clock_skew;
    partition_clock::read(before, &reading, config.clock_margin, max_skew)
}

/// A clock this far behind the host's makes the partition blind.
const BLIND_LAG: Millis = Millis::from_seconds(5);

impl Owned {
    fn note_blindness(
        &mut self,
        number: u32,
        blind: Option<Blind>,
        clock: Timestamp,
        host: Timestamp,
        stats: &Stats,
    ) {
        let lags = clock.happened() && host - clock > BLIND_LAG;
        let blind = blind.filter(|_| lags);
        if blind != self.blind {
            match blind {
                Some(why) => warn!(partition = number, why = why.word(), %clock, "blind: the clock waits"),
                None => info!(partition = number, %clock, "sees again"),
            }
            self.blind = blind;
            stats.set_blind(number, blind);
        }
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

impl HostWatch {
    /// Whether the wall clock moved otherwise than the monotonic one since the last look.
    fn jumped(&mut self, clock: &Clock) -> bool {
        let (now, wall) = (Instant::now(), clock.now());
        let Some((then, before)) = self.last.replace((now, wall)) else { return false };
        let expected = (now - then).as_millis() as f64 * clock.speed();
        ((wall - before).0 as f64 - expected).abs() > JUMP as f64 * clock.speed().max(1.0)
    }
}
