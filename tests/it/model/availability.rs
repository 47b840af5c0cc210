//! Required interval, availability and its alarm: SEMANTICS §5.1, §6, §12.

use super::device::{Device, World};
use super::input::{AlarmAction, Source};
use super::time::MINUTE;

/// The required interval as events set it. What no event set, the policy gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Minutes(i64),
    /// "an event without minutes stops monitoring, whatever the policy says".
    Stop,
    /// Maintenance of a device whose interval the policy had set: the stored −R.
    MaintenanceOfPolicy(i64),
}

/// UNAVAILABLE, and how it came to that (§6 Retraction).
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    pub deadline: i64,
    /// The time that D was counted from: max(last_message, monitoring_since).
    pub base: i64,
    /// |R| min + grace, as D was counted with.
    pub length: i64,
}

#[derive(Clone, Debug)]
pub struct Alarm {
    pub id: u64,
    pub severity: String,
    pub text: String,
    pub acknowledged: bool,
    pub count: u64,
    pub first_at: i64,
    pub last_at: i64,
    /// "D is the open alarm's own".
    pub verdict: Verdict,
}

#[derive(Clone, Debug, Default)]
pub struct Availability {
    pub setting: Option<Setting>,
    /// observed_at of the event that set the interval last.
    pub set_at: Option<i64>,
    /// R as of the last step.
    pub interval: Option<i64>,
    /// monitoring_since without sight: when R became positive, or maintenance ended.
    pub since: Option<i64>,
    /// The last sight that counts for this device.
    pub sight: Option<i64>,
    /// "After a change of R, D is never before the change."
    pub floor: Option<i64>,
    pub verdict: Option<Verdict>,
    pub alarm: Option<Alarm>,
    pub alarms_raised: u64,
}

/// An alarm event to be written.
pub struct AlarmEvent {
    pub alarm: Alarm,
    pub action: &'static str,
    pub reason: Option<&'static str>,
    pub at: i64,
}

fn clamp(minutes: i64) -> i64 {
    minutes.clamp(-32_768, 32_767)
}

impl Device {
    /// R: as an event set it; "where none did, as the first rule of `policy.required_intervals` that matches gives it".
    pub fn required_interval(&self, world: &World) -> Option<i64> {
        match self.availability.setting {
            Some(Setting::Minutes(minutes) | Setting::MaintenanceOfPolicy(minutes)) => Some(minutes),
            Some(Setting::Stop) => None,
            None => world.policy.interval_of(&self.tenant, self.device_type.as_deref(), &self.labels),
        }
    }

    /// False: ignored.
    pub fn set_interval(
        &mut self,
        minutes: Option<i64>,
        source: Source,
        only_if_absent: bool,
        at: i64,
    ) -> bool {
        let a = &mut self.availability;
        // §2: "observed before the one that set the same fact is ignored (equal: the later arrival wins)". Interval
        // and maintenance set the same fact, R.
        if a.set_at.is_some_and(|set| at < set) {
            return false;
        }
        // §5.1: "from the device with only_if_absent never overwrites a value that an event set (a stop is one)".
        // Whoever else asks for it means the same.
        if only_if_absent && a.setting.is_some() {
            return false;
        }
        a.set_at = Some(at);
        a.setting = match (source, minutes) {
            (Source::Policy, _) => None,
            (_, None) => Some(Setting::Stop),
            (_, Some(minutes)) => Some(Setting::Minutes(clamp(minutes))),
        };
        true
    }

