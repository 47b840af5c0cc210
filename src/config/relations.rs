//! What values must hold between them.

use super::keys::Key;
use super::{Config, Loaded, LogKind, Origin, Problem, Role, Setting, report, word_of};
use crate::domain::effect::InputTopic;
use crate::log::Topic;

/// Values that do not go together.
pub(super) fn relations(config: &Config, settings: &[(&'static Key, Setting)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut must = |holds: bool, names: &[&str], why: String| {
        if !holds {
            let places = names.iter().map(|name| {
                let (_, setting) =
                    settings.iter().find(|(key, _)| key.name == *name).expect("a key of the table");
                format!("{name} = {} ({})", report::literal(&setting.value), setting.origin)
            });
            let message = format!("{}: {why}", places.collect::<Vec<_>>().join(", "));
            problems.push(Problem { origin: None, message });
        }
    };
    let kafka = &config.kafka;
    must(
        kafka.transaction_timeout + kafka.abort_scan < kafka.session_timeout,
        &["kafka.transaction_timeout_ms", "kafka.abort_scan_ms", "kafka.session_timeout_ms"],
        "the first two together must be less than the third, so that the brokers have aborted what a dead instance left \
         before another takes its partitions"
            .to_owned(),
    );
    must(
        config.commit_interval * 3 <= kafka.transaction_timeout,
        &["worker.commit_interval_ms", "kafka.transaction_timeout_ms"],
        "the second must be at least three times the first, or slow transactions are aborted".to_owned(),
    );
    let journal = config.retention[Topic::Journal.number()];
    must(
        journal.is_none_or(|kept| kept.0 as u128 >= 2 * config.state_refresh.as_millis()),
        &["retention.journal_seconds", "state.refresh_seconds"],
        "the first must be at least twice the second: recovery reads the journal since the last whole sweep"
            .to_owned(),
    );
    must(
        journal.is_none_or(|kept| kept.0 as u128 >= 2 * config.state_checkpoint.as_millis()),
        &["retention.journal_seconds", "state.checkpoint_seconds"],
        "the first must be at least twice the second: a restart reads the journal since the checkpoint"
            .to_owned(),
    );
    must(
        config.log == LogKind::Kafka || config.workers <= 1,
        &["log", "worker.count"],
        "the embedded log has one worker".to_owned(),
    );
    must(
        config.log == LogKind::Kafka || config.role != Role::Query,
        &["log", "role"],
        "the embedded log belongs to the process that decides; its query service runs in the same process"
            .to_owned(),
    );
    let taken = |topic: &Topic| {
        let before = &Topic::ALL[..topic.number()];
        before
            .iter()
            .find(|other| config.topic(**other) == config.topic(*topic))
            .map(|other| (*topic, *other))
    };
    for (topic, other) in Topic::ALL.iter().filter_map(taken) {
        let names = [topic, other].map(|topic| format!("topics.{}", word_of(topic)));
        must(false, &names.each_ref().map(String::as_str), "every topic needs a name of its own".to_owned());
    }
    problems
}

/// What a configuration that is right still makes one wonder about.
pub fn notes(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let mut notes = Vec::new();
    let kept = |topic: Topic| config.retention[topic.number()].map_or(i64::MAX, |kept| kept.0);
    for input in InputTopic::ALL.iter().map(|&input| Topic::Input(input)) {
        if kept(input) < kept(Topic::Journal) {
            notes.push(format!(
                "retention.{}_seconds is less than retention.journal_seconds: what is older can be recovered, but not \
                 verified",
                word_of(input)
            ));
        }
    }
    let http = &config.http;
    if http.listen.is_some_and(|address| !address.ip().is_loopback()) && http.tls[0].is_none() {
        notes.push(
            "http.listen is open beyond this machine without http.tls_certificate: secrets travel in plain text unless \
             something in front encrypts them"
                .to_owned(),
        );
    }
    if config.log == LogKind::Embedded {
        for (key, setting) in &loaded.settings {
            if key.name.starts_with("kafka.") && setting.origin != Origin::Default {
                notes.push(format!("{} ({}) has no effect: log = \"embedded\"", key.name, setting.origin));
            }
        }
    }
    notes
}
