package lastseen.peer;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** The judge over keyed state: a device a key, and timers in event time, which is that of the records (Merge). */
final class DeviceFunction extends KeyedProcessFunction<DeviceKey, Input, ProducerRecord<byte[], byte[]>> {
    private static final long serialVersionUID = 1;

    private final Map<String, String> topics;
    private transient ValueState<Device> devices;
    private transient Site site;

    /** The topic of each output. */
    DeviceFunction(Map<String, String> topics) {
        this.topics = topics;
    }

    @Override
    public void open(OpenContext context) {
        devices = getRuntimeContext().getState(new ValueStateDescriptor<>("devices", Types.DEVICE));
        site = new Site();
    }

    @Override
    public void processElement(Input input, Context context, Collector<ProducerRecord<byte[], byte[]>> out) {
        site.timers = context.timerService();
        site.out = out;
        long at = context.timestamp();
        byte[] key = input.key() == DeviceKey.NONE ? null : input.key().bytes;
        long now = Math.max(at, site.timers.currentWatermark());
        site.take(input.number(), input.partition(), input.offset(), key, input.value(), at, now);
    }

    @Override
    public void onTimer(long at, OnTimerContext context, Collector<ProducerRecord<byte[], byte[]>> out) {
        site.timers = context.timerService();
        site.out = out;
        site.fire(context.getCurrentKey().bytes, at - 1, Math.max(at, site.timers.currentWatermark()));
    }

    /** Flink sets the key of state and timers before it calls. */
    private final class Site extends Judge {
        private TimerService timers;
        private Collector<ProducerRecord<byte[], byte[]>> out;

        @Override
        Device load(byte[] key) {
            try {
                return devices.value();
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        }

        @Override
        void save(byte[] key, Device device) {
            try {
                devices.update(device);
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        }

        @Override
        void forget(byte[] key) {
            devices.clear();
        }

        @Override
        void wake(byte[] key, long due) {
            // A timer of Flink fires at its time, a deadline is over after it.
            timers.registerEventTimeTimer(due + 1);
        }

        @Override
        void tell(String output, byte[] key, byte[] value, long at, String header, String word) {
            RecordHeaders headers = new RecordHeaders();
            headers.add(header, word.getBytes(StandardCharsets.UTF_8));
            out.collect(new ProducerRecord<>(topics.get(output), null, at, key, value, headers));
        }
    }
}
