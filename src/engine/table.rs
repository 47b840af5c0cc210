//! The devices of a partition, all in memory: a hot part of one cache line that most events touch alone, and, elsewhere
//! and in one piece, the key and the row of the rest, as the bytes that are also checkpointed and published.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;

use hashbrown::DefaultHashBuilder;

use super::index::Index;
use crate::domain::clocks::{Clocks, LastActivity, Quiet};
use crate::domain::time::Timestamp;

/// What stands in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing: the number is free.
    Free,
    /// A device; its row holds all facts but the clocks.
    Live,
    /// A deleted device; its row is a tombstone.
    Tombstone,
}

/// The clocks of a device in 43 bytes: every moment fits into seven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackedClocks {
    times: [[u8; 7]; 6],
    kind: LastActivity,
}

fn pack(time: Timestamp) -> [u8; 7] {
    // Moments are far below 2^55. What never happened is -2^63, and takes the place of -2^55.
    let millis = if time.happened() { time.millis() } else { i64::MIN >> 8 };
    let [low @ .., _] = millis.to_le_bytes();
    low
}

fn unpack(bytes: [u8; 7]) -> Timestamp {
    let mut upper = [0; 8];
    upper[1..].copy_from_slice(&bytes);
    let upper = i64::from_le_bytes(upper);
    if upper == i64::MIN { Timestamp::NEVER } else { Timestamp::from_millis(upper >> 8) }
}

impl From<&Clocks> for PackedClocks {
    fn from(clocks: &Clocks) -> PackedClocks {
        let Clocks { last_message, last_activity, last_poll, channels: [first, second, third], kind } =
            *clocks;
        let times = [last_message, last_activity, last_poll, first, second, third];
        PackedClocks { times: times.map(pack), kind }
    }
}

impl From<&PackedClocks> for Clocks {
    fn from(packed: &PackedClocks) -> Clocks {
        let [last_message, last_activity, last_poll, first, second, third] = packed.times.map(unpack);
        let channels = [first, second, third];
        Clocks { last_message, last_activity, last_poll, channels, kind: packed.kind }
    }
}

/// One device. What a sign of life needs stands here; the key stands at the beginning of the body, so that knowing a
/// device costs one line of the cache more.
#[derive(Debug)]
#[repr(align(64))]
pub struct Slot {
    /// Length of the key in four bytes, the key, the row. One piece: an allocation costs as much as half a row.
    body: Box<[u8]>,
    /// The step that touched it last.
    touched: u32,
    clocks: PackedClocks,
    /// What stands here, whether the step that touched it last touched more than its clocks, and the quiet bits.
    bits: u8,
}

const _: () = assert!(size_of::<Slot>() == 64, "a slot is a line of the cache");

const KIND: u8 = 3;
const REWRITTEN: u8 = 4;
const QUIET_SHIFT: u32 = 3;

impl Slot {
    fn free() -> Slot {
        Slot { body: Box::default(), touched: 0, clocks: PackedClocks::from(&Clocks::default()), bits: 0 }
    }

    fn key_end(&self) -> usize {
        match self.body.first_chunk() {
            Some(length) => 4 + u32::from_le_bytes(*length) as usize,
            None => 0,
        }
    }

    fn key_bytes(&self) -> &[u8] {
        self.body.get(4..self.key_end()).unwrap_or_default()
    }

    #[inline]
    fn has_key(&self, key: &[u8]) -> bool {
        match self.body.split_first_chunk() {
            Some((length, rest)) => {
                u32::from_le_bytes(*length) as usize == key.len() && rest.starts_with(key)
            }
            None => false,
        }
    }

    fn set_body(&mut self, key: &[u8], row: &[u8]) {
        let length = u32::try_from(key.len()).expect("a key is part of a record, and shorter than 4 GiB");
        self.body = [&length.to_le_bytes(), key, row].concat().into();
    }

