//! Devices that satisfy a filter, in any order, a piece at a time.

use std::cmp::Ordering;
use std::sync::Arc;

use super::fields::{DeviceField, Field, Scope, Seen, Val, rank};
use super::predicate::{Memory, Only, Predicate};
use crate::query::cells::{Cells, Facts, Moment, Time, head_of};
use crate::query::columns::{Found, RowSet};
use crate::query::filter::Filter;
use crate::query::first::First;
use crate::query::fleet::{Fleet, Tenant, joined};
use crate::query::list::walk;

/// Rows that are kept while the first ones are looked for, at least: so seldom are they sorted out.
const KEPT: usize = 1_024;

/// An order: properties, and whether the largest comes first. Equal devices stand in the order of `uuid`.
pub type Order = Vec<(Field, bool)>;

/// A device as it was seen last, for whoever goes on behind it.
#[derive(Clone, Debug)]
pub struct Kept {
    cells: Cells,
    id: Box<str>,
    name: Option<Box<str>>,
    device_type: Option<Arc<str>>,
    moved: Moment,
}

impl Kept {
    /// The device of a row.
    pub fn of(tenant: &Tenant, index: u32) -> Kept {
        let listed = tenant.listed(index);
        Kept {
            cells: listed.cells,
            id: listed.id,
            name: listed.name,
            device_type: listed.device_type,
            moved: tenant.at(index).moved(),
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            cells: self.cells,
            id: &self.id,
            name: self.name.as_deref(),
            device_type: self.device_type.as_deref(),
            moved: self.moved,
        }
    }
}

/// What is asked of a fleet.
#[derive(Clone, Copy, Debug)]
pub struct Search<'s> {
    /// Of whom, in which version.
    pub scope: &'s Scope<'s>,
    /// Everybody.
    pub fleet: &'s Fleet,
    /// Those of the tenant.
    pub tenant: &'s Tenant,
    /// Which.
    pub predicate: &'s Predicate,
}

