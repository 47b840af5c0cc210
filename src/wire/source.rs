//! What reading a message asks of its bytes, whatever their format. [`super::read_json`], [`super::read_proto`] and
//! [`super::read_toml`] answer; [`super::event`], [`super::policy`] and [`super::output`] ask.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::reject::{Fault, Read, Reason, quoted};
use super::schema::Fields;
use crate::domain::effect;
use crate::domain::event::{self, SessionSequence};
use crate::domain::facet;
use crate::domain::policy;
use crate::domain::time::{Millis, Timestamp};

/// A closed set of words, numbered from 1 in protobuf, where 0 means "not said".
pub(super) trait Word: Copy + 'static {
    /// Every word, in the order of the numbers.
    const ALL: &'static [Self];
    /// The word in JSON.
    fn word(self) -> &'static str;
    /// The value of a word.
    fn from_word(word: &str) -> Option<Self>;
    /// The number in protobuf.
    fn number(self) -> i32;
}

macro_rules! word {
    ($($name:path),+ $(,)?) => {$(
        impl Word for $name {
            const ALL: &'static [Self] = Self::ALL;
            fn word(self) -> &'static str { <$name>::word(self) }
            #[inline]
            fn from_word(word: &str) -> Option<Self> { <$name>::from_word(word) }
            fn number(self) -> i32 { self as i32 + 1 }
        }
    )+};
}
word!(
    event::ChannelKind,
    event::Initiator,
    event::ActivityKind,
    event::ClientKind,
    event::IntervalSource,
    event::Stage,
    event::UpdatePhase,
    event::AlarmAction,
    event::NodeStatus,
    policy::Severity,
    facet::Facet,
    effect::Rule,
    effect::InputTopic,
    effect::AlarmEventAction,
    effect::AlarmState,
    effect::ClearReason,
    effect::LogKind,
    effect::Flag,
    effect::Applied,
    effect::Ignored,
);

/// A message under way. Each reader of a value is called when the source stands at that value, as [`Source::fields`]
/// leaves it; it gives `None` where the value says "absent" (JSON: null; protobuf: an enum's 0).
pub(super) trait Source<'a>: Sized {
    /// Whether text and spans are written for people (JSON, TOML), rather than as numbers.
    const NAMES_ARE_JSON: bool;

    /// Reads a whole message, field by field. Fields that are not in `F` are passed over, or refused if `F` is strict.
    fn fields<F: Fields>(&mut self, each: impl FnMut(&mut Self, F) -> Read<()>) -> Read<()>;
    /// A message within, of at most `bytes_max` bytes.
    fn nested<T>(&mut self, bytes_max: usize, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>>;
    /// Messages within: all of a list, or the next one (protobuf). `count` is that of those read before.
    fn list(&mut self, count: usize, each: impl FnMut(&mut Self) -> Read<()>) -> Read<()>;
    /// Pairs of texts: all, or the next one (protobuf). A key may come twice only where the format allows it. Whether
    /// there is a list of pairs at all, be it an empty one.
    fn pairs(&mut self, each: impl FnMut(&'a str, &'a str) -> Read<()>) -> Read<bool>;
    /// A list of words.
    fn words<W: Word>(&mut self, each: impl FnMut(W)) -> Read<()>;
    /// A text of any length.
    fn any_text(&mut self) -> Read<Option<&'a str>>;
    /// The bytes of a text of any length; whether they are UTF-8 is for the caller to see to.
    fn text_bytes(&mut self) -> Read<Option<&'a [u8]>>;
    /// One of a closed set of words.
    fn word<W: Word>(&mut self) -> Read<Option<W>>;
    /// True or false.
    fn flag(&mut self) -> Read<Option<bool>>;
    /// A whole number within a range.
    fn whole(&mut self, range: RangeInclusive<u32>) -> Read<Option<u32>>;
    /// A whole number, zero or more.
    fn whole64(&mut self) -> Read<Option<u64>>;
    /// Minutes, clamped to 16 bits.
    fn minutes(&mut self) -> Read<Option<i16>>;
    /// A moment.
    fn time(&mut self) -> Read<Option<Timestamp>>;
    /// A span of time: seconds for people, milliseconds in protobuf. May be negative.
    fn span(&mut self) -> Read<Option<Millis>>;
    /// A factor, in thousandths.
    fn thousandths(&mut self) -> Read<Option<i64>>;
    /// A number of up to 256 bits.
    fn sequence(&mut self) -> Read<Option<SessionSequence>>;

    /// The name of a field in the format that is read.
    fn name<F: Fields>(field: F) -> Cow<'static, str> {
        if Self::NAMES_ARE_JSON { Cow::Borrowed(field.json()) } else { Cow::Borrowed(field.proto()) }
    }

    /// A text of at most 1 KiB.
    #[inline(always)]
    fn text(&mut self) -> Read<Option<&'a str>> {
        match self.any_text()? {
            Some(text) if text.len() > event::TEXT_BYTES_MAX => {
                Err(too_long(text.len(), event::TEXT_BYTES_MAX))
            }
            text => Ok(text),
        }
    }

    /// A text of at most 1 KiB; the empty one says as much as none.
    #[inline(always)]
    fn said(&mut self) -> Read<Option<&'a str>> {
        Ok(self.text()?.filter(|text| !text.is_empty()))
    }

    /// A percentage.
    fn percent(&mut self) -> Read<Option<u8>> {
        Ok(self.whole(0..=100)?.map(|percent| percent as u8))
    }

    /// A code of one byte.
    fn byte(&mut self) -> Read<Option<u8>> {
        Ok(self.whole(0..=255)?.map(|code| code as u8))
    }

    /// A required field that did not come.
    fn missing<F: Fields>(&self, field: F) -> Box<Fault> {
        Fault::at(Reason::MissingField, Self::name(field), "is missing")
    }
}

