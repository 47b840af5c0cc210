//! Timers: one entry a device, in buckets of about a second, re-armed lazily (DESIGN §3.6).
//!
//! An event that moves a deadline later leaves its entry where it is; when the bucket comes due, the device is looked
//! at, and fired or moved. Nothing is stored: the entries are made anew from the rows at a start.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::domain::time::Timestamp;

/// Width of a bucket: 2^10 ms.
const BUCKET_BITS: u32 = 10;
/// Place of a device without an entry.
const NOWHERE: i64 = i64::MAX;
/// Place of a device in the heap of what comes due now.
const DUE: i64 = i64::MIN;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The device must be looked at by then; its true deadline may lie later, never earlier.
    due: Timestamp,
    /// Bucket that holds its entry. An entry elsewhere is left over, and dropped when it is met.
    place: i64,
}

/// The timers of a partition, by dense device number.
#[derive(Debug)]
pub struct Timers {
    entries: Vec<Entry>,
    buckets: BTreeMap<i64, Vec<u32>>,
    /// What the opened buckets held.
    due: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// Buckets up to this one are open.
    opened: i64,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers { entries: Vec::new(), buckets: BTreeMap::new(), due: BinaryHeap::new(), opened: i64::MIN }
    }
}

fn bucket(due: Timestamp) -> i64 {
    due.millis() >> BUCKET_BITS
}

impl Timers {
    /// Sees to it that a device is looked at by `due`; `None`: not at all.
    pub fn arm(&mut self, device: u32, due: Option<Timestamp>) {
        let index = device as usize;
        if index >= self.entries.len() {
            if due.is_none() {
                return;
            }
            self.entries.resize(index + 1, Entry { due: Timestamp::MAX, place: NOWHERE });
        }
        let entry = &mut self.entries[index];
        let Some(due) = due else {
            entry.place = NOWHERE;
            return;
        };
        let wanted = bucket(due);
        entry.due = due;
        if wanted <= self.opened {
            entry.place = DUE;
            self.due.push(Reverse((due, device)));
        } else if wanted < entry.place {
            entry.place = wanted;
            self.buckets.entry(wanted).or_default().push(device);
        } else if entry.place == DUE {
            // Its entry in the heap is left over now.
            entry.place = wanted;
            self.buckets.entry(wanted).or_default().push(device);
        }
    }

    /// The device that must be looked at first, and by when, if that is at or before `to`.
    pub fn next(&mut self, to: Timestamp) -> Option<(Timestamp, u32)> {
        self.open(to);
        while let Some(Reverse((due, device))) = self.due.peek().copied() {
            let entry = &self.entries[device as usize];
            if entry.place == DUE && entry.due == due {
                return (due <= to).then_some((due, device));
            }
            self.due.pop();
        }
        None
    }

    /// Takes the entry that [`Timers::next`] showed; the device has none until it is armed again.
    pub fn take(&mut self) {
        if let Some(Reverse((_, device))) = self.due.pop() {
            self.entries[device as usize].place = NOWHERE;
        }
    }

    fn open(&mut self, to: Timestamp) {
        self.opened = self.opened.max(bucket(to));
        while let Some(first) = self.buckets.first_entry()
            && *first.key() <= self.opened
        {
            let (place, devices) = first.remove_entry();
            for device in devices {
                let entry = &mut self.entries[device as usize];
                if entry.place != place {
                    continue;
                }
                let wanted = bucket(entry.due);
                if wanted <= self.opened {
                    entry.place = DUE;
                    self.due.push(Reverse((entry.due, device)));
                } else {
                    entry.place = wanted;
                    self.buckets.entry(wanted).or_default().push(device);
                }
            }
        }
    }
}
