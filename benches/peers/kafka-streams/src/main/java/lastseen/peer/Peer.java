package lastseen.peer;

import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The topology: three inputs, one processor with two stores, four outputs. */
final class Peer {
    static final String DEVICES = "devices";
    static final String TIMERS = "timers";
    static final String STATUS = "status";
    static final String ALARMS = "alarms";
    static final String CONNECTION_LOG = "connection-log";
    static final String DEAD_LETTER = "dead-letter";

    private Peer() {}

    static Topology topology(Properties settings) {
        var bytes = new ByteArrayDeserializer();
        var out = new ByteArraySerializer();
        Topology topology = new Topology();
        for (String input : new String[] {"control", "connections", "activity"}) {
            topology.addSource(input, bytes, bytes, settings.getProperty("peer.topic." + input));
        }
        long every = Long.parseLong(settings.getProperty("peer.punctuate.ms"));
        long idle = Long.parseLong(settings.getProperty("peer.idle.ms"));
        Map<String, Integer> inputs = Map.of(
                settings.getProperty("peer.topic.control"), 1,
                settings.getProperty("peer.topic.connections"), 2,
                settings.getProperty("peer.topic.activity"), 3);
        topology.addProcessor("judge", () -> new DeviceProcessor(inputs, every, idle), "control", "connections", "activity");
        boolean isCached = Boolean.parseBoolean(settings.getProperty("peer.store.caching"));
        topology.addStateStore(store(DEVICES, new DeviceSerde(), isCached), "judge");
        topology.addStateStore(store(TIMERS, Serdes.ByteArray(), isCached), "judge");
        for (String output : new String[] {STATUS, ALARMS, CONNECTION_LOG, DEAD_LETTER}) {
            topology.addSink(output, settings.getProperty("peer.topic." + output), out, out, "judge");
        }
        return topology;
    }

    private static <V> StoreBuilder<KeyValueStore<byte[], V>> store(
            String name, org.apache.kafka.common.serialization.Serde<V> serde, boolean isCached) {
        var builder = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.ByteArray(), serde)
                .withLoggingEnabled(Map.of());
        return isCached ? builder.withCachingEnabled() : builder.withCachingDisabled();
    }
}
