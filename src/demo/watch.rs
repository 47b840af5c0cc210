//! What the demo prints: a choice of the most telling lines, a running summary, or everything as JSON.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::json;

use super::live::{DemoError, DemoOptions, in_host_time};
use crate::clock::Clock;
use crate::domain::effect::{InputTopic, Origin};
use crate::domain::time::Timestamp;
use crate::log::embedded::{EmbeddedLog, EmbeddedTail};
use crate::log::{Header, LogError, Scanned, Start, Tail, Topic};
use crate::render::{self, Interest, Style, Summary};
use crate::wire::output::{self, OutputKind};
use crate::wire::pb;

/// A choice of lines is made once in this while.
const WINDOW: Duration = Duration::from_millis(500);
/// More lines than this in a window, and nobody can follow.
const LINES_PER_WINDOW: usize = 4;
/// Records that are read at a time.
const READ_LIMIT: usize = 1000;

const FOLLOWED: [(Topic, Option<OutputKind>); 6] = [
    (Topic::Status, Some(OutputKind::Status)),
    (Topic::Alarms, Some(OutputKind::Alarms)),
    (Topic::ConnectionLog, Some(OutputKind::ConnectionLog)),
    (Topic::Audit, Some(OutputKind::Audit)),
    (Topic::DeadLetter, None),
    (Topic::Journal, None),
];

/// Follows the outputs and prints them.
pub(super) struct Watch {
    tail: EmbeddedTail,
    clock: Clock,
    devices: usize,
    speed: f64,
    seed: u64,
    json: bool,
    style: Style,
    summary: Summary,
    choice: Choice,
    window: Instant,
    /// Outputs of an earlier run are being counted; they were printed then.
    catching_up: bool,
    left_out: u64,
}

/// Why the watch ended: the log failed, or the output did.
#[derive(Debug)]
pub(super) enum Ended {
    Log(LogError),
    Output(io::Error),
}

impl From<LogError> for Ended {
    fn from(error: LogError) -> Ended {
        Ended::Log(error)
    }
}
impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Output(error)
    }
}

impl Watch {
    pub(super) fn new(log: &EmbeddedLog, clock: Clock, options: &DemoOptions, style: Style) -> Watch {
        let places: Vec<_> = FOLLOWED
            .iter()
            .flat_map(|(topic, _)| {
                (0..log.partitions()).map(|partition| (*topic, partition, Start::Beginning))
            })
            .collect();
        Watch {
            tail: log.tail(&places),
            clock,
            devices: options.devices,
            speed: options.speed,
            seed: options.seed,
            json: options.json,
            style,
            summary: Summary::default(),
            choice: Choice::default(),
            window: Instant::now(),
            catching_up: false,
            left_out: 0,
        }
    }

    /// What the end of the watch means for the demo; a reader who went away is no failure.
    pub(super) fn outcome(&self, ended: Result<(), Ended>) -> Option<Result<(), DemoError>> {
        match ended {
            Ok(()) => None,
            Err(Ended::Log(error)) => Some(Err(error.into())),
            Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Some(Ok(())),
            Err(Ended::Output(error)) => Some(Err(DemoError::io("printing", error))),
        }
    }

    pub(super) fn greet(&self, dir: &Path, out: &mut dyn Write) -> Result<(), Ended> {
        if self.json {
            return Ok(());
        }
        let Watch { devices, speed, seed, .. } = self;
        writeln!(out, "Lastseen, with a simulated fleet of {devices} devices (seed {seed}).")?;
        writeln!(
            out,
            "Times are simulated and pass {speed} times as fast as yours. Log and state: {}",
            dir.display()
        )?;
        writeln!(
            out,
            "● status  ▲ alarm  ↑ ↓ ⇄ ↯ sessions  ✎ audit  ✗ dead letter; then why. Ctrl-C ends it.\n"
        )?;
        Ok(out.flush()?)
    }

    /// Says where the query service answers, and with which token.
    #[cfg(feature = "http")]
    pub(super) fn tell_address(
        &self,
        address: std::net::SocketAddr,
        secret: &str,
        out: &mut dyn Write,
    ) -> Result<(), Ended> {
        if self.json {
            return Ok(());
        }
        writeln!(out, "Look at it with a browser: http://demo:{secret}@{address}/")?;
        writeln!(out, "Ask it: http://{address}, token {secret}")?;
        writeln!(
            out,
            "  curl -H 'Authorization: Bearer {secret}' 'http://{address}/v1/tenants/acme/devices?limit=3'\n"
        )?;
        Ok(out.flush()?)
    }

