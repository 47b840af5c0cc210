//! What the partition clock is read from: the host's time held against the brokers', what of the inputs is read, and
//! how long they have been silent (SEMANTICS §9, DESIGN §3.7).
//!
//! How far the host is ahead of the brokers is told by append times. A record that a worker wrote, or that was not there
//! when the ends of the inputs were asked for, was appended between two moments that the host has seen.

use std::time::Duration;

use tracing::{info, warn};

use super::{Owned, WorkerConfig};
use crate::clock::Clock;
use crate::domain::time::{Millis, Timestamp};
use crate::engine::clock::{self as partition_clock, Blind, Reading, Silence, TopicReading};
use crate::log::{INPUTS, Positions, Slot};
use crate::stats::Stats;

/// A difference of this much between wall clock and monotonic clock is a jump.
const JUMP: i64 = 1_000;

/// A clock this far behind the host's makes the partition blind.
const BLIND_LAG: Millis = Millis::from_seconds(5);

/// How old the word of the brokers' clock may become, while it agrees and while it does not.
const WORD_KEEPS: Duration = Duration::from_secs(30);
const DISAGREEMENT_KEEPS: Duration = Duration::from_secs(2);

/// How old the word of an input's leader may become. Only records of that input tell anything new, and none may come:
/// so long is it believed that its clock is wrong still, and so long is it waited for after a leap of the host's.
const INPUT_WORD_KEEPS: Duration = Duration::from_secs(600);

/// Watches the host's wall clock against its monotonic one.
#[derive(Debug, Default)]
pub(super) struct HostWatch {
    last: Option<(Duration, Timestamp)>,
}

impl HostWatch {
    /// How far the wall clock moved otherwise than the monotonic one since the last look; zero unless it jumped.
    pub(super) fn jump(&mut self, clock: &Clock) -> Millis {
        let (now, wall) = (clock.elapsed(), clock.now());
        let Some((then, before)) = self.last.replace((now, wall)) else { return Millis(0) };
        let expected = now.saturating_sub(then).as_millis() as f64 * clock.speed();
        let jump = (wall - before).0 as f64 - expected;
        if jump.abs() > JUMP as f64 * clock.speed().max(1.0) { Millis(jump as i64) } else { Millis(0) }
    }
}

/// What is known of how the host's clock stands to those of a partition's brokers.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// By the leader of the journal: how far the host is ahead, and when, by the monotonic clock, that was learnt.
    journal: Option<(Millis, Duration)>,
    /// By the leaders of the inputs, and when that was learnt.
    inputs: [Option<(Millis, Duration)>; INPUTS],
    /// The ends of the inputs that were asked for last, and the host's time before that.
    asked: Option<(Positions, Timestamp)>,
    /// When the host's clock jumped forward by more than it may differ, if the brokers have not been heard since.
    leapt: Option<Duration>,
    /// When all clocks agree again, sight is to return: times that were told meanwhile say little of the devices.
    awaits_sight: bool,
    /// The moment at which a step was last told that sight returns. The step may have come to nothing.
    returned: Option<Timestamp>,
}

/// How far the host is ahead of a clock that showed `stamp` at some moment between `from` and `to` of the host.
fn ahead(from: Timestamp, to: Timestamp, stamp: Timestamp) -> Millis {
    if from > stamp {
        from - stamp
    } else if to < stamp {
        to - stamp
    } else {
        Millis(0)
    }
}

impl Standing {
    /// Of a partition whose last entry tells of blindness, or of none.
    pub(super) fn after(blind: Option<Blind>) -> Standing {
        Standing { awaits_sight: blind == Some(Blind::Skew), ..Standing::default() }
    }

    /// The ends of the inputs, as they were asked for last.
    pub(super) fn ends(&self) -> Option<Positions> {
        self.asked.map(|(ends, _)| ends)
    }

    /// The host's clock jumped.
    pub(super) fn jumped(&mut self, by: Millis, max_skew: Millis, now: Duration) {
        if let Some((ahead, _)) = &mut self.journal {
            ahead.0 += by.0;
        }
        // Told again by the next records.
        self.inputs = [None; INPUTS];
        if by > max_skew {
            self.leapt = Some(now);
        }
        self.asked = None;
    }

