//! The real binary, as people and scripts meet it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary in an empty directory of its own, with no configuration in reach.
pub struct Shell {
    dir: tempfile::TempDir,
}

pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Shell {
    pub fn new() -> Shell {
        Shell { dir: tempfile::tempdir().unwrap() }
    }

    pub fn write(&self, name: &str, text: &str) -> &Shell {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lastseen"));
        command.args(arguments).current_dir(self.path());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("LASTSEEN_")) {
                command.env_remove(name);
            }
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, &[], "")
    }

    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Said {
        let mut command = self.command(arguments);
        command
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        said(child.wait_with_output().unwrap())
    }
}

pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Said {
    #[track_caller]
    pub fn ends(self, code: i32) -> Said {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn tells(self, words: &str) -> Said {
        assert!(self.err.contains(words), "{words:?} is not in:\n{}", self.err);
        self
    }

    #[track_caller]
    pub fn prints(self, words: &str) -> Said {
        assert!(self.out.contains(words), "{words:?} is not in:\n{}", self.out);
        self
    }
}

const COMMANDS: [&str; 11] =
    ["run", "demo", "fold", "send", "tail", "topics", "policy", "token", "replay", "export", "check"];
const ACTIVITY: &str = r#"{"tenant":"acme","deviceId":"pump-1","activity":{"kind":"mqtt_publish"}}"#;

#[test]
fn every_help_teaches() {
    let shell = Shell::new();
    let all = shell.run(&["--help"]).ends(0).out;
    for command in COMMANDS {
        assert!(all.contains(&format!("\n  {command} ")), "{command} is not in --help");
        let help = shell.run(&[command, "--help"]).ends(0).out;
        assert!(help.contains("Example"), "{command} --help has no example:\n{help}");
        assert!(
            help.contains(&format!("lastseen {command}")),
            "{command} --help does not show how it is called"
        );
        assert!(help.contains("Read on:"), "{command} --help does not say where to read on");
        assert!(
            help.lines().all(|line| line.chars().count() <= 130),
            "{command} --help has a line that is too long"
        );
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let shell = Shell::new();
    shell.run(&[]).ends(2);
    shell.run(&["fly"]).ends(2).tells("fly");
    shell.run(&["send", "--format", "xml"]).ends(2).tells("protobuf");
    shell.run(&["run", "--log", "paper"]).ends(2).tells("embedded");
    shell.run(&["fold", "--until", "noon"]).ends(2).tells("--until noon: it must be a time of RFC 3339");
    shell.run(&["check", "--set", "worker.count"]).ends(2).tells("--set takes KEY=VALUE");
    shell.run(&["replay"]).ends(2).tells("--verify");
    shell.run(&["export"]).ends(2).tells("DIR");
}

#[test]
fn failures_end_with_1_and_say_what_failed() {
    let shell = Shell::new();
    shell.run(&["fold", "nowhere.jsonl"]).ends(1).tells("cannot read nowhere.jsonl").tells("No such file");
    shell.run(&["fold", "."]).ends(1).tells("it is a directory");
}

#[test]
fn check_tells_where_each_value_comes_from() {
    let shell = Shell::new();
    shell.write("lastseen.toml", "log = \"embedded\"\n\n[worker]\ncommit_interval_ms = 50\n");
    let variables = [("LASTSEEN_LIMITS_RECORD_BYTES", "2000000"), ("LASTSEEN_LOG", "kafka")];
    let flags = ["check", "--brokers", "b:1", "--set", "output.format=json", "--data-dir", "/d"];
    let said = shell.run_with(&flags, &variables, "").ends(0).prints("# file: lastseen.toml");
    let line = |start: &str| {
        let found = said.out.lines().find(|line| line.starts_with(start));
        found
            .unwrap_or_else(|| panic!("no {start} in:\n{}", said.out))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("log ="), "log = \"kafka\" # environment LASTSEEN_LOG");
    assert_eq!(line("commit_interval_ms"), "commit_interval_ms = 50 # lastseen.toml:4");
    assert_eq!(line("record_bytes"), "record_bytes = 2000000 # environment LASTSEEN_LIMITS_RECORD_BYTES");
    assert_eq!(line("brokers"), "brokers = \"b:1\" # flag --brokers");
    assert_eq!(line("format ="), "format = \"json\" # flag --set output.format");
    assert_eq!(line("data_dir"), "data_dir = \"/d\" # flag --data-dir");
    assert_eq!(line("group"), "group = \"lastseen\" # default");
    // What it prints is a configuration with the same outcome.
    shell.write("again.toml", &said.out);
    let again = shell.run(&["check", "-c", "again.toml"]).ends(0).prints("# file: again.toml").out;
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split("  #").next().unwrap().trim().to_owned())
            .collect()
    };
    assert_eq!(values(&again), values(&said.out));
}

