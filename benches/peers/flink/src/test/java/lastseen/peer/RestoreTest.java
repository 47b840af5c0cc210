package lastseen.peer;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import lastseen.v1.Events;
import lastseen.v1.Outputs;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What comes back after an end. */
class RestoreTest {
    private static final long START = 1_767_225_600_000L;
    private static final byte[] KEY = "acme/p1".getBytes(StandardCharsets.UTF_8);

    @TempDir
    private Path dir;

    @Test
    void deadlinesAndAlarmsGoOnFromACheckpoint() throws Exception {
        OperatorSubtaskState checkpoint;
        try (PeerDriver before = new PeerDriver(START, 0)) {
            var interval = Events.RequiredInterval.newBuilder().setMinutes(1);
            Events.Event.Builder event = Events.Event.newBuilder().setTenant("acme").setDeviceId("p1").setObservedAtMs(START);
            before.send("control", KEY, event.setRequiredInterval(interval).build().toByteArray(), START);
            before.move(START + 60_000);
            assertEquals(List.of(), before.drain(Topics.ALARMS));
            checkpoint = before.checkpoint();
        }
        try (PeerDriver after = new PeerDriver(START + 60_000, 0, checkpoint)) {
            assertEquals(1, after.timers());
            after.move(START + 60_001);
            List<byte[]> alarms = after.drain(Topics.ALARMS);
            assertEquals(1, alarms.size());
            assertEquals(START + 60_000, Outputs.AlarmEvent.parseFrom(alarms.get(0)).getAtMs());
            assertEquals(START, Outputs.AlarmEvent.parseFrom(alarms.get(0)).getBirthMs());
        }
    }

    @Test
    void theLastCompleteCheckpointIsTakenAndTheRestRemoved() throws IOException {
        StateDir state = new StateDir(dir.toString());
        assertEquals(Optional.empty(), state.recover());
        write("savepoints/savepoint-1/_metadata", "", 1);
        write("checkpoints/chk-9/_metadata", "of used-file", 2);
        Path last = write("checkpoints/chk-10/_metadata", "\0\1/used-file\0", 3).getParent();
        write("checkpoints/chk-11/0a", "not complete", 4);
        write("checkpoints/shared/used-file", "", 0);
        write("checkpoints/shared/left-file", "", 0);
        write("checkpoints/taskowned/other", "", 0);
        write("work/tmp/db", "", 0);
        assertEquals(Optional.of(last.toAbsolutePath()), state.recover());
        List<String> left = List.of(
                "checkpoints/chk-10/_metadata", "checkpoints/shared/used-file", "checkpoints/taskowned/other");
        try (Stream<Path> files = Files.walk(dir)) {
            assertEquals(left, files.filter(Files::isRegularFile).map(file -> dir.relativize(file).toString()).sorted().toList());
        }
    }

    private Path write(String name, String text, long second) throws IOException {
        Path file = dir.resolve(name);
        Files.createDirectories(file.getParent());
        Files.writeString(file, text);
        return Files.setLastModifiedTime(file, FileTime.fromMillis(second * 1000));
    }
}
