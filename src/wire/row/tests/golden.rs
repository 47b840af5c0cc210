//! Rows as they were written once, byte for byte, and what they must mean for ever: `tests/fixtures/rows/`. A file is
//! never changed, only added: `UPDATE=1` writes those that are missing.

use std::fmt::Write;
use std::path::Path;

use super::super::*;
use super::{facts, row};
use crate::domain::channel::{Channel, NamedProof};
use crate::domain::device::{Dated, Device, LifecycleFact};
use crate::domain::effect::{Blind, LogSession, Origin};
use crate::domain::event::{
    ChannelKind, ClientKind, Initiator, IntervalSource, PollSettings, Stage, Update, UpdatePhase,
};
use crate::domain::facet::{Availability, Connection, Facets, Heartbeat, Label, Overall, Push};
use crate::domain::habit::{Habit, Hour};
use crate::domain::monitoring::{Alarm, UNAVAILABILITY_TEXT, Verdict};
use crate::domain::node::{Node, NodeTimeout, Nodes};
use crate::domain::policy::{AlarmRule, IntervalRule, Policy, Severity};
use crate::domain::session::{Disconnect, Evidence, NodeEnd, Session};
use crate::domain::time::Millis;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_760_000_000_000 + seconds * 1000)
}

fn session(id: &str, seconds: i64) -> Session {
    Session {
        id: Some(id.into()),
        connected_at: at(seconds),
        node_id: Some("n1".into()),
        protocol: Some("mqtt5".into()),
        polled_at: at(seconds),
        ..Session::UNKNOWN
    }
}

/// A month old, monitored by the policy, connected over MQTT.
pub fn online() -> Device {
    let mut device = Device::new(at(0), 1234, Timestamp::NEVER);
    device.earliest = at(-1);
    device.clocks.last_activity = at(2_592_060);
    device.clocks.last_message = at(2_592_060);
    device.clocks.kind = LastActivity::MqttPublish;
    device.monitoring.minutes = Some(15);
    device.monitoring.since = at(-1);
    device.monitoring.positive_since = at(-1);
    device.facets = Facets {
        availability: Availability::Available,
        push: Push::Online,
        connection: Connection::Connected,
        overall: Overall::Online,
        label: Label::Online,
        ..Facets::START
    };
    let mut channel = Channel::new(ChannelKind::Mqtt);
    channel.open = Some(session("c0ffee01", 2_592_000));
    device.last_connect = at(2_592_000);
    device.channels.push(channel);
    device
}

/// One that has everything.
fn full() -> Device {
    let dated = |seconds| at(seconds);
    let mut device = Device::new(at(0), 77, at(-500));
    device.earliest = at(-2);
    device.clocks.last_activity = at(900);
    device.clocks.last_poll = at(901);
    device.clocks.channels = [at(902), Timestamp::NEVER, at(903)];
    device.clocks.kind = LastActivity::Heartbeat;
    device.last_connect = at(777);
    device.last_updated = at(20);
    device.registration.device_type = Some(Dated { value: "pump".into(), set_at: dated(10) });
    device.registration.name = Some(Dated { value: "Pumpe Süd".into(), set_at: dated(10) });
    device.registration.client_kind = Some(Dated { value: ClientKind::Gateway, set_at: dated(11) });
    device.registration.parent = Some(Dated { value: "hub".into(), set_at: dated(10) });
    let labels = [("site", "a"), ("line", "")].map(|(key, value)| (key.into(), value.into()));
    device.registration.labels = Some(Dated { value: labels.into(), set_at: dated(20) });
    device.monitoring.minutes = Some(-30);
    device.monitoring.set_by = IntervalSource::Operator;
    device.monitoring.by_event = true;
    device.monitoring.lent_by_policy = true;
    device.monitoring.lapsed = true;
    device.monitoring.set_at = at(30);
    device.monitoring.since = at(31);
    device.monitoring.positive_since = at(29);
    device.monitoring.floor = at(32);
    device.verdict = Some(Verdict {
        deadline: at(1800),
        minutes: 30,
        grace: Millis(1500),
        told_as: 70,
        alarm: Some(Alarm {
            id: "0123456789abcdef0123456789abcdef".into(),
            severity: Severity::Major,
            text: UNAVAILABILITY_TEXT.into(),
            acknowledged: true,
            count: 3,
            first_at: at(600),
            last_at: at(1801),
        }),
    });
    let stage = LifecycleFact { stage: Stage::Configuring, stage_since: at(40), progress: Some(60) };
    device.lifecycle = Some(Dated { value: stage, set_at: at(41) });
    let update = Update { phase: UpdatePhase::Installing, progress: Some(100) };
    device.update = Some(Dated { value: update, set_at: at(42) });
    let settings = PollSettings { poll_interval_seconds: Some(900), vpn_expected: false };
    device.poll_settings = Some(Dated { value: settings, set_at: at(43) });
    device.poll_since = at(44);
    device.poll_phase = Heartbeat::Timeout;
    device.facets = Facets {
        availability: Availability::Unavailable,
        push: Push::Offline,
        connection: Connection::Disconnected,
        vpn: Connection::Connected,
        heartbeat: Heartbeat::Offline,
        overall: Overall::Inactive,
        label: Label::Inactive,
    };
    let end = |seconds| Disconnect { at: at(seconds), initiator: Initiator::Server, reason_code: Some(0x8b) };
    let mut mqtt = Channel::new(ChannelKind::Mqtt);
    let mut newest = session("newest", 300);
    newest.sequence = Some([7; 32]);
    newest.started_at = Some(at(299));
    newest.node_end = Some(NodeEnd { at: at(400), timed_out: true });
    newest.takeovers = vec![at(350), at(351)];
    mqtt.newest_over = Some(newest);
    let mut old = session("old", 100);
    old.disconnects = vec![end(200)];
    old.superseded_at = at(300);
    let mut twice = session("twice", 50);
    twice.disconnects = vec![end(80), end(70)];
    twice.can_receive_operations = false;
    mqtt.closed = vec![old, twice];
    mqtt.recorded = Some(end(80));
    mqtt.failed = vec![at(5), at(6)];
    let nameless = |seconds| Evidence { sequence: None, started_at: None, observed_at: at(seconds) };
    let numbered = Evidence { sequence: Some([8; 32]), started_at: Some(at(0)), ..nameless(3) };
    mqtt.last_nameless = [Some(nameless(1)), Some(nameless(2)), Some(numbered)];
    let mut long_poll = Channel::new(ChannelKind::LongPoll);
    let mut polling = session("poll", 500);
    polling.polled_at = at(620);
    polling.early_polls = vec![at(490), at(495)];
    polling.seen_since = at(610);
    polling.lapsed_at = at(740);
    long_poll.newest_over = Some(polling);
    long_poll.recorded = Some(Disconnect { at: at(740), initiator: Initiator::Network, reason_code: None });
    let mut vpn = Channel::new(ChannelKind::Vpn);
    let mut inferred = session("", 760);
    inferred.id = None;
    inferred.inferred = true;
    inferred.polled_at = Timestamp::NEVER;
    inferred.node_id = None;
    vpn.open = Some(inferred);
    let mut number = [0; 32];
    number[31] = 9;
    let evidence = Evidence { sequence: Some(number), started_at: None, observed_at: at(750) };
    vpn.stray_end = Some((evidence, end(755)));
    let named = LogSession { id: Some("named".into()), started_at: Some(at(757)), sequence: Some(number) };
    vpn.named_proof = Some(NamedProof { at: at(758), session: named });
    device.channels = vec![mqtt, long_poll, vpn];
    device
}