    /// A journal entry that was written between two moments of the host has this append time. Without one (nothing is
    /// really written) the host is believed.
    pub(super) fn journal(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        stamp: Option<Timestamp>,
        now: Duration,
    ) {
        let ahead = stamp.map_or(Millis(0), |stamp| ahead(from, to, stamp));
        self.journal = Some((ahead, now));
    }

    /// Whether the brokers should be heard again.
    pub(super) fn is_stale(&self, now: Duration, max_skew: Millis) -> bool {
        let Some((ahead, learnt)) = self.journal else { return true };
        let keeps =
            if self.leapt.is_some() || ahead.0.abs() > max_skew.0 { DISAGREEMENT_KEEPS } else { WORD_KEEPS };
        now.saturating_sub(learnt) > keeps
    }

    /// Looks at what was read since the ends were asked for last.
    fn read(&mut self, queues: &[Vec<Slot>; INPUTS], host: Timestamp, now: Duration) {
        for word in &mut self.inputs {
            *word = word.filter(|(_, learnt)| now.saturating_sub(*learnt) <= INPUT_WORD_KEEPS);
        }
        for (index, queue) in queues.iter().enumerate() {
            let Some(newest) = queue.last() else { continue };
            if newest.append_time > host {
                self.inputs[index] = Some((host - newest.append_time, now));
            } else if let Some((ends, asked)) = &self.asked
                && newest.offset >= ends[index]
            {
                self.inputs[index] = Some((ahead(*asked, host, newest.append_time), now));
            }
        }
    }

    /// The largest disagreement; `None` before the brokers were heard.
    fn ahead(&self) -> Option<Millis> {
        let (journal, _) = self.journal?;
        self.heard().chain([journal]).max_by_key(|ahead| ahead.0.abs())
    }

    /// What the leaders of the inputs say.
    fn heard(&self) -> impl Iterator<Item = Millis> {
        self.inputs.iter().flatten().map(|(ahead, _)| *ahead)
    }

    /// After a leap of the host's clock: whether the brokers made it too. The journal's leader alone may err as the host
    /// does, being the same machine: an input is heard as well, if one speaks.
    fn is_leap_confirmed(&self, agrees: bool, now: Duration) -> bool {
        let is_waited_for = |leapt: Duration| now.saturating_sub(leapt) <= INPUT_WORD_KEEPS;
        agrees && (self.heard().next().is_some() || !self.leapt.is_some_and(is_waited_for))
    }
}

/// A reading of a partition's clock, and what else the step is to be told.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) clock: Timestamp,
    pub(super) blind: Option<Blind>,
    /// Sight returns at this moment.
    pub(super) returns: Option<Timestamp>,
}

