//! Verification over generated histories: no difference in what was committed, however it was cut, aborted and
//! recovered; and one, named, after each kind of tampering.

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::journal::{EntryHash, seal};
use lastseen::engine::step::Settings;
use lastseen::log::{Archive, Topic};
use lastseen::replay::{Check, Plan, Report, Span, verify};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;

use super::shelf::Shelf;
use crate::engine::{Arrival, arrivals, cuts, play};
use crate::model::generator::{Knobs, inputs};

fn settings(effects_max: usize) -> Settings {
    Settings { effects_max, partitions: 1, refresh: Millis::from_seconds(600), ..Settings::default() }
}

pub fn plan() -> Plan {
    // Limits are not among what it is told: entries say them.
    Plan {
        settings: Settings { partitions: 1, ..Settings::default() },
        span: Span::default(),
        device: None,
        heads: Vec::new(),
    }
}

fn verified(shelf: &Shelf, plan: &Plan) -> Report {
    verify(&mut shelf.clone(), 0, plan, &[], &|_, _| {}).expect("memory does not fail")
}

fn told(report: &Report) -> String {
    let Some(difference) = &report.difference else { return String::new() };
    let text = |shown: &Option<lastseen::replay::Shown>| {
        let value = shown.as_ref().and_then(|shown| shown.value.as_deref()).unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    let (expected, found) = (text(&difference.expected), text(&difference.found));
    format!("{} at entry {}:\n{expected}\n{found}", difference.what, difference.seq)
}

/// Every fifth event is garbage, and becomes a dead letter.
fn spoiled(mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
    for (index, arrival) in arrivals.iter_mut().enumerate() {
        if index % 5 == 4 {
            arrival.line = format!("garbage {index}");
        }
    }
    arrivals
}

#[derive(Clone, Debug)]
enum Tampering {
    ChangedByte(Index),
    RemovedRecord(Index),
    AddedCopy(Index),
    AddedForeign,
    EditedEntry(Index, bool),
    RemovedEntry(Index),
    EditedInput(Index),
    RemovedInput(Index),
    TruncatedInput,
    TruncatedJournal,
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Tampering::ChangedByte),
        index().prop_map(Tampering::RemovedRecord),
        index().prop_map(Tampering::AddedCopy),
        Just(Tampering::AddedForeign),
        (index(), any::<bool>()).prop_map(|(index, nonce)| Tampering::EditedEntry(index, nonce)),
        index().prop_map(Tampering::RemovedEntry),
        index().prop_map(Tampering::EditedInput),
        index().prop_map(Tampering::RemovedInput),
        Just(Tampering::TruncatedInput),
        Just(Tampering::TruncatedJournal),
    ]
}

/// Outputs that are not compacted, as places of the shelf.
fn outputs(shelf: &Shelf) -> Vec<(Topic, usize)> {
    let topics = [Topic::Status, Topic::Alarms, Topic::ConnectionLog, Topic::Audit, Topic::DeadLetter];
    topics.into_iter().flat_map(|topic| (0..shelf.topics[&topic].len()).map(move |at| (topic, at))).collect()
}

fn inputs_of(shelf: &Shelf) -> Vec<(Topic, usize)> {
    let topics = InputTopic::ALL.iter().map(|topic| Topic::Input(*topic));
    topics.flat_map(|topic| (0..shelf.topics[&topic].len()).map(move |at| (topic, at))).collect()
}

