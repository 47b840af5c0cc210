//! Reading what a log holds, partition by partition: replay, export, audits, followers.

use std::ops::Range;

use super::{Bounds, Committed, LogError, Records, ScanControl, Scanned, Topic};

/// Reads what a log holds, in no group and without leaving a trace. Any number of them may read at a time, also while
/// workers write.
pub trait Archive: Records + Send {
    /// One past the last record that can be read now: no open transaction lies below it.
    ///
    /// # Errors
    /// As [`Records::bounds`].
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError>;

    /// The same of many, as [`Records::bounds_of`].
    ///
    /// # Errors
    /// As [`Records::bounds`].
    fn settled_of(&mut self, asked: &[(Topic, u32)]) -> Result<Vec<u64>, LogError> {
        asked.iter().map(|(topic, partition)| self.settled(*topic, *partition)).collect()
    }

    /// The group's offsets of a partition, whose metadata name the committed head.
    ///
    /// # Errors
    /// As [`Records::bounds`].
    fn committed(&mut self, partition: u32) -> Result<Committed, LogError>;
}

impl<R: Records + ?Sized> Records for Box<R> {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        (**self).bounds(topic, partition)
    }

    fn bounds_of(&mut self, asked: &[(Topic, u32)]) -> Result<Vec<Bounds>, LogError> {
        (**self).bounds_of(asked)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        (**self).scan(topic, partition, range, each)
    }
}

impl<A: Archive + ?Sized> Archive for Box<A> {
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        (**self).settled(topic, partition)
    }

    fn settled_of(&mut self, asked: &[(Topic, u32)]) -> Result<Vec<u64>, LogError> {
        (**self).settled_of(asked)
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        (**self).committed(partition)
    }
}
