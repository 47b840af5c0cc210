//! The view: what is known now, of all partitions, and the past beside it.
//!
//! Each partition is written by one follower at a time, entry by entry: what a reader sees is always the state behind
//! some entry of each partition, clocks included, and never anything that is not committed. Until a partition has
//! caught up, the facts of one device may be an entry ahead of its statuses.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::domain::clocks::LastActivity;
use crate::domain::device::Device;
use crate::domain::effect::Blind;
use crate::domain::event::split_key;
use crate::domain::node::Nodes;
use crate::domain::policy::Policy;
use crate::domain::time::{Millis, Timestamp};
use crate::engine::journal::Entry;
use crate::engine::pack::{self, Packed};
use crate::follow::{Followed, OUTPUTS};
use crate::log::Topic;
use crate::wire::output::{self, Output, OutputKind};
use crate::wire::row::{self, Row, key};

use super::cells::{Cells, Facts, Moment, Time};
use super::fleet::{self, Fleet, Listed};
use super::history::{Batch, History, HistoryError, Position};
use super::list::{self, Page, Request};
use super::live::{Change, Live};
use super::outcomes::Became;
use super::partition::Known;

/// What is wrong with what was followed.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The database.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A row or a clock pack cannot be read: a newer version wrote it, or it is damaged.
    #[error("partition {partition}, entry {seq}: {message}")]
    Unreadable {
        /// The partition.
        partition: u32,
        /// The entry.
        seq: u64,
        /// What is wrong.
        message: String,
    },
}

/// All that is known.
#[derive(Debug, Default)]
pub struct State {
    /// The devices.
    pub fleet: Fleet,
    /// The partitions, by number.
    pub partitions: Vec<Known>,
}

/// Called whenever something was applied.
type Wake = Box<dyn Fn() + Send + Sync>;

/// The view. Any number of readers, one follower.
pub struct View {
    state: RwLock<State>,
    /// The past.
    pub history: History,
    /// The live feed.
    pub live: Live,
    wakes: RwLock<Vec<Wake>>,
    /// Why it is not fed any more.
    failure: RwLock<Option<String>>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

/// How far the view has come, and whether it can be trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The partition.
    pub partition: u32,
    /// The last entry that was applied.
    pub seq: u64,
    /// The partition clock: everything due by then is decided.
    pub clock: Timestamp,
    /// When the log took that entry.
    pub committed_at: Timestamp,
    /// What the monitor could not judge by, and since when.
    pub blind: Option<(Blind, Timestamp)>,
    /// Whether everything that was there at the start has been applied.
    pub caught_up: bool,
    /// Records of the journal that wait.
    pub waiting: u64,
}

impl View {
    /// An empty view over what `history` keeps, of so many partitions; its live feed keeps `window` changes.
    /// [`super::feed::feed`] fills it.
    pub fn new(history: History, partitions: u32, window: usize) -> View {
        let mut state = State::default();
        state.partitions.resize_with(partitions as usize, Known::default);
        View {
            state: RwLock::new(state),
            history,
            live: Live::new(window),
            wakes: RwLock::default(),
            failure: RwLock::default(),
        }
    }

