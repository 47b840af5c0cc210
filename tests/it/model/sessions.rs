//! Sessions of one channel: the ordering law of SEMANTICS §3 and §12.
//!
//! Nothing is ever thrown away: every session that was ever named, every end and every activity stays in lists in
//! the order of arrival, and what the channel says is looked up in them anew each time. Only "remembered" (the last
//! 8 closed ones, §3) is a list of its own, because being forgotten is part of the law.

use super::input::{Channel, Initiator, SessionRef};
use super::nodes::Nodes;

/// What the older-than law compares (§3).
#[derive(Clone, Debug, Default)]
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

#[derive(Clone, Debug, Default)]
pub struct Session {
    pub id: Option<String>,
    pub evidence: Evidence,
    pub node: Option<String>,
    pub can_receive: bool,
    /// A connect of it is known (not only inferred, nor known by its disconnect).
    pub connect_seen: bool,
    pub inferred: bool,
    /// When it became the current one as published: the moment of re-opening where it was re-opened.
    pub opened_at: Option<i64>,
    /// Where it stands in the memory of closed ones.
    pub end: Option<i64>,
    pub connects: Vec<i64>,
    pub disconnects: Vec<i64>,
    pub takeovers: Vec<i64>,
    /// The time-out of its node that ended it.
    pub timed_out: bool,
    /// long_poll only.
    pub first_poll: Option<i64>,
    pub last_poll: Option<i64>,
    pub lapsed: bool,
}

/// A disconnect that counts, or not, for "the recorded disconnect".
#[derive(Clone, Debug)]
pub struct End {
    pub session: usize,
    pub at: i64,
    pub cause: Initiator,
    pub code: Option<i64>,
    pub lapse: bool,
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
    /// The remembered closed ones, in order of their end's arrival.
    pub closed: Vec<usize>,
    pub ends: Vec<End>,
    pub activity: Vec<Act>,
    failed: Vec<i64>,
    pub last_connect: Option<(SessionRef, i64)>,
    last_disconnect: Option<(SessionRef, i64)>,
    last_takeover: Option<(SessionRef, i64)>,
    /// long_poll: the newest poll of the channel, and the last sight that counts for the open session.
    pub newest_poll: Option<i64>,
    pub sight: Option<i64>,
}

impl Sessions {
    pub fn new(channel: Channel) -> Self {
        Sessions {
            channel,
            all: Vec::new(),
            current: None,
            newest: None,
            closed: Vec::new(),
            ends: Vec::new(),
            activity: Vec::new(),
            failed: Vec::new(),
            last_connect: None,
            last_disconnect: None,
            last_takeover: None,
            newest_poll: None,
            sight: None,
        }
    }

