//! The sessions of one channel, and the one law that orders them for every broker (SEMANTICS §3).

use super::effect::LogSession;
use super::event::{ChannelKind, Connected, Disconnected, Initiator, SessionRef, SessionSequence};
use super::node::Nodes;
use super::reason;
use super::time::{Millis, Timestamp};

/// Closed sessions remembered per channel, besides the newest session known.
pub const CLOSED_MAX: usize = 8;
/// Failed connects remembered per channel, to know duplicates.
pub const FAILED_MAX: usize = 8;

/// What places a session in the order of its channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The broker's own number, where it has one.
    pub sequence: Option<SessionSequence>,
    /// When it began, by its platform.
    pub started_at: Option<Timestamp>,
    /// When its connect (or what stands for it) was observed.
    pub observed_at: Timestamp,
}

impl Evidence {
    /// Evidence of an event that names a session.
    pub fn new(session: &SessionRef<'_>, observed_at: Timestamp) -> Evidence {
        Evidence { sequence: session.sequence, started_at: session.started_at, observed_at }
    }

    /// *Older*: by sequence where both carry one, then `started_at`, then observed_at; a tie, or evidence that only
    /// one side carries, falls to the next kind.
    pub fn older_than(&self, other: &Evidence) -> bool {
        if let (Some(mine), Some(theirs)) = (&self.sequence, &other.sequence)
            && mine != theirs
        {
            return mine < theirs;
        }
        if let (Some(mine), Some(theirs)) = (self.started_at, other.started_at)
            && mine != theirs
        {
            return mine < theirs;
        }
        self.observed_at < other.observed_at
    }
}

/// How a session was disconnected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect {
    /// When.
    pub at: Timestamp,
    /// By whom; never `taken_over`.
    pub initiator: Initiator,
    /// MQTT reason code.
    pub reason_code: Option<u8>,
}

impl Disconnect {
    fn by_network(at: Timestamp) -> Disconnect {
        Disconnect { at, initiator: Initiator::Network, reason_code: None }
    }
}

/// A session that ended because its node did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeEnd {
    /// The node's down.
    pub at: Timestamp,
    /// Concluded from silence: a sign of life of the same process disproves it.
    pub timed_out: bool,
}

/// A session, open or over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its id.
    pub id: Option<Box<str>>,
    /// The broker's own number.
    pub sequence: Option<SessionSequence>,
    /// When it began, by its platform.
    pub started_at: Option<Timestamp>,
    /// When its connect was observed (inferred: the activity that proves it); never, if only its end is known.
    pub connected_at: Timestamp,
    /// The node that owns it.
    pub node_id: Option<Box<str>>,
    /// The protocol.
    pub protocol: Option<Box<str>>,
    /// Whether the platform can push operations over it.
    pub can_receive_operations: bool,
    /// Concluded from activity, its connect being lost.
    pub inferred: bool,
    /// long_poll: the last poll.
    pub polled_at: Timestamp,
    /// long_poll: the return of sight that the linger counts from.
    pub seen_since: Timestamp,
    /// Its own disconnect, the latest.
    pub own_end: Option<Disconnect>,
    /// The end by its node.
    pub node_end: Option<NodeEnd>,
    /// long_poll: the end by silence.
    pub lapsed_at: Timestamp,
    /// A newer session connected then.
    pub superseded_at: Timestamp,
    /// Observed times of its disconnects: the same again is a duplicate.
    pub disconnects: Vec<Timestamp>,
    /// Observed times of its taken-over notices.
    pub takeovers: Vec<Timestamp>,
}

impl Session {
    fn unknown(session: &SessionRef<'_>) -> Session {
        Session {
            id: session.id.map(Into::into),
            sequence: session.sequence,
            started_at: session.started_at,
            connected_at: Timestamp::NEVER,
            node_id: None,
            protocol: None,
            can_receive_operations: true,
            inferred: false,
            polled_at: Timestamp::NEVER,
            seen_since: Timestamp::NEVER,
            own_end: None,
            node_end: None,
            lapsed_at: Timestamp::NEVER,
            superseded_at: Timestamp::NEVER,
            disconnects: Vec::new(),
            takeovers: Vec::new(),
        }
    }

