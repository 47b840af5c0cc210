package lastseen.peer;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** A device as a row of the store: fixed fields first, then what is seldom there. Times are deltas from the birth. */
final class DeviceRow {
    private DeviceRow() {}

    static byte[] write(Device device) {
        return new Writer().device(device);
    }

    static Device read(byte[] bytes) {
        return new Reader(bytes).device();
    }

    private static final class Writer {
        private static final ThreadLocal<ByteBuffer> SCRATCH = ThreadLocal.withInitial(() -> ByteBuffer.allocate(1024));

        private ByteBuffer out = SCRATCH.get().clear();
        private long birth;

        byte[] device(Device device) {
            birth = device.birth;
            number(birth);
            number(device.sequence);
            time(device.earliest == Long.MAX_VALUE ? Time.NEVER : device.earliest);
            time(device.deletedAt);
            time(device.lastMessage);
            time(device.lastActivity);
            number(device.lastActivityKind);
            time(device.armed);
            signed(device.minutes == Device.NO_INTERVAL ? Integer.MIN_VALUE : device.minutes);
            number(device.setBy);
            flags(device.byEvent, device.lapsed, device.verdict != null);
            time(device.setAt);
            time(device.since);
            time(device.positiveSince);
            time(device.floor);
            number(device.availability);
            number(device.connection);
            if (device.verdict != null) {
                verdict(device.verdict);
            }
            number(device.channels.size());
            for (Channel channel : device.channels) {
                channel(channel);
            }
            byte[] bytes = new byte[out.position()];
            out.flip().get(bytes);
            return bytes;
        }

        private void verdict(Device.Verdict verdict) {
            time(verdict.deadline);
            signed(verdict.minutes);
            number(verdict.toldAs);
            Device.Alarm alarm = verdict.alarm;
            flags(alarm != null, alarm != null && alarm.acknowledged, false);
            if (alarm != null) {
                text(alarm.id);
                number(alarm.count);
                time(alarm.firstAt);
                time(alarm.lastAt);
            }
        }

        private void channel(Channel channel) {
            number(channel.kind);
            flags(channel.open != null, channel.newestOver != null, channel.strayEnd != null);
            if (channel.open != null) {
                session(channel.open);
            }
            if (channel.newestOver != null) {
                session(channel.newestOver);
            }
            if (channel.strayEnd != null) {
                evidence(channel.strayEvidence);
                end(channel.strayEnd);
            }
            number(channel.closed.size());
            channel.closed.forEach(this::session);
            flags(channel.recorded != null, false, false);
            if (channel.recorded != null) {
                end(channel.recorded);
            }
            for (Session.Evidence evidence : channel.nameless) {
                flags(evidence != null, false, false);
                if (evidence != null) {
                    evidence(evidence);
                }
            }
            number(channel.failed.size());
            channel.failed.forEach(this::time);
        }

        private void session(Session session) {
            text(session.id);
            bytes(session.sequence);
            time(session.startedAt);
            time(session.connectedAt);
            text(session.nodeId);
            time(session.supersededAt);
            number(session.ends.size());
            session.ends.forEach(this::end);
            number(session.takeovers.size());
            session.takeovers.forEach(this::time);
        }

        private void end(Session.End end) {
            time(end.at());
            number(end.initiator());
            signed(end.reasonCode());
        }

        private void evidence(Session.Evidence evidence) {
            bytes(evidence.sequence());
            time(evidence.startedAt());
            time(evidence.observedAt());
        }

        private void flags(boolean first, boolean second, boolean third) {
            number((first ? 1 : 0) | (second ? 2 : 0) | (third ? 4 : 0));
        }

        /** 0 is never. */
        private void time(long at) {
            if (at == Time.NEVER) {
                number(0);
            } else {
                long delta = at - birth;
                number((delta << 1 ^ delta >> 63) + 1);
            }
        }

        private void signed(long value) {
            number(value << 1 ^ value >> 63);
        }

        private void text(String text) {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            number(bytes.length);
            room(bytes.length);
            out.put(bytes);
        }

        private void bytes(byte[] bytes) {
            number(bytes == null ? 0 : bytes.length);
            if (bytes != null) {
                room(bytes.length);
                out.put(bytes);
            }
        }