impl<C> Owned<C> {
    /// Reads the clock. `ends`: of the inputs, asked for after `host` was read; `None` if they are not known.
    pub(super) fn read_clock(
        &mut self,
        (host, now): (Timestamp, Duration),
        jump: Millis,
        read_to: Positions,
        ends: Option<&Positions>,
        config: &WorkerConfig,
    ) -> Sight {
        let core = &self.partition.core;
        let (before, policy) = (core.clock, core.policy.clone());
        if jump.0 != 0 {
            self.standing.jumped(jump, policy.max_clock_skew, now);
        }
        if self.standing.returned.is_some_and(|at| core.sight >= at) {
            (self.standing.returned, self.standing.awaits_sight) = (None, false);
        }
        if !config.allow_create_time {
            self.standing.read(&self.queues, host, now);
        }
        let host_ahead = self.standing.ahead();
        let agrees = host_ahead.is_some_and(|ahead| ahead.0.abs() <= policy.max_clock_skew.0);
        let Some(ends) = ends else {
            return Sight { clock: before, blind: Some(Blind::Unreadable), returns: None };
        };
        self.standing.asked = Some((*ends, host));
        let topics = std::array::from_fn(|index| TopicReading {
            caught_up: read_to[index] >= ends[index],
            last_at_hand: self.queues[index].last().map(|slot| slot.append_time),
        });
        let is_caught_up = topics.iter().all(|topic| topic.caught_up);
        if self.standing.leapt.is_some() && is_caught_up && self.standing.is_leap_confirmed(agrees, now) {
            self.standing.leapt = None;
        }
        let mut reading = Reading {
            host,
            host_ahead,
            jumped: jump.0.abs() > policy.max_clock_skew.0 || self.standing.leapt.is_some(),
            create_time: config.allow_create_time,
            silent_after: None,
            topics,
        };
        let read = |reading: &Reading| {
            partition_clock::read(before, reading, config.clock_margin, policy.max_clock_skew)
        };
        let (clock, _) = read(&reading);
        let beats = core.nodes.0.values().filter(|node| node.up).map(|node| node.last_alive).max();
        let lives_until =
            beats.filter(|beat| beat.happened()).map_or(Timestamp::NEVER, |beat| beat + policy.node_timeout);
        let silence = partition_clock::silence(
            &self.partition.habit,
            &policy,
            lives_until,
            merged(&self.queues),
            clock,
        );
        let mut returns = None;
        match silence {
            Silence::None => {}
            Silence::After(known) => reading.silent_after = Some(known),
            Silence::Over(arrival) => returns = Some(arrival),
        }
        let (clock, blind) = read(&reading);
        // Devices cannot be judged by times that came while a clock was wrong: they get their time anew. A leap that all
        // clocks made says nothing of the devices; a leader that was behind made what was observed look like the future,
        // which is clamped, or gave its own time to what came without one.
        let is_behind = self.standing.heard().any(|ahead| ahead > policy.max_clock_skew);
        self.standing.awaits_sight |=
            blind == Some(Blind::Skew) && (is_behind || self.standing.leapt.is_some());
        if self.standing.awaits_sight && core.pending.is_some() {
            // One change at a time: until then no deadline may pass.
            return Sight { clock: before, blind, returns: None };
        }
        // While they disagree still, a right one may take the clock over all the time that it stood.
        let is_leap = clock - before > policy.max_clock_skew;
        if self.standing.awaits_sight && clock > before && (is_leap || blind != Some(Blind::Skew)) {
            self.standing.returned = Some(clock);
            returns = Some(clock);
        }
        // What was seen once is not seen again.
        let returns = returns.filter(|at| core.pending.is_none() && *at > core.sight && *at >= before);
        Sight { clock, blind, returns }
    }

    /// What of the clock's waiting is blindness: what has lasted.
    pub(super) fn judge_blindness(
        &mut self,
        number: u32,
        sight: &Sight,
        host: Timestamp,
        stats: &Stats,
    ) -> Option<Blind> {
        let lags = sight.clock.happened() && host - sight.clock > BLIND_LAG;
        let blind = sight.blind.filter(|why| lags || matches!(why, Blind::Skew | Blind::Silence));
        if blind != self.blind {
            let clock = sight.clock;
            match blind {
                Some(why) => warn!(partition = number, why = why.word(), %clock, "blind: the clock waits"),
                None => info!(partition = number, %clock, "sees again"),
            }
            self.blind = blind;
            stats.set_blind(number, blind);
        }
        // A spell in which nothing could be committed is told when that is possible again.
        if let Some(why) = blind {
            self.untold = Some(why);
        }
        self.untold
    }
}

/// The append times of what is at hand, in the order of arrival.
fn merged(queues: &[Vec<Slot>; INPUTS]) -> impl Iterator<Item = Timestamp> + '_ {
    let mut next = [0; INPUTS];
    std::iter::from_fn(move || {
        let head = |index: usize| Some((queues[index].get(next[index])?.append_time, index));
        let (time, index) = (0..INPUTS).filter_map(head).min()?;
        next[index] += 1;
        Some(time)
    })
}

/// How many records of each queue a step up to `clock` takes: those that arrived by then. One stamped later than the
/// host's now is taken at once, its leader's clock is ahead; and so is all where writers set the times.
pub(super) fn eligible(
    queues: &[Vec<Slot>; INPUTS],
    clock: Timestamp,
    host: Timestamp,
    create_time: bool,
) -> [usize; INPUTS] {
    queues.each_ref().map(|queue| {
        let waits = |slot: &Slot| !create_time && slot.append_time > clock && slot.append_time <= host;
        queue.iter().position(waits).unwrap_or(queue.len())
    })
}
