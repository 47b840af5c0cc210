//! What needs a real Kafka: KAFKA_BROKERS names it.

mod bounded;
mod chaos;
mod crashes;
mod histories;
mod latency;
mod log;
pub mod main_job;
mod proxy;
#[cfg(feature = "http")]
mod query;
mod replay;
mod standby;
mod topics;
mod workers;
