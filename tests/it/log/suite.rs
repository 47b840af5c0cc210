//! The conformance suite: what the worker relies on, said once and held against both logs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::Timestamp;
use lastseen::log::{
    Append, Change, CommitOutcome, Inbox, Log, OutRecord, Positions, Start, Tail, Topic, Transaction,
};

/// One log under test: empty, with two partitions.
pub trait Rig {
    /// The member; a second call comes after the first one is gone, and is a restart.
    fn member(&self) -> Box<dyn Log>;
    /// Writes from outside.
    fn appender(&self) -> Box<dyn Append>;
    /// Follows.
    fn tail(&self, from: &[(Topic, u32, Start)]) -> Box<dyn Tail>;
}

type Test = fn(&dyn Rig);

const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS: Topic = Topic::Input(InputTopic::Connections);
const ACTIVITY: Topic = Topic::Input(InputTopic::Activity);

/// Runs everything.
pub fn all(rig: impl Fn() -> Box<dyn Rig>) {
    let tests: [(&str, Test); 7] = [
        ("the_whole_way", the_whole_way),
        ("what_is_not_committed_is_not_seen", what_is_not_committed_is_not_seen),
        ("starting_again_rewinds", starting_again_rewinds),
        ("inputs_that_are_held_back_lose_nothing", inputs_that_are_held_back_lose_nothing),
        ("scans_end_where_they_should", scans_end_where_they_should),
        ("tails_see_committed_records", tails_see_committed_records),
        ("bytes_come_back", bytes_come_back),
    ];
    for (name, test) in tests {
        let began = Instant::now();
        test(&*rig());
        println!("{name}: {:.2?}", began.elapsed());
    }
}

/// A record with a text as its payload.
pub fn record(topic: Topic, partition: u32, text: &str) -> OutRecord {
    OutRecord {
        topic,
        partition,
        timestamp: began(),
        key: Some(b"t/d".to_vec()),
        value: Some(text.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

/// One time for all records of a run. Not one of long ago: Kafka's retention goes by the records' own times.
fn began() -> Timestamp {
    static BEGAN: std::sync::OnceLock<Timestamp> = std::sync::OnceLock::new();
    *BEGAN.get_or_init(rig_now)
}

/// Polls until these partitions are assigned.
pub fn join(log: &mut dyn Log) -> Vec<u32> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let mut inbox = Inbox::default();
        let changes = log.poll(Duration::from_millis(50), 100, &mut inbox).unwrap();
        assert!(inbox.slots.is_empty(), "read before start");
        for change in changes {
            match change {
                Change::Assigned(partitions) => return partitions,
                Change::Revoked(partitions) | Change::Lost(partitions) => log.release(&partitions).unwrap(),
            }
        }
    }
    panic!("nothing was assigned within {PATIENCE:?}");
}

/// Polls until `count` records have come; topic, partition, offset and text.
pub fn take(log: &mut dyn Log, count: usize) -> Vec<(InputTopic, u32, u64, String)> {
    let until = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(Instant::now() < until, "{} of {count} records within {PATIENCE:?}", taken.len());
        taken.extend(once(log, 50));
    }
    assert_eq!(taken.len(), count, "{taken:?}");
    taken
}

/// Polls once.
pub fn once(log: &mut dyn Log, millis: u64) -> Vec<(InputTopic, u32, u64, String)> {
    let mut inbox = Inbox::default();
    let changes = log.poll(Duration::from_millis(millis), 1000, &mut inbox).unwrap();
    assert_eq!(changes, []);
    let text = |slot| String::from_utf8(inbox.value(slot).unwrap().to_vec()).unwrap();
    inbox.slots.iter().map(|slot| (slot.topic, slot.partition, slot.offset, text(slot))).collect()
}

