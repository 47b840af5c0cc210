//! Lists: a filter, an order, a page, and counts by facet for the same filter.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::effect::AlarmState;
use crate::domain::facet::{Availability, Connection, Heartbeat, Label, Overall, Push};
use crate::domain::time::Timestamp;

use super::cells::{self, Cells, Field};
use super::filter::{BadFilter, Filter, Sort};
use super::fleet::{Listed, Tenant};

/// Where the next page begins: behind a device, in the order of the list. It stays valid whatever changes meanwhile.
///
/// A device whose time moves between two pages moves in a list that is sorted by that time: it may be seen twice, or be
/// passed over. A list by id has no such case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The order that it belongs to.
    pub sort: Sort,
    /// What relative times of the filter count from: that of the first page.
    pub now: Timestamp,
    /// The rank of the last device's time; 0 by id.
    rank: u64,
    /// The last device's id.
    id: String,
}

impl Cursor {
    /// As a text that is safe in an address.
    pub fn to_text(&self) -> String {
        let plain = format!("1 {} {} {} {}", self.sort, self.now.millis(), self.rank, self.id);
        URL_SAFE_NO_PAD.encode(plain)
    }

    /// The way back.
    ///
    /// # Errors
    /// The text is none of ours.
    pub fn read(text: &str) -> Result<Cursor, BadFilter> {
        let parsed = || {
            let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
            let mut words = plain.splitn(5, ' ');
            if words.next()? != "1" {
                return None;
            }
            Some(Cursor {
                sort: Sort::read(words.next()?).ok()?,
                now: Timestamp::restored(words.next()?.parse().ok()?),
                rank: words.next()?.parse().ok()?,
                id: words.next()?.to_owned(),
            })
        };
        parsed().ok_or_else(|| {
            BadFilter::new(
                "cursor",
                "it is none that this service gave; leave it out to begin with the first page",
            )
        })
    }
}

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Which devices.
    pub filter: Filter,
    /// Those that satisfy one of these as well.
    pub or: Vec<Filter>,
    /// In which order.
    pub sort: Sort,
    /// How many at most.
    pub limit: usize,
    /// Behind which one.
    pub after: Option<Cursor>,
    /// How many are passed over, for those who count in pages.
    pub skip: usize,
    /// What relative times count from.
    pub now: Option<Timestamp>,
    /// Whether to count what satisfies the filter, by facet. With `or` nothing is counted by facet.
    pub counts: bool,
    /// Whether nobody asks how many there are on all pages: then no more devices are looked at than it takes.
    pub uncounted: bool,
}

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The devices.
    pub devices: Vec<Listed>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
    /// How many devices satisfy the filter, on all pages. Of an uncounted request it says nothing.
    pub matched: usize,
    /// By facet and word, how many of them; empty unless asked for.
    pub counts: Counts,
}

/// Counts by facet and word; words that nobody has are left out.
pub type Counts = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// What is counted: its name, the fact, the word of each number.
type Counted = (&'static str, Field, fn(usize) -> Option<&'static str>);

const COUNTED: [Counted; 8] = [
    ("availability", cells::AVAILABILITY, |n| Availability::ALL.get(n).map(|word| word.word())),
    ("push", cells::PUSH, |n| Push::ALL.get(n).map(|word| word.word())),
    ("connection", cells::CONNECTION, |n| Connection::ALL.get(n).map(|word| word.word())),
    ("vpn", cells::VPN, |n| Connection::ALL.get(n).map(|word| word.word())),
    ("heartbeat", cells::HEARTBEAT, |n| Heartbeat::ALL.get(n).map(|word| word.word())),
    ("overall", cells::OVERALL, |n| Overall::ALL.get(n).map(|word| word.word())),
    ("statusLabel", cells::LABEL, |n| Label::ALL.get(n).map(|word| word.word())),
    ("alarm", cells::ALARM, |n| match n {
        0 => Some("none"),
        n => AlarmState::ALL.get(n - 1).map(|word| word.word()),
    }),
];

/// Where the second table of a [`Tally`] begins, and where it ends.
const SPLIT: u32 = cells::HEARTBEAT.shift();
const END: u32 = cells::SEVERITY.shift();

/// Counts devices by facet: how many have each combination of the first four facts, and of the others. Two sums a
/// device instead of eight.
struct Tally {
    first: [u64; 1 << SPLIT],
    others: [u64; 1 << (END - SPLIT)],
}

impl Tally {
    fn new() -> Tally {
        Tally { first: [0; _], others: [0; _] }
    }

    #[inline]
    fn add(&mut self, cells: &Cells) {
        self.first[cells.word as usize % (1 << SPLIT)] += 1;
        self.others[(cells.word >> SPLIT) as usize % (1 << (END - SPLIT))] += 1;
    }

    fn join(&mut self, other: &Tally) {
        self.first.iter_mut().zip(&other.first).for_each(|(sum, more)| *sum += more);
        self.others.iter_mut().zip(&other.others).for_each(|(sum, more)| *sum += more);
    }

