//! Broker nodes: whether they live, and the downs that end the sessions they own (SEMANTICS §3).

use std::collections::BTreeMap;

use super::event::{NodeEvent, NodeStatus};
use super::policy::Policy;
use super::session::NodeEnd;
use super::time::Timestamp;

/// The time-outs of one node that stand, at most.
const TIMEOUTS_MAX: usize = 8;

/// A silence that was taken for a down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeTimeout {
    /// When the node counted as down.
    pub at: Timestamp,
    /// The process that fell silent; only a sign of life with the same value disproves the time-out.
    pub started_at: Option<Timestamp>,
    /// The last sign of life before it.
    pub last_alive: Timestamp,
}

/// What is known of one broker node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Whether it counts as up.
    pub up: bool,
    /// Observed time of the event that set `up` last.
    pub set_at: Timestamp,
    /// The last up or heartbeat.
    pub last_alive: Timestamp,
    /// Silence counts from here at the earliest: the last return of sight.
    pub seen_since: Timestamp,
    /// Whether it ever sent a heartbeat; one that did not is never timed out.
    pub beats: bool,
    /// When its process started, as it said last.
    pub started_at: Option<Timestamp>,
    /// The last down that was said.
    pub said_down: Timestamp,
    /// Time-outs that are not disproved, oldest first.
    pub timeouts: Vec<NodeTimeout>,
}

/// What a node event asks of the devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeChange {
    /// Nothing.
    None,
    /// Observed before the event that set the node's status: ignored.
    Older,
    /// The sessions that it owned at this moment are over.
    Down {
        /// The down.
        at: Timestamp,
        /// Concluded from silence.
        timed_out: bool,
    },
    /// Time-outs were disproved: sessions that they ended may be open still.
    Disproved {
        /// The time of the sign of life.
        at: Timestamp,
    },
}

impl Node {
    fn new() -> Node {
        Node {
            up: false,
            set_at: Timestamp::NEVER,
            last_alive: Timestamp::NEVER,
            seen_since: Timestamp::NEVER,
            beats: false,
            started_at: None,
            said_down: Timestamp::NEVER,
            timeouts: Vec::new(),
        }
    }

    /// When it will count as down if it stays silent.
    pub fn deadline(&self, policy: &Policy) -> Option<Timestamp> {
        (self.up && self.beats).then(|| self.last_alive.max(self.seen_since) + policy.node_timeout)
    }

    /// The down that covers a session connected at `at`. One that was said wins over later silence: no sign of life
    /// takes it back.
    pub fn down_since(&self, at: Timestamp) -> Option<NodeEnd> {
        if at <= self.said_down {
            return Some(NodeEnd { at: self.said_down, timed_out: false });
        }
        let latest = self.timeouts.iter().map(|timeout| timeout.at).max()?;
        (at <= latest).then_some(NodeEnd { at: latest, timed_out: true })
    }

    /// Whether it counts as down because it fell silent, and not because it was said.
    fn is_timed_out(&self) -> bool {
        let fell_silent = self.timeouts.last().is_some_and(|timeout| timeout.last_alive == self.last_alive);
        !self.up && fell_silent && self.set_at == self.last_alive
    }

    /// The time-out is due: the node counts as down from `at` on.
    pub fn time_out(&mut self, at: Timestamp) {
        self.up = false;
        self.timeouts.push(NodeTimeout { at, started_at: self.started_at, last_alive: self.last_alive });
        if self.timeouts.len() > TIMEOUTS_MAX {
            self.timeouts.remove(0);
        }
    }
}

/// The nodes of a partition, by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nodes(pub BTreeMap<Box<str>, Node>);

impl Nodes {
    /// The down that covers a session of `node` connected at `at`.
    pub fn down_since(&self, node: Option<&str>, at: Timestamp) -> Option<NodeEnd> {
        self.0.get(node?)?.down_since(at)
    }

    /// The node that is due next: the smallest (deadline, id).
    pub fn next_due(&self, policy: &Policy) -> Option<(Timestamp, &str)> {
        self.0.iter().filter_map(|(id, node)| Some((node.deadline(policy)?, &**id))).min()
    }

    /// Folds a node event, observed at `at`.
    pub fn apply(&mut self, event: &NodeEvent<'_>, at: Timestamp) -> NodeChange {
        let node = self.0.entry(event.node_id.into()).or_insert_with(Node::new);
        // A down from before the last sign of life is older, too.
        if at < node.set_at {
            return NodeChange::Older;
        }
        match event.status {
            NodeStatus::Down => {
                node.up = false;
                node.set_at = at;
                node.said_down = node.said_down.max(at);
                NodeChange::Down { at, timed_out: false }
            }
            NodeStatus::Up | NodeStatus::Heartbeat => {
                if node.is_timed_out() && at <= node.last_alive {
                    // The same sign of life as the last one before the time-out says nothing new.
                    return NodeChange::Older;
                }
                let mut disproved = false;
                if event.started_at.is_some() {
                    node.timeouts.retain(|timeout| {
                        let same = timeout.started_at == event.started_at && at > timeout.last_alive;
                        disproved |= same;
                        !same
                    });
                    node.started_at = event.started_at;
                } else if event.status == NodeStatus::Up {
                    // It came up, and does not say as which process.
                    node.started_at = None;
                }
                node.up = true;
                node.set_at = at;
                node.last_alive = node.last_alive.max(at);
                node.beats |= event.status == NodeStatus::Heartbeat;
                if disproved { NodeChange::Disproved { at } } else { NodeChange::None }
            }
        }
    }

    /// Sight returned at `at`: the silence of nodes that have not timed out counts from then.
    pub fn sight(&mut self, at: Timestamp) {
        for node in self.0.values_mut().filter(|node| !node.is_timed_out()) {
            node.seen_since = node.seen_since.max(at);
        }
    }
}
