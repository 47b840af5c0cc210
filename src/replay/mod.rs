//! The past, derived again: `replay --verify` compares it with what the log holds, `replay --policy` with what another
//! policy would have said, `export` takes it elsewhere (DESIGN §1, §3.8).
//!
//! Everything is asked of an [`Archive`](crate::log::Archive): Kafka, the embedded log, or the files of an export.
//! Partitions are independent of each other, and each is gone through by one thread.

mod derive;
mod export;
pub mod files;
mod inputs;
mod merged;
mod shadow;
mod verify;
mod whatif;

pub use derive::{Anchor, Deriver, Obstacle};
pub use export::{ExportError, export};
pub use inputs::{InputError, Inputs};
pub use merged::{LineKind, Merged, MergedLine, MergedSummary, write_merged};
pub use shadow::{Heard, shadow};
pub use verify::{Check, Difference, Plan, Report, Shown, Verifier, verify};
pub use whatif::{DeviceChange, Occurrence, Totals, WhatIf, WhatIfError, what_if};

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::domain::time::Timestamp;

/// A span of partition clocks; both ends belong to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// From this time on; `None`: from the beginning.
    pub from: Option<Timestamp>,
    /// Up to this time; `None`: to the end.
    pub to: Option<Timestamp>,
}

impl Span {
    /// Whether it has begun at this clock.
    pub fn begun(&self, clock: Timestamp) -> bool {
        self.from.is_none_or(|from| clock >= from)
    }

    /// Whether it is over at this clock.
    pub fn over(&self, clock: Timestamp) -> bool {
        self.to.is_some_and(|to| clock > to)
    }
}

/// Does `work` for each item, by so many threads at a time; results in the order of the items.
pub fn in_parallel<I: Sync, T: Send>(items: &[I], threads: usize, work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    items.get(index).map(|item| (index, item))
                } {
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
