package lastseen.peer;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.TreeSet;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TopicDescription;

/**
 * All inputs, of which the same partition is one split, in the order of the records' time. The source of the connector reads
 * every topic for itself, and tells nobody when a partition is at its end; to put its records in order again, an operator
 * would have to hold them back in checkpointed state.
 */
final class MergedSource implements Source<Input, MergedSource.Split, List<MergedSource.Split>> {
    private static final long serialVersionUID = 1;

    /** A partition, and by input the offset to go on from: -1 is where the group stands. */
    record Split(int partition, long[] next) implements SourceSplit {
        @Override
        public String splitId() {
            return Integer.toString(partition);
        }
    }

    private final Properties settings;

    MergedSource(Properties settings) {
        this.settings = settings;
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.CONTINUOUS_UNBOUNDED;
    }

    @Override
    public SourceReader<Input, Split> createReader(SourceReaderContext context) {
        return new MergedReader(settings);
    }

    @Override
    public SplitEnumerator<Split, List<Split>> createEnumerator(SplitEnumeratorContext<Split> context) throws Exception {
        List<String> topics = Settings.inputs(settings);
        Properties client = new Properties();
        client.setProperty("bootstrap.servers", settings.getProperty("bootstrap.servers"));
        TreeSet<Integer> counts = new TreeSet<>();
        try (Admin admin = Admin.create(client)) {
            for (TopicDescription topic : admin.describeTopics(topics).allTopicNames().get().values()) {
                counts.add(topic.partitions().size());
            }
        }
        if (counts.size() != 1) {
            throw new IllegalStateException("the inputs have different numbers of partitions: " + counts);
        }
        List<Split> all = new ArrayList<>();
        for (int partition = 0; partition < counts.first(); partition++) {
            long[] next = new long[topics.size()];
            java.util.Arrays.fill(next, -1);
            all.add(new Split(partition, next));
        }
        return new Enumerator(context, all);
    }

    @Override
    public SplitEnumerator<Split, List<Split>> restoreEnumerator(SplitEnumeratorContext<Split> context, List<Split> left) {
        return new Enumerator(context, left);
    }

    @Override
    public SimpleVersionedSerializer<Split> getSplitSerializer() {
        return new SplitSerializer();
    }

    @Override
    public SimpleVersionedSerializer<List<Split>> getEnumeratorCheckpointSerializer() {
        return new SplitsSerializer();
    }

    /** Gives each reader its share once; what it has not given stands in its checkpoint, the rest in those of the readers. */
    private static final class Enumerator implements SplitEnumerator<Split, List<Split>> {
        private final SplitEnumeratorContext<Split> context;
        private final List<Split> left;

        Enumerator(SplitEnumeratorContext<Split> context, List<Split> left) {
            this.context = context;
            this.left = new ArrayList<>(left);
        }

        @Override
        public void start() {}

        @Override
        public void handleSplitRequest(int reader, String host) {}

        @Override
        public void addSplitsBack(List<Split> splits, int reader) {
            left.addAll(splits);
            if (context.registeredReaders().containsKey(reader)) {
                addReader(reader);
            }
        }

        @Override
        public void addReader(int reader) {
            left.removeIf(split -> {
                boolean isTheirs = split.partition() % context.currentParallelism() == reader;
                if (isTheirs) {
                    context.assignSplit(split, reader);
                }
                return isTheirs;
            });
        }

        @Override
        public List<Split> snapshotState(long checkpoint) {
            return new ArrayList<>(left);
        }

        @Override
        public void close() {}
    }

    private static final class SplitSerializer implements SimpleVersionedSerializer<Split> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(Split split) {
            ByteBuffer bytes = ByteBuffer.allocate(4 + 8 * split.next().length).putInt(split.partition());
            for (long next : split.next()) {
                bytes.putLong(next);
            }
            return bytes.array();
        }

        @Override
        public Split deserialize(int version, byte[] serialized) {
            ByteBuffer bytes = ByteBuffer.wrap(serialized);
            int partition = bytes.getInt();
            long[] next = new long[bytes.remaining() / 8];
            bytes.asLongBuffer().get(next);
            return new Split(partition, next);
        }
    }

    private static final class SplitsSerializer implements SimpleVersionedSerializer<List<Split>> {
        private final SplitSerializer one = new SplitSerializer();

        @Override
        public int getVersion() {
            return one.getVersion();
        }

        @Override
        public byte[] serialize(List<Split> splits) throws IOException {
            var out = new java.io.ByteArrayOutputStream();
            var data = new java.io.DataOutputStream(out);
            for (Split split : splits) {
                byte[] bytes = one.serialize(split);
                data.writeInt(bytes.length);
                data.write(bytes);
            }
            return out.toByteArray();
        }

        @Override
        public List<Split> deserialize(int version, byte[] serialized) {
            List<Split> splits = new ArrayList<>();
            ByteBuffer from = ByteBuffer.wrap(serialized);
            while (from.hasRemaining()) {
                byte[] bytes = new byte[from.getInt()];
                from.get(bytes);
                splits.add(one.deserialize(version, bytes));
            }
            return splits;
        }
    }
}
