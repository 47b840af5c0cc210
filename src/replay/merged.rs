//! The inputs in the order of the journal, as lines that `fold --clock ticks` reads.
//!
//! Before each event stands a tick with its arrival (DESIGN §3.1), after the events of an entry one with its clock; a
//! return of sight is a line of its own. Events of protobuf become JSON; one without observedAt gets what stood in for
//! it, the time at which the log took it. A record that became a dead letter is `{"deadLetter":{…}}`, which says where it
//! stands and why it was refused, and which `fold` refuses too: its reason is then `no_body`.
//!
//! **One partition** is exact: `fold` says what the partition said, but for places, `recordedAt` (a step concludes what
//! follows from an event when the next one comes), blind spells, and the reasons of dead letters. **Several** are merged by time, since their devices are disjoint: an event
//! for all partitions (node, policy) is told once, where it arrived first, though each partition took it at its own
//! time; and a return of sight concerns one partition only, and is left out and counted.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::effect::InputTopic;
use crate::domain::event::Subject;
use crate::domain::time::Timestamp;
use crate::engine::journal::{self, Entry};
use crate::engine::step::Settings;
use crate::follow::Follower;
use crate::log::Archive;
use crate::log::INPUTS;
use crate::log::Slot;
use crate::log::Topic;
use crate::wire::decode::{self, Limits, RawRecord, Scratch};
use crate::wire::encode::encode_event_json;
use crate::wire::{dead_letter, rfc3339};
use xxhash_rust::xxh3::xxh3_128;

use super::Span;
use super::export::ExportError;
use super::inputs::{InputError, Inputs};

/// A line, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergedLine {
    /// The arrival, or the clock.
    pub at: Timestamp,
    /// What it is.
    pub kind: LineKind,
}

/// What a line of the merged inputs is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// Time passes.
    Tick,
    /// The monitor sees again.
    Sight,
    /// An event of a device, or a record that was refused, as JSON.
    Record(Vec<u8>),
    /// An event for all partitions, as JSON, and what tells it from others.
    Broadcast(Vec<u8>, u128),
}

/// What was left out, or could not be had.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MergedSummary {
    /// Events that were written.
    pub events: u64,
    /// Returns of sight that concern one of several partitions, and were left out.
    pub sights_left_out: u64,
    /// Partitions whose journal does not begin at entry 1: what was before is not there.
    pub late: Vec<u32>,
    /// Partitions with gaps in their inputs, which were accepted as lost.
    pub gaps: Vec<u32>,
}

/// One partition's lines, entry by entry.
pub struct Merged<'a> {
    archive: Box<dyn Archive + 'a>,
    partition: u32,
    settings: Settings,
    span: Span,
    follower: Follower,
    inputs: Inputs,
    clock: Timestamp,
    end: u64,
    first: Option<u64>,
    has_gap: bool,
    scratch: Scratch,
    lines: VecDeque<MergedLine>,
}

impl<'a> Merged<'a> {
    /// Of one partition, up to what is committed now.
    ///
    /// # Errors
    /// The log fails.
    pub fn new(
        mut archive: Box<dyn Archive + 'a>,
        partition: u32,
        settings: Settings,
        span: Span,
    ) -> Result<Merged<'a>, ExportError> {
        let end = archive.settled(Topic::Journal, partition)?;
        Ok(Merged {
            archive,
            partition,
            settings,
            span,
            follower: Follower::new(partition),
            inputs: Inputs::new(partition),
            clock: Timestamp::NEVER,
            end,
            first: None,
            has_gap: false,
            scratch: Scratch::new(),
            lines: VecDeque::new(),
        })
    }

    /// The next line; `None` at the end of the span.
    ///
    /// # Errors
    /// The log fails; the journal cannot be read; inputs that it names are gone.
    pub fn peek(&mut self) -> Result<Option<&MergedLine>, ExportError> {
        while self.lines.is_empty() {
            let Some(record) = self.follower.next_record(&mut *self.archive, self.end)? else {
                return Ok(None);
            };
            let (partition, offset) = (self.partition, record.offset);
            let entry = journal::open(record.value.as_deref().unwrap_or_default())
                .map_err(|source| ExportError::Entry { partition, offset, source })?;
            self.first.get_or_insert(entry.entry.seq);
            if self.span.over(entry.clock()) {
                self.end = 0;
                return Ok(None);
            }
            self.has_gap |= entry.entry.gap.is_some();
            if self.span.begun(entry.clock()) {
                self.entry(&entry)?;
            }
            self.clock = entry.clock();
        }
        Ok(self.lines.front())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), ExportError> {
        let mut ranges = [const { 0..0 }; INPUTS];
        for range in &entry.entry.ranges {
            if let Some(slot) = ranges.get_mut((range.topic as usize).wrapping_sub(1)) {
                *slot = range.from..range.to;
            }
        }
        let clock = entry.clock();
        let mut started_at = self.clock;
        if let Some(sight) = entry.entry.sight_ms.map(Timestamp::from_millis) {
            started_at = started_at.max(sight);
            self.lines.push_back(MergedLine { at: started_at, kind: LineKind::Sight });
        }
        let (queues, arena) = self.inputs.take(&mut *self.archive, &ranges).map_err(|error| match error {
            InputError::Log(error) => ExportError::Log(error),
            gone => ExportError::Gone { partition: self.partition, seq: entry.entry.seq, source: gone },
        })?;
        let limits = entry.entry.limits.as_ref().map_or(decode::BYTES_MAX, |it| it.record_bytes_max as usize);
        let told = Told {
            partition: self.partition,
            settings: &self.settings,
            limits: Limits { bytes_max: limits },
            arena,
        };
        // The same order in which a step takes them; a test holds the two together.
        let mut arrivals = [started_at; INPUTS];
        let mut taken = [0; INPUTS];
        loop {
            let head = |index: usize| {
                let slot = queues[index].get(taken[index])?;
                Some((slot.append_time.max(arrivals[index]).min(clock), index))
            };
            let Some((arrival, index)) = (0..INPUTS).filter_map(head).min() else { break };
            arrivals[index] = arrival;
            let slot = &queues[index][taken[index]];
            taken[index] += 1;
            self.lines.push_back(MergedLine { at: arrival, kind: told.line(slot, &mut self.scratch) });
        }
        self.lines.push_back(MergedLine { at: clock, kind: LineKind::Tick });
        Ok(())
    }
}

