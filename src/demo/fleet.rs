//! A simulated fleet: devices with their stories, three broker nodes that fail, and the odd piece of garbage. Pure and
//! deterministic: seed, size and start decide every event, however time is cut.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde_json::{Value, json};

use super::device::{self, Device, Session};
use super::payload;
use super::story::{self, Act, Dice, Line, Role};
use crate::domain::effect::InputTopic;
use crate::domain::event::ChannelKind;
use crate::domain::time::{Millis, Timestamp};

/// An event on its way into the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetEvent {
    /// When it arrives; it was observed then or earlier.
    pub arrival: Timestamp,
    /// The topic that it goes to.
    pub topic: InputTopic,
    /// The key of its record, which gives the partition; `None`: it goes to every partition.
    pub key: Option<String>,
    /// Its bytes.
    pub payload: Vec<u8>,
}

const NODES: [&str; 3] = ["broker-1", "broker-2", "broker-3"];
const BEAT_MILLIS: i64 = 10_000;
const FIRST_TROUBLE_MILLIS: i64 = 40_000;
const BAD_INPUT_MILLIS: i64 = 23_000;
/// Devices come to be known over this span, so that a start is not one wall of text.
const ROLL_CALL_MILLIS: i64 = 3_000;
const OPERATORS: [&str; 3] = ["kim", "ana", "ops-on-call"];
const SITES: [&str; 4] = ["harbour", "plant-2", "depot", "north-ridge"];

/// The fleet.
#[derive(Debug)]
pub struct Fleet {
    dice: Dice,
    start: Timestamp,
    now: Timestamp,
    devices: Vec<Device>,
    nodes: Vec<NodeState>,
    agenda: BinaryHeap<Reverse<Entry>>,
    /// Entries so far: what is due at one time comes in the order in which it was planned.
    planned: u64,
    troubles: usize,
    bad_inputs: usize,
}

#[derive(Debug)]
struct NodeState {
    started_at: Timestamp,
    /// No client reaches it.
    down: bool,
    /// Nothing that it tells leaves it until then.
    stalls_until: Timestamp,
}

