//! The log: partitioned, append-only topics and an atomic commit over them (DESIGN §2, §3.3).
//!
//! Two real ones stand behind one small interface: Kafka and the embedded log. The worker talks to [`Log`] alone and
//! knows nothing else of either. A third one, simulated, lives in the tests.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::domain::effect::InputTopic;
use crate::domain::time::Timestamp;

mod archive;
pub mod dry_run;
#[cfg(feature = "rocksdb")]
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;

pub use archive::Archive;

/// Number of input topics.
pub const INPUTS: usize = 3;

/// Number of topics.
pub const TOPICS: usize = 10;

/// Every topic of Lastseen; real names come from the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// Raw events in.
    Input(InputTopic),
    /// Status changes out.
    Status,
    /// Alarm events out.
    Alarms,
    /// Connection log entries out.
    ConnectionLog,
    /// Outcomes of commands, policies, nodes, blind spells, gaps.
    Audit,
    /// Rows of device state, compacted.
    State,
    /// What each transaction consumed and produced.
    Journal,
    /// Rejected input, byte for byte.
    DeadLetter,
}

impl Topic {
    /// All of them, inputs first.
    pub const ALL: [Topic; TOPICS] = [
        Topic::Input(InputTopic::Control),
        Topic::Input(InputTopic::Connections),
        Topic::Input(InputTopic::Activity),
        Topic::Status,
        Topic::Alarms,
        Topic::ConnectionLog,
        Topic::Audit,
        Topic::State,
        Topic::Journal,
        Topic::DeadLetter,
    ];

    /// Its place in [`Topic::ALL`]. The embedded log writes it to disk: a topic keeps its number for good.
    pub const fn number(self) -> usize {
        match self {
            Topic::Input(input) => input as usize,
            Topic::Status => 3,
            Topic::Alarms => 4,
            Topic::ConnectionLog => 5,
            Topic::Audit => 6,
            Topic::State => 7,
            Topic::Journal => 8,
            Topic::DeadLetter => 9,
        }
    }

    /// Its name if the configuration does not say otherwise (DESIGN §1).
    pub const fn default_name(self) -> &'static str {
        match self {
            Topic::Input(InputTopic::Control) => "devices.control",
            Topic::Input(InputTopic::Connections) => "devices.connections",
            Topic::Input(InputTopic::Activity) => "devices.activity",
            Topic::Status => "devices.status",
            Topic::Alarms => "devices.alarms",
            Topic::ConnectionLog => "devices.connection-log",
            Topic::Audit => "devices.audit",
            Topic::State => "devices.state",
            Topic::Journal => "devices.journal",
            Topic::DeadLetter => "devices.dead-letter",
        }
    }

    /// Whether the log stamps its records when it takes them (LogAppendTime: inputs and journal, DESIGN §1); records
    /// of the other topics keep the time that their writer gave them.
    pub const fn stamped_by_log(self) -> bool {
        matches!(self, Topic::Input(_) | Topic::Journal)
    }

    /// Whether only the latest record of a key has to stay.
    pub const fn compacted(self) -> bool {
        matches!(self, Topic::State)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.default_name())
    }
}

/// A header of a record: name and value.
pub type Header = (String, Vec<u8>);

/// Where one record of an [`Inbox`] stands; its bytes are ranges of the inbox's arena.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The input topic.
    pub topic: InputTopic,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// When the log took it.
    pub append_time: Timestamp,
    /// The key; `None` for a null key.
    pub key: Option<Range<usize>>,
    /// The payload; `None` for a null payload.
    pub value: Option<Range<usize>>,
    /// Its headers; most records have none or only a content type.
    pub headers: Option<Box<[Header]>>,
}

/// Records as they were read, in the order in which the log gave them: per topic and partition by offset. One arena
/// for all bytes, so that a record costs no allocation.
#[derive(Default, Debug)]
pub struct Inbox {
    /// All keys and payloads.
    pub arena: Vec<u8>,
    /// The records.
    pub slots: Vec<Slot>,
}

