package lastseen.peer;

import java.util.ArrayList;
import java.util.List;

/** The facts of one device, and the two facets that follow from them. */
final class Device {
    static final int NOT_MONITORED = 0;
    static final int MAINTENANCE = 1;
    static final int UNKNOWN = 2;
    static final int AVAILABLE = 3;
    static final int UNAVAILABLE = 4;
    static final String[] AVAILABILITY = {"NOT_MONITORED", "MAINTENANCE", "UNKNOWN", "AVAILABLE", "UNAVAILABLE"};

    static final int CONNECTION_UNKNOWN = 0;
    static final int CONNECTED = 1;
    static final int DISCONNECTED = 2;
    static final String[] CONNECTION = {"UNKNOWN", "CONNECTED", "DISCONNECTED"};

    /** An open alarm. */
    static final class Alarm {
        String id;
        boolean acknowledged;
        int count;
        long firstAt;
        long lastAt;
    }

    /** A deadline that passed: what disproves it, and the alarm that it raised. */
    static final class Verdict {
        long deadline;
        int minutes;
        long toldAs;
        Alarm alarm;

        boolean isDisprovedBy(long at) {
            return at <= deadline && at + allowance(minutes) > deadline;
        }
    }

    static final int NO_INTERVAL = Integer.MIN_VALUE;

    long birth;
    long sequence;
    long earliest = Long.MAX_VALUE;
    long deletedAt = Time.NEVER;
    long lastMessage = Time.NEVER;
    long lastActivity = Time.NEVER;
    int lastActivityKind;
    /** The smallest time at which the timer store has an entry for it, NEVER if it has none. */
    long armed = Time.NEVER;

    int minutes = NO_INTERVAL;
    int setBy;
    boolean byEvent;
    long setAt = Time.NEVER;
    long since = Time.NEVER;
    long positiveSince = Time.NEVER;
    long floor = Time.NEVER;
    boolean lapsed;
    Verdict verdict;

    int availability = NOT_MONITORED;
    int connection = CONNECTION_UNKNOWN;
    final List<Channel> channels = new ArrayList<>(1);

    static long allowance(int minutes) {
        return Math.abs((long) minutes) * Time.MINUTE;
    }

    Channel channel(int kind) {
        for (Channel channel : channels) {
            if (channel.kind == kind) {
                return channel;
            }
        }
        Channel channel = new Channel(kind);
        channels.add(channel);
        return channel;
    }

    boolean isMonitored() {
        return minutes > 0;
    }

    boolean isMaintenance() {
        return minutes != NO_INTERVAL && minutes <= 0;
    }

    long countedFrom() {
        return Math.max(lastMessage, since);
    }

    /** After this moment it is unavailable; NEVER if it is not monitored. */
    long deadline() {
        return isMonitored() ? Math.max(countedFrom() + allowance(minutes), floor) : Time.NEVER;
    }

    boolean hasMessage() {
        return Time.happened(lastMessage) && positiveSince <= lastMessage + allowance(minutes);
    }

    int availabilityNow() {
        if (minutes == NO_INTERVAL) {
            return NOT_MONITORED;
        }
        if (minutes <= 0) {
            return MAINTENANCE;
        }
        if (lapsed) {
            return UNAVAILABLE;
        }
        return hasMessage() ? AVAILABLE : UNKNOWN;
    }

    int connectionNow() {
        boolean isKnown = false;
        for (Channel channel : channels) {
            if (!isClientChannel(channel.kind)) {
                continue;
            }
            if (channel.open != null) {
                return CONNECTED;
            }
            isKnown |= channel.isKnown();
        }
        return isKnown ? DISCONNECTED : CONNECTION_UNKNOWN;
    }

    /** mqtt, websocket, lwm2m, http: by the numbers of the schema. */
    private static boolean isClientChannel(int kind) {
        return kind == 1 || kind == 2 || kind == 7 || kind == 5;
    }

    void touch(int kind, long at) {
        if (at >= lastActivity) {
            lastActivity = at;
            lastActivityKind = kind;
        }
    }
}
