//! All devices in memory, by tenant: the columns that filters look at.
//!
//! A tenant has rows of its own, so that a request of one tenant can neither see nor wait for those of another. Rows
//! stand in the order of arrival and are scanned in that order, which is what memory is fast at; the orders of ids and
//! names are kept beside them, for look-ups, prefixes and pages.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use crate::domain::clocks::{Clocks, LastActivity};
use crate::domain::device::Device;
use crate::domain::event::split_key;
use crate::domain::time::Timestamp;
use crate::engine::pack::Moved;

use super::cells::{Cells, Moment, Time, tunnel_moved};
use super::filter::Filter;
use super::order::{self, Order, Place, RowSet};

/// Rows of a chunk: a tenant grows by so many at most, so that little room is wasted. Small in tests, whose fleets are
/// small: they go through several, and with several threads.
const CHUNK: usize = if cfg!(test) { 8 } else { 4096 };
/// A thread is worth its start from so many chunks on: about a millisecond of its work.
const CHUNKS_OF_A_THREAD: usize = if cfg!(test) { 1 } else { 16 };
/// Threads that go through a large fleet together: memory has no room for more.
static THREADS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().clamp(2, 8)));
/// Where the beginnings of texts leave so few rows, they are looked at one by one, without a scan.
const FEW: usize = if cfg!(test) { 4 } else { 16_384 };
/// Texts that are fetched together.
const AT_ONCE: usize = 32;
/// Up to so many rows are put in order by comparing ids; of more, those of a page are found by walking the order.
pub(super) const SORTED_MAX: usize = 16_384;

/// The labels of a device.
pub type Labels = BTreeMap<String, String>;

/// A device in memory: its cells, and its id and name in one text.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// What filters look at.
    pub cells: Cells,
    /// Id, then name. Empty: the row is free.
    text: Box<str>,
}

impl Row {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.text[..usize::from(self.cells.id_bytes)]
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        Some(&self.text[usize::from(self.cells.id_bytes)..]).filter(|name| !name.is_empty())
    }

    fn is_free(&self) -> bool {
        self.text.is_empty()
    }
}

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

const _: () = assert!(size_of::<Row>() <= 80, "a scan reads 80 bytes a device");

/// The devices of one tenant.
#[derive(Debug, Default)]
pub struct Tenant {
    chunks: Vec<Vec<Row>>,
    free: Vec<u32>,
    /// Rows in the order of ids.
    order: Order,
    /// Those with a name, in the order of names, whatever their case; of equal names in the order of rows.
    names: Order,
    types: Shared<Arc<str>>,
    labels: Shared<Arc<Labels>>,
    /// By row: when its tunnel came or went. As long as the last row with a tunnel needs: in most fleets nobody has one.
    tunnels: Vec<Moment>,
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

/// A filter held against a tenant's types and labels: numbers instead of texts.
pub struct Prepared<'f> {
    filter: &'f Filter,
    /// By number of the type; empty: any.
    types: Vec<bool>,
    /// By number of the labels; empty: any.
    labels: Vec<bool>,
}

/// What the beginnings of id and name leave of a tenant's rows.
enum Narrowed {
    /// They are not asked for.
    All,
    /// These, in the order in which they lie.
    Few(Vec<u32>),
    /// These.
    Many(RowSet),
}

impl Prepared<'_> {
    /// Whether a row satisfies the filter.
    pub fn takes(&self, row: &Row) -> bool {
        self.takes_cells(row) && self.takes_texts(row)
    }

    /// All but the texts.
    #[inline]
    fn takes_cells(&self, row: &Row) -> bool {
        let cells = &row.cells;
        self.filter.takes_cells(cells)
            && (self.types.is_empty() || self.types[cells.device_type as usize])
            && (self.labels.is_empty() || self.labels[cells.labels as usize])
            && !row.is_free()
    }

    fn takes_texts(&self, row: &Row) -> bool {
        self.filter.takes_texts(row.id(), row.name())
    }

    /// Hands each row of these chunks that satisfies the filter to `take`; `first` is the number of the first. `among`:
    /// those whose id and name begin as they must.
    fn scan(
        &self,
        chunks: &[Vec<Row>],
        first: u32,
        among: Option<&RowSet>,
        mut take: impl FnMut(u32, &Cells),
    ) {
        let asks_for_patterns = self.filter.asks_for_patterns();
        let mut likely: Vec<(u32, &Row)> = Vec::new();
        for (chunk, first) in chunks.iter().zip((first..).step_by(CHUNK)) {
            let is_likely = |(row, index): &(&Row, u32)| {
                among.is_none_or(|among| among.has(*index)) && self.takes_cells(row)
            };
            for (row, index) in chunk.iter().zip(first..).filter(is_likely) {
                match asks_for_patterns {
                    true => likely.push((index, row)),
                    false => take(index, &row.cells),
                }
            }
            for some in likely.chunks(AT_ONCE) {
                // The texts lie elsewhere: touched together they cost one wait for memory, one by one a wait each.
                black_box(some.iter().fold(0, |sum, (_, row)| sum | row.text.as_bytes()[0]));
                for (index, row) in some.iter().filter(|(_, row)| self.takes_texts(row)) {
                    take(*index, &row.cells);
                }
            }
            likely.clear();
        }
    }
}

