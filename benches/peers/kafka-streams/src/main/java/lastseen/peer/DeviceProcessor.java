package lastseen.peer;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/** The judge over two stores: devices, and timers in their order. */
final class DeviceProcessor extends Judge implements Processor<byte[], byte[], byte[], byte[]> {
    private static final byte[] SET = {1};

    private final List<String> inputs;
    private final long every;
    private final long idle;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], Device> devices;
    private KeyValueStore<byte[], byte[]> timers;
    private long lastRecord;
    private long fired = Time.NEVER;

    DeviceProcessor(List<String> inputs, long every, long idle) {
        this.inputs = inputs;
        this.every = every;
        this.idle = idle;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        devices = context.getStateStore(Peer.DEVICES);
        timers = context.getStateStore(Peer.TIMERS);
        // After a start the backlog comes first: nothing is due before it had its time to come.
        lastRecord = context.currentSystemTimeMs();
        context.schedule(Duration.ofMillis(every), PunctuationType.WALL_CLOCK_TIME, this::fire);
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        lastRecord = context.currentSystemTimeMs();
        RecordMetadata from = context.recordMetadata().orElseThrow();
        int input = inputs.indexOf(from.topic()) + 1;
        long now = context.currentStreamTimeMs();
        take(input, from.partition(), from.offset(), record.key(), record.value(), record.timestamp(), now);
    }

    /** What is due by the time of the records while they keep coming, and by the clock after that. */
    private void fire(long system) {
        boolean isIdle = system - lastRecord >= idle;
        long now = isIdle ? Math.max(system, context.currentStreamTimeMs()) : context.currentStreamTimeMs();
        if (now <= fired) {
            return;
        }
        fired = now;
        try (KeyValueIterator<byte[], byte[]> due = timers.range(new byte[8], timer(now, new byte[0]))) {
            while (due.hasNext()) {
                KeyValue<byte[], byte[]> entry = due.next();
                timers.delete(entry.key);
                byte[] key = Arrays.copyOfRange(entry.key, 8, entry.key.length);
                fire(key, ByteBuffer.wrap(entry.key).getLong(), now);
            }
        }
    }

    @Override
    Device load(byte[] key) {
        return devices.get(key);
    }

    @Override
    void save(byte[] key, Device device) {
        devices.put(key, device);
    }

    @Override
    void forget(byte[] key) {
        devices.delete(key);
    }

    @Override
    void wake(byte[] key, long due) {
        timers.put(timer(due, key), SET);
    }

    private static byte[] timer(long at, byte[] key) {
        return ByteBuffer.allocate(8 + key.length).putLong(at).put(key).array();
    }

    @Override
    void tell(String output, byte[] key, byte[] value, long at, String header, String word) {
        RecordHeaders headers = new RecordHeaders();
        headers.add(header, word.getBytes(StandardCharsets.UTF_8));
        context.forward(new Record<>(key, value, at, headers), output);
    }
}
