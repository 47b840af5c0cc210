//! Writes protobuf.

use super::schema::Fields;
use super::sink::Sink;
use super::source::Word;
use crate::domain::event::SessionSequence;
use crate::domain::time::{Millis, Timestamp};

const VARINT: u32 = 0;
const LENGTH: u32 = 2;

/// A protobuf message being written.
pub(super) struct ProtoSink<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> ProtoSink<'b> {
    pub(super) fn new(out: &'b mut Vec<u8>) -> ProtoSink<'b> {
        ProtoSink { out }
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    #[inline]
    fn key(&mut self, number: u32, wire: u32) {
        self.varint(u64::from(number << 3 | wire));
    }

    #[inline]
    fn number(&mut self, number: u32, value: u64) {
        self.key(number, VARINT);
        self.varint(value);
    }

    #[inline]
    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, LENGTH);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// A field of a length that is known once it is written. Most are shorter than 128 bytes, so one byte is left for
    /// the length; more room is made where it is needed.
    #[inline]
    fn message(&mut self, number: u32, write: impl FnOnce(&mut Self)) {
        self.key(number, LENGTH);
        let start = self.out.len();
        self.out.push(0);
        write(self);
        let length = self.out.len() - start - 1;
        if length < 0x80 {
            self.out[start] = length as u8;
            return;
        }
        let mut encoded = Vec::with_capacity(10);
        ProtoSink { out: &mut encoded }.varint(length as u64);
        self.out.splice(start..=start, encoded);
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

impl Sink for ProtoSink<'_> {
    const TELLS_EMPTY: bool = false;

    #[inline]
    fn text<F: Fields>(&mut self, field: F, value: &str) {
        self.bytes(field.number(), value.as_bytes());
    }

    #[inline]
    fn word<F: Fields, W: Word>(&mut self, field: F, value: W) {
        self.number(field.number(), value.number() as u64);
    }

    #[inline]
    fn flag<F: Fields>(&mut self, field: F, value: bool) {
        self.number(field.number(), u64::from(value));
    }

    #[inline]
    fn whole<F: Fields>(&mut self, field: F, value: u64) {
        self.number(field.number(), value);
    }

    #[inline]
    fn minutes<F: Fields>(&mut self, field: F, value: i16) {
        self.number(field.number(), zigzag(i64::from(value)));
    }

    #[inline]
    fn time<F: Fields>(&mut self, field: F, value: Timestamp) {
        self.number(field.number(), value.millis() as u64);
    }

    #[inline]
    fn span<F: Fields>(&mut self, field: F, value: Millis) {
        self.number(field.number(), value.0 as u64);
    }

    fn thousandths<F: Fields>(&mut self, field: F, value: i64) {
        self.number(field.number(), value as u64);
    }

    fn sequence<F: Fields>(&mut self, field: F, value: &SessionSequence) {
        // At least one byte: no bytes at all are no number.
        let start = value.iter().position(|&byte| byte != 0).unwrap_or(value.len() - 1);
        self.bytes(field.number(), &value[start..]);
    }

    #[inline]
    fn nested<F: Fields>(&mut self, field: F, write: impl FnOnce(&mut Self)) {
        self.message(field.number(), write);
    }

    fn list<F: Fields, T>(
        &mut self,
        field: F,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        for item in items {
            self.message(field.number(), |s| each(s, item));
        }
    }

    fn pairs<'p, F: Fields>(&mut self, field: F, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) {
        for (key, value) in pairs {
            self.message(field.number(), |s| {
                s.bytes(1, key.as_bytes());
                s.bytes(2, value.as_bytes());
            });
        }
    }

    fn words<F: Fields, W: Word>(&mut self, field: F, words: &[W]) {
        if !words.is_empty() {
            self.message(field.number(), |s| words.iter().for_each(|word| s.varint(word.number() as u64)));
        }
    }
}
