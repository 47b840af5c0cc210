//! Numbers by the hash of their keys: open addressing in one array, so that a look costs one line of the cache.
//!
//! An entry holds the hash beside the number. So looking compares keys only where the hashes agree, and growing reads
//! no keys at all. Hashes are seeded anew in each process: their order may decide nothing, and nothing here gives one.

/// No number. It is the hash and number of nobody: there are fewer devices than that.
const EMPTY: u64 = u64::MAX;

/// A set of numbers, found by the hash of whatever they stand for.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Hash in the upper half, number in the lower. At most four fifths are taken.
    entries: Box<[u64]>,
    len: usize,
}

fn hash_in(entry: u64) -> u32 {
    (entry >> 32) as u32
}

impl Index {
    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The place where a hash is looked for first. Places rise with hashes, whatever the number of places: it need not
    /// be a power of two, and growing costs half as much again instead of twice.
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.entries.len() as u64) >> 32) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.entries.len() { 0 } else { place + 1 }
    }

    /// The number with this hash that `is` the wanted one.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut place = self.home(hash);
        loop {
            // An index that never held anything has no places.
            let entry = *self.entries.get(place)?;
            if entry == EMPTY {
                return None;
            }
            if hash_in(entry) == hash && is(entry as u32) {
                return Some(entry as u32);
            }
            place = self.after(place);
        }
    }

    /// What stands where a hash is looked for first, to have it in the cache.
    #[inline]
    pub(super) fn peek(&self, hash: u32) -> u64 {
        self.entries.get(self.home(hash)).copied().unwrap_or_default()
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        if (self.len + 1) * 5 > self.entries.len() * 4 {
            let places = (self.entries.len() + self.entries.len() / 2).max(16);
            let old = std::mem::replace(&mut self.entries, vec![EMPTY; places].into());
            for entry in old.into_iter().filter(|entry| *entry != EMPTY) {
                self.put(entry);
            }
        }
        self.put(u64::from(hash) << 32 | u64::from(number));
        self.len += 1;
    }

    fn put(&mut self, entry: u64) {
        let mut place = self.home(hash_in(entry));
        while self.entries[place] != EMPTY {
            place = self.after(place);
        }
        self.entries[place] = entry;
    }

    /// Takes a number away.
    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        let wanted = u64::from(hash) << 32 | u64::from(number);
        let mut hole = self.home(hash);
        while self.entries[hole] != wanted {
            assert!(self.entries[hole] != EMPTY, "number {number} is not in the index");
            hole = self.after(hole);
        }
        self.len -= 1;
        // What was put behind it because of it moves up, or it would not be found again.
        let places = self.entries.len();
        let distance = |from: usize, to: usize| if to >= from { to - from } else { to + places - from };
        let mut place = self.after(hole);
        while self.entries[place] != EMPTY {
            let home = self.home(hash_in(self.entries[place]));
            if distance(home, place) >= distance(hole, place) {
                self.entries[hole] = self.entries[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.entries[hole] = EMPTY;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, many of them at the end of the array: chains are long, wrap around, and have holes torn in.
        #[test]
        fn it_finds_what_was_put_and_not_removed(
            acts in proptest::collection::vec((any::<bool>(), 0..60u32, 0..8u32), 0..400),
        ) {
            let mut index = Index::default();
            let mut known = BTreeMap::new();
            for (insert, number, hash) in acts {
                let hash = u32::MAX - hash * (u32::MAX / 40);
                match known.get(&number) {
                    None if insert => {
                        index.insert(hash, number);
                        known.insert(number, hash);
                    }
                    Some(hash) if !insert => {
                        index.remove(*hash, number);
                        known.remove(&number);
                    }
                    _ => continue,
                }
                prop_assert_eq!(index.len(), known.len());
                for number in 0..60 {
                    let found = known.get(&number).and_then(|hash| index.find(*hash, |found| found == number));
                    prop_assert_eq!(found, known.get(&number).map(|_| number));
                }
                prop_assert_eq!(index.find(hash, |_| false), None);
            }
        }
    }
}
