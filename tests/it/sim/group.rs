//! The group of the simulation: members, generations, range assignment, sessions that end.

use std::collections::BTreeMap;

use super::cluster::Ms;
use super::trace::Trace;

/// What a member's heartbeat is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pulse {
    Fine,
    /// Everybody joins anew.
    Rebalance,
    /// Put out: its session ended.
    Unknown,
    /// Another process has its instance id.
    Replaced,
}

#[derive(Debug)]
struct Member {
    instance: Option<String>,
    heard: Ms,
    /// Its process runs, so that its heartbeats come.
    is_alive: bool,
    /// It waits for the next generation.
    has_joined: bool,
    assigned: Vec<u32>,
}

#[derive(Debug)]
pub struct Group {
    pub generation: i32,
    members: BTreeMap<u64, Member>,
    replaced: Vec<u64>,
    /// A rebalance is under way; who has not joined by then is out.
    until: Option<Ms>,
    next: u64,
    session_timeout: Ms,
    rebalance_timeout: Ms,
}

impl Group {
    pub fn new(session_timeout: Ms, rebalance_timeout: Ms) -> Group {
        Group {
            generation: 0,
            members: BTreeMap::new(),
            replaced: Vec::new(),
            until: None,
            next: 1,
            session_timeout,
            rebalance_timeout,
        }
    }

    /// A new member, or the same instance again, which gets what it had, without a rebalance.
    pub fn join(&mut self, instance: Option<&str>, now: Ms) -> u64 {
        let id = self.next;
        self.next += 1;
        let known = instance.and_then(|instance| {
            self.members.iter().find(|(_, member)| member.instance.as_deref() == Some(instance))
        });
        let mut member = Member {
            instance: instance.map(str::to_owned),
            heard: now,
            is_alive: true,
            has_joined: true,
            assigned: Vec::new(),
        };
        if let Some((&old, _)) = known {
            let before = self.members.remove(&old);
            self.replaced.push(old);
            if self.until.is_none() {
                member.assigned = before.map(|before| before.assigned).unwrap_or_default();
                self.members.insert(id, member);
                return id;
            }
        }
        self.members.insert(id, member);
        self.rebalance(now);
        id
    }

    fn rebalance(&mut self, now: Ms) {
        if self.until.is_none() {
            self.until = Some(now + self.rebalance_timeout);
            for member in self.members.values_mut() {
                // Who has nothing to give back joins by itself; the others after they have given it back.
                member.has_joined = member.assigned.is_empty();
            }
        }
    }

    pub fn pulse(&mut self, id: u64, now: Ms) -> Pulse {
        if self.replaced.contains(&id) {
            return Pulse::Replaced;
        }
        let is_rebalancing = self.until.is_some();
        let Some(member) = self.members.get_mut(&id) else { return Pulse::Unknown };
        member.heard = now;
        if is_rebalancing && !member.has_joined { Pulse::Rebalance } else { Pulse::Fine }
    }

    /// Gave back what it had, and waits for the next generation.
    pub fn rejoin(&mut self, id: u64, now: Ms) {
        if let Some(member) = self.members.get_mut(&id) {
            member.has_joined = true;
            member.assigned.clear();
            member.heard = now;
        }
    }

    pub fn leave(&mut self, id: u64, now: Ms) {
        if self.members.remove(&id).is_some() {
            self.until = None;
            self.rebalance(now);
        }
    }

    /// Whether its process runs.
    pub fn set_alive(&mut self, id: u64, is_alive: bool, now: Ms) {
        if let Some(member) = self.members.get_mut(&id) {
            if member.is_alive {
                member.heard = now;
            }
            member.is_alive = is_alive;
        }
    }

    /// What a member has, and since which generation, once that is decided.
    pub fn assignment(&self, id: u64) -> Option<(i32, Vec<u32>)> {
        let member = self.members.get(&id)?;
        (self.until.is_none()).then(|| (self.generation, member.assigned.clone()))
    }

    pub fn is_member(&self, id: u64, generation: i32) -> bool {
        self.members.contains_key(&id) && self.generation == generation
    }

    pub fn has(&self, id: u64) -> bool {
        self.members.contains_key(&id)
    }

    /// Ends sessions and rebalances whose time is up; completes a rebalance that everybody has joined.
    pub fn scan(&mut self, now: Ms, partitions: u32, trace: &mut Trace) {
        let limit = self.session_timeout;
        for member in self.members.values_mut().filter(|member| member.is_alive) {
            member.heard = now;
        }
        let before = self.members.len();
        self.members.retain(|id, member| {
            let stays = now - member.heard <= limit;
            if !stays {
                trace.note(now, || format!("member {id} is put out: nothing heard of it"));
            }
            stays
        });
        if self.members.len() < before && self.until.is_none() {
            self.rebalance(now);
        }
        self.complete(now, partitions, trace);
    }

    pub fn complete(&mut self, now: Ms, partitions: u32, trace: &mut Trace) {
        let Some(until) = self.until else { return };
        if until <= now {
            self.members.retain(|_, member| member.has_joined);
        }
        if self.members.is_empty() || !self.members.values().all(|member| member.has_joined) {
            return;
        }
        self.until = None;
        self.generation += 1;
        // Range: in the order of ids, the first ones get one more where it does not divide.
        let mut order: Vec<(Option<String>, u64)> =
            self.members.iter().map(|(id, member)| (member.instance.clone(), *id)).collect();
        order.sort();
        let count = order.len() as u32;
        let mut next = 0;
        for (place, (_, id)) in order.iter().enumerate() {
            let share = partitions / count + u32::from((place as u32) < partitions % count);
            if let Some(member) = self.members.get_mut(id) {
                member.assigned = (next..next + share).collect();
            }
            next += share;
        }
        let generation = self.generation;
        trace.note(now, || format!("generation {generation}: {order:?}"));
    }
}