    /// §5.1: "Switching maintenance on stores −R, off stores +R, or gives it back to the policy if the policy had set
    /// it; it is refused where R is absent or 0."
    pub fn set_maintenance(&mut self, on: bool, at: i64, world: &World) -> bool {
        let Some(interval) = self.required_interval(world).filter(|r| *r != 0) else { return false };
        let a = &mut self.availability;
        if a.set_at.is_some_and(|set| at < set) {
            return false;
        }
        a.set_at = Some(at);
        let size = interval.abs();
        a.setting = match (a.setting, on) {
            (None | Some(Setting::MaintenanceOfPolicy(_)), true) => {
                Some(Setting::MaintenanceOfPolicy(clamp(-size)))
            }
            (None | Some(Setting::MaintenanceOfPolicy(_)), false) => None,
            (_, true) => Some(Setting::Minutes(clamp(-size))),
            (_, false) => Some(Setting::Minutes(clamp(size))),
        };
        true
    }

    fn length(&self, world: &World) -> i64 {
        self.availability.interval.map_or(0, |r| r.abs() * MINUTE) + world.policy.grace
    }

    fn base(&self) -> i64 {
        let a = &self.availability;
        let since = a.since.unwrap_or(i64::MIN).max(a.sight.unwrap_or(i64::MIN));
        self.last_message.unwrap_or(i64::MIN).max(since)
    }

    /// D = max(last_message, monitoring_since) + |R| min + grace, never before the last change of R.
    pub fn deadline(&self, world: &World) -> Option<i64> {
        self.availability.interval.filter(|r| *r > 0)?;
        Some((self.base() + self.length(world)).max(self.availability.floor.unwrap_or(i64::MIN)))
    }

    /// Does a message count? §5.1: "A message observed more than |R| min + grace before R became positive, or before
    /// maintenance ended, counts as none …; sight does not do this."
    pub fn has_message(&self, world: &World) -> bool {
        let since = self.availability.since.unwrap_or(i64::MIN);
        self.last_message.is_some_and(|last| last.saturating_add(self.length(world)) >= since)
    }

    /// The device is not UNAVAILABLE any more. §12: "monitoring_since never lies before the last sight (for a device
    /// that was UNAVAILABLE then: from the moment it is no more)".
    fn end_verdict(&mut self, world: &World) {
        if self.availability.verdict.take().is_some() {
            self.availability.sight = world.last_sight;
        }
    }

    fn clear(&mut self, reason: &'static str, at: i64) {
        if let Some(alarm) = self.availability.alarm.take() {
            self.step.alarms.push(AlarmEvent { alarm, action: "CLEARED", reason: Some(reason), at });
        }
    }

    /// A message was observed at `at`; the clock of §4 has been moved already.
    pub fn message_arrived(&mut self, at: i64, world: &World) {
        let verdict = self.availability.verdict;
        let judge = |v: &Verdict| {
            if at > v.deadline {
                Some("DATA_RETURNED")
            } else if at > v.base && at + v.length > v.deadline {
                // §6 Retraction: "observed at or before D, and after the time that D was counted from, … and that
                // would have moved D later"; §12: "by the interval that D was counted with".
                Some("RETRACTED")
            } else {
                None
            }
        };
        let mut reason = verdict.as_ref().and_then(judge);
        if verdict.is_some() && reason.is_none() && self.deadline(world).is_some_and(|d| world.now <= d) {
            // §12: "if by today's interval D is not over any more, the verdict ends all the same".
            reason = Some("INTERVAL_CHANGED");
        }
        if reason.is_some() {
            self.end_verdict(world);
        }
        // §6: one open in maintenance "stays until data returns"; "D is the open alarm's own".
        let alarm_reason = match (&self.availability.alarm, verdict) {
            (Some(_), Some(_)) => reason,
            (Some(alarm), None) => judge(&alarm.verdict),
            (None, _) => None,
        };
        self.step.retracts = reason == Some("RETRACTED") || alarm_reason == Some("RETRACTED");
        if let Some(reason) = alarm_reason {
            self.clear(reason, at);
        }
    }

