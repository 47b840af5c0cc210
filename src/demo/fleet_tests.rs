use std::collections::{BTreeMap, BTreeSet};

use super::super::stand_in::{StandIn, watch};
use super::*;
use crate::domain::effect::{AlarmEventAction, ClearReason, EffectKind, Flag, LogKind, Rule};
use crate::domain::facet::{Facet, Label};
use crate::wire::reject::Reason;

const START: Timestamp = Timestamp::from_millis(1_767_268_800_000);

fn minutes(minutes: i64) -> Millis {
    Millis::from_minutes(minutes)
}

#[test]
fn the_same_seed_tells_the_same_story_however_time_is_cut() {
    let whole = Fleet::new(7, 60, START).events_until(START + minutes(20));
    let mut fleet = Fleet::new(7, 60, START);
    let mut cut = Vec::new();
    let mut dice = Dice::new(99);
    let mut now = START;
    while now < START + minutes(20) {
        now = now + Millis(dice.between(0, 40_000));
        cut.extend(fleet.events_until(now.min(START + minutes(20))));
    }
    assert_eq!(whole, cut);
    assert!(whole.len() > 1000, "{}", whole.len());
    assert_ne!(whole, Fleet::new(8, 60, START).events_until(START + minutes(20)));
}

#[test]
fn events_come_in_the_order_of_arrival_and_are_observed_before() {
    let mut last = START;
    let mut late = 0;
    for event in Fleet::new(1, 100, START).events_until(START + minutes(15)) {
        assert!(event.arrival >= last);
        last = event.arrival;
        let Ok(value) = serde_json::from_slice::<Value>(&event.payload) else { continue };
        let observed_at = crate::wire::rfc3339::parse(value["observedAt"].as_str().unwrap()).unwrap();
        assert!(observed_at <= event.arrival, "{value}");
        late += usize::from((event.arrival - observed_at).0 > 5000);
    }
    assert!(late > 50, "{late}");
}

#[test]
fn a_session_keeps_its_id_to_itself() {
    let mut owners: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for event in Fleet::new(1, 40, START).events_until(START + minutes(15)) {
        let Ok(value) = serde_json::from_slice::<Value>(&event.payload) else { continue };
        if let Some(id) = value["connected"]["session"]["id"].as_str() {
            let began = value["connected"]["session"]["sequence"].as_str().unwrap().to_owned();
            owners.entry((event.key.unwrap(), id.to_owned())).or_default().insert(began);
        }
    }
    assert!(owners.len() > 60, "{}", owners.len());
    assert!(owners.values().all(|began| began.len() == 1), "an id names one session");
}

/// One mark for everything that the demo is there to show.
fn stories(seen: &StandIn) -> BTreeSet<String> {
    let mut marks = BTreeSet::new();
    for (_, effect) in &seen.told {
        marks.insert(format!("rule {}", effect.cause.rule));
        match &effect.kind {
            EffectKind::Status(change) => {
                for change in &change.changes {
                    marks.insert(format!("{} {}", change.facet, change.label.map_or(change.to, Label::word)));
                }
            }
            EffectKind::Alarm(alarm) => {
                let reason = alarm.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
                marks.insert(format!("alarm {}{reason}", alarm.action));
            }
            EffectKind::Log(entry) => {
                let flags: String = entry.flags.iter().map(|flag| format!(" {flag}")).collect();
                marks.insert(format!("log {}{flags}", entry.kind));
            }
            EffectKind::Audit(_) => {}
        }
    }
    marks.extend(seen.rejected.iter().map(|reject| format!("reject {}", reject.reason)));
    marks
}

