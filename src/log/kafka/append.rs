//! Writing from outside a worker: `send`, commands, tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::errors::Watch;
use super::producer::{DEFAULTS, base};
use super::{KafkaConfig, creation};
use crate::log::{Append, LogError, OutRecord};

/// An idempotent producer (acks=all) that writes to the partitions it is told and waits until all is acknowledged.
pub struct KafkaAppender {
    config: KafkaConfig,
    producer: ThreadedProducer<Reports>,
}

struct Reports(Watch);

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        self.0.log(level, facility, words);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<(Arc<Call>, usize)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let (call, index) = *opaque;
        match result {
            Ok(message) => call.offsets[index].store(message.offset().max(0) as u64, Ordering::Relaxed),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                let mut state = call.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.failed.get_or_insert((code, error.to_string()));
            }
        }
        let mut state = call.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        if state.waiting == 0 {
            call.done.notify_all();
        }
    }
}

/// One call of `append`, as its reports come in.
struct Call {
    offsets: Vec<AtomicU64>,
    state: Mutex<State>,
    done: Condvar,
}

struct State {
    waiting: usize,
    failed: Option<(Code, String)>,
}

impl KafkaAppender {
    /// A producer of its own; any number of threads may share it.
    ///
    /// # Errors
    /// A client setting is wrong. That no broker answers shows at the first append.
    pub fn open(config: &KafkaConfig) -> Result<KafkaAppender, LogError> {
        config.check()?;
        let ours = [
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("message.timeout.ms", config.request_timeout.as_millis().to_string()),
        ];
        let native = config.client("producer.", &DEFAULTS, &ours);
        let producer = native.create_with_context(Reports(Watch::new(&config.brokers)));
        let producer = producer.map_err(|error| creation("making a producer", &error))?;
        Ok(KafkaAppender { config: config.clone(), producer })
    }
}

impl Append for KafkaAppender {
    fn append(&self, records: &[OutRecord]) -> Result<Vec<u64>, LogError> {
        let watch = &self.producer.context().0;
        let until = Instant::now() + self.config.request_timeout * 2;
        let call = Arc::new(Call {
            offsets: records.iter().map(|_| AtomicU64::new(0)).collect(),
            state: Mutex::new(State { waiting: records.len(), failed: None }),
            done: Condvar::new(),
        });
        for (index, record) in records.iter().enumerate() {
            let mut next =
                base(self.config.topic(record.topic), record, Box::new((Arc::clone(&call), index)));
            while let Err((error, back)) = self.producer.send(next) {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                if code != Code::QueueFull || Instant::now() >= until {
                    let action = format!("writing to {}, partition {}", record.topic, record.partition);
                    return Err(watch.explain(action, code, &error.to_string()));
                }
                std::thread::sleep(Duration::from_millis(1));
                next = back;
            }
        }
        let mut state = call.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.waiting > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let words = format!("{} of {} records are not acknowledged", state.waiting, records.len());
                return Err(watch.explain("writing records", Code::OperationTimedOut, &words));
            }
            state = call.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match state.failed.take() {
            Some((code, words)) => Err(watch.explain(
                "writing records",
                if code == Code::MessageTimedOut { Code::OperationTimedOut } else { code },
                &words,
            )),
            None => Ok(call.offsets.iter().map(|offset| offset.load(Ordering::Relaxed)).collect()),
        }
    }
}
