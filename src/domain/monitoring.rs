//! The required interval, the verdict that it leads to, and the alarm that the verdict raises (SEMANTICS §5.1, §6).

use super::effect::{AlarmEvent, AlarmEventAction, AlarmState, ClearReason};
use super::event::IntervalSource;
use super::policy::{Policy, Severity};
use super::time::{Millis, Timestamp};

/// The one alarm type so far.
pub const UNAVAILABILITY: &str = "unavailability";
/// Its text, word for word the seed's.
pub const UNAVAILABILITY_TEXT: &str = "No data received from device within required interval";

/// The required interval of a device, and what its deadline counts from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Monitoring {
    /// R in minutes, as it is in force: an event's, or else the policy's. Zero or less is maintenance.
    pub minutes: Option<i16>,
    /// Who set R; `policy` also where nobody did.
    pub set_by: IntervalSource,
    /// An event set R (also to "none"), and the policy has no say.
    pub by_event: bool,
    /// R was the policy's when maintenance was switched on; its end gives the device back.
    pub lent_by_policy: bool,
    /// Observed time of the event that set R.
    pub set_at: Timestamp,
    /// monitoring_since: when R became positive, maintenance ended, or sight returned.
    pub since: Timestamp,
    /// When R became positive or maintenance ended: a message from long before counts as none.
    pub positive_since: Timestamp,
    /// D is never before this: the last change of R.
    pub floor: Timestamp,
    /// D has passed: the device is UNAVAILABLE.
    pub lapsed: bool,
}

impl Default for Monitoring {
    fn default() -> Monitoring {
        Monitoring {
            minutes: None,
            set_by: IntervalSource::Policy,
            by_event: false,
            lent_by_policy: false,
            set_at: Timestamp::NEVER,
            since: Timestamp::NEVER,
            positive_since: Timestamp::NEVER,
            floor: Timestamp::NEVER,
            lapsed: false,
        }
    }
}

/// Longer than any span that is reckoned with here: |R| is at most 32,768 minutes.
fn interval(minutes: i16) -> Millis {
    Millis::from_minutes(i64::from(minutes).abs())
}

/// |R| plus grace.
pub fn allowance(minutes: i16, grace: Millis) -> Millis {
    Millis(interval(minutes).0.saturating_add(grace.0))
}

impl Monitoring {
    /// R where it is positive: the device is monitored.
    pub fn positive(&self) -> Option<i16> {
        self.minutes.filter(|minutes| *minutes > 0)
    }

    /// Whether the device is in maintenance.
    pub fn is_maintenance(&self) -> bool {
        self.minutes.is_some_and(|minutes| minutes <= 0)
    }

    /// What D counts from.
    pub fn counted_from(&self, last_message: Timestamp) -> Timestamp {
        last_message.max(self.since)
    }

    /// D: strictly after it the device is UNAVAILABLE. Only where R is positive.
    pub fn deadline(&self, last_message: Timestamp, policy: &Policy) -> Option<Timestamp> {
        let minutes = self.positive()?;
        let counted = self.counted_from(last_message) + allowance(minutes, policy.grace);
        Some(counted.max(self.floor))
    }

    /// Whether a message counts: one observed more than |R| plus grace before R became positive does not.
    pub fn has_message(&self, last_message: Timestamp, policy: &Policy) -> bool {
        let Some(minutes) = self.positive() else { return false };
        last_message.happened() && self.positive_since <= last_message + allowance(minutes, policy.grace)
    }

    /// How R reads in an audit.
    pub fn describe(&self) -> String {
        match self.minutes {
            None if self.by_event => format!("not monitored (set by the {})", self.set_by),
            None => "not monitored".into(),
            Some(minutes) => format!("{minutes} min (set by the {})", self.set_by),
        }
    }
}

/// A verdict of unavailability, and the alarm that came of it. It stands while the device is UNAVAILABLE or its
/// alarm is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// D.
    pub deadline: Timestamp,
    /// R as D was counted with it.
    pub minutes: i16,
    /// The grace as D was counted with it.
    pub grace: Millis,
    /// The number of the status change that told it.
    pub told_as: u64,
    /// The open alarm, if there is one.
    pub alarm: Option<Alarm>,
}

impl Verdict {
    /// Data observed at `at` disproves it: in time, and it would have moved D. (Then it is also after what D was
    /// counted from, as SEMANTICS §6 wants: D lies the allowance after that, or later.)
    pub fn is_disproved_by(&self, at: Timestamp) -> bool {
        at <= self.deadline && at + allowance(self.minutes, self.grace) > self.deadline
    }
}

/// An open alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// Its id.
    pub id: Box<str>,
    /// How grave, as when it was raised.
    pub severity: Severity,
    /// Its text, as when it was raised.
    pub text: Box<str>,
    /// ACKNOWLEDGED rather than ACTIVE.
    pub acknowledged: bool,
    /// Occurrences.
    pub count: u32,
    /// The first.
    pub first_at: Timestamp,
    /// The last.
    pub last_at: Timestamp,
}

impl Alarm {
    /// Where it stands.
    pub fn state(&self) -> AlarmState {
        if self.acknowledged { AlarmState::Acknowledged } else { AlarmState::Active }
    }

    /// The event that tells of it.
    pub fn event(
        &self,
        action: AlarmEventAction,
        reason: Option<ClearReason>,
        actor: Option<&str>,
    ) -> AlarmEvent {
        AlarmEvent {
            alarm_id: self.id.clone(),
            alarm_type: UNAVAILABILITY,
            severity: self.severity,
            action,
            state: if action == AlarmEventAction::Cleared { AlarmState::Cleared } else { self.state() },
            reason,
            count: self.count,
            first_at: self.first_at,
            last_at: self.last_at,
            text: self.text.clone(),
            actor: actor.map(Into::into),
        }
    }
}