    /// The record key, `tenant/device_id`; empty in a slot that is free.
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key_bytes()).expect("a key was text when it was put there")
    }

    /// The facts besides the clocks, as bytes.
    pub fn row(&self) -> &[u8] {
        &self.body[self.key_end()..]
    }

    /// Other facts.
    pub fn set_row(&mut self, row: &[u8]) {
        let start = self.key_end();
        match self.body.get_mut(start..) {
            Some(place) if place.len() == row.len() => place.copy_from_slice(row),
            _ => self.body = [&self.body[..start], row].concat().into(),
        }
    }

    /// What signs of life move.
    pub fn clocks(&self) -> Clocks {
        Clocks::from(&self.clocks)
    }

    /// The same as it is kept.
    pub fn packed_clocks(&self) -> PackedClocks {
        self.clocks
    }

    /// Other clocks.
    pub fn set_clocks(&mut self, clocks: impl Into<PackedClocks>) {
        self.clocks = clocks.into();
    }

    /// Which of the clocks may move without any consequence.
    pub fn quiet(&self) -> Quiet {
        Quiet(self.bits >> QUIET_SHIFT)
    }

    /// Other quiet bits.
    pub fn set_quiet(&mut self, quiet: Quiet) {
        self.bits = self.bits & (KIND | REWRITTEN) | quiet.0 << QUIET_SHIFT;
    }

    /// What stands here.
    pub fn kind(&self) -> Kind {
        match self.bits & KIND {
            0 => Kind::Free,
            1 => Kind::Live,
            _ => Kind::Tombstone,
        }
    }

    /// Something else stands here.
    pub fn set_kind(&mut self, kind: Kind) {
        self.bits = self.bits & !KIND | kind as u8;
    }

    /// Whether a step touches it for the first time; from now on it did.
    #[inline]
    pub(super) fn touch(&mut self, step: u32) -> bool {
        let is_first = self.touched != step;
        if is_first {
            self.touched = step;
            self.bits &= !REWRITTEN;
        }
        is_first
    }

    /// Whether a step touches more than its clocks for the first time; from now on it did.
    pub(super) fn rewrite(&mut self, step: u32) -> bool {
        let is_first = self.touched != step || self.bits & REWRITTEN == 0;
        self.touched = step;
        self.bits |= REWRITTEN;
        is_first
    }
}

/// Slots are allocated so many at a time, and stay where they are: growing moves none of them.
const CHUNK: usize = 1 << 12;

/// How many keys [`Table::warm`] takes at most.
pub const WARM_MAX: usize = 32;

/// Fewer devices are in the cache of a core anyhow, and looking ahead costs more than it saves: measured, with 3,000 a
/// sixth slower, with 10,000 a third faster.
const WARM_FROM: usize = 5_000;

/// The devices of a partition by key and by dense number. A birth takes the smallest number that is free.
#[derive(Debug, Default)]
pub struct Table {
    chunks: Vec<Box<[Slot]>>,
    /// How many numbers were ever given.
    capacity: u32,
    index: Index,
    free: BinaryHeap<Reverse<u32>>,
    /// One past the highest number that is taken.
    high: u32,
    /// Seeds no order: only membership is asked of the index.
    hasher: DefaultHashBuilder,
}

