package lastseen.peer;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import java.nio.charset.StandardCharsets;
import lastseen.v1.Events;
import lastseen.v1.Outputs;

/**
 * What a record and a timer come to, whatever runs it: the engine below keeps devices and timers, and takes what is told. A timer
 * is asked for when a deadline moves earlier than the one that stands there, not with every event: when it comes due, the
 * device's own deadline is looked at, and the timer is fired or set anew.
 */
abstract class Judge {
    private static final long MAX_FUTURE = 5 * Time.MINUTE;

    /** The device of a key, null if there is none. */
    abstract Device load(byte[] key);

    abstract void save(byte[] key, Device device);

    abstract void forget(byte[] key);

    /** Sees to it that {@link #fire} is called once it is later than that. */
    abstract void wake(byte[] key, long due);

    abstract void tell(String output, byte[] key, byte[] value, long at, String header, String word);

    /** Takes a record of an input, by its number, at a time that the engine calls now. */
    void take(int input, int partition, long offset, byte[] key, byte[] value, long recordAt, long now) {
        Events.Event event;
        try {
            event = Events.Event.parseFrom(value);
        } catch (InvalidProtocolBufferException | NullPointerException error) {
            reject(key, value, recordAt, "not an event");
            return;
        }
        if (event.hasPolicy() || event.hasNode()) {
            return;
        }
        if (key == null || !isKey(key, event.getTenantBytes(), event.getDeviceIdBytes())) {
            reject(key, value, recordAt, "the key is not tenant/device_id");
            return;
        }
        if (event.getBodyCase() == Events.Event.BodyCase.BODY_NOT_SET) {
            reject(key, value, recordAt, "no body");
            return;
        }
        long at = event.hasObservedAtMs() ? event.getObservedAtMs() : recordAt;
        if (at > Math.max(recordAt, now) + MAX_FUTURE) {
            at = Math.max(recordAt, now);
        }
        Device device = load(key);
        if (device == null) {
            if (event.hasDelete()) {
                return;
            }
            device = new Device();
            device.birth = now;
        }
        lapse(key, device, event.getTenant(), event.getDeviceId(), now);
        Step step = Rules.apply(device, event, at, now);
        if (step != null) {
            var origin = Outputs.Cause.newBuilder().setTopicValue(input).setPartition(partition).setOffset(offset);
            if (!event.getEventId().isEmpty()) {
                origin.setEventId(event.getEventId());
            }
            tell(step, key, device, event.getTenant(), event.getDeviceId(), now, origin);
        }
        lapse(key, device, event.getTenant(), event.getDeviceId(), now);
        arm(key, device);
        save(key, device);
    }

    /** A timer that was asked for has come due. */
    void fire(byte[] key, long due, long now) {
        Device device = load(key);
        if (device == null || device.armed != due) {
            return;
        }
        device.armed = Time.NEVER;
        if (Time.happened(device.deletedAt) && now >= device.deletedAt + Rules.TOMBSTONE_RETENTION) {
            forget(key);
            return;
        }
        String name = new String(key, StandardCharsets.UTF_8);
        int slash = name.indexOf('/');
        lapse(key, device, name.substring(0, slash), name.substring(slash + 1), now);
        arm(key, device);
        save(key, device);
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

    private void lapse(byte[] key, Device device, String tenant, String deviceId, long now) {
        Step step = Rules.lapse(device, tenant, deviceId, now);
        if (step != null) {
            tell(step, key, device, tenant, deviceId, now, Outputs.Cause.newBuilder());
        }
    }

    /** Sees to it that a timer stands no later than what the device waits for. */
    private void arm(byte[] key, Device device) {
        long due = Time.NEVER;
        if (Time.happened(device.deletedAt)) {
            due = device.deletedAt + Rules.TOMBSTONE_RETENTION;
        } else if (device.isMonitored() && !device.lapsed) {
            due = device.deadline();
        }
        if (due != Time.NEVER && (device.armed == Time.NEVER || due < device.armed)) {
            wake(key, due);
            device.armed = due;
        }
    }

    private void tell(
            Step step, byte[] key, Device device, String tenant, String deviceId, long now, Outputs.Cause.Builder origin) {
        step.tell(device, tenant, deviceId, now, origin, (output, told, at, message) -> {
            String id = new String(key, StandardCharsets.UTF_8) + ':' + told.birth + ':' + told.sequence;
            tell(output, key, message, Math.max(0, at), "id", id);
        });
    }

    private void reject(byte[] key, byte[] value, long at, String reason) {
        tell(Topics.DEAD_LETTER, key, value, Math.max(0, at), "reason", reason);
    }
}
