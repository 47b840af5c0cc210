//! What both logs promise.

#[cfg(feature = "rocksdb")]
mod embedded;
pub mod suite;
