//! What a step touched and how it was before: for the journal, and to undo a step whose transaction was aborted.

use std::sync::Arc;

use crate::domain::clocks::Quiet;
use crate::domain::effect::Blind;
use crate::domain::node::Nodes;
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::engine::table::{Kind, PackedClocks};

use super::Core;
use super::change::{Change, Pending};

/// How a device was before the step that touched it first.
#[derive(Debug)]
pub struct Touched {
    /// Its number.
    pub number: u32,
    /// Its clocks before.
    pub clocks: PackedClocks,
    /// The rest before, if more than its clocks was touched. Most have none.
    pub rest: Option<Box<Before>>,
}

/// What a slot held besides its clocks.
#[derive(Debug)]
pub struct Before {
    /// What stood there.
    pub kind: Kind,
    /// Its key; kept for a slot that is freed.
    pub key: Box<str>,
    /// Its row.
    pub row: Box<[u8]>,
    /// Its quiet bits.
    pub quiet: Quiet,
}

/// What the step before left, besides the devices.
#[derive(Clone, Debug)]
pub(super) struct BeforeStep {
    /// `None` while they are the same: most steps change none, and there may be many.
    pub(super) nodes: Option<Nodes>,
    pub(super) policy: Arc<Policy>,
    pub(super) pending: Option<Pending>,
    pub(super) clock: Timestamp,
    pub(super) sight: Timestamp,
    pub(super) blind: Option<(Blind, Timestamp)>,
    pub(super) sequence: u64,
}

impl Core {
    /// Keeps how a slot was, row and all, if this step did not yet. A slot whose clocks were kept before has two
    /// entries then; undone in reverse, both count.
    pub(super) fn touch_all(&mut self, number: u32) {
        let slot = self.table.slot_mut(number);
        if !slot.rewrite(self.step) {
            return;
        }
        let (key, row) = (slot.key().into(), slot.row().into());
        let rest = Before { kind: slot.kind(), key, row, quiet: slot.quiet() };
        self.touched.push(Touched { number, clocks: slot.packed_clocks(), rest: Some(Box::new(rest)) });
    }

    /// Makes everything as it was before this step: its transaction was aborted.
    pub fn roll_back(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        for Touched { number, clocks, rest } in touched.iter().rev() {
            if let Some(before) = rest {
                let is_free = self.table.slot(*number).kind() == Kind::Free;
                match (before.kind, is_free) {
                    (Kind::Free, false) => {
                        self.table.remove(*number);
                        continue;
                    }
                    (Kind::Free, true) => continue,
                    (_, true) => self.table.insert_at(*number, &before.key, &[]),
                    (_, false) => {}
                }
                let slot = self.table.slot_mut(*number);
                slot.set_kind(before.kind);
                slot.set_row(&before.row);
                slot.set_quiet(before.quiet);
            }
            self.table.slot_mut(*number).set_clocks(*clocks);
        }
        self.table.rebuild_free();
        let before = self.before.clone();
        if let Some(nodes) = before.nodes {
            self.nodes = nodes;
        }
        self.policy = before.policy;
        self.next_node = None;
        self.pending = before.pending;
        self.clock = before.clock;
        self.sight = before.sight;
        self.blind = before.blind;
        self.sequence = before.sequence;
        for Touched { number, .. } in &touched {
            self.arm(*number);
        }
        self.begin_step();
    }

    /// Keeps how the nodes were, if this step did not yet: they are about to change.
    pub(super) fn keep_nodes(&mut self) {
        if self.before.nodes.is_none() {
            self.before.nodes = Some(self.nodes.clone());
        }
    }

    /// The nodes before this step.
    pub fn nodes_before(&self) -> &Nodes {
        self.before.nodes.as_ref().unwrap_or(&self.nodes)
    }

    /// Whether the policy in force, or the one it replaces, is another than before this step.
    pub fn policy_moved(&self) -> bool {
        !Arc::ptr_eq(&self.policy, &self.before.policy)
            || self.predecessor().is_some() != Self::predecessor_of(&self.before.pending).is_some()
    }

    /// The policy before the one in force, while the change goes on.
    pub fn predecessor(&self) -> Option<&Policy> {
        Self::predecessor_of(&self.pending)
    }

    fn predecessor_of(pending: &Option<Pending>) -> Option<&Policy> {
        match &pending.as_ref()?.change {
            Change::Policy { before } => Some(before),
            _ => None,
        }
    }

    /// Whether what concerns the partition as a whole is another than before this step.
    pub fn partition_moved(&self) -> bool {
        self.sight != self.before.sight
            || self.blind != self.before.blind
            || self.sequence != self.before.sequence
            || self.pending.is_some()
            || self.before.pending.is_some()
    }

    /// After recovery: what the partition's row says.
    pub fn set_facts(&mut self, sight: Timestamp, blind: Option<(Blind, Timestamp)>, sequence: u64) {
        self.sight = sight;
        self.blind = blind;
        self.sequence = sequence;
    }

    /// After recovery: makes the slot's hot part, and arms its timer.
    pub fn prepare(&mut self, number: u32) {
        if self.table.slot(number).kind() == Kind::Live {
            let quiet = self.device(number).quiet();
            self.table.slot_mut(number).set_quiet(quiet);
        }
        self.arm(number);
    }

    /// Number of the partition's own effects, so far.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}
