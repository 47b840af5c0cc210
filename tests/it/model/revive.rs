//! Sessions that come back, and those that a node takes with it: SEMANTICS §3 (Disproof, node down) and §12.

use super::input::{Channel, Initiator, SessionRef};
use super::nodes::Nodes;
use super::sessions::{Act, Log, Sessions};

impl Sessions {
    /// An activity that could prove something: not last_will, not via_application, on a session channel, and
    /// `infer_sessions` is on.
    pub fn activity(&mut self, session: &SessionRef, at: i64) -> Vec<Log> {
        let act = Act { session: session.clone(), observed_at: at };
        let mut logs = Vec::new();
        if self.proves(&act) {
            logs.push(self.infer(&act));
        }
        self.activity.push(act);
        logs
    }

    /// "… whichever of the two arrives first": after the channel was left without a session. "Of that before a late
    /// disconnect, the latest"; §12: "Of two proving activities at one time the later arrival counts."
    pub fn infer_from_before(&mut self) -> Vec<Log> {
        let proving =
            self.activity.iter().filter(|act| self.proves(act)).max_by_key(|act| act.observed_at).cloned();
        proving.map(|act| vec![self.infer(&act)]).unwrap_or_default()
    }

    /// §12: "With infer_sessions switched on, activity that arrived before proves nothing."
    pub fn forget_activity(&mut self) {
        self.activity.clear();
    }

    fn proves(&self, act: &Act) -> bool {
        // "observed after the recorded disconnect".
        if self.current.is_some() || self.recorded().is_none_or(|end| act.observed_at <= end.at) {
            return false;
        }
        if act.session.id.is_none() {
            return true;
        }
        // "that does not name a closed session"; "that names a session older than the newest known proves nothing";
        // §12: "its observed_at standing for the connect".
        self.find_closed(act.session.id.as_deref()).is_none()
            && !self.is_stale(&Self::evidence(&act.session, act.observed_at))
    }

    fn infer(&mut self, act: &Act) -> Log {
        let index = self.add();
        self.all[index].id = act.session.id.clone();
        self.all[index].evidence = Self::evidence(&act.session, act.observed_at);
        self.all[index].inferred = true;
        self.open(index, act.observed_at);
        self.log("CONNECTED", act.session.id.clone(), act.observed_at, &["inferred"])
    }

    /// "every session that the node owns and that was connected at or before the down ends with initiator network".
    pub fn node_down(&mut self, node: &str, down: i64, timed_out: bool) -> Vec<Log> {
        let owned = self.current.is_some_and(|i| {
            let session = &self.all[i];
            session.node.as_deref() == Some(node) && session.evidence.observed_at.is_some_and(|at| at <= down)
        });
        if !owned {
            return Vec::new();
        }
        let index = self.end_current(down, Initiator::Network, None, false);
        self.all[index].timed_out = timed_out;
        let mut log = self.log("DISCONNECTED_BY_NETWORK", self.all[index].id.clone(), down, &[]);
        log.duration = self.duration(index, down);
        vec![log]
    }

    /// "sessions that it ended, with nothing newer known on their channel, reopen as inferred at the time of that
    /// event"; §12 says which stay ended. The disproved time-outs do not stand any more when this is called.
    pub fn node_back(&mut self, node: &str, nodes: &Nodes, at: i64) -> Vec<Log> {
        let Some(index) = self.newest.filter(|_| self.current.is_none()) else { return Vec::new() };
        let session = &self.all[index];
        let ended_by_it = session.timed_out && session.node.as_deref() == Some(node);
        let connected = session.evidence.observed_at.unwrap_or(i64::MIN);
        if self.channel == Channel::LongPoll
            || !ended_by_it
            || !session.disconnects.is_empty()
            || nodes.covers(node, connected)
        {
            return Vec::new();
        }
        self.open(index, at);
        self.all[index].inferred = true;
        self.all[index].timed_out = false;
        vec![self.log("CONNECTED", self.all[index].id.clone(), at, &["inferred"])]
    }
}
