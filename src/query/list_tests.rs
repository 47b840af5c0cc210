//! The law of lists: what a scan finds is what a slow, obvious reading of every device finds, page by page, whatever
//! changes between the pages.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::channel::Channel;
use crate::domain::device::{Dated, Device};
use crate::domain::event::{ChannelKind, Initiator};
use crate::domain::facet::Facets;
use crate::domain::monitoring::{Alarm, Verdict};
use crate::domain::policy::Severity;
use crate::domain::session::Disconnect;
use crate::domain::time::Millis;
use crate::query::cells::Time;
use crate::query::fleet::Fleet;
use crate::query::pattern::{Pattern, Text};

const NOW: i64 = 1_767_225_600_000;

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::NEVER),
        (0..6i64).prop_map(|hours| Timestamp::from_millis(NOW - hours * 3_600_000))
    ]
}

prop_compose! {
    fn facets()(
        availability in 0..Availability::ALL.len(),
        push in 0..Push::ALL.len(),
        connection in 0..Connection::ALL.len(),
        vpn in 0..Connection::ALL.len(),
        heartbeat in 0..Heartbeat::ALL.len(),
        overall in 0..Overall::ALL.len(),
        label in 0..Label::ALL.len(),
    ) -> Facets {
        Facets {
            availability: Availability::ALL[availability],
            push: Push::ALL[push],
            connection: Connection::ALL[connection],
            vpn: Connection::ALL[vpn],
            heartbeat: Heartbeat::ALL[heartbeat],
            overall: Overall::ALL[overall],
            label: Label::ALL[label],
        }
    }
}

prop_compose! {
    fn device()(
        facets in facets(),
        times in proptest::collection::vec(time(), 5),
        names in (proptest::option::of("[aAbBkKäÄ\u{130}\u{212a}]{1,5}"), proptest::option::of("[xy]")),
        labels in proptest::option::of(proptest::collection::btree_map("[ks]", "[vw]", 0..3)),
        alarm in proptest::option::of((any::<bool>(), 0..Severity::ALL.len())),
        ended in proptest::option::of((0..3usize, proptest::option::of(0..4u8))),
    ) -> Device {
        let mut device = Device::new(Timestamp::from_millis(NOW), 0, Timestamp::NEVER);
        device.facets = facets;
        device.clocks.last_message = times[0];
        device.clocks.last_activity = times[1];
        device.clocks.last_poll = times[2];
        device.last_updated = times[3];
        let set_at = device.birth;
        let text = |text: String| Dated { value: text.into_boxed_str(), set_at };
        device.registration.name = names.0.map(text);
        device.registration.device_type = names.1.map(text);
        device.registration.labels = labels.map(|value| Dated { value, set_at });
        if let Some((initiator, reason_code)) = ended {
            let mut channel = Channel::new(ChannelKind::Mqtt);
            let initiator = Initiator::ALL[initiator];
            channel.recorded = times[4].known().map(|at| Disconnect { at, initiator, reason_code });
            device.channels.push(channel);
        }
        if let Some((acknowledged, severity)) = alarm {
            let alarm = Alarm {
                id: "1".into(), severity: Severity::ALL[severity], text: "".into(), acknowledged, count: 1,
                first_at: set_at, last_at: set_at,
            };
            let (deadline, grace) = (set_at, Millis(0));
            device.verdict = Some(Verdict { deadline, minutes: 1, grace, told_as: 1, alarm: Some(alarm) });
        }
        device
    }
}

