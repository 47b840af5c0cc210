package lastseen.peer;

import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.SavepointFormatType;
import sun.misc.Signal;

/** Runs the peer until it is told to end: {@code Main FILE…}, property files of which a later one goes before. */
public final class Main {
    private Main() {}

    public static void main(String[] files) throws Exception {
        Properties settings = Settings.read(files);
        StateDir dir = new StateDir(settings.getProperty("state.dir"));
        JobClient job = Peer.environment(settings, dir).executeAsync("lastseen");
        // Ends with everything committed that was read; a hook of the machine would run beside those of Flink.
        Signal.handle(new Signal("TERM"), signal -> {
            try {
                job.stopWithSavepoint(false, dir.savepoints().toString(), SavepointFormatType.NATIVE).get(50, TimeUnit.SECONDS);
            } catch (Exception error) {
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        });
        try {
            job.getJobExecutionResult().get();
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }
}
