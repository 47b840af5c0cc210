#![doc = include_str!("../ARCHITECTURE.md")]

pub mod clock;
pub mod config;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod fold;
pub mod follow;
pub mod log;
pub mod render;
pub mod replay;
pub mod stats;
pub mod store;
pub mod telemetry;
pub mod wire;
pub mod worker;
