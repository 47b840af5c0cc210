//! Broker nodes of the partition: SEMANTICS §2 (`node`), §3 (node down), §9 (sight), §12.

use super::input::NodeStatus;
use super::policy::Policy;
use std::collections::BTreeMap;

/// A verdict of ours: silent for `policy.node_timeout`.
#[derive(Clone, Debug)]
pub struct TimeOut {
    pub moment: i64,
    /// The `started_at` that the node had before it.
    pub started_at: Option<i64>,
    pub last_sign_before: i64,
    /// False once a sign of life disproved it.
    pub standing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Said so.
    Down,
    TimedOut,
}

#[derive(Clone, Debug)]
pub struct Node {
    state: State,
    /// observed_at of the last control event that counted.
    set_at: i64,
    last_sign: Option<i64>,
    heartbeat_seen: bool,
    started_at: Option<i64>,
    said_downs: Vec<i64>,
    time_outs: Vec<TimeOut>,
    /// §9: counts from it at the earliest.
    sight: Option<i64>,
}

/// What a node event means for the sessions.
#[derive(Debug, PartialEq, Eq)]
pub enum NodeEffect {
    Nothing,
    Down,
    /// A time-out is disproved.
    Back,
}

#[derive(Clone, Debug, Default)]
pub struct Nodes {
    pub nodes: BTreeMap<String, Node>,
}

impl Nodes {
    pub fn apply(&mut self, id: &str, status: NodeStatus, started_at: Option<i64>, at: i64) -> NodeEffect {
        let node = self.nodes.entry(id.to_string()).or_insert(Node {
            state: State::Up,
            set_at: i64::MIN,
            last_sign: None,
            heartbeat_seen: false,
            started_at: None,
            said_downs: Vec::new(),
            time_outs: Vec::new(),
            sight: None,
        });
        // §2: "A control event observed before the one that set the same fact is ignored (equal: the later wins)".
        if at < node.set_at {
            return NodeEffect::Nothing;
        }
        if status == NodeStatus::Down {
            node.set_at = at;
            // One of the very moment of the last sign of life does not make a time-out a said down.
            if node.state != State::TimedOut || node.last_sign != Some(at) {
                node.state = State::Down;
            }
            node.said_downs.push(at);
            return NodeEffect::Down;
        }
        // §12: "A time-out of a node is disproved only by a sign of life later than the last one before it": one at
        // that time says nothing new.
        if node.state == State::TimedOut && node.last_sign.is_some_and(|last| at <= last) {
            return NodeEffect::Nothing;
        }
        let mut back = false;
        for time_out in &mut node.time_outs {
            // §3: "with the `started_at` that the node had before its time-out"; both must be known.
            // §12: "Every time-out with that started_at is disproved".
            let same = started_at.is_some() && time_out.started_at == started_at;
            if time_out.standing && same && at > time_out.last_sign_before {
                time_out.standing = false;
                back = true;
            }
        }
        node.set_at = at;
        node.state = State::Up;
        node.last_sign = Some(node.last_sign.map_or(at, |last| last.max(at)));
        node.heartbeat_seen |= status == NodeStatus::Heartbeat;
        // An up that does not say as which process it came up: that is not known, then.
        if started_at.is_some() || status == NodeStatus::Up {
            node.started_at = started_at;
        }
        if back { NodeEffect::Back } else { NodeEffect::Nothing }
    }

    /// §3: silent for `policy.node_timeout` after at least one heartbeat; "at 60 s".
    pub fn deadline(&self, id: &str, policy: &Policy) -> Option<i64> {
        let node = &self.nodes[id];
        if node.state != State::Up || !node.heartbeat_seen {
            return None;
        }
        // §9 Sight: counts from it at the earliest.
        Some(node.last_sign?.max(node.sight.unwrap_or(i64::MIN)) + policy.node_timeout)
    }

    pub fn time_out(&mut self, id: &str, moment: i64) {
        let node = self.nodes.get_mut(id).expect("known");
        node.state = State::TimedOut;
        let last_sign_before = node.last_sign.expect("it gave a heartbeat");
        node.time_outs.push(TimeOut {
            moment,
            started_at: node.started_at,
            last_sign_before,
            standing: true,
        });
    }

    /// The down that covers a session connected at that time, and whether it is a time-out. §3: "observed at or before
    /// its node's last known down"; a time-out that was disproved is none. One that was said wins over a time-out after
    /// it: §12, "sessions connected at or before a down that was said stay ended".
    pub fn down_of(&self, id: Option<&str>, connected_at: i64) -> Option<(i64, bool)> {
        let node = self.nodes.get(id?)?;
        let timed = node.time_outs.iter().filter(|t| t.standing).map(|t| t.moment).max();
        let said = node.said_downs.iter().copied().max();
        let covers = |down: &i64| connected_at <= *down;
        said.filter(covers).map(|at| (at, false)).or(timed.filter(covers).map(|at| (at, true)))
    }

    /// §9: "a node that has not timed out likewise".
    pub fn see(&mut self, at: i64) {
        for node in self.nodes.values_mut() {
            if node.state != State::TimedOut {
                node.sight = Some(at);
            }
        }
    }
}
