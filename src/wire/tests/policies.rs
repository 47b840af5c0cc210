//! The policy document in its three forms.

use crate::domain::policy::{AlarmRule, IntervalRule, Policy, Severity};
use crate::domain::time::Millis;
use crate::wire::policy::{from_json, from_toml, to_json, toml_keys};
use crate::wire::reject::Reason;

pub(super) const TOML: &str = r#"
version = "2026-03"
grace_seconds = 0.25
poll_factor = 2
input_silence_seconds = 7

[[required_intervals]]
device_type = "pump"
labels = { site = "berlin" }
minutes = 5

[[required_intervals]]
tenant = "acme"
minutes = 15

[[alarms]]
type_prefix = "unavail"
severity = "CRITICAL"
text = "gone"
"#;

fn policy() -> Policy {
    Policy {
        version: Some("2026-03".to_owned()),
        grace: Millis(250),
        poll_factor_thousandths: 2000,
        input_silence: Millis(7000),
        required_intervals: vec![
            IntervalRule {
                tenant: None,
                device_type: Some("pump".to_owned()),
                labels: [("site".to_owned(), "berlin".to_owned())].into(),
                minutes: 5,
            },
            IntervalRule { tenant: Some("acme".to_owned()), minutes: 15, ..IntervalRule::default() },
        ],
        alarms: vec![AlarmRule {
            type_prefix: "unavail".to_owned(),
            severity: Some(Severity::Critical),
            text: Some("gone".to_owned()),
            drop: false,
        }],
        ..Policy::default()
    }
}

#[test]
fn toml_is_read() {
    assert_eq!(from_toml(TOML), Ok(policy()));
    assert_eq!(from_toml(""), Ok(Policy::default()));
    assert_eq!(from_json(b" {} "), Ok(Policy::default()));
}

#[test]
fn json_is_canonical() {
    assert_eq!(
        String::from_utf8_lossy(&to_json(&policy())),
        "{\"version\":\"2026-03\",\"graceSeconds\":0.25,\"requiredIntervals\":[{\"deviceType\":\"pump\",\
         \"labels\":{\"site\":\"berlin\"},\"minutes\":5},{\"tenant\":\"acme\",\"minutes\":15}],\
         \"maxFutureSeconds\":300,\"tombstoneRetentionSeconds\":86400,\"inferSessions\":true,\
         \"nodeTimeoutSeconds\":60,\"longPollLingerSeconds\":120,\"inventoryCountsAsMessage\":false,\
         \"pollFloorSeconds\":600,\"pollFactor\":2,\"pollSlackSeconds\":15,\"clearOnMaintenance\":false,\
         \"alarms\":[{\"typePrefix\":\"unavail\",\"severity\":\"CRITICAL\",\"text\":\"gone\"}],\
         \"maxClockSkewSeconds\":60,\"inputSilenceSeconds\":7,\"inputSilenceMaxSeconds\":600}"
    );
}

/// The keys of the TOML form are those of SEMANTICS §11, spans with their unit.
#[test]
fn toml_has_every_key() {
    assert_eq!(
        toml_keys().join(" "),
        "version grace_seconds required_intervals max_future_seconds tombstone_retention_seconds infer_sessions \
         node_timeout_seconds long_poll_linger_seconds inventory_counts_as_message poll_floor_seconds poll_factor \
         poll_slack_seconds clear_on_maintenance alarms max_clock_skew_seconds input_silence_seconds \
         input_silence_max_seconds"
    );
}

#[track_caller]
fn check_json(text: &str, reason: Reason, words: &str) {
    let reject = from_json(text.as_bytes()).unwrap_err();
    assert_eq!((reject.reason, reject.message.as_str()), (reason, words));
}

#[track_caller]
fn check_toml(text: &str, reason: Reason, words: &str) {
    let reject = from_toml(text).unwrap_err();
    assert_eq!((reject.reason, reject.message.as_str()), (reason, words));
}

#[test]
fn unknown_keys_are_refused() {
    check_json(
        r#"{"graceMinutes":5}"#,
        Reason::UnknownPolicyKey,
        "there is no key \"graceMinutes\"; did you mean graceSeconds?",
    );
    check_json(
        r#"{"inferSession":false}"#,
        Reason::UnknownPolicyKey,
        "there is no key \"inferSession\"; did you mean inferSessions?",
    );
    check_json(
        r#"{"requiredIntervals":[{"minutes":5},{"site":"berlin","minutes":5}]}"#,
        Reason::UnknownPolicyKey,
        "requiredIntervals[1]: there is no key \"site\"; the keys are tenant, deviceType, labels, minutes",
    );
    check_toml(
        "graceSeconds = 5",
        Reason::UnknownPolicyKey,
        "there is no key \"graceSeconds\"; did you mean grace_seconds?",
    );
    check_toml(
        "[[alarms]]\nprefix = \"x\"",
        Reason::UnknownPolicyKey,
        "alarms[0]: there is no key \"prefix\"; the keys are type_prefix, severity, text, drop",
    );
}

#[test]
fn bad_values_are_refused() {
    let span = "must not be negative, nor longer than 100 years";
    check_json(r#"{"graceSeconds":-1}"#, Reason::BadValue, &format!("graceSeconds: {span}"));
    check_json(r#"{"graceSeconds":1e300}"#, Reason::BadValue, &format!("graceSeconds: {span}"));
    check_toml("grace_seconds = -0.5", Reason::BadValue, &format!("grace_seconds: {span}"));
    check_toml("grace_seconds = \"5\"", Reason::BadValue, "grace_seconds: must be a number, not a text");
    check_json(
        r#"{"pollFactor":0}"#,
        Reason::BadValue,
        "pollFactor: must be a factor from 0.001 to 1000, with up to three decimals",
    );
    check_json(
        r#"{"requiredIntervals":[{}]}"#,
        Reason::MissingField,
        "requiredIntervals[0].minutes: is missing",
    );
    check_json(
        r#"{"requiredIntervals":{}}"#,
        Reason::BadValue,
        "requiredIntervals: must be a list, not an object",
    );
    check_json(r#"{"alarms":[{"drop":true}]}"#, Reason::MissingField, "alarms[0].typePrefix: is missing");
    check_toml(
        "[[alarms]]\ntype_prefix = \"\"\nseverity = \"HIGH\"",
        Reason::UnknownEnum,
        "alarms[0].severity: \"HIGH\" is not one of CRITICAL, MAJOR, MINOR, WARNING",
    );
    check_json(
        "null",
        Reason::NotJson,
        "not valid JSON at column 1: an event or a policy is an object, in { and }",
    );
    let reject = from_toml("grace_seconds = ").unwrap_err();
    assert!(reject.message.starts_with("not valid TOML at line 1, column 17: "), "{}", reject.message);
}

#[test]
fn spans_are_rounded_to_milliseconds() {
    assert_eq!(from_json(br#"{"graceSeconds":0.0005}"#).map(|policy| policy.grace), Ok(Millis(1)));
    assert_eq!(from_json(br#"{"graceSeconds":0.57}"#).map(|policy| policy.grace), Ok(Millis(570)));
    assert_eq!(from_json(br#"{"graceSeconds":1.5e-1}"#).map(|policy| policy.grace), Ok(Millis(150)));
    assert_eq!(from_json(br#"{"graceSeconds":2e1}"#).map(|policy| policy.grace), Ok(Millis(20_000)));
    assert_eq!(from_toml("grace_seconds = 0.57").map(|policy| policy.grace), Ok(Millis(570)));
}
