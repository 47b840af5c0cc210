//! Checkpoints of the partitions that a worker has, of committed state only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{debug, warn};

use super::{Worker, WorkerError};
use crate::engine::table::Kind;
use crate::log::{Log, Topic};
use crate::store::{Checkpoint, CheckpointMeta, Checkpoints};

/// How often it is looked at whether a checkpoint is to be kept.
const ANCHOR_LOOK: Duration = Duration::from_secs(600);

/// How long a revoked partition is kept in memory in case that it comes back.
const PARKED_FOR: Duration = Duration::from_secs(60);

impl<L: Log, S: Checkpoints> Worker<L, S> {
    pub(super) fn checkpoint_due(&mut self) -> Result<(), WorkerError> {
        let interval = self.config.checkpoint_interval;
        let now = self.clock.elapsed();
        let wanted: BTreeSet<u32> =
            self.parked.keys().copied().filter(|number| self.store.is_wanted(*number)).collect();
        self.let_go(|number, since| now.saturating_sub(since) > PARKED_FOR || wanted.contains(&number));
        let due = self.owned.iter().filter(|(_, owned)| now.saturating_sub(owned.checkpointed) >= interval);
        // One a turn: the others wait for the next.
        if let Some(number) = due.map(|(number, _)| *number).next() {
            self.checkpoint(number)?;
        }
        Ok(())
    }

    /// Writes what changed since the last checkpoint, and where the partition stands.
    pub(super) fn checkpoint(&mut self, number: u32) -> Result<(), WorkerError> {
        let Some(owned) = self.owned.get_mut(&number) else { return Ok(()) };
        owned.checkpointed = self.clock.elapsed();
        let is_undecided = self.undecided.iter().any(|(undecided, _)| *undecided == number);
        if owned.is_clean || owned.partition.head.seq == 0 || is_undecided {
            return Ok(());
        }
        let state = self.log.bounds(Topic::State, number)?.high;
        let journal = self.log.bounds(Topic::Journal, number)?.high;
        let partition = &owned.partition;
        let meta = CheckpointMeta::new(self.config.log_name.clone(), partition, state, journal);
        // Rows are made one by one, as they are written: of a partition that was just restored it is all of them.
        let started = self.clock.elapsed();
        let gone = owned.gone.iter().filter(|key| partition.core.table.find(key).is_none());
        let mut others: BTreeMap<Box<str>, Option<Vec<u8>>> = gone.map(|key| (key.clone(), None)).collect();
        others.extend(partition.own_rows().into_iter().map(|(key, row)| (key.into(), Some(row))));
        let mut devices: Vec<u32> = owned.dirty.iter().copied().collect();
        devices.retain(|device| partition.core.table.slot(*device).kind() != Kind::Free);
        partition.core.table.sort_by_key(&mut devices);
        let count = devices.len() + others.len();
        let (mut others, mut devices) = (others.iter().peekable(), devices.into_iter().peekable());
        let mut rows = std::iter::from_fn(|| {
            let next = devices.peek().map(|device| partition.core.table.slot(*device).key());
            let other = others.next_if(|(key, _)| next.is_none_or(|next| ***key < *next));
            match other {
                Some((key, row)) => Some((&**key, row.clone())),
                None => Some((next?, partition.row(devices.next()?).map(|(_, row)| row))),
            }
        });
        owned.store.write(&mut rows, &meta)?;
        let took = self.clock.elapsed().saturating_sub(started);
        debug!(partition = number, rows = count, seq = meta.seq, ?took, "checkpoint");
        owned.dirty.clear();
        owned.gone.clear();
        owned.is_clean = true;
        // Looking at the newest opens it: not at every checkpoint.
        let looked = owned.anchored.replace(owned.checkpointed);
        if looked.is_some_and(|looked| owned.checkpointed.saturating_sub(looked) < ANCHOR_LOOK) {
            owned.anchored = looked;
        } else if let Err(error) = self.store.keep(number, &owned.store, self.config.anchor_every) {
            warn!(partition = number, %error, "no checkpoint is kept for verification; it is tried again later");
        }
        Ok(())
    }
}
