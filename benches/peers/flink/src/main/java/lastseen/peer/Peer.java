package lastseen.peer;

import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.DefaultKafkaDatasetIdentifier;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacet;
import org.apache.flink.connector.kafka.lineage.KafkaDatasetFacetProvider;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.kafka.clients.producer.ProducerRecord;

/** The job: the inputs, devices by their key, one sink for all outputs. */
final class Peer {
    private Peer() {}

    static StreamExecutionEnvironment environment(Properties settings, StateDir dir) throws IOException {
        var env = StreamExecutionEnvironment.createLocalEnvironment(configuration(settings, dir));
        inputs(env, settings)
                .keyBy(Input::key, Types.KEY)
                .process(new DeviceFunction(outputs(settings)))
                .returns(TypeInformation.of(new TypeHint<ProducerRecord<byte[], byte[]>>() {}))
                .name("judge")
                .uid("judge")
                .sinkTo(sink(settings))
                .name("verdicts")
                .uid("verdicts");
        return env;
    }

    /** What stands in the files under Flink's own names, and where this run keeps its state. */
    private static Configuration configuration(Properties settings, StateDir dir) throws IOException {
        Configuration flink = new Configuration();
        for (String name : settings.stringPropertyNames()) {
            flink.setString(name, settings.getProperty(name).trim());
        }
        flink.setString("execution.checkpointing.interval", settings.getProperty("commit.interval.ms") + " ms");
        flink.setString("execution.checkpointing.dir", dir.checkpoints().toUri().toString());
        flink.setString("execution.checkpointing.create-subdir", "false");
        flink.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        flink.setString("io.tmp.dirs", dir.work().toString());
        flink.setString("state.backend.rocksdb.localdir", dir.work().toString());
        dir.recover().ifPresent(last -> {
            flink.setString("execution.state-recovery.path", last.toUri().toString());
            // Flink removes it once it has completed one of its own.
            flink.setString("execution.state-recovery.claim-mode", "CLAIM");
        });
        return flink;
    }

    private static DataStream<Input> inputs(StreamExecutionEnvironment env, Properties settings) {
        if (settings.getProperty("peer.source").equals("merged")) {
            WatermarkStrategy<Input> own = WatermarkStrategy.noWatermarks();
            return env.fromSource(new MergedSource(settings), own, "inputs", Types.INPUT).uid("inputs");
        }
        KafkaSource<Input> source = KafkaSource.<Input>builder()
                .setBootstrapServers(settings.getProperty("bootstrap.servers"))
                .setGroupId(settings.getProperty("application.id"))
                .setTopics(Settings.inputs(settings))
                .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
                .setProperties(Settings.of(settings, "consumer."))
                .setDeserializer(new Reading(List.copyOf(Settings.inputs(settings))))
                .build();
        Duration idle = Duration.ofMillis(Settings.number(settings, "peer.idle.ms"));
        WatermarkStrategy<Input> times = WatermarkStrategy.<Input>forMonotonousTimestamps().withIdleness(idle);
        return env.fromSource(source, times, "inputs", Types.INPUT).uid("inputs");
    }

    static Map<String, String> outputs(Properties settings) {
        Map<String, String> topics = new HashMap<>();
        for (String output : Topics.OUTPUTS) {
            topics.put(output, Settings.topic(settings, output));
        }
        return topics;
    }

    /** One transaction a checkpoint and thread, whatever topics it goes to. */
    private static KafkaSink<ProducerRecord<byte[], byte[]>> sink(Properties settings) {
        return KafkaSink.<ProducerRecord<byte[], byte[]>>builder()
                .setBootstrapServers(settings.getProperty("bootstrap.servers"))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(settings.getProperty("application.id"))
                .setTransactionNamingStrategy(
                        TransactionNamingStrategy.valueOf(settings.getProperty("peer.transactions")))
                .setKafkaProducerConfig(Settings.of(settings, "producer."))
                .setRecordSerializer(new Writing(List.copyOf(outputs(settings).values())))
                .build();
    }

    /** Records go out as they are; the sink asks for all topics, to find transactions that were left open. */
    private record Writing(List<String> topics)
            implements KafkaRecordSerializationSchema<ProducerRecord<byte[], byte[]>>, KafkaDatasetFacetProvider {
        @Override
        public ProducerRecord<byte[], byte[]> serialize(
                ProducerRecord<byte[], byte[]> record, KafkaSinkContext context, Long at) {
            return record;
        }

        @Override
        public Optional<KafkaDatasetFacet> getKafkaDatasetFacet() {
            return Optional.of(new DefaultKafkaDatasetFacet(DefaultKafkaDatasetIdentifier.ofTopics(topics)));
        }
    }

    private record Reading(List<String> topics) implements KafkaRecordDeserializationSchema<Input> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Input> out) {
            out.collect(Input.of(topics.indexOf(record.topic()) + 1, record));
        }

        @Override
        public TypeInformation<Input> getProducedType() {
            return Types.INPUT;
        }
    }
}
