//! Reads protobuf in place, without owned texts. What it makes of any bytes is what prost makes of them, but for the
//! rules of ours: a test holds both together.

use std::ops::RangeInclusive;

use super::reject::{Fault, Read, Reason};
use super::schema::Fields;
use super::source::{
    Source, Word, no_key, no_number, out_of_range, out_of_years, sequence_from_bytes, too_long,
};
use crate::domain::event::SessionSequence;
use crate::domain::time::{Millis, Timestamp};

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// How deep messages and unknown groups may lie in each other: prost's limit.
const DEPTH_MAX: u32 = 100;

/// A protobuf message under way.
pub(super) struct ProtoSource<'a> {
    /// What is left of the current message.
    rest: &'a [u8],
    /// The wire type of the field at hand.
    wire: u8,
    /// How much deeper it may go.
    depth_left: u32,
}

impl<'a> ProtoSource<'a> {
    pub(super) fn new(message: &'a [u8]) -> ProtoSource<'a> {
        ProtoSource { rest: message, wire: LENGTH, depth_left: DEPTH_MAX }
    }

    #[inline(always)]
    fn varint(&mut self) -> Read<u64> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for (place, &byte) in self.rest.iter().enumerate().take(10) {
            if place == 9 && byte > 1 {
                return Err(malformed("a number is longer than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                self.rest = &self.rest[place + 1..];
                return Ok(value);
            }
        }
        Err(truncated())
    }

    /// Number and wire type of the next field.
    #[inline(always)]
    fn key(&mut self) -> Read<u32> {
        let key = self.varint()?;
        let number = key >> 3;
        if key > u64::from(u32::MAX) || number == 0 {
            return Err(malformed("a field has an impossible number"));
        }
        self.wire = (key & 7) as u8;
        Ok(number as u32)
    }

    #[inline(always)]
    fn bytes(&mut self) -> Read<&'a [u8]> {
        self.expect(LENGTH)?;
        let length = self.varint()?;
        match usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length)) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(truncated()),
        }
    }

    #[inline(always)]
    fn expect(&self, wire: u8) -> Read<()> {
        if self.wire == wire { Ok(()) } else { Err(wrong_wire_type(self.wire, wire)) }
    }

    fn pass(&mut self, bytes: usize) -> Read<()> {
        self.rest = self.rest.get(bytes..).ok_or_else(truncated)?;
        Ok(())
    }

    /// Passes over the value of an unknown field.
    fn skip(&mut self, number: u32, depth_left: u32) -> Read<()> {
        if depth_left == 0 {
            return Err(too_deep());
        }
        match self.wire {
            VARINT => self.varint().map(|_| ()),
            FIXED64 => self.pass(8),
            LENGTH => self.bytes().map(|_| ()),
            FIXED32 => self.pass(4),
            GROUP => loop {
                let inner = self.key()?;
                if self.wire != GROUP_END {
                    self.skip(inner, depth_left - 1)?;
                } else if inner == number {
                    return Ok(());
                } else {
                    return Err(malformed("a group ends that did not begin"));
                }
            },
            _ => Err(malformed("a field has an impossible wire type")),
        }
    }

    #[inline(always)]
    fn within<T>(&mut self, bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth_left == 1 {
            return Err(too_deep());
        }
        let rest = std::mem::replace(&mut self.rest, bytes);
        self.depth_left -= 1;
        let value = read(self)?;
        self.depth_left += 1;
        self.rest = rest;
        Ok(value)
    }

    #[inline(always)]
    fn number(&mut self) -> Read<u64> {
        self.expect(VARINT)?;
        self.varint()
    }
}