#[cold]
pub(super) fn too_long(bytes: usize, bytes_max: usize) -> Box<Fault> {
    Fault::new(Reason::TooLong, format!("is {bytes} bytes long; at most {bytes_max} are taken"))
}

/// A word that is none of `W`.
#[cold]
pub(super) fn no_word<W: Word>(said: &str) -> Box<Fault> {
    let words: Vec<&str> = W::ALL.iter().map(|word| word.word()).collect();
    let near = near(said, &words);
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Fault::new(Reason::UnknownEnum, format!("{} is not one of {}{hint}", quoted(said), words.join(", ")))
}

/// A number that stands for none of `W`.
#[cold]
pub(super) fn no_number<W: Word>(number: i32) -> Box<Fault> {
    let words: Vec<String> =
        W::ALL.iter().map(|word| format!("{} ({})", word.number(), word.word())).collect();
    Fault::new(Reason::UnknownEnum, format!("{number} is not one of {}", words.join(", ")))
}

/// A key that a strict message does not have.
#[cold]
pub(super) fn no_key(said: &str, keys: &[&str]) -> Box<Fault> {
    let hint = match near(said, keys) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the keys are {}", keys.join(", ")),
    };
    Fault::new(Reason::UnknownPolicyKey, format!("there is no key {}; {hint}", quoted(said)))
}

/// A number outside its range.
#[cold]
pub(super) fn out_of_range(said: &str, range: &RangeInclusive<u32>) -> Box<Fault> {
    let bounds = match *range.end() {
        u32::MAX => format!("of {} or more, within 32 bits", range.start()),
        end => format!("from {} to {end}", range.start()),
    };
    Fault::new(Reason::BadValue, format!("{said} is not a whole number {bounds}"))
}

/// A moment outside the years that can be written.
#[cold]
pub(super) fn out_of_years(said: &str) -> Box<Fault> {
    Fault::new(Reason::BadValue, format!("{said} lies outside the years 1 to 9999"))
}

/// The candidate that a slip of the pen most likely meant.
fn near<'w>(said: &str, candidates: &[&'w str]) -> Option<&'w str> {
    // Keys that share their first word differ in the unit or the rest most often: graceMinutes, graceSeconds.
    let first_word = |name: &str| {
        let end =
            name.char_indices().skip(1).find(|(_, c)| c.is_ascii_uppercase() || *c == '_').map(|(at, _)| at);
        name[..end.unwrap_or(name.len())].to_ascii_lowercase()
    };
    // The cost grows with the square of the length, and the text is a stranger's.
    let said: String = said.chars().take(64).collect();
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let wanted = plain(&said);
    candidates
        .iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&wanted, &plain(candidate));
            let alike = distance <= 1 + candidate.len() / 5;
            let sibling = said.len() > 3 && first_word(&said) == first_word(candidate);
            (distance, alike || sibling, *candidate)
        })
        .filter(|(_, plausible, _)| *plausible)
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, candidate)| candidate)
}

/// A number of up to 256 bits from big-endian bytes; leading zeros count for nothing.
pub(super) fn sequence_from_bytes(bytes: &[u8]) -> Read<SessionSequence> {
    let start = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[start..];
    if bytes.is_empty() || digits.len() > 32 {
        return Err(Fault::new(
            Reason::BadValue,
            format!("{} bytes are not a number of 1 to 256 bits", bytes.len()),
        ));
    }
    let mut sequence = [0; 32];
    sequence[32 - digits.len()..].copy_from_slice(digits);
    Ok(sequence)
}

/// A number of up to 256 bits from hexadecimal text; leading zeros count for nothing.
pub(super) fn sequence_from_hex(text: &str) -> Read<SessionSequence> {
    let bad = || {
        Fault::new(
            Reason::BadValue,
            format!("{} is not a hexadecimal number of up to 256 bits", quoted(text)),
        )
    };
    let digits = text.trim_start_matches('0');
    if text.is_empty() || digits.len() > 64 {
        return Err(bad());
    }
    let mut sequence = [0; 32];
    for (place, digit) in digits.bytes().rev().enumerate() {
        let value = (digit as char).to_digit(16).ok_or_else(bad)? as u8;
        sequence[31 - place / 2] |= value << (place % 2 * 4);
    }
    Ok(sequence)
}
