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

/// Up to so many devices are put in order by comparing ids; of more, those of the page are found by walking the order.
const SORTED_MAX: usize = 16_384;

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
    /// In which order.
    pub sort: Sort,
    /// How many at most.
    pub limit: usize,
    /// Behind which one.
    pub after: Option<Cursor>,
    /// What relative times count from.
    pub now: Option<Timestamp>,
    /// Whether to count what satisfies the filter, by facet.
    pub counts: bool,
}

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The devices.
    pub devices: Vec<Listed>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
    /// How many devices satisfy the filter, on all pages.
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

/// Counts devices by facet.
pub fn count<'c>(all: impl Iterator<Item = &'c Cells>) -> Counts {
    let mut sums = [[0u64; 16]; COUNTED.len()];
    for cells in all {
        for (sum, (_, field, _)) in sums.iter_mut().zip(&COUNTED) {
            sum[field.of(cells.word) & 15] += 1;
        }
    }
    let mut counts = Counts::new();
    for (sum, (name, _, word)) in sums.iter().zip(&COUNTED) {
        let words = sum.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.insert(name, words.filter_map(|(number, count)| Some((word(number)?, *count))).collect());
    }
    counts
}

/// Answers a request over one tenant's devices.
pub fn list(tenant: &Tenant, request: &Request) -> Page {
    let found = tenant.matching(&request.filter);
    let counts = match request.counts {
        true => count(found.iter().map(|index| &tenant.row(*index).cells)),
        false => Counts::new(),
    };
    let matched = found.len();
    let after = request.after.as_ref().map(|cursor| (cursor.rank, &*cursor.id));
    let rank = |index: u32| match request.sort {
        Sort::Id => 0,
        Sort::By(time, false) => tenant.row(index).cells.time(time).rank(),
        Sort::By(time, true) => u64::MAX - tenant.row(index).cells.time(time).rank(),
    };
    // One more than asked for tells whether there is another page.
    let wanted = request.limit + 1;
    let mut page = match request.sort {
        Sort::Id => by_id(tenant, found, after.map_or("", |(_, id)| id), wanted),
        Sort::By(..) => first(tenant, &found, wanted, after, rank),
    };
    let is_last = page.len() <= request.limit;
    page.truncate(request.limit);
    let next = page.last().filter(|_| !is_last).map(|index| Cursor {
        sort: request.sort,
        now: request.now.unwrap_or(Timestamp::NEVER),
        rank: rank(*index),
        id: tenant.row(*index).id().to_owned(),
    });
    let devices = page.into_iter().map(|index| tenant.listed(index)).collect();
    Page { devices, next, matched, counts }
}

/// The first `limit` of `found` by (rank, id), behind `after`.
fn first(
    tenant: &Tenant,
    found: &[u32],
    limit: usize,
    after: Option<(u64, &str)>,
    rank: impl Fn(u32) -> u64,
) -> Vec<u32> {
    // Ranks side by side: to compare them where they lie would be a wait for memory each time.
    let mut ranked: Vec<(u64, u32)> = found.iter().map(|index| (rank(*index), *index)).collect();
    let ties = |wanted: u64| found.iter().copied().filter(|index| rank(*index) == wanted).collect();
    let mut page = Vec::new();
    if let Some((after, id)) = after {
        page = by_id(tenant, ties(after), id, limit);
        ranked.retain(|(rank, _)| *rank > after);
    }
    let wanted = limit - page.len();
    if wanted == 0 {
        return page;
    }
    let mut last = None;
    if ranked.len() > wanted {
        // Those below the rank of the last one are on the page, whatever their ids; of that rank, some.
        let (_, (rank, _), _) = ranked.select_nth_unstable_by_key(wanted - 1, |(rank, _)| *rank);
        last = Some(*rank);
        ranked.truncate(wanted);
        ranked.retain(|(rank, _)| Some(*rank) != last);
    }
    ranked.sort_unstable_by(|(rank, a), (other, b)| {
        rank.cmp(other).then_with(|| tenant.row(*a).id().cmp(tenant.row(*b).id()))
    });
    page.extend(ranked.into_iter().map(|(_, index)| index));
    if let Some(last) = last {
        let rest = limit - page.len();
        page.append(&mut by_id(tenant, ties(last), "", rest));
    }
    page
}

/// The first `limit` of these rows in the order of their ids, behind `after`.
fn by_id(tenant: &Tenant, mut rows: Vec<u32>, after: &str, limit: usize) -> Vec<u32> {
    let id = |index: u32| tenant.row(index).id();
    if rows.len() > SORTED_MAX {
        rows.sort_unstable();
        let ordered = tenant.from(after, true).filter(|index| rows.binary_search(index).is_ok());
        return ordered.take(limit).collect();
    }
    rows.retain(|index| id(*index) > after);
    rows.sort_unstable_by(|a, b| id(*a).cmp(id(*b)));
    rows.truncate(limit);
    rows
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
