//! What a worker does when its assignment changes, and when nobody knows how a transaction ended. Both need answers of
//! the log; where none comes, they are not forgotten but asked for again.

use std::time::Duration;

use tracing::{info, warn};

use super::{Owned, Worker, WorkerError};
use crate::engine::journal::Head;
use crate::log::{Change, Committed, Log};
use crate::store::Checkpoints;

/// What the log said of partitions is believed for so long while they are restored: retention goes on meanwhile.
const FRESH: Duration = Duration::from_secs(5);

impl<L: Log, S: Checkpoints> Worker<L, S> {
    /// Deals with what happened to the assignment, in that order. What could not be finished stays first in the line.
    pub(super) fn changes(&mut self, changes: Vec<Change>) -> Result<(), WorkerError> {
        for change in changes {
            match &change {
                Change::Assigned(partitions) => info!(?partitions, "partitions assigned"),
                Change::Revoked(partitions) => info!(?partitions, "partitions revoked"),
                Change::Lost(partitions) => warn!(?partitions, "partitions lost"),
            }
            if let Change::Revoked(gone) | Change::Lost(gone) = &change {
                // What goes again before it was restored is not restored.
                for earlier in &mut self.changes {
                    if let Change::Assigned(partitions) = earlier {
                        partitions.retain(|number| !gone.contains(number));
                    }
                }
            }
            self.changes.push_back(change);
        }
        while let Some(change) = self.changes.front().cloned() {
            self.change(change)?;
            self.changes.pop_front();
        }
        Ok(())
    }

    fn change(&mut self, change: Change) -> Result<(), WorkerError> {
        match change {
            Change::Assigned(partitions) => {
                self.let_go(|number, _| !partitions.contains(&number));
                let mut wanted: Vec<u32> =
                    partitions.into_iter().filter(|number| !self.owned.contains_key(number)).collect();
                if let Some(standby) = &self.standby {
                    standby.claim(self.nonce, &wanted);
                }
                while !wanted.is_empty() {
                    let asked = self.clock.elapsed();
                    for known in self.known(&wanted)? {
                        let owned = self.restore(&known)?;
                        let from = owned.gap.as_ref().map_or(owned.partition.positions, |(gap, _)| gap.to);
                        self.log.start(known.number, from)?;
                        self.owned.insert(known.number, owned);
                        if self.clock.elapsed().saturating_sub(asked) > FRESH {
                            break;
                        }
                    }
                    wanted.retain(|number| !self.owned.contains_key(number));
                }
                self.stats.set_partitions(self.owned.len());
            }
            Change::Revoked(partitions) => {
                // Every step is committed as it is taken: only what was read and not stepped is dropped.
                match self.last_checkpoints(&partitions) {
                    // The group waits for us, and a checkpoint only shortens the way back.
                    Err(WorkerError::Log(error)) if error.retriable => {
                        warn!(%error, "the log did not answer; partitions go without a last checkpoint");
                    }
                    other => other?,
                }
                for number in &partitions {
                    self.park(*number);
                }
                self.drop_partitions(&partitions)?;
            }
            Change::Lost(partitions) => {
                self.drop_partitions(&partitions)?;
                self.let_go(|number, _| partitions.contains(&number));
            }
        }
        Ok(())
    }

    /// Keeps a partition as it stands; what was read and not taken is forgotten.
    fn park(&mut self, number: u32) {
        let is_undecided = self.undecided.iter().any(|(undecided, _)| *undecided == number);
        if is_undecided {
            return;
        }
        if let Some(mut owned) = self.owned.remove(&number) {
            owned.queues = Default::default();
            owned.held = Default::default();
            self.parked.insert(number, (owned, self.clock.elapsed()));
        }
    }

    /// Forgets those parked partitions of which `is_gone` says so.
    pub(super) fn let_go(&mut self, is_gone: impl Fn(u32, Duration) -> bool) {
        let gone: Vec<u32> = self
            .parked
            .iter()
            .filter(|(number, parked)| is_gone(**number, parked.1))
            .map(|(n, _)| *n)
            .collect();
        for number in gone {
            self.parked.remove(&number);
            if let Some(standby) = &self.standby {
                standby.release(self.nonce, number);
            }
        }
    }

    /// Checkpoints of what goes. Who was paused for longer than its session hears of a revocation, too: by then another
    /// has written on, and a checkpoint that names the ends of today would leave that out.
    fn last_checkpoints(&mut self, partitions: &[u32]) -> Result<(), WorkerError> {
        let numbers: Vec<u32> =
            partitions.iter().copied().filter(|number| self.owned.contains_key(number)).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        for known in self.log.committed(&numbers)? {
            let head = newest_head(&known);
            let is_ours = |owned: &Owned<S::Checkpoint>| head.unwrap_or_default() == owned.partition.head;
            if self.owned.get(&known.partition).is_some_and(is_ours) {
                self.checkpoint(known.partition)?;
            }
        }
        Ok(())
    }

    pub(super) fn drop_partitions(&mut self, partitions: &[u32]) -> Result<(), WorkerError> {
        for number in partitions {
            self.owned.remove(number);
            if let Some(standby) = self.standby.as_ref().filter(|_| !self.parked.contains_key(number)) {
                standby.release(self.nonce, *number);
            }
        }
        self.undecided.retain(|(number, _)| !partitions.contains(number));
        self.stats.set_partitions(self.owned.len());
        self.log.release(partitions)?;
        Ok(())
    }

    /// The committed head tells how an unknown commit ended: mine, the one before, or another's.
    pub(super) fn settle(&mut self) -> Result<bool, WorkerError> {
        let numbers: Vec<u32> = self.undecided.iter().map(|(number, _)| *number).collect();
        let committed = self.log.committed(&numbers)?;
        let mut mine = Vec::new();
        for (number, says) in std::mem::take(&mut self.undecided) {
            let head = committed.iter().find(|known| known.partition == number).and_then(newest_head);
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
}

/// The head that committed offsets name.
fn newest_head(known: &Committed) -> Option<Head> {
    let heads = known.offsets.iter().flatten().filter_map(|(_, metadata)| Head::from_metadata(metadata));
    heads.max_by_key(|head| head.seq)
}