#[test]
fn the_sample_is_a_configuration() {
    let shell = Shell::new();
    let sample = shell.run(&["check", "--sample"]).ends(0).out;
    assert!(sample == include_str!("../../deploy/config.toml"), "deploy/config.toml is another one");
    shell.write("lastseen.toml", &sample).run(&["check"]).ends(0).prints("# default");
}

#[test]
fn unknown_keys_and_bad_values_are_refused_all_at_once() {
    let shell = Shell::new();
    shell.write("lastseen.toml", "[kafka]\nbroker = \"a:1\"\n\n[worker]\ncommit_interval_ms = \"fast\"\n");
    shell
        .run_with(&["check", "--set", "start=today"], &[("LASTSEEN_WORKER_COUNTS", "2")], "")
        .ends(2)
        .tells("lastseen.toml:2: there is no key kafka.broker; did you mean kafka.brokers?")
        .tells("lastseen.toml:5: worker.commit_interval_ms = \"fast\": it must be a whole number from 1 to 60000 milliseconds")
        .tells("LASTSEEN_WORKER_COUNTS: no key has this variable; did you mean LASTSEEN_WORKER_COUNT?")
        .tells("flag --set start: start = today: it must be earliest, or a time of RFC 3339");
    // Every command that reads the configuration refuses it; those that need none do not look.
    for command in [&["run"][..], &["send"], &["tail"], &["policy", "show"]] {
        shell.run(command).ends(2).tells("kafka.brokers?");
    }
    shell.write("policy.toml", "").run(&["policy", "check", "policy.toml"]).ends(0);
    shell.run(&["check", "-c", "nowhere.toml"]).ends(2).tells("cannot read the configuration nowhere.toml");
    let timeouts = ["check", "-c", "/dev/null", "--set", "kafka.transaction_timeout_ms=40000"];
    shell.run(&timeouts).ends(2).tells("the first two together must be less than the third");
}

#[test]
fn secrets_are_not_printed() {
    let shell = Shell::new();
    shell.write(
        "lastseen.toml",
        "[kafka.client]\n\"sasl.password\" = \"hunter2\"\n\"sasl.username\" = \"bob\"\n",
    );
    let variables = [("LASTSEEN_KAFKA_CLIENT_SSL_KEY_PASSWORD", "hunter2")];
    let said = shell.run_with(&["check", "--log-level", "trace"], &variables, "").ends(0);
    let said = said.prints("\"sasl.password\" = \"(not shown)\"").prints("\"sasl.username\" = \"bob\"");
    assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"));
    let owned = shell.run(&["check", "--set", "kafka.client.transactional.id=hunter2"]).ends(2);
    assert!(!owned.tells("is not yours to set").err.contains("hunter2"));
}

#[test]
fn policy_check_prints_the_canonical_form() {
    let shell = Shell::new();
    shell
        .write("p.toml", "grace_seconds = 30\n[[required_intervals]]\ndevice_type = \"pump\"\nminutes = 5\n");
    let canonical = shell.run(&["policy", "check", "p.toml"]).ends(0).prints("\"graceSeconds\":30").out;
    assert_eq!(canonical.lines().count(), 1);
    let again = shell.run_with(&["policy", "check", "-"], &[], &canonical).ends(0).out;
    assert_eq!(again, canonical);
    shell.write("bad.toml", "grace_second = 30\n");
    shell
        .run(&["policy", "check", "bad.toml"])
        .ends(2)
        .tells("bad.toml (read as TOML) is refused")
        .tells("grace_seconds");
    shell.run(&["policy", "check", "--help"]).ends(0).prints("poll_factor");
    shell.run(&["fold", "--policy", "bad.toml"]).ends(2).tells("grace_seconds");
}