    /// Its connect is known now.
    fn learn(&mut self, connected: &Connected<'_>, at: Timestamp) {
        self.id = connected.session.id.map(Into::into).or(self.id.take());
        self.sequence = connected.session.sequence.or(self.sequence);
        self.started_at = connected.session.started_at.or(self.started_at);
        self.connected_at = at;
        self.node_id = connected.node_id.map(Into::into);
        self.protocol = connected.protocol.map(Into::into);
        self.can_receive_operations = connected.can_receive_operations;
        self.inferred = false;
        self.polled_at = at;
    }

    /// Whether its connect is known (or inferred).
    pub fn is_known(&self) -> bool {
        self.connected_at.happened()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.disconnect().is_some() || self.superseded_at.happened()
    }

    /// How it was disconnected, if it was: the latest of its own disconnect, its node's down and its lapse.
    pub fn disconnect(&self) -> Option<Disconnect> {
        let node = self.node_end.map(|end| Disconnect::by_network(end.at));
        let lapse = self.lapsed_at.known().map(Disconnect::by_network);
        [node, lapse, self.own_end].into_iter().flatten().max_by_key(|disconnect| disconnect.at)
    }

    /// When it ended; what was never disconnected ended when it was superseded.
    fn ended_at(&self) -> Timestamp {
        self.disconnect().map_or(Timestamp::NEVER, |disconnect| disconnect.at).max(self.superseded_at)
    }

    /// What places it in the order; of an unknown connect its end stands in.
    fn evidence(&self) -> Evidence {
        let observed_at = self.connected_at.known().unwrap_or_else(|| self.ended_at());
        Evidence { sequence: self.sequence, started_at: self.started_at, observed_at }
    }

    /// As the log names it.
    pub fn log_session(&self) -> LogSession {
        LogSession { id: self.id.clone(), started_at: self.started_at, sequence: self.sequence }
    }

    /// When a long poll lapses.
    pub fn lapse(&self, linger: Millis) -> Timestamp {
        self.polled_at.max(self.seen_since) + linger
    }

    fn has_id(&self, id: Option<&str>) -> bool {
        id.is_some() && self.id.as_deref() == id
    }
}

/// Activity that names a session that is not known: proof of a lost connect, should the current session turn out to
/// be over. Activity without a session is among the device's clocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedProof {
    /// When it was observed.
    pub at: Timestamp,
    /// The session it names.
    pub session: LogSession,
}

/// What a connect came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectOutcome {
    /// The same again.
    Duplicate,
    /// A poll between the first and the end: nothing to log; whether it changed anything.
    Polled(bool),
    /// Of an old session: the state does not follow.
    Stale,
    /// Over already when it arrived, or the lost connect of an inferred session: in its place, logged as late.
    Late,
    /// The current session now.
    Opened,
}

/// What a disconnect came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DisconnectOutcome {
    /// The same again.
    Duplicate,
    /// A notice that the session was taken over: logged only.
    TakenOver(Option<Millis>),
    /// It does not end the current session: logged as stale. How long its own session lasted, if known.
    Stale(Option<Millis>),
    /// It ended the current session, which lasted so long.
    Ended(Option<Millis>),
}

/// A session that ended or opened without an event of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Concluded {
    /// The session.
    pub session: Session,
    /// When.
    pub at: Timestamp,
}

/// One channel of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Which.
    pub kind: ChannelKind,
    /// The current session.
    pub open: Option<Session>,
    /// The newest session known, while it is over.
    pub newest_over: Option<Session>,
    /// Sessions that are over, without the newest known: in order of arrival of their end, [`CLOSED_MAX`] at most.
    pub closed: Vec<Session>,
    /// The latest end of a session that is not remembered.
    pub stray_end: Option<(Evidence, Disconnect)>,
    /// The recorded disconnect: the latest end known, without ends before which a newer session had connected.
    pub recorded: Option<Disconnect>,
    /// The latest activity that names an unknown session.
    pub named_proof: Option<NamedProof>,
    /// Observed time of the last connect, disconnect, taken-over notice without a session id.
    pub last_nameless: [Timestamp; 3],
    /// Observed times of the last failed connects.
    pub failed: Vec<Timestamp>,
}

const NAMELESS_CONNECT: usize = 0;
const NAMELESS_DISCONNECT: usize = 1;
const NAMELESS_TAKEOVER: usize = 2;

