//! `lastseen run`.

use clap::Args;

use super::settings::{Settings, TelemetryFlags, said};
use super::{Ending, stop_flag};

/// Runs the processor and the query service: consumes events, decides, publishes verdicts exactly once, answers
///
/// Stops on Ctrl-C or SIGTERM: it commits, writes a checkpoint and leaves the group. After kill -9, too, the next start
/// goes on as if nothing had happened. Any number of instances share the partitions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen topics create && lastseen run                       Kafka on 127.0.0.1:9092
  lastseen run --config /etc/lastseen/lastseen.toml
  lastseen run --log embedded --data-dir /var/lib/lastseen      no broker; the log belongs to this process
  lastseen run --role query                                    answers only; any number of them
  lastseen run --dry-run --start 2026-01-01T00:00:00Z           says what it would publish, publishes nothing

What it tells of itself goes to standard error: lines for people on a terminal, JSON otherwise.
Read on: `lastseen check` for the configuration; deploy/RUNBOOK.md when it refuses to start.")]
pub struct Run {
    /// Consume and fold, publish nothing, say what would be published; joins no group
    #[arg(long)]
    dry_run: bool,
    /// Where the first start begins: earliest, or a time like 2026-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// The name of this instance in the group, instead of the id in the data directory
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Workers of this process
    #[arg(long, value_name = "NUMBER")]
    workers: Option<String>,
    /// What this process does: all, the processor alone, or the query service alone
    #[arg(long, value_name = "ROLE", value_parser = ["all", "processor", "query"])]
    role: Option<String>,
    /// Go on although records are gone that were not read yet; the journal says which
    #[arg(long)]
    accept_loss: bool,
    /// Keep at hand what other instances own: a takeover then needs the tail only
    #[arg(long)]
    standby: bool,
    /// Accept input topics whose records are stamped by their producers
    #[arg(long)]
    allow_create_time: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Run {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        let on = |flag: bool| flag.then(|| "true".to_owned());
        let flags = [
            ("dry_run", "--dry-run", on(self.dry_run)),
            ("role", "--role", self.role.clone()),
            ("start", "--start", self.start.clone()),
            ("kafka.instance", "--instance", self.instance.clone()),
            ("worker.count", "--workers", self.workers.clone()),
            ("accept_loss", "--accept-loss", on(self.accept_loss)),
            ("standby", "--standby", on(self.standby)),
            ("clock.allow_create_time", "--allow-create-time", on(self.allow_create_time)),
        ];
        let flags = flags.into_iter().filter_map(|(key, flag, value)| Some(said(key, flag, value?)));
        let loaded = self.settings.load(telemetry, flags.collect())?;
        let stop = stop_flag()?;
        start(&loaded.config, &stop)?;
        Ok(Ending::Done)
    }
}

#[cfg(feature = "rocksdb")]
use super::wiring::run as start;

#[cfg(not(feature = "rocksdb"))]
fn start(_: &lastseen::config::Config, _: &std::sync::atomic::AtomicBool) -> anyhow::Result<()> {
    anyhow::bail!("this lastseen was built without its store (cargo build --features rocksdb)")
}
