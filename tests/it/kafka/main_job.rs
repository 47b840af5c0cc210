//! The main job on real input: Kafka's own producer writes events, `lastseen run` folds them, Kafka's own consumer
//! reads verdicts that match what `lastseen fold` says of the same events.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lastseen::domain::time::{Millis, Timestamp};
use serde_json::{Value, json};

use crate::broker;

const PARTITIONS: u32 = 4;
const INPUTS: [&str; 3] = ["control", "connections", "activity"];

/// A fresh set of topics, a state directory, and what was sent to it.
pub struct Job {
    pub dir: tempfile::TempDir,
    prefix: String,
    brokers: String,
    /// Per input topic and key the lines that were sent, in order.
    sent: BTreeMap<(&'static str, String), Vec<String>>,
}

impl Job {
    pub fn new(name: &str) -> Job {
        let dir = tempfile::tempdir().expect("a directory");
        let prefix = format!("{name}-{}", std::process::id());
        let brokers = broker::brokers();
        let mut config = format!(
            "data_dir = \"state\"\n[output]\nformat = \"json\"\n[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{prefix}\"\n[topics]\npartitions = {PARTITIONS}\n"
        );
        for topic in ["connections", "activity", "control", "status", "alarms", "audit", "state", "journal"] {
            config.push_str(&format!("{topic} = \"{prefix}.{topic}\"\n"));
        }
        config.push_str(&format!(
            "connection_log = \"{prefix}.connection-log\"\ndead_letter = \"{prefix}.dead-letter\"\n"
        ));
        std::fs::write(dir.path().join("lastseen.toml"), config).expect("written");
        Job { dir, prefix, brokers, sent: BTreeMap::new() }
    }

    pub fn lastseen(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastseen"));
        command.args(arguments).current_dir(self.dir.path());
        command
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// Events to one topic by Kafka's own console producer, keyed by device.
    pub fn produce(&mut self, topic: &'static str, events: &[Value]) {
        let mut text = String::new();
        for event in events {
            text += &format!("{}|{event}\n", self.note(topic, event));
        }
        let mut producer = broker::tool(&self.brokers, "console-producer");
        producer.args(["--bootstrap-server", &self.brokers, "--topic", &self.topic(topic)]);
        producer.args(["--reader-property", "parse.key=true", "--reader-property", "key.separator=|"]);
        feed(producer, &text);
    }

    /// The same events by `lastseen send`, as protobuf.
    pub fn send(&mut self, topic: &'static str, events: &[Value]) {
        let mut text = String::new();
        for event in events {
            self.note(topic, event);
            text += &format!("{event}\n");
        }
        feed(self.lastseen(&["send", "--format", "protobuf"]), &text);
    }

    fn note(&mut self, topic: &'static str, event: &Value) -> String {
        let key = format!("acme/{}", event["deviceId"].as_str().expect("a device"));
        self.sent.entry((topic, key.clone())).or_default().push(event.to_string());
        key
    }

    /// What Kafka's own console consumer reads, committed records only.
    fn consume(&self, topic: &str, properties: &[&str]) -> Vec<String> {
        let mut consumer = broker::tool(&self.brokers, "console-consumer");
        consumer.args(["--bootstrap-server", &self.brokers, "--topic", &self.topic(topic)]);
        consumer.args(["--isolation-level", "read_committed", "--from-beginning", "--timeout-ms", "5000"]);
        for property in properties {
            consumer.args(["--formatter-property", property]);
        }
        let output = consumer.stderr(Stdio::null()).output().expect("the console consumer runs");
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_string).collect()
    }

