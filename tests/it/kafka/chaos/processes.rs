//! Instances of `lastseen run`: each a process with a directory of its own. They are started, killed, stopped and read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker;

/// The names of all topics of one test, and what its processes share.
#[derive(Clone)]
pub struct Site {
    pub dir: PathBuf,
    pub brokers: String,
    pub prefix: String,
    pub partitions: u32,
    /// Further lines of the configuration's tables, by table.
    pub settings: BTreeMap<&'static str, String>,
}

pub const TOPICS: [&str; 10] = [
    "connections",
    "activity",
    "control",
    "status",
    "alarms",
    "connection-log",
    "audit",
    "state",
    "journal",
    "dead-letter",
];

impl Site {
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// The configuration of one process; `kafka` are further lines of that table.
    fn configuration(&self, kafka: &str) -> String {
        let more = |table: &str| self.settings.get(table).map(String::as_str).unwrap_or_default();
        let mut text = format!(
            "data_dir = \"state\"\n[kafka]\nbrokers = \"{}\"\ngroup = \"{}\"\nsession_timeout_ms = 6000\n\
             transaction_timeout_ms = 3000\nabort_scan_ms = 1000\nrequest_timeout_ms = 5000\n{kafka}\n[topics]\n\
             partitions = {}\n",
            self.brokers, self.prefix, self.partitions
        );
        for topic in TOPICS {
            text += &format!("{} = \"{}\"\n", topic.replace('-', "_"), self.topic(topic));
        }
        for table in ["output", "worker", "state", "telemetry"] {
            text += &format!("[{table}]\n{}\n", more(table));
            if table == "worker" && !more(table).contains("count") {
                // Instances are told apart by who writes for them.
                text += "count = 1\n";
            }
        }
        // A broker that is short of processors shows a record a while after it stamped it. One that the clock has passed by then
        // counts as arrived later, which `fold` of the inputs cannot know.
        text + "[clock]\nmargin_ms = 200\n"
    }

    /// A command of `lastseen` that runs once, in a directory that only such commands use.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let dir = self.dir.join("commands");
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("lastseen.toml"), self.configuration("")).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastseen"));
        command.args(arguments).current_dir(dir).stdin(Stdio::null());
        command
    }

    /// What such a command prints, and that it ended with this code.
    #[track_caller]
    pub fn says(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments).output().expect("lastseen runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\nstdout:\n{out}\nstderr:\n{err}");
        out.into_owned()
    }
}

/// How a process stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    Runs,
    /// By SIGSTOP.
    Paused,
    /// By our doing, or not started yet.
    Gone,
}

/// What instances told in all their runs.
#[derive(Default)]
pub struct Told {
    /// Warnings and errors by their text, and how often.
    pub warnings: BTreeMap<String, u32>,
    /// Milliseconds of commits of runs that ended by themselves: half, and 99 of 100, took no longer; and how many.
    pub commits: Vec<(f64, f64, u64)>,
    /// How long the restoring of one partition took, in milliseconds.
    pub restores: Vec<f64>,
    /// How many partitions came from a standby, and how many of what standbys followed began with a checkpoint.
    pub taken_over: usize,
    pub begun_at_checkpoints: usize,
}

/// One instance. What is left of it is killed when it is dropped.
pub struct Instance {
    pub name: String,
    pub is_static: bool,
    pub standing: Standing,
    dir: PathBuf,
    child: Option<Child>,
    runs: u32,
    log: Option<LogFile>,
    /// By whom journal entries of the run of now were written; none before it said so.
    pub writer: Option<u64>,
    /// Partitions that were assigned and are not restored yet.
    pub restoring: BTreeSet<u64>,
    /// When the newest assignment was read of.
    pub assigned: Option<Instant>,
    /// Partitions with which its standby has caught up.
    pub at_hand: BTreeSet<u64>,
}

struct LogFile {
    file: File,
    rest: Vec<u8>,
    /// Lines that are no JSON: what the command line says as it ends.
    plain: Vec<String>,
}

