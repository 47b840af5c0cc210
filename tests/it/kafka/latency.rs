//! How long it takes on a real Kafka: from an event to its verdict, through a backlog, and back after a crash. `make
//! latency` measures; without DEVICES it is a small round that only sees that all of it still works.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lastseen::wire::partition;
use rdkafka::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde_json::{Value, json};

use super::chaos::processes::{Instance, Site, Told, directory, until};
use super::chaos::traffic::{Counts, Reports, now, producer, time};
use super::chaos::watch::{Watch, reader};
use crate::broker::{self, Broker};

const PARTITIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(600);
/// So long a client may take to read what is committed.
const LISTENING: Duration = Duration::from_secs(30);

#[test]
fn commits_and_recovery_are_measured() {
    let asked = std::env::var("DEVICES").ok().filter(|text| !text.is_empty());
    let devices: u64 = asked.as_ref().map_or(2_000, |text| text.parse().expect("DEVICES is a number"));
    let own = asked.is_some().then(|| Broker::start_for(Duration::from_secs(3600)));
    let brokers = own.as_ref().map_or_else(broker::brokers, |own| own.brokers.clone());
    let (intervals, probing): (&[u64], u64) =
        if asked.is_some() { (&[20, 100, 500], 15) } else { (&[100], 2) };
    for interval in intervals {
        let bench = committing(&brokers, *interval, 0);
        bench.measure(*interval, devices / 10, 10, Duration::from_secs(probing));
    }
    for (number, devices) in [devices / 10, devices].into_iter().enumerate() {
        let mut bench = committing(&brokers, 100, number + 1);
        bench.recover(devices);
    }
}

fn committing(brokers: &str, interval: u64, number: usize) -> Bench {
    let settings = BTreeMap::from([
        ("output", "format = \"json\"".to_owned()),
        ("worker", format!("commit_interval_ms = {interval}")),
        ("state", "checkpoint_seconds = 5".to_owned()),
    ]);
    Bench::start(brokers, &format!("latency-{interval}-{number}"), settings)
}

/// One instance, alone with topics of its own.
pub struct Bench {
    site: Site,
    watch: Watch,
    pub instance: Instance,
    told: Told,
    counts: Arc<Counts>,
    producer: ThreadedProducer<Reports>,
    _kept: Option<tempfile::TempDir>,
}

impl Bench {
    /// Topics whose names begin with `name`, and an instance that is not started yet.
    pub fn start(brokers: &str, name: &str, settings: BTreeMap<&'static str, String>) -> Bench {
        let (dir, kept) = directory(name);
        let site = Site {
            dir,
            brokers: brokers.to_owned(),
            prefix: format!("{name}-{}", std::process::id()),
            partitions: PARTITIONS,
            settings,
        };
        site.says(&["topics", "create"], 0);
        let watch = Watch::start(brokers, site.topic("journal"), PARTITIONS);
        let instance = Instance::new(&site, "one", true);
        let counts = Arc::new(Counts::default());
        let producer = producer(brokers, Arc::clone(&counts));
        Bench { site, watch, instance, told: Told::default(), counts, producer, _kept: kept }
    }

