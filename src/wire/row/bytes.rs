//! Protobuf's wire format by hand. Reading a device straight from its bytes takes three quarters of what prost takes
//! for its message alone, from which the device would still have to be made; writing takes half (`benches/row.rs`).
//! Fields are written in ascending order with minimal lengths, so the bytes are those that prost writes.

use super::CorruptRow;
use crate::domain::event::SessionSequence;
use crate::domain::time::Timestamp;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writes fields; times as spans after `origin`.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    origin: i64,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>, origin: i64) -> Writer<'a> {
        Writer { out, origin }
    }

    /// The same writer, for times after another origin.
    pub fn from(&mut self, origin: i64) -> Writer<'_> {
        Writer { out: self.out, origin }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    /// A number, whatever it is.
    pub fn int(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    /// A number, unless it is 0.
    pub fn nonzero(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.int(field, value);
        }
    }

    /// A number that may be negative, whatever it is.
    pub fn signed(&mut self, field: u32, value: i64) {
        self.int(field, zigzag(value));
    }

    /// A flag, if it is set.
    pub fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.int(field, 1);
        }
    }

    fn after_origin(&self, at: Timestamp) -> u64 {
        zigzag(at.millis().wrapping_sub(self.origin))
    }

    /// A time, unless it is what its absence stands for.
    pub fn time(&mut self, field: u32, at: Timestamp, absent: Timestamp) {
        if at != absent {
            self.int(field, self.after_origin(at));
        }
    }

    /// A time, if there is one.
    pub fn optional_time(&mut self, field: u32, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.int(field, self.after_origin(at));
        }
    }

    /// Times, packed, if there are any.
    pub fn times(&mut self, field: u32, times: &[Timestamp]) {
        if !times.is_empty() {
            self.message(field, |w| {
                for at in times {
                    w.varint(w.after_origin(*at));
                }
            });
        }
    }

    /// Bytes, be they none.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// A text, be it empty.
    pub fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    /// A text, if there is one.
    pub fn optional_text(&mut self, field: u32, text: Option<&str>) {
        if let Some(text) = text {
            self.text(field, text);
        }
    }

    /// A session's place in the order, without leading zeros.
    pub fn sequence(&mut self, field: u32, sequence: &Option<SessionSequence>) {
        if let Some(sequence) = sequence {
            let zeros = sequence.iter().take_while(|byte| **byte == 0).count();
            self.bytes(field, &sequence[zeros..]);
        }
    }

    /// A message, be it empty. Its length is known when it is written: most need one byte, for which there is room.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.tag(field, LENGTH);
        let start = self.out.len() + 1;
        self.out.push(0);
        write(&mut Writer { out: self.out, origin: self.origin });
        let length = self.out.len() - start;
        if length < 0x80 {
            self.out[start - 1] = length as u8;
            return;
        }
        self.widen_length(start, length);
    }

    #[cold]
    fn widen_length(&mut self, start: usize, length: usize) {
        let mut varint = Vec::with_capacity(5);
        Writer::new(&mut varint, 0).varint(length as u64);
        self.out.splice(start - 1..start, varint);
    }
}

/// Reads fields.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// A field as it stands on the wire.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// No field of ours is of fixed width.
    Fixed,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, CorruptRow> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, CorruptRow> {
        let (mut value, mut shift) = (0, 0);
        for (index, &byte) in self.rest.iter().enumerate() {
            if shift == 63 && byte > 1 {
                return Err(CorruptRow::Range { what: "number" });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
            shift += 7;
        }
        Err(CorruptRow::Truncated)
    }

    #[inline(always)]
    fn take(&mut self, length: u64) -> Result<&'a [u8], CorruptRow> {
        let length = usize::try_from(length).map_err(|_| CorruptRow::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CorruptRow::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next field: its number and its value.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, CorruptRow> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| CorruptRow::Range { what: "tag" })?;
        let value = match tag & 7 {
            VARINT => Value::Varint(self.varint()?),
            LENGTH => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Value::Fixed)?,
            FIXED32 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(CorruptRow::WireType),
        };
        match tag >> 3 {
            0 => Err(CorruptRow::Range { what: "field number" }),
            field => Ok(Some((field, value))),
        }
    }

    /// Whether the next field, if there is one, is a number with this field number below 16.
    pub fn is_next_int(&self, field: u8) -> bool {
        self.rest.first() == Some(&(field << 3))
    }
}

