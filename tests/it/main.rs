//! The one integration test binary.

mod broker;
#[cfg(feature = "http")]
mod browser;
mod cli;
mod engine;
#[cfg(feature = "http")]
mod faces;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod laws;
#[cfg(feature = "rocksdb")]
mod log;
mod model;
mod replay;
mod scenarios;
#[cfg(feature = "rocksdb")]
mod sight;
mod sim;
mod tidy;
#[cfg(feature = "rocksdb")]
mod worker;
mod workload;
