//! The picture of a device's past: a lane for each status, sessions, maintenance, messages and failed attempts, over a
//! day, a week or a month. Made of the status changes that the view keeps, by column, so that a year of history draws no
//! slower than a day of it.

use std::fmt::Write;

use maud::{Markup, html};

use super::words::plain;
use crate::domain::effect::{EffectKind, LogKind, Rule};
use crate::domain::facet::{Facet, Facets};
use crate::domain::time::{Millis, Timestamp};
use crate::query::past::word;
use crate::wire::output::Output;

/// Columns of a lane; each shows the worst of what happened in it.
const COLUMNS: i64 = 480;
/// The height of a lane.
const HEIGHT: i64 = 24;

/// How far back the picture goes: its word in the address, how it is called, and how long it is in hours.
pub const SPANS: &[(&str, &str, i64)] =
    &[("24h", "24 hours", 24), ("7d", "7 days", 7 * 24), ("30d", "30 days", 30 * 24)];

/// What a stretch of time looks like; the later ones are the worse ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Look {
    Blank,
    Off,
    Good,
    Warn,
    Bad,
}

impl Look {
    const SEEN: [Look; 4] = [Look::Off, Look::Good, Look::Warn, Look::Bad];

    fn of(word: &str) -> Look {
        match word {
            "AVAILABLE" | "ONLINE" | "CONNECTED" => Look::Good,
            "UNAVAILABLE" | "OFFLINE" | "DISCONNECTED" => Look::Bad,
            "MAINTENANCE" | "TIMEOUT" | "CONFIGURING" | "UPDATING" | "POST_PROVISIONING" => Look::Warn,
            _ => Look::Off,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Look::Blank => "blank",
            Look::Off => "off",
            Look::Good => "good",
            Look::Warn => "warn",
            Look::Bad => "bad",
        }
    }

    /// Where it begins and how high it is: told by its shape, too.
    const fn shape(self) -> (i64, i64) {
        match self {
            Look::Bad => (0, HEIGHT),
            Look::Warn => (7, 10),
            Look::Good => (4, 16),
            Look::Off | Look::Blank => (11, 2),
        }
    }
}

/// What the picture is made of.
pub struct Past<'p> {
    /// When it begins, and now.
    pub span: (Timestamp, Timestamp),
    /// Since when the device is known, and by when everything is decided; before and after, the lanes are empty.
    pub known: (Timestamp, Timestamp),
    /// Status changes within the span, latest first.
    pub changes: &'p [Output],
    /// Entries of the connection log within the span, latest first.
    pub log: &'p [Output],
    /// The statuses now.
    pub facets: &'p Facets,
    /// The last message.
    pub last_message: Timestamp,
    /// Whether the span holds more than what is looked at.
    pub is_cut: bool,
}

/// A word and since when it held.
type Stretch = (Timestamp, &'static str);

/// How a facet went, oldest first. What is told later overrides what was told before: a verdict that was retracted was
/// never true.
fn stretches(past: &Past<'_>, facet: Facet) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for output in past.changes.iter().rev() {
        let EffectKind::Status(status) = &output.effect.kind else { continue };
        let Some(change) = status.changes.iter().find(|change| change.facet == facet) else { continue };
        if found.is_empty() {
            found.push((past.known.0, change.from));
        }
        let at = output.effect.at.max(past.known.0);
        found.retain(|(since, _)| *since < at);
        found.push((at, change.to));
    }
    if found.is_empty() {
        found.push((past.known.0, word(past.facets, facet)));
    }
    found
}

fn column(past: &Past<'_>, at: Timestamp) -> i64 {
    let (begin, end) = past.span;
    let length = (end - begin).0.max(1);
    ((at - begin).0.clamp(0, length) * COLUMNS) / length
}

/// The worst look of each column.
fn columns(past: &Past<'_>, stretches: &[Stretch], look: impl Fn(&str) -> Look) -> Vec<Look> {
    let mut columns = vec![Look::Blank; COLUMNS as usize];
    for (index, (since, word)) in stretches.iter().enumerate() {
        let until = stretches.get(index + 1).map_or(past.known.1, |(next, _)| *next);
        if until < past.span.0 {
            continue;
        }
        let first = column(past, *since).min(COLUMNS - 1);
        let last = column(past, until).max(first + 1).min(COLUMNS);
        for place in &mut columns[first as usize..last as usize] {
            *place = (*place).max(look(word));
        }
    }
    columns
}

/// One outline around all columns of a look.
fn outline(columns: &[Look], wanted: Look) -> String {
    let (top, height) = wanted.shape();
    let mut out = String::new();
    let mut at = 0;
    for run in columns.chunk_by(|a, b| a == b) {
        if run.first() == Some(&wanted) {
            // Writing to a text does not fail.
            let _ = write!(out, "M{at} {top}h{width}v{height}h-{width}z", width = run.len());
        }
        at += run.len();
    }
    out
}

