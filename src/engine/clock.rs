//! The partition clock: it follows the host's while every input is read up to its end, and never runs ahead of what
//! is still unread (SEMANTICS §9, DESIGN §3.7). Pure: readings in, a reading out.

use crate::domain::habit::Habit;
use crate::domain::policy::Policy;
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
    /// How far the host is ahead of the brokers (negative: behind), as append times told; `None`: not known yet.
    pub host_ahead: Option<Millis>,
    /// Whether the host's clock jumped since the reading before.
    pub jumped: bool,
    /// Whether the times of records are their writers', not the log's.
    pub create_time: bool,
    /// The inputs are silent against their habit: the clock must not pass this moment.
    pub silent_after: Option<Timestamp>,
    /// The topics, in the order of [`crate::domain::effect::InputTopic::ALL`].
    pub topics: [TopicReading; INPUTS],
}

pub use crate::domain::effect::Blind;

/// The clock for a step, given the one before, and what it waits for, if anything.
pub fn read(
    before: Timestamp,
    reading: &Reading,
    margin: Millis,
    max_skew: Millis,
) -> (Timestamp, Option<Blind>) {
    let host = reading.host + Millis(-margin.0);
    let disagrees = reading.host_ahead.is_some_and(|ahead| ahead.0.abs() > max_skew.0);
    // A host that went back behind the partition's own clock disagrees with what the brokers said before.
    let skewed = reading.jumped || disagrees || (before.happened() && host + max_skew < before);
    let arrivals = reading.topics.iter().filter_map(|topic| topic.last_at_hand).max();
    let limit = if skewed || reading.host_ahead.is_none() {
        // The lower of the two: the host, and the arrivals at hand.
        arrivals.map_or(before, |arrivals| arrivals.min(host))
    } else {
        host
    };
    let mut clock = limit;
    let mut blind = skewed.then_some(Blind::Skew);
    for topic in reading.topics.iter().filter(|topic| !topic.caught_up) {
        // Another record of the same millisecond may be unread: it must not arrive in the past. Times that the log did
        // not set say nothing of what is unread.
        let known = topic.last_at_hand.filter(|_| !reading.create_time);
        let known = known.map_or(before, |last| last + Millis(-1));
        if known < clock {
            clock = known;
            blind = blind.or(Some(Blind::Backlog));
        }
    }
    if let Some(known) = reading.silent_after.filter(|known| *known < clock) {
        clock = known;
        blind = blind.or(Some(Blind::Silence));
    }
    (clock.max(before), blind)
}

/// What the silences of a partition's inputs ask for, at a reading of the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Nothing: there is none against the habit, or it was too long to be waited for.
    None,
    /// The clock must not pass this moment: after it the inputs were, or are, silent against their habit.
    After(Timestamp),
    /// The inputs are back since this arrival, the next one: sight returns with it.
    Over(Timestamp),
}

/// Looks for the first silence up to `clock` in the arrivals that are next. `arrivals`: their append times in the order
/// of arrival. `lives_until`: while a node's heartbeat is fresh, the pipeline lives.
pub fn silence(
    habit: &Habit,
    policy: &Policy,
    lives_until: Timestamp,
    arrivals: impl Iterator<Item = Timestamp>,
    clock: Timestamp,
) -> Silence {
    let first = habit.last();
    let Some(patience) = habit.patience(clock, policy).filter(|_| first.happened()) else {
        return Silence::None;
    };
    let counts = |from: Timestamp, to: Timestamp| {
        let gap = to - from;
        gap > patience && gap <= policy.input_silence_max && lives_until < to
    };
    if clock - first <= patience {
        return Silence::None;
    }
    let mut last = first;
    for arrival in arrivals.take_while(|arrival| *arrival <= clock) {
        if counts(last, arrival) {
            return if last == first { Silence::Over(arrival) } else { Silence::After(last + patience) };
        }
        last = last.max(arrival);
    }
    if counts(last, clock) { Silence::After(last + patience) } else { Silence::None }
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
            host_ahead: Some(Millis(0)),
            jumped: false,
            create_time: false,
            silent_after: None,
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
        for ahead in [61_000, -61_000] {
            skewed.host_ahead = Some(Millis(ahead));
            assert_eq!(read(at(0), &skewed, Millis(10), Millis(60_000)), (at(40_000), Some(Blind::Skew)));
        }
    }

    #[test]
    fn before_it_knows_how_host_and_brokers_agree_it_follows_the_arrivals() {
        let mut unsure = reading([(true, None), (true, Some(40_000)), (true, None)]);
        unsure.host_ahead = None;
        assert_eq!(read(at(0), &unsure, Millis(10), Millis(60_000)), (at(40_000), None));
    }

    #[test]
    fn a_host_that_went_back_is_said_to_be_skewed() {
        let all = reading([(true, None); 3]);
        assert_eq!(read(at(200_000), &all, Millis(10), Millis(60_000)), (at(200_000), Some(Blind::Skew)));
    }

    #[test]
    fn times_of_writers_move_nothing_while_records_are_unread() {
        let mut behind = reading([(true, None), (false, Some(50_000)), (true, Some(99_000))]);
        behind.create_time = true;
        assert_eq!(read(at(7), &behind, Millis(10), Millis(60_000)), (at(7), Some(Blind::Backlog)));
    }

    /// A record a second since `at(-2_000_000)`, the last at `at(0)`.
    fn habit() -> Habit {
        let mut habit = Habit::default();
        (-2_000..=0).for_each(|second| habit.arrival(at(second * 1_000)));
        habit
    }

    fn silence_of(arrivals: &[i64], lives_until: Timestamp, clock: i64) -> Silence {
        let arrivals = arrivals.iter().map(|millis| at(*millis));
        silence(&habit(), &Policy::default(), lives_until, arrivals, at(clock))
    }

    #[test]
    fn a_silence_against_the_habit_stops_the_clock() {
        let never = Timestamp::NEVER;
        assert_eq!(silence_of(&[], never, 5_000), Silence::None);
        assert_eq!(silence_of(&[], never, 5_001), Silence::After(at(5_000)));
        assert_eq!(silence_of(&[1_000, 3_000], never, 9_000), Silence::After(at(8_000)));
        assert_eq!(silence_of(&[], at(60_000), 50_000), Silence::None, "a node's heartbeat is fresh");
        assert_eq!(silence_of(&[], never, 600_001), Silence::None, "silent for longer than it is waited for");
    }

    #[test]
    fn sight_returns_with_the_record_that_ends_a_silence() {
        let never = Timestamp::NEVER;
        assert_eq!(silence_of(&[300_000, 301_000], never, 302_000), Silence::Over(at(300_000)));
        assert_eq!(
            silence_of(&[1_000, 300_000], never, 302_000),
            Silence::After(at(6_000)),
            "one after the other"
        );
        assert_eq!(silence_of(&[700_000], never, 700_500), Silence::None, "its verdicts were given");
    }
}
