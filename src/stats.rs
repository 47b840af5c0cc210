//! Counters of a running processor, for its summary and its logs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::engine::clock::Blind;
use crate::engine::step::Told;
use crate::log::{TOPICS, Transaction};

/// Counters, shared between a worker and whoever looks.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Counts>);

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Records that took effect.
    pub applied: u64,
    /// Records that were ignored.
    pub ignored: u64,
    /// Dead letters.
    pub rejected: u64,
    /// Records written, by [`crate::log::Topic::number`].
    pub written: [u64; TOPICS],
    /// Transactions committed or tried.
    pub commits: u64,
    /// Transactions that came to nothing.
    pub aborts: u64,
    /// Errors of the log that were tried again.
    pub log_errors: u64,
    /// How long the last commits took, newest last, 1,000 at most.
    pub commit_times: Vec<Duration>,
    /// Partitions that are owned.
    pub partitions: usize,
    /// Devices, by partition.
    pub devices: BTreeMap<u32, usize>,
    /// Clocks, by partition.
    pub clocks: BTreeMap<u32, Timestamp>,
    /// Partitions that are blind, and why.
    pub blind: BTreeMap<u32, Blind>,
    /// Partitions that are being restored: records done, and of how many at most.
    pub restoring: BTreeMap<u32, (u64, u64)>,
    /// Partitions that were taken over from a standby.
    pub taken_over: u64,
    /// Records that were read and wait to be taken, and their bytes: of the worker that looked last.
    pub waiting: (usize, usize),
    /// The most records, and the most bytes, that ever waited in one worker.
    pub most_waiting: (usize, usize),
    /// Transactions that the shadow auditor derived again and found the same.
    pub audited: u64,
    /// Partitions in which it found a difference.
    pub audit_differences: u64,
}

impl Counts {
    /// How long a commit took of which `percent` of the last ones took no longer, in milliseconds; 0 before the first.
    pub fn commit_millis(&self, percent: usize) -> f64 {
        let mut times = self.commit_times.clone();
        times.sort_unstable();
        let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

impl Stats {
    /// The shadow auditor verified so many transactions more.
    pub fn audited(&self, transactions: u64) {
        self.with(|counts| counts.audited += transactions);
    }

    /// The shadow auditor found a difference.
    pub fn audit_differs(&self) {
        self.with(|counts| counts.audit_differences += 1);
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        self.with(|counts| counts.clone())
    }

    /// What is being restored now, of all partitions together: records done, and of how many at most.
    pub fn progress(&self) -> (u64, u64) {
        self.with(|counts| {
            counts.restoring.values().fold((0, 0), |(done, of), part| (done + part.0, of + part.1))
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn promoted(&self, told: &Told) {
        self.with(|counts| {
            counts.applied += told.tally.applied;
            counts.ignored += told.tally.ignored.iter().sum::<u64>();
            counts.rejected += told.tally.rejected.iter().sum::<u64>();
        });
    }

    pub(crate) fn committed(&self, took: Duration, transaction: &Transaction) {
        self.with(|counts| {
            counts.commits += 1;
            for record in &transaction.records {
                counts.written[record.topic.number()] += 1;
            }
            if counts.commit_times.len() >= 1000 {
                counts.commit_times.remove(0);
            }
            counts.commit_times.push(took);
        });
    }

    pub(crate) fn aborted(&self) {
        self.with(|counts| counts.aborts += 1);
    }

    pub(crate) fn log_error(&self) {
        self.with(|counts| counts.log_errors += 1);
    }

    pub(crate) fn set_partitions(&self, partitions: usize) {
        self.with(|counts| counts.partitions = partitions);
    }

    pub(crate) fn set_devices(&self, partition: u32, devices: usize) {
        self.with(|counts| counts.devices.insert(partition, devices));
    }

    pub(crate) fn set_clock(&self, partition: u32, clock: Timestamp) {
        self.with(|counts| counts.clocks.insert(partition, clock));
    }

    pub(crate) fn restoring(&self, partition: u32, done: u64, of: u64) {
        self.with(|counts| counts.restoring.insert(partition, (done, of)));
    }

    pub(crate) fn took_over(&self) {
        self.with(|counts| counts.taken_over += 1);
    }

    pub(crate) fn restored(&self, partition: u32) {
        self.with(|counts| counts.restoring.remove(&partition));
    }

    pub(crate) fn set_waiting(&self, records: usize, bytes: usize) {
        self.with(|counts| {
            counts.waiting = (records, bytes);
            let most = counts.most_waiting;
            counts.most_waiting = (most.0.max(records), most.1.max(bytes));
        });
    }

    pub(crate) fn set_blind(&self, partition: u32, blind: Option<Blind>) {
        self.with(|counts| match blind {
            Some(why) => counts.blind.insert(partition, why),
            None => counts.blind.remove(&partition),
        });
    }
}
