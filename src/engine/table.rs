//! The devices of a partition, all in memory: a small hot part that most events touch alone, and the row of the rest
//! as the bytes that are also checkpointed and published.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::domain::clocks::{Clocks, Quiet};

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

/// One device.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The record key, `tenant/device_id`.
    pub key: Box<str>,
    /// The facts besides the clocks, as bytes.
    pub row: Box<[u8]>,
    /// What signs of life move.
    pub clocks: Clocks,
    /// Which of them may move without any consequence.
    pub quiet: Quiet,
    /// What stands here.
    pub kind: Kind,
    /// The step that touched it last.
    pub touched: u32,
    /// The step that touched more than its clocks last.
    pub rewritten: u32,
}

/// The devices of a partition by key and by dense number. A birth takes the smallest number that is free.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Slot>,
    index: HashTable<u32>,
    free: BinaryHeap<Reverse<u32>>,
    /// One past the highest number that is taken.
    high: u32,
    /// Seeds no order: only membership is asked of the index, never its iteration.
    hasher: DefaultHashBuilder,
}

impl Table {
    /// The number of the device with this key.
    pub fn find(&self, key: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |number| &*self.slots[*number as usize].key == key).copied()
    }

    /// The slot of a number that is taken.
    pub fn slot(&self, number: u32) -> &Slot {
        &self.slots[number as usize]
    }

    /// The slot of a number that is taken, to be changed.
    pub fn slot_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.slots[number as usize]
    }

    /// One past the highest number that is taken; unlike [`Table::capacity`] the same after a recovery.
    pub fn high(&self) -> u32 {
        self.high
    }

    /// All numbers ever given, free ones included: `0..capacity`.
    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    /// How many numbers are taken.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no number is taken.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// A slot for a new key; its content is the caller's to set.
    pub fn insert(&mut self, key: &str) -> u32 {
        let number = match self.free.pop() {
            Some(Reverse(number)) => number,
            None => self.slots.len() as u32,
        };
        self.insert_at(number, key);
        number
    }

    /// As [`Table::insert`], at a number that is free: recovery puts devices where they were.
    pub fn insert_at(&mut self, number: u32, key: &str) {
        let empty = Slot {
            key: Box::default(),
            row: Box::default(),
            clocks: Clocks::default(),
            quiet: Quiet::default(),
            kind: Kind::Free,
            touched: 0,
            rewritten: 0,
        };
        while self.slots.len() <= number as usize {
            self.slots.push(empty.clone());
        }
        let slot = &mut self.slots[number as usize];
        assert!(slot.kind == Kind::Free, "number {number} is given twice");
        slot.key = key.into();
        slot.kind = Kind::Live;
        self.high = self.high.max(number + 1);
        let hash = self.hasher.hash_one(key);
        let Table { slots, index, hasher, .. } = self;
        index.insert_unique(hash, number, |number| hasher.hash_one(&*slots[*number as usize].key));
    }

    /// Frees a number; the caller has taken what it needs from the slot.
    pub fn remove(&mut self, number: u32) -> Slot {
        let slot = self.slots[number as usize].clone();
        let hash = self.hasher.hash_one(&*slot.key);
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == number) {
            entry.remove();
        }
        let place = &mut self.slots[number as usize];
        place.kind = Kind::Free;
        place.key = Box::default();
        place.row = Box::default();
        place.clocks = Clocks::default();
        place.quiet = Quiet::default();
        self.free.push(Reverse(number));
        while self.high > 0 && self.slots[self.high as usize - 1].kind == Kind::Free {
            self.high -= 1;
        }
        slot
    }

    /// After [`Table::insert_at`]: knows the free numbers again.
    pub fn rebuild_free(&mut self) {
        let free = (0..self.capacity()).filter(|number| self.slot(*number).kind == Kind::Free);
        self.free = free.map(Reverse).collect();
    }

    /// The numbers of all devices, live or deleted, with keys after `after`, in key order.
    pub fn in_key_order(&self, after: Option<&str>) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..self.capacity())
            .filter(|number| {
                let slot = self.slot(*number);
                slot.kind != Kind::Free && after.is_none_or(|after| &*slot.key > after)
            })
            .collect();
        numbers.sort_unstable_by(|a, b| self.slot(*a).key.cmp(&self.slot(*b).key));
        numbers
    }
}
