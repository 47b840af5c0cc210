//! Replay: what is derived again is what was said, and whoever changes the past is found out.

mod anchors;
#[cfg(feature = "rocksdb")]
mod commands;
mod shadow;
mod shelf;
mod tampering;
mod whatif;
