//! The embedded log: the conformance suite, and what only it promises.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::log::embedded::{Clock, EmbeddedConfig, EmbeddedLog};
use lastseen::log::{Append, Bounds, Log, Start, TOPICS, Tail, Topic};
use tempfile::TempDir;

use super::suite::{self, Rig, record};

const CONNECTIONS: Topic = Topic::Input(InputTopic::Connections);

fn host_clock() -> Clock {
    Arc::new(|| Timestamp::from_millis(chrono::Utc::now().timestamp_millis()))
}

fn config() -> EmbeddedConfig {
    EmbeddedConfig { partitions: 2, retention_thread: false, ..EmbeddedConfig::default() }
}

/// A process that another test starts holds a copy of the lock between its fork and its exec: a log that was closed a
/// moment ago may still look open.
fn open(path: &Path) -> EmbeddedLog {
    open_with(path, &config(), &host_clock())
}

fn open_with(path: &Path, config: &EmbeddedConfig, clock: &Clock) -> EmbeddedLog {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match EmbeddedLog::open(path, config.clone(), Arc::clone(clock)) {
            Err(error) if error.retriable && Instant::now() < deadline => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

struct Embedded {
    log: EmbeddedLog,
    _dir: TempDir,
}

impl Rig for Embedded {
    fn member(&self) -> Box<dyn Log> {
        Box::new(self.log.member().unwrap())
    }

    fn appender(&self) -> Box<dyn Append> {
        Box::new(self.log.clone())
    }

    fn tail(&self, from: &[(Topic, u32, Start)]) -> Box<dyn Tail> {
        Box::new(self.log.tail(from))
    }
}

#[test]
fn conforms() {
    suite::all(|| {
        let dir = TempDir::new().unwrap();
        Box::new(Embedded { log: open(dir.path()), _dir: dir })
    });
}

/// The texts of everything in a partition.
fn texts(log: &EmbeddedLog, topic: Topic, partition: u32) -> Vec<String> {
    let bounds = log.bounds(topic, partition).unwrap();
    let mut found = Vec::new();
    log.scan(topic, partition, bounds.low..bounds.high, &mut |record| {
        found.push(String::from_utf8_lossy(record.value.unwrap_or(b"(null)")).into_owned());
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

#[test]
fn one_process_at_a_time_and_it_says_which() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let error = EmbeddedLog::open(dir.path(), config(), host_clock()).err().unwrap();
    assert!(
        error.retriable && error.to_string().contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    let member = log.member().unwrap();
    assert!(log.member().err().unwrap().retriable);
    drop(member);
    let member = log.member().unwrap();
    drop(log);
    assert!(EmbeddedLog::open(dir.path(), config(), host_clock()).is_err(), "the member still has it");
    drop(member);
    open(dir.path());
}

#[test]
fn refuses_another_number_of_partitions_and_newer_formats() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let other = EmbeddedConfig { partitions: 3, ..config() };
    let error = EmbeddedLog::open(dir.path(), other, host_clock()).err().unwrap();
    assert!(!error.retriable && error.to_string().contains("2 partitions"), "{error}");
    {
        let db = rocksdb::DB::open_default(dir.path().join("db")).unwrap();
        let newer: Vec<u8> = [2_u64, 2, 7].iter().flat_map(|number| number.to_be_bytes()).collect();
        db.put(b"\x00format", newer).unwrap();
    }
    let error = EmbeddedLog::open(dir.path(), config(), host_clock()).err().unwrap();
    assert!(!error.retriable && error.to_string().contains("format 2"), "{error}");
}

#[test]
fn append_times_never_go_back() {
    let dir = TempDir::new().unwrap();
    let now = Arc::new(AtomicI64::new(5_000));
    let clock = |now: &Arc<AtomicI64>| -> Clock {
        let now = Arc::clone(now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::Relaxed)))
    };
    let times = |log: &EmbeddedLog| {
        let mut times = Vec::new();
        let high = log.bounds(CONNECTIONS, 0).unwrap().high;
        log.scan(CONNECTIONS, 0, 0..high, &mut |record| {
            times.push(record.timestamp.millis());
            ControlFlow::Continue(())
        })
        .unwrap();
        times
    };
    let log = EmbeddedLog::open(dir.path(), config(), clock(&now)).unwrap();
    for at in [5_000, 4_000, 6_000] {
        now.store(at, Ordering::Relaxed);
        log.append(&[record(CONNECTIONS, 0, "x")]).unwrap();
    }
    drop(log);
    now.store(10, Ordering::Relaxed);
    let log = open_with(dir.path(), &config(), &clock(&now));
    log.append(&[record(CONNECTIONS, 0, "x"), record(CONNECTIONS, 1, "x")]).unwrap();
    assert_eq!(times(&log), [5_000, 5_000, 6_000, 6_000]);
}

#[test]
fn retention_of_one_partition_does_not_look_at_another() {
    let dir = TempDir::new().unwrap();
    let now = Arc::new(AtomicI64::new(0));
    let stamps = Arc::clone(&now);
    let clock: Clock = Arc::new(move || Timestamp::from_millis(stamps.load(Ordering::Relaxed)));
    let log = EmbeddedLog::open(dir.path(), config(), Arc::clone(&clock)).unwrap();
    // The time index of partition 0 has a row for offset 5; partition 1 has none that is old enough to count.
    let five = |partition| vec![record(CONNECTIONS, partition, "x"); 5];
    log.append(&five(0)).unwrap();
    now.store(120_000, Ordering::Relaxed);
    log.append(&five(0)).unwrap();
    log.append(&five(1)).unwrap();
    log.append(&five(1)).unwrap();
    log.apply_retention(clock()).unwrap();
    assert_eq!(log.bounds(CONNECTIONS, 1).unwrap(), Bounds { low: 0, high: 10 });
}

#[test]
fn retention_goes_by_the_time_of_appending() {
    let dir = TempDir::new().unwrap();
    let now = Arc::new(AtomicI64::new(0));
    let clock: Clock = {
        let now = Arc::clone(&now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::Relaxed)))
    };
    let hour = Millis::from_minutes(60);
    let config = EmbeddedConfig { retention: [Some(hour); TOPICS], ..config() };
    let log = EmbeddedLog::open(dir.path(), config.clone(), Arc::clone(&clock)).unwrap();
    // One record a minute for three hours, its own time being nonsense.
    for minute in 0..180 {
        now.store(minute * 60_000, Ordering::Relaxed);
        log.append(&[
            record(CONNECTIONS, 0, &minute.to_string()),
            record(Topic::Status, 1, &minute.to_string()),
        ])
        .unwrap();
    }
    log.apply_retention(clock()).unwrap();
    for (topic, partition) in [(CONNECTIONS, 0), (Topic::Status, 1)] {
        let bounds = log.bounds(topic, partition).unwrap();
        assert!((117..=119).contains(&bounds.low), "{bounds:?}");
        assert_eq!(bounds.high, 180);
        assert_eq!(texts(&log, topic, partition).len() as u64, bounds.high - bounds.low);
        let error = log.scan(topic, partition, 0..180, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.to_string().contains("offset 0 is gone"), "{error}");
        assert!(
            log.follow(topic, partition, Start::At(0)).read(Duration::ZERO, 10, &mut |_, _, _| ()).is_err()
        );
    }
    // All of it, and the offsets go on where they were, also after a restart.
    now.store(10 * 3_600_000, Ordering::Relaxed);
    log.apply_retention(clock()).unwrap();
    assert_eq!(log.bounds(CONNECTIONS, 0).unwrap(), Bounds { low: 180, high: 180 });
    drop(log);
    let log = open_with(dir.path(), &config, &clock);
    assert_eq!(log.bounds(CONNECTIONS, 0).unwrap(), Bounds { low: 180, high: 180 });
    assert_eq!(log.append(&[record(CONNECTIONS, 0, "after")]).unwrap(), [180]);
    assert_eq!(texts(&log, CONNECTIONS, 0), ["after"]);
}

