package lastseen.peer;

import java.util.Arrays;

/** The key of a device as its bytes, with a hash that is the same in every process. */
final class DeviceKey {
    /** Of a record without a key. */
    static final DeviceKey NONE = new DeviceKey(new byte[0]);

    final byte[] bytes;
    private final int hash;

    DeviceKey(byte[] bytes) {
        this.bytes = bytes;
        hash = Arrays.hashCode(bytes);
    }

    @Override
    public int hashCode() {
        return hash;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof DeviceKey key && Arrays.equals(bytes, key.bytes);
    }
}
