//! Rows in the order of a text: what narrows a filter down before rows are looked at.

use std::cmp::Ordering;
use std::hint::black_box;

/// Rows of a block: an insertion moves so many at most. Small in tests, whose orders are short.
const BLOCK: usize = if cfg!(test) { 4 } else { 1024 };

/// Numbers of rows in an order that only the caller knows: each place is told by which rows come before it.
#[derive(Debug, Default)]
pub struct Order {
    /// None of them empty.
    blocks: Vec<Vec<u32>>,
}

/// A place in an order: before a row, or at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    block: usize,
    at: usize,
}

impl Order {
    /// The place behind all rows for which `is_before` holds; it must hold for none behind one for which it does not.
    pub fn place(&self, is_before: impl Fn(u32) -> bool) -> Place {
        let block = self.blocks.partition_point(|block| is_before(block[0])).saturating_sub(1);
        let at = self.blocks.get(block).map_or(0, |rows| rows.partition_point(|row| is_before(*row)));
        self.normal(Place { block, at })
    }

    /// The places of so many things, each as [`Order::place`] has it, step by step together: rows that are looked at next
    /// are touched first.
    pub fn places(
        &self,
        count: usize,
        touch: impl Fn(u32) -> usize,
        is_before: impl Fn(usize, u32) -> bool,
    ) -> Vec<Place> {
        // Bounds of each: the first that may not be before, and the first that is not.
        let search = |bounds: &mut [(usize, usize)], row: &dyn Fn(usize, usize) -> u32| {
            let mut rows: Vec<(usize, usize, u32)> = Vec::with_capacity(count);
            loop {
                rows.clear();
                for (one, (low, high)) in bounds.iter().enumerate().filter(|(_, (low, high))| low < high) {
                    let middle = low.midpoint(*high);
                    rows.push((one, middle, row(one, middle)));
                }
                if rows.is_empty() {
                    return;
                }
                black_box(rows.iter().fold(0, |sum, (.., row)| sum ^ touch(*row)));
                for (one, middle, row) in &rows {
                    match is_before(*one, *row) {
                        true => bounds[*one].0 = middle + 1,
                        false => bounds[*one].1 = *middle,
                    }
                }
            }
        };
        let mut blocks = vec![(0, self.blocks.len()); count];
        search(&mut blocks, &|_, block| self.blocks[block][0]);
        let block = |one: usize| blocks[one].0.saturating_sub(1);
        let rows = |one: usize| self.blocks.get(block(one)).map_or(0, Vec::len);
        let mut within: Vec<(usize, usize)> = (0..count).map(|one| (0, rows(one))).collect();
        search(&mut within, &|one, at| self.blocks[block(one)][at]);
        let place = |one: usize| self.normal(Place { block: block(one), at: within[one].0 });
        (0..count).map(place).collect()
    }

    /// The end of one block is the beginning of the next.
    fn normal(&self, place: Place) -> Place {
        match self.blocks.get(place.block) {
            Some(rows) if place.at == rows.len() => Place { block: place.block + 1, at: 0 },
            _ => place,
        }
    }

    /// The row at a place; `None` at the end.
    pub fn at(&self, place: Place) -> Option<u32> {
        self.blocks.get(place.block)?.get(place.at).copied()
    }

    /// The rows from a place on.
    pub fn from<'o>(&'o self, place: Place) -> impl Iterator<Item = u32> + use<'o> {
        let first = self.blocks.get(place.block).map_or(&[][..], |rows| &rows[place.at..]);
        first.iter().chain(self.blocks.iter().skip(place.block + 1).flatten()).copied()
    }

    /// How many rows stand between two places.
    pub fn count(&self, (from, to): (Place, Place)) -> usize {
        let whole: usize = self.blocks[from.block..to.block].iter().map(Vec::len).sum();
        (whole + to.at).saturating_sub(from.at)
    }

    /// The rows between two places.
    pub fn between<'o>(&'o self, places: (Place, Place)) -> impl Iterator<Item = u32> + use<'o> {
        self.from(places.0).take(self.count(places))
    }

    /// Puts a row at a place.
    pub fn insert(&mut self, place: Place, row: u32) {
        if place.block == self.blocks.len() {
            // At the end: behind the last, so that blocks are filled.
            match self.blocks.last_mut() {
                Some(rows) => rows.push(row),
                None => self.blocks.push(vec![row]),
            }
        } else {
            self.blocks[place.block].insert(place.at, row);
        }
        let block = place.block.min(self.blocks.len() - 1);
        let rows = &mut self.blocks[block];
        if rows.len() > BLOCK {
            let rest = rows.split_off(BLOCK / 2);
            rows.shrink_to_fit();
            self.blocks.insert(block + 1, rest);
        }
    }

    /// Takes the row at a place away.
    pub fn remove(&mut self, place: Place) -> Option<u32> {
        let rows = self.blocks.get_mut(place.block).filter(|rows| place.at < rows.len())?;
        let row = rows.remove(place.at);
        if rows.is_empty() {
            self.blocks.remove(place.block);
        }
        Some(row)
    }
}