#[test]
fn state_keeps_the_latest_row_of_each_key() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let row = |key: &str, value: Option<&str>, at: i64| {
        let mut row = record(Topic::State, 0, "");
        row.key = Some(key.as_bytes().to_vec());
        row.value = value.map(|value| value.as_bytes().to_vec());
        row.timestamp = Timestamp::from_millis(at);
        row
    };
    let day = 24 * 3_600_000;
    for round in 0..50 {
        let rows: Vec<_> = (0..100).map(|n| row(&n.to_string(), Some(&format!("{n} {round}")), 0)).collect();
        log.append(&rows).unwrap();
    }
    log.append(&[row("7", None, day), row("8", None, 3 * day)]).unwrap();
    log.apply_retention(Timestamp::from_millis(day)).unwrap();
    let kept = texts(&log, Topic::State, 0);
    assert_eq!(kept.len(), 100);
    assert_eq!(kept.iter().filter(|text| text.ends_with(" 49")).count(), 98);
    assert_eq!(kept.iter().filter(|text| *text == "(null)").count(), 2);
    assert_eq!(log.bounds(Topic::State, 0).unwrap(), Bounds { low: 0, high: 5002 });
    log.apply_retention(Timestamp::from_millis(3 * day)).unwrap();
    assert_eq!(texts(&log, Topic::State, 0).len(), 99);
    log.apply_retention(Timestamp::from_millis(5 * day)).unwrap();
    assert_eq!(texts(&log, Topic::State, 0).len(), 98);
    drop(log);
    let log = open(dir.path());
    assert_eq!(log.append(&[row("9", Some("new"), 0)]).unwrap(), [5002]);
    log.apply_retention(Timestamp::from_millis(0)).unwrap();
    assert_eq!(texts(&log, Topic::State, 0).len(), 98);
}

