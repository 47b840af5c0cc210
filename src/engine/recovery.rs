//! Recovery: a partition from rows and packs. Data is applied, nothing is folded again, so it works across versions
//! (DESIGN §3.4). Pure; the worker reads the rows and entries that are given here.

use std::sync::Arc;

use crate::domain::clocks::Clocks;
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::log::Positions;
use crate::wire::row::{self, CorruptRow, PendingChange, Row, key};

use super::core::{Pending, tombstone_bytes};
use super::journal::{Entry, Head};
use super::pack::{self, DamagedPack, Packed};
use super::state_hash::{clocks_hash, nodes_hash, row_hash};
use super::step::{Partition, Settings};
use super::sweep::Sweep;
use super::table::Kind;

/// Why a partition cannot be recovered from what is there.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A row cannot be read.
    #[error("the row of {key:?} cannot be read: {source}")]
    Row {
        /// Its key.
        key: String,
        /// Why.
        source: CorruptRow,
    },
    /// A pack cannot be read.
    #[error("journal entry {seq}: {source}")]
    Pack {
        /// The entry.
        seq: u64,
        /// Why.
        source: DamagedPack,
    },
    /// The chain of entries is broken.
    #[error("journal entry {seq} does not follow entry {after}: {what}")]
    Chain {
        /// The entry.
        seq: u64,
        /// The one before.
        after: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The entry that the group's offsets name is not in the journal.
    #[error("the journal ends at entry {found}, but the committed offsets name entry {wanted}")]
    Short {
        /// The last entry there.
        found: u64,
        /// The one that is wanted.
        wanted: u64,
    },
    /// The checkpoint is too old.
    #[error(
        "the checkpoint of entry {seq} is older than the last sweep, which began at entry {floor}: devices that are gone \
         since then may have left no trace"
    )]
    Outdated {
        /// The entry that the checkpoint stands at.
        seq: u64,
        /// The entry in which the sweep began.
        floor: u64,
    },
    /// What was recovered is not what was committed.
    #[error(
        "the recovered state of entry {seq} has another hash than the entry names: rows are missing or damaged"
    )]
    StateHash {
        /// The entry.
        seq: u64,
    },
}

/// A partition that is being recovered.
#[derive(Debug)]
pub struct Recovery {
    partition: Partition,
    /// Entry that each number's row is of: a pack touches it only if newer.
    seqs: Vec<u64>,
    nodes_seq: u64,
    /// Entry that the partition's own row is of.
    partition_seq: u64,
    /// A change under way, and for a change of policy the one before: of two rows, in any order.
    pending: Option<PendingChange>,
    predecessor: Option<Policy>,
    last: Option<Entry>,
    /// Keys that lost their row on the way.
    gone: Vec<Box<str>>,
}

impl Recovery {
    /// Of partition `number`.
    pub fn new(number: u32, settings: Arc<Settings>, nonce: u64) -> Recovery {
        Recovery {
            partition: Partition::new(number, settings, nonce),
            seqs: Vec::new(),
            nodes_seq: 0,
            partition_seq: 0,
            pending: None,
            predecessor: None,
            last: None,
            gone: Vec::new(),
        }
    }

    /// A row of the checkpoint or of `devices.state`, in their order; without a value the device is gone. Rows of
    /// entries after `to` are not committed: there are none where only committed records are read.
    pub fn row(&mut self, row_key: &str, value: Option<&[u8]>) -> Result<(), RecoveryError> {
        let Some(value) = value else {
            self.remove(row_key);
            return Ok(());
        };
        let corrupt = |source| RecoveryError::Row { key: row_key.to_string(), source };
        let (seq, row) = row::decode_row(value).map_err(corrupt)?;
        match row {
            Row::Device(device) => {
                self.place(row_key, device.number, seq, device.facts);
                let slot = self.partition.core.table.slot_mut(device.number);
                slot.set_kind(Kind::Live);
                slot.set_clocks(&device.clocks);
            }
            Row::Tombstone(tombstone) => {
                self.place(row_key, tombstone.number, seq, &tombstone_bytes(&tombstone));
                let slot = self.partition.core.table.slot_mut(tombstone.number);
                slot.set_kind(Kind::Tombstone);
                slot.set_clocks(&Clocks::default());
            }
            Row::Nodes(nodes) => {
                self.partition.core.nodes = nodes;
                self.nodes_seq = seq;
            }
            Row::Policy(policy) => {
                self.partition.core.policy = Arc::new(policy.policy);
                self.predecessor = policy.predecessor;
            }
            Row::Partition(facts) => {
                self.partition.core.set_facts(facts.sight, facts.blind, facts.sequence);
                self.pending = facts.pending;
                self.partition.habit = facts.habit;
                self.partition_seq = seq;
            }
        }
        Ok(())
    }

    fn remove(&mut self, row_key: &str) {
        if !key::is_device(row_key) {
            return;
        }
        if let Some(number) = self.partition.core.table.find(row_key) {
            self.vacate(number);
        }
    }

    fn vacate(&mut self, number: u32) {
        self.gone.push(self.partition.core.table.slot(number).key().into());
        self.partition.core.table.remove(number);
    }

    /// Gives a device its number and row. Whoever had the number before is gone, and its row with it.
    fn place(&mut self, row_key: &str, number: u32, seq: u64, row: &[u8]) {
        let table = &mut self.partition.core.table;
        if let Some(known) = table.find(row_key) {
            if known == number {
                table.slot_mut(number).set_row(row);
                self.seqs[number as usize] = seq;
                return;
            }
            self.vacate(known);
        }
        let table = &self.partition.core.table;
        if number < table.capacity() && table.slot(number).kind() != Kind::Free {
            self.vacate(number);
        }
        self.partition.core.table.insert_at(number, row_key, row);
        if self.seqs.len() <= number as usize {
            self.seqs.resize(number as usize + 1, 0);
        }
        self.seqs[number as usize] = seq;
    }

