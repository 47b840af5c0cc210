//! Writes JSON: one line, no spaces, fields in the order of the calls.

use super::rfc3339;
use super::schema::Fields;
use super::sink::Sink;
use super::source::Word;
use crate::domain::event::SessionSequence;
use crate::domain::time::{Millis, Timestamp};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A JSON object being written.
pub(super) struct JsonSink<'b> {
    out: &'b mut Vec<u8>,
    first: bool,
}

impl<'b> JsonSink<'b> {
    /// Writes an object to the end of `out`.
    pub(super) fn object(out: &'b mut Vec<u8>, write: impl FnOnce(&mut JsonSink<'b>)) {
        out.push(b'{');
        let mut sink = JsonSink { out, first: true };
        write(&mut sink);
        sink.out.push(b'}');
    }

    /// A field that the schema does not know, with a text; neither needs escapes.
    pub(super) fn plain(&mut self, name: &str, value: &str) {
        self.key(name);
        self.quote_plain(value);
    }

    /// Any text, under a name of its own.
    pub(super) fn named_text(&mut self, name: &str, value: &str) {
        self.key(name);
        self.quote(value);
    }

    /// Any number, under a name of its own.
    pub(super) fn named_whole(&mut self, name: &str, value: u64) {
        self.key(name);
        self.digits(value);
    }

    #[inline]
    fn key(&mut self, name: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.quote_plain(name);
        self.out.push(b':');
    }

    #[inline]
    fn quote_plain(&mut self, text: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    #[inline]
    fn quote(&mut self, text: &str) {
        self.out.push(b'"');
        let bytes = text.as_bytes();
        let mut start = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' {
                continue;
            }
            self.out.extend_from_slice(&bytes[start..at]);
            start = at + 1;
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', byte]),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                _ => {
                    let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                    self.out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                }
            }
        }
        self.out.extend_from_slice(&bytes[start..]);
        self.out.push(b'"');
    }

    #[inline]
    fn digits(&mut self, mut value: u64) {
        let mut text = [0; 20];
        let mut at = text.len();
        loop {
            at -= 1;
            text[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&text[at..]);
    }

    /// A thousandth of `value`, exactly, with as many decimals as it needs.
    fn decimal(&mut self, value: i64) {
        if value < 0 {
            self.out.push(b'-');
        }
        let value = value.unsigned_abs();
        self.digits(value / 1000);
        let mut rest = value % 1000;
        let mut weight = 100;
        if rest > 0 {
            self.out.push(b'.');
        }
        while rest > 0 {
            self.out.push(b'0' + (rest / weight) as u8);
            rest %= weight;
            weight /= 10;
        }
    }

    #[inline]
    fn inner(&mut self, write: impl FnOnce(&mut Self)) {
        self.out.push(b'{');
        self.first = true;
        write(self);
        self.out.push(b'}');
        self.first = false;
    }

    fn items<T>(&mut self, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut Self, T)) {
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            each(self, item);
        }
        self.out.push(b']');
    }
}

impl Sink for JsonSink<'_> {
    const TELLS_EMPTY: bool = true;

    #[inline]
    fn text<F: Fields>(&mut self, field: F, value: &str) {
        self.named_text(field.json(), value);
    }

    #[inline]
    fn word<F: Fields, W: Word>(&mut self, field: F, value: W) {
        self.plain(field.json(), value.word());
    }

    #[inline]
    fn flag<F: Fields>(&mut self, field: F, value: bool) {
        self.key(field.json());
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    #[inline]
    fn whole<F: Fields>(&mut self, field: F, value: u64) {
        self.named_whole(field.json(), value);
    }

    fn minutes<F: Fields>(&mut self, field: F, value: i16) {
        self.key(field.json());
        if value < 0 {
            self.out.push(b'-');
        }
        self.digits(u64::from(value.unsigned_abs()));
    }

    #[inline]
    fn time<F: Fields>(&mut self, field: F, value: Timestamp) {
        self.key(field.json());
        self.out.push(b'"');
        rfc3339::write(value, self.out);
        self.out.push(b'"');
    }

    fn span<F: Fields>(&mut self, field: F, value: Millis) {
        self.key(field.json());
        self.decimal(value.0);
    }

    fn thousandths<F: Fields>(&mut self, field: F, value: i64) {
        self.key(field.json());
        self.decimal(value);
    }

    fn sequence<F: Fields>(&mut self, field: F, value: &SessionSequence) {
        self.key(field.json());
        let mut text = [0; 64];
        for (at, digit) in text.iter_mut().enumerate() {
            let byte = value[at / 2];
            *digit = HEX[usize::from(if at % 2 == 0 { byte >> 4 } else { byte & 15 })];
        }
        let start = text.iter().position(|&digit| digit != b'0').unwrap_or(text.len() - 1);
        self.out.push(b'"');
        self.out.extend_from_slice(&text[start..]);
        self.out.push(b'"');
    }

    #[inline]
    fn nested<F: Fields>(&mut self, field: F, write: impl FnOnce(&mut Self)) {
        self.key(field.json());
        self.inner(write);
    }

    fn list<F: Fields, T>(
        &mut self,
        field: F,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.key(field.json());
        self.items(items, |s, item| s.inner(|s| each(s, item)));
    }

    fn pairs<'p, F: Fields>(&mut self, field: F, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) {
        self.key(field.json());
        self.inner(|s| pairs.into_iter().for_each(|(key, value)| s.pair(key, value)));
    }

    fn words<F: Fields, W: Word>(&mut self, field: F, words: &[W]) {
        if !words.is_empty() {
            self.key(field.json());
            self.items(words, |s, word| s.quote_plain(word.word()));
        }
    }
}

impl JsonSink<'_> {
    fn pair(&mut self, key: &str, value: &str) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
        self.quote(key);
        self.out.push(b':');
        self.quote(value);
    }
}