impl Inbox {
    /// Adds a record; its bytes go to the end of the arena.
    pub fn push(&mut self, topic: InputTopic, partition: u32, record: Scanned<'_>) {
        let Inbox { arena, slots } = self;
        let mut keep = |bytes: &[u8]| {
            let start = arena.len();
            arena.extend_from_slice(bytes);
            start..arena.len()
        };
        let key = record.key.map(&mut keep);
        let value = record.value.map(&mut keep);
        let headers = (!record.headers.is_empty()).then(|| record.headers.into());
        let (offset, append_time) = (record.offset, record.timestamp);
        slots.push(Slot { topic, partition, offset, append_time, key, value, headers });
    }

    /// The key of one of its records.
    pub fn key(&self, slot: &Slot) -> Option<&[u8]> {
        slot.key.clone().map(|range| &self.arena[range])
    }

    /// The payload of one of its records.
    pub fn value(&self, slot: &Slot) -> Option<&[u8]> {
        slot.value.clone().map(|range| &self.arena[range])
    }

    /// Drops the bytes of records that were taken, `waiting` being all that were not. What stays moves down in place, and
    /// not before half of all bytes are of no use: fresh memory for each turn costs more than the copy.
    pub fn compact<'a>(&mut self, waiting: impl Iterator<Item = &'a mut Slot>) {
        // The payload of a record follows its key.
        let bytes = |slot: &Slot| -> Range<usize> {
            let (first, last) =
                (slot.key.as_ref().or(slot.value.as_ref()), slot.value.as_ref().or(slot.key.as_ref()));
            first.map_or(0, |range| range.start)..last.map_or(0, |range| range.end)
        };
        let mut waiting: Vec<(Range<usize>, &mut Slot)> = waiting.map(|slot| (bytes(slot), slot)).collect();
        if waiting.iter().map(|(bytes, _)| bytes.len()).sum::<usize>() > self.arena.len() / 2 {
            return;
        }
        waiting.sort_unstable_by_key(|(bytes, _)| (bytes.start, bytes.end));
        let mut end = 0;
        for (bytes, slot) in waiting {
            let (length, down) = (bytes.len(), bytes.start - end);
            self.arena.copy_within(bytes, end);
            end += length;
            for range in slot.key.iter_mut().chain(&mut slot.value) {
                *range = range.start - down..range.end - down;
            }
        }
        self.arena.truncate(end);
    }

    /// Empties it; the memory stays for the next poll.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.slots.clear();
    }
}

/// What happened to the partitions of this member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// These partitions are ours now (co-partitioned: of every input topic). Nothing is read of one before
    /// [`Log::start`].
    Assigned(Vec<u32>),
    /// These are about to go: commit what is in hand, then call [`Log::release`].
    Revoked(Vec<u32>),
    /// These are gone already: discard, commit nothing, then call [`Log::release`].
    Lost(Vec<u32>),
}

/// One poll brings about so many bytes at most.
pub const POLL_BYTES: usize = 16 << 20;

/// The next offset to read of each input topic, in the order of [`InputTopic::ALL`].
pub type Positions = [u64; INPUTS];

/// What the group's coordinator knows of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The partition.
    pub partition: u32,
    /// Per input topic: offset and metadata; `None` where nothing is committed.
    pub offsets: [Option<(u64, String)>; INPUTS],
}

/// Low (first available offset) and high watermark (next offset to be written, read_uncommitted).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The first offset that is still there.
    pub low: u64,
    /// One past the last offset.
    pub high: u64,
}

/// A record to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutRecord {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// The timestamp, never "now".
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<Header>,
}

/// What a step wants to make true, all of it or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transaction {
    /// Outputs and journal entries.
    pub records: Vec<OutRecord>,
    /// For each touched partition all input offsets, with the metadata that names epoch, sequence and head hash.
    /// Never empty (engine pitfall 2: a transaction without offsets is not fenced).
    pub offsets: Vec<(u32, Positions, String)>,
}

