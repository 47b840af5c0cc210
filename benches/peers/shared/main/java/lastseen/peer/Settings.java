package lastseen.peer;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;

/** Property files, of which a later one goes before; {@code peer.…} is of the peers, the rest of what they run on. */
final class Settings {
    private Settings() {}

    static Properties read(String... files) throws IOException {
        Properties settings = new Properties();
        for (String file : files) {
            try (Reader reader = Files.newBufferedReader(Path.of(file))) {
                settings.load(reader);
            }
        }
        return settings;
    }

    static String topic(Properties settings, String name) {
        return settings.getProperty("peer.topic." + name);
    }

    /** The topics of the inputs, in their order. */
    static List<String> inputs(Properties settings) {
        return Topics.INPUTS.stream().map(name -> topic(settings, name)).toList();
    }

    static long number(Properties settings, String name) {
        return Long.parseLong(settings.getProperty(name).trim());
    }

    /** What begins so, without that beginning: the settings of a client. */
    static Properties of(Properties settings, String prefix) {
        Properties found = new Properties();
        for (String name : settings.stringPropertyNames()) {
            if (name.startsWith(prefix)) {
                found.setProperty(name.substring(prefix.length()), settings.getProperty(name));
            }
        }
        return found;
    }
}
