package lastseen.peer;

import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The topology: three inputs, one processor with two stores, four outputs. */
final class Peer {
    static final String DEVICES = "devices";
    static final String TIMERS = "timers";

    private Peer() {}

    static Topology topology(Properties settings) {
        var bytes = new ByteArrayDeserializer();
        var out = new ByteArraySerializer();
        Topology topology = new Topology();
        for (String input : Topics.INPUTS) {
            topology.addSource(input, bytes, bytes, Settings.topic(settings, input));
        }
        long every = Settings.number(settings, "peer.punctuate.ms");
        long idle = Settings.number(settings, "peer.idle.ms");
        List<String> inputs = Settings.inputs(settings);
        topology.addProcessor(
                "judge", () -> new DeviceProcessor(inputs, every, idle), Topics.INPUTS.toArray(String[]::new));
        boolean isCached = Boolean.parseBoolean(settings.getProperty("peer.store.caching"));
        topology.addStateStore(store(DEVICES, new DeviceSerde(), isCached), "judge");
        topology.addStateStore(store(TIMERS, Serdes.ByteArray(), isCached), "judge");
        for (String output : Topics.OUTPUTS) {
            topology.addSink(output, Settings.topic(settings, output), out, out, "judge");
        }
        return topology;
    }

    private static <V> StoreBuilder<KeyValueStore<byte[], V>> store(String name, Serde<V> serde, boolean isCached) {
        var builder = Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.ByteArray(), serde)
                .withLoggingEnabled(Map.of());
        return isCached ? builder.withCachingEnabled() : builder.withCachingDisabled();
    }
}
