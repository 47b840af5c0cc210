//! Lastseen's log on a real Kafka: the conformance suite, and every promise that rests on Kafka's word.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lastseen::domain::effect::InputTopic;
use lastseen::log::kafka::topics::{TopicSettings, create, wanted};
use lastseen::log::kafka::{KafkaAppender, KafkaConfig, KafkaLog, KafkaTail};
use lastseen::log::{
    Append, Change, CommitOutcome, Inbox, Log, Positions, Records, Start, Tail, Topic, Transaction,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::proxy::{Fault, Proxy};
use crate::broker::{self, Broker};
use crate::log::suite::{self, Rig, commit, join, once, record, take, texts};

const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS: Topic = Topic::Input(InputTopic::Connections);

/// Topics and a group of one test's own.
pub struct Setup {
    pub config: KafkaConfig,
}

/// With so many partitions; 0 for no topics at all.
pub fn setup(partitions: u32) -> Setup {
    setup_on(broker::brokers(), partitions)
}

fn setup_on(brokers: String, partitions: u32) -> Setup {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let millis = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let name = format!("t{}-{millis}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut config = KafkaConfig::new(brokers, "one");
    config.topics = config.topics.map(|topic| format!("{name}.{topic}"));
    config.group = name;
    config.session_timeout = Duration::from_secs(6);
    config.transaction_timeout = Duration::from_secs(5);
    if partitions > 0 {
        let settings = TopicSettings { partitions, ..TopicSettings::default() };
        create(&config, &wanted(&config, &settings, 1)).unwrap();
    }
    Setup { config }
}

impl Setup {
    fn open(&self, instance: &str) -> KafkaLog {
        // A broker that is being started again may not answer yet.
        let until = Instant::now() + Duration::from_secs(60);
        retried(until, || {
            KafkaLog::open(KafkaConfig { instance: instance.to_owned(), ..self.config.clone() })
        })
    }

    fn name(&self, topic: Topic) -> &str {
        self.config.topic(topic)
    }

    /// A transactional producer that is none of ours.
    fn foreign(&self) -> ThreadedProducer<DefaultProducerContext> {
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", &self.config.brokers)
            .set("transactional.id", format!("{}-foreign", self.config.group))
            .set("transaction.timeout.ms", "6000")
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }

    /// Sends and waits until the broker has it: only then does an abort leave something behind.
    fn put(&self, producer: &ThreadedProducer<DefaultProducerContext>, topic: Topic, text: &str) {
        let record = BaseRecord::<str, str>::to(self.name(topic)).partition(0).payload(text);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        let until = Instant::now() + PATIENCE;
        while producer.in_flight_count() > 0 {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Rig for Setup {
    fn member(&self) -> Box<dyn Log> {
        Box::new(self.open("one"))
    }

    fn appender(&self) -> Box<dyn Append> {
        Box::new(KafkaAppender::open(&self.config).unwrap())
    }

    fn tail(&self, from: &[(Topic, u32, Start)]) -> Box<dyn Tail> {
        Box::new(KafkaTail::open(&self.config, from).unwrap())
    }
}

#[test]
fn conforms() {
    suite::all(|| Box::new(setup(2)));
}

/// Serves a member until its assignment is as wanted; what is revoked is committed and given back.
fn settle(members: &mut [(&mut KafkaLog, Vec<u32>)], wanted: &[usize]) {
    let until = Instant::now() + PATIENCE;
    while members.iter().map(|(_, owned)| owned.len()).ne(wanted.iter().copied()) {
        let owned: Vec<_> = members.iter().map(|(_, owned)| owned.clone()).collect();
        assert!(Instant::now() < until, "{owned:?}, not {wanted:?}");
        for (log, owned) in members.iter_mut() {
            for change in log.poll(Duration::from_millis(10), 100, &mut Inbox::default()).unwrap() {
                match change {
                    Change::Assigned(partitions) => {
                        for partition in &partitions {
                            log.start(*partition, [0; 3]).unwrap();
                        }
                        *owned = partitions;
                    }
                    Change::Revoked(partitions) => {
                        assert_eq!(partitions, *owned);
                        // Until it is released the generation stays: the last commit goes through.
                        let offsets =
                            partitions.iter().map(|p| (*p, [7; 3], format!("last of {p}"))).collect();
                        commit(*log, vec![record(Topic::Status, partitions[0], "last")], offsets);
                        log.release(&partitions).unwrap();
                        owned.clear();
                    }
                    Change::Lost(partitions) => panic!("{partitions:?} lost"),
                }
            }
        }
    }
}

#[test]
fn a_second_member_gets_its_share_co_partitioned() {
    let mut setup = setup(4);
    setup.config.static_member = false;
    let mut one = setup.open("one");
    let mut members = [(&mut one, Vec::new())];
    settle(&mut members, &[4]);
    let mut two = setup.open("two");
    let [(one, owned)] = members;
    let mut members = [(one, owned), (&mut two, Vec::new())];
    // All four of the first are revoked, then both get two of each topic.
    settle(&mut members, &[2, 2]);
    let mut all: Vec<u32> = members.iter().flat_map(|(_, owned)| owned.clone()).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    // Both read and write; the offsets of the one that went came with it.
    let appender = KafkaAppender::open(&setup.config).unwrap();
    let inputs: Vec<_> = Topic::ALL[..3].iter().flat_map(|t| (0..4).map(|p| record(*t, p, "x"))).collect();
    appender.append(&inputs).unwrap();
    for (log, owned) in &mut members {
        assert!(take(*log, 6).iter().all(|(_, partition, ..)| owned.contains(partition)));
        for found in log.committed(owned).unwrap() {
            let wanted = Some((7, format!("last of {}", found.partition)));
            assert_eq!(found.offsets, [wanted.clone(), wanted.clone(), wanted]);
        }
        let offsets = owned.iter().map(|p| (*p, [1; 3], "x".to_owned())).collect();
        commit(*log, vec![record(Topic::Alarms, owned[0], "x")], offsets);
    }
    // One leaves, the other gets all of it.
    let [(one, _), (two, owned)] = members;
    one.close().unwrap();
    settle(&mut [(two, owned)], &[4]);
}

fn lost(outcome: CommitOutcome) -> String {
    match outcome {
        CommitOutcome::Lost(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn transaction(text: &str) -> Transaction {
    Transaction {
        records: vec![record(Topic::Status, 0, text)],
        offsets: vec![(0, [1; 3], text.to_owned()), (1, [1; 3], text.to_owned())],
    }
}

#[test]
fn a_zombie_of_the_same_instance_is_fenced() {
    let setup = setup(2);
    let mut zombie = setup.open("one");
    join(&mut zombie);
    commit(&mut zombie, vec![record(Topic::Status, 0, "before")], transaction("before").offsets);
    // The same instance again, as after a restart that the first one did not notice.
    let mut heir = setup.open("one");
    let said = lost(zombie.commit(&transaction("zombie")));
    println!("the zombie was told: {said}");
    join(&mut heir);
    assert_eq!(heir.committed(&[0]).unwrap()[0].offsets[0], Some((1, "before".to_owned())));
    commit(&mut heir, vec![record(Topic::Status, 0, "heir")], transaction("heir").offsets);
    let _ = lost(zombie.commit(&transaction("zombie again")));
    commit(&mut heir, vec![record(Topic::Status, 0, "heir 2")], transaction("heir 2").offsets);
    assert_eq!(texts(&mut heir, Topic::Status, 0, 0, None), ["before", "heir", "heir 2"]);
    // And it learns why.
    let until = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < until);
        match zombie.poll(Duration::from_millis(50), 10, &mut Inbox::default()) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(!error.retriable && error.to_string().contains("instance"), "{error}");
}

#[test]
fn a_member_that_slept_too_long_is_fenced_by_its_generation() {
    let mut setup = setup(2);
    setup.config.static_member = false;
    setup.config.client.insert("consumer.max.poll.interval.ms".to_owned(), "6000".to_owned());
    let mut sleeper = setup.open("one");
    join(&mut sleeper);
    commit(&mut sleeper, vec![record(Topic::Status, 0, "before")], transaction("before").offsets);
    let mut other = setup.open("two");
    // The sleeper polls no more; the other one gets everything once that was too long.
    assert_eq!(join(&mut other), [0, 1]);
    let said = lost(sleeper.commit(&transaction("sleeper")));
    println!("the sleeper was told: {said}");
    commit(&mut other, vec![record(Topic::Status, 0, "other")], transaction("other").offsets);
    assert_eq!(texts(&mut other, Topic::Status, 0, 0, None), ["before", "other"]);
    // Its partitions come anew when the other one goes.
    let until = Instant::now() + PATIENCE;
    let mut closed = false;
    loop {
        assert!(Instant::now() < until);
        let mut assigned = Vec::new();
        for change in sleeper.poll(Duration::from_millis(20), 10, &mut Inbox::default()).unwrap() {
            match change {
                Change::Assigned(partitions) => assigned = partitions,
                Change::Revoked(partitions) | Change::Lost(partitions) => {
                    sleeper.release(&partitions).unwrap()
                }
            }
        }
        if assigned == [0, 1] {
            break;
        }
        if !closed {
            for change in other.poll(Duration::from_millis(20), 10, &mut Inbox::default()).unwrap() {
                if let Change::Revoked(partitions) = change {
                    other.release(&partitions).unwrap();
                    other.close().unwrap();
                    closed = true;
                }
            }
        }
    }
    assert_eq!(sleeper.committed(&[1]).unwrap()[0].offsets[2], Some((1, "other".to_owned())));
    commit(&mut sleeper, vec![record(Topic::Status, 0, "awake")], transaction("awake").offsets);
}

#[test]
fn aborted_and_open_transactions_are_not_seen_and_ends_are_real() {
    let setup = setup(2);
    let foreign = setup.foreign();
    let mut log = setup.open("one");
    join(&mut log);
    log.start(0, [0; 3]).unwrap();
    let mut tail = setup.tail(&[(CONNECTIONS, 0, Start::Beginning)]);
    foreign.begin_transaction().unwrap();
    setup.put(&foreign, CONNECTIONS, "aborted");
    foreign.abort_transaction(PATIENCE).unwrap();
    foreign.begin_transaction().unwrap();
    setup.put(&foreign, CONNECTIONS, "late");
    // 0 aborted, 1 its marker, 2 late: the high watermark is there before the record may be seen.
    assert_eq!(log.ends(&[0]).unwrap(), [(0, [0, 3, 0])]);
    assert_eq!(log.bounds(CONNECTIONS, 0).unwrap().high, 3);
    assert_eq!(once(&mut log, 300), []);
    assert_eq!(tail.read(Duration::from_millis(200), 10, &mut |_, _, _| ()).unwrap(), 0);
    // What cannot be seen is passed as soon as that is certain, and no further.
    let until = Instant::now() + PATIENCE;
    while log.positions(0) != [0, 2, 0] && Instant::now() < until {
        assert_eq!(once(&mut log, 20), []);
    }
    assert_eq!(log.positions(0), [0, 2, 0]);
    // A scan waits for it.
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(700));
            foreign.commit_transaction(PATIENCE).unwrap();
        });
        assert_eq!(texts(&mut log, CONNECTIONS, 0, 0, Some(3)), ["late"]);
    });
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    assert_eq!(take(&mut log, 1), [(InputTopic::Connections, 0, 2, "late".to_owned())]);
    assert_eq!(suite::follow(&mut *tail, 1).len(), 1);
    // The marker behind it is passed, too: caught up means position = end.
    let ends = log.ends(&[0]).unwrap();
    assert_eq!(ends, [(0, [0, 4, 0])]);
    let until = Instant::now() + PATIENCE;
    while log.positions(0) != ends[0].1 && Instant::now() < until {
        assert_eq!(once(&mut log, 20), []);
    }
    assert_eq!(log.positions(0), ends[0].1);
}

#[test]
fn a_scan_of_a_transaction_that_stays_open_says_so_in_time() {
    let mut setup = setup(1);
    setup.config.scan_timeout = Duration::from_millis(700);
    let foreign = setup.foreign();
    let mut log = setup.open("one");
    join(&mut log);
    commit(&mut log, vec![record(Topic::Status, 0, "a")], vec![(0, [0; 3], "1".to_owned())]);
    foreign.begin_transaction().unwrap();
    setup.put(&foreign, Topic::Status, "open");
    let high = log.bounds(Topic::Status, 0).unwrap().high;
    let began = Instant::now();
    let mut seen = 0;
    let error = log
        .scan(Topic::Status, 0, 0..high, &mut |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap_err();
    assert!(error.retriable && seen == 1, "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
    foreign.abort_transaction(PATIENCE).unwrap();
    assert_eq!(texts(&mut log, Topic::Status, 0, 0, Some(high)), ["a"]);
}

#[test]
fn committed_waits_for_a_pending_transaction() {
    let setup = setup(1);
    let foreign = setup.foreign();
    // Offsets of a group without members, pending in an open transaction.
    let nobody: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &setup.config.brokers)
        .set("group.id", &setup.config.group)
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    for topic in &Topic::ALL[..3] {
        offsets.add_partition_offset(setup.name(*topic), 0, Offset::Offset(5)).unwrap();
    }
    foreign.begin_transaction().unwrap();
    foreign.send_offsets_to_transaction(&offsets, &nobody.group_metadata().unwrap(), PATIENCE).unwrap();
    let mut config = setup.config.clone();
    config.request_timeout = Duration::from_secs(1);
    let mut log = KafkaLog::open(config).unwrap();
    join(&mut log);
    let error = log.committed(&[0]).unwrap_err();
    assert!(error.retriable, "{error}");
    println!("while it is pending: {error}");
    assert!(error.to_string().contains("pending"), "{error}");
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            foreign.commit_transaction(PATIENCE).unwrap();
        });
        let committed = log.committed(&[0]).unwrap();
        assert_eq!(
            committed[0].offsets,
            [Some((5, String::new())), Some((5, String::new())), Some((5, String::new()))]
        );
    });
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

