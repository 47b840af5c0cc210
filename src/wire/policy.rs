//! The policy document: JSON (camelCase) and protobuf as an event, TOML (snake_case) in files. A key that does not
//! exist is refused in each of them: a setting that is not understood must not be dropped in silence.

use std::collections::BTreeMap;

use super::decode::{Scratch, utf8};
use super::event::read_labels;
use super::json::JsonText;
use super::read_toml::TomlSource;
use super::reject::{Fault, Read, Reason, Reject};
use super::schema::{AlarmRuleField, Fields, IntervalRuleField, PolicyField};
use super::sink::Sink;
use super::source::{Source, too_long};
use super::write_json::JsonSink;
use crate::domain::event::POLICY_BYTES_MAX;
use crate::domain::policy::{AlarmRule, IntervalRule, Policy};
use crate::domain::time::Millis;

/// The longest span that a policy may name: 100 years of 366 days.
const SPAN_MAX: Millis = Millis::from_seconds(100 * 366 * 86_400);
/// The largest factor, in thousandths.
const FACTOR_MAX: i64 = 1_000_000;

/// A policy from its JSON form.
pub fn from_json(text: &[u8]) -> Result<Policy, Reject> {
    let scratch = Scratch::new();
    read_json(text, &scratch).map_err(|fault| fault.into_reject())
}

fn read_json(text: &[u8], scratch: &Scratch) -> Read<Policy> {
    let mut source = JsonText::new(utf8(text)?, scratch);
    source.begin()?;
    let policy = source.nested(POLICY_BYTES_MAX, read)?;
    source.end()?;
    policy.ok_or_else(|| Fault::new(Reason::BadValue, "a policy is a JSON object, not null"))
}

/// A policy from its TOML form.
pub fn from_toml(text: &str) -> Result<Policy, Reject> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(too_long(text.len(), POLICY_BYTES_MAX).under("policy").into_reject());
    }
    let table = super::read_toml::parse(text)?;
    read(&mut TomlSource::new(&table)).map_err(|fault| fault.into_reject())
}

/// The canonical JSON form: every key, in the order of the documentation, in one line.
pub fn to_json(policy: &Policy) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    JsonSink::object(&mut out, |s| write(s, policy));
    out
}

/// Reads a policy; absent keys are at their defaults.
pub(super) fn read<'a, S: Source<'a>>(s: &mut S) -> Read<Policy> {
    let mut policy = Policy::default();
    s.fields(|s, field| {
        match field {
            PolicyField::Version => policy.version = s.text()?.map(str::to_owned),
            PolicyField::Grace => span(s, &mut policy.grace)?,
            PolicyField::RequiredIntervals => {
                let rules = &mut policy.required_intervals;
                s.list(rules.len(), |s| {
                    rules.push(read_interval_rule(s)?);
                    Ok(())
                })?;
            }
            PolicyField::MaxFuture => span(s, &mut policy.max_future)?,
            PolicyField::TombstoneRetention => span(s, &mut policy.tombstone_retention)?,
            PolicyField::InferSessions => flag(s, &mut policy.infer_sessions)?,
            PolicyField::NodeTimeout => span(s, &mut policy.node_timeout)?,
            PolicyField::LongPollLinger => span(s, &mut policy.long_poll_linger)?,
            PolicyField::InventoryCountsAsMessage => flag(s, &mut policy.inventory_counts_as_message)?,
            PolicyField::PollFloor => span(s, &mut policy.poll_floor)?,
            PolicyField::PollFactor => {
                if let Some(factor) = s.thousandths()? {
                    if !(1..=FACTOR_MAX).contains(&factor) {
                        let message = "must be a factor from 0.001 to 1000, with up to three decimals";
                        return Err(Fault::new(Reason::BadValue, message));
                    }
                    policy.poll_factor_thousandths = factor;
                }
            }
            PolicyField::PollSlack => span(s, &mut policy.poll_slack)?,
            PolicyField::ClearOnMaintenance => flag(s, &mut policy.clear_on_maintenance)?,
            PolicyField::Alarms => {
                let rules = &mut policy.alarms;
                s.list(rules.len(), |s| {
                    rules.push(read_alarm_rule(s)?);
                    Ok(())
                })?;
            }
            PolicyField::MaxClockSkew => span(s, &mut policy.max_clock_skew)?,
            PolicyField::InputSilence => span(s, &mut policy.input_silence)?,
            PolicyField::InputSilenceMax => span(s, &mut policy.input_silence_max)?,
        }
        Ok(())
    })?;
    Ok(policy)
}