impl Channel {
    /// A channel of which nothing is known.
    pub fn new(kind: ChannelKind) -> Channel {
        Channel {
            kind,
            open: None,
            newest_over: None,
            closed: Vec::new(),
            stray_end: None,
            recorded: None,
            named_proof: None,
            last_nameless: [Timestamp::NEVER; 3],
            failed: Vec::new(),
        }
    }

    /// Whether any session or end is known: failed connects alone do not make a channel.
    pub fn is_known(&self) -> bool {
        self.open.is_some()
            || self.newest_over.is_some()
            || self.recorded.is_some()
            || !self.closed.is_empty()
    }

    /// The newest session known, open or over.
    pub fn newest(&self) -> Option<&Session> {
        self.open.as_ref().or(self.newest_over.as_ref())
    }

    fn over(&self) -> impl Iterator<Item = &Session> {
        self.closed.iter().chain(&self.newest_over)
    }

    fn find_over(&mut self, id: Option<&str>) -> Option<&mut Session> {
        id?;
        self.closed.iter_mut().chain(&mut self.newest_over).find(|session| session.has_id(id))
    }

    fn is_nameless_duplicate(&mut self, kind: usize, id: Option<&str>, at: Timestamp) -> bool {
        if id.is_some() {
            return false;
        }
        std::mem::replace(&mut self.last_nameless[kind], at) == at
    }

    /// Puts `session` in the place of the newest known. What was there is over: superseded, if it was open.
    fn take_newest_place(&mut self, session: Session) {
        let since = session.connected_at;
        if let Some(mut open) = self.open.take() {
            open.superseded_at = since;
            self.remember(open);
        }
        if let Some(over) = self.newest_over.take() {
            self.remember(over);
        }
        if session.is_over() {
            self.newest_over = Some(session);
        } else {
            self.open = Some(session);
        }
    }

    /// Remembers a session that is over and not the newest; the earliest-ended is forgotten first, of equal ends the
    /// first to arrive.
    fn remember(&mut self, session: Session) {
        self.closed.push(session);
        if self.closed.len() > CLOSED_MAX {
            let earliest =
                (0..self.closed.len()).min_by_key(|index| (self.closed[*index].ended_at(), *index));
            let forgotten = self.closed.remove(earliest.unwrap_or(0));
            self.keep_stray_end(&forgotten);
        }
    }

    fn keep_stray_end(&mut self, session: &Session) {
        if let Some(disconnect) = session.disconnect()
            && self.counts(&session.evidence(), &disconnect)
        {
            self.stray(session.evidence(), disconnect);
        }
    }

    fn stray(&mut self, evidence: Evidence, disconnect: Disconnect) {
        if self.stray_end.as_ref().is_none_or(|(_, known)| known.at <= disconnect.at) {
            self.stray_end = Some((evidence, disconnect));
        }
    }

    /// An end counts unless, as known now, a newer session had connected before it.
    fn counts(&self, evidence: &Evidence, disconnect: &Disconnect) -> bool {
        !self.over().chain(&self.open).any(|other| {
            other.is_known() && other.connected_at < disconnect.at && evidence.older_than(&other.evidence())
        })
    }

    /// Determines the recorded disconnect anew.
    fn record_disconnect(&mut self) {
        let ends = self.over().filter_map(|session| Some((session.evidence(), session.disconnect()?)));
        self.recorded = self
            .stray_end
            .into_iter()
            .chain(ends)
            .filter(|(evidence, disconnect)| self.counts(evidence, disconnect))
            .map(|(_, disconnect)| disconnect)
            .max_by_key(|disconnect| disconnect.at);
    }

    /// A session began; on long_poll every poll says so.
    pub fn connect(
        &mut self,
        connected: &Connected<'_>,
        at: Timestamp,
        nodes: &Nodes,
        linger: Millis,
    ) -> ConnectOutcome {
        let outcome = if self.kind == ChannelKind::LongPoll {
            self.poll(connected, at, nodes, linger)
        } else {
            self.connect_session(connected, at, nodes)
        };
        self.record_disconnect();
        outcome
    }

    fn connect_session(&mut self, connected: &Connected<'_>, at: Timestamp, nodes: &Nodes) -> ConnectOutcome {
        let id = connected.session.id;
        if self.is_nameless_duplicate(NAMELESS_CONNECT, id, at)
            || self.open.as_ref().is_some_and(|open| open.has_id(id))
            || self.find_over(id).is_some_and(|session| session.is_known())
        {
            return ConnectOutcome::Duplicate;
        }
        self.place(connected, at, nodes)
    }

