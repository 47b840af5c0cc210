//! One device: what an event does to its facts (SEMANTICS §2 to §4), and what a step writes (§8).

use super::availability::{AlarmEvent, Availability};
use super::facets::{CONNECTION_CHANNELS, Facets, Polls, START};
use super::input::{Body, Channel, Initiator, Kind, ModelEvent, Phase, SessionRef, Stage};
use super::nodes::Nodes;
use super::policy::Policy;
use super::sessions::{Connect, Disconnect, Log, Sessions, Taken};
use super::time::show;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a device sees of its partition.
#[derive(Clone, Debug)]
pub struct World {
    pub policy: Policy,
    pub nodes: Nodes,
    pub now: i64,
    pub last_sight: Option<i64>,
}

/// What one step is going to write.
#[derive(Default)]
pub struct Step {
    pub alarms: Vec<AlarmEvent>,
    pub logs: Vec<Log>,
    pub retracts: bool,
}

pub struct Device {
    pub tenant: String,
    pub id: String,
    /// observed_at of its earliest event (§2, delete).
    pub earliest: i64,
    pub shown: Facets,
    pub step: Step,
    pub channels: BTreeMap<Channel, Sessions>,
    // The clocks of §4.
    pub last_message: Option<i64>,
    pub last_activity: Option<i64>,
    pub last_activity_event: Option<&'static str>,
    /// §5.6: "heard from": any connect, poll or message.
    pub last_heard: Option<i64>,
    pub availability: Availability,
    pub polls: Polls,
    pub device_type: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub lifecycle: Option<(Stage, Option<i64>)>,
    pub stage_since: Option<i64>,
    pub update: Option<Phase>,
    /// When each control fact was set last, by observed_at (§2).
    set_at: BTreeMap<&'static str, i64>,
}

/// §2: "Where absent it is derived".
pub fn initiator(said: Option<Initiator>, mqtt: Option<i64>, close: Option<i64>) -> Initiator {
    if let Some(said) = said {
        return said;
    }
    if mqtt == Some(0x8E) || close == Some(288) {
        Initiator::TakenOver
    } else if matches!(mqtt, Some(0x00 | 0x04)) || close == Some(91) {
        Initiator::Client
    } else if matches!(mqtt, Some(0x87 | 0x89 | 0x8B | 0x98 | 0x9C..=0xA2)) || matches!(close, Some(92..=94))
    {
        Initiator::Server
    } else {
        Initiator::Network
    }
}

impl Device {
    pub fn new(tenant: &str, id: &str, earliest: i64, world: &World) -> Self {
        let availability = Availability { sight: world.last_sight, ..Availability::default() };
        Device {
            tenant: tenant.into(),
            id: id.into(),
            earliest,
            shown: START,
            step: Step::default(),
            channels: BTreeMap::new(),
            last_message: None,
            last_activity: None,
            last_activity_event: None,
            last_heard: None,
            availability,
            polls: Polls::default(),
            device_type: None,
            labels: BTreeMap::new(),
            lifecycle: None,
            stage_since: None,
            update: None,
            set_at: BTreeMap::new(),
        }
    }

    /// §2: "A control event observed before the one that set the same fact is ignored (equal: the later arrival wins)".
    fn may_set(&mut self, fact: &'static str, at: i64) -> bool {
        if self.set_at.get(fact).is_some_and(|set| at < *set) {
            return false;
        }
        self.set_at.insert(fact, at);
        true
    }

    fn channel(&mut self, channel: Channel) -> &mut Sessions {
        self.channels.entry(channel).or_insert_with(|| Sessions::new(channel))
    }

