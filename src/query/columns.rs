//! Rows in columns, and sets of rows. What is asked of many devices lies together by kind, 80 bytes a device in all: a
//! filter reads only the columns that it looks at, one after the other, and each leaves fewer rows to the next.

use std::hint::black_box;

use super::cells::{Cells, Facts, LAST_ACTIVITY, Moment, TIMES, Time, VPN};
use crate::domain::clocks::Clocks;
use crate::domain::facet::Connection;

/// Rows of a chunk: a tenant grows by so many at most, so that little room is wasted. Small in tests, whose fleets are
/// small: they go through several, and with several threads.
pub const CHUNK: usize = if cfg!(test) { 8 } else { 4096 };
const WORDS: usize = CHUNK.div_ceil(64);
/// Of 64 rows so many are looked at one by one; of more, all of them without a branch.
const FEW: u32 = if cfg!(test) { 2 } else { 8 };
/// Texts that are fetched together.
const AT_ONCE: usize = 32;

/// A device's texts, and what is seldom asked for.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Id, then name. Empty: the row is free.
    text: Box<str>,
    /// Its dense number in the partition.
    pub number: u32,
    minutes: i16,
    id_bytes: u16,
}

const _: () = assert!(size_of::<Row>() + 4 + 8 + TIMES * size_of::<Moment>() + 2 * 4 == 80);

impl Row {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.text[..usize::from(self.id_bytes)]
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        Some(&self.text[usize::from(self.id_bytes)..]).filter(|name| !name.is_empty())
    }

    /// Whether it is nobody's.
    pub fn is_free(&self) -> bool {
        self.text.is_empty()
    }
}

/// Some rows of a chunk, a bit each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection([u64; WORDS]);

impl Default for Selection {
    fn default() -> Selection {
        Selection([0; WORDS])
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    })
}

impl Selection {
    /// Takes the row at a place.
    pub fn add(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn remove(&mut self, at: usize) {
        self.0[at / 64] &= !(1 << (at % 64));
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Takes those of another, too.
    pub fn join(&mut self, other: &Selection) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Leaves those that are not in another.
    pub fn without(&mut self, other: &Selection) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    fn share(&mut self, other: &Selection) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Their places in the chunk.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| bits(*word).map(move |bit| index * 64 + bit))
    }

    /// Leaves those whose value in a column is wanted.
    #[inline]
    pub fn retain<V: Copy>(&mut self, column: &[V], mut wanted: impl FnMut(V) -> bool) {
        self.retain_with(column, |_, value| wanted(value));
    }

    /// The same, by place and value.
    #[inline]
    pub fn retain_with<V: Copy>(&mut self, column: &[V], mut wanted: impl FnMut(usize, V) -> bool) {
        for ((word, values), first) in self.0.iter_mut().zip(column.chunks(64)).zip((0..).step_by(64)) {
            match word.count_ones() {
                0 => {}
                1..=FEW => {
                    for bit in bits(*word) {
                        *word &= !(u64::from(!wanted(first + bit, values[bit])) << bit);
                    }
                }
                _ => {
                    let mut left = 0;
                    for (value, bit) in values.iter().zip(0..) {
                        left |= u64::from(wanted(first + bit, *value)) << bit;
                    }
                    *word &= left;
                }
            }
        }
    }

    /// Leaves those that are wanted by their place.
    #[inline]
    pub fn retain_at(&mut self, mut wanted: impl FnMut(usize) -> bool) {
        for (word, first) in self.0.iter_mut().zip((0..).step_by(64)) {
            for bit in bits(*word) {
                *word &= !(u64::from(!wanted(first + bit)) << bit);
            }
        }
    }
}

/// Some rows of a tenant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RowSet(Vec<Selection>);

impl RowSet {
    #[inline]
    fn of_chunk_mut(&mut self, chunk: usize) -> &mut Selection {
        if self.0.len() <= chunk {
            self.0.resize_with(chunk + 1, Selection::default);
        }
        &mut self.0[chunk]
    }

    /// Takes a row; twice is once.
    pub fn add(&mut self, row: u32) {
        self.of_chunk_mut(row as usize / CHUNK).add(row as usize % CHUNK);
    }

    /// Whether a row is among them.
    pub fn has(&self, row: u32) -> bool {
        self.0.get(row as usize / CHUNK).is_some_and(|chunk| chunk.has(row as usize % CHUNK))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(Selection::count).sum()
    }

    /// Takes those that were found in a chunk.
    pub fn take(&mut self, found: &Found<'_>) {
        self.of_chunk_mut(found.first as usize / CHUNK).join(&found.rows);
    }

