//! Lastseen: which of my devices are connected, since when, why not, and can I trust the answer?

pub mod clock;
pub mod config;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod fold;
pub mod log;
pub mod render;
pub mod stats;
#[cfg(feature = "rocksdb")]
pub mod store;
pub mod telemetry;
pub mod wire;
#[cfg(feature = "rocksdb")]
pub mod worker;
