//! All devices in memory, by tenant.
//!
//! A tenant has rows of its own, so that a request of one tenant can neither see nor wait for those of another. Rows
//! stand in the order of arrival, in columns, and are scanned in that order, which is what memory is fast at; the orders
//! of ids and names are kept beside them, for look-ups, prefixes and pages.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, LazyLock};

use crate::domain::clocks::{Clocks, LastActivity};
use crate::domain::device::Device;
use crate::domain::event::split_key;
use crate::domain::time::Timestamp;
use crate::engine::pack::Moved;

use super::cells::{Cells, Facts, Moment, Time, tunnel_moved};
use super::columns::{At, CHUNK, Chunk, Found, Row, RowSet};
use super::filter::Filter;
use super::order::{self, Order, Place};

/// A thread is worth its start from so many chunks on: some tenths of a millisecond of its work.
const CHUNKS_OF_A_THREAD: usize = if cfg!(test) { 1 } else { 32 };
/// Threads that go through a large fleet together: memory has no room for more.
static THREADS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().clamp(2, 8)));
/// Where the beginnings of texts leave so few rows, these are looked at one by one, by one thread.
const FEW: usize = if cfg!(test) { 4 } else { 16_384 };
/// Of so many devices one must be among those that are put in order, to be found by walking the order of ids. Fewer are
/// sorted.
const WALKED_SHARE: usize = if cfg!(test) { 2 } else { 128 };

/// The labels of a device.
pub type Labels = BTreeMap<String, String>;

/// Values that many devices share, each with a number from 1. A number that nobody has any more is given again.
#[derive(Debug)]
struct Shared<K> {
    numbers: HashMap<K, u32>,
    values: Vec<Option<(K, u32)>>,
    free: Vec<u32>,
}

impl<K> Default for Shared<K> {
    fn default() -> Shared<K> {
        Shared { numbers: HashMap::new(), values: vec![None], free: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash> Shared<K> {
    fn take(&mut self, value: K) -> u32 {
        if let Some(&number) = self.numbers.get(&value) {
            if let Some((_, users)) = &mut self.values[number as usize] {
                *users += 1;
            }
            return number;
        }
        let number = match self.free.pop() {
            Some(number) => number as usize,
            None => {
                self.values.push(None);
                self.values.len() - 1
            }
        };
        self.values[number] = Some((value.clone(), 1));
        self.numbers.insert(value, number as u32);
        number as u32
    }

    fn give_back(&mut self, number: u32) {
        let Some(slot) = self.values.get_mut(number as usize) else { return };
        let Some((_, users)) = slot else { return };
        *users -= 1;
        if *users == 0
            && let Some((value, _)) = slot.take()
        {
            self.numbers.remove(&value);
            self.free.push(number);
        }
    }

    fn get(&self, number: u32) -> Option<&K> {
        self.values.get(number as usize)?.as_ref().map(|(value, _)| value)
    }
}

/// The devices of one tenant.
#[derive(Debug, Default)]
pub struct Tenant {
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    /// Rows in the order of ids.
    order: Order,
    /// Those with a name, in the order of names, whatever their case; of equal names in the order of rows.
    names: Order,
    types: Shared<Arc<str>>,
    labels: Shared<Arc<Labels>>,
    count: usize,
}

/// A device as lists tell it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: Box<str>,
    /// Its name.
    pub name: Option<Box<str>>,
    /// Its type.
    pub device_type: Option<Arc<str>>,
    /// Its labels.
    pub labels: Option<Arc<Labels>>,
    /// Statuses, times, small facts.
    pub cells: Cells,
}

impl Listed {
    /// Whether it satisfies a filter.
    pub fn satisfies(&self, filter: &Filter) -> bool {
        filter.takes_cells(&self.cells)
            && filter.takes_texts(&self.id, self.name.as_deref())
            && filter.takes_type(self.device_type.as_deref())
            && filter.labels.iter().all(|choice| {
                choice.takes(|wanted| self.labels.as_ref().is_some_and(|labels| carries(labels, wanted)))
            })
    }
}

/// Whether a set of labels has `key`, or `key:value`.
pub fn carries(labels: &Labels, wanted: &str) -> bool {
    // A key may contain a colon itself.
    labels.contains_key(wanted)
        || wanted
            .match_indices(':')
            .any(|(at, _)| labels.get(&wanted[..at]).is_some_and(|value| *value == wanted[at + 1..]))
}

/// A filter held against a tenant: numbers instead of texts.
pub struct Prepared<'f> {
    filter: &'f Filter,
    /// By number of the type; empty: any.
    types: Vec<bool>,
    /// By number of the labels; empty: any.
    labels: Vec<bool>,
}

impl Prepared<'_> {
    /// Whether a row satisfies the filter.
    pub fn takes(&self, tenant: &Tenant, index: u32) -> bool {
        let (at, row) = (tenant.at(index), tenant.row(index));
        !row.is_free()
            && self.filter.takes_cells(&at)
            && (self.types.is_empty() || self.types[at.device_type() as usize])
            && (self.labels.is_empty() || self.labels[at.labels() as usize])
            && self.filter.takes_texts(row.id(), row.name())
    }