/// Changes the past; which checks may notice it. `None`: there is nothing of that kind to change.
fn tamper(shelf: &mut Shelf, how: &Tampering) -> Option<Vec<Check>> {
    let pick = |places: Vec<(Topic, usize)>, index: &Index| {
        (!places.is_empty()).then(|| places[index.index(places.len())])
    };
    Some(match how {
        Tampering::ChangedByte(index) => {
            let (topic, at) = pick(outputs(shelf), index)?;
            let value = shelf.topics.get_mut(&topic)?[at].value.as_mut()?;
            let middle = value.len() / 2;
            *value.get_mut(middle)? ^= 1;
            vec![Check::Output]
        }
        Tampering::RemovedRecord(index) => {
            let (topic, at) = pick(outputs(shelf), index)?;
            shelf.topics.get_mut(&topic)?.remove(at);
            vec![Check::Output]
        }
        Tampering::AddedCopy(index) => {
            let (topic, at) = pick(outputs(shelf), index)?;
            let records = shelf.topics.get_mut(&topic)?;
            let copy = records[at].clone();
            records.insert(at, copy);
            for (offset, record) in records.iter_mut().enumerate() {
                record.offset = offset as u64;
            }
            vec![Check::Output]
        }
        Tampering::AddedForeign => {
            let records = shelf.topics.get_mut(&Topic::Alarms)?;
            let offset = records.len() as u64;
            let record = lastseen::follow::Record {
                offset,
                timestamp: Timestamp::from_millis(1),
                key: Some(b"acme/nobody".to_vec()),
                value: Some(b"{}".to_vec()),
                headers: Vec::new(),
            };
            records.push(record);
            vec![Check::Output]
        }
        Tampering::EditedEntry(index, nonce) => {
            let entries = shelf.entries();
            let at = index.index(entries.len());
            let mut entry = entries[at].entry.clone();
            if *nonce {
                entry.nonce ^= 1
            } else {
                entry.deadlines_fired += 1
            }
            shelf.topics.get_mut(&Topic::Journal)?[at].value = Some(seal(&entry).0);
            vec![Check::Chain, Check::Entry, Check::Head]
        }
        Tampering::RemovedEntry(index) => {
            let journal = shelf.topics.get_mut(&Topic::Journal)?;
            // Without the first the journal merely begins later.
            let at = 1 + index.index(journal.len().checked_sub(2)?.max(1));
            if at + 1 >= journal.len() {
                return None;
            }
            journal.remove(at);
            vec![Check::Chain]
        }
        Tampering::EditedInput(index) => {
            let (topic, at) = pick(inputs_of(shelf), index)?;
            let value = shelf.topics.get_mut(&topic)?[at].value.as_mut()?;
            // Unseen by whoever reads the event: a space behind it.
            value.push(b' ');
            vec![Check::Input]
        }
        Tampering::RemovedInput(index) => {
            let (topic, at) = pick(inputs_of(shelf), index)?;
            shelf.topics.get_mut(&topic)?.remove(at);
            vec![Check::Input]
        }
        Tampering::TruncatedInput => {
            let (topic, at) = *inputs_of(shelf).last()?;
            shelf.topics.get_mut(&topic)?.truncate(at);
            vec![Check::Input]
        }
        Tampering::TruncatedJournal => {
            shelf.topics.get_mut(&Topic::Journal)?.pop();
            vec![Check::Head]
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_is_verified_and_every_tampering_is_found(
        history in inputs(Knobs::everything()),
        cuts in cuts(),
        effects_max in prop_oneof![Just(1usize), Just(3), Just(1000)],
        is_compacted in any::<bool>(),
        tamperings in proptest::collection::vec(tampering(), 3),
    ) {
        let (arrivals, end) = arrivals(&history);
        let arrivals = spoiled(arrivals);
        let run = play(&arrivals, end, &cuts, settings(effects_max));
        let mut shelf = Shelf::new(&arrivals, &run.committed);
        let entries = shelf.entries();
        shelf.head = entries.last().map(|entry| entry.head().to_metadata());
        if is_compacted {
            shelf.compact();
        }
        let report = verified(&shelf, &plan());
        prop_assert!(report.difference.is_none(), "{}", told(&report));
        prop_assert_eq!(report.entries, entries.len() as u64);
        prop_assert!(report.unchecked.is_empty(), "{:?}", report.unchecked);
        for how in &tamperings {
            let mut shelf = shelf.clone();
            let Some(checks) = tamper(&mut shelf, how) else { continue };
            let report = verified(&shelf, &plan());
            let Some(difference) = report.difference else {
                return Err(TestCaseError::fail(format!("{how:?} was not found")));
            };
            prop_assert!(checks.contains(&difference.check), "{how:?}: {}", difference.what);
        }
    }
}

/// Three hours of ten devices, in steps of some seconds.
pub fn story() -> (Vec<Arrival>, Shelf) {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    loop {
        let history = inputs(Knobs::everything()).new_tree(&mut runner).expect("a history").current();
        let cuts = cuts().new_tree(&mut runner).expect("cuts").current();
        let (arrivals, end) = arrivals(&history);
        let run = play(&arrivals, end, &cuts, settings(3));
        let mut shelf = Shelf::new(&arrivals, &run.committed);
        let entries = shelf.entries();
        if entries.len() > 40 && shelf.topics[&Topic::Alarms].len() > 3 {
            shelf.head = entries.last().map(|entry| entry.head().to_metadata());
            return (arrivals, shelf);
        }
    }
}

#[test]
fn a_span_is_verified_and_what_lies_outside_is_not_looked_at() {
    let (_, mut shelf) = story();
    let entries = shelf.entries();
    // Before the last alarm.
    let last = shelf.topics[&Topic::Alarms].last().unwrap();
    let (seq, _) = lastseen::engine::journal::entry_named(0, &last.headers).unwrap();
    let middle = entries[seq as usize - 1].clock() + Millis(-1);
    let until = Plan { span: Span { from: None, to: Some(middle) }, ..plan() };
    let since = Plan { span: Span { from: Some(middle), to: None }, ..plan() };
    let first = entries.iter().filter(|entry| entry.clock() <= middle).count() as u64;
    let second = entries.iter().filter(|entry| entry.clock() >= middle).count() as u64;
    assert_eq!(verified(&shelf, &until).entries, first);
    assert_eq!(verified(&shelf, &since).entries, second);
    // A change late in the past.
    let status = shelf.topics.get_mut(&Topic::Alarms).unwrap();
    status.last_mut().unwrap().timestamp = Timestamp::from_millis(0);
    assert!(verified(&shelf, &until).difference.is_none());
    let difference = verified(&shelf, &since).difference.expect("it is in the span");
    assert_eq!((difference.check, difference.topic), (Check::Output, Some(Topic::Alarms)));
    assert!(difference.what.contains("timestamp"), "{}", difference.what);
    assert!(difference.device().is_some() && difference.expected.is_some() && difference.found.is_some());
}

#[test]
fn what_retention_took_is_not_checked_and_not_different() {
    let (_, shelf) = story();
    // The beginning of the journal, and of an output.
    let mut cut = shelf.clone();
    cut.topics.get_mut(&Topic::Journal).unwrap().drain(..5);
    cut.lows.insert(Topic::Journal, 5);
    let report = verified(&cut, &plan());
    assert!(report.difference.is_none(), "{:?}", report.difference);
    assert_eq!((report.entries, report.unchecked.len()), (0, 1));
    assert!(report.unchecked[0].2.contains("does not begin at entry 1"), "{:?}", report.unchecked);
    let mut cut = shelf.clone();
    cut.topics.get_mut(&Topic::Alarms).unwrap().drain(..2);
    cut.lows.insert(Topic::Alarms, 2);
    let report = verified(&cut, &plan());
    assert!(report.difference.is_none(), "{:?}", report.difference);
    assert_eq!(report.entries, shelf.entries().len() as u64);
    // Inputs that are gone: nothing can be derived.
    let mut cut = shelf.clone();
    let topic = InputTopic::ALL.iter().copied().find(|topic| cut.input(*topic).len() > 3).unwrap();
    cut.input(topic).drain(..2);
    cut.lows.insert(Topic::Input(topic), 2);
    let report = verified(&cut, &plan());
    assert!(report.difference.is_none(), "{:?}", report.difference);
    assert!(
        report.unchecked.iter().any(|(.., why)| why.contains("begins at offset 2")),
        "{:?}",
        report.unchecked
    );
}

#[test]
fn a_head_that_was_noted_elsewhere_is_met_or_not() {
    let (_, shelf) = story();
    let entries = shelf.entries();
    let heads = vec![entries[7].hash, EntryHash(7)];
    let report = verified(&shelf, &Plan { heads, ..plan() });
    assert_eq!(report.heads.into_iter().collect::<Vec<_>>(), [0]);
}

#[test]
fn another_fold_version_is_not_checked_and_not_different() {
    let (_, mut shelf) = story();
    let mut previous = Vec::new();
    let mut entries = shelf.entries();
    for (index, entry) in entries.iter_mut().enumerate() {
        // As an older program would have written it.
        entry.entry.fold_version = 0;
        entry.entry.previous_hash = std::mem::take(&mut previous);
        let (bytes, hash) = seal(&entry.entry);
        previous = hash.0.to_le_bytes().to_vec();
        shelf.topics.get_mut(&Topic::Journal).unwrap()[index].value = Some(bytes);
    }
    shelf.head = None;
    let report = verified(&shelf, &plan());
    assert!(report.difference.is_none(), "{:?}", report.difference);
    assert_eq!(report.entries, 0);
    assert_eq!((report.unchecked[0].0, report.unchecked.last().unwrap().1), (1, entries.len() as u64));
    assert!(shelf.settled(Topic::Journal, 0).is_ok());
}
