package lastseen.peer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Optional;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.junit.jupiter.api.Test;

/** The order of the records, and the time that goes with them. */
class MergeTest {
    private static final TopicPartition PLACE = new TopicPartition("topic", 0);
    private final Merge merge = new Merge(0, new long[] {-1, 7}, 0, 1000);

    static List<ConsumerRecord<byte[], byte[]>> records(
            TopicPartition place, long offset, long at, byte[] key, byte[] value) {
        return List.of(new ConsumerRecord<>(
                place.topic(),
                place.partition(),
                offset,
                at,
                TimestampType.CREATE_TIME,
                0,
                0,
                key,
                value,
                new RecordHeaders(),
                Optional.empty()));
    }

    private void add(int input, long offset, long at) {
        merge.add(input, records(PLACE, offset, at, null, null));
    }

    @Test
    void theOldestComesFirstWhateverItsTopic() {
        add(0, 0, 30);
        add(1, 7, 10);
        add(1, 8, 20);
        assertEquals(1, merge.ready());
        merge.take(1, 0);
        assertEquals(1, merge.ready());
        merge.take(1, 0);
        assertArrayEquals(new long[] {-1, 9}, merge.next());
        // The other topic may yet have something older than 30.
        assertEquals(-1, merge.ready());
        merge.setAtEnd(1, true);
        assertEquals(0, merge.ready());
        merge.take(0, 0);
        assertArrayEquals(new long[] {1, 9}, merge.next());
        assertEquals(-1, merge.ready());
    }

    @Test
    void itsTimeIsTheClocksOnlyWhenNothingComes() {
        add(0, 0, 30);
        merge.setAtEnd(1, true);
        merge.take(0, 100);
        assertEquals(30, merge.time(1099));
        // Silent, but the broker has more.
        assertEquals(30, merge.time(1100));
        merge.setAtEnd(0, true);
        assertEquals(1100, merge.time(1100));
        add(0, 1, 40);
        assertEquals(30, merge.time(1200));
        merge.take(0, 1200);
        assertEquals(40, merge.time(2199));
        assertEquals(2200, merge.time(2200));
    }
}
