//! What needs a real Kafka: KAFKA_BROKERS names it.

mod histories;
mod log;
pub mod main_job;
mod proxy;
#[cfg(feature = "http")]
mod query;
mod replay;
mod topics;
