//! What writing a message asks of the format. [`super::write_json`] and [`super::write_proto`] answer.

use super::schema::Fields;
use super::source::Word;
use crate::domain::event::SessionSequence;
use crate::domain::time::{Millis, Timestamp};

/// A message being written. Fields are written in the order of the calls; what is not written is absent.
pub(super) trait Sink: Sized {
    /// Whether an empty list stands on the wire.
    const TELLS_EMPTY: bool;

    /// A text.
    fn text<F: Fields>(&mut self, field: F, value: &str);
    /// A word.
    fn word<F: Fields, W: Word>(&mut self, field: F, value: W);
    /// True or false.
    fn flag<F: Fields>(&mut self, field: F, value: bool);
    /// A whole number, zero or more.
    fn whole<F: Fields>(&mut self, field: F, value: u64);
    /// Minutes, with a sign.
    fn minutes<F: Fields>(&mut self, field: F, value: i16);
    /// A moment that has happened.
    fn time<F: Fields>(&mut self, field: F, value: Timestamp);
    /// A span of time.
    fn span<F: Fields>(&mut self, field: F, value: Millis);
    /// A factor, in thousandths.
    fn thousandths<F: Fields>(&mut self, field: F, value: i64);
    /// A number of up to 256 bits.
    fn sequence<F: Fields>(&mut self, field: F, value: &SessionSequence);
    /// A message within.
    fn nested<F: Fields>(&mut self, field: F, write: impl FnOnce(&mut Self));
    /// Messages within.
    fn list<F: Fields, T>(
        &mut self,
        field: F,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(&mut Self, T),
    );
    /// Pairs of texts.
    fn pairs<'p, F: Fields>(&mut self, field: F, pairs: impl IntoIterator<Item = (&'p str, &'p str)>);
    /// Words.
    fn words<F: Fields, W: Word>(&mut self, field: F, words: &[W]);

    /// A text, if there is one.
    #[inline]
    fn text_if<F: Fields>(&mut self, field: F, value: Option<&str>) {
        if let Some(value) = value {
            self.text(field, value);
        }
    }

    /// A word, if there is one.
    #[inline]
    fn word_if<F: Fields, W: Word>(&mut self, field: F, value: Option<W>) {
        if let Some(value) = value {
            self.word(field, value);
        }
    }

    /// True or false, if known.
    #[inline]
    fn flag_if<F: Fields>(&mut self, field: F, value: Option<bool>) {
        if let Some(value) = value {
            self.flag(field, value);
        }
    }

    /// True or false, unless that is what its absence says.
    #[inline]
    fn flag_unless<F: Fields>(&mut self, field: F, value: bool, default: bool) {
        if value != default {
            self.flag(field, value);
        }
    }

    /// A whole number, if there is one.
    #[inline]
    fn whole_if<F: Fields>(&mut self, field: F, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.whole(field, value.into());
        }
    }

    /// Minutes, if there are any.
    #[inline]
    fn minutes_if<F: Fields>(&mut self, field: F, value: Option<i16>) {
        if let Some(value) = value {
            self.minutes(field, value);
        }
    }

    /// A moment, if there is one.
    #[inline]
    fn time_if<F: Fields>(&mut self, field: F, value: Option<Timestamp>) {
        if let Some(value) = value {
            self.time(field, value);
        }
    }
}
