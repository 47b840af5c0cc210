//! Creating and checking topics.

use lastseen::log::kafka::topics::{Cluster, Existing, Report, TopicSettings, create, inspect, plan, wanted};
use lastseen::log::{LogError, Topic};

use super::log::{Setup, setup};

fn settings() -> TopicSettings {
    TopicSettings { partitions: 2, ..TopicSettings::default() }
}

/// What the cluster would be if everything wanted were there.
fn perfect(setup: &Setup) -> Cluster {
    let wanted = wanted(&setup.config, &settings(), 1);
    let existing = |want: &lastseen::log::kafka::topics::Wanted| Existing {
        partitions: want.partitions,
        replication: want.replication,
        settings: want.settings.iter().map(|(key, (value, _))| ((*key).to_owned(), value.clone())).collect(),
    };
    Cluster {
        id: "test".into(),
        brokers: 1,
        topics: wanted.iter().map(|want| (want.name.clone(), existing(want))).collect(),
    }
}

fn complaints(setup: &Setup, cluster: &Cluster) -> Report {
    plan(&setup.config, cluster, &wanted(&setup.config, &settings(), 1))
}

#[test]
fn every_deviation_is_named_with_its_remedy() {
    let setup = setup(0);
    assert_eq!(complaints(&setup, &perfect(&setup)), Report::default());
    let name = |topic: Topic| setup.config.topic(topic).to_owned();
    let inputs = Topic::ALL[1];
    for (topic, key, value, refuse) in [
        (inputs, "message.timestamp.type", "CreateTime", true),
        (inputs, "cleanup.policy", "compact", true),
        (inputs, "retention.ms", "1000", false),
        (inputs, "max.message.bytes", "1000", true),
        (Topic::State, "cleanup.policy", "delete", true),
        (Topic::State, "segment.bytes", "1073741824", false),
        (Topic::Journal, "message.timestamp.type", "CreateTime", true),
        (Topic::Journal, "retention.ms", "60000", false),
        (Topic::Status, "message.timestamp.type", "LogAppendTime", true),
        (Topic::Status, "message.timestamp.after.max.ms", "3600000", true),
        (Topic::DeadLetter, "max.message.bytes", "1048588", true),
    ] {
        let mut cluster = perfect(&setup);
        cluster.topics.get_mut(&name(topic)).unwrap().settings.insert(key.to_owned(), value.to_owned());
        let report = complaints(&setup, &cluster);
        let [complaint] = &report.complaints[..] else { panic!("{key}: {report:?}") };
        let found = (&*complaint.topic, &*complaint.setting, &*complaint.has, complaint.refuse);
        assert_eq!(found, (&*name(topic), key, value, refuse));
        assert!(complaint.mend.contains(&format!("--add-config {key}={}", complaint.wants)), "{complaint}");
        assert!(complaint.to_string().contains(&name(topic)));
        assert_eq!(report.usable(), !refuse);
    }
    // More than wanted is fine, unlimited too.
    let mut cluster = perfect(&setup);
    for value in ["-1", "99999999999999"] {
        cluster
            .topics
            .get_mut(&name(inputs))
            .unwrap()
            .settings
            .insert("retention.ms".to_owned(), value.to_owned());
        assert_eq!(complaints(&setup, &cluster), Report::default());
    }
    // Inputs that take more than was asked for: dead letters have to take that, too.
    let bytes = "20000000".to_owned();
    cluster.topics.get_mut(&name(inputs)).unwrap().settings.insert("max.message.bytes".to_owned(), bytes);
    let report = complaints(&setup, &cluster);
    assert_eq!(report.complaints.len(), 1, "{report:?}");
    assert_eq!(report.complaints[0].wants, (20_000_000 + 65_536).to_string());
    // Partition counts.
    for (has, words) in [(1, "--alter"), (5, "cannot lose partitions")] {
        let mut cluster = perfect(&setup);
        cluster.topics.get_mut(&name(Topic::Audit)).unwrap().partitions = has;
        let report = complaints(&setup, &cluster);
        assert!(!report.usable() && report.complaints[0].mend.contains(words), "{report:?}");
    }
}

#[test]
fn creates_what_is_missing_and_then_is_content() {
    let setup = setup(0);
    let cluster = inspect(&setup.config).unwrap();
    assert!(cluster.brokers >= 1 && cluster.topics.is_empty());
    let wanted = wanted(&setup.config, &settings(), cluster.brokers);
    let report = plan(&setup.config, &cluster, &wanted);
    assert_eq!(report.create.len(), 10);
    create(&setup.config, &report.create[3..]).unwrap();
    create(&setup.config, &report.create).unwrap();
    let report = plan(&setup.config, &inspect(&setup.config).unwrap(), &wanted);
    assert_eq!(report, Report::default());
    // Asked for something else, it complains and changes nothing.
    let other = TopicSettings { partitions: 3, max_message_bytes: 2 << 20, ..settings() };
    let wanted = lastseen::log::kafka::topics::wanted(&setup.config, &other, cluster.brokers);
    let report = plan(&setup.config, &inspect(&setup.config).unwrap(), &wanted);
    assert!(report.create.is_empty() && !report.usable());
    assert_eq!(report.complaints.iter().filter(|complaint| complaint.setting == "partitions").count(), 10);
    assert_eq!(
        report.complaints.iter().filter(|complaint| complaint.setting == "max.message.bytes").count(),
        4
    );
}

#[test]
fn nobody_there_is_said_so() {
    let mut setup = setup(0);
    setup.config.brokers = "127.0.0.1:1".to_owned();
    setup.config.request_timeout = std::time::Duration::from_secs(2);
    let error: LogError = inspect(&setup.config).unwrap_err();
    assert!(error.retriable && error.to_string().contains("127.0.0.1:1"), "{error}");
}
