//! Tests of the wire as a whole.

mod agreement;
mod corpus;
mod dead_letters;
mod policies;
mod refusals;
mod round_trips;
mod schema;
mod strategies;
mod taken;

use super::decode::{Limits, RawRecord, Scratch, decode};
use super::partition;
use super::reject::{Reason, Reject};

/// A record of a device's event as a well-behaved producer sends it: `acme/p1` in its partition of 12.
pub(super) fn record(value: &[u8]) -> RawRecord<'_> {
    let key = b"acme/p1";
    RawRecord {
        key: Some(key),
        value: Some(value),
        content_type: None,
        partition: partition::of(key, 12),
        partitions: 12,
    }
}

/// How a record is refused.
pub(super) fn refusal(record: &RawRecord) -> Reject {
    let scratch = Scratch::new();
    match decode(record, &scratch, &Limits::default()) {
        Ok(event) => panic!("it was taken: {event:?}"),
        Err(reject) => reject,
    }
}

#[track_caller]
pub(super) fn check_refused(record: &RawRecord, reason: Reason, words: &str) {
    let reject = refusal(record);
    assert_eq!((reject.reason, reject.message.as_str()), (reason, words));
}
