//! The store: checkpoints of partitions (DESIGN §2, §3.4).
//!
//! A checkpoint is a prefix of what the log committed, never ahead of the log and never repaired in place; one that
//! cannot be used is thrown away and made anew. RocksDB keeps them; tests put a disk that fails in its place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::time::Millis;
use crate::engine::journal::{EntryHash, Head};
use crate::engine::step::Partition;
use crate::engine::sweep::Sweep;
use crate::log::Positions;

#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
pub use rocks::{ANCHORS, AnchorFiles, RocksCheckpoint, RocksStore};

/// The version of the layout on disk.
const FORMAT: u32 = 1;

/// The checkpoints of an instance, one for each partition.
pub trait Checkpoints {
    /// That of one partition.
    type Checkpoint: Checkpoint;

    /// Whether there may be a checkpoint of this partition: whoever only looks does not make one.
    fn has(&self, partition: u32) -> bool;

    /// Opens, or makes, the checkpoint of a partition. One that cannot be opened, or whose position cannot be read, is
    /// thrown away: the log has everything. The second value says so.
    fn open(&self, partition: u32) -> Result<(Self::Checkpoint, Option<String>), StoreError>;

    /// Whether another worker of this process waits for the checkpoint of a partition, which is open: who has it but does
    /// not work on it lets it go.
    fn is_wanted(&self, _partition: u32) -> bool {
        false
    }

    /// Keeps a checkpoint as it stands for later verifications (DESIGN §3.8), if the newest that was kept is older than
    /// `every` by the partition's clock. A store may keep none.
    ///
    /// # Errors
    /// The store fails.
    fn keep(
        &self,
        _partition: u32,
        _checkpoint: &Self::Checkpoint,
        _every: Millis,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The checkpoint of one partition.
pub trait Checkpoint: Sized {
    /// Where it stands; `None` for a new one. The error says why it is unusable.
    fn meta(&self) -> Result<Option<CheckpointMeta>, String>;

    /// Gives every row: key and value as on `devices.state`. The first error of `each` ends it.
    fn rows<E>(&self, each: impl FnMut(&str, &[u8]) -> Result<(), E>) -> Result<Result<(), E>, StoreError>;

    /// Writes rows that changed since the last checkpoint (`None`: gone), in the order of their keys, and the position, all
    /// or nothing; durable on return.
    fn write(
        &self,
        rows: &mut dyn Iterator<Item = (&str, Option<Vec<u8>>)>,
        meta: &CheckpointMeta,
    ) -> Result<(), StoreError>;

    /// Throws it away.
    fn destroy(self) -> Result<(), StoreError>;
}

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// RocksDB failed.
    #[error("{action} the checkpoint in {}: {source}", path.display())]
    Database {
        /// What was being done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file system failed.
    #[error("{action} {}: {source}", path.display())]
    Files {
        /// What was being done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A newer program wrote it.
    #[error("the checkpoint in {} has format {found}; this program knows {FORMAT}: use the newer program, or delete the directory, and it is made anew from the log", path.display())]
    Newer {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// Where a checkpoint stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckpointMeta {
    format: u32,
    /// The log and partition that it is of.
    pub owner: String,
    /// The entry whose state it holds.
    pub epoch: u64,
    /// Its number.
    pub seq: u64,
    hash: String,
    /// Input offsets after it.
    pub positions: Positions,
    /// Its clock, in milliseconds since the epoch.
    pub clock_ms: i64,
    /// Rows on `devices.state` from this offset on are newer.
    pub state_offset: u64,
    /// Entries of the journal from this offset on are newer.
    pub journal_offset: u64,
    /// Where its sweep stands: next number, start, first entry, floor.
    sweep: (u32, i64, u64, u64),
    /// Sum of the hashes of its rows.
    pub state_hash: String,
}

impl CheckpointMeta {
    /// Where a partition stands. `state_offset`, `journal_offset`: what is newer begins there.
    pub fn new(
        owner: String,
        partition: &Partition,
        state_offset: u64,
        journal_offset: u64,
    ) -> CheckpointMeta {
        let (head, sweep) = (partition.head, partition.sweep);
        CheckpointMeta {
            format: FORMAT,
            owner,
            epoch: head.epoch,
            seq: head.seq,
            hash: head.hash.to_string(),
            positions: partition.positions,
            clock_ms: partition.core.clock.millis(),
            state_offset,
            journal_offset,
            sweep: (sweep.next, sweep.started_at, sweep.started_seq, sweep.floor),
            state_hash: format!("{:032x}", partition.state_hash),
        }
    }

    /// Where its sweep stands.
    pub fn sweep(&self) -> Sweep {
        let (next, started_at, started_seq, floor) = self.sweep;
        Sweep { next, started_at, started_seq, floor }
    }

    /// The head it stands at; `None` if the hash is damaged.
    pub fn head(&self) -> Option<Head> {
        let hash = EntryHash(u128::from_str_radix(&self.hash, 16).ok()?);
        Some(Head { epoch: self.epoch, seq: self.seq, hash })
    }
}
