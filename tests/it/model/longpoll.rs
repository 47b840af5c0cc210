//! long_poll: SEMANTICS §3 (last rule) and §12 (last of "Sessions").

use super::input::Initiator;
use super::nodes::Nodes;
use super::sessions::{Connect, Log, Sessions, Taken};

impl Sessions {
    /// §3: "the session ends `policy.long_poll_linger` after the last poll"; §9: a long poll that has not lapsed
    /// counts from sight at the earliest.
    pub fn lapse_at(&self, linger: i64) -> Option<i64> {
        let last = self.all[self.current?].last_poll?;
        Some(last.max(self.sight.unwrap_or(i64::MIN)) + linger)
    }

    /// "the end as DISCONNECTED_BY_NETWORK, flag lapsed".
    pub fn lapse(&mut self, at: i64) -> Vec<Log> {
        let index = self.end_current(at, Initiator::Network, None, true);
        self.all[index].lapsed = true;
        let mut log = self.log("DISCONNECTED_BY_NETWORK", self.all[index].id.clone(), at, &["lapsed"]);
        log.duration = self.duration(index, at);
        vec![log]
    }

    /// A poll: a `connected`, or (`logged` false) an activity on the channel, which is logged only if it opens.
    pub fn poll(
        &mut self,
        c: &Connect,
        is_connect: bool,
        linger: i64,
        sight: Option<i64>,
        nodes: &Nodes,
    ) -> Taken {
        let id = c.session.id.as_deref();
        let current = self.current.filter(|i| id.is_none() || self.all[*i].id.as_deref() == id);
        let closed = self.find_closed(id);
        if is_connect {
            // §12 *Exact duplicate*: same kind, channel, session and observed_at.
            let known = if id.is_none() { None } else { current.or(closed) };
            let again = known.is_some_and(|i| self.all[i].connects.contains(&c.at));
            let repeated = id.is_none() && self.last_connect.as_ref() == Some(&(c.session.clone(), c.at));
            if again || repeated {
                return None;
            }
            self.last_connect = Some((c.session.clone(), c.at));
        }
        let newest_before = self.newest_poll;
        self.newest_poll = Some(newest_before.map_or(c.at, |t| t.max(c.at)));

        // "on long_poll it prolongs"; "a poll without an id prolongs the current one".
        if let Some(index) = current {
            self.touch(index, c.at, is_connect);
            return Some(Vec::new());
        }
        // The session that the poll is of: the closed one that it names, or, without an id, the last one.
        let last_one = self.newest.filter(|_| self.current.is_none() && id.is_none());
        let logs = match closed.or(last_one) {
            Some(index) => self.poll_of_closed(c, index, is_connect, linger, sight, newest_before, nodes),
            None => self.poll_of_unknown(c, None, is_connect, nodes),
        };
        Some(logs)
    }

    fn touch(&mut self, index: usize, at: i64, is_connect: bool) {
        let session = &mut self.all[index];
        session.first_poll = Some(session.first_poll.map_or(at, |t| t.min(at)));
        session.last_poll = Some(session.last_poll.map_or(at, |t| t.max(at)));
        if is_connect {
            session.connects.push(at);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn poll_of_closed(
        &mut self,
        c: &Connect,
        index: usize,
        is_connect: bool,
        linger: i64,
        sight: Option<i64>,
        newest_before: Option<i64>,
        nodes: &Nodes,
    ) -> Vec<Log> {
        let session = &self.all[index];
        let disconnected = session.disconnects.iter().copied().max();
        let node = c.node.map(str::to_string).or(session.node.clone());
        let by_disconnect = disconnected.is_some_and(|end| c.at <= end);
        let by_node = nodes.last_down(node.as_deref()).is_some_and(|down| c.at <= down);
        // §12: "A poll observed at or before its session's disconnect or its node's down opens nothing".
        if by_disconnect || by_node {
            if !session.connect_seen && is_connect {
                // §3: its disconnect overtook it: it takes its place, or is stale.
                let log = self.take_connect(c, Some(index), nodes);
                self.touch_only(index, c.at);
                return vec![log];
            }
            // "one before its session's disconnect and its first poll, or before its node's down, is logged as late".
            let before_first = session.first_poll.is_none_or(|first| c.at < first);
            let late = is_connect && (by_node || before_first);
            self.touch(index, c.at, is_connect);
            let flags = ["late"];
            return if late {
                vec![self.log("CONNECTED", c.session.id.clone(), c.at, &flags)]
            } else {
                Vec::new()
            };
        }
        let is_last = self.newest == Some(index) && self.current.is_none();
        let last = session.last_poll;
        // "one observed before the lapse prolongs in hindsight"; §12: "one after a disconnect but before the lapse
        // prolongs"; "a poll from before [the last sight] changes nothing in hindsight".
        let lapse = self.ends.iter().filter(|e| e.session == index && e.lapse).map(|e| e.at).max();
        let lapse = if session.lapsed { lapse } else { last.map(|t| t + linger) };
        if is_last && lapse.is_some_and(|lapse| c.at < lapse) {
            let further = last.is_some_and(|last| c.at > last);
            let seen = sight.is_none_or(|sight| c.at >= sight);
            let reopens = seen && (further || !self.all[index].lapsed);
            self.touch(index, c.at, is_connect);
            if reopens {
                if self.all[index].lapsed {
                    self.ends.retain(|end| !(end.session == index && end.lapse && Some(end.at) == lapse));
                }
                self.all[index].lapsed = false;
                let opened = self.all[index].opened_at.unwrap_or(c.at);
                self.open(index, opened);
            }
            return Vec::new();
        }
        if c.session.id.is_none() {
            return self.poll_of_unknown(c, None, is_connect, nodes);
        }
        // "opens the session anew, and so does the newest poll of the channel with the id of a closed session";
        // §12: "a poll of a closed session that is not the channel's newest changes nothing and is not logged".
        if newest_before.is_some_and(|newest| c.at < newest) {
            if is_connect {
                self.all[index].connects.push(c.at);
            }
            return Vec::new();
        }
        self.supersede(c.at);
        let session = &mut self.all[index];
        session.evidence.observed_at = Some(c.at);
        session.evidence.sequence = c.session.sequence.clone().or(session.evidence.sequence.take());
        session.evidence.started_at = c.session.started_at.or(session.evidence.started_at);
        session.node = node;
        session.can_receive = c.can_receive;
        session.connect_seen = true;
        session.lapsed = false;
        session.first_poll = None;
        session.last_poll = None;
        self.touch(index, c.at, is_connect);
        self.sight = None;
        self.open(index, c.at);
        vec![self.log("CONNECTED", c.session.id.clone(), c.at, &[])]
    }

    fn touch_only(&mut self, index: usize, at: i64) {
        let session = &mut self.all[index];
        session.first_poll = Some(session.first_poll.map_or(at, |t| t.min(at)));
        session.last_poll = Some(session.last_poll.map_or(at, |t| t.max(at)));
    }

    /// A poll of a session that is not known: as on any channel.
    fn poll_of_unknown(
        &mut self,
        c: &Connect,
        known: Option<usize>,
        is_connect: bool,
        nodes: &Nodes,
    ) -> Vec<Log> {
        if !is_connect && self.is_stale(&Self::evidence(c.session, c.at)) {
            return Vec::new();
        }
        let count = self.all.len();
        let log = self.take_connect(c, known, nodes);
        self.touch_only(count, c.at);
        if self.current == Some(count) {
            self.sight = None;
        }
        vec![log]
    }
}