    /// Leaves the rows that satisfy the filter; how id and name begin is not looked at.
    fn narrow(&self, found: &mut Found<'_>) {
        let Found { chunk, rows, .. } = found;
        // What leaves the fewest first, as a rule.
        if !self.types.is_empty() {
            rows.retain(&chunk.types, |number| self.types[number as usize]);
        }
        if !self.labels.is_empty() {
            rows.retain(&chunk.labels, |number| self.labels[number as usize]);
        }
        self.filter.narrow(chunk, rows);
        if self.filter.asks_for_patterns() {
            found.retain_texts(|_, row| self.filter.takes_texts(row.id(), row.name()));
        }
    }
}

impl Tenant {
    /// How many devices it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn chunk_mut(&mut self, index: u32) -> (&mut Chunk, usize) {
        (&mut self.chunks[index as usize / CHUNK], index as usize % CHUNK)
    }

    /// The texts of a row.
    pub fn row(&self, index: u32) -> &Row {
        self.chunks[index as usize / CHUNK].row(index as usize % CHUNK)
    }

    /// The facts of a row's device.
    pub fn at(&self, index: u32) -> At<'_> {
        self.chunks[index as usize / CHUNK].at(index as usize % CHUNK)
    }

    /// The place of an id, or where it would stand.
    fn place(&self, id: &str) -> Place {
        self.order.place(|index| self.row(index).id() < id)
    }

    /// The row of a device.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.order.at(self.place(id)).filter(|index| self.row(*index).id() == id)
    }

    /// The rows of several devices. What is looked at next of all of them is fetched together: one by one each look is a
    /// wait for memory.
    pub fn find_all(&self, ids: &[&str]) -> Vec<Option<u32>> {
        let touch = |index: u32| usize::from(self.row(index).id().as_bytes()[0]);
        let places = self.order.places(ids.len(), touch, |one, index| self.row(index).id() < ids[one]);
        let known = places.into_iter().zip(ids);
        known.map(|(place, id)| self.order.at(place).filter(|index| self.row(*index).id() == *id)).collect()
    }

    /// The rows in the order of their ids, behind this one.
    pub fn behind<'t>(&'t self, id: &str) -> impl Iterator<Item = u32> + use<'t> {
        self.order.from(self.order.place(|index| self.row(index).id() <= id))
    }

    /// Where the ids stand that begin so.
    fn ids(&self, prefix: &str) -> (Place, Place) {
        let is_among = |index: u32| self.row(index).id().starts_with(prefix);
        (self.place(prefix), self.order.place(|index| self.row(index).id() < prefix || is_among(index)))
    }

    /// Where the names stand that begin so, in either case.
    fn named(&self, prefix: &str) -> (Place, Place) {
        let begin = |index: u32| order::compare_begin(self.row(index).name().unwrap_or_default(), prefix);
        (self.names.place(|index| begin(index).is_lt()), self.names.place(|index| begin(index).is_le()))
    }

    /// The place of a row in the order of names.
    fn place_of_name(&self, index: u32, name: &str) -> Place {
        self.names.place(|other| {
            order::compare(self.row(other).name().unwrap_or_default(), name).then(other.cmp(&index)).is_lt()
        })
    }

    /// Takes a row out of the order of names, before its name changes.
    fn forget_name(&mut self, index: u32) {
        if let Some(name) = self.row(index).name() {
            let place = self.place_of_name(index, name);
            self.names.remove(place);
        }
    }

    /// A device as lists tell it.
    pub fn listed(&self, index: u32) -> Listed {
        let (row, cells) = (self.row(index), self.at(index).cells());
        Listed {
            id: row.id().into(),
            name: row.name().map(Into::into),
            device_type: self.types.get(cells.device_type).cloned(),
            labels: self.labels.get(cells.labels).cloned(),
            cells,
        }
    }

    /// The types that its devices have: each with its number in [`Cells::device_type`], and how many devices have it.
    pub fn types(&self) -> impl Iterator<Item = (u32, &str, u32)> {
        let known = (0u32..).zip(&self.types.values);
        known.filter_map(|(number, value)| value.as_ref().map(|(name, users)| (number, &**name, *users)))
    }

    /// The type of this number.
    pub fn type_of(&self, number: u32) -> Option<&str> {
        self.types.get(number).map(|known| &**known)
    }

    fn insert(&mut self, id: &str) -> u32 {
        let place = self.place(id);
        if let Some(index) = self.order.at(place).filter(|index| self.row(*index).id() == id) {
            return index;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                    self.chunks.push(Chunk::default());
                }
                let last = self.chunks.len() - 1;
                self.chunks[last].push();
                (last * CHUNK + self.chunks[last].len() - 1) as u32
            }
        };
        self.order.insert(place, index);
        self.count += 1;
        index
    }

    fn put(&mut self, id: &str, device: &Device, number: u32) -> u32 {
        let index = self.insert(id);
        let registration = &device.registration;
        let mut cells = Cells::of(device, number);
        let (type_before, labels_before) = (self.at(index).device_type(), self.at(index).labels());
        // What it has now first, so that what stays is not given back and taken again.
        if let Some(fact) = &registration.device_type {
            cells.device_type = self.types.take(Arc::from(&*fact.value));
        }
        if let Some(fact) = registration.labels.as_ref().filter(|fact| !fact.value.is_empty()) {
            cells.labels = self.labels.take(Arc::new(fact.value.clone()));
        }
        self.types.give_back(type_before);
        self.labels.give_back(labels_before);
        let name = registration.name.as_ref().map_or("", |fact| &*fact.value);
        let row = self.row(index);
        if row.is_free() || row.name().unwrap_or_default() != name {
            self.forget_name(index);
            let (chunk, at) = self.chunk_mut(index);
            chunk.set_texts(at, id, name);
            if !name.is_empty() {
                let place = self.place_of_name(index, name);
                self.names.insert(place, index);
            }
        }
        let (chunk, at) = self.chunk_mut(index);
        chunk.set(at, &cells, Moment::new(tunnel_moved(device)));
        index
    }

    fn remove(&mut self, id: &str) -> Option<u32> {
        let index = self.find(id)?;
        self.forget_name(index);
        self.order.remove(self.place(id));
        let (type_before, labels_before) = (self.at(index).device_type(), self.at(index).labels());
        self.types.give_back(type_before);
        self.labels.give_back(labels_before);
        let (chunk, at) = self.chunk_mut(index);
        chunk.free(at);
        self.free.push(index);
        self.count -= 1;
        Some(index)
    }

    /// A filter, held against the types and labels that there are.
    pub fn prepare<'f>(&self, filter: &'f Filter) -> Prepared<'f> {
        let types = match filter.asks_for_type() {
            false => Vec::new(),
            true => (0..self.types.values.len() as u32)
                .map(|number| filter.takes_type(self.types.get(number).map(|known| &**known)))
                .collect(),
        };
        let labels = match filter.labels.is_empty() {
            true => Vec::new(),
            false => (0..self.labels.values.len() as u32)
                .map(|number| {
                    let set = self.labels.get(number);
                    filter
                        .labels
                        .iter()
                        .all(|choice| choice.takes(|wanted| set.is_some_and(|set| carries(set, wanted))))
                })
                .collect(),
        };
        Prepared { filter, types, labels }
    }

    /// What the beginnings of id and name leave; `None`: they are not asked for.
    fn begun(&self, filter: &Filter) -> Option<RowSet> {
        let ids = |prefix: &str| (&self.order, self.ids(prefix));
        let names = |prefix: &str| (&self.names, self.named(prefix));
        let mut terms: Vec<Vec<(&Order, (Place, Place))>> = Vec::new();
        terms.extend(filter.id_prefix.iter().map(|prefix| vec![ids(prefix)]));
        terms.extend(filter.name_prefix.iter().map(|prefix| vec![names(prefix)]));
        terms.extend(filter.search.iter().map(|prefix| vec![ids(prefix), names(prefix)]));
        terms.sort_by_cached_key(|term| {
            term.iter().map(|(order, places)| order.count(*places)).sum::<usize>()
        });
        let set = |term: &[(&Order, (Place, Place))]| {
            let mut set = RowSet::default();
            term.iter().for_each(|(order, places)| order.between(*places).for_each(|row| set.add(row)));
            set
        };
        let (least, others) = terms.split_first()?;
        let mut left = set(least);
        if others.is_empty() || left.count() > FEW {
            others.iter().for_each(|term| left.share(&set(term)));
            return Some(left);
        }
        let takes = |row: &Row| filter.takes_texts(row.id(), row.name());
        let mut few = RowSet::default();
        left.iter().filter(|index| takes(self.row(*index))).for_each(|index| few.add(index));
        Some(few)
    }

    /// The rows whose names begin as a filter asks, in the order of their ids, behind this one; `None`: there is a better way
    /// to the first of them. Ids that begin alike lie together, wherever that is.
    pub fn behind_of(&self, filter: &Filter, id: &str) -> Option<impl Iterator<Item = u32>> {
        if filter.id_prefix.is_some() || filter.search.is_some() {
            return None;
        }
        let rows = self.begun(filter).filter(|rows| rows.count() > self.count / WALKED_SHARE)?;
        Some(self.behind(id).filter(move |index| rows.has(*index)))
    }

    /// Folds the rows that satisfy one of these filters into what `begin` makes, a chunk at a time, in the order in which
    /// they lie. A large fleet is gone through by several threads, each of them with a part of its own; the parts come
    /// back in order.
    pub fn scan<T: Send>(
        &self,
        filters: &[&Filter],
        begin: impl Fn() -> T + Sync,
        each: impl Fn(&mut T, Found<'_>) + Sync,
    ) -> Vec<T> {
        let prepared: Vec<_> =
            filters.iter().map(|filter| (self.begun(filter), self.prepare(filter))).collect();
        let is_few =
            prepared.iter().all(|(among, _)| among.as_ref().is_some_and(|among| among.count() <= FEW));
        let threads = if is_few { 1 } else { *THREADS };
        let part = self.chunks.len().div_ceil(threads).max(CHUNKS_OF_A_THREAD);
        let fold = |chunks: &[Chunk], first: u32| {
            let mut folded = begin();
            for (chunk, first) in chunks.iter().zip((first..).step_by(CHUNK)) {
                let found = |(among, filter): &(Option<RowSet>, Prepared<'_>)| {
                    let mut found = chunk.found(first, among.as_ref());
                    filter.narrow(&mut found);
                    found
                };
                let any = prepared.iter().map(found).reduce(|mut any, other| {
                    any.rows.join(&other.rows);
                    any
                });
                if let Some(found) = any.filter(|found| !found.rows.is_empty()) {
                    each(&mut folded, found);
                }
            }
            folded
        };
        std::thread::scope(|scope| {
            let fold = &fold;
            let mut parts = self.chunks.chunks(part).zip((0..).step_by(part * CHUNK));
            let own = parts.next();
            let others: Vec<_> =
                parts.map(|(chunks, first)| scope.spawn(move || fold(chunks, first))).collect();
            let own = own.map(|(chunks, first)| fold(chunks, first));
            let joined = others.into_iter().map(|part| part.join().expect("a scan does not panic"));
            own.into_iter().chain(joined).collect()
        })
    }

    /// The rows that satisfy one of these filters.
    pub fn matching(&self, filters: &[&Filter]) -> RowSet {
        joined(self.scan(filters, RowSet::default, |rows, found| rows.take(&found)))
    }

    /// Of these rows those behind an id, in the order of their ids: `skip` of them are passed over, `limit` at most taken.
    pub fn in_order(&self, rows: &RowSet, after: &str, skip: usize, limit: usize) -> Vec<u32> {
        if rows.count() > self.count / WALKED_SHARE {
            return self.behind(after).filter(|index| rows.has(*index)).skip(skip).take(limit).collect();
        }
        let mut rows: Vec<(&str, u32)> = rows.iter().map(|index| (self.row(index).id(), index)).collect();
        rows.retain(|(id, _)| *id > after);
        let end = skip.saturating_add(limit);
        if end < rows.len() {
            rows.select_nth_unstable(end);
            rows.truncate(end);
        }
        rows.sort_unstable();
        rows.into_iter().skip(skip).map(|(_, index)| index).collect()
    }
}

