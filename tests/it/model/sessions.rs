//! Sessions of one channel: the ordering law of SEMANTICS §3 and §12.
//!
//! Sessions are numbers into one list that only grows; which of them are remembered, and what the channel says, is
//! looked up in it anew each time.

use super::input::{Channel, Initiator, SessionRef};
use super::nodes::Nodes;

/// What the older-than law compares (§3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    pub sequence: Option<String>,
    pub started_at: Option<i64>,
    pub observed_at: Option<i64>,
}

/// §2: a number of up to 256 bits, hexadecimal text: compared as a number.
fn number(text: &str) -> (usize, String) {
    let digits = text.trim_start_matches('0').to_ascii_lowercase();
    (digits.len(), digits)
}

/// §3: "*Older* compares two sessions by `sequence` where both carry one, then `started_at`, then observed_at; a tie,
/// or evidence that only one side carries, falls to the next kind."
pub fn older(a: &Evidence, b: &Evidence) -> bool {
    if let (Some(x), Some(y)) = (&a.sequence, &b.sequence)
        && number(x) != number(y)
    {
        return number(x) < number(y);
    }
    if let (Some(x), Some(y)) = (a.started_at, b.started_at)
        && x != y
    {
        return x < y;
    }
    matches!((a.observed_at, b.observed_at), (Some(x), Some(y)) if x < y)
}

/// A disconnect.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub at: i64,
    pub cause: Initiator,
    pub code: Option<i64>,
}

impl End {
    fn by_network(at: i64) -> End {
        End { at, cause: Initiator::Network, code: None }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Session {
    pub id: Option<String>,
    /// `observed_at` is that of its connect, or of the activity that proves it; none if only its end is known.
    pub evidence: Evidence,
    pub node: Option<String>,
    pub can_receive: bool,
    pub inferred: bool,
    /// Its own.
    pub disconnects: Vec<End>,
    /// Its node's down, and whether it is a time-out.
    pub node_end: Option<(i64, bool)>,
    /// §3: "a superseded one ended when the newer one connected".
    pub superseded: Option<i64>,
    pub takeovers: Vec<i64>,
    /// long_poll only.
    pub last_poll: Option<i64>,
    pub early_polls: Vec<i64>,
    pub sight: Option<i64>,
    pub lapsed: Option<i64>,
}

impl Session {
    pub fn is_known(&self) -> bool {
        self.evidence.observed_at.is_some()
    }

    /// All its disconnects, of whatever kind; the last of equal times is its own.
    fn ends(&self) -> Vec<End> {
        let mut ends: Vec<End> = self.node_end.iter().map(|(at, _)| End::by_network(*at)).collect();
        ends.extend(self.lapsed.map(End::by_network));
        ends.extend(&self.disconnects);
        ends
    }

    fn ended_at(&self) -> Option<i64> {
        self.ends().iter().map(|end| end.at).max().max(self.superseded)
    }

    fn is_over(&self) -> bool {
        self.ended_at().is_some()
    }
}

#[derive(Clone, Debug)]
pub struct Act {
    pub session: SessionRef,
    pub observed_at: i64,
}

/// One entry of the connection log (§7); what is `None` in the outer option is not compared.
#[derive(Clone, Debug)]
pub struct Log {
    pub kind: &'static str,
    pub channel: Channel,
    pub session: Option<Option<String>>,
    pub at: i64,
    pub flags: Vec<&'static str>,
    pub duration: Option<i64>,
    pub reason: Option<i64>,
}

pub struct Connect<'a> {
    pub session: &'a SessionRef,
    pub node: Option<&'a str>,
    pub can_receive: bool,
    pub at: i64,
}

pub struct Disconnect<'a> {
    pub session: &'a SessionRef,
    pub node: Option<&'a str>,
    pub initiator: Initiator,
    pub code: Option<i64>,
    pub at: i64,
}

/// `None`: an exact duplicate, counted and not logged again.
pub type Taken = Option<Vec<Log>>;

#[derive(Clone, Debug)]
pub struct Sessions {
    pub channel: Channel,
    pub all: Vec<Session>,
    pub current: Option<usize>,
    /// §12: "The newest session known is remembered apart from the 8."
    pub newest: Option<usize>,
    /// The 8, in the order in which they came here.
    pub closed: Vec<usize>,
    /// Of the sessions that are not remembered: the latest end that counted when it was forgotten.
    stray: Option<(Evidence, End)>,
    /// DESIGN §3.2: of the activity that could prove a session, the last that named none is known, and one that named
    /// one; "of that before a late disconnect, the latest".
    pub nameless: Option<i64>,
    pub named: Option<Act>,
    failed: Vec<i64>,
    last_connect: Option<(SessionRef, i64)>,
    last_disconnect: Option<(SessionRef, i64)>,
    last_takeover: Option<(SessionRef, i64)>,
}

