//! Reading what lies on Kafka, in no group.

use std::collections::BTreeMap;
use std::ops::Range;

use super::group;
use super::native::{At, EARLIEST, LATEST, Reader, list_offsets};
use super::scan::Scanner;
use super::{KafkaConfig, reader};
use crate::log::{Archive, Bounds, Committed, LogError, ScanControl, Scanned, Topic};

/// Kilobytes that each of its readers fetches ahead: there is one for each topic.
const AHEAD_KB: &str = "8192";

/// Reads topics in no group. A reader for each topic stays where it is while the others move on, since whoever replays
/// goes through all of them at once.
pub struct KafkaArchive {
    config: KafkaConfig,
    asker: Reader,
    scanners: BTreeMap<Topic, Scanner>,
    /// High watermarks seen.
    highs: BTreeMap<(Topic, u32), u64>,
}

impl KafkaArchive {
    /// Connects to nobody yet; the first question does.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn open(config: &KafkaConfig) -> Result<KafkaArchive, LogError> {
        config.check()?;
        let mut config = config.clone();
        let ahead = "consumer.queued.max.messages.kbytes".to_owned();
        config.client.entry(ahead).or_insert_with(|| AHEAD_KB.to_owned());
        let asker = reader("making a reader", &config.reader("10"))?;
        Ok(KafkaArchive { config, asker, scanners: BTreeMap::new(), highs: BTreeMap::new() })
    }

    fn ask(&self, topic: Topic, partition: u32, offset: i64, committed: bool) -> Result<u64, LogError> {
        let at = At { topic: self.config.topic(topic).to_owned(), partition, offset };
        let action = || format!("asking for watermarks of {}, partition {partition}", at.topic);
        let client = self.asker.client();
        let found = list_offsets(client, std::slice::from_ref(&at), committed, self.config.request_timeout)
            .map_err(|(code, words)| self.asker.watch().explain(action(), code, &words))?;
        Ok(found.first().map_or(0, |(at, _)| at.offset.max(0) as u64))
    }
}

impl Archive for KafkaArchive {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        let low = self.ask(topic, partition, EARLIEST, false)?;
        let high = self.ask(topic, partition, LATEST, false)?;
        self.highs.insert((topic, partition), high);
        Ok(Bounds { low, high })
    }

    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        self.ask(topic, partition, LATEST, true)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        let mut high = self.highs.get(&(topic, partition)).copied().unwrap_or(0);
        if high < range.end {
            high = self.bounds(topic, partition)?.high;
        }
        let scanner = match self.scanners.entry(topic) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Scanner::open(&self.config)?),
        };
        scanner.scan(&self.config, topic, partition, range.start..range.end.min(high), each)
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        let found = group::offsets(self.asker.client(), &self.config, &[partition]);
        let found =
            found.map_err(|(action, code, words)| self.asker.watch().explain(action, code, &words))?;
        Ok(found.into_iter().next().unwrap_or(Committed { partition, offsets: Default::default() }))
    }
}
