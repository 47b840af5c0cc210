//! What an outsider finds when all has drained: outputs, folds of what came in, offsets, and how they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lastseen::domain::time::Timestamp;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::processes::Site;
use super::traffic::PLAIN;
use super::watch::reader;

pub const INPUTS: [&str; 3] = ["control", "connections", "activity"];

/// Outputs of which each record is a line of `fold`.
pub const OUTPUTS: [&str; 4] = ["status", "alarms", "connection-log", "audit"];

const PATIENCE: Duration = Duration::from_secs(60);

/// A record, as Kafka's own client reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub time: i64,
    pub value: Vec<u8>,
}

/// Records by topic and partition.
pub type Records = BTreeMap<(String, u32), Vec<Record>>;

/// All committed records of these topics, up to their ends. Nobody writes any more, so nothing may be hidden behind a
/// transaction that is still open.
pub fn read(site: &Site, topics: &[&str]) -> Records {
    let mut found = Records::new();
    for topic in topics {
        let name = site.topic(topic);
        let consumer = reader(&site.brokers, std::slice::from_ref(&name), site.partitions);
        let mut parts = vec![Vec::new(); site.partitions as usize];
        let mut open: BTreeSet<i32> = (0..site.partitions as i32).collect();
        let until = Instant::now() + PATIENCE;
        while !open.is_empty() {
            assert!(Instant::now() < until, "{topic}: {open:?} are not read to their ends");
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => parts[message.partition() as usize].push(Record {
                    time: message.timestamp().to_millis().unwrap_or(-1),
                    value: message.payload().unwrap_or_default().to_vec(),
                }),
                Some(Err(KafkaError::PartitionEOF(partition))) => _ = open.remove(&partition),
                Some(Err(error)) => println!("reading goes on: {error}"),
            }
        }
        found.extend(parts.into_iter().zip(0..).map(|(part, number)| (((*topic).to_owned(), number), part)));
    }
    found
}

/// A consumer that reads nothing, with the group's name.
fn asker(site: &Site, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &site.brokers)
        .set("group.id", &site.prefix)
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .create()
        .expect("a consumer")
}

/// The end of each partition of a topic: of what is stable, or of all there is.
fn ends(site: &Site, topic: &str, isolation: &str) -> Result<Vec<i64>, KafkaError> {
    let asker = asker(site, isolation);
    let end = |partition| Ok(asker.fetch_watermarks(&site.topic(topic), partition, PATIENCE)?.1);
    (0..site.partitions as i32).map(end).collect()
}

/// Which partitions of the inputs the group has not committed up to their ends.
pub fn unread(site: &Site) -> Vec<String> {
    let asker = asker(site, "read_committed");
    let mut list = TopicPartitionList::new();
    for topic in INPUTS {
        for partition in 0..site.partitions {
            list.add_partition(&site.topic(topic), partition as i32);
        }
    }
    let committed = match asker.committed_offsets(list, Duration::from_secs(10)) {
        Ok(committed) => committed,
        Err(error) => return vec![format!("the offsets are not told: {error}")],
    };
    let mut unread = Vec::new();
    for topic in INPUTS {
        let ends = match ends(site, topic, "read_uncommitted") {
            Ok(ends) => ends,
            Err(error) => return vec![format!("the ends are not told: {error}")],
        };
        for (end, partition) in ends.into_iter().zip(0..) {
            let found = committed.find_partition(&site.topic(topic), partition);
            let offset = found.and_then(|found| found.offset().to_raw()).unwrap_or(-1);
            if offset != end && (offset, end) != (-1001, 0) {
                unread.push(format!("{topic}-{partition}: {offset} of {end}"));
            }
        }
    }
    unread
}

/// Which partitions of the outputs hide something behind a transaction that does not end.
pub fn hanging(site: &Site, topics: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for topic in topics {
        let stable = ends(site, topic, "read_committed").expect("the ends");
        let all = ends(site, topic, "read_uncommitted").expect("the ends");
        for ((stable, end), partition) in stable.into_iter().zip(all).zip(0..) {
            if stable != end {
                found.push(format!("{topic}-{partition}: stable up to {stable} of {end}"));
            }
        }
    }
    found
}

