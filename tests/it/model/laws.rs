//! The laws of SEMANTICS §10 hold in the model itself; that is how it was checked before there was a monitor.

use super::generator::{Knobs, inputs};
use super::*;
use proptest::prelude::*;

fn everything() -> Vec<(&'static str, Knobs, Clock)> {
    vec![
        ("sessions", Knobs::sessions(), Clock::Observed),
        ("many sessions", Knobs::many_sessions(), Clock::Observed),
        ("evidence", Knobs::evidence(), Clock::Observed),
        ("nodes", Knobs::nodes(), Clock::Observed),
        ("long poll", Knobs::long_poll(), Clock::Observed),
        ("availability", Knobs::availability(), Clock::Observed),
        ("overall", Knobs::overall(), Clock::Observed),
        ("everything", Knobs::everything(), Clock::Observed),
        ("ticks", Knobs { future: true, ..Knobs::everything() }.with_ticks(), Clock::Ticks),
        ("exotic", Knobs { exotic: true, future: true, ..Knobs::everything() }, Clock::Observed),
    ]
}

fn run<T: std::fmt::Debug>(cases: u32, strategy: impl Strategy<Value = T>, test: impl Fn(T) -> Result<(), String>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner.run(&strategy, |value| test(value).map_err(TestCaseError::fail)).unwrap_or_else(|e| panic!("{e}"));
}

/// Law 1, and: what is written can be read back, and compared it is equal.
#[test]
fn same_inputs_same_outputs() {
    for (_, knobs, mode) in everything() {
        run(64, inputs(knobs), |inputs| {
            let read: Vec<Input> = inputs
                .iter()
                .map(|input| Input::parse(&serde_json::from_str(&input.to_line()).expect("JSON")).expect("an input"))
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
                    let clocks = ["lastMessage", "lastActivity", "lastPoll"].map(|k| facts[k].as_str().map(str::to_string));
                    if let Some(old) = before.insert(key.clone(), clocks.clone())
                        && !deletes
                        && old.iter().zip(&clocks).any(|(old, new)| new < old)
                    {
                        return Err(format!("{name}: {key}: {old:?} became {clocks:?} at {}", input.to_line()));
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
            let recorded: Vec<&str> = model.outputs().iter().filter_map(|o| o["recordedAt"].as_str()).collect();
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

/// One session in a clean history: connect, and perhaps disconnect.
#[derive(Clone, Debug)]
struct Life {
    disconnect: Option<(i64, Initiator)>,
    /// The connect was lost.
    lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Common {
    Observed,
    StartedAt,
    Sequence,
}

fn lives() -> impl Strategy<Value = (Vec<Life>, Common, Vec<u32>, Vec<u8>)> {
    let initiator = prop_oneof![Just(Initiator::Client), Just(Initiator::Network), Just(Initiator::Server)];
    let life = (proptest::option::of((1i64..40, initiator)), proptest::bool::weighted(0.1))
        .prop_map(|(disconnect, lost)| Life { disconnect, lost });
    let common = prop_oneof![Just(Common::Observed), Just(Common::StartedAt), Just(Common::Sequence)];
    let shuffle = proptest::collection::vec(any::<u32>(), 32);
    let again = proptest::collection::vec(any::<u8>(), 0..4);
    (proptest::collection::vec(life, 1..7), common, shuffle, again)
}

/// Law 3, and §3: "Duplicates, and re-ordering of connection events among themselves that carry session ids and one
/// common kind of evidence, must end in the same facts as the clean order".
#[test]
fn re_ordered_connection_events_end_in_the_same_facts() {
    run(3_000, lives(), |(lives, common, shuffle, again)| {
        let mut events = Vec::new();
        for (number, life) in lives.iter().enumerate() {
            // No two at one moment: a tie is decided by the order of arrival.
            let connected = START + number as i64 * 10 * SECOND;
            let session = SessionRef {
                id: Some(format!("s{number}")),
                started_at: (common == Common::StartedAt).then_some(connected - 100 * SECOND),
                sequence: (common == Common::Sequence).then(|| format!("{:x}", number + 8)),
            };
            let event = |observed_at, body| {
                Input::Event(ModelEvent { tenant: "acme".into(), device_id: "p1".into(), observed_at, body })
            };
            if !life.lost {
                let body = Body::Connected {
                    channel: Channel::Mqtt,
                    session: session.clone(),
                    node_id: None,
                    can_receive: Some(number % 3 != 0),
                };
                events.push(event(connected, body));
            }
            if let Some((after, initiator)) = life.disconnect {
                let at = connected + after * 2 * SECOND + 1 + number as i64;
                let body = Body::Disconnected {
                    channel: Channel::Mqtt,
                    session,
                    node_id: None,
                    initiator: Some(initiator),
                    mqtt_reason_code: None,
                    close_code: None,
                };
                events.push(event(at, body));
            }
        }
        let observed = |input: &Input| match input {
            Input::Event(event) => event.observed_at,
            _ => unreachable!(),
        };
        events.sort_by_key(observed);
        let mut other: Vec<(u32, Input)> =
            events.iter().cloned().enumerate().map(|(i, e)| (shuffle[i % shuffle.len()], e)).collect();
        for twice in &again {
            if let Some((_, event)) = other.get(usize::from(*twice) % other.len().max(1)).cloned() {
                other.push((shuffle[usize::from(*twice) % shuffle.len()], event));
            }
        }
        other.sort_by_key(|(place, _)| *place);
        let other: Vec<Input> = other.into_iter().map(|(_, event)| event).collect();
        let (clean, mixed) = (Model::fold(Clock::Observed, &events), Model::fold(Clock::Observed, &other));
        let key = "acme/p1";
        let lines = || other.iter().map(Input::to_line).collect::<Vec<_>>().join("\n");
        if clean.facets(key) != mixed.facets(key) {
            return Err(format!("{:?}\nbut mixed\n{:?}\n{}", clean.facets(key), mixed.facets(key), lines()));
        }
        let none = Value::Null;
        check_facts(key, &clean.facts(key).unwrap_or(none.clone()), &mixed.facts(key).unwrap_or(none))
            .map_err(|e| format!("{e}\n{}", lines()))
    });
}
