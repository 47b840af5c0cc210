//! Where the past is read from: Kafka, the embedded log, or the files of an export.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lastseen::config::{self, Config, LogKind};
use lastseen::domain::effect::InputTopic;
use lastseen::engine::step;
use lastseen::log::embedded::EmbeddedLog;
use lastseen::log::{Archive, Topic};
use lastseen::replay::files::{FileArchive, Manifest, word};
use lastseen::replay::{Anchor, Span};
use lastseen::store::RocksStore;

use super::{Usage, kafka, wiring};

/// Which part of the past.
#[derive(Debug, Args)]
pub struct SpanFlags {
    /// From this time on: entries whose clock is at least that, like 2026-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only these partitions; may be repeated or separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    partition: Vec<u32>,
}

impl SpanFlags {
    pub fn span(&self) -> anyhow::Result<Span> {
        let time = |flag: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                let wrong = || {
                    Usage(format!(
                        "{flag} {text}: it must be a time of RFC 3339 such as 2026-01-01T00:00:00Z"
                    ))
                };
                config::time(text).ok_or_else(wrong).map(Some)
            }
        };
        let span = Span { from: time("--from", &self.from)?, to: time("--to", &self.to)? };
        if let (Some(from), Some(to)) = (span.from, span.to)
            && from > to
        {
            return Err(Usage(format!("--from {from} is later than --to {to}")).into());
        }
        Ok(span)
    }

    /// The partitions that are asked for, of those that there are.
    pub fn partitions(&self, past: &Past) -> anyhow::Result<Vec<u32>> {
        if self.partition.is_empty() {
            return Ok(past.there.clone());
        }
        for partition in &self.partition {
            if !past.there.contains(partition) {
                let there: Vec<String> = past.there.iter().map(u32::to_string).collect();
                let there = there.join(", ");
                return Err(Usage(format!("--partition {partition}: there are partitions {there}")).into());
            }
        }
        let mut partitions = self.partition.clone();
        partitions.sort_unstable();
        partitions.dedup();
        Ok(partitions)
    }

    /// As they were said, for the manifest.
    pub fn said(&self) -> (Option<String>, Option<String>) {
        (self.from.clone(), self.to.clone())
    }
}

/// The past of a log.
pub struct Past {
    /// What no entry tells.
    pub settings: step::Settings,
    /// The partitions that are there.
    there: Vec<u32>,
    log: Log,
    /// What it is called, for people.
    pub name: String,
}

enum Log {
    Embedded(EmbeddedLog, Store),
    Kafka(Box<Config>, Store),
    Files(PathBuf, Arc<Manifest>),
}

/// Where anchors are, and whose they must be.
struct Store {
    store: RocksStore,
    owner: String,
}

impl Past {
    /// That of the configured log.
    pub fn of_log(config: &Config) -> anyhow::Result<Past> {
        let names =
            std::array::from_fn(|index| config.topic(Topic::Input(InputTopic::ALL[index])).to_owned());
        let store = |owner: String| Store { store: RocksStore::new(&config.data_dir), owner };
        let (partitions, log, name) = match config.log {
            LogKind::Embedded => {
                let dir = config.data_dir.join("log");
                if !dir.join("db").exists() {
                    bail!("there is no embedded log in {} (data_dir, --data-dir)", dir.display());
                }
                let log = wiring::embedded_to_read(config, &dir)?;
                let name = format!("the embedded log in {}", dir.display());
                (log.partitions(), Log::Embedded(log, store(wiring::EMBEDDED.to_owned())), name)
            }
            LogKind::Kafka => {
                let partitions = kafka::partitions(config, &Topic::ALL)?;
                let name = format!("Kafka at {}", config.kafka.brokers);
                let owner = kafka::log_name(config, &kafka::cluster_id(config)?);
                (partitions, Log::Kafka(Box::new(config.clone()), store(owner)), name)
            }
        };
        let settings = step::Settings { partitions, input_names: names, ..step::Settings::default() };
        Ok(Past { settings, there: (0..partitions).collect(), log, name })
    }

    /// That of an export.
    pub fn of_export(dir: &Path) -> anyhow::Result<Past> {
        let manifest = Manifest::read(dir).with_context(|| {
            format!("cannot use {} as an export (lastseen export DIR makes one)", dir.display())
        })?;
        let name = |index: usize| {
            let topic = Topic::Input(InputTopic::ALL[index]);
            manifest.topics.get(word(topic)).cloned().unwrap_or_else(|| topic.default_name().to_owned())
        };
        let settings = step::Settings {
            partitions: manifest.partitions,
            input_names: std::array::from_fn(name),
            ..step::Settings::default()
        };
        let there = manifest.parts.iter().map(|part| part.partition).collect();
        let name = format!("the export in {}", dir.display());
        Ok(Past { settings, there, log: Log::Files(dir.into(), Arc::new(manifest)), name })
    }

    /// A reader of its own, for one thread.
    pub fn open(&self) -> anyhow::Result<Box<dyn Archive>> {
        Ok(match &self.log {
            Log::Embedded(log, _) => Box::new(log.clone()),
            Log::Kafka(config, _) => kafka::archive(config)?,
            Log::Files(dir, manifest) => Box::new(FileArchive::new(dir, Arc::clone(manifest))),
        })
    }

    /// States from which a derivation of a partition can start.
    pub fn anchors(&self, partition: u32) -> anyhow::Result<Vec<Anchor>> {
        let store = match &self.log {
            Log::Embedded(_, store) | Log::Kafka(_, store) => store,
            Log::Files(dir, manifest) => return Ok(manifest.anchor(dir, partition)?.into_iter().collect()),
        };
        let (anchors, unusable) = store.store.anchors(partition)?;
        for why in unusable {
            tracing::warn!(partition, "an anchor cannot be used: {why}");
        }
        let ours = anchors.into_iter().filter(|anchor| anchor.meta.owner == store.owner);
        Ok(ours
            .filter_map(|anchor| {
                Some(Anchor {
                    head: anchor.meta.head()?,
                    positions: anchor.meta.positions,
                    clock: lastseen::domain::time::Timestamp::restored(anchor.meta.clock_ms),
                    sweep: anchor.meta.sweep(),
                    load: Box::new(move |recovery| {
                        let read = anchor.rows(|key, value| recovery.row(key, Some(value)));
                        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
                    }),
                })
            })
            .collect())
    }

    /// How many offsets the journals of these partitions have, for a bar.
    pub fn length(&self, partitions: &[u32]) -> anyhow::Result<u64> {
        let mut archive = self.open()?;
        let mut length = 0;
        for partition in partitions {
            let bounds = archive.bounds(Topic::Journal, *partition)?;
            length += bounds.high - bounds.low;
        }
        Ok(length)
    }

    /// The real names of the topics, by the words of files.
    pub fn topic_names(&self, config: &Config) -> std::collections::BTreeMap<String, String> {
        Topic::ALL.iter().map(|topic| (word(*topic).to_owned(), config.topic(*topic).to_owned())).collect()
    }
}

/// Threads for so many partitions.
pub fn threads(partitions: usize) -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(partitions.max(1))
}

/// A bar over entries, on a terminal.
pub fn bar(length: u64) -> ProgressBar {
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        return ProgressBar::hidden();
    }
    let template = "{bar:30} {percent:>3} %  entry {pos} of {len}, {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style.progress_chars("━╸ "))
}
