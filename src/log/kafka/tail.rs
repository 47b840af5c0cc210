//! Following partitions of any topics, in no group.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode as Code;

use super::native::{At, EARLIEST, LATEST, Reader, list_offsets};
use super::{KafkaConfig, reader};
use crate::log::{LogError, Scanned, Start, Tail, Topic};

/// Follows partitions of any topics, committed records only.
pub struct KafkaTail {
    reader: Reader,
    config: KafkaConfig,
    places: Vec<(Topic, u32, Option<u64>)>,
}

impl KafkaTail {
    /// Begins where `from` says; [`Start::End`] is the end of what is committed now.
    ///
    /// # Errors
    /// A topic or partition does not exist; no broker answers in time.
    pub fn open(config: &KafkaConfig, from: &[(Topic, u32, Start)]) -> Result<KafkaTail, LogError> {
        const ACTION: &str = "following topics";
        config.check()?;
        let mut reader = reader(ACTION, &config.reader("50"))?;
        let at =
            |topic: Topic, partition, offset| At { topic: config.topic(topic).to_owned(), partition, offset };
        let ends: Vec<At> = from
            .iter()
            .filter(|(.., start)| *start == Start::End)
            .map(|(topic, partition, _)| at(*topic, *partition, LATEST))
            .collect();
        let ends = list_offsets(reader.client(), &ends, true, config.request_timeout)
            .map_err(|(code, words)| reader.watch().explain(ACTION, code, &words))?;
        let mut places = Vec::with_capacity(from.len());
        let mut assignment = Vec::with_capacity(from.len());
        for (topic, partition, start) in from {
            let next = match start {
                Start::Beginning => None,
                Start::At(offset) => Some(*offset),
                Start::End => ends
                    .iter()
                    .map(|(end, _)| end)
                    .find(|end| end.partition == *partition && end.topic == config.topic(*topic))
                    .map(|end| end.offset.max(0) as u64),
            };
            places.push((*topic, *partition, next));
            assignment.push(at(*topic, *partition, next.map_or(EARLIEST, |next| next as i64)));
        }
        reader
            .assign(&assignment)
            .map_err(|error| reader.watch().explain(ACTION, error.code, &error.message))?;
        Ok(KafkaTail { reader, config: config.clone(), places })
    }
}

impl Tail for KafkaTail {
    fn read(
        &mut self,
        wait: Duration,
        limit: usize,
        each: &mut dyn FnMut(Topic, u32, Scanned<'_>),
    ) -> Result<usize, LogError> {
        let until = Instant::now() + wait;
        let mut headers = Vec::new();
        let mut count = 0;
        while count < limit {
            // Wait for the first; of the others take what is at hand.
            let wait =
                if count == 0 { until.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            let Some(message) = self.reader.next(wait) else { break };
            let topic = self.config.topic_named(message.topic());
            let place =
                self.places.iter_mut().find(|place| Some(place.0) == topic && place.1 == message.partition());
            match (message.code(), place) {
                (Code::NoError, Some((topic, partition, next)))
                    if next.is_none_or(|next| message.offset() >= next) =>
                {
                    *next = Some(message.offset() + 1);
                    count += 1;
                    each(*topic, *partition, message.record(&mut headers));
                }
                (Code::NoError, _) => {}
                (Code::PartitionEOF, Some((.., next))) => *next = (*next).max(Some(message.offset())),
                (Code::PartitionEOF, None) => {}
                (code, place) => {
                    let what = place.map_or("topics".to_owned(), |(topic, partition, _)| {
                        format!("{}, partition {partition}", self.config.topic(*topic))
                    });
                    let error =
                        self.reader.watch().explain(format!("following {what}"), code, &message.words());
                    if !error.retriable {
                        return Err(error);
                    }
                }
            }
        }
        Ok(count)
    }

    fn position(&self, topic: Topic, partition: u32) -> Option<u64> {
        self.places.iter().find(|place| place.0 == topic && place.1 == partition)?.2
    }
}
