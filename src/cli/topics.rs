//! `lastseen topics`.

use clap::{Args, Subcommand};

use super::Ending;
use super::settings::{Settings, TelemetryFlags};

/// Plans, creates and checks the topics on Kafka
///
/// All topics have the same number of partitions, fixed for life; inputs and journal are stamped by the brokers.
/// Existing topics are never changed: for whatever is not as it should be, the command that mends it is printed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen topics plan                    what would be created, and what is not as it should be
  lastseen topics plan --commands         the same as commands for kafka-topics.sh, for whoever owns the cluster
  lastseen topics create --brokers kafka:9092 --set topics.partitions=32
  lastseen topics check                   exit code 3 if `run` would refuse

Read on: [topics] and [retention] in deploy/config.toml; deploy/RUNBOOK.md.")]
pub struct Topics {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows what `create` would do, and what is not as it should be; changes nothing
    Plan {
        /// Print commands for kafka-topics.sh instead
        #[arg(long)]
        commands: bool,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Creates the topics that are missing
    Create {
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Compares the topics with what they must be; exit code 3 if `run` would refuse them
    Check {
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

impl Topics {
    #[cfg(not(feature = "kafka"))]
    pub fn run(&self, _: &TelemetryFlags) -> anyhow::Result<Ending> {
        anyhow::bail!("this lastseen was built without Kafka (cargo build --features kafka)")
    }

    #[cfg(feature = "kafka")]
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        with::run(&self.what, telemetry)
    }
}

#[cfg(feature = "kafka")]
mod with {
    use std::io::{self, Write};

    use lastseen::log::kafka::topics::{self, Report, Wanted};

    use super::super::kafka;
    use super::super::settings::needs_kafka;
    use super::{Ending, TelemetryFlags, What};

    pub fn run(what: &What, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        let (What::Plan { settings, .. } | What::Create { settings } | What::Check { settings }) = what;
        let loaded = settings.load(telemetry, Vec::new())?;
        needs_kafka(&loaded, "topics", "It has all its topics by itself: nothing is to be done.")?;
        let client = kafka::client(&loaded.config, "cli", 0);
        let look = || -> anyhow::Result<(Vec<Wanted>, Report)> {
            let cluster = kafka::inspect(&client)?;
            let wanted = kafka::wanted(&loaded.config, &client, cluster.brokers);
            let report = topics::plan(&client, &cluster, &wanted);
            Ok((wanted, report))
        };
        let (wanted, mut report) = look()?;
        let mut out = io::stdout().lock();
        match what {
            What::Plan { commands: true, .. } => {
                for want in &report.create {
                    writeln!(out, "{}", command(&client.brokers, want))?;
                }
                return Ok(Ending::Done);
            }
            What::Plan { .. } => {
                for want in &report.create {
                    writeln!(out, "create {}", describe(want))?;
                }
            }
            What::Create { .. } => {
                topics::create(&client, &report.create)?;
                for want in &report.create {
                    writeln!(out, "created {}", describe(want))?;
                }
                report = look()?.1;
            }
            What::Check { .. } => {
                for want in &report.create {
                    writeln!(out, "missing {}; `lastseen topics create` makes it", want.name)?;
                }
            }
        }
        for complaint in &report.complaints {
            let lead = if complaint.refuse { "wrong" } else { "advice" };
            writeln!(out, "{lead} {}", complaint.to_string().replace('\n', "\n  "))?;
        }
        if report.create.is_empty() && report.complaints.is_empty() {
            writeln!(out, "all {} topics are there and as they should be", wanted.len())?;
        }
        out.flush()?;
        Ok(match what {
            What::Plan { .. } => Ending::Done,
            _ if report.usable() => Ending::Done,
            What::Create { .. } => Ending::Failed,
            What::Check { .. } => Ending::Difference,
        })
    }

    fn describe(want: &Wanted) -> String {
        let settings: Vec<String> =
            want.settings.iter().map(|(key, (value, _))| format!("{key}={value}")).collect();
        let Wanted { name, partitions, replication, .. } = want;
        format!("{name}: {partitions} partitions, {replication} copies; {}", settings.join(" "))
    }

    fn command(brokers: &str, want: &Wanted) -> String {
        let Wanted { name, partitions, replication, .. } = want;
        let mut text = format!(
            "kafka-topics.sh --bootstrap-server {brokers} --create --topic {name} --partitions {partitions} \
             --replication-factor {replication}"
        );
        for (key, (value, _)) in &want.settings {
            text.push_str(&format!(" --config {key}={value}"));
        }
        text
    }
}
