//! The language of filters: what lists, counts, streams and bulk commands understand.
//!
//! A filter is a conjunction of terms. A term with several values (separated by commas, or said again) takes any of
//! them; a value that begins with `!` excludes. Times are RFC 3339, `now`, or relative to now: `-90s`, `-15m`, `-6h`,
//! `-2d`, `-1w`. *Before* a time includes never; *after* a time includes the moment itself.

use std::fmt;

use crate::domain::effect::AlarmState;
use crate::domain::event::{ClientKind, Initiator, Stage};
use crate::domain::facet::{Availability, Connection, Heartbeat, Label, Overall, Push};
use crate::domain::policy::Severity;
use crate::domain::time::{Millis, Timestamp};
use crate::wire::rfc3339;

use super::cells::{self, Facts, Field, Moment, Time};
use super::columns::{Chunk, Selection};
use super::order;
use super::pattern::{Pattern, Text, TextTerm};

/// A filter that cannot be understood: which parameter, and what would be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}: {message}")]
pub struct BadFilter {
    /// The parameter.
    pub name: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl BadFilter {
    /// Something wrong with a parameter.
    pub fn new(name: &str, message: impl Into<String>) -> BadFilter {
        BadFilter { name: name.to_owned(), message: message.into() }
    }
}

/// Words that a text term takes and excludes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// Any of these; empty: any at all.
    pub any: Vec<String>,
    /// None of these.
    pub none: Vec<String>,
}

impl Choice {
    /// Whether it asks for anything.
    pub fn is_open(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Whether a device that carries these satisfies it.
    pub fn takes(&self, has: impl Fn(&str) -> bool) -> bool {
        (self.any.is_empty() || self.any.iter().any(|word| has(word)))
            && !self.none.iter().any(|word| has(word))
    }
}

/// A term over a small fact: the numbers that it takes, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Allowed {
    field: Field,
    bits: u16,
}

/// A term over a time: its rank lies within these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bound {
    time: Time,
    from: u64,
    below: u64,
}

impl Allowed {
    #[inline]
    fn takes(self, word: u64) -> bool {
        self.bits >> self.field.of(word) & 1 == 1
    }
}

impl Bound {
    #[inline]
    fn takes(self, at: Moment) -> bool {
        // One comparison: below `from` it wraps around to what is large.
        at.rank().wrapping_sub(self.from) < self.below.saturating_sub(self.from)
    }
}

fn takes_minutes((from, below): (i32, i32), minutes: Option<i16>) -> bool {
    minutes.is_some_and(|minutes| (from..below).contains(&i32::from(minutes)))
}

/// A filter, read. Texts are not yet held against a tenant's types and labels; see [`super::fleet`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Filter {
    words: Vec<Allowed>,
    bounds: Vec<Bound>,
    /// Reason codes of the disconnect.
    reason_codes: Vec<u8>,
    /// Types.
    pub device_type: Choice,
    /// Labels: a key, or `key:value`; all of these terms must hold, each any of its values.
    pub labels: Vec<Choice>,
    /// What the id begins with.
    pub id_prefix: Option<String>,
    /// What the name begins with, in either case.
    pub name_prefix: Option<String>,
    /// What the id, or in either case the name, begins with.
    pub search: Option<String>,
    /// Only devices with a client connection state.
    has_client_state: bool,
    /// What id, name and type look like.
    texts: Vec<TextTerm>,
    /// Required intervals in minutes, from and below.
    minutes: Vec<(i32, i32)>,
}

