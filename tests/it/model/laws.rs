//! The laws of SEMANTICS §10 hold in the model itself; that is how it was checked before there was a monitor.

use super::generator::{Knobs, inputs, lines};
use super::lives::{Lives, lives, settled};
use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestError;

fn everything() -> Vec<(&'static str, Knobs, Clock)> {
    vec![
        ("sessions", Knobs::sessions(), Clock::Observed),
        ("many sessions", Knobs::many_sessions(), Clock::Observed),
        ("sequences", Knobs::sequences(), Clock::Observed),
        ("started", Knobs::started(), Clock::Observed),
        ("mixed evidence", Knobs::mixed_evidence(), Clock::Observed),
        ("nodes", Knobs::nodes(), Clock::Observed),
        ("long poll", Knobs::long_poll(), Clock::Observed),
        ("availability", Knobs::availability(), Clock::Observed),
        ("alarms", Knobs::alarms(), Clock::Observed),
        ("overall", Knobs::overall(), Clock::Observed),
        ("everything", Knobs::everything(), Clock::Observed),
        ("ticks", Knobs { future: true, ..Knobs::everything() }.with_ticks(), Clock::Ticks),
        ("exotic", Knobs { exotic: true, future: true, ..Knobs::everything() }, Clock::Observed),
    ]
}

fn run<T: std::fmt::Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    test: impl Fn(T) -> Result<(), String>,
) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    match runner.run(&strategy, |value| test(value).map_err(TestCaseError::fail)) {
        Ok(()) => {}
        // The reason names the input lines; the value as Rust prints it is of no use to anybody.
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(other) => panic!("{other}"),
    }
}

/// Law 1, and: what is written can be read back, and compared it is equal.
#[test]
fn same_inputs_same_outputs() {
    for (_, knobs, mode) in everything() {
        run(64, inputs(knobs), |inputs| {
            let read: Vec<Input> = inputs
                .iter()
                .map(|input| {
                    Input::parse(&serde_json::from_str(&input.to_line()).expect("JSON")).expect("an input")
                })
                .collect();
            if read != inputs {
                return Err("what was written reads differently".into());
            }
            let (one, two) = (Model::fold(mode, &inputs), Model::fold(mode, &read));
            check_inputs(&inputs, one.outputs(), two.outputs())
        });
    }
}

/// Law 4: the partition clock (by recordedAt) never goes back, and neither do the clocks of §4; law 5.
#[test]
fn clocks_never_go_back_and_alarms_follow_unavailability() {
    for (name, knobs, mode) in everything() {
        run(200, inputs(knobs), |inputs| {
            let mut model = Model::with_clock(mode);
            let mut before = BTreeMap::new();
            for input in &inputs {
                let deletes = matches!(input, Input::Event(event) if event.body == Body::Delete);
                model.feed(input);
                for key in model.devices() {
                    let facts = model.facts(&key).expect("it is there");
                    let clocks = ["lastMessage", "lastActivity", "lastPoll"]
                        .map(|k| facts[k].as_str().map(str::to_string));
                    if let Some(old) = before.insert(key.clone(), clocks.clone())
                        && !deletes
                        && old.iter().zip(&clocks).any(|(old, new)| new < old)
                    {
                        return Err(format!(
                            "{name}: {key}: {old:?} became {clocks:?} at {}",
                            input.to_line()
                        ));
                    }
                    let device = &model.devices[&key];
                    let quiet = device.availability.interval.is_some_and(|r| r > 0);
                    if device.shown.availability == "NOT_MONITORED" && model.alarm_open(&key) {
                        return Err(format!("{name}: {key}: an open alarm, not monitored"));
                    }
                    if device.shown.availability == "UNAVAILABLE" && !quiet {
                        return Err(format!("{name}: {key}: unavailable without an interval"));
                    }
                }
                before.retain(|key, _| model.devices.contains_key(key));
            }
            let recorded: Vec<&str> =
                model.outputs().iter().filter_map(|o| o["recordedAt"].as_str()).collect();
            if !recorded.is_sorted() {
                return Err(format!("{name}: recordedAt went back"));
            }
            Ok(())
        });
    }
}

/// Facets as they are published follow from one another: each `from` is the `to` before it.
#[test]
fn each_change_begins_where_the_last_one_ended() {
    for (name, knobs, mode) in everything() {
        run(100, inputs(knobs), |inputs| {
            let model = Model::fold(mode, &inputs);
            let mut shown: BTreeMap<String, String> = BTreeMap::new();
            for output in model.outputs().iter().filter(|o| o["topic"] == "status") {
                for change in output["changes"].as_array().expect("changes") {
                    let key = format!("{}/{}/{}", output["tenant"], output["deviceId"], change["facet"]);
                    let start = match change["facet"].as_str() {
                        Some("availability" | "push") => "NOT_MONITORED",
                        _ => "UNKNOWN",
                    };
                    let from = shown.get(&key).map_or(start, String::as_str);
                    if change["from"] != from {
                        return Err(format!("{name}: {key}: from {} after {from}", change["from"]));
                    }
                    shown.insert(key, change["to"].as_str().expect("a word").into());
                }
            }
            Ok(())
        });
    }
}

