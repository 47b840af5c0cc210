package lastseen.peer;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import lastseen.v1.Events;
import lastseen.v1.Outputs;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Folds events into devices and fires deadlines from an ordered store of timers. A timer is written when a deadline moves
 * earlier than the one that stands there, not with every event: when it comes due, the device's own deadline is looked at, and
 * the timer is fired or set anew.
 */
final class DeviceProcessor implements Processor<byte[], byte[], byte[], byte[]> {
    private static final byte[] SET = {1};
    private static final long MAX_FUTURE = 5 * Time.MINUTE;

    private final Map<String, Integer> inputs;
    private final long every;
    private final long idle;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], Device> devices;
    private KeyValueStore<byte[], byte[]> timers;
    private long lastRecord;
    private long fired = Time.NEVER;
    private byte[] key;

    DeviceProcessor(Map<String, Integer> inputs, long every, long idle) {
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
        long now = context.currentStreamTimeMs();
        Events.Event event;
        try {
            event = Events.Event.parseFrom(record.value());
        } catch (InvalidProtocolBufferException | NullPointerException error) {
            reject(record, "not an event");
            return;
        }
        if (event.hasPolicy() || event.hasNode()) {
            return;
        }
        key = record.key();
        if (key == null || !isKey(key, event.getTenantBytes(), event.getDeviceIdBytes())) {
            reject(record, "the key is not tenant/device_id");
            return;
        }
        if (event.getBodyCase() == Events.Event.BodyCase.BODY_NOT_SET) {
            reject(record, "no body");
            return;
        }
        long at = event.hasObservedAtMs() ? event.getObservedAtMs() : record.timestamp();
        if (at > Math.max(record.timestamp(), now) + MAX_FUTURE) {
            at = Math.max(record.timestamp(), now);
        }
        Device device = devices.get(key);
        if (device == null) {
            if (event.hasDelete()) {
                return;
            }
            device = new Device();
            device.birth = now;
        }
        lapse(device, event.getTenant(), event.getDeviceId(), now);
        Step step = Rules.apply(device, event, at, now);
        if (step != null) {
            step.tell(device, event.getTenant(), event.getDeviceId(), now, origin(event), this::tell);
        }
        lapse(device, event.getTenant(), event.getDeviceId(), now);
        arm(device);
        devices.put(key, device);
    }

    private Outputs.Cause.Builder origin(Events.Event event) {
        Outputs.Cause.Builder cause = Outputs.Cause.newBuilder();
        RecordMetadata metadata = context.recordMetadata().orElse(null);
        if (metadata != null) {
            cause.setTopicValue(inputs.getOrDefault(metadata.topic(), 0))
                    .setPartition(metadata.partition())
                    .setOffset(metadata.offset());
        }
        if (!event.getEventId().isEmpty()) {
            cause.setEventId(event.getEventId());
        }
        return cause;
    }

    private static boolean isKey(byte[] key, ByteString tenant, ByteString deviceId) {
        int slash = tenant.size();
        if (key.length != slash + 1 + deviceId.size() || key[slash] != '/') {
            return false;
        }
        for (int place = 0; place < slash; place++) {
            if (key[place] != tenant.byteAt(place)) {
                return false;
            }
        }
        for (int place = slash + 1; place < key.length; place++) {
            if (key[place] != deviceId.byteAt(place - slash - 1)) {
                return false;
            }
        }
        return true;
    }

    private void lapse(Device device, String tenant, String deviceId, long now) {
        Step step = Rules.lapse(device, tenant, deviceId, now);
        if (step != null) {
            step.tell(device, tenant, deviceId, now, Outputs.Cause.newBuilder(), this::tell);
        }
    }

    /** Sees to it that a timer stands no later than what the device waits for. */
    private void arm(Device device) {
        long due = Time.NEVER;
        if (Time.happened(device.deletedAt)) {
            due = device.deletedAt + Rules.TOMBSTONE_RETENTION;
        } else if (device.isMonitored() && !device.lapsed) {
            due = device.deadline();
        }
        if (due != Time.NEVER && (device.armed == Time.NEVER || due < device.armed)) {
            timers.put(timer(due, key), SET);
            device.armed = due;
        }
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
                fire(entry.key, now);
            }
        }
    }

    private void fire(byte[] timer, long now) {
        key = java.util.Arrays.copyOfRange(timer, 8, timer.length);
        Device device = devices.get(key);
        if (device == null || device.armed != ByteBuffer.wrap(timer).getLong()) {
            return;
        }
        device.armed = Time.NEVER;
        if (Time.happened(device.deletedAt) && now >= device.deletedAt + Rules.TOMBSTONE_RETENTION) {
            devices.delete(key);
            return;
        }
        String name = new String(key, StandardCharsets.UTF_8);
        int slash = name.indexOf('/');
        lapse(device, name.substring(0, slash), name.substring(slash + 1), now);
        arm(device);
        devices.put(key, device);
    }

    private static byte[] timer(long at, byte[] key) {
        return ByteBuffer.allocate(8 + key.length).putLong(at).put(key).array();
    }

    private void tell(String output, Device device, long at, byte[] message) {
        RecordHeaders headers = new RecordHeaders();
        String id = new String(key, StandardCharsets.UTF_8) + ':' + device.birth + ':' + device.sequence;
        headers.add("id", id.getBytes(StandardCharsets.UTF_8));
        context.forward(new Record<>(key, message, Math.max(0, at), headers), output);
    }

    private void reject(Record<byte[], byte[]> record, String reason) {
        RecordHeaders headers = new RecordHeaders();
        headers.add("reason", reason.getBytes(StandardCharsets.UTF_8));
        context.forward(new Record<>(record.key(), record.value(), Math.max(0, record.timestamp()), headers), Peer.DEAD_LETTER);
    }
}
