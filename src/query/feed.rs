//! Fills a view from the log, and keeps it up.
//!
//! A partition that was followed before goes on: rows come from the view's own database, clocks from its last
//! checkpoint and the packs behind it. One that was not, or whose journal no longer joins, is made from the rows of
//! `devices.state` and all entries that are still there. A past that was kept stays in either case. Until all have
//! caught up, several partitions are followed at a time, each with a reader of the log for itself.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::effect::InputTopic;
use crate::domain::time::Millis;
use crate::engine::journal::{self, Entry};
use crate::follow::Record;
use crate::follow::{FollowError, Followed, Follower, entry_of};
use crate::log::Archive;
use crate::log::LogError;
use crate::log::Topic;
use crate::wire::row;

use super::history::{HistoryError, Position};
use super::view::{Standing, Told, View, ViewError};

/// Entries that are applied of one partition before the next is looked at.
const TURN: usize = 200;

/// Partitions that are made anew at a time, at most. Each has a reader of the log for so long.
const READERS: usize = 4;

/// Rows of `devices.state` that are read before the view is changed by them: readers of the view get in between.
const ROWS: usize = 500;

/// How often it looks how much of the inputs is not consumed yet: a request for each of them.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// How the feed goes about it.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// How long to wait when there is nothing new.
    pub pause: Duration,
    /// How often clocks are kept.
    pub checkpoint: Duration,
    /// For how long the past is kept.
    pub kept: Option<Millis>,
    /// Changes that the live feed keeps for those who come back, counted as [`super::live::Live::new`] says.
    pub window: usize,
}

impl Default for FeedConfig {
    fn default() -> FeedConfig {
        FeedConfig {
            pause: Duration::from_millis(20),
            checkpoint: Duration::from_secs(30),
            kept: None,
            window: 65_536,
        }
    }
}

/// Why feeding failed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record of the journal.
    #[error(transparent)]
    Follow(FollowError),
    /// What was followed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The database.
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl FeedError {
    /// Whether it is worth trying again.
    fn is_retriable(&self) -> bool {
        match self {
            FeedError::Log(error) | FeedError::Follow(FollowError::Log(error)) => error.retriable,
            _ => false,
        }
    }
}

impl From<FollowError> for FeedError {
    fn from(error: FollowError) -> FeedError {
        match error {
            FollowError::Log(error) => FeedError::Log(error),
            other => FeedError::Follow(other),
        }
    }
}

/// One partition as it is being followed.
struct Chase {
    partition: u32,
    follower: Follower,
    /// The last entry whose rows and outputs are kept already.
    kept_seq: u64,
    kept_hash: String,
    /// Where the journal ended when it began.
    goal: u64,
    /// The latest entry of the rows that it began with. They are not read a second time with their entries, so that
    /// until it is reached a clock of an earlier entry must not move a device that has its row.
    rows_seq: u64,
    begun: bool,
}

/// How many readers of the log [`feed`] can use for so many partitions on this machine.
pub fn readers(partitions: u32) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(READERS).min(partitions as usize).max(1)
}

