package lastseen.peer;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Cache;
import org.rocksdb.CompressionType;
import org.rocksdb.LRUCache;
import org.rocksdb.Options;
import org.rocksdb.WriteBufferManager;

/**
 * One block cache and one bound on write buffers for all stores of the process, as the memory management guide of Kafka
 * Streams advises; what they are is in peer.properties.
 */
public final class RocksSettings implements RocksDBConfigSetter {
    private static Cache cache;
    private static WriteBufferManager buffers;

    private BloomFilter filter;

    private static synchronized void share(long cacheBytes, long bufferBytes) {
        if (cache == null) {
            cache = new LRUCache(cacheBytes, -1, false, 0.1);
            buffers = new WriteBufferManager(bufferBytes, cache);
        }
    }

    @Override
    public void setConfig(String storeName, Options options, Map<String, Object> configs) {
        share(bytes(configs, "rocksdb.cache.mb"), bytes(configs, "rocksdb.write.buffers.mb"));
        filter = new BloomFilter(10);
        BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
        table.setBlockCache(cache);
        table.setCacheIndexAndFilterBlocks(true);
        table.setCacheIndexAndFilterBlocksWithHighPriority(true);
        table.setPinTopLevelIndexAndFilter(true);
        table.setPinL0FilterAndIndexBlocksInCache(true);
        table.setBlockSize(number(configs, "rocksdb.block.kb") << 10);
        table.setFilterPolicy(filter);
        options.setTableFormatConfig(table);
        options.setWriteBufferManager(buffers);
        options.setWriteBufferSize(bytes(configs, "rocksdb.write.buffer.mb"));
        options.setMaxWriteBufferNumber(3);
        options.setCompressionType(CompressionType.LZ4_COMPRESSION);
        options.setMaxBackgroundJobs((int) number(configs, "rocksdb.background.jobs"));
    }

    @Override
    public void close(String storeName, Options options) {
        // The cache and the bound are shared by all stores: they stay until the process ends.
        filter.close();
    }

    private static long bytes(Map<String, Object> configs, String key) {
        return number(configs, key) << 20;
    }

    private static long number(Map<String, Object> configs, String key) {
        return Long.parseLong(String.valueOf(configs.get(key)));
    }
}
