//! A difference in words: what was expected, what was found, the entry, and what the device did last.

use std::fmt::Write;
use std::ops::ControlFlow;

use lastseen::domain::effect::InputTopic;
use lastseen::engine::journal::output_number;
use lastseen::engine::step::Settings;
use lastseen::log::{Archive, LogError, Topic};
use lastseen::replay::{Difference, Shown};
use lastseen::wire::decode::{Limits, RawRecord, Scratch, content_type, decode};
use lastseen::wire::encode::encode_event_json;
use lastseen::wire::output::{self, OutputKind};
use lastseen::wire::pb::JournalEntry;

/// So many of the device's last events are shown.
const EVENTS: usize = 5;
/// Events are looked for in so many offsets at once, at most so often.
const WINDOW: u64 = 20_000;
const WINDOWS: usize = 50;

pub fn words(found: &Difference, archive: &mut dyn Archive, settings: &Settings) -> Result<String, LogError> {
    let mut text = String::new();
    let place = match found.seq {
        0 => "after the last entry".to_owned(),
        seq => format!("at entry {seq} (clock {})", found.clock),
    };
    // Writing to a text does not fail.
    let _ = writeln!(text, "DIFFERENCE in partition {} {place}, check: {}", found.partition, found.check);
    let _ = writeln!(text, "  {}", found.what);
    for (word, shown) in [("expected", &found.expected), ("found   ", &found.found)] {
        match (shown, found.topic) {
            (Some(shown), Some(topic)) => record(&mut text, word, topic, shown),
            (None, Some(Topic::Input(_))) | (_, None) => {}
            (None, _) => {
                let _ = writeln!(text, "  {word}: nothing");
            }
        }
    }
    if let Some(entry) = &found.entry {
        self::entry(&mut text, entry);
        if let Some(device) = found.device() {
            let _ = writeln!(text, "  the last events of {device} up to there:");
            for line in events(archive, found.partition, device, entry, settings)? {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    Ok(text)
}

fn record(text: &mut String, word: &str, topic: Topic, shown: &Shown) {
    let key = String::from_utf8_lossy(shown.key.as_deref().unwrap_or_default()).into_owned();
    let offset = shown.offset.map(|offset| format!(" offset {offset}")).unwrap_or_default();
    let headers: Vec<String> = shown
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
        .collect();
    let _ = writeln!(
        text,
        "  {word}: {topic}{offset} key {key:?} time {} headers [{}]",
        shown.timestamp,
        headers.join(", ")
    );
    let _ = writeln!(text, "            {}", payload(topic, shown.value.as_deref()));
}

fn payload(topic: Topic, value: Option<&[u8]>) -> String {
    let Some(value) = value else { return "no payload".to_owned() };
    let kind = match topic {
        Topic::Status => Some(OutputKind::Status),
        Topic::Alarms => Some(OutputKind::Alarms),
        Topic::ConnectionLog => Some(OutputKind::ConnectionLog),
        Topic::Audit => Some(OutputKind::Audit),
        _ => None,
    };
    if value.first() != Some(&b'{')
        && let Some(Ok(known)) = kind.map(|kind| output::decode(kind, value))
    {
        let mut line = Vec::new();
        output::encode_line(&known.identity(), &known.effect, &mut line);
        return String::from_utf8_lossy(&line).into_owned();
    }
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => {
            let digits: String = value.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
            format!("{} bytes: {digits}{}", value.len(), if value.len() > 64 { "…" } else { "" })
        }
    }
}

fn entry(text: &mut String, entry: &JournalEntry) {
    let ranges: Vec<String> = entry
        .ranges
        .iter()
        .filter_map(|range| {
            let topic = InputTopic::ALL.get((range.topic as usize).wrapping_sub(1))?;
            Some(format!("{topic} {}..{} ({} records)", range.from, range.to, range.count))
        })
        .collect();
    let produced: Vec<String> = Topic::ALL
        .iter()
        .filter_map(|topic| {
            let number = output_number(*topic)?;
            let produced = entry.outputs.iter().find(|produced| produced.topic == number)?;
            Some(format!("{} on {topic}", produced.count))
        })
        .collect();
    let list = |parts: Vec<String>| if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    let _ = writeln!(
        text,
        "  the entry: epoch {}, writer {:016x}, fold version {}; consumed {}; fired {} deadlines; produced {}",
        entry.epoch,
        entry.nonce,
        entry.fold_version,
        list(ranges),
        entry.deadlines_fired,
        list(produced)
    );
}

/// The last events of a device, up to where the entry had read, oldest first.
fn events(
    archive: &mut dyn Archive,
    partition: u32,
    device: &str,
    entry: &JournalEntry,
    settings: &Settings,
) -> Result<Vec<String>, LogError> {
    let mut found = Vec::new();
    for (index, topic) in InputTopic::ALL.iter().enumerate() {
        let bounds = archive.bounds(Topic::Input(*topic), partition)?;
        let mut to = entry.positions.get(index).copied().unwrap_or(bounds.high).min(bounds.high);
        let mut of_topic = Vec::new();
        for _ in 0..WINDOWS {
            let from = to.saturating_sub(WINDOW).max(bounds.low);
            if from >= to || of_topic.len() >= EVENTS {
                break;
            }
            let mut window = Vec::new();
            archive.scan(Topic::Input(*topic), partition, from..to, &mut |record| {
                if record.key == Some(device.as_bytes()) {
                    let content_type = content_type(record.headers);
                    let raw = RawRecord {
                        key: record.key,
                        value: record.value,
                        content_type,
                        partition,
                        partitions: settings.partitions,
                    };
                    let said = match decode(&raw, &Scratch::new(), &Limits::default()) {
                        Ok(event) => String::from_utf8_lossy(&encode_event_json(&event)).into_owned(),
                        Err(reject) => format!("a dead letter: {reject}"),
                    };
                    let line = format!("{} {topic} offset {}: {said}", record.timestamp, record.offset);
                    window.push((record.timestamp, index, record.offset, line));
                }
                ControlFlow::Continue(())
            })?;
            of_topic.append(&mut window);
            to = from;
        }
        found.append(&mut of_topic);
    }
    found.sort();
    let from = found.len().saturating_sub(EVENTS);
    Ok(found.into_iter().skip(from).map(|(.., line)| line).collect())
}
