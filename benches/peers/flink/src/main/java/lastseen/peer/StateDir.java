package lastseen.peer;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/** The directory of checkpoints: which is the last that was completed, and what of it a killed process left behind. */
final class StateDir {
    private final Path root;

    StateDir(String root) {
        this.root = Path.of(root).toAbsolutePath();
    }

    Path checkpoints() {
        return root.resolve("checkpoints");
    }

    Path savepoints() {
        return root.resolve("savepoints");
    }

    /** What only a running process needs. */
    Path work() {
        return root.resolve("work");
    }

    /** Removes all but the last complete checkpoint; that, if there is one. */
    Optional<Path> recover() throws IOException {
        remove(work());
        Files.createDirectories(work());
        List<Path> all = new ArrayList<>();
        for (Path parent : List.of(checkpoints(), savepoints())) {
            all.addAll(list(parent).stream().filter(one -> !isShared(one)).toList());
        }
        Optional<Path> last = all.stream().filter(one -> Files.exists(metadata(one))).max(Comparator.comparing(StateDir::age));
        for (Path one : all) {
            if (!last.equals(Optional.of(one))) {
                remove(one);
            }
        }
        // Names of files are ASCII, and long enough not to be found by chance.
        String named = last.isEmpty() ? "" : Files.readString(metadata(last.get()), StandardCharsets.ISO_8859_1);
        for (Path file : list(checkpoints().resolve("shared"))) {
            if (!named.contains(file.getFileName().toString())) {
                remove(file);
            }
        }
        return last;
    }

    private static boolean isShared(Path path) {
        return path.endsWith("shared") || path.endsWith("taskowned");
    }

    private static Path metadata(Path checkpoint) {
        return checkpoint.resolve("_metadata");
    }

    private static long age(Path checkpoint) {
        return metadata(checkpoint).toFile().lastModified();
    }

    private static List<Path> list(Path dir) throws IOException {
        if (!Files.isDirectory(dir)) {
            return List.of();
        }
        try (Stream<Path> found = Files.list(dir)) {
            return found.toList();
        }
    }

    private static void remove(Path path) throws IOException {
        if (!Files.exists(path)) {
            return;
        }
        try (Stream<Path> all = Files.walk(path)) {
            for (Path one : all.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(one);
            }
        }
    }
}
