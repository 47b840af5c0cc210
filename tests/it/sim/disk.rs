//! Checkpoints of the simulation, in memory: a write is all or nothing, unless the disk itself is broken.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use lastseen::store::{Checkpoint, CheckpointMeta, Checkpoints, StoreError};

use super::broken::Broken;
use super::host::{Host, crash};

/// What is on a disk, by partition.
pub type Disk = Rc<RefCell<BTreeMap<u32, Dir>>>;

/// The checkpoint of one partition.
#[derive(Clone, Debug, Default)]
pub struct Dir {
    pub rows: BTreeMap<String, Vec<u8>>,
    pub meta: Option<CheckpointMeta>,
    /// It does not open.
    pub is_damaged: bool,
    /// It opens, and reading comes to a block that is damaged.
    pub has_bad_block: bool,
}

pub struct SimStore {
    pub host: Rc<Host>,
    pub disk: Disk,
    pub broken: Option<Broken>,
}

pub struct SimCheckpoint {
    host: Rc<Host>,
    disk: Disk,
    partition: u32,
    broken: Option<Broken>,
}

fn failed(action: &'static str) -> StoreError {
    StoreError::Files {
        action,
        path: PathBuf::from("disk"),
        source: std::io::Error::other("the disk failed"),
    }
}

impl Checkpoints for SimStore {
    type Checkpoint = SimCheckpoint;

    fn has(&self, partition: u32) -> bool {
        self.disk.borrow().contains_key(&partition)
    }

    fn open(&self, partition: u32) -> Result<(SimCheckpoint, Option<String>), StoreError> {
        self.host.site("disk: open").map_err(|_| failed("cannot open"))?;
        let mut note = None;
        let mut disk = self.disk.borrow_mut();
        let dir = disk.entry(partition).or_default();
        if dir.is_damaged {
            *dir = Dir::default();
            note = Some("the checkpoint was unusable and is made anew from the log".into());
        }
        let checkpoint = SimCheckpoint {
            host: self.host.clone(),
            disk: self.disk.clone(),
            partition,
            broken: self.broken,
        };
        Ok((checkpoint, note))
    }
}

impl Checkpoint for SimCheckpoint {
    fn meta(&self) -> Result<Option<CheckpointMeta>, String> {
        let disk = self.disk.borrow();
        Ok(disk.get(&self.partition).and_then(|dir| dir.meta.clone()))
    }

    fn rows<E>(
        &self,
        mut each: impl FnMut(&str, &[u8]) -> Result<(), E>,
    ) -> Result<Result<(), E>, StoreError> {
        self.host.site("disk: read").map_err(|_| failed("cannot read"))?;
        let dir = self.disk.borrow().get(&self.partition).cloned().unwrap_or_default();
        for (index, (key, value)) in dir.rows.iter().enumerate() {
            if dir.has_bad_block && index >= dir.rows.len() / 2 {
                return Err(failed("cannot read a block of"));
            }
            if let Err(error) = each(key, value) {
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
        self.host.site("disk: write").map_err(|_| failed("cannot write"))?;
        let mut dir = self.disk.borrow().get(&self.partition).cloned().unwrap_or_default();
        for (key, value) in rows {
            match value {
                Some(value) => drop(dir.rows.insert(key.to_owned(), value)),
                None => drop(dir.rows.remove(key)),
            }
        }
        if self.broken == Some(Broken::PositionBeforeRows) {
            let mut disk = self.disk.borrow_mut();
            disk.entry(self.partition).or_default().meta = Some(meta.clone());
        }
        dir.meta = Some(meta.clone());
        // Not flushed yet: a crash here leaves what was there before.
        let unflushed = self.host.site("disk: flush");
        let Ok(()) = unflushed else { return Err(failed("cannot flush")) };
        self.disk.borrow_mut().insert(self.partition, dir);
        if self.host.site("disk: written").is_err() {
            // The machine goes down with the disk half written, which its own checksums show.
            if let Some(dir) = self.disk.borrow_mut().get_mut(&self.partition) {
                dir.is_damaged = true;
            }
            crash();
        }
        Ok(())
    }

    fn destroy(self) -> Result<(), StoreError> {
        self.disk.borrow_mut().insert(self.partition, Dir::default());
        Ok(())
    }
}
