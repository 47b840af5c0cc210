//! The habit of a partition's inputs: how often records arrive, so that a silence can be told from an idle hour
//! (SEMANTICS §9).

use super::policy::Policy;
use super::time::{Millis, Timestamp};

/// Milliseconds of an hour.
const HOUR: i64 = 3_600_000;
/// How many hours count, besides the one that is running.
const HOURS: i64 = 24;
/// With fewer arrivals than this in all of them there is no habit.
const ARRIVALS_MIN: u64 = 1_000;
/// How many gaps of an hour are kept: the third-longest of a day is among the three longest of its hours.
pub const GAPS: usize = 3;

/// The arrivals of one hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hour {
    /// Hours since the Unix epoch, UTC.
    pub number: i64,
    /// Records that arrived.
    pub count: u64,
    /// The longest gaps that ended in it, in milliseconds, longest first.
    pub gaps: [i64; GAPS],
}

/// When records arrived, by the hour, of the last day.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Habit {
    hours: Vec<Hour>,
    last: Timestamp,
}

impl Default for Habit {
    fn default() -> Habit {
        Habit { hours: Vec::new(), last: Timestamp::NEVER }
    }
}

impl Habit {
    /// As it was kept.
    pub fn of(hours: Vec<Hour>, last: Timestamp) -> Habit {
        Habit { hours, last }
    }

    /// Its hours, oldest first.
    pub fn hours(&self) -> &[Hour] {
        &self.hours
    }

    /// The last arrival.
    pub fn last(&self) -> Timestamp {
        self.last
    }

    /// A record arrived. Arrivals of a partition never go back.
    pub fn arrival(&mut self, at: Timestamp) {
        let number = at.millis().div_euclid(HOUR);
        if self.hours.last().is_none_or(|hour| hour.number < number) {
            self.hours.retain(|hour| hour.number >= number - HOURS);
            self.hours.push(Hour { number, ..Hour::default() });
        }
        let gap = if self.last.happened() { (at - self.last).0 } else { 0 };
        self.last = at;
        if let Some(hour) = self.hours.last_mut() {
            hour.count += 1;
            if gap > hour.gaps[GAPS - 1] {
                hour.gaps[GAPS - 1] = gap;
                hour.gaps.sort_unstable_by(|a, b| b.cmp(a));
            }
        }
    }

    /// Hours as they stand after a journal entry: they take the place of what was known of them.
    pub fn replace(&mut self, hours: impl IntoIterator<Item = Hour>, last: Timestamp) {
        for hour in hours {
            self.hours.retain(|known| known.number != hour.number && known.number >= hour.number - HOURS);
            self.hours.push(hour);
        }
        self.last = self.last.max(last);
    }

    /// The hours that differ from those before.
    pub fn changed_since<'a>(&'a self, before: &'a Habit) -> impl Iterator<Item = &'a Hour> {
        self.hours.iter().filter(|hour| before.hours.iter().all(|known| known != *hour))
    }

    /// How long the inputs may be silent at `now` before that is against their habit; `None`: for ever.
    pub fn patience(&self, now: Timestamp, policy: &Policy) -> Option<Millis> {
        let first = now.millis().div_euclid(HOUR) - HOURS;
        let mut count = 0;
        let mut gaps = [0; GAPS + 1];
        for hour in self.hours.iter().filter(|hour| hour.number >= first) {
            count += hour.count;
            for gap in hour.gaps {
                gaps[GAPS] = gap;
                gaps.sort_unstable_by(|a, b| b.cmp(a));
            }
        }
        let usual = Millis(2 * gaps[GAPS - 1]);
        (count >= ARRIVALS_MIN).then(|| usual.max(policy.input_silence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_767_225_600_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(START + millis)
    }

    fn bursts(count: i64, size: i64, every: i64) -> Habit {
        let mut habit = Habit::default();
        for burst in 0..count {
            (0..size).for_each(|_| habit.arrival(at(burst * every)));
        }
        habit
    }

    #[test]
    fn a_few_arrivals_are_no_habit() {
        assert_eq!(bursts(999, 1, 1_000).patience(at(999_000), &Policy::default()), None);
        let habit = bursts(1_000, 1, 1_000);
        assert_eq!(habit.patience(at(999_000), &Policy::default()), Some(Millis(5_000)));
    }

    #[test]
    fn a_burst_a_minute_may_be_silent_for_two() {
        let habit = bursts(60, 100, 60_000);
        assert_eq!(habit.patience(at(59 * 60_000), &Policy::default()), Some(Millis(120_000)));
    }

    #[test]
    fn two_long_silences_make_no_habit_but_a_third_does() {
        let mut habit = bursts(2_000, 1, 1_000);
        let mut now = 2_000_000;
        for expected in [5_000, 5_000, 2 * 300_000] {
            now += 300_000;
            habit.arrival(at(now));
            assert_eq!(habit.patience(at(now), &Policy::default()), Some(Millis(expected)));
        }
    }

    #[test]
    fn a_day_later_it_is_forgotten() {
        let mut habit = bursts(2_000, 1, 1_000);
        let day = 25 * HOUR;
        assert_eq!(habit.patience(at(2_000_000 + day), &Policy::default()), None);
        habit.arrival(at(2_000_000 + day));
        assert_eq!(habit.hours().len(), 1);
    }

    #[test]
    fn what_an_entry_tells_makes_the_same_habit() {
        let mut told = Habit::default();
        let mut habit = Habit::default();
        for step in 0..500 {
            let before = habit.clone();
            for record in 0..7 {
                habit.arrival(at(step * 71_000 + record * record * 900));
            }
            told.replace(habit.changed_since(&before).copied(), habit.last());
            assert_eq!(told, habit);
        }
    }
}