#[derive(Debug)]
enum Item {
    Deliver(FleetEvent),
    Chapter(usize),
    /// A device's act, how late it arrives and when it is observed.
    Act(usize, Act, i64, Timestamp),
    Beat(usize),
    Trouble,
    Recover(usize),
    BadInput,
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    number: u64,
    item: Item,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Fleet {
    /// A fleet of so many devices, whose first events arrive at `start`.
    pub fn new(seed: u64, devices: usize, start: Timestamp) -> Fleet {
        let mut dice = Dice::new(seed);
        let mut fleet = Fleet {
            devices: device::muster(devices, NODES.len(), OPERATORS.len(), &mut dice),
            nodes: NODES
                .iter()
                .map(|_| NodeState {
                    started_at: start + Millis(-dice.between(3_600_000, 864_000_000)),
                    down: false,
                    stalls_until: Timestamp::NEVER,
                })
                .collect(),
            dice,
            start,
            now: start,
            agenda: BinaryHeap::new(),
            planned: 0,
            troubles: 0,
            bad_inputs: 0,
        };
        fleet.deliver(start, InputTopic::Control, None, payload::policy(start));
        for node in 0..NODES.len() {
            fleet.plan(start, Item::Beat(node));
        }
        for device in 0..fleet.devices.len() {
            let at = start + Millis(fleet.dice.between(100, ROLL_CALL_MILLIS));
            fleet.plan(at, Item::Chapter(device));
        }
        fleet.plan(start + Millis(FIRST_TROUBLE_MILLIS), Item::Trouble);
        fleet.plan(start + Millis(BAD_INPUT_MILLIS / 4), Item::BadInput);
        fleet
    }

    /// The events that arrive until `now` and were not handed out yet, in the order of their arrival.
    pub fn events_until(&mut self, now: Timestamp) -> Vec<FleetEvent> {
        let mut events = Vec::new();
        while self.agenda.peek().is_some_and(|Reverse(entry)| entry.at <= now) {
            let Some(Reverse(Entry { at, item, .. })) = self.agenda.pop() else { break };
            self.now = at;
            match item {
                Item::Deliver(event) => events.push(event),
                Item::Chapter(device) => self.begin_chapter(device, at),
                Item::Act(device, act, late, observed_at) => self.perform(device, act, late, observed_at),
                Item::Beat(node) => self.beat(node, at),
                Item::Trouble => self.trouble(at),
                Item::Recover(node) => self.recover(node, at),
                Item::BadInput => {
                    let (key, bytes) = payload::bad(self.bad_inputs, at);
                    self.bad_inputs += 1;
                    self.deliver(at, InputTopic::Activity, Some(key.into()), bytes);
                    self.plan(at + Millis(BAD_INPUT_MILLIS), Item::BadInput);
                }
            }
        }
        events
    }

    fn plan(&mut self, at: Timestamp, item: Item) {
        self.planned += 1;
        self.agenda.push(Reverse(Entry { at, number: self.planned, item }));
    }

    fn deliver(&mut self, arrival: Timestamp, topic: InputTopic, key: Option<String>, payload: Vec<u8>) {
        self.plan(arrival, Item::Deliver(FleetEvent { arrival, topic, key, payload }));
    }

    fn begin_chapter(&mut self, number: usize, at: Timestamp) {
        let device = &mut self.devices[number];
        let story = story::chapter(device.role, device.chapters, device.minutes, device.turn, &mut self.dice);
        device.chapters += 1;
        for Line { at: offset, late, act } in story.lines {
            let observed_at = at + Millis(offset);
            self.plan(observed_at.max(at), Item::Act(number, act, late, observed_at));
        }
        // At least a second: a chapter without length would never end.
        self.plan(at + Millis(story.length.max(1000)), Item::Chapter(number));
    }

    /// Sends what a device's platform observed at `observed_at` on its way; the time of the way is drawn by lot.
    fn send(
        &mut self,
        number: usize,
        observed_at: Timestamp,
        late: i64,
        via: Option<usize>,
        body: &str,
        fields: Value,
    ) {
        let device = &self.devices[number];
        let key = format!("{}/{}", device.tenant, device.id);
        let payload = payload::of_device(device.tenant, &device.id, observed_at, body, fields);
        let topic = match body {
            "activity" => InputTopic::Activity,
            "connected" | "disconnected" | "connectFailed" => InputTopic::Connections,
            _ => InputTopic::Control,
        };
        let stalled = via.map_or(Timestamp::NEVER, |node| self.nodes[node].stalls_until).max(self.now);
        let way = Millis(self.dice.between(20, 250));
        let mut arrival = stalled + Millis(late) + way;
        if late == 0 {
            let last = &mut self.devices[number].last_arrival[usize::from(stalled > self.now)];
            arrival = arrival.max(last.next());
            *last = arrival;
        }
        self.deliver(arrival, topic, Some(key), payload);
    }

    fn open(&mut self, number: usize, channel: ChannelKind, at: Timestamp) -> Option<Session> {
        let node = match channel {
            ChannelKind::Mqtt => Some(self.reachable_node(number)?),
            _ => None,
        };
        let stem = self.start.millis() / 1000 % 0x1000_0000;
        let device = &mut self.devices[number];
        device.sessions += 1;
        let session = Session {
            id: format!("{stem:x}-{}", device.sessions),
            node,
            opened_at: at,
            address: format!(
                "10.{}.{}.{}:{}",
                20 + device.operator,
                number / 250 % 250,
                2 + number % 250,
                40_000 + (number as u64 * 37 + device.sessions * 11) % 20_000
            ),
        };
        match channel {
            ChannelKind::Mqtt => {
                device.previous = device.mqtt.replace(session.clone()).or(device.previous.take())
            }
            ChannelKind::Vpn => device.vpn = Some(session.clone()),
            _ => device.long_poll = Some(session.clone()),
        }
        Some(session)
    }

    fn reachable_node(&mut self, number: usize) -> Option<usize> {
        let Device { home, stubborn, .. } = self.devices[number];
        if !self.nodes[home].down {
            return Some(home);
        }
        if stubborn {
            return None;
        }
        let others: Vec<usize> = (0..NODES.len()).filter(|node| !self.nodes[*node].down).collect();
        Some(others[self.dice.pick(others.len())])
    }

    fn tell_connect(&mut self, number: usize, channel: ChannelKind, session: &Session, late: i64) {
        let named = payload::session(&session.id, session.opened_at);
        let node = session.node.map(|node| NODES[node]);
        let body = payload::connected(channel, named, node, &session.address);
        self.send(number, session.opened_at, late, session.node, "connected", body);
    }

    fn tell_end(
        &mut self,
        number: usize,
        channel: ChannelKind,
        session: &Session,
        at: Timestamp,
        late: i64,
        end: Value,
    ) {
        let mut body = end;
        body["channel"] = channel.word().into();
        body["session"] = payload::session(&session.id, session.opened_at);
        if let Some(node) = session.node {
            body["nodeId"] = NODES[node].into();
        }
        self.send(number, at, late, session.node, "disconnected", body);
    }

    fn perform(&mut self, number: usize, act: Act, late: i64, at: Timestamp) {
        let device = &self.devices[number];
        let operator = OPERATORS[device.operator];
        match act {
            Act::Register => {
                let body = self.register(number);
                self.send(number, at, late, None, "register", body);
            }
            Act::Connect(channel) => {
                if let Some(session) = self.open(number, channel, at) {
                    self.tell_connect(number, channel, &session, late);
                }
            }
            Act::ConnectUntold => {
                self.open(number, ChannelKind::Mqtt, at);
            }
            Act::TellConnect => {
                if let Some(session) = self.devices[number].mqtt.clone() {
                    self.tell_connect(number, ChannelKind::Mqtt, &session, 0);
                }
            }
            Act::Disconnect(channel, code) => {
                let device = &mut self.devices[number];
                if channel == ChannelKind::Mqtt {
                    if let Some(session) = device.mqtt.take() {
                        device.previous = Some(session.clone());
                        self.tell_end(number, channel, &session, at, late, json!({"mqttReasonCode": code}));
                    }
                } else if let Some(session) = device.vpn.take() {
                    let end = json!({"reason": "no handshake for 25 s"});
                    self.tell_end(number, channel, &session, at, late, end);
                }
            }
            Act::EndOfOld(initiator, code) => {
                if let Some(session) = device.previous.clone() {
                    let mut end = json!({"mqttReasonCode": code});
                    if let Some(initiator) = initiator {
                        end["initiator"] = initiator.word().into();
                    }
                    self.tell_end(number, ChannelKind::Mqtt, &session, at, late, end);
                }
            }
            Act::ConnectFailed(code) => {
                let address =
                    format!("10.66.{}.{}:{}", number / 250, 2 + number % 250, 50_000 + number % 10_000);
                let body = json!({"channel": "mqtt", "clientAddress": address, "mqttReasonCode": code});
                self.send(number, at, late, None, "connectFailed", body);
            }
            Act::Publish => self.publish(number, late, at, true),
            Act::PublishUnnamed => self.publish(number, late, at, false),
            Act::Post(kind) => {
                let parent_naps = device.parent.is_some_and(|parent| self.devices[parent].naps_until > at);
                if !parent_naps {
                    self.send(
                        number,
                        at,
                        late,
                        None,
                        "activity",
                        json!({"kind": kind.word(), "channel": "http"}),
                    );
                }
            }
            Act::LongPoll => {
                // A lapsed session is not taken up again.
                let session = device.long_poll.clone();
                let lapsed = session.as_ref().is_none_or(|session| (at - session.opened_at).0 > 240_000);
                let session = if lapsed { self.open(number, ChannelKind::LongPoll, at) } else { session };
                if let Some(session) = session {
                    let named = payload::session(&session.id, session.opened_at);
                    let body = payload::connected(ChannelKind::LongPoll, named, None, &session.address);
                    self.send(number, at, late, None, "connected", body);
                }
            }
            Act::StatePoll => self.send(number, at, late, None, "activity", json!({"kind": "state_poll"})),
            Act::PollSettings => {
                let body = json!({"pollIntervalSeconds": 30, "vpnExpected": true});
                self.send(number, at, late, None, "pollSettings", body);
            }
            Act::Lifecycle(stage, progress) => {
                let mut body = json!({"stage": stage.word()});
                if let Some(progress) = progress {
                    body["progress"] = progress.into();
                }
                self.send(number, at, late, None, "lifecycle", body);
            }
            Act::Update(phase, progress) => {
                self.send(
                    number,
                    at,
                    late,
                    None,
                    "update",
                    json!({"phase": phase.word(), "progress": progress}),
                );
            }
            Act::Maintenance(on) => {
                let mut body = json!({"on": on, "actor": operator});
                if on {
                    body["note"] = "swap of the power supply".into();
                }
                self.send(number, at, late, None, "maintenance", body);
            }
            Act::Acknowledge => {
                let body = json!({"type": "unavailability", "action": "acknowledge", "actor": operator});
                self.send(number, at, late, None, "alarmCommand", body);
            }
            Act::Delete => self.send(number, at, late, None, "delete", json!({"actor": operator})),
            Act::Nap(length) => self.devices[number].naps_until = at + Millis(length),
        }
    }

    fn publish(&mut self, number: usize, late: i64, at: Timestamp, named: bool) {
        if self.devices[number].mqtt.is_none() {
            let Some(session) = self.open(number, ChannelKind::Mqtt, at + Millis(-300)) else { return };
            self.tell_connect(number, ChannelKind::Mqtt, &session, late);
        }
        let device = &self.devices[number];
        let Some(session) = &device.mqtt else { return };
        let node = session.node;
        let topic = format!("t/{}/data", device.id);
        let mut body = json!({"kind": "mqtt_publish", "channel": "mqtt", "topic": topic});
        if named {
            body["session"] = payload::session(&session.id, session.opened_at);
        }
        self.send(number, at, late, node, "activity", body);
    }

    fn register(&self, number: usize) -> Value {
        let device = &self.devices[number];
        let site = SITES[number / 5 % SITES.len()];
        let mut body = json!({
            "deviceType": device.device_type,
            "name": format!("{} {} at {site}", device.device_type, number),
            "clientKind": if device.role == Role::Gateway { "gateway" } else { "device" },
            "labels": {"site": site, "tier": device.tier},
        });
        if let Some(parent) = device.parent {
            body["parent"] = self.devices[parent].id.as_str().into();
        }
        body
    }

    fn beat(&mut self, node: usize, at: Timestamp) {
        self.plan(at + Millis(BEAT_MILLIS), Item::Beat(node));
        let NodeState { started_at, down, stalls_until } = self.nodes[node];
        if !down && at >= stalls_until {
            let payload = payload::node(NODES[node], "heartbeat", started_at, at);
            self.deliver(at + Millis(40), InputTopic::Control, None, payload);
        }
    }

    /// A node crashes, or only stalls, or is restarted as planned: in turn.
    fn trouble(&mut self, at: Timestamp) {
        let node = (self.troubles + 1) % NODES.len();
        let kind = self.troubles % 3;
        self.troubles += 1;
        let ends = at + Millis(self.dice.between(70_000, 110_000));
        if kind == 1 {
            self.nodes[node].stalls_until = ends;
        } else {
            self.nodes[node].down = true;
            for device in &mut self.devices {
                if device.mqtt.as_ref().is_some_and(|session| session.node == Some(node)) {
                    device.previous = device.mqtt.take();
                }
            }
            if kind == 2 {
                let payload = payload::node(NODES[node], "down", self.nodes[node].started_at, at);
                self.deliver(at + Millis(40), InputTopic::Control, None, payload);
            }
            self.plan(ends, Item::Recover(node));
        }
        let next = self.dice.between(180_000, 260_000);
        self.plan(at + Millis(next), Item::Trouble);
    }

    fn recover(&mut self, node: usize, at: Timestamp) {
        self.nodes[node].down = false;
        self.nodes[node].started_at = at;
        let payload = payload::node(NODES[node], "up", at, at);
        self.deliver(at + Millis(40), InputTopic::Control, None, payload);
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
