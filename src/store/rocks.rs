//! Checkpoints in RocksDB, one database for each partition.
//!
//! Rows and position go into one file, which the database takes in as a whole: nothing of them is kept in memory, however
//! many they are, and after a crash all of it is there or nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rocksdb::{DB, IngestExternalFileOptions, IteratorMode, Options, SstFileWriter};

use crate::domain::time::Millis;

use super::{Checkpoint, CheckpointMeta, Checkpoints, FORMAT, StoreError};

mod anchors;

pub use anchors::{ANCHORS, AnchorFiles};

const META: &[u8] = b"m";
const ROW: u8 = b'r';

/// The file that is being written, in the directory of the database: it is moved there.
const NEXT: &str = "next.sst";

/// For so long one worker waits for a checkpoint that another of its process still has: that lets it go as soon as it
/// hears of the wish, or of its own assignment.
const WAIT: Duration = Duration::from_secs(30);

/// Where the checkpoints of an instance are. Clones know of each other what is open.
#[derive(Clone, Debug)]
pub struct RocksStore {
    data_dir: PathBuf,
    open: Arc<Open>,
}

/// The checkpoints that are open, each with whether somebody waits for it.
#[derive(Debug, Default)]
struct Open {
    taken: Mutex<BTreeMap<u32, bool>>,
    closed: Condvar,
}

impl Open {
    fn taken(&self) -> MutexGuard<'_, BTreeMap<u32, bool>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One checkpoint is open for as long as this lives.
#[derive(Debug)]
struct Taken {
    open: Arc<Open>,
    partition: u32,
}

impl Taken {
    /// Waits until nobody else of this process has it; `None`: somebody still does.
    fn take(open: &Arc<Open>, partition: u32) -> Option<Taken> {
        let mut taken = open.taken();
        // Whoever has it by now is told anew that others wait.
        let mut is_open = |taken: &mut BTreeMap<u32, bool>| match taken.get_mut(&partition) {
            Some(is_wanted) => {
                *is_wanted = true;
                true
            }
            None => false,
        };
        let waited = open.closed.wait_timeout_while(taken, WAIT, &mut is_open);
        taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        if taken.contains_key(&partition) {
            return None;
        }
        taken.insert(partition, false);
        Some(Taken { open: Arc::clone(open), partition })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.open.taken().remove(&self.partition);
        self.open.closed.notify_all();
    }
}

impl RocksStore {
    /// Below `data_dir`, in `partitions/<number>`.
    pub fn new(data_dir: impl Into<PathBuf>) -> RocksStore {
        RocksStore { data_dir: data_dir.into(), open: Arc::default() }
    }

    fn path(&self, partition: u32) -> PathBuf {
        self.data_dir.join("partitions").join(partition.to_string())
    }
}

impl Checkpoints for RocksStore {
    type Checkpoint = RocksCheckpoint;

    fn has(&self, partition: u32) -> bool {
        self.path(partition).exists()
    }

    fn open(&self, partition: u32) -> Result<(RocksCheckpoint, Option<String>), StoreError> {
        let path = self.path(partition);
        let Some(taken) = Taken::take(&self.open, partition) else {
            let why = format!("another worker of this process has had it for {WAIT:?}");
            return Err(StoreError::Database { action: "cannot open", path, source: why.into() });
        };
        let (mut checkpoint, note) = RocksCheckpoint::open(&path)?;
        checkpoint.taken = Some(taken);
        Ok((checkpoint, note))
    }

    fn is_wanted(&self, partition: u32) -> bool {
        self.open.taken().get(&partition) == Some(&true)
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
    /// Dropped behind the database: who waits for it may open it then.
    taken: Option<Taken>,
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
        Ok(RocksCheckpoint { db, path: path.into(), taken: None })
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
        let path = self.path.join(NEXT);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Files { action: "cannot remove", path, source });
            }
            // What a crash left may be the database's by another name: it is unlinked, never written over.
            _ => {}
        }
        let mut options = Options::default();
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let mut file = SstFileWriter::create(&options);
        file.open(&path).map_err(self.failed("cannot write"))?;
        let meta = serde_json::to_vec(meta).expect("a position is plain data");
        file.put(META, meta).map_err(self.failed("cannot write"))?;
        let mut name = Vec::new();
        for (key, value) in rows {
            name.clear();
            name.push(ROW);
            name.extend_from_slice(key.as_bytes());
            let written = match value {
                Some(value) => file.put(&name, value),
                None => file.delete(&name),
            };
            written.map_err(self.failed("cannot write"))?;
        }
        file.finish().map_err(self.failed("cannot write"))?;
        let mut moved = IngestExternalFileOptions::default();
        moved.set_move_files(true);
        self.db.ingest_external_file_opts(&moved, vec![path]).map_err(self.failed("cannot write"))
    }

    fn destroy(self) -> Result<(), StoreError> {
        // It stays taken until it is gone.
        let RocksCheckpoint { db, path, taken: _taken } = self;
        drop(db);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wants_a_checkpoint_waits_until_it_is_closed_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::new(dir.path());
        let (first, _) = store.open(3).unwrap();
        assert!(!store.is_wanted(3) && !store.is_wanted(4));
        std::thread::scope(|scope| {
            // Two wait: the second is heard by the first as well, once that has it.
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (mine, _) = store.open(3).unwrap();
                        drop(mine);
                    })
                })
                .collect();
            while !store.is_wanted(3) {
                std::thread::yield_now();
            }
            assert!(waiting.iter().all(|thread| !thread.is_finished()), "it is open");
            drop(first);
        });
        let (again, _) = store.open(3).unwrap();
        assert!(!store.is_wanted(3), "nobody waits any more");
        again.destroy().unwrap();
        assert!(!store.has(3));
    }
}
