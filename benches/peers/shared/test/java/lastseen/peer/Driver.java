package lastseen.peer;

import java.util.List;

/** A peer without a broker, as tests drive it; each peer has its own {@code PeerDriver(long start, long idle)}. */
interface Driver extends AutoCloseable {
    /** Sends a record to an input. */
    void send(String input, byte[] key, byte[] value, long at) throws Exception;

    /** Sets the clock on, and has it noticed. */
    void move(long to) throws Exception;

    /** The values that were told since the last time. */
    List<byte[]> drain(String output);

    /** How many timers stand. */
    int timers();

    @Override
    void close() throws Exception;
}
