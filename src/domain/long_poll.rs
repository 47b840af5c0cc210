//! long_poll: a channel without disconnects, where every poll says that its session lives (SEMANTICS §3, §12).

use super::channel::{Channel, ConnectOutcome};
use super::event::Connected;
use super::session::Session;
use super::step::Context;
use super::time::Timestamp;

/// Which of the sessions that are over.
#[derive(Clone, Copy)]
enum Place {
    Newest,
    Closed(usize),
}

impl Channel {
    /// A poll of the current session, or of one that is over, or the first of one that is not known.
    pub(super) fn poll(
        &mut self,
        connected: &Connected<'_>,
        at: Timestamp,
        context: &Context<'_>,
    ) -> ConnectOutcome {
        let id = connected.session.id;
        if let Some(open) = &mut self.open
            && (id.is_none() || open.has_id(id))
        {
            if at < open.first_poll() {
                open.keep_early_poll(at);
            }
            let later = at > open.polled_at;
            open.polled_at = open.polled_at.max(at);
            return ConnectOutcome::Polled(later);
        }
        // Without an id it is of the last session.
        let is_newest = self.newest_over.as_ref().is_some_and(|newest| id.is_none() || newest.has_id(id));
        if is_newest {
            return self.poll_of_over(Place::Newest, connected, at, context);
        }
        match self.closed.iter().position(|session| session.has_id(id)) {
            Some(index) => self.poll_of_over(Place::Closed(index), connected, at, context),
            None => self.place(connected, at, context.nodes),
        }
    }

    fn poll_of_over(
        &mut self,
        place: Place,
        connected: &Connected<'_>,
        at: Timestamp,
        context: &Context<'_>,
    ) -> ConnectOutcome {
        let newest_poll = self.sessions().map(|session| session.polled_at).max();
        let session = match place {
            Place::Newest => self.newest_over.as_mut(),
            Place::Closed(index) => self.closed.get_mut(index),
        };
        let Some(session) = session else { return ConnectOutcome::Polled(false) };
        let node = connected.node_id.or(session.node_id.as_deref());
        let is_before_down = context.nodes.down_since(node, at).is_some();
        if at <= session.own_end() || is_before_down {
            // It opens nothing.
            if !session.is_known() {
                // Its disconnect overtook its first poll.
                return self.place(connected, at, context.nodes);
            }
            let is_first = at < session.first_poll();
            let is_late = !session.knows_poll(at) && (is_first || is_before_down);
            if is_late {
                session.keep_early_poll(at);
            }
            let later = at > session.polled_at;
            session.polled_at = session.polled_at.max(at);
            return if is_late { ConnectOutcome::Late } else { ConnectOutcome::Polled(later) };
        }
        if let Place::Newest = place
            && at < session.lapse(context.policy.long_poll_linger)
        {
            // What lapsed is prolonged in hindsight by a poll that moves the lapse; what was disconnected, by any that
            // is not known. A poll from before the return of sight changes nothing in hindsight.
            let lapsed = session.lapsed_at.happened();
            let prolongs = if lapsed { at > session.polled_at } else { !session.knows_poll(at) };
            if !prolongs || at < context.sight {
                return ConnectOutcome::Polled(false);
            }
            if let Some(mut session) = self.newest_over.take() {
                session.polled_at = session.polled_at.max(at);
                session.lapsed_at = Timestamp::NEVER;
                session.node_end = None;
                self.open = Some(session);
            }
            return ConnectOutcome::Polled(true);
        }
        if connected.session.id.is_none() {
            return self.place(connected, at, context.nodes);
        }
        if newest_poll.is_some_and(|newest| at <= newest) {
            return ConnectOutcome::Polled(false);
        }
        // Opened anew: what was known of its beginning and its ends is the past; its disconnects are known on, for
        // duplicates of them.
        let past = match place {
            Place::Newest => self.newest_over.take(),
            Place::Closed(index) => Some(self.closed.remove(index)),
        };
        let Some(past) = past else { return ConnectOutcome::Polled(false) };
        let mut session = Session {
            id: past.id,
            sequence: past.sequence,
            started_at: past.started_at,
            disconnects: past.disconnects,
            takeovers: past.takeovers,
            ..Session::UNKNOWN
        };
        session.learn(connected, at);
        self.make_current(session);
        ConnectOutcome::Opened
    }

    /// The long poll lapsed. The session that ended.
    pub(super) fn lapse(&mut self, at: Timestamp) -> Option<&Session> {
        let mut open = self.open.take()?;
        open.lapsed_at = at;
        self.newest_over = Some(open);
        self.record_disconnect();
        self.newest_over.as_ref()
    }
}
