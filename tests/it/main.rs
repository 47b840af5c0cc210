//! The one integration test binary.

mod broker;
mod cli;
#[cfg(feature = "rocksdb")]
mod log;
mod engine;
mod laws;
mod model;
mod scenarios;
#[cfg(feature = "rocksdb")]
mod worker;