fn admin(site: &Site) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &site.brokers).create().expect("a client")
}

/// Deletes the group with all its offsets; its members must have left.
pub fn forget_offsets(site: &Site) {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = admin(site);
        let deleted = asked.delete_groups(&[&site.prefix], &AdminOptions::new());
        let deleted = block_on(deleted).expect("the brokers answer");
        match &deleted[0] {
            Ok(_) => return,
            Err((_, error)) => assert!(Instant::now() < until, "the group cannot be deleted: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Removes all records of an input, as retention does.
pub fn take_all(site: &Site, topic: &str) {
    let ends = ends(site, topic, "read_uncommitted").expect("the ends");
    let mut list = TopicPartitionList::new();
    for (end, partition) in ends.into_iter().zip(0..) {
        list.add_partition_offset(&site.topic(topic), partition, Offset::Offset(end)).expect("an offset");
    }
    let asked = admin(site);
    block_on(asked.delete_records(&list, &AdminOptions::new())).expect("the brokers answer");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// Without what depends on where and when it was read.
fn essence(mut value: Value) -> Value {
    let fields = value.as_object_mut().expect("an object");
    fields.remove("topic");
    fields.remove("recordedAt");
    if let Some(cause) = fields.get_mut("cause").and_then(Value::as_object_mut) {
        for place in ["line", "topic", "partition", "offset"] {
            cause.remove(place);
        }
    }
    value
}

/// What was said, by topic and partition, in order.
pub type Said = BTreeMap<(String, u32), Vec<Value>>;

/// What Kafka's client read, but for blind spells, of which `fold` knows nothing.
pub fn published(records: &Records) -> Said {
    let outputs = records.iter().filter(|((topic, _), _)| OUTPUTS.contains(&&**topic));
    let said = outputs.map(|(place, records)| {
        let values = records.iter().map(|record| serde_json::from_slice(&record.value).expect("JSON"));
        let values = values.filter(|value: &Value| value["command"] != "blind").map(essence).collect();
        (place.clone(), values)
    });
    said.collect()
}

/// What `fold --clock ticks` says of these lines, by topic.
fn fold(site: &Site, lines: &str, arguments: &[&str]) -> BTreeMap<String, Vec<Value>> {
    let mut command = site.command(&["fold", "--clock", "ticks"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("fold runs");
    let mut input = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(lines.as_bytes()));
        child.wait_with_output().expect("fold ends")
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut said: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        let value: Value = serde_json::from_str(line).expect("JSON");
        let topic = value["topic"].as_str().expect("a topic").to_owned();
        said.entry(topic).or_default().push(value);
    }
    said
}

/// What `fold` says of `export --merged`, of each partition; and how many dead letters it found.
pub fn folded(site: &Site) -> (Said, usize) {
    let mut said = Said::new();
    let mut refused = 0;
    for partition in 0..site.partitions {
        let merged = site.says(&["export", "--merged", "--partition", &partition.to_string()], 0);
        let mut of_fold = fold(site, &merged, &[]);
        refused += of_fold.remove("dead-letter").map_or(0, |refused| refused.len());
        for topic in OUTPUTS {
            let values = of_fold.remove(topic).unwrap_or_default().into_iter().map(essence).collect();
            said.insert((topic.to_owned(), partition), values);
        }
        assert!(of_fold.is_empty(), "{:?}", of_fold.keys());
    }
    (said, refused)
}

fn is_plain(value: &Value) -> bool {
    value["deviceId"].as_str().is_some_and(|device| device.starts_with(PLAIN))
}

/// The same of plain devices, by topic and device.
type OfDevices = BTreeMap<(String, u32), Vec<Value>>;

/// What was said of plain devices alone, each for itself: how partitions lie between each other is no matter.
pub fn plain(said: &Said, partitions: u32) -> OfDevices {
    let mut found = OfDevices::new();
    for ((topic, partition), values) in said {
        let values: Vec<Value> = values.iter().filter(|value| is_plain(value)).cloned().collect();
        let known = found.entry((topic.clone(), 0)).or_default();
        assert!(*partition < partitions);
        known.extend(values);
    }
    for values in found.values_mut() {
        // One device is in one partition: its order stays.
        values.sort_by_key(|value| value["deviceId"].as_str().unwrap_or_default().to_owned());
    }
    found
}

/// What `fold` says of the raw records of plain devices, each at the time at which the log took it.
pub fn folded_raw(site: &Site, inputs: &Records) -> OfDevices {
    let mut lines: Vec<(i64, usize, u32, usize, &[u8])> = Vec::new();
    for ((topic, partition), records) in inputs {
        let rank = INPUTS.iter().position(|input| input == topic).expect("an input");
        for (index, record) in records.iter().enumerate() {
            let Ok(value) = serde_json::from_slice::<Value>(&record.value) else { continue };
            let is_policy = value.get("policy").is_some() && *partition == 0;
            if is_plain(&value) || is_policy {
                lines.push((record.time, rank, *partition, index, &record.value));
            }
        }
    }
    lines.sort();
    let mut text = String::new();
    for (time, .., value) in lines {
        let tick = json!({"tick": Timestamp::from_millis(time).to_string()});
        text += &format!("{tick}\n{}\n", String::from_utf8_lossy(value));
    }
    let said = fold(site, &text, &[]);
    let said: Said = OUTPUTS
        .iter()
        .map(|topic| {
            let values = said.get(*topic).cloned().unwrap_or_default();
            (((*topic).to_owned(), 0), values.into_iter().map(essence).collect())
        })
        .collect();
    plain(&said, 1)
}

/// Whether both say the same, record for record; else the first difference in words.
pub fn same(found: &Said, expected: &Said) -> Result<(), String> {
    let places: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let nothing = Vec::new();
    for place in places {
        let (found, expected) =
            (found.get(place).unwrap_or(&nothing), expected.get(place).unwrap_or(&nothing));
        let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
        let at = differs.unwrap_or(found.len().min(expected.len()));
        if differs.is_some() || found.len() != expected.len() {
            let show = |of: &[Value]| {
                of.get(at.saturating_sub(1)..)
                    .unwrap_or_default()
                    .iter()
                    .take(3)
                    .map(|v| format!("\n    {v}"))
                    .collect::<String>()
            };
            return Err(format!(
                "{}-{}: {} records, not {}; they differ at {at}\n  found (from the one before):{}\n  expected:{}",
                place.0,
                place.1,
                found.len(),
                expected.len(),
                show(found),
                show(expected)
            ));
        }
    }
    Ok(())
}

/// What is done to records that were read.
type Change<'a> = &'a dyn Fn(&mut Vec<Value>);

/// The comparison itself is tried: one record less, twice, changed, or in another place.
#[test]
fn a_record_too_few_or_too_many_is_noticed() {
    let place = |partition| ("status".to_owned(), partition);
    let values: Vec<Value> = (0..4).map(|number| json!({"deviceId": "a", "sequence": number})).collect();
    let expected: Said = [(place(0), values.clone()), (place(1), Vec::new())].into();
    assert_eq!(same(&expected, &expected), Ok(()));
    let tamper = |act: Change<'_>| {
        let mut found = expected.clone();
        act(found.get_mut(&place(0)).expect("it is there"));
        same(&found, &expected)
    };
    let changes: [Change<'_>; 5] = [
        &|values| _ = values.remove(2),
        &|values| _ = values.pop(),
        &|values| values.push(values[3].clone()),
        &|values| values.swap(1, 2),
        &|values| values[0]["sequence"] = json!(9),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert!(tamper(change).is_err(), "change {number}");
    }
    let mut moved = expected.clone();
    let last = moved.get_mut(&place(0)).and_then(Vec::pop).expect("it is there");
    moved.get_mut(&place(1)).expect("it is there").push(last);
    assert!(same(&moved, &expected).is_err());
}
