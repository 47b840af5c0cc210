//! Committed entries of a partition's journal, in order, each complete with the records that it produced: what replay
//! and audits read (DESIGN §4).
//!
//! Output records name their entry in a header, rows within (`engine::journal::entry_named`, `wire::row::entry_of`). A
//! record that names none, or one that was complete already, is foreign. A row's absence means nothing: its topic is
//! compacted.

mod cursor;

pub use cursor::{Cursor, Record};

use crate::engine::journal::{self, BadEntry, Entry};
use crate::log::Archive;
use crate::log::LogError;
use crate::log::Topic;
use crate::wire::pb::JournalEntry;
use crate::wire::row;

/// The topics that a step writes to besides the journal, in the order of their numbers in an entry.
pub const OUTPUTS: [Topic; 6] =
    [Topic::Status, Topic::Alarms, Topic::ConnectionLog, Topic::Audit, Topic::State, Topic::DeadLetter];

/// Why following stopped.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record of the journal is no entry that can be used.
    #[error("partition {partition}, offset {offset} of the journal: {source}")]
    Entry {
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
        /// Why.
        source: BadEntry,
    },
}

/// The records that an entry produced, as they stand in the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outputs {
    /// By the place of their topic in [`OUTPUTS`], in order of offset.
    pub records: [Vec<Record>; OUTPUTS.len()],
    /// Records that stood among them and are none of any entry, with the place of their topic.
    pub foreign: Vec<(usize, Record)>,
}

/// An entry, complete.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The entry.
    pub entry: Entry,
    /// Its record in the journal; the time is when the log took it.
    pub record: Record,
    /// What it produced.
    pub outputs: Outputs,
}

/// Follows one partition.
#[derive(Debug)]
pub struct Follower {
    partition: u32,
    journal: Cursor,
    outputs: [Cursor; OUTPUTS.len()],
    /// Foreign records that were passed over.
    pub foreign: u64,
}

/// Room for so many records at most is made before they are seen: the number is that of an entry.
const RESERVED: u64 = 1 << 16;

impl Follower {
    /// Begins with the first entry that is still there.
    pub fn new(partition: u32) -> Follower {
        Follower {
            partition,
            journal: Cursor::new(Topic::Journal, partition),
            outputs: OUTPUTS.map(|topic| Cursor::new(topic, partition)),
            foreign: 0,
        }
    }

    /// Leaves out the rows below this offset of `devices.state`: they are known from elsewhere.
    pub fn skip_rows(&mut self, offset: u64) {
        let rows = self.outputs.iter_mut().filter(|cursor| cursor.topic() == Topic::State);
        rows.for_each(|cursor| cursor.go_to(offset));
    }

    /// Goes on with the outputs of entry `seq`; the journal stays where it is.
    ///
    /// # Errors
    /// The log fails.
    pub fn skip_outputs(&mut self, archive: &mut dyn Archive, seq: u64) -> Result<(), LogError> {
        for cursor in &mut self.outputs {
            let (topic, partition) = (cursor.topic(), self.partition);
            cursor.seek(archive, |record| entry_of(topic, partition, record).map(|named| named >= seq))?;
        }
        Ok(())
    }

    /// Goes on with the first entry whose record satisfies `reached`, which must hold for all entries after one for which
    /// it holds; outputs follow by [`Follower::skip_outputs`].
    ///
    /// # Errors
    /// The log fails.
    pub fn seek(
        &mut self,
        archive: &mut dyn Archive,
        reached: impl Fn(&JournalEntry) -> bool,
    ) -> Result<(), LogError> {
        self.journal.seek(archive, |record| {
            let entry = journal::open(record.value.as_deref().unwrap_or_default()).ok()?;
            Some(reached(&entry.entry))
        })
    }

    /// The next record of the journal, below offset `end`, whatever it is; `None` if there is none yet.
    ///
    /// # Errors
    /// The log fails.
    pub fn next_record(&mut self, archive: &mut dyn Archive, end: u64) -> Result<Option<Record>, LogError> {
        match self.journal.peek(archive)? {
            Some(record) if record.offset < end => Ok(self.journal.take()),
            _ => Ok(None),
        }
    }

    /// What an entry produced; entries in order. Of a topic it takes as many records as the entry says, if that many
    /// name it.
    ///
    /// # Errors
    /// The log fails.
    pub fn outputs_of(
        &mut self,
        archive: &mut dyn Archive,
        entry: &JournalEntry,
    ) -> Result<Outputs, LogError> {
        let mut outputs = Outputs::default();
        for produced in &entry.outputs {
            let place = (produced.topic as usize).wrapping_sub(1);
            let Some(cursor) = self.outputs.get_mut(place) else { continue };
            let topic = cursor.topic();
            outputs.records[place].reserve(produced.count.min(RESERVED) as usize);
            while (outputs.records[place].len() as u64) < produced.count {
                let Some(record) = cursor.peek(archive)? else { break };
                let named = entry_of(topic, self.partition, record);
                if named.is_some_and(|seq| seq > entry.seq) {
                    break;
                }
                let Some(record) = cursor.take() else { break };
                if named == Some(entry.seq) {
                    outputs.records[place].push(record);
                } else {
                    self.foreign += 1;
                    outputs.foreign.push((place, record));
                }
            }
        }
        Ok(outputs)
    }

    /// What lies on the output topics behind the last entry that was followed, by topic; with the entry that each
    /// names, if it names one.
    ///
    /// # Errors
    /// The log fails.
    pub fn rest(
        &mut self,
        archive: &mut dyn Archive,
        mut each: impl FnMut(usize, Option<u64>, Record) -> std::ops::ControlFlow<()>,
    ) -> Result<(), LogError> {
        for (place, cursor) in self.outputs.iter_mut().enumerate() {
            let topic = cursor.topic();
            while cursor.peek(archive)?.is_some() {
                let Some(record) = cursor.take() else { break };
                let named = entry_of(topic, self.partition, &record);
                if each(place, named, record).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next entry below offset `end` of the journal, complete; `None` if there is none yet. To follow a log that is
    /// being written, `end` is what [`Archive::settled`] says.
    ///
    /// # Errors
    /// The log fails; a record of the journal cannot be used.
    pub fn next(&mut self, archive: &mut dyn Archive, end: u64) -> Result<Option<Followed>, FollowError> {
        let Some(record) = self.next_record(archive, end)? else { return Ok(None) };
        let entry = journal::open(record.value.as_deref().unwrap_or_default()).map_err(|source| {
            FollowError::Entry { partition: self.partition, offset: record.offset, source }
        })?;
        let outputs = self.outputs_of(archive, &entry.entry)?;
        Ok(Some(Followed { entry, record, outputs }))
    }
}

/// The entry that a record of an output topic names.
pub fn entry_of(topic: Topic, partition: u32, record: &Record) -> Option<u64> {
    match (topic, &record.value) {
        (Topic::State, Some(value)) => row::entry_of(value),
        _ => journal::entry_named(partition, &record.headers).map(|(seq, _)| seq),
    }
}
