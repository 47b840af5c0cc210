//! The core of a partition: devices, nodes, policy and timers under one clock. Pure: events and clock readings in,
//! effects out, in one order that does not depend on how the input is cut (DESIGN §3.1).

mod change;
mod undo;

use std::sync::Arc;

use crate::domain::clocks::{Clocks, Quiet};
use crate::domain::device::Device;
use crate::domain::effect::{AuditEntry, Blind, Cause, Effect, EffectKind, Ignored, Origin, Outcome, Rule};
use crate::domain::event::{Body, Delete, Event, NodeEvent, NodeStatus, Subject};
use crate::domain::node::{NodeChange, Nodes};
use crate::domain::policy::Policy;
use crate::domain::step::Context;
use crate::domain::time::Timestamp;
use crate::wire::row::{self, Row, Tombstone};

use super::table::{Kind, Table};
use super::timers::Timers;
pub use change::{Change, Pending};
use undo::BeforeStep;
pub use undo::{Before, Touched};

/// A tombstone as a slot holds it.
pub fn tombstone_bytes(tombstone: &Tombstone) -> Vec<u8> {
    let mut bytes = Vec::new();
    row::encode_row(0, &Row::Tombstone(*tombstone), &mut bytes);
    bytes
}

fn words(reason: Blind) -> &'static str {
    match reason {
        Blind::Backlog => "records are waiting to be read",
        Blind::Skew => "the clocks of host and brokers disagree, or the host's jumped",
        Blind::Unreadable => "the inputs cannot be read",
        Blind::Silence => "the inputs are silent against their habit",
    }
}

/// An effect and whose it is.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The record key of the device; empty for what concerns the partition as a whole.
    pub key: Box<str>,
    /// The device's birth; of the partition as a whole: the moment itself.
    pub birth: Timestamp,
    /// What is told.
    pub effect: Effect,
}

/// Devices, nodes, policy and timers of one partition.
#[derive(Debug)]
pub struct Core {
    /// The devices.
    pub table: Table,
    /// The nodes.
    pub nodes: Nodes,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// A change under way.
    pub pending: Option<Pending>,
    /// The partition clock.
    pub clock: Timestamp,
    /// The last return of sight.
    pub sight: Timestamp,
    /// Why the monitor is blind, and the clock when that began.
    pub blind: Option<(Blind, Timestamp)>,
    /// Events whose time was clamped, so far.
    pub clamped: u64,
    /// What this step touched, in order of first touch.
    pub touched: Vec<Touched>,
    /// What this step tells.
    pub outputs: Vec<Output>,
    /// Deadlines that this step fired.
    pub fired: u64,
    timers: Timers,
    /// The node that is due next; to be found anew after a change of nodes or policy.
    next_node: Option<Option<(Timestamp, Box<str>)>>,
    /// Number of the step, to know what it touched already.
    step: u32,
    /// Number of the partition's own effects.
    sequence: u64,
    before: BeforeStep,
    scratch: Vec<u8>,
    effects: Vec<Effect>,
}

impl Default for Core {
    fn default() -> Core {
        Core {
            table: Table::default(),
            nodes: Nodes::default(),
            policy: Arc::default(),
            pending: None,
            clock: Timestamp::NEVER,
            sight: Timestamp::NEVER,
            blind: None,
            clamped: 0,
            touched: Vec::new(),
            outputs: Vec::new(),
            fired: 0,
            timers: Timers::default(),
            next_node: None,
            step: 1,
            sequence: 0,
            before: BeforeStep {
                nodes: None,
                policy: Arc::default(),
                pending: None,
                clock: Timestamp::NEVER,
                sight: Timestamp::NEVER,
                blind: None,
                sequence: 0,
            },
            scratch: Vec::new(),
            effects: Vec::new(),
        }
    }
}

/// Whether a step is through with what it was asked, or stopped at its limit of effects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// Through.
    Done,
    /// The limit is reached; ask again, with nothing else in between.
    Full,
}

impl Core {
    /// Forgets what the step before touched and told.
    pub fn begin_step(&mut self) {
        self.touched.clear();
        self.outputs.clear();
        self.fired = 0;
        self.step = self.step.wrapping_add(1);
        self.before = BeforeStep {
            nodes: None,
            policy: self.policy.clone(),
            pending: self.pending.as_ref().map(Pending::without_todo),
            clock: self.clock,
            sight: self.sight,
            blind: self.blind,
            sequence: self.sequence,
        };
    }

