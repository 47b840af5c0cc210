//! Sessions that come back, and those that a node takes with it: SEMANTICS §3 (Disproof, node down) and §12.

use super::input::{Channel, SessionRef};
use super::nodes::Nodes;
use super::sessions::{Act, Log, Sessions};

impl Sessions {
    /// An activity that could prove something: not last_will, not via_application, on a session channel, and
    /// `infer_sessions` is on.
    pub fn activity(&mut self, session: &SessionRef, at: i64) -> Vec<Log> {
        let act = Act { session: session.clone(), observed_at: at };
        // §12: "Of two proving activities at one time the later arrival counts."
        if *session == SessionRef::default() {
            self.nameless = self.nameless.max(Some(at));
            self.named.take_if(|named| named.observed_at == at);
        } else if self.may_prove(&act) && self.named.as_ref().is_none_or(|known| known.observed_at <= at) {
            self.named = Some(act);
        }
        self.infer()
    }

    /// §12: "With infer_sessions switched on, activity that arrived before proves nothing."
    pub fn forget_activity(&mut self) {
        self.nameless = None;
        self.named = None;
    }

    /// "… that does not name a closed session", nor the current one; "activity that names a session older than the
    /// newest known proves nothing"; §12: "its observed_at standing for the connect".
    fn may_prove(&self, act: &Act) -> bool {
        let id = act.session.id.as_deref();
        let known = self.find_over(id).is_some() || self.is_current(id).is_some();
        !known && !self.is_stale(&Self::evidence(&act.session, Some(act.observed_at)))
    }

    /// "… observed after the recorded disconnect, proves that a connect was lost … whichever of the two arrives first."
    pub fn infer(&mut self) -> Vec<Log> {
        let Some(end) = self.recorded().filter(|_| self.current.is_none()) else { return Vec::new() };
        if self.named.as_ref().is_some_and(|act| !self.may_prove(act)) {
            self.named = None;
        }
        let named = self.named.clone().filter(|act| act.observed_at > end.at);
        let nameless = self.nameless.filter(|at| *at > end.at);
        let act = match (named, nameless) {
            (Some(act), nameless) if nameless.is_none_or(|at| act.observed_at >= at) => act,
            (_, Some(observed_at)) => Act { session: SessionRef::default(), observed_at },
            _ => return Vec::new(),
        };
        let index = self.add();
        self.all[index].id = act.session.id.clone();
        self.all[index].evidence = Self::evidence(&act.session, Some(act.observed_at));
        self.all[index].inferred = true;
        self.open(index, act.observed_at);
        vec![self.log("CONNECTED", act.session.id.clone(), act.observed_at, &["inferred"])]
    }

    /// "every session that the node owns and that was connected at or before the down ends with initiator network".
    pub fn node_down(&mut self, node: &str, down: i64, timed_out: bool) -> Vec<Log> {
        let Some(index) = self.current.filter(|i| {
            let session = &self.all[*i];
            session.node.as_deref() == Some(node) && session.evidence.observed_at.is_some_and(|at| at <= down)
        }) else {
            return Vec::new();
        };
        self.current = None;
        self.all[index].node_end = Some((down, timed_out));
        let mut log = self.log("DISCONNECTED_BY_NETWORK", self.all[index].id.clone(), down, &[]);
        log.duration = self.duration(index, down);
        vec![log]
    }

    /// "sessions that it ended, with nothing newer known on their channel, reopen as inferred at the time of that
    /// event"; §12 says which stay ended. The disproved time-outs do not stand any more when this is called: they
    /// never happened, and ended nothing.
    pub fn node_back(&mut self, node: &str, nodes: &Nodes, at: i64) -> Vec<Log> {
        if self.channel == Channel::LongPoll {
            return Vec::new();
        }
        let mut logs = Vec::new();
        let newest_since = self.newest.and_then(|i| self.all[i].evidence.observed_at);
        for i in self.over() {
            let session = &mut self.all[i];
            if session.node.as_deref() != Some(node)
                || session.node_end.is_none_or(|(_, timed_out)| !timed_out)
            {
                continue;
            }
            // "or that another standing time-out covers, stays ended".
            session.node_end = nodes.down_of(Some(node), session.evidence.observed_at.unwrap_or(i64::MIN));
            let over =
                session.node_end.is_some() || !session.disconnects.is_empty() || session.superseded.is_some();
            if self.newest != Some(i) {
                if !over {
                    session.superseded = newest_since;
                }
            } else if !over {
                self.current = Some(i);
                logs.push(self.log("CONNECTED", self.all[i].id.clone(), at, &["inferred"]));
            }
        }
        logs
    }
}
