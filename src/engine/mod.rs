//! The engine: deterministic steps over one partition, their journal, timers and clock (DESIGN §3).

pub mod core;
pub mod table;
pub mod timers;