    /// Counts what an earlier run left, without printing it.
    pub(super) fn catch_up(&mut self) -> Result<(), Ended> {
        self.catching_up = true;
        while self.take(Duration::ZERO, &mut io::sink())? > 0 {}
        self.catching_up = false;
        // Of this run, the summary tells only what it did itself; devices and alarms go on.
        self.summary.begin_counting();
        Ok(())
    }

    /// Waits for outputs for at most about `wait` and prints those worth it.
    pub(super) fn read(&mut self, wait: Duration, out: &mut dyn Write) -> Result<(), Ended> {
        self.take(wait, out)?;
        if self.window.elapsed() >= WINDOW {
            self.print_chosen(out)?;
        }
        Ok(())
    }

    /// Prints all that is there.
    pub(super) fn finish(&mut self, out: &mut dyn Write) -> Result<(), Ended> {
        while self.take(Duration::ZERO, out)? > 0 {}
        self.print_chosen(out)
    }

    fn print_chosen(&mut self, out: &mut dyn Write) -> Result<(), Ended> {
        self.window = Instant::now();
        let (lines, left_out) = self.choice.choose(LINES_PER_WINDOW);
        self.left_out += left_out as u64;
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(out.flush()?)
    }

    fn take(&mut self, wait: Duration, out: &mut dyn Write) -> Result<usize, Ended> {
        let Watch { tail, summary, choice, style, json, catching_up, .. } = self;
        let mut written = Ok(());
        let count = tail.read(wait, READ_LIMIT, &mut |topic, partition, record| {
            let kind = FOLLOWED.iter().find(|(followed, _)| *followed == topic).and_then(|(_, kind)| *kind);
            let printed = !*catching_up;
            match (topic, kind, record.value) {
                (_, Some(kind), Some(value)) => {
                    let Ok(output) = output::decode(kind, value) else { return };
                    let key = match output.device_id.is_empty() {
                        true => String::new(),
                        false => format!("{}/{}", output.tenant, output.device_id),
                    };
                    summary.observe(&key, &output.effect);
                    if *json && printed {
                        let mut line = Vec::new();
                        output::encode_line(&output.identity(), &output.effect, &mut line);
                        line.push(b'\n');
                        written = std::mem::replace(&mut written, Ok(())).and_then(|()| out.write_all(&line));
                    } else if printed && !(key.is_empty() && partition > 0) {
                        // What concerns every partition is told once.
                        let interest = render::interest(&output.effect);
                        let story = (kind.word(), output.effect.cause.rule.word());
                        choice.add(interest, story, render::line(&key, &output.effect, *style));
                    }
                }
                (Topic::Journal, _, Some(value)) => {
                    let Ok(entry) = pb::JournalEntry::decode(value) else { return };
                    let events = entry.ranges.iter().map(|range| range.count).sum();
                    summary.observe_journal(partition, Timestamp::from_millis(entry.clock_ms), events);
                }
                (Topic::DeadLetter, ..) => {
                    summary.observe_dead_letter();
                    if *json && printed {
                        let line = format!("{}\n", dead_letter_json(&record));
                        written = std::mem::replace(&mut written, Ok(()))
                            .and_then(|()| out.write_all(line.as_bytes()));
                    } else if printed {
                        choice.add(Interest::Tricky, ("dead-letter", ""), dead_letter_line(&record, *style));
                    }
                }
                _ => {}
            }
        })?;
        written?;
        Ok(count)
    }

    pub(super) fn summarize(&mut self, out: &mut dyn Write) -> Result<(), Ended> {
        if self.json {
            return Ok(());
        }
        self.print_chosen(out)?;
        let now = self.clock.now();
        let lag = self.summary.lag(now).map(|lag| in_host_time(lag, self.speed));
        write!(out, "{}", self.summary.line(now, lag, self.style))?;
        if self.left_out > 0 {
            write!(out, " │ {} quieter lines left out", std::mem::take(&mut self.left_out))?;
        }
        writeln!(out)?;
        Ok(out.flush()?)
    }

