//! The configuration as the Kafka log takes it; without the feature, words that say so.

use lastseen::config::Config;

#[cfg(feature = "kafka")]
pub use with::*;
#[cfg(not(feature = "kafka"))]
pub use without::*;

#[cfg(feature = "kafka")]
mod with {
    use std::collections::BTreeMap;

    use anyhow::{Context, bail};
    use lastseen::domain::effect::InputTopic;
    use lastseen::log::kafka::topics::{self, Cluster, TopicSettings, Wanted};
    use lastseen::log::kafka::{KafkaAppender, KafkaArchive, KafkaConfig, KafkaTail};
    use lastseen::log::{Append, Archive, Start, Tail, Topic};

    use super::super::Usage;
    use super::Config;

    /// For clients outside the group; a worker says its number and the instance's id itself.
    pub fn client(config: &Config, instance: &str, worker: u32) -> KafkaConfig {
        let kafka = &config.kafka;
        KafkaConfig {
            brokers: kafka.brokers.clone(),
            client: kafka.client.0.clone(),
            topics: config.topics.clone(),
            group: kafka.group.clone(),
            instance: kafka.instance.clone().unwrap_or_else(|| instance.to_owned()),
            worker,
            static_member: kafka.static_member,
            session_timeout: kafka.session_timeout,
            transaction_timeout: kafka.transaction_timeout,
            request_timeout: kafka.request_timeout,
            scan_timeout: kafka.scan_timeout(),
        }
    }

    /// Lets librdkafka look at the settings that are passed through, without contacting anybody.
    pub fn check_client(config: &Config) -> anyhow::Result<()> {
        let checked = client(config, "check", 0).check();
        checked.map_err(|error| Usage(error.to_string()).into())
    }

    /// What the topics should be on a cluster with so many brokers: as the log wants them, kept as long as configured.
    pub fn wanted(config: &Config, client: &KafkaConfig, brokers: u32) -> Vec<Wanted> {
        let kept = |topic: Topic| config.retention[topic.number()];
        let settings = TopicSettings {
            partitions: config.partitions,
            replication: config.kafka.replication.map(u32::from),
            max_message_bytes: config.record_bytes as u64,
            ..TopicSettings::default()
        };
        let mut wanted = topics::wanted(client, &settings, brokers);
        for want in &mut wanted {
            if let Some((value, _)) = want.settings.get_mut("retention.ms") {
                *value = kept(want.topic).map_or(-1, |kept| kept.0).to_string();
            }
            if let Some((value, _)) = want.settings.get_mut("delete.retention.ms") {
                *value = config.tombstone_retention.0.to_string();
            }
        }
        wanted
    }

    /// Where and how we looked for a cluster that does not answer.
    fn place(client: &KafkaConfig) -> String {
        format!("cannot work with Kafka at {} (kafka.brokers, --brokers)", client.brokers)
    }

    /// What there is on the cluster.
    pub fn inspect(client: &KafkaConfig) -> anyhow::Result<Cluster> {
        topics::inspect(client).with_context(|| place(client))
    }

    /// The partitions that the inputs have on the cluster; all must have as many.
    pub fn partitions(config: &Config, of: &[Topic]) -> anyhow::Result<u32> {
        let client = client(config, "cli", 0);
        let cluster = inspect(&client)?;
        let mut counts: BTreeMap<u32, &str> = BTreeMap::new();
        for topic in of {
            let name = config.topic(*topic);
            match cluster.topics.get(name) {
                Some(there) => counts.insert(there.partitions, name),
                None => {
                    bail!("there is no topic {name} on {}; `lastseen topics create` makes it", client.brokers)
                }
            };
        }
        let mut counts = counts.into_iter();
        match (counts.next(), counts.next()) {
            (Some((count, _)), None) => Ok(count),
            (Some((a, name)), Some((b, other))) => bail!(
                "{name} has {a} partitions and {other} has {b}: a device's records must lie in the same partition of every \
                 topic; `lastseen topics check` says what to do"
            ),
            (None, _) => bail!("no topic was asked for"),
        }
    }

    /// The input topics.
    pub fn inputs() -> Vec<Topic> {
        InputTopic::ALL.iter().map(|&input| Topic::Input(input)).collect()
    }

    pub fn appender(config: &Config) -> anyhow::Result<Box<dyn Append>> {
        let client = client(config, "cli", 0);
        Ok(Box::new(KafkaAppender::open(&client).with_context(|| place(&client))?))
    }

    /// What checkpoints say of the log that they are of. Another cluster, another group, or other topics, are another
    /// history.
    pub fn log_name(config: &Config, cluster: &str) -> String {
        format!("kafka {cluster} {} {}", config.kafka.group, config.topic(Topic::Journal))
    }

    /// The id of the cluster.
    pub fn cluster_id(config: &Config) -> anyhow::Result<String> {
        Ok(inspect(&client(config, "cli", 0))?.id)
    }

    /// A reader of the past.
    pub fn archive(config: &Config) -> anyhow::Result<Box<dyn Archive>> {
        let client = client(config, "cli", 0);
        Ok(Box::new(KafkaArchive::open(&client).with_context(|| place(&client))?))
    }

    pub fn tail(config: &Config, from: &[(Topic, u32, Start)]) -> anyhow::Result<Box<dyn Tail>> {
        let client = client(config, "cli", 0);
        Ok(Box::new(KafkaTail::open(&client, from).with_context(|| place(&client))?))
    }
}

#[cfg(not(feature = "kafka"))]
mod without {
    use anyhow::bail;
    use lastseen::log::{Append, Archive, Start, Tail, Topic};

    use super::Config;

    const WORDS: &str = "this lastseen was built without Kafka (cargo build --features kafka)";

    pub fn check_client(_: &Config) -> anyhow::Result<()> {
        Ok(())
    }

    pub fn partitions(_: &Config, _: &[Topic]) -> anyhow::Result<u32> {
        bail!(WORDS)
    }

    pub fn inputs() -> Vec<Topic> {
        Vec::new()
    }

    pub fn appender(_: &Config) -> anyhow::Result<Box<dyn Append>> {
        bail!(WORDS)
    }

    pub fn log_name(_: &Config, _: &str) -> String {
        String::new()
    }

    pub fn cluster_id(_: &Config) -> anyhow::Result<String> {
        bail!(WORDS)
    }

    pub fn archive(_: &Config) -> anyhow::Result<Box<dyn Archive>> {
        bail!(WORDS)
    }

    pub fn tail(_: &Config, _: &[(Topic, u32, Start)]) -> anyhow::Result<Box<dyn Tail>> {
        bail!(WORDS)
    }
}