    /// Says that it is not fed any more, and why: what it tells grows old.
    pub fn fail(&self, why: String) {
        *self.failure.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why it is not fed any more.
    pub fn failure(&self) -> Option<String> {
        self.failure.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls this whenever something was applied. It must return at once.
    pub fn on_change(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.wakes.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(wake));
    }

    fn wake(&self) {
        for wake in self.wakes.read().unwrap_or_else(PoisonError::into_inner).iter() {
            wake();
        }
    }

    /// What is known now. Hold it shortly: the follower waits meanwhile.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        // A panic of the follower leaves at worst one entry half applied; it ends the process.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a list. An unknown tenant has no devices.
    pub fn list(&self, tenant: &str, request: &Request) -> Page {
        self.state().fleet.tenant(tenant).map(|tenant| list::list(tenant, request)).unwrap_or_default()
    }

    /// A device with all its facts, and as lists tell it.
    ///
    /// # Errors
    /// The database fails.
    pub fn device(&self, key: &str) -> Result<Option<(Device, Listed)>, HistoryError> {
        // Facts and clocks of the same entry: the follower writes both under this lock.
        let state = self.state();
        let Some(listed) = state.fleet.get(key) else { return Ok(None) };
        let Some(bytes) = self.history.row(key)? else { return Ok(None) };
        drop(state);
        let Ok((_, Row::Device(found))) = row::decode_row(&bytes) else { return Ok(None) };
        let device = row::decode_facts(found.facts, fleet::clocks_of(&listed.cells));
        Ok(device.ok().map(|device| (device, listed)))
    }

    /// How far each partition has come.
    pub fn standing(&self) -> Vec<Standing> {
        let state = self.state();
        let each = |(known, partition): (&Known, u32)| Standing {
            partition,
            seq: known.seq,
            clock: known.clock,
            committed_at: known.committed_at,
            blind: known.blind.map(|blind| (blind, known.blind_since)),
            caught_up: known.caught_up,
            waiting: known.waiting,
        };
        state.partitions.iter().zip(0..).map(each).collect()
    }

    /// Whether everything that was there at the start has been applied.
    pub fn is_caught_up(&self) -> bool {
        self.state().partitions.iter().all(|known| known.caught_up)
    }

    /// What became of a command, by the place of its record on the control topic; `None`: it is not taken yet.
    pub fn became(&self, partition: u32, offset: u64) -> Option<Became> {
        self.state().partitions.get(partition as usize)?.outcomes.of(offset)
    }

    /// Applies an entry whose rows and outputs are kept already: its clocks and where it stands.
    pub(super) fn apply_kept(
        &self,
        partition: u32,
        entry: &Entry,
        committed_at: Timestamp,
    ) -> Result<(), ViewError> {
        self.change(|state| state.entry(partition, entry, committed_at))
    }

    /// Applies an entry.
    pub(super) fn apply(&self, partition: u32, followed: &Followed) -> Result<(), ViewError> {
        let entry = &followed.entry;
        let seq = entry.entry.seq;
        let live = self.state().partitions[partition as usize].caught_up;
        let mut batch = self.history.batch();
        let mut outputs = Vec::new();
        for (index, (kind, output)) in outputs_of(followed).enumerate() {
            batch.output(partition, seq, index, &output);
            // Of what is long past only the outcomes of commands are asked for again.
            if live || kind == OutputKind::Audit {
                outputs.push((kind, output));
            }
        }
        let changes = self.change(|state| -> Result<Vec<Change>, ViewError> {
            state.entry(partition, entry, followed.record.timestamp)?;
            let rows = &followed.outputs.records[place_of(Topic::State)];
            let mut changes: Vec<Change> = Vec::new();
            for record in rows {
                let key = record.key();
                let before = if live { state.fleet.get(&key) } else { None };
                let told = Told::read(partition, seq, &key, record.value.as_deref())?;
                state.row(partition, &key, told, record.value.as_deref(), &mut batch);
                if live && key::is_device(&key) {
                    let (tenant, device_id) = split_key(&key);
                    changes.push(Change {
                        partition,
                        seq,
                        tenant: tenant.into(),
                        device_id: device_id.into(),
                        before,
                        after: state.fleet.get(&key),
                        outputs: Vec::new(),
                        is_last: false,
                    });
                }
            }
            let known = &mut state.partitions[partition as usize];
            known.seq = seq;
            known.outcomes.take(outputs.iter().map(|(_, output)| &output.effect), entry.positions());
            if known.caught_up {
                measure(known, followed, &outputs);
            }
            let (hash, clocks_seq) = (entry.hash.to_string(), known.clocks_seq);
            batch.position(partition, &Position { seq, hash, clocks_seq });
            if live {
                // Facts and clocks of the same entry, for whoever asks for a device: [`View::device`].
                std::mem::replace(&mut batch, self.history.batch()).write()?;
            }
            Ok(changes)
        })?;
        // What is being made is not shown as current: other partitions need not wait for the disk.
        batch.write()?;
        self.live.publish(told(changes, outputs));
        self.wake();
        Ok(())
    }

    /// Keeps the clocks that moved, so that the next start need not follow their entries again, and makes all durable.
    ///
    /// # Errors
    /// The database fails.
    pub fn checkpoint(&self) -> Result<(), HistoryError> {
        let mut batch = self.history.batch();
        self.change(|state| {
            let State { fleet, partitions } = state;
            for (known, partition) in partitions.iter_mut().zip(0..) {
                if !known.caught_up {
                    continue;
                }
                for number in known.take_moved() {
                    if let Some(clocks) = fleet.clocks(partition, number) {
                        let times = [clocks.last_message, clocks.last_activity, clocks.last_poll];
                        batch.clocks(partition, number, times, clocks.kind);
                    }
                }
                known.clocks_seq = known.seq;
                let (seq, hash) = (known.seq, known.hash.to_string());
                batch.position(partition, &Position { seq, hash, clocks_seq: seq });
            }
            // Under the lock: no entry's batch may come between with clocks that are older.
            batch.write()
        })?;
        self.history.flush()
    }

    /// Forgets the past before this span, counted back from the earliest clock.
    pub fn forget_beyond(&self, kept: Millis) {
        let clocks = self.standing().into_iter().map(|standing| standing.clock);
        if let Some(clock) = clocks.min().filter(|clock| clock.happened()) {
            self.history.forget_before(clock + Millis(-kept.0));
        }
    }
}

impl State {
    fn entry(&mut self, partition: u32, entry: &Entry, committed_at: Timestamp) -> Result<(), ViewError> {
        let State { fleet, partitions } = self;
        let known = &mut partitions[partition as usize];
        known.hash = entry.hash;
        known.clock = entry.clock();
        known.committed_at = committed_at;
        known.positions = entry.positions().unwrap_or(known.positions);
        known.look(entry.entry.blind, entry.clock());
        let seq = entry.entry.seq;
        let mut moved_count = 0;
        let read = pack::read(&entry.entry.clock_pack, entry.clock(), |packed| match packed {
            Packed::Device(number, moved) => {
                if known.is_newer(number, seq) && fleet.move_clocks(partition, number, &moved).is_some() {
                    known.note_moved(number);
                    moved_count += 1;
                }
            }
            Packed::Node(place, at) => {
                if let Some(node) = known.nodes.0.values_mut().nth(place as usize) {
                    node.last_alive = node.last_alive.max(at);
                    node.set_at = node.set_at.max(at);
                }
            }
        });
        if known.caught_up {
            known.measures.moved += moved_count;
        }
        read.map_err(|error| ViewError::Unreadable { partition, seq, message: error.to_string() })
    }

