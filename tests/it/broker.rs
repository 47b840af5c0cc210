//! The real Kafka of the tests below the modules named `kafka`. Without one they fail: a promise about Kafka that
//! was not tested must not look as if it held.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The bootstrap servers of the cluster that all tests share: topics and groups need names of their own.
pub fn brokers() -> String {
    match std::env::var("KAFKA_BROKERS") {
        Ok(brokers) if !brokers.trim().is_empty() => brokers,
        _ => panic!(
            "KAFKA_BROKERS is not set, and this test needs a real Kafka. Either\n  \
             make test STAGES=kafka                      starts one, runs the Kafka tests, stops it\n  \
             eval \"$(deploy/kafka/broker start)\"         starts one for your shell; run cargo test again, and after it\n  \
             deploy/kafka/broker stop \"$KAFKA_DIR\"       ends it\n  \
             cargo test --test it -- --skip kafka::      leaves the Kafka tests out\n"
        ),
    }
}

/// One of Kafka's own command-line tools, by the short names of `deploy/kafka/broker help`, against `brokers`.
pub fn tool(brokers: &str, name: &str) -> Command {
    let mut command = script();
    command.args(["tool", name]).env("KAFKA_BROKERS", brokers);
    command
}

/// A broker of one test's own, for tests that kill it; stopped and removed when dropped.
#[derive(Debug)]
pub struct Broker {
    pub brokers: String,
    dir: String,
    seconds: String,
}

impl Broker {
    /// A new, empty one; it ends by itself after ten minutes.
    pub fn start() -> Broker {
        Broker::start_for(Duration::from_secs(600))
    }

    /// The same, for longer tests.
    pub fn start_for(time: Duration) -> Broker {
        let seconds = time.as_secs().to_string();
        let lines = answer(script().arg("start").env("KAFKA_MAX_SECONDS", &seconds));
        let value = |name: &str| {
            let found = lines.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in what `broker start` printed: {lines}")).to_owned()
        };
        Broker { brokers: value("KAFKA_BROKERS"), dir: value("KAFKA_DIR"), seconds }
    }

    /// kill -9; the data stay.
    pub fn kill(&self) {
        answer(script().args(["kill", &self.dir]));
    }

    /// Ends it if it runs and starts it again, with the same port and data; after a kill it takes some seconds.
    pub fn restart(&self) {
        answer(script().args(["restart", &self.dir]).env("KAFKA_MAX_SECONDS", &self.seconds));
    }

    /// What it warned of, all its starts together, the last lines; and a copy of its logs where `keep` says.
    pub fn last_words(&self, keep: &Path) -> String {
        let mut words = Vec::new();
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("server.log") {
                let _ = std::fs::copy(entry.path(), keep.join(&name));
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let is_bad = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
                words.extend(text.lines().filter(is_bad).map(|line| format!("{name}: {line}")));
            }
        }
        words.sort();
        words.split_off(words.len().saturating_sub(15)).join("\n")
    }

    /// Stops its process where it stands, or lets it go on.
    pub fn pause(&self, pause: bool) {
        let pid = std::fs::read_to_string(Path::new(&self.dir).join("pid")).expect("the broker's pid");
        signal(pid.trim(), if pause { "-STOP" } else { "-CONT" });
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(Path::new(&self.dir).join("pid")) {
            // One that is stopped does not hear that it is to end.
            let _ = Command::new("kill").args(["-CONT", pid.trim()]).stderr(Stdio::null()).status();
        }
        if let Err(error) = script().args(["stop", &self.dir]).status() {
            eprintln!("the broker in {} could not be stopped: {error}", self.dir);
        }
    }
}

/// Sends a signal to one process, by kill(1).
pub fn signal(pid: &str, name: &str) {
    let sent = Command::new("kill").args([name, pid]).status().expect("kill runs");
    assert!(sent.success(), "kill {name} {pid}: {sent}");
}

/// Aborts transactions of which the coordinator knows nothing any more, as the runbook says; where they hung.
pub fn abort_hanging(brokers: &str) -> Vec<String> {
    let mut find = tool(brokers, "transactions");
    find.args(["find-hanging", "--broker-id", "1", "--max-transaction-timeout", "0"]);
    let found = find.output().expect("Kafka's tool runs");
    let mut aborted = Vec::new();
    for line in String::from_utf8_lossy(&found.stdout).lines().skip(1) {
        // Topic, partition, producer id, producer epoch, coordinator epoch, start offset, …
        let words: Vec<&str> = line.split_whitespace().collect();
        let [topic, partition, _, _, _, start, ..] = words[..] else { continue };
        let mut abort = tool(brokers, "transactions");
        abort.args(["abort", "--topic", topic, "--partition", partition, "--start-offset", start]);
        let done = abort.status().expect("Kafka's tool runs");
        aborted.push(format!("{topic}-{partition} at {start}: {done}"));
    }
    if !found.status.success() {
        aborted.push(format!("{}", String::from_utf8_lossy(&found.stderr)));
    }
    aborted
}

fn script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kafka/broker"))
}

fn answer(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("deploy/kafka/broker does not run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}):\n{said}", output.status);
    String::from_utf8(output.stdout).expect("deploy/kafka/broker prints UTF-8")
}
