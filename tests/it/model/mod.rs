//! The slow, obvious model of Lastseen, written from `SEMANTICS.md` alone.
//!
//! It shares no code with the monitor. It keeps whole histories, looks for every deadline of every device before every
//! input, and says of each rule where it stands. What it does not know for certain it leaves out of its outputs, and
//! `check` does not compare it.

// Not every test uses all of it.
#![allow(dead_code, unused_imports)]

mod availability;
mod check;
mod device;
mod facets;
#[path = "gen.rs"]
pub mod generator;
mod input;
mod knobs;
mod laws;
pub mod lives;
mod longpoll;
mod nodes;
mod policy;
mod revive;
mod scenarios;
mod sessions;
mod time;

pub use check::{check, check_facts, check_inputs};
pub use facets::Facets;
pub use input::*;
pub use policy::{AlarmRule, IntervalRule, Policy};
pub use time::{MINUTE, SECOND, START, read_time, show};

use device::{Device, World};
use nodes::{NodeEffect, Nodes};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How `fold` moves its clock (DESIGN §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The highest observedAt so far, and ticks.
    Observed,
    /// `--clock ticks`: ticks alone.
    Ticks,
}

pub struct Model {
    mode: Clock,
    clock: Option<i64>,
    /// §2: "In `fold` nothing is clamped before the first tick"; §12: "For clamping, a sight is a tick."
    ticked: bool,
    world: World,
    /// By record key, `tenant/device_id`: §1.
    devices: BTreeMap<String, Device>,
    /// observed_at of the last delete.
    tombstones: BTreeMap<String, i64>,
    outputs: Vec<Value>,
    /// The number of the input being fed, from 1.
    line: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    pub fn new() -> Self {
        Self::with_clock(Clock::Observed)
    }

    pub fn with_clock(mode: Clock) -> Self {
        let world =
            World { policy: Policy::default(), nodes: Nodes::default(), now: i64::MIN, last_sight: None };
        Model {
            mode,
            clock: None,
            ticked: false,
            world,
            devices: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            outputs: Vec::new(),
            line: 0,
        }
    }

    /// All of it at once.
    pub fn fold(mode: Clock, inputs: &[Input]) -> Self {
        let mut model = Self::with_clock(mode);
        for input in inputs {
            model.feed(input);
        }
        model
    }