impl Search<'_> {
    /// Whether the device of a row satisfies the filter. A free row does not.
    pub fn takes(&self, index: u32, memory: &mut Memory) -> bool {
        !self.tenant.row(index).is_free() && self.predicate.takes(self.scope, self.tenant, index, memory)
    }

    /// The rows that alone can satisfy the filter, if that is known without a scan.
    fn candidates(&self) -> Option<Vec<u32>> {
        let mut rows: Vec<u32> = match self.predicate.only.as_ref()? {
            Only::Uuids(ids) => ids.iter().filter_map(|id| self.tenant.find(id)).collect(),
            Only::Ids(ids) => ids.iter().filter_map(|id| self.scope.ids.find(self.fleet, *id)).collect(),
        };
        rows.sort_unstable();
        rows.dedup();
        let mut memory = Memory::default();
        rows.retain(|index| self.takes(*index, &mut memory));
        Some(rows)
    }

    /// The first rows behind an id, if so many are found at their place without a look at all the others.
    fn walked(&self, behind: &str, wanted: usize) -> Option<Vec<u32>> {
        if self.predicate.prefix.is_some() || self.predicate.called.is_some() {
            return None;
        }
        let mut memory = Memory::default();
        walk(self.tenant.behind(behind), wanted, |index| self.takes(index, &mut memory))
    }

    /// Goes through the rows that satisfy the filter: by several threads, each with what `begin` makes.
    fn scan<T: Send>(
        &self,
        begin: impl Fn() -> T + Sync,
        add: impl Fn(&mut T, &Found<'_>) + Sync,
    ) -> impl Iterator<Item = T> {
        let Search { scope, tenant, predicate, .. } = *self;
        let mut filter = Filter::default();
        filter.id_prefix.clone_from(&predicate.prefix);
        filter.search.clone_from(&predicate.called);
        let begin = || (begin(), Memory::default());
        let parts = tenant.scan(&[&filter], begin, |(part, memory), mut found| {
            predicate.narrow(scope, tenant, &mut found, memory);
            if !found.rows.is_empty() {
                add(part, &found);
            }
        });
        parts.into_iter().map(|(part, _)| part)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        if self.predicate.is_open() {
            return self.tenant.len() as u64;
        }
        match self.candidates() {
            Some(rows) => rows.len() as u64,
            None => self.scan(|| 0, |count, found| *count += found.rows.count() as u64).sum(),
        }
    }

    /// How many there are of each type, by its number.
    pub fn count_by_type(&self) -> Vec<u64> {
        let numbers = self.tenant.types().map(|(number, ..)| number as usize + 1).max().unwrap_or(1);
        let add = |counts: &mut Vec<u64>, found: &Found<'_>| {
            for at in found.rows.iter() {
                counts[found.chunk.types[at] as usize] += 1;
            }
        };
        let mut counts = vec![0; numbers];
        for part in self.scan(|| vec![0; numbers], add) {
            counts.iter_mut().zip(part).for_each(|(sum, more)| *sum += more);
        }
        counts
    }

    /// The first rows behind a device, in this order: `skip` are passed over, `limit` at most taken.
    pub fn first(&self, order: &Order, after: Option<&Kept>, skip: usize, limit: usize) -> Vec<u32> {
        if limit == 0 {
            return Vec::new();
        }
        let by_uuid = matches!(&**order, [] | [(Field::Device(DeviceField::Uuid), false), ..]);
        if let Some(rows) = self.candidates() {
            let mut first = Compared::new(self, order, after, rows.len().max(1));
            rows.into_iter().for_each(|index| first.add(index));
            return first.page(skip, limit);
        }
        if by_uuid {
            let behind = after.map_or("", |kept| &*kept.id);
            if self.predicate.is_open() {
                return self.tenant.behind(behind).skip(skip).take(limit).collect();
            }
            if let Some(rows) = self.walked(behind, skip.saturating_add(limit)) {
                return rows.into_iter().skip(skip).collect();
            }
            let rows = joined(self.scan(RowSet::default, RowSet::take));
            return self.tenant.in_order(&rows, behind, skip, limit);
        }
        let wanted = skip.saturating_add(limit);
        if let Some((time, is_descending)) = by_time(order) {
            let key = |rank| time_key(rank, is_descending);
            let after = after.map(|kept| (key(rank(time, &kept.cells, kept.moved)), &*kept.id));
            let add = |first: &mut First<'_>, found: &Found<'_>| {
                let chunk = found.chunk;
                match (time, chunk.moved()) {
                    (DeviceField::ModifiedAt, _) => {
                        let times = chunk.times(Time::LastUpdated);
                        first.add(found, |at| key(times[at].rank()));
                    }
                    (DeviceField::LastConnectivityEvent, Some(moved)) => {
                        first.add(found, |at| key(moved[at].rank()));
                    }
                    _ => first.add(found, |at| key(rank(time, &chunk.at(at), chunk.at(at).moved()))),
                }
            };
            let parts = self.scan(|| First::new(wanted, after), add);
            let all = parts.reduce(|mut all, more| {
                all.join(more);
                all
            });
            let rows = all.map(|all| all.page(self.tenant)).unwrap_or_default();
            return rows.into_iter().skip(skip).collect();
        }
        let begin = || Compared::new(self, order, after, wanted);
        let add = |first: &mut Compared<'_>, found: &Found<'_>| {
            found.rows.iter().for_each(|at| first.add(found.first + at as u32));
        };
        let all = self.scan(begin, add).reduce(|mut all, more| {
            more.rows.into_iter().for_each(|(_, index)| all.add(index));
            all
        });
        all.map(|all| all.page(skip, limit)).unwrap_or_default()
    }
}

/// Whether an order is that of one time alone, and else of `uuid`; which, and whether the latest comes first.
fn by_time(order: &Order) -> Option<(DeviceField, bool)> {
    use DeviceField::{LastConnectivityEvent, LastVpnEvent, ModifiedAt, Uuid};
    match **order {
        [(Field::Device(time @ (LastVpnEvent | LastConnectivityEvent | ModifiedAt)), is_descending)]
        | [
            (Field::Device(time @ (LastVpnEvent | LastConnectivityEvent | ModifiedAt)), is_descending),
            (Field::Device(Uuid), false),
            ..,
        ] => Some((time, is_descending)),
        _ => None,
    }
}

/// A number in the order of a time, by its rank: what is not there comes last.
#[inline]
fn time_key(rank: u64, is_descending: bool) -> u64 {
    let key = rank.wrapping_sub(1);
    if is_descending { !key } else { key }
}

/// The first rows in an order. It keeps a few times as many as are wanted, whatever it is shown.
struct Compared<'f> {
    search: &'f Search<'f>,
    order: &'f Order,
    after: Option<(u64, Seen<'f>)>,
    wanted: usize,
    /// Each with its key.
    rows: Vec<(u64, u32)>,
    /// Nothing behind this row is wanted.
    last: Option<(u64, u32)>,
}

