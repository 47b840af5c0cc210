//! The sessions of one channel, and the one law that orders them for every broker (SEMANTICS §3).

use super::effect::LogSession;
use super::event::{ChannelKind, Connected, Disconnected, Initiator, SessionRef};
use super::node::Nodes;
use super::reason;
use super::session::{Disconnect, Evidence, NodeEnd, Session};
use super::step::Context;
use super::time::{Millis, Timestamp};

/// Closed sessions remembered per channel, besides the newest session known.
pub const CLOSED_MAX: usize = 8;
/// Failed connects remembered per channel, to know duplicates.
pub const FAILED_MAX: usize = 8;

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

/// One channel of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Which.
    pub kind: ChannelKind,
    /// The current session.
    pub open: Option<Session>,
    /// The newest session known, while it is over.
    pub newest_over: Option<Session>,
    /// Sessions that are over, without the newest known, in the order in which they came here: [`CLOSED_MAX`] at most.
    pub closed: Vec<Session>,
    /// The latest end of a session that is not remembered.
    pub stray_end: Option<(Evidence, Disconnect)>,
    /// The recorded disconnect: the latest end known, without ends before which a newer session had connected.
    pub recorded: Option<Disconnect>,
    /// The latest activity that names an unknown session.
    pub named_proof: Option<NamedProof>,
    /// The last connect, disconnect and taken-over notice, where it had no session id: the same again is a duplicate.
    pub last_nameless: [Option<Evidence>; 3],
    /// Observed times of the last failed connects.
    pub failed: Vec<Timestamp>,
}