fn nodes() -> Nodes {
    let timeout = NodeTimeout { at: at(60), started_at: Some(at(-9)), last_alive: at(0) };
    let node = Node {
        up: false,
        set_at: at(0),
        last_alive: at(0),
        seen_since: Timestamp::NEVER,
        beats: true,
        started_at: Some(at(-9)),
        said_down: at(-10),
        timeouts: vec![timeout],
    };
    let fresh = Node { up: true, beats: false, timeouts: Vec::new(), ..node.clone() };
    Nodes([("n1".into(), node), ("n2".into(), fresh)].into())
}

fn policy() -> PolicyRow {
    let interval = IntervalRule {
        tenant: Some("acme".into()),
        device_type: None,
        labels: [("site".into(), "a".into())].into(),
        minutes: 15,
    };
    let alarm = AlarmRule {
        type_prefix: "unavail".into(),
        severity: Some(Severity::Warning),
        text: Some("silent".into()),
        drop: false,
    };
    let policy = Policy {
        version: Some("2".into()),
        grace: Millis(1234),
        required_intervals: vec![interval],
        alarms: vec![alarm, AlarmRule { drop: true, ..AlarmRule::default() }],
        ..Policy::default()
    };
    PolicyRow { policy, predecessor: Some(Policy::default()) }
}

/// What a row means, with a device's facts read.
fn meaning(bytes: &[u8]) -> String {
    let (entry_seq, row) = decode_row(bytes).unwrap();
    match row {
        Row::Device(row) => {
            let device = decode_facts(row.facts, row.clocks).unwrap();
            format!("entry {entry_seq}, number {}\n{device:#?}\n", row.number)
        }
        other => format!("entry {entry_seq}\n{other:#?}\n"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.chunks(48).fold(String::new(), |mut text, line| {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text + "\n"
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Writes what is missing, and holds this version's bytes against the file.
fn check(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rows").join(format!("{name}.txt"));
    if !path.exists() && std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{}\n{}", hex(bytes), meaning(bytes))).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (old, _) = file.split_once("\n\n").unwrap();
    assert_eq!(
        hex(bytes).trim_end(),
        old,
        "{name}: this version writes other bytes; old rows must stay readable"
    );
}

#[test]
fn this_version_writes_these_bytes() {
    for (name, device, number) in [("device-online-1", online(), 5), ("device-full-1", full(), 300)] {
        let facts = facts(&device);
        check(name, &row(41, &Row::Device(DeviceRow { facts: &facts, clocks: device.clocks, number })));
    }
    check("tombstone-1", &row(42, &Row::Tombstone(Tombstone { deleted_at: at(5), sequence: 78, number: 9 })));
    check("nodes-1", &row(43, &Row::Nodes(nodes())));
    check("policy-1", &row(44, &Row::Policy(Box::new(policy()))));
    let change = PendingKind::NodeDown { node: "n1".into(), at: at(8), timed_out: true };
    let pending = PendingChange { kind: change, origin: Origin::Clock, after: Some("acme/p1".into()) };
    let mut partition = PartitionRow {
        sight: at(7),
        sequence: 40,
        pending: Some(pending),
        blind: None,
        habit: Habit::default(),
    };
    check("partition-1", &row(45, &Row::Partition(partition.clone())));
    partition.blind = Some((Blind::Silence, at(9)));
    let hour = Hour { number: 490_555, count: 1_200, gaps: [61_000, 60_000, 0] };
    partition.habit = Habit::of(vec![hour], at(10));
    check("partition-2", &row(46, &Row::Partition(partition)));
}

#[test]
fn rows_of_every_version_mean_the_same_for_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rows");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6);
    for path in files {
        let file = std::fs::read_to_string(&path).unwrap();
        let (bytes, expected) = file.split_once("\n\n").unwrap();
        assert_eq!(meaning(&unhex(bytes)), expected, "{}", path.display());
    }
}
