//! The steady producer: idempotent, keyed, drawn from a seed.
//!
//! Half of the devices are **lively**: all topics, sessions that are taken over, late disconnects, nodes that fail,
//! intervals of a minute whose messages were observed nearly a minute ago, so that deadlines pass all the time. The other
//! half are **plain**: each uses one topic only, and its deadlines are hours away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lastseen::domain::time::Timestamp;
use lastseen::wire::partition;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use serde_json::{Value, json};

use super::processes::Site;
use crate::sim::rng::Rng;

/// Plain devices are called so, with the topic that they use behind it.
pub const PLAIN: &str = "plain-";

const TENANT: &str = "acme";

/// How much traffic.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub devices: u64,
    pub per_second: u64,
}

#[derive(Default)]
pub struct Counts {
    pub sent: AtomicU64,
    pub acknowledged: AtomicU64,
    pub failed: AtomicU64,
    /// Records that are no event.
    pub garbage: AtomicU64,
}

pub struct Reports(Arc<Counts>);

impl ClientContext for Reports {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.0.acknowledged } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A producer that never gives a record up.
pub fn producer(brokers: &str, counts: Arc<Counts>) -> ThreadedProducer<Reports> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "2")
        .set("queue.buffering.max.messages", "1000000")
        .set("reconnect.backoff.max.ms", "500")
        .create_with_context(Reports(counts))
        .expect("a producer")
}

