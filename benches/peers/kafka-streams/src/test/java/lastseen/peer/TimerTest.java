package lastseen.peer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Properties;
import lastseen.v1.Events;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.state.KeyValueStore;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The clock by which deadlines fire, and how often a timer is written. */
class TimerTest {
    private static final long START = 1_767_225_600_000L;
    private static final byte[] KEY = "acme/p1".getBytes(StandardCharsets.UTF_8);

    private TopologyTestDriver driver;
    private TestInputTopic<byte[], byte[]> control;
    private TestInputTopic<byte[], byte[]> activity;
    private TestOutputTopic<byte[], byte[]> alarms;

    @BeforeEach
    void open() {
        Properties settings = Story.settings();
        settings.put("peer.idle.ms", "1000");
        // The host is an hour ahead of what waits to be read.
        driver = new TopologyTestDriver(Peer.topology(settings), settings, Instant.ofEpochMilli(START + 3_600_000));
        var bytes = new ByteArraySerializer();
        control = driver.createInputTopic("devices.control", bytes, bytes);
        activity = driver.createInputTopic("devices.activity", bytes, bytes);
        alarms = driver.createOutputTopic("peer.alarms", new ByteArrayDeserializer(), new ByteArrayDeserializer());
        var interval = Events.RequiredInterval.newBuilder().setMinutes(1);
        control.pipeInput(KEY, event(START).setRequiredInterval(interval).build().toByteArray(), START);
    }

    @AfterEach
    void close() {
        driver.close();
    }

    private static Events.Event.Builder event(long at) {
        return Events.Event.newBuilder().setTenant("acme").setDeviceId("p1").setObservedAtMs(at);
    }

    private void heartbeat(long at) {
        var body = Events.Activity.newBuilder().setKind(Events.ActivityKind.ACTIVITY_KIND_HEARTBEAT);
        activity.pipeInput(KEY, event(at).setActivity(body).build().toByteArray(), at);
    }

    @Test
    void aBacklogIsHeldAgainstItsOwnTime() {
        for (long second = 1; second <= 300; second++) {
            heartbeat(START + second * 1000);
            driver.advanceWallClockTime(Duration.ofMillis(10));
        }
        assertTrue(alarms.isEmpty());
        driver.advanceWallClockTime(Duration.ofMillis(980));
        assertTrue(alarms.isEmpty());
        driver.advanceWallClockTime(Duration.ofMillis(10));
        assertEquals(1, alarms.readRecordsToList().size());
    }

    @Test
    void aTimerIsNotWrittenWithEveryHeartbeat() {
        for (long second = 1; second <= 300; second++) {
            heartbeat(START + second * 1000);
            KeyValueStore<byte[], byte[]> timers = driver.getKeyValueStore(Peer.TIMERS);
            int count = 0;
            try (var all = timers.all()) {
                for (; all.hasNext(); all.next()) {
                    count++;
                }
            }
            assertEquals(1, count);
        }
    }

    @Test
    void aSilenceBetweenTwoPunctuationsIsNotMissed() {
        heartbeat(START + 1000);
        heartbeat(START + 200_000);
        assertEquals(2, alarms.readRecordsToList().size());
    }

    @Test
    void whatIsNoEventIsADeadLetter() {
        activity.pipeInput(KEY, "{}".getBytes(StandardCharsets.UTF_8), START);
        activity.pipeInput("acme/p2".getBytes(StandardCharsets.UTF_8), event(START).build().toByteArray(), START);
        var bytes = new ByteArrayDeserializer();
        assertEquals(2, driver.createOutputTopic("peer.dead-letter", bytes, bytes).readRecordsToList().size());
    }
}