    /// Sends an event of a device; how many bytes it has.
    pub fn send(&self, topic: &str, device: &str, mut event: Value) -> u64 {
        event["tenant"] = json!("acme");
        event["deviceId"] = json!(device);
        event["observedAt"] = json!(time(now()));
        let (name, key, value) = (self.site.topic(topic), format!("acme/{device}"), event.to_string());
        let partition = partition::of(key.as_bytes(), PARTITIONS) as i32;
        let mut record = BaseRecord::<str, str>::to(&name).partition(partition).key(&key).payload(&value);
        while let Err((_, back)) = self.producer.send(record) {
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        value.len() as u64
    }

    /// Waits until the broker has all that was sent.
    pub fn flush(&self) {
        self.producer.flush(PATIENCE).expect("the broker takes it");
    }

    /// A connect of each device and so many messages; how many records lie there now.
    fn backlog(&self, devices: u64, messages: u64) -> u64 {
        for number in 0..devices {
            self.send("connections", &device(number), connected("s"));
        }
        for _ in 0..messages {
            for number in 0..devices {
                self.send(
                    "activity",
                    &device(number),
                    json!({"activity": {"kind": "mqtt_publish", "channel": "mqtt"}}),
                );
            }
        }
        self.flush();
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// Waits until so many records are consumed, and committed.
    pub fn consumed(&self, records: u64) {
        let done = || self.watch.state().sum(|seen| seen.consumed) >= records;
        until(PATIENCE, done, || format!("{} of {records}", self.watch.state().sum(|seen| seen.consumed)));
    }

    /// A backlog as fast as it goes, then single events at leisure.
    fn measure(mut self, interval: u64, devices: u64, messages: u64, probing: Duration) {
        let records = self.backlog(devices, messages);
        self.instance.start();
        until(PATIENCE, || self.watch.state().entries > 0, || "nothing is committed".to_owned());
        let (first, began) = (self.watch.state().sum(|seen| seen.consumed), Instant::now());
        self.consumed(records);
        let took = began.elapsed().as_secs_f64();
        // What the first transaction took is not counted, nor its time.
        let rate = match records - first {
            0 => "too few to tell how many".to_owned(),
            counted => format!("{:.0}", counted as f64 / took.max(1e-9)),
        };

        let mut times = self.probe(probing);
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        let (half, most, commits) = self.end();
        println!(
            "commits every {interval} ms: {rate} records/s through a backlog of {records}; from an event to its verdict \
             p50 {:.1?}, p99 {:.1?} ({} events); the commit itself p50 {half:.1} ms, p99 {most:.1} ms (the last 1,000 of {commits})",
            at(50),
            at(99),
            times.len()
        );
    }

    /// Stops it as an operator would; milliseconds that half and 99 of 100 commits took at most, and how many there were.
    pub fn end(&mut self) -> (f64, f64, u64) {
        self.instance.signal("-TERM");
        until(PATIENCE, || self.instance.ended(&mut self.told).is_some(), || "it does not end".to_owned());
        self.told.commits[0]
    }

    /// One event every 20 ms; how long each took until a client read its entry in the connection log.
    fn probe(&self, time: Duration) -> Vec<Duration> {
        let consumer = reader(&self.site.brokers, &[self.site.topic("connection-log")], PARTITIONS);
        let (stop, heard) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let listener = scope.spawn(|| {
                let mut seen: BTreeMap<u64, Instant> = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    heard.store(seen.len(), Ordering::Relaxed);
                    let Some(Ok(message)) = consumer.poll(Duration::from_millis(5)) else { continue };
                    let at = Instant::now();
                    let said: Value =
                        serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON");
                    let probe =
                        said["session"]["id"].as_str().and_then(|id| id.strip_prefix("probe-")?.parse().ok());
                    seen.extend(probe.map(|number: u64| (number, at)));
                }
                seen
            });
            let began = Instant::now();
            let mut sent = Vec::new();
            while began.elapsed() < time {
                let number = sent.len() as u64;
                sent.push(Instant::now());
                self.send("connections", &device(number % 64), connected(&format!("probe-{number}")));
                std::thread::sleep(Duration::from_millis(20));
            }
            self.flush();
            self.consumed(self.counts.sent.load(Ordering::Relaxed));
            // All of them, as a rule; what is missing in the end is told below.
            let waiting = Instant::now();
            while heard.load(Ordering::Relaxed) < sent.len() && waiting.elapsed() < LISTENING {
                std::thread::sleep(Duration::from_millis(10));
            }
            stop.store(true, Ordering::Relaxed);
            let seen = listener.join().expect("it read");
            let times: Vec<Duration> = sent
                .iter()
                .zip(0..)
                .filter_map(|(sent, number)| Some(seen.get(&number)?.duration_since(*sent)))
                .collect();
            assert!(
                times.len() * 100 >= sent.len() * 95,
                "{} of {} probes came back",
                times.len(),
                sent.len()
            );
            times
        })
    }

    /// kill -9, and back: with the state that is there, and with an empty disk.
    fn recover(&mut self, devices: u64) {
        let records = self.backlog(devices, 1);
        self.instance.start();
        self.consumed(records);
        for is_empty in [false, true] {
            self.instance.kill(&mut self.told);
            if is_empty {
                self.instance.lose_disk();
            }
            self.told.restores.clear();
            let before: Vec<u64> =
                self.watch.state().partitions.iter().flatten().map(|seen| seen.writer).collect();
            let began = Instant::now();
            self.instance.start();
            let others = || {
                self.watch
                    .state()
                    .partitions
                    .iter()
                    .flatten()
                    .filter(|seen| !before.contains(&seen.writer))
                    .count()
            };
            let mut first = None;
            until(
                PATIENCE,
                || {
                    let others = others();
                    if others > 0 {
                        first.get_or_insert(began.elapsed());
                    }
                    others == PARTITIONS as usize
                },
                || "it does not come back".to_owned(),
            );
            let all = began.elapsed();
            self.instance.read(&mut self.told);
            let restoring: f64 = self.told.restores.iter().sum();
            println!(
                "{devices} devices, kill -9, back {}: first commit after {:.1?}, all {PARTITIONS} partitions after {all:.1?}; \
                 {restoring:.0} ms of it restoring, {:.0} devices/s",
                if is_empty { "with an empty disk" } else { "with its disk" },
                first.unwrap_or(all),
                devices as f64 / restoring.max(0.001) * 1e3
            );
        }
    }
}

fn device(number: u64) -> String {
    format!("pump-{number}")
}

fn connected(session: &str) -> Value {
    json!({"connected": {"channel": "mqtt", "protocol": "mqtt5", "session": {"id": session}}})
}