impl<'a> Source<'a> for ProtoSource<'a> {
    const NAMES_ARE_JSON: bool = false;

    #[inline(always)]
    fn fields<F: Fields>(&mut self, mut each: impl FnMut(&mut Self, F) -> Read<()>) -> Read<()> {
        while !self.rest.is_empty() {
            let number = self.key()?;
            match F::from_number(number) {
                Some(field) => {
                    if let Err(fault) = each(self, field) {
                        return Err(fault.under(field.proto()));
                    }
                }
                None if F::STRICT => {
                    let names: Vec<&str> = F::ALL.iter().map(|field| field.proto()).collect();
                    return Err(no_key(&number.to_string(), &names));
                }
                None => self.skip(number, self.depth_left)?,
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn nested<T>(&mut self, bytes_max: usize, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        let bytes = self.bytes()?;
        if bytes.len() > bytes_max {
            return Err(too_long(bytes.len(), bytes_max));
        }
        self.within(bytes, read).map(Some)
    }

    fn list(&mut self, count: usize, each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        let bytes = self.bytes()?;
        self.within(bytes, each).map_err(|fault| fault.at_index(count))
    }

    fn pairs(&mut self, mut each: impl FnMut(&'a str, &'a str) -> Read<()>) -> Read<bool> {
        let bytes = self.bytes()?;
        let (key, value) = self.within(bytes, |s| {
            let (mut key, mut value) = ("", "");
            while !s.rest.is_empty() {
                match s.key()? {
                    1 => key = s.any_text()?.unwrap_or_default(),
                    2 => value = s.any_text()?.unwrap_or_default(),
                    number => s.skip(number, s.depth_left)?,
                }
            }
            Ok((key, value))
        })?;
        each(key, value).map(|()| true)
    }

    fn words<W: Word>(&mut self, mut each: impl FnMut(W)) -> Read<()> {
        if self.wire != LENGTH {
            if let Some(word) = self.word()? {
                each(word);
            }
            return Ok(());
        }
        // Packed.
        let bytes = self.bytes()?;
        self.within(bytes, |s| {
            s.wire = VARINT;
            while !s.rest.is_empty() {
                if let Some(word) = s.word()? {
                    each(word);
                }
            }
            Ok(())
        })
    }

    #[inline(always)]
    fn any_text(&mut self) -> Read<Option<&'a str>> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(malformed("a text is not UTF-8")),
        }
    }

    #[inline(always)]
    fn text_bytes(&mut self) -> Read<Option<&'a [u8]>> {
        self.bytes().map(Some)
    }

    #[inline(always)]
    fn word<W: Word>(&mut self) -> Read<Option<W>> {
        // Enums are 32 bits wide; whatever is longer is cut, as protobuf has it.
        let number = self.number()? as i32;
        if number == 0 {
            return Ok(None);
        }
        match usize::try_from(number).ok().and_then(|number| W::ALL.get(number - 1)) {
            Some(word) => Ok(Some(*word)),
            None => Err(no_number::<W>(number)),
        }
    }

    #[inline(always)]
    fn flag(&mut self) -> Read<Option<bool>> {
        Ok(Some(self.number()? != 0))
    }

    #[inline(always)]
    fn whole(&mut self, range: RangeInclusive<u32>) -> Read<Option<u32>> {
        let number = self.number()? as u32;
        if range.contains(&number) {
            Ok(Some(number))
        } else {
            Err(out_of_range(&number.to_string(), &range))
        }
    }

    fn whole64(&mut self) -> Read<Option<u64>> {
        self.number().map(Some)
    }

    fn minutes(&mut self) -> Read<Option<i16>> {
        let number = self.number()?;
        let minutes = (number >> 1) as i64 ^ -((number & 1) as i64);
        Ok(Some(minutes.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16))
    }

    #[inline(always)]
    fn time(&mut self) -> Read<Option<Timestamp>> {
        let millis = self.number()? as i64;
        let time = Timestamp::from_millis(millis);
        if time.millis() == millis { Ok(Some(time)) } else { Err(out_of_years(&millis.to_string())) }
    }

    fn span(&mut self) -> Read<Option<Millis>> {
        Ok(Some(Millis(self.number()? as i64)))
    }

    fn thousandths(&mut self) -> Read<Option<i64>> {
        Ok(Some(self.number()? as i64))
    }

    fn sequence(&mut self) -> Read<Option<SessionSequence>> {
        sequence_from_bytes(self.bytes()?).map(Some)
    }
}

#[cold]
fn truncated() -> Box<Fault> {
    Fault::new(Reason::Truncated, "the protobuf message ends in the middle of a field")
}

#[cold]
fn too_deep() -> Box<Fault> {
    Fault::new(Reason::TooDeep, format!("the protobuf message is nested deeper than {DEPTH_MAX}"))
}

/// Bytes that are no protobuf at all, or not this message: the most frequent cause is a record in another format.
#[cold]
fn malformed(what: &str) -> Box<Fault> {
    Fault::new(Reason::NotProtobuf, format!("{what}: neither JSON nor a lastseen.v1 message in protobuf"))
}

#[cold]
fn wrong_wire_type(have: u8, want: u8) -> Box<Fault> {
    const NAMES: [&str; 8] = [
        "a number",
        "64 bits",
        "a length",
        "a group",
        "a group's end",
        "32 bits",
        "wire type 6",
        "wire type 7",
    ];
    malformed(&format!(
        "{} stands where {} is expected",
        NAMES[usize::from(have & 7)],
        NAMES[usize::from(want & 7)]
    ))
}
