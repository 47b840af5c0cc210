//! Lastseen, and applications of Kafka Streams and Flink that do the same job: from the same full backlog on one broker, pinned
//! alike, one after the other, what they said held against each other; then each live on a broker of its own. And
//! what bounds all of them.
//!
//! `make bench`, `make bench QUICK=1`; `benches/README.md` says what the figures mean.

mod fill;
mod limits;
mod live;
mod picture;
mod process;
mod report;
mod verdicts;
#[path = "../workload/mod.rs"]
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use process::{Broker, Measured, Program};
use serde_json::{Value, json};
use verdicts::Verdicts;

const INPUTS: [&str; 3] = ["control", "connections", "activity"];
const OUTPUTS: [&str; 7] = ["status", "alarms", "connection-log", "audit", "state", "journal", "dead-letter"];

/// What Lastseen is measured against: the directory in `benches/peers`, and what people call it.
const PEERS: [(&str, &str); 2] = [("kafka-streams", "Kafka Streams"), ("flink", "Flink")];

/// What is measured, from the environment.
#[derive(Clone)]
pub struct Plan {
    pub devices: u32,
    pub seconds: u32,
    pub seed: u64,
    pub partitions: u32,
    pub rounds: usize,
    pub cpus: String,
    /// Those of `PEERS` that run.
    pub peers: Vec<(&'static str, &'static str)>,
    /// A property file for the peers, after their own.
    pub peer: Option<PathBuf>,
    pub java: String,
    pub workers: usize,
    pub commit_ms: u32,
    /// Devices of the live part; none: it is left out.
    pub live: u32,
    /// Events a second that are sent then, and for how many seconds each.
    pub rates: Vec<u64>,
    pub rate_seconds: u64,
    pub out: PathBuf,
}

