//! Reading what lies on Kafka, in no group.

use std::collections::BTreeMap;
use std::ops::Range;

use super::group;
use super::native::{LATEST, Reader};
use super::scan::{Scanner, bounds_of, offsets_of};
use super::{KafkaConfig, reader};
use crate::log::{Archive, Bounds, Committed, LogError, Records, ScanControl, Scanned, Topic};

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
}

impl Records for KafkaArchive {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        Ok(self.bounds_of(&[(topic, partition)])?[0])
    }

    fn bounds_of(&mut self, asked: &[(Topic, u32)]) -> Result<Vec<Bounds>, LogError> {
        let found = bounds_of(self.asker.client(), self.asker.watch(), &self.config, asked)?;
        self.highs.extend(asked.iter().copied().zip(found.iter().map(|bounds| bounds.high)));
        Ok(found)
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
}

impl Archive for KafkaArchive {
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        Ok(self.settled_of(&[(topic, partition)])?[0])
    }

    fn settled_of(&mut self, asked: &[(Topic, u32)]) -> Result<Vec<u64>, LogError> {
        let found = offsets_of(self.asker.client(), self.asker.watch(), &self.config, asked, LATEST, true)?;
        for (place, settled) in asked.iter().zip(&found) {
            // Whoever reads up to there has no need of the high watermark.
            let high = self.highs.entry(*place).or_default();
            *high = (*high).max(*settled);
        }
        Ok(found)
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        let found = group::offsets(self.asker.client(), &self.config, &[partition]);
        let found =
            found.map_err(|(action, code, words)| self.asker.watch().explain(action, code, &words))?;
        Ok(found.into_iter().next().unwrap_or(Committed { partition, offsets: Default::default() }))
    }
}
