//! A span of a partition into files: journal, inputs and outputs of the same entries, and the state before the first.

use std::path::Path;

use crate::domain::effect::InputTopic;
use crate::engine::journal::{self, BadEntry};
use crate::engine::recovery::Recovery;
use crate::engine::step::Settings;
use crate::follow::{Follower, OUTPUTS, Outputs, Record};
use crate::log::Archive;
use crate::log::INPUTS;
use crate::log::LogError;
use crate::log::Scanned;
use crate::log::Topic;
use crate::wire::pb::JournalEntry;

use super::Span;
use super::derive::Anchor;
use super::files::{AnchorPart, FilesError, Part, PartWriter};
use super::inputs::{InputError, Inputs, Ranges};

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The files failed.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A record of the journal is no entry.
    #[error("partition {partition}, offset {offset} of the journal: {source}")]
    Entry {
        /// The partition.
        partition: u32,
        /// The record's offset.
        offset: u64,
        /// Why.
        source: BadEntry,
    },
    /// Inputs that an entry consumed are not there any more.
    #[error("partition {partition}, entry {seq}: {source}")]
    Gone {
        /// The partition.
        partition: u32,
        /// The entry.
        seq: u64,
        /// What is gone.
        source: InputError,
    },
    /// The state of an anchor cannot be read.
    #[error("partition {partition}: the anchor at entry {seq} cannot be used: {why}")]
    Anchor {
        /// The partition.
        partition: u32,
        /// Its entry.
        seq: u64,
        /// Why.
        why: String,
    },
}

/// Exports one partition. A span that begins late begins with the last anchor before it; without one with the
/// beginning of the journal, since whoever verifies must start somewhere. Inputs and outputs that retention removed are
/// noted as gone. `progress` is told how many offsets of the journal were gone through.
///
/// # Errors
/// The log or the file system fails; the journal cannot be read.
pub fn export(
    archive: &mut dyn Archive,
    dir: &Path,
    partition: u32,
    span: Span,
    anchors: &[Anchor],
    progress: &dyn Fn(u64),
) -> Result<Part, ExportError> {
    let before = |anchor: &&Anchor| span.from.is_some_and(|from| anchor.clock < from);
    let anchor = anchors.iter().filter(before).max_by_key(|anchor| anchor.head.seq);
    let start = anchor.map_or(0, |anchor| anchor.head.seq);
    let end = archive.settled(Topic::Journal, partition)?;
    let mut writer = PartWriter::create(dir, partition)?;
    let mut part = Part { partition, head: None, entries: 0, anchor: None, files: Default::default() };
    let mut follower = Follower::new(partition);
    let mut inputs = Inputs::new(partition);
    let mut told = 0;
    while let Some(record) = follower.next_record(archive, end)? {
        let entry = journal::open(record.value.as_deref().unwrap_or_default())
            .map_err(|source| ExportError::Entry { partition, offset: record.offset, source })?;
        if span.over(entry.clock()) {
            break;
        }
        if entry.entry.seq > start {
            if part.entries == 0 {
                if let Some(anchor) = anchor {
                    part.anchor = Some(write_anchor(&writer, partition, anchor)?);
                }
                if entry.entry.seq > 1 {
                    follower.skip_outputs(archive, entry.entry.seq)?;
                    writer.set_low(Topic::Journal, record.offset);
                }
                note_what_is_gone(archive, partition, entry.entry.seq, &mut writer)?;
            }
            part.entries += 1;
            part.head = Some(entry.head().to_metadata());
            writer.record(Topic::Journal, &shown(&record))?;
            let outputs = follower.outputs_of(archive, &entry.entry)?;
            write_outputs(&mut writer, outputs)?;
            write_inputs(archive, &mut inputs, &mut writer, &entry.entry)?;
        }
        progress(record.offset + 1 - told);
        told = record.offset + 1;
    }
    part.files = writer.finish()?;
    Ok(part)
}

fn shown(record: &Record) -> Scanned<'_> {
    Scanned {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    }
}

/// Outputs of which retention had removed records of entries that are exported.
fn note_what_is_gone(
    archive: &mut dyn Archive,
    partition: u32,
    first: u64,
    writer: &mut PartWriter,
) -> Result<(), ExportError> {
    for topic in OUTPUTS {
        if super::verify::first_complete(archive, partition, topic)? > first {
            writer.set_low(topic, archive.bounds(topic, partition)?.low);
        }
    }
    Ok(())
}

fn write_outputs(writer: &mut PartWriter, outputs: Outputs) -> Result<(), ExportError> {
    let Outputs { records, foreign } = outputs;
    for (place, mut records) in records.into_iter().enumerate() {
        // What does not belong there is for the auditor to see.
        records.extend(foreign.iter().filter(|(at, _)| *at == place).map(|(_, record)| record.clone()));
        records.sort_by_key(|record| record.offset);
        for record in &records {
            writer.record(OUTPUTS[place], &shown(record))?;
        }
    }
    Ok(())
}

fn write_inputs(
    archive: &mut dyn Archive,
    inputs: &mut Inputs,
    writer: &mut PartWriter,
    entry: &JournalEntry,
) -> Result<(), ExportError> {
    // One topic after the other: what is gone of one does not keep the others from being exported.
    for range in &entry.ranges {
        let index = (range.topic as usize).wrapping_sub(1);
        let Some(topic) = InputTopic::ALL.get(index).map(|topic| Topic::Input(*topic)) else { continue };
        let mut ranges: Ranges = [const { 0..0 }; INPUTS];
        ranges[index] = range.from..range.to;
        let (queues, arena) = match inputs.take(archive, &ranges) {
            Ok(taken) => taken,
            Err(InputError::Gone { low, .. }) => {
                writer.set_low(topic, low);
                continue;
            }
            Err(InputError::Log(error)) => return Err(error.into()),
        };
        for slot in queues[index] {
            let record = Scanned {
                offset: slot.offset,
                timestamp: slot.append_time,
                key: slot.key.clone().map(|range| &arena[range]),
                value: slot.value.clone().map(|range| &arena[range]),
                headers: slot.headers.as_deref().unwrap_or_default(),
            };
            writer.record(topic, &record)?;
        }
    }
    Ok(())
}

fn write_anchor(writer: &PartWriter, partition: u32, anchor: &Anchor) -> Result<AnchorPart, ExportError> {
    let unusable = |why: String| ExportError::Anchor { partition, seq: anchor.head.seq, why };
    let mut recovery = Recovery::new(partition, Settings::default().into(), 0);
    (anchor.load)(&mut recovery).map_err(unusable)?;
    recovery.stands_at(anchor.head, anchor.positions, anchor.clock, anchor.sweep);
    let state = recovery.finish(None).map_err(|error| unusable(error.to_string()))?;
    let devices = (0..state.core.table.capacity()).filter_map(|number| state.row(number));
    let devices = devices.map(|(key, value)| (key.into_string(), value));
    let own = state.own_rows().into_iter().map(|(key, value)| (key.to_owned(), value));
    writer.anchor(devices.chain(own))?;
    Ok(AnchorPart {
        head: anchor.head.to_metadata(),
        positions: anchor.positions,
        clock_ms: anchor.clock.millis(),
        sweep: (anchor.sweep.next, anchor.sweep.started_at, anchor.sweep.started_seq, anchor.sweep.floor),
    })
}
