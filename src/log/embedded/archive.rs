//! Reading the embedded log without being its member.

use std::ops::Range;

use super::{EmbeddedLog, codec};
use crate::log::{Archive, Bounds, Committed, LogError, Records, ScanControl, Scanned, Topic};

impl EmbeddedLog {
    /// The group's offsets of a partition.
    pub(super) fn committed(&self, partition: u32) -> Result<Committed, LogError> {
        let failed = |message: String| LogError::fatal("reading the group's offsets", message);
        let row =
            self.shared.db.get(codec::offsets_key(partition)).map_err(|error| failed(error.to_string()))?;
        let offsets = match row {
            None => Default::default(),
            Some(row) => codec::read_offsets(&row)
                .ok_or_else(|| failed(format!("those of partition {partition} are damaged")))?,
        };
        Ok(Committed { partition, offsets })
    }
}

impl Records for EmbeddedLog {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        EmbeddedLog::bounds(self, topic, partition)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        EmbeddedLog::scan(self, topic, partition, range, each)
    }
}

impl Archive for EmbeddedLog {
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        Ok(EmbeddedLog::bounds(self, topic, partition)?.high)
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        EmbeddedLog::committed(self, partition)
    }
}
