package lastseen.peer;

import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;

/** Milliseconds since the epoch, and one value for "never". */
final class Time {
    static final long NEVER = Long.MIN_VALUE;
    static final long MINUTE = 60_000;

    private static final DateTimeFormatter OF_DAY = DateTimeFormatter.ofPattern("HH:mm:ss'Z'").withZone(ZoneOffset.UTC);

    private Time() {}

    static boolean happened(long at) {
        return at != NEVER;
    }

    static String ofDay(long at) {
        return OF_DAY.format(Instant.ofEpochMilli(at));
    }
}