/// A term of the language, as it is written.
fn term() -> impl Strategy<Value = (&'static str, String)> {
    let word = |name: &'static str, words: Vec<&'static str>| {
        (proptest::collection::vec(proptest::sample::select(words), 1..3), any::<bool>()).prop_map(
            move |(words, not)| {
                let words: Vec<String> =
                    words.iter().map(|word| format!("{}{word}", if not { "!" } else { "" })).collect();
                (name, words.join(","))
            },
        )
    };
    let moment = |name: &'static str| {
        proptest::sample::select(vec![
            "-1h",
            "-2h",
            "-5h",
            "now",
            "2026-01-01T00:00:00Z",
            "2025-12-31T21:00:00Z",
        ])
        .prop_map(move |moment| (name, moment.to_owned()))
    };
    prop_oneof![
        word("availability", Availability::ALL.iter().map(|word| word.word()).collect()),
        word("connection", Connection::ALL.iter().map(|word| word.word()).collect()),
        word("heartbeat", Heartbeat::ALL.iter().map(|word| word.word()).collect()),
        word("overall", Overall::ALL.iter().map(|word| word.word()).collect()),
        word("alarm", vec!["none", "open", "active", "acknowledged"]),
        word("disconnectedBy", vec!["client", "server", "network"]),
        word("severity", Severity::ALL.iter().map(|word| word.word()).collect()),
        word("type", vec!["x", "y", ""]),
        word("label", vec!["k", "k:v", "s:w"]),
        proptest::sample::select(vec!["true", "false"]).prop_map(|word| ("maintenance", word.to_owned())),
        proptest::sample::select(vec!["0", "1,2", "0x03"]).prop_map(|codes| ("reasonCode", codes.to_owned())),
        "[aAbBkKäÄ\u{130}\u{212a}]{1,3}".prop_map(|prefix| ("namePrefix", prefix)),
        "d1?".prop_map(|prefix| ("idPrefix", prefix)),
        "(d2|a|B|k|Ä)".prop_map(|prefix| ("search", prefix)),
        moment("lastMessageBefore"),
        moment("lastActivityAfter"),
        moment("lastPollBefore"),
        moment("lastDisconnectAfter"),
        moment("lastUpdatedBefore"),
    ]
}

/// Whether a device satisfies a term, by its facts alone.
fn holds(id: &str, device: &Device, (name, value): &(&str, String)) -> bool {
    let facets = &device.facets;
    let alarm = device.verdict.as_ref().and_then(|verdict| verdict.alarm.as_ref());
    let ended = device.channels.first().and_then(|channel| channel.recorded);
    let ended_by = ended.filter(|_| facets.connection == Connection::Disconnected);
    let device_name = device.registration.name.as_ref().map(|fact| fact.value.to_lowercase());
    let labels = device.registration.labels.as_ref().map(|fact| fact.value.clone()).unwrap_or_default();
    let is = |word: &str| match *name {
        "availability" => facets.availability.word() == word,
        "connection" => facets.connection.word() == word,
        "heartbeat" => facets.heartbeat.word() == word,
        "overall" => facets.overall.word() == word,
        "alarm" => match word {
            "none" => alarm.is_none(),
            "open" => alarm.is_some(),
            "active" => alarm.is_some_and(|alarm| !alarm.acknowledged),
            _ => alarm.is_some_and(|alarm| alarm.acknowledged),
        },
        "severity" => alarm.is_some_and(|alarm| alarm.severity.word() == word),
        "disconnectedBy" => ended_by.is_some_and(|end| end.initiator.word() == word),
        "type" => device.registration.device_type.as_ref().map_or("", |fact| &fact.value) == word,
        "label" => match word.split_once(':') {
            Some((key, value)) => labels.get(key).is_some_and(|known| known == value),
            None => labels.contains_key(word),
        },
        "reasonCode" => {
            let code = word.strip_prefix("0x").map_or(word.parse(), |digits| u8::from_str_radix(digits, 16));
            ended_by.and_then(|end| end.reason_code) == code.ok()
        }
        "maintenance" => (facets.availability == Availability::Maintenance) == (word == "true"),
        _ => unreachable!("{name}"),
    };
    let at = |name: &str| match name {
        "lastMessage" => device.clocks.last_message,
        "lastActivity" => device.clocks.last_activity,
        "lastPoll" => device.clocks.last_poll,
        "lastUpdated" => device.last_updated,
        _ => ended.map_or(Timestamp::NEVER, |end| end.at),
    };
    let moment = |text: &str| crate::query::filter::moment(text, Timestamp::from_millis(NOW)).unwrap();
    match *name {
        "namePrefix" => device_name.is_some_and(|known| known.starts_with(&value.to_lowercase())),
        "idPrefix" => id.starts_with(&**value),
        "search" => {
            id.starts_with(&**value)
                || device_name.is_some_and(|known| known.starts_with(&value.to_lowercase()))
        }
        _ => {
            if let Some(time) = name.strip_suffix("Before") {
                return at(time) < moment(value);
            }
            if let Some(time) = name.strip_suffix("After") {
                return at(time) >= moment(value);
            }
            if value.starts_with('!') {
                let has_one = *name != "severity" || alarm.is_some();
                return has_one && value.split(',').all(|word| !is(&word[1..]));
            }
            value.split(',').any(is)
        }
    }
}