impl Sessions {
    pub fn new(channel: Channel) -> Self {
        Sessions {
            channel,
            all: Vec::new(),
            current: None,
            newest: None,
            closed: Vec::new(),
            stray: None,
            nameless: None,
            named: None,
            failed: Vec::new(),
            last_connect: None,
            last_disconnect: None,
            last_takeover: None,
        }
    }

    pub fn log(&self, kind: &'static str, session: Option<String>, at: i64, flags: &[&'static str]) -> Log {
        let channel = self.channel;
        Log { kind, channel, session: Some(session), at, flags: flags.to_vec(), duration: None, reason: None }
    }

    /// Those that are over and remembered: the 8, then the newest.
    pub fn over(&self) -> Vec<usize> {
        let newest = self.newest.filter(|_| self.current.is_none());
        self.closed.iter().copied().chain(newest).collect()
    }

    pub fn remembered(&self) -> Vec<usize> {
        self.over().into_iter().chain(self.current).collect()
    }

    pub fn find_over(&self, id: Option<&str>) -> Option<usize> {
        let id = id?;
        self.over().into_iter().find(|i| self.all[*i].id.as_deref() == Some(id))
    }

    pub fn is_current(&self, id: Option<&str>) -> Option<usize> {
        self.current.filter(|i| id.is_some() && self.all[*i].id.as_deref() == id)
    }

    /// §3: "an end does not count if, as known now, a newer session had connected before it".
    fn counts(&self, evidence: &Evidence, end: &End) -> bool {
        !self.remembered().into_iter().any(|i| {
            let other = &self.all[i].evidence;
            other.observed_at.is_some_and(|connected| connected < end.at) && older(evidence, other)
        })
    }

    /// §3: "The recorded disconnect (time, cause) is the latest end known on the channel".
    pub fn recorded(&self) -> Option<End> {
        let mut ends: Vec<(Evidence, End)> = self.stray.iter().cloned().collect();
        for i in self.over() {
            ends.extend(self.all[i].ends().into_iter().map(|end| (self.all[i].evidence.clone(), end)));
        }
        ends.retain(|(evidence, end)| self.counts(evidence, end));
        let mut best: Option<(Evidence, End)> = None;
        for (evidence, end) in ends {
            best = match best {
                Some(known) if known.1.at > end.at => Some(known),
                // Of equal ends that of the newer session: so the order of arrival does not matter.
                Some(known) if known.1.at == end.at && older(&evidence, &known.0) => Some(known),
                _ => Some((evidence, end)),
            };
        }
        best.map(|(_, end)| end)
    }

    /// Puts a session among the 8: §3, "the earliest-ended is forgotten first, of equal ends the first to arrive".
    fn remember(&mut self, index: usize) {
        self.closed.push(index);
        if self.closed.len() > 8 {
            let first = (0..self.closed.len()).min_by_key(|i| (self.all[self.closed[*i]].ended_at(), *i));
            let forgotten = self.closed.remove(first.expect("nine of them"));
            let evidence = self.all[forgotten].evidence.clone();
            for end in self.all[forgotten].ends() {
                if self.counts(&evidence, &end) {
                    self.keep_stray(evidence.clone(), end);
                }
            }
        }
    }

    fn keep_stray(&mut self, evidence: Evidence, end: End) {
        if self.stray.as_ref().is_none_or(|(_, known)| known.at <= end.at) {
            self.stray = Some((evidence, end));
        }
    }

    /// §3: "an open predecessor is superseded (taken over), never disconnected"; it "ended when the newer one
    /// connected". A closed one that was the newest is one of the 8 from now on.
    fn retire_newest(&mut self, at: i64) {
        let Some(index) = self.newest.take() else { return };
        if self.current.take().is_some() {
            self.all[index].superseded = Some(at);
        }
        self.remember(index);
    }

    /// It is the newest now, and open.
    pub fn open(&mut self, index: usize, at: i64) {
        self.retire_newest(at);
        self.newest = Some(index);
        self.current = Some(index);
    }

    pub fn duration(&self, index: usize, at: i64) -> Option<i64> {
        let began = self.all[index].evidence.observed_at?;
        (at >= began).then_some(at - began)
    }

    pub fn evidence(session: &SessionRef, at: Option<i64>) -> Evidence {
        Evidence { sequence: session.sequence.clone(), started_at: session.started_at, observed_at: at }
    }

    pub fn is_stale(&self, evidence: &Evidence) -> bool {
        self.newest.is_some_and(|n| older(evidence, &self.all[n].evidence))
    }

    /// §12 *Exact duplicate*, without an id: "as the last one of that kind on the channel; its sequence and started_at
    /// belong to the session".
    fn repeats(last: &Option<(SessionRef, i64)>, session: &SessionRef, at: i64) -> bool {
        session.id.is_none() && last.as_ref().is_some_and(|(s, t)| s == session && *t == at)
    }

    /// A connect on any channel but long_poll.
    pub fn connect(&mut self, c: &Connect, nodes: &Nodes) -> Taken {
        let id = c.session.id.as_deref();
        // §3: "same id as the current open session: a duplicate, ignored".
        if let Some(index) = self.is_current(id) {
            // Of an inferred session this is the connect: it is known from now on.
            self.all[index].inferred = false;
            return None;
        }
        if Self::repeats(&self.last_connect, c.session, c.at) {
            return None;
        }
        let known = self.find_over(id);
        // §12: "A further connect with the id of a closed session whose connect is known is one, whatever its time".
        // That of an inferred session, which took its id from its disconnect, is not known.
        if known.is_some_and(|i| self.all[i].is_known() && !self.all[i].inferred) {
            return None;
        }
        self.last_connect = Some((c.session.clone(), c.at));
        let log = match known {
            Some(index) if self.newest == Some(index) => self.take_connect_of_inferred(c, index, nodes),
            _ => self.take_connect(c, nodes),
        };
        Some(vec![log])
    }

    fn learn(&mut self, index: usize, c: &Connect) {
        let session = &mut self.all[index];
        session.id = c.session.id.clone().or(session.id.take());
        // §12: "its sequence and started_at belong to the session".
        session.evidence.sequence = c.session.sequence.clone().or(session.evidence.sequence.take());
        session.evidence.started_at = c.session.started_at.or(session.evidence.started_at);
        session.evidence.observed_at = Some(c.at);
        session.node = c.node.map(str::to_string);
        session.can_receive = c.can_receive;
        session.inferred = false;
        session.last_poll = Some(c.at);
    }

    /// A connect that is no duplicate, of a session that is neither the current nor the newest one.
    pub fn take_connect(&mut self, c: &Connect, nodes: &Nodes) -> Log {
        let id = c.session.id.as_deref();
        let log = |sessions: &Self, flags| sessions.log("CONNECTED", c.session.id.clone(), c.at, flags);
        let known = self.closed.iter().copied().find(|i| id.is_some() && self.all[*i].id.as_deref() == id);
        let index = known.unwrap_or_else(|| self.add());
        self.learn(index, c);
        let evidence = self.all[index].evidence.clone();
        // §3: "Observed at or before its node's last known down: likewise over already".
        let down = nodes.down_of(c.node, c.at);
        if self.is_stale(&evidence) {
            let newest = self.newest.expect("it is older than something");
            if known.is_some() {
                return log(self, &["stale"]);
            }
            // §3: "A connect that is older only than an open inferred session that has no id is the lost one: the
            // session takes its id, evidence, node and time; logged as late"; §12: "gives can_receive_operations too;
            // not if its id is that of a closed session, or its node went down since: then it is stale".
            let inferred =
                self.current == Some(newest) && self.all[newest].inferred && self.all[newest].id.is_none();
            let older_than_others = self
                .over()
                .into_iter()
                .any(|i| self.all[i].is_known() && older(&evidence, &self.all[i].evidence));
            if inferred && down.is_none() && !older_than_others {
                self.learn(newest, c);
                return log(self, &["late"]);
            }
            // §12: "A stale session ended when the newest known connected".
            self.all[index].superseded = self.all[newest].evidence.observed_at;
            self.remember(index);
            return log(self, &["stale"]);
        }
        self.closed.retain(|i| *i != index);
        self.all[index].node_end = down;
        if !self.all[index].is_over() {
            // §3: "Otherwise it becomes current".
            self.open(index, c.at);
            return log(self, &[]);
        }
        // §3: "it takes its place as a session that is over already, so it supersedes an older one and leaves the
        // device disconnected; logged as late".
        self.retire_newest(c.at);
        self.newest = Some(index);
        log(self, &["late"])
    }

    /// The newest session was inferred and took its id from its disconnect; here is its connect. It is not older than
    /// itself: what counts are the others.
    fn take_connect_of_inferred(&mut self, c: &Connect, index: usize, nodes: &Nodes) -> Log {
        self.learn(index, c);
        let mut newest: Option<usize> = None;
        for i in self.closed.clone().into_iter().filter(|i| self.all[*i].is_known()) {
            if newest.is_none_or(|n| !older(&self.all[i].evidence, &self.all[n].evidence)) {
                newest = Some(i);
            }
        }
        if let Some(newest) = newest
            && older(&self.all[index].evidence, &self.all[newest].evidence)
        {
            self.closed.retain(|i| *i != newest);
            self.newest = Some(newest);
            self.remember(index);
            return self.log("CONNECTED", c.session.id.clone(), c.at, &["stale"]);
        }
        self.all[index].node_end = nodes.down_of(c.node, c.at);
        self.log("CONNECTED", c.session.id.clone(), c.at, &["late"])
    }

    pub fn add(&mut self) -> usize {
        self.all.push(Session { can_receive: true, ..Session::default() });
        self.all.len() - 1
    }

    pub fn taken_over(&mut self, d: &Disconnect) -> Taken {
        let id = d.session.id.as_deref();
        let known = self.is_current(id).or(self.find_over(id));
        if Self::repeats(&self.last_takeover, d.session, d.at) {
            return None;
        }
        if let Some(index) = known {
            if self.all[index].takeovers.contains(&d.at) {
                return None;
            }
            self.all[index].takeovers.push(d.at);
        }
        // §12: "A taken-over notice of an unknown session is logged each time."
        self.last_takeover = Some((d.session.clone(), d.at));
        let mut log = self.log("TAKEN_OVER", d.session.id.clone(), d.at, &[]);
        log.reason = d.code;
        Some(vec![log])
    }

    /// A disconnect whose initiator is not taken_over.
    pub fn disconnect(&mut self, d: &Disconnect) -> Taken {
        let id = d.session.id.as_deref();
        if Self::repeats(&self.last_disconnect, d.session, d.at) {
            return None;
        }
        let over = self.find_over(id);
        let named = self.is_current(id).or(over);
        if named.is_some_and(|i| self.all[i].disconnects.iter().any(|end| end.at == d.at)) {
            return None;
        }
        self.last_disconnect = Some((d.session.clone(), d.at));
        let end = End { at: d.at, cause: d.initiator, code: d.code };
        let kind = match d.initiator {
            Initiator::Client => "DISCONNECTED_BY_CLIENT",
            Initiator::Server => "DISCONNECTED_BY_SERVER",
            Initiator::Network => "DISCONNECTED_BY_NETWORK",
            Initiator::TakenOver => unreachable!("a notice of its own"),
        };
        // §3: "A disconnect that names a remembered closed session never belongs to the current one."
        if over.is_none()
            && let Some(index) = self.current.filter(|i| Self::belongs(d, &self.all[*i]))
        {
            self.current = None;
            self.all[index].disconnects.push(end);
            let mut log = self.log(kind, d.session.id.clone(), d.at, &[]);
            // §3: "without an id it takes that of its disconnect": any session.
            if self.all[index].id.is_none() {
                self.all[index].id = d.session.id.clone();
            }
            log.reason = d.code;
            log.duration = self.duration(index, d.at);
            return Some(vec![log]);
        }
        // §3: "Otherwise logged as stale, state unchanged": also where it is the first that is known of the channel.
        let mut log = self.log(kind, d.session.id.clone(), d.at, &["stale"]);
        log.reason = d.code;
        match over {
            // §12: "a later disconnect of a closed one moves its end if later".
            Some(index) => self.all[index].disconnects.push(end),
            // "an id never seen before is remembered as closed".
            None if d.session.id.is_some() => {
                let index = self.add();
                self.all[index].id = d.session.id.clone();
                self.all[index].node = d.node.map(str::to_string);
                self.all[index].evidence = Self::evidence(d.session, None);
                self.all[index].disconnects.push(end);
                self.remember(index);
            }
            None => self.keep_stray(Self::evidence(d.session, None), end),
        }
        Some(vec![log])
    }

    /// §3: "by the first evidence both sides carry: id equal; sequence ≥ the current one's; started_at equal; node_id
    /// equal; and with no evidence at all, observed_at ≥ the current session's connected_at".
    fn belongs(d: &Disconnect, current: &Session) -> bool {
        if let (Some(a), Some(b)) = (&d.session.id, &current.id) {
            return a == b;
        }
        if let (Some(a), Some(b)) = (&d.session.sequence, &current.evidence.sequence) {
            return number(a) >= number(b);
        }
        if let (Some(a), Some(b)) = (d.session.started_at, current.evidence.started_at) {
            return a == b;
        }
        if let (Some(a), Some(b)) = (d.node, current.node.as_deref()) {
            return a == b;
        }
        current.evidence.observed_at.is_some_and(|connected| d.at >= connected)
    }

    /// §12: "Failed connects: the last 8 of the channel, by arrival."
    pub fn failed(&mut self, at: i64, code: Option<i64>) -> Taken {
        if self.failed.contains(&at) {
            return None;
        }
        self.failed.push(at);
        if self.failed.len() > 8 {
            self.failed.remove(0);
        }
        let mut log = self.log("CONNECT_FAILED", None, at, &[]);
        log.reason = code;
        Some(vec![log])
    }
}
