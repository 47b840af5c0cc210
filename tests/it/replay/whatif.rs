//! What another policy would have done: three devices and one past, told twice.

use lastseen::domain::effect::InputTopic;
use lastseen::domain::policy::Policy;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::step::Settings;
use lastseen::replay::{DeviceChange, Span, Totals, WhatIf, what_if};
use serde_json::{Value, json};

use super::shelf::Shelf;
use crate::engine::{Arrival, Cut, play};
use crate::model::START;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1000)
}

fn event(seconds: i64, topic: InputTopic, device: &str, observed: i64, body: Value) -> Arrival {
    let mut event = json!({"tenant": "acme", "deviceId": device, "observedAt": at(observed).to_string()});
    event.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let key = Some(format!("acme/{device}"));
    Arrival { at: at(seconds).millis(), topic, line: event.to_string(), key }
}

/// All of them are to be heard every two minutes. `short` is silent for 150 s, `late` only seems to be, `long` for good.
fn past() -> Shelf {
    let mut arrivals = Vec::new();
    let policy = json!({"policy": {"version": "old", "graceSeconds": 0}}).to_string();
    arrivals.push(Arrival { at: at(0).millis(), topic: InputTopic::Control, line: policy, key: None });
    for (index, device) in ["short", "late", "long"].into_iter().enumerate() {
        let interval = json!({"requiredInterval": {"minutes": 2, "source": "operator"}});
        arrivals.push(event(1 + index as i64, InputTopic::Control, device, 1, interval));
    }
    let message = || json!({"activity": {"kind": "mqtt_publish"}});
    for device in ["short", "late", "long"] {
        arrivals.push(event(10, InputTopic::Activity, device, 10, message()));
    }
    arrivals.push(event(140, InputTopic::Activity, "late", 100, message()));
    arrivals.push(event(160, InputTopic::Activity, "short", 160, message()));
    arrivals.push(event(190, InputTopic::Activity, "late", 190, message()));
    arrivals.push(event(250, InputTopic::Activity, "short", 250, message()));
    arrivals.push(event(280, InputTopic::Activity, "late", 280, message()));
    let cut = Cut { millis: 5_000, abort: false, recover: false, from_floor: false, blind: None };
    let settings = Settings { partitions: 1, ..Settings::default() };
    let run = play(&arrivals, at(350).millis(), &[cut], settings);
    Shelf::new(&arrivals, &run.committed)
}

fn asked(shelf: &Shelf, span: Span, policy: &Policy) -> WhatIf {
    let settings = Settings { partitions: 1, ..Settings::default() };
    what_if(&mut shelf.clone(), 0, &settings, span, &[], policy, &|_, _| {}).expect("the past can be derived")
}

fn of<'a>(result: &'a WhatIf, device: &str) -> &'a DeviceChange {
    let key = format!("acme/{device}");
    result.devices.iter().find(|change| change.key == key).expect("the device was unavailable once")
}

#[test]
fn a_minute_of_grace_loses_two_alarms_and_moves_one() {
    let result =
        asked(&past(), Span::default(), &Policy { grace: Millis::from_seconds(60), ..Policy::default() });
    let (short, late, long) = (of(&result, "short"), of(&result, "late"), of(&result, "long"));
    assert_eq!((short.lost.len(), short.gained.len(), short.moved.len()), (1, 0, 0));
    assert_eq!(short.lost[0].at, at(130));
    assert!(!short.lost[0].retracted);
    // From its deadline until it was heard again.
    assert_eq!(short.unavailable, (30_000, 0));
    // Its data was only late: the verdict was withdrawn, and would not have been given.
    assert!(late.lost[0].retracted);
    assert_eq!((late.lost.len(), late.false_avoided(), late.unavailable), (1, 1, (0, 0)));
    assert_eq!((long.moved.len(), long.lost.len(), long.gained.len()), (1, 0, 0));
    assert_eq!((long.moved[0].0.at, long.moved[0].1.at), (at(130), at(190)));
    let until = result.until.expect("entries");
    let (was, would) = (until - at(130), until - at(190));
    assert_eq!(long.unavailable, (was.0, would.0));
    let totals = Totals::of(&result.devices);
    assert_eq!((totals.alarms, totals.gained, totals.lost, totals.moved), ((3, 1), 0, 2, 1));
    assert_eq!((totals.false_avoided, totals.changed), (1, 3));
    assert_eq!(totals.unavailable, (Millis(30_000 + was.0), would));
}

#[test]
fn the_policy_of_the_past_changes_nothing() {
    let result = asked(&past(), Span::default(), &Policy::default());
    let totals = Totals::of(&result.devices);
    assert_eq!((totals.changed, totals.alarms), (0, (3, 3)));
}

#[test]
fn a_span_counts_what_lies_in_it() {
    let span = Span { from: Some(at(185)), to: None };
    let result = asked(&past(), span, &Policy { grace: Millis::from_seconds(60), ..Policy::default() });
    let totals = Totals::of(&result.devices);
    assert_eq!((totals.gained, totals.lost, totals.moved), (1, 0, 0), "the alarm of the past lies before");
    // What retention took cannot be asked.
    let mut cut = past();
    cut.topics.get_mut(&lastseen::log::Topic::Journal).unwrap().drain(..3);
    let settings = Settings { partitions: 1, ..Settings::default() };
    let refused = what_if(&mut cut, 0, &settings, Span::default(), &[], &Policy::default(), &|_, _| {});
    assert!(refused.unwrap_err().to_string().contains("does not begin at entry 1"));
}
