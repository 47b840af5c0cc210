//! What a view costs: how fast it is made from the topics, how fast it is there again after a restart, and how far
//! behind a commit it shows what was committed. On the embedded log, one process.
//!
//! `make micro ARGS=view`; with a number of devices, `make micro ARGS='view 1000000'`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lastseen::clock::Clock;
use lastseen::domain::effect::InputTopic;
use lastseen::domain::event::{
    Activity, ActivityKind, Body, ChannelKind, Connected, Event, SessionRef, Subject,
};
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::step::Settings;
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog};
use lastseen::log::{Append, OutRecord, Topic};
use lastseen::query::feed::{FeedConfig, feed, readers};
use lastseen::query::history::History;
use lastseen::query::view::View;
use lastseen::stats::Stats;
use lastseen::store::RocksStore;
use lastseen::wire::encode::encode_event;
use lastseen::wire::partition;
use lastseen::worker::{Worker, WorkerConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 4;
/// Events of one write.
const BATCH: usize = 10_000;
/// Events a second while freshness is measured, and for how long.
const PACE: usize = 5_000;
const MEASURED: Duration = Duration::from_secs(20);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--bench")).collect();
    if words.iter().any(|word| word != "view" && word.parse::<usize>().is_err()) {
        return;
    }
    let devices = words.iter().find_map(|word| word.parse().ok()).unwrap_or(300_000);
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Clock::host();
    let stamps = clock.clone();
    let config =
        EmbeddedConfig { partitions: PARTITIONS, retention_thread: false, ..EmbeddedConfig::default() };
    let log =
        EmbeddedLog::open(dir.path().join("log"), config, Arc::new(move || stamps.now())).expect("a log");
    let keys: Vec<String> = (0..devices).map(|number| format!("acme/device-{number:07}")).collect();

    processing(&log, &clock, dir.path(), || {
        for connects in [true, false] {
            keys.chunks(BATCH).for_each(|some| write(&log, some, clock.now(), connects));
        }
    });
    let bounds = |topic| -> u64 {
        let each = (0..PARTITIONS).map(|partition| log.clone().bounds(topic, partition).expect("bounds"));
        each.map(|bounds| bounds.high - bounds.low).sum()
    };
    let outputs = [Topic::Status, Topic::Alarms, Topic::ConnectionLog, Topic::Audit, Topic::DeadLetter];
    let journal = bounds(Topic::Journal);
    let records = bounds(Topic::State) + journal + outputs.map(bounds).iter().sum::<u64>();
    println!("{devices} devices; {records} records, of which {journal} journal entries");

    let database = dir.path().join("view");
    for what in ["made from the topics", "there again after a restart"] {
        let began = Instant::now();
        following(&log, &clock, &database, |view| {
            while !view.is_caught_up() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let took = began.elapsed();
            let rate = records as f64 / took.as_secs_f64() / 1e3;
            assert_eq!(view.state().fleet.len(), devices);
            println!("{what:<30} {:>8.2} s {rate:>8.0} thousand records/s", took.as_secs_f64());
        });
    }

    // From the moment that the log took an entry until the view shows it.
    let lags = Mutex::new(Vec::new());
    following(&log, &clock, &database, |view| {
        while !view.is_caught_up() {
            std::thread::sleep(Duration::from_millis(1));
        }
        processing(&log, &clock, dir.path(), || {
            let began = Instant::now();
            let mut seen: Vec<u64> = view.standing().iter().map(|one| one.seq).collect();
            let mut sent = 0;
            while began.elapsed() < MEASURED {
                let due = (began.elapsed().as_millis() as usize * PACE) / 1000;
                if due > sent {
                    let some: Vec<String> =
                        (sent..due).map(|number| keys[number * 7_919 % devices].clone()).collect();
                    write(&log, &some, clock.now(), sent % 10 == 0);
                    sent = due;
                }
                for standing in view.standing() {
                    let known = &mut seen[standing.partition as usize];
                    if standing.seq > *known {
                        *known = standing.seq;
                        lags.lock().expect("one thread").push((clock.now() - standing.committed_at).0);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    let mut lags = lags.into_inner().expect("one thread");
    lags.sort_unstable();
    let at = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize];
    println!(
        "behind the commit, {PACE} events/s: p50 {} ms, p99 {} ms, most {} ms ({} looks)",
        at(0.5),
        at(0.99),
        at(1.0),
        lags.len()
    );
}

/// Runs a processor while `act` does something, and until it has worked off everything.
fn processing(log: &EmbeddedLog, clock: &Clock, dir: &Path, act: impl FnOnce()) {
    let config = WorkerConfig {
        log_name: "bench".into(),
        settings: Arc::new(Settings { partitions: PARTITIONS, ..Settings::default() }),
        commit_interval: Duration::from_millis(100),
        batch_records: 50_000,
        clock_margin: Millis(10),
        ..WorkerConfig::default()
    };
    let stats = Arc::new(Stats::default());
    let member = log.member().expect("one member");
    let worker = Worker::new(member, RocksStore::new(dir), clock.clone(), config, Arc::clone(&stats), 7);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| worker.run(&stop).expect("the processor works"));
        act();
        let until = clock.now();
        // A partition's clock passes only what was read.
        let clocks = || stats.counts().clocks;
        while clocks().len() < PARTITIONS as usize || clocks().values().any(|clock| *clock < until) {
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Feeds a view from the log while `act` looks at it.
fn following(log: &EmbeddedLog, clock: &Clock, database: &Path, act: impl FnOnce(&View)) {
    let (history, _) = History::open(database, "bench").expect("a database");
    let config = FeedConfig::default();
    let view = View::new(history, PARTITIONS, config.window);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = (0..readers(PARTITIONS)).map(|_| Box::new(log.clone()) as _).collect();
        scope.spawn(|| feed(&view, readers, clock, &config, &stop).expect("the view follows"));
        act(&view);
        stop.store(true, Ordering::Relaxed);
    });
}

fn write(log: &EmbeddedLog, keys: &[String], at: Timestamp, connects: bool) {
    let records: Vec<OutRecord> = keys.iter().map(|key| record(key, at, connects)).collect();
    log.append(&records).expect("it is written");
}

fn record(key: &str, at: Timestamp, connects: bool) -> OutRecord {
    let session = SessionRef { id: Some("c0ffee01"), ..SessionRef::default() };
    let (topic, body) = if connects {
        let connected = Connected {
            channel: ChannelKind::Mqtt,
            session,
            node_id: Some("n1"),
            client_address: Some("203.0.113.9:50122"),
            protocol: Some("mqtt5"),
            secure: None,
            keep_alive_seconds: None,
            clean_start: None,
            user: None,
            can_receive_operations: true,
        };
        (InputTopic::Connections, Body::Connected(connected))
    } else {
        let activity = Activity {
            kind: ActivityKind::MqttPublish,
            channel: Some(ChannelKind::Mqtt),
            session: SessionRef::default(),
            via_application: false,
            topic: None,
            count: 1,
        };
        (InputTopic::Activity, Body::Activity(activity))
    };
    let event = Event { observed_at: Some(at), event_id: None, subject: Subject::Device { key, body } };
    OutRecord {
        topic: Topic::Input(topic),
        partition: partition::of(key.as_bytes(), PARTITIONS),
        timestamp: at,
        key: Some(key.as_bytes().to_vec()),
        value: Some(encode_event(&event)),
        headers: Vec::new(),
    }
}