    /// Takes what a row tells, in the order of `devices.state`; `value` is its record's.
    pub(super) fn row(
        &mut self,
        partition: u32,
        row_key: &str,
        told: Told,
        value: Option<&[u8]>,
        batch: &mut Batch<'_>,
    ) {
        let State { fleet, partitions } = self;
        let known = &mut partitions[partition as usize];
        // While it catches up, a row may come that is older than one that it has.
        let is_old = |known: &Known, number, seq| !known.caught_up && !known.is_newer(number, seq);
        match told {
            Told::Gone if !key::is_device(row_key) => return,
            Told::Gone => fleet.remove(partition, row_key),
            Told::Device(number, seq, _) | Told::Deleted(number, seq) if is_old(known, number, seq) => return,
            Told::Device(number, seq, device) => {
                fleet.put(partition, row_key, &device, number);
                known.note_row(number, seq);
                // The row has its clocks; what a checkpoint kept of them is older.
                known.note_moved(number);
                return batch.row(partition, row_key, value);
            }
            Told::Deleted(number, seq) => {
                fleet.remove(partition, row_key);
                known.note_row(number, seq);
            }
            Told::Nodes(nodes) => {
                known.nodes = nodes;
                return batch.row(partition, row_key, value);
            }
            Told::Policy(policy) => {
                known.policy = policy;
                return batch.row(partition, row_key, value);
            }
            Told::Blind(blind) => {
                (known.blind, known.blind_since) = match blind {
                    Some((blind, since)) => (Some(blind), since),
                    None => (None, Timestamp::NEVER),
                };
                return batch.row(partition, row_key, value);
            }
        }
        batch.row(partition, row_key, None);
    }
}

/// What a row of `devices.state` tells, read.
pub(super) enum Told {
    /// A record without a value: there is no such row any more.
    Gone,
    /// A device: its number, the entry that wrote it, and what is known.
    Device(u32, u64, Box<Device>),
    /// One that was deleted: its number, the entry that wrote it.
    Deleted(u32, u64),
    Nodes(Nodes),
    Policy(Arc<Policy>),
    /// What the partition cannot judge by, and since when.
    Blind(Option<(Blind, Timestamp)>),
}

impl Told {
    /// Reads the value of a row.
    pub(super) fn read(
        partition: u32,
        seq: u64,
        row_key: &str,
        value: Option<&[u8]>,
    ) -> Result<Told, ViewError> {
        let unreadable = |error: row::CorruptRow| ViewError::Unreadable {
            partition,
            seq,
            message: format!("the row of {row_key:?}: {error}"),
        };
        let Some(value) = value else { return Ok(Told::Gone) };
        let (row_seq, row) = row::decode_row(value).map_err(unreadable)?;
        Ok(match row {
            Row::Device(found) => {
                let device = row::decode_facts(found.facts, found.clocks).map_err(unreadable)?;
                Told::Device(found.number, row_seq, Box::new(device))
            }
            Row::Tombstone(tombstone) => Told::Deleted(tombstone.number, row_seq),
            Row::Nodes(nodes) => Told::Nodes(nodes),
            Row::Policy(policy) => Told::Policy(policy.policy.into()),
            Row::Partition(facts) => Told::Blind(facts.blind),
        })
    }
}

/// The place of an output topic among those of an entry.
fn place_of(topic: Topic) -> usize {
    OUTPUTS.iter().position(|known| *known == topic).unwrap_or(0)
}

/// What an entry told, in the order of topics. A record that cannot be read was written by a newer version; it is
/// passed over, as any consumer would.
fn outputs_of(followed: &Followed) -> impl Iterator<Item = (OutputKind, Output)> {
    const KINDS: [(Topic, OutputKind); 4] = [
        (Topic::Status, OutputKind::Status),
        (Topic::Alarms, OutputKind::Alarms),
        (Topic::ConnectionLog, OutputKind::ConnectionLog),
        (Topic::Audit, OutputKind::Audit),
    ];
    KINDS.into_iter().flat_map(|(topic, kind)| {
        let records = followed.outputs.records[place_of(topic)].iter();
        records.filter_map(move |record| {
            let value = record.value.as_deref().unwrap_or_default();
            Some((kind, output::decode(kind, value).ok()?))
        })
    })
}

/// Gives the outputs to the devices that they are of.
fn told(mut changes: Vec<Change>, outputs: Vec<(OutputKind, Output)>) -> Vec<Change> {
    if changes.is_empty() {
        return changes;
    }
    for (_, output) in outputs {
        let found = changes
            .iter_mut()
            .find(|change| *change.device_id == *output.device_id && *change.tenant == *output.tenant);
        if let Some(change) = found {
            change.outputs.push(output);
        }
    }
    // A row that is merely written again, because its turn has come, says nothing new.
    let is_news = |change: &Change| {
        !change.outputs.is_empty()
            || match (&change.before, &change.after) {
                (Some(before), Some(after)) => {
                    facts(&before.cells) != facts(&after.cells)
                        || (&before.name, &before.device_type, &before.labels)
                            != (&after.name, &after.device_type, &after.labels)
                }
                (before, after) => before.is_some() != after.is_some(),
            }
    };
    changes.retain(is_news);
    changes
}

/// What of a device's cells is more than a sign of life.
fn facts(cells: &Cells) -> (u64, i16, [Moment; 3]) {
    let times = [Time::LastConnect, Time::LastDisconnect, Time::LastUpdated].map(|time| cells.time(time));
    let mut plain = *cells;
    plain.set_kind(LastActivity::None);
    (plain.word, cells.minutes, times)
}

fn measure(known: &mut Known, followed: &Followed, outputs: &[(OutputKind, Output)]) {
    let measures = &mut known.measures;
    let entry = &followed.entry.entry;
    measures.entries += 1;
    measures.records += entry.ranges.iter().map(|range| range.count).sum::<u64>();
    measures.journal_bytes += followed.record.value.as_ref().map_or(0, Vec::len) as u64;
    for records in &followed.outputs.records {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) as u64;
        measures.output_bytes +=
            records.iter().map(|record| bytes(&record.key) + bytes(&record.value)).sum::<u64>();
    }
    measures.foreign += followed.outputs.foreign.len() as u64;
    for (kind, output) in outputs {
        measures.effect(kind.word(), &output.effect);
    }
    for record in &followed.outputs.records[place_of(Topic::DeadLetter)] {
        let reason = record.headers.iter().find(|(name, _)| name == "reason");
        let reason =
            reason.map_or("unknown".into(), |(_, value)| String::from_utf8_lossy(value).into_owned());
        *measures.dead_letters.entry(reason).or_default() += 1;
    }
}
