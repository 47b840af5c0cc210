//! long_poll: SEMANTICS §3 (last rule) and §12 (last of "Sessions").

use super::nodes::Nodes;
use super::sessions::{Connect, Log, Session, Sessions};

/// How many polls that came late are known of a session.
const EARLY: usize = 8;

impl Session {
    /// "the session ends `policy.long_poll_linger` after the last poll"; §9: a long poll that has not lapsed counts
    /// from sight at the earliest; §12: "the lapse stays the last poll + linger".
    fn lapse(&self, linger: i64) -> i64 {
        self.lapsed.unwrap_or_else(|| self.last_poll.max(self.sight).unwrap_or(i64::MIN) + linger)
    }

    fn first_poll(&self) -> Option<i64> {
        self.early_polls.iter().copied().chain(self.evidence.observed_at).min()
    }

    /// Of a session's polls the first, the last and those that were logged as late are known.
    fn knows_poll(&self, at: i64) -> bool {
        self.evidence.observed_at == Some(at) || self.last_poll == Some(at) || self.early_polls.contains(&at)
    }

    fn keep_early(&mut self, at: i64) {
        if self.early_polls.len() == EARLY {
            let first = self.first_poll();
            let out = self.early_polls.iter().position(|t| Some(*t) != first).unwrap_or(0);
            self.early_polls.remove(out);
        }
        self.early_polls.push(at);
    }
}

impl Sessions {
    pub fn lapse_at(&self, linger: i64) -> Option<i64> {
        Some(self.all[self.current?].lapse(linger))
    }

    /// "the end as DISCONNECTED_BY_NETWORK, flag lapsed".
    pub fn lapse(&mut self, at: i64) -> Vec<Log> {
        let index = self.current.take().expect("due");
        self.all[index].lapsed = Some(at);
        let mut log = self.log("DISCONNECTED_BY_NETWORK", self.all[index].id.clone(), at, &["lapsed"]);
        log.duration = self.duration(index, at);
        vec![log]
    }

    /// A poll: a `connected`, or an activity on the channel.
    pub fn poll(&mut self, c: &Connect, linger: i64, sight: Option<i64>, nodes: &Nodes) -> Vec<Log> {
        let id = c.session.id.as_deref();
        // "on long_poll it prolongs"; "a poll without an id prolongs the current one".
        if let Some(index) = self.current.filter(|i| id.is_none() || self.all[*i].id.as_deref() == id) {
            let session = &mut self.all[index];
            if session.first_poll().is_none_or(|first| c.at < first) {
                session.keep_early(c.at);
            }
            session.last_poll = session.last_poll.max(Some(c.at));
            return Vec::new();
        }
        // The session that the poll is of: the closed one that it names, or, without an id, the last one.
        let last_one = self.newest.filter(|_| self.current.is_none() && id.is_none());
        match self.find_over(id).or(last_one) {
            Some(index) => self.poll_of_closed(c, index, linger, sight, nodes),
            None => vec![self.take_connect(c, nodes)],
        }
    }

    fn poll_of_closed(
        &mut self,
        c: &Connect,
        index: usize,
        linger: i64,
        sight: Option<i64>,
        nodes: &Nodes,
    ) -> Vec<Log> {
        let newest_poll = self.remembered().into_iter().filter_map(|i| self.all[i].last_poll).max();
        let session = &mut self.all[index];
        let disconnected = session.disconnects.iter().map(|end| end.at).max();
        let by_node = nodes.down_of(c.node.or(session.node.as_deref()), c.at).is_some();
        // §12: "A poll observed at or before its session's disconnect or its node's down opens nothing".
        if by_node || disconnected.is_some_and(|end| c.at <= end) {
            if !session.is_known() {
                // §3: its disconnect overtook it: it takes its place, or is stale.
                return vec![self.take_connect(c, nodes)];
            }
            // "one before its session's disconnect and its first poll, or before its node's down, is logged as late".
            let before_first = session.first_poll().is_none_or(|first| c.at < first);
            let late = !session.knows_poll(c.at) && (by_node || before_first);
            if late {
                session.keep_early(c.at);
            }
            session.last_poll = session.last_poll.max(Some(c.at));
            return if late {
                vec![self.log("CONNECTED", c.session.id.clone(), c.at, &["late"])]
            } else {
                Vec::new()
            };
        }
        // "one observed before the lapse prolongs in hindsight"; §12: "one after a disconnect but before the lapse
        // prolongs"; "a poll from before [the last sight] changes nothing in hindsight".
        if self.newest == Some(index) && c.at < session.lapse(linger) {
            let news = if session.lapsed.is_some() {
                Some(c.at) > session.last_poll
            } else {
                !session.knows_poll(c.at)
            };
            if news && sight.is_none_or(|sight| c.at >= sight) {
                session.last_poll = session.last_poll.max(Some(c.at));
                session.lapsed = None;
                session.node_end = None;
                self.current = Some(index);
            }
            return Vec::new();
        }
        // "one observed after it, or at it, opens the session anew": without an id, a session without one.
        if c.session.id.is_none() {
            return vec![self.take_connect(c, nodes)];
        }
        // "and so does the newest poll of the channel with the id of a closed session"; §12: "a poll of a closed
        // session that is not the channel's newest changes nothing and is not logged".
        if newest_poll.is_some_and(|newest| c.at <= newest) {
            return Vec::new();
        }
        let past = self.all[index].clone();
        self.closed.retain(|i| *i != index);
        if self.newest == Some(index) {
            self.newest = None;
        }
        let anew = self.add();
        let session = &mut self.all[anew];
        session.id = past.id;
        session.evidence.sequence = c.session.sequence.clone().or(past.evidence.sequence);
        session.evidence.started_at = c.session.started_at.or(past.evidence.started_at);
        session.evidence.observed_at = Some(c.at);
        session.node = c.node.map(str::to_string);
        session.can_receive = c.can_receive;
        // Its disconnects and notices are known on: the same again is a duplicate.
        session.disconnects = past.disconnects;
        session.takeovers = past.takeovers;
        session.last_poll = Some(c.at);
        self.open(anew, c.at);
        vec![self.log("CONNECTED", c.session.id.clone(), c.at, &[])]
    }
}
