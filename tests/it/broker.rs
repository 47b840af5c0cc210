//! The real Kafka of the tests below the modules named `kafka`. Without one they fail: a promise about Kafka that
//! was not tested must not look as if it held.
#![allow(dead_code)]

use std::path::Path;
use std::process::{Command, Stdio};

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
}

impl Broker {
    /// A new, empty one; it ends by itself after ten minutes.
    pub fn start() -> Broker {
        let lines = answer(script().arg("start").env("KAFKA_MAX_SECONDS", "600"));
        let value = |name: &str| {
            let found = lines.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("no {name} in what `broker start` printed: {lines}")).to_owned()
        };
        Broker { brokers: value("KAFKA_BROKERS"), dir: value("KAFKA_DIR") }
    }

    /// kill -9; the data stay.
    pub fn kill(&self) {
        answer(script().args(["kill", &self.dir]));
    }

    /// Ends it if it runs and starts it again, with the same port and data; after a kill it takes some seconds.
    pub fn restart(&self) {
        answer(script().args(["restart", &self.dir]).env("KAFKA_MAX_SECONDS", "600"));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = script().args(["stop", &self.dir]).status() {
            eprintln!("the broker in {} could not be stopped: {error}", self.dir);
        }
    }
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
