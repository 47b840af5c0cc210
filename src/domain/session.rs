//! One session: what places it in the order of its channel, and how it ended (SEMANTICS §3).

use super::effect::LogSession;
use super::event::{Connected, Initiator, SessionRef, SessionSequence};
use super::time::{Millis, Timestamp};

/// What places a session in the order of its channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The broker's own number, where it has one.
    pub sequence: Option<SessionSequence>,
    /// When it began, by its platform.
    pub started_at: Option<Timestamp>,
    /// When its connect (or what stands for it) was observed; never, if only its end is known.
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
        self.observed_at.happened() && self.observed_at < other.observed_at
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
    /// long_poll: polls that came late, [`Session::EARLY_POLLS_MAX`] at most: the first one known, and those that the
    /// log has as late.
    pub early_polls: Vec<Timestamp>,
    /// long_poll: the return of sight that the linger counts from.
    pub seen_since: Timestamp,
    /// Its own disconnects, in order of arrival; no two at one time.
    pub disconnects: Vec<Disconnect>,
    /// The end by its node.
    pub node_end: Option<NodeEnd>,
    /// long_poll: the end by silence.
    pub lapsed_at: Timestamp,
    /// A newer session connected then.
    pub superseded_at: Timestamp,
    /// Observed times of its taken-over notices.
    pub takeovers: Vec<Timestamp>,
}

impl Session {
    /// Late polls remembered of a session.
    pub const EARLY_POLLS_MAX: usize = 8;

    /// A session of which nothing is known.
    pub const UNKNOWN: Session = Session {
        id: None,
        sequence: None,
        started_at: None,
        connected_at: Timestamp::NEVER,
        node_id: None,
        protocol: None,
        can_receive_operations: true,
        inferred: false,
        polled_at: Timestamp::NEVER,
        early_polls: Vec::new(),
        seen_since: Timestamp::NEVER,
        disconnects: Vec::new(),
        node_end: None,
        lapsed_at: Timestamp::NEVER,
        superseded_at: Timestamp::NEVER,
        takeovers: Vec::new(),
    };

    /// A session of which an event knows no more than its name.
    pub(super) fn named(session: &SessionRef<'_>) -> Session {
        Session {
            id: session.id.map(Into::into),
            sequence: session.sequence,
            started_at: session.started_at,
            ..Session::UNKNOWN
        }
    }

    /// Its connect is known now.
    pub(super) fn learn(&mut self, connected: &Connected<'_>, at: Timestamp) {
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

    /// Whether its connect is known, or inferred.
    pub fn is_known(&self) -> bool {
        self.connected_at.happened()
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.ends().next().is_some() || self.superseded_at.happened()
    }

    /// Every way it was disconnected: by its node, by silence, by its own disconnects.
    pub(super) fn ends(&self) -> impl Iterator<Item = Disconnect> {
        let node = self.node_end.map(|end| Disconnect::by_network(end.at));
        let lapse = self.lapsed_at.known().map(Disconnect::by_network);
        node.into_iter().chain(lapse).chain(self.disconnects.iter().copied())
    }

    /// Its own last disconnect, if there was one.
    pub(super) fn own_end(&self) -> Timestamp {
        self.disconnects.iter().map(|end| end.at).max().unwrap_or(Timestamp::NEVER)
    }

    pub(super) fn has_disconnect(&self, at: Timestamp) -> bool {
        self.disconnects.iter().any(|end| end.at == at)
    }

    /// When it ended, by whatever came last.
    pub(super) fn ended_at(&self) -> Timestamp {
        self.ends().map(|end| end.at).max().unwrap_or(Timestamp::NEVER).max(self.superseded_at)
    }

    /// What places it in the order.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence { sequence: self.sequence, started_at: self.started_at, observed_at: self.connected_at }
    }

    /// As the log names it.
    pub(super) fn log_session(&self) -> LogSession {
        LogSession { id: self.id.clone(), started_at: self.started_at, sequence: self.sequence }
    }

    pub(super) fn has_id(&self, id: Option<&str>) -> bool {
        id.is_some() && self.id.as_deref() == id
    }

    pub(super) fn is_owned_by(&self, node: &str) -> bool {
        self.node_id.as_deref() == Some(node)
    }

    pub(super) fn is_timed_out_by(&self, node: &str) -> bool {
        self.is_owned_by(node) && self.node_end.is_some_and(|end| end.timed_out)
    }

    /// How long it had lasted by `at`, if its beginning is known.
    pub(super) fn lasted(&self, at: Timestamp) -> Option<Millis> {
        Some(Millis((at - self.connected_at.known()?).0.max(0)))
    }

    /// long_poll: when it lapses, or lapsed: the linger after the last poll, and at the earliest after sight returned.
    pub fn lapse(&self, linger: Millis) -> Timestamp {
        self.lapsed_at.known().unwrap_or_else(|| self.polled_at.max(self.seen_since) + linger)
    }

    /// long_poll: the first poll known.
    pub(super) fn first_poll(&self) -> Timestamp {
        self.early_polls.iter().copied().fold(self.connected_at, Timestamp::min)
    }

    /// long_poll: whether this poll is among those that are remembered.
    pub(super) fn knows_poll(&self, at: Timestamp) -> bool {
        at == self.connected_at || at == self.polled_at || self.early_polls.contains(&at)
    }

    /// long_poll: remembers a poll that came late.
    pub(super) fn keep_early_poll(&mut self, at: Timestamp) {
        if self.early_polls.len() == Session::EARLY_POLLS_MAX {
            // The first one known stays.
            let first = self.first_poll();
            let dropped = self.early_polls.iter().position(|known| *known != first).unwrap_or(0);
            self.early_polls.remove(dropped);
        }
        self.early_polls.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(sequence: Option<u8>, started_at: Option<i64>, observed_at: i64) -> Evidence {
        Evidence {
            sequence: sequence.map(|number| {
                let mut sequence = [0; 32];
                sequence[31] = number;
                sequence
            }),
            started_at: started_at.map(Timestamp::from_millis),
            observed_at: Timestamp::from_millis(observed_at),
        }
    }

    #[test]
    fn older_goes_by_the_first_kind_that_both_carry_and_that_differs() {
        assert!(evidence(Some(1), Some(9), 9).older_than(&evidence(Some(2), Some(1), 1)));
        assert!(evidence(Some(1), Some(1), 9).older_than(&evidence(None, Some(2), 1)));
        assert!(evidence(Some(1), Some(1), 9).older_than(&evidence(Some(1), Some(2), 1)));
        assert!(evidence(Some(1), None, 1).older_than(&evidence(None, Some(1), 2)));
        assert!(!evidence(Some(1), Some(1), 1).older_than(&evidence(Some(1), Some(1), 1)));
        let unknown = Evidence { observed_at: Timestamp::NEVER, ..evidence(None, None, 0) };
        assert!(!unknown.older_than(&evidence(None, None, 1)));
        assert!(!evidence(None, None, 1).older_than(&unknown));
    }
}