impl Plan {
    fn from_environment() -> Plan {
        let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str, quick: u64, full: u64| {
            let default = if text("QUICK").is_some() { quick } else { full };
            text(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let target = text("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let peers = text("PEERS").unwrap_or_else(|| PEERS.map(|(name, _)| name).join(" "));
        let quick = text("QUICK").is_some();
        let rates = text("RATES")
            .unwrap_or_else(|| if quick { "500" } else { "10000 25000 50000 100000" }.to_owned());
        let named = |name: &str| {
            *PEERS.iter().find(|peer| peer.0 == name).unwrap_or_else(|| panic!("there is no peer {name}"))
        };
        Plan {
            devices: number("DEVICES", 5_000, 300_000) as u32,
            seconds: number("SECONDS", 120, 600) as u32,
            seed: number("SEED", 7, 7),
            partitions: number("PARTITIONS", 8, 8) as u32,
            rounds: number("ROUNDS", 1, 1) as usize,
            cpus: text("CPUS").unwrap_or_else(|| format!("0-{}", cores - 1)),
            peers: peers.split_whitespace().filter(|name| *name != "none").map(named).collect(),
            peer: text("PEER").map(PathBuf::from),
            java: text("PEER_JAVA").unwrap_or_else(|| "-Xms1g -Xmx1g -XX:+UseParallelGC".to_owned()),
            workers: number("WORKERS", 0, 0) as usize,
            commit_ms: number("COMMIT_MS", 100, 100) as u32,
            live: number("LIVE", 1_000, 100_000) as u32,
            rates: rates.split_whitespace().map(|rate| rate.parse().expect("RATES are numbers")).collect(),
            rate_seconds: number("RATE_SECONDS", 3, 10),
            out: text("OUT").map_or_else(|| target.join("bench"), PathBuf::from),
        }
    }
}

/// The root of the sources.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [mode, brokers, partitions] = &words[..]
        && mode == "--count"
    {
        return count(brokers, partitions.parse().expect("partitions"));
    }
    let plan = Plan::from_environment();
    let site = Site::open(&plan);
    site.topics("lastseen-0");
    let filled = fill::fill(&site.broker.address, &plan);
    eprintln!("{} records, {} MB, in {:.1} s", filled.records, filled.bytes / 1_000_000, filled.seconds);
    let bare = site.bare(filled.records);
    eprintln!("a bare consumer: {:.0} records/s", bare.rate);
    let mut programs: Vec<Ran> = [("lastseen", "Lastseen")].iter().chain(&plan.peers).map(Ran::new).collect();
    for round in 0..plan.rounds {
        for program in &mut programs {
            let prefix = format!("{}-{round}", program.name);
            let measured = site.run(program.name, &prefix, filled.records);
            eprintln!(
                "{}: {:.0} records/s, {:.2} s of processor time a million, {} MiB",
                program.name,
                measured.rate,
                measured.cpu_seconds * 1e6 / filled.records as f64,
                measured.peak_kib / 1024
            );
            program.runs.push(measured);
            let (address, start) = (&site.broker.address, filled.spec.start);
            program.said.push(Verdicts::read(address, &prefix, plan.partitions, start));
        }
    }
    let limits = limits::measure(&site);
    drop(site);
    for program in programs.iter_mut().filter(|_| plan.live > 0) {
        program.live = Some(live::measure(&plan, program.name));
    }
    let report =
        report::Report { plan: &plan, filled: &filled, bare: &bare, limits: &limits, programs: &programs };
    let differences = report.write();
    assert!(differences.is_empty(), "they disagree: {}", differences.join("; "));
}

/// A program, and what its runs came to; the first of all is Lastseen.
pub struct Ran {
    pub name: &'static str,
    pub title: &'static str,
    pub runs: Vec<Measured>,
    pub said: Vec<Verdicts>,
    pub live: Option<live::Live>,
}

impl Ran {
    fn new(&(name, title): &(&'static str, &'static str)) -> Ran {
        Ran { name, title, runs: Vec::new(), said: Vec::new(), live: None }
    }
}

/// Builds a peer.
fn class_path(peer: &str) -> String {
    said(Command::new(root().join("benches/peers").join(peer).join("peer")).arg("build"))
}

/// Where all of it runs.
struct Site {
    plan: Plan,
    broker: Broker,
    /// Configurations, states and words of the programs; gone with it.
    scratch: tempfile::TempDir,
    class_paths: BTreeMap<&'static str, String>,
}

impl Site {
    fn open(plan: &Plan) -> Site {
        let class_paths = plan.peers.iter().map(|(name, _)| (*name, class_path(name))).collect();
        let scratch = tempfile::tempdir().expect("a directory");
        Site { plan: plan.clone(), broker: Broker::start(), scratch, class_paths }
    }

    fn dir(&self, prefix: &str) -> PathBuf {
        self.scratch.path().join(prefix)
    }

    /// The configuration of Lastseen; the inputs are the same for all, outputs begin with `prefix`.
    fn configuration(&self, prefix: &str) -> String {
        let Plan { partitions, workers, commit_ms, .. } = &self.plan;
        let mut text = format!(
            "data_dir = \"state\"\nrole = \"processor\"\n[kafka]\nbrokers = \"{}\"\ngroup = \"{prefix}\"\n\
             abort_scan_ms = 1000\n[worker]\ncount = {workers}\ncommit_interval_ms = {commit_ms}\n[http]\nlisten = \"\"\n\
             [topics]\npartitions = {partitions}\n",
            self.broker.address
        );
        let names = INPUTS.map(|name| (name, format!("devices.{name}")));
        let names = names.into_iter().chain(OUTPUTS.map(|name| (name, format!("{prefix}.{name}"))));
        for (name, topic) in names {
            text += &format!("{} = \"{topic}\"\n", name.replace('-', "_"));
        }
        text
    }

    /// The topics of a run: the same settings for both, so that what they write is comparable.
    fn topics(&self, prefix: &str) {
        let dir = self.dir(prefix);
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("lastseen.toml"), self.configuration(prefix)).expect("written");
        let lastseen = env!("CARGO_BIN_EXE_lastseen");
        said(Command::new(lastseen).args(["topics", "create"]).current_dir(&dir));
    }

    fn run(&self, name: &str, prefix: &str, records: u64) -> Measured {
        self.topics(prefix);
        self.start(name, prefix).run_through(self, prefix, records)
    }

    /// Starts a program, or starts it again.
    fn start(&self, name: &str, prefix: &str) -> Program {
        let command = match self.class_paths.get(name) {
            Some(class_path) => self.peer(name, class_path, prefix),
            None => self.lastseen(prefix),
        };
        Program::start(prefix, command, self.scratch.path())
    }

    fn lastseen(&self, prefix: &str) -> Command {
        let mut command = self.pinned(env!("CARGO_BIN_EXE_lastseen"));
        command.arg("run").current_dir(self.dir(prefix));
        command
    }

    fn peer(&self, name: &str, class_path: &str, prefix: &str) -> Command {
        let dir = self.dir(prefix);
        let mut text = format!(
            "application.id={prefix}\nbootstrap.servers={}\nstate.dir={}\ncommit.interval.ms={}\n",
            self.broker.address,
            dir.join("state").display(),
            self.plan.commit_ms,
        );
        for name in ["status", "alarms", "connection-log", "dead-letter"] {
            text += &format!("peer.topic.{name}={prefix}.{name}\n");
        }
        std::fs::write(dir.join("site.properties"), text).expect("written");
        let mut command = self.pinned("java");
        command.args(self.plan.java.split_whitespace()).arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command.args(["-cp", class_path, "lastseen.peer.Main"]);
        command.arg(root().join("benches/peers").join(name).join("peer.properties"));
        command.arg(dir.join("site.properties")).args(&self.plan.peer);
        command
    }

    /// This program again, which only counts.
    fn bare(&self, records: u64) -> Measured {
        let program = std::env::current_exe().expect("a program has a path");
        let mut command = self.pinned(program.to_str().expect("a path in UTF-8"));
        command.args(["--count", &self.broker.address, &self.plan.partitions.to_string()]);
        let line: Value = serde_json::from_str(&said(&mut command)).expect("it prints JSON");
        assert_eq!(line["records"], records, "the bare consumer counts what was sent");
        let number = |name: &str| line[name].as_f64().expect("a number");
        Measured {
            rate: number("rate"),
            seconds: number("seconds"),
            cpu_seconds: number("cpu"),
            peak_kib: number("peak_kib") as u64,
            ..Measured::default()
        }
    }

    fn pinned(&self, program: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.plan.cpus, program]);
        command
    }
}

/// What a command printed on standard output; it must succeed.
pub fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{words}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Counts all records of the inputs, and prints how long that took.
fn count(brokers: &str, partitions: u32) {
    let topics = INPUTS.map(|name| format!("devices.{name}"));
    let began = Instant::now();
    let mut first = None;
    let mut records = 0u64;
    verdicts::read_all(brokers, &topics, partitions, "read_committed", |_| {
        first.get_or_insert_with(Instant::now);
        records += 1;
    });
    let took = first.map_or(Duration::ZERO, |first| first.elapsed());
    let me = std::process::id();
    println!(
        "{}",
        json!({
            "records": records,
            "seconds": began.elapsed().as_secs_f64(),
            "rate": records as f64 / took.as_secs_f64(),
            "cpu": process::cpu_seconds(me),
            "peak_kib": process::peak_kib(me),
        })
    );
}
