//! `lastseen send`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use lastseen::clock::Clock;
use lastseen::config::Config;
use lastseen::domain::effect::InputTopic;
use lastseen::domain::event::{Body, Event, Subject};
use lastseen::domain::time::Timestamp;
use lastseen::log::{Append, OutRecord, Topic};
use lastseen::wire::decode::{self, Limits, Line, Scratch};
use lastseen::wire::reject::{Reason, Reject};
use lastseen::wire::{encode, partition};

use super::input::{self, Found, Input, Lines};
use super::settings::{Settings, TelemetryFlags, needs_kafka};
use super::{Ending, kafka};

/// Sends events, one JSON object a line, to the input topics: right topic, right key, right partition
///
/// Each line is checked as the processor will check it. A bad one is reported with its number and left out, the others
/// are sent, and the exit code is 1. Events of nodes and policies go to every partition. Lines that are ticks or
/// sights, which `fold` knows, are passed over: the log has its own clock.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo '{\"tenant\":\"acme\",\"deviceId\":\"pump-1\",\"activity\":{\"kind\":\"mqtt_publish\"}}' | lastseen send
  lastseen send events.jsonl --format protobuf --brokers kafka:9092
  lastseen send events.jsonl --dry-run          shows where each event would go

connected, disconnected and connectFailed go to topics.connections, activity to topics.activity, all others to
topics.control. Events without observedAt count as observed when the broker takes them.
Read on: README.md, \"Connecting an upstream pipeline\"; proto/lastseen/v1/events.proto has every field.")]
pub struct Send {
    /// The file; none, or -, is standard input
    file: Option<PathBuf>,
    /// How the events are written to the topics
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Say where each event would go, send nothing; needs no broker
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    Json,
    Protobuf,
}

/// Records and bytes that are written in one go at most.
const BATCH_RECORDS: usize = 2_000;
const BATCH_BYTES: usize = 4 << 20;
/// So many bad lines are told one by one; the others are counted.
const TOLD_MAX: u64 = 100;

impl Send {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        let loaded = self.settings.load(telemetry, Vec::new())?;
        let config = &loaded.config;
        let target: Target = if self.dry_run {
            Target::Show(Box::new(io::BufWriter::new(io::stdout())))
        } else {
            let instead = "To fold a file without a broker: `lastseen fold FILE`. To send, use Kafka (log = \"kafka\").";
            needs_kafka(&loaded, "send", instead)?;
            Target::Log(kafka::appender(config)?)
        };
        let partitions =
            if self.dry_run { config.partitions } else { kafka::partitions(config, &kafka::inputs())? };
        let input = input::open(self.file.as_deref(), self.dry_run)?;
        let bar = input.bar();
        let sender = Sender {
            config,
            format: self.format,
            partitions,
            target,
            ..Sender::new(config, input.name.clone())
        };
        let counts = sender.send(input)?;
        bar.finish_and_clear();
        counts.tell(self.dry_run)?;
        Ok(if counts.bad > 0 { Ending::Failed } else { Ending::Done })
    }
}

enum Target {
    Log(Box<dyn Append>),
    Show(Box<dyn Write>),
}

#[derive(Default)]
struct Counts {
    events: u64,
    records: u64,
    bad: u64,
    skipped: u64,
}

impl Counts {
    fn tell(&self, dry_run: bool) -> io::Result<()> {
        let many =
            |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
        let verb = if dry_run { "would send" } else { "sent" };
        let mut text = format!("{verb} {}", many(self.events, "event", "events"));
        if self.records != self.events {
            text.push_str(&format!(" as {}", many(self.records, "record", "records")));
        }
        if self.skipped > 0 {
            text.push_str(&format!(
                "; passed over {}",
                many(self.skipped, "tick or sight", "ticks and sights")
            ));
        }
        if self.bad > 0 {
            text.push_str(&format!("; left out {}", many(self.bad, "bad line", "bad lines")));
        }
        writeln!(io::stderr(), "{text}")
    }
}

struct Sender<'c> {
    config: &'c Config,
    name: String,
    format: Format,
    partitions: u32,
    target: Target,
    clock: Clock,
    batch: Vec<OutRecord>,
    bytes: usize,
    /// The line of the last record that was acknowledged.
    written_to: u64,
    counts: Counts,
}