    /// The observed time that counts for an event: further ahead than the policy allows, it is the later of append
    /// time and arrival (SEMANTICS §2).
    pub fn clamp(&mut self, observed_at: Timestamp, appended_at: Timestamp, arrival: Timestamp) -> Timestamp {
        let latest = appended_at.max(arrival);
        if observed_at > latest + self.policy.max_future {
            self.clamped += 1;
            return latest;
        }
        observed_at
    }

    /// Moves the clock to `to` and fires what is due by then: the smallest (deadline, device) first, nodes before
    /// devices. `limit` bounds the outputs of the step.
    pub fn advance(&mut self, to: Timestamp, limit: usize) -> Progress {
        assert!(to >= self.clock, "the clock of a partition never goes back: {} after {}", to, self.clock);
        // A change goes through all devices at the moment that it began, before the clock moves on.
        if self.run_change(limit) == Progress::Full {
            return Progress::Full;
        }
        self.clock = to;
        loop {
            if self.run_change(limit) == Progress::Full {
                return Progress::Full;
            }
            let node = self.node_due(to);
            let device = self.timers.next(to);
            if node.is_none() && device.is_none() {
                return Progress::Done;
            }
            match (node, device) {
                (Some(due), device) if device.is_none_or(|(other, _)| due <= other) => {
                    if self.outputs.len() >= limit {
                        return Progress::Full;
                    }
                    self.time_out_node();
                }
                (_, Some((due, _))) => {
                    if self.fire_moment(due, limit) == Progress::Full {
                        return Progress::Full;
                    }
                }
                _ => return Progress::Done,
            }
        }
    }

    /// Looks at every device whose entry is due at `moment`, in key order.
    fn fire_moment(&mut self, moment: Timestamp, limit: usize) -> Progress {
        let mut numbers = Vec::new();
        while let Some((due, number)) = self.timers.next(moment)
            && due == moment
        {
            self.timers.take();
            numbers.push(number);
        }
        if numbers.len() > 1 {
            self.table.sort_by_key(&mut numbers);
            numbers.dedup();
        }
        // Entries are left where they are when deadlines move, otherwise in each process: whether the step is full must
        // hang on true deadlines alone.
        let mut progress = Progress::Done;
        for number in numbers {
            let is_full = self.outputs.len() >= limit;
            if self.fire_device(number, moment, is_full) && is_full {
                progress = Progress::Full;
            }
        }
        progress
    }

    /// Fires what is due of one device at `moment`, or leaves it armed where the step is full; arms it for what follows.
    /// Whether anything was due.
    fn fire_device(&mut self, number: u32, moment: Timestamp, is_full: bool) -> bool {
        let mut device = None;
        let due = match self.table.slot(number).kind() {
            Kind::Free => None,
            Kind::Tombstone => Some(self.tombstone(number).deleted_at + self.policy.tombstone_retention),
            Kind::Live => device.insert(self.device(number)).next_due(&self.policy).map(|(due, _)| due),
        };
        let is_due = due.is_some_and(|due| due <= moment);
        if !is_due || is_full {
            self.timers.arm(number, if is_due { Some(moment) } else { due });
            return is_due;
        }
        let Some(mut device) = device else {
            self.fired += 1;
            self.touch_all(number);
            self.table.remove(number);
            self.timers.arm(number, None);
            return true;
        };
        let mut fired = 0;
        self.run(number, &mut device, Origin::Clock, None, |device, context, out| {
            while device.next_due(context.policy).is_some_and(|(due, _)| due <= moment) {
                device.fire(context, out);
                fired += 1;
            }
        });
        self.fired += fired;
        true
    }

    fn tombstone(&self, number: u32) -> Tombstone {
        match row::decode_row(self.table.slot(number).row()) {
            Ok((_, Row::Tombstone(tombstone))) => tombstone,
            other => panic!("a tombstone in memory is one that we wrote, not {other:?}"),
        }
    }

    /// When the node that is due next is, if that is at or before `to`.
    fn node_due(&mut self, to: Timestamp) -> Option<Timestamp> {
        let (nodes, policy) = (&self.nodes, &self.policy);
        let next =
            self.next_node.get_or_insert_with(|| nodes.next_due(policy).map(|(due, id)| (due, id.into())));
        next.as_ref().map(|(due, _)| *due).filter(|due| *due <= to)
    }

