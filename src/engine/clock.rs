//! The partition clock: it follows the host's while every input is read up to its end, and never runs ahead of what
//! is still unread (SEMANTICS §9, DESIGN §3.7). Pure: readings in, a reading out.

use crate::domain::time::{Millis, Timestamp};
use crate::log::INPUTS;

/// What is known of one input topic of a partition at a reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicReading {
    /// Its position has reached the end that was asked for after T.
    pub caught_up: bool,
    /// Append time of the last record at hand, if any is.
    pub last_at_hand: Option<Timestamp>,
}

/// What a clock is read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// T: the host's time before the ends of the topics were asked for.
    pub host: Timestamp,
    /// How far the host is ahead of the brokers, as the last append of our own told; zero if not known.
    pub host_ahead: Millis,
    /// Whether the host's clock jumped since the reading before.
    pub jumped: bool,
    /// The topics, in the order of [`crate::domain::effect::InputTopic::ALL`].
    pub topics: [TopicReading; INPUTS],
}

/// Why the monitor is blind, or cannot see all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Blind {
    /// Records are waiting.
    Backlog,
    /// Host and brokers disagree on the time, or the host's clock jumped.
    Skew,
    /// Inputs cannot be read.
    Unreadable,
}

impl Blind {
    /// As it is told.
    pub const fn word(self) -> &'static str {
        match self {
            Blind::Backlog => "backlog",
            Blind::Skew => "clock_skew",
            Blind::Unreadable => "unreadable_input",
        }
    }
}

/// The clock for a step, given the one before, and why it lags, if it does.
pub fn read(
    before: Timestamp,
    reading: &Reading,
    margin: Millis,
    max_skew: Millis,
) -> (Timestamp, Option<Blind>) {
    let host = reading.host + Millis(-margin.0);
    let skewed = reading.jumped || reading.host_ahead.0.abs() > max_skew.0;
    let arrivals = reading.topics.iter().filter_map(|topic| topic.last_at_hand).max();
    let limit = match skewed {
        // The lower of the two: the host, and the arrivals at hand.
        true => arrivals.map_or(before, |arrivals| arrivals.min(host)),
        false => host,
    };
    let mut clock = limit;
    let mut blind = skewed.then_some(Blind::Skew);
    for topic in &reading.topics {
        if !topic.caught_up {
            // Another record of the same millisecond may be unread: it must not arrive in the past.
            let known = topic.last_at_hand.map_or(before, |last| last + Millis(-1));
            if known < clock {
                clock = known;
                blind = blind.or(Some(Blind::Backlog));
            }
        }
    }
    (clock.max(before), blind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000 + millis)
    }

    fn reading(topics: [(bool, Option<i64>); 3]) -> Reading {
        Reading {
            host: at(100_000),
            host_ahead: Millis(0),
            jumped: false,
            topics: topics.map(|(caught_up, last)| TopicReading { caught_up, last_at_hand: last.map(at) }),
        }
    }

    #[test]
    fn it_follows_the_host_while_everything_is_read() {
        let all = reading([(true, None), (true, Some(99_000)), (true, None)]);
        assert_eq!(read(at(0), &all, Millis(10), Millis(60_000)), (at(99_990), None));
    }

    #[test]
    fn it_stops_before_what_is_unread() {
        let behind = reading([(true, None), (false, Some(50_000)), (true, Some(99_000))]);
        assert_eq!(read(at(0), &behind, Millis(10), Millis(60_000)), (at(49_999), Some(Blind::Backlog)));
        let unknown = reading([(true, None), (false, None), (true, Some(99_000))]);
        assert_eq!(read(at(7), &unknown, Millis(10), Millis(60_000)), (at(7), Some(Blind::Backlog)));
    }

    #[test]
    fn it_never_goes_back() {
        let all = reading([(true, None); 3]);
        assert_eq!(read(at(200_000), &all, Millis(10), Millis(60_000)).0, at(200_000));
    }

    #[test]
    fn where_clocks_disagree_it_follows_the_lower() {
        let mut skewed = reading([(true, None), (true, Some(40_000)), (true, None)]);
        skewed.host_ahead = Millis(61_000);
        assert_eq!(read(at(0), &skewed, Millis(10), Millis(60_000)), (at(40_000), Some(Blind::Skew)));
    }
}
