package lastseen.peer;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** The same partition of all inputs as one sequence, in the order of the records' time. */
final class Merge {
    final int partition;
    private final long idle;
    /** By input: the offset after what was taken; -1 where nothing was. */
    private final long[] next;
    private final List<ArrayDeque<ConsumerRecord<byte[], byte[]>>> waiting;
    private final boolean[] atEnd;
    private long time = Time.NEVER;
    private long lastSeen;

    /** Begins after these offsets, by this clock; what was silent for so long is held against the clock. */
    Merge(int partition, long[] next, long clock, long idle) {
        this.partition = partition;
        this.next = next;
        this.idle = idle;
        lastSeen = clock;
        waiting = Stream.generate(() -> new ArrayDeque<ConsumerRecord<byte[], byte[]>>()).limit(next.length).toList();
        atEnd = new boolean[next.length];
    }

    void add(int input, Iterable<ConsumerRecord<byte[], byte[]>> records) {
        records.forEach(waiting.get(input)::add);
    }

    /** Whether the broker has nothing more of an input than was added. */
    void setAtEnd(int input, boolean isAtEnd) {
        atEnd[input] = isAtEnd;
    }

    int waiting(int input) {
        return waiting.get(input).size();
    }

    long[] next() {
        return Arrays.copyOf(next, next.length);
    }

    /** The input that is next; -1 if none has anything, or if one of which nothing waits may have something older. */
    int ready() {
        int oldest = -1;
        for (int input = 0; input < next.length; input++) {
            var head = waiting.get(input).peek();
            if (head == null) {
                if (!atEnd[input]) {
                    return -1;
                }
            } else if (oldest < 0 || head.timestamp() < waiting.get(oldest).peek().timestamp()) {
                oldest = input;
            }
        }
        return oldest;
    }

    ConsumerRecord<byte[], byte[]> take(int input, long clock) {
        var record = waiting.get(input).remove();
        next[input] = record.offset() + 1;
        time = Math.max(time, record.timestamp());
        lastSeen = clock;
        return record;
    }

    /** Its time: that of its records while they keep coming, the clock's after that. */
    long time(long clock) {
        boolean isSilent = clock - lastSeen >= idle;
        for (int input = 0; isSilent && input < next.length; input++) {
            isSilent = atEnd[input] && waiting.get(input).isEmpty();
        }
        return isSilent ? Math.max(clock, time) : time;
    }
}