    fn time_out_node(&mut self) {
        let Some(Some((due, id))) = self.next_node.take() else { return };
        self.fired += 1;
        self.keep_nodes();
        let Some(node) = self.nodes.0.get_mut(&id) else { return };
        node.time_out(due);
        let sentence = format!("Node {id} fell silent; it counts as down since {}.", due.time_of_day());
        self.audit(due, Rule::NodeTimedOut, Origin::Clock, "node", &id, "up", "down (timed out)", sentence);
        self.start_change(Change::NodeDown { node: id, at: due, timed_out: true }, Origin::Clock);
    }

    /// Tells the outcome of something that concerns the partition as a whole.
    #[allow(clippy::too_many_arguments)]
    fn audit(
        &mut self,
        at: Timestamp,
        rule: Rule,
        origin: Origin,
        command: &'static str,
        subject: &str,
        before: &str,
        after: &str,
        sentence: String,
    ) {
        self.sequence += 1;
        self.tell(at, rule, origin, command, subject, before, after, sentence);
    }

    #[allow(clippy::too_many_arguments)]
    fn tell(
        &mut self,
        at: Timestamp,
        rule: Rule,
        origin: Origin,
        command: &'static str,
        subject: &str,
        before: &str,
        after: &str,
        sentence: String,
    ) {
        let entry = AuditEntry {
            command,
            outcome: Outcome::Applied,
            actor: None,
            subject: Some(subject.into()),
            before: before.into(),
            after: after.into(),
            note: None,
        };
        let cause = Cause { rule, origin, deadline: None, event_id: None, sentence };
        let effect = Effect {
            sequence: self.sequence,
            at,
            recorded_at: self.clock,
            cause,
            kind: EffectKind::Audit(entry),
        };
        self.outputs.push(Output { key: Box::default(), birth: self.clock, effect });
    }

    /// Folds an event that arrives at the clock. `observed_at` has been clamped. What was due before it has fired:
    /// [`Core::advance`] first. A change that it brings goes on in the next [`Core::advance`].
    pub fn apply(&mut self, event: &Event<'_>, observed_at: Timestamp, origin: Origin) -> Outcome {
        match &event.subject {
            Subject::Device { key, body } => {
                self.apply_device(key, body, observed_at, origin, event.event_id)
            }
            Subject::Node(node) => self.apply_node(node, observed_at, origin),
            Subject::Policy(policy) => {
                let name = |policy: &Policy| policy.version.clone().unwrap_or_else(|| "unnamed".into());
                let (before, after) = (name(&self.policy), name(policy));
                let sentence = format!("Policy {after} is in force since {}.", self.clock.time_of_day());
                self.audit(
                    self.clock,
                    Rule::PolicyChanged,
                    origin,
                    "policy",
                    &after,
                    &before,
                    &after,
                    sentence,
                );
                let before = std::mem::replace(&mut self.policy, Arc::new((**policy).clone()));
                self.next_node = None;
                self.start_change(Change::Policy { before }, origin);
                Outcome::Applied
            }
        }
    }

    fn apply_node(&mut self, event: &NodeEvent<'_>, at: Timestamp, origin: Origin) -> Outcome {
        self.next_node = None;
        let was_up = self.nodes.0.get(event.node_id).map(|node| node.up);
        self.keep_nodes();
        let change = self.nodes.apply(event, at);
        let id = event.node_id;
        let word = |up: Option<bool>| match up {
            None => "unknown",
            Some(true) => "up",
            Some(false) => "down",
        };
        let is_up = self.nodes.0.get(id).map(|node| node.up);
        if was_up != is_up && event.status != NodeStatus::Heartbeat
            || was_up == Some(false) && is_up == Some(true)
        {
            let rule = if is_up == Some(true) { Rule::NodeTimeoutDisproved } else { Rule::NodeDown };
            let sentence = format!("Node {id} is {} since {}.", word(is_up), at.time_of_day());
            self.audit(at, rule, origin, "node", id, word(was_up), word(is_up), sentence);
        }
        match change {
            NodeChange::None => Outcome::Applied,
            NodeChange::Older => Outcome::Ignored(Ignored::Older),
            NodeChange::Down { at, timed_out } => {
                self.start_change(Change::NodeDown { node: id.into(), at, timed_out }, origin);
                Outcome::Applied
            }
            NodeChange::Disproved { at } => {
                self.start_change(Change::NodeReturned { node: id.into(), at }, origin);
                Outcome::Applied
            }
        }
    }