/// Median and 99th percentile of so many commits of so many records.
fn measure(log: &mut dyn Log, commits: usize, records: usize) -> (Duration, Duration) {
    let mut times = Vec::new();
    for n in 0..commits {
        let outputs = (0..records).map(|_| record(Topic::Status, 0, &"x".repeat(150)));
        let transaction = Transaction {
            records: outputs.chain([record(Topic::Journal, 0, "entry")]).collect(),
            offsets: vec![(0, [n as u64; 3], format!("entry {n}"))],
        };
        let began = Instant::now();
        assert!(matches!(log.commit(&transaction), CommitOutcome::Committed));
        times.push(began.elapsed());
    }
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[test]
fn commits_are_quick() {
    let setup = setup(1);
    let mut log = setup.open("one");
    join(&mut log);
    measure(&mut log, 5, 1);
    let (small, worst) = measure(&mut log, 100, 10);
    println!("commit of 10 records: p50 {small:.1?}, p99 {worst:.1?}");
    let (large, worst) = measure(&mut log, 30, 1000);
    println!("commit of 1,000 records: p50 {large:.1?}, p99 {worst:.1?}");
    let (huge, worst) = measure(&mut log, 10, 10_000);
    println!("commit of 10,000 records: p50 {huge:.1?}, p99 {worst:.1?}");
    // The trap of rdkafka costs 100 ms, that of retry.backoff.ms another 100; a busy machine gets some room.
    assert!(small < Duration::from_millis(90), "{small:?}");
}

#[test]
fn what_cannot_work_is_said_clearly() {
    let setup = setup(1);
    // Nobody there.
    let mut config = setup.config.clone();
    config.brokers = "127.0.0.1:1".to_owned();
    config.request_timeout = Duration::from_secs(2);
    let error = KafkaLog::open(config.clone()).err().unwrap();
    assert!(error.retriable && error.to_string().contains("127.0.0.1:1"), "{error}");
    let error = KafkaAppender::open(&config).unwrap().append(&[record(CONNECTIONS, 0, "x")]).unwrap_err();
    assert!(error.retriable && error.to_string().contains("127.0.0.1:1"), "{error}");
    println!("{error}");
    // Topics that do not exist.
    let mut config = setup.config.clone();
    config.topics = config.topics.map(|name| format!("{name}.missing"));
    let error = KafkaAppender::open(&config).unwrap().append(&[record(CONNECTIONS, 0, "x")]).unwrap_err();
    assert!(!error.retriable && error.to_string().contains("lastseen topics"), "{error}");
    let mut log = KafkaLog::open(config).unwrap();
    let until = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < until);
        match log.poll(Duration::from_millis(50), 10, &mut Inbox::default()) {
            Ok(changes) => assert_eq!(changes, []),
            Err(error) => break error,
        }
    };
    assert!(!error.retriable && error.to_string().contains("lastseen topics"), "{error}");
    println!("{error}");
    // Settings that are not the user's, or are none at all.
    for (key, words) in
        [("isolation.level", "exactly-once"), ("producer.acks", "exactly-once"), ("no.such", "no.such")]
    {
        let mut config = setup.config.clone();
        config.client.insert(key.to_owned(), "1".to_owned());
        let error = KafkaLog::open(config).err().unwrap();
        assert!(!error.retriable && error.to_string().contains(words), "{error}");
    }
    // Records that are gone.
    let mut log = setup.open("one");
    join(&mut log);
    log.start(0, [0, 77, 0]).unwrap();
    let until = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < until);
        if let Err(error) = log.poll(Duration::from_millis(50), 10, &mut Inbox::default()) {
            break error;
        }
    };
    assert!(!error.retriable && error.to_string().contains("partition 0"), "{error}");
    println!("{error}");
}

