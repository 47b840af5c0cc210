package lastseen.peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.google.protobuf.ByteString;
import com.google.protobuf.Descriptors.EnumDescriptor;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import lastseen.v1.Events;
import lastseen.v1.Outputs;

/** A scenario of tests/scenarios, told to a peer; its README says what the lines mean. */
final class Story {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final DateTimeFormatter TIME = new DateTimeFormatterBuilder().appendInstant(3).toFormatter();
    private static final Set<String> FACETS = Set.of("availability", "connection");

    /** What the peer does not say: the receipts' words, other facets, numbers that depend on them. */
    private static final Set<String> UNTOLD = Set.of("cause", "sequence", "retracts", "alarmId");

    private final List<JsonNode> told = new ArrayList<>();
    private final List<JsonNode> lines = new ArrayList<>();
    private Driver driver;
    private long clock = Long.MIN_VALUE;

    Story(Path file) throws IOException {
        for (String line : Files.readAllLines(file)) {
            if (!line.isBlank()) {
                lines.add(JSON.readTree(line));
            }
        }
    }

    /** What is wrong with what the peer said; empty if nothing is. */
    String problem() throws Exception {
        long start = Long.MAX_VALUE;
        for (JsonNode line : lines) {
            JsonNode in = line.path("in");
            String time = in.path("observedAt").asText(in.path("tick").asText(""));
            if (!time.isEmpty()) {
                start = Math.min(start, Instant.parse(time).toEpochMilli());
            }
        }
        // No record is ever waited for: the clock says what is due.
        try (Driver opened = new PeerDriver(start - 1000, 0)) {
            driver = opened;
            clock = start - 1000;
            for (JsonNode line : lines) {
                if (line.has("in")) {
                    take(line.get("in"));
                    drain();
                }
            }
        }
        return compare();
    }

    private void take(JsonNode in) throws Exception {
        if (in.has("tick")) {
            move(Instant.parse(in.get("tick").asText()).toEpochMilli());
            return;
        }
        Events.Event event = event(in);
        move(event.getObservedAtMs());
        String input =
                switch (event.getBodyCase()) {
                    case CONNECTED, DISCONNECTED, CONNECT_FAILED -> "connections";
                    case ACTIVITY -> "activity";
                    default -> "control";
                };
        String key = event.getTenant() + '/' + event.getDeviceId();
        driver.send(input, key.getBytes(StandardCharsets.UTF_8), event.toByteArray(), clock);
    }

    /** The clock is the highest time so far; what is due before it fires. */
    private void move(long to) throws Exception {
        if (to > clock) {
            driver.move(to);
            clock = to;
        }
    }

    private void drain() {
        List<ObjectNode> now = new ArrayList<>();
        drain(Topics.STATUS, Outputs.StatusChange.parser(), now);
        drain(Topics.ALARMS, Outputs.AlarmEvent.parser(), now);
        drain(Topics.CONNECTION_LOG, Outputs.ConnectionLogEntry.parser(), now);
        now.sort(Comparator.comparingLong(one -> one.get("sequence").asLong()));
        told.addAll(now);
    }

