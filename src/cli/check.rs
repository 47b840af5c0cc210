//! `lastseen check`.

use std::io::{self, Write};

use clap::Args;
use lastseen::config;

use super::Ending;
use super::settings::{Settings, TelemetryFlags};

/// Reads the configuration and prints what is in force, each value with where it came from
///
/// Nothing is contacted and nothing is started. The output is a configuration file itself; passwords are not shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen check
  LASTSEEN_KAFKA_BROKERS=kafka:9092 lastseen check --set worker.count=4
  lastseen check --sample > lastseen.toml      every key with its default and what it means

The file comes first (--config, LASTSEEN_CONFIG, or lastseen.toml here), the environment goes over it, flags over both.
Read on: deploy/config.toml.")]
pub struct Check {
    /// Print every key with its default and its meaning instead, as a file to begin with
    #[arg(long)]
    sample: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Check {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        let mut out = io::stdout().lock();
        if self.sample {
            out.write_all(config::sample().as_bytes())?;
            return Ok(Ending::Done);
        }
        let loaded = self.settings.load(telemetry, Vec::new())?;
        if loaded.config.log == config::LogKind::Kafka {
            super::kafka::check_client(&loaded.config)?;
        }
        match self.settings.file() {
            Some(file) => writeln!(out, "# file: {}", file.display())?,
            None => writeln!(out, "# file: none ({} is not here)", config::FILE)?,
        }
        out.write_all(config::effective(&loaded).as_bytes())?;
        for note in config::notes(&loaded) {
            writeln!(out, "# note: {note}")?;
        }
        out.flush()?;
        Ok(Ending::Done)
    }
}
