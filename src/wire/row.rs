//! The rows of `devices.state`: the bytes in which what is known is kept in memory, checkpointed and published
//! (`state.proto`).
//!
//! A device's facts are written and read by hand, for every event that is more than a sign of life does both; the rest
//! of a row is plain. Equal facts are equal bytes, since rows are hashed. Fields that are not known are passed over: a
//! newer minor version wrote them. Words that are not known are not, since nothing could stand for them.

mod bytes;
mod facts;
pub mod key;
mod partition;
mod sessions;
#[cfg(test)]
mod tests;

use prost::Message;

pub use facts::{decode_facts, encode_facts};
pub use partition::{PartitionRow, PendingChange, PendingKind, PolicyRow};
pub use partition::{blind_number, blind_of, hour, hour_message};

use self::bytes::{Reader, Value, Writer, timestamp, word};
use super::pb;
use crate::domain::clocks::{Clocks, LastActivity};
use crate::domain::node::Nodes;
use crate::domain::time::Timestamp;

/// Why bytes are no row. It says what is wrong with them, not where they stand: who reads them knows their key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CorruptRow {
    /// It ends within a field.
    #[error("corrupt row: it ends within a field")]
    Truncated,
    /// A field is of another type than ours.
    #[error("corrupt row: a field has another wire type than it should")]
    WireType,
    /// A text is no UTF-8.
    #[error("corrupt row: a text is not UTF-8")]
    Text,
    /// A value is larger or smaller than it can be.
    #[error("corrupt row: {what} is out of range")]
    Range {
        /// Of what.
        what: &'static str,
    },
    /// A value is none of its closed set.
    #[error("corrupt row: {what} number {index}, counted from 0, is none that this version knows")]
    UnknownWord {
        /// Of what.
        what: &'static str,
        /// Its place in the set.
        index: u64,
    },
    /// A value that has no usual one is absent.
    #[error("corrupt row: {what} is missing")]
    Missing {
        /// Which.
        what: &'static str,
    },
    /// Fields stand in another order than they must.
    #[error("corrupt row: {what} is out of order, or there twice")]
    Order {
        /// Which.
        what: &'static str,
    },
    /// It is no protobuf message, or none of this kind.
    #[error("corrupt row: {0}")]
    Protobuf(#[from] prost::DecodeError),
}

/// A device as it stands on `devices.state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceRow<'a> {
    /// Its facts, for [`decode_facts`]: they are kept as they are, and not looked at here.
    pub facts: &'a [u8],
    /// Its clocks.
    pub clocks: Clocks,
    /// Its dense number in the partition.
    pub number: u32,
}

/// What is left of a device that was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// The delete.
    pub deleted_at: Timestamp,
    /// Number of the last effect.
    pub sequence: u64,
    /// Its dense number in the partition, which it keeps until the tombstone is gone.
    pub number: u32,
}

/// A row, without its key.
#[derive(Clone, PartialEq, Debug)]
pub enum Row<'a> {
    /// A device that lives.
    Device(DeviceRow<'a>),
    /// One that was deleted.
    Tombstone(Tombstone),
    /// The nodes of the partition.
    Nodes(Nodes),
    /// Its policy.
    Policy(Box<PolicyRow>),
    /// What else it keeps.
    Partition(PartitionRow),
}

/// Appends the value of a row that the transaction with journal entry `entry_seq` writes.
pub fn encode_row(entry_seq: u64, row: &Row<'_>, out: &mut Vec<u8>) {
    let w = &mut Writer::new(out, 0);
    w.nonzero(1, entry_seq);
    match row {
        Row::Device(device) => w.message(2, |w| {
            w.bytes(1, device.facts);
            w.message(2, |w| write_clocks(w, &device.clocks));
            w.nonzero(3, u64::from(device.number));
        }),
        Row::Tombstone(tombstone) => w.message(3, |w| {
            let at = tombstone.deleted_at.known();
            if let Some(at) = at {
                w.int(1, at.millis() as u64);
            }
            w.nonzero(2, tombstone.sequence);
            w.nonzero(3, u64::from(tombstone.number));
        }),
        Row::Nodes(nodes) => w.bytes(4, &partition::nodes_message(nodes).encode_to_vec()),
        Row::Policy(policy) => w.bytes(5, &partition::policy_row_message(policy).encode_to_vec()),
        Row::Partition(partition) => w.bytes(6, &partition::partition_message(partition).encode_to_vec()),
    }
}

