//! Follows the journal of all partitions by Kafka's own reading of what is committed: who writes, since when, and whether
//! the chain holds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lastseen::engine::journal::{self, EntryHash};
use lastseen::log::Positions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// What is known of one partition.
#[derive(Clone, Debug)]
pub struct Seen {
    pub seq: u64,
    hash: EntryHash,
    positions: Positions,
    pub clock_ms: i64,
    /// Who wrote the newest entry.
    pub writer: u64,
    /// When the newest entry was seen.
    pub at: Instant,
    /// When the first entry of this writer was seen.
    pub since: Instant,
    pub consumed: u64,
    pub produced: u64,
    pub fired: u64,
}

/// What is known of all, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub partitions: Vec<Option<Seen>>,
    pub problems: Vec<String>,
    pub entries: u64,
    /// How often another process went on with a partition.
    pub moves: u64,
}

impl State {
    pub fn sum(&self, of: impl Fn(&Seen) -> u64) -> u64 {
        self.partitions.iter().flatten().map(of).sum()
    }

    /// The partitions whose newest entry is of this writer.
    pub fn partitions_of(&self, writer: u64) -> Vec<usize> {
        let of = |(number, seen): (usize, &Option<Seen>)| {
            seen.as_ref().is_some_and(|seen| seen.writer == writer).then_some(number)
        };
        self.partitions.iter().enumerate().filter_map(of).collect()
    }

    fn entry(&mut self, partition: usize, bytes: &[u8]) -> Result<(), String> {
        let entry = journal::open(bytes).map_err(|error| format!("partition {partition}: {error}"))?;
        let now = Instant::now();
        let before = self.partitions[partition].take();
        let (seq, hash) = before.as_ref().map_or((0, EntryHash::default()), |seen| (seen.seq, seen.hash));
        let is_next = entry.entry.seq == seq + 1 && (seq == 0 || entry.previous() == hash);
        let writer = entry.entry.nonce;
        let is_same = before.as_ref().is_some_and(|seen| seen.writer == writer);
        self.moves += u64::from(before.is_some() && !is_same);
        self.entries += 1;
        let mut seen = Seen {
            seq: entry.entry.seq,
            hash: entry.hash,
            positions: entry.positions_before(),
            clock_ms: entry.entry.clock_ms,
            writer,
            at: now,
            since: now,
            consumed: 0,
            produced: 0,
            fired: 0,
        };
        let mut joins = Ok(());
        if let Some(before) = &before {
            seen.positions = before.positions;
            (seen.consumed, seen.produced, seen.fired) = (before.consumed, before.produced, before.fired);
            seen.since = if is_same { before.since } else { now };
            if seen.clock_ms < before.clock_ms {
                joins = Err("the clock goes back".to_owned());
            }
        }
        seen.consumed += entry.entry.ranges.iter().map(|range| range.count).sum::<u64>();
        seen.produced += entry.entry.outputs.iter().map(|produced| produced.count).sum::<u64>();
        seen.fired += entry.entry.deadlines_fired;
        if let Err((topic, at, from)) = entry.move_positions(&mut seen.positions) {
            joins = Err(format!("{topic} was read up to {at}, and on from {from}"));
        }
        if !is_next {
            joins = Err(format!("after entry {seq} ({hash}) comes {} ({})", seen.seq, entry.previous()));
        }
        self.partitions[partition] = Some(seen);
        joins.map_err(|words| format!("partition {partition}, entry {}: {words}", entry.entry.seq))
    }
}

/// The thread that follows; it ends when this is dropped.
pub struct Watch {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A consumer in no group that reads what is committed from the beginning of each of these.
pub fn reader(brokers: &str, topics: &[String], partitions: u32) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.queue.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition as i32, Offset::Beginning).expect("an offset");
        }
    }
    consumer.assign(&list).expect("assigned");
    consumer
}

impl Watch {
    pub fn start(brokers: &str, journal: String, partitions: u32) -> Watch {
        let consumer = reader(brokers, &[journal], partitions);
        let first = State { partitions: vec![None; partitions as usize], ..State::default() };
        let state = Arc::new(Mutex::new(first));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, ends) = (Arc::clone(&state), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // A broker that is away, or the end of a partition: it goes on by itself.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = message.payload().unwrap_or_default();
                if let Err(problem) = state.entry(message.partition() as usize, bytes) {
                    state.problems.push(problem);
                }
            }
        });
        Watch { state, stop, thread: Some(thread) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
