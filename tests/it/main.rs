//! The one integration test binary.

mod broker;
mod cli;
mod log;
mod model;