fn lane(name: &str, columns: &[Look], summary: &str) -> Markup {
    html! {
        div class="lane" {
            span class="name" { (name) }
            svg viewBox={ "0 0 " (COLUMNS) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label={ (name) ": " (summary) } {
                title { (name) ": " (summary) }
                (grid())
                @for look in Look::SEEN {
                    @let outline = outline(columns, look);
                    @if !outline.is_empty() {
                        path class=(look.class()) d=(outline) {}
                        @if look == Look::Bad { path class="striped" d=(outline) {} }
                    }
                }
            }
        }
    }
}

fn grid() -> Markup {
    let lines: String = (1..4).map(|quarter| format!("M{} 0v{HEIGHT}", COLUMNS * quarter / 4)).collect();
    html! { path class="grid" d=(lines) {} }
}

/// A lane of moments.
fn marks(past: &Past<'_>, name: &str, moments: &[Timestamp], look: Look, summary: &str) -> Markup {
    let mut columns = vec![Look::Blank; COLUMNS as usize];
    for at in moments.iter().filter(|at| **at >= past.span.0) {
        columns[column(past, *at).min(COLUMNS - 1) as usize] = look;
    }
    lane(name, &columns, summary)
}

/// How much of the span each word held: "connected 93.1 %, disconnected 6.9 %; 12 changes".
fn summary(past: &Past<'_>, stretches: &[Stretch]) -> String {
    let mut shares: Vec<(&str, i64)> = Vec::new();
    let mut changes = 0;
    for (index, (since, word)) in stretches.iter().enumerate() {
        let until = stretches.get(index + 1).map_or(past.known.1, |(next, _)| *next);
        let length = (until - (*since).max(past.span.0)).0.max(0);
        changes += usize::from(index > 0 && *since >= past.span.0);
        match shares.iter_mut().find(|(known, _)| known == word) {
            Some((_, sum)) => *sum += length,
            None => shares.push((word, length)),
        }
    }
    let whole: i64 = shares.iter().map(|(_, length)| length).sum::<i64>().max(1);
    let told: Vec<String> = shares
        .iter()
        .filter(|(_, length)| *length > 0)
        .map(|(word, length)| {
            let permille = (length * 1000 + whole / 2) / whole;
            format!("{} {}.{} %", word.to_lowercase().replace('_', " "), permille / 10, permille % 10)
        })
        .collect();
    let changes = match changes {
        1 => "1 change".to_owned(),
        changes => format!("{changes} changes"),
    };
    format!("{}; {changes}", told.join(", "))
}

/// The moments at which messages are known to have come: those that decided a status, and the last one.
fn messages(past: &Past<'_>) -> Vec<Timestamp> {
    let mut moments = vec![past.last_message];
    for output in past.changes {
        let effect = &output.effect;
        if matches!(effect.cause.rule, Rule::DataReceived | Rule::VerdictDisproved) {
            moments.push(effect.at);
        }
        moments.extend(effect.cause.deadline.map(|deadline| deadline.last_message));
    }
    moments.retain(|at| at.happened());
    moments
}

fn axis(past: &Past<'_>) -> Markup {
    let (begin, end) = past.span;
    let length = (end - begin).0;
    let is_day = length <= 24 * 3_600_000;
    let tick = |quarter: i64| {
        let text = plain(begin + Millis(length * quarter / 4));
        // Of a day the hour, of more the date.
        let range = if is_day { 11..16 } else { 5..10 };
        text.get(range).unwrap_or(&text).to_owned()
    };
    html! {
        div class="axis" aria-hidden="true" {
            span class="name" {}
            div { @for quarter in 0..4 { span { (tick(quarter)) } } span { "now" } }
        }
    }
}

/// The picture, with a text for whoever cannot see it.
pub fn figure(past: &Past<'_>) -> Markup {
    const LANES: &[(Facet, &str, bool)] = &[
        (Facet::Overall, "Status", false),
        (Facet::Connection, "Sessions", false),
        (Facet::Availability, "Send", false),
        (Facet::Push, "Push", false),
        (Facet::Vpn, "VPN", true),
        (Facet::Heartbeat, "API heartbeat", true),
    ];
    let all: Vec<(Facet, &str, bool, Vec<Stretch>)> = LANES
        .iter()
        .map(|(facet, name, is_rare)| (*facet, *name, *is_rare, stretches(past, *facet)))
        .collect();
    let availability =
        all.iter().find(|(facet, ..)| *facet == Facet::Availability).map(|(.., lane)| lane.as_slice());
    let availability = availability.unwrap_or_default();
    let maintenance = columns(past, availability, |word| match word {
        "MAINTENANCE" => Look::Warn,
        _ => Look::Blank,
    });
    let failed: Vec<Timestamp> =
        past.log.iter().filter(|output| is_failed(output)).map(|output| output.effect.at).collect();
    let messages = messages(past);
    let told =
        |many: usize, what: &str| if many == 1 { format!("1 {what}") } else { format!("{many} {what}s") };
    html! {
        figure class="timeline" {
            (axis(past))
            @for (_, name, is_rare, stretches) in &all {
                @if !is_rare || stretches.iter().any(|(_, word)| *word != "UNKNOWN") {
                    (lane(name, &columns(past, stretches, Look::of), &summary(past, stretches)))
                }
            }
            @if maintenance.contains(&Look::Warn) {
                (lane("Maintenance", &maintenance, "under maintenance where it is marked"))
            }
            (marks(past, "Messages", &messages, Look::Good, &told(messages.len(), "message that is known")))
            @if !failed.is_empty() {
                (marks(past, "Failed connects", &failed, Look::Bad, &told(failed.len(), "failed attempt")))
            }
            figcaption {
                ul class="legend" {
                    @for (look, text) in [
                        (Look::Good, "online, connected"), (Look::Bad, "offline, disconnected"),
                        (Look::Warn, "maintenance, under way"), (Look::Off, "unknown, not monitored"),
                    ] { li { span class={ "swatch " (look.class()) } {} (text) } }
                }
                "Each column shows the worst of its time. Messages: those that decided a status, and the last one; others leave no "
                "record of their own."
                @if past.known.1 < past.span.1 { " What was due after " (plain(past.known.1)) " is not decided yet." }
                @if past.is_cut { " More happened than is looked at: the earliest part is left out." }
            }
        }
    }
}

fn is_failed(output: &Output) -> bool {
    matches!(&output.effect.kind, EffectKind::Log(entry) if entry.kind == LogKind::ConnectFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effect::{Cause, Effect, Origin, StatusChange};
    use crate::domain::facet::FacetChange;

    const HOUR: i64 = 3_600_000;

    fn change(at_hours: i64, from: &'static str, to: &'static str, rule: Rule) -> Output {
        let at = Timestamp::from_millis(at_hours * HOUR);
        let cause =
            Cause { rule, origin: Origin::Clock, deadline: None, event_id: None, sentence: String::new() };
        let changes = vec![FacetChange { facet: Facet::Availability, from, to, label: None }];
        let kind = EffectKind::Status(StatusChange { changes, progress: None, retracts: None });
        Output {
            tenant: "t".into(),
            device_id: "d".into(),
            birth: Timestamp::from_millis(0),
            effect: Effect { sequence: 1, at, recorded_at: at, cause, kind },
        }
    }

    fn past(changes: &[Output]) -> Past<'_> {
        Past {
            span: (Timestamp::from_millis(0), Timestamp::from_millis(24 * HOUR)),
            known: (Timestamp::from_millis(0), Timestamp::from_millis(24 * HOUR)),
            changes,
            log: &[],
            facets: &Facets::START,
            last_message: Timestamp::NEVER,
            is_cut: false,
        }
    }

    #[test]
    fn a_lane_shows_each_status_as_long_as_it_held() {
        let changes = [
            change(12, "AVAILABLE", "UNAVAILABLE", Rule::DeadlinePassed),
            change(6, "UNKNOWN", "AVAILABLE", Rule::DataReceived),
        ];
        let past = past(&changes);
        let stretches = stretches(&past, Facet::Availability);
        let words: Vec<&str> = stretches.iter().map(|(_, word)| *word).collect();
        assert_eq!(words, ["UNKNOWN", "AVAILABLE", "UNAVAILABLE"]);
        let columns = columns(&past, &stretches, Look::of);
        assert_eq!(outline(&columns, Look::Good), "M120 4h120v16h-120z");
        assert_eq!(outline(&columns, Look::Bad), "M240 0h240v24h-240z");
        assert_eq!(
            summary(&past, &stretches),
            "unknown 25.0 %, available 25.0 %, unavailable 50.0 %; 2 changes"
        );
    }

    #[test]
    fn a_verdict_that_was_retracted_is_not_drawn() {
        let changes = [
            change(6, "UNAVAILABLE", "AVAILABLE", Rule::VerdictDisproved),
            change(12, "AVAILABLE", "UNAVAILABLE", Rule::DeadlinePassed),
        ];
        let past = past(&changes);
        let stretches = stretches(&past, Facet::Availability);
        assert_eq!(outline(&columns(&past, &stretches, Look::of), Look::Bad), "");
    }

    #[test]
    fn what_is_short_is_still_seen() {
        let mut back = change(12, "UNAVAILABLE", "AVAILABLE", Rule::DataReceived);
        back.effect.at = back.effect.at + Millis(1);
        let changes = [back, change(12, "AVAILABLE", "UNAVAILABLE", Rule::DeadlinePassed)];
        let past = past(&changes);
        let columns = columns(&past, &stretches(&past, Facet::Availability), Look::of);
        assert_eq!(outline(&columns, Look::Bad), "M240 0h1v24h-1z");
    }

    #[test]
    fn what_is_not_decided_yet_is_not_drawn() {
        let changes = [change(6, "UNKNOWN", "AVAILABLE", Rule::DataReceived)];
        let mut past = past(&changes);
        past.known.1 = Timestamp::from_millis(18 * HOUR);
        let stretches = stretches(&past, Facet::Availability);
        assert_eq!(outline(&columns(&past, &stretches, Look::of), Look::Good), "M120 4h240v16h-240z");
        assert_eq!(summary(&past, &stretches), "unknown 33.3 %, available 66.7 %; 1 change");
    }
}