fn sorts() -> impl Strategy<Value = Sort> {
    let mut all = vec![Sort::Id];
    for time in [Time::LastMessage, Time::LastPoll, Time::LastDisconnect] {
        all.extend([Sort::By(time, false), Sort::By(time, true)]);
    }
    proptest::sample::select(all)
}

fn fleet_of(devices: &BTreeMap<String, Device>) -> Fleet {
    let mut fleet = Fleet::default();
    // Not in the order of ids, and with a device that goes again.
    for (number, (id, device)) in devices.iter().rev().enumerate() {
        fleet.put(0, &format!("acme/{id}"), device, number as u32);
        fleet.put(0, "acme/gone", device, 1_000);
        fleet.put(0, &format!("other/{id}"), device, 2_000 + number as u32);
    }
    fleet.remove(0, "acme/gone");
    fleet
}

proptest! {
    #[test]
    fn a_scan_finds_what_a_slow_reading_finds(
        devices in proptest::collection::btree_map("d[0-9]{1,3}", device(), 0..40),
        terms in proptest::collection::vec(term(), 0..4),
        sort in sorts(),
        limit in 1..12usize,
    ) {
        let fleet = fleet_of(&devices);
        let now = Timestamp::from_millis(NOW);
        let mut filter = Filter::default();
        // A parameter that is replaced when it is said again is said once.
        let once = ["namePrefix", "idPrefix", "search"];
        let mut said: Vec<(&str, String)> = Vec::new();
        for term in terms {
            // Types that are said again are added to each other; here each is said once.
            if (once.contains(&term.0) || term.0 == "type" || term.0 == "reasonCode")
                && said.iter().any(|(name, _)| *name == term.0) {
                continue;
            }
            prop_assert!(filter.read(term.0, &term.1, now).unwrap());
            said.push(term);
        }
        let mut expected: Vec<(&String, &Device)> = devices
            .iter()
            .filter(|(id, device)| said.iter().all(|term| holds(id, device, term)))
            .collect();
        let time = |device: &Device, time: Time| match time {
            Time::LastMessage => device.clocks.last_message,
            Time::LastPoll => device.clocks.last_poll,
            _ => device.channels.first().and_then(|channel| channel.recorded).map_or(Timestamp::NEVER, |end| end.at),
        };
        match sort {
            Sort::Id => {}
            // Stable: devices with equal times stay in the order of their ids.
            Sort::By(by, false) => expected.sort_by_key(|(_, device)| time(device, by)),
            Sort::By(by, true) => expected.sort_by_key(|(_, device)| std::cmp::Reverse(time(device, by))),
        }
        let Some(tenant) = fleet.tenant("acme") else {
            prop_assert!(devices.is_empty());
            return Ok(());
        };
        let mut request = Request { filter: filter.clone(), sort, limit, now: Some(now), counts: true, ..Request::default() };
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = list(tenant, &request);
            prop_assert_eq!(page.matched, expected.len());
            let counted: u64 = page.counts["availability"].values().sum();
            prop_assert_eq!(counted as usize, expected.len());
            for device in &page.devices {
                prop_assert!(device.satisfies(&filter), "{} alone, as the live feed asks", device.id);
            }
            found.extend(page.devices.iter().map(|device| device.id.to_string()));
            let Some(next) = page.next else { break };
            prop_assert_eq!(page.devices.len(), limit);
            prop_assert_eq!(Cursor::read(&next.to_text()), Ok(next.clone()));
            request.after = Some(next);
        }
        let expected: Vec<String> = expected.into_iter().map(|(id, _)| id.clone()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn pages_by_number_find_what_any_of_several_filters_does(
        devices in proptest::collection::btree_map("d[0-9]{1,3}", device(), 1..40),
        terms in proptest::collection::vec(term(), 1..4),
        sort in sorts(),
        limit in 1..12usize,
    ) {
        let fleet = fleet_of(&devices);
        let tenant = fleet.tenant("acme").unwrap();
        let now = Timestamp::from_millis(NOW);
        let mut filters = Vec::new();
        for term in &terms {
            let mut filter = Filter::default();
            prop_assert!(filter.read(term.0, &term.1, now).unwrap());
            filters.push(filter);
        }
        let expected: Vec<&String> = devices
            .iter()
            .filter(|(id, device)| terms.iter().any(|term| holds(id, device, term)))
            .map(|(id, _)| id)
            .collect();
        let filter = filters.pop().unwrap();
        let mut request = Request { filter, or: filters, sort, limit, ..Request::default() };
        let mut by_number: Vec<String> = Vec::new();
        loop {
            let page = list(tenant, &request);
            prop_assert_eq!(page.matched, expected.len());
            let uncounted = list(tenant, &Request { uncounted: true, ..request.clone() });
            prop_assert_eq!((names(&uncounted), &uncounted.next), (names(&page), &page.next));
            by_number.extend(page.devices.iter().map(|device| device.id.to_string()));
            request.skip += limit;
            if page.next.is_none() {
                break;
            }
        }
        request.limit = 1_000;
        prop_assert!(list(tenant, &request).devices.is_empty(), "behind the last page is nothing");
        request.skip = 0;
        let whole = list(tenant, &request);
        let whole: Vec<String> = whole.devices.iter().map(|device| device.id.to_string()).collect();
        prop_assert_eq!(&by_number, &whole);
        let mut once = whole;
        once.sort();
        prop_assert_eq!(once.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn devices_that_come_and_go_between_pages_disturb_nobody(
        devices in proptest::collection::btree_map("d[0-9]{2}", device(), 1..40),
        others in proptest::collection::btree_map("e?d[0-9]{2}", device(), 0..20),
        gone in proptest::collection::vec("d[0-9]{2}", 0..10),
        limit in 1..7usize,
    ) {
        let mut fleet = fleet_of(&devices);
        let mut request = Request { limit, ..Request::default() };
        let mut found: Vec<String> = Vec::new();
        let mut changes = others.iter().zip(&gone).enumerate();
        while let Some(tenant) = fleet.tenant("acme") {
            let page = list(tenant, &request);
            found.extend(page.devices.iter().map(|device| device.id.to_string()));
            let Some(next) = page.next else { break };
            request.after = Some(next);
            if let Some((number, ((id, device), gone))) = changes.next() {
                fleet.put(0, &format!("acme/{id}"), device, 5_000 + number as u32);
                fleet.remove(0, &format!("acme/{gone}"));
            }
        }
        prop_assert!(found.is_sorted(), "{found:?}");
        let mut once = found.clone();
        once.dedup();
        prop_assert_eq!(&once, &found, "nobody twice");
        let stayed = devices.keys().filter(|id| !gone.contains(id));
        for id in stayed {
            prop_assert!(found.contains(id), "{id} was there all the time");
        }
    }
}

#[test]
fn a_page_of_many_equal_times_is_in_the_order_of_ids() {
    let mut fleet = Fleet::default();
    let device = Device::new(Timestamp::from_millis(NOW), 0, Timestamp::NEVER);
    let count = 17_000;
    for number in 0..count {
        // Ids fall as rows rise.
        fleet.put(0, &format!("acme/d{:06}", count - number), &device, number as u32);
    }
    let tenant = fleet.tenant("acme").unwrap();
    let sort = Sort::By(Time::LastPoll, true);
    let mut request = Request { sort, limit: 3, ..Request::default() };
    let page = list(tenant, &request);
    let ids = |page: &Page| page.devices.iter().map(|device| device.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&page), ["d000001", "d000002", "d000003"]);
    request.after = page.next;
    assert_eq!(ids(&list(tenant, &request)), ["d000004", "d000005", "d000006"]);
}

#[test]
fn pages_of_a_fleet_that_is_thinned_out_on_the_way_are_whole() {
    let mut fleet = Fleet::default();
    let mut device = Device::new(Timestamp::from_millis(NOW), 0, Timestamp::NEVER);
    let mut expected = Vec::new();
    for number in 0..20_000u64 {
        // Some times are shared by several, and late ones come among early ones.
        let minute = (number * 7_919 % 6_007) as i64;
        device.clocks.last_poll = Timestamp::from_millis(NOW - minute * 60_000);
        let id = format!("d{:05}", number * 31 % 20_000);
        fleet.put(0, &format!("acme/{id}"), &device, number as u32);
        expected.push((device.clocks.last_poll, id));
    }
    expected.sort();
    let sort = Sort::By(Time::LastPoll, false);
    let mut request = Request { sort, limit: 700, ..Request::default() };
    let mut found = Vec::new();
    loop {
        let page = list(fleet.tenant("acme").unwrap(), &request);
        found.extend(page.devices.iter().map(|device| device.id.to_string()));
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    let expected: Vec<String> = expected.into_iter().map(|(_, id)| id).collect();
    assert!(found == expected, "{} of {}", found.len(), expected.len());
}

fn names(page: &Page) -> Vec<&str> {
    page.devices.iter().map(|device| &*device.id).collect()
}

/// Whether the page is found on the way or by a scan: where nobody counts it is the same page.
#[test]
fn a_list_that_nobody_counts_is_the_same_list() {
    let mut fleet = Fleet::default();
    let device = Device::new(Timestamp::from_millis(NOW), 0, Timestamp::NEVER);
    for number in 0..20_000u32 {
        fleet.put(0, &format!("acme/d{number:05}"), &device, number);
    }
    let tenant = fleet.tenant("acme").unwrap();
    let ids = |texts: &[&str]| {
        let mut filters = texts.iter().map(|text| {
            let mut filter = Filter::default();
            filter.text(Text::Id, Pattern::new(text), true);
            filter
        });
        let filter = filters.next().unwrap_or_default();
        Request { filter, or: filters.collect(), limit: 3, ..Request::default() }
    };
    for (request, first) in [
        (ids(&[]), "d00000"),
        (ids(&["*7"]), "d00007"),
        // Far behind all that are looked at one by one, or with too few before it.
        (ids(&["*19999"]), "d19999"),
        (ids(&["*00", "*4000"]), "d00000"),
        (ids(&["*9999", "*04090"]), "d04090"),
        (ids(&["d0500*"]), "d05000"),
        (ids(&["*x"]), ""),
    ] {
        let mut request = request;
        for skip in [0, 1, 2, 3, 199, 4_100, 19_998, 20_000, usize::MAX] {
            request.skip = skip;
            let counted = list(tenant, &Request { uncounted: false, ..request.clone() });
            let uncounted = list(tenant, &Request { uncounted: true, ..request.clone() });
            assert_eq!(names(&uncounted), names(&counted), "{skip} {:?}", request.filter);
            assert_eq!(uncounted.next, counted.next, "{skip} {:?}", request.filter);
            if skip == 0 {
                assert_eq!(names(&counted).first().copied().unwrap_or_default(), first);
            }
        }
        // By cursor, as from page to page.
        (request.skip, request.uncounted) = (0, true);
        let mut page = list(tenant, &request);
        let second = list(tenant, &Request { skip: 3, uncounted: false, ..request.clone() });
        if let Some(next) = page.next.take() {
            page = list(tenant, &Request { after: Some(next), ..request });
            assert_eq!(names(&page), names(&second));
        }
    }
}

#[test]
fn texts_and_numbers_are_held_against_what_they_look_like() {
    let mut fleet = Fleet::default();
    let set_at = Timestamp::from_millis(NOW);
    let all = [
        ("d1", Some("Pump 1"), Some("pump"), Some(30)),
        ("d2", Some("pump 2"), Some("pump-x"), Some(-5)),
        ("d3", Some("Ärger"), None, None),
        ("e1", None, Some("pump"), Some(0)),
    ];
    for (number, (id, name, device_type, minutes)) in all.into_iter().enumerate() {
        let mut device = Device::new(set_at, 0, Timestamp::NEVER);
        let text = |text: &str| Dated { value: text.into(), set_at };
        device.registration.name = name.map(text);
        device.registration.device_type = device_type.map(text);
        device.monitoring.minutes = minutes;
        device.clocks.last_message = Timestamp::from_millis(NOW + number as i64);
        fleet.put(0, &format!("acme/{id}"), &device, number as u32);
    }
    let mut never = Device::new(set_at, 0, Timestamp::NEVER);
    never.registration.name = Some(Dated { value: "never".into(), set_at });
    fleet.put(0, "acme/n", &never, 9);
    let tenant = fleet.tenant("acme").unwrap();
    let found = |say: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        say(&mut filter);
        let page = list(tenant, &Request { filter: filter.clone(), limit: 10, ..Request::default() });
        assert!(page.devices.iter().all(|device| device.satisfies(&filter)), "alone, as the live feed asks");
        page.devices.iter().map(|device| device.id.to_string()).collect::<Vec<_>>()
    };
    let text = |of: Text, pattern: &str, wanted: bool| {
        found(&|filter: &mut Filter| filter.text(of, Pattern::new(pattern), wanted))
    };
    assert_eq!(text(Text::Id, "d1", true), ["d1"]);
    assert_eq!(text(Text::Id, "d*", true), ["d1", "d2", "d3"]);
    assert_eq!(text(Text::Id, "*1", true), ["d1", "e1"]);
    assert_eq!(text(Text::Id, "d*", false), ["e1", "n"]);
    assert_eq!(text(Text::Name, "Pump 1", true), ["d1"]);
    assert_eq!(text(Text::Name, "Pump*", true), ["d1"], "letters as they are");
    assert_eq!(text(Text::Name, "Ä*", true), ["d3"]);
    assert_eq!(text(Text::Name, "*", false), ["e1"]);
    assert_eq!(text(Text::Type, "pump", true), ["d1", "e1"]);
    assert_eq!(text(Text::Type, "pump*", true), ["d1", "d2", "e1"]);
    assert_eq!(text(Text::Type, "pump", false), ["d2", "d3", "n"]);
    let minutes = |from, below| found(&|filter: &mut Filter| filter.minutes(from, below));
    assert_eq!(minutes(0, 31), ["d1", "e1"]);
    assert_eq!(minutes(-100, 0), ["d2"]);
    let (by, at) = (Time::LastMessage, Timestamp::from_millis(NOW + 1));
    assert_eq!(found(&|filter: &mut Filter| filter.since(by, Some(at))), ["d2", "d3", "e1"]);
    assert_eq!(found(&|filter: &mut Filter| filter.since(by, None)), ["d1", "d2", "d3", "e1"]);
    assert_eq!(found(&|filter: &mut Filter| filter.before(by, at)), ["d1"], "never is not before");
    assert_eq!(found(&|filter: &mut Filter| filter.never(by)), ["n"]);
}

#[test]
fn a_cursor_of_a_stranger_is_refused() {
    for text in ["", "x", "MSBpZCAw", "%%%"] {
        assert!(Cursor::read(text).unwrap_err().to_string().contains("leave it out"), "{text:?}");
    }
}
