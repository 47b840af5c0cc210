package lastseen.peer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The stories of tests/scenarios that the peers cover: covered.txt names them. */
class ScenarioTest {
    private static final Path SCENARIOS = Path.of(System.getProperty("scenarios", "../../../tests/scenarios"));

    @TestFactory
    Stream<DynamicTest> everyCoveredStoryHolds() throws IOException {
        Path covered = Path.of("../shared/test/covered.txt");
        List<String> names = Files.readAllLines(covered).stream().filter(name -> !name.isBlank() && !name.startsWith("#"))
                .toList();
        assertFalse(names.isEmpty());
        return names.stream()
                .map(name -> DynamicTest.dynamicTest(name, () -> assertEquals("", new Story(SCENARIOS.resolve(name + ".jsonl")).problem())));
    }
}