    /// Sight returns at `at`, which is the clock from then on: before any deadline of that moment.
    pub fn see(&mut self, at: Timestamp) {
        assert!(at >= self.clock, "sight cannot return before the clock");
        self.clock = at;
        self.sight = at;
        self.keep_nodes();
        self.nodes.sight(at);
        self.next_node = None;
        let sentence = format!("The monitor sees again since {}.", at.time_of_day());
        self.audit(at, Rule::Sight, Origin::Clock, "sight", "", "blind", "sees", sentence);
        self.start_change(Change::Sight, Origin::Clock);
    }

    /// Tells where a blind spell begins or ends, or its reason changes. It has no number among the partition's
    /// effects: they are those that `fold` tells too, and the engine alone is ever blind.
    pub fn look(&mut self, blind: Option<Blind>) {
        let now = self.clock;
        if self.blind.map(|(blind, _)| blind) == blind {
            return;
        }
        if let Some((reason, since)) = self.blind.take() {
            let sentence = format!(
                "The monitor was blind from {} to {}: {}. No deadline was judged before it saw again.",
                since.time_of_day(),
                now.time_of_day(),
                words(reason)
            );
            let (before, after) = (format!("blind since {since}"), format!("sees since {now}"));
            self.tell(now, Rule::BlindOver, Origin::Clock, "blind", reason.word(), &before, &after, sentence);
        }
        if let Some(reason) = blind {
            let sentence = format!(
                "The monitor cannot judge what is later than {}: {}. The clock waits.",
                now.time_of_day(),
                words(reason)
            );
            let after = format!("blind since {now}");
            self.tell(now, Rule::Blind, Origin::Clock, "blind", reason.word(), "sees", &after, sentence);
            self.blind = Some((reason, now));
        }
    }

    /// Tells that records are lost, and that this was accepted; `what`: which.
    pub fn lose(&mut self, what: &str) {
        let sentence = format!("Records were lost before they were read, and that was accepted: {what}.");
        self.tell(self.clock, Rule::Gap, Origin::Clock, "accept_loss", "", "", what, sentence);
    }

    fn apply_device(
        &mut self,
        key: &str,
        body: &Body<'_>,
        at: Timestamp,
        origin: Origin,
        event_id: Option<&str>,
    ) -> Outcome {
        let Some(number) = self.table.find(key) else {
            if let Body::Delete(_) = body {
                let number = self.birth(key);
                self.bury(number, Tombstone { deleted_at: at, sequence: 0, number });
                return Outcome::Applied;
            }
            let number = self.birth(key);
            let mut device = Device::new(self.clock, 0, Timestamp::NEVER);
            return self.fold(number, &mut device, body, at, origin, event_id);
        };
        let slot = self.table.slot_mut(number);
        if slot.kind() == Kind::Tombstone {
            return self.apply_to_tombstone(number, body, at, origin, event_id);
        }
        if let Body::Activity(activity) = body {
            let before = slot.packed_clocks();
            let mut clocks = slot.clocks();
            if clocks.absorb(slot.quiet(), activity, at, &self.policy) {
                slot.set_clocks(&clocks);
                if slot.touch(self.step) {
                    self.touched.push(Touched { number, clocks: before, rest: None });
                }
                return Outcome::Applied;
            }
        }
        let mut device = self.device(number);
        if let Body::Delete(delete) = body {
            return self.delete(number, &mut device, delete, at, origin, event_id);
        }
        self.fold(number, &mut device, body, at, origin, event_id)
    }

    fn apply_to_tombstone(
        &mut self,
        number: u32,
        body: &Body<'_>,
        at: Timestamp,
        origin: Origin,
        event_id: Option<&str>,
    ) -> Outcome {
        let tombstone = self.tombstone(number);
        if at <= tombstone.deleted_at {
            return Outcome::Ignored(Ignored::Deleted);
        }
        if let Body::Delete(_) = body {
            self.bury(number, Tombstone { deleted_at: at, ..tombstone });
            return Outcome::Applied;
        }
        self.touch_all(number);
        self.table.slot_mut(number).set_kind(Kind::Live);
        let mut device = Device::new(self.clock, tombstone.sequence, tombstone.deleted_at);
        self.fold(number, &mut device, body, at, origin, event_id)
    }

