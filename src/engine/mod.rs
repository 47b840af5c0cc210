//! The engine: deterministic steps over one partition, their journal, timers and clock (DESIGN §3).
//!
//! Pure: no I/O, no clock, no randomness. The worker gives it records and readings, and makes true what it says.

pub mod clock;
pub mod core;
mod index;
pub mod journal;
pub mod pack;
pub mod recovery;
pub mod state_hash;
pub mod step;
pub mod sweep;
pub mod table;
pub mod timers;