    /// What was sent, in the order of arrival, each with its append time.
    fn arrivals(&self) -> Vec<(i64, String)> {
        let properties = [
            "print.timestamp=true",
            "print.partition=true",
            "print.offset=true",
            "print.key=true",
            "print.value=false",
        ];
        let mut arrivals = Vec::new();
        for (rank, topic) in INPUTS.into_iter().enumerate() {
            let mut next: BTreeMap<String, usize> = BTreeMap::new();
            let sent =
                self.sent.iter().filter(|((sent, _), _)| *sent == topic).map(|(_, sent)| sent.len()).sum();
            // Its patience begins before it has joined its group: on a busy machine it may leave too early.
            let lines = (0..5).map(|_| self.consume(topic, &properties)).find(|lines| lines.len() >= sent);
            for line in lines.unwrap_or_else(|| panic!("not all {sent} of {topic} are read")) {
                let fields: Vec<&str> = line.split('\t').collect();
                let [time, partition, offset, key] = fields[..] else { panic!("{line:?}") };
                let number =
                    |text: &str| text.split(':').next_back().and_then(|n| n.parse::<i64>().ok()).expect(text);
                let place = next.entry(key.to_string()).or_default();
                let event = self.sent[&(topic, key.to_string())][*place].clone();
                *place += 1;
                arrivals.push((number(time), rank, number(partition), number(offset), event));
            }
        }
        arrivals.sort();
        arrivals.into_iter().map(|(time, .., event)| (time, event)).collect()
    }