#[test]
fn many_appenders_share_a_sync_and_get_every_offset_once() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let began = Instant::now();
    let offsets: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let log = log.clone();
                scope.spawn(move || {
                    let mut offsets = Vec::new();
                    for n in 0..50 {
                        let records =
                            [record(CONNECTIONS, 0, &format!("{thread} {n}")), record(Topic::Status, 1, "s")];
                        offsets.push(log.append(&records).unwrap()[0]);
                    }
                    assert!(offsets.is_sorted());
                    offsets
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    println!("400 synced appends by 8 threads: {:.1?}", began.elapsed());
    let mut sorted = offsets;
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..400));
    assert_eq!(texts(&log, CONNECTIONS, 0).len(), 400);
}

#[test]
fn an_append_wakes_a_waiting_poll() {
    let dir = TempDir::new().unwrap();
    let log = open(dir.path());
    let mut member = log.member().unwrap();
    suite::join(&mut member);
    member.start(0, [0; 3]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            log.append(&[record(CONNECTIONS, 0, "wake")]).unwrap();
        });
        let began = Instant::now();
        assert_eq!(suite::once(&mut member, 20_000).len(), 1);
        assert!((90..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    });
}

#[test]
fn the_retention_thread_works_and_ends_with_the_log() {
    let dir = TempDir::new().unwrap();
    let mut config = config();
    config.retention_thread = true;
    config.retention[CONNECTIONS.number()] = Some(Millis(1));
    let log = EmbeddedLog::open(dir.path(), config, host_clock()).unwrap();
    log.append(&[record(CONNECTIONS, 0, "short")]).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while log.bounds(CONNECTIONS, 0).unwrap().low == 0 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(log);
    open(dir.path());
}

// ---- kill -9 ----------------------------------------------------------------------------------------------------

const CHILD: &str = "LASTSEEN_LOG_CHILD";

