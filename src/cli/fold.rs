//! `lastseen fold`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use lastseen::config;
use lastseen::fold::{self, FoldOptions, FoldSummary};

use super::input::{self, Input};
use super::settings::TelemetryFlags;
use super::{Ending, Usage, policy};

/// Folds events into verdicts: JSON Lines in, JSON Lines out; no broker, no state, no configuration
///
/// Out come status changes, alarms, the connection log and the outcome of commands, each with the reason and one plain
/// sentence, in the order in which they follow; `topic` says what a line is. A line that is no event comes out as a
/// dead letter with its number, and the fold goes on. Time is the highest observedAt so far, so the same input gives
/// the same output on every machine: deadlines fire when a later event shows that they have passed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen fold events.jsonl
  zcat 2026-01-*.gz | lastseen fold --policy policy.toml > verdicts.jsonl
  lastseen fold events.jsonl --until 2026-01-02T00:00:00Z --state | jq 'select(.topic == \"state\")'

A first event:
  {\"tenant\":\"acme\",\"deviceId\":\"pump-1\",\"observedAt\":\"2026-01-01T00:00:00Z\",
   \"connected\":{\"channel\":\"mqtt\",\"session\":{\"id\":\"s1\"}}}             (in one line)

{\"tick\":\"2026-01-01T00:10:00Z\"} moves the clock, {\"sight\":\"…\"} says that the monitor was blind until then.
Read on: README.md for a tour; tests/scenarios/ are stories to read; proto/lastseen/v1/events.proto has every field.")]
pub struct Fold {
    /// The file; none, or -, is standard input
    file: Option<PathBuf>,
    /// The policy to begin with, TOML or JSON (see `lastseen policy check`); otherwise the documented defaults
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Move the clock to this time at the end, and fire what is due by then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What moves the clock: the events' observedAt and ticks, or ticks alone
    #[arg(long, value_enum, default_value_t = FoldClock::Observed)]
    clock: FoldClock,
    /// At the end, also print the state of every device
    #[arg(long)]
    state: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum FoldClock {
    Observed,
    Ticks,
}

impl Fold {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        telemetry.start_alone()?;
        let until = self.until.as_deref().map(|text| {
            let wrong = || {
                Usage(format!("--until {text}: it must be a time of RFC 3339 such as 2026-01-01T00:00:00Z"))
            };
            config::time(text).ok_or_else(wrong)
        });
        let options = FoldOptions {
            policy: self.policy.as_deref().map(policy::read).transpose()?,
            until: until.transpose()?,
            clock: match self.clock {
                FoldClock::Observed => fold::FoldClock::Observed,
                FoldClock::Ticks => fold::FoldClock::Ticks,
            },
            state: self.state,
        };
        let stdout = io::stdout();
        let input = input::open(self.file.as_deref(), stdout.is_terminal())?;
        let (bar, name) = (input.bar(), input.name.clone());
        let summary = fold::run(&options, input, stdout.lock()).with_context(|| match &self.file {
            Some(file) if file != Path::new("-") => format!("cannot fold {}", file.display()),
            _ => "cannot fold standard input".to_owned(),
        });
        bar.finish_and_clear();
        self.tell(&summary?, &name)?;
        Ok(Ending::Done)
    }

    /// What a person wants to know afterwards, on a terminal; about dead letters always.
    fn tell(&self, summary: &FoldSummary, name: &str) -> io::Result<()> {
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let FoldSummary { lines, applied, ignored, outputs, devices, .. } = summary;
            writeln!(
                stderr,
                "{lines} lines: {applied} events applied, {ignored} ignored (old or repeated), of {devices} devices; \
                 {outputs} outputs"
            )?;
        }
        if let Some((line, message)) = &summary.first_rejected {
            let count = summary.rejected;
            let lines = if count == 1 { "line is" } else { "lines are" };
            let place = Input::place(name, *line);
            writeln!(
                stderr,
                "{count} {lines} no event and came out as dead-letter; the first is {place}: {message}"
            )?;
        } else if summary.lines == 0 {
            writeln!(stderr, "the input is empty: fold reads one JSON object a line (lastseen fold --help)")?;
        }
        Ok(())
    }
}