    /// One event of the device, `delete` excepted.
    pub fn apply(&mut self, event: &ModelEvent, world: &World) -> Vec<Value> {
        let at = event.observed_at;
        self.earliest = self.earliest.min(at);
        match &event.body {
            Body::Connected { channel, session, node_id, can_receive } => {
                let node = node_id.as_deref();
                let connect = Connect { session, node, can_receive: can_receive.unwrap_or(true), at };
                self.connected(*channel, &connect, world);
            }
            Body::Disconnected {
                channel,
                session,
                node_id,
                initiator: said,
                mqtt_reason_code,
                close_code,
            } => {
                let disconnect = Disconnect {
                    session,
                    node: node_id.as_deref(),
                    initiator: initiator(*said, *mqtt_reason_code, *close_code),
                    code: *mqtt_reason_code,
                    at,
                };
                self.disconnected(*channel, &disconnect, world);
            }
            Body::ConnectFailed { channel, mqtt_reason_code } => {
                let taken = self.channel(*channel).failed(at, *mqtt_reason_code);
                self.step.logs.extend(taken.unwrap_or_default());
            }
            Body::Activity { kind, channel, session, via_application } => {
                self.activity(*kind, *channel, session, *via_application, at, world);
            }
            Body::Register { device_type, name: _, labels } => {
                // §12: "each field is a fact of its own; absent ones stay; labels are replaced as a whole".
                if device_type.is_some() && self.may_set("device_type", at) {
                    self.device_type = device_type.clone();
                }
                if let Some(labels) = labels
                    && self.may_set("labels", at)
                {
                    self.labels = labels.clone();
                }
            }
            Body::RequiredInterval { minutes, source, only_if_absent } => {
                self.set_interval(*minutes, *source, *only_if_absent, at);
            }
            Body::Maintenance { on } => {
                self.set_maintenance(*on, at, world);
            }
            Body::Lifecycle { stage, progress } => {
                if self.may_set("lifecycle", at) {
                    // §5.6: "the same stage again does not restart since".
                    if self.lifecycle.map(|(stage, _)| stage) != Some(*stage) {
                        self.stage_since = Some(at);
                    }
                    self.lifecycle = Some((*stage, *progress));
                }
            }
            Body::Update { phase, progress: _ } => {
                if self.may_set("update", at) {
                    self.update = Some(*phase);
                }
            }
            Body::PollSettings { poll_interval_s, vpn_expected } => {
                if self.may_set("poll_settings", at) {
                    self.polls.interval_s = *poll_interval_s;
                    self.polls.vpn_expected = Some(*vpn_expected);
                    self.settle_window(world);
                }
            }
            Body::AlarmCommand { alarm_id, action } => self.command(alarm_id.as_deref(), *action, at),
            Body::Delete | Body::Node { .. } | Body::Policy(_) => unreachable!("handled by the partition"),
        }
        self.settle(at, world)
    }

    /// What changed, as of `at`: the end of every step.
    pub fn settle(&mut self, at: i64, world: &World) -> Vec<Value> {
        self.settle_interval(at, world);
        let facets = self.facets(world);
        self.write(facets, at, world)
    }

    fn heard(&mut self, at: i64) {
        self.last_heard = self.last_heard.max(Some(at));
    }

    /// §4: "Each is a maximum"; of the event "of equal times the later arrival".
    fn active(&mut self, event: &'static str, at: i64) {
        if self.last_activity.is_none_or(|last| at >= last) {
            self.last_activity = Some(at);
            self.last_activity_event = Some(event);
        }
    }

    fn connected(&mut self, channel: Channel, connect: &Connect, world: &World) {
        let linger = world.policy.long_poll_linger;
        let sessions = self.channel(channel);
        let taken: Taken = match channel {
            Channel::LongPoll => Some(sessions.poll(connect, linger, world.last_sight, &world.nodes)),
            _ => sessions.connect(connect, &world.nodes),
        };
        let Some(logs) = taken else { return };
        self.step.logs.extend(logs);
        self.heard(connect.at);
        // The table of §4: connected (mqtt, websocket, lwm2m).
        if matches!(channel, Channel::Mqtt | Channel::Websocket | Channel::Lwm2m) {
            self.active("connected", connect.at);
        }
        self.infer(channel, world);
    }

    fn disconnected(&mut self, channel: Channel, disconnect: &Disconnect, world: &World) {
        let sessions = self.channel(channel);
        let taken = match disconnect.initiator {
            Initiator::TakenOver => sessions.taken_over(disconnect),
            _ => sessions.disconnect(disconnect),
        };
        let Some(logs) = taken else { return };
        self.step.logs.extend(logs);
        // The table of §4: disconnected by the client.
        if disconnect.initiator == Initiator::Client {
            self.active("disconnected", disconnect.at);
        }
        self.infer(channel, world);
    }

    /// §3 Disproof, the activity having arrived before.
    fn infer(&mut self, channel: Channel, world: &World) {
        let proves = matches!(channel, Channel::Mqtt | Channel::Websocket | Channel::Vpn);
        if world.policy.infer_sessions && proves {
            let logs = self.channel(channel).infer();
            self.inferred(logs);
        }
    }

    /// §5.6: "heard from: any connect"; an inferred session had one.
    fn inferred(&mut self, logs: Vec<Log>) {
        if let Some(log) = logs.first() {
            self.heard(log.at);
        }
        self.step.logs.extend(logs);
    }