/// A parameter that takes words: its name, the fact, and the numbers of its words.
type WordTerm = (&'static str, Field, &'static [(&'static str, usize)]);

macro_rules! numbers {
    ($of:ty, $offset:literal) => {{
        const ALL: &[$of] = <$of>::ALL;
        const NUMBERS: [(&str, usize); ALL.len()] = {
            let mut numbers = [("", 0); ALL.len()];
            let mut index = 0;
            while index < ALL.len() {
                numbers[index] = (ALL[index].word(), index + $offset);
                index += 1;
            }
            numbers
        };
        &NUMBERS as &[(&str, usize)]
    }};
}

/// Every parameter that takes words.
const WORD_TERMS: &[WordTerm] = &[
    ("availability", cells::AVAILABILITY, numbers!(Availability, 0)),
    ("push", cells::PUSH, numbers!(Push, 0)),
    ("connection", cells::CONNECTION, numbers!(Connection, 0)),
    ("vpn", cells::VPN, numbers!(Connection, 0)),
    ("heartbeat", cells::HEARTBEAT, numbers!(Heartbeat, 0)),
    ("overall", cells::OVERALL, numbers!(Overall, 0)),
    ("statusLabel", cells::LABEL, numbers!(Label, 0)),
    ("severity", cells::SEVERITY, numbers!(Severity, 0)),
    ("disconnectedBy", cells::DISCONNECTED_BY, numbers!(Initiator, 1)),
    ("clientKind", cells::CLIENT_KIND, numbers!(ClientKind, 1)),
    ("stage", cells::STAGE, numbers!(Stage, 1)),
];

/// What the parameter `alarm` takes: numbers of [`cells::ALARM`].
const ALARM_WORDS: &[(&str, &[usize])] = &[
    ("none", &[0]),
    ("open", &[AlarmState::Active as usize + 1, AlarmState::Acknowledged as usize + 1]),
    ("active", &[AlarmState::Active as usize + 1]),
    ("acknowledged", &[AlarmState::Acknowledged as usize + 1]),
];

/// The parameters of the filter language and what each says, for documents and for those who mistype.
pub fn parameters() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, _, words) in WORD_TERMS {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        all.push(((*name).into(), format!("any of: {}", words.join(", "))));
    }
    all.push(("alarm".into(), "any of: none, open, active, acknowledged".into()));
    all.push(("maintenance".into(), "true or false".into()));
    all.push(("reasonCode".into(), "MQTT reason code of the disconnect, 0 to 255 or 0x00 to 0xFF".into()));
    all.push(("type".into(), "device type, exactly; empty: devices without one".into()));
    all.push(("label".into(), "a label's key, or key:value; said twice, both must hold".into()));
    all.push(("idPrefix".into(), "what the device id begins with".into()));
    all.push(("namePrefix".into(), "what the name begins with, in either case".into()));
    all.push(("search".into(), "what the id, or in either case the name, begins with".into()));
    for time in Time::ALL {
        all.push((
            format!("{time}Before"),
            "a time, or relative to now as -2d; never counts as before".into(),
        ));
        all.push((format!("{time}After"), "a time, or relative to now as -2d; the moment included".into()));
    }
    all
}

/// A time: RFC 3339, `now`, or so long before now as `-2d`.
pub fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || {
        format!(
            "{text:?} is no time; write 2026-01-31T12:00:00Z, now, or before now as -90s, -15m, -6h, -2d, -1w"
        )
    };
    if text == "now" {
        return Ok(now);
    }
    if let Some(rest) = text.strip_prefix('-') {
        let split =
            rest.len().checked_sub(1).filter(|split| rest.is_char_boundary(*split)).ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(split);
        let unit: i64 = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        return Ok(now + Millis(-i64::from(number).saturating_mul(unit)));
    }
    // In an address a plus sign may have become a space.
    rfc3339::parse(&text.replace(' ', "+")).ok_or_else(wrong)
}

impl Filter {
    /// Takes devices with a client connection state: of which a connection, or an activity, is known (Watson W12).
    pub fn of_client_states() -> Filter {
        Filter { has_client_state: true, ..Filter::default() }
    }

    /// Takes devices whose text looks like this, or with `wanted` false those whose text does not.
    pub fn text(&mut self, of: Text, pattern: Pattern, wanted: bool) {
        let begin = pattern.begin();
        if wanted && of == Text::Id && self.id_prefix.is_none() && !begin.is_empty() {
            // It follows from the pattern, and ids stand in order: few need be looked at.
            self.id_prefix = Some(begin.to_owned());
        }
        if wanted && of == Text::Name && self.name_prefix.is_none() && !begin.is_empty() {
            // Likewise names.
            self.name_prefix = Some(begin.to_owned());
        }
        self.texts.push(TextTerm { of, pattern, wanted });
    }