    fn delete(
        &mut self,
        number: u32,
        device: &mut Device,
        body: &Delete<'_>,
        at: Timestamp,
        origin: Origin,
        event_id: Option<&str>,
    ) -> Outcome {
        let mut outcome = Outcome::Applied;
        self.run(number, device, origin, event_id, |device, context, out| {
            outcome = device.delete(body, at, context, out);
        });
        if outcome == Outcome::Applied {
            self.bury(number, Tombstone { deleted_at: at, sequence: device.sequence, number });
        }
        outcome
    }

    fn bury(&mut self, number: u32, tombstone: Tombstone) {
        self.touch_all(number);
        let slot = self.table.slot_mut(number);
        slot.set_kind(Kind::Tombstone);
        slot.set_clocks(&Clocks::default());
        slot.set_quiet(Quiet::default());
        slot.set_row(&tombstone_bytes(&tombstone));
        self.timers.arm(number, Some(tombstone.deleted_at + self.policy.tombstone_retention));
    }

    fn birth(&mut self, key: &str) -> u32 {
        let number = self.table.insert(key);
        let slot = self.table.slot_mut(number);
        let clocks = slot.packed_clocks();
        slot.rewrite(self.step);
        let rest = Before { kind: Kind::Free, key: key.into(), row: Box::default(), quiet: Quiet::default() };
        self.touched.push(Touched { number, clocks, rest: Some(Box::new(rest)) });
        number
    }

    /// The device in a live slot.
    pub fn device(&self, number: u32) -> Device {
        let slot = self.table.slot(number);
        row::decode_facts(slot.row(), slot.clocks()).expect("a row in memory is one that we wrote")
    }

    fn fold(
        &mut self,
        number: u32,
        device: &mut Device,
        body: &Body<'_>,
        at: Timestamp,
        origin: Origin,
        event_id: Option<&str>,
    ) -> Outcome {
        let mut outcome = Outcome::Applied;
        self.run(number, device, origin, event_id, |device, context, out| {
            outcome = device.apply(body, at, context, out);
        });
        outcome
    }

    fn with_device(
        &mut self,
        number: u32,
        origin: Origin,
        event_id: Option<&str>,
        act: impl FnOnce(&mut Device, &Context<'_>, &mut Vec<Effect>),
    ) {
        let mut device = self.device(number);
        self.run(number, &mut device, origin, event_id, act);
    }

    /// Lets `act` change a device, stores it, arms its timer, collects what it tells.
    fn run(
        &mut self,
        number: u32,
        device: &mut Device,
        origin: Origin,
        event_id: Option<&str>,
        act: impl FnOnce(&mut Device, &Context<'_>, &mut Vec<Effect>),
    ) {
        let mut effects = std::mem::take(&mut self.effects);
        let context = Context {
            key: self.table.slot(number).key(),
            now: self.clock,
            sight: self.sight,
            policy: &self.policy,
            nodes: &self.nodes,
            origin,
            event_id,
        };
        act(device, &context, &mut effects);
        for effect in effects.drain(..) {
            self.outputs.push(Output {
                key: self.table.slot(number).key().into(),
                birth: device.birth,
                effect,
            });
        }
        self.effects = effects;
        self.store(number, device);
    }

    fn store(&mut self, number: u32, device: &Device) {
        self.scratch.clear();
        row::encode_facts(device, &mut self.scratch);
        let slot = self.table.slot_mut(number);
        // A clock that is forgotten (inference switched on) is more than a pack can tell.
        let forgets = slot.clocks().channels.iter().zip(&device.clocks.channels).any(|(old, new)| new < old);
        let same_row = *slot.row() == *self.scratch && !forgets;
        if !same_row {
            self.touch_all(number);
        } else if slot.touch(self.step) {
            let clocks = slot.packed_clocks();
            self.touched.push(Touched { number, clocks, rest: None });
        }
        let due = device.next_due(&self.policy).map(|(due, _)| due);
        let slot = self.table.slot_mut(number);
        if !same_row {
            slot.set_row(&self.scratch);
        }
        slot.set_clocks(&device.clocks);
        slot.set_quiet(device.quiet());
        self.timers.arm(number, due);
    }

    /// Arms the timer of a slot by what stands there.
    pub fn arm(&mut self, number: u32) {
        if number >= self.table.capacity() {
            return;
        }
        let due = match self.table.slot(number).kind() {
            Kind::Free => None,
            Kind::Tombstone => Some(self.tombstone(number).deleted_at + self.policy.tombstone_retention),
            Kind::Live => self.device(number).next_due(&self.policy).map(|(due, _)| due),
        };
        self.timers.arm(number, due);
    }
}
