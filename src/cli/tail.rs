//! `lastseen tail`.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lastseen::domain::effect::{InputTopic, Origin};
use lastseen::domain::time::Timestamp;
use lastseen::log::{Header, Scanned, Start, Topic};
use lastseen::render::{self, Style};
use lastseen::wire::output::{self, Output, OutputKind};
use serde_json::json;

use super::settings::{Settings, TelemetryFlags, needs_kafka};
use super::{Ending, kafka, stop_flag};

/// Shows what was decided, readable and live: one line each with the time, the device, what changed, and why
///
/// Only what is committed is shown. Joins no group and leaves nothing behind; any number may watch.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen tail
  lastseen tail --device acme/pump-1 --from beginning
  lastseen tail --topic alarms,dead-letter --json | jq .
  lastseen tail --from beginning --no-follow     all that is there, then ends

Times are UTC: when it became true, as best known. Ctrl-C ends it.
Read on: README.md, \"Consuming alarms\"; SEMANTICS says what each word means.")]
pub struct Tail {
    /// Only of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only of this device: its id, or tenant/id
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Only these topics; may be repeated or separated by commas (default: all of them)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TOPIC")]
    topic: Vec<What>,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::End)]
    from: From,
    /// End when everything that is there has been shown
    #[arg(long)]
    no_follow: bool,
    /// Print JSON Lines, as `fold` does
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum What {
    Status,
    Alarms,
    ConnectionLog,
    Audit,
    DeadLetter,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum From {
    Beginning,
    End,
}

impl What {
    fn topic(self) -> Topic {
        match self {
            What::Status => Topic::Status,
            What::Alarms => Topic::Alarms,
            What::ConnectionLog => Topic::ConnectionLog,
            What::Audit => Topic::Audit,
            What::DeadLetter => Topic::DeadLetter,
        }
    }
}

/// Records per read; also how soon a stop is noticed.
const READ_RECORDS: usize = 10_000;
const READ_WAIT: Duration = Duration::from_millis(200);

impl Tail {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        let loaded = self.settings.load(telemetry, Vec::new())?;
        let instead = "`lastseen demo` prints what it decides; `lastseen fold FILE` needs no log at all; Kafka \
                       (log = \"kafka\") can be watched by anybody.";
        needs_kafka(&loaded, "tail", instead)?;
        let chosen = if self.topic.is_empty() { What::value_variants() } else { &self.topic };
        let topics: Vec<Topic> = chosen.iter().map(|what| what.topic()).collect();
        let partitions = kafka::partitions(&loaded.config, &topics)?;
        let places = |start: Start| -> Vec<(Topic, u32, Start)> {
            topics
                .iter()
                .flat_map(|&topic| (0..partitions).map(move |partition| (topic, partition, start)))
                .collect()
        };
        let ends = self.no_follow.then(|| kafka::tail(&loaded.config, &places(Start::End))).transpose()?;
        let start = if self.from == From::Beginning { Start::Beginning } else { Start::End };
        let places = places(start);
        let mut tail = kafka::tail(&loaded.config, &places)?;
        let stop = stop_flag()?;
        let stdout = io::stdout();
        let mut printer = Printer {
            style: Style::for_terminal(stdout.is_terminal() && !self.json),
            out: io::BufWriter::new(stdout.lock()),
            day: None,
            asked: self,
        };
        while !stop.load(Ordering::SeqCst) {
            let mut written = Ok(());
            tail.read(READ_WAIT, READ_RECORDS, &mut |topic, partition, record| {
                if written.is_ok() {
                    written = printer.record(topic, partition, &record);
                }
            })?;
            written?;
            printer.out.flush()?;
            let Some(ends) = &ends else { continue };
            let through = |(topic, partition, _): &(Topic, u32, Start)| {
                tail.position(*topic, *partition) >= ends.position(*topic, *partition)
            };
            if places.iter().all(through) {
                break;
            }
        }
        Ok(Ending::Done)
    }

    fn wants(&self, tenant: &str, device_id: &str) -> bool {
        let device = |wanted: &str| match wanted.split_once('/') {
            Some(wanted) => wanted == (tenant, device_id),
            None => wanted == device_id,
        };
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
            && self.device.as_deref().is_none_or(device)
    }
}

