package lastseen.peer;

import java.util.ArrayList;
import java.util.List;
import lastseen.v1.Events;
import lastseen.v1.Outputs;

/** What one step of a device tells, collected until its facets are settled: status, then alarms, then the connection log. */
final class Step {
    /** Where a step tells what it has to. */
    interface Out {
        void tell(String output, Device device, long at, byte[] message);
    }

    private record Logged(Outputs.ConnectionLogEntry.Builder entry) {}

    final long at;
    Outputs.Rule rule;
    String sentence;
    Outputs.Deadline deadline;
    long retracts;
    private final List<Outputs.AlarmEvent.Builder> alarms = new ArrayList<>(1);
    private Logged logged;

    Step(long at, Outputs.Rule rule, String sentence) {
        this.at = at;
        because(rule, sentence);
    }

    void because(Outputs.Rule rule, String sentence) {
        this.rule = rule;
        this.sentence = sentence;
    }

    void log(Outputs.ConnectionLogEntry.Builder entry) {
        logged = new Logged(entry);
    }

    void alarm(Device.Alarm alarm, Outputs.AlarmEventAction action, Outputs.ClearReason reason, String actor) {
        boolean isCleared = action == Outputs.AlarmEventAction.ALARM_EVENT_ACTION_CLEARED;
        Outputs.AlarmState open =
                alarm.acknowledged ? Outputs.AlarmState.ALARM_STATE_ACKNOWLEDGED : Outputs.AlarmState.ALARM_STATE_ACTIVE;
        Outputs.AlarmEvent.Builder event = Outputs.AlarmEvent.newBuilder()
                .setAlarmId(alarm.id)
                .setType("unavailability")
                .setSeverity(Events.Severity.SEVERITY_MAJOR)
                .setAction(action)
                .setState(isCleared ? Outputs.AlarmState.ALARM_STATE_CLEARED : open)
                .setReason(reason)
                .setCount(alarm.count)
                .setFirstAtMs(alarm.firstAt)
                .setLastAtMs(alarm.lastAt)
                .setText("No data received from device within required interval");
        if (!actor.isEmpty()) {
            event.setActor(actor);
        }
        alarms.add(event);
    }

    /** Settles the facets and tells everything. */
    void tell(Device device, String tenant, String deviceId, long now, Outputs.Cause.Builder origin, Out out) {
        int availability = device.availability;
        int connection = device.connection;
        boolean isDeleted = Time.happened(device.deletedAt);
        device.availability = isDeleted ? Device.NOT_MONITORED : device.availabilityNow();
        device.connection = isDeleted ? Device.CONNECTION_UNKNOWN : device.connectionNow();
        boolean isChanged = availability != device.availability || connection != device.connection;
        if (!isChanged && alarms.isEmpty() && logged == null) {
            return;
        }
        origin.setRule(rule).setSentence(sentence);
        if (deadline != null) {
            origin.setDeadline(deadline);
        }
        Outputs.Cause cause = origin.build();
        if (isChanged) {
            var status = Outputs.StatusChange.newBuilder()
                    .setTenant(tenant)
                    .setDeviceId(deviceId)
                    .setBirthMs(device.birth)
                    .setSequence(++device.sequence)
                    .setAtMs(at)
                    .setRecordedAtMs(now)
                    .setCause(cause);
            change(status, Outputs.Facet.FACET_AVAILABILITY, Device.AVAILABILITY, availability, device.availability);
            change(status, Outputs.Facet.FACET_CONNECTION, Device.CONNECTION, connection, device.connection);
            if (retracts != 0) {
                status.setRetracts(retracts);
            }
            out.tell(Topics.STATUS, device, at, status.build().toByteArray());
        }
        for (Outputs.AlarmEvent.Builder alarm : alarms) {
            alarm.setTenant(tenant)
                    .setDeviceId(deviceId)
                    .setBirthMs(device.birth)
                    .setSequence(++device.sequence)
                    .setAtMs(at)
                    .setRecordedAtMs(now)
                    .setCause(cause);
            out.tell(Topics.ALARMS, device, at, alarm.build().toByteArray());
        }
        if (logged != null) {
            logged.entry
                    .setTenant(tenant)
                    .setDeviceId(deviceId)
                    .setBirthMs(device.birth)
                    .setSequence(++device.sequence)
                    .setAtMs(at)
                    .setRecordedAtMs(now)
                    .setCause(origin.setSentence(logged.entry.getMessage()).build());
            out.tell(Topics.CONNECTION_LOG, device, at, logged.entry.build().toByteArray());
        }
    }

    private static void change(
            Outputs.StatusChange.Builder status, Outputs.Facet facet, String[] words, int from, int to) {
        if (from != to) {
            status.addChanges(
                    Outputs.FacetChange.newBuilder().setFacet(facet).setFrom(words[from]).setTo(words[to]));
        }
    }
}
