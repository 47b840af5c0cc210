//! The one notion of time: milliseconds since the Unix epoch, in UTC.

use std::fmt;
use std::ops::{Add, Sub};

use chrono::{DateTime, SecondsFormat};

/// A moment: milliseconds since 1970-01-01T00:00:00Z. [`Timestamp::NEVER`] is "has not happened", earlier than any
/// moment, so that a maximum over clocks needs no case for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Has not happened.
    pub const NEVER: Timestamp = Timestamp(i64::MIN);
    /// The last moment that a four-digit year can write: 9999-12-31T23:59:59.999Z.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);
    /// The earliest moment that is accepted: 0001-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(-62_135_596_800_000);

    /// A moment from milliseconds since the epoch; outside the years 1 to 9999 it is the nearest border.
    pub const fn from_millis(millis: i64) -> Timestamp {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Timestamp(millis)
        }
    }

    /// A moment that was kept as [`Timestamp::millis`] tells it, "never" too.
    pub const fn restored(millis: i64) -> Timestamp {
        if millis == Self::NEVER.0 { Self::NEVER } else { Self::from_millis(millis) }
    }

    /// Milliseconds since the epoch; `i64::MIN` for [`Timestamp::NEVER`].
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whether this has happened at all.
    pub const fn happened(self) -> bool {
        self.0 != i64::MIN
    }

    /// `Some` if it has happened.
    pub const fn known(self) -> Option<Timestamp> {
        if self.happened() { Some(self) } else { None }
    }

    /// The next millisecond.
    pub fn next(self) -> Timestamp {
        self + Millis(1)
    }

    /// `15:04:05Z`, for sentences.
    pub fn time_of_day(self) -> impl fmt::Display {
        struct TimeOfDay(Timestamp);
        impl fmt::Display for TimeOfDay {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let day_millis = self.0.0.rem_euclid(86_400_000);
                let seconds = day_millis / 1000;
                write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
                if day_millis % 1000 != 0 {
                    write!(f, ".{:03}", day_millis % 1000)?;
                }
                f.write_str("Z")
            }
        }
        TimeOfDay(self)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds; `never` for [`Timestamp::NEVER`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_millis(self.0) {
            Some(time) if self.happened() => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            _ => f.write_str("never"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// From whole minutes.
    pub const fn from_minutes(minutes: i64) -> Millis {
        Millis(minutes * 60_000)
    }

    /// From whole seconds.
    pub const fn from_seconds(seconds: i64) -> Millis {
        Millis(seconds * 1000)
    }
}

impl Add<Millis> for Timestamp {
    type Output = Timestamp;
    /// Saturates at the borders of [`Timestamp`]; what never happened stays so.
    fn add(self, span: Millis) -> Timestamp {
        if self.happened() { Timestamp::from_millis(self.0.saturating_add(span.0)) } else { self }
    }
}

impl Sub<Timestamp> for Timestamp {
    type Output = Millis;
    /// The span from `earlier` to this moment; negative if it lies after. Saturates where one never happened.
    fn sub(self, earlier: Timestamp) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}
