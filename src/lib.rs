//! Lastseen: which of my devices are connected, since when, why not, and can I trust the answer?

pub mod domain;
pub mod log;
pub mod wire;