    fn activity(
        &mut self,
        kind: Kind,
        channel: Option<Channel>,
        session: &SessionRef,
        via_application: bool,
        at: i64,
        world: &World,
    ) {
        // The table of §4.
        let counts = world.policy.inventory_counts_as_message;
        let (message, active, poll) = match kind {
            Kind::MqttPublish
            | Kind::HttpPostEvent
            | Kind::HttpPostCommand
            | Kind::HttpPostCommandRequest
            | Kind::EventCreate
            | Kind::MeasurementCreate
            | Kind::AlarmCreate => (!via_application, true, false),
            Kind::Heartbeat => (true, true, false),
            Kind::LastWill => (true, false, false),
            Kind::MqttSubscribe | Kind::MqttUnsubscribe => (false, true, false),
            Kind::InventoryUpdate | Kind::OperationUpdate => (counts && !via_application, true, false),
            Kind::StatePoll => (false, false, true),
            Kind::Read | Kind::Ping => (false, false, false),
        };
        if active {
            self.active(kind.word(), at);
        }
        if poll {
            self.heard(at);
            self.state_poll(at, world);
        }
        // §3 Disproof: "last_will, via_application … prove nothing".
        let proves = kind != Kind::LastWill && !via_application && world.policy.infer_sessions;
        match channel {
            Some(channel @ (Channel::Mqtt | Channel::Websocket | Channel::Vpn)) if proves => {
                let logs = self.channel(channel).activity(session, at);
                self.inferred(logs);
            }
            Some(Channel::LongPoll) => {
                let connect = Connect { session, node: None, can_receive: true, at };
                let linger = world.policy.long_poll_linger;
                let sessions = self.channel(Channel::LongPoll);
                let logs = sessions.poll(&connect, linger, world.last_sight, &world.nodes);
                // §3: "every poll is a connected (or an activity on that channel)".
                self.heard(at);
                self.step.logs.extend(logs);
            }
            _ => {}
        }
        if message {
            self.heard(at);
            self.last_message = self.last_message.max(Some(at));
            // The interval of a device that is new is settled afterwards.
            self.message_arrived(at, world);
        }
    }

    /// §3 node down, for the channels in their order.
    pub fn node_down(&mut self, node: &str, down: i64, timed_out: bool, world: &World) -> Vec<Value> {
        let channels: Vec<Channel> = self.channels.keys().copied().collect();
        for channel in channels {
            let logs = self.channel(channel).node_down(node, down, timed_out);
            if !logs.is_empty() {
                self.step.logs.extend(logs);
                self.infer(channel, world);
            }
        }
        self.settle(down, world)
    }

    pub fn node_back(&mut self, node: &str, at: i64, world: &World) -> Vec<Value> {
        let channels: Vec<Channel> = self.channels.keys().copied().collect();
        for channel in channels {
            let logs = self.channel(channel).node_back(node, &world.nodes, at);
            self.step.logs.extend(logs);
            // The recorded disconnect may be an earlier one now.
            self.infer(channel, world);
        }
        self.settle(at, world)
    }

    /// §9 Sight; "Verdicts given stay", so nothing is written.
    pub fn see(&mut self, at: i64) {
        self.see_availability(at);
        self.see_window(at);
        for sessions in self.channels.values_mut() {
            if let Some(index) = sessions.current {
                sessions.all[index].sight = Some(at);
            }
        }
    }

    /// The earliest deadline: (the first millisecond at which a facet differs, which one: availability, poll window,
    /// long poll).
    pub fn due(&self, world: &World) -> Option<(i64, u8)> {
        let linger = world.policy.long_poll_linger;
        let lapse = self.channels.get(&Channel::LongPoll).and_then(|sessions| sessions.lapse_at(linger));
        let all = [(self.availability_due(world), 0), (self.window_due(world), 1), (lapse, 2)];
        all.into_iter().filter_map(|(moment, which)| Some((moment?, which))).min()
    }

    /// A lapse is a step of its own, stamped with the deadline.
    pub fn fire(&mut self, which: u8, moment: i64, world: &World) -> Vec<Value> {
        let at = match which {
            0 => self.availability_lapses(world),
            1 => self.window_lapses(world),
            _ => {
                let logs = self.channel(Channel::LongPoll).lapse(moment);
                self.step.logs.extend(logs);
                moment
            }
        };
        let facets = self.facets(world);
        self.write(facets, at, world)
    }

    /// §2: "`delete` clears an open alarm, writes a last StatusChange back to the starting values".
    pub fn delete(&mut self, at: i64, world: &World) -> Vec<Value> {
        if let Some(alarm) = self.availability.alarm.take() {
            self.step.alarms.push(AlarmEvent {
                alarm,
                action: "CLEARED",
                reason: Some("MONITORING_STOPPED"),
                at,
            });
        }
        self.write(START, at, world)
    }

