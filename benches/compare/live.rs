//! What a backlog does not show: how long verdicts take while events keep coming, how long a program needs to be back after
//! kill -9, and what it does when a whole fleet falls silent in the same moment. Each program has a broker of its own
//! for it, with a fleet that is connected.

use std::ops::{Range, RangeBounds};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lastseen::wire::pb;
use prost::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::fill::{self, Sender, put};
use crate::process::Ends;
use crate::workload::events::{self, End};
use crate::workload::{Batch, NAME, Record, Workload};
use crate::{Plan, Site};

const PATIENCE: Duration = Duration::from_secs(600);
/// Records a second of those that are about to fall silent: no program shall have a backlog when they do.
const INTRODUCED: u64 = 10_000;
/// Of the events at a rate: one in so many connects or disconnects.
const PROBE_EVERY: u64 = 100;
/// Devices that connect and disconnect in turn.
const PROBES: u64 = 1_000;
/// Of those that fall silent, a part that does so one after another: as fast as they were told of.
const IN_TURN: u32 = 10;
/// While deadlines are waited for, others go on: a pipeline without any traffic is not a fleet that is silent.
const TRICKLE: u64 = 1_000;
/// How often events are sent at a rate.
const TICK: Duration = Duration::from_millis(10);

/// What was measured of one program.
#[derive(Clone, Default)]
pub struct Live {
    pub rates: Vec<Rate>,
    pub restart: Restart,
    pub silence: Silence,
}

/// Events that keep coming.
#[derive(Clone)]
pub struct Rate {
    pub asked: u64,
    /// From an event's own time to its entry in the connection log, as a client reads it, in milliseconds.
    pub latency: Spread,
    /// Records that were not committed when the last was sent.
    pub behind: u64,
}

impl Rate {
    /// Whether the program keeps up with it: no more than a second's records wait.
    pub fn is_kept(&self) -> bool {
        self.behind <= self.asked
    }
}

/// Killed, and started again with records waiting.
#[derive(Clone, Default)]
pub struct Restart {
    pub waiting: u64,
    /// From the start of the process until all of them are committed.
    pub seconds: f64,
}

/// Devices that fall silent: some one after another, the others in the same millisecond.
#[derive(Clone, Default)]
pub struct Silence {
    /// From the deadline of each of those that fell silent one after another to its alarm, as a client reads it, in milliseconds.
    pub in_turn: Spread,
    pub devices: u64,
    /// Those whose deadline was that of all; who was blind meanwhile judges later, by a deadline that begins when it sees again.
    pub at_once: usize,
    /// The same, of those.
    pub lateness: Spread,
}

#[derive(Clone, Copy, Default)]
pub struct Spread {
    pub count: usize,
    pub p50: i64,
    pub p99: i64,
    pub p999: i64,
    pub most: i64,
}

impl Spread {
    fn of(mut numbers: Vec<i64>) -> Spread {
        numbers.sort_unstable();
        let at = |share: f64| numbers.get((numbers.len() as f64 * share) as usize).copied().unwrap_or(0);
        let most = numbers.last().copied().unwrap_or(0);
        Spread { count: numbers.len(), p50: at(0.5), p99: at(0.99), p999: at(0.999), most }
    }
}

/// Measures one program.
pub fn measure(plan: &Plan, name: &str) -> Live {
    let plan = Plan { devices: plan.live, seconds: 60, ..plan.clone() };
    let site = Site::open(&plan);
    site.topics(name);
    let filled = fill::fill(&site.broker.address, &plan);
    let mut program = site.start(name, name);
    program.catch_up(&site, name, filled.records);
    let mut fleet = Fleet::new(&site, name, filled.records);

    let mut rates = Vec::new();
    for asked in &plan.rates {
        let rate = fleet.at_rate(*asked, plan.rate_seconds);
        let goes_on = rate.is_kept();
        rates.push(rate);
        // What was left behind is no load for the next.
        program.catch_up(&site, name, fleet.sent);
        if !goes_on {
            break;
        }
    }
    program.kill();
    let waiting = fleet.at_once(u64::from(plan.live) * 2);
    let mut program = site.start(name, name);
    let restart = Restart { waiting, seconds: program.catch_up(&site, name, fleet.sent).seconds };
    let silence = fleet.falls_silent(plan.live);
    program.end();
    Live { rates, restart, silence }
}

