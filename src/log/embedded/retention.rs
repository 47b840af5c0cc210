//! What goes: records that were appended before the retention of their topic, and on compacted topics all but the
//! latest record of each key. In a thread of its own, so that neither polls nor commits wait for it.

use std::sync::{Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use rocksdb::WriteBatch;
use xxhash_rust::xxh3::xxh3_128;

use super::{Shared, codec, lock};
use crate::domain::time::{Millis, Timestamp};
use crate::log::{LogError, Topic};

/// The body of the retention thread: once a second by the host's time, as of the log's clock.
pub fn keep(shared: &Weak<Shared>, stop: &Mutex<bool>, stopped: &Condvar) {
    let mut stop = lock(stop);
    while !*stop {
        stop = stopped.wait_timeout(stop, Duration::from_secs(1)).unwrap_or_else(PoisonError::into_inner).0;
        if *stop {
            return;
        }
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = apply(&shared, (shared.clock)(), false) {
            tracing::warn!("{error}");
        }
    }
}

/// Applies retention to every partition as of `now`; compaction where it is worth it, or everywhere if `all`.
pub fn apply(shared: &Shared, now: Timestamp, all: bool) -> Result<(), LogError> {
    let _one_at_a_time = lock(&shared.housekeeping);
    let slots = lock(&shared.heads).len();
    for slot in 0..slots {
        let topic = Topic::ALL[shared.place(slot).topic as usize];
        let done = if topic.compacted() {
            compact(shared, slot, now, all)
        } else {
            match shared.config.retention[topic.number()] {
                Some(retention) => expire(shared, slot, now + Millis(-retention.0)),
                None => Ok(()),
            }
        };
        done.map_err(|error| {
            LogError::retriable(format!("applying the retention of {topic}"), error.to_string())
        })?;
    }
    Ok(())
}

/// Removes what was appended before `limit`, to the granularity of the time index.
fn expire(shared: &Shared, slot: usize, limit: Timestamp) -> Result<(), rocksdb::Error> {
    let place = shared.place(slot);
    let head = lock(&shared.heads)[slot];
    if head.low == head.high {
        return Ok(());
    }
    // A row (time, offset) says: whatever lies below this offset was appended no later than that.
    let mut cut = None;
    let mut rows = shared.iterate(&place.time(Timestamp::MIN), &place.time(limit.next()));
    rows.seek_to_last();
    if let Some((_, value)) = rows.item() {
        cut = codec::read_numbers(value).map(|[offset]| offset);
    }
    rows.status()?;
    drop(rows);
    if head.last_time < limit {
        cut = Some(head.high);
    }
    let Some(cut) = cut.filter(|cut| *cut > head.low) else { return Ok(()) };
    // First for readers, then on disk: nobody meets a row that is half gone.
    lock(&shared.heads)[slot].low = cut;
    let mut batch = WriteBatch::default();
    batch.put(place.limits(), codec::numbers([cut, head.high, head.last_time.millis() as u64]));
    batch.delete_range(place.record(head.low), place.record(cut));
    batch.delete_range(place.time(Timestamp::MIN), place.time(limit));
    shared.db.write(batch)?;
    // Whole files below the cut go at once; the rest at the next compaction.
    shared.db.delete_file_in_range(place.record(0), place.record(cut - 1))
}

/// Keeps the latest record of each key, and null ones only as long as tombstones stay.
fn compact(shared: &Shared, slot: usize, now: Timestamp, all: bool) -> Result<(), rocksdb::Error> {
    let place = shared.place(slot);
    let head = lock(&shared.heads)[slot];
    // Worth it when as much is new as the last time was left: the work per record stays constant.
    if head.dirty == 0 || (!all && head.dirty < head.clean.max(1000)) {
        return Ok(());
    }
    let tombstones = now + Millis(-shared.config.tombstone_retention.0);
    let (from, to) = (place.record(head.low), place.record(head.high));
    let mut headers = Vec::new();
    let mut latest: HashMap<u128, u64> = HashMap::new();
    let mut rows = shared.iterate(&from, &to);
    while let Some((key, value)) = rows.item() {
        let offset = codec::offset_of(key).unwrap_or_default();
        if let Some(key) = codec::read_record(offset, value, &mut headers).and_then(|record| record.key) {
            latest.insert(xxh3_128(key), offset);
        }
        rows.next();
    }
    rows.status()?;
    let (mut kept, mut gone) = (0, 0);
    let mut waiting_tombstones = false;
    let mut batch = WriteBatch::default();
    // What the log would forget if its last record went.
    batch.put(place.limits(), codec::numbers([head.low, head.high, head.last_time.millis() as u64]));
    rows.seek(from);
    while let Some((row, value)) = rows.item() {
        let offset = codec::offset_of(row).unwrap_or_default();
        let record = codec::read_record(offset, value, &mut headers);
        let stays = record.as_ref().is_some_and(|record| {
            let newest = record.key.is_some_and(|key| latest.get(&xxh3_128(key)) == Some(&offset));
            newest && (record.value.is_some() || record.timestamp >= tombstones)
        });
        if stays {
            kept += 1;
            waiting_tombstones |= record.is_some_and(|record| record.value.is_none());
        } else {
            gone += 1;
            batch.delete(row);
            if batch.len() >= 1000 {
                shared.db.write(std::mem::take(&mut batch))?;
            }
        }
        rows.next();
    }
    rows.status()?;
    drop(rows);
    shared.db.write(batch)?;
    let mut heads = lock(&shared.heads);
    let written_since = heads[slot].dirty.saturating_sub(head.dirty);
    // A tombstone that still stays has to be looked at again, by an explicit call at the latest.
    heads[slot].dirty = written_since + u64::from(waiting_tombstones);
    heads[slot].clean = kept;
    drop(heads);
    if gone > kept {
        shared.db.compact_range(Some(from), Some(to));
    }
    Ok(())
}