/// All the rows that the parts of a scan found.
pub fn joined(parts: impl IntoIterator<Item = RowSet>) -> RowSet {
    let all = parts.into_iter().reduce(|mut all, more| {
        all.join(&more);
        all
    });
    all.unwrap_or_default()
}

/// Where a device stands: its tenant and row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Spot {
    tenant: u32,
    row: u32,
}

const NOWHERE: Spot = Spot { tenant: u32::MAX, row: u32::MAX };

/// All devices of all tenants.
#[derive(Debug, Default)]
pub struct Fleet {
    names: BTreeMap<Box<str>, u32>,
    tenants: Vec<Tenant>,
    /// By partition and number: where the device stands.
    numbers: Vec<Vec<Spot>>,
}

impl Fleet {
    /// The devices of a tenant; `None` if it never had any.
    pub fn tenant(&self, tenant: &str) -> Option<&Tenant> {
        self.names.get(tenant).map(|number| &self.tenants[*number as usize])
    }

    /// The tenants, by name.
    pub fn tenants(&self) -> impl Iterator<Item = (&str, &Tenant)> {
        self.names.iter().map(|(name, number)| (&**name, &self.tenants[*number as usize]))
    }

    /// How many devices there are.
    pub fn len(&self) -> usize {
        self.tenants.iter().map(Tenant::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A device, by its record key.
    pub fn get(&self, key: &str) -> Option<Listed> {
        let (tenant, id) = split_key(key);
        let tenant = self.tenant(tenant)?;
        Some(tenant.listed(tenant.find(id)?))
    }

    /// The row of the device that has this number, if it is one of this tenant.
    pub fn numbered(&self, tenant: &str, partition: u32, number: u32) -> Option<u32> {
        let wanted = *self.names.get(tenant)?;
        let spot = self.numbers.get(partition as usize)?.get(number as usize)?;
        (spot.tenant == wanted).then_some(spot.row)
    }

    /// Takes a device as its row tells it.
    pub fn put(&mut self, partition: u32, key: &str, device: &Device, number: u32) {
        let (name, id) = split_key(key);
        let tenant = match self.names.get(name) {
            Some(&tenant) => tenant,
            None => {
                self.names.insert(name.into(), self.tenants.len() as u32);
                self.tenants.push(Tenant::default());
                self.tenants.len() as u32 - 1
            }
        };
        let row = self.tenants[tenant as usize].put(id, device, number);
        let partition = partition as usize;
        if self.numbers.len() <= partition {
            self.numbers.resize_with(partition + 1, Vec::new);
        }
        let numbers = &mut self.numbers[partition];
        if numbers.len() <= number as usize {
            numbers.resize(number as usize + 1, NOWHERE);
        }
        numbers[number as usize] = Spot { tenant, row };
    }

    /// Forgets a device.
    pub fn remove(&mut self, partition: u32, key: &str) {
        let (name, id) = split_key(key);
        let Some(&tenant) = self.names.get(name) else { return };
        let Some(number) = self.tenants[tenant as usize]
            .find(id)
            .map(|row| self.tenants[tenant as usize].row(row).number as usize)
        else {
            return;
        };
        let row = self.tenants[tenant as usize].remove(id);
        let spot = self.numbers.get_mut(partition as usize).and_then(|numbers| numbers.get_mut(number));
        // Another device may have the number by now.
        if let Some(spot) = spot
            && Some(*spot) == row.map(|row| Spot { tenant, row })
        {
            *spot = NOWHERE;
        }
    }

    /// Forgets all devices of a partition.
    pub fn clear(&mut self, partition: u32) {
        let Some(spots) = self.numbers.get_mut(partition as usize).map(std::mem::take) else { return };
        for spot in spots.into_iter().filter(|spot| *spot != NOWHERE) {
            let tenant = &mut self.tenants[spot.tenant as usize];
            let id: Box<str> = tenant.row(spot.row).id().into();
            tenant.remove(&id);
        }
    }

    /// Where the device of this number stands, if there is one.
    fn spot(&self, partition: u32, number: u32) -> Option<Spot> {
        let spot = *self.numbers.get(partition as usize)?.get(number as usize)?;
        (spot != NOWHERE).then_some(spot)
    }

    /// Moves the clocks of a device by its number; `None` if no device has it.
    pub fn move_clocks(&mut self, partition: u32, number: u32, moved: &Moved) -> Option<()> {
        let spot = self.spot(partition, number)?;
        let tenant = &mut self.tenants[spot.tenant as usize];
        let mut clocks = clocks_of(&tenant.at(spot.row));
        moved.apply(&mut clocks);
        let (chunk, at) = tenant.chunk_mut(spot.row);
        chunk.set_clocks(at, &clocks);
        Some(())
    }

    /// Sets the clocks of a device by its number, as a checkpoint kept them.
    pub fn set_clocks(&mut self, partition: u32, number: u32, times: [Timestamp; 3], kind: LastActivity) {
        if let Some(spot) = self.spot(partition, number) {
            let [last_message, last_activity, last_poll] = times;
            let (chunk, at) = self.tenants[spot.tenant as usize].chunk_mut(spot.row);
            chunk.set_clocks(
                at,
                &Clocks { last_message, last_activity, last_poll, kind, ..Clocks::default() },
            );
        }
    }

    /// The clocks of a device, by its number.
    pub fn clocks(&self, partition: u32, number: u32) -> Option<Clocks> {
        let spot = self.spot(partition, number)?;
        Some(clocks_of(&self.tenants[spot.tenant as usize].at(spot.row)))
    }
}

/// The clocks that cells keep; those of the channels are not among them.
pub fn clocks_of(facts: &impl Facts) -> Clocks {
    Clocks {
        last_message: facts.time(Time::LastMessage).time(),
        last_activity: facts.time(Time::LastActivity).time(),
        last_poll: facts.time(Time::LastPoll).time(),
        kind: facts.kind(),
        ..Clocks::default()
    }
}
