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

/** The stories of tests/scenarios that the peer covers: src/test/resources/covered.txt names them. */
class ScenarioTest {
    private static final Path SCENARIOS = Path.of(System.getProperty("scenarios", "../../../tests/scenarios"));

    @TestFactory
    Stream<DynamicTest> everyCoveredStoryHolds() throws IOException {
        List<String> names = Files.readAllLines(Path.of("src/test/resources/covered.txt"));
        names = names.stream().filter(name -> !name.isBlank() && !name.startsWith("#")).toList();
        assertFalse(names.isEmpty());
        return names.stream()
                .map(name -> DynamicTest.dynamicTest(name, () -> assertEquals("", new Story(SCENARIOS.resolve(name + ".jsonl")).problem())));
    }
}