    /// What `fold` says of it: the arrival as a tick before each event, and at the end what is due long after.
    pub fn folded(&self) -> Vec<Value> {
        let mut text = String::new();
        for (time, event) in self.arrivals() {
            text += &format!("{}\n{event}\n", json!({ "tick": Timestamp::from_millis(time).to_string() }));
        }
        std::fs::write(self.dir.path().join("arrivals.jsonl"), text).expect("written");
        let output =
            self.lastseen(&["fold", "--clock", "ticks", "arrivals.jsonl"]).output().expect("fold runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let told = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        essences(told.filter(|told| {
            ["status", "alarms", "connection-log"].contains(&told["topic"].as_str().unwrap_or(""))
        }))
    }

    /// What the console consumer reads of all verdicts.
    fn published(&self) -> Vec<Value> {
        let mut published = Vec::new();
        for topic in ["status", "alarms", "connection-log"] {
            for line in self.consume(topic, &[]) {
                let mut value: Value = serde_json::from_str(&line).expect("JSON");
                value["topic"] = json!(topic);
                published.push(value);
            }
        }
        essences(published.into_iter())
    }

    /// What `lastseen run --dry-run` says it would publish: the first `count` verdicts.
    fn dry_run(&self, count: usize) -> Vec<Value> {
        let mut command = self.lastseen(&["run", "--dry-run"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("run starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut processor = Processor(Some(child));
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut verdicts = Vec::new();
        while verdicts.len() < count {
            let line = told.recv_timeout(Duration::from_secs(60)).expect("a line within a minute");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            let topic = line["topic"].as_str().expect("a topic");
            let kind = topic.rsplit('.').next().expect("a name");
            if ["status", "alarms", "connection-log"].contains(&kind) {
                let mut value = line["value"].clone();
                value["topic"] = json!(kind);
                verdicts.push(value);
            }
        }
        processor.signal("-TERM");
        essences(verdicts.into_iter())
    }

    pub fn run(&self) -> Processor {
        let log = std::fs::File::create(self.dir.path().join("run.log")).expect("a file");
        let mut command = self.lastseen(&["run"]);
        Processor(Some(command.stdin(Stdio::null()).stderr(log).spawn().expect("run starts")))
    }

    /// Waits until `count` verdicts are committed, as `lastseen tail` sees them.
    pub fn wait_for(&self, count: usize) {
        let started = Instant::now();
        loop {
            let tail = self
                .lastseen(&["tail", "--json", "--from", "beginning", "--no-follow"])
                .output()
                .expect("tail runs");
            let text = String::from_utf8_lossy(&tail.stdout).into_owned();
            let seen = text
                .lines()
                .filter(|line| {
                    !line.contains("\"topic\":\"audit\"") && !line.contains("\"topic\":\"dead-letter\"")
                })
                .count();
            if seen >= count {
                return;
            }
            let log = std::fs::read_to_string(self.dir.path().join("run.log")).unwrap_or_default();
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{seen} of {count} verdicts after a minute; run said:\n{log}"
            );
        }
    }
}

/// `lastseen run`, ended when dropped.
pub struct Processor(Option<Child>);

impl Processor {
    pub fn signal(&mut self, name: &str) {
        let mut child = self.0.take().expect("it runs");
        let killed = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        let status = child.wait().expect("it ends");
        if name == "-TERM" {
            assert!(status.success(), "{status}");
        }
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn feed(mut command: Command, text: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Without what depends on where and when it was read.
fn essences(told: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut told: Vec<Value> = told
        .map(|mut value| {
            let fields = value.as_object_mut().expect("an object");
            fields.remove("recordedAt");
            if let Some(cause) = fields.get_mut("cause").and_then(Value::as_object_mut) {
                for place in ["line", "topic", "partition", "offset"] {
                    cause.remove(place);
                }
            }
            value
        })
        .collect();
    told.sort_by_key(|value| (value["deviceId"].to_string(), value["sequence"].as_u64()));
    told
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(since.as_millis() as i64)
}

fn before(seconds: i64) -> String {
    (now() + Millis::from_seconds(-seconds)).to_string()
}

pub fn devices() -> impl Iterator<Item = String> {
    (0..24).map(|number| format!("pump-{number}"))
}

pub fn connect(device: &str, session: &str, seconds: i64) -> Value {
    json!({"tenant": "acme", "deviceId": device, "observedAt": before(seconds), "connected": {
        "channel": "mqtt", "protocol": "mqtt5", "session": {"id": session}, "nodeId": "n1", "clientAddress": "203.0.113.9:50122"}})
}

pub fn disconnect(device: &str, session: &str, seconds: i64) -> Value {
    json!({"tenant": "acme", "deviceId": device, "observedAt": before(seconds), "disconnected": {
        "channel": "mqtt", "session": {"id": session}, "initiator": "network", "mqttReasonCode": 141}})
}

pub fn message(device: &str, seconds: i64) -> Value {
    json!({"tenant": "acme", "deviceId": device, "observedAt": before(seconds), "activity": {"kind": "mqtt_publish", "channel": "mqtt"}})
}

pub fn interval(device: &str, minutes: i64, seconds: i64) -> Value {
    json!({"tenant": "acme", "deviceId": device, "observedAt": before(seconds), "requiredInterval": {"minutes": minutes, "source": "operator"}})
}

#[test]
fn what_kafkas_own_clients_read_is_what_fold_says() {
    let mut job = Job::new("main-job");
    let created = job.lastseen(&["topics", "create"]).output().expect("topics runs");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));

    // Half of the devices need to be heard every minute, and were not: their deadlines are over when they are set.
    let intervals: Vec<Value> = devices()
        .enumerate()
        .map(|(index, device)| interval(&device, if index % 2 == 0 { 1 } else { 600 }, 240))
        .collect();
    job.produce("control", &intervals);
    let connects: Vec<Value> = devices().map(|device| connect(&device, "s1", 200)).collect();
    job.produce("connections", &connects);
    let again: Vec<Value> = devices().take(8).map(|device| connect(&device, "s2", 150)).collect();
    job.send("connections", &again);
    let messages: Vec<Value> = devices().take(12).map(|device| message(&device, 100)).collect();
    job.send("activity", &messages);
    // Late disconnects of old sessions, and real ones.
    let ends: Vec<Value> = devices().take(16).map(|device| disconnect(&device, "s1", 140)).collect();
    job.produce("connections", &ends);

    // A dry run says what it would publish, and publishes nothing.
    let expected = job.folded();
    assert_eq!(job.dry_run(expected.len()), expected);
    assert!(job.published().is_empty());

    let mut processor = job.run();
    job.wait_for(expected.len());
    // Killed without a word, it goes on where it was.
    processor.signal("-KILL");
    let returns: Vec<Value> = devices().map(|device| message(&device, 2)).collect();
    job.produce("activity", &returns);
    let mut processor = job.run();
    let expected = job.folded();
    job.wait_for(expected.len());
    processor.signal("-TERM");

    let published = job.published();
    for (ours, theirs) in published.iter().zip(&expected) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(published.len(), expected.len());
    let alarms = published.iter().filter(|told| told["topic"] == "alarms");
    assert!(alarms.count() >= 12, "every second device was silent for too long");
}
