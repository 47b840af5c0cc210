//! Reading a range of one partition of any topic, committed records only.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::errors::Watch;
use super::native::{At, Client, EARLIEST, LATEST, Reader, list_offsets};
use super::{KafkaConfig, reader};
use crate::log::{Bounds, LogError, ScanControl, Scanned, Topic};

/// Low and high watermarks of partitions, in the order of the questions: two requests per leading broker.
pub fn bounds_of(
    client: Client,
    watch: &Watch,
    config: &KafkaConfig,
    asked: &[(Topic, u32)],
) -> Result<Vec<Bounds>, LogError> {
    let low = offsets_of(client, watch, config, asked, EARLIEST, false)?;
    let high = offsets_of(client, watch, config, asked, LATEST, false)?;
    Ok(low.into_iter().zip(high).map(|(low, high)| Bounds { low, high }).collect())
}

/// One question for many partitions, none twice; answers in their order.
pub fn offsets_of(
    client: Client,
    watch: &Watch,
    config: &KafkaConfig,
    asked: &[(Topic, u32)],
    offset: i64,
    committed: bool,
) -> Result<Vec<u64>, LogError> {
    let at =
        |&(topic, partition): &(Topic, u32)| At { topic: config.topic(topic).to_owned(), partition, offset };
    let questions: Vec<At> = asked.iter().map(at).collect();
    let found = list_offsets(client, &questions, committed, config.request_timeout)
        .map_err(|(code, words)| watch.explain("asking for watermarks", code, &words))?;
    let found: BTreeMap<(String, u32), i64> =
        found.into_iter().map(|(at, _)| ((at.topic, at.partition), at.offset)).collect();
    let answer = |at: At| found.get(&(at.topic, at.partition)).map_or(0, |offset| (*offset).max(0) as u64);
    Ok(questions.into_iter().map(answer).collect())
}

/// A reader that is moved from range to range. Where a scan begins where the last one stopped, what was fetched
/// already is used: recovery scans in slices.
pub struct Scanner {
    reader: Reader,
    current: Option<Current>,
    /// Topics whose leaders the client has heard of.
    known: BTreeSet<Topic>,
}

struct Current {
    at: At,
    /// The next offset to come, as far as known.
    next: u64,
}

impl Scanner {
    /// A client of its own.
    pub fn open(config: &KafkaConfig) -> Result<Scanner, LogError> {
        Ok(Scanner {
            reader: reader("making a reader", &config.reader("10"))?,
            current: None,
            known: BTreeSet::new(),
        })
    }

    /// Hears of the leaders of a topic and connects to that of a partition. Of a topic that is new to it, librdkafka would
    /// ask once a second only when it is told to read it.
    pub fn prepare(&mut self, config: &KafkaConfig, topic: Topic, partition: u32) -> Result<(), LogError> {
        if !self.known.contains(&topic) {
            let asked = [(topic, partition)];
            offsets_of(self.reader.client(), self.reader.watch(), config, &asked, LATEST, false)?;
            self.known.insert(topic);
        }
        Ok(())
    }

    /// Reads `range`, whose end lies at or below the high watermark, until its end or until `each` breaks.
    pub fn scan(
        &mut self,
        config: &KafkaConfig,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        if range.is_empty() {
            return Ok(());
        }
        self.prepare(config, topic, partition)?;
        let action = || format!("reading {}, partition {partition}", config.topic(topic));
        let name = config.topic(topic);
        self.move_to(name, partition, range.start)
            .map_err(|error| self.reader.watch().explain(action(), error.code, &error.message))?;
        let Some(current) = &mut self.current else { return Ok(()) };
        let mut headers = Vec::new();
        let mut until = Instant::now() + config.scan_timeout;
        while current.next < range.end {
            let Some(message) = self.reader.next(until.saturating_duration_since(Instant::now())) else {
                let words = format!("no committed record after offset {} of {}", current.next, range.end);
                return Err(self.reader.watch().explain(action(), Code::OperationTimedOut, &words));
            };
            if message.partition() != partition || message.topic() != name.as_bytes() {
                continue;
            }
            match message.code() {
                Code::NoError if message.offset() < current.next => {}
                Code::NoError if message.offset() >= range.end => {
                    // Beyond: whatever lay in between is not for readers. The next scan may begin here.
                    current.next = range.end;
                    self.reader.put_back(message);
                    return Ok(());
                }
                Code::NoError => {
                    current.next = message.offset() + 1;
                    if each(message.record(&mut headers)).is_break() {
                        return Ok(());
                    }
                    until = Instant::now() + config.scan_timeout;
                }
                // The end of what is stable; of an open transaction if that lies below the end of the range.
                Code::PartitionEOF => current.next = current.next.max(message.offset()),
                code => {
                    let error = self.reader.watch().explain(action(), code, &message.words());
                    if !error.retriable {
                        drop(message);
                        self.drop_current();
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn move_to(&mut self, topic: &str, partition: u32, from: u64) -> Result<(), super::native::TxnError> {
        if let Some(current) = &self.current
            && (&*current.at.topic, current.at.partition, current.next) == (topic, partition, from)
        {
            return Ok(());
        }
        self.drop_current();
        let at = At { topic: topic.to_owned(), partition, offset: from as i64 };
        self.reader.assign(std::slice::from_ref(&at))?;
        self.current = Some(Current { at, next: from });
        Ok(())
    }

    fn drop_current(&mut self) {
        if let Some(current) = self.current.take()
            && let Err(error) = self.reader.unassign(&[current.at])
        {
            tracing::warn!(target: "kafka", "{}", error.message);
        }
        while self.reader.next(Duration::ZERO).is_some() {}
    }
}
