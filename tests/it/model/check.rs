//! Holds what the monitor wrote against what the model says.

use super::input::Input;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is compared on each topic. `?`: only where the model is sure of it (the key is there).
const STATUS: &[&str] = &["tenant", "deviceId", "at", "recordedAt"];
const ALARMS: &[&str] = &[
    "tenant",
    "deviceId",
    "at",
    "recordedAt",
    "type",
    "action",
    "state",
    "severity",
    "text",
    "count",
    "firstAt",
    "lastAt",
];
const LOG: &[&str] = &["tenant", "deviceId", "at", "recordedAt", "kind", "channel"];

/// Compares output by output: status, alarms and connection log, in order. Other topics of the monitor (audit, state)
/// are passed over; a dead letter that the model does not have is a difference.
pub fn check(binary_outputs: &[Value], model_outputs: &[Value]) -> Result<(), String> {
    check_inputs(&[], binary_outputs, model_outputs)
}

/// The same, with the lines that led to the difference.
pub fn check_inputs(
    inputs: &[Input],
    binary_outputs: &[Value],
    model_outputs: &[Value],
) -> Result<(), String> {
    let compared = |output: &&Value| {
        matches!(output["topic"].as_str(), Some("status" | "alarms" | "connection-log" | "dead-letter"))
    };
    let theirs: Vec<&Value> = binary_outputs.iter().filter(compared).collect();
    let ours: Vec<&Value> = model_outputs.iter().filter(compared).collect();
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for place in 0..theirs.len().max(ours.len()) {
        let problem = match (theirs.get(place), ours.get(place)) {
            (Some(have), Some(want)) => compare(have, want, &mut ids),
            (Some(_), None) => Err("the model has no such output".into()),
            _ => Err("the monitor has no such output".into()),
        };
        if let Err(problem) = problem {
            return Err(report(inputs, place, &problem, &theirs, &ours));
        }
    }
    Ok(())
}

fn report(inputs: &[Input], place: usize, problem: &str, theirs: &[&Value], ours: &[&Value]) -> String {
    let show = |list: &[&Value], at: usize| list.get(at).map_or("(none)".to_string(), |v| v.to_string());
    let mut text = format!("output {}: {problem}\n  monitor: {}\n", place + 1, show(theirs, place));
    text += &format!("  model:   {}\n", show(ours, place));
    for next in place + 1..place + 3 {
        text += &format!("  then monitor: {}\n  then model:   {}\n", show(theirs, next), show(ours, next));
    }
    let line = ours.get(place).and_then(|v| v["_line"].as_u64());
    text += &match line {
        Some(line) => format!("  the model wrote it at input line {line}\n"),
        None => "  the model wrote nothing here\n".to_string(),
    };
    // All lines up to there, and a few more, since the monitor may have been late.
    let upto = line.map_or(inputs.len(), |line| (line as usize + 3).min(inputs.len()));
    for (number, input) in inputs.iter().enumerate().take(upto) {
        text += &format!("  {:>3}: {}\n", number + 1, input.to_line());
    }
    text
}

fn compare(have: &Value, want: &Value, ids: &mut BTreeMap<String, String>) -> Result<(), String> {
    same(have, want, "topic")?;
    match want["topic"].as_str() {
        Some("status") => {
            STATUS.iter().try_for_each(|key| same(have, want, key))?;
            let (h, w) = (changes(have), changes(want));
            if h != w {
                return Err(format!("changes differ: monitor {h:?}, model {w:?}"));
            }
            let retracts = |v: &Value| v.get("retracts").is_some_and(|r| !r.is_null());
            if retracts(have) != retracts(want) {
                return Err(format!("retracts: monitor {}, model {}", retracts(have), retracts(want)));
            }
        }
        Some("alarms") => {
            ALARMS.iter().try_for_each(|key| same(have, want, key))?;
            // scenarios/README: "reasons of CLEARED".
            if want["action"] == "CLEARED" {
                same(have, want, "reason")?;
            }
            // The ids are the monitor's own: equal where the model's are equal, and only there.
            let key = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_string();
            let model = format!("{}/{}", key(want, "tenant"), key(want, "alarmId"));
            let monitor = key(have, "alarmId");
            let other = ids.iter().find(|(m, id)| **m != model && **id == monitor && !monitor.is_empty());
            if let Some((other, _)) = other.filter(|_| want["action"] == "RAISED") {
                return Err(format!("alarmId {monitor} was that of {other}"));
            }
            if want["action"] == "RAISED" {
                ids.insert(model, monitor);
            } else if ids.get(&model).is_some_and(|id| *id != monitor) {
                return Err(format!("alarmId changed from {} to {monitor}", ids[&model]));
            }
        }
        Some("connection-log") => {
            LOG.iter().try_for_each(|key| same(have, want, key))?;
            let (h, w) = (flags(have), flags(want));
            if h != w {
                return Err(format!("flags: monitor {h:?}, model {w:?}"));
            }
            if want.get("session").is_some() && have["session"]["id"] != want["session"]["id"] {
                let (h, w) = (&have["session"]["id"], &want["session"]["id"]);
                return Err(format!("session id: monitor {h}, model {w}"));
            }
            if let Some(code) = want.get("reasonCode") {
                let their = &have["reasonCode"];
                if their != code {
                    return Err(format!("reasonCode: monitor {their}, model {code}"));
                }
            }
            if let Some(duration) = want["durationSeconds"].as_f64() {
                let their = have["durationSeconds"].as_f64();
                if their.is_none_or(|d| (d - duration).abs() > 0.000_5) {
                    return Err(format!("durationSeconds: monitor {their:?}, model {duration}"));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn same(have: &Value, want: &Value, key: &str) -> Result<(), String> {
    let (h, w) = (&have[key], &want[key]);
    if h == w { Ok(()) } else { Err(format!("{key}: monitor {h}, model {w}")) }
}

fn changes(status: &Value) -> BTreeSet<(String, String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    let list = status["changes"].as_array().cloned().unwrap_or_default();
    list.iter().map(|c| (text(&c["facet"]), text(&c["from"]), text(&c["to"]), text(&c["label"]))).collect()
}

fn flags(log: &Value) -> BTreeSet<String> {
    let list = log["flags"].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|f| f.as_str().map(str::to_string)).collect()
}

/// Facts, key by key: those that the model has; `null`, empty and absent are the same.
pub fn check_facts(device: &str, monitor: &Value, model: &Value) -> Result<(), String> {
    for (key, want) in model.as_object().ok_or("facts are an object")? {
        let have = &monitor[key];
        let differ = match key.as_str() {
            "sessions" => sessions(have) != sessions(want),
            _ => have != want,
        };
        if differ {
            return Err(format!("{device}: {key}: monitor {have}, model {want}"));
        }
    }
    Ok(())
}

/// The open sessions: channel, id, when it connected.
fn sessions(value: &Value) -> BTreeMap<String, (Value, Value)> {
    let map = value.as_object().cloned().unwrap_or_default();
    map.into_iter().map(|(channel, s)| (channel, (s["id"].clone(), s["connectedAt"].clone()))).collect()
}
