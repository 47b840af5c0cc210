//! What needs a real Kafka: KAFKA_BROKERS names it.

mod histories;
mod log;
mod main_job;
mod proxy;
mod topics;
