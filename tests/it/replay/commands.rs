//! The commands as an auditor meets them: a processor ran on the embedded log, and is gone.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog};
use lastseen::log::{Append, OutRecord, Topic};
use lastseen::wire::partition;
use serde_json::{Value, json};

use crate::cli::Shell;

const PARTITIONS: u32 = 3;
const CONFIG: &str =
    "log = \"embedded\"\ndata_dir = \"state\"\n[topics]\npartitions = 3\n[output]\nformat = \"json\"\n";

fn now() -> Timestamp {
    lastseen::clock::Clock::host().now()
}

/// Writes events of some minutes ago to the embedded log of a shell, and runs a processor over them.
fn ran() -> Shell {
    let shell = Shell::new();
    shell.write("lastseen.toml", CONFIG);
    {
        let config =
            EmbeddedConfig { partitions: PARTITIONS, retention_thread: false, ..EmbeddedConfig::default() };
        let log =
            EmbeddedLog::open(shell.path().join("state/log"), config, Arc::new(now)).expect("the log opens");
        log.append(&events()).expect("they are written");
    }
    let run = |shell: &Shell| {
        let mut child =
            shell.command(&["run"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(2500));
        let killed = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        assert!(child.wait().expect("it ends").success());
    };
    run(&shell);
    // A second owner goes on.
    run(&shell);
    shell
}

fn events() -> Vec<OutRecord> {
    let before = |seconds: i64| (now() + Millis::from_seconds(-seconds)).to_string();
    let mut records = Vec::new();
    let mut push = |topic: InputTopic, partitions: Vec<u32>, key: Option<String>, value: String| {
        for partition in partitions {
            records.push(OutRecord {
                topic: Topic::Input(topic),
                partition,
                timestamp: now(),
                key: key.clone().map(String::into_bytes),
                value: Some(value.clone().into_bytes()),
                headers: Vec::new(),
            });
        }
    };
    for number in 0..12 {
        let device = format!("pump-{number}");
        let key = format!("acme/{device}");
        let home = vec![partition::of(key.as_bytes(), PARTITIONS)];
        let mut event = |topic, seconds, body: Value| {
            let mut event = json!({"tenant": "acme", "deviceId": device, "observedAt": before(seconds)});
            event.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            push(topic, home.clone(), Some(key.clone()), event.to_string());
        };
        event(InputTopic::Control, 400, json!({"requiredInterval": {"minutes": 1, "source": "operator"}}));
        event(
            InputTopic::Connections,
            390,
            json!({"connected": {"channel": "mqtt", "session": {"id": "s1"}, "nodeId": "n1"}}),
        );
        event(InputTopic::Activity, 380, json!({"activity": {"kind": "mqtt_publish", "channel": "mqtt"}}));
        event(
            InputTopic::Connections,
            100,
            json!({"disconnected": {"channel": "mqtt", "session": {"id": "s1"}}}),
        );
        push(InputTopic::Activity, home, Some(key), format!("garbage of {number}"));
    }
    push(
        InputTopic::Control,
        (0..PARTITIONS).collect(),
        None,
        json!({"node": {"nodeId": "n1", "status": "up"}}).to_string(),
    );
    records
}

fn lines(shell: &Shell, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(shell.path().join("past").join(name)).expect(name);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn edit(shell: &Shell, name: &str, edit: impl FnOnce(String) -> String) {
    let path = shell.path().join("past").join(name);
    let text = std::fs::read_to_string(&path).expect(name);
    std::fs::write(path, edit(text)).expect("written");
}

/// What an output says, without places.
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
fn a_past_is_verified_exported_and_verified_elsewhere() {
    let shell = ran();
    let said = shell.run(&["replay", "--verify"]).ends(0).prints("of 3 partitions verified").prints("hash ");
    assert!(!said.out.contains("not checked"), "{}", said.out);
    let hash = said.out.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned();
    shell.run(&["replay", "--verify", "--head", &hash]).ends(0);
    let other = "0".repeat(32);
    shell
        .run(&["replay", "--verify", "--head", &other])
        .ends(3)
        .prints("no entry of the journal has the hash");
    shell.run(&["replay", "--verify", "--head", "17"]).ends(2).tells("32 hexadecimal digits");
    shell.run(&["replay", "--verify", "--device", "acme/pump-3"]).ends(0).prints("of 1 partitions");
    shell.run(&["replay", "--verify", "--partition", "7"]).ends(2).tells("there are partitions 0, 1, 2");
    shell.run(&["replay", "--verify", "--from", "noon"]).ends(2).tells("--from noon: it must be a time");

    shell.run(&["export", "past"]).ends(0).prints("of 3 partitions");
    shell.run(&["export", "past"]).ends(2).tells("is not empty");
    shell.run(&["replay", "--verify", "past"]).ends(0).prints("the export in past");
    shell.run(&["replay", "--verify", "nowhere"]).ends(1).tells("manifest.json");

    // Merged, each partition says what it said before.
    for partition in 0..PARTITIONS {
        let number = partition.to_string();
        let merged = shell.run(&["export", "--merged", "--partition", &number]).ends(0).out;
        let folded = shell.run_with(&["fold", "--clock", "ticks"], &[], &merged).ends(0).out;
        let folded: Vec<Value> = folded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for topic in ["status", "alarms", "connection-log", "audit", "dead-letter"] {
            let ours: Vec<&Value> = folded.iter().filter(|line| line["topic"] == topic).collect();
            let theirs = lines(&shell, &format!("{topic}-{partition}.jsonl"));
            if topic == "dead-letter" {
                assert_eq!(ours.len(), theirs.len());
                continue;
            }
            let value =
                |line: &Value| serde_json::from_str::<Value>(line["value"].as_str().unwrap()).unwrap();
            let theirs: Vec<Value> =
                theirs.iter().map(value).filter(|value| value["command"] != "blind").map(essence).collect();
            let ours: Vec<Value> = ours.into_iter().cloned().map(essence).collect();
            assert_eq!(ours, theirs, "{topic} of partition {partition}");
        }
    }
    // All of them together: the node is told once.
    let merged = shell.run(&["export", "--merged"]).ends(0).out;
    assert_eq!(merged.lines().filter(|line| line.contains("\"nodeId\":\"n1\",\"status\"")).count(), 1);
    assert_eq!(merged.lines().filter(|line| line.contains("deadLetter")).count(), 12);
}

#[test]
fn an_export_that_was_tampered_with_is_found_out_and_the_first_difference_is_told() {
    let shell = ran();
    shell.run(&["export", "past"]).ends(0);
    let home = partition::of(b"acme/pump-0", PARTITIONS);
    let alarms = format!("alarms-{home}.jsonl");
    let keep = std::fs::read_to_string(shell.path().join("past").join(&alarms)).unwrap();
    assert!(keep.contains("MAJOR"), "{keep}");

    edit(&shell, &alarms, |text| text.replacen("MAJOR", "MINOR", 1));
    let said = shell.run(&["replay", "--verify", "past"]).ends(3);
    let said = said.prints(&format!("DIFFERENCE in partition {home} at entry "));
    let said = said.prints("check: output").prints("other payload").prints("MAJOR").prints("MINOR");
    said.prints("the entry: epoch 1").prints("the last events of acme/pump-").prints("\"activity\":");

    edit(&shell, &alarms, |_| keep.lines().skip(1).map(|line| format!("{line}\n")).collect());
    shell.run(&["replay", "--verify", "past"]).ends(3).prints("check: output").prints("found   : nothing");

    edit(&shell, &alarms, |_| keep.clone());
    shell.run(&["replay", "--verify", "past"]).ends(0);

    let activity = format!("activity-{home}.jsonl");
    let inputs = std::fs::read_to_string(shell.path().join("past").join(&activity)).unwrap();
    edit(&shell, &activity, |text| text.replacen("mqtt_publish", "state_poll", 1));
    shell.run(&["replay", "--verify", "past"]).ends(3).prints("check: input").prints("a record was edited");
    edit(&shell, &activity, |_| inputs.lines().take(2).map(|line| format!("{line}\n")).collect());
    shell.run(&["replay", "--verify", "past"]).ends(3).prints("check: input").prints("and there are 2");
    edit(&shell, &activity, |_| inputs);

    let journal = format!("journal-{home}.jsonl");
    edit(&shell, &journal, |text| text.lines().skip(1).map(|line| format!("{line}\n")).collect());
    shell
        .run(&["replay", "--verify", "past"])
        .ends(1)
        .prints("not checked")
        .prints("does not begin at entry 1");
}

#[test]
fn another_policy_is_tried_on_the_past() {
    let shell = ran();
    shell.write("patient.toml", "grace_seconds = 36000\n");
    let said = shell.run(&["replay", "--policy", "patient.toml"]).ends(0);
    // Each was called late twice: when its interval came, before its message of back then, and when it stayed silent.
    let said = said.prints("alarms       24 → 0: 0 gained, 24 lost, 0 moved").prints("acme/pump-11");
    said.prints("false alarms 12 avoided, 0 new");
    let json = shell.run(&["replay", "--policy", "patient.toml", "--json"]).ends(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["lost"], json["devices"].as_array().unwrap().len()), (&json!(24), 12));
    assert!(json["unavailableMs"]["saved"].as_i64().unwrap() > 0);
    let one = shell.run(&["replay", "--policy", "patient.toml", "--device", "acme/pump-1"]).ends(0);
    one.prints("alarms       2 → 0");
    shell.write("bad.toml", "grace_second = 1\n");
    shell.run(&["replay", "--policy", "bad.toml"]).ends(2).tells("grace_seconds");
}
