//! Replay on real Kafka: what `run` committed is verified from the topics and from an export, and `fold` of the merged
//! inputs says the same.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::main_job::{Job, connect, devices, interval, message};

fn run(job: &Job, arguments: &[&str], input: Option<&str>) -> Output {
    let mut command = job.lastseen(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let _ = child.stdin.take().expect("a pipe").write_all(input.unwrap_or_default().as_bytes());
    child.wait_with_output().expect("it ends")
}

#[track_caller]
fn ends(output: Output, code: i32) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout:\n{out}\nstderr:\n{err}");
    out.into_owned()
}

fn essence(mut value: Value) -> Value {
    let fields = value.as_object_mut().expect("an object");
    fields.remove("topic");
    // Where the cut of a step fell decides how soon it was concluded (SEMANTICS law 2).
    fields.remove("recordedAt");
    if let Some(cause) = fields.get_mut("cause").and_then(Value::as_object_mut) {
        for place in ["line", "topic", "partition", "offset"] {
            cause.remove(place);
        }
    }
    value
}

#[test]
fn what_ran_on_kafka_is_verified_there_and_elsewhere() {
    let mut job = Job::new("replay");
    ends(run(&job, &["topics", "create"], None), 0);
    let intervals: Vec<Value> = devices().map(|device| interval(&device, 1, 240)).collect();
    job.produce("control", &intervals);
    let connects: Vec<Value> = devices().map(|device| connect(&device, "s1", 200)).collect();
    job.send("connections", &connects);
    let mut processor = job.run();
    job.wait_for(24 * 3);
    // Killed without a word, so that transactions were aborted and offsets have holes.
    processor.signal("-KILL");
    let messages: Vec<Value> = devices().map(|device| message(&device, 1)).collect();
    job.produce("activity", &messages);
    let mut processor = job.run();
    job.wait_for(24 * 4);
    // It is verified while it runs, too.
    ends(run(&job, &["replay", "--verify"], None), 0);
    processor.signal("-TERM");

    let said = ends(run(&job, &["replay", "--verify"], None), 0);
    assert!(said.contains("of 4 partitions verified") && !said.contains("not checked"), "{said}");
    ends(run(&job, &["export", "past"], None), 0);
    ends(run(&job, &["replay", "--verify", "past"], None), 0);

    let mut of_fold: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut of_kafka: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for partition in 0..4 {
        let merged = ends(run(&job, &["export", "--merged", "--partition", &partition.to_string()], None), 0);
        let folded = ends(run(&job, &["fold", "--clock", "ticks"], Some(&merged)), 0);
        for line in folded.lines() {
            let value: Value = serde_json::from_str(line).expect("JSON");
            let topic = value["topic"].as_str().expect("a topic").to_owned();
            of_fold.entry(format!("{topic}-{partition}")).or_default().push(essence(value));
        }
        for topic in ["status", "alarms", "connection-log", "audit"] {
            let name = format!("{topic}-{partition}");
            let file = job.dir.path().join("past").join(format!("{name}.jsonl"));
            let text = std::fs::read_to_string(file).expect("it was exported");
            for line in text.lines() {
                let record: Value = serde_json::from_str(line).expect("JSON");
                let value: Value =
                    serde_json::from_str(record["value"].as_str().expect("text")).expect("JSON");
                if value["command"] != json!("blind") {
                    of_kafka.entry(name.clone()).or_default().push(essence(value));
                }
            }
        }
    }
    assert_eq!(of_fold, of_kafka);
    assert!(of_kafka.keys().any(|name| name.starts_with("alarms-")), "{:?}", of_kafka.keys());

    let file = std::fs::read_dir(job.dir.path().join("past"))
        .expect("a directory")
        .map(|entry| entry.expect("a file").path());
    let file = file
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("alarms-")));
    let file = file
        .filter(|path| path.metadata().is_ok_and(|about| about.len() > 0))
        .min()
        .expect("some have alarms");
    let text = std::fs::read_to_string(&file).expect("it was exported");
    std::fs::write(&file, text.replacen("ACTIVE", "CLEARED", 1)).expect("written");
    let said = ends(run(&job, &["replay", "--verify", "past"], None), 3);
    assert!(said.contains("DIFFERENCE") && said.contains("check: output"), "{said}");
}
