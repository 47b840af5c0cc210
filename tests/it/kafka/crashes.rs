//! Rows of the crash table, one by one, with the whole processor on real Kafka: a proxy loses a request of a transaction
//! or the answer to it, and just then the process is killed or stopped.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::producer::{BaseRecord, Producer};
use serde_json::json;

use super::chaos::compare;
use super::chaos::processes::{Instance, Site, Standing, Told, directory, until};
use super::chaos::traffic::{now, producer, time};
use super::chaos::watch::Watch;
use super::proxy::{ADD_OFFSETS_TO_TXN, END_TXN, Fault, Proxy};
use crate::broker;
use lastseen::wire::partition;

const PARTITIONS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to the process while a request of its transaction gets no answer, and who goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// kill -9; the same instance starts again.
    KilledItself,
    /// kill -9; another instance takes over.
    KilledOther,
    /// SIGSTOP until another instance has taken over; then it wakes up.
    Paused,
    /// Nothing: it finds out by itself.
    Lives,
}

struct Case {
    site: Site,
    proxy: Proxy,
    told: Told,
    _kept: Option<tempfile::TempDir>,
}

impl Case {
    fn new(name: &str, request: u16) -> Case {
        let proxy = Proxy::at(&broker::brokers(), request);
        let (dir, kept) = directory(name);
        let site = Site {
            dir,
            brokers: proxy.brokers.clone(),
            prefix: format!("crash-{name}-{}", std::process::id()),
            partitions: PARTITIONS,
            settings: BTreeMap::from([
                ("output", "format = \"json\"".to_owned()),
                // No checkpoint: what is not in the log is gone.
                ("state", "checkpoint_seconds = 3600".to_owned()),
            ]),
        };
        site.says(&["topics", "create"], 0);
        Case { site, proxy, told: Told::default(), _kept: kept }
    }

    /// A connect and a message of each device, one record after the other.
    fn send(&self, round: u64) {
        // Past the proxy: its faults are for the processor.
        let producer = producer(&broker::brokers(), std::sync::Arc::default());
        for device in 0..20 {
            let key = format!("acme/pump-{device}");
            let session = json!({"id": format!("s{round}"), "sequence": format!("{round:x}")});
            for (topic, body) in [
                ("connections", json!({"connected": {"channel": "mqtt", "session": session}})),
                ("activity", json!({"activity": {"kind": "state_poll"}})),
            ] {
                let mut event = body;
                event["tenant"] = json!("acme");
                event["deviceId"] = json!(format!("pump-{device}"));
                event["observedAt"] = json!(time(now()));
                let (name, value) = (self.site.topic(topic), event.to_string());
                let record = BaseRecord::<str, str>::to(&name)
                    .partition(partition::of(key.as_bytes(), PARTITIONS) as i32)
                    .key(&key)
                    .payload(&value);
                producer.send(record).map_err(|(error, _)| error).expect("it is taken");
            }
        }
        producer.flush(PATIENCE).expect("the broker takes it");
    }

    fn drained(&mut self, instance: &mut Instance) {
        let (site, told) = (&self.site, &mut self.told);
        let mut unread = Vec::new();
        let drained = || {
            instance.read(told);
            unread = compare::unread(site);
            unread.is_empty()
        };
        until(PATIENCE, drained, || "the inputs are not read to their ends".to_owned());
    }

    /// SIGTERM, and it ends well.
    fn end(&mut self, instance: &mut Instance) {
        instance.signal("-TERM");
        let (status, words) = self.ended(instance);
        assert!(status.success(), "{status}: {words}");
    }

    /// How it ended, and its last words.
    fn ended(&mut self, instance: &mut Instance) -> (ExitStatus, String) {
        let mut ended = None;
        let told = &mut self.told;
        let has_ended = || {
            ended = instance.ended(told);
            ended.is_some()
        };
        until(PATIENCE, has_ended, || "it does not end".to_owned());
        ended.expect("it ended")
    }

    /// After so many rounds: what Kafka's client reads is what fold says, and each connect was logged once.
    fn holds(&self, rounds: usize) {
        let (folded, _) = compare::folded(&self.site);
        let published = compare::published(&compare::read(&self.site, &compare::OUTPUTS));
        if let Err(difference) = compare::same(&published, &folded) {
            panic!("{difference}");
        }
        let of = |number| published[&("connection-log".to_owned(), number)].len();
        assert_eq!((0..PARTITIONS).map(of).sum::<usize>(), 20 * rounds, "each connect is logged once");
        self.site.says(&["replay", "--verify"], 0);
    }

    /// Waits until it has told of something.
    fn warned(&mut self, instance: &mut Instance, words: &str) {
        let told = &mut self.told;
        let has_told = || {
            instance.read(told);
            told.warnings.keys().any(|warning| warning.contains(words))
        };
        until(PATIENCE, has_told, || format!("it does not say: {words}"));
    }
}

