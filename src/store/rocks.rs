//! Checkpoints in RocksDB, one database for each partition.
//!
//! Rows and position go in one batch, the write-ahead log off: whatever of the batches is on disk after a crash is a
//! whole prefix of them.

use std::path::{Path, PathBuf};

use rocksdb::{DB, IteratorMode, Options, WriteBatch, WriteOptions};

use crate::domain::time::Millis;

use super::{Checkpoint, CheckpointMeta, Checkpoints, FORMAT, StoreError};

mod anchors;

pub use anchors::{ANCHORS, AnchorFiles};

const META: &[u8] = b"m";
const ROW: u8 = b'r';

/// Where the checkpoints of an instance are.
#[derive(Clone, Debug)]
pub struct RocksStore {
    data_dir: PathBuf,
}

impl RocksStore {
    /// Below `data_dir`, in `partitions/<number>`.
    pub fn new(data_dir: impl Into<PathBuf>) -> RocksStore {
        RocksStore { data_dir: data_dir.into() }
    }
}

impl Checkpoints for RocksStore {
    type Checkpoint = RocksCheckpoint;

    fn open(&self, partition: u32) -> Result<(RocksCheckpoint, Option<String>), StoreError> {
        RocksCheckpoint::open(&self.data_dir.join("partitions").join(partition.to_string()))
    }

    fn keep(&self, partition: u32, checkpoint: &RocksCheckpoint, every: Millis) -> Result<(), StoreError> {
        let Ok(Some(meta)) = checkpoint.meta() else { return Ok(()) };
        match self.newest_anchor(partition)? {
            Some(newest) if meta.clock_ms - newest.clock_ms < every.0 && newest.seq <= meta.seq => Ok(()),
            _ => self.keep_anchor(partition, checkpoint),
        }
    }
}

/// The checkpoint of one partition.
#[derive(Debug)]
pub struct RocksCheckpoint {
    db: DB,
    path: PathBuf,
}

impl RocksCheckpoint {
    /// Opens, or makes, the checkpoint in `path`. One that cannot be opened, or whose position cannot be read, is thrown
    /// away: the log has everything. The second value says so.
    pub fn open(path: &Path) -> Result<(RocksCheckpoint, Option<String>), StoreError> {
        let path = path.to_path_buf();
        match Self::open_at(&path) {
            Ok(store) => match store.meta() {
                Ok(Some(meta)) if meta.format > FORMAT => Err(StoreError::Newer { path, found: meta.format }),
                Ok(_) => Ok((store, None)),
                Err(problem) => {
                    drop(store);
                    Self::anew(&path, problem)
                }
            },
            Err(Opening::Unusable(why)) if path.exists() => Self::anew(&path, why),
            Err(Opening::Unusable(why) | Opening::Locked(why)) => {
                Err(StoreError::Database { action: "cannot open", path, source: why.into() })
            }
            Err(Opening::Files(error)) => Err(error),
        }
    }

    fn anew(path: &Path, why: String) -> Result<(RocksCheckpoint, Option<String>), StoreError> {
        std::fs::remove_dir_all(path).map_err(|source| StoreError::Files {
            action: "cannot remove",
            path: path.into(),
            source,
        })?;
        let why =
            format!("the checkpoint in {} was unusable and is made anew from the log: {why}", path.display());
        match Self::open_at(path) {
            Ok(store) => Ok((store, Some(why))),
            Err(Opening::Files(error)) => Err(error),
            Err(Opening::Unusable(why) | Opening::Locked(why)) => {
                Err(StoreError::Database { action: "cannot open", path: path.into(), source: why.into() })
            }
        }
    }

    fn open_at(path: &Path) -> Result<RocksCheckpoint, Opening> {
        std::fs::create_dir_all(path).map_err(|source| {
            Opening::Files(StoreError::Files { action: "cannot create", path: path.into(), source })
        })?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(16 << 20);
        options.set_max_background_jobs(2);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_keep_log_file_num(2);
        options.set_bytes_per_sync(1 << 20);
        let db = DB::open(&options, path).map_err(|error| match is_locked(&error) {
            true => Opening::Locked(error.to_string()),
            false => Opening::Unusable(error.to_string()),
        })?;
        Ok(RocksCheckpoint { db, path: path.into() })
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(rocksdb::Error) -> StoreError + '_ {
        move |error| StoreError::Database {
            action,
            path: self.path.clone(),
            source: error.to_string().into(),
        }
    }
}

impl Checkpoint for RocksCheckpoint {
    fn meta(&self) -> Result<Option<CheckpointMeta>, String> {
        let Some(bytes) = self.db.get(META).map_err(|error| error.to_string())? else { return Ok(None) };
        let meta: CheckpointMeta = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if meta.head().is_none() {
            return Err("its head hash is damaged".into());
        }
        Ok(Some(meta))
    }

    fn rows<E>(
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

    fn write(
        &self,
        rows: &mut dyn Iterator<Item = (&str, Option<Vec<u8>>)>,
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

    fn destroy(self) -> Result<(), StoreError> {
        let path = self.path.clone();
        drop(self);
        std::fs::remove_dir_all(&path).map_err(|source| StoreError::Files {
            action: "cannot remove",
            path,
            source,
        })
    }
}

/// Why a checkpoint did not open.
enum Opening {
    /// Another process has it.
    Locked(String),
    /// It is of no use.
    Unusable(String),
    /// The file system failed.
    Files(StoreError),
}

fn is_locked(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::IOError && error.to_string().to_ascii_lowercase().contains("lock")
}
