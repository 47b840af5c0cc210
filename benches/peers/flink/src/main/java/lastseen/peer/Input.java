package lastseen.peer;

import org.apache.kafka.clients.consumer.ConsumerRecord;

/** A record of an input: its number, its place, and what is in it. Its time travels with it through Flink. */
record Input(int number, int partition, long offset, DeviceKey key, byte[] value) {
    static Input of(int number, ConsumerRecord<byte[], byte[]> record) {
        DeviceKey key = record.key() == null ? DeviceKey.NONE : new DeviceKey(record.key());
        return new Input(number, record.partition(), record.offset(), key, record.value());
    }
}
