//! JSON as a source of messages.

use std::ops::RangeInclusive;

use super::json::{JsonText, Number};
use super::reject::{Fault, Read, Reason, quoted};
use super::rfc3339;
use super::schema::Fields;
use super::source::{Source, Word, no_key, no_word, out_of_range, sequence_from_hex, too_long};
use crate::domain::event::SessionSequence;
use crate::domain::time::{Millis, Timestamp};

impl<'a> Source<'a> for JsonText<'a> {
    const NAMES_ARE_JSON: bool = true;

    #[inline(always)]
    fn fields<F: Fields>(&mut self, mut each: impl FnMut(&mut Self, F) -> Read<()>) -> Read<()> {
        let mut seen = 0_u64;
        let mut more = self.open(b'{', b'}', "an object")?;
        while more {
            let key = self.key()?;
            match F::from_json(key) {
                Some(field) => {
                    let bit = 1_u64 << field.number();
                    if seen & bit != 0 && field.number() < F::ALTERNATIVES_FROM {
                        return Err(Fault::at(Reason::DuplicateKey, field.json(), "stands there twice"));
                    }
                    seen |= bit;
                    if let Err(fault) = each(self, field) {
                        return Err(fault.under(field.json()));
                    }
                }
                None if F::STRICT => {
                    let names: Vec<&str> = F::ALL.iter().map(|field| field.json()).collect();
                    return Err(no_key(key, &names));
                }
                None => self.skip()?,
            }
            more = self.goes_on(b'}')?;
        }
        Ok(())
    }

    #[inline(always)]
    fn nested<T>(&mut self, bytes_max: usize, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.null()? {
            return Ok(None);
        }
        let start = self.at;
        let value = read(self)?;
        let bytes = self.at - start;
        if bytes > bytes_max { Err(too_long(bytes, bytes_max)) } else { Ok(Some(value)) }
    }

    fn list(&mut self, count: usize, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        if self.null()? {
            return Ok(());
        }
        let mut index = count;
        let mut more = self.open(b'[', b']', "a list")?;
        while more {
            each(self).map_err(|fault| fault.at_index(index))?;
            index += 1;
            more = self.goes_on(b']')?;
        }
        Ok(())
    }

    fn pairs(&mut self, mut each: impl FnMut(&'a str, &'a str) -> Read<()>) -> Read<bool> {
        if self.null()? {
            return Ok(false);
        }
        let mut seen: Vec<&str> = Vec::new();
        let mut more = self.open(b'{', b'}', "an object")?;
        while more {
            let key = self.key()?;
            // Few: whoever takes the pairs stops this at a limit.
            if seen.contains(&key) {
                return Err(Fault::at(Reason::DuplicateKey, quoted(key), "stands there twice"));
            }
            seen.push(key);
            if let Some(value) = self.any_text().map_err(|fault| fault.under(quoted(key)))? {
                each(key, value)?;
            }
            more = self.goes_on(b'}')?;
        }
        Ok(true)
    }

    fn words<W: Word>(&mut self, mut each: impl FnMut(W)) -> Read<()> {
        if self.null()? {
            return Ok(());
        }
        let mut more = self.open(b'[', b']', "a list")?;
        while more {
            if let Some(word) = self.word()? {
                each(word);
            }
            more = self.goes_on(b']')?;
        }
        Ok(())
    }

    #[inline(always)]
    fn any_text(&mut self) -> Read<Option<&'a str>> {
        match self.peek() {
            Some(b'"') => self.string().map(Some),
            _ if self.null()? => Ok(None),
            _ => Err(self.wrong("a text")),
        }
    }

    #[inline(always)]
    fn text_bytes(&mut self) -> Read<Option<&'a [u8]>> {
        Ok(self.any_text()?.map(str::as_bytes))
    }

    #[inline(always)]
    fn word<W: Word>(&mut self) -> Read<Option<W>> {
        match self.any_text()? {
            Some(said) => W::from_word(said).map(Some).ok_or_else(|| no_word::<W>(said)),
            None => Ok(None),
        }
    }

    fn flag(&mut self) -> Read<Option<bool>> {
        match self.peek() {
            Some(b't') => self.literal("true").map(|()| Some(true)),
            Some(b'f') => self.literal("false").map(|()| Some(false)),
            _ if self.null()? => Ok(None),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn whole(&mut self, range: RangeInclusive<u32>) -> Read<Option<u32>> {
        let number = match self.number("a whole number")? {
            None => return Ok(None),
            Some(Number::Whole(number)) => u32::try_from(number).map_err(|_| number.to_string()),
            Some(Number::Negative(number)) => Err(number.to_string()),
            Some(Number::Text(text)) => whole_number(text, f64::from(u32::MAX)).map(|number| number as u32),
        };
        match number {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            Ok(number) => Err(out_of_range(&number.to_string(), &range)),
            Err(said) => Err(out_of_range(&said, &range)),
        }
    }

    fn whole64(&mut self) -> Read<Option<u64>> {
        // Beyond 2^53 a number with a decimal point has lost digits already.
        let number = match self.number("a whole number")? {
            None => return Ok(None),
            Some(Number::Whole(number)) => Ok(number),
            Some(Number::Negative(number)) => Err(number.to_string()),
            Some(Number::Text(text)) => {
                whole_number(text, 9_007_199_254_740_992.0).map(|number| number as u64)
            }
        };
        number.map(Some).map_err(|said| {
            Fault::new(Reason::BadValue, format!("{said} is not a whole number of 0 or more"))
        })
    }

    fn minutes(&mut self) -> Read<Option<i16>> {
        let number = match self.number("a whole number")? {
            None => return Ok(None),
            Some(Number::Whole(number)) => number as f64,
            Some(Number::Negative(number)) => number as f64,
            Some(Number::Text(text)) => match text.parse::<f64>() {
                // What is too large for a double is a whole number, and clamped like any other.
                Ok(number) if number.is_infinite() || number.fract() == 0.0 => number,
                _ => {
                    return Err(Fault::new(
                        Reason::BadValue,
                        format!("{} is not a whole number", quoted(text)),
                    ));
                }
            },
        };
        Ok(Some(number.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16))
    }

    #[inline(always)]
    fn time(&mut self) -> Read<Option<Timestamp>> {
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                rfc3339::parse(text).map(Some).ok_or_else(|| bad_time(text))
            }
            _ if self.null()? => Ok(None),
            _ => Err(self.wrong("an RFC 3339 time in quotation marks, such as \"2026-01-01T00:00:00.000Z\"")),
        }
    }

    fn span(&mut self) -> Read<Option<Millis>> {
        Ok(self.thousand_fold("a number of seconds")?.map(Millis))
    }

    fn thousandths(&mut self) -> Read<Option<i64>> {
        self.thousand_fold("a number")
    }

    fn sequence(&mut self) -> Read<Option<SessionSequence>> {
        self.any_text()?.map(sequence_from_hex).transpose()
    }
}

/// A whole number that is written with a decimal point or an exponent; its text otherwise.
fn whole_number(text: &str, max: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && (0.0..=max).contains(&number) => Ok(number),
        _ => Err(quoted(text)),
    }
}

#[cold]
pub(super) fn bad_time(text: &str) -> Box<Fault> {
    let message = format!(
        "{} is not an RFC 3339 time in the years 1 to 9999, such as 2026-01-01T00:00:00.000Z",
        quoted(text)
    );
    Fault::new(Reason::BadValue, message)
}
