//! The fold by itself, on one core: decoded events in memory, protobuf records, whole steps of a partition, JSON Lines;
//! and the memory of a device. The seed is fixed. Every figure comes with the hash of what was made, so that a faster
//! run that does something else shows, and as a share of copying the same bytes, since machines differ.
//!
//! `make micro ARGS=fold`; `make micro ARGS='fold step 100000'` for one line (README.md of this directory).

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use lastseen::domain::effect::{InputTopic, Origin};
use lastseen::domain::event::{
    Activity, ActivityKind, Body, ChannelKind, Connected, Event, SessionRef, Subject,
};
use lastseen::domain::policy::{IntervalRule, Policy};
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::core::{Core, Progress};
use lastseen::engine::step::{Input, Partition, Settings};
use lastseen::engine::table::WARM_MAX;
use lastseen::fold::{FoldOptions, run};
use lastseen::log::{Inbox, Scanned};
use lastseen::wire::decode::{Limits, RawRecord, Scratch, decode};
use lastseen::wire::encode::{encode_event, encode_event_json};
use mimalloc::MiMalloc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::Xxh3;

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const EVENTS: usize = 1_000_000;
/// Records of a step: `worker.batch_records` as it is if nothing else is configured.
const STEP: usize = 10_000;
const RUNS: usize = 7;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--bench")).collect();
    let number = |index: usize| words.get(index).and_then(|word| word.parse::<usize>().ok());
    match words.first().map(String::as_str) {
        Some("--memory") => return print_memory(number(1).expect("devices"), number(2).expect("sessions")),
        Some("--generate") => return generate(number(1).expect("devices"), number(2).expect("bytes")),
        _ => {}
    }
    let asked =
        |name: &str| words.iter().all(|word| word == "fold" || name.split(' ').any(|part| part == word));
    println!(
        "{EVENTS} heartbeats, {RUNS} runs; M/s of one core's time, best and median, share of copying the bytes, hash"
    );
    for devices in [1_000, 10_000, 100_000, 1_000_000] {
        for (name, measured) in [
            ("decoded", decoded as fn(usize) -> Measured),
            ("protobuf", protobuf),
            ("step", step),
            ("json", json),
        ] {
            let name = format!("{name} {devices}");
            if asked(&name) {
                measured(devices).print(&name);
            }
        }
    }
    for (devices, closed) in [(100_000, 0), (1_000_000, 0), (100_000, 8)] {
        if asked("memory") {
            let program = std::env::current_exe().expect("a program has a path");
            let (devices, closed) = (devices.to_string(), closed.to_string());
            Command::new(program)
                .args(["--memory", &devices, &closed])
                .status()
                .expect("the same program runs");
        }
    }
}

// ---- measuring --------------------------------------------------------------------------------------------------

/// Time that this thread had a core for itself: what others do on the machine counts for less.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = stat.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.expect("the first word is a number"))
}

struct Measured {
    times: Vec<Duration>,
    /// Copying the same bytes, in the same minute.
    copying: Duration,
    hash: u64,
}

impl Measured {
    /// Runs what `prepare` made; its result says what it did.
    fn of<T>(bytes: &[u8], mut prepare: impl FnMut() -> T, mut act: impl FnMut(T) -> u64) -> Measured {
        let mut measured = Measured { times: Vec::new(), copying: Duration::MAX, hash: 0 };
        let mut copy = vec![1; bytes.len()];
        for _ in 0..RUNS {
            let started = Instant::now();
            copy.copy_from_slice(black_box(bytes));
            black_box(&copy);
            measured.copying = measured.copying.min(started.elapsed());
            let input = prepare();
            let started = processor_time();
            let hash = act(input);
            measured.times.push(processor_time() - started);
            assert!(measured.hash == 0 || measured.hash == hash, "two runs made different things");
            measured.hash = hash;
        }
        measured.times.sort_unstable();
        measured
    }

    fn print(&self, name: &str) {
        let rate = |time: Duration| EVENTS as f64 / time.as_secs_f64() / 1e6;
        let (best, median) = (self.times[0], self.times[RUNS / 2]);
        let share = self.copying.as_secs_f64() / best.as_secs_f64();
        println!("{name:<18} {:>6.2} {:>6.2}  {share:.3}  {:016x}", rate(best), rate(median), self.hash);
    }
}

// ---- what is folded ---------------------------------------------------------------------------------------------

fn policy() -> Policy {
    let rule = IntervalRule { minutes: 15, ..IntervalRule::default() };
    Policy { required_intervals: vec![rule], ..Policy::default() }
}

fn keys(devices: usize) -> Vec<String> {
    (0..devices).map(|number| format!("acme/device-{number:07}")).collect()
}

