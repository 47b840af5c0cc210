//! Flags that configure, and the configuration as file, environment and flags make it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use lastseen::config::layers::{self, Origin, Raw, Said};
use lastseen::config::{self, Loaded, LogKind};
use lastseen::telemetry;

use super::Usage;

/// What Lastseen tells of itself; of every command.
#[derive(Debug, Args)]
pub struct TelemetryFlags {
    /// How much to tell on standard error: error, warn, info, debug, trace, or directives of tracing
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Telemetry")]
    log_level: Option<String>,
    /// How to tell it: auto is human on a terminal and JSON otherwise
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["auto", "human", "json"], help_heading = "Telemetry")]
    log_format: Option<String>,
}

impl TelemetryFlags {
    fn said(&self) -> Vec<Said> {
        let flags = [
            ("telemetry.level", "--log-level", &self.log_level),
            ("telemetry.format", "--log-format", &self.log_format),
        ];
        flags.into_iter().filter_map(|(key, flag, value)| Some(said(key, flag, value.clone()?))).collect()
    }

    /// Sets tracing up for a command without a configuration: by flags and environment alone.
    pub fn start_alone(&self) -> anyhow::Result<()> {
        let ours = |(name, _): &(String, String)| name.starts_with("LASTSEEN_TELEMETRY_");
        let mut problems = Vec::new();
        let mut said = layers::environment(variables().filter(ours), &mut problems);
        said.extend(self.said());
        let config = config::load(said, problems)?.config;
        telemetry::start(&config.telemetry_level, config.telemetry_format);
        Ok(())
    }
}

/// Of every command that works on a log.
#[derive(Debug, Default, Args)]
pub struct Settings {
    /// The configuration file (default: lastseen.toml in the working directory, if it is there)
    #[arg(short, long, value_name = "FILE", help_heading = "Configuration")]
    config: Option<PathBuf>,
    /// Set any key of the configuration, as in --set worker.commit_interval_ms=50; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Configuration")]
    set: Vec<String>,
    /// Kafka's brokers, host:port,…
    #[arg(long, value_name = "BROKERS", help_heading = "Configuration")]
    brokers: Option<String>,
    /// Which log: kafka, or embedded, which needs no broker and belongs to one process
    #[arg(long, value_name = "LOG", value_parser = ["kafka", "embedded"], help_heading = "Configuration")]
    log: Option<String>,
    /// The state directory
    #[arg(long, value_name = "DIR", help_heading = "Configuration")]
    data_dir: Option<String>,
}

/// A value that a flag gives a key.
pub fn said(key: &str, flag: &str, value: String) -> Said {
    Said { name: key.to_owned(), raw: Raw::Words(value), origin: Origin::Flag(flag.to_owned()) }
}

/// Variables that are text; one that is not can be none of ours.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Settings {
    /// Reads the configuration and sets tracing up as it says. `more` are the flags of one command.
    pub fn load(&self, telemetry: &TelemetryFlags, more: Vec<Said>) -> anyhow::Result<Loaded> {
        let loaded = self.read(telemetry, more)?;
        telemetry::start(&loaded.config.telemetry_level, loaded.config.telemetry_format);
        Ok(loaded)
    }

    fn read(&self, telemetry: &TelemetryFlags, more: Vec<Said>) -> anyhow::Result<Loaded> {
        let mut problems = Vec::new();
        let mut all = Vec::new();
        if let Some(file) = self.file() {
            let text = std::fs::read_to_string(&file).map_err(|error| {
                Usage(format!("cannot read the configuration {}: {error}", file.display()))
            })?;
            match layers::file(&file.display().to_string(), &text) {
                Ok(said) => all.extend(said),
                Err(problem) => problems.push(problem),
            }
        }
        all.extend(layers::environment(variables(), &mut problems));
        let flags = [("log", "--log", &self.log), ("kafka.brokers", "--brokers", &self.brokers)];
        let flags = flags.into_iter().chain([("data_dir", "--data-dir", &self.data_dir)]);
        all.extend(flags.filter_map(|(key, flag, value)| Some(said(key, flag, value.clone()?))));
        all.extend(telemetry.said());
        all.extend(more);
        for assignment in &self.set {
            match layers::assignment(assignment) {
                Ok(said) => all.push(said),
                Err(problem) => problems.push(problem),
            }
        }
        Ok(config::load(all, problems)?)
    }

    /// The file: named, or the one in the working directory.
    pub fn file(&self) -> Option<PathBuf> {
        let named = || std::env::var_os("LASTSEEN_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
        let here = || Some(PathBuf::from(config::FILE)).filter(|file| file.exists());
        self.config.clone().or_else(named).or_else(here)
    }
}

/// Refuses the embedded log for a command that would need it from outside.
pub fn needs_kafka(loaded: &Loaded, command: &str, instead: &str) -> anyhow::Result<()> {
    if loaded.config.log == LogKind::Kafka {
        return Ok(());
    }
    let (_, setting) = loaded.settings.iter().find(|(key, _)| key.name == "log").context("no key log")?;
    let message = format!(
        "`{command}` cannot reach the embedded log (log = \"embedded\", {}): it belongs to the one process that has it \
         open. {instead}",
        setting.origin
    );
    Err(Usage(message).into())
}
