//! Verification from an anchor: what lies before it is not needed, and not checked.

use std::sync::Arc;

use lastseen::domain::effect::InputTopic;
use lastseen::engine::step::Settings;
use lastseen::follow::OUTPUTS;
use lastseen::log::Topic;
use lastseen::replay::{Anchor, Check, Deriver, Plan, Span, verify};

use super::shelf::Shelf;
use super::tampering::{plan, story};

type Rows = Vec<(String, Vec<u8>)>;

fn settings() -> Settings {
    Settings { partitions: 1, ..Settings::default() }
}

/// The state after entry `seq`, as a checkpoint would have kept it.
fn anchor_at(shelf: &Shelf, seq: usize, spoil: fn(&mut Rows)) -> Anchor {
    let entries = shelf.entries();
    let mut deriver = Deriver::genesis(0, settings(), &entries[0]);
    for entry in &entries[..seq] {
        let told = deriver.derive(&mut shelf.clone(), entry).expect("it can be derived");
        assert_eq!(told.head, entry.head());
    }
    let partition = &deriver.partition;
    let devices = (0..partition.core.table.capacity()).filter_map(|number| partition.row(number));
    let mut rows: Rows = devices.map(|(key, value)| (key.into_string(), value)).collect();
    rows.extend(partition.own_rows().into_iter().map(|(key, value)| (key.to_owned(), value)));
    spoil(&mut rows);
    let rows = Arc::new(rows);
    Anchor {
        head: partition.head,
        positions: partition.positions,
        clock: partition.core.clock,
        sweep: partition.sweep,
        load: Box::new(move |recovery| {
            let mut each = rows.iter();
            each.try_for_each(|(key, value)| recovery.row(key, Some(value)))
                .map_err(|error| error.to_string())
        }),
    }
}

/// Retention takes everything that entries up to `seq` consumed and wrote, but for the journal's last `kept` of them.
fn forget(shelf: &mut Shelf, seq: usize, kept: usize) {
    let positions = shelf.entries()[seq - 1].positions().expect("positions");
    for topic in OUTPUTS {
        let records = shelf.topics.get_mut(&topic).unwrap();
        records.retain(|record| {
            lastseen::follow::entry_of(topic, 0, record).is_some_and(|named| named > seq as u64)
        });
        let low = records.first().map_or(1_000_000, |record| record.offset);
        shelf.lows.insert(topic, low);
    }
    for (index, topic) in InputTopic::ALL.iter().enumerate() {
        shelf.input(*topic).retain(|record| record.offset >= positions[index]);
        shelf.lows.insert(Topic::Input(*topic), positions[index]);
    }
    shelf.topics.get_mut(&Topic::Journal).unwrap().drain(..seq - kept);
    shelf.lows.insert(Topic::Journal, (seq - kept) as u64);
}

#[test]
fn a_verification_starts_at_an_anchor_and_says_what_it_could_not_check() {
    let (_, mut shelf) = story();
    let count = shelf.entries().len() as u64;
    let anchors = [anchor_at(&shelf, 20, |_| {})];
    forget(&mut shelf, 20, 3);
    let report = verify(&mut shelf.clone(), 0, &plan(), &anchors, &|_, _| {}).unwrap();
    assert!(report.difference.is_none(), "{:?}", report.difference);
    assert_eq!(report.entries, count - 20);
    assert_eq!(
        report.unchecked.iter().map(|(first, last, _)| (*first, *last)).collect::<Vec<_>>(),
        [(18, 20)]
    );
    // Without it nothing can be checked, and nothing is called different.
    let report = verify(&mut shelf.clone(), 0, &plan(), &[], &|_, _| {}).unwrap();
    assert!(report.difference.is_none());
    assert_eq!(report.entries, 0);
    // What was changed after it is found.
    let alarms = shelf.topics.get_mut(&Topic::Alarms).unwrap();
    alarms.last_mut().unwrap().key = Some(b"acme/other".to_vec());
    let report = verify(&mut shelf, 0, &plan(), &anchors, &|_, _| {}).unwrap();
    assert_eq!(report.difference.map(|difference| difference.check), Some(Check::Output));
}

#[test]
fn an_anchor_nearer_to_the_span_is_preferred() {
    let (_, shelf) = story();
    let entries = shelf.entries();
    let anchors = [anchor_at(&shelf, 10, |_| {}), anchor_at(&shelf, 30, |_| {})];
    let from = entries.iter().map(|entry| entry.clock()).find(|clock| *clock > anchors[1].clock).unwrap();
    let plan = Plan { span: Span { from: Some(from), to: None }, ..plan() };
    let whole = verify(&mut shelf.clone(), 0, &plan, &[], &|_, _| {}).unwrap();
    let near = verify(&mut shelf.clone(), 0, &plan, &anchors, &|_, _| {}).unwrap();
    assert!(whole.difference.is_none() && near.difference.is_none(), "{:?}", near.difference);
    assert_eq!((whole.entries, near.entries), (near.entries, whole.entries));
    assert!(near.inputs < whole.inputs, "it folds less: {} and {}", near.inputs, whole.inputs);
}

#[test]
fn an_anchor_that_is_damaged_or_of_another_history_proves_nothing() {
    let (_, shelf) = story();
    let damaged = anchor_at(&shelf, 20, |rows| {
        let device = rows.iter().position(|(key, _)| !key.starts_with('/')).unwrap();
        rows.remove(device);
    });
    let mut cut = shelf.clone();
    forget(&mut cut, 20, 3);
    let report = verify(&mut cut.clone(), 0, &plan(), &[damaged], &|_, _| {}).unwrap();
    assert!(report.difference.is_none());
    assert_eq!(report.entries, 0);
    assert!(report.unchecked.last().unwrap().2.contains("another hash"), "{:?}", report.unchecked);
    let mut other = anchor_at(&shelf, 20, |_| {});
    other.head.hash.0 ^= 1;
    let report = verify(&mut cut, 0, &plan(), &[other], &|_, _| {}).unwrap();
    assert_eq!(report.difference.map(|difference| difference.check), Some(Check::Head));
}