fn connect<'a>(key: &'a str, session: &'a str, at: Timestamp) -> Event<'a> {
    let body = Body::Connected(Connected {
        channel: ChannelKind::Mqtt,
        session: SessionRef { id: Some(session), ..SessionRef::default() },
        node_id: Some("n1"),
        client_address: Some("203.0.113.9:50122"),
        protocol: Some("mqtt5"),
        secure: None,
        keep_alive_seconds: None,
        clean_start: None,
        user: None,
        can_receive_operations: true,
    });
    Event { observed_at: Some(at), event_id: None, subject: Subject::Device { key, body } }
}

fn heartbeat(key: &str, at: Timestamp) -> Event<'_> {
    let body = Body::Activity(Activity {
        kind: ActivityKind::MqttPublish,
        channel: Some(ChannelKind::Mqtt),
        session: SessionRef::default(),
        via_application: false,
        topic: None,
        count: 1,
    });
    Event { observed_at: Some(at), event_id: None, subject: Subject::Device { key, body } }
}

/// A core with devices that are connected and were heard from.
fn fleet(keys: &[String], closed: usize) -> Core {
    let mut core = Core::default();
    core.policy = Arc::new(policy());
    for session in 0..=closed {
        let at = START + Millis::from_seconds(session as i64);
        assert!(core.advance(at, usize::MAX) == Progress::Done);
        for (number, key) in keys.iter().enumerate() {
            let id = format!("s{session:02}{number:05x}");
            core.apply(&connect(key, &id, at), at, Origin::Clock);
            if number % 1000 == 0 {
                core.begin_step();
            }
        }
    }
    let at = START + Millis::from_seconds(60);
    assert!(core.advance(at, usize::MAX) == Progress::Done);
    for (number, key) in keys.iter().enumerate() {
        core.apply(&heartbeat(key, at), at, Origin::Clock);
        if number % STEP == 0 {
            core.begin_step();
        }
    }
    core.begin_step();
    core
}

/// Who sends next: skewed, as fleets are.
fn order(devices: usize) -> Vec<u32> {
    let mut random = StdRng::seed_from_u64(7);
    (0..EVENTS)
        .map(|_| {
            let hot = random.random_range(0..5) == 0;
            random.random_range(0..if hot { devices / 20 + 1 } else { devices }) as u32
        })
        .collect()
}

/// Ten thousand events a second of simulated time.
fn at(index: usize) -> Timestamp {
    START + Millis(61_000 + index as i64 / 10)
}

/// Heartbeats as a worker has them after a poll.
fn inbox(keys: &[String]) -> Inbox {
    let mut inbox = Inbox::default();
    for (index, device) in order(keys.len()).into_iter().enumerate() {
        let key = &keys[device as usize];
        let value = encode_event(&heartbeat(key, at(index)));
        let (key, value) = (Some(key.as_bytes()), Some(&value[..]));
        let record = Scanned { offset: index as u64, timestamp: at(index), key, value, headers: &[] };
        inbox.push(InputTopic::Activity, 0, record);
    }
    inbox
}

fn json_lines(keys: &[String], order: impl IntoIterator<Item = u32>, mut put: impl FnMut(&[u8])) {
    for (index, device) in order.into_iter().enumerate() {
        put(&encode_event_json(&heartbeat(&keys[device as usize], at(index))));
        put(b"\n");
    }
}

fn hash_of(core: &Core) -> u64 {
    let mut hash = Xxh3::new();
    for number in core.table.in_key_order(None) {
        let slot = core.table.slot(number);
        hash.update(slot.key().as_bytes());
        hash.update(slot.row());
        hash.update(&slot.clocks().last_message.millis().to_le_bytes());
    }
    hash.digest()
}

// ---- what is measured -------------------------------------------------------------------------------------------

/// Events that are decoded already, in the order of arrival.
fn decoded(devices: usize) -> Measured {
    let keys = keys(devices);
    let inbox = inbox(&keys);
    let (scratch, limits) = (Scratch::new(), Limits::default());
    let events: Vec<Event<'_>> = inbox
        .slots
        .iter()
        .map(|slot| {
            let (key, value) = (inbox.key(slot), inbox.value(slot));
            let record = RawRecord { key, value, partitions: 1, ..RawRecord::default() };
            decode(&record, &scratch, &limits).expect("a good record")
        })
        .collect();
    Measured::of(
        &inbox.arena,
        || fleet(&keys, 0),
        |mut core| {
            for (index, event) in events.iter().enumerate() {
                if index % WARM_MAX == 0 {
                    core.table.warm(events[index..].iter().take(WARM_MAX).filter_map(key_of));
                }
                let at = at(index);
                assert!(core.advance(at, usize::MAX) == Progress::Done);
                core.apply(event, event.observed_at.unwrap_or(at), Origin::Clock);
                if index % STEP == 0 {
                    core.begin_step();
                }
            }
            hash_of(&core)
        },
    )
}