#[test]
fn send_dry_run_shows_topics_keys_and_partitions() {
    let shell = Shell::new();
    let lines = [
        ACTIVITY,
        "",
        r#"{"tenant":"acme","deviceId":"pump-1","connected":{"channel":"mqtt"}}"#,
        r#"{"tick":"2026-01-01T00:00:00Z"}"#,
        r#"{"tenant":"acme","deviceId":"pump-1","activity":{"kind":"heartbeet"}}"#,
        "not JSON",
        r#"{"tenant":"acme","deviceId":"pump-1","maintenance":{"on":true}}"#,
        r#"{"node":{"nodeId":"n1","status":"up"}}"#,
    ];
    shell.write("events.jsonl", &lines.join("\n"));
    let flags = ["send", "events.jsonl", "--dry-run", "--set", "topics.partitions=3"];
    let said = shell.run(&flags).ends(1);
    let place = |topic: &str| said.out.lines().find(|line| line.starts_with(topic)).unwrap().to_owned();
    let home = lastseen::wire::partition::of(b"acme/pump-1", 3);
    assert_eq!(
        place("devices.activity"),
        format!("devices.activity partition {home}  acme/pump-1  {} bytes", ACTIVITY.len())
    );
    assert!(place("devices.connections").contains(&format!("partition {home}  acme/pump-1")));
    assert_eq!(said.out.lines().filter(|line| line.contains("(no key)")).count(), 3, "{}", said.out);
    assert_eq!(said.out.lines().count(), 6, "{}", said.out);
    let said = said.tells("events.jsonl:5: unknown_enum: ").tells("did you mean heartbeat?");
    said.tells("events.jsonl:6: not_json: ")
        .tells("would send 4 events as 6 records; passed over 1 tick or sight; left out 2 bad lines");

    let good = shell.run_with(&["send", "--dry-run", "--format", "protobuf"], &[], ACTIVITY).ends(0);
    let bytes: usize = good.out.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert!(bytes < ACTIVITY.len(), "{}", good.out);
    good.tells("would send 1 event\n");
}

#[test]
fn the_embedded_log_belongs_to_one_process() {
    let shell = Shell::new();
    for command in [&["send"][..], &["tail"], &["policy", "show"], &["topics", "plan"]] {
        let arguments = [command, &["--log", "embedded"]].concat();
        let said = shell.run(&arguments);
        if cfg!(feature = "kafka") || command[0] != "topics" {
            said.ends(2).tells("cannot reach the embedded log").tells("flag --log").tells("one process");
        }
    }
}

