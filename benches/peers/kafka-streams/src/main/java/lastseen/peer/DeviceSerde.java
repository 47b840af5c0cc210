package lastseen.peer;

import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/** A device as a row of the store. */
final class DeviceSerde implements Serde<Device> {
    @Override
    public Serializer<Device> serializer() {
        return (topic, device) -> device == null ? null : DeviceRow.write(device);
    }

    @Override
    public Deserializer<Device> deserializer() {
        return (topic, bytes) -> bytes == null ? null : DeviceRow.read(bytes);
    }
}