/// A commit whose request or answer is lost: nobody knows, until the new producer has ended it and the offsets tell.
#[test]
fn a_lost_commit_is_unknown_until_the_offsets_tell() {
    let broker = Broker::start();
    let proxy = Proxy::start(&broker.brokers);
    let mut setup = setup_on(proxy.brokers.clone(), 2);
    setup.config.transaction_timeout = Duration::from_secs(3);
    let mut log = setup.open("one");
    join(&mut log);
    log.start(0, [0; 3]).unwrap();
    commit(&mut log, vec![record(Topic::Status, 0, "first")], transaction("first").offsets);
    let mut last = "first".to_owned();
    for (fault, text, committed) in
        [(Fault::LoseAnswer, "answer lost", true), (Fault::LoseRequest, "request lost", false)]
    {
        proxy.arm(Some(fault));
        let began = Instant::now();
        let outcome = log.commit(&transaction(text));
        println!("{text}: {outcome:?} after {:.1?}", began.elapsed());
        assert!(matches!(outcome, CommitOutcome::Unknown(_)), "{outcome:?}");
        proxy.arm(None);
        if committed {
            last = text.to_owned();
        }
        let until = Instant::now() + PATIENCE;
        let began = Instant::now();
        assert_eq!(metadata(&mut log, until), Some(last.clone()), "{fault:?}");
        println!("the offsets told after {:.1?}", began.elapsed());
        // Still a member, and ready for the next one.
        let next = format!("after {text}");
        commit(&mut log, vec![record(Topic::Status, 0, &next)], transaction(&next).offsets);
        last = next;
        println!("and the next commit went through after {:.1?}", began.elapsed());
    }
    assert!(proxy.hits.load(Ordering::SeqCst) >= 2);
    let wanted = ["first", "answer lost", "after answer lost", "after request lost"];
    assert_eq!(texts(&mut log, Topic::Status, 0, 0, None), wanted);
    // An answer that is lost once is asked for again by librdkafka itself.
    proxy.arm(Some(Fault::LoseAnswer));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            proxy.arm(None);
        });
        commit(&mut log, vec![record(Topic::Alarms, 0, "once")], transaction("once").offsets);
    });
    // It can read as before, too.
    KafkaAppender::open(&setup.config).unwrap().append(&[record(CONNECTIONS, 0, "x")]).unwrap();
    assert_eq!(take(&mut log, 1).len(), 1);
}

