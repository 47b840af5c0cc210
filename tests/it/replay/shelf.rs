//! A log in memory, which a test can change as no log would let it.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::Timestamp;
use lastseen::engine::journal::{self, Entry};
use lastseen::follow::Record;
use lastseen::log::{
    Archive, Bounds, Committed, INPUTS, LogError, OutRecord, Records, ScanControl, Scanned, Topic,
};

use crate::engine::Arrival;

/// The topics of one partition.
#[derive(Clone, Default)]
pub struct Shelf {
    pub topics: BTreeMap<Topic, Vec<Record>>,
    /// First offsets that retention left.
    pub lows: BTreeMap<Topic, u64>,
    /// Metadata of the group's offsets.
    pub head: Option<String>,
}

impl Shelf {
    /// What arrived, and what was committed of it.
    pub fn new(arrivals: &[Arrival], committed: &[OutRecord]) -> Shelf {
        let mut shelf = Shelf::default();
        for topic in Topic::ALL {
            shelf.topics.insert(topic, Vec::new());
        }
        for arrival in arrivals {
            shelf.push(&OutRecord {
                topic: Topic::Input(arrival.topic),
                partition: 0,
                timestamp: Timestamp::from_millis(arrival.at),
                key: arrival.key.clone().map(String::into_bytes),
                value: Some(arrival.line.clone().into_bytes()),
                headers: Vec::new(),
            });
        }
        committed.iter().for_each(|record| shelf.push(record));
        shelf
    }

    fn push(&mut self, record: &OutRecord) {
        let records = self.topics.entry(record.topic).or_default();
        let OutRecord { timestamp, key, value, headers, .. } = record.clone();
        records.push(Record { offset: records.len() as u64, timestamp, key, value, headers });
    }

    /// As compaction leaves rows: the latest of each key.
    pub fn compact(&mut self) {
        let rows = self.topics.get_mut(&Topic::State).unwrap();
        let latest: BTreeMap<_, _> = rows.iter().map(|row| (row.key.clone(), row.offset)).collect();
        rows.retain(|row| latest[&row.key] == row.offset);
    }

    /// The entries of the journal.
    pub fn entries(&self) -> Vec<Entry> {
        let value = |record: &Record| journal::open(record.value.as_deref().unwrap()).unwrap();
        self.topics[&Topic::Journal].iter().map(value).collect()
    }

    pub fn input(&mut self, topic: InputTopic) -> &mut Vec<Record> {
        self.topics.get_mut(&Topic::Input(topic)).unwrap()
    }
}

impl Records for Shelf {
    fn bounds(&mut self, topic: Topic, _: u32) -> Result<Bounds, LogError> {
        let high = self.topics[&topic].last().map_or(0, |record| record.offset + 1);
        let low = self.lows.get(&topic).copied().unwrap_or(0);
        Ok(Bounds { low, high: high.max(low) })
    }

    fn scan(
        &mut self,
        topic: Topic,
        _: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        let low = self.lows.get(&topic).copied().unwrap_or(0);
        if range.start < low && !range.is_empty() {
            return Err(LogError::fatal("reading", "it is gone"));
        }
        let records = &self.topics[&topic];
        let from = records.partition_point(|record| record.offset < range.start);
        for record in records[from..].iter().take_while(|record| record.offset < range.end) {
            let scanned = Scanned {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &record.headers,
            };
            if let ControlFlow::Break(()) = each(scanned) {
                break;
            }
        }
        Ok(())
    }
}

impl Archive for Shelf {
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        Ok(self.bounds(topic, partition)?.high)
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        let offset = self.head.clone().map(|head| (0, head));
        let mut offsets = [const { None }; INPUTS];
        offsets[0] = offset;
        Ok(Committed { partition, offsets })
    }
}
