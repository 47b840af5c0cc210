package lastseen.peer;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.charset.StandardCharsets;
import lastseen.v1.Events;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The clock by which deadlines fire, how often a timer is written, and what becomes of what is no event. */
class TimerTest {
    private static final long START = 1_767_225_600_000L;
    // The host is an hour ahead of what waits to be read.
    private static final long HOST = START + 3_600_000;
    private static final byte[] KEY = "acme/p1".getBytes(StandardCharsets.UTF_8);

    private Driver driver;

    @BeforeEach
    void open() throws Exception {
        driver = new PeerDriver(HOST, 1000);
        var interval = Events.RequiredInterval.newBuilder().setMinutes(1);
        driver.send("control", KEY, event(START).setRequiredInterval(interval).build().toByteArray(), START);
    }

    @AfterEach
    void close() throws Exception {
        driver.close();
    }

    private static Events.Event.Builder event(long at) {
        return Events.Event.newBuilder().setTenant("acme").setDeviceId("p1").setObservedAtMs(at);
    }

    private void heartbeat(long at) throws Exception {
        var body = Events.Activity.newBuilder().setKind(Events.ActivityKind.ACTIVITY_KIND_HEARTBEAT);
        driver.send("activity", KEY, event(at).setActivity(body).build().toByteArray(), at);
    }

    private int alarms() {
        return driver.drain(Topics.ALARMS).size();
    }

    @Test
    void aBacklogIsHeldAgainstItsOwnTime() throws Exception {
        for (long second = 1; second <= 300; second++) {
            heartbeat(START + second * 1000);
            driver.move(HOST + second * 10);
        }
        assertEquals(0, alarms());
        driver.move(HOST + 3980);
        assertEquals(0, alarms());
        driver.move(HOST + 3990);
        assertEquals(1, alarms());
    }

    @Test
    void aTimerIsNotWrittenWithEveryHeartbeat() throws Exception {
        for (long second = 1; second <= 300; second++) {
            heartbeat(START + second * 1000);
            assertEquals(1, driver.timers());
        }
    }

    @Test
    void aSilenceBetweenTwoLooksAtTheTimersIsNotMissed() throws Exception {
        heartbeat(START + 1000);
        heartbeat(START + 200_000);
        assertEquals(2, alarms());
    }

    @Test
    void whatIsNoEventIsADeadLetter() throws Exception {
        driver.send("activity", KEY, "{}".getBytes(StandardCharsets.UTF_8), START);
        driver.send("activity", "acme/p2".getBytes(StandardCharsets.UTF_8), event(START).build().toByteArray(), START);
        driver.send("activity", null, event(START).build().toByteArray(), START);
        assertEquals(3, driver.drain(Topics.DEAD_LETTER).size());
    }
}
