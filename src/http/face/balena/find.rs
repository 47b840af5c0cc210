//! Devices that satisfy a filter, in any order, a piece at a time.

use std::cmp::Ordering;
use std::hint::black_box;
use std::sync::Arc;

use super::fields::{DeviceField, Field, Scope, Seen, Val, rank};
use super::predicate::{Memory, Only, Predicate};
use crate::query::cells::{Cells, Moment, head_of};
use crate::query::filter::Filter;
use crate::query::fleet::{Fleet, Tenant};

/// Rows that are kept while the first ones are looked for, at least: so seldom are they sorted out.
const KEPT: usize = 1_024;
/// Texts that are fetched together.
const AT_ONCE: usize = 32;
/// Rows that are looked at one by one, each of them a wait for memory, before a pass over all is the better way.
const WALK_MAX: usize = if cfg!(test) { 8 } else { 4_096 };

/// An order: properties, and whether the largest comes first. Equal devices stand in the order of `uuid`.
pub type Order = Vec<(Field, bool)>;

/// A device as it was seen last, for whoever goes on behind it.
#[derive(Clone, Debug)]
pub struct Kept {
    cells: Cells,
    id: Box<str>,
    name: Option<Box<str>>,
    device_type: Option<Arc<str>>,
    tunnel: Moment,
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
            tunnel: tenant.tunnel(index),
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen {
            cells: &self.cells,
            id: &self.id,
            name: self.name.as_deref(),
            device_type: self.device_type.as_deref(),
            tunnel: self.tunnel,
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
        !self.tenant.row(index).id().is_empty()
            && self.predicate.takes(self.scope, self.tenant, index, memory)
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
        if self.predicate.prefix.is_some() || self.predicate.called.is_some() || wanted > WALK_MAX {
            return None;
        }
        let mut memory = Memory::default();
        let rows = self.tenant.behind(behind).take(WALK_MAX);
        let found: Vec<u32> = rows.filter(|index| self.takes(*index, &mut memory)).take(wanted).collect();
        (found.len() == wanted || self.tenant.len() <= WALK_MAX).then_some(found)
    }

    /// Goes through the rows that satisfy the filter: by several threads, each with what `begin` makes.
    fn scan<T: Send>(&self, begin: impl Fn() -> T + Sync, add: impl Fn(&mut T, u32) + Sync) -> Vec<T> {
        let Search { scope, tenant, predicate, .. } = *self;
        let mut filter = Filter::default();
        filter.id_prefix.clone_from(&predicate.prefix);
        filter.search.clone_from(&predicate.called);
        let asks_for_rest = predicate.asks_for_rest();
        // Ids and names lie elsewhere: touched together they cost one wait for memory, one by one a wait each.
        let look = |part: &mut T, likely: &mut Vec<u32>| {
            black_box(likely.iter().fold(0, |sum, index| sum ^ tenant.row(*index).id().as_bytes()[0]));
            for index in likely.drain(..) {
                if predicate.takes_rest(scope, tenant, index) {
                    add(part, index);
                }
            }
        };
        let begin = || (begin(), Memory::default(), Vec::new());
        let parts = tenant.scan(&filter, begin, |(part, memory, likely), index, cells| {
            if !predicate.takes_cells(scope, tenant, index, cells, memory) {
                return;
            }
            if !asks_for_rest {
                return add(part, index);
            }
            likely.push(index);
            if likely.len() == AT_ONCE {
                look(part, likely);
            }
        });
        let ended = |(mut part, _, mut likely): (T, Memory, Vec<u32>)| {
            look(&mut part, &mut likely);
            part
        };
        parts.into_iter().map(ended).collect()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        if self.predicate.is_open() {
            return self.tenant.len() as u64;
        }
        match self.candidates() {
            Some(rows) => rows.len() as u64,
            None => self.scan(|| 0, |count, _| *count += 1).into_iter().sum(),
        }
    }

    /// How many there are of each type, by its number.
    pub fn count_by_type(&self) -> Vec<u64> {
        let numbers = self.tenant.types().map(|(number, ..)| number as usize + 1).max().unwrap_or(1);
        let add = |counts: &mut Vec<u64>, index: u32| {
            if let Some(count) = counts.get_mut(self.tenant.row(index).cells.device_type as usize) {
                *count += 1;
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
            let mut first = First::new(self, order, after, rows.len().max(1));
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
            let rows = self.scan(Vec::new, |rows: &mut Vec<u32>, index| rows.push(index)).concat();
            return self.tenant.in_order(rows, behind, skip, limit);
        }
        let wanted = skip.saturating_add(limit);
        let parts = self.scan(|| First::new(self, order, after, wanted), |first, index| first.add(index));
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { return Vec::new() };
        for part in parts {
            part.rows.into_iter().for_each(|(_, index)| all.add(index));
        }
        all.page(skip, limit)
    }
}

/// The first rows in an order. It keeps a few times as many as are wanted, whatever it is shown.
struct First<'f> {
    search: &'f Search<'f>,
    order: &'f Order,
    after: Option<(u64, Seen<'f>)>,
    wanted: usize,
    /// Each with its key.
    rows: Vec<(u64, u32)>,
    /// Nothing behind this row is wanted.
    last: Option<(u64, u32)>,
}

impl<'f> First<'f> {
    fn new(search: &'f Search<'f>, order: &'f Order, after: Option<&'f Kept>, wanted: usize) -> First<'f> {
        let mut first = First { search, order, after: None, wanted, rows: Vec::new(), last: None };
        first.after = after.map(|kept| (first.key(&kept.cells, kept.tunnel, || &kept.id), kept.seen()));
        first
    }

    fn seen(&self, index: u32) -> Seen<'f> {
        Seen::of(self.search.tenant, index)
    }

    fn compare(&self, a: &Seen<'_>, b: &Seen<'_>) -> Ordering {
        compare(self.search.scope, self.order, a, b)
    }

    /// A number in the order of the first property, as far as a number tells it: texts lie elsewhere.
    fn key(&self, cells: &Cells, tunnel: Moment, id: impl Fn() -> &'f str) -> u64 {
        use DeviceField::{DeviceName, LastConnectivityEvent, LastVpnEvent, ModifiedAt};
        let key = match self.order.first() {
            Some((Field::Device(time @ (LastVpnEvent | LastConnectivityEvent | ModifiedAt)), _)) => {
                // What is not there comes last.
                rank(*time, cells, tunnel).wrapping_sub(1)
            }
            Some((Field::Device(DeviceName), _)) if cells.name_head != 0 => u64::from(cells.name_head),
            Some((Field::Device(DeviceName), _)) => u64::from(head_of(id())),
            _ => return 0,
        };
        if self.order.first().is_some_and(|(_, is_descending)| *is_descending) { !key } else { key }
    }

    fn key_of(&self, index: u32) -> u64 {
        let row = self.search.tenant.row(index);
        self.key(&row.cells, self.search.tenant.tunnel(index), || row.id())
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
