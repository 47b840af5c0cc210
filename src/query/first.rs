//! The first rows of a list, out of all that come by.

use std::cmp::Ordering;

use super::columns::{Found, RowSet};
use super::fleet::Tenant;

/// The first rows by (rank, id) behind a cursor. Ids are compared of equal ranks only, and at the end: to read them is
/// to wait for memory.
pub struct First<'c> {
    wanted: usize,
    after: Option<(u64, &'c str)>,
    /// Of the cursor's rank.
    ties: RowSet,
    /// Behind it, and below `last` if that is known.
    ranked: Vec<(u64, u32)>,
    /// No rank beyond this one is on the page.
    last: Option<u64>,
    /// Of that rank.
    at_last: RowSet,
}

impl<'c> First<'c> {
    /// So many, at least one, behind a rank and an id.
    pub fn new(wanted: usize, after: Option<(u64, &'c str)>) -> First<'c> {
        let (ties, at_last) = (RowSet::default(), RowSet::default());
        First { wanted: wanted.max(1), after, ties, ranked: Vec::new(), last: None, at_last }
    }

    /// Takes the rows that were found in a chunk; `rank` is that of each, by its place.
    #[inline]
    pub fn add(&mut self, found: &Found<'_>, rank: impl Fn(usize) -> u64) {
        let after = self.after.map(|(rank, _)| rank);
        let mut at_last = found.none();
        for at in found.rows.iter() {
            let rank = rank(at);
            match self.last {
                // Of a large fleet most are beyond, or many are equal: never, for one.
                Some(last) if rank > last => {}
                Some(last) if rank == last && after.is_none_or(|after| rank > after) => at_last.rows.add(at),
                _ => {
                    let before = self.last;
                    self.take(rank, found.first + at as u32);
                    if self.last != before {
                        at_last = found.none();
                    }
                }
            }
        }
        self.at_last.take(&at_last);
    }

    fn take(&mut self, rank: u64, row: u32) {
        if let Some((after, _)) = self.after
            && rank <= after
        {
            if rank == after {
                self.ties.add(row);
            }
            return;
        }
        match self.last {
            Some(last) if rank > last => {}
            Some(last) if rank == last => self.at_last.add(row),
            _ => {
                self.ranked.push((rank, row));
                if self.ranked.len() / 4 >= self.wanted.max(1_024) {
                    self.thin_out();
                }
            }
        }
    }

    /// Takes what another has found: what that one left out, it has as many before.
    pub fn join(&mut self, other: First<'c>) {
        self.ties.join(&other.ties);
        other.ranked.into_iter().for_each(|(rank, row)| self.take(rank, row));
        let Some(of_other) = other.last else { return };
        match self.last.map_or(Ordering::Greater, |last| last.cmp(&of_other)) {
            Ordering::Less => {}
            Ordering::Equal => self.at_last.join(&other.at_last),
            Ordering::Greater => other.at_last.iter().for_each(|row| self.take(of_other, row)),
        }
    }

    /// Finds the rank of the last one that is wanted; what lies beyond it goes. There must be as many.
    fn thin_out(&mut self) {
        let (_, (last, _), _) = self.ranked.select_nth_unstable_by_key(self.wanted - 1, |(rank, _)| *rank);
        let last = *last;
        self.at_last = RowSet::default();
        self.ranked.iter().filter(|(rank, _)| *rank == last).for_each(|(_, row)| self.at_last.add(*row));
        self.ranked.retain(|(rank, _)| *rank < last);
        self.last = Some(last);
    }

    /// Those that are wanted, in order.
    pub fn page(mut self, tenant: &Tenant) -> Vec<u32> {
        let mut page = Vec::new();
        if let Some((_, id)) = self.after {
            page = tenant.in_order(&self.ties, id, 0, self.wanted);
            self.wanted -= page.len();
        }
        if self.wanted == 0 {
            return page;
        }
        if self.ranked.len() >= self.wanted {
            self.thin_out();
        }
        let left = self.wanted - self.ranked.len();
        self.ranked.sort_unstable_by(|(rank, a), (other, b)| {
            rank.cmp(other).then_with(|| tenant.row(*a).id().cmp(tenant.row(*b).id()))
        });
        page.extend(self.ranked.into_iter().map(|(_, row)| row));
        page.extend(tenant.in_order(&self.at_last, "", 0, left));
        page
    }
}
