//! A processor for the demo's own tests: devices in a map, nothing kept, nothing journaled. It tells which stories the
//! fleet really brings about, without the engine.

use std::collections::BTreeMap;

use super::fleet::FleetEvent;
use crate::domain::device::Device;
use crate::domain::effect::{Effect, Origin};
use crate::domain::event::{Body, Subject};
use crate::domain::node::{NodeChange, Nodes};
use crate::domain::policy::Policy;
use crate::domain::step::Context;
use crate::domain::time::{Millis, Timestamp};
use crate::wire::decode::{Limits, RawRecord, Scratch, decode};
use crate::wire::reject::Reject;

/// All devices in one partition. A deleted device is forgotten, tombstone and all.
#[derive(Default)]
pub(super) struct StandIn {
    devices: BTreeMap<String, Device>,
    nodes: Nodes,
    policy: Policy,
    now: Now,
    /// What it told: key and effect.
    pub(super) told: Vec<(String, Effect)>,
    pub(super) rejected: Vec<Reject>,
}

/// Never, before the first event.
struct Now(Timestamp);

impl Default for Now {
    fn default() -> Now {
        Now(Timestamp::NEVER)
    }
}

impl StandIn {
    pub(super) fn take(&mut self, event: &FleetEvent) {
        self.advance(event.arrival);
        let scratch = Scratch::new();
        let record = RawRecord {
            key: event.key.as_deref().map(str::as_bytes),
            value: Some(&event.payload),
            content_type: None,
            partition: 0,
            partitions: 1,
        };
        let decoded = match decode(&record, &scratch, &Limits::default()) {
            Ok(decoded) => decoded,
            Err(reject) => return self.rejected.push(reject),
        };
        let at = decoded.observed_at.unwrap_or(event.arrival);
        match decoded.subject {
            Subject::Device { key, body: Body::Delete(body) } => {
                self.with(key, |device, context, out| {
                    device.delete(&body, at, context, out);
                });
                self.devices.remove(key);
            }
            Subject::Device { key, body } => {
                self.devices
                    .entry(key.into())
                    .or_insert_with(|| Device::new(event.arrival, 0, Timestamp::NEVER));
                self.with(key, |device, context, out| {
                    device.apply(&body, at, context, out);
                });
            }
            Subject::Node(node) => match self.nodes.apply(&node, at) {
                NodeChange::Down { at, timed_out } => self.node_down(node.node_id, at, timed_out),
                NodeChange::Disproved { at } => {
                    self.with_all(|device, context, out| {
                        device.node_returned(node.node_id, at, context, out)
                    });
                }
                NodeChange::None | NodeChange::Older => {}
            },
            Subject::Policy(policy) => {
                let before = std::mem::replace(&mut self.policy, *policy);
                self.with_all(|device, context, out| device.policy_changed(&before, context, out));
            }
        }
    }

    /// Moves the clock and fires what is due by then, each at its own time.
    pub(super) fn advance(&mut self, to: Timestamp) {
        loop {
            let node = self.nodes.next_due(&self.policy).map(|(due, id)| (due, id.to_owned()));
            let due = |device: &Device| device.next_due(&self.policy).map(|(due, _)| due);
            let device =
                self.devices.iter().filter_map(|(key, device)| Some((due(device)?, key.clone()))).min();
            match (node, device) {
                (Some((due, id)), device)
                    if due <= to && device.as_ref().is_none_or(|(other, _)| due <= *other) =>
                {
                    self.now = Now(due);
                    self.nodes.0.get_mut(id.as_str()).expect("it is due").time_out(due);
                    self.node_down(&id, due, true);
                }
                (_, Some((due, key))) if due <= to => {
                    self.now = Now(due.max(self.now.0));
                    self.with(&key, Device::fire);
                }
                _ => break,
            }
        }
        self.now = Now(to);
    }

    fn node_down(&mut self, node: &str, at: Timestamp, timed_out: bool) {
        self.with_all(|device, context, out| device.node_down(node, at, timed_out, context, out));
    }

    fn with_all(&mut self, mut act: impl FnMut(&mut Device, &Context<'_>, &mut Vec<Effect>)) {
        for key in self.devices.keys().cloned().collect::<Vec<_>>() {
            self.with(&key, &mut act);
        }
    }

    fn with(&mut self, key: &str, act: impl FnOnce(&mut Device, &Context<'_>, &mut Vec<Effect>)) {
        let Some(device) = self.devices.get_mut(key) else { return };
        let context = Context {
            key,
            now: self.now.0,
            sight: Timestamp::NEVER,
            policy: &self.policy,
            nodes: &self.nodes,
            origin: Origin::Clock,
            event_id: None,
        };
        let mut effects = Vec::new();
        act(device, &context, &mut effects);
        self.told.extend(effects.into_iter().map(|effect| (key.to_owned(), effect)));
    }
}

/// What a fleet brings about within so much time.
pub(super) fn watch(mut fleet: super::fleet::Fleet, start: Timestamp, span: Millis) -> StandIn {
    let mut stand_in = StandIn::default();
    for event in fleet.events_until(start + span) {
        stand_in.take(&event);
    }
    stand_in.advance(start + span);
    stand_in
}
