//! The one writer: appends and commits queue up, and one of the waiting threads writes for all of them, in one batch
//! with one sync. While it does, the next ones queue: a slow disk makes larger batches, not a longer queue.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use rocksdb::{WriteBatch, WriteOptions};

use super::{Head, Shared, codec, lock};
use crate::domain::time::{Millis, Timestamp};
use crate::log::{OutRecord, Positions, Topic};

/// Why a write did not go through.
#[derive(Clone, Debug)]
pub struct WriteError {
    /// In words.
    pub message: String,
    /// Whether it may nevertheless be found written when the log is opened again.
    pub unknown: bool,
}

/// The queue of writes.
#[derive(Default)]
pub struct Writer {
    queue: Mutex<Queue>,
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    next: u64,
    busy: bool,
    waiting: Vec<(u64, Request)>,
    done: BTreeMap<u64, Result<Vec<u64>, WriteError>>,
    /// Set once by a write that failed: the database's state is unknown until it is opened again.
    broken: Option<String>,
}

struct Request {
    /// Slot and encoded value.
    records: Vec<(usize, Vec<u8>)>,
    /// Keys and values of group offsets.
    offsets: Vec<([u8; 5], Vec<u8>)>,
}

impl Shared {
    /// Writes records and group offsets, all or nothing, synced. Returns the offsets of the records.
    pub(super) fn write(
        &self,
        records: &[OutRecord],
        offsets: &[(u32, Positions, String)],
    ) -> Result<Vec<u64>, WriteError> {
        let request = self.encode(records, offsets)?;
        let mut queue = lock(&self.writer.queue);
        let id = queue.next;
        queue.next += 1;
        queue.waiting.push((id, request));
        loop {
            if let Some(result) = queue.done.remove(&id) {
                return result;
            }
            if queue.busy {
                queue = self.writer.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let group = std::mem::take(&mut queue.waiting);
            let broken = queue.broken.clone();
            drop(queue);
            let ids: Vec<u64> = group.iter().map(|(id, _)| *id).collect();
            let result = match broken {
                Some(message) => Err(WriteError { message, unknown: false }),
                None => self.write_group(group),
            };
            queue = lock(&self.writer.queue);
            queue.busy = false;
            match result {
                Ok(results) => queue.done.extend(ids.into_iter().zip(results.into_iter().map(Ok))),
                Err(error) => {
                    if error.unknown {
                        let message = format!("a write failed before ({}): restart", error.message);
                        queue.broken = Some(message);
                    }
                    queue.done.extend(ids.into_iter().map(|id| (id, Err(error.clone()))));
                }
            }
            self.writer.done.notify_all();
        }
    }

    /// Done by the calling threads, so that the writer only copies.
    fn encode(
        &self,
        records: &[OutRecord],
        offsets: &[(u32, Positions, String)],
    ) -> Result<Request, WriteError> {
        let missing = |topic: &str, partition: u32| WriteError {
            message: format!("{topic} has no partition {partition}, only {}", self.config.partitions),
            unknown: false,
        };
        let record = |record: &OutRecord| {
            let slot = self.slot(record.topic, record.partition);
            let slot = slot.ok_or_else(|| missing(record.topic.default_name(), record.partition))?;
            Ok((slot, codec::record_value(record)))
        };
        let offset = |(partition, positions, metadata): &(u32, Positions, String)| {
            if *partition >= self.config.partitions {
                return Err(missing("the group", *partition));
            }
            Ok((codec::offsets_key(*partition), codec::offsets_value(positions, metadata)))
        };
        Ok(Request {
            records: records.iter().map(record).collect::<Result<_, _>>()?,
            offsets: offsets.iter().map(offset).collect::<Result<_, _>>()?,
        })
    }

    fn write_group(&self, group: Vec<(u64, Request)>) -> Result<Vec<Vec<u64>>, WriteError> {
        let now = (self.clock)();
        let mut batch = WriteBatch::default();
        // The writer alone raises high watermarks, so its copies stay true while it writes.
        let mut touched: BTreeMap<usize, Head> = BTreeMap::new();
        let mut results = Vec::with_capacity(group.len());
        for (_, request) in group {
            let mut given = Vec::with_capacity(request.records.len());
            for (slot, mut value) in request.records {
                let place = self.place(slot);
                let topic = Topic::ALL[place.topic as usize];
                let head = touched.entry(slot).or_insert_with(|| lock(&self.heads)[slot]);
                head.last_time = head.last_time.max(now);
                if topic.stamped_by_log() {
                    codec::restamp(&mut value, head.last_time);
                }
                if self.index_due(topic, head) {
                    head.indexed = head.last_time;
                    batch.put(place.time(head.last_time), codec::numbers([head.high]));
                }
                batch.put(place.record(head.high), value);
                given.push(head.high);
                head.high += 1;
                head.dirty = head.dirty.saturating_add(1);
            }
            for (key, value) in request.offsets {
                batch.put(key, value);
            }
            results.push(given);
        }
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        let written = self.db.write_opt(batch, &durable);
        written.map_err(|error| WriteError { message: error.to_string(), unknown: true })?;
        let mut heads = lock(&self.heads);
        for (slot, head) in touched {
            let low = heads[slot].low;
            let clean = heads[slot].clean;
            heads[slot] = Head { low, clean, ..head };
        }
        drop(heads);
        self.grown.notify_all();
        Ok(results)
    }

    /// Whether the time index wants a row: a twentieth of the retention, at most a minute, since the last one.
    fn index_due(&self, topic: Topic, head: &Head) -> bool {
        let Some(Millis(retention)) = self.config.retention[topic.number()].filter(|_| !topic.compacted())
        else {
            return false;
        };
        let step = (retention / 20).clamp(1, 60_000);
        head.indexed == Timestamp::NEVER || (head.last_time - head.indexed).0 >= step
    }
}
