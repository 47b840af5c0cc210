//! The inputs of a partition, range by range, as entries of its journal name them.

use std::ops::ControlFlow;

use crate::domain::effect::InputTopic;
use crate::log::Archive;
use crate::log::INPUTS;
use crate::log::Inbox;
use crate::log::LogError;
use crate::log::Slot;
use crate::log::Topic;

/// Offsets that are read ahead of what is asked for, and bytes after which reading ahead stops.
const AHEAD_OFFSETS: u64 = 2_048;
const AHEAD_BYTES: usize = 8 << 20;
/// Bytes of records that were taken may pile up to this before they are dropped.
const ARENA_BYTES: usize = 4 << 20;

/// Why inputs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Retention removed them.
    #[error("{topic} begins at offset {low}, and offset {wanted} is needed")]
    Gone {
        /// The topic.
        topic: InputTopic,
        /// Its first offset.
        low: u64,
        /// The one that is needed.
        wanted: u64,
    },
}

#[derive(Debug, Default)]
struct Queue {
    slots: Vec<Slot>,
    /// Slots before this one were taken, from `last` on by the last call.
    taken: usize,
    last: usize,
    /// Where reading goes on.
    next: u64,
    high: u64,
}

/// Reads inputs ahead.
#[derive(Debug)]
pub struct Inputs {
    partition: u32,
    inbox: Inbox,
    queues: [Queue; INPUTS],
}

/// Ranges of offsets, by the order of [`InputTopic::ALL`].
pub type Ranges = [std::ops::Range<u64>; INPUTS];

impl Inputs {
    /// Of one partition.
    pub fn new(partition: u32) -> Inputs {
        Inputs { partition, inbox: Inbox::default(), queues: Default::default() }
    }

    /// The records in these ranges, which must rise from call to call. What is missing at their ends is just not there.
    ///
    /// # Errors
    /// The log fails; retention removed the beginning of a range.
    pub fn take(
        &mut self,
        archive: &mut dyn Archive,
        ranges: &Ranges,
    ) -> Result<([&[Slot]; INPUTS], &[u8]), InputError> {
        self.compact();
        let mut counts = [0; INPUTS];
        for index in 0..INPUTS {
            let range = &ranges[index];
            if range.is_empty() {
                continue;
            }
            self.skip(index, range.start);
            while self.queues[index].next < range.end {
                if !self.fetch(archive, index, range)? {
                    break;
                }
            }
            let queue = &self.queues[index];
            counts[index] =
                queue.slots[queue.taken..].iter().take_while(|slot| slot.offset < range.end).count();
        }
        for (queue, count) in self.queues.iter_mut().zip(counts) {
            queue.last = queue.taken;
            queue.taken += count;
        }
        Ok(self.last_taken())
    }

    /// What the last call of [`Inputs::take`] gave.
    pub fn last_taken(&self) -> ([&[Slot]; INPUTS], &[u8]) {
        (self.queues.each_ref().map(|queue| &queue.slots[queue.last..queue.taken]), &self.inbox.arena)
    }

    /// Passes over what lies before `from`.
    fn skip(&mut self, index: usize, from: u64) {
        let queue = &mut self.queues[index];
        queue.taken += queue.slots[queue.taken..].iter().take_while(|slot| slot.offset < from).count();
        if queue.next < from {
            queue.next = from;
        }
    }

    /// Reads on; whether there was something to read.
    fn fetch(
        &mut self,
        archive: &mut dyn Archive,
        index: usize,
        range: &std::ops::Range<u64>,
    ) -> Result<bool, InputError> {
        let (topic, partition) = (InputTopic::ALL[index], self.partition);
        let queue = &mut self.queues[index];
        if queue.high < range.end {
            let bounds = archive.bounds(Topic::Input(topic), partition)?;
            if bounds.low > queue.next {
                return Err(InputError::Gone { topic, low: bounds.low, wanted: queue.next });
            }
            queue.high = bounds.high;
        }
        let end = range.end.max(queue.next + AHEAD_OFFSETS).min(queue.high);
        if queue.next >= end {
            return Ok(false);
        }
        let (mut after, inbox) = (end, &mut self.inbox);
        let enough = inbox.arena.len() + AHEAD_BYTES;
        archive.scan(Topic::Input(topic), partition, queue.next..end, &mut |record| {
            let offset = record.offset;
            inbox.push(topic, partition, record);
            if inbox.arena.len() > enough {
                after = offset + 1;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        queue.next = after;
        queue.slots.append(&mut inbox.slots);
        Ok(true)
    }

    /// Drops the bytes of what was taken, now and then.
    fn compact(&mut self) {
        let is_empty = self.queues.iter().all(|queue| queue.taken == queue.slots.len());
        if !is_empty && self.inbox.arena.len() < ARENA_BYTES {
            return;
        }
        let mut arena = Vec::new();
        for queue in &mut self.queues {
            queue.slots.drain(..queue.taken);
            (queue.taken, queue.last) = (0, 0);
            for slot in &mut queue.slots {
                for range in slot.key.iter_mut().chain(slot.value.iter_mut()) {
                    let start = arena.len();
                    arena.extend_from_slice(&self.inbox.arena[range.clone()]);
                    *range = start..arena.len();
                }
            }
        }
        if is_empty {
            self.inbox.arena.clear();
        } else {
            self.inbox.arena = arena;
        }
    }
}
