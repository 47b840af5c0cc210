//! Following partitions of the embedded log.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{EmbeddedLog, lock};
use crate::log::{LogError, Scanned, Start, Tail, Topic};

/// Follows partitions of any topics; new records wake it.
pub struct EmbeddedTail {
    log: EmbeddedLog,
    places: Vec<Followed>,
    /// Where the next read begins, so that a busy partition does not starve the others.
    turn: usize,
}

struct Followed {
    topic: Topic,
    partition: u32,
    slot: usize,
    next: u64,
}

impl EmbeddedTail {
    pub(super) fn new(log: EmbeddedLog, from: &[(Topic, u32, Start)]) -> EmbeddedTail {
        let heads = lock(&log.shared.heads).clone();
        let followed = |&(topic, partition, start): &(Topic, u32, Start)| {
            let slot = log.shared.slot(topic, partition)?;
            let next = match start {
                Start::Beginning => heads[slot].low,
                Start::End => heads[slot].high,
                Start::At(offset) => offset,
            };
            Some(Followed { topic, partition, slot, next })
        };
        let places = from.iter().filter_map(followed).collect();
        EmbeddedTail { log, places, turn: 0 }
    }
}

impl Tail for EmbeddedTail {
    fn read(
        &mut self,
        wait: Duration,
        limit: usize,
        each: &mut dyn FnMut(Topic, u32, Scanned<'_>),
    ) -> Result<usize, LogError> {
        let EmbeddedTail { log, places, turn } = self;
        let shared = &log.shared;
        let heads = shared.wait(wait, |heads| {
            places.iter().any(|place| heads[place.slot].high > place.next).then(|| heads.to_vec())
        });
        let Some(heads) = heads else { return Ok(0) };
        let mut count = 0;
        let first = *turn;
        *turn += 1;
        for index in 0..places.len() {
            let index = (first + index) % places.len();
            let place = &mut places[index];
            let head = heads[place.slot];
            if place.next >= head.high {
                continue;
            }
            if place.next < head.low {
                let message = format!("offset {} is gone, the first one is {}", place.next, head.low);
                return Err(LogError::fatal(
                    format!("following {}, partition {}", place.topic, place.partition),
                    message,
                ));
            }
            if count >= limit {
                break;
            }
            let mut next = head.high;
            shared.read(place.topic, place.partition, place.next..head.high, &mut |record| {
                count += 1;
                let after = record.offset + 1;
                each(place.topic, place.partition, record);
                if count < limit {
                    return ControlFlow::Continue(());
                }
                next = after;
                ControlFlow::Break(())
            })?;
            place.next = next;
        }
        Ok(count)
    }

    fn position(&self, topic: Topic, partition: u32) -> Option<u64> {
        let place = self.places.iter().find(|place| place.topic == topic && place.partition == partition);
        place.map(|place| place.next)
    }
}
