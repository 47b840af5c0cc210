//! A place in one partition of one topic, from which records are taken one by one, read in chunks.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::ControlFlow;

use crate::domain::time::Timestamp;
use crate::log::Archive;
use crate::log::Header;
use crate::log::LogError;
use crate::log::OutRecord;
use crate::log::Scanned;
use crate::log::Topic;

/// A chunk ends at so many records or bytes.
const CHUNK_RECORDS: usize = 2_000;
const CHUNK_BYTES: usize = 4 << 20;
/// So few records are read through instead of being searched.
const NEAR: u64 = 256;

/// A record, kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The offset.
    pub offset: u64,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<Header>,
}

impl Record {
    /// A copy of a record that was scanned.
    pub fn keep(record: &Scanned<'_>) -> Record {
        Record {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.to_vec(),
        }
    }

    /// Its key as text; empty without one.
    pub fn key(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default())
    }

    /// Whether it is, byte for byte, what was to be written.
    pub fn is(&self, wanted: &OutRecord) -> bool {
        self.timestamp == wanted.timestamp
            && self.key == wanted.key
            && self.value == wanted.value
            && self.headers == wanted.headers
    }

    fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// A place in one partition of one topic.
#[derive(Debug)]
pub struct Cursor {
    topic: Topic,
    partition: u32,
    /// Where reading goes on; `None`: with the first record that is there.
    next: Option<u64>,
    /// The end as it was last known.
    end: u64,
    ready: VecDeque<Record>,
}

impl Cursor {
    /// At the first record that is there.
    pub fn new(topic: Topic, partition: u32) -> Cursor {
        Cursor { topic, partition, next: None, end: 0, ready: VecDeque::new() }
    }

    /// Its topic.
    pub fn topic(&self) -> Topic {
        self.topic
    }

    /// Goes to this offset.
    pub fn go_to(&mut self, offset: u64) {
        self.ready.clear();
        self.next = Some(offset);
    }

    /// The next record; `None` if there is none yet.
    ///
    /// # Errors
    /// The log fails.
    pub fn peek(&mut self, archive: &mut dyn Archive) -> Result<Option<&Record>, LogError> {
        if self.ready.is_empty() {
            self.fetch(archive)?;
        }
        Ok(self.ready.front())
    }

    /// Takes what [`Cursor::peek`] showed.
    pub fn take(&mut self) -> Option<Record> {
        self.ready.pop_front()
    }

    fn fetch(&mut self, archive: &mut dyn Archive) -> Result<(), LogError> {
        let next = match self.next {
            Some(next) if next < self.end => next,
            known => {
                let bounds = archive.bounds(self.topic, self.partition)?;
                self.end = bounds.high;
                known.unwrap_or(bounds.low)
            }
        };
        let (mut after, mut bytes) = (self.end.max(next), 0);
        let (ready, end) = (&mut self.ready, self.end);
        archive.scan(self.topic, self.partition, next..end, &mut |record| {
            let record = Record::keep(&record);
            bytes += record.bytes();
            let offset = record.offset;
            ready.push_back(record);
            if ready.len() >= CHUNK_RECORDS || bytes >= CHUNK_BYTES {
                after = offset + 1;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        self.next = Some(after);
        Ok(())
    }

    /// Goes to the first record for which `reached` holds, which must hold for all after it; records of which it says
    /// nothing are passed over. By halving, since offsets rise with entries.
    ///
    /// # Errors
    /// The log fails.
    pub fn seek(
        &mut self,
        archive: &mut dyn Archive,
        reached: impl Fn(&Record) -> Option<bool>,
    ) -> Result<(), LogError> {
        let bounds = archive.bounds(self.topic, self.partition)?;
        let (mut from, mut to) = (bounds.low, bounds.high);
        while to - from > NEAR {
            let middle = from + (to - from) / 2;
            let mut found = None;
            archive.scan(self.topic, self.partition, middle..to, &mut |record| {
                let record = Record::keep(&record);
                found = reached(&record).map(|reached| (record.offset, reached));
                if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            match found {
                Some((offset, false)) => from = offset + 1,
                Some((_, true)) | None => to = middle,
            }
        }
        self.ready.clear();
        (self.next, self.end) = (Some(from), bounds.high);
        while let Some(record) = self.peek(archive)? {
            if reached(record) == Some(true) {
                break;
            }
            self.take();
        }
        Ok(())
    }
}