    private void drain(String topic, com.google.protobuf.Parser<? extends Message> parser, List<ObjectNode> into) {
        for (byte[] value : driver.drain(topic)) {
            try {
                ObjectNode one = json(parser.parseFrom(value));
                one.put("topic", topic);
                into.add(one);
            } catch (InvalidProtocolBufferException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    private String compare() {
        Iterator<JsonNode> next = told.iterator();
        int held = 0;
        for (JsonNode line : lines) {
            if (line.has("out")) {
                JsonNode wanted = covered(line.get("out"));
                held += wanted == null ? 0 : 1;
                boolean found = wanted == null;
                while (!found && next.hasNext()) {
                    found = matches(wanted, next.next());
                }
                if (!found) {
                    return "missing: " + wanted + "\ntold: " + told;
                }
            } else if (line.has("never")) {
                // Without what the peer does not say it would forbid more than it was meant to.
                boolean isWhole = UNTOLD.stream().noneMatch(line.get("never")::has);
                JsonNode unwanted = isWhole ? covered(line.get("never")) : null;
                held += unwanted == null ? 0 : 1;
                for (JsonNode one : told) {
                    if (unwanted != null && matches(unwanted, one)) {
                        return "never: " + unwanted + "\ntold: " + told;
                    }
                }
            }
        }
        return held > 0 ? "" : "nothing in it is covered";
    }

    /** The part of a pattern that the peer can meet; null if nothing is left to be met. */
    private static JsonNode covered(JsonNode pattern) {
        ObjectNode kept = pattern.deepCopy();
        kept.remove(UNTOLD);
        String topic = kept.path("topic").asText();
        if (!Set.of(Topics.STATUS, Topics.ALARMS, Topics.CONNECTION_LOG).contains(topic)) {
            return null;
        }
        if (kept.has("changes")) {
            ArrayNode changes = JSON.createArrayNode();
            for (JsonNode change : kept.get("changes")) {
                if (FACETS.contains(change.path("facet").asText())) {
                    changes.add(change);
                }
            }
            if (changes.isEmpty()) {
                return null;
            }
            kept.set("changes", changes);
        }
        return kept;
    }

    private static boolean matches(JsonNode pattern, JsonNode actual) {
        if (actual == null) {
            return false;
        }
        if (pattern.isObject()) {
            for (var entry : pattern.properties()) {
                if (!matches(entry.getValue(), actual.get(entry.getKey()))) {
                    return false;
                }
            }
            return actual.isObject();
        }
        if (pattern.isArray()) {
            for (JsonNode item : pattern) {
                boolean found = false;
                for (JsonNode candidate : actual) {
                    found |= matches(item, candidate);
                }
                if (!found) {
                    return false;
                }
            }
            return actual.isArray();
        }
        if (pattern.isNumber() && actual.isNumber()) {
            return pattern.asDouble() == actual.asDouble();
        }
        return pattern.equals(actual);
    }

    // ---- the JSON form of events and outputs ----------------------------------------------------------------------

    private static Events.Event event(JsonNode in) {
        Events.Event.Builder event = Events.Event.newBuilder();
        fill(event, in);
        return event.build();
    }

    private static void fill(Message.Builder into, JsonNode from) {
        for (FieldDescriptor field : into.getDescriptorForType().getFields()) {
            String name = field.getJsonName();
            boolean isTime = isTime(name);
            JsonNode value = from.get(isTime ? name.substring(0, name.length() - 2) : name);
            if (value == null || field.isRepeated()) {
                continue;
            }
            if (isTime) {
                into.setField(field, Instant.parse(value.asText()).toEpochMilli());
                continue;
            }
            switch (field.getJavaType()) {
                case MESSAGE -> fill(into.getFieldBuilder(field), value);
                case ENUM -> into.setField(field, value(field.getEnumType(), value.asText()));
                case BOOLEAN -> into.setField(field, value.asBoolean());
                case INT -> into.setField(field, value.asInt());
                case LONG -> into.setField(field, value.asLong());
                case BYTE_STRING -> into.setField(
                        field, ByteString.copyFrom(new BigInteger(value.asText(), 16).toByteArray()));
                default -> into.setField(field, value.asText());
            }
        }
    }

    private static boolean isTime(String name) {
        return name.endsWith("AtMs") || name.equals("atMs");
    }

    private static EnumValueDescriptor value(EnumDescriptor type, String word) {
        for (EnumValueDescriptor value : type.getValues()) {
            if (value.getNumber() != 0 && value.getName().endsWith('_' + word.toUpperCase(Locale.ROOT))
                    && value.getName().length() == prefix(type).length() + word.length()) {
                return value;
            }
        }
        throw new IllegalArgumentException(type.getName() + " has no " + word);
    }

    /** What all names of an enum begin with. */
    private static String prefix(EnumDescriptor type) {
        String unspecified = type.findValueByNumber(0).getName();
        return unspecified.substring(0, unspecified.length() - "UNSPECIFIED".length());
    }

    private static ObjectNode json(MessageOrBuilder message) {
        ObjectNode out = JSON.createObjectNode();
        for (FieldDescriptor field : message.getDescriptorForType().getFields()) {
            boolean isSet = field.hasPresence() ? message.hasField(field) : true;
            if (!isSet) {
                continue;
            }
            String name = field.getJsonName();
            if (field.isRepeated()) {
                ArrayNode all = out.putArray(name);
                for (Object one : (List<?>) message.getField(field)) {
                    all.add(json(field, one));
                }
            } else if (isTime(name)) {
                out.put(name.substring(0, name.length() - 2), TIME.format(Instant.ofEpochMilli((Long) message.getField(field))));
            } else if (name.equals("durationMs")) {
                out.put("durationSeconds", (Long) message.getField(field) / 1000.0);
            } else {
                out.set(name, json(field, message.getField(field)));
            }
        }
        return out;
    }

    private static JsonNode json(FieldDescriptor field, Object value) {
        return switch (field.getJavaType()) {
            case MESSAGE -> json((Message) value);
            case ENUM -> {
                EnumValueDescriptor word = (EnumValueDescriptor) value;
                String bare = word.getName().substring(prefix(word.getType()).length());
                boolean isLoud = Set.of("Facet", "ChannelKind", "Flag").contains(word.getType().getName());
                yield JSON.valueToTree(isLoud ? bare.toLowerCase(Locale.ROOT) : bare);
            }
            case BYTE_STRING -> JSON.valueToTree(new BigInteger(1, ((ByteString) value).toByteArray()).toString(16));
            default -> JSON.valueToTree(value);
        };
    }
}