impl<'c> Sender<'c> {
    fn new(config: &'c Config, name: String) -> Sender<'c> {
        Sender {
            config,
            name,
            format: Format::Json,
            partitions: 1,
            target: Target::Show(Box::new(io::sink())),
            clock: Clock::host(),
            batch: Vec::new(),
            bytes: 0,
            written_to: 0,
            counts: Counts::default(),
        }
    }

    fn send(mut self, input: Input) -> anyhow::Result<Counts> {
        let bar = input.bar();
        let limits = Limits { bytes_max: self.config.record_bytes };
        let mut lines = Lines::new(input, limits.bytes_max);
        let (mut line, mut scratch) = (Vec::new(), Scratch::new());
        loop {
            if !lines.at_hand() {
                // Whoever feeds us slowly expects what was said to be sent.
                self.flush(lines.number)?;
            }
            let found = lines.next(&mut line).with_context(|| format!("cannot read {}", self.name))?;
            let outcome = match found {
                None => break,
                Some(Found::TooLong(bytes)) => {
                    let message = format!(
                        "{bytes} bytes; at most {} are taken (limits.record_bytes)",
                        limits.bytes_max
                    );
                    Err(Reject::new(Reason::Oversize, message))
                }
                Some(Found::Line) if line.iter().all(u8::is_ascii_whitespace) => continue,
                Some(Found::Line) => {
                    scratch.clear();
                    decode::decode_line(&line, &scratch, &limits).map(|said| match said {
                        Line::Event(event) => self.event(&event, &line),
                        Line::Tick(_) | Line::Sight(_) => self.counts.skipped += 1,
                    })
                }
            };
            if let Err(reject) = outcome {
                self.counts.bad += 1;
                if self.counts.bad <= TOLD_MAX {
                    let place = Input::place(&self.name, lines.number);
                    bar.suspend(|| writeln!(io::stderr(), "{place}: {}: {}", reject.reason, reject.message))?;
                } else if self.counts.bad == TOLD_MAX + 1 {
                    bar.suspend(|| writeln!(io::stderr(), "further bad lines are only counted"))?;
                }
            }
            if self.batch.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
                self.flush(lines.number)?;
            }
        }
        self.flush(lines.number)?;
        Ok(self.counts)
    }

    fn event(&mut self, event: &Event<'_>, line: &[u8]) {
        let value = match self.format {
            Format::Json => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii().to_vec(),
            Format::Protobuf => encode::encode_event(event),
        };
        let content_type = match self.format {
            Format::Json => encode::JSON,
            Format::Protobuf => encode::PROTOBUF,
        };
        let records = records(event, &value, content_type, self.partitions, self.clock.now());
        self.counts.events += 1;
        for record in records {
            self.bytes += record.value.as_ref().map_or(0, Vec::len) + 128;
            self.batch.push(record);
        }
    }

    /// Writes what has gathered; `line` is the last one of it.
    fn flush(&mut self, line: u64) -> anyhow::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        match &mut self.target {
            Target::Log(log) => {
                log.append(&self.batch).with_context(|| {
                    let first = self.written_to + 1;
                    format!(
                        "of lines {first} to {line} some may not have been sent; all before them were. To go on: \
                         tail -n +{first} FILE | lastseen send (an event that arrives twice counts once)"
                    )
                })?;
            }
            Target::Show(out) => {
                for record in &self.batch {
                    show(out, self.config, record)?;
                }
                out.flush()?;
            }
        }
        self.counts.records += self.batch.len() as u64;
        self.written_to = line;
        self.batch.clear();
        self.bytes = 0;
        Ok(())
    }
}

fn show(out: &mut dyn Write, config: &Config, record: &OutRecord) -> io::Result<()> {
    let key = record.key.as_deref().map_or("(no key)".into(), String::from_utf8_lossy);
    let bytes = record.value.as_ref().map_or(0, Vec::len);
    writeln!(out, "{} partition {}  {key}  {bytes} bytes", config.topic(record.topic), record.partition)
}

/// The topic that an event goes to by convention.
fn topic(event: &Event<'_>) -> InputTopic {
    match &event.subject {
        Subject::Device { body, .. } => match body {
            Body::Connected(_) | Body::Disconnected(_) | Body::ConnectFailed(_) => InputTopic::Connections,
            Body::Activity(_) => InputTopic::Activity,
            _ => InputTopic::Control,
        },
        Subject::Node(_) | Subject::Policy(_) => InputTopic::Control,
    }
}

/// The records that carry an event: one, or one a partition for what concerns all devices.
pub fn records(
    event: &Event<'_>,
    value: &[u8],
    content_type: &str,
    partitions: u32,
    timestamp: Timestamp,
) -> Vec<OutRecord> {
    let record = |partition: u32, key: Option<&str>| OutRecord {
        topic: Topic::Input(topic(event)),
        partition,
        timestamp,
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(value.to_vec()),
        headers: vec![("content-type".to_owned(), content_type.as_bytes().to_vec())],
    };
    match encode::record_key(event) {
        Some(key) => vec![record(partition::of(key.as_bytes(), partitions), Some(key))],
        None => (0..partitions).map(|partition| record(partition, None)).collect(),
    }
}