    /// Looks at R anew, at the end of what an event or a policy did to the device; `at` is the time of the change.
    pub fn settle_interval(&mut self, at: i64, world: &World) {
        let before = self.availability.interval;
        let after = self.required_interval(world);
        self.availability.interval = after;
        match after {
            None => {
                self.end_verdict(world);
                // §6: "When monitoring stops (no interval any more …)".
                self.clear("MONITORING_STOPPED", at);
            }
            Some(r) if r <= 0 => {
                self.end_verdict(world);
                // §12: "acts when maintenance is switched on, also by an interval ≤ 0; reason MAINTENANCE".
                if before.is_none_or(|b| b > 0) && world.policy.clear_on_maintenance {
                    self.clear("MAINTENANCE", at);
                }
            }
            Some(_) if before.is_none_or(|b| b <= 0) => self.availability.since = Some(at),
            Some(_) if self.availability.verdict.is_some() => {
                // §5.1: "if it was [UNAVAILABLE] and D stays in the past, nothing changes"; §6: "when a longer interval
                // ends the unavailability, with INTERVAL_CHANGED"; §12: a larger grace likewise.
                if self.deadline(world).is_some_and(|d| world.now <= d) {
                    self.end_verdict(world);
                    self.clear("INTERVAL_CHANGED", at);
                }
            }
            Some(_) if before != after => {
                // "After a change of R, D is never before the change, if the device was not UNAVAILABLE before it".
                self.availability.floor = self.availability.floor.max(Some(at));
            }
            Some(_) => {}
        }
    }

    /// The first millisecond at which the verdict is due (§5.1: now > D, strictly).
    pub fn availability_due(&self, world: &World) -> Option<i64> {
        if self.availability.verdict.is_some() { None } else { self.deadline(world).map(|d| d + 1) }
    }

    /// now > D.
    pub fn availability_lapses(&mut self, world: &World) -> i64 {
        let deadline = self.deadline(world).expect("due");
        let verdict = Verdict { deadline, base: self.base(), length: self.length(world) };
        self.availability.verdict = Some(verdict);
        let a = &mut self.availability;
        if let Some(alarm) = &mut a.alarm {
            // §6: "a new occurrence while one is open adds to `count`"; §12: UPDATED even if the policy now drops, with
            // the severity and text of its RAISED.
            alarm.count += 1;
            alarm.last_at = deadline;
            alarm.verdict = verdict;
            let alarm = alarm.clone();
            self.step.alarms.push(AlarmEvent { alarm, action: "UPDATED", reason: None, at: deadline });
        } else if let Some((severity, text)) = world.policy.alarm_face("unavailability") {
            a.alarms_raised += 1;
            let alarm = Alarm {
                id: a.alarms_raised,
                severity,
                text,
                acknowledged: false,
                count: 1,
                first_at: deadline,
                last_at: deadline,
                verdict,
            };
            a.alarm = Some(alarm.clone());
            self.step.alarms.push(AlarmEvent { alarm, action: "RAISED", reason: None, at: deadline });
        }
        deadline
    }

    /// §6, §2: "an alarm command observed before the alarm is ignored".
    pub fn command(&mut self, alarm_id: Option<&str>, action: AlarmAction, at: i64) {
        let Some(alarm) = &mut self.availability.alarm else { return };
        // The model does not know the ids that the monitor gives: a command with an id is one for another alarm.
        if alarm_id.is_some() || at < alarm.first_at {
            return;
        }
        match action {
            AlarmAction::Acknowledge if alarm.acknowledged => {}
            AlarmAction::Acknowledge => {
                alarm.acknowledged = true;
                let alarm = alarm.clone();
                self.step.alarms.push(AlarmEvent { alarm, action: "ACKNOWLEDGED", reason: None, at });
            }
            AlarmAction::Clear => self.clear("COMMAND", at),
        }
    }

    /// §9 Sight: "Verdicts given stay. For every device that is not UNAVAILABLE, monitoring_since becomes that moment."
    pub fn see_availability(&mut self, at: i64) {
        if self.availability.verdict.is_none() {
            self.availability.sight = Some(at);
        }
    }
}