fn key_of<'a>(event: &Event<'a>) -> Option<&'a [u8]> {
    match event.subject {
        Subject::Device { key, .. } => Some(key.as_bytes()),
        _ => None,
    }
}

/// Records in protobuf, decoded and folded.
fn protobuf(devices: usize) -> Measured {
    let keys = keys(devices);
    let inbox = inbox(&keys);
    Measured::of(
        &inbox.arena,
        || fleet(&keys, 0),
        |mut core| {
            let mut scratch = Scratch::new();
            let limits = Limits::default();
            for (index, slot) in inbox.slots.iter().enumerate() {
                if index % WARM_MAX == 0 {
                    let ahead = inbox.slots[index..].iter().take(WARM_MAX);
                    core.table.warm(ahead.filter_map(|slot| inbox.key(slot)));
                }
                let (key, value) = (inbox.key(slot), inbox.value(slot));
                let record = RawRecord { key, value, partitions: 1, ..RawRecord::default() };
                scratch.clear();
                let event = decode(&record, &scratch, &limits).expect("a good record");
                let at = at(index);
                assert!(core.advance(at, usize::MAX) == Progress::Done);
                core.apply(&event, event.observed_at.unwrap_or(at), Origin::Clock);
                if index % STEP == 0 {
                    core.begin_step();
                }
            }
            hash_of(&core)
        },
    )
}

/// All that a partition does between reading and committing: besides decoding and folding, the hashes of what was
/// consumed, the state hash, the clock pack, the sweep, the journal entry.
fn step(devices: usize) -> Measured {
    let keys = keys(devices);
    let inbox = inbox(&keys);
    let prepare = || {
        let mut partition = Partition::new(0, Arc::new(Settings::default()), 1);
        partition.core = fleet(&keys, 0);
        partition
    };
    Measured::of(&inbox.arena, prepare, |mut partition| {
        for (batch, slots) in inbox.slots.chunks(STEP).enumerate() {
            let next = ((batch + 1) * STEP) as u64;
            let input = Input::new([&[], &[], slots], &inbox.arena, [0, 0, next], at(next as usize - 1));
            let told = partition.step(&input).expect("something happened");
            assert!(!told.full, "a step of this size fits");
            black_box(told.records);
        }
        partition.head.hash.0 as u64
    })
}

/// JSON Lines through `fold`. The devices are born on the way: of a million, most of the events are births.
fn json(devices: usize) -> Measured {
    let keys = keys(devices);
    let mut lines = Vec::new();
    json_lines(&keys, order(devices), |bytes| lines.extend_from_slice(bytes));
    Measured::of(
        &lines,
        || (),
        |()| {
            let options = FoldOptions { policy: Some(policy()), state: false, ..FoldOptions::default() };
            let mut output = Hashed(Xxh3::new());
            run(&options, lines.as_slice(), &mut output).expect("memory does not fail");
            output.0.digest()
        },
    )
}

struct Hashed(Xxh3);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// ---- memory -----------------------------------------------------------------------------------------------------

/// Counts the bytes that are allocated and not freed, while it is asked to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    if COUNTS.load(Relaxed) {
        LIVE.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: everything is left to the allocator of the program; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { MiMalloc.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { MiMalloc.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

/// What a device costs with timers and index, without the bytes of its id. In a process of its own: memory that was
/// freed before would be used again, and not be seen.
fn print_memory(devices: usize, closed: usize) {
    let keys = keys(devices);
    let id = keys[0].len() as f64;
    let before = resident();
    COUNTS.store(true, Relaxed);
    let mut core = fleet(&keys, closed);
    core.touched = Vec::new();
    core.outputs = Vec::new();
    COUNTS.store(false, Relaxed);
    let each = |bytes: f64| bytes / devices as f64 - id;
    let row: usize = (0..devices as u32).map(|number| core.table.slot(number).row().len()).sum();
    println!(
        "memory {devices}: bytes a device beyond its id, one open session, {closed} closed: {:.0} allocated, {:.0} \
         resident; {:.0} of them its row",
        each(LIVE.load(Relaxed) as f64),
        each(resident() - before),
        row as f64 / devices as f64,
    );
    black_box(core);
}

/// JSON Lines of heartbeats in about so many bytes.
fn generate(devices: usize, bytes: usize) {
    let keys = keys(devices);
    let mut output = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let order = order(devices);
    let order = order.iter().cycle().copied();
    let length = encode_event_json(&heartbeat(&keys[0], START)).len() + 1;
    json_lines(&keys, order.take(bytes / length), |bytes| {
        output.write_all(bytes).expect("standard output can be written");
    });
    output.flush().expect("standard output can be written");
}
