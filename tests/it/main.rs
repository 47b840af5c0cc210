//! The one integration test binary.

mod broker;
#[cfg(feature = "rocksdb")]
mod log;
mod laws;
mod model;
mod scenarios;
