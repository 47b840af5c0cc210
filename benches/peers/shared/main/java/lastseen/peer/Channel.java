package lastseen.peer;

import java.util.ArrayList;
import java.util.List;
import lastseen.v1.Events;

/** The sessions of one channel and the law that orders them (SEMANTICS §3), without inferred sessions and nodes. */
final class Channel {
    private static final int CLOSED_MAX = 8;
    private static final int FAILED_MAX = 8;
    private static final int CONNECT = 0;
    private static final int DISCONNECT = 1;
    private static final int TAKE_OVER = 2;

    enum Connect {
        DUPLICATE,
        STALE,
        LATE,
        OPENED
    }

    enum Disconnect {
        DUPLICATE,
        TAKEN_OVER,
        STALE,
        ENDED
    }

    /** What a disconnect came to, and how long its session had lasted. */
    record Ended(Disconnect outcome, long lasted) {}

    final int kind;
    Session open;
    /** The newest session known, if it is over. */
    Session newestOver;
    final List<Session> closed = new ArrayList<>(2);
    /** The latest end that counts of sessions that are remembered no more, or that never had a name. */
    Session.Evidence strayEvidence;
    Session.End strayEnd;
    Session.End recorded;
    final Session.Evidence[] nameless = new Session.Evidence[3];
    final List<Long> failed = new ArrayList<>(0);

    Channel(int kind) {
        this.kind = kind;
    }

    boolean isKnown() {
        return open != null || newestOver != null || recorded != null || !closed.isEmpty();
    }

    private Session newest() {
        return open != null ? open : newestOver;
    }

    private Session findOver(String id) {
        for (Session session : closed) {
            if (session.hasId(id)) {
                return session;
            }
        }
        return newestOver != null && newestOver.hasId(id) ? newestOver : null;
    }

    private boolean isNamelessDuplicate(int which, Events.Session session, long at) {
        if (!session.getId().isEmpty()) {
            return false;
        }
        Session.Evidence before = nameless[which];
        nameless[which] = Session.Evidence.of(session, at);
        return nameless[which].same(before);
    }

    private void forgetNameless(int which, Events.Session session) {
        if (!session.getId().isEmpty()) {
            nameless[which] = null;
        }
    }

    Connect connect(Events.Connected event, long at) {
        Connect outcome = place(event, at);
        recordDisconnect();
        return outcome;
    }

    private Connect place(Events.Connected event, long at) {
        String id = event.getSession().getId();
        if (open != null && open.hasId(id)) {
            return Connect.DUPLICATE;
        }
        Session over = id.isEmpty() ? null : findOver(id);
        if (isNamelessDuplicate(CONNECT, event.getSession(), at) || over != null && over.isKnown()) {
            return Connect.DUPLICATE;
        }
        forgetNameless(CONNECT, event.getSession());
        int overtaken = over == null ? -1 : closed.indexOf(over);
        Session session = overtaken >= 0 ? over : Session.named(event.getSession());
        session.learn(event, at);
        Session newest = newest();
        if (newest != null && session.evidence().olderThan(newest.evidence())) {
            if (overtaken < 0) {
                session.supersededAt = newest.connectedAt;
                remember(session);
            }
            return Connect.STALE;
        }
        if (overtaken >= 0) {
            closed.remove(overtaken);
        }
        retireNewest(session.connectedAt);
        if (session.isOver()) {
            newestOver = session;
            return Connect.LATE;
        }
        open = session;
        return Connect.OPENED;
    }

    private void retireNewest(long at) {
        if (open != null) {
            open.supersededAt = at;
            remember(open);
            open = null;
        }
        if (newestOver != null) {
            remember(newestOver);
            newestOver = null;
        }
    }

    private void remember(Session session) {
        closed.add(session);
        if (closed.size() <= CLOSED_MAX) {
            return;
        }
        int earliest = 0;
        for (int index = 1; index < closed.size(); index++) {
            if (closed.get(index).endedAt() < closed.get(earliest).endedAt()) {
                earliest = index;
            }
        }
        Session forgotten = closed.remove(earliest);
        for (Session.End end : forgotten.ends) {
            if (counts(forgotten.evidence(), end)) {
                keepStray(forgotten.evidence(), end);
            }
        }
    }

    private void keepStray(Session.Evidence evidence, Session.End end) {
        if (strayEnd == null || strayEnd.at() <= end.at()) {
            strayEvidence = evidence;
            strayEnd = end;
        }
    }

    /** An end does not count if, as known now, a newer session had connected before it. */
    private boolean counts(Session.Evidence evidence, Session.End end) {
        for (Session other : closed) {
            if (overrides(other, evidence, end)) {
                return false;
            }
        }
        return !(newestOver != null && overrides(newestOver, evidence, end))
                && !(open != null && overrides(open, evidence, end));
    }