    fn counts(&self) -> Counts {
        let first = self.first.iter().zip(0u64..);
        let others = self.others.iter().zip(0u64..).map(|(count, word)| (count, word << SPLIT));
        let tables = [first.collect::<Vec<_>>(), others.collect()];
        let mut counts = Counts::new();
        for (name, field, word) in COUNTED {
            let table = &tables[usize::from(field.shift() >= SPLIT)];
            let words = counts.entry(name).or_default();
            for (count, combination) in table.iter().filter(|(count, _)| **count > 0) {
                if let Some(word) = word(field.of(*combination)) {
                    *words.entry(word).or_default() += **count;
                }
            }
        }
        counts
    }
}

/// What a list sees of the devices that satisfy its filter: how many, by facet, and what is kept for the page.
struct Seen<P> {
    matched: usize,
    tally: Option<Box<Tally>>,
    page: P,
}

/// Goes through the devices that satisfy a filter; `add` keeps for the page what `join` puts together.
fn see<P: Send>(
    tenant: &Tenant,
    filter: &Filter,
    counts: bool,
    page: impl Fn() -> P + Sync,
    add: impl Fn(&mut P, u32, &Cells) + Sync,
    join: impl Fn(&mut P, P),
) -> Seen<P> {
    let begin = || Seen { matched: 0, tally: counts.then(|| Box::new(Tally::new())), page: page() };
    let parts = tenant.scan(filter, begin, |seen, index, cells| {
        seen.matched += 1;
        if let Some(tally) = &mut seen.tally {
            tally.add(cells);
        }
        add(&mut seen.page, index, cells);
    });
    parts
        .into_iter()
        .reduce(|mut seen, other| {
            seen.matched += other.matched;
            if let (Some(tally), Some(more)) = (&mut seen.tally, &other.tally) {
                tally.join(more);
            }
            join(&mut seen.page, other.page);
            seen
        })
        .unwrap_or_else(begin)
}

/// How many devices satisfy a filter, and by facet and word how many of them.
pub fn count(tenant: &Tenant, filter: &Filter) -> (usize, Counts) {
    let seen = see(tenant, filter, true, || (), |(), _, _| (), |(), ()| ());
    (seen.matched, seen.tally.map(|tally| tally.counts()).unwrap_or_default())
}

/// Answers a request over one tenant's devices.
pub fn list(tenant: &Tenant, request: &Request) -> Page {
    let after = request.after.as_ref().map(|cursor| (cursor.rank, &*cursor.id));
    let rank = |cells: &Cells| match request.sort {
        Sort::Id => 0,
        Sort::By(time, false) => cells.time(time).rank(),
        Sort::By(time, true) => u64::MAX - cells.time(time).rank(),
    };
    // One more than asked for tells whether there is another page.
    let wanted = request.limit + 1;
    let Request { filter, counts, skip, .. } = request;
    let is_walked = request.sort == Sort::Id && request.uncounted && !counts;
    let walked = is_walked.then(|| walked(tenant, request, after.map_or("", |(_, id)| id), wanted));
    let (matched, tally, mut page) = match (request.sort, walked.flatten()) {
        (_, Some(page)) => (0, None, page),
        _ if !request.or.is_empty() => {
            let (matched, page) = list_any(tenant, request, rank, wanted);
            (matched, None, page)
        }
        (Sort::Id, None) if *filter == Filter::default() => {
            // All of them: the page lies at its place in the order.
            let seen = see(tenant, filter, *counts, || (), |(), _, _| (), |(), ()| ());
            let rows = tenant.behind(after.map_or("", |(_, id)| id));
            (seen.matched, seen.tally, rows.skip(*skip).take(wanted).collect())
        }
        (Sort::Id, None) => {
            let add = |found: &mut Vec<u32>, index, _: &Cells| found.push(index);
            let seen = see(tenant, filter, *counts, Vec::new, add, |found, more| found.extend(more));
            let page = tenant.in_order(seen.page, after.map_or("", |(_, id)| id), *skip, wanted);
            (seen.matched, seen.tally, page)
        }
        (Sort::By(..), None) => {
            let begin = || First::new(skip.saturating_add(wanted), after);
            let add = |first: &mut First<'_>, index, cells: &Cells| first.add(rank(cells), index);
            let seen = see(tenant, filter, *counts, begin, add, First::join);
            (seen.matched, seen.tally, behind(seen.page.page(tenant), *skip))
        }
    };
    let is_last = page.len() <= request.limit;
    page.truncate(request.limit);
    let next = page.last().filter(|_| !is_last).map(|index| Cursor {
        sort: request.sort,
        now: request.now.unwrap_or(Timestamp::NEVER),
        rank: rank(&tenant.row(*index).cells),
        id: tenant.row(*index).id().to_owned(),
    });
    let devices = page.into_iter().map(|index| tenant.listed(index)).collect();
    let counts = tally.map(|tally| tally.counts()).unwrap_or_default();
    Page { devices, next, matched, counts }
}