impl Table {
    fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        (hasher.finish() >> 32) as u32
    }

    /// The number of the device with this key.
    #[inline]
    pub fn find(&self, key: &str) -> Option<u32> {
        let key = key.as_bytes();
        self.index.find(self.hash(key), |number| self.slot(number).has_key(key))
    }

    /// Has in the cache what [`Table::find`] and a sign of life will need of these keys, [`WARM_MAX`] of them at most.
    /// Whoever knows the keys of the next records waits for memory once, not once for each of them. Nothing depends on
    /// it: keys may be wrong, unknown, or no keys at all.
    ///
    /// It reads a byte of each line. The loads of one loop do not depend on each other, so the processor has them under
    /// way all at once; the next loop needs what this one fetched.
    pub fn warm<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) {
        if self.len() < WARM_FROM {
            return;
        }
        let mut hashes = [0; WARM_MAX];
        let mut count = 0;
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
            count += 1;
        }
        let hashes = &hashes[..count];
        black_box(hashes.iter().fold(0, |seen, hash| seen ^ self.index.peek(*hash)));
        let mut numbers = [0; WARM_MAX];
        let mut count = 0;
        for number in hashes.iter().filter_map(|hash| self.index.find(*hash, |_| true)) {
            numbers[count] = number;
            count += 1;
        }
        let slots = numbers[..count].iter().map(|number| self.slot(*number));
        black_box(slots.clone().fold(0, |seen, slot| seen ^ slot.body.len()));
        black_box(slots.clone().fold(0, |seen, slot| seen ^ slot.body.first().copied().unwrap_or_default()));
        // A key may go on in the next line.
        black_box(slots.fold(0, |seen, slot| seen ^ slot.key_bytes().last().copied().unwrap_or_default()));
    }

    /// As [`Table::warm`], for slots alone.
    pub fn warm_slots(&self, numbers: impl Iterator<Item = u32>) {
        black_box(numbers.fold(0, |seen, number| seen ^ self.slot(number).bits));
    }

    /// The slot of a number that was given.
    #[inline]
    pub fn slot(&self, number: u32) -> &Slot {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// The slot of a number that was given, to be changed.
    #[inline]
    pub fn slot_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// One past the highest number that is taken; unlike [`Table::capacity`] the same after a recovery.
    pub fn high(&self) -> u32 {
        self.high
    }

    /// All numbers ever given, free ones included: `0..capacity`.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many numbers are taken.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no number is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A slot for a new key; its content is the caller's to set.
    pub fn insert(&mut self, key: &str) -> u32 {
        let number = match self.free.pop() {
            Some(Reverse(number)) => number,
            None => self.capacity,
        };
        self.insert_at(number, key, &[]);
        number
    }

    /// As [`Table::insert`], at a number that is free: recovery puts devices where they were.
    pub fn insert_at(&mut self, number: u32, key: &str, row: &[u8]) {
        self.capacity = self.capacity.max(number + 1);
        while self.chunks.len() * CHUNK < self.capacity as usize {
            self.chunks.push((0..CHUNK).map(|_| Slot::free()).collect());
        }
        let slot = self.slot_mut(number);
        assert!(slot.kind() == Kind::Free, "number {number} is given twice");
        slot.set_body(key.as_bytes(), row);
        slot.set_kind(Kind::Live);
        self.high = self.high.max(number + 1);
        self.index.insert(self.hash(key.as_bytes()), number);
    }

    /// Frees a number; the caller has taken what it needs from the slot.
    pub fn remove(&mut self, number: u32) {
        self.index.remove(self.hash(self.slot(number).key_bytes()), number);
        *self.slot_mut(number) = Slot { touched: self.slot(number).touched, ..Slot::free() };
        self.free.push(Reverse(number));
        while self.high > 0 && self.slot(self.high - 1).kind() == Kind::Free {
            self.high -= 1;
        }
    }

    /// After [`Table::insert_at`]: knows the free numbers again.
    pub fn rebuild_free(&mut self) {
        let free = (0..self.capacity).filter(|number| self.slot(*number).kind() == Kind::Free);
        self.free = free.map(Reverse).collect();
    }

    /// The numbers of all devices, live or deleted, with keys after `after`, in key order.
    pub fn in_key_order(&self, after: Option<&str>) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..self.capacity)
            .filter(|number| {
                let slot = self.slot(*number);
                slot.kind() != Kind::Free && after.is_none_or(|after| slot.key_bytes() > after.as_bytes())
            })
            .collect();
        self.sort_by_key(&mut numbers);
        numbers
    }

    /// Brings numbers into the order of their keys.
    pub fn sort_by_key(&self, numbers: &mut [u32]) {
        numbers.sort_unstable_by(|a, b| self.slot(*a).key_bytes().cmp(self.slot(*b).key_bytes()));
    }
}