    /// Takes those of another, too.
    pub fn join(&mut self, other: &RowSet) {
        other.0.iter().enumerate().for_each(|(chunk, rows)| self.of_chunk_mut(chunk).join(rows));
    }

    /// Leaves those that are in the other, too.
    pub fn share(&mut self, other: &RowSet) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(rows, other)| rows.share(other));
    }

    /// All of them, in the order in which they lie.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0
            .iter()
            .zip((0..).step_by(CHUNK))
            .flat_map(|(rows, first)| rows.iter().map(move |at| first + at as u32))
    }
}

/// Rows of a chunk that satisfy what was asked.
pub struct Found<'c> {
    /// The chunk.
    pub chunk: &'c Chunk,
    /// The number of its first row.
    pub first: u32,
    /// Which of its rows.
    pub rows: Selection,
}

/// Rows that lie together, in columns.
#[derive(Debug, Default)]
pub struct Chunk {
    live: Selection,
    rows: Vec<Row>,
    /// Small facts.
    pub words: Vec<u64>,
    times: [Vec<Moment>; TIMES],
    /// Types, by the tenant's numbers.
    pub types: Vec<u32>,
    /// Labels, by the tenant's numbers.
    pub labels: Vec<u32>,
    /// First bytes of names.
    heads: Vec<u32>,
    /// When each was last seen to come or to go: by its tunnel, or if it never had one, by its client session. Empty while
    /// nobody here ever had a tunnel, as in most fleets: then the times of sessions tell.
    moved: Vec<Moment>,
}

/// A device in its columns.
#[derive(Clone, Copy, Debug)]
pub struct At<'c> {
    chunk: &'c Chunk,
    at: usize,
}

impl Chunk {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row that is nobody's.
    pub fn push(&mut self) {
        self.rows.push(Row::default());
        self.words.push(0);
        self.times.iter_mut().for_each(|column| column.push(Moment::default()));
        [&mut self.types, &mut self.labels, &mut self.heads].into_iter().for_each(|column| column.push(0));
    }

    /// One of its rows.
    pub fn row(&self, at: usize) -> &Row {
        &self.rows[at]
    }

    /// The device of a row.
    pub fn at(&self, at: usize) -> At<'_> {
        At { chunk: self, at }
    }

    /// A column of times.
    pub fn times(&self, time: Time) -> &[Moment] {
        &self.times[time as usize]
    }

    /// When each was last seen to come or to go: by its tunnel, or if it never had one, by its client session. `None` while
    /// nobody here ever had a tunnel: then it is the later one of connect and disconnect.
    pub fn moved(&self) -> Option<&[Moment]> {
        (!self.moved.is_empty()).then_some(&*self.moved)
    }

    /// Sets what is known of a row's device, but for its texts.
    pub fn set(&mut self, at: usize, cells: &Cells, tunnel: Moment) {
        self.words[at] = cells.word;
        self.times.iter_mut().zip(cells.times).for_each(|(column, time)| column[at] = time);
        self.types[at] = cells.device_type;
        self.labels[at] = cells.labels;
        self.heads[at] = cells.name_head;
        let row = &mut self.rows[at];
        (row.number, row.minutes) = (cells.number, cells.minutes);
        let has_tunnel = VPN.of(cells.word) != Connection::Unknown as usize;
        if has_tunnel && self.moved.is_empty() {
            self.moved = (0..CHUNK)
                .map(|at| if at < self.len() { self.at(at).session() } else { Moment::default() })
                .collect();
        }
        let moved = if has_tunnel { tunnel } else { self.at(at).session() };
        if let Some(known) = self.moved.get_mut(at) {
            *known = moved;
        }
    }

    /// Sets id and name of a row.
    pub fn set_texts(&mut self, at: usize, id: &str, name: &str) {
        let row = &mut self.rows[at];
        row.text = [id, name].concat().into();
        row.id_bytes = id.len() as u16;
        self.live.add(at);
    }

    /// Makes a row nobody's.
    pub fn free(&mut self, at: usize) {
        self.set(at, &Cells::default(), Moment::default());
        self.rows[at] = Row::default();
        self.live.remove(at);
    }

    /// Sets the clocks that signs of life move.
    pub fn set_clocks(&mut self, at: usize, clocks: &Clocks) {
        let Clocks { last_message, last_activity, last_poll, kind, .. } = *clocks;
        let times = [
            (Time::LastMessage, last_message),
            (Time::LastActivity, last_activity),
            (Time::LastPoll, last_poll),
        ];
        times.into_iter().for_each(|(time, moment)| self.times[time as usize][at] = Moment::new(moment));
        LAST_ACTIVITY.set(&mut self.words[at], kind as usize);
    }

    /// Its rows that are somebody's; of those `among` a set, if there is one. `first`: the number of its first row.
    pub fn found(&self, first: u32, among: Option<&RowSet>) -> Found<'_> {
        let mut rows = self.live.clone();
        if let Some(among) = among {
            let none = Selection::default();
            rows.share(among.0.get(first as usize / CHUNK).unwrap_or(&none));
        }
        Found { chunk: self, first, rows }
    }
}