    /// The entry that the checkpoint stands at: the chain goes on from it.
    pub fn stands_at(&mut self, head: Head, positions: Positions, clock: Timestamp, sweep: Sweep) {
        self.partition.sweep = sweep;
        self.partition.head = head;
        self.partition.positions = positions;
        self.partition.core.clock = clock;
    }

    /// The next entry of the journal, after all rows. Entries up to where the checkpoint stands are passed over.
    pub fn entry(&mut self, entry: Entry) -> Result<(), RecoveryError> {
        let seq = entry.entry.seq;
        let head = self.partition.head;
        if seq <= head.seq {
            return Ok(());
        }
        if head.seq > 0 {
            let chain = |what| RecoveryError::Chain { seq, after: head.seq, what };
            if seq != head.seq + 1 {
                return Err(chain("entries are missing in between"));
            }
            if entry.previous() != head.hash {
                return Err(chain("it names another entry as the one before"));
            }
        }
        let clock = entry.clock();
        let table = &mut self.partition.core.table;
        let seqs = &self.seqs;
        let nodes = &mut self.partition.core.nodes;
        let nodes_are_older = self.nodes_seq < seq;
        let damaged = pack::read(&entry.entry.clock_pack, clock, |packed| match packed {
            Packed::Device(number, moved) => {
                let is_older = seqs.get(number as usize).is_some_and(|row_seq| *row_seq < seq);
                if is_older && table.slot(number).kind() == Kind::Live {
                    let slot = table.slot_mut(number);
                    let mut clocks = slot.clocks();
                    moved.apply(&mut clocks);
                    slot.set_clocks(&clocks);
                }
            }
            Packed::Node(place, at) => {
                if nodes_are_older && let Some(node) = nodes.0.values_mut().nth(place as usize) {
                    node.last_alive = at;
                    node.set_at = at;
                }
            }
        });
        damaged.map_err(|source| RecoveryError::Pack { seq, source })?;
        if let Some(positions) = entry.positions() {
            self.partition.positions = positions;
        }
        self.partition.head = entry.head();
        self.partition.core.clock = clock;
        if let Some(sweep) = &entry.entry.sweep {
            self.partition.sweep = Sweep {
                next: sweep.next,
                started_at: sweep.started_ms,
                started_seq: sweep.started_seq,
                floor: entry.entry.floor,
            };
        }
        if self.partition_seq < seq {
            let last = entry.entry.last_arrival_ms.map_or(Timestamp::NEVER, Timestamp::from_millis);
            self.partition.habit.replace(entry.entry.habit.iter().map(row::hour), last);
        }
        self.last = Some(entry);
        Ok(())
    }

    /// Names the writer of the entries to come, as [`Recovery::new`] does.
    pub fn written_by(&mut self, nonce: u64) {
        self.partition.nonce = nonce;
    }

    /// How many devices are there, tombstones included.
    pub fn devices(&self) -> usize {
        self.partition.core.table.len()
    }

    /// Keys that lost their row to what was read: a checkpoint from which it began still has those that no row gave back.
    pub fn take_gone(&mut self) -> Vec<Box<str>> {
        std::mem::take(&mut self.gone)
    }

    /// The entry in which the last whole sweep began.
    pub fn floor(&self) -> u64 {
        self.partition.sweep.floor
    }

    /// The entry that is reached.
    pub fn reached(&self) -> Head {
        self.partition.head
    }

    /// Ends the recovery at the entry that the committed offsets name; `None`: at the end of the journal.
    pub fn finish(mut self, target: Option<Head>) -> Result<Partition, RecoveryError> {
        let head = self.partition.head;
        if let Some(target) = target {
            if head.seq < target.seq {
                return Err(RecoveryError::Short { found: head.seq, wanted: target.seq });
            }
            // Not the epoch: it was raised by whoever wrote a checkpoint after a restore and before an entry of its own.
            if (head.seq, head.hash) != (target.seq, target.hash) {
                let what = "the committed offsets name another entry of that number";
                return Err(RecoveryError::Chain { seq: target.seq, after: head.seq, what });
            }
        }
        let partition = &mut self.partition;
        let predecessor = self.predecessor.take();
        partition.core.pending = self.pending.take().map(|pending| Pending::resume(pending, predecessor));
        partition.core.table.rebuild_free();
        partition.state_hash = hash_of(partition);
        if let Some(entry) = &self.last {
            let wanted = entry.entry.state_hash.as_slice().try_into().map(u128::from_le_bytes);
            if wanted.is_ok_and(|wanted| wanted != partition.state_hash) {
                return Err(RecoveryError::StateHash { seq: head.seq });
            }
        }
        for number in 0..partition.core.table.capacity() {
            partition.core.prepare(number);
        }
        partition.head.epoch += 1;
        Ok(self.partition)
    }
}

/// The state hash from scratch.
pub fn hash_of(partition: &Partition) -> u128 {
    let table = &partition.core.table;
    let rows = (0..table.capacity()).map(|number| {
        let slot = table.slot(number);
        row_hash(slot.kind(), number, slot.key(), slot.row()).wrapping_add(clocks_hash(
            slot.kind(),
            number,
            &slot.clocks(),
        ))
    });
    rows.fold(nodes_hash(&partition.core.nodes), u128::wrapping_add)
}