/// So many rows are looked at one by one, each of them a wait for memory, before a scan of all is the better way.
const WALK_MAX: usize = 4_096;

/// The page of a list by id, if that is found at its place in the order, without a look at all the others.
fn walked(tenant: &Tenant, request: &Request, after: &str, wanted: usize) -> Option<Vec<u32>> {
    let rows = tenant.behind(after);
    let Request { filter, or, skip, .. } = request;
    if *filter == Filter::default() {
        // Whatever the others say.
        return Some(rows.skip(*skip).take(wanted).collect());
    }
    let end = skip.saturating_add(wanted);
    // Ids that begin alike lie together, wherever that is.
    if end > WALK_MAX || filter.id_prefix.is_some() {
        return None;
    }
    let filters: Vec<_> = std::iter::once(filter).chain(or).map(|filter| tenant.prepare(filter)).collect();
    let mut page = Vec::with_capacity(end);
    for (looked_at, index) in rows.enumerate() {
        if page.len() == end {
            break;
        }
        if looked_at == WALK_MAX {
            return None;
        }
        if filters.iter().any(|filter| filter.takes(tenant.row(index))) {
            page.push(index);
        }
    }
    Some(behind(page, *skip))
}

/// How many devices satisfy one of several filters, and those of the page: each filter is a scan of its own.
fn list_any(
    tenant: &Tenant,
    request: &Request,
    rank: impl Fn(&Cells) -> u64,
    wanted: usize,
) -> (usize, Vec<u32>) {
    let mut among = tenant.none();
    for filter in std::iter::once(&request.filter).chain(&request.or) {
        let parts = tenant.scan(filter, Vec::new, |found, index, _| found.push(index));
        parts.iter().flatten().for_each(|index| among.add(*index));
    }
    let rows: Vec<u32> = among.iter().collect();
    let after = request.after.as_ref().map(|cursor| (cursor.rank, &*cursor.id));
    let matched = rows.len();
    let page = match request.sort {
        Sort::Id => tenant.in_order(rows, after.map_or("", |(_, id)| id), request.skip, wanted),
        Sort::By(..) => {
            let mut first = First::new(request.skip.saturating_add(wanted), after);
            rows.into_iter().for_each(|index| first.add(rank(&tenant.row(index).cells), index));
            behind(first.page(tenant), request.skip)
        }
    };
    (matched, page)
}

/// All but the first ones.
fn behind(mut rows: Vec<u32>, skip: usize) -> Vec<u32> {
    rows.drain(..skip.min(rows.len()));
    rows
}

/// The first rows by (rank, id) behind a cursor. Ids are compared of equal ranks only, and at the end: to read them is
/// to wait for memory.
struct First<'c> {
    wanted: usize,
    after: Option<(u64, &'c str)>,
    /// Of the cursor's rank.
    ties: Vec<u32>,
    /// Behind it, and below `last` if that is known.
    ranked: Vec<(u64, u32)>,
    /// No rank beyond this one is on the page.
    last: Option<u64>,
    /// Of that rank.
    at_last: Vec<u32>,
}

impl<'c> First<'c> {
    fn new(wanted: usize, after: Option<(u64, &'c str)>) -> First<'c> {
        First { wanted, after, ties: Vec::new(), ranked: Vec::new(), last: None, at_last: Vec::new() }
    }

    #[inline]
    fn add(&mut self, rank: u64, index: u32) {
        if let Some((after, _)) = self.after
            && rank <= after
        {
            if rank == after {
                self.ties.push(index);
            }
            return;
        }
        match self.last {
            Some(last) if rank > last => {}
            Some(last) if rank == last => self.at_last.push(index),
            _ => {
                self.ranked.push((rank, index));
                if self.ranked.len() / 4 >= self.wanted.max(1_024) {
                    self.thin_out();
                }
            }
        }
    }

    /// Takes what another has found: what that one left out, it has as many before.
    fn join(&mut self, other: First<'c>) {
        self.ties.extend(other.ties);
        other.ranked.into_iter().for_each(|(rank, index)| self.add(rank, index));
        for index in other.at_last {
            self.add(other.last.unwrap_or_default(), index);
        }
    }

    /// Finds the rank of the last one that is wanted; what lies beyond it goes. There must be as many.
    fn thin_out(&mut self) {
        let (_, (last, _), _) = self.ranked.select_nth_unstable_by_key(self.wanted - 1, |(rank, _)| *rank);
        let last = *last;
        self.at_last =
            self.ranked.iter().filter(|(rank, _)| *rank == last).map(|(_, index)| *index).collect();
        self.ranked.retain(|(rank, _)| *rank < last);
        self.last = Some(last);
    }

    fn page(mut self, tenant: &Tenant) -> Vec<u32> {
        let mut page = Vec::new();
        if let Some((_, id)) = self.after {
            page = tenant.in_order(std::mem::take(&mut self.ties), id, 0, self.wanted);
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
        page.extend(self.ranked.into_iter().map(|(_, index)| index));
        page.extend(tenant.in_order(self.at_last, "", 0, left));
        page
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