/// The most memory that `fold` ever had, in KiB, after this many bytes about the same thousand devices.
#[cfg(target_os = "linux")]
fn peak_of_fold(shell: &Shell, bytes: usize) -> u64 {
    let mut fold = shell.command(&["fold"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = fold.stdin.take().unwrap();
    let (mut written, mut number, mut lines) = (0, 0u64, String::new());
    while written < bytes {
        let (device, round) = (number % 1000, number / 1000);
        let at = lastseen::domain::time::Timestamp::from_millis(1_767_225_600_000 + number as i64);
        // Sessions that take each other over, until all are there that are remembered, and signs of life.
        let body = match round % 3 {
            0 => format!(r#""connected":{{"channel":"mqtt","session":{{"id":"session-{round:06}"}}}}"#),
            _ => r#""activity":{"kind":"mqtt_publish","channel":"mqtt"}"#.to_string(),
        };
        lines += &format!(r#"{{"tenant":"acme","deviceId":"device-{device}","observedAt":"{at}",{body}}}"#);
        lines.push('\n');
        number += 1;
        if lines.len() > 1 << 16 {
            input.write_all(lines.as_bytes()).unwrap();
            written += lines.len();
            lines.clear();
        }
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", fold.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    let peak = peak.unwrap().trim().parse().unwrap();
    drop(input);
    assert!(fold.wait().unwrap().success());
    peak
}

#[cfg(target_os = "linux")]
#[test]
fn fold_needs_memory_for_devices_and_not_for_lines() {
    let shell = Shell::new();
    let (short, long) = (peak_of_fold(&shell, 4_000_000), peak_of_fold(&shell, 40_000_000));
    assert!(long < short + short / 10, "{long} KiB for 40 MB of input, {short} KiB for 4 MB");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let shell = Shell::new();
    shell.write("events.jsonl", &format!("{ACTIVITY}\n").repeat(50_000));
    let mut command = shell.command(&["send", "events.jsonl", "--dry-run"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let said = said(child.wait_with_output().unwrap()).ends(0);
    assert!(!said.err.contains("panicked") && !said.err.contains("Broken pipe"), "{}", said.err);
}

mod kafka {
    use super::*;
    use crate::broker;

    /// Topics and group of this test's own.
    fn shell(name: &str) -> Shell {
        let shell = Shell::new();
        let id = format!("{name}-{}", std::process::id());
        let mut text = format!(
            "[kafka]\nbrokers = \"{}\"\ngroup = \"{id}\"\n[topics]\npartitions = 3\n",
            broker::brokers()
        );
        let topics = [
            "connections",
            "activity",
            "control",
            "status",
            "alarms",
            "connection_log",
            "audit",
            "state",
            "journal",
            "dead_letter",
        ];
        for topic in topics {
            text.push_str(&format!("{topic} = \"{id}-{topic}\"\n"));
        }
        shell.write("lastseen.toml", &text);
        shell
    }

    #[test]
    fn topics_are_planned_created_and_checked() {
        let shell = shell("cli-topics");
        shell.run(&["topics", "check"]).ends(3).prints("missing cli-topics-");
        shell.run(&["topics", "plan"]).ends(0).prints("create cli-topics-").prints("cleanup.policy=compact");
        let commands = shell.run(&["topics", "plan", "--commands"]).ends(0).out;
        assert_eq!(commands.lines().count(), 10);
        assert!(commands.lines().all(|line| line.starts_with("kafka-topics.sh --bootstrap-server ")));
        shell.run(&["topics", "create"]).ends(0).prints("created cli-topics-");
        shell.run(&["topics", "check"]).ends(0).prints("all 10 topics are there");
        shell.run(&["topics", "create"]).ends(0).prints("all 10 topics are there");
        let other = ["topics", "check", "--set", "topics.partitions=4"];
        shell.run(&other).ends(3).prints("partitions is 3, wanted is 4");
    }

    #[test]
    fn send_writes_what_it_says() {
        let shell = shell("cli-send");
        shell.run_with(&["send"], &[], ACTIVITY).ends(1).tells("`lastseen topics create` makes it");
        shell.run(&["topics", "create"]).ends(0);
        let events = format!("{ACTIVITY}\nbad\n{{\"node\":{{\"nodeId\":\"n1\",\"status\":\"up\"}}}}\n");
        shell
            .run_with(&["send"], &[], &events)
            .ends(1)
            .tells("line 2: not_json")
            .tells("sent 2 events as 4 records");
        shell.run_with(&["send", "--format", "protobuf"], &[], ACTIVITY).ends(0).tells("sent 1 event\n");
        shell.write("p.toml", "grace_seconds = 1\n");
        shell.run(&["policy", "send", "p.toml"]).ends(0).tells("sent to 3 partitions");
        shell.run(&["policy", "show"]).ends(0).tells("no policy was ever sent").prints("\"graceSeconds\":0");
        // Nothing has been decided yet.
        let nothing = shell.run(&["tail", "--from", "beginning", "--no-follow"]).ends(0);
        assert_eq!(nothing.out, "");
    }

    #[test]
    fn run_decides_what_was_sent_and_tail_shows_it() {
        let shell = shell("cli-run");
        shell.run(&["run"]).ends(1).tells("`lastseen topics create` makes it");
        shell.run(&["topics", "create"]).ends(0);
        let connect = r#"{"tenant":"acme","deviceId":"pump-1","connected":{"channel":"mqtt"}}"#;
        shell.run_with(&["send"], &[], &format!("{connect}\n{ACTIVITY}\n")).ends(0);
        let mut run = shell.command(&["run"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let tail = ["tail", "--from", "beginning", "--no-follow", "--device", "acme/pump-1"];
        let shown = (0..60).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(500));
            Some(shell.run(&tail).ends(0)).filter(|said| said.out.contains("Online"))
        });
        // The same directory belongs to the first.
        shell.run(&["run"]).ends(1).tells("another process uses the state directory");
        let signal = Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap();
        assert!(signal.success());
        let mut told = String::new();
        std::io::Read::read_to_string(&mut run.stderr.take().unwrap(), &mut told).unwrap();
        let code = run.wait().unwrap().code();
        assert_eq!(code, Some(0), "{told}");
        assert!(told.lines().all(|line| line.starts_with('{')), "not JSON: {told}");
        let shown = shown.unwrap_or_else(|| panic!("nothing was decided; run said: {told}"));
        assert!(shown.out.contains("acme/pump-1"), "{}", shown.out);
        let json = shell.run(&[&tail[..], &["--json", "--topic", "connection-log"]].concat()).ends(0);
        assert!(json.prints("\"topic\":\"connection-log\"").out.lines().all(|line| line.starts_with('{')));
        let other = shell.run(&["tail", "--from", "beginning", "--no-follow", "--tenant", "other"]).ends(0);
        assert_eq!(other.out, "");
    }

    #[test]
    fn no_broker_is_said_so() {
        let shell = Shell::new();
        let flags = ["--brokers", "127.0.0.1:1", "--set", "kafka.request_timeout_ms=1000"];
        shell.run(&[&["topics", "check"], &flags[..]].concat()).ends(1).tells("127.0.0.1:1");
        shell.run_with(&[&["send"], &flags[..]].concat(), &[], ACTIVITY).ends(1).tells("127.0.0.1:1");
    }
}
