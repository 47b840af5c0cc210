//! Lists: a filter, an order, a page, and counts by facet for the same filter.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::effect::AlarmState;
use crate::domain::facet::{Availability, Connection, Heartbeat, Label, Overall, Push};
use crate::domain::time::Timestamp;

use super::cells::{self, Facts, Field, Moment};
use super::columns::{Found, RowSet};
use super::filter::{BadFilter, Filter, Sort};
use super::first::First;
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
    /// Whether to count what satisfies the filter, by facet.
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
    fn add(&mut self, word: u64) {
        self.first[word as usize % (1 << SPLIT)] += 1;
        self.others[(word >> SPLIT) as usize % (1 << (END - SPLIT))] += 1;
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

/// Goes through the devices that satisfy one of these filters; `add` keeps for the page what `join` puts together.
fn see<P: Send>(
    tenant: &Tenant,
    filters: &[&Filter],
    counts: bool,
    page: impl Fn() -> P + Sync,
    add: impl Fn(&mut P, &Found<'_>) + Sync,
    join: impl Fn(&mut P, P),
) -> Seen<P> {
    let begin = || Seen { matched: 0, tally: counts.then(|| Box::new(Tally::new())), page: page() };
    let parts = tenant.scan(filters, begin, |seen, found| {
        seen.matched += found.rows.count();
        if let Some(tally) = &mut seen.tally {
            found.rows.iter().for_each(|at| tally.add(found.chunk.words[at]));
        }
        add(&mut seen.page, &found);
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
    let seen = see(tenant, &[filter], true, || (), |(), _| (), |(), ()| ());
    (seen.matched, seen.tally.map(|tally| tally.counts()).unwrap_or_default())
}

/// Answers a request over one tenant's devices.
pub fn list(tenant: &Tenant, request: &Request) -> Page {
    let after = request.after.as_ref().map(|cursor| (cursor.rank, &*cursor.id));
    let behind = after.map_or("", |(_, id)| id);
    // One more than asked for tells whether there is another page.
    let wanted = request.limit + 1;
    let Request { filter, or, counts, skip, .. } = request;
    let filters: Vec<&Filter> = std::iter::once(filter).chain(or).collect();
    let is_open = filters.iter().any(|filter| **filter == Filter::default());
    let is_walked = request.sort == Sort::Id && request.uncounted && !counts && !is_open;
    let walked = || {
        let prepared: Vec<_> = filters.iter().map(|filter| tenant.prepare(filter)).collect();
        let takes = |index| prepared.iter().any(|filter| filter.takes(tenant, index));
        let end = skip.saturating_add(wanted);
        if filters.iter().all(|filter| !filter.asks_for_begins()) {
            return walk(tenant.behind(behind), end, takes);
        }
        let [filter] = *filters else { return None };
        walk(tenant.behind_of(filter, behind)?, end, takes)
    };
    let (matched, tally, mut page) = match (request.sort, is_walked.then(walked).flatten()) {
        (_, Some(rows)) => (0, None, rows.into_iter().skip(*skip).collect()),
        (Sort::Id, None) if is_open => {
            // All of them: the page lies at its place in the order.
            let seen = counts.then(|| see(tenant, &filters, true, || (), |(), _| (), |(), ()| ()));
            let rows = tenant.behind(behind).skip(*skip).take(wanted);
            (tenant.len(), seen.and_then(|seen| seen.tally), rows.collect())
        }
        (Sort::Id, None) => {
            let seen =
                see(tenant, &filters, *counts, RowSet::default, RowSet::take, |all, more| all.join(&more));
            (seen.matched, seen.tally, tenant.in_order(&seen.page, behind, *skip, wanted))
        }
        (Sort::By(time, is_descending), None) => {
            let begin = || First::new(skip.saturating_add(wanted), after);
            let add = |first: &mut First<'_>, found: &Found<'_>| {
                let times = found.chunk.times(time);
                first.add(found, |at| rank(times[at], is_descending));
            };
            let seen = see(tenant, &filters, *counts, begin, add, First::join);
            let rows = seen.page.page(tenant);
            (seen.matched, seen.tally, rows.into_iter().skip(*skip).collect::<Vec<u32>>())
        }
    };
    let is_last = page.len() <= request.limit;
    page.truncate(request.limit);
    let next = page.last().filter(|_| !is_last).map(|index| Cursor {
        sort: request.sort,
        now: request.now.unwrap_or(Timestamp::NEVER),
        rank: match request.sort {
            Sort::Id => 0,
            Sort::By(time, is_descending) => rank(tenant.at(*index).time(time), is_descending),
        },
        id: tenant.row(*index).id().to_owned(),
    });
    let devices = page.into_iter().map(|index| tenant.listed(index)).collect();
    let counts = tally.map(|tally| tally.counts()).unwrap_or_default();
    Page { devices, next, matched, counts }
}

/// The place of a time in an order of times.
#[inline]
fn rank(at: Moment, is_descending: bool) -> u64 {
    if is_descending { u64::MAX - at.rank() } else { at.rank() }
}

/// So many rows are looked at one by one, each of them a wait for memory, before a scan of all is the better way.
const WALK_MAX: usize = if cfg!(test) { 64 } else { 512 };

/// The first of these rows that are wanted, if so many are found without a look at all of them.
pub fn walk(
    mut rows: impl Iterator<Item = u32>,
    wanted: usize,
    mut takes: impl FnMut(u32) -> bool,
) -> Option<Vec<u32>> {
    if wanted > WALK_MAX {
        return None;
    }
    let found: Vec<u32> = rows.by_ref().take(WALK_MAX).filter(|index| takes(*index)).take(wanted).collect();
    (found.len() == wanted || rows.next().is_none()).then_some(found)
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