    /// §8: "Within one step of a device its outputs come in the order status, alarms, connection log."
    fn write(&mut self, facets: Facets, at: i64, world: &World) -> Vec<Value> {
        let step = std::mem::take(&mut self.step);
        let mut outputs = Vec::new();
        let mut changes = Vec::new();
        let (old, new) = (&self.shown, &facets);
        for (facet, from, to) in [
            ("availability", old.availability, new.availability),
            ("push", old.push, new.push),
            ("connection", old.connection, new.connection),
            ("vpn", old.vpn, new.vpn),
            ("heartbeat", old.heartbeat, new.heartbeat),
        ] {
            if from != to {
                changes.push(json!({"facet": facet, "from": from, "to": to}));
            }
        }
        if (old.overall, old.label) != (new.overall, new.label) {
            changes.push(
                json!({"facet": "overall", "from": old.overall, "to": new.overall, "label": new.label}),
            );
        }
        if !changes.is_empty() {
            let mut status = self.output("status", at, world);
            status.insert("changes".into(), changes.into());
            if step.retracts {
                status.insert("retracts".into(), true.into());
            }
            outputs.push(status.into());
        }
        for AlarmEvent { alarm, action, reason, at } in step.alarms {
            let state = match (action, alarm.acknowledged) {
                ("CLEARED", _) => "CLEARED",
                (_, true) => "ACKNOWLEDGED",
                (_, false) => "ACTIVE",
            };
            let mut output = self.output("alarms", at, world);
            for (key, value) in [
                ("alarmId", json!(format!("{}#{}", self.id, alarm.id))),
                ("type", json!("unavailability")),
                ("action", json!(action)),
                ("state", json!(state)),
                ("reason", json!(reason)),
                ("severity", json!(alarm.severity)),
                ("text", json!(alarm.text)),
                ("count", json!(alarm.count)),
                ("firstAt", json!(show(alarm.first_at))),
                ("lastAt", json!(show(alarm.last_at))),
            ] {
                output.insert(key.into(), value);
            }
            outputs.push(output.into());
        }
        for log in step.logs {
            let mut output = self.output("connection-log", log.at, world);
            output.insert("kind".into(), log.kind.into());
            output.insert("channel".into(), log.channel.word().into());
            if let Some(session) = log.session {
                output.insert("session".into(), json!({"id": session}));
            }
            output.insert("flags".into(), json!(log.flags));
            if let Some(duration) = log.duration {
                output.insert("durationSeconds".into(), json!(duration as f64 / 1000.0));
            }
            if let Some(reason) = log.reason {
                output.insert("reasonCode".into(), reason.into());
            }
            outputs.push(output.into());
        }
        self.shown = facets;
        outputs
    }

    fn output(&self, topic: &str, at: i64, world: &World) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("topic".into(), topic.into());
        map.insert("tenant".into(), self.tenant.clone().into());
        map.insert("deviceId".into(), self.id.clone().into());
        map.insert("at".into(), show(at).into());
        map.insert("recordedAt".into(), show(world.now).into());
        map
    }

    /// The facts to be compared at the end: §4, §5.3 and the current sessions.
    pub fn facts(&self) -> Value {
        let mut sessions = Map::new();
        for (channel, state) in &self.channels {
            if let Some(index) = state.current {
                let session = &state.all[index];
                let began = session.evidence.observed_at.map(show);
                sessions.insert(channel.word().into(), json!({"id": session.id, "connectedAt": began}));
            }
        }
        let client = || self.channels.values().filter(|c| CONNECTION_CHANNELS.contains(&c.channel));
        // The connect time of the newest session of each channel, then the latest; of equal ends of two channels that
        // of the later channel.
        let connect = client().filter_map(|c| c.all[c.newest?].evidence.observed_at).max();
        let end = client().filter_map(Sessions::recorded).max_by_key(|end| end.at);
        let gone = end.filter(|_| self.shown.connection == "DISCONNECTED");
        json!({
            "availability": self.shown.availability,
            "push": self.shown.push,
            "connection": self.shown.connection,
            "vpn": self.shown.vpn,
            "heartbeat": self.shown.heartbeat,
            "overall": self.shown.overall,
            "label": self.shown.label,
            "lastMessage": self.last_message.map(show),
            "lastActivity": self.last_activity.map(show),
            "lastActivityEvent": self.last_activity_event,
            "lastPoll": self.polls.last_poll.map(show),
            "sessions": sessions,
            "lastConnectTime": connect.map(show),
            "lastDisconnectTime": end.map(|end| show(end.at)),
            "disconnectedBy": gone.map(|end| end.cause.word()),
            "mqttReasonCode": gone.and_then(|end| end.code),
        })
    }
}
