//! The simulated brokers, held against real ones: the same small histories of transactions on both, step for step. What
//! is answered must be of the same kind; what is visible, stable and committed must be the same, offset for offset.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::Timestamp;
use lastseen::log::{OutRecord, Topic};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::broker;
use crate::sim::cluster::{BrokerSettings, Cluster, Refusal, State};
use crate::sim::rng::Rng;
use crate::sim::trace::Trace;

const HISTORIES: u64 = 208;
const THREADS: u64 = 8;
/// Partitions of each history.
const PARTITIONS: u32 = 2;
const STEPS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(20);
const CONNECTIONS: Topic = Topic::Input(InputTopic::Connections);

/// What is done. Producers have two names; who is registered under a name again leaves the one before as a zombie.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Registers a name: at first, or again.
    Register(usize),
    /// The process of a name dies.
    Crash(usize),
    Put(Who, u32),
    Offsets(Who, u64),
    End(Who, bool),
    /// In no transaction.
    Plain(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    Owner(usize),
    Zombie(usize),
}

/// How an end was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Done,
    Fenced,
}

/// What can be seen of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    high: u64,
    stable: u64,
}

fn history(seed: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed, 40);
    let mut steps = vec![Step::Register(0)];
    let mut registered = [true, false];
    let mut zombies = [false, false];
    while steps.len() < STEPS {
        let name = rng.below(2) as usize;
        if !registered[name] {
            registered[name] = true;
            steps.push(Step::Register(name));
            continue;
        }
        let who = if zombies[name] && rng.chance(400_000) { Who::Zombie(name) } else { Who::Owner(name) };
        let partition = rng.below(u64::from(PARTITIONS)) as u32;
        steps.push(match rng.below(12) {
            0..=3 => Step::Put(who, partition),
            4 => Step::Offsets(who, 1 + rng.below(9)),
            5..=7 => Step::End(who, rng.chance(650_000)),
            8 => Step::Plain(partition),
            9 if !zombies[name] => {
                zombies[name] = true;
                Step::Register(name)
            }
            10 => {
                registered[name] = false;
                Step::Crash(name)
            }
            _ => Step::Put(who, partition),
        });
    }
    steps
}

// ---- the simulated side -----------------------------------------------------------------------------------------

struct Simulated {
    cluster: Cluster,
    epochs: BTreeMap<Who, u32>,
    touched: BTreeMap<Who, bool>,
}