impl Instance {
    pub fn new(site: &Site, name: &str, is_static: bool) -> Instance {
        let dir = site.dir.join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut kafka = format!("static_member = {is_static}");
        if is_static {
            // With a name of its own it comes back as the same member even without its disk.
            kafka += &format!("\ninstance = \"{name}\"");
        }
        std::fs::write(dir.join("lastseen.toml"), site.configuration(&kafka)).expect("written");
        Instance {
            name: name.to_owned(),
            is_static,
            standing: Standing::Gone,
            dir,
            child: None,
            runs: 0,
            log: None,
            writer: None,
            restoring: BTreeSet::new(),
            assigned: None,
            at_hand: BTreeSet::new(),
        }
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, flags: &[&str]) {
        assert_eq!(self.standing, Standing::Gone, "{}", self.name);
        self.runs += 1;
        let path = self.dir.join(format!("run-{}.log", self.runs));
        let log = File::create(&path).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastseen"));
        command
            .arg("run")
            .args(flags)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().expect("lastseen runs"));
        self.log =
            Some(LogFile { file: File::open(path).expect("it is there"), rest: vec![], plain: vec![] });
        (self.writer, self.restoring, self.assigned) = (None, BTreeSet::new(), None);
        self.at_hand.clear();
        self.standing = Standing::Runs;
    }

    pub fn signal(&mut self, name: &str) {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name));
        broker::signal(&child.id().to_string(), name);
        match name {
            "-STOP" => self.standing = Standing::Paused,
            "-CONT" => self.standing = Standing::Runs,
            _ => {}
        }
    }

    /// kill -9, whatever it does; its last words are read.
    pub fn kill(&mut self, told: &mut Told) {
        let mut child = self.child.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        self.read(told);
        self.standing = Standing::Gone;
    }

    /// How it ended, if it has ended, and its last words.
    pub fn ended(&mut self, told: &mut Told) -> Option<(ExitStatus, String)> {
        let status = self.child.as_mut()?.try_wait().expect("it can be waited for")?;
        self.child = None;
        self.standing = Standing::Gone;
        self.read(told);
        let words = self.log.as_ref().map(|log| log.plain.join("\n")).unwrap_or_default();
        Some((status, words))
    }

    /// The most memory that it ever had resident, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name));
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("Linux tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    }

    /// Its disk is new.
    pub fn lose_disk(&mut self) {
        assert_eq!(self.standing, Standing::Gone);
        let _ = std::fs::remove_dir_all(self.dir.join("state"));
    }

    /// Every file of its checkpoints is overwritten from its middle on; how many there were.
    pub fn damage_disk(&mut self) -> usize {
        assert_eq!(self.standing, Standing::Gone);
        let mut found = 0;
        let mut waiting = vec![self.dir.join("state")];
        while let Some(dir) = waiting.pop() {
            for entry in std::fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry")) {
                let path = entry.path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.extension().is_some_and(|kind| kind == "sst") {
                    let mut bytes = std::fs::read(&path).expect("it is read");
                    let middle = bytes.len() / 2;
                    bytes[middle..].fill(0x5a);
                    std::fs::write(&path, bytes).expect("it is written");
                    found += 1;
                }
            }
        }
        found
    }

    /// Takes in what it has told since the last time.
    pub fn read(&mut self, told: &mut Told) {
        let Some(log) = &mut self.log else { return };
        if log.file.read_to_end(&mut log.rest).is_err() {
            return;
        }
        while let Some(end) = log.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = log.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let Ok(value) = serde_json::from_str::<Value>(&line) else {
                log.plain.push(line);
                continue;
            };
            let text = value["message"].as_str().unwrap_or_default();
            match text {
                "a worker starts" => {
                    let writer = value["writer"].as_str().expect("a writer");
                    self.writer = Some(u64::from_str_radix(writer, 16).expect("hexadecimal"));
                }
                "partitions assigned" => {
                    self.restoring = numbers(&value["partitions"]);
                    self.at_hand.retain(|partition| !self.restoring.contains(partition));
                    self.assigned = Some(Instant::now());
                }
                "the standby has caught up" => {
                    self.at_hand.extend(value["partition"].as_u64());
                    told.begun_at_checkpoints += usize::from(value["from_checkpoint"].is_u64());
                }
                "partitions revoked" | "partitions lost" => self.restoring.clear(),
                "partition restored" => {
                    let partition = value["partition"].as_u64().expect("a number");
                    self.restoring.remove(&partition);
                    told.taken_over += usize::from(value["from_standby"] == true);
                    told.restores.extend(millis(value["took"].as_str().unwrap_or_default()));
                }
                "stopped" => {
                    let number = |name: &str| value[name].as_f64().expect(name);
                    let commits = value["commits"].as_u64().expect("a number");
                    told.commits.push((number("commit_ms_p50"), number("commit_ms_p99"), commits));
                }
                _ => {}
            }
            if ["WARN", "ERROR"].contains(&value["level"].as_str().unwrap_or_default()) {
                *told.warnings.entry(text.split(" (").next().unwrap_or(text).to_owned()).or_default() += 1;
            }
        }
    }

    /// Where its threads stand goes into a file, if there is a debugger to tell and the directory is kept.
    pub fn dump(&self) {
        let Some(child) = self.child.as_ref().filter(|_| std::env::var_os("CHAOS_DIR").is_some()) else {
            return;
        };
        let Ok(file) = File::create(self.dir.join("stacks")) else { return };
        let mut gdb = Command::new("gdb");
        gdb.args(["-p", &child.id().to_string(), "-batch", "-ex", "thread apply all backtrace 20"]);
        let _ = gdb.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).status();
    }

    /// What a person would read who looks for a reason.
    pub fn last_words(&self) -> String {
        let path = self.dir.join(format!("run-{}.log", self.runs));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(8);
        format!("{} ({}), the last lines:\n{}", self.name, path.display(), lines[from..].join("\n"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// From the list in a line of the log.
fn numbers(value: &Value) -> BTreeSet<u64> {
    let text = value.to_string();
    let parts = text.split(|letter: char| !letter.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// From how a span of time is shown: `1.2ms`, `35.1µs`, `2.01s`.
fn millis(text: &str) -> Option<f64> {
    let units = [("ms", 1.0), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

/// Waits until something holds, and panics with `words` where that takes too long.
#[track_caller]
pub fn until(bound: Duration, mut holds: impl FnMut() -> bool, words: impl FnOnce() -> String) {
    let end = Instant::now() + bound;
    while !holds() {
        assert!(Instant::now() < end, "not within {bound:?}: {}", words());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Where a test's processes leave what they have. It is kept where that is asked for, to look into it afterwards.
pub fn directory(name: &str) -> (PathBuf, Option<tempfile::TempDir>) {
    if let Some(kept) = std::env::var_os("CHAOS_DIR") {
        let dir = Path::new(&kept).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        return (dir, None);
    }
    let dir = tempfile::tempdir().expect("a directory");
    (dir.path().to_owned(), Some(dir))
}
