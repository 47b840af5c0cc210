//! The one integration test binary.

mod broker;
#[cfg(feature = "rocksdb")]
mod log;
mod model;
mod scenarios;
