//! Lastseen: which of my devices are connected, since when, why not, and can I trust the answer?

pub mod clock;
pub mod domain;
pub mod engine;
pub mod wire;
pub mod log;
pub mod render;
pub mod demo;
