//! What Kafka says, in words that name the remedy.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::log::LogError;

/// What a client complained about last: a call that merely times out says why by this.
pub struct Watch {
    brokers: String,
    last: Mutex<Option<(Code, String, Instant)>>,
}

impl Watch {
    /// Of a client of these brokers.
    pub fn new(brokers: &str) -> Watch {
        Watch { brokers: brokers.to_owned(), last: Mutex::new(None) }
    }

    /// Notes a complaint. That all brokers are down follows from the complaints before it, which say more.
    pub fn note(&self, code: Code, reason: &str) {
        tracing::debug!(target: "kafka", "{code}: {reason}");
        if code != Code::AllBrokersDown || self.recent().is_none() {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((code, reason.to_owned(), Instant::now()));
        }
    }

    /// The last complaint, if it is no older than a minute.
    fn recent(&self) -> Option<(Code, String)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = last.as_ref().filter(|(.., at)| at.elapsed() < Duration::from_secs(60));
        recent.map(|(code, reason, _)| (*code, reason.clone()))
    }

    /// An error of a call: its own words, and why it may be that nobody answers.
    pub fn explain(&self, action: impl Into<String>, code: Code, words: &str) -> LogError {
        let unanswered = matches!(
            code,
            Code::OperationTimedOut
                | Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::WaitingForCoordinator
        );
        let recent = if unanswered { self.recent() } else { None };
        let (code, words) = match &recent {
            Some((cause, reason)) if refused(*cause) => (*cause, reason.clone()),
            Some((_, reason)) => (code, format!("{words} ({reason})")),
            None => (code, words.to_owned()),
        };
        let words = if words.is_empty() { code.to_string() } else { words };
        match remedy(code) {
            Some(remedy) => {
                LogError { action: action.into(), message: format!("{words}: {remedy}"), retriable: false }
            }
            None if unanswered => {
                LogError::retriable(action, format!("no answer from Kafka at {}: {words}", self.brokers))
            }
            None => LogError { action: action.into(), message: words, retriable: !lasting(code) },
        }
    }
}

fn refused(code: Code) -> bool {
    matches!(code, Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)
}

/// What to do about errors that stay until somebody does it.
fn remedy(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the brokers refuse our credentials; look at sasl.* and security.protocol of the Kafka client settings"
        }
        Code::SSL => "look at ssl.* and security.protocol of the Kafka client settings",
        Code::Resolve => "look at the configured brokers: their name does not resolve",
        Code::TopicAuthorizationFailed => "the principal needs read, write and describe on Lastseen's topics",
        Code::GroupAuthorizationFailed => "the principal needs read on the consumer group",
        Code::TransactionalIdAuthorizationFailed => {
            "the principal needs write and describe on the transactional ids"
        }
        Code::ClusterAuthorizationFailed => {
            "the principal lacks a right on the cluster (idempotent write, create)"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "a topic or partition does not exist; `lastseen topics` creates and checks them"
        }
        Code::FencedInstanceId => {
            "another process runs with the same instance id; give each its own (--instance)"
        }
        Code::InvalidTransactionTimeout => {
            "the transaction timeout exceeds the brokers' transaction.max.timeout.ms"
        }
        Code::InvalidSessionTimeout => {
            "the session timeout lies outside group.min/max.session.timeout.ms of the brokers"
        }
        Code::MessageSizeTooLarge => {
            "a record exceeds max.message.bytes of its topic; `lastseen topics` checks it"
        }
        Code::InconsistentGroupProtocol => {
            "members with another assignor are in this group; stop them or use another group"
        }
        Code::AutoOffsetReset => {
            "the records there are gone, by retention or because the topic was made anew"
        }
        Code::InvalidTimestamp => {
            "the topic's message.timestamp settings refuse our time stamps; `lastseen topics` checks them"
        }
        _ => return None,
    })
}

/// Other errors that the same call meets again.
fn lasting(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        InvalidArgument
            | InvalidTopic
            | InvalidConfig
            | PolicyViolation
            | UnsupportedVersion
            | UnsupportedFeature
            | Fatal
            | Fenced
            | ProducerFenced
            | InvalidReplicationFactor
            | InvalidPartitions
            | InvalidRequest
    )
}

/// A line of librdkafka's own log, to ours.
pub fn log(level: i32, facility: &str, words: &str) {
    match level {
        0..=2 => tracing::error!(target: "kafka", "{facility} {words}"),
        3 | 4 => tracing::warn!(target: "kafka", "{facility} {words}"),
        5 | 6 => tracing::info!(target: "kafka", "{facility} {words}"),
        _ => tracing::debug!(target: "kafka", "{facility} {words}"),
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, words: &str) {
        log(level as i32, facility, words);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(error.rdkafka_error_code().unwrap_or(Code::Fail), reason);
    }
}
