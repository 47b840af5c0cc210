//! What needs a real Kafka: KAFKA_BROKERS names it.

mod log;
mod proxy;
mod topics;