/// The texts of a range; `None` to the end.
pub fn texts(log: &mut dyn Log, topic: Topic, partition: u32, from: u64, to: Option<u64>) -> Vec<String> {
    let to = to.unwrap_or_else(|| log.bounds(topic, partition).unwrap().high);
    let mut found = Vec::new();
    let mut last = None;
    log.scan(topic, partition, from..to, &mut |record| {
        assert!(record.offset >= from && record.offset < to && last < Some(record.offset));
        last = Some(record.offset);
        found.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// Commits and wants it to go through.
pub fn commit(log: &mut dyn Log, records: Vec<OutRecord>, offsets: Vec<(u32, Positions, String)>) {
    match log.commit(&Transaction { records, offsets }) {
        CommitOutcome::Committed => {}
        other => panic!("{other:?}"),
    }
}

/// Reads a tail until so many records have come, in the order of partitions.
pub fn follow(tail: &mut dyn Tail, count: usize) -> Vec<(Topic, u32, String)> {
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while seen.len() < count {
        assert!(Instant::now() < until, "{} of {count} records within {PATIENCE:?}", seen.len());
        tail.read(Duration::from_millis(50), 1000, &mut |topic, partition, record| {
            seen.push((
                topic,
                partition,
                String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
            ));
        })
        .unwrap();
    }
    seen.sort_by_key(|(topic, partition, _)| (*topic, *partition));
    seen
}

fn the_whole_way(rig: &dyn Rig) {
    let appender = rig.appender();
    let inputs: Vec<_> = InputTopic::ALL
        .iter()
        .flat_map(|&input| (0..2).map(move |p| record(Topic::Input(input), p, &format!("{input} {p}"))))
        .collect();
    assert_eq!(appender.append(&inputs).unwrap(), [0; 6]);

    let mut log = rig.member();
    assert_eq!(join(&mut *log), [0, 1]);
    let committed = log.committed(&[0, 1]).unwrap();
    assert!(committed.iter().all(|partition| partition.offsets.iter().all(Option::is_none)), "{committed:?}");
    assert_eq!(log.ends(&[0, 1]).unwrap(), [(0, [1, 1, 1]), (1, [1, 1, 1])]);
    log.start(0, [0; 3]).unwrap();
    assert!(take(&mut *log, 3).iter().all(|(_, partition, offset, _)| (*partition, *offset) == (0, 0)));
    assert_eq!(log.positions(0), [1; 3]);
    log.start(1, [0; 3]).unwrap();
    assert!(take(&mut *log, 3).iter().all(|(_, partition, ..)| *partition == 1));

    let outputs =
        vec![record(Topic::Status, 0, "a"), record(Topic::Status, 1, "b"), record(Topic::Journal, 0, "j0")];
    commit(&mut *log, outputs, vec![(0, [1; 3], "head 1".to_owned()), (1, [1; 3], "head 1'".to_owned())]);
    commit(&mut *log, vec![record(Topic::Journal, 0, "j1")], vec![(0, [1; 3], "head 2 é".to_owned())]);
    assert_eq!(texts(&mut *log, Topic::Status, 0, 0, None), ["a"]);
    assert_eq!(texts(&mut *log, Topic::Status, 1, 0, None), ["b"]);
    assert_eq!(texts(&mut *log, Topic::Journal, 0, 0, None), ["j0", "j1"]);

    appender.append(&[record(CONNECTIONS, 1, "later")]).unwrap();
    log.close().unwrap();
    drop(log);
    let mut log = rig.member();
    join(&mut *log);
    let committed = log.committed(&[1, 0]).unwrap();
    let offsets: BTreeMap<_, _> =
        committed.into_iter().map(|found| (found.partition, found.offsets)).collect();
    for (partition, metadata) in [(0, "head 2 é"), (1, "head 1'")] {
        let wanted = [const { None::<(u64, String)> }; 3].map(|_| Some((1, metadata.to_owned())));
        assert_eq!(offsets[&partition], wanted);
    }
    log.start(0, [1; 3]).unwrap();
    log.start(1, [1; 3]).unwrap();
    assert_eq!(take(&mut *log, 1), [(InputTopic::Connections, 1, 1, "later".to_owned())]);
    assert_eq!(log.ends(&[1]).unwrap(), [(1, [1, 2, 1])]);
    log.release(&[0, 1]).unwrap();
}

fn what_is_not_committed_is_not_seen(rig: &dyn Rig) {
    let mut log = rig.member();
    join(&mut *log);
    let wrong =
        vec![record(Topic::Status, 0, "never"), record(Topic::Status, 99, "there is no such partition")];
    let outcome = log.commit(&Transaction { records: wrong, offsets: vec![(0, [5; 3], "never".to_owned())] });
    assert!(matches!(outcome, CommitOutcome::Aborted(_)), "{outcome:?}");
    let outcome =
        log.commit(&Transaction { records: vec![record(Topic::Status, 0, "never")], offsets: Vec::new() });
    assert!(matches!(outcome, CommitOutcome::Aborted(_)), "{outcome:?}");
    assert_eq!(log.committed(&[0]).unwrap()[0].offsets, [None, None, None]);
    commit(&mut *log, vec![record(Topic::Status, 0, "yes")], vec![(0, [0; 3], "one".to_owned())]);
    assert_eq!(texts(&mut *log, Topic::Status, 0, 0, None), ["yes"]);
    let mut tail = rig.tail(&[(Topic::Status, 0, Start::Beginning)]);
    assert_eq!(follow(&mut *tail, 1), [(Topic::Status, 0, "yes".to_owned())]);
}

fn starting_again_rewinds(rig: &dyn Rig) {
    let appender = rig.appender();
    let records: Vec<_> = (0..500).map(|n| record(CONNECTIONS, 0, &n.to_string())).collect();
    appender.append(&records).unwrap();
    let mut log = rig.member();
    join(&mut *log);
    log.start(0, [0; 3]).unwrap();
    for from in [0, 3, 490, 17, 17] {
        // Wait until something is at hand, so that the rewind has something to drop.
        let until = Instant::now() + PATIENCE;
        let mut inbox = Inbox::default();
        while inbox.slots.is_empty() && Instant::now() < until {
            log.poll(Duration::from_millis(50), 5, &mut inbox).unwrap();
        }
        log.start(0, [0, from, 0]).unwrap();
        let mut next = from;
        let mut inbox = Inbox::default();
        let until = Instant::now() + PATIENCE;
        while next < 500 - 20 * u64::from(from < 490) && Instant::now() < until {
            log.poll(Duration::from_millis(50), 7, &mut inbox).unwrap();
            for slot in inbox.slots.drain(..) {
                assert_eq!(slot.offset, next, "after a start at {from}");
                next += 1;
            }
            assert_eq!(log.positions(0)[1], next);
        }
        assert!(next >= 480, "only up to {next} after a start at {from}");
        appender.append(&[record(CONNECTIONS, 0, "more")]).unwrap();
    }
}

fn inputs_that_are_held_back_lose_nothing(rig: &dyn Rig) {
    let appender = rig.appender();
    let mut log = rig.member();
    join(&mut *log);
    log.start(0, [0; 3]).unwrap();
    log.start(1, [0; 3]).unwrap();
    appender.append(&[record(CONNECTIONS, 0, "first")]).unwrap();
    assert_eq!(take(&mut *log, 1)[0].3, "first");
    log.hold(0, [false, true, false]).unwrap();
    let more =
        [record(CONNECTIONS, 0, "second"), record(ACTIVITY, 0, "beside"), record(CONNECTIONS, 1, "other")];
    appender.append(&more).unwrap();
    let mut told: Vec<String> = take(&mut *log, 2).into_iter().map(|record| record.3).collect();
    told.sort();
    assert_eq!(told, ["beside", "other"]);
    assert_eq!(once(&mut *log, 300), []);
    assert_eq!(log.positions(0)[1], 1, "what is held back is not read");
    log.hold(0, [true, false, true]).unwrap();
    assert_eq!(take(&mut *log, 1)[0].3, "second");
    assert_eq!(once(&mut *log, 100), []);
    // Starting again ends it.
    log.start(0, [0, 2, 0]).unwrap();
    let mut told: Vec<String> = take(&mut *log, 1).into_iter().map(|record| record.3).collect();
    told.sort();
    assert_eq!(told, ["beside"]);
}

fn scans_end_where_they_should(rig: &dyn Rig) {
    let mut log = rig.member();
    join(&mut *log);
    for n in 0..10 {
        commit(&mut *log, vec![record(Topic::Audit, 1, &n.to_string())], vec![(1, [0; 3], n.to_string())]);
    }
    let bounds = log.bounds(Topic::Audit, 1).unwrap();
    assert_eq!(bounds.low, 0);
    let mut offsets = Vec::new();
    log.scan(Topic::Audit, 1, 0..bounds.high, &mut |record| {
        offsets.push(record.offset);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(offsets.len(), 10);
    // Part of it, in slices as recovery does; nothing twice, nothing missing.
    assert_eq!(texts(&mut *log, Topic::Audit, 1, offsets[3], Some(offsets[7])), ["3", "4", "5", "6"]);
    assert_eq!(texts(&mut *log, Topic::Audit, 1, offsets[3] + 1, Some(offsets[4] + 1)), ["4"]);
    assert_eq!(texts(&mut *log, Topic::Audit, 1, offsets[9] + 1, None), [""; 0]);
    assert_eq!(texts(&mut *log, Topic::Audit, 0, 0, None), [""; 0]);
    let (mut from, mut slices) = (0, Vec::new());
    while from < bounds.high {
        let mut next = bounds.high;
        let mut count = 0;
        log.scan(Topic::Audit, 1, from..bounds.high, &mut |record| {
            slices.push(record.offset);
            count += 1;
            if count < 3 {
                return ControlFlow::Continue(());
            }
            next = record.offset + 1;
            ControlFlow::Break(())
        })
        .unwrap();
        from = next;
    }
    assert_eq!(slices, offsets);
    assert!(log.scan(Topic::Audit, 99, 0..1, &mut |_| ControlFlow::Continue(())).is_err());
}

fn tails_see_committed_records(rig: &dyn Rig) {
    let mut log = rig.member();
    join(&mut *log);
    commit(&mut *log, vec![record(Topic::Alarms, 0, "old")], vec![(0, [0; 3], "1".to_owned())]);
    let mut all = rig.tail(&[
        (Topic::Alarms, 0, Start::Beginning),
        (Topic::Alarms, 1, Start::At(0)),
        (Topic::Journal, 0, Start::End),
    ]);
    assert_eq!(follow(&mut *all, 1), [(Topic::Alarms, 0, "old".to_owned())]);
    let mut new = rig.tail(&[(Topic::Alarms, 0, Start::End)]);
    // The end is the end of now, not of the first read.
    let records = vec![
        record(Topic::Alarms, 0, "new"),
        record(Topic::Alarms, 1, "too"),
        record(Topic::Journal, 0, "j"),
    ];
    commit(&mut *log, records, vec![(0, [0; 3], "2".to_owned())]);
    assert_eq!(follow(&mut *new, 1), [(Topic::Alarms, 0, "new".to_owned())]);
    let wanted = [(Topic::Alarms, 0, "new"), (Topic::Alarms, 1, "too"), (Topic::Journal, 0, "j")];
    assert_eq!(
        follow(&mut *all, 3),
        wanted.map(|(topic, partition, text)| (topic, partition, text.to_owned()))
    );
    // Somebody who waits is woken, and who has all waits in vain.
    let began = Instant::now();
    assert_eq!(all.read(Duration::from_millis(100), 10, &mut |_, _, _| panic!("again")).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(90));
    assert!(new.position(Topic::Alarms, 0).unwrap() >= 2);
    assert_eq!(new.position(Topic::Alarms, 1), None);
}

fn bytes_come_back(rig: &dyn Rig) {
    let odd = |topic, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &[u8])]| OutRecord {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect(),
        ..record(topic, 0, "")
    };
    let records = [
        odd(CONNECTIONS, None, Some(&[0, 255]), &[]),
        odd(CONNECTIONS, Some(&[]), Some(&[]), &[("content-type", b"application/json"), ("x", &[0, 200])]),
        odd(CONNECTIONS, Some(b"k"), None, &[("content-type", &[])]),
        odd(CONNECTIONS, Some(b"k"), Some(&[7; 200_000]), &[]),
    ];
    let before = rig_now();
    assert_eq!(rig.appender().append(&records).unwrap(), [0, 1, 2, 3]);
    let mut log = rig.member();
    join(&mut *log);
    log.start(0, [0; 3]).unwrap();
    let mut inbox = Inbox::default();
    let until = Instant::now() + PATIENCE;
    while inbox.slots.len() < 4 && Instant::now() < until {
        log.poll(Duration::from_millis(50), 100, &mut inbox).unwrap();
    }
    for (slot, record) in inbox.slots.iter().zip(&records) {
        assert_eq!(inbox.key(slot), record.key.as_deref());
        assert_eq!(inbox.value(slot), record.value.as_deref());
        assert_eq!(slot.headers.as_deref().unwrap_or_default(), record.headers);
        // Stamped by the log, not by us.
        assert!((slot.append_time - before).0.abs() < 120_000, "{} {before}", slot.append_time);
    }
    let state = odd(Topic::State, Some(b"gone"), None, &[("entry", b"1")]);
    commit(&mut *log, vec![state.clone()], vec![(0, [0; 3], "1".to_owned())]);
    let mut seen = 0;
    log.scan(Topic::State, 0, 0..1, &mut |found| {
        assert_eq!((found.key, found.value, found.headers), (state.key.as_deref(), None, &state.headers[..]));
        assert_eq!(found.timestamp, state.timestamp);
        seen += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, 1);
}

fn rig_now() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}