    /// Takes devices whose time is this one or later; `None`: any but never.
    pub fn since(&mut self, time: Time, at: Option<Timestamp>) {
        let from = at.map_or(1, |at| Moment::new(at).rank());
        self.bounds.push(Bound { time, from, below: u64::MAX });
    }

    /// Takes devices whose time is earlier than this one, and not never.
    pub fn before(&mut self, time: Time, at: Timestamp) {
        self.bounds.push(Bound { time, from: 1, below: Moment::new(at).rank() });
    }

    /// Takes devices whose time is never.
    pub fn never(&mut self, time: Time) {
        self.bounds.push(Bound { time, from: 0, below: 1 });
    }

    /// Takes devices with a required interval of so many minutes: from the first number on, and below the second.
    pub fn minutes(&mut self, from: i32, below: i32) {
        self.minutes.push((from, below));
    }

    /// Reads one parameter. `false`: it is none of the filter language.
    ///
    /// # Errors
    /// The value is none that the parameter takes.
    pub fn read(&mut self, name: &str, value: &str, now: Timestamp) -> Result<bool, BadFilter> {
        let bad = |message: String| BadFilter::new(name, message);
        if let Some((_, field, words)) = WORD_TERMS.iter().find(|(known, ..)| *known == name) {
            let number = |word: &str| {
                let found = words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
                found.map(|(_, number)| vec![*number]).ok_or_else(|| {
                    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                    bad(format!("{word:?} is none of {}", known.join(", ")))
                })
            };
            let allowed = allowed(*field, value, number)?;
            self.words.push(allowed);
            if *field == cells::SEVERITY {
                // Only an open alarm has one.
                self.words.push(Allowed { field: cells::ALARM, bits: !1 });
            }
            return Ok(true);
        }
        match name {
            "alarm" => {
                let number = |word: &str| {
                    let found = ALARM_WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
                    found
                        .map(|(_, numbers)| numbers.to_vec())
                        .ok_or_else(|| bad(format!("{word:?} is none of none, open, active, acknowledged")))
                };
                self.words.push(allowed(cells::ALARM, value, number)?);
            }
            "maintenance" => {
                let maintenance = 1 << Availability::Maintenance as usize;
                let bits = match value {
                    "true" => maintenance,
                    "false" => !maintenance,
                    _ => return Err(bad(format!("{value:?} is neither true nor false"))),
                };
                self.words.push(Allowed { field: cells::AVAILABILITY, bits });
            }
            "reasonCode" => {
                for code in value.split(',') {
                    let parsed = match code.strip_prefix("0x").or(code.strip_prefix("0X")) {
                        Some(digits) => u8::from_str_radix(digits, 16),
                        None => code.parse(),
                    };
                    let code = parsed
                        .map_err(|_| bad(format!("{code:?} is no number from 0 to 255 or 0x00 to 0xFF")))?;
                    self.reason_codes.push(code);
                }
            }
            "type" => choose(&mut self.device_type, value),
            "label" => {
                let mut choice = Choice::default();
                choose(&mut choice, value);
                self.labels.push(choice);
            }
            "idPrefix" => self.id_prefix = Some(value.to_owned()),
            "namePrefix" => self.name_prefix = Some(value.to_owned()),
            "search" => self.search = Some(value.to_owned()).filter(|text| !text.is_empty()),
            _ => {
                let (time, is_after) = match (name.strip_suffix("After"), name.strip_suffix("Before")) {
                    (Some(time), _) => (time, true),
                    (_, Some(time)) => (time, false),
                    _ => return Ok(false),
                };
                let Some(time) = Time::from_word(time) else { return Ok(false) };
                let rank = Moment::new(moment(value, now).map_err(bad)?).rank();
                let bound = match is_after {
                    true => Bound { time, from: rank, below: u64::MAX },
                    false => Bound { time, from: 0, below: rank },
                };
                self.bounds.push(bound);
            }
        }
        Ok(true)
    }