/// Not a test of its own: the process that the next one kills. Says what was acknowledged, after it was.
#[test]
fn kill_child() {
    let Ok(path) = std::env::var(CHILD) else { return };
    // Tables are written and merged all the time, so that it dies in the middle of that, too.
    let config = EmbeddedConfig { write_buffer: 64 << 10, ..config() };
    let log = EmbeddedLog::open(path, config, host_clock()).unwrap();
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
    };
    std::thread::scope(|scope| {
        for thread in 0..2_u32 {
            let (log, say) = (log.clone(), &say);
            scope.spawn(move || {
                for n in 0..=u64::MAX {
                    let offset =
                        log.append(&[record(CONNECTIONS, thread, &format!("in {thread} {n}"))]).unwrap()[0];
                    say(format!("A {thread} {offset} in {thread} {n}\n"));
                }
            });
        }
        let mut member = log.member().unwrap();
        let began = log.bounds(Topic::Journal, 0).unwrap().high;
        for n in began..=u64::MAX {
            let n = n.to_string();
            // Three places that must agree whatever happens: an output of each partition, the journal, the offsets.
            let records: Vec<_> = [(Topic::Status, 0), (Topic::Status, 1), (Topic::Journal, 0)]
                .map(|(topic, partition)| record(topic, partition, &n))
                .into();
            suite::commit(&mut member, records, vec![(0, [1, 2, 3], n.clone()), (1, [1, 2, 3], n.clone())]);
            say(format!("C {n}\n"));
        }
    });
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged: BTreeMap<(u32, u64), String> = BTreeMap::new();
    let mut committed = None;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["log::embedded::kill_child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A different moment each time, counted from its first word.
        let pause = Duration::from_micros(500 + (round * 17_389) % 60_000);
        let mut killer = None;
        let mut tear = Vec::new();
        for line in lines.map_while(Result::ok) {
            if killer.is_none() && line.contains(" ") && (line.starts_with("A ") || line.starts_with("C ")) {
                let pid = child.id().to_string();
                killer = Some(std::thread::spawn(move || {
                    std::thread::sleep(pause);
                    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
                }));
            }
            tear.push(line);
        }
        killer.expect("the child said nothing").join().unwrap();
        child.wait().unwrap();
        // The last line may be torn: only whole ones count, and all but the last are whole.
        for line in tear.iter().take(tear.len().saturating_sub(1)) {
            if let Some(rest) = line.strip_prefix("A ") {
                let mut words = rest.splitn(3, ' ');
                let partition = words.next().unwrap().parse().unwrap();
                let offset = words.next().unwrap().parse().unwrap();
                let text = words.next().unwrap().to_owned();
                assert_eq!(
                    acknowledged.insert((partition, offset), text),
                    None,
                    "an offset was given out twice"
                );
            } else if let Some(n) = line.strip_prefix("C ") {
                committed = Some(n.parse::<u64>().unwrap());
            }
        }

        let log = open(dir.path());
        for ((partition, offset), text) in &acknowledged {
            let mut found = None;
            log.scan(CONNECTIONS, *partition, *offset..*offset + 1, &mut |record| {
                found = Some(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
            assert_eq!(found.as_ref(), Some(text), "round {round}, partition {partition}, offset {offset}");
        }
        let journal = texts(&log, Topic::Journal, 0);
        assert!(
            committed.is_none_or(|n| journal.len() as u64 > n),
            "round {round}: {committed:?}, {}",
            journal.len()
        );
        assert!(journal.iter().enumerate().all(|(n, text)| *text == n.to_string()));
        assert_eq!(texts(&log, Topic::Status, 0), journal);
        assert_eq!(texts(&log, Topic::Status, 1), journal);
        let mut member = log.member().unwrap();
        for found in member.committed(&[0, 1]).unwrap() {
            let metadata = found.offsets[0].as_ref().map(|(_, metadata)| metadata.clone());
            assert_eq!(metadata, journal.last().cloned(), "round {round}");
        }
        println!(
            "round {round}: {} inputs, {} commits, killed after {pause:?}",
            acknowledged.len(),
            journal.len()
        );
    }
    assert!(committed.is_some() && !acknowledged.is_empty());
}
