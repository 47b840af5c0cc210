package lastseen.peer;

import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The thread of a reader that has its consumer: a consumer is no thing for two threads. */
final class Fetcher implements Runnable, AutoCloseable {
    private static final Duration LOOK = Duration.ofMillis(50);

    /** Records, and the partitions of which the broker has no more. */
    record Batch(ConsumerRecords<byte[], byte[]> records, Set<TopicPartition> ended) {}

    private final Properties client;
    private final long limit;
    private final Thread thread = new Thread(this, "fetcher");
    private final BlockingQueue<Batch> batches = new ArrayBlockingQueue<>(2);
    private final AtomicReference<CompletableFuture<Void>> available = new AtomicReference<>(new CompletableFuture<>());
    private final AtomicReference<Map<TopicPartition, Long>> assigned = new AtomicReference<>();
    private final AtomicReference<Map<TopicPartition, OffsetAndMetadata>> toCommit = new AtomicReference<>();
    /** Of which enough waits to be given: they are not asked for. */
    private final Set<TopicPartition> full = ConcurrentHashMap.newKeySet();
    private KafkaConsumer<byte[], byte[]> consumer;
    private volatile boolean isClosed;
    private volatile Throwable failure;

    Fetcher(Properties settings) {
        limit = Settings.number(settings, "peer.buffered.records.per.partition");
        client = Settings.of(settings, "consumer.");
        client.setProperty("bootstrap.servers", settings.getProperty("bootstrap.servers"));
        client.setProperty("group.id", settings.getProperty("application.id"));
        client.setProperty("enable.auto.commit", "false");
    }

    void start() {
        consumer = new KafkaConsumer<>(client, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        thread.start();
    }

    /** Reads these as well, each from its offset; from where the group stands if that is negative. */
    void assign(Map<TopicPartition, Long> from) {
        assigned.accumulateAndGet(from, (before, more) -> {
            Map<TopicPartition, Long> all = new HashMap<>(more);
            if (before != null) {
                all.putAll(before);
            }
            return all;
        });
    }

    /** So many records of a partition wait: enough, or too few. */
    void setWaiting(String topic, int partition, int count) {
        if (count >= limit) {
            full.add(new TopicPartition(topic, partition));
        } else if (count < limit / 2 && !full.isEmpty()) {
            full.remove(new TopicPartition(topic, partition));
        }
    }

    void commit(Map<TopicPartition, OffsetAndMetadata> offsets) {
        toCommit.set(offsets);
    }

    /** The next batch, null if there is none. */
    Batch poll() {
        if (failure != null) {
            throw new IllegalStateException("the inputs cannot be read", failure);
        }
        return batches.poll();
    }

    /** Done as soon as there is a batch. */
    CompletableFuture<Void> available() {
        CompletableFuture<Void> next = available.get();
        return batches.isEmpty() && failure == null ? next : CompletableFuture.completedFuture(null);
    }

    @Override
    public void run() {
        try (KafkaConsumer<byte[], byte[]> open = consumer) {
            while (!isClosed) {
                takeAssigned();
                Map<TopicPartition, OffsetAndMetadata> offsets = toCommit.getAndSet(null);
                if (offsets != null) {
                    consumer.commitAsync(offsets, null);
                }
                if (consumer.assignment().isEmpty()) {
                    Thread.sleep(10);
                } else {
                    fetch();
                }
            }
        } catch (WakeupException closed) {
            // Told to end.
        } catch (Throwable error) {
            failure = error;
        } finally {
            available.get().complete(null);
        }
    }

    private void takeAssigned() {
        Map<TopicPartition, Long> more = assigned.getAndSet(null);
        if (more == null) {
            return;
        }
        Set<TopicPartition> all = new HashSet<>(consumer.assignment());
        all.addAll(more.keySet());
        consumer.assign(all);
        more.forEach((partition, offset) -> {
            if (offset >= 0) {
                consumer.seek(partition, offset);
            }
        });
    }

    private void fetch() throws InterruptedException {
        Set<TopicPartition> paused = consumer.paused();
        for (TopicPartition partition : consumer.assignment()) {
            boolean isFull = full.contains(partition);
            if (isFull != paused.contains(partition)) {
                if (isFull) {
                    consumer.pause(Set.of(partition));
                } else {
                    consumer.resume(Set.of(partition));
                }
            }
        }
        ConsumerRecords<byte[], byte[]> records = consumer.poll(LOOK);
        Set<TopicPartition> ended = new HashSet<>();
        for (TopicPartition partition : consumer.assignment()) {
            if (consumer.currentLag(partition).orElse(1) == 0) {
                ended.add(partition);
            }
        }
        Batch batch = new Batch(records, ended);
        while (!isClosed && !batches.offer(batch, LOOK.toMillis(), TimeUnit.MILLISECONDS)) {
            Map<TopicPartition, OffsetAndMetadata> offsets = toCommit.getAndSet(null);
            if (offsets != null) {
                consumer.commitAsync(offsets, null);
            }
        }
        available.getAndSet(new CompletableFuture<>()).complete(null);
    }

    @Override
    public void close() throws InterruptedException {
        isClosed = true;
        if (consumer != null) {
            consumer.wakeup();
            thread.join();
        }
    }
}
