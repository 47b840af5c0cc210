//! Reading what a log holds, partition by partition: replay, export, audits, followers.

use std::ops::Range;

use super::{Bounds, Committed, LogError, ScanControl, Scanned, Topic};

/// Reads what a log holds, in no group and without leaving a trace. Any number of them may read at a time, also while
/// workers write.
pub trait Archive: Send {
    /// Low and high watermark (read_uncommitted) of one partition of any topic.
    ///
    /// # Errors
    /// There is no such partition; the log does not answer.
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError>;

    /// One past the last record that can be read now: no open transaction lies below it.
    ///
    /// # Errors
    /// As [`Archive::bounds`].
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError>;

    /// Reads committed records of one partition, offsets in `range`, in order, until its end or until `each` breaks.
    /// Offsets have holes. Waits for records of open transactions in the range.
    ///
    /// # Errors
    /// The range begins below the low watermark; an open transaction does not end in time (retriable); the log does not
    /// answer; a record there is damaged.
    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError>;

    /// The group's offsets of a partition, whose metadata name the committed head.
    ///
    /// # Errors
    /// As [`Archive::bounds`].
    fn committed(&mut self, partition: u32) -> Result<Committed, LogError>;
}

impl<A: Archive + ?Sized> Archive for Box<A> {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        (**self).bounds(topic, partition)
    }

    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        (**self).settled(topic, partition)
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

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        (**self).committed(partition)
    }
}