/// Law 3, and §3: "Duplicates, and re-ordering of connection events among themselves that carry session ids and one
/// common kind of evidence, must end in the same facts as the clean order".
#[test]
fn re_ordered_connection_events_end_in_the_same_facts() {
    run(3_000, lives(), |Lives { clean, mixed }| {
        let (one, two) = (Model::fold(Clock::Observed, &clean), Model::fold(Clock::Observed, &mixed));
        let facts = |model: &Model| model.facts("acme/p1").map_or(Value::Null, settled);
        match facts(&one) == facts(&two) {
            true => Ok(()),
            false => Err(format!("{}\nbut mixed\n{}\n{}", facts(&one), facts(&two), lines(&mixed))),
        }
    });
}

/// Law 3, first sentence, with the exceptions that it names.
#[test]
fn duplicates_change_nothing() {
    let quiet =
        |knobs: Knobs| Knobs { duplicate: 0, without_id: 0, delete: 0, policy: 0, maintenance: 0, ..knobs };
    let cases = [
        quiet(Knobs::sessions()),
        quiet(Knobs::sequences()),
        quiet(Knobs::mixed_evidence()),
        quiet(Knobs::nodes()),
        quiet(Knobs::availability()),
        quiet(Knobs::overall()),
    ];
    for knobs in cases {
        run(400, (inputs(knobs), any::<u16>(), any::<u16>()), |(inputs, which, place)| {
            let which = usize::from(which) % inputs.len();
            let Input::Event(event) = &inputs[which] else { return Ok(()) };
            // Excepted: control events of one fact with equal times, alarm commands, taken-over notices of a session
            // that was not known; left out here: all of them. `last_activity_event` goes by the order of arrival.
            let plain = matches!(
                event.body,
                Body::Connected { .. }
                    | Body::ConnectFailed { .. }
                    | Body::Activity { .. }
                    | Body::Disconnected { .. }
            );
            if !plain
                || matches!(event.body, Body::Disconnected { initiator: Some(Initiator::TakenOver), .. })
            {
                return Ok(());
            }
            let place = which + 1 + usize::from(place) % (inputs.len() - which);
            let mut twice = inputs.clone();
            twice.insert(place, inputs[which].clone());
            let (once, again) = (Model::fold(Clock::Observed, &inputs), Model::fold(Clock::Observed, &twice));
            let unknown_takeover = |o: &&Value| o["kind"] != "TAKEN_OVER";
            let left: Vec<Value> = once.outputs().iter().filter(unknown_takeover).cloned().collect();
            let right: Vec<Value> = again.outputs().iter().filter(unknown_takeover).cloned().collect();
            check_inputs(&twice, &right, &left)
                .map_err(|e| format!("line {} again at {}: {e}", which + 1, place + 1))
        });
    }
}

/// A channel of which a session was known is never UNKNOWN again (§5.3: "UNKNOWN before any").
#[test]
fn a_known_channel_stays_known() {
    for (name, knobs, mode) in everything() {
        run(200, inputs(Knobs { delete: 0, ..knobs }), |inputs| {
            let model = Model::fold(mode, &inputs);
            let again = model.outputs().iter().filter(|o| o["topic"] == "status").find(|o| {
                let changes = o["changes"].as_array().expect("changes");
                changes
                    .iter()
                    .any(|c| (c["facet"] == "connection" || c["facet"] == "vpn") && c["to"] == "UNKNOWN")
            });
            again.map_or(Ok(()), |o| Err(format!("{name}: {o}\n{}", lines(&inputs))))
        });
    }
}

/// §3: "an end does not count if, as known now, a newer session had connected before it".
#[test]
fn the_end_of_an_older_session_does_not_count_once_its_connect_is_known() {
    let line = |text: &str| Input::parse(&serde_json::from_str(text).expect("JSON")).expect("an input");
    let event = |second: u32, name: &str, id: &str| {
        line(&format!(
            r#"{{"tenant":"t","deviceId":"d","observedAt":"2026-01-01T00:00:{second:02}.000Z",
                "{name}":{{"channel":"mqtt","session":{{"id":"{id}"}}}}}}"#
        ))
    };
    let mut model = Model::new();
    model.feed(&event(10, "connected", "s1"));
    model.feed(&event(20, "disconnected", "s0"));
    assert_eq!(model.facts("t/d").unwrap()["lastDisconnectTime"], "2026-01-01T00:00:20.000Z");
    model.feed(&event(5, "connected", "s0"));
    assert_eq!(model.facts("t/d").unwrap()["lastDisconnectTime"], Value::Null);
    assert_eq!(model.facets("t/d").unwrap().connection, "CONNECTED");
}

