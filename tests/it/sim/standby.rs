//! What a process keeps at hand of partitions that others own. It reads what lies on the brokers in no group; where that
//! ends within an open transaction, there is no answer.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use lastseen::log::{Archive, Bounds, Committed, LogError, Records, ScanControl, Scanned, Topic};
use lastseen::worker::{Standby, WorkerConfig};

use super::disk::SimStore;
use super::host::Shared;
use super::member::scanned;

/// What lies on the brokers.
pub struct SimArchive(pub Shared);

impl SimArchive {
    fn with<T>(&self, topic: Topic, partition: u32, of: impl FnOnce(&super::cluster::Part) -> T) -> T {
        of(self.0.lock().unwrap_or_else(PoisonError::into_inner).part(topic, partition))
    }
}

impl Records for SimArchive {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        Ok(self.with(topic, partition, |part| Bounds { low: part.low, high: part.high }))
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        self.with(topic, partition, |part| {
            if range.start < part.low {
                return Err(LogError::fatal("reading", "the records there are gone"));
            }
            let within = part.visible().filter(|record| !record.gone && range.contains(&record.offset));
            for record in within.take_while(|record| record.offset < part.stable()) {
                if each(scanned(record)).is_break() {
                    return Ok(());
                }
            }
            match part.stable() < range.end {
                true => Err(LogError::retriable("reading", "a transaction is open there")),
                false => Ok(()),
            }
        })
    }
}

impl Archive for SimArchive {
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        Ok(self.with(topic, partition, |part| part.stable()))
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        Err(LogError::fatal("reading the group's offsets", format!("nobody asks for those of {partition}")))
    }
}

/// The standby of a process, which has its disk and dies with it.
pub struct Following {
    pub standby: Arc<Standby>,
    pub store: SimStore,
    pub config: WorkerConfig,
}

impl Following {
    /// Looks at each partition once.
    pub fn round(&self) {
        let mut archive = SimArchive(self.store.host.cluster.clone());
        let never = AtomicBool::new(false);
        self.standby.round(&mut archive, &self.store, &self.config, &never).expect("bounds are told");
    }
}
