//! The one integration test binary.

mod broker;
mod log;
mod model;
