//! A standby: partitions that others own, kept at hand, so that a takeover needs the tail only (DESIGN §3.4).
//!
//! It reads rows and journal as a follower does, in no group, into the same half-made partitions that a restore makes;
//! the worker that is given one of them goes on from where it stands. What cannot be used is thrown away: the log has
//! everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::WorkerError;
use super::restoring::{OfArchive, Restoring, floor, newest_entry};
use crate::engine::recovery::Recovery;
use crate::engine::step::Settings;
use crate::log::{Archive, LogError, Topic};

/// How long it rests when it has caught up with all.
const REST: Duration = Duration::from_millis(50);

/// After trouble with a partition it is left alone for so many rounds.
const TROUBLE: u32 = 100;

/// So many rows are read at a time: a worker that is given the partition meanwhile waits for them.
const SLICE: u64 = 100_000;

#[derive(Debug, Default)]
struct Kept {
    /// A worker of this process has it.
    is_owned: bool,
    restoring: Option<Restoring>,
    has_caught_up: bool,
    /// Rounds to leave it alone.
    trouble: u32,
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

    /// A worker of this process got the partition: what is at hand of it, if anything.
    pub(super) fn take(&self, number: u32) -> Option<Restoring> {
        let kept = self.kept(number);
        let mut kept = lock(&kept);
        kept.is_owned = true;
        kept.has_caught_up = false;
        kept.restoring.take()
    }

    /// No worker of this process has it any more.
    pub(super) fn release(&self, number: u32) {
        lock(&self.kept(number)).is_owned = false;
    }

    /// How many partitions are at hand, up to what was committed a moment ago.
    pub fn caught_up(&self) -> usize {
        let all: Vec<Arc<Mutex<Kept>>> = lock(&self.partitions).values().cloned().collect();
        all.iter().filter(|kept| lock(kept).has_caught_up).count()
    }

    /// Follows, until `stop`, the partitions below `partitions` that no worker of this process owns.
    pub fn follow(
        &self,
        archive: &mut dyn Archive,
        partitions: u32,
        settings: &Arc<Settings>,
        stop: &AtomicBool,
    ) {
        while !stop.load(Ordering::Relaxed) {
            if !self.round(archive, partitions, settings, stop) {
                std::thread::sleep(REST);
            }
        }
    }

    /// One look at each; whether there is more to do at once.
    pub fn round(
        &self,
        archive: &mut dyn Archive,
        partitions: u32,
        settings: &Arc<Settings>,
        stop: &AtomicBool,
    ) -> bool {
        let mut more = false;
        for number in 0..partitions {
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            let kept = self.kept(number);
            let mut kept = lock(&kept);
            if kept.is_owned || kept.trouble > 0 {
                kept.trouble = kept.trouble.saturating_sub(1);
                continue;
            }
            match advance(&mut kept.restoring, archive, number, settings) {
                Ok(Some(seq)) => {
                    if !std::mem::replace(&mut kept.has_caught_up, true) {
                        let devices =
                            kept.restoring.as_ref().map_or(0, |restoring| restoring.recovery.devices());
                        info!(partition = number, devices, seq, "the standby has caught up");
                    }
                }
                Ok(None) => more = true,
                Err(error) => {
                    // It is begun anew: what was read may have been overtaken by retention or compaction.
                    warn!(partition = number, %error, "the standby begins anew with it");
                    *kept = Kept { trouble: TROUBLE, ..Kept::default() };
                }
            }
        }
        more
    }
}

/// Reads on; the entry that it stands at, if nothing more is there.
fn advance(
    kept: &mut Option<Restoring>,
    archive: &mut dyn Archive,
    number: u32,
    settings: &Arc<Settings>,
) -> Result<Option<u64>, WorkerError> {
    // Rows of an entry are there before it counts: their end is asked for after that of the journal.
    let journal_high = archive.settled(Topic::Journal, number)?;
    let state_high = archive.bounds(Topic::State, number)?.high;
    let source = &mut OfArchive(archive);
    if kept.is_none() {
        *kept = Some(begin(source, number, settings, journal_high)?);
    }
    let Some(restoring) = kept else { return Ok(None) };
    if !restoring.rows(source, state_high, SLICE, &mut |_| {})? {
        return Ok(None);
    }
    restoring.entries(source, journal_high, None, &mut |_| {})?;
    Ok(Some(restoring.recovery.reached().seq))
}

fn begin(
    source: &mut OfArchive<'_>,
    number: u32,
    settings: &Arc<Settings>,
    journal_high: u64,
) -> Result<Restoring, WorkerError> {
    let low = |source: &mut OfArchive<'_>, topic| -> Result<u64, LogError> {
        Ok(super::restoring::Source::bounds(source, topic, number)?.low)
    };
    let (state_from, journal_low) = (low(source, Topic::State)?, low(source, Topic::Journal)?);
    let journal_from = match newest_entry(source, number, journal_low..journal_high)? {
        Some(seq) => floor(source, number, journal_low..journal_high, seq)?,
        None => journal_low,
    };
    let recovery = Recovery::new(number, settings.clone(), 0);
    Ok(Restoring { number, recovery, state_from, journal_from })
}
