//! The journal: one entry for each transaction and partition, chained by hash (DESIGN §3.2).

use prost::Message;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::domain::effect::InputTopic;
use crate::domain::time::Timestamp;
use crate::log::{Header, OutRecord, Positions, Topic};
use crate::wire::pb as proto;

/// The version of the rules that are code. It grows when the same inputs would lead to other outputs, or a step would end
/// elsewhere.
pub const FOLD_VERSION: u32 = 2;

/// Names an entry: XXH3-128 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryHash(pub u128);

impl std::fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for EntryHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The newest entry of a partition; what the group's offsets carry as metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Grows with each owner of the partition.
    pub epoch: u64,
    /// Number of the entry, from 1; 0: none yet.
    pub seq: u64,
    /// Its hash.
    pub hash: EntryHash,
}

impl Head {
    /// As metadata of an offset.
    pub fn to_metadata(self) -> String {
        format!("lastseen1 {} {} {}", self.epoch, self.seq, self.hash)
    }

    /// From metadata of an offset; `None` if it is not ours.
    pub fn from_metadata(text: &str) -> Option<Head> {
        let mut words = text.split(' ');
        if words.next() != Some("lastseen1") {
            return None;
        }
        let epoch = words.next()?.parse().ok()?;
        let seq = words.next()?.parse().ok()?;
        let hash = EntryHash(u128::from_str_radix(words.next()?, 16).ok()?);
        words.next().is_none().then_some(Head { epoch, seq, hash })
    }
}

/// The header by which a record of an output topic names its entry: partition, seq of the entry, and its place among the
/// effects, the dead letters or the freed rows of the entry. It is in no hash: it follows from the rest.
const ENTRY: &str = "entry";

/// The header of a record that entry `seq` of `partition` writes.
pub fn entry_header(partition: u32, seq: u64, index: usize) -> Header {
    let mut buffers = [itoa::Buffer::new(); 3];
    let [of_partition, of_seq, of_index] = &mut buffers;
    let (partition, seq, index) =
        (of_partition.format(partition), of_seq.format(seq), of_index.format(index));
    (ENTRY.to_owned(), [partition, "/", seq, "/", index].concat().into_bytes())
}

/// The entry and the place in it that a record's headers name; `None` if they name none of this partition: it is
/// foreign.
pub fn entry_named(partition: u32, headers: &[Header]) -> Option<(u64, usize)> {
    let (_, value) = headers.iter().find(|(name, _)| name == ENTRY)?;
    let mut numbers = std::str::from_utf8(value).ok()?.split('/');
    let is_ours = numbers.next()?.parse() == Ok(partition);
    let named = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    (is_ours && numbers.next().is_none()).then_some(named)
}

/// What was consumed of one topic.
#[derive(Clone)]
pub struct Consumed {
    /// First offset that was not consumed before.
    pub from: u64,
    /// First offset that is not consumed yet.
    pub to: u64,
    /// Records in between.
    pub count: u64,
    hash: Xxh3,
}

impl Consumed {
    /// Nothing yet, from here on.
    pub fn new(from: u64) -> Consumed {
        Consumed { from, to: from, count: 0, hash: Xxh3::new() }
    }

    /// One record more.
    pub fn record(&mut self, offset: u64, append_time: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.to = offset + 1;
        self.count += 1;
        let mut head = [0u8; 32];
        head[..8].copy_from_slice(&offset.to_le_bytes());
        head[8..16].copy_from_slice(&append_time.millis().to_le_bytes());
        head[16..24].copy_from_slice(&key.map_or(u64::MAX, |key| key.len() as u64).to_le_bytes());
        head[24..].copy_from_slice(&value.map_or(u64::MAX, |value| value.len() as u64).to_le_bytes());
        self.hash.update(&head);
        self.hash.update(key.unwrap_or_default());
        self.hash.update(value.unwrap_or_default());
    }

    /// As the entry has it.
    pub fn to_proto(&self, topic: InputTopic) -> proto::ConsumedRange {
        proto::ConsumedRange {
            topic: topic as u32 + 1,
            from: self.from,
            to: self.to,
            count: self.count,
            hash: self.hash.digest(),
        }
    }
}

/// Records that were gone before they could be read, and accepted as lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Where reading stood, per input topic.
    pub from: Positions,
    /// Where it goes on.
    pub to: Positions,
    /// Why it was accepted.
    pub note: String,
}

impl Gap {
    /// As the entry has it.
    pub fn to_proto(&self) -> proto::Gap {
        let lost =
            InputTopic::ALL.iter().enumerate().filter(|(index, _)| self.to[*index] > self.from[*index]);
        let range = |(index, topic): (usize, &InputTopic)| proto::ConsumedRange {
            topic: *topic as u32 + 1,
            from: self.from[index],
            to: self.to[index],
            count: 0,
            hash: 0,
        };
        proto::Gap { lost: lost.map(range).collect(), note: self.note.clone() }
    }

    /// From an entry whose step began at `positions`.
    pub fn of(gap: &proto::Gap, positions: Positions) -> Gap {
        let mut to = positions;
        for range in &gap.lost {
            if let Some(position) = to.get_mut((range.topic as usize).wrapping_sub(1)) {
                *position = range.to;
            }
        }
        Gap { from: positions, to, note: gap.note.clone() }
    }