/// Law 5, where none of its exceptions (maintenance, cleared by command, dropped by policy) can come.
#[test]
fn an_alarm_is_open_exactly_while_unavailable() {
    let knobs = Knobs { maintenance: 0, alarm_command: 0, policy: 0, ..Knobs::availability() };
    run(400, inputs(knobs), |inputs| {
        let mut model = Model::new();
        for (number, input) in inputs.iter().enumerate() {
            model.feed(input);
            for key in model.devices() {
                let facet = model.facets(&key).expect("it is there").availability;
                // A device that was put to maintenance by an interval ≤ 0 keeps its alarm until data returns.
                let put = |i: &Input| match i {
                    Input::Event(event) => matches!(
                        &event.body, Body::RequiredInterval { minutes: Some(minutes), .. } if *minutes <= 0),
                    _ => false,
                };
                if !inputs.iter().any(put) && model.alarm_open(&key) != (facet == "UNAVAILABLE") {
                    return Err(format!("{key} is {facet} after line {}\n{}", number + 1, lines(&inputs)));
                }
            }
        }
        Ok(())
    });
}

/// The histories reach what they are there to reach: no rule is tested by nothing.
#[test]
fn histories_reach_every_kind_of_output() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for (_, knobs, mode) in everything() {
        for _ in 0..300 {
            let inputs = inputs(knobs.clone()).new_tree(&mut runner).expect("a history").current();
            for output in Model::fold(mode, &inputs).outputs() {
                let word = |key: &str| output[key].as_str().unwrap_or("-").to_string();
                let mut hit = |name: String| *seen.entry(name).or_default() += 1;
                match output["topic"].as_str() {
                    Some("alarms") => hit(format!("{} {}", word("action"), word("reason"))),
                    Some("connection-log") => hit(format!("{} {}", word("kind"), output["flags"])),
                    _ => {
                        if output.get("retracts").is_some() {
                            hit("retracts".into());
                        }
                        for change in output["changes"].as_array().into_iter().flatten() {
                            let text = |key: &str| change[key].as_str().unwrap_or("").to_string();
                            hit(format!("{} {} {}", text("facet"), text("to"), text("label")));
                        }
                    }
                }
            }
        }
    }
    if std::env::var_os("SHOW_REACHED").is_some() {
        eprintln!("{seen:#?}");
    }
    let missing: Vec<&&str> = REACHED.iter().filter(|name| !seen.contains_key(**name)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}\nseen: {seen:#?}");
}

const REACHED: &[&str] = &[
    "RAISED -",
    "UPDATED -",
    "ACKNOWLEDGED -",
    "CLEARED DATA_RETURNED",
    "CLEARED RETRACTED",
    "CLEARED COMMAND",
    "CLEARED MONITORING_STOPPED",
    "CLEARED INTERVAL_CHANGED",
    "CLEARED MAINTENANCE",
    "retracts",
    "CONNECTED []",
    "CONNECTED [\"stale\"]",
    "CONNECTED [\"late\"]",
    "CONNECTED [\"inferred\"]",
    "CONNECT_FAILED []",
    "DISCONNECTED_BY_CLIENT []",
    "DISCONNECTED_BY_SERVER []",
    "DISCONNECTED_BY_NETWORK []",
    "DISCONNECTED_BY_NETWORK [\"lapsed\"]",
    "DISCONNECTED_BY_NETWORK [\"stale\"]",
    "TAKEN_OVER []",
    "availability AVAILABLE ",
    "availability UNKNOWN ",
    "availability UNAVAILABLE ",
    "availability MAINTENANCE ",
    "availability NOT_MONITORED ",
    "push OFFLINE ",
    "push MAINTENANCE ",
    "heartbeat TIMEOUT ",
    "heartbeat OFFLINE ",
    "vpn DISCONNECTED ",
    "overall INACTIVE Inactive",
    "overall POST_PROVISIONING Post Provisioning",
    "overall CONFIGURING Configuring",
    "overall UPDATING Updating",
    "overall OFFLINE Offline",
    "overall UNKNOWN Unknown",
    "overall ONLINE Online",
    "overall ONLINE Online (Heartbeat Only)",
    "overall ONLINE Online (VPN Only)",
];