/// Follows all partitions of the view until `stop`. A log that does not answer is asked again. While it catches up it
/// follows as many partitions at a time as there are `readers`, afterwards with the first of them, and the others are
/// given back.
///
/// # Errors
/// The database fails, or the log holds what cannot be read.
///
/// # Panics
/// Without a reader.
pub fn feed(
    view: &View,
    mut readers: Vec<Box<dyn Archive>>,
    clock: &Clock,
    config: &FeedConfig,
    stop: &AtomicBool,
) -> Result<(), FeedError> {
    let partitions = view.standing().len() as u32;
    restore(view)?;
    let mut chases: Vec<Chase> = (0..partitions).map(Chase::new).collect();
    let journals: Vec<(Topic, u32)> = (0..partitions).map(|partition| (Topic::Journal, partition)).collect();
    let mut kept_at = clock.elapsed();
    let mut looked_at = None;
    while !stop.load(Ordering::Relaxed) {
        let archive = readers.first_mut().expect("there is a reader");
        let ends = match archive.settled_of(&journals) {
            Ok(ends) => ends,
            Err(error) if error.retriable => {
                tracing::warn!(%error, "the view cannot see the ends of the journals; it asks again");
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let is_idle = turns(view, &mut readers, &mut chases, &ends, stop)? == 0;
        if readers.len() > 1 && view.is_caught_up() {
            readers.truncate(1);
        }
        let now = clock.elapsed();
        if looked_at.is_none_or(|before| now.saturating_sub(before) >= LAG_EVERY) {
            looked_at = Some(now);
            look_at_inputs(view, &mut *readers[0]);
        }
        if clock.elapsed().saturating_sub(kept_at) >= config.checkpoint {
            kept_at = clock.elapsed();
            if let Some(kept) = config.kept {
                view.forget_beyond(kept);
            }
            view.checkpoint()?;
        }
        if is_idle {
            std::thread::park_timeout(config.pause);
        }
    }
    Ok(view.checkpoint()?)
}

/// Applies what is new of every partition, shared among the readers; how many entries that was. After `stop` none is
/// begun.
fn turns(
    view: &View,
    readers: &mut [Box<dyn Archive>],
    chases: &mut [Chase],
    ends: &[u64],
    stop: &AtomicBool,
) -> Result<usize, FeedError> {
    let applied = AtomicUsize::new(0);
    let waiting = Mutex::new(chases.iter_mut().zip(ends));
    let work = |archive: &mut dyn Archive| -> Result<(), FeedError> {
        while !stop.load(Ordering::Relaxed) {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((chase, end)) = next else { break };
            match chase.turn(view, archive, *end) {
                Ok(count) => {
                    applied.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) if error.is_retriable() => {
                    tracing::warn!(partition = chase.partition, %error, "the view cannot follow; it tries again");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let (first, others) = readers.split_first_mut().expect("there is a reader");
    std::thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = others.iter_mut().map(|other| scope.spawn(move || work(&mut **other))).collect();
        let mut result = work(&mut **first);
        for other in others {
            let ended = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(ended);
        }
        result
    })?;
    Ok(applied.into_inner())
}

/// Notes how much of the inputs is not consumed yet. A log that does not answer is asked again the next time.
fn look_at_inputs(view: &View, archive: &mut dyn Archive) {
    for Standing { partition, .. } in view.standing() {
        for (index, input) in InputTopic::ALL.iter().enumerate() {
            let Ok(bounds) = archive.bounds(Topic::Input(*input), partition) else { return };
            view.change(|state| {
                let known = &mut state.partitions[partition as usize];
                if !known.caught_up {
                    // The entry that tells how far they are consumed may be still to come.
                    return;
                }
                // What was deleted before it was read cannot be consumed any more.
                known.lag[index] = bounds.high.saturating_sub(known.positions[index].max(bounds.low));
            });
        }
    }
}

/// Takes what the database kept.
fn restore(view: &View) -> Result<(), FeedError> {
    let mut problem = None;
    let mut unused = view.history.batch();
    let partitions = view.standing().len() as u32;
    view.change(|state| {
        view.history.rows(|partition, key, value| {
            let seq = row::entry_of(value).unwrap_or_default();
            if partition < partitions
                && let Err(error) = Told::read(partition, seq, key, Some(value))
                    .map(|told| state.row(partition, key, told, Some(value), &mut unused))
            {
                problem = Some(error);
            }
        })?;
        let mut marks = Vec::new();
        for partition in 0..partitions {
            marks.push(view.history.position(partition)?.unwrap_or_default().clocks_seq);
        }
        view.history.clocks(|partition, number, times, kind| {
            let Some(known) = state.partitions.get(partition as usize) else { return };
            let row_seq = known.row_seqs.get(number as usize).copied().unwrap_or_default();
            if row_seq <= marks[partition as usize] {
                state.fleet.set_clocks(partition, number, times, kind);
            }
        })?;
        for known in &mut state.partitions {
            known.take_moved();
        }
        Ok::<(), HistoryError>(())
    })?;
    match problem {
        None => Ok(()),
        Some(error) => Err(error.into()),
    }
}

impl Chase {
    fn new(partition: u32) -> Chase {
        Chase {
            partition,
            follower: Follower::new(partition),
            kept_seq: 0,
            kept_hash: String::new(),
            goal: 0,
            rows_seq: 0,
            begun: false,
        }
    }

    /// Applies what is new below `end` of the journal; how many entries that was.
    fn turn(&mut self, view: &View, archive: &mut dyn Archive, end: u64) -> Result<usize, FeedError> {
        let partition = self.partition;
        if !self.begun {
            self.goal = end;
            self.begin(view, archive, end)?;
            self.begun = true;
        }
        let mut applied = 0;
        let mut reached = end;
        while applied < TURN {
            let Some(record) = self.follower.next_record(archive, end)? else { break };
            reached = record.offset + 1;
            let entry = open(partition, &record)?;
            applied += 1;
            if entry.entry.seq <= self.kept_seq {
                if entry.entry.seq == self.kept_seq && entry.hash.to_string() != self.kept_hash {
                    tracing::warn!(partition, "the journal has another entry than the view followed");
                    self.anew(view, archive, end)?;
                    return Ok(applied);
                }
                view.apply_kept(partition, &entry, record.timestamp)?;
                continue;
            }
            let outputs = self.follower.outputs_of(archive, &entry.entry)?;
            view.apply(partition, &Followed { entry, record, outputs })?;
        }
        if applied < TURN {
            reached = end;
        }
        view.change(|state| {
            let known = &mut state.partitions[partition as usize];
            known.waiting = end.saturating_sub(reached);
            if !known.caught_up && reached >= self.goal && known.seq >= self.rows_seq {
                known.caught_up = true;
                known.row_seqs = Vec::new();
                view.live.begin(partition, known.seq);
                tracing::info!(partition, entry = known.seq, "the view has caught up");
            }
        });
        Ok(applied)
    }

    /// Goes on behind what was kept, or begins anew.
    fn begin(&mut self, view: &View, archive: &mut dyn Archive, end: u64) -> Result<(), FeedError> {
        let partition = self.partition;
        let Some(position) = view.history.position(partition)?.filter(|position| position.seq > 0) else {
            return self.anew(view, archive, end);
        };
        let Position { seq, hash, clocks_seq } = position;
        self.follower.seek(archive, |entry| entry.seq >= clocks_seq)?;
        // The entry before the first that is needed must be there: otherwise there may be a hole between.
        let mut probe = Follower::new(partition);
        probe.seek(archive, |entry| entry.seq >= clocks_seq)?;
        let first = probe.next_record(archive, end)?;
        let joins = match &first {
            Some(record) => open(partition, record)?.entry.seq <= clocks_seq.max(1),
            None => false,
        };
        if !joins {
            tracing::warn!(partition, entry = clocks_seq, "the journal does not join what the view followed");
            return self.anew(view, archive, end);
        }
        self.follower.skip_outputs(archive, seq + 1)?;
        view.change(|state| {
            let known = &mut state.partitions[partition as usize];
            (known.seq, known.clocks_seq) = (seq, clocks_seq);
        });
        (self.kept_seq, self.kept_hash) = (seq, hash);
        Ok(())
    }

    /// Forgets what is known of the partition, takes the rows of `devices.state` and follows from the first entry on.
    fn anew(&mut self, view: &View, archive: &mut dyn Archive, end: u64) -> Result<(), FeedError> {
        let partition = self.partition;
        let mut batch = view.history.batch();
        view.history.rows(|of, key, _| {
            if of == partition {
                batch.row(partition, key, None);
            }
        })?;
        batch.position(partition, &Position::default());
        batch.write()?;
        let bounds = archive.bounds(Topic::State, partition)?;
        view.change(|state| {
            state.fleet.clear(partition);
            let known = &mut state.partitions[partition as usize];
            known.measures.made_anew += 1;
            (known.seq, known.clocks_seq, known.caught_up) = (0, 0, false);
            known.row_seqs = Vec::new();
        });
        let (mut problem, mut latest) = (None, 0);
        let mut read: Vec<(Record, Told)> = Vec::with_capacity(ROWS);
        archive.scan(Topic::State, partition, bounds.low..bounds.high, &mut |record| {
            let record = Record::keep(&record);
            let seq = entry_of(Topic::State, partition, &record).unwrap_or_default();
            latest = latest.max(seq);
            let taken = Told::read(partition, seq, &record.key(), record.value.as_deref());
            let taken = taken.map_err(FeedError::View).and_then(|told| {
                read.push((record, told));
                if read.len() < ROWS { Ok(()) } else { take_rows(view, partition, &mut read) }
            });
            problem = taken.err();
            if problem.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        take_rows(view, partition, &mut read)?;
        self.follower = Follower::new(partition);
        self.follower.skip_rows(bounds.high);
        (self.kept_seq, self.kept_hash) = (0, String::new());
        (self.goal, self.rows_seq) = (end, latest);
        Ok(())
    }
}

/// Takes rows that were read.
fn take_rows(view: &View, partition: u32, read: &mut Vec<(Record, Told)>) -> Result<(), FeedError> {
    let mut batch = view.history.batch();
    view.change(|state| {
        for (record, told) in read.drain(..) {
            state.row(partition, &record.key(), told, record.value.as_deref(), &mut batch);
        }
    });
    Ok(batch.write()?)
}

fn open(partition: u32, record: &Record) -> Result<Entry, FeedError> {
    let opened = journal::open(record.value.as_deref().unwrap_or_default());
    opened
        .map_err(|source| FeedError::Follow(FollowError::Entry { partition, offset: record.offset, source }))
}