    /// Places a connect that is no duplicate in the order.
    fn place(&mut self, connected: &Connected<'_>, at: Timestamp, nodes: &Nodes) -> ConnectOutcome {
        let id = connected.session.id;
        let evidence = Evidence::new(&connected.session, at);
        let overtaken = id.is_some() && self.closed.iter().any(|session| session.has_id(id));
        let down = nodes.down_since(connected.node_id, at);
        if self.newest().is_some_and(|newest| evidence.older_than(&newest.evidence())) {
            if !overtaken && down.is_none() && self.is_lost_connect(&evidence) {
                if let Some(open) = &mut self.open {
                    open.learn(connected, at);
                }
                return ConnectOutcome::Late;
            }
            let since = self.newest().map_or(at, |newest| newest.connected_at);
            if overtaken {
                if let Some(session) = self.find_over(id) {
                    session.learn(connected, at);
                }
            } else {
                let mut session = Session::unknown(&connected.session);
                session.learn(connected, at);
                session.superseded_at = since;
                self.remember(session);
            }
            return ConnectOutcome::Stale;
        }
        let mut session = match self.closed.iter().position(|session| session.has_id(id)) {
            Some(index) => self.closed.remove(index),
            None => Session::unknown(&connected.session),
        };
        session.learn(connected, at);
        if let Some((down_at, timed_out)) = down {
            session.node_end = Some(NodeEnd { at: down_at, timed_out });
        }
        let over = session.is_over();
        self.take_newest_place(session);
        if over { ConnectOutcome::Late } else { ConnectOutcome::Opened }
    }

    /// Older only than an open inferred session that has no id: its lost connect.
    fn is_lost_connect(&self, evidence: &Evidence) -> bool {
        self.open.as_ref().is_some_and(|open| open.inferred && open.id.is_none())
            && !self.over().any(|other| other.is_known() && evidence.older_than(&other.evidence()))
    }

    /// A long poll was answered, or asked: the session lives until the linger after its last poll.
    fn poll(
        &mut self,
        connected: &Connected<'_>,
        at: Timestamp,
        nodes: &Nodes,
        linger: Millis,
    ) -> ConnectOutcome {
        let id = connected.session.id;
        if let Some(open) = &mut self.open
            && (id.is_none() || open.has_id(id))
        {
            let later = at > open.polled_at;
            open.polled_at = open.polled_at.max(at);
            return ConnectOutcome::Polled(later);
        }
        let newest_poll =
            self.over().chain(&self.open).filter(|session| session.is_known()).map(|s| s.polled_at).max();
        let is_newest_poll = newest_poll.is_none_or(|newest| at > newest);
        let of_newest = self.newest_over.as_ref().is_some_and(|newest| id.is_none() || newest.has_id(id));
        if of_newest && let Some(mut newest) = self.newest_over.take() {
            let own = newest.own_end.map_or(Timestamp::NEVER, |end| end.at);
            let node = newest.node_end.map_or(Timestamp::NEVER, |end| end.at);
            let node = nodes.down_since(connected.node_id, at).map_or(node, |(down, _)| node.max(down));
            let lapse = newest.lapse(linger);
            let lapse = newest.lapsed_at.known().map_or(lapse, |lapsed| lapsed.min(lapse));
            if at <= own.max(node) || at < lapse && !is_newest_poll {
                self.newest_over = Some(newest);
                return ConnectOutcome::Polled(false);
            }
            if at < lapse {
                newest.polled_at = at;
                newest.own_end = None;
                newest.node_end = None;
                newest.lapsed_at = Timestamp::NEVER;
                self.open = Some(newest);
                return ConnectOutcome::Polled(true);
            }
            // Opened anew: the same id, another session.
            self.keep_stray_end(&newest);
            if !newest.has_id(id) {
                self.remember(newest);
            }
            return self.place(connected, at, nodes);
        }
        if let Some(index) = self.closed.iter().position(|session| session.has_id(id)) {
            if !self.closed[index].is_known() {
                // Its disconnect overtook its first poll.
                let own = self.closed[index].own_end.map_or(Timestamp::NEVER, |end| end.at);
                if at > own {
                    let closed = self.closed.remove(index);
                    self.keep_stray_end(&closed);
                }
                return self.place(connected, at, nodes);
            }
            if !is_newest_poll {
                return ConnectOutcome::Polled(false);
            }
            let closed = self.closed.remove(index);
            self.keep_stray_end(&closed);
        }
        self.place(connected, at, nodes)
    }

