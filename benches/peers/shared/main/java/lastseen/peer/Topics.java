package lastseen.peer;

import java.util.List;

/** Inputs, of which the place is the number less one that outputs name them by, and outputs. */
final class Topics {
    static final List<String> INPUTS = List.of("control", "connections", "activity");
    static final String STATUS = "status";
    static final String ALARMS = "alarms";
    static final String CONNECTION_LOG = "connection-log";
    static final String DEAD_LETTER = "dead-letter";
    static final List<String> OUTPUTS = List.of(STATUS, ALARMS, CONNECTION_LOG, DEAD_LETTER);

    private Topics() {}
}
