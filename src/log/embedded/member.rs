//! The embedded log as a worker sees it.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{EmbeddedLog, input};
use crate::domain::effect::InputTopic;
use crate::domain::time::Timestamp;
use crate::log::{
    Bounds, Change, CommitOutcome, Committed, INPUTS, Inbox, Log, LogError, POLL_BYTES, Positions, Records,
    ScanControl, Scanned, Topic, Transaction,
};

/// The one member of the group; owns all partitions until it is dropped or closed.
pub struct EmbeddedMember {
    log: EmbeddedLog,
    parts: Vec<Part>,
    announced: bool,
    closed: bool,
    turn: usize,
}

#[derive(Clone, Copy, Default)]
struct Part {
    started: bool,
    held: [bool; INPUTS],
    next: Positions,
}

impl EmbeddedMember {
    pub(super) fn new(log: EmbeddedLog) -> EmbeddedMember {
        let parts = vec![Part::default(); log.partitions() as usize];
        EmbeddedMember { log, parts, announced: false, closed: false, turn: 0 }
    }

    fn part(&mut self, partition: u32) -> Result<&mut Part, LogError> {
        let part = self.parts.get_mut(partition as usize);
        part.ok_or_else(|| {
            LogError::fatal(format!("using partition {partition}"), "there is no such partition")
        })
    }

    fn open(&self, action: &str) -> Result<(), LogError> {
        if self.closed { Err(LogError::fatal(action, "this member is closed")) } else { Ok(()) }
    }

    /// Everything that could be read now, as input place and range; at least one, unless the time is up.
    fn ready(&self, wait: Duration) -> Vec<(usize, u32, Range<u64>, u64)> {
        let shared = &self.log.shared;
        let found = shared.wait(wait, |heads| {
            let mut found = Vec::new();
            for (partition, part) in self.parts.iter().enumerate().filter(|(_, part)| part.started) {
                for (index, &next) in part.next.iter().enumerate().filter(|(index, _)| !part.held[*index]) {
                    let slot = shared.slot(input(index), partition as u32)?;
                    let head = heads[slot];
                    if head.high > next {
                        found.push((index, partition as u32, next..head.high, head.low));
                    }
                }
            }
            (!found.is_empty()).then_some(found)
        });
        found.unwrap_or_default()
    }
}

impl Records for EmbeddedMember {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        self.log.scan(topic, partition, range, each)
    }
}

impl Log for EmbeddedMember {
    fn poll(&mut self, wait: Duration, limit: usize, inbox: &mut Inbox) -> Result<Vec<Change>, LogError> {
        self.open("polling")?;
        if !self.announced {
            self.announced = true;
            return Ok(vec![Change::Assigned((0..self.log.partitions()).collect())]);
        }
        let ready = self.ready(wait);
        let (mut count, began) = (0, inbox.arena.len());
        self.turn += 1;
        for index in 0..ready.len() {
            let (index, partition, range, low) = ready[(index + self.turn) % ready.len()].clone();
            if count >= limit || inbox.arena.len() - began >= POLL_BYTES {
                break;
            }
            let (topic, end) = (InputTopic::ALL[index], range.end);
            if range.start < low {
                let message = format!("offset {} is gone, the first one is {low}", range.start);
                return Err(LogError::fatal(
                    format!("reading {}, partition {partition}", input(index)),
                    message,
                ));
            }
            let mut next = end;
            self.log.shared.read(input(index), partition, range, &mut |record| {
                count += 1;
                let after = record.offset + 1;
                inbox.push(topic, partition, record);
                if count < limit && inbox.arena.len() - began < POLL_BYTES {
                    return ControlFlow::Continue(());
                }
                next = after;
                ControlFlow::Break(())
            })?;
            self.parts[partition as usize].next[index] = next;
        }
        Ok(Vec::new())
    }

    fn start(&mut self, partition: u32, from: Positions) -> Result<(), LogError> {
        *self.part(partition)? = Part { started: true, held: [false; INPUTS], next: from };
        Ok(())
    }

    fn hold(&mut self, partition: u32, held: [bool; INPUTS]) -> Result<(), LogError> {
        self.part(partition)?.held = held;
        Ok(())
    }

    fn release(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        for &partition in partitions {
            *self.part(partition)? = Part::default();
        }
        Ok(())
    }

    fn positions(&mut self, partition: u32) -> Positions {
        self.parts.get(partition as usize).map(|part| part.next).unwrap_or_default()
    }

    fn ends(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Positions)>, LogError> {
        let mut ends = Vec::with_capacity(partitions.len());
        for &partition in partitions {
            let mut positions = [0; INPUTS];
            for (index, position) in positions.iter_mut().enumerate() {
                *position = self.log.bounds(input(index), partition)?.high;
            }
            ends.push((partition, positions));
        }
        Ok(ends)
    }

    fn committed(&mut self, partitions: &[u32]) -> Result<Vec<Committed>, LogError> {
        partitions.iter().map(|partition| self.log.committed(*partition)).collect()
    }

    fn journal_times(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Option<Timestamp>)>, LogError> {
        let newest = |&partition: &u32| Ok((partition, self.log.newest_time(Topic::Journal, partition)?));
        partitions.iter().map(newest).collect()
    }

    fn commit(&mut self, transaction: &Transaction) -> CommitOutcome {
        if let Err(error) = self.open("committing") {
            return CommitOutcome::Lost(error);
        }
        if transaction.offsets.is_empty() {
            return CommitOutcome::Aborted(LogError::fatal(
                "committing",
                "a transaction without offsets is not fenced",
            ));
        }
        match self.log.shared.write(&transaction.records, &transaction.offsets) {
            Ok(_) => CommitOutcome::Committed,
            Err(error) if error.unknown => {
                CommitOutcome::Unknown(LogError::fatal("committing", error.message))
            }
            Err(error) => CommitOutcome::Aborted(LogError::fatal("committing", error.message)),
        }
    }

    fn close(&mut self) -> Result<(), LogError> {
        if !self.closed {
            self.closed = true;
            self.log.shared.member.store(false, Ordering::Release);
        }
        Ok(())
    }
}

impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
