//! `lastseen policy`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use lastseen::clock::Clock;
use lastseen::domain::event::{Event, Subject};
use lastseen::domain::policy::Policy as Document;
use lastseen::log::{Start, Topic};
use lastseen::wire::row::{self, Row};
use lastseen::wire::{encode, policy};

use super::settings::{Settings, TelemetryFlags, needs_kafka};
use super::{Ending, Usage, kafka, send};

/// Shows the policy in force, checks a file, or sends one
///
/// The policy is the one document of settings that judge: required intervals by tenant, type and labels, alarm rules,
/// grace, time-outs. It is an event like any other: it takes effect at its place in the order and is in the audit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen policy check policy.toml       prints what it says, every key, as one line of JSON
  lastseen policy send policy.toml        to every partition; a whole policy, not a change of the last one
  lastseen policy show

A policy in TOML (all keys are optional; --help of check lists them):
  grace_seconds = 30
  [[required_intervals]]
  device_type = \"pump\"
  labels = { site = \"berlin\" }
  minutes = 5
  [[alarms]]
  type_prefix = \"c8y_Unavailability\"
  severity = \"CRITICAL\"

Read on: README.md, \"Policy\".")]
pub struct Policy {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Prints the policy in force, as one line of JSON, from the rows of partition 0 on topics.state
    Show {
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Checks a file and prints what it says: the canonical JSON form, every key, in one line
    #[command(after_help = keys_help())]
    Check {
        /// The file, TOML or JSON; - is standard input
        file: PathBuf,
    },
    /// Checks a file and sends it to every partition of topics.control
    ///
    /// It replaces the whole policy: a key that it leaves out is at its default. Keep its file under version control.
    Send {
        /// The file, TOML or JSON; - is standard input
        file: PathBuf,
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

fn keys_help() -> String {
    let keys = policy::toml_keys().join(", ");
    let wrapped = keys.split(", ").fold((String::new(), 0), |(text, column), key| {
        let wraps = column + key.len() > 90;
        let lead = if text.is_empty() {
            "  "
        } else if wraps {
            ",\n  "
        } else {
            ", "
        };
        (format!("{text}{lead}{key}"), if wraps { key.len() } else { column + key.len() + 2 })
    });
    format!("Keys in TOML; in JSON they are lowerCamelCase:\n{}", wrapped.0)
}

/// Reads a policy: JSON if it begins like JSON, otherwise TOML.
pub fn read(file: &Path) -> anyhow::Result<Document> {
    let mut bytes = Vec::new();
    let name = file.display();
    let outcome = match file == Path::new("-") {
        true => io::stdin().read_to_end(&mut bytes).map(drop),
        false => std::fs::read(file).map(|read| bytes = read),
    };
    outcome.map_err(|error| Usage(format!("cannot read the policy {name}: {error}")))?;
    let is_json = bytes.trim_ascii_start().first() == Some(&b'{');
    let read = if is_json {
        policy::from_json(&bytes)
    } else {
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Usage(format!("the policy {name} is no text of UTF-8")))?;
        policy::from_toml(text)
    };
    let format = if is_json { "JSON" } else { "TOML" };
    Ok(read.map_err(|reject| Usage(format!("the policy {name} (read as {format}) is refused: {reject}")))?)
}

fn print(document: &Document) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&policy::to_json(document))?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

impl Policy {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        match &self.what {
            What::Show { settings } => show(settings, telemetry)?,
            What::Check { file } => {
                telemetry.start_alone()?;
                print(&read(file)?)?;
            }
            What::Send { file, settings } => dispatch(file, settings, telemetry)?,
        }
        Ok(Ending::Done)
    }
}

fn dispatch(file: &Path, settings: &Settings, telemetry: &TelemetryFlags) -> anyhow::Result<()> {
    let document = read(file)?;
    let loaded = settings.load(telemetry, Vec::new())?;
    needs_kafka(&loaded, "policy send", "Give `fold` the file by --policy, or use Kafka (log = \"kafka\").")?;
    let partitions = kafka::partitions(&loaded.config, &kafka::inputs())?;
    let event = Event { observed_at: None, event_id: None, subject: Subject::Policy(Box::new(document)) };
    let value = encode::encode_event_json(&event);
    let records = send::records(&event, &value, encode::JSON, partitions, Clock::host().now());
    kafka::appender(&loaded.config)?.append(&records).with_context(|| {
        "the policy may stand in some partitions only; send it again until it is through: twice does no harm"
    })?;
    writeln!(
        io::stderr(),
        "sent to {partitions} partitions; `lastseen tail --topic audit` shows when it takes effect"
    )?;
    Ok(())
}

fn show(settings: &Settings, telemetry: &TelemetryFlags) -> anyhow::Result<()> {
    let loaded = settings.load(telemetry, Vec::new())?;
    let instead = "Its policy is in the audit of the process that has it; Kafka (log = \"kafka\") can be asked any time.";
    needs_kafka(&loaded, "policy show", instead)?;
    let config = &loaded.config;
    kafka::partitions(config, &[Topic::State])?;
    let end = kafka::tail(config, &[(Topic::State, 0, Start::End)])?.position(Topic::State, 0);
    let mut tail = kafka::tail(config, &[(Topic::State, 0, Start::Beginning)])?;
    let mut found = None;
    while tail.position(Topic::State, 0) < end {
        let mut corrupt = None;
        tail.read(
            Duration::from_secs(1),
            10_000,
            &mut |_, _, record| match of_row(record.key, record.value) {
                Ok(Some(policy)) => found = Some(policy),
                Ok(None) => {}
                Err(error) => corrupt = Some(error),
            },
        )?;
        if let Some(error) = corrupt {
            return Err(error);
        }
    }
    if found.is_none() {
        writeln!(io::stderr(), "no policy was ever sent: these are the defaults")?;
    }
    print(&found.unwrap_or_default())
}

/// The policy that a record of topics.state holds, if it is the policy's row.
fn of_row(key: Option<&[u8]>, value: Option<&[u8]>) -> anyhow::Result<Option<Document>> {
    let (Some(key), Some(value)) = (key, value) else { return Ok(None) };
    if key != row::key::POLICY.as_bytes() {
        return Ok(None);
    }
    match row::decode_row(value).context("the policy's row on topics.state cannot be read")? {
        (_, Row::Policy(row)) => Ok(Some(row.policy)),
        _ => anyhow::bail!("the policy's row on topics.state holds something else"),
    }
}