/// Sends what devices say, and reads what is said of them.
struct Fleet {
    plan: Plan,
    producer: Sender,
    /// Draws what devices are like.
    devices: Workload,
    ends: Ends,
    /// All records on the inputs.
    sent: u64,
    heartbeats: u64,
    probes: u64,
    watch: Watch,
}

impl Fleet {
    fn new(site: &Site, prefix: &str, sent: u64) -> Fleet {
        let brokers = &site.broker.address;
        Fleet {
            plan: site.plan.clone(),
            producer: fill::settings(brokers, "5").create().expect("a producer"),
            devices: Workload::new(fill::spec(&site.plan)),
            ends: Ends::of(brokers, prefix, site.plan.partitions),
            sent,
            heartbeats: 0,
            probes: 0,
            watch: Watch::start(brokers, prefix, site.plan.partitions),
        }
    }

    fn name(&self, device: u32) -> u64 {
        self.devices.draw(device, NAME)
    }

    fn put(&mut self, batch: &Batch) {
        for record in &batch.records {
            self.sent += put(&self.producer, batch, record, self.plan.partitions);
        }
    }

    /// So many heartbeats of devices in turn, now.
    fn beat(&mut self, batch: &mut Batch, count: u64) {
        for _ in 0..count {
            // A step that shares no divisor with the number of devices, so that neighbours are far apart.
            self.heartbeats += 7_919;
            let device = (self.heartbeats % u64::from(self.plan.devices)) as u32;
            let record = events::heartbeat(batch, self.name(device), device, now());
            batch.records.push(record);
        }
    }

    /// A device beyond the others connects, and the next time disconnects.
    fn probe(&mut self, batch: &mut Batch) {
        let (turn, device) = (self.probes / PROBES, self.plan.devices + (self.probes % PROBES) as u32);
        let (name, session) = (self.name(device), (turn / 2) as u32 + 1);
        let record = match turn % 2 {
            0 => events::connected(batch, name, device, now(), session),
            _ => events::disconnected(batch, name, device, now(), session, End::ByClient),
        };
        batch.records.push(record);
        self.probes += 1;
    }

    /// `rate` events a second for so many seconds.
    fn at_rate(&mut self, rate: u64, seconds: u64) -> Rate {
        let (began, since, probes) = (Instant::now(), now(), self.probes);
        let (mut done, all) = (0, rate * seconds);
        let mut batch = Batch::default();
        while done < all {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
            batch.bytes.clear();
            batch.records.clear();
            while done < due.min(all) {
                done += 1;
                match done % PROBE_EVERY {
                    0 => self.probe(&mut batch),
                    _ => self.beat(&mut batch, 1),
                }
            }
            self.put(&batch);
            std::thread::sleep(TICK);
        }
        self.producer.flush(PATIENCE).expect("the broker takes it");
        let behind = self.sent.saturating_sub(self.ends.committed());
        let latency = self.watch.entries(since, (self.probes - probes) as usize);
        Rate { asked: rate, latency, behind }
    }

    /// So many heartbeats, as fast as they go.
    fn at_once(&mut self, count: u64) -> u64 {
        let mut batch = Batch::default();
        self.beat(&mut batch, count);
        self.put(&batch);
        self.producer.flush(PATIENCE).expect("the broker takes it");
        count
    }

    /// Devices that nobody knew are given an interval; then a part of them is heard of for the last time one after another,
    /// and all others at the same millisecond.
    fn falls_silent(&mut self, devices: u32) -> Silence {
        let first = self.plan.devices + PROBES as u32;
        let (at_once, all) = (first..first + devices, first..first + devices + devices / IN_TURN);
        let (in_turn, since) = (at_once.end..all.end, now());
        // Longer than it takes to tell of them.
        let minutes = 1 + (2 * all.len() as u64 / INTRODUCED + 20) as i16 / 60;
        self.told(all.clone(), |batch, name, device| events::interval(batch, name, device, now(), minutes));
        self.told(in_turn, |batch, name, device| events::heartbeat(batch, name, device, now()));
        let heard = now();
        self.told(at_once, |batch, name, device| events::heartbeat(batch, name, device, heard));
        let until = Instant::now() + PATIENCE;
        let mut batch = Batch::default();
        while self.watch.alarms(since..) < all.len() {
            assert!(Instant::now() < until, "{} of {} alarms came", self.watch.alarms(since..), all.len());
            batch.bytes.clear();
            batch.records.clear();
            self.beat(&mut batch, TRICKLE / 20);
            self.put(&batch);
            std::thread::sleep(Duration::from_millis(50));
        }
        let due = heard + i64::from(minutes) * 60_000;
        Silence {
            in_turn: self.watch.lateness(since..due),
            devices: devices.into(),
            at_once: self.watch.alarms(due..),
            lateness: self.watch.lateness(due..),
        }
    }