/// Commits one after the other while the broker is killed under it; whatever each commit said must agree with what is
/// there in the end. Twice here stands what an operator does: a process that ended itself is started again (a member
/// that was killed together with the answer to its join is fenced by its own ghost), and a hanging transaction is
/// aborted (Kafka 4.3.1 sometimes loses the marker of a transaction's end in a crash): of the group's offsets, or of an
/// output, where no commit goes through until then, as it would publish what was aborted. If it was the marker of a commit
/// that was lost, the tool takes back what was acknowledged: that one transaction may be gone, but only as a whole.
#[test]
fn an_unknown_outcome_is_told_by_the_committed_offsets() {
    let broker = Broker::start();
    let mut setup = setup_on(broker.brokers.clone(), 1);
    setup.config.session_timeout = Duration::from_secs(30);
    setup.config.transaction_timeout = Duration::from_secs(2);
    setup.config.request_timeout = Duration::from_secs(5);
    let mut log = setup.open("one");
    join(&mut log);
    let truth = RefCell::new(Vec::<String>::new());
    let doubtful = RefCell::new(Vec::new());
    let heal = || {
        if abort_hanging(&setup, &broker.brokers) {
            doubtful.borrow_mut().extend(truth.borrow().last().cloned());
        }
    };
    let mut counts = [0; 4];
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..4_u64 {
                std::thread::sleep(Duration::from_millis(400 + round * 137));
                broker.kill();
                std::thread::sleep(Duration::from_millis(round * 1500));
                broker.restart();
                std::thread::sleep(Duration::from_secs(2));
            }
            stop.store(true, Ordering::Relaxed);
        });
        let until = Instant::now() + Duration::from_secs(400);
        let (mut n, mut held) = (0_u64, 0);
        while !stop.load(Ordering::Relaxed) {
            assert!(Instant::now() < until, "{counts:?}");
            n += 1;
            let text = format!("entry {n}");
            let transaction = Transaction {
                records: (0..20).map(|_| record(Topic::Status, 0, &text)).collect(),
                offsets: vec![(0, [n; 3], text.clone())],
            };
            match log.commit(&transaction) {
                CommitOutcome::Committed => {
                    counts[0] += 1;
                    truth.borrow_mut().push(text);
                }
                CommitOutcome::Aborted(error) => {
                    println!("{text} aborted: {error}");
                    counts[1] += 1;
                    held += u32::from(error.to_string().contains("find-hanging"));
                    if held > 5 {
                        held = 0;
                        heal();
                    }
                }
                CommitOutcome::Unknown(error) => {
                    println!("unknown: {error}");
                    counts[2] += 1;
                    if told(&mut log, until, &heal) == Some(text.clone()) {
                        println!("it was committed");
                        truth.borrow_mut().push(text);
                    }
                }
                CommitOutcome::Lost(error) => {
                    println!("{text} lost: {error}");
                    counts[3] += 1;
                    rejoin(&setup, &mut log, until, &heal);
                    // Whoever is fenced after asking for a commit may have committed: the worker restores, too.
                    if told(&mut log, until, &heal) == Some(text.clone()) {
                        println!("it was committed");
                        truth.borrow_mut().push(text);
                    }
                }
            }
            match log.poll(Duration::ZERO, 10, &mut Inbox::default()) {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => {
                    for change in changes {
                        if let Change::Revoked(partitions) | Change::Lost(partitions) = change {
                            log.release(&partitions).unwrap();
                        }
                    }
                    rejoin(&setup, &mut log, until, &heal);
                }
                Err(error) => {
                    println!("starts again: {error}");
                    log = setup.open("one");
                    heal();
                    rejoin(&setup, &mut log, until, &heal);
                }
            }
        }
        println!("committed, aborted, unknown, lost: {counts:?}");
        let head = told(&mut log, until, &heal);
        let found = healed(until, &heal, || {
            let high = log.bounds(Topic::Status, 0)?.high;
            let mut found = Vec::new();
            log.scan(Topic::Status, 0, 0..high, &mut |record| {
                found.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                ControlFlow::Continue(())
            })?;
            Ok(found)
        });
        let (mut truth, doubtful) = (truth.take(), doubtful.take());
        let last = truth.iter().rev().find(|text| Some(*text) == head.as_ref() || !doubtful.contains(*text));
        assert_eq!(head.as_ref(), last, "doubtful: {doubtful:?}");
        truth.retain(|text| !doubtful.contains(text) || found.contains(text));
        let wanted: Vec<String> =
            truth.iter().flat_map(|text| std::iter::repeat_n(text.clone(), 20)).collect();
        if found != wanted {
            let mut runs: Vec<(String, usize)> = Vec::new();
            for text in &found {
                match runs.last_mut() {
                    Some((last, n)) if last == text => *n += 1,
                    _ => runs.push((text.clone(), 1)),
                }
            }
            for (text, n) in runs.iter().filter(|(text, n)| *n != 20 || !truth.contains(text)) {
                println!("{text}: {n} records, committed: {}", truth.contains(text));
            }
        }
        assert_eq!(found.len(), wanted.len());
        assert_eq!(found, wanted);
        assert!(counts[0] > 0 && counts[1] + counts[2] + counts[3] > 0, "nothing went wrong: {counts:?}");
    });
}

