package lastseen.peer;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.core.io.InputStatus;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Gives the records of its partitions in their order, and commits offsets as the checkpoints that hold them are complete. */
final class MergedReader implements SourceReader<Input, MergedSource.Split> {
    /** So many records at a time: a checkpoint waits for no more. */
    private static final int TURN = 256;

    private final List<String> topics;
    private final long idle;
    private final long every;
    private final Fetcher fetcher;
    private final Map<Integer, Merge> merges = new LinkedHashMap<>();
    private final TreeMap<Long, Map<TopicPartition, OffsetAndMetadata>> snapshots = new TreeMap<>();
    private long told = Time.NEVER;
    private long toldAt;
    private boolean isMoreReady;

    MergedReader(Properties settings) {
        topics = Settings.inputs(settings);
        idle = Settings.number(settings, "peer.idle.ms");
        every = Settings.number(settings, "peer.punctuate.ms");
        fetcher = new Fetcher(settings);
    }

    @Override
    public void start() {
        fetcher.start();
    }

    @Override
    public void addSplits(List<MergedSource.Split> splits) {
        Map<TopicPartition, Long> from = new HashMap<>();
        for (MergedSource.Split split : splits) {
            merges.put(split.partition(), new Merge(split.partition(), split.next(), System.currentTimeMillis(), idle));
            for (int input = 0; input < topics.size(); input++) {
                from.put(new TopicPartition(topics.get(input), split.partition()), split.next()[input]);
            }
        }
        fetcher.assign(from);
    }

    @Override
    public InputStatus pollNext(ReaderOutput<Input> out) throws Exception {
        long clock = System.currentTimeMillis();
        isMoreReady = give(out, clock);
        if (!isMoreReady) {
            Fetcher.Batch batch = fetcher.poll();
            if (batch != null) {
                add(batch);
                isMoreReady = true;
            }
        }
        tell(out, clock);
        return isMoreReady ? InputStatus.MORE_AVAILABLE : InputStatus.NOTHING_AVAILABLE;
    }

    /** Gives a turn's worth of what is ready; whether there was anything. */
    private boolean give(ReaderOutput<Input> out, long clock) {
        int given = 0;
        for (Merge merge : merges.values()) {
            int share = Math.max(1, TURN / merges.size());
            for (int input = merge.ready(); input >= 0 && share > 0; input = merge.ready(), share--) {
                var record = merge.take(input, clock);
                out.collect(Input.of(input + 1, record), record.timestamp());
                given++;
            }
            for (int input = 0; input < topics.size(); input++) {
                fetcher.setWaiting(topics.get(input), merge.partition, merge.waiting(input));
            }
        }
        return given > 0;
    }

    private void add(Fetcher.Batch batch) {
        for (TopicPartition from : batch.records().partitions()) {
            merges.get(from.partition()).add(topics.indexOf(from.topic()), batch.records().records(from));
        }
        for (Merge merge : merges.values()) {
            for (int input = 0; input < topics.size(); input++) {
                TopicPartition one = new TopicPartition(topics.get(input), merge.partition);
                merge.setAtEnd(input, batch.ended().contains(one));
            }
        }
    }

    /** Tells the time of the slowest of its partitions, now and then. */
    private void tell(ReaderOutput<Input> out, long clock) {
        if (clock - toldAt < every) {
            return;
        }
        toldAt = clock;
        long time = Long.MAX_VALUE;
        for (Merge merge : merges.values()) {
            time = Math.min(time, merge.time(clock));
        }
        if (merges.isEmpty()) {
            out.markIdle();
        } else if (time > told) {
            told = time;
            out.emitWatermark(new Watermark(time));
        }
    }

    @Override
    public CompletableFuture<Void> isAvailable() {
        return isMoreReady ? CompletableFuture.completedFuture(null) : fetcher.available();
    }

    @Override
    public List<MergedSource.Split> snapshotState(long checkpoint) {
        List<MergedSource.Split> splits =
                merges.values().stream().map(merge -> new MergedSource.Split(merge.partition, merge.next())).toList();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (MergedSource.Split split : splits) {
            for (int input = 0; input < topics.size(); input++) {
                if (split.next()[input] >= 0) {
                    TopicPartition one = new TopicPartition(topics.get(input), split.partition());
                    offsets.put(one, new OffsetAndMetadata(split.next()[input]));
                }
            }
        }
        snapshots.put(checkpoint, offsets);
        return splits;
    }

    @Override
    public void notifyCheckpointComplete(long checkpoint) {
        Map<TopicPartition, OffsetAndMetadata> offsets = snapshots.get(checkpoint);
        if (offsets != null) {
            fetcher.commit(offsets);
        }
        snapshots.headMap(checkpoint, true).clear();
    }

    @Override
    public void notifyNoMoreSplits() {}

    @Override
    public void close() throws Exception {
        fetcher.close();
    }
}