/// Reads the value of a row: the seq of the journal entry that wrote it, and what it says.
pub fn decode_row(row: &[u8]) -> Result<(u64, Row<'_>), CorruptRow> {
    let mut reader = Reader::new(row);
    let mut entry_seq = 0;
    let mut found = None;
    while let Some((field, value)) = reader.next()? {
        let row = match field {
            1 => {
                entry_seq = value.int()?;
                continue;
            }
            2 => Row::Device(read_device_row(value)?),
            3 => Row::Tombstone(read_tombstone(value)?),
            4 => Row::Nodes(partition::nodes(pb::NodesRow::decode(value.bytes()?)?)?),
            5 => Row::Policy(Box::new(partition::policy_row(pb::PolicyRow::decode(value.bytes()?)?)?)),
            6 => Row::Partition(partition::partition(pb::PartitionRow::decode(value.bytes()?)?)?),
            _ => continue,
        };
        if found.replace(row).is_some() {
            return Err(CorruptRow::Order { what: "kind of row" });
        }
    }
    Ok((entry_seq, found.ok_or(CorruptRow::Missing { what: "kind of row that this version knows" })?))
}

/// The seq of the journal entry that wrote a row, without a look at the rest; `None` for bytes that are no row.
pub fn entry_of(row: &[u8]) -> Option<u64> {
    match Reader::new(row).next() {
        Ok(Some((1, value))) => value.int().ok(),
        _ => None,
    }
}

fn read_device_row(value: Value<'_>) -> Result<DeviceRow<'_>, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut row = DeviceRow { facts: &[], clocks: Clocks::default(), number: 0 };
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => row.facts = value.bytes()?,
            2 => row.clocks = read_clocks(value)?,
            3 => row.number = value.narrow("number")?,
            _ => {}
        }
    }
    Ok(row)
}

fn read_tombstone(value: Value<'_>) -> Result<Tombstone, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut tombstone = Tombstone { deleted_at: Timestamp::NEVER, sequence: 0, number: 0 };
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => tombstone.deleted_at = timestamp(value.int()? as i64)?,
            2 => tombstone.sequence = value.int()?,
            3 => tombstone.number = value.narrow("number")?,
            _ => {}
        }
    }
    Ok(tombstone)
}

fn write_clocks(w: &mut Writer<'_>, clocks: &Clocks) {
    let last_activity = clocks.last_activity.known().map(Timestamp::millis);
    if let Some(millis) = last_activity {
        w.int(1, millis as u64);
    }
    let w = &mut w.from(last_activity.unwrap_or(0));
    let [mqtt, websocket, vpn] = clocks.channels;
    for (field, at) in (2..).zip([clocks.last_message, clocks.last_poll, mqtt, websocket, vpn]) {
        w.time(field, at, Timestamp::NEVER);
    }
    w.nonzero(7, clocks.kind as u64);
}

fn read_clocks(value: Value<'_>) -> Result<Clocks, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut clocks = Clocks::default();
    let mut origin = 0;
    if reader.is_next_int(1)
        && let Some((_, value)) = reader.next()?
    {
        origin = value.int()? as i64;
        clocks.last_activity = timestamp(origin)?;
    }
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => return Err(CorruptRow::Order { what: "last activity" }),
            2 => clocks.last_message = value.time(origin)?,
            3 => clocks.last_poll = value.time(origin)?,
            4..=6 => clocks.channels[field as usize - 4] = value.time(origin)?,
            7 => clocks.kind = word(LastActivity::ALL, value.int()?, "kind of activity")?,
            _ => {}
        }
    }
    Ok(clocks)
}
