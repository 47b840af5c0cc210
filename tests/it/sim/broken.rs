//! Protocols that are wrong on purpose. Each is a mistake that somebody could make; the suite must notice every one.

/// A mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// What came to nothing counts as committed.
    PromotedWithoutACommit,
    /// A commit without an answer counts as committed.
    UnknownIsCommitted,
    /// A commit without an answer counts as aborted.
    UnknownIsAborted,
    /// A transaction that consumed nothing goes without offsets.
    NoOffsetsWhereNothingWasConsumed,
    /// Offsets are sent without member and generation.
    GenerationIsNotSent,
    /// The committed offsets are read while a transaction is pending on them.
    PendingOffsetsAreNotWaitedFor,
    /// Recovery ends at the last stable offset, not at the committed head.
    RestoreToWhatIsStable,
    /// Caught up means: up to what a reader of committed records is shown.
    EndsOfWhatIsStable,
    /// The clock is the wall's, whatever is unread.
    ClockWithoutLag,
    /// Positions are counts of records: offsets have no holes.
    OffsetsAreCounted,
    /// A restarted producer does not fence its predecessor.
    PredecessorIsNotFenced,
    /// A checkpoint names its position before its rows are there.
    PositionBeforeRows,
    /// A checkpoint is taken to be of any log and any head.
    RowsWithoutPosition,
}

impl Broken {
    pub const ALL: [Broken; 13] = [
        Broken::PromotedWithoutACommit,
        Broken::UnknownIsCommitted,
        Broken::UnknownIsAborted,
        Broken::NoOffsetsWhereNothingWasConsumed,
        Broken::GenerationIsNotSent,
        Broken::PendingOffsetsAreNotWaitedFor,
        Broken::RestoreToWhatIsStable,
        Broken::EndsOfWhatIsStable,
        Broken::ClockWithoutLag,
        Broken::OffsetsAreCounted,
        Broken::PredecessorIsNotFenced,
        Broken::PositionBeforeRows,
        Broken::RowsWithoutPosition,
    ];
}