fn span<'a, S: Source<'a>>(s: &mut S, setting: &mut Millis) -> Read<()> {
    if let Some(span) = s.span()? {
        if !(Millis(0)..=SPAN_MAX).contains(&span) {
            return Err(Fault::new(Reason::BadValue, "must not be negative, nor longer than 100 years"));
        }
        *setting = span;
    }
    Ok(())
}

fn flag<'a, S: Source<'a>>(s: &mut S, setting: &mut bool) -> Read<()> {
    if let Some(flag) = s.flag()? {
        *setting = flag;
    }
    Ok(())
}

fn read_interval_rule<'a, S: Source<'a>>(s: &mut S) -> Read<IntervalRule> {
    let (mut rule, mut labels, mut minutes) = (IntervalRule::default(), Vec::new(), None);
    s.fields(|s, field| {
        match field {
            IntervalRuleField::Tenant => rule.tenant = s.text()?.map(str::to_owned),
            IntervalRuleField::DeviceType => rule.device_type = s.text()?.map(str::to_owned),
            IntervalRuleField::Labels => {
                read_labels(s, &mut labels)?;
            }
            IntervalRuleField::Minutes => minutes = s.minutes()?,
        }
        Ok(())
    })?;
    rule.minutes = minutes.ok_or_else(|| s.missing(IntervalRuleField::Minutes))?;
    rule.labels =
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>();
    Ok(rule)
}

fn read_alarm_rule<'a, S: Source<'a>>(s: &mut S) -> Read<AlarmRule> {
    let (mut rule, mut type_prefix) = (AlarmRule::default(), None);
    s.fields(|s, field| {
        match field {
            AlarmRuleField::TypePrefix => type_prefix = s.text()?.map(str::to_owned),
            AlarmRuleField::Severity => rule.severity = s.word()?,
            AlarmRuleField::Text => rule.text = s.text()?.map(str::to_owned),
            AlarmRuleField::Drop => rule.drop = s.flag()?.unwrap_or(false),
        }
        Ok(())
    })?;
    // The empty prefix matches every alarm there is: nobody should get that by leaving a line out.
    rule.type_prefix = type_prefix.ok_or_else(|| s.missing(AlarmRuleField::TypePrefix))?;
    Ok(rule)
}

/// Writes a policy, every key of it.
pub(super) fn write<S: Sink>(s: &mut S, policy: &Policy) {
    s.text_if(PolicyField::Version, policy.version.as_deref());
    s.span(PolicyField::Grace, policy.grace);
    s.list(PolicyField::RequiredIntervals, &policy.required_intervals, |s, rule| {
        s.text_if(IntervalRuleField::Tenant, rule.tenant.as_deref());
        s.text_if(IntervalRuleField::DeviceType, rule.device_type.as_deref());
        if !rule.labels.is_empty() {
            let labels = rule.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            s.pairs(IntervalRuleField::Labels, labels);
        }
        s.minutes(IntervalRuleField::Minutes, rule.minutes);
    });
    s.span(PolicyField::MaxFuture, policy.max_future);
    s.span(PolicyField::TombstoneRetention, policy.tombstone_retention);
    s.flag(PolicyField::InferSessions, policy.infer_sessions);
    s.span(PolicyField::NodeTimeout, policy.node_timeout);
    s.span(PolicyField::LongPollLinger, policy.long_poll_linger);
    s.flag(PolicyField::InventoryCountsAsMessage, policy.inventory_counts_as_message);
    s.span(PolicyField::PollFloor, policy.poll_floor);
    s.thousandths(PolicyField::PollFactor, policy.poll_factor_thousandths);
    s.span(PolicyField::PollSlack, policy.poll_slack);
    s.flag(PolicyField::ClearOnMaintenance, policy.clear_on_maintenance);
    s.list(PolicyField::Alarms, &policy.alarms, |s, rule| {
        s.text(AlarmRuleField::TypePrefix, &rule.type_prefix);
        s.word_if(AlarmRuleField::Severity, rule.severity);
        s.text_if(AlarmRuleField::Text, rule.text.as_deref());
        s.flag_unless(AlarmRuleField::Drop, rule.drop, false);
    });
    s.span(PolicyField::MaxClockSkew, policy.max_clock_skew);
    s.span(PolicyField::InputSilence, policy.input_silence);
    s.span(PolicyField::InputSilenceMax, policy.input_silence_max);
}

/// Every key of the policy in its TOML form, for documentation and for a test of it.
pub fn toml_keys() -> Vec<String> {
    PolicyField::ALL.iter().map(|field| super::read_toml::snake(field.json())).collect()
}
