package lastseen.peer;

import java.io.IOException;
import org.apache.flink.api.common.serialization.SerializerConfig;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** How Flink writes keys, records and devices: by hand, which costs less than what it would find by reflection. */
final class Types {
    static final TypeInformation<DeviceKey> KEY = new Info<>(DeviceKey.class, new KeySerializer());
    static final TypeInformation<Input> INPUT = new Info<>(Input.class, new InputSerializer());
    static final TypeInformation<Device> DEVICE = new Info<>(Device.class, new DeviceSerializer());

    private Types() {}

    private static void write(byte[] bytes, DataOutputView to) throws IOException {
        to.writeInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) {
            to.write(bytes);
        }
    }

    private static byte[] read(DataInputView from) throws IOException {
        int length = from.readInt();
        if (length < 0) {
            return null;
        }
        byte[] bytes = new byte[length];
        from.readFully(bytes);
        return bytes;
    }

    private abstract static class Serializer<T> extends TypeSerializerSingleton<T> {
        @Override
        public boolean isImmutableType() {
            return true;
        }

        @Override
        public T createInstance() {
            return null;
        }

        @Override
        public T copy(T from) {
            return from;
        }

        @Override
        public T copy(T from, T reuse) {
            return copy(from);
        }

        @Override
        public int getLength() {
            return -1;
        }

        @Override
        public T deserialize(T reuse, DataInputView from) throws IOException {
            return deserialize(from);
        }

        @Override
        public void copy(DataInputView from, DataOutputView to) throws IOException {
            serialize(deserialize(from), to);
        }
    }

    static final class KeySerializer extends Serializer<DeviceKey> {
        @Override
        public void serialize(DeviceKey key, DataOutputView to) throws IOException {
            write(key.bytes, to);
        }

        @Override
        public DeviceKey deserialize(DataInputView from) throws IOException {
            return new DeviceKey(read(from));
        }

        @Override
        public TypeSerializerSnapshot<DeviceKey> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<DeviceKey> {
            public Snapshot() {
                super(KeySerializer::new);
            }
        }
    }

    static final class InputSerializer extends Serializer<Input> {
        @Override
        public void serialize(Input input, DataOutputView to) throws IOException {
            to.writeByte(input.number());
            to.writeInt(input.partition());
            to.writeLong(input.offset());
            write(input.key() == DeviceKey.NONE ? null : input.key().bytes, to);
            write(input.value(), to);
        }

        @Override
        public Input deserialize(DataInputView from) throws IOException {
            int number = from.readByte();
            int partition = from.readInt();
            long offset = from.readLong();
            byte[] key = read(from);
            return new Input(number, partition, offset, key == null ? DeviceKey.NONE : new DeviceKey(key), read(from));
        }

        @Override
        public TypeSerializerSnapshot<Input> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Input> {
            public Snapshot() {
                super(InputSerializer::new);
            }
        }
    }

    static final class DeviceSerializer extends Serializer<Device> {
        @Override
        public boolean isImmutableType() {
            return false;
        }

        @Override
        public Device copy(Device from) {
            return DeviceRow.read(DeviceRow.write(from));
        }

        @Override
        public void serialize(Device device, DataOutputView to) throws IOException {
            write(DeviceRow.write(device), to);
        }

        @Override
        public Device deserialize(DataInputView from) throws IOException {
            return DeviceRow.read(read(from));
        }

        @Override
        public TypeSerializerSnapshot<Device> snapshotConfiguration() {
            return new Snapshot();
        }

        public static final class Snapshot extends SimpleTypeSerializerSnapshot<Device> {
            public Snapshot() {
                super(DeviceSerializer::new);
            }
        }
    }

    private static final class Info<T> extends TypeInformation<T> {
        private final Class<T> type;
        private final TypeSerializer<T> serializer;

        Info(Class<T> type, TypeSerializer<T> serializer) {
            this.type = type;
            this.serializer = serializer;
        }

        @Override
        public boolean isBasicType() {
            return false;
        }

        @Override
        public boolean isTupleType() {
            return false;
        }

        @Override
        public int getArity() {
            return 1;
        }

        @Override
        public int getTotalFields() {
            return 1;
        }

        @Override
        public Class<T> getTypeClass() {
            return type;
        }

        @Override
        public boolean isKeyType() {
            return type == DeviceKey.class;
        }

        @Override
        public TypeSerializer<T> createSerializer(SerializerConfig config) {
            return serializer;
        }

        @Override
        public String toString() {
            return type.getSimpleName();
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Info<?> info && info.type == type;
        }

        @Override
        public int hashCode() {
            return type.hashCode();
        }

        @Override
        public boolean canEqual(Object other) {
            return other instanceof Info;
        }
    }
}
