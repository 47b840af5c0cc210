//! Reads TOML that has been parsed already: files are small and rare. Keys are those of JSON in snake case.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::read_json::bad_time;
use super::reject::{Fault, Read, Reason, Reject, quoted};
use super::rfc3339;
use super::schema::Fields;
use super::source::{Source, Word, no_key, no_word, out_of_range, sequence_from_hex};
use crate::domain::event::SessionSequence;
use crate::domain::time::{Millis, Timestamp};

/// A TOML document, or where it is none.
pub(super) fn parse(text: &str) -> Result<Table, Reject> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Reject::new(Reason::BadValue, format!("not valid TOML at line {line}, column {column}: {message}"))
    })
}

/// `camelCase` as `snake_case`.
pub(super) fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

enum At<'a> {
    Table(&'a Table),
    Value(&'a Value),
}

/// A TOML table, and the value of it that is at hand.
pub(super) struct TomlSource<'a> {
    at: At<'a>,
}

impl<'a> TomlSource<'a> {
    pub(super) fn new(table: &'a Table) -> TomlSource<'a> {
        TomlSource { at: At::Table(table) }
    }

    fn wrong(&self, wanted: &str) -> Box<Fault> {
        let found = match self.at {
            At::Table(_) | At::Value(Value::Table(_)) => "a table",
            At::Value(Value::String(_)) => "a text",
            At::Value(Value::Integer(_) | Value::Float(_)) => "a number",
            At::Value(Value::Boolean(_)) => "true or false",
            At::Value(Value::Datetime(_)) => "a date or time",
            At::Value(Value::Array(_)) => "a list",
        };
        Fault::new(Reason::BadValue, format!("must be {wanted}, not {found}"))
    }

    fn table(&self) -> Read<&'a Table> {
        match self.at {
            At::Table(table) | At::Value(Value::Table(table)) => Ok(table),
            At::Value(_) => Err(self.wrong("a table")),
        }
    }

    fn items(&self) -> Read<&'a [Value]> {
        match self.at {
            At::Value(Value::Array(items)) => Ok(items),
            _ => Err(self.wrong("a list")),
        }
    }

    fn integer(&self) -> Read<i64> {
        match self.at {
            At::Value(Value::Integer(number)) => Ok(*number),
            _ => Err(self.wrong("a whole number")),
        }
    }

    /// A number that may have decimals, times a thousand, rounded.
    fn thousand_fold(&self) -> Read<i64> {
        match self.at {
            At::Value(Value::Integer(number)) => Ok(number.saturating_mul(1000)),
            At::Value(Value::Float(number)) if number.is_nan() => {
                Err(Fault::new(Reason::BadValue, "is not a number"))
            }
            // The conversion saturates; who asked refuses what is so large.
            At::Value(Value::Float(number)) => Ok((number * 1000.0).round() as i64),
            _ => Err(self.wrong("a number")),
        }
    }
}

impl<'a> Source<'a> for TomlSource<'a> {
    const NAMES_ARE_JSON: bool = true;

    fn name<F: Fields>(field: F) -> Cow<'static, str> {
        Cow::Owned(snake(field.json()))
    }

    fn fields<F: Fields>(&mut self, mut each: impl FnMut(&mut Self, F) -> Read<()>) -> Read<()> {
        for (key, value) in self.table()? {
            match F::ALL.iter().find(|field| snake(field.json()) == *key) {
                Some(&field) => {
                    each(&mut TomlSource { at: At::Value(value) }, field)
                        .map_err(|fault| fault.under(snake(field.json())))?;
                }
                None if F::STRICT => {
                    let names: Vec<String> = F::ALL.iter().map(|field| snake(field.json())).collect();
                    return Err(no_key(key, &names.iter().map(String::as_str).collect::<Vec<_>>()));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn nested<T>(&mut self, _bytes_max: usize, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        read(self).map(Some)
    }

    fn list(&mut self, count: usize, mut each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        for (index, item) in self.items()?.iter().enumerate() {
            each(&mut TomlSource { at: At::Value(item) }).map_err(|fault| fault.at_index(count + index))?;
        }
        Ok(())
    }

    fn pairs(&mut self, mut each: impl FnMut(&'a str, &'a str) -> Read<()>) -> Read<bool> {
        for (key, value) in self.table()? {
            let value =
                TomlSource { at: At::Value(value) }.any_text().map_err(|fault| fault.under(quoted(key)))?;
            each(key, value.unwrap_or_default())?;
        }
        Ok(true)
    }

    fn words<W: Word>(&mut self, mut each: impl FnMut(W)) -> Read<()> {
        for item in self.items()? {
            if let Some(word) = (TomlSource { at: At::Value(item) }).word()? {
                each(word);
            }
        }
        Ok(())
    }

    fn any_text(&mut self) -> Read<Option<&'a str>> {
        match self.at {
            At::Value(Value::String(text)) => Ok(Some(text)),
            _ => Err(self.wrong("a text")),
        }
    }

    #[inline(always)]
    fn text_bytes(&mut self) -> Read<Option<&'a [u8]>> {
        Ok(self.any_text()?.map(str::as_bytes))
    }

    fn word<W: Word>(&mut self) -> Read<Option<W>> {
        let said = self.any_text()?.unwrap_or_default();
        W::from_word(said).map(Some).ok_or_else(|| no_word::<W>(said))
    }

    fn flag(&mut self) -> Read<Option<bool>> {
        match self.at {
            At::Value(Value::Boolean(flag)) => Ok(Some(*flag)),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn whole(&mut self, range: RangeInclusive<u32>) -> Read<Option<u32>> {
        let number = self.integer()?;
        match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(out_of_range(&number.to_string(), &range)),
        }
    }

    fn whole64(&mut self) -> Read<Option<u64>> {
        let number = self.integer()?;
        u64::try_from(number)
            .map(Some)
            .map_err(|_| Fault::new(Reason::BadValue, format!("{number} is negative")))
    }

    fn minutes(&mut self) -> Read<Option<i16>> {
        Ok(Some(self.integer()?.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16))
    }

    fn time(&mut self) -> Read<Option<Timestamp>> {
        let text = match self.at {
            At::Value(Value::Datetime(time)) => time.to_string(),
            _ => self.any_text()?.unwrap_or_default().to_owned(),
        };
        rfc3339::parse(&text).map(Some).ok_or_else(|| bad_time(&text))
    }

    fn span(&mut self) -> Read<Option<Millis>> {
        self.thousand_fold().map(|millis| Some(Millis(millis)))
    }

    fn thousandths(&mut self) -> Read<Option<i64>> {
        self.thousand_fold().map(Some)
    }

    fn sequence(&mut self) -> Read<Option<SessionSequence>> {
        self.any_text()?.map(sequence_from_hex).transpose()
    }
}
