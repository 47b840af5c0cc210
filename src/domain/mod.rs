//! What a device is and how it changes: facts, facets, sessions, alarms, receipts (SEMANTICS).
//!
//! Pure, synchronous, total: no clock, no I/O, no randomness, no unordered iteration, no wire format.

pub mod effect;
pub mod event;
pub mod facet;
pub mod policy;
pub mod reason;
pub mod time;