/// One row: three rounds of events, and in the second the fault.
fn row(name: &str, request: u16, fault: Fault, then: Then) {
    let mut case = Case::new(name, request);
    let watch = Watch::start(&broker::brokers(), case.site.topic("journal"), PARTITIONS);
    let mut one = Instance::new(&case.site, "one", matches!(then, Then::KilledItself | Then::Lives));
    let mut two = Instance::new(&case.site, "two", false);
    one.start();
    case.send(1);
    case.drained(&mut one);
    let before: Vec<u64> = watch.state().partitions.iter().flatten().map(|seen| seen.writer).collect();
    assert_eq!(before.len(), PARTITIONS as usize);

    case.proxy.arm(Some(fault));
    case.send(2);
    let proxy = &case.proxy;
    until(PATIENCE, || proxy.hits.load(Ordering::SeqCst) > 0, || "no request was lost".to_owned());
    match then {
        Then::KilledItself | Then::KilledOther => one.kill(&mut case.told),
        Then::Paused => one.signal("-STOP"),
        Then::Lives => {}
    }
    case.proxy.arm(None);
    let heir = match then {
        Then::KilledItself => {
            one.start();
            &mut one
        }
        Then::Lives => &mut one,
        Then::KilledOther | Then::Paused => {
            two.start();
            &mut two
        }
    };
    case.drained(heir);
    if then != Then::Lives {
        let by_others =
            || watch.state().partitions.iter().flatten().all(|seen| !before.contains(&seen.writer));
        until(PATIENCE, by_others, || "nobody else writes".to_owned());
    }
    if then == Then::Paused {
        // The zombie wakes up and joins; both work on.
        one.signal("-CONT");
        let both = || {
            let told = &mut Told::default();
            one.read(told);
            two.read(told);
            let state = watch.state();
            let works =
                |it: &Instance| it.writer.is_some_and(|writer| !state.partitions_of(writer).is_empty());
            works(&one) && works(&two)
        };
        until(PATIENCE, both, || "the zombie gets nothing to do".to_owned());
    }
    case.send(3);
    case.drained(&mut one);
    for instance in [&mut one, &mut two] {
        if instance.standing == Standing::Runs {
            case.end(instance);
        }
    }
    assert_eq!(watch.state().problems, [""; 0], "{name}");
    case.holds(3);
}

/// All records are written, no offsets yet.
#[test]
fn a_process_killed_before_its_offsets_are_sent_leaves_nothing_behind() {
    row("c2", ADD_OFFSETS_TO_TXN, Fault::LoseRequest, Then::KilledItself);
}

/// The end was asked for, and the broker never heard of it: records and offsets are pending until another instance's
/// question for them has waited long enough.
#[test]
fn a_process_killed_before_its_end_is_heard_leaves_nothing_behind() {
    row("c3", END_TXN, Fault::LoseRequest, Then::KilledOther);
}

#[test]
fn a_processor_that_gets_no_answer_to_its_commit_asks_and_goes_on() {
    row("c4", END_TXN, Fault::LoseAnswer, Then::Lives);
}

#[test]
fn a_process_killed_with_its_commit_decided_goes_on_from_it() {
    row("c5", END_TXN, Fault::LoseAnswer, Then::KilledItself);
}

/// Its transaction is open while the other one takes over; when it wakes up it commits nothing more.
#[test]
fn a_zombie_with_an_open_transaction_holds_nobody_up_and_commits_nothing() {
    row("c14", END_TXN, Fault::LoseRequest, Then::Paused);
}

/// Kept on a disk that lied: thrown away and made anew from the log.
#[test]
fn a_checkpoint_that_a_disk_lost_in_part_is_made_anew_from_kafka() {
    let mut case = Case::new("c10", END_TXN);
    let mut one = Instance::new(&case.site, "one", false);
    one.start();
    case.send(1);
    case.drained(&mut one);
    case.end(&mut one);
    assert!(one.damage_disk() > 0, "there is a checkpoint");
    case.send(2);
    one.start();
    case.warned(&mut one, "made anew from the log");
    case.drained(&mut one);
    case.end(&mut one);
    case.holds(2);
}

/// The group's offsets are gone, as after a long stop: the journal tells where to go on.
#[test]
fn a_group_without_offsets_goes_on_from_its_journal() {
    let mut case = Case::new("c15", END_TXN);
    let mut one = Instance::new(&case.site, "one", false);
    one.start();
    case.send(1);
    case.drained(&mut one);
    case.end(&mut one);
    compare::forget_offsets(&case.site);
    case.send(2);
    one.start();
    case.drained(&mut one);
    case.end(&mut one);
    case.holds(2);
}

/// Retention takes what was not read yet: refused, with what is missing and what to do; given up only if told to.
#[test]
fn records_that_retention_took_are_refused_and_given_up_only_when_told_to() {
    let mut case = Case::new("c15-lost", END_TXN);
    let mut one = Instance::new(&case.site, "one", false);
    one.start();
    case.send(1);
    case.drained(&mut one);
    case.end(&mut one);
    case.send(2);
    compare::take_all(&case.site, "connections");
    one.start();
    let (status, words) = case.ended(&mut one);
    assert!(!status.success() && words.contains("--accept-loss"), "{status}: {words}");
    assert!(words.contains("begins at offset"), "{words}");
    one.start_with(&["--accept-loss"]);
    case.drained(&mut one);
    case.send(3);
    case.drained(&mut one);
    case.end(&mut one);
    // Of the connects that were lost nothing is said, of the others each thing once. Nobody can fold them again: the
    // inputs are gone.
    let published = compare::published(&compare::read(&case.site, &["connection-log"]));
    assert_eq!(published.values().map(Vec::len).sum::<usize>(), 20 * 2);
}
