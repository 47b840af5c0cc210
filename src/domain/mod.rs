//! What a device is and how it changes: facts, facets, sessions, alarms, receipts (SEMANTICS).
//!
//! Pure, synchronous, total: no clock, no I/O, no randomness, no unordered iteration, no wire format.

pub mod channel;
pub mod clocks;
mod command;
pub mod device;
pub mod effect;
pub mod event;
pub mod facet;
pub mod habit;
mod judge;
mod long_poll;
pub mod monitoring;
pub mod node;
pub mod policy;
pub mod reason;
mod receipt;
pub mod session;
pub mod step;
pub mod time;