/// How a commit ended.
#[derive(Debug)]
pub enum CommitOutcome {
    /// It is committed.
    Committed,
    /// It is not, and never will be; the partitions are still ours: discard, rewind, continue.
    Aborted(LogError),
    /// Nobody knows yet: ask [`Log::committed`] whose metadata tells (the log has made itself ready to go on).
    Unknown(LogError),
    /// This member is fenced or no longer in the group: discard everything; assignments will come anew, and the committed
    /// offsets tell whether it went through.
    Lost(LogError),
}

/// A record as [`Records::scan`] shows it.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// The offset.
    pub offset: u64,
    /// The record's timestamp: append time on topics of LogAppendTime.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a [Header],
}

/// Whether to go on with a scan.
pub type ScanControl = std::ops::ControlFlow<()>;

/// What a log holds, partition by partition: workers and whoever goes through the past read it alike.
pub trait Records {
    /// Low and high watermark (read_uncommitted) of one partition of any topic.
    ///
    /// # Errors
    /// There is no such partition; the log does not answer.
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError>;

    /// The same of many, no partition twice, in the order of the questions; where the log is far away, by few requests.
    ///
    /// # Errors
    /// As [`Records::bounds`].
    fn bounds_of(&mut self, asked: &[(Topic, u32)]) -> Result<Vec<Bounds>, LogError> {
        asked.iter().map(|(topic, partition)| self.bounds(*topic, *partition)).collect()
    }

    /// Reads committed records of one partition, offsets in `range`, in order, until its end or until `each` breaks.
    /// Offsets have holes. Waits for records of open transactions in the range.
    ///
    /// # Errors
    /// The range begins below the low watermark; an open transaction does not end in time (retriable); the log does not
    /// answer; a record there is damaged.
    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError>;
}

/// The log as one worker sees it: one member of the group, one transactional producer, one thread.
///
/// Every call is bounded in time. [`LogError`] says what to do in its class, see [`LogError::retriable`].
pub trait Log: Records {
    /// Waits up to `wait` for records of the started partitions or for changes of the assignment. Appends records to
    /// `inbox`; stops early at about `limit` records or [`POLL_BYTES`]. After a `Revoked` or `Lost` nothing of those partitions is
    /// delivered any more.
    fn poll(&mut self, wait: Duration, limit: usize, inbox: &mut Inbox) -> Result<Vec<Change>, LogError>;

    /// Begins (or, after an abort, begins again) to read all inputs of an assigned partition at `from`. Records that
    /// were fetched before but not delivered are dropped.
    fn start(&mut self, partition: u32, from: Positions) -> Result<(), LogError>;

    /// Reads no more of these inputs of a started partition (back-pressure), in the order of [`InputTopic::ALL`]; of the
    /// others it goes on where it stopped. [`Log::start`] ends it.
    fn hold(&mut self, partition: u32, held: [bool; INPUTS]) -> Result<(), LogError>;

    /// Ends a revocation or loss that [`Log::poll`] reported.
    fn release(&mut self, partitions: &[u32]) -> Result<(), LogError>;

    /// The offset up to which each input of a started partition has been read: one past the last delivered record,
    /// or beyond it where the log knows that only markers and aborted records lie between.
    fn positions(&mut self, partition: u32) -> Positions;

    /// The high watermarks (read_uncommitted) of all inputs of these partitions, by one batched request that is sent
    /// after this call began.
    fn ends(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Positions)>, LogError>;

    /// The group's offsets of these partitions; waits until no transaction is pending on them (require_stable).
    fn committed(&mut self, partitions: &[u32]) -> Result<Vec<Committed>, LogError>;

    /// The append time of the newest record of each partition's journal, committed or not; `None` where there is none.
    /// One batched request. Held against the moments between which a worker wrote it, it tells how the host's clock
    /// stands to the brokers'.
    fn journal_times(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Option<Timestamp>)>, LogError>;

    /// Makes a transaction true, all of it or nothing.
    fn commit(&mut self, transaction: &Transaction) -> CommitOutcome;