#[test]
fn a_few_devices_show_every_story_in_ten_minutes() {
    for seed in [1, 2, 3] {
        let marks = stories(&watch(Fleet::new(seed, 60, START), START, minutes(10)));
        let wanted = [
            format!("alarm {}", AlarmEventAction::Raised),
            format!("alarm {}", AlarmEventAction::Acknowledged),
            format!("alarm {} {}", AlarmEventAction::Cleared, ClearReason::DataReturned),
            format!("alarm {} {}", AlarmEventAction::Cleared, ClearReason::Retracted),
            format!("alarm {} {}", AlarmEventAction::Cleared, ClearReason::MonitoringStopped),
            format!("log {}", LogKind::TakenOver),
            format!("log {}", LogKind::ConnectFailed),
            format!("log {}", LogKind::DisconnectedByClient),
            format!("log {}", LogKind::DisconnectedByServer),
            format!("log {} {}", LogKind::DisconnectedByNetwork, Flag::Stale),
            format!("log {} {}", LogKind::DisconnectedByNetwork, Flag::Lapsed),
            format!("log {} {}", LogKind::Connected, Flag::Inferred),
            format!("log {} {}", LogKind::Connected, Flag::Stale),
            format!("log {} {}", LogKind::Connected, Flag::Late),
            format!("rule {}", Rule::NodeTimedOut),
            format!("rule {}", Rule::NodeTimeoutDisproved),
            format!("rule {}", Rule::NodeDown),
            format!("rule {}", Rule::MaintenanceOn),
            format!("rule {}", Rule::MaintenanceOff),
            format!("rule {}", Rule::PollWindowPassed),
            format!("rule {}", Rule::Deleted),
            format!("{} {}", Facet::Overall, Label::HeartbeatOnly),
            format!("{} {}", Facet::Overall, Label::VpnOnly),
            format!("{} {}", Facet::Overall, Label::Offline),
            format!("{} {}", Facet::Overall, Label::Updating),
            format!("{} {}", Facet::Overall, Label::Configuring),
            format!("{} {}", Facet::Overall, Label::PostProvisioning),
            format!("{} {}", Facet::Overall, Label::Inactive),
            format!("reject {}", Reason::UnknownEnum),
            format!("reject {}", Reason::Truncated),
            format!("reject {}", Reason::MissingIdentity),
            format!("reject {}", Reason::WrongKey),
        ];
        let missing: Vec<_> = wanted.iter().filter(|mark| !marks.contains(*mark)).collect();
        assert!(missing.is_empty(), "seed {seed}: missing {missing:?} of {marks:#?}");
    }
}

#[test]
fn the_first_verdicts_come_within_fifteen_seconds() {
    let marks = stories(&watch(Fleet::new(1, 300, START), START, Millis::from_seconds(15)));
    for wanted in [
        "alarm RAISED",
        "alarm CLEARED RETRACTED",
        "log TAKEN_OVER",
        "rule maintenance_on",
        "log CONNECT_FAILED",
    ] {
        assert!(marks.contains(wanted), "{wanted}: {marks:#?}");
    }
}

#[test]
fn a_late_disconnect_of_a_session_that_was_taken_over_follows_the_new_connect() {
    // Taken from what is sent, not from what the domain makes of it.
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let mut late_ends = 0;
    for event in Fleet::new(1, 20, START).events_until(START + minutes(10)) {
        let Ok(value) = serde_json::from_slice::<Value>(&event.payload) else { continue };
        let Some(key) = event.key else { continue };
        if value["connected"]["channel"] == "mqtt" {
            open.insert(key, value["connected"]["session"]["id"].as_str().unwrap().to_owned());
        } else if let Some(id) = value["disconnected"]["session"]["id"].as_str() {
            let taken_over = value["disconnected"]["mqttReasonCode"] == 0x8e;
            late_ends += usize::from(!taken_over && open.get(&key).is_some_and(|current| current != id));
        }
    }
    assert!(late_ends >= 2, "{late_ends}");
}

#[test]
fn most_of_a_fleet_is_well_most_of_the_time() {
    let seen = watch(Fleet::new(1, 300, START), START, minutes(12));
    let mut summary = crate::render::Summary::default();
    for (key, effect) in &seen.told {
        summary.observe(key, effect);
    }
    let labels = summary.by_label();
    let online = labels.get(&Label::Online).copied().unwrap_or_default();
    assert!(summary.devices() > 280 && online > 200, "{labels:?}");
    assert!((1..60).contains(&summary.open_alarms()), "{}", summary.open_alarms());
}