/// A text letter by letter, as it is compared where case does not matter.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

fn folded_bytes(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().map(u8::to_ascii_lowercase)
}

/// The order of texts where case does not matter.
pub fn compare(text: &str, other: &str) -> Ordering {
    match text.is_ascii() && other.is_ascii() {
        true => folded_bytes(text.as_bytes()).cmp(folded_bytes(other.as_bytes())),
        false => folded(text).cmp(folded(other)),
    }
}

/// Where a text stands in that order to those that begin with `prefix`: before them, among them (equal), or behind.
pub fn compare_begin(text: &str, prefix: &str) -> Ordering {
    if text.is_ascii() && prefix.is_ascii() {
        let begin = &text.as_bytes()[..prefix.len().min(text.len())];
        return folded_bytes(begin).cmp(folded_bytes(prefix.as_bytes()));
    }
    // Letters may become others, and more or fewer, in lower case.
    let mut letters = folded(text);
    for wanted in folded(prefix) {
        match letters.next().map(|letter| letter.cmp(&wanted)) {
            None => return Ordering::Less,
            Some(Ordering::Equal) => {}
            Some(other) => return other,
        }
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_does_not_matter_in_any_script() {
        for (text, prefix, expected) in [
            ("Pump 12", "pUMP", Ordering::Equal),
            ("Pum", "pump", Ordering::Less),
            ("Qump", "pump", Ordering::Greater),
            ("Ärger", "ä", Ordering::Equal),
            ("\u{212a}elvin", "k", Ordering::Equal),
            ("ΟΔΟΣ 1", "οδοσ", Ordering::Equal),
            ("", "", Ordering::Equal),
            ("zoo", "ä", Ordering::Less),
        ] {
            assert_eq!(compare_begin(text, prefix), expected, "{text} {prefix}");
        }
        assert_eq!(compare("abc", "ABC"), Ordering::Equal);
        assert_eq!(compare("é", "Z"), Ordering::Greater);
    }

    proptest! {
        /// Whatever comes and goes, the order is that of a sorted list, and every range of it.
        #[test]
        fn rows_stand_as_a_sorted_list_has_them(
            steps in proptest::collection::vec((any::<bool>(), 0..40u32), 0..120),
            limits in (0..40u32, 0..40u32),
        ) {
            let (mut order, mut sorted) = (Order::default(), Vec::new());
            for (comes, row) in steps {
                let place = order.place(|other| other < row);
                match (comes, sorted.binary_search(&row)) {
                    (true, Err(at)) => {
                        order.insert(place, row);
                        sorted.insert(at, row);
                    }
                    (false, Ok(at)) => {
                        prop_assert_eq!(order.remove(place), Some(row));
                        sorted.remove(at);
                    }
                    (_, known) => prop_assert_eq!(order.at(place) == Some(row), known.is_ok()),
                }
            }
            let first = order.place(|_| false);
            prop_assert_eq!(order.from(first).collect::<Vec<_>>(), sorted.clone());
            let (from, to) = (limits.0.min(limits.1), limits.0.max(limits.1));
            let places = (order.place(|row| row < from), order.place(|row| row < to));
            let all = order.places(45, |row| row as usize, |one, row| row < one as u32);
            let one_by_one: Vec<Place> = (0..45).map(|one| order.place(|row| row < one)).collect();
            prop_assert_eq!(all, one_by_one);
            let wanted: Vec<u32> = sorted.into_iter().filter(|row| (from..to).contains(row)).collect();
            prop_assert_eq!(order.count(places), wanted.len());
            prop_assert_eq!(order.between(places).collect::<Vec<_>>(), wanted);
        }

        /// A range of names that begin alike has all of them and no other.
        #[test]
        fn names_that_begin_alike_stand_together(
            mut names in proptest::collection::vec("[aAbBkKäÄ\u{130}\u{212a}σςΣ]{0,4}", 0..20),
            prefix in "[aAbBkKäÄ\u{130}\u{212a}σςΣ]{0,2}",
        ) {
            names.sort_by(|a, b| compare(a, b));
            let places: Vec<Ordering> = names.iter().map(|name| compare_begin(name, &prefix)).collect();
            prop_assert!(places.is_sorted(), "{:?} {:?}", names, places);
            let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
            for (name, place) in names.iter().zip(places) {
                prop_assert_eq!(place == Ordering::Equal, lower(name).starts_with(&lower(&prefix)));
            }
        }
    }
}