impl<'a> Value<'a> {
    #[inline(always)]
    pub fn int(self) -> Result<u64, CorruptRow> {
        match self {
            Value::Varint(value) => Ok(value),
            _ => Err(CorruptRow::WireType),
        }
    }

    /// A number of a narrower type.
    pub fn narrow<T: TryFrom<u64>>(self, what: &'static str) -> Result<T, CorruptRow> {
        T::try_from(self.int()?).map_err(|_| CorruptRow::Range { what })
    }

    #[inline(always)]
    pub fn signed(self) -> Result<i64, CorruptRow> {
        Ok(unzigzag(self.int()?))
    }

    pub fn minutes(self) -> Result<i16, CorruptRow> {
        i16::try_from(self.signed()?).map_err(|_| CorruptRow::Range { what: "minutes" })
    }

    pub fn flag(self) -> Result<bool, CorruptRow> {
        Ok(self.int()? != 0)
    }

    #[inline(always)]
    pub fn bytes(self) -> Result<&'a [u8], CorruptRow> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(CorruptRow::WireType),
        }
    }

    pub fn text(self) -> Result<&'a str, CorruptRow> {
        std::str::from_utf8(self.bytes()?).map_err(|_| CorruptRow::Text)
    }

    pub fn boxed(self) -> Result<Option<Box<str>>, CorruptRow> {
        Ok(Some(self.text()?.into()))
    }

    /// A time that is so long after `origin`.
    #[inline(always)]
    pub fn time(self, origin: i64) -> Result<Timestamp, CorruptRow> {
        timestamp(origin.wrapping_add(self.signed()?))
    }

    /// Times, packed or one by one.
    pub fn times(self, origin: i64, times: &mut Vec<Timestamp>) -> Result<(), CorruptRow> {
        let Value::Bytes(bytes) = self else {
            times.push(self.time(origin)?);
            return Ok(());
        };
        let mut reader = Reader::new(bytes);
        while !reader.rest.is_empty() {
            times.push(Value::Varint(reader.varint()?).time(origin)?);
        }
        Ok(())
    }

    pub fn sequence(self) -> Result<Option<SessionSequence>, CorruptRow> {
        let bytes = self.bytes()?;
        let mut sequence = SessionSequence::default();
        let start = sequence.len().checked_sub(bytes.len()).ok_or(CorruptRow::Range { what: "sequence" })?;
        sequence[start..].copy_from_slice(bytes);
        Ok(Some(sequence))
    }

    /// A word of a closed set whose numbers begin with 1.
    pub fn word<T: Copy>(self, all: &[T], what: &'static str) -> Result<T, CorruptRow> {
        word(all, self.int()?.wrapping_sub(1), what)
    }
}

/// The word at `index`.
pub(super) fn word<T: Copy>(all: &[T], index: u64, what: &'static str) -> Result<T, CorruptRow> {
    let found = usize::try_from(index).ok().and_then(|index| all.get(index));
    found.copied().ok_or(CorruptRow::UnknownWord { what, index })
}

/// The moment that `millis` since the epoch is.
#[inline(always)]
pub(super) fn timestamp(millis: i64) -> Result<Timestamp, CorruptRow> {
    let at = Timestamp::from_millis(millis);
    if at.millis() == millis {
        Ok(at)
    } else if millis == Timestamp::NEVER.millis() {
        Ok(Timestamp::NEVER)
    } else {
        Err(CorruptRow::Range { what: "time" })
    }
}