fn retried<T>(until: Instant, mut call: impl FnMut() -> Result<T, lastseen::log::LogError>) -> T {
    loop {
        match call() {
            Ok(value) => return value,
            Err(error) => assert!(error.retriable && Instant::now() < until, "{error}"),
        }
    }
}

/// As [`retried`]; after half a minute without an answer, and each after that, `heal` is called.
fn healed<T>(
    until: Instant,
    heal: &dyn Fn(),
    mut call: impl FnMut() -> Result<T, lastseen::log::LogError>,
) -> T {
    let mut patience = Instant::now() + Duration::from_secs(30);
    retried(until, || {
        if Instant::now() > patience {
            heal();
            patience += Duration::from_secs(30);
        }
        call()
    })
}

fn metadata(log: &mut KafkaLog, until: Instant) -> Option<String> {
    told(log, until, &|| ())
}

/// What the offsets tell.
fn told(log: &mut KafkaLog, until: Instant, heal: &dyn Fn()) -> Option<String> {
    let committed = healed(until, heal, || log.committed(&[0]).inspect_err(|error| println!("{error}")));
    let offsets: Vec<_> = committed[0].offsets.iter().flatten().collect();
    assert!(offsets.is_empty() || offsets.len() == 3);
    offsets.first().map(|(_, metadata)| metadata.clone())
}

