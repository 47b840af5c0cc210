//! A dry run: a log from which everything is read and to which nothing is written. What a worker would commit is
//! handed to whoever asked for the dry run.

use std::ops::Range;
use std::time::Duration;

use crate::domain::time::Timestamp;

use super::{
    Bounds, Change, CommitOutcome, Committed, INPUTS, Inbox, Log, LogError, Positions, Records, ScanControl,
    Scanned, Topic, Transaction,
};

/// Wraps a log for a dry run. The partition looks as if nothing had ever been committed: a worker folds all input that
/// is still there, or from its start time on.
#[derive(Debug)]
pub struct DryRun<L, T> {
    log: L,
    tell: T,
}

impl<L: Log, T: FnMut(&Transaction)> DryRun<L, T> {
    /// Reads from `log` and gives `tell` each transaction instead of committing it.
    pub fn new(log: L, tell: T) -> DryRun<L, T> {
        DryRun { log, tell }
    }
}

impl<L: Log, T: FnMut(&Transaction)> Records for DryRun<L, T> {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        match topic {
            Topic::Input(_) => self.log.bounds(topic, partition),
            _ => Ok(Bounds { low: 0, high: 0 }),
        }
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        match topic {
            Topic::Input(_) => self.log.scan(topic, partition, range, each),
            _ => Ok(()),
        }
    }
}

impl<L: Log, T: FnMut(&Transaction)> Log for DryRun<L, T> {
    fn poll(&mut self, wait: Duration, limit: usize, inbox: &mut Inbox) -> Result<Vec<Change>, LogError> {
        self.log.poll(wait, limit, inbox)
    }

    fn start(&mut self, partition: u32, from: Positions) -> Result<(), LogError> {
        self.log.start(partition, from)
    }

    fn hold(&mut self, partition: u32, held: [bool; INPUTS]) -> Result<(), LogError> {
        self.log.hold(partition, held)
    }

    fn release(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        self.log.release(partitions)
    }

    fn positions(&mut self, partition: u32) -> Positions {
        self.log.positions(partition)
    }

    fn ends(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Positions)>, LogError> {
        self.log.ends(partitions)
    }

    fn committed(&mut self, partitions: &[u32]) -> Result<Vec<Committed>, LogError> {
        let none = |partition: &u32| Committed { partition: *partition, offsets: [const { None }; INPUTS] };
        Ok(partitions.iter().map(none).collect())
    }

    /// Not known: this worker writes none.
    fn journal_times(&mut self, _: &[u32]) -> Result<Vec<(u32, Option<Timestamp>)>, LogError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, transaction: &Transaction) -> CommitOutcome {
        (self.tell)(transaction);
        CommitOutcome::Committed
    }

    fn close(&mut self) -> Result<(), LogError> {
        self.log.close()
    }
}
