package lastseen.peer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import lastseen.v1.Events;
import org.junit.jupiter.api.Test;

class DeviceRowTest {
    @Test
    void aDeviceComesBackAsItWas() {
        Device device = new Device();
        device.birth = 1_767_225_600_000L;
        device.sequence = 300;
        device.lastMessage = device.birth - 5;
        device.minutes = -15;
        device.lapsed = true;
        device.verdict = new Device.Verdict();
        device.verdict.deadline = device.birth + 70_000;
        device.verdict.alarm = new Device.Alarm();
        device.verdict.alarm.id = "alarm";
        device.verdict.alarm.count = 2;
        for (int number = 0; number < 12; number++) {
            Events.Session session = Events.Session.newBuilder().setId("session " + number).build();
            Channel channel = device.channel(1);
            channel.connect(Events.Connected.newBuilder().setSession(session).build(), device.birth + number);
            if (number % 3 == 0) {
                Events.Disconnected end = Events.Disconnected.newBuilder().setSession(session).build();
                channel.disconnect(end, 3, device.birth + number);
            }
        }
        byte[] bytes = DeviceRow.write(device);
        Device back = DeviceRow.read(bytes);
        assertArrayEquals(bytes, DeviceRow.write(back));
        assertEquals(8, back.channel(1).closed.size());
        assertEquals(device.verdict.deadline, back.verdict.deadline);
        assertEquals(-15, back.minutes);
    }
}