/// Aborts transactions on the group's offsets and on the outputs of which the coordinator knows nothing any more; whether
/// there were any.
fn abort_hanging(setup: &Setup, brokers: &str) -> bool {
    let mut aborted = false;
    let offsets = (0..4).map(|partition| ("__consumer_offsets", partition));
    for (topic, partition) in offsets.chain([(setup.config.topic(Topic::Status), 0)]) {
        let partition = partition.to_string();
        let place = ["--topic", topic, "--partition", &partition];
        let mut describe = broker::tool(brokers, "transactions");
        let found = describe.arg("describe-producers").args(place).output().unwrap();
        for line in String::from_utf8_lossy(&found.stdout).lines().skip(1) {
            let start = line.split_whitespace().last().filter(|start| start.parse::<u64>().is_ok());
            if let Some(start) = start {
                println!("{}: aborting what hangs at {start} of {topic}, {partition}", setup.config.group);
                let mut abort = broker::tool(brokers, "transactions");
                abort.arg("abort").args(place).args(["--start-offset", start]).status().unwrap();
                aborted = true;
            }
        }
    }
    aborted
}

/// Polls until the partition is assigned; a member that is told to end is started again.
fn rejoin(setup: &Setup, log: &mut KafkaLog, until: Instant, heal: &dyn Fn()) {
    loop {
        assert!(Instant::now() < until);
        match log.poll(Duration::from_millis(50), 10, &mut Inbox::default()) {
            Ok(changes) => {
                for change in changes {
                    match change {
                        Change::Assigned(_) => return,
                        Change::Revoked(partitions) | Change::Lost(partitions) => {
                            log.release(&partitions).unwrap();
                        }
                    }
                }
            }
            Err(error) => {
                println!("starts again: {error}");
                *log = setup.open("one");
                // A process that starts anew does not know what its predecessor left to be aborted.
                heal();
            }
        }
    }
}

