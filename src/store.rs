//! The store: checkpoints of partitions in RocksDB, one database each (DESIGN §2, §3.4).
//!
//! A checkpoint is a prefix of what the log committed: rows and position in one batch, the write-ahead log off. It is
//! never ahead of the log and never repaired in place; one that cannot be used is thrown away and made anew.

use std::path::{Path, PathBuf};

use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;
use crate::engine::journal::{EntryHash, Head};
use crate::log::Positions;

/// The version of the layout on disk.
const FORMAT: u32 = 1;
const META: &[u8] = b"m";
const ROW: u8 = b'r';

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
        /// What RocksDB said.
        source: rocksdb::Error,
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
    /// Sum of the hashes of its rows.
    pub state_hash: String,
}

impl CheckpointMeta {
    /// Where a partition stands.
    pub fn new(
        owner: String,
        head: Head,
        positions: Positions,
        clock: Timestamp,
        state_hash: u128,
        state_offset: u64,
        journal_offset: u64,
    ) -> CheckpointMeta {
        CheckpointMeta {
            format: FORMAT,
            owner,
            epoch: head.epoch,
            seq: head.seq,
            hash: head.hash.to_string(),
            positions,
            clock_ms: clock.millis(),
            state_offset,
            journal_offset,
            state_hash: format!("{state_hash:032x}"),
        }
    }

    /// The head it stands at; `None` if the hash is damaged.
    pub fn head(&self) -> Option<Head> {
        let hash = EntryHash(u128::from_str_radix(&self.hash, 16).ok()?);
        Some(Head { epoch: self.epoch, seq: self.seq, hash })
    }
}

/// The checkpoint of one partition.
#[derive(Debug)]
pub struct Store {
    db: DB,
    path: PathBuf,
}

impl Store {
    /// Opens, or makes, the checkpoint of partition `number` below `data_dir`. One that cannot be opened, or whose
    /// position cannot be read, is thrown away: the log has everything. The second value says so.
    pub fn open(data_dir: &Path, number: u32) -> Result<(Store, Option<String>), StoreError> {
        let path = data_dir.join("partitions").join(number.to_string());
        match Self::open_at(&path) {
            Ok(store) => match store.meta() {
                Ok(Some(meta)) if meta.format > FORMAT => Err(StoreError::Newer { path, found: meta.format }),
                Ok(_) => Ok((store, None)),
                Err(problem) => {
                    drop(store);
                    Self::anew(&path, problem)
                }
            },
            Err(StoreError::Database { source, .. }) if path.exists() && !is_locked(&source) => {
                Self::anew(&path, source.to_string())
            }
            Err(error) => Err(error),
        }
    }

    fn anew(path: &Path, why: String) -> Result<(Store, Option<String>), StoreError> {
        std::fs::remove_dir_all(path).map_err(|source| StoreError::Files {
            action: "cannot remove",
            path: path.into(),
            source,
        })?;
        let why =
            format!("the checkpoint in {} was unusable and is made anew from the log: {why}", path.display());
        Ok((Self::open_at(path)?, Some(why)))
    }

    fn open_at(path: &Path) -> Result<Store, StoreError> {
        std::fs::create_dir_all(path).map_err(|source| StoreError::Files {
            action: "cannot create",
            path: path.into(),
            source,
        })?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(16 << 20);
        options.set_max_background_jobs(2);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_keep_log_file_num(2);
        options.set_bytes_per_sync(1 << 20);
        let db = DB::open(&options, path).map_err(|source| StoreError::Database {
            action: "cannot open",
            path: path.into(),
            source,
        })?;
        Ok(Store { db, path: path.into() })
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(rocksdb::Error) -> StoreError + '_ {
        move |source| StoreError::Database { action, path: self.path.clone(), source }
    }

    /// Where the checkpoint stands; `None` for a new one. The error says why it is unusable.
    pub fn meta(&self) -> Result<Option<CheckpointMeta>, String> {
        let Some(bytes) = self.db.get(META).map_err(|error| error.to_string())? else { return Ok(None) };
        let meta: CheckpointMeta = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if meta.head().is_none() {
            return Err("its head hash is damaged".into());
        }
        Ok(Some(meta))
    }

    /// Gives every row: key and value as on `devices.state`. The first error of `each` ends it.
    pub fn rows<E>(
        &self,
        mut each: impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        for item in self.db.iterator(IteratorMode::From(&[ROW], rocksdb::Direction::Forward)) {
            let (key, value) = item.map_err(self.failed("cannot read"))?;
            let Some((&ROW, key)) = key.split_first() else { break };
            let Ok(key) = std::str::from_utf8(key) else { continue };
            if let Err(error) = each(key, &value) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Writes rows that changed since the last checkpoint (`None`: gone) and the position, in one batch; durable on
    /// return. Rows in key order are written several times faster.
    pub fn write<'r>(
        &self,
        rows: impl Iterator<Item = (&'r str, Option<Vec<u8>>)>,
        meta: &CheckpointMeta,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let mut name = Vec::new();
        for (key, value) in rows {
            name.clear();
            name.push(ROW);
            name.extend_from_slice(key.as_bytes());
            match value {
                Some(value) => batch.put(&name, value),
                None => batch.delete(&name),
            }
        }
        let meta = serde_json::to_vec(meta).expect("a position is plain data");
        batch.put(META, meta);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(self.failed("cannot write"))?;
        self.db.flush().map_err(self.failed("cannot flush"))
    }

    /// Throws the checkpoint away.
    pub fn destroy(self) -> Result<(), StoreError> {
        let path = self.path.clone();
        drop(self);
        std::fs::remove_dir_all(&path).map_err(|source| StoreError::Files {
            action: "cannot remove",
            path,
            source,
        })
    }
}

fn is_locked(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::IOError && error.to_string().to_ascii_lowercase().contains("lock")
}