    /// A session ended.
    pub fn disconnect(&mut self, event: &Disconnected<'_>, at: Timestamp) -> DisconnectOutcome {
        let outcome = self.disconnect_session(event, at);
        self.record_disconnect();
        outcome
    }

    fn disconnect_session(&mut self, event: &Disconnected<'_>, at: Timestamp) -> DisconnectOutcome {
        let id = event.session.id;
        let initiator = reason::initiator(event.initiator, event.mqtt_reason_code, event.close_code);
        let lasted = |session: &Session| Some(Millis((at - session.connected_at.known()?).0.max(0)));
        if initiator == Initiator::TakenOver {
            if self.is_nameless_duplicate(NAMELESS_TAKEOVER, id, at) {
                return DisconnectOutcome::Duplicate;
            }
            let open = self.open.as_mut().filter(|open| open.has_id(id));
            let known = match open {
                Some(open) => Some(open),
                None => self.find_over(id),
            };
            return match known {
                Some(session) if session.takeovers.contains(&at) => DisconnectOutcome::Duplicate,
                Some(session) => {
                    session.takeovers.push(at);
                    DisconnectOutcome::TakenOver(lasted(session))
                }
                None => DisconnectOutcome::TakenOver(None),
            };
        }
        let disconnect = Disconnect { at, initiator, reason_code: event.mqtt_reason_code };
        if self.is_nameless_duplicate(NAMELESS_DISCONNECT, id, at) {
            return DisconnectOutcome::Duplicate;
        }
        if let Some(session) = self.find_over(id) {
            if session.disconnects.contains(&at) {
                return DisconnectOutcome::Duplicate;
            }
            session.disconnects.push(at);
            if session.own_end.is_none_or(|known| known.at < at) {
                session.own_end = Some(disconnect);
            }
            return DisconnectOutcome::Stale(lasted(session));
        }
        if self.open.as_ref().is_some_and(|open| belongs(event, open, at))
            && let Some(mut open) = self.open.take()
        {
            if open.id.is_none() {
                open.id = id.map(Into::into);
            }
            open.own_end = Some(disconnect);
            open.disconnects.push(at);
            let lasted = lasted(&open);
            self.newest_over = Some(open);
            return DisconnectOutcome::Ended(lasted);
        }
        if id.is_some() {
            let mut session = Session::unknown(&event.session);
            session.node_id = event.node_id.map(Into::into);
            session.own_end = Some(disconnect);
            session.disconnects.push(at);
            self.remember(session);
        } else {
            self.stray(Evidence::new(&event.session, at), disconnect);
        }
        DisconnectOutcome::Stale(None)
    }

    /// An attempt to connect failed. Whether it is new.
    pub fn connect_failed(&mut self, at: Timestamp) -> bool {
        if self.failed.contains(&at) {
            return false;
        }
        self.failed.push(at);
        if self.failed.len() > FAILED_MAX {
            self.failed.remove(0);
        }
        true
    }

    /// Whether activity over this channel is evidence of a session of its own: it names none that is known to be
    /// over, nor one older than the newest known, nor the current one.
    pub fn is_proof(&self, session: &SessionRef<'_>, at: Timestamp) -> bool {
        if session.id.is_some() {
            if self.over().chain(&self.open).any(|known| known.has_id(session.id)) {
                return false;
            }
        } else if session.sequence.is_none() && session.started_at.is_none() {
            return true;
        }
        !self.newest().is_some_and(|newest| Evidence::new(session, at).older_than(&newest.evidence()))
    }