impl<'f> Compared<'f> {
    fn new(search: &'f Search<'f>, order: &'f Order, after: Option<&'f Kept>, wanted: usize) -> Compared<'f> {
        let mut first = Compared { search, order, after: None, wanted, rows: Vec::new(), last: None };
        first.after = after.map(|kept| {
            let key = first.key(&kept.cells, kept.cells.name_head, kept.moved, || &kept.id);
            (key, kept.seen())
        });
        first
    }

    fn seen(&self, index: u32) -> Seen<'f> {
        Seen::of(self.search.tenant, index)
    }

    fn compare(&self, a: &Seen<'_>, b: &Seen<'_>) -> Ordering {
        compare(self.search.scope, self.order, a, b)
    }

    /// A number in the order of the first property, as far as a number tells it: texts lie elsewhere.
    fn key(&self, facts: &impl Facts, head: u32, moved: Moment, id: impl Fn() -> &'f str) -> u64 {
        use DeviceField::{DeviceName, LastConnectivityEvent, LastVpnEvent, ModifiedAt};
        let (key, is_descending) = match self.order.first() {
            Some((
                Field::Device(time @ (LastVpnEvent | LastConnectivityEvent | ModifiedAt)),
                is_descending,
            )) => {
                return time_key(rank(*time, facts, moved), *is_descending);
            }
            Some((Field::Device(DeviceName), is_descending)) => {
                (if head == 0 { head_of(id()) } else { head }, *is_descending)
            }
            _ => return 0,
        };
        if is_descending { !u64::from(key) } else { u64::from(key) }
    }

    fn key_of(&self, index: u32) -> u64 {
        let at = self.search.tenant.at(index);
        self.key(&at, at.name_head(), at.moved(), || self.search.tenant.row(index).id())
    }

    fn compare_rows(&self, (a_key, a): (u64, u32), (b_key, b): (u64, u32)) -> Ordering {
        a_key.cmp(&b_key).then_with(|| self.compare(&self.seen(a), &self.seen(b)))
    }

    fn add(&mut self, index: u32) {
        let key = self.key_of(index);
        if let Some((after_key, after)) = &self.after {
            let by = key.cmp(after_key).then_with(|| self.compare(&self.seen(index), after));
            if by.is_le() {
                return;
            }
        }
        if self.last.is_some_and(|last| self.compare_rows((key, index), last).is_gt()) {
            return;
        }
        self.rows.push((key, index));
        if self.rows.len() / 2 >= self.wanted.max(KEPT) {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        let mut rows = std::mem::take(&mut self.rows);
        let (_, last, _) = rows.select_nth_unstable_by(self.wanted - 1, |a, b| self.compare_rows(*a, *b));
        self.last = Some(*last);
        rows.truncate(self.wanted);
        self.rows = rows;
    }

    fn page(mut self, skip: usize, limit: usize) -> Vec<u32> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_unstable_by(|a, b| self.compare_rows(*a, *b));
        rows.into_iter().skip(skip).take(limit).map(|(_, index)| index).collect()
    }
}

/// Which of two devices comes first.
fn compare(scope: &Scope<'_>, order: &Order, a: &Seen<'_>, b: &Seen<'_>) -> Ordering {
    for (field, is_descending) in order {
        let by = match field {
            Field::Device(DeviceField::DeviceName) => alike(a.device_name(), b.device_name()),
            _ => values(&scope.of_device(*field, a), &scope.of_device(*field, b)),
        };
        match by {
            Ordering::Equal => {}
            by if *is_descending => return by.reverse(),
            by => return by,
        }
    }
    a.id.cmp(b.id)
}

/// Which of two values comes first: what is not there comes last, as in the databases of that product.
pub fn values(a: &Val<'_>, b: &Val<'_>) -> Ordering {
    let is_null = |value: &Val<'_>| *value == Val::Null;
    a.compare(b).unwrap_or_else(|| is_null(a).cmp(&is_null(b)))
}

/// Names stand in the order of their letters, in either case; of those alike, capitals first.
pub fn alike(a: &str, b: &str) -> Ordering {
    let by = if a.is_ascii() && b.is_ascii() {
        let differs = a.bytes().zip(b.bytes()).find(|(a, b)| !a.eq_ignore_ascii_case(b));
        match differs {
            Some((a, b)) => a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase()),
            None => a.len().cmp(&b.len()),
        }
    } else {
        a.to_lowercase().cmp(&b.to_lowercase())
    };
    by.then_with(|| a.cmp(b))
}
