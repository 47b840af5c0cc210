//! Anchors: past checkpoints, as hard links to their files, from which a verification can start (DESIGN §3.8).

use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint as Links;
use rocksdb::{DB, Options};

use super::{RocksCheckpoint, RocksStore};
use crate::store::{Checkpoint, CheckpointMeta, StoreError};

/// So many anchors of a partition are kept.
pub const ANCHORS: usize = 10;

/// A past checkpoint.
#[derive(Clone, Debug)]
pub struct AnchorFiles {
    path: PathBuf,
    /// Where it stands.
    pub meta: CheckpointMeta,
}

fn files(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let path = path.to_path_buf();
    move |source| StoreError::Files { action, path, source }
}

impl RocksCheckpoint {
    /// Keeps the checkpoint as it stands in the directory `into`, which must not exist yet: hard links, so it costs
    /// nothing until the checkpoint moves on.
    ///
    /// # Errors
    /// The directory exists, or lies on another file system; the database fails.
    pub fn anchor(&self, into: &Path) -> Result<(), StoreError> {
        if let Some(parent) = into.parent() {
            std::fs::create_dir_all(parent).map_err(files("cannot create", parent))?;
        }
        let links = Links::new(&self.db).map_err(self.failed("cannot link"))?;
        links.create_checkpoint(into).map_err(self.failed("cannot link"))
    }

    /// A kept checkpoint, to be read; others may read it too.
    fn open_kept(path: &Path) -> Result<RocksCheckpoint, StoreError> {
        let db = DB::open_for_read_only(&Options::default(), path, false).map_err(|error| {
            StoreError::Database {
                action: "cannot open",
                path: path.into(),
                source: error.to_string().into(),
            }
        })?;
        Ok(RocksCheckpoint { db, path: path.into(), taken: None })
    }
}

impl RocksStore {
    fn anchors_dir(&self, partition: u32) -> PathBuf {
        self.data_dir.join("anchors").join(partition.to_string())
    }

    /// Keeps the checkpoint of a partition as an anchor, in `anchors/<partition>/<entry>` below the data directory, and
    /// drops the oldest ones beyond [`ANCHORS`]. Nothing is done for a checkpoint that is new, or kept already.
    ///
    /// # Errors
    /// The file system or the database fails.
    pub fn keep_anchor(&self, partition: u32, checkpoint: &RocksCheckpoint) -> Result<(), StoreError> {
        let Ok(Some(meta)) = checkpoint.meta() else { return Ok(()) };
        let dir = self.anchors_dir(partition);
        let into = dir.join(meta.seq.to_string());
        if into.exists() {
            return Ok(());
        }
        checkpoint.anchor(&into)?;
        let kept = self.kept(partition)?;
        for (_, path) in &kept[..kept.len().saturating_sub(ANCHORS)] {
            std::fs::remove_dir_all(path).map_err(files("cannot remove", path))?;
        }
        Ok(())
    }

    /// Directories of anchors by their entry, oldest first.
    fn kept(&self, partition: u32) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let dir = self.anchors_dir(partition);
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(files("cannot list", &dir))? {
            let entry = entry.map_err(files("cannot list", &dir))?;
            // What has no number is not ours: RocksDB makes its links under another name first.
            if let Ok(seq) = entry.file_name().to_string_lossy().parse() {
                kept.push((seq, entry.path()));
            }
        }
        kept.sort();
        Ok(kept)
    }

    /// Where the newest anchor stands; `None` if there is none that can be read.
    pub(super) fn newest_anchor(&self, partition: u32) -> Result<Option<CheckpointMeta>, StoreError> {
        let Some((_, path)) = self.kept(partition)?.pop() else { return Ok(None) };
        Ok(RocksCheckpoint::open_kept(&path).ok().and_then(|kept| kept.meta().ok().flatten()))
    }

    /// The anchors of a partition, oldest first. Those that cannot be read are passed over: the second value says why.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn anchors(&self, partition: u32) -> Result<(Vec<AnchorFiles>, Vec<String>), StoreError> {
        let (mut anchors, mut unusable) = (Vec::new(), Vec::new());
        for (_, path) in self.kept(partition)? {
            let opened = RocksCheckpoint::open_kept(&path).map_err(|error| error.to_string());
            match opened.and_then(|kept| kept.meta()) {
                Ok(Some(meta)) => anchors.push(AnchorFiles { path, meta }),
                Ok(None) => unusable.push(format!("{}: it is empty", path.display())),
                Err(why) => unusable.push(format!("{}: {why}", path.display())),
            }
        }
        Ok((anchors, unusable))
    }
}

impl AnchorFiles {
    /// Gives every row: key and value as on `devices.state`. The first error of `each` ends it.
    ///
    /// # Errors
    /// The database fails.
    pub fn rows<E>(
        &self,
        each: impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        RocksCheckpoint::open_kept(&self.path)?.rows(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::step::{Partition, Settings};
    use crate::store::Checkpoints;

    #[test]
    fn anchors_stay_as_they_were_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = RocksStore::new(dir.path());
        let (checkpoint, _) = store.open(3).unwrap();
        store.keep_anchor(3, &checkpoint).unwrap();
        assert!(store.anchors(3).unwrap().0.is_empty(), "a new checkpoint is no anchor");
        let mut partition = Partition::new(3, Settings::default().into(), 1);
        for seq in 1..=ANCHORS as u64 + 5 {
            partition.head.seq = seq;
            let meta = CheckpointMeta::new("test".into(), &partition, 0, 0);
            let value = seq.to_string().into_bytes();
            checkpoint.write(&mut [("a/b", Some(value))].into_iter(), &meta).unwrap();
            store.keep_anchor(3, &checkpoint).unwrap();
            store.keep_anchor(3, &checkpoint).unwrap();
        }
        std::fs::create_dir(dir.path().join("anchors/3/9")).unwrap_or_default();
        let (anchors, unusable) = store.anchors(3).unwrap();
        let seqs: Vec<u64> = anchors.iter().map(|anchor| anchor.meta.seq).collect();
        assert_eq!(seqs, (6..=15).collect::<Vec<u64>>());
        assert!(unusable.is_empty(), "{unusable:?}");
        for anchor in &anchors {
            let mut rows = Vec::new();
            let read: Result<(), ()> = anchor
                .rows(|key, value| {
                    rows.push((key.to_owned(), String::from_utf8(value.to_vec()).unwrap()));
                    Ok(())
                })
                .unwrap();
            assert!(read.is_ok());
            assert_eq!(rows, [("a/b".to_owned(), anchor.meta.seq.to_string())]);
        }
        // A damaged one is said, and the others stay.
        std::fs::remove_file(dir.path().join("anchors/3/8/CURRENT")).unwrap();
        let (anchors, unusable) = store.anchors(3).unwrap();
        assert_eq!((anchors.len(), unusable.len()), (9, 1));
    }
}