fn record(partition: u32, text: &str) -> OutRecord {
    OutRecord {
        topic: CONNECTIONS,
        partition,
        timestamp: Timestamp::from_millis(0),
        key: None,
        value: Some(text.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

fn id(name: usize) -> &'static str {
    ["a", "b"][name]
}

fn name(who: Who) -> usize {
    match who {
        Who::Owner(name) | Who::Zombie(name) => name,
    }
}

impl Simulated {
    fn new(seed: u64) -> Simulated {
        let settings = BrokerSettings {
            partitions: PARTITIONS,
            late_markers: 100_000,
            session_timeout: 6_000,
            rebalance_timeout: 60_000,
            no_fence: false,
        };
        let cluster = Cluster::new(settings, seed, Trace::new(false));
        Simulated { cluster, epochs: BTreeMap::new(), touched: BTreeMap::new() }
    }

    /// Asked until it is not too early.
    fn until_through<T>(
        &mut self,
        mut ask: impl FnMut(&mut Cluster) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        loop {
            match ask(&mut self.cluster) {
                Err(Refusal::Concurrent) => self.cluster.advance(5),
                answer => return answer,
            }
        }
    }

    fn take(&mut self, number: usize, step: Step) -> Option<Answer> {
        match step {
            Step::Register(name) => {
                let epoch =
                    self.until_through(|cluster| cluster.init(id(name), 60_000)).expect("a registration");
                if let Some(old) = self.epochs.insert(Who::Owner(name), epoch) {
                    self.epochs.insert(Who::Zombie(name), old);
                    let touched = self.touched.remove(&Who::Owner(name)).unwrap_or(false);
                    self.touched.insert(Who::Zombie(name), touched);
                }
                None
            }
            Step::Crash(name) => {
                self.epochs.remove(&Who::Owner(name));
                self.touched.remove(&Who::Owner(name));
                None
            }
            Step::Put(who, partition) => {
                let epoch = self.epochs[&who];
                self.touched.insert(who, true);
                let record = record(partition, &number.to_string());
                let _ = self.until_through(|cluster| cluster.produce(id(name(who)), epoch, &record));
                None
            }
            Step::Offsets(who, offset) => {
                let epoch = self.epochs[&who];
                self.touched.insert(who, true);
                let offsets = [(0, [offset; 3], number.to_string())];
                let _ =
                    self.until_through(|cluster| cluster.add_offsets(id(name(who)), epoch, None, &offsets));
                None
            }
            Step::End(who, commit) => {
                if !self.touched.insert(who, false).unwrap_or(false) {
                    return None;
                }
                let epoch = self.epochs[&who];
                let answer = self.cluster.end(id(name(who)), epoch, commit);
                Some(if answer.is_ok() { Answer::Done } else { Answer::Fenced })
            }
            Step::Plain(partition) => {
                self.cluster.append(&record(partition, &number.to_string())).expect("an append");
                None
            }
        }
    }

    fn seen(&mut self) -> Vec<Seen> {
        // Until all markers have arrived.
        self.cluster.advance(4_000);
        let parts = (0..PARTITIONS).map(|partition| self.cluster.part(CONNECTIONS, partition));
        parts.map(|part| Seen { high: part.high, stable: part.stable() }).collect()
    }

    fn visible(&self) -> Vec<(u32, u64, String)> {
        let mut visible = Vec::new();
        for partition in 0..PARTITIONS {
            let part = self.cluster.part(CONNECTIONS, partition);
            for record in part.records.iter().filter(|record| record.offset < part.stable()) {
                if record.state == State::Visible {
                    let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
                    visible.push((partition, record.offset, text.into_owned()));
                }
            }
        }
        visible
    }

    /// `None`: a transaction is pending on them.
    fn committed(&mut self) -> Option<Option<u64>> {
        let offsets = self.cluster.committed(0, true).ok()?;
        Some(offsets[1].as_ref().map(|(offset, _)| *offset))
    }
}

// ---- the real side ----------------------------------------------------------------------------------------------

type Native = ThreadedProducer<DefaultProducerContext>;

struct Real<'a> {
    brokers: &'a str,
    topic: &'a str,
    first: i32,
    group: String,
    producers: BTreeMap<Who, Native>,
    open: BTreeMap<Who, bool>,
    touched: BTreeMap<Who, bool>,
    plain: &'a Native,
    /// Of the group, without belonging to it; reads what is committed.
    reader: BaseConsumer,
    /// Sees everything.
    raw: &'a BaseConsumer,
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("retry.backoff.ms", "2").set("linger.ms", "0");
    config
}

impl<'a> Real<'a> {
    fn new(
        brokers: &'a str,
        topic: &'a str,
        seed: u64,
        plain: &'a Native,
        raw: &'a BaseConsumer,
    ) -> Real<'a> {
        let group = format!("{topic}-{seed}");
        let reader = client(brokers)
            .set("group.id", &group)
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a reader");
        Real {
            brokers,
            topic,
            first: (seed * u64::from(PARTITIONS)) as i32,
            group,
            producers: BTreeMap::new(),
            open: BTreeMap::new(),
            touched: BTreeMap::new(),
            plain,
            reader,
            raw,
        }
    }

    fn partition(&self, partition: u32) -> i32 {
        self.first + partition as i32
    }

    fn begin(&mut self, who: Who) {
        if !self.open.insert(who, true).unwrap_or(false) {
            // A producer that is fenced may learn of it here; the end tells.
            let _ = self.producers[&who].begin_transaction();
        }
        self.touched.insert(who, true);
    }

    fn take(&mut self, number: usize, step: Step) -> Option<Answer> {
        match step {
            Step::Register(name) => {
                let producer: Native = client(self.brokers)
                    .set("transactional.id", format!("{}-{}", self.group, id(name)))
                    .set("transaction.timeout.ms", "60000")
                    .create()
                    .expect("a producer");
                producer.init_transactions(PATIENCE).expect("a registration");
                if let Some(old) = self.producers.insert(Who::Owner(name), producer) {
                    self.producers.insert(Who::Zombie(name), old);
                    for state in [&mut self.open, &mut self.touched] {
                        let before = state.remove(&Who::Owner(name)).unwrap_or(false);
                        state.insert(Who::Zombie(name), before);
                    }
                }
                None
            }
            Step::Crash(name) => {
                self.producers.remove(&Who::Owner(name));
                self.open.remove(&Who::Owner(name));
                self.touched.remove(&Who::Owner(name));
                None
            }
            Step::Put(who, partition) => {
                self.begin(who);
                put(&self.producers[&who], self.topic, self.partition(partition), number);
                None
            }
            Step::Offsets(who, offset) => {
                self.begin(who);
                let mut list = TopicPartitionList::new();
                let at = Offset::Offset(offset as i64);
                list.add_partition_offset(self.topic, self.partition(0), at).expect("an offset");
                let group = self.reader.group_metadata().expect("a group");
                let _ = self.producers[&who].send_offsets_to_transaction(&list, &group, PATIENCE);
                None
            }
            Step::End(who, commit) => {
                let touched = self.touched.insert(who, false).unwrap_or(false);
                self.open.insert(who, false);
                if !touched {
                    return None;
                }
                let producer = &self.producers[&who];
                let answer = match commit {
                    true => producer.commit_transaction(PATIENCE),
                    false => producer.abort_transaction(PATIENCE),
                };
                Some(match answer {
                    Ok(()) => Answer::Done,
                    Err(KafkaError::Transaction(error)) if error.is_fatal() => Answer::Fenced,
                    Err(error) => panic!("{step:?}: {error}"),
                })
            }
            Step::Plain(partition) => {
                put(self.plain, self.topic, self.partition(partition), number);
                None
            }
        }
    }

    fn seen(&self) -> Vec<Seen> {
        let ask = |client: &BaseConsumer, partition| {
            let until = Instant::now() + PATIENCE;
            loop {
                // A topic that was just made has no leaders for a moment.
                match client.fetch_watermarks(self.topic, self.partition(partition), PATIENCE) {
                    Ok((_, high)) => return high as u64,
                    Err(error) => assert!(Instant::now() < until, "{error}"),
                }
            }
        };
        (0..PARTITIONS).map(|p| Seen { high: ask(self.raw, p), stable: ask(&self.reader, p) }).collect()
    }

    fn visible(&self) -> Vec<(u32, u64, String)> {
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(self.topic, self.partition(partition), Offset::Beginning)
                .expect("a place");
        }
        self.reader.assign(&list).expect("an assignment");
        let mut visible = Vec::new();
        let mut ends = 0;
        let until = Instant::now() + PATIENCE;
        while ends < PARTITIONS {
            assert!(Instant::now() < until, "the ends do not come");
            match self.reader.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                    visible.push(((message.partition() - self.first) as u32, message.offset() as u64, text));
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        visible.sort();
        visible
    }

    fn committed(&self) -> Option<Option<u64>> {
        let mut list = TopicPartitionList::new();
        list.add_partition(self.topic, self.partition(0));
        // What is pending does not come by waiting: nothing else happens meanwhile.
        match self.reader.committed_offsets(list, Duration::from_millis(400)) {
            Ok(found) => {
                let offset = found.elements().first().map(|at| at.offset());
                Some(match offset {
                    Some(Offset::Offset(offset)) => Some(offset as u64),
                    _ => None,
                })
            }
            Err(KafkaError::OffsetFetch(Code::OperationTimedOut | Code::UnstableOffsetCommit)) => None,
            Err(KafkaError::MetadataFetch(Code::OperationTimedOut)) => None,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Sends, and waits until the brokers have it or refused it.
fn put(producer: &Native, topic: &str, partition: i32, number: usize) {
    let text = number.to_string();
    if producer.send(BaseRecord::<str, str>::to(topic).partition(partition).payload(&text)).is_err() {
        return;
    }
    let until = Instant::now() + PATIENCE;
    while producer.in_flight_count() > 0 {
        assert!(Instant::now() < until, "a record is not delivered");
        std::thread::yield_now();
    }
}

// ---- both -------------------------------------------------------------------------------------------------------

fn compare(seed: u64, real: &mut Real<'_>) {
    let steps = history(seed);
    let mut simulated = Simulated::new(seed);
    for (number, step) in steps.iter().enumerate() {
        let place = || format!("history {seed}, step {number} of {steps:?}");
        let (theirs, ours) = (real.take(number, *step), simulated.take(number, *step));
        assert_eq!(ours, theirs, "simulated and real, {}", place());
        let wanted = simulated.seen();
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let found = real.seen();
            if found == wanted {
                break;
            }
            assert!(Instant::now() < until, "simulated {wanted:?}, real {found:?}, {}", place());
        }
    }
    assert_eq!(simulated.visible(), real.visible(), "simulated and real, history {seed}: {steps:?}");
    assert_eq!(simulated.committed(), real.committed(), "simulated and real, history {seed}: {steps:?}");
}

#[test]
fn the_simulated_brokers_do_what_real_ones_do() {
    let brokers = broker::brokers();
    let millis = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let topic = format!("histories-{}-{millis}", std::process::id());
    let admin: AdminClient<DefaultClientContext> = client(&brokers).create().unwrap();
    let partitions = (HISTORIES * u64::from(PARTITIONS)) as i32;
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for made in runtime.block_on(admin.create_topics([&new], &options)).unwrap() {
        made.unwrap();
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (brokers, topic) = (&brokers, &topic);
            scope.spawn(move || {
                let plain: Native = client(brokers).create().unwrap();
                let raw: BaseConsumer =
                    client(brokers).set("isolation.level", "read_uncommitted").create().unwrap();
                for seed in (thread..HISTORIES).step_by(THREADS as usize) {
                    compare(seed, &mut Real::new(brokers, topic, seed, &plain, &raw));
                }
            });
        }
    });
    println!("{HISTORIES} histories of {STEPS} steps in {:.1?}", began.elapsed());
}