    /// Activity proved, or now proves, that a connect was lost: no session is open, and it was observed after the
    /// recorded disconnect. `nameless_at` is the last activity over this channel that named no session.
    pub fn infer(&mut self, nameless_at: Timestamp) -> Option<Concluded> {
        let recorded = self.recorded?;
        if self.open.is_some() {
            return None;
        }
        let named = self.named_proof.take_if(|proof| {
            let session = as_ref(&proof.session);
            let known = self.closed.iter().chain(&self.newest_over).any(|known| known.has_id(session.id));
            let newest = self.newest_over.as_ref();
            known || newest.is_some_and(|n| Evidence::new(&session, proof.at).older_than(&n.evidence()))
        });
        // A proof that named a session known to be over by now is dropped for good.
        drop(named);
        let named = self.named_proof.clone().filter(|proof| proof.at > recorded.at);
        let (at, session) = match named {
            Some(proof) if proof.at >= nameless_at => (proof.at, proof.session),
            _ if nameless_at > recorded.at => (nameless_at, LogSession::default()),
            _ => return None,
        };
        let mut inferred = Session::unknown(&as_ref(&session));
        inferred.connected_at = at;
        inferred.inferred = true;
        self.take_newest_place(inferred.clone());
        self.record_disconnect();
        Some(Concluded { session: inferred, at })
    }

    /// A node went down at `at`: the current session, if it was the node's then, is over.
    pub fn node_down(&mut self, node: &str, at: Timestamp, timed_out: bool) -> Option<Concluded> {
        let open = self.open.as_ref()?;
        if open.node_id.as_deref() != Some(node) || open.connected_at > at {
            return None;
        }
        let mut open = self.open.take()?;
        open.node_end = Some(NodeEnd { at, timed_out });
        let session = open.clone();
        self.newest_over = Some(open);
        self.record_disconnect();
        Some(Concluded { session, at })
    }

    /// Time-outs of a node were disproved by a sign of life at `at`: the newest session, if only they ended it, is
    /// open. The session that opened.
    pub fn node_returns(&mut self, node: &str, at: Timestamp, nodes: &Nodes) -> Option<Concluded> {
        let newest_since = self.newest().map(|newest| newest.connected_at);
        for session in self.closed.iter_mut() {
            if session.is_timed_out_by(node) {
                session.node_end = still_down(session, nodes);
                if !session.is_over() {
                    session.superseded_at = newest_since.unwrap_or(at);
                }
            }
        }
        let mut reopened = None;
        if let Some(mut newest) = self.newest_over.take_if(|newest| newest.is_timed_out_by(node)) {
            if self.kind == ChannelKind::LongPoll {
                self.newest_over = Some(newest);
            } else {
                newest.node_end = still_down(&newest, nodes);
                if newest.is_over() {
                    self.newest_over = Some(newest);
                } else {
                    reopened = Some(Concluded { session: newest.clone(), at });
                    self.open = Some(newest);
                }
            }
        }
        self.record_disconnect();
        reopened
    }

    /// The long poll lapsed.
    pub fn lapse(&mut self, at: Timestamp) -> Option<Concluded> {
        let mut open = self.open.take()?;
        open.lapsed_at = at;
        let session = open.clone();
        self.newest_over = Some(open);
        self.record_disconnect();
        Some(Concluded { session, at })
    }
}

impl Session {
    fn is_timed_out_by(&self, node: &str) -> bool {
        self.node_id.as_deref() == Some(node) && self.node_end.is_some_and(|end| end.timed_out)
    }
}

/// The down that still covers a session after a time-out was disproved.
fn still_down(session: &Session, nodes: &Nodes) -> Option<NodeEnd> {
    let (at, timed_out) = nodes.down_since(session.node_id.as_deref(), session.connected_at)?;
    Some(NodeEnd { at, timed_out })
}

/// Whether a disconnect is of the current session, by the first evidence that both sides carry.
fn belongs(event: &Disconnected<'_>, open: &Session, at: Timestamp) -> bool {
    if let (Some(mine), Some(theirs)) = (event.session.id, open.id.as_deref()) {
        return mine == theirs;
    }
    if let (Some(mine), Some(theirs)) = (event.session.sequence, open.sequence) {
        return mine >= theirs;
    }
    if let (Some(mine), Some(theirs)) = (event.session.started_at, open.started_at) {
        return mine == theirs;
    }
    if let (Some(mine), Some(theirs)) = (event.node_id, open.node_id.as_deref()) {
        return mine == theirs;
    }
    at >= open.connected_at
}

fn as_ref(session: &LogSession) -> SessionRef<'_> {
    SessionRef { id: session.id.as_deref(), started_at: session.started_at, sequence: session.sequence }
}