    pub fn log(&self, kind: &'static str, session: Option<String>, at: i64, flags: &[&'static str]) -> Log {
        let channel = self.channel;
        Log { kind, channel, session: Some(session), at, flags: flags.to_vec(), duration: None, reason: None }
    }

    pub fn find_closed(&self, id: Option<&str>) -> Option<usize> {
        let id = id?;
        self.closed.iter().copied().find(|i| self.all[*i].id.as_deref() == Some(id))
    }

    fn is_current(&self, id: Option<&str>) -> Option<usize> {
        self.current.filter(|i| id.is_some() && self.all[*i].id.as_deref() == id)
    }

    /// §3: "The recorded disconnect (time, cause) is the latest end known on the channel …; an end does not count if,
    /// as known now, a newer session had connected before it."
    pub fn recorded(&self) -> Option<&End> {
        let mut best: Option<&End> = None;
        for end in &self.ends {
            let ended = &self.all[end.session].evidence;
            let outdated = self.all.iter().enumerate().any(|(i, other)| {
                i != end.session
                    && other.evidence.observed_at.is_some_and(|at| at < end.at)
                    && (other.connect_seen || other.inferred)
                    && older(ended, &other.evidence)
            });
            if outdated {
                continue;
            }
            best = Some(match best {
                Some(known) if known.at > end.at => known,
                // Of equal ends: the same session's first one ("moves its end if later"), else the newer session's.
                Some(known) if known.at == end.at && known.session == end.session => known,
                Some(known) if known.at == end.at && older(ended, &self.all[known.session].evidence) => known,
                _ => end,
            });
        }
        best
    }

    /// Puts a session among the remembered closed ones: §3, "the earliest-ended is forgotten first, of equal ends the
    /// first to arrive".
    pub fn remember_closed(&mut self, index: usize, end: i64) {
        self.all[index].end = Some(end);
        self.closed.push(index);
        if self.closed.len() > 8 {
            let first = (0..self.closed.len()).min_by_key(|i| (self.all[self.closed[*i]].end, *i));
            self.closed.remove(first.expect("nine of them"));
        }
    }

    /// Ends the current session by a disconnect of any kind.
    pub fn end_current(&mut self, at: i64, cause: Initiator, code: Option<i64>, lapse: bool) -> usize {
        let index = self.current.take().expect("an open session");
        self.ends.push(End { session: index, at, cause, code, lapse });
        self.remember_closed(index, at);
        index
    }

    /// §3: "an open predecessor is superseded (taken over), never disconnected"; it "ended when the newer one
    /// connected".
    pub fn supersede(&mut self, at: i64) {
        if let Some(index) = self.current.take() {
            self.remember_closed(index, at);
        }
    }

    pub fn open(&mut self, index: usize, at: i64) {
        self.all[index].opened_at = Some(at);
        self.all[index].end = None;
        self.closed.retain(|i| *i != index);
        self.current = Some(index);
        self.newest = Some(index);
    }

    pub fn duration(&self, index: usize, at: i64) -> Option<i64> {
        let began = self.all[index].evidence.observed_at?;
        (at >= began).then_some(at - began)
    }

    pub fn evidence(session: &SessionRef, at: i64) -> Evidence {
        Evidence { sequence: session.sequence.clone(), started_at: session.started_at, observed_at: Some(at) }
    }

    pub fn is_stale(&self, evidence: &Evidence) -> bool {
        self.newest.is_some_and(|n| older(evidence, &self.all[n].evidence))
    }

    /// Older than some session whose connect is known or inferred, other than that one.
    fn older_than_any_but(&self, evidence: &Evidence, but: usize) -> bool {
        let known = |s: &Session| s.connect_seen || s.inferred;
        self.all.iter().enumerate().any(|(i, s)| i != but && known(s) && older(evidence, &s.evidence))
    }

    /// §12 *Exact duplicate*, without an id: "as the last one of that kind on the channel".
    fn repeats(last: &Option<(SessionRef, i64)>, session: &SessionRef, at: i64) -> bool {
        session.id.is_none() && last.as_ref().is_some_and(|(s, t)| s == session && *t == at)
    }

    /// A connect on any channel but long_poll.
    pub fn connect(&mut self, c: &Connect, nodes: &Nodes) -> Taken {
        let id = c.session.id.as_deref();
        // §3: "same id as the current open session: a duplicate, ignored".
        if self.is_current(id).is_some() || Self::repeats(&self.last_connect, c.session, c.at) {
            return None;
        }
        let known = self.find_closed(id);
        // §12: "A further connect with the id of a closed session whose connect is known is one, whatever its time".
        if known.is_some_and(|i| self.all[i].connect_seen) {
            return None;
        }
        self.last_connect = Some((c.session.clone(), c.at));
        let log = self.take_connect(c, known, nodes);
        Some(vec![log])
    }

    /// A connect that is no duplicate, of a session that is not the current one.
    pub fn take_connect(&mut self, c: &Connect, known: Option<usize>, nodes: &Nodes) -> Log {
        let id = c.session.id.as_deref();
        let mut evidence = Self::evidence(c.session, c.at);
        if let Some(index) = known {
            // §12: "its sequence and started_at belong to the session".
            evidence.sequence = evidence.sequence.or(self.all[index].evidence.sequence.clone());
            evidence.started_at = evidence.started_at.or(self.all[index].evidence.started_at);
        }
        let down = nodes.last_down(c.node).filter(|down| c.at <= *down);
        let stale = match (known, self.newest) {
            // The inferred session that took its id from its disconnect is not older than itself.
            (Some(index), Some(newest)) if index == newest => self.older_than_any_but(&evidence, index),
            _ => self.is_stale(&evidence),
        };
        if stale {
            return self.take_stale(c, known, evidence, down.is_some());
        }
        let own = known.is_some();
        let index = known.unwrap_or_else(|| self.add());
        let session = &mut self.all[index];
        session.id = session.id.take().or(id.map(str::to_string));
        session.evidence = evidence;
        session.node = c.node.map(str::to_string).or(session.node.take());
        session.can_receive = c.can_receive;
        session.connect_seen = true;
        session.connects.push(c.at);
        session.opened_at = Some(c.at);
        if !own && down.is_none() {
            // §3: "Otherwise it becomes current".
            self.supersede(c.at);
            self.open(index, c.at);
            return self.log("CONNECTED", c.session.id.clone(), c.at, &[]);
        }
        // §3: "it takes its place as a session that is over already, so it supersedes an older one and leaves the
        // device disconnected; logged as late. Observed at or before its node's last known down: likewise".
        self.supersede(c.at);
        self.newest = Some(index);
        if let (false, Some(down)) = (own, down) {
            self.all[index].timed_out = nodes.is_time_out(c.node.expect("it is down"), down);
            self.ends.push(End {
                session: index,
                at: down,
                cause: Initiator::Network,
                code: None,
                lapse: false,
            });
            self.remember_closed(index, down);
        }
        self.log("CONNECTED", c.session.id.clone(), c.at, &["late"])
    }

    /// A connect that is older than the newest session known.
    fn take_stale(
        &mut self,
        c: &Connect,
        known: Option<usize>,
        evidence: Evidence,
        node_went_down: bool,
    ) -> Log {
        let newest = self.newest.expect("it is older than something");
        // §3: "A connect that is older only than an open inferred session that has no id is the lost one: the session
        // takes its id, evidence, node and time; logged as late"; §12: "gives can_receive_operations too; not if its id
        // is that of a closed session, or its node went down since: then it is stale".
        let inferred =
            self.current == Some(newest) && self.all[newest].inferred && self.all[newest].id.is_none();
        let lost = inferred && known.is_none() && !node_went_down && self.channel != Channel::LongPoll;
        if lost && !self.older_than_any_but(&evidence, newest) {
            let session = &mut self.all[newest];
            session.id = c.session.id.clone();
            session.evidence = evidence;
            session.node = c.node.map(str::to_string);
            session.can_receive = c.can_receive;
            session.connect_seen = true;
            session.inferred = false;
            session.opened_at = Some(c.at);
            session.connects.push(c.at);
            return self.log("CONNECTED", c.session.id.clone(), c.at, &["late"]);
        }
        let index = known.unwrap_or_else(|| self.add());
        let session = &mut self.all[index];
        session.id = session.id.take().or(c.session.id.clone());
        session.evidence = evidence;
        session.node = c.node.map(str::to_string);
        session.can_receive = c.can_receive;
        session.connect_seen = true;
        session.connects.push(c.at);
        if known.is_none() {
            // §12: "A stale session ended when the newest known connected".
            let end = self.all[newest].evidence.observed_at.expect("known by its connect");
            self.remember_closed(index, end);
        }
        self.log("CONNECTED", c.session.id.clone(), c.at, &["stale"])
    }

    pub fn add(&mut self) -> usize {
        self.all.push(Session { can_receive: true, ..Session::default() });
        self.all.len() - 1
    }

    pub fn taken_over(&mut self, d: &Disconnect) -> Taken {
        let id = d.session.id.as_deref();
        let known = self.is_current(id).or(self.find_closed(id));
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
        let closed = self.find_closed(id);
        let named = self.is_current(id).or(closed);
        if named.is_some_and(|i| self.all[i].disconnects.contains(&d.at)) {
            return None;
        }
        self.last_disconnect = Some((d.session.clone(), d.at));
        let kind = match d.initiator {
            Initiator::Client => "DISCONNECTED_BY_CLIENT",
            Initiator::Server => "DISCONNECTED_BY_SERVER",
            Initiator::Network => "DISCONNECTED_BY_NETWORK",
            Initiator::TakenOver => unreachable!("a notice of its own"),
        };
        // §3: "A disconnect that names a remembered closed session never belongs to the current one."
        if closed.is_none() && self.current.is_some_and(|i| Self::belongs(d, &self.all[i])) {
            let named_by_id = id.is_some();
            let index = self.end_current(d.at, d.initiator, d.code, false);
            self.all[index].disconnects.push(d.at);
            // §3: "without an id it takes that of its disconnect".
            if self.all[index].id.is_none() {
                self.all[index].id = d.session.id.clone();
            }
            let mut log = self.log(kind, self.all[index].id.clone(), d.at, &[]);
            if !named_by_id && log.session != Some(None) {
                log.session = None;
            }
            log.reason = d.code;
            log.duration = self.duration(index, d.at);
            return Some(vec![log]);
        }
        // §3: "Otherwise logged as stale, state unchanged; an id never seen before is remembered as closed".
        let index = closed.unwrap_or_else(|| {
            let index = self.add();
            self.all[index].id = d.session.id.clone();
            self.all[index].node = d.node.map(str::to_string);
            if d.session.id.is_some() {
                self.remember_closed(index, d.at);
            }
            index
        });
        let session = &mut self.all[index];
        session.evidence.sequence = session.evidence.sequence.take().or(d.session.sequence.clone());
        session.evidence.started_at = session.evidence.started_at.or(d.session.started_at);
        session.disconnects.push(d.at);
        // §12: "a later disconnect of a closed one moves its end if later".
        if closed.is_some() && session.end.is_some_and(|end| d.at > end) {
            session.end = Some(d.at);
        }
        self.ends.push(End { session: index, at: d.at, cause: d.initiator, code: d.code, lapse: false });
        let mut log = self.log(kind, d.session.id.clone(), d.at, &["stale"]);
        log.reason = d.code;
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