/// Kinds of connection events, as duplicates go: places in [`Channel::last_nameless`].
#[derive(Clone, Copy)]
enum Kind {
    Connect,
    Disconnect,
    TakeOver,
}

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
            last_nameless: [None; 3],
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

    pub(super) fn over(&self) -> impl Iterator<Item = &Session> {
        self.closed.iter().chain(&self.newest_over)
    }

    /// Every session that is remembered.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.over().chain(&self.open)
    }

    fn find_over(&mut self, id: Option<&str>) -> Option<&mut Session> {
        id?;
        self.closed.iter_mut().chain(&mut self.newest_over).find(|session| session.has_id(id))
    }

    /// Whether an event without a session id is the same as the last one of its kind; what is evidence belongs to the
    /// session. Every other event is the last one from now on, whether or not it has an id (SEMANTICS §12).
    fn is_nameless_duplicate(&mut self, kind: Kind, session: &SessionRef<'_>, at: Timestamp) -> bool {
        let last = &mut self.last_nameless[kind as usize];
        let this = session.id.is_none().then(|| Evidence::new(session, at));
        this.is_some() && std::mem::replace(last, this) == this
    }

    /// An event with a session id, and not a duplicate, is the last one of its kind.
    fn forget_nameless(&mut self, kind: Kind, session: &SessionRef<'_>) {
        if session.id.is_some() {
            self.last_nameless[kind as usize] = None;
        }
    }

    /// Puts `session` in the place of the newest known. What was there is over: superseded, if it was open.
    fn take_newest_place(&mut self, session: Session) {
        if session.is_over() {
            self.retire_newest(session.connected_at);
            self.newest_over = Some(session);
        } else {
            self.make_current(session);
        }
    }

    pub(super) fn make_current(&mut self, session: Session) {
        self.retire_newest(session.connected_at);
        self.open = Some(session);
    }

    /// A newer session connected at `at`.
    fn retire_newest(&mut self, at: Timestamp) {
        if let Some(mut open) = self.open.take() {
            open.superseded_at = at;
            self.remember(open);
        }
        if let Some(over) = self.newest_over.take() {
            self.remember(over);
        }
    }

    /// Remembers a session that is over and not the newest; the earliest-ended is forgotten first, of equal ends the
    /// first to arrive here.
    fn remember(&mut self, session: Session) {
        self.closed.push(session);
        if self.closed.len() > CLOSED_MAX {
            let earliest =
                (0..self.closed.len()).min_by_key(|index| (self.closed[*index].ended_at(), *index));
            let forgotten = self.closed.remove(earliest.unwrap_or(0));
            for end in forgotten.ends() {
                if self.counts(&forgotten.evidence(), &end) {
                    self.keep_stray_end(forgotten.evidence(), end);
                }
            }
        }
    }

    /// Of the ends of sessions that are not remembered the latest one is known on.
    fn keep_stray_end(&mut self, evidence: Evidence, disconnect: Disconnect) {
        if self.stray_end.as_ref().is_none_or(|(_, known)| known.at <= disconnect.at) {
            self.stray_end = Some((evidence, disconnect));
        }
    }

    /// An end counts unless, as known now, a newer session had connected before it.
    fn counts(&self, evidence: &Evidence, disconnect: &Disconnect) -> bool {
        !self.sessions().any(|other| {
            other.is_known() && other.connected_at < disconnect.at && evidence.older_than(&other.evidence())
        })
    }

    /// Determines the recorded disconnect anew: the latest that counts; of equal times that of the newer session.
    pub(super) fn record_disconnect(&mut self) {
        let ends = self.over().flat_map(|session| session.ends().map(|end| (session.evidence(), end)));
        let latest = self
            .stray_end
            .into_iter()
            .chain(ends)
            .filter(|(evidence, end)| self.counts(evidence, end))
            .reduce(|best, other| match other.1.at.cmp(&best.1.at) {
                std::cmp::Ordering::Less => best,
                std::cmp::Ordering::Equal if other.0.older_than(&best.0) => best,
                _ => other,
            });
        self.recorded = latest.map(|(_, end)| end);
    }

    /// A session began; on long_poll every poll says so.
    pub fn connect(
        &mut self,
        connected: &Connected<'_>,
        at: Timestamp,
        context: &Context<'_>,
    ) -> ConnectOutcome {
        let outcome = if self.kind == ChannelKind::LongPoll {
            self.poll(connected, at, context)
        } else {
            self.connect_session(connected, at, context.nodes)
        };
        self.record_disconnect();
        outcome
    }

    fn connect_session(&mut self, connected: &Connected<'_>, at: Timestamp, nodes: &Nodes) -> ConnectOutcome {
        let id = connected.session.id;
        if let Some(open) = self.open.as_mut().filter(|open| open.has_id(id)) {
            // Of an inferred session this is the connect: it is known now, and once more it is a duplicate for ever.
            open.inferred = false;
            return ConnectOutcome::Duplicate;
        }
        if self.is_nameless_duplicate(Kind::Connect, &connected.session, at)
            || self.find_over(id).is_some_and(|session| session.is_known() && !session.inferred)
        {
            return ConnectOutcome::Duplicate;
        }
        self.forget_nameless(Kind::Connect, &connected.session);
        if self.newest_over.as_ref().is_some_and(|newest| newest.has_id(id)) {
            return self.place_inferred(connected, at, nodes);
        }
        self.place(connected, at, nodes)
    }

    /// Places a connect that is no duplicate in the order.
    pub(super) fn place(
        &mut self,
        connected: &Connected<'_>,
        at: Timestamp,
        nodes: &Nodes,
    ) -> ConnectOutcome {
        let overtaken = self.closed.iter().position(|session| session.has_id(connected.session.id));
        let mut session = match overtaken {
            Some(index) => self.closed[index].clone(),
            None => Session::named(&connected.session),
        };
        session.learn(connected, at);
        let down = nodes.down_since(connected.node_id, at);
        if let Some(newest) = self.newest()
            && session.evidence().older_than(&newest.evidence())
        {
            if let Some(index) = overtaken {
                self.closed[index] = session;
                return ConnectOutcome::Stale;
            }
            if down.is_none() && self.is_lost_connect(&session.evidence()) {
                if let Some(open) = &mut self.open {
                    open.learn(connected, at);
                }
                return ConnectOutcome::Late;
            }
            session.superseded_at = newest.connected_at;
            self.remember(session);
            return ConnectOutcome::Stale;
        }
        if let Some(index) = overtaken {
            self.closed.remove(index);
        }
        session.node_end = down;
        let over = session.is_over();
        self.take_newest_place(session);
        if over { ConnectOutcome::Late } else { ConnectOutcome::Opened }
    }

    /// The connect of the newest session, which was inferred and took its id from its disconnect: what counts for its
    /// place are the other sessions.
    fn place_inferred(&mut self, connected: &Connected<'_>, at: Timestamp, nodes: &Nodes) -> ConnectOutcome {
        let Some(mut session) = self.newest_over.take() else { return ConnectOutcome::Duplicate };
        session.learn(connected, at);
        let known = self.closed.iter().enumerate().filter(|(_, other)| other.is_known());
        let newest =
            known.reduce(
                |best, other| if other.1.evidence().older_than(&best.1.evidence()) { best } else { other },
            );
        if let Some((index, newest)) = newest
            && session.evidence().older_than(&newest.evidence())
        {
            self.newest_over = Some(self.closed.remove(index));
            self.remember(session);
            return ConnectOutcome::Stale;
        }
        session.node_end = nodes.down_since(connected.node_id, at);
        self.newest_over = Some(session);
        ConnectOutcome::Late
    }

    /// Older only than an open inferred session that has no id: its lost connect. A session that reopened after its
    /// node's time-out was disproved is not meant, though it counts as inferred: its connect is known.
    fn is_lost_connect(&self, evidence: &Evidence) -> bool {
        self.open.as_ref().is_some_and(|open| open.inferred && open.id.is_none())
            && !self.over().any(|other| other.is_known() && evidence.older_than(&other.evidence()))
    }

    /// A session ended.
    pub fn disconnect(&mut self, event: &Disconnected<'_>, at: Timestamp) -> DisconnectOutcome {
        let initiator = reason::initiator(event.initiator, event.mqtt_reason_code, event.close_code);
        if initiator == Initiator::TakenOver {
            return self.taken_over(&event.session, at);
        }
        let end = Disconnect { at, initiator, reason_code: event.mqtt_reason_code };
        let outcome = self.disconnect_session(event, end);
        self.record_disconnect();
        outcome
    }

    fn taken_over(&mut self, session: &SessionRef<'_>, at: Timestamp) -> DisconnectOutcome {
        if self.is_nameless_duplicate(Kind::TakeOver, session, at) {
            return DisconnectOutcome::Duplicate;
        }
        let known = self.closed.iter_mut().chain(&mut self.newest_over).chain(&mut self.open);
        let outcome = match { known }.find(|known| known.has_id(session.id)) {
            Some(known) if known.takeovers.contains(&at) => return DisconnectOutcome::Duplicate,
            Some(known) => {
                known.takeovers.push(at);
                DisconnectOutcome::TakenOver(known.lasted(at))
            }
            None => DisconnectOutcome::TakenOver(None),
        };
        self.forget_nameless(Kind::TakeOver, session);
        outcome
    }

    fn disconnect_session(&mut self, event: &Disconnected<'_>, end: Disconnect) -> DisconnectOutcome {
        let id = event.session.id;
        let at = end.at;
        if self.is_nameless_duplicate(Kind::Disconnect, &event.session, at)
            || self.sessions().any(|session| session.has_id(id) && session.has_disconnect(at))
        {
            return DisconnectOutcome::Duplicate;
        }
        self.forget_nameless(Kind::Disconnect, &event.session);
        if let Some(session) = self.find_over(id) {
            session.disconnects.push(end);
            return DisconnectOutcome::Stale(session.lasted(at));
        }
        if let Some(mut open) = self.open.take_if(|open| belongs(event, open, at)) {
            // Any session without an id takes that of its disconnect, not only an inferred one.
            open.id = open.id.or(id.map(Into::into));
            open.disconnects.push(end);
            let lasted = open.lasted(at);
            self.newest_over = Some(open);
            return DisconnectOutcome::Ended(lasted);
        }
        if id.is_some() {
            let mut session = Session::named(&event.session);
            session.node_id = event.node_id.map(Into::into);
            session.disconnects.push(end);
            self.remember(session);
        } else {
            self.keep_stray_end(Evidence::new(&event.session, Timestamp::NEVER), end);
        }
        // Also where it is the first that is ever known of the channel: it ends no current session.
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

    /// Whether activity over this channel is evidence of a session of its own: it names none that is known, nor one
    /// older than the newest known.
    fn is_proof(&self, session: &SessionRef<'_>, at: Timestamp) -> bool {
        !self.sessions().any(|known| known.has_id(session.id))
            && !self.newest().is_some_and(|newest| Evidence::new(session, at).older_than(&newest.evidence()))
    }

    /// Keeps activity that names a session, if it is proof; of equal times the later arrival counts.
    pub fn keep_named_proof(&mut self, session: &SessionRef<'_>, at: Timestamp) {
        if self.is_proof(session, at) && self.named_proof.as_ref().is_none_or(|known| known.at <= at) {
            let session = Session::named(session).log_session();
            self.named_proof = Some(NamedProof { at, session });
        }
    }

    /// Activity proved, or now proves, that a connect was lost: no session is open, and it was observed after the
    /// recorded disconnect. `nameless_at` is the last activity over this channel that named no session.
    ///
    /// "An inferred session begins at the first activity that proves it (of that before a late disconnect, the
    /// latest)": what came before the disconnect is known by its last alone, nameless or named (DESIGN §3.2).
    pub fn infer(&mut self, nameless_at: Timestamp) -> Option<Session> {
        let recorded = self.recorded?;
        if self.open.is_some() {
            return None;
        }
        if let Some(proof) = &self.named_proof
            && !self.is_proof(&as_ref(&proof.session), proof.at)
        {
            // The session that it named is known to be over by now, or to be an old one.
            self.named_proof = None;
        }
        let named = self.named_proof.clone().filter(|proof| proof.at > recorded.at);
        let (at, session) = match named {
            Some(proof) if proof.at >= nameless_at => (proof.at, proof.session),
            _ if nameless_at > recorded.at => (nameless_at, LogSession::default()),
            _ => return None,
        };
        let mut inferred = Session::named(&as_ref(&session));
        inferred.connected_at = at;
        inferred.inferred = true;
        self.make_current(inferred.clone());
        self.record_disconnect();
        Some(inferred)
    }

    /// A node went down at `at`: the current session, if it was the node's then, is over. The session that ended.
    pub fn node_down(&mut self, node: &str, end: NodeEnd) -> Option<&Session> {
        let mut open = self.open.take_if(|open| open.is_owned_by(node) && open.connected_at <= end.at)?;
        open.node_end = Some(end);
        self.newest_over = Some(open);
        self.record_disconnect();
        self.newest_over.as_ref()
    }

    /// Time-outs of a node were disproved: they never happened. The newest session, if only they ended it, is open
    /// again: the session that opened.
    pub fn node_returns(&mut self, node: &str, nodes: &Nodes) -> Option<&Session> {
        if self.kind == ChannelKind::LongPoll {
            // Long polls do not reopen; the next poll tells.
            return None;
        }
        let newest_since = self.newest().map_or(Timestamp::NEVER, |newest| newest.connected_at);
        for session in self.closed.iter_mut().filter(|session| session.is_timed_out_by(node)) {
            session.node_end = nodes.down_since(Some(node), session.connected_at);
            if !session.is_over() {
                session.superseded_at = newest_since;
            }
        }
        let timed_out = self.newest_over.take_if(|newest| newest.is_timed_out_by(node));
        let returned = timed_out.is_some();
        if let Some(mut newest) = timed_out {
            newest.node_end = nodes.down_since(Some(node), newest.connected_at);
            let place = if newest.is_over() { &mut self.newest_over } else { &mut self.open };
            *place = Some(newest);
        }
        self.record_disconnect();
        self.open.as_ref().filter(|_| returned)
    }
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
