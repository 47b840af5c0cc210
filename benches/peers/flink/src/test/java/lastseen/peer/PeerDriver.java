package lastseen.peer;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.state.rocksdb.EmbeddedRocksDBStateBackend;
import org.apache.flink.streaming.api.operators.KeyedProcessOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** The operator over RocksDB in the harness of Flink, behind the order and the time of its source. */
final class PeerDriver implements Driver {
    private final Properties settings = Settings.read("peer.properties");
    private final KeyedOneInputStreamOperatorTestHarness<DeviceKey, Input, ProducerRecord<byte[], byte[]>> harness;
    private final Map<String, List<byte[]>> told = new HashMap<>();
    private final long[] offsets = new long[Topics.INPUTS.size()];
    private final Merge merge;
    private long clock;

    PeerDriver(long start, long idle) throws Exception {
        this(start, idle, null);
    }

    /** Goes on from a checkpoint. */
    PeerDriver(long start, long idle, OperatorSubtaskState from) throws Exception {
        var operator = new KeyedProcessOperator<>(new DeviceFunction(Peer.outputs(settings)));
        harness = new KeyedOneInputStreamOperatorTestHarness<>(operator, Input::key, Types.KEY);
        harness.setStateBackend(new EmbeddedRocksDBStateBackend(true));
        harness.getExecutionConfig().enableObjectReuse();
        harness.setup();
        if (from != null) {
            harness.initializeState(from);
        }
        harness.open();
        clock = start;
        merge = new Merge(0, new long[] {-1, -1, -1}, clock, idle);
        for (int input = 0; input < offsets.length; input++) {
            merge.setAtEnd(input, true);
        }
    }

    OperatorSubtaskState checkpoint() throws Exception {
        return harness.snapshot(1, clock);
    }

    @Override
    public void send(String input, byte[] key, byte[] value, long at) throws Exception {
        int number = Topics.INPUTS.indexOf(input);
        merge.add(number, MergeTest.records(new TopicPartition(input, 0), offsets[number]++, at, key, value));
        for (int next = merge.ready(); next >= 0; next = merge.ready()) {
            ConsumerRecord<byte[], byte[]> record = merge.take(next, clock);
            harness.processElement(new StreamRecord<>(Input.of(next + 1, record), record.timestamp()));
        }
    }

    @Override
    public void move(long to) throws Exception {
        clock = to;
        harness.processWatermark(merge.time(clock));
    }

    @Override
    public List<byte[]> drain(String output) {
        for (ProducerRecord<byte[], byte[]> record : harness.extractOutputValues()) {
            told.computeIfAbsent(record.topic(), topic -> new ArrayList<>()).add(record.value());
        }
        harness.getOutput().clear();
        List<byte[]> found = told.remove(Settings.topic(settings, output));
        return found == null ? List.of() : found;
    }

    @Override
    public int timers() {
        return harness.numEventTimeTimers();
    }

    @Override
    public void close() throws Exception {
        harness.close();
    }
}
