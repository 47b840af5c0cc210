//! The one integration test binary.

mod log;