    private static boolean overrides(Session other, Session.Evidence evidence, Session.End end) {
        return other.isKnown() && other.connectedAt < end.at() && evidence.olderThan(other.evidence());
    }

    private void recordDisconnect() {
        Session.Evidence bestEvidence = null;
        Session.End best = null;
        if (strayEnd != null && counts(strayEvidence, strayEnd)) {
            bestEvidence = strayEvidence;
            best = strayEnd;
        }
        int count = closed.size() + (newestOver == null ? 0 : 1);
        for (int index = 0; index < count; index++) {
            Session session = index < closed.size() ? closed.get(index) : newestOver;
            for (Session.End end : session.ends) {
                Session.Evidence evidence = session.evidence();
                if (!counts(evidence, end)) {
                    continue;
                }
                boolean isLater = best == null
                        || end.at() > best.at()
                        || end.at() == best.at() && !evidence.olderThan(bestEvidence);
                if (isLater) {
                    bestEvidence = evidence;
                    best = end;
                }
            }
        }
        recorded = best;
    }

    Ended disconnect(Events.Disconnected event, int initiator, long at) {
        if (initiator == Events.Initiator.INITIATOR_TAKEN_OVER_VALUE) {
            return takenOver(event.getSession(), at);
        }
        Ended ended = end(event, new Session.End(at, initiator, event.hasMqttReasonCode() ? event.getMqttReasonCode() : -1));
        recordDisconnect();
        return ended;
    }

    private Ended takenOver(Events.Session session, long at) {
        if (isNamelessDuplicate(TAKE_OVER, session, at)) {
            return new Ended(Disconnect.DUPLICATE, Time.NEVER);
        }
        Session known = session.getId().isEmpty() ? null : findOver(session.getId());
        if (known == null && open != null && open.hasId(session.getId())) {
            known = open;
        }
        long lasted = Time.NEVER;
        if (known != null) {
            if (known.takeovers.contains(at)) {
                return new Ended(Disconnect.DUPLICATE, Time.NEVER);
            }
            known.takeovers.add(at);
            lasted = known.lasted(at);
        }
        forgetNameless(TAKE_OVER, session);
        return new Ended(Disconnect.TAKEN_OVER, lasted);
    }

    private Ended end(Events.Disconnected event, Session.End end) {
        String id = event.getSession().getId();
        Session over = id.isEmpty() ? null : findOver(id);
        boolean isKnown = over != null && over.endedOnceAt(end.at())
                || open != null && open.hasId(id) && open.endedOnceAt(end.at());
        if (isNamelessDuplicate(DISCONNECT, event.getSession(), end.at()) || isKnown) {
            return new Ended(Disconnect.DUPLICATE, Time.NEVER);
        }
        forgetNameless(DISCONNECT, event.getSession());
        if (over != null) {
            over.ends.add(end);
            return new Ended(Disconnect.STALE, over.lasted(end.at()));
        }
        if (open != null && belongs(event, end.at())) {
            Session session = open;
            open = null;
            if (session.id.isEmpty()) {
                session.id = id;
            }
            session.ends.add(end);
            newestOver = session;
            return new Ended(Disconnect.ENDED, session.lasted(end.at()));
        }
        if (id.isEmpty()) {
            keepStray(Session.Evidence.of(event.getSession(), Time.NEVER), end);
        } else {
            Session session = Session.named(event.getSession());
            session.nodeId = event.getNodeId();
            session.ends.add(end);
            remember(session);
        }
        return new Ended(Disconnect.STALE, Time.NEVER);
    }

    /** Whether a disconnect is of the open session: the first evidence that both sides carry tells. */
    private boolean belongs(Events.Disconnected event, long at) {
        Events.Session session = event.getSession();
        if (!session.getId().isEmpty() && !open.id.isEmpty()) {
            return session.getId().equals(open.id);
        }
        Session.Evidence evidence = Session.Evidence.of(session, at);
        if (evidence.sequence() != null && open.sequence != null) {
            return java.util.Arrays.compareUnsigned(evidence.sequence(), open.sequence) >= 0;
        }
        if (Time.happened(evidence.startedAt()) && Time.happened(open.startedAt)) {
            return evidence.startedAt() == open.startedAt;
        }
        if (!event.getNodeId().isEmpty() && !open.nodeId.isEmpty()) {
            return event.getNodeId().equals(open.nodeId);
        }
        return at >= open.connectedAt;
    }

    /** Whether a failed connect is news. */
    boolean connectFailed(long at) {
        if (failed.contains(at)) {
            return false;
        }
        failed.add(at);
        if (failed.size() > FAILED_MAX) {
            failed.remove(0);
        }
        return true;
    }
}
