//! SEMANTICS §11, but for the keys that are the engine's and not `fold`'s.

use super::time::SECOND;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct IntervalRule {
    pub tenant: Option<String>,
    pub device_type: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub minutes: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlarmRule {
    pub type_prefix: String,
    pub severity: Option<String>,
    pub text: Option<String>,
    pub drop: bool,
}

/// Durations in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub grace: i64,
    pub required_intervals: Vec<IntervalRule>,
    pub max_future: i64,
    pub tombstone_retention: i64,
    pub infer_sessions: bool,
    pub node_timeout: i64,
    pub long_poll_linger: i64,
    pub inventory_counts_as_message: bool,
    pub poll_floor: i64,
    pub poll_factor: f64,
    pub poll_slack: i64,
    pub clear_on_maintenance: bool,
    pub alarms: Vec<AlarmRule>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            grace: 0,
            required_intervals: Vec::new(),
            max_future: 300 * SECOND,
            tombstone_retention: 86_400 * SECOND,
            infer_sessions: true,
            node_timeout: 60 * SECOND,
            long_poll_linger: 120 * SECOND,
            inventory_counts_as_message: false,
            poll_floor: 600 * SECOND,
            poll_factor: 1.5,
            poll_slack: 15 * SECOND,
            clear_on_maintenance: false,
            alarms: Vec::new(),
        }
    }
}

impl Policy {
    /// Keys at their defaults are left out: absent keys are at their defaults (SEMANTICS §2).
    pub fn to_json(&self) -> Value {
        let default = Policy::default();
        let mut map = Map::new();
        for ((key, value), (_, usual)) in self.durations().into_iter().zip(default.durations()) {
            if value != usual {
                map.insert(key.into(), (value / SECOND).into());
            }
        }
        for ((key, value), (_, usual)) in self.switches().into_iter().zip(default.switches()) {
            if value != usual {
                map.insert(key.into(), value.into());
            }
        }
        if self.poll_factor != default.poll_factor {
            map.insert("pollFactor".into(), self.poll_factor.into());
        }
        if !self.required_intervals.is_empty() {
            let rules: Vec<Value> = self.required_intervals.iter().map(IntervalRule::to_json).collect();
            map.insert("requiredIntervals".into(), rules.into());
        }
        if !self.alarms.is_empty() {
            let rules: Vec<Value> = self.alarms.iter().map(AlarmRule::to_json).collect();
            map.insert("alarms".into(), rules.into());
        }
        map.into()
    }

