//! The policy: one document of settings that judge, sent as an event, in force from its place in the order
//! (SEMANTICS §11).

use std::collections::BTreeMap;

use super::event::words;
use super::time::Millis;

words!(
    /// How grave an alarm is.
    Severity { Critical = "CRITICAL", Major = "MAJOR", Minor = "MINOR", Warning = "WARNING" }
);

/// Gives devices that match a required interval, unless an event set one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IntervalRule {
    /// The tenant must be this one.
    pub tenant: Option<String>,
    /// The device type must be this one.
    pub device_type: Option<String>,
    /// Each of these labels must have this value.
    pub labels: BTreeMap<String, String>,
    /// The interval in minutes; zero or less is maintenance.
    pub minutes: i16,
}

/// Changes alarms whose type begins with a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AlarmRule {
    /// The prefix; the empty one matches every type.
    pub type_prefix: String,
    /// Another severity.
    pub severity: Option<Severity>,
    /// Another text.
    pub text: Option<String>,
    /// No alarm at all.
    pub drop: bool,
}

/// All settings that judge. [`Policy::default`] has the documented defaults.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// A name for people.
    pub version: Option<String>,
    /// Added to every availability deadline.
    pub grace: Millis,
    /// Required intervals by tenant, type and labels; the first that matches counts.
    pub required_intervals: Vec<IntervalRule>,
    /// How far an observed time may lie ahead before it is clamped.
    pub max_future: Millis,
    /// How long a deleted device's tombstone stands.
    pub tombstone_retention: Millis,
    /// Whether activity after a disconnect proves a lost connect.
    pub infer_sessions: bool,
    /// A node is down after this silence.
    pub node_timeout: Millis,
    /// A long poll session ends this long after its last poll.
    pub long_poll_linger: Millis,
    /// Whether inventory and operation updates count as messages.
    pub inventory_counts_as_message: bool,
    /// The shortest poll interval that is reckoned with.
    pub poll_floor: Millis,
    /// The poll window is the poll interval times this, in thousandths.
    pub poll_factor_thousandths: i64,
    /// How long TIMEOUT lasts before OFFLINE.
    pub poll_slack: Millis,
    /// Whether switching maintenance on clears an open alarm.
    pub clear_on_maintenance: bool,
    /// Alarm rules by type prefix; the first that matches counts.
    pub alarms: Vec<AlarmRule>,
    /// How far host and brokers may disagree on the time (the engine's, not `fold`'s).
    pub max_clock_skew: Millis,
    /// Silence of the inputs beyond which the monitor counts itself blind (the engine's).
    pub input_silence: Millis,
    /// The longest that it does so (the engine's).
    pub input_silence_max: Millis,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            version: None,
            grace: Millis(0),
            required_intervals: Vec::new(),
            max_future: Millis::from_seconds(300),
            tombstone_retention: Millis::from_seconds(86_400),
            infer_sessions: true,
            node_timeout: Millis::from_seconds(60),
            long_poll_linger: Millis::from_seconds(120),
            inventory_counts_as_message: false,
            poll_floor: Millis::from_seconds(600),
            poll_factor_thousandths: 1500,
            poll_slack: Millis::from_seconds(15),
            clear_on_maintenance: false,
            alarms: Vec::new(),
            max_clock_skew: Millis::from_seconds(60),
            input_silence: Millis::from_seconds(5),
            input_silence_max: Millis::from_seconds(600),
        }
    }
}

impl Policy {
    /// The required interval that the rules give a device, in minutes.
    pub fn required_interval(
        &self,
        tenant: &str,
        device_type: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Option<i16> {
        self.required_intervals
            .iter()
            .find(|rule| {
                rule.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
                    && rule.device_type.as_deref().is_none_or(|wanted| device_type == Some(wanted))
                    && rule.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            })
            .map(|rule| rule.minutes)
    }

    /// The rule for alarms of a type.
    pub fn alarm_rule(&self, alarm_type: &str) -> Option<&AlarmRule> {
        self.alarms.iter().find(|rule| alarm_type.starts_with(&rule.type_prefix))
    }

    /// W of SEMANTICS §5.5 for a device with this poll interval.
    pub fn poll_window(&self, poll_interval_seconds: Option<u32>) -> Millis {
        let interval =
            poll_interval_seconds.map_or(0, |seconds| i64::from(seconds) * 1000).max(self.poll_floor.0);
        let micros = interval.saturating_mul(self.poll_factor_thousandths);
        // Rounded up to whole seconds, as the seed's product does.
        Millis(micros.saturating_add(999_999) / 1_000_000 * 1000)
    }
}