    /// In words: what is lost.
    pub fn words(&self) -> String {
        let lost =
            InputTopic::ALL.iter().enumerate().filter(|(index, _)| self.to[*index] > self.from[*index]);
        let parts: Vec<String> = lost
            .map(|(index, topic)| {
                format!("{topic} {} to {}", self.from[index], self.to[index].saturating_sub(1))
            })
            .collect();
        format!("{} ({})", parts.join(", "), self.note)
    }
}

/// The number that stands for an output topic in an entry; the journal itself has none.
pub fn output_number(topic: Topic) -> Option<u32> {
    match topic {
        Topic::Status => Some(1),
        Topic::Alarms => Some(2),
        Topic::ConnectionLog => Some(3),
        Topic::Audit => Some(4),
        Topic::State => Some(5),
        Topic::DeadLetter => Some(6),
        Topic::Journal | Topic::Input(_) => None,
    }
}

/// Counts and hashes of what was produced, per topic.
pub fn produced(records: &[OutRecord]) -> Vec<proto::ProducedRecords> {
    let mut hashes: [(u64, Xxh3); 6] = std::array::from_fn(|_| (0, Xxh3::new()));
    for record in records {
        let Some(number) = output_number(record.topic) else { continue };
        let (count, hash) = &mut hashes[number as usize - 1];
        *count += 1;
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64);
        hash.update(&record.timestamp.millis().to_le_bytes());
        hash.update(&length(&record.key).to_le_bytes());
        hash.update(&length(&record.value).to_le_bytes());
        hash.update(record.key.as_deref().unwrap_or_default());
        hash.update(record.value.as_deref().unwrap_or_default());
    }
    hashes
        .into_iter()
        .zip(1..)
        .filter(|((count, _), _)| *count > 0)
        .map(|((count, hash), topic)| proto::ProducedRecords { topic, count, hash: hash.digest() })
        .collect()
}

/// An entry as bytes, and its name.
pub fn seal(entry: &proto::JournalEntry) -> (Vec<u8>, EntryHash) {
    let bytes = entry.encode_to_vec();
    let hash = EntryHash(xxh3_128(&bytes));
    (bytes, hash)
}

/// An entry that was read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it says.
    pub entry: proto::JournalEntry,
    /// Its name.
    pub hash: EntryHash,
}

/// Why bytes are no entry.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    /// They are no entry at all.
    #[error("the journal entry cannot be decoded: {0}")]
    Damaged(#[from] prost::DecodeError),
    /// A newer version wrote it.
    #[error(
        "the journal entry {seq} was written by fold version {version}; this program knows {FOLD_VERSION} at most: \
         use the newer program"
    )]
    Newer {
        /// The entry.
        seq: u64,
        /// Its fold version.
        version: u32,
    },
}

/// Reads an entry.
pub fn open(bytes: &[u8]) -> Result<Entry, BadEntry> {
    let entry = proto::JournalEntry::decode(bytes)?;
    if entry.fold_version > FOLD_VERSION {
        return Err(BadEntry::Newer { seq: entry.seq, version: entry.fold_version });
    }
    Ok(Entry { entry, hash: EntryHash(xxh3_128(bytes)) })
}

impl Entry {
    /// The head that this entry makes.
    pub fn head(&self) -> Head {
        Head { epoch: self.entry.epoch, seq: self.entry.seq, hash: self.hash }
    }

    /// The hash of the entry before.
    pub fn previous(&self) -> EntryHash {
        let bytes: [u8; 16] = self.entry.previous_hash.as_slice().try_into().unwrap_or_default();
        EntryHash(u128::from_le_bytes(bytes))
    }

    /// The clock at the end of the step.
    pub fn clock(&self) -> Timestamp {
        Timestamp::restored(self.entry.clock_ms)
    }

    /// Moves positions past what was lost and what was consumed. A gap between them and the entry is returned: topic,
    /// where we are, where the entry goes on.
    pub fn move_positions(&self, positions: &mut Positions) -> Result<(), (InputTopic, u64, u64)> {
        if let Some(gap) = &self.entry.gap {
            *positions = Gap::of(gap, *positions).to;
        }
        for range in &self.entry.ranges {
            let index = (range.topic as usize).wrapping_sub(1);
            let Some(topic) = InputTopic::ALL.get(index) else { continue };
            if range.from != positions[index] {
                return Err((*topic, positions[index], range.from));
            }
            positions[index] = range.to;
        }
        Ok(())
    }

    /// What was lost before the step, which began at `positions`.
    pub fn gap(&self, positions: Positions) -> Option<Gap> {
        self.entry.gap.as_ref().map(|gap| Gap::of(gap, positions))
    }

    /// All input offsets before the step: those of a first entry begin where there was something to read.
    pub fn positions_before(&self) -> Positions {
        let mut before = self.positions().unwrap_or_default();
        let lost = self.entry.gap.iter().flat_map(|gap| &gap.lost);
        for range in self.entry.ranges.iter().chain(lost) {
            if let Some(position) = before.get_mut((range.topic as usize).wrapping_sub(1)) {
                *position = range.from;
            }
        }
        before
    }

    /// All input offsets after the step.
    pub fn positions(&self) -> Option<Positions> {
        self.entry.positions.as_slice().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_from_its_metadata() {
        let head = Head { epoch: 7, seq: 42, hash: EntryHash(0x1234) };
        assert_eq!(Head::from_metadata(&head.to_metadata()), Some(head));
        for foreign in
            ["", "lastseen1", "lastseen1 1 2", "lastseen1 1 2 xyz", "other 1 2 3", "lastseen1 1 2 3 4"]
        {
            assert_eq!(Head::from_metadata(foreign), None, "{foreign:?}");
        }
    }
}
