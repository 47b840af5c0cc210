//! The sweep: rows are written again in turn, so that older ones, and the packs before them, need not be kept
//! (DESIGN §3.5).

use std::ops::Range;

use crate::domain::time::{Millis, Timestamp};

/// Where a sweep stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sweep {
    /// The number that is next.
    pub next: u32,
    /// The clock at its start, in milliseconds since the epoch.
    pub started_at: i64,
    /// The entry in which it began.
    pub started_seq: u64,
    /// The entry in which the last whole one began.
    pub floor: u64,
}

impl Sweep {
    /// Goes on in the entry `seq`: the numbers whose rows are next, of `total`. A whole sweep takes `refresh`; what does
    /// not fit into `rows_max` is not made up.
    pub fn go_on(
        &mut self,
        seq: u64,
        clock: Timestamp,
        total: u32,
        refresh: Millis,
        rows_max: u32,
    ) -> Range<u32> {
        let clock = clock.millis();
        if self.started_seq == 0 {
            *self = Sweep { next: 0, started_at: clock, started_seq: seq, floor: self.floor };
        }
        let elapsed = clock.saturating_sub(self.started_at).max(0);
        let share = i128::from(total) * i128::from(elapsed) / i128::from(refresh.0.max(1));
        let due = u32::try_from(share.min(i128::from(total))).unwrap_or(total);
        let from = self.next;
        let to = due.min(from.saturating_add(rows_max)).max(from);
        self.next = to;
        if to >= total && elapsed >= refresh.0 {
            *self = Sweep { next: 0, started_at: clock, started_seq: seq + 1, floor: self.started_seq };
        }
        from..to
    }
}