    /// What came out so far, in order. `_line` is the number of the input that led there.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    pub fn clock(&self) -> Option<i64> {
        self.clock
    }

    /// The devices that there are, by record key.
    pub fn devices(&self) -> Vec<String> {
        self.devices.keys().cloned().collect()
    }

    pub fn facets(&self, key: &str) -> Option<Facets> {
        self.devices.get(key).map(|device| device.shown.clone())
    }

    /// `lastMessage`, `lastActivity`, `lastActivityEvent`, `lastPoll`, `sessions` (by channel: id, connectedAt),
    /// `lastConnectTime`, `lastDisconnectTime`, `disconnectedBy`, `mqttReasonCode`.
    pub fn facts(&self, key: &str) -> Option<Value> {
        self.devices.get(key).map(Device::facts)
    }

    /// Is an alarm of that device open? (Law 5.)
    pub fn alarm_open(&self, key: &str) -> bool {
        self.devices.get(key).is_some_and(|device| device.availability.alarm.is_some())
    }

    pub fn feed(&mut self, input: &Input) {
        self.line += 1;
        match input {
            Input::Tick(at) => {
                self.ticked = true;
                self.move_clock(*at);
                self.run_due();
            }
            Input::Sight(at) => {
                self.ticked = true;
                self.move_clock(*at);
                self.see();
                self.run_due();
            }
            Input::Event(event) => self.event(event),
        }
    }

    /// A line that is not one of ours (§2 "Bad input").
    pub fn feed_bad(&mut self, reason: &str) {
        self.line += 1;
        self.put(vec![json!({"topic": "dead-letter", "reason": reason, "line": self.line})]);
    }

    fn put(&mut self, outputs: Vec<Value>) {
        for mut output in outputs {
            output["_line"] = self.line.into();
            self.outputs.push(output);
        }
    }

    /// §9: "The clock never goes back."
    fn move_clock(&mut self, at: i64) {
        let clock = self.clock.map_or(at, |clock| clock.max(at));
        self.clock = Some(clock);
        self.world.now = clock;
    }

    fn event(&mut self, event: &ModelEvent) {
        let mut event = event.clone();
        // §2: "An `observed_at` that is further ahead of both append time and arrival than `policy.max_future` is
        // clamped to the later of them for every purpose". In `fold` both are the clock.
        if let (true, Some(clock)) = (self.ticked, self.clock)
            && event.observed_at > clock + self.world.policy.max_future
        {
            event.observed_at = clock;
        }
        if self.mode == Clock::Observed {
            self.move_clock(event.observed_at);
        }
        let now = self.clock.expect("with `--clock ticks` a tick comes first");
        self.world.now = now;
        // §9: "everything that is due before it, of any device, fires first, then it".
        self.run_due();
        match &event.body {
            Body::Node { node_id, status, started_at } => {
                self.node(node_id, *status, *started_at, event.observed_at);
            }
            Body::Policy(policy) => self.policy(policy, now),
            _ => self.device_event(&event, now),
        }
        // §5.1, §12: "takes effect first; the lapse follows as a step of its own".
        self.run_due();
    }

    /// §9 Sight: "from a moment that is recorded, before any deadline of that moment".
    fn see(&mut self) {
        let at = self.world.now;
        self.world.last_sight = Some(at);
        self.world.nodes.see(at);
        for device in self.devices.values_mut() {
            device.see(at);
        }
    }

    /// All that is due by now, by moment; §12: "At one moment: nodes by id, availability, poll window, long poll", per
    /// device in key order.
    fn run_due(&mut self) {
        loop {
            let world = &self.world;
            let nodes = world.nodes.nodes.keys().filter_map(|id| {
                let moment = world.nodes.deadline(id, &world.policy)?;
                Some((moment, 0u8, id.clone(), 0u8))
            });
            let devices = self.devices.iter().filter_map(|(key, device)| {
                let (moment, which) = device.due(world)?;
                Some((moment, 1u8, key.clone(), which))
            });
            let next = nodes.chain(devices).min().filter(|(moment, ..)| *moment <= world.now);
            let Some((moment, class, name, which)) = next else { break };
            if class == 0 {
                self.world.nodes.time_out(&name, moment);
                self.node_down(&name, moment, true);
            } else {
                let device = self.devices.get_mut(&name).expect("due");
                let outputs = device.fire(which, moment, &self.world);
                self.put(outputs);
            }
        }
        // What was deleted long enough ago is forgotten; with a device of that name, its delete counts as long as the
        // policy says.
        let (devices, now, retention) =
            (&self.devices, self.world.now, self.world.policy.tombstone_retention);
        self.tombstones.retain(|key, deleted| devices.contains_key(key) || now < *deleted + retention);
    }

    /// DESIGN §3.1: "A change for the whole partition goes through the devices in key order".
    fn for_all(&mut self, mut change: impl FnMut(&mut Device, &World) -> Vec<Value>) {
        let mut outputs = Vec::new();
        for device in self.devices.values_mut() {
            outputs.extend(change(device, &self.world));
        }
        self.put(outputs);
    }

    fn node_down(&mut self, node: &str, down: i64, timed_out: bool) {
        self.for_all(|device, world| device.node_down(node, down, timed_out, world));
    }

    fn node(&mut self, node: &str, status: NodeStatus, started_at: Option<i64>, at: i64) {
        match self.world.nodes.apply(node, status, started_at, at) {
            NodeEffect::Nothing => {}
            NodeEffect::Down => self.node_down(node, at, false),
            NodeEffect::Back => self.for_all(|device, world| device.node_back(node, at, world)),
        }
    }

    /// §12: "A policy takes effect at its arrival, which is the `at` of what it changes"; §11: "re-evaluates every
    /// device at its place in the order, in device order".
    fn policy(&mut self, policy: &Policy, now: i64) {
        let switched_on = policy.infer_sessions && !self.world.policy.infer_sessions;
        self.world.policy = policy.clone();
        self.for_all(|device, world| {
            if switched_on {
                device.channels.values_mut().for_each(sessions::Sessions::forget_activity);
            }
            device.settle_window(world);
            device.settle(now, world)
        });
    }

    fn device_event(&mut self, event: &ModelEvent, now: i64) {
        let key = format!("{}/{}", event.tenant, event.device_id);
        let at = event.observed_at;
        // §2: "For `policy.tombstone_retention` (from the delete's observed time) nothing observed at or before the
        // delete counts".
        let retention = self.world.policy.tombstone_retention;
        if self.tombstones.get(&key).is_some_and(|deleted| at <= *deleted && now < deleted + retention) {
            return;
        }
        if event.body == Body::Delete {
            match self.devices.get_mut(&key) {
                // "observed before the earliest event of the device: ignored".
                Some(device) if at < device.earliest => return,
                Some(device) => {
                    let outputs = device.delete(at, &self.world);
                    self.put(outputs);
                    self.devices.remove(&key);
                }
                // "without a device: the tombstone alone".
                None => {}
            }
            self.tombstones.insert(key, at);
            return;
        }
        // §1: "A device comes into being with the first valid event that names it".
        let world = &self.world;
        let device = self
            .devices
            .entry(key)
            .or_insert_with(|| Device::new(&event.tenant, &event.device_id, at, world));
        let outputs = device.apply(event, &self.world);
        self.put(outputs);
    }
}