    /// Leaves the group and closes; what is not committed is gone.
    fn close(&mut self) -> Result<(), LogError>;
}

/// Writes records from outside a worker: `send`, commands over HTTP, the demo's fleet. Any thread may.
pub trait Append: Send + Sync {
    /// Writes records to explicit partitions and returns their offsets, in the order of `records`, once all of them
    /// are durable (Kafka: acks=all; embedded: one synced write). On an error some may have been written.
    ///
    /// The timestamp of a record on a topic that is [`Topic::stamped_by_log`] is the log's, whatever it says.
    fn append(&self, records: &[OutRecord]) -> Result<Vec<u64>, LogError>;
}

/// Where a [`Tail`] begins in one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// With the first record that is still there.
    Beginning,
    /// With the next record to be written.
    End,
    /// At this offset.
    At(u64),
}

/// Follows partitions of any topics, committed records only, in no group: `tail`, the query side, the demo.
pub trait Tail: Send {
    /// Waits up to `wait` for records, hands at most about `limit` to `each` (per partition in order of offsets) and
    /// returns how many.
    fn read(
        &mut self,
        wait: Duration,
        limit: usize,
        each: &mut dyn FnMut(Topic, u32, Scanned<'_>),
    ) -> Result<usize, LogError>;

    /// The next offset to be read of a partition that it follows, beyond markers and aborted records where they are
    /// known; `None` while that is not known or if the partition is not followed.
    fn position(&self, topic: Topic, partition: u32) -> Option<u64>;
}

/// What went wrong with the log.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {message}")]
pub struct LogError {
    /// What was being done, in plain words.
    pub action: String,
    /// What the log said, and what to do about it where that is known.
    pub message: String,
    /// Whether the same call may go through later.
    pub retriable: bool,
}

impl LogError {
    /// An error that the same call may not meet again.
    pub fn retriable(action: impl Into<String>, message: impl Into<String>) -> LogError {
        LogError { action: action.into(), message: message.into(), retriable: true }
    }

    /// An error that stays.
    pub fn fatal(action: impl Into<String>, message: impl Into<String>) -> LogError {
        LogError { action: action.into(), message: message.into(), retriable: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of two topics in turn, some without key, without payload, or with neither.
    fn filled() -> (Inbox, Vec<Slot>) {
        let mut inbox = Inbox::default();
        for number in 0..40u8 {
            let bytes = [number; 9];
            let length = usize::from(number % 7);
            let record = Scanned {
                offset: number.into(),
                timestamp: Timestamp::from_millis(1),
                key: (number % 4 != 0).then_some(&bytes[..length]),
                value: (number % 5 != 0).then_some(&bytes[..9 - length]),
                headers: &[],
            };
            inbox.push(InputTopic::ALL[usize::from(number % 2)], 0, record);
        }
        let slots = std::mem::take(&mut inbox.slots);
        (inbox, slots)
    }

    fn content(inbox: &Inbox, slots: &[Slot]) -> Vec<[Option<Vec<u8>>; 2]> {
        let both = |slot: &Slot| [inbox.key(slot), inbox.value(slot)].map(|bytes| bytes.map(<[u8]>::to_vec));
        slots.iter().map(both).collect()
    }

    #[test]
    fn what_waits_stays_as_it_is_when_the_rest_goes() {
        for taken in 0..=40 {
            let (mut inbox, mut slots) = filled();
            // As a worker has them: by topic, those in front taken.
            slots.sort_by_key(|slot| (slot.topic, slot.offset));
            let mut waiting: Vec<Slot> = slots.split_off(taken);
            let (before, bytes) = (content(&inbox, &waiting), inbox.arena.len());
            inbox.compact(waiting.iter_mut());
            assert_eq!(content(&inbox, &waiting), before);
            let left: usize = before.iter().flatten().flatten().map(Vec::len).sum();
            assert_eq!(inbox.arena.len(), if left > bytes / 2 { bytes } else { left }, "{taken} taken");
        }
    }
}