/// A broker that was stopped and started leads its partitions in another epoch.
#[test]
fn ends_are_told_again_as_soon_as_the_leaders_are_back() {
    let broker = Broker::start();
    let setup = setup_on(broker.brokers.clone(), 2);
    let mut log = setup.open("one");
    join(&mut log);
    let appender = KafkaAppender::open(&setup.config).unwrap();
    appender.append(&[record(CONNECTIONS, 1, "x")]).unwrap();
    let ends = [(0, [0; 3]), (1, [0, 1, 0])];
    assert_eq!(log.ends(&[0, 1]).unwrap(), ends);
    assert_eq!(log.bounds(Topic::Journal, 1).unwrap().high, 0);
    // Asked meanwhile, too: then it learns that there is no leader.
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| broker.restart());
        while !restart.is_finished() {
            let _ = log.ends(&[0, 1]);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let began = Instant::now();
    assert_eq!(retried(began + Duration::from_secs(20), || log.ends(&[0, 1])), ends);
    assert_eq!(retried(began + Duration::from_secs(20), || log.bounds(Topic::Journal, 1)).high, 0);
    println!("told {:.1?} after the broker was back", began.elapsed());
}

#[test]
fn reading_keeps_up() {
    const COUNT: u64 = 300_000;
    let setup = setup(2);
    let appender = KafkaAppender::open(&setup.config).unwrap();
    let began = Instant::now();
    let records: Vec<_> = (0..COUNT)
        .map(|n| record(Topic::ALL[n as usize % 3], (n / 3 % 2) as u32, &"x".repeat(100)))
        .collect();
    appender.append(&records).unwrap();
    println!(
        "{COUNT} records written and acknowledged: {:.0} k/s",
        COUNT as f64 / began.elapsed().as_secs_f64() / 1e3
    );
    let mut log = setup.open("one");
    join(&mut log);
    let starts: Positions = [0; 3];
    log.start(0, starts).unwrap();
    log.start(1, starts).unwrap();
    let mut inbox = Inbox::default();
    let mut count = 0;
    let mut first = None;
    let until = Instant::now() + PATIENCE;
    while count < COUNT {
        assert!(Instant::now() < until, "{count}");
        inbox.clear();
        log.poll(Duration::from_millis(50), 20_000, &mut inbox).unwrap();
        count += inbox.slots.len() as u64;
        if count > 0 {
            first.get_or_insert_with(|| (Instant::now(), count));
        }
    }
    let (at, had) = first.unwrap();
    println!("{COUNT} records read: {:.0} k/s", (COUNT - had) as f64 / at.elapsed().as_secs_f64() / 1e3);
    assert_eq!(log.ends(&[0, 1]).unwrap(), [(0, [50_000; 3]), (1, [50_000; 3])]);
    assert_eq!((log.positions(0), log.positions(1)), ([50_000; 3], [50_000; 3]));
}
