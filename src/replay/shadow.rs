//! The shadow auditor: follows the live journal a little behind, and verifies each entry from where it began.
//!
//! Its state comes from rows and packs, as a new owner's would, and is held against the state hash of the entry at which
//! it begins; from there on everything is derived. It costs the memory of the partitions a second time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::engine::journal::{self, Entry};
use crate::engine::recovery::Recovery;
use crate::engine::step::Settings;
use crate::follow::{Follower, Record, entry_of};
use crate::log::Archive;
use crate::log::LogError;
use crate::log::Topic;

use super::Span;
use super::derive::Deriver;
use super::verify::{Difference, Plan, Verifier};

/// How long it waits when it has caught up: it may be that far behind.
const PAUSE: Duration = Duration::from_millis(500);
/// Entries that it verifies of one partition before it looks at the next.
const TURN: u64 = 500;

/// What the auditor has to say of a partition.
#[derive(Debug)]
pub enum Heard<'a> {
    /// So many entries more are verified.
    Verified(u64),
    /// It begins with the entry after this one, or again, and why.
    Begins(u64, &'a str),
    /// A difference; the partition is not looked at any more.
    Differs(&'a Difference),
    /// It could not go on; it tries again.
    Failed(&'a str),
}

/// Audits until `stop`. `partitions` says which, `hear` is told what comes of it.
pub fn shadow(
    archive: &mut dyn Archive,
    settings: &Settings,
    partitions: impl Fn() -> Vec<u32>,
    mut hear: impl FnMut(u32, Heard<'_>),
    stop: &AtomicBool,
) {
    let plan = Plan { settings: settings.clone(), span: Span::default(), device: None, heads: Vec::new() };
    let mut audits: BTreeMap<u32, Option<Verifier>> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for partition in partitions() {
            let audit = audits.entry(partition).or_default();
            if audit.as_ref().is_some_and(|audit| audit.report.difference.is_some()) {
                continue;
            }
            match turn(archive, partition, &plan, audit, &mut hear) {
                Ok(count) => is_idle &= count == 0,
                Err(error) => hear(partition, Heard::Failed(&error)),
            }
        }
        if is_idle {
            std::thread::park_timeout(PAUSE);
        }
    }
}

/// Verifies what is new of a partition; how many entries that was.
fn turn(
    archive: &mut dyn Archive,
    partition: u32,
    plan: &Plan,
    audit: &mut Option<Verifier>,
    hear: &mut impl FnMut(u32, Heard<'_>),
) -> Result<u64, String> {
    let end = archive.settled(Topic::Journal, partition).map_err(|error| error.to_string())?;
    let verifier = match audit {
        Some(verifier) => verifier,
        None => {
            let (verifier, seq) = begin(archive, partition, end, plan)?;
            hear(partition, Heard::Begins(seq, "it was not followed yet"));
            audit.insert(verifier)
        }
    };
    let before = verifier.report.entries;
    let mut more = true;
    while more && verifier.report.entries - before < TURN {
        more = verifier.follow(archive, plan, end).map_err(|error| error.to_string())?;
        let count = verifier.report.entries - before;
        if let Some(difference) = &verifier.report.difference {
            hear(partition, Heard::Verified(count));
            hear(partition, Heard::Differs(difference));
            return Ok(count);
        }
        if more && !verifier.derives() {
            let why = verifier.report.unchecked.last().map(|(_, _, why)| why.clone()).unwrap_or_default();
            *audit = None;
            hear(partition, Heard::Verified(count));
            return Err(format!("the audit begins anew: {why}"));
        }
    }
    let count = verifier.report.entries - before;
    hear(partition, Heard::Verified(count));
    Ok(count)
}

/// A verification that goes on after the last entry below `end`; and the number of that entry.
fn begin(
    archive: &mut dyn Archive,
    partition: u32,
    end: u64,
    plan: &Plan,
) -> Result<(Verifier, u64), String> {
    let words = |error: LogError| error.to_string();
    let mut recovery = Recovery::new(partition, Arc::new(plan.settings.clone()), 0);
    // Rows first, then the entry up to which they count, then the rows that came between: so none is missed that
    // compaction takes meanwhile.
    let first = archive.bounds(Topic::State, partition).map_err(words)?;
    let newest = |_: u64| true;
    rows(archive, partition, first.low..first.high, &mut recovery, newest)?;
    let Some(last) = last_entry(archive, partition, end).map_err(words)? else {
        return Ok((Verifier::from_the_beginning(partition), 0));
    };
    let seq = last.entry.seq;
    let high = archive.bounds(Topic::State, partition).map_err(words)?.high;
    rows(archive, partition, first.high..high, &mut recovery, |named| named <= seq)?;
    let floor = last.entry.floor;
    let mut follower = Follower::new(partition);
    follower.seek(archive, |entry| entry.seq >= floor).map_err(words)?;
    while let Some(record) = follower.next_record(archive, end).map_err(words)? {
        let entry = open(&record)?;
        if entry.entry.seq > seq {
            break;
        }
        recovery.entry(entry).map_err(|error| error.to_string())?;
    }
    let partition = recovery.finish(None).map_err(|error| error.to_string())?;
    let state = Deriver::standing(partition, last.head());
    Ok((Verifier::live(archive, state).map_err(words)?, seq))
}

fn rows(
    archive: &mut dyn Archive,
    partition: u32,
    range: std::ops::Range<u64>,
    recovery: &mut Recovery,
    counts: impl Fn(u64) -> bool,
) -> Result<(), String> {
    let mut problem = None;
    let read = archive.scan(Topic::State, partition, range, &mut |record| {
        let kept = Record::keep(&record);
        let key = std::str::from_utf8(kept.key.as_deref().unwrap_or_default()).unwrap_or_default();
        if entry_of(Topic::State, partition, &kept).is_none_or(&counts)
            && let Err(error) = recovery.row(key, kept.value.as_deref())
        {
            problem = Some(error.to_string());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    read.map_err(|error| error.to_string())?;
    problem.map_or(Ok(()), Err)
}

fn open(record: &Record) -> Result<Entry, String> {
    journal::open(record.value.as_deref().unwrap_or_default()).map_err(|error| error.to_string())
}

/// The last entry of the journal below offset `end`.
fn last_entry(archive: &mut dyn Archive, partition: u32, end: u64) -> Result<Option<Entry>, LogError> {
    let low = archive.bounds(Topic::Journal, partition)?.low;
    let (mut width, mut last) = (64, None);
    // Offsets have holes: the window grows until there is something in it.
    while last.is_none() {
        let from = end.saturating_sub(width).max(low);
        archive.scan(Topic::Journal, partition, from..end.max(from), &mut |record| {
            last = journal::open(record.value.unwrap_or_default()).ok().or(last.take());
            ControlFlow::Continue(())
        })?;
        if from == low {
            break;
        }
        width *= 8;
    }
    Ok(last)
}