    /// Whether the small facts and times of a device satisfy it; texts, type and labels are not looked at.
    pub fn takes_cells(&self, facts: &impl Facts) -> bool {
        self.words.iter().all(|term| term.takes(facts.word()))
            && self.bounds.iter().all(|bound| bound.takes(facts.time(bound.time)))
            && (!self.has_client_state || facts.has_client_state())
            && self.minutes.iter().all(|within| takes_minutes(*within, facts.minutes()))
            && self.takes_reason(facts.word())
    }

    /// Leaves the rows of a chunk whose small facts and times satisfy it.
    pub fn narrow(&self, chunk: &Chunk, rows: &mut Selection) {
        for term in &self.words {
            rows.retain(&chunk.words, |word| term.takes(word));
        }
        for bound in &self.bounds {
            rows.retain(chunk.times(bound.time), |at| bound.takes(at));
        }
        if self.has_client_state {
            // Most are known by the first column; of the others the second tells.
            let is_unknown = Allowed { field: cells::CONNECTION, bits: 1 << Connection::Unknown as usize };
            let mut active = rows.clone();
            active.retain(&chunk.words, |word| is_unknown.takes(word));
            rows.without(&active);
            active.retain(chunk.times(Time::LastActivity), |at| at.rank() != 0);
            rows.join(&active);
        }
        for within in &self.minutes {
            rows.retain_at(|at| takes_minutes(*within, chunk.at(at).minutes()));
        }
        if !self.reason_codes.is_empty() {
            rows.retain(&chunk.words, |word| self.takes_reason(word));
        }
    }

    fn takes_reason(&self, word: u64) -> bool {
        let code = cells::REASON_CODE.of(word).checked_sub(1);
        self.reason_codes.is_empty() || code.is_some_and(|code| self.reason_codes.contains(&(code as u8)))
    }

    /// Whether id and name satisfy it.
    pub fn takes_texts(&self, id: &str, name: Option<&str>) -> bool {
        if self.id_prefix.as_ref().is_some_and(|prefix| !id.starts_with(&**prefix)) {
            return false;
        }
        if let Some(prefix) = &self.name_prefix
            && !name.is_some_and(|name| begins_alike(name, prefix))
        {
            return false;
        }
        let is_found = self.search.as_ref().is_none_or(|search| {
            id.starts_with(&**search) || name.is_some_and(|name| begins_alike(name, search))
        });
        is_found && self.looks_right(Text::Id, Some(id)) && self.looks_right(Text::Name, name)
    }

    /// Whether the type satisfies it.
    pub fn takes_type(&self, device_type: Option<&str>) -> bool {
        self.device_type.takes(|wanted| device_type.unwrap_or_default() == wanted)
            && self.looks_right(Text::Type, device_type)
    }

    /// Whether it asks for the type at all.
    pub fn asks_for_type(&self) -> bool {
        !self.device_type.is_open() || self.texts.iter().any(|term| term.of == Text::Type)
    }

    fn looks_right(&self, of: Text, text: Option<&str>) -> bool {
        self.texts.iter().filter(|term| term.of == of).all(|term| term.takes(text))
    }

    /// Whether it asks how id or name begin.
    pub fn asks_for_begins(&self) -> bool {
        self.id_prefix.is_some() || self.name_prefix.is_some() || self.search.is_some()
    }

    /// Whether id or name must look otherwise than by how they begin.
    pub fn asks_for_patterns(&self) -> bool {
        self.texts.iter().any(|term| term.of != Text::Type)
    }
}

/// Whether a name begins with `prefix` in either case.
fn begins_alike(name: &str, prefix: &str) -> bool {
    order::compare_begin(name, prefix).is_eq()
}

