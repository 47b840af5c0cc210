//! The one integration test binary.

mod broker;
#[cfg(feature = "kafka")]
mod kafka;
mod laws;
#[cfg(any(feature = "kafka", feature = "rocksdb"))]
mod log;
mod model;
mod scenarios;
