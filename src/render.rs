//! Effects as lines for people: what `demo` and `tail` print. No I/O here; who prints decides where to and when.

mod summary;

use std::fmt::Write;

pub use summary::Summary;

use crate::domain::effect::{
    AlarmEvent, AlarmEventAction, AuditEntry, Effect, EffectKind, LogEntry, LogKind, Origin, Outcome, Rule,
    StatusChange,
};
use crate::domain::facet::{Availability, Facet, FacetChange};
use crate::domain::monitoring::UNAVAILABILITY_TEXT;
use crate::domain::time::Timestamp;

/// Keys are padded to this width, so that what follows stands in one column for most of them.
const KEY_WIDTH: usize = 20;

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
}

/// What a piece of a line means; its colour follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ink {
    Good,
    Bad,
    Doubtful,
    Quiet,
    Strong,
}

impl Style {
    /// Colours if `terminal`, unless the user's environment says `NO_COLOR` or that the terminal is a dumb one.
    pub fn for_terminal(terminal: bool) -> Style {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style { colour: terminal && !set("NO_COLOR") && !dumb }
    }

    fn ink(self, ink: Ink, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Good => "32",
            Ink::Bad => "31;1",
            Ink::Doubtful => "33",
            Ink::Quiet => "2",
            Ink::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// How much a line has to say to somebody who watches a whole fleet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Interest {
    /// What goes on all day: a connect, an applied command.
    Routine,
    /// A status that people look at changed.
    Notable,
    /// Late, old, inferred, failed, refused, a deadline missed: where somebody will ask why.
    Tricky,
    /// An alarm, a retraction, a node.
    Grave,
}

/// How much an effect has to say.
pub fn interest(effect: &Effect) -> Interest {
    let tricky_rule = matches!(
        effect.cause.rule,
        Rule::ConnectedStale
            | Rule::ConnectedLate
            | Rule::DisconnectedStale
            | Rule::TakenOver
            | Rule::SessionInferred
            | Rule::NodeTimeoutDisproved
            | Rule::PollWindowPassed
            | Rule::LongPollLapsed
    );
    match &effect.kind {
        EffectKind::Alarm(_) => Interest::Grave,
        EffectKind::Status(change) if change.retracts.is_some() => Interest::Grave,
        EffectKind::Status(_) | EffectKind::Log(_) if tricky_rule => Interest::Tricky,
        EffectKind::Log(entry) if entry.kind == LogKind::ConnectFailed => Interest::Tricky,
        EffectKind::Log(_) => Interest::Routine,
        EffectKind::Status(change) => {
            let lapses =
                |change: &FacetChange| [change.from, change.to].contains(&Availability::Unavailable.word());
            let tells = |change: &FacetChange| matches!(change.facet, Facet::Availability | Facet::Overall);
            match &change.changes {
                changes if changes.iter().any(lapses) => Interest::Tricky,
                changes if changes.iter().any(tells) => Interest::Notable,
                _ => Interest::Routine,
            }
        }
        EffectKind::Audit(entry) => match (entry.command, entry.outcome) {
            ("policy" | "blind" | "sight" | "gap" | "node", _) => Interest::Grave,
            (_, Outcome::Ignored(_)) => Interest::Tricky,
            ("maintenance" | "alarm_command" | "delete", _) => Interest::Notable,
            _ => Interest::Routine,
        },
    }
}

/// One line: when it was concluded, whose it is, what, and why; when it became true is in the sentence, where the two
/// differ. `key` is `tenant/device_id`, empty for what concerns a
/// partition as a whole.
pub fn line(key: &str, effect: &Effect, style: Style) -> String {
    let (glyph, ink, what) = match &effect.kind {
        EffectKind::Status(change) => status(change, style),
        EffectKind::Alarm(alarm) => alarm_event(alarm, style),
        EffectKind::Log(entry) => log_entry(entry, style),
        EffectKind::Audit(entry) => audit_entry(entry, style),
    };
    let mut line =
        head(effect.recorded_at, glyph, ink, if key.is_empty() { "(partition)" } else { key }, style);
    line.push_str(&what);
    line.push_str("  ");
    line.push_str(&style.ink(Ink::Quiet, &plain(&effect.cause.sentence)));
    line
}

/// One line about a record that was refused: when it arrived, its key, where it stood, the reason and the words for it.
pub fn dead_letter(
    at: Timestamp,
    key: &str,
    origin: Origin,
    reason: &str,
    message: &str,
    style: Style,
) -> String {
    let mut line = head(at, "✗", Ink::Bad, if key.is_empty() { "(no key)" } else { key }, style);
    line.push_str(&style.ink(Ink::Bad, "dead letter "));
    line.push_str(&style.ink(Ink::Strong, &plain(reason)));
    if let Origin::Record { topic, partition, offset } = origin {
        let _ = write!(line, " ({topic}, partition {partition}, offset {offset})");
    }
    line.push_str("  ");
    line.push_str(&style.ink(Ink::Quiet, &plain(message)));
    line
}

fn head(at: Timestamp, glyph: &str, ink: Ink, key: &str, style: Style) -> String {
    let key = plain(key);
    let padding = KEY_WIDTH.saturating_sub(key.chars().count());
    let mut line = style.ink(Ink::Quiet, &clock_face(at));
    let _ = write!(line, " {} {}{:padding$}  ", style.ink(ink, glyph), style.ink(Ink::Strong, &key), "");
    line
}

/// `15:04:05`; what is finer is in the sentence.
fn clock_face(at: Timestamp) -> String {
    let seconds = at.known().map_or(0, |at| at.millis().rem_euclid(86_400_000) / 1000);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A stranger's text, harmless on a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn ink_of(word: &str) -> Ink {
    match word {
        "AVAILABLE" | "ONLINE" | "CONNECTED" | "Online" => Ink::Good,
        "UNAVAILABLE" | "OFFLINE" | "DISCONNECTED" | "Offline" => Ink::Bad,
        "UNKNOWN" | "NOT_MONITORED" | "Unknown" | "Inactive" => Ink::Quiet,
        _ => Ink::Doubtful,
    }
}

fn status(change: &StatusChange, style: Style) -> (&'static str, Ink, String) {
    let mut parts = Vec::new();
    let mut ink = Ink::Quiet;
    for FacetChange { facet, from, to, label } in &change.changes {
        let word = label.map_or(*to, |label| label.word());
        // The overall status comes last and decides the colour, unless availability is among the changes.
        if *facet == Facet::Availability || parts.is_empty() || *facet == Facet::Overall && ink == Ink::Quiet
        {
            ink = ink_of(word);
        }
        let arrow = match label {
            Some(label) => {
                let progress = change.progress.map(|percent| format!(" {percent} %")).unwrap_or_default();
                format!("⇒ {}{progress}", style.ink(ink_of(label.word()), label.word()))
            }
            None if *facet == Facet::Availability => format!("{from} → {}", style.ink(ink_of(to), to)),
            None => format!("{facet} {from} → {}", style.ink(ink_of(to), to)),
        };
        parts.push(arrow);
    }
    let mut text = parts.join(", ").replace(", ⇒", " ⇒");
    if let Some(number) = change.retracts {
        let _ = write!(text, " {}", style.ink(Ink::Doubtful, &format!("(retracts #{number})")));
    }
    ("●", ink, text)
}

fn alarm_event(alarm: &AlarmEvent, style: Style) -> (&'static str, Ink, String) {
    let ink = match alarm.action {
        AlarmEventAction::Raised | AlarmEventAction::Updated => Ink::Bad,
        AlarmEventAction::Acknowledged => Ink::Doubtful,
        AlarmEventAction::Cleared => Ink::Good,
    };
    let mut text = style.ink(ink, &format!("{} alarm {} {}", alarm.severity, alarm.alarm_type, alarm.action));
    if let Some(reason) = alarm.reason {
        let _ = write!(text, " ({reason})");
    }
    if alarm.count > 1 {
        let _ = write!(text, " ×{}", alarm.count);
    }
    if let Some(actor) = &alarm.actor {
        let _ = write!(text, " by {}", plain(actor));
    }
    if *alarm.text != *UNAVAILABILITY_TEXT {
        let _ = write!(text, " “{}”", plain(&alarm.text));
    }
    ("▲", ink, text)
}

fn log_entry(entry: &LogEntry, style: Style) -> (&'static str, Ink, String) {
    let (glyph, ink) = match entry.kind {
        LogKind::Connected => ("↑", Ink::Good),
        LogKind::ConnectFailed => ("↯", Ink::Bad),
        LogKind::TakenOver => ("⇄", Ink::Doubtful),
        LogKind::DisconnectedByClient | LogKind::DisconnectedByServer | LogKind::DisconnectedByNetwork => {
            ("↓", Ink::Doubtful)
        }
    };
    let mut text = style.ink(ink, entry.kind.word());
    if !entry.flags.is_empty() {
        let flags: Vec<&str> = entry.flags.iter().map(|flag| flag.word()).collect();
        let _ = write!(text, " {}", style.ink(Ink::Doubtful, &format!("[{}]", flags.join(", "))));
    }
    (glyph, ink, text)
}

fn audit_entry(entry: &AuditEntry, style: Style) -> (&'static str, Ink, String) {
    let mut text = entry.command.replace('_', " ");
    if let Some(subject) = &entry.subject {
        let _ = write!(text, " {}", plain(subject));
    }
    let ink = match entry.outcome {
        Outcome::Applied => {
            if entry.before != entry.after {
                let before = if entry.before.is_empty() { "–" } else { &entry.before };
                let after = if entry.after.is_empty() { "–" } else { &entry.after };
                let _ = write!(text, " {} → {}", plain(before), plain(after));
            }
            Ink::Quiet
        }
        Outcome::Ignored(why) => {
            let _ = write!(text, " {}", style.ink(Ink::Doubtful, &format!("ignored ({why})")));
            Ink::Doubtful
        }
    };
    if let Some(actor) = &entry.actor {
        let _ = write!(text, " by {}", plain(actor));
    }
    if let Some(note) = &entry.note {
        let _ = write!(text, " “{}”", plain(note));
    }
    ("✎", ink, text)
}

#[cfg(test)]
#[path = "render/tests.rs"]
mod tests;