    /// The last words: what it came to, and how to go on.
    pub(super) fn say_goodbye(
        &mut self,
        data_dir: Option<&Path>,
        ran: Duration,
        out: &mut dyn Write,
    ) -> Result<(), Ended> {
        if self.json {
            return Ok(());
        }
        let summary = &self.summary;
        writeln!(out, "\nStopped cleanly after {} s: everything is committed.", ran.as_secs())?;
        writeln!(out, "  {} devices:", summary.devices())?;
        for (label, count) in summary.by_label() {
            writeln!(out, "    {count:>6}  {label}")?;
        }
        writeln!(
            out,
            "  {} events folded into {} outputs; {} records refused, each with its reason",
            summary.events, summary.outputs, summary.dead_letters
        )?;
        writeln!(
            out,
            "  {} alarms raised, {} verdicts retracted by data that had been held up, {} alarms open",
            summary.raised,
            summary.retracted,
            summary.open_alarms()
        )?;
        writeln!(out, "\nHow to go on:")?;
        match data_dir {
            Some(dir) => {
                writeln!(
                    out,
                    "  lastseen demo --data-dir {}   goes on where this one stopped",
                    dir.display()
                )?;
            }
            None => writeln!(
                out,
                "  lastseen demo --data-dir DIR   keeps log and state, and goes on where it stopped"
            )?,
        }
        writeln!(out, "  lastseen demo --json           every output as a line of JSON")?;
        writeln!(out, "  lastseen fold events.jsonl     your own events, from a file: no broker, no state")?;
        writeln!(out, "  lastseen run --help            the processor, on Kafka or on its own log")?;
        Ok(out.flush()?)
    }
}

fn header<'h>(headers: &'h [Header], name: &str) -> &'h str {
    let value = headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice());
    value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
}

fn dead_letter_line(record: &Scanned<'_>, style: Style) -> String {
    let said = |name| header(record.headers, name);
    let topic =
        InputTopic::ALL.iter().find(|input| Topic::Input(**input).default_name() == said("origin-topic"));
    let place = (topic, said("origin-partition").parse(), said("origin-offset").parse());
    let origin = match place {
        (Some(topic), Ok(partition), Ok(offset)) => Origin::Record { topic: *topic, partition, offset },
        _ => Origin::Clock,
    };
    let key = String::from_utf8_lossy(record.key.unwrap_or_default());
    render::dead_letter(record.timestamp, &key, origin, said("reason"), said("message"), style)
}

/// Like `fold`'s lines, it begins with its topic.
fn dead_letter_json(record: &Scanned<'_>) -> String {
    let said = |name| header(record.headers, name);
    let origin = json!({
        "topic": said("origin-topic"),
        "partition": said("origin-partition").parse::<u32>().ok(),
        "offset": said("origin-offset").parse::<u64>().ok(),
    });
    let (reason, message) = (json!(said("reason")), json!(said("message")));
    format!(r#"{{"topic":"dead-letter","reason":{reason},"message":{message},"origin":{origin}}}"#)
}

/// What a line tells of: the kind of output and the rule that decided.
type Story = (&'static str, &'static str);

/// Picks the lines that tell most; what has been told often lately tells less.
#[derive(Default)]
struct Choice {
    candidates: Vec<(Interest, Story, String)>,
    told: HashMap<Story, f64>,
}

impl Choice {
    fn add(&mut self, interest: Interest, story: Story, line: String) {
        self.candidates.push((interest, story, line));
    }

    /// At most `limit` lines, in the order in which they came, and how many others there were.
    fn choose(&mut self, limit: usize) -> (Vec<String>, usize) {
        let mut candidates: Vec<Option<_>> = self.candidates.drain(..).map(Some).collect();
        let mut chosen: Vec<(usize, String)> = Vec::new();
        while chosen.len() < limit {
            let mut best: Option<(f64, usize)> = None;
            for (index, candidate) in candidates.iter().enumerate() {
                let Some((interest, story, _)) = candidate else { continue };
                let score =
                    f64::from(*interest as u8) * 1.5 - self.told.get(story).copied().unwrap_or_default();
                if best.is_none_or(|(highest, _)| score > highest) {
                    best = Some((score, index));
                }
            }
            let Some((index, (_, story, line))) =
                best.and_then(|(_, index)| Some((index, candidates[index].take()?)))
            else {
                break;
            };
            *self.told.entry(story).or_default() += 1.0;
            chosen.push((index, line));
        }
        self.told.values_mut().for_each(|times| *times *= 0.8);
        chosen.sort_unstable_by_key(|(index, _)| *index);
        (chosen.into_iter().map(|(_, line)| line).collect(), candidates.iter().flatten().count())
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