impl<'c> Found<'c> {
    /// None of the same chunk.
    pub fn none(&self) -> Found<'c> {
        Found { rows: Selection::default(), ..*self }
    }

    /// Leaves rows by what does not lie in columns: their texts. These lie elsewhere; touched together they cost one wait
    /// for memory, one by one a wait each.
    pub fn retain_texts(&mut self, mut wanted: impl FnMut(usize, &Row) -> bool) {
        let all: Vec<usize> = self.rows.iter().collect();
        for some in all.chunks(AT_ONCE) {
            black_box(some.iter().fold(0, |sum, at| sum | self.chunk.rows[*at].text.as_bytes()[0]));
            for at in some {
                if !wanted(*at, &self.chunk.rows[*at]) {
                    self.rows.remove(*at);
                }
            }
        }
    }
}

impl Facts for At<'_> {
    fn word(&self) -> u64 {
        self.chunk.words[self.at]
    }

    fn time(&self, time: Time) -> Moment {
        self.chunk.times[time as usize][self.at]
    }

    fn minutes_told(&self) -> i16 {
        self.chunk.rows[self.at].minutes
    }
}

impl At<'_> {
    /// Its type, by the tenant's number.
    pub fn device_type(&self) -> u32 {
        self.chunk.types[self.at]
    }

    /// Its labels, by the tenant's number.
    pub fn labels(&self) -> u32 {
        self.chunk.labels[self.at]
    }

    /// First bytes of its name.
    pub fn name_head(&self) -> u32 {
        self.chunk.heads[self.at]
    }

    /// When its client session came or went.
    fn session(&self) -> Moment {
        let (came, went) = (self.time(Time::LastConnect), self.time(Time::LastDisconnect));
        if came.rank() < went.rank() { went } else { came }
    }

    /// When it was last seen to come or to go: by its tunnel, or if it never had one, by its client session.
    pub fn moved(&self) -> Moment {
        self.chunk.moved.get(self.at).copied().unwrap_or_else(|| self.session())
    }

    /// All of it.
    pub fn cells(&self) -> Cells {
        let Row { number, minutes, .. } = self.chunk.rows[self.at];
        Cells {
            word: self.word(),
            times: std::array::from_fn(|time| self.chunk.times[time][self.at]),
            device_type: self.device_type(),
            labels: self.labels(),
            name_head: self.name_head(),
            number,
            minutes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Sets of rows are sets.
        #[test]
        fn rows_are_there_once(
            some in proptest::collection::btree_set(0..100u32, 0..60),
            others in proptest::collection::btree_set(0..120u32, 0..60),
        ) {
            let set = |rows: &BTreeSet<u32>| {
                let mut set = RowSet::default();
                rows.iter().chain(rows).for_each(|row| set.add(*row));
                set
            };
            let all = |set: &RowSet| set.iter().collect::<BTreeSet<u32>>();
            let (mut joined, mut shared) = (set(&some), set(&some));
            prop_assert_eq!((all(&joined), joined.count()), (some.clone(), some.len()));
            prop_assert!((0..200).all(|row| joined.has(row) == some.contains(&row)));
            joined.join(&set(&others));
            shared.share(&set(&others));
            prop_assert_eq!(all(&joined), some.union(&others).copied().collect());
            prop_assert_eq!(all(&shared), some.intersection(&others).copied().collect());
        }

        /// However many rows are left, each is looked at as it is.
        #[test]
        fn a_column_leaves_the_rows_that_are_wanted(
            rows in proptest::collection::btree_set(0..CHUNK, 0..CHUNK),
            column in proptest::collection::vec(0..4u8, CHUNK),
        ) {
            let mut selection = Selection::default();
            rows.iter().for_each(|at| selection.add(*at));
            let mut by_place = selection.clone();
            selection.retain(&column, |value| value != 1);
            by_place.retain_at(|at| column[at] != 1);
            let wanted: Vec<usize> = rows.into_iter().filter(|at| column[*at] != 1).collect();
            prop_assert_eq!(&selection, &by_place);
            prop_assert_eq!((selection.count(), selection.is_empty()), (wanted.len(), wanted.is_empty()));
            prop_assert_eq!(selection.iter().collect::<Vec<_>>(), wanted);
        }
    }
}