/// The thread that produces; it ends when this is dropped.
pub struct Traffic {
    pub counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    /// What was sent matters no more.
    abandoned: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    pub fn start(site: &Site, seed: u64, rate: Rate) -> Traffic {
        let counts = Arc::new(Counts::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut source = Source {
            producer: producer(&site.brokers, Arc::clone(&counts)),
            counts: Arc::clone(&counts),
            site: site.clone(),
            rng: Rng::new(seed, 2),
            lively: (0..rate.devices / 2).map(|_| Sessions::default()).collect(),
            plain: (0..rate.devices / 2).map(|_| Sessions::default()).collect(),
            last: None,
        };
        let abandoned = Arc::new(AtomicBool::new(false));
        let (ends, abandons) = (Arc::clone(&stop), Arc::clone(&abandoned));
        let thread = std::thread::spawn(move || {
            // The rule that gives every device an interval: it arrives before anything else.
            source.broadcast(json!({"policy": {"requiredIntervals": [{"minutes": 600}]}}));
            source.producer.flush(Duration::from_secs(30)).expect("the broker takes the policy");
            let began = Instant::now();
            let mut events = 0;
            while !ends.load(Ordering::Relaxed) {
                let due = began.elapsed().as_millis() as u64 * rate.per_second / 1000;
                while events < due {
                    source.event();
                    events += 1;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            if !abandons.load(Ordering::Relaxed) {
                source.producer.flush(Duration::from_secs(120)).expect("the broker takes what was sent");
            }
        });
        Traffic { counts, stop, abandoned, thread: Some(thread) }
    }

    /// Sends no more, and waits until the broker has all of it.
    pub fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("all was sent");
        }
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (sent, acknowledged) = (count(&self.counts.sent), count(&self.counts.acknowledged));
        assert_eq!((acknowledged, count(&self.counts.failed)), (sent, 0), "records of the producer are lost");
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the source knows of a device.
#[derive(Clone, Default)]
struct Sessions {
    number: u64,
    open: bool,
}

struct Source {
    producer: ThreadedProducer<Reports>,
    counts: Arc<Counts>,
    site: Site,
    rng: Rng,
    lively: Vec<Sessions>,
    plain: Vec<Sessions>,
    /// The last event of a lively device, to be sent twice now and then.
    last: Option<(&'static str, String, String)>,
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() as i64
}

pub fn time(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

impl Source {
    fn put(&self, topic: &str, partition: u32, key: Option<&str>, value: &str) {
        let name = self.site.topic(topic);
        let mut record = BaseRecord::<str, str>::to(&name).partition(partition as i32).payload(value);
        record.key = key;
        while let Err((error, back)) = self.producer.send(record) {
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(is_full, "the producer takes no more: {error}");
            std::thread::sleep(Duration::from_millis(5));
            record = back;
        }
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
    }

    fn keyed(&self, topic: &str, device: &str, value: &str) {
        let key = format!("{TENANT}/{device}");
        self.put(topic, partition::of(key.as_bytes(), self.site.partitions), Some(&key), value);
    }

    fn broadcast(&self, mut event: Value) {
        event["observedAt"] = json!(time(now()));
        for partition in 0..self.site.partitions {
            self.put("control", partition, None, &event.to_string());
        }
    }

    fn device(device: &str, observed: i64, mut event: Value) -> String {
        event["tenant"] = json!(TENANT);
        event["deviceId"] = json!(device);
        event["observedAt"] = json!(time(observed));
        event.to_string()
    }

    fn event(&mut self) {
        match self.rng.below(1000) {
            0 => {
                let node = format!("n{}", self.rng.below(4));
                let status = *self.rng.pick(&["down", "up", "heartbeat", "heartbeat"]);
                self.broadcast(json!({"node": {"nodeId": node, "status": status}}));
            }
            1..=3 => {
                let number = self.counts.garbage.fetch_add(1, Ordering::Relaxed);
                let device = format!("lively-{}", self.rng.below(self.lively.len() as u64));
                let topic = *self.rng.pick(&["connections", "activity", "control"]);
                self.keyed(topic, &device, &format!("garbage {number}"));
            }
            4..=20 => {
                if let Some((topic, device, value)) = &self.last {
                    self.keyed(topic, device, value);
                }
            }
            21..=600 => self.lively(),
            _ => self.plain(),
        }
    }

    fn lively(&mut self) {
        let number = self.rng.below(self.lively.len() as u64) as usize;
        let device = format!("lively-{number}");
        let draw = self.rng.below(100);
        let late = (self.rng.below(8_000)) as i64;
        let (topic, age, event) = match draw {
            0..=19 => ("connections", late / 100, connected(&mut self.lively[number], &mut self.rng, true)),
            20..=37 => ("connections", late / 100, disconnected(&mut self.lively[number], &mut self.rng)),
            // A deadline of a minute passes within the next seconds.
            38..=75 => {
                ("activity", 60_000 - late, json!({"activity": {"kind": "mqtt_publish", "channel": "mqtt"}}))
            }
            76..=81 => ("activity", 0, json!({"activity": {"kind": "state_poll"}})),
            82..=89 => (
                "control",
                0,
                json!({"requiredInterval": {"minutes": self.rng.pick(&[1, 1, 1, 600]), "source": "operator"}}),
            ),
            90..=94 => ("control", 0, json!({"maintenance": {"on": self.rng.coin(), "actor": "ops"}})),
            _ => (
                "control",
                0,
                json!({"register": {"deviceType": "pump", "name": format!("pump {}", self.rng.below(9))}}),
            ),
        };
        let value = Source::device(&device, now() - age, event);
        self.keyed(topic, &device, &value);
        self.last = Some((topic, device, value));
    }

    fn plain(&mut self) {
        let number = self.rng.below(self.plain.len() as u64) as usize;
        let topic = ["connections", "activity", "control"][number % 3];
        let event = match topic {
            "connections" if self.rng.coin() => connected(&mut self.plain[number], &mut self.rng, false),
            "connections" => disconnected(&mut self.plain[number], &mut self.rng),
            "activity" => {
                let kind = *self.rng.pick(&["mqtt_publish", "state_poll", "measurement_create", "heartbeat"]);
                json!({"activity": {"kind": kind}})
            }
            _ => match self.rng.below(3) {
                0 => {
                    json!({"requiredInterval": {"minutes": 500 + self.rng.below(99), "source": "operator"}})
                }
                1 => json!({"maintenance": {"on": self.rng.coin(), "actor": "ops"}}),
                _ => json!({"register": {"name": format!("name {}", self.rng.below(99))}}),
            },
        };
        let device = format!("{PLAIN}{topic}-{number}");
        self.keyed(topic, &device, &Source::device(&device, now(), event));
    }
}

/// A session of its own, also where another is open: that one is taken over.
fn connected(sessions: &mut Sessions, rng: &mut Rng, on_node: bool) -> Value {
    sessions.number += 1;
    sessions.open = true;
    let number = sessions.number;
    let session = json!({"id": format!("s{number}"), "sequence": format!("{number:x}")});
    let mut event = json!({"connected": {"channel": "mqtt", "protocol": "mqtt5", "session": session}});
    if on_node {
        event["connected"]["nodeId"] = json!(format!("n{}", rng.below(4)));
    }
    event
}

/// Of the session that is open, or, late, of the one before it.
fn disconnected(sessions: &mut Sessions, rng: &mut Rng) -> Value {
    let is_late = sessions.number > 1 && rng.below(3) == 0;
    let number = sessions.number - u64::from(is_late);
    sessions.open &= is_late;
    let code = *rng.pick(&[0, 4, 141, 142]);
    let session = json!({"id": format!("s{number}"), "sequence": format!("{number:x}")});
    json!({"disconnected": {"channel": "mqtt", "session": session, "mqttReasonCode": code}})
}