struct Printer<'a, W: Write> {
    style: Style,
    out: W,
    /// The day of the last line, in days since the epoch: lines show the time of day only.
    day: Option<i64>,
    asked: &'a Tail,
}

impl<W: Write> Printer<'_, W> {
    fn record(&mut self, topic: Topic, partition: u32, record: &Scanned<'_>) -> io::Result<()> {
        let kind = match topic {
            Topic::Status => OutputKind::Status,
            Topic::Alarms => OutputKind::Alarms,
            Topic::ConnectionLog => OutputKind::ConnectionLog,
            Topic::Audit => OutputKind::Audit,
            _ => return self.dead_letter(record),
        };
        match output::decode(kind, record.value.unwrap_or_default()) {
            Ok(output) => self.output(partition, &output),
            // Not ours, or of a newer version: say so, and go on.
            Err(reject) => {
                tracing::warn!(%topic, partition, offset = record.offset, "a record cannot be read: {reject}");
                Ok(())
            }
        }
    }

    fn output(&mut self, partition: u32, output: &Output) -> io::Result<()> {
        if !self.asked.wants(&output.tenant, &output.device_id) {
            return Ok(());
        }
        if self.asked.json {
            let mut line = Vec::new();
            output::encode_line(&output.identity(), &output.effect, &mut line);
            line.push(b'\n');
            return self.out.write_all(&line);
        }
        let key = match output.device_id.is_empty() {
            true => String::new(),
            false => format!("{}/{}", output.tenant, output.device_id),
        };
        // What concerns all partitions stands in each of them, and is told once.
        if key.is_empty() && partition > 0 {
            return Ok(());
        }
        self.day(output.effect.at)?;
        writeln!(self.out, "{}", render::line(&key, &output.effect, self.style))
    }

    fn dead_letter(&mut self, record: &Scanned<'_>) -> io::Result<()> {
        let key = record.key.map(String::from_utf8_lossy);
        let (tenant, device_id) = key.as_deref().and_then(|key| key.split_once('/')).unwrap_or_default();
        if !self.asked.wants(tenant, device_id) {
            return Ok(());
        }
        let header = |name: &str| {
            let of_name = |(header, _): &&Header| header == name;
            record
                .headers
                .iter()
                .find(of_name)
                .map(|(_, value)| String::from_utf8_lossy(value))
                .unwrap_or_default()
        };
        let number = |name: &str| header(name).parse::<u64>().unwrap_or_default();
        let (reason, message) = (header("reason"), header("message"));
        if self.asked.json {
            let line = json!({
                "topic": "dead-letter",
                "reason": reason,
                "message": message,
                "originTopic": header("origin-topic"),
                "originPartition": number("origin-partition"),
                "originOffset": number("origin-offset"),
                "originTimestamp": header("origin-timestamp"),
                "key": key,
                "value": record.value.map(String::from_utf8_lossy),
            });
            return writeln!(self.out, "{line}");
        }
        self.day(record.timestamp)?;
        let name = header("origin-topic");
        let origin = match InputTopic::ALL.iter().find(|&&input| is_named(input, &name)) {
            Some(&topic) => Origin::Record {
                topic,
                partition: number("origin-partition") as u32,
                offset: number("origin-offset"),
            },
            None => Origin::Clock,
        };
        let key = key.as_deref().unwrap_or_default();
        let line = render::dead_letter(record.timestamp, key, origin, &reason, &message, self.style);
        writeln!(self.out, "{line}")
    }

    /// A line of its own where the day changes.
    fn day(&mut self, at: Timestamp) -> io::Result<()> {
        let Some(known) = at.known() else { return Ok(()) };
        let day = known.millis().div_euclid(86_400_000);
        if self.day.replace(day) == Some(day) {
            return Ok(());
        }
        let text = known.to_string();
        writeln!(self.out, "── {} (UTC)", text.split('T').next().unwrap_or_default())
    }
}

/// Whether a topic's real name is that of this input: the last word of it says so, whatever stands in front.
fn is_named(input: InputTopic, name: &str) -> bool {
    name.ends_with(input.word())
}
