package lastseen.peer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import lastseen.v1.Events;

/** One session of a channel: what places it in the order, and how it ended. */
final class Session {
    /** What compares two sessions: the first kind of evidence that both carry, and that differs. */
    record Evidence(byte[] sequence, long startedAt, long observedAt) {
        static Evidence of(Events.Session session, long observedAt) {
            return new Evidence(
                    session.hasSequence() ? padded(session.getSequence().toByteArray()) : null,
                    session.hasStartedAtMs() ? session.getStartedAtMs() : Time.NEVER,
                    observedAt);
        }

        boolean olderThan(Evidence other) {
            if (sequence != null && other.sequence != null) {
                int order = Arrays.compareUnsigned(sequence, other.sequence);
                if (order != 0) {
                    return order < 0;
                }
            }
            if (Time.happened(startedAt) && Time.happened(other.startedAt) && startedAt != other.startedAt) {
                return startedAt < other.startedAt;
            }
            return Time.happened(observedAt) && observedAt < other.observedAt;
        }

        boolean same(Evidence other) {
            return other != null
                    && startedAt == other.startedAt
                    && observedAt == other.observedAt
                    && Arrays.equals(sequence, other.sequence);
        }
    }

    record End(long at, int initiator, int reasonCode) {}

    String id = "";
    byte[] sequence;
    long startedAt = Time.NEVER;
    long connectedAt = Time.NEVER;
    String nodeId = "";
    final List<End> ends = new ArrayList<>(1);
    long supersededAt = Time.NEVER;
    final List<Long> takeovers = new ArrayList<>(0);

    static Session named(Events.Session session) {
        Session made = new Session();
        made.id = session.getId();
        made.sequence = session.hasSequence() ? padded(session.getSequence().toByteArray()) : null;
        made.startedAt = session.hasStartedAtMs() ? session.getStartedAtMs() : Time.NEVER;
        return made;
    }

    void learn(Events.Connected connected, long at) {
        Events.Session session = connected.getSession();
        if (!session.getId().isEmpty()) {
            id = session.getId();
        }
        if (session.hasSequence()) {
            sequence = padded(session.getSequence().toByteArray());
        }
        if (session.hasStartedAtMs()) {
            startedAt = session.getStartedAtMs();
        }
        connectedAt = at;
        nodeId = connected.getNodeId();
    }

    boolean hasId(String other) {
        return !other.isEmpty() && id.equals(other);
    }

    boolean isKnown() {
        return Time.happened(connectedAt);
    }

    boolean isOver() {
        return !ends.isEmpty() || Time.happened(supersededAt);
    }

    long endedAt() {
        long latest = supersededAt;
        for (End end : ends) {
            latest = Math.max(latest, end.at());
        }
        return latest;
    }

    boolean endedOnceAt(long at) {
        for (End end : ends) {
            if (end.at() == at) {
                return true;
            }
        }
        return false;
    }

    Evidence evidence() {
        return new Evidence(sequence, startedAt, connectedAt);
    }

    /** How long it lasted until then; never less than nothing, and NEVER if its beginning is not known. */
    long lasted(long at) {
        return isKnown() ? Math.max(0, at - connectedAt) : Time.NEVER;
    }

    private static byte[] padded(byte[] number) {
        byte[] wide = new byte[32];
        int length = Math.min(number.length, wide.length);
        System.arraycopy(number, number.length - length, wide, wide.length - length, length);
        return wide;
    }
}