    fn durations(&self) -> [(&'static str, i64); 7] {
        [
            ("graceSeconds", self.grace),
            ("maxFutureSeconds", self.max_future),
            ("tombstoneRetentionSeconds", self.tombstone_retention),
            ("nodeTimeoutSeconds", self.node_timeout),
            ("longPollLingerSeconds", self.long_poll_linger),
            ("pollFloorSeconds", self.poll_floor),
            ("pollSlackSeconds", self.poll_slack),
        ]
    }

    fn switches(&self) -> [(&'static str, bool); 3] {
        [
            ("inferSessions", self.infer_sessions),
            ("inventoryCountsAsMessage", self.inventory_counts_as_message),
            ("clearOnMaintenance", self.clear_on_maintenance),
        ]
    }

    /// §11: "Unknown keys are refused (in an event: dead letter)."
    pub fn parse(value: &Value) -> Result<Policy, String> {
        let mut policy = Policy::default();
        for (key, value) in value.as_object().ok_or("a policy is an object")? {
            let seconds = || value.as_i64().map(|s| s * SECOND).ok_or(format!("{key}: no number"));
            let truth = || value.as_bool().ok_or(format!("{key}: no truth value"));
            let list = || value.as_array().ok_or(format!("{key}: no list"));
            match key.as_str() {
                "version" | "maxClockSkewSeconds" | "inputSilenceSeconds" | "inputSilenceMaxSeconds" => {}
                "graceSeconds" => policy.grace = seconds()?,
                "maxFutureSeconds" => policy.max_future = seconds()?,
                "tombstoneRetentionSeconds" => policy.tombstone_retention = seconds()?,
                "nodeTimeoutSeconds" => policy.node_timeout = seconds()?,
                "longPollLingerSeconds" => policy.long_poll_linger = seconds()?,
                "pollFloorSeconds" => policy.poll_floor = seconds()?,
                "pollSlackSeconds" => policy.poll_slack = seconds()?,
                "inferSessions" => policy.infer_sessions = truth()?,
                "inventoryCountsAsMessage" => policy.inventory_counts_as_message = truth()?,
                "clearOnMaintenance" => policy.clear_on_maintenance = truth()?,
                "pollFactor" => policy.poll_factor = value.as_f64().ok_or("pollFactor: no number")?,
                "requiredIntervals" => {
                    policy.required_intervals =
                        list()?.iter().map(IntervalRule::parse).collect::<Result<_, _>>()?;
                }
                "alarms" => policy.alarms = list()?.iter().map(AlarmRule::parse).collect::<Result<_, _>>()?,
                unknown => return Err(format!("unknown key: {unknown}")),
            }
        }
        Ok(policy)
    }

    /// §11: "every one given must equal → minutes; the first match counts"; §5.1: signed 16 bit, out of range clamps.
    pub fn interval_of(
        &self,
        tenant: &str,
        device_type: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Option<i64> {
        let fits = |rule: &&IntervalRule| {
            rule.tenant.as_deref().is_none_or(|t| t == tenant)
                && rule.device_type.as_deref().is_none_or(|t| Some(t) == device_type)
                && rule.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        self.required_intervals.iter().find(fits).map(|rule| rule.minutes.clamp(-32_768, 32_767))
    }

    /// §6, §11: the first rule whose prefix the type has. `None`: dropped.
    pub fn alarm_face(&self, alarm_type: &str) -> Option<(String, String)> {
        let rule = self.alarms.iter().find(|rule| alarm_type.starts_with(&rule.type_prefix));
        if rule.is_some_and(|r| r.drop) {
            return None;
        }
        let severity = rule.and_then(|r| r.severity.clone()).unwrap_or("MAJOR".into());
        let usual = "No data received from device within required interval";
        Some((severity, rule.and_then(|r| r.text.clone()).unwrap_or(usual.into())))
    }

    /// §5.5: W = ceil(max(poll interval, 600 s) × 1.5), in whole seconds.
    pub fn poll_window(&self, poll_interval_s: Option<i64>) -> i64 {
        let seconds = (self.poll_floor / SECOND).max(poll_interval_s.unwrap_or(0));
        (seconds as f64 * self.poll_factor).ceil() as i64 * SECOND
    }
}

impl IntervalRule {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        if let Some(tenant) = &self.tenant {
            map.insert("tenant".into(), tenant.clone().into());
        }
        if let Some(device_type) = &self.device_type {
            map.insert("deviceType".into(), device_type.clone().into());
        }
        if !self.labels.is_empty() {
            map.insert("labels".into(), json!(self.labels));
        }
        map.insert("minutes".into(), self.minutes.into());
        map.into()
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let mut rule = IntervalRule::default();
        for (key, value) in value.as_object().ok_or("a rule is an object")? {
            let text = || value.as_str().map(str::to_string);
            match key.as_str() {
                "tenant" => rule.tenant = text(),
                "deviceType" => rule.device_type = text(),
                "labels" => {
                    let labels = value.as_object().ok_or("labels: no object")?;
                    let pairs =
                        labels.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().into()));
                    rule.labels = pairs.collect();
                }
                "minutes" => rule.minutes = value.as_i64().ok_or("minutes: no number")?,
                unknown => return Err(format!("unknown key: {unknown}")),
            }
        }
        Ok(rule)
    }
}

impl AlarmRule {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("typePrefix".into(), self.type_prefix.clone().into());
        if let Some(severity) = &self.severity {
            map.insert("severity".into(), severity.clone().into());
        }
        if let Some(text) = &self.text {
            map.insert("text".into(), text.clone().into());
        }
        if self.drop {
            map.insert("drop".into(), true.into());
        }
        map.into()
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let mut rule = AlarmRule::default();
        for (key, value) in value.as_object().ok_or("a rule is an object")? {
            let text = || value.as_str().map(str::to_string);
            match key.as_str() {
                "typePrefix" => rule.type_prefix = text().ok_or("typePrefix: no text")?,
                "severity" => rule.severity = text(),
                "text" => rule.text = text(),
                "drop" => rule.drop = value.as_bool().ok_or("drop: no truth value")?,
                unknown => return Err(format!("unknown key: {unknown}")),
            }
        }
        Ok(rule)
    }
}