struct Told<'a> {
    partition: u32,
    settings: &'a Settings,
    limits: Limits,
    arena: &'a [u8],
}

impl Told<'_> {
    fn line(&self, slot: &Slot, scratch: &mut Scratch) -> LineKind {
        let key = slot.key.clone().map(|range| &self.arena[range]);
        let value = slot.value.clone().map(|range| &self.arena[range]);
        let content_type = decode::content_type(slot.headers.as_deref().unwrap_or_default());
        let (partition, partitions) = (self.partition, self.settings.partitions);
        let record = RawRecord { key, value, content_type, partition, partitions };
        scratch.clear();
        match decode::decode(&record, scratch, &self.limits) {
            Ok(mut event) => {
                event.observed_at = event.observed_at.or(Some(slot.append_time));
                let json = encode_event_json(&event);
                match event.subject {
                    Subject::Device { .. } => LineKind::Record(json),
                    Subject::Node(_) | Subject::Policy(_) => {
                        LineKind::Broadcast(json, xxh3_128(value.unwrap_or_default()))
                    }
                }
            }
            Err(reject) => {
                let topic: InputTopic = slot.topic;
                let source = dead_letter::Source {
                    topic: &self.settings.input_names[topic as usize],
                    partition,
                    offset: slot.offset,
                    timestamp: slot.append_time,
                };
                let mut json = Vec::new();
                dead_letter::encode_input_line(&reject, &source, &mut json);
                LineKind::Record(json)
            }
        }
    }
}

/// Writes the lines of partitions, merged by time, of equal times the smaller partition first.
///
/// # Errors
/// As [`Merged::peek`]; or writing fails.
pub fn write_merged(
    mut parts: Vec<Merged<'_>>,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<Result<MergedSummary, std::io::Error>, ExportError> {
    let mut summary = MergedSummary::default();
    let is_one = parts.len() == 1;
    let mut ticked = Timestamp::NEVER;
    // How often each partition told a broadcast, and how often it was written.
    let mut told: BTreeMap<(u128, usize), u64> = BTreeMap::new();
    let mut written: BTreeMap<u128, u64> = BTreeMap::new();
    let mut buffer = Vec::new();
    loop {
        let mut next: Option<(Timestamp, usize)> = None;
        for (index, part) in parts.iter_mut().enumerate() {
            if let Some(line) = part.peek()?
                && next.is_none_or(|(at, _)| line.at < at)
            {
                next = Some((line.at, index));
            }
        }
        let Some((_, index)) = next else { break };
        let Some(line) = parts[index].lines.pop_front() else { break };
        buffer.clear();
        if let LineKind::Sight = line.kind {
            if is_one {
                time_line("sight", line.at, &mut buffer);
                ticked = line.at;
            } else {
                summary.sights_left_out += 1;
            }
        } else if line.at > ticked {
            time_line("tick", line.at, &mut buffer);
            ticked = line.at;
        }
        let json = match line.kind {
            LineKind::Tick | LineKind::Sight => None,
            LineKind::Record(json) => Some(json),
            LineKind::Broadcast(json, name) => {
                let times = told.entry((name, index)).or_default();
                *times += 1;
                let known = written.entry(name).or_default();
                let is_new = *times > *known;
                *known = (*known).max(*times);
                is_new.then_some(json)
            }
        };
        if let Some(json) = json {
            summary.events += 1;
            buffer.extend_from_slice(&json);
            buffer.push(b'\n');
        }
        if let Err(error) = write(&buffer) {
            return Ok(Err(error));
        }
    }
    for part in &parts {
        if part.first.is_some_and(|first| first > 1) {
            summary.late.push(part.partition);
        }
        if part.has_gap {
            summary.gaps.push(part.partition);
        }
    }
    Ok(Ok(summary))
}

fn time_line(word: &str, at: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"{word}\":\"").as_bytes());
    rfc3339::write(at, out);
    out.extend_from_slice(b"\"}\n");
}