/// The numbers that a value takes: those of its words, or all but those that it excludes.
fn allowed(
    field: Field,
    value: &str,
    numbers: impl Fn(&str) -> Result<Vec<usize>, BadFilter>,
) -> Result<Allowed, BadFilter> {
    let (mut any, mut none) = (0u16, 0u16);
    for word in value.split(',') {
        match word.strip_prefix('!') {
            Some(word) => numbers(word)?.into_iter().for_each(|number| none |= 1 << number),
            None => numbers(word)?.into_iter().for_each(|number| any |= 1 << number),
        }
    }
    Ok(Allowed { field, bits: if any == 0 { !none } else { any & !none } })
}

fn choose(choice: &mut Choice, value: &str) {
    for word in value.split(',') {
        match word.strip_prefix('!') {
            Some(word) => choice.none.push(word.to_owned()),
            None => choice.any.push(word.to_owned()),
        }
    }
}

/// The order of a list. Devices with equal times stand in the order of their ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// By id.
    #[default]
    Id,
    /// By one of the times; never is the earliest.
    By(Time, bool),
}

impl Sort {
    /// From `id`, a time as `lastMessage`, or the other way round as `-lastMessage`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn read(text: &str) -> Result<Sort, BadFilter> {
        let (name, is_descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        if text == "id" {
            return Ok(Sort::Id);
        }
        let known: Vec<&str> = Time::ALL.iter().map(|time| time.word()).collect();
        let time = Time::from_word(name).ok_or_else(|| {
            BadFilter::new(
                "sort",
                format!(
                    "{text:?} is neither id nor one of {}; - in front sorts latest first",
                    known.join(", ")
                ),
            )
        })?;
        Ok(Sort::By(time, is_descending))
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sort::Id => f.write_str("id"),
            Sort::By(time, false) => write!(f, "{time}"),
            Sort::By(time, true) => write!(f, "-{time}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    #[test]
    fn times_are_absolute_or_before_now() {
        assert_eq!(moment("-2d", NOW), Ok(NOW + Millis(-2 * 86_400_000)));
        assert_eq!(moment("-90s", NOW), Ok(NOW + Millis(-90_000)));
        assert_eq!(moment("now", NOW), Ok(NOW));
        assert_eq!(moment("2026-01-01T00:00:00Z", NOW), Ok(NOW));
        assert_eq!(moment("2026-01-01T01:00:00 01:00", NOW), Ok(NOW), "a plus that an address made a space");
        for wrong in ["", "-", "-d", "2d", "-2y", "-2é", "yesterday", "--2d", "-99999999999w"] {
            assert!(moment(wrong, NOW).unwrap_err().contains("is no time"), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_understood_says_what_would_be_right() {
        let refused =
            |name: &str, value: &str| Filter::default().read(name, value, NOW).unwrap_err().to_string();
        assert_eq!(
            refused("connection", "ONLINE"),
            "connection: \"ONLINE\" is none of UNKNOWN, CONNECTED, DISCONNECTED"
        );
        assert!(refused("reasonCode", "256").contains("0 to 255"));
        assert!(refused("maintenance", "yes").contains("neither true nor false"));
        assert!(refused("lastMessageBefore", "soon").contains("is no time"));
        assert!(!Filter::default().read("colour", "red", NOW).unwrap());
        assert!(Sort::read("-name").unwrap_err().to_string().contains("lastMessage"));
    }

    #[test]
    fn every_parameter_that_is_documented_is_understood() {
        for (name, _) in parameters() {
            let value = match name.as_str() {
                "availability" => "AVAILABLE",
                "push" => "ONLINE",
                "connection" | "vpn" => "CONNECTED",
                "heartbeat" | "overall" => "online",
                "statusLabel" => "Online (VPN Only)",
                "severity" => "MAJOR",
                "disconnectedBy" => "network",
                "clientKind" => "gateway",
                "stage" => "active",
                "alarm" => "open",
                "maintenance" => "true",
                "reasonCode" => "0x8D",
                name if name.ends_with("Before") || name.ends_with("After") => "-2d",
                _ => "some",
            };
            assert_eq!(Filter::default().read(&name, value, NOW), Ok(true), "{name}");
        }
    }
}
