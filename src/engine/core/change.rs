//! Changes for the whole partition: a node's down or return, a policy, sight. Each goes through all devices in key
//! order before anything later happens, and may stop and go on between two devices.

use std::sync::Arc;

use crate::domain::effect::Origin;
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::engine::table::Kind;
use crate::wire::row::{PendingChange, PendingKind};

use super::{Core, Progress};

/// A step ends in the midst of a change that has touched so many devices.
const TOUCHED_MAX: usize = 20_000;

/// A change that goes through all devices in key order before anything later happens.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A node went down: its sessions are over.
    NodeDown {
        /// The node.
        node: Box<str>,
        /// The down.
        at: Timestamp,
        /// Concluded from silence.
        timed_out: bool,
    },
    /// A node's time-out was disproved.
    NodeReturned {
        /// The node.
        node: Box<str>,
        /// The sign of life.
        at: Timestamp,
    },
    /// Another policy is in force.
    Policy {
        /// The one before.
        before: Arc<Policy>,
    },
    /// The monitor sees again.
    Sight,
}

/// A change under way.
#[derive(Clone, PartialEq, Debug)]
pub struct Pending {
    /// What changes.
    pub change: Change,
    /// The record that brought it.
    pub origin: Origin,
    /// The last device that it went through.
    pub after: Option<Box<str>>,
    /// Devices it has yet to go through, in reverse; made anew where it was lost.
    pub(super) todo: Option<Vec<u32>>,
}

impl Pending {
    /// A change that goes on after recovery. Of a policy the predecessor is in its own row.
    pub fn resume(change: PendingChange, predecessor: Option<Policy>) -> Pending {
        let PendingChange { kind, origin, after } = change;
        let change = match kind {
            PendingKind::NodeDown { node, at, timed_out } => Change::NodeDown { node, at, timed_out },
            PendingKind::NodeReturned { node, at } => Change::NodeReturned { node, at },
            PendingKind::Policy => Change::Policy { before: Arc::new(predecessor.unwrap_or_default()) },
            PendingKind::Sight => Change::Sight,
        };
        Pending { change, origin, after, todo: None }
    }

    /// Enough to go on from here: what is left to do can be as much as there are devices.
    pub(super) fn without_todo(&self) -> Pending {
        Pending { change: self.change.clone(), origin: self.origin, after: self.after.clone(), todo: None }
    }

    /// As the partition's row has it.
    pub fn to_row(&self) -> PendingChange {
        let kind = match &self.change {
            Change::NodeDown { node, at, timed_out } => {
                PendingKind::NodeDown { node: node.clone(), at: *at, timed_out: *timed_out }
            }
            Change::NodeReturned { node, at } => PendingKind::NodeReturned { node: node.clone(), at: *at },
            Change::Policy { .. } => PendingKind::Policy,
            Change::Sight => PendingKind::Sight,
        };
        PendingChange { kind, origin: self.origin, after: self.after.clone() }
    }
}

impl Core {
    pub(super) fn start_change(&mut self, change: Change, origin: Origin) {
        assert!(self.pending.is_none(), "one change at a time");
        self.pending = Some(Pending { change, origin, after: None, todo: None });
    }

    /// Goes on with the change under way. It must be through before anything later happens.
    ///
    /// It stops where the step has told so much, or touched [`TOUCHED_MAX`] devices: a change can give every device another
    /// row and tell nothing (the return of sight does), and all rows of a large partition are too many for one transaction.
    pub(super) fn run_change(&mut self, limit: usize) -> Progress {
        let Some(mut pending) = self.pending.take() else { return Progress::Done };
        let after = pending.after.as_deref();
        let mut todo = pending.todo.take().unwrap_or_else(|| {
            let mut todo = self.table.in_key_order(after);
            todo.reverse();
            todo
        });
        let mut last = None;
        while let Some(number) = todo.last().copied() {
            if self.outputs.len() >= limit || self.touched.len() >= TOUCHED_MAX {
                if let Some(last) = last {
                    pending.after = Some(self.table.slot(last).key().into());
                }
                pending.todo = Some(todo);
                self.pending = Some(pending);
                return Progress::Full;
            }
            todo.pop();
            last = Some(number);
            self.change_device(number, &pending);
        }
        Progress::Done
    }

    fn change_device(&mut self, number: u32, pending: &Pending) {
        let slot = self.table.slot(number);
        if slot.kind() == Kind::Tombstone {
            if matches!(pending.change, Change::Policy { .. }) {
                let due = self.tombstone(number).deleted_at + self.policy.tombstone_retention;
                self.timers.arm(number, Some(due));
            }
            return;
        }
        if let Change::NodeDown { node, .. } | Change::NodeReturned { node, .. } = &pending.change
            && memchr::memmem::find(slot.row(), node.as_bytes()).is_none()
        {
            // The row does not even mention the node.
            return;
        }
        self.with_device(number, pending.origin, None, |device, context, out| match &pending.change {
            Change::NodeDown { node, at, timed_out } => {
                if device.knows_node(node) {
                    device.node_down(node, *at, *timed_out, context, out);
                }
            }
            Change::NodeReturned { node, at } => {
                if device.knows_node(node) {
                    device.node_returned(node, *at, context, out);
                }
            }
            Change::Policy { before } => device.policy_changed(before, context, out),
            Change::Sight => device.sight(context, out),
        });
    }
}
