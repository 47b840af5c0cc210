//! A standby: partitions that others own, kept at hand, so that a takeover needs the tail only (DESIGN §3.4).
//!
//! It reads rows and journal as a follower does, in no group, into the same half-made partitions that a restore makes;
//! the worker that is given one of them goes on from where it stands. What cannot be used is thrown away: the log has
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{debug, info, warn};

use super::restoring::Restoring;
use super::{WorkerConfig, WorkerError};
use crate::log::{Archive, Bounds, LogError, Topic};
use crate::store::{Checkpoint, Checkpoints};

/// How long it rests when it has caught up with all.
const REST: Duration = Duration::from_millis(50);

/// After trouble with a partition it is left alone for so many rounds.
const TROUBLE: u32 = 100;

/// So many rows are read at a time: a worker that is given the partition meanwhile waits for them.
const SLICE: u64 = 100_000;

#[derive(Debug, Default)]
struct Kept {
    /// The workers of this process that have it: for a moment two, when it goes from one to the other.
    owners: BTreeSet<u64>,
    restoring: Option<Restoring>,
    has_caught_up: bool,
    /// Rounds to leave it alone.
    trouble: u32,
    /// The checkpoint on disk was of no use.
    without_checkpoint: bool,
}

/// What a process keeps at hand beside what it owns. Its workers and the thread that follows share it.
#[derive(Debug, Default)]
pub struct Standby {
    partitions: Mutex<BTreeMap<u32, Arc<Mutex<Kept>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Standby {
    fn kept(&self, number: u32) -> Arc<Mutex<Kept>> {
        lock(&self.partitions).entry(number).or_default().clone()
    }

    /// A worker of this process got these partitions, all of them before the first is taken: nothing goes on with one.
    pub(super) fn claim(&self, worker: u64, numbers: &[u32]) {
        for number in numbers {
            let kept = self.kept(*number);
            let mut kept = lock(&kept);
            kept.owners.insert(worker);
            kept.has_caught_up = false;
        }
    }

    /// What is at hand of a partition that was claimed, if anything.
    pub(super) fn take(&self, number: u32) -> Option<Restoring> {
        lock(&self.kept(number)).restoring.take()
    }

    /// A worker of this process has it no more.
    pub(super) fn release(&self, worker: u64, number: u32) {
        lock(&self.kept(number)).owners.remove(&worker);
    }

    /// How many partitions are at hand, up to what was committed a moment ago.
    pub fn caught_up(&self) -> usize {
        let all: Vec<Arc<Mutex<Kept>>> = lock(&self.partitions).values().cloned().collect();
        all.iter().filter(|kept| lock(kept).has_caught_up).count()
    }

    /// Follows, until `stop`, the partitions that no worker of this process owns. `store`: where those have their
    /// checkpoints.
    pub fn follow<S: Checkpoints>(
        &self,
        archive: &mut dyn Archive,
        store: &S,
        config: &WorkerConfig,
        stop: &AtomicBool,
    ) {
        while !stop.load(Ordering::Relaxed) {
            let more = self.round(archive, store, config, stop).unwrap_or_else(|error| {
                debug!(%error, "the standby tries again");
                false
            });
            if !more {
                std::thread::sleep(REST);
            }
        }
    }

    /// One look at each; whether there is more to do at once.
    ///
    /// # Errors
    /// The log does not answer.
    pub fn round<S: Checkpoints>(
        &self,
        archive: &mut dyn Archive,
        store: &S,
        config: &WorkerConfig,
        stop: &AtomicBool,
    ) -> Result<bool, LogError> {
        let free: Vec<u32> = (0..config.settings.partitions).filter(|number| self.is_free(*number)).collect();
        let of = |topic| free.iter().map(|number| (topic, *number)).collect::<Vec<_>>();
        // Rows of an entry are there before it counts: their end is asked for after that of the journal.
        let settled = archive.settled_of(&of(Topic::Journal))?;
        let state = archive.bounds_of(&of(Topic::State))?;
        let mut more = false;
        for (place, number) in free.into_iter().enumerate() {
            let kept = self.kept(number);
            let mut kept = lock(&kept);
            if stop.load(Ordering::Relaxed) || !kept.owners.is_empty() {
                continue;
            }
            let ends = (state[place], settled[place]);
            match advance(&mut kept, archive, number, store, config, ends) {
                Ok(Some(seq)) => {
                    if !std::mem::replace(&mut kept.has_caught_up, true) {
                        let restoring = kept.restoring.as_ref();
                        let devices = restoring.map_or(0, |restoring| restoring.recovery.devices());
                        let from =
                            restoring.and_then(|restoring| restoring.from.as_ref()).map(|from| from.seq);
                        info!(
                            partition = number,
                            devices,
                            seq,
                            from_checkpoint = from,
                            "the standby has caught up"
                        );
                    }
                }
                Ok(None) => more = true,
                // What was read of it is read again, which changes nothing.
                Err(WorkerError::Log(error)) if error.retriable => {
                    debug!(partition = number, %error, "it waits")
                }
                Err(error) => {
                    // It is begun anew: what was read may have been overtaken by retention or compaction.
                    warn!(partition = number, %error, "the standby begins anew with it");
                    // The checkpoint does not fit, or could not even be read.
                    let without_checkpoint = kept.restoring.take().is_none_or(|had| had.from.is_some());
                    *kept = Kept { trouble: TROUBLE, without_checkpoint, ..Kept::default() };
                }
            }
        }
        Ok(more)
    }

    /// Whether the thread that follows is to look at it.
    fn is_free(&self, number: u32) -> bool {
        let kept = self.kept(number);
        let mut kept = lock(&kept);
        let is_free = kept.owners.is_empty() && kept.trouble == 0;
        kept.trouble = kept.trouble.saturating_sub(1);
        is_free
    }
}

/// Reads on; the entry that it stands at, if nothing more is there.
fn advance<S: Checkpoints>(
    kept: &mut Kept,
    archive: &mut dyn Archive,
    number: u32,
    store: &S,
    config: &WorkerConfig,
    (state, settled): (Bounds, u64),
) -> Result<Option<u64>, WorkerError> {
    if kept.restoring.is_none() {
        let journal = Bounds { high: settled, ..archive.bounds(Topic::Journal, number)? };
        let open = || store.open(number).map(|(store, _)| store);
        let store = (store.has(number) && !kept.without_checkpoint).then(open).transpose()?;
        let meta = store.as_ref().and_then(|store| store.meta().ok().flatten()).filter(|meta| {
            meta.owner == config.log_name && (journal.low..=journal.high).contains(&meta.journal_offset)
        });
        let checkpoint = store.as_ref().zip(meta);
        let begun = Restoring::begin(archive, number, &config.settings, checkpoint, (state, journal), None)?;
        kept.restoring = Some(begun);
    }
    let Some(restoring) = &mut kept.restoring else { return Ok(None) };
    if !restoring.rows(archive, state.high, SLICE, &mut |_| {})? {
        return Ok(None);
    }
    restoring.entries(archive, settled, None, &mut |_| {})?;
    restoring.not_outdated()?;
    restoring.has_caught_up = true;
    Ok(Some(restoring.recovery.reached().seq))
}