        private void number(long value) {
            room(10);
            while ((value & ~0x7FL) != 0) {
                out.put((byte) (value & 0x7F | 0x80));
                value >>>= 7;
            }
            out.put((byte) value);
        }

        private void room(int bytes) {
            if (out.remaining() < bytes) {
                out = ByteBuffer.allocate(2 * out.capacity() + bytes).put(out.flip());
                SCRATCH.set(out);
            }
        }
    }

    private static final class Reader {
        private final byte[] in;
        private int place;
        private long birth;

        Reader(byte[] bytes) {
            in = bytes;
        }

        Device device() {
            Device device = new Device();
            birth = number();
            device.birth = birth;
            device.sequence = number();
            long earliest = time();
            device.earliest = earliest == Time.NEVER ? Long.MAX_VALUE : earliest;
            device.deletedAt = time();
            device.lastMessage = time();
            device.lastActivity = time();
            device.lastActivityKind = (int) number();
            device.armed = time();
            device.minutes = (int) signed();
            device.setBy = (int) number();
            int flags = (int) number();
            device.byEvent = (flags & 1) != 0;
            device.lapsed = (flags & 2) != 0;
            device.setAt = time();
            device.since = time();
            device.positiveSince = time();
            device.floor = time();
            device.availability = (int) number();
            device.connection = (int) number();
            if ((flags & 4) != 0) {
                device.verdict = verdict();
            }
            for (int count = (int) number(); count > 0; count--) {
                device.channels.add(channel());
            }
            return device;
        }

        private Device.Verdict verdict() {
            Device.Verdict verdict = new Device.Verdict();
            verdict.deadline = time();
            verdict.minutes = (int) signed();
            verdict.toldAs = number();
            int flags = (int) number();
            if ((flags & 1) != 0) {
                verdict.alarm = new Device.Alarm();
                verdict.alarm.acknowledged = (flags & 2) != 0;
                verdict.alarm.id = text();
                verdict.alarm.count = (int) number();
                verdict.alarm.firstAt = time();
                verdict.alarm.lastAt = time();
            }
            return verdict;
        }

        private Channel channel() {
            Channel channel = new Channel((int) number());
            int flags = (int) number();
            if ((flags & 1) != 0) {
                channel.open = session();
            }
            if ((flags & 2) != 0) {
                channel.newestOver = session();
            }
            if ((flags & 4) != 0) {
                channel.strayEvidence = evidence();
                channel.strayEnd = end();
            }
            for (int count = (int) number(); count > 0; count--) {
                channel.closed.add(session());
            }
            if (number() != 0) {
                channel.recorded = end();
            }
            for (int index = 0; index < channel.nameless.length; index++) {
                channel.nameless[index] = number() == 0 ? null : evidence();
            }
            for (int count = (int) number(); count > 0; count--) {
                channel.failed.add(time());
            }
            return channel;
        }

        private Session session() {
            Session session = new Session();
            session.id = text();
            session.sequence = bytes();
            session.startedAt = time();
            session.connectedAt = time();
            session.nodeId = text();
            session.supersededAt = time();
            for (int count = (int) number(); count > 0; count--) {
                session.ends.add(end());
            }
            for (int count = (int) number(); count > 0; count--) {
                session.takeovers.add(time());
            }
            return session;
        }

        private Session.End end() {
            return new Session.End(time(), (int) number(), (int) signed());
        }

        private Session.Evidence evidence() {
            return new Session.Evidence(bytes(), time(), time());
        }

        private long time() {
            long value = number();
            if (value == 0) {
                return Time.NEVER;
            }
            value--;
            return birth + (value >>> 1 ^ -(value & 1));
        }

        private long signed() {
            long value = number();
            return value >>> 1 ^ -(value & 1);
        }

        private String text() {
            int length = (int) number();
            String text = new String(in, place, length, StandardCharsets.UTF_8);
            place += length;
            return text;
        }

        private byte[] bytes() {
            int length = (int) number();
            if (length == 0) {
                return null;
            }
            byte[] bytes = java.util.Arrays.copyOfRange(in, place, place + length);
            place += length;
            return bytes;
        }

        private long number() {
            long value = 0;
            int shift = 0;
            byte next;
            do {
                next = in[place++];
                value |= (long) (next & 0x7F) << shift;
                shift += 7;
            } while (next < 0);
            return value;
        }
    }
}
