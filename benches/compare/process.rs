//! Processes and what they cost, seen from outside: committed offsets, and what Linux counts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::{INPUTS, Site, root, said};

const PATIENCE: Duration = Duration::from_secs(900);
const REQUEST: Duration = Duration::from_secs(20);
/// How often it is looked at: the same for all.
const LOOK: Duration = Duration::from_millis(50);

/// What a run cost.
#[derive(Clone, Default)]
pub struct Measured {
    /// Records a second, from the first commit that was seen to the last.
    pub rate: f64,
    /// The same of the second half of the records: the fleet is registered and connected.
    pub second_half: f64,
    /// From the start of the process until everything was committed.
    pub seconds: f64,
    /// From the start of the process until the first commit was seen.
    pub first: f64,
    pub cpu_seconds: f64,
    pub broker_cpu_seconds: f64,
    pub peak_kib: u64,
    /// What the process wrote to disk.
    pub disk_bytes: u64,
    /// What its topics hold, by topic without the prefix.
    pub kafka_bytes: Vec<(String, u64)>,
    /// What the brokers' own topics grew by: offsets and transactions.
    pub coordination_bytes: u64,
    /// The machine's load before it.
    pub load: f64,
}

impl Measured {
    pub fn kafka_total(&self) -> u64 {
        self.kafka_bytes.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.coordination_bytes
    }
}

/// The broker of this run; stopped and removed when dropped.
pub struct Broker {
    pub address: String,
    pid: u32,
    dir: PathBuf,
}

impl Broker {
    pub fn start() -> Broker {
        let lines = said(Command::new(script()).arg("start").env("KAFKA_MAX_SECONDS", "7200"));
        let value = |name: &str| {
            let found = lines.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in what `broker start` printed: {lines}")).to_owned()
        };
        Broker {
            address: value("KAFKA_BROKERS"),
            pid: value("KAFKA_PID").parse().expect("a pid"),
            dir: PathBuf::from(value("KAFKA_DIR")),
        }
    }

    /// Bytes of the logs of all topics whose names begin so, by topic.
    fn logs(&self, prefix: &str) -> Vec<(String, u64)> {
        let mut found = std::collections::BTreeMap::new();
        for entry in std::fs::read_dir(self.dir.join("data")).expect("the broker's data").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(topic) = name.rsplit_once('-').and_then(|(topic, _)| topic.strip_prefix(prefix)) else {
                continue;
            };
            let files = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
            let logs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
            let bytes: u64 = logs.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
            *found.entry(topic.trim_start_matches(['.', '-']).to_owned()).or_default() += bytes;
        }
        found.into_iter().collect()
    }

    fn coordination(&self) -> u64 {
        self.logs("__").iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let stopped = Command::new(script()).arg("stop").arg(&self.dir).status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("the broker in {} could not be stopped", self.dir.display());
        }
    }
}

fn script() -> PathBuf {
    root().join("deploy/kafka/broker")
}

/// A program that runs; what is left of it is killed when it is dropped.
pub struct Program {
    child: Child,
    began: Instant,
    words: PathBuf,
    load: f64,
}

impl Program {
    pub fn start(name: &str, mut command: Command, scratch: &Path) -> Program {
        let load = load();
        let words = scratch.join(format!("{name}.log"));
        let log = File::create(&words).expect("a file");
        let began = Instant::now();
        let again = log.try_clone().expect("a file");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(again).spawn().expect("it starts");
        Program { child, began, words, load }
    }

    /// Waits until its group has committed the ends of all inputs, and ends it as an operator would.
    pub fn run_through(mut self, site: &Site, prefix: &str, records: u64) -> Measured {
        let coordination = site.broker.coordination();
        let mut measured = self.catch_up(site, prefix, records);
        self.end();
        measured.kafka_bytes = site.broker.logs(prefix);
        measured.coordination_bytes = site.broker.coordination().saturating_sub(coordination);
        measured
    }

    /// Waits until its group has committed the ends of all inputs.
    pub fn catch_up(&mut self, site: &Site, prefix: &str, records: u64) -> Measured {
        let pid = self.child.id();
        let broker_cpu = cpu_seconds(site.broker.pid);
        let ends = Ends::of(&site.broker.address, prefix, site.plan.partitions);
        let (mut first, mut half) = (None, None);
        let done = loop {
            std::thread::sleep(LOOK);
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                panic!("{prefix} ended ({status}) before it had caught up:\n{}", self.last_words());
            }
            let committed = ends.committed();
            if committed > 0 {
                first.get_or_insert((self.began.elapsed(), committed));
            }
            if committed >= records / 2 {
                half.get_or_insert((self.began.elapsed(), committed));
            }
            if committed >= records {
                break self.began.elapsed();
            }
            assert!(
                self.began.elapsed() < PATIENCE,
                "{prefix}: {committed} of {records}\n{}",
                self.last_words()
            );
        };
        let since = |seen: Option<(Duration, u64)>| {
            let (at, from) = seen.filter(|(_, from)| *from < records).unwrap_or_default();
            (records - from) as f64 / (done - at).as_secs_f64()
        };
        Measured {
            rate: since(first),
            second_half: since(half),
            seconds: done.as_secs_f64(),
            first: first.unwrap_or_default().0.as_secs_f64(),
            cpu_seconds: cpu_seconds(pid),
            broker_cpu_seconds: cpu_seconds(site.broker.pid) - broker_cpu,
            peak_kib: peak_kib(pid),
            disk_bytes: disk_bytes(pid),
            load: self.load,
            ..Measured::default()
        }
    }

    /// Ends it as a machine does that loses its power: it hears nothing of it.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn last_words(&self) -> String {
        let words = std::fs::read_to_string(&self.words).unwrap_or_default();
        let lines: Vec<&str> = words.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub fn end(&mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "it can be told to end");
        let told = Instant::now();
        while self.child.try_wait().expect("it can be waited for").is_none() {
            assert!(told.elapsed() < Duration::from_secs(60), "it does not end\n{}", self.last_words());
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The inputs, and how far a group has come.
pub struct Ends {
    group: BaseConsumer,
    asked: TopicPartitionList,
}

impl Ends {
    pub fn of(brokers: &str, group: &str, partitions: u32) -> Ends {
        let group: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", group)
            // What stands, not what it will be when an open transaction has ended.
            .set("isolation.level", "read_uncommitted")
            .create()
            .expect("a consumer");
        let mut asked = TopicPartitionList::new();
        for topic in INPUTS {
            asked.add_partition_range(&format!("devices.{topic}"), 0, partitions as i32 - 1);
        }
        Ends { group, asked }
    }

    /// Nobody deletes records, and nobody but the group has transactions on the inputs: offsets count them.
    pub fn committed(&self) -> u64 {
        let Ok(found) = self.group.committed_offsets(self.asked.clone(), REQUEST) else { return 0 };
        let offsets = found.elements().into_iter().map(|element| match element.offset() {
            Offset::Offset(offset) => offset as u64,
            _ => 0,
        });
        offsets.sum()
    }
}

// ---- what Linux counts ------------------------------------------------------------------------------------------

fn proc(pid: u32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{name}"))
        .unwrap_or_else(|error| panic!("{pid} {name}: {error}"))
}

fn line(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
    line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

/// User and system time of all threads so far; Linux counts in hundredths.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = proc(pid, "stat");
    let after = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().expect("ticks")).sum();
    ticks as f64 / 100.0
}

pub fn peak_kib(pid: u32) -> u64 {
    line(&proc(pid, "status"), "VmHWM:")
}

fn disk_bytes(pid: u32) -> u64 {
    line(&proc(pid, "io"), "write_bytes:")
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