impl Tenant {
    /// No rows, with room for all.
    pub fn none(&self) -> RowSet {
        RowSet::none(self.chunks.len() * CHUNK)
    }

    /// How many devices it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// One of its rows.
    pub fn row(&self, index: u32) -> &Row {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn row_mut(&mut self, index: u32) -> &mut Row {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    /// The place of an id, or where it would stand.
    fn place(&self, id: &str) -> Place {
        self.order.place(|index| self.row(index).id() < id)
    }

    /// The row of a device.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.order.at(self.place(id)).filter(|index| self.row(*index).id() == id)
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
        let row = self.row(index);
        Listed {
            id: row.id().into(),
            name: row.name().map(Into::into),
            device_type: self.types.get(row.cells.device_type).cloned(),
            labels: self.labels.get(row.cells.labels).cloned(),
            cells: row.cells,
        }
    }

    /// When the tunnel of a row's device was last seen to come or to go; never, if it had none.
    pub fn tunnel(&self, index: u32) -> Moment {
        self.tunnels.get(index as usize).copied().unwrap_or_default()
    }

    fn set_tunnel(&mut self, index: u32, at: Moment) {
        let place = index as usize;
        if at != Moment::default() && self.tunnels.len() <= place {
            self.tunnels.resize(place + 1, Moment::default());
        }
        if let Some(known) = self.tunnels.get_mut(place) {
            *known = at;
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
                    self.chunks.push(Vec::new());
                }
                let last = self.chunks.len() - 1;
                self.chunks[last].push(Row::default());
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
        cells.id_bytes = id.len() as u16;
        let before = self.row(index).cells;
        // What it has now first, so that what stays is not given back and taken again.
        if let Some(fact) = &registration.device_type {
            cells.device_type = self.types.take(Arc::from(&*fact.value));
        }
        if let Some(fact) = registration.labels.as_ref().filter(|fact| !fact.value.is_empty()) {
            cells.labels = self.labels.take(Arc::new(fact.value.clone()));
        }
        self.types.give_back(before.device_type);
        self.labels.give_back(before.labels);
        self.set_tunnel(index, Moment::new(tunnel_moved(device)));
        let name = registration.name.as_ref().map_or("", |fact| &*fact.value);
        let row = self.row(index);
        if row.text.is_empty() || row.name().unwrap_or_default() != name {
            self.forget_name(index);
            let row = self.row_mut(index);
            row.cells = cells;
            row.text = [id, name].concat().into();
            if !name.is_empty() {
                let place = self.place_of_name(index, name);
                self.names.insert(place, index);
            }
        }
        self.row_mut(index).cells = cells;
        index
    }

    fn remove(&mut self, id: &str) -> Option<u32> {
        let index = self.find(id)?;
        self.forget_name(index);
        self.order.remove(self.place(id));
        let row = std::mem::take(self.row_mut(index));
        self.types.give_back(row.cells.device_type);
        self.labels.give_back(row.cells.labels);
        self.set_tunnel(index, Moment::default());
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

    /// What the beginnings of texts leave.
    fn narrow(&self, filter: &Filter) -> Narrowed {
        let ids = |prefix: &str| (&self.order, self.ids(prefix));
        let names = |prefix: &str| (&self.names, self.named(prefix));
        let mut terms: Vec<Vec<(&Order, (Place, Place))>> = Vec::new();
        terms.extend(filter.id_prefix.iter().map(|prefix| vec![ids(prefix)]));
        terms.extend(filter.name_prefix.iter().map(|prefix| vec![names(prefix)]));
        terms.extend(filter.search.iter().map(|prefix| vec![ids(prefix), names(prefix)]));
        let count = |term: &Vec<(&Order, _)>| term.iter().map(|(order, places)| order.count(*places)).sum();
        let rows = |term: &[(&'_ Order, (Place, Place))]| -> Vec<u32> {
            term.iter().flat_map(|(order, places)| order.between(*places)).collect()
        };
        let Some(least) = terms.iter().min_by_key(|term| -> usize { count(term) }) else {
            return Narrowed::All;
        };
        if count(least) <= FEW {
            let mut few = rows(least);
            few.sort_unstable();
            few.dedup();
            return Narrowed::Few(few);
        }
        let mut sets = terms.iter().map(|term| {
            let mut set = self.none();
            term.iter().for_each(|(order, places)| order.between(*places).for_each(|row| set.add(row)));
            set
        });
        let first = sets.next().unwrap_or_else(|| self.none());
        Narrowed::Many(sets.fold(first, |mut left, set| {
            left.retain(&set);
            left
        }))
    }

    /// Folds the rows that satisfy a filter into what `begin` makes, in the order in which they lie. A large fleet is
    /// gone through by several threads, each of them with a part of its own; the parts come back in order.
    pub fn scan<T: Send>(
        &self,
        filter: &Filter,
        begin: impl Fn() -> T + Sync,
        take: impl Fn(&mut T, u32, &Cells) + Sync,
    ) -> Vec<T> {
        let prepared = self.prepare(filter);
        let among = match self.narrow(filter) {
            Narrowed::All => None,
            Narrowed::Many(set) => Some(set),
            Narrowed::Few(rows) => {
                let mut folded = begin();
                for index in rows.into_iter().filter(|index| prepared.takes(self.row(*index))) {
                    take(&mut folded, index, &self.row(index).cells);
                }
                return vec![folded];
            }
        };
        let part = self.chunks.len().div_ceil(*THREADS).max(CHUNKS_OF_A_THREAD);
        let fold = |chunks: &[Vec<Row>], first: u32| {
            let mut folded = begin();
            prepared.scan(chunks, first, among.as_ref(), |index, cells| take(&mut folded, index, cells));
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

    /// The rows that satisfy a filter, in the order of [`Self::scan`].
    pub fn matching(&self, filter: &Filter) -> Vec<u32> {
        self.scan(filter, Vec::new, |found, index, _| found.push(index)).concat()
    }

    /// Of these rows those behind an id, in the order of their ids: `skip` of them are passed over, `limit` at most taken.
    pub fn in_order(&self, mut rows: Vec<u32>, after: &str, skip: usize, limit: usize) -> Vec<u32> {
        let id = |index: u32| self.row(index).id();
        if rows.len() > SORTED_MAX {
            let mut among = self.none();
            rows.into_iter().for_each(|index| among.add(index));
            let rows = self.behind(after).filter(|index| among.has(*index));
            return rows.skip(skip).take(limit).collect();
        }
        rows.retain(|index| id(*index) > after);
        rows.sort_unstable_by(|a, b| id(*a).cmp(id(*b)));
        rows.truncate(skip.saturating_add(limit));
        rows.drain(..skip.min(rows.len()));
        rows
    }
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
            .map(|row| self.tenants[tenant as usize].row(row).cells.number as usize)
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

    /// Moves the clocks of a device by its number; `None` if no device has it.
    pub fn move_clocks(&mut self, partition: u32, number: u32, moved: &Moved) -> Option<()> {
        let cells = self.cells_mut(partition, number)?;
        let mut clocks = clocks_of(cells);
        moved.apply(&mut clocks);
        set_clocks(cells, &clocks);
        Some(())
    }

    /// Sets the clocks of a device by its number, as a checkpoint kept them.
    pub fn set_clocks(&mut self, partition: u32, number: u32, times: [Timestamp; 3], kind: LastActivity) {
        if let Some(cells) = self.cells_mut(partition, number) {
            let [last_message, last_activity, last_poll] = times;
            set_clocks(cells, &Clocks { last_message, last_activity, last_poll, kind, ..Clocks::default() });
        }
    }

    /// The cells of a device, by its number.
    pub fn cells(&self, partition: u32, number: u32) -> Option<&Cells> {
        let spot =
            self.numbers.get(partition as usize)?.get(number as usize).filter(|spot| **spot != NOWHERE)?;
        Some(&self.tenants[spot.tenant as usize].row(spot.row).cells)
    }

    fn cells_mut(&mut self, partition: u32, number: u32) -> Option<&mut Cells> {
        let spot =
            *self.numbers.get(partition as usize)?.get(number as usize).filter(|spot| **spot != NOWHERE)?;
        Some(&mut self.tenants[spot.tenant as usize].row_mut(spot.row).cells)
    }
}

/// The clocks that cells keep; those of the channels are not among them.
pub fn clocks_of(cells: &Cells) -> Clocks {
    Clocks {
        last_message: cells.time(Time::LastMessage).time(),
        last_activity: cells.time(Time::LastActivity).time(),
        last_poll: cells.time(Time::LastPoll).time(),
        kind: cells.kind(),
        ..Clocks::default()
    }
}

fn set_clocks(cells: &mut Cells, clocks: &Clocks) {
    cells.set(Time::LastMessage, clocks.last_message);
    cells.set(Time::LastActivity, clocks.last_activity);
    cells.set(Time::LastPoll, clocks.last_poll);
    cells.set_kind(clocks.kind);
}
