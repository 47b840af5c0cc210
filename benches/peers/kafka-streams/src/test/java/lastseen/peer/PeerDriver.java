package lastseen.peer;

import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.state.KeyValueStore;

/** The topology under the test driver of Kafka Streams. */
final class PeerDriver implements Driver {
    private final Properties settings;
    private final TopologyTestDriver driver;
    private long clock;

    PeerDriver(long start, long idle) throws IOException {
        settings = Settings.read("peer.properties");
        settings.putAll(Map.of(
                "application.id", "test",
                "bootstrap.servers", "none:1",
                "peer.punctuate.ms", "1",
                "peer.idle.ms", Long.toString(idle),
                "state.dir", System.getProperty("java.io.tmpdir") + "/lastseen-peer-test"));
        driver = new TopologyTestDriver(Peer.topology(settings), settings, Instant.ofEpochMilli(start));
        clock = start;
    }

    @Override
    public void send(String input, byte[] key, byte[] value, long at) {
        var bytes = new ByteArraySerializer();
        driver.createInputTopic(Settings.topic(settings, input), bytes, bytes).pipeInput(key, value, at);
    }

    @Override
    public void move(long to) {
        driver.advanceWallClockTime(Duration.ofMillis(to - clock));
        clock = to;
    }

    @Override
    public List<byte[]> drain(String output) {
        var bytes = new ByteArrayDeserializer();
        return driver.createOutputTopic(Settings.topic(settings, output), bytes, bytes).readValuesToList();
    }

    @Override
    public int timers() {
        KeyValueStore<byte[], byte[]> timers = driver.getKeyValueStore(Peer.TIMERS);
        int count = 0;
        try (var all = timers.all()) {
            for (; all.hasNext(); all.next()) {
                count++;
            }
        }
        return count;
    }

    @Override
    public void close() {
        driver.close();
    }
}