    /// One record of each of these devices, not faster than all can take it; and until it is taken.
    fn told(&mut self, devices: Range<u32>, record: impl Fn(&mut Batch, u64, u32) -> Record) {
        let began = Instant::now();
        let mut batch = Batch::default();
        for (number, device) in (0u64..).zip(devices) {
            let record = record(&mut batch, self.name(device), device);
            batch.records.push(record);
            if batch.records.len() as u64 >= INTRODUCED / 20 {
                self.put(&batch);
                batch = Batch::default();
                let due = Duration::from_secs_f64(number as f64 / INTRODUCED as f64);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
        }
        self.put(&batch);
        self.producer.flush(PATIENCE).expect("the broker takes it");
        while self.ends.committed() < self.sent {
            assert!(began.elapsed() < PATIENCE, "it does not keep up");
            std::thread::sleep(TICK);
        }
    }
}

/// A client that reads what is committed, and notes how late.
struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    /// Of entries of the connection log and of alarms: the time of what they tell, and how much later they were read.
    entries: Vec<(i64, i64)>,
    alarms: Vec<(i64, i64)>,
}

impl Watch {
    fn start(brokers: &str, prefix: &str, partitions: u32) -> Watch {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "compare-watch")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "5")
            .create()
            .expect("a consumer");
        let (log, alarms) = (format!("{prefix}.connection-log"), format!("{prefix}.alarms"));
        let mut list = TopicPartitionList::new();
        for topic in [&log, &alarms] {
            for partition in 0..partitions as i32 {
                // What is there is of the backlog.
                let (_, high) =
                    consumer.fetch_watermarks(topic, partition, PATIENCE).expect("the broker answers");
                list.add_partition_offset(topic, partition, Offset::Offset(high)).expect("an offset");
            }
        }
        consumer.assign(&list).expect("assigned");
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (noted, told) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let Some(message) = consumer.poll(Duration::from_millis(50)) else { continue };
                let message = message.expect("it can be read");
                let (now, payload) = (now(), message.payload().unwrap_or_default());
                let mut seen = noted.lock().expect("nobody panicked");
                if message.topic() == log {
                    let entry = pb::ConnectionLogEntry::decode(payload).expect("an entry");
                    seen.entries.push((entry.at_ms, now - entry.at_ms));
                } else {
                    let alarm = pb::AlarmEvent::decode(payload).expect("an alarm");
                    seen.alarms.push((alarm.at_ms, now - alarm.at_ms));
                }
            }
        });
        Watch { seen, stop, thread: Some(thread) }
    }

    /// Waits for so many entries of the connection log that tell of what was after `since`; what is left of a backlog comes
    /// between them.
    fn entries(&self, since: i64, count: usize) -> Spread {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.seen.lock().expect("nobody panicked");
            let found: Vec<i64> =
                seen.entries.iter().filter(|(at, _)| *at >= since).map(|(_, late)| *late).collect();
            drop(seen);
            if found.len() >= count {
                return Spread::of(found);
            }
            assert!(Instant::now() < until, "{} of {count} entries came", found.len());
            std::thread::sleep(TICK);
        }
    }

    /// How many alarms came of what was due then.
    fn alarms(&self, due: impl RangeBounds<i64>) -> usize {
        self.seen.lock().expect("nobody panicked").alarms.iter().filter(|(at, _)| due.contains(at)).count()
    }

    /// How much later than their own deadlines.
    fn lateness(&self, due: impl RangeBounds<i64>) -> Spread {
        let seen = self.seen.lock().expect("nobody panicked");
        Spread::of(seen.alarms.iter().filter(|(at, _)| due.contains(at)).map(|(_, late)| *late).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}
