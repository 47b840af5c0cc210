package lastseen.peer;

import java.nio.charset.StandardCharsets;
import java.util.UUID;
import lastseen.v1.Events;
import lastseen.v1.Outputs;
import lastseen.v1.Outputs.AlarmEventAction;
import lastseen.v1.Outputs.ClearReason;
import lastseen.v1.Outputs.Rule;

/** What an event and a deadline do to a device. Without policy, nodes, inferred sessions, polls and the overall status. */
final class Rules {
    private static final String[] CHANNELS = {
        "", "mqtt", "websocket", "long_poll", "vpn", "http", "coap", "lwm2m", "lorawan", "other"
    };
    private static final String[] SET_BY = {"operator", "device", "operator", "policy"};
    private static final int LAST_CONNECTED = 100;
    private static final int LAST_DISCONNECTED = 101;
    static final long TOMBSTONE_RETENTION = 24 * 60 * Time.MINUTE;

    private Rules() {}

    /** What an event, observed then, makes of the device; null if it changes nothing that is told. */
    static Step apply(Device device, Events.Event event, long at, long now) {
        if (Time.happened(device.deletedAt)) {
            if (at <= device.deletedAt && now < device.deletedAt + TOMBSTONE_RETENTION) {
                return null;
            }
            if (event.hasDelete()) {
                return null;
            }
            revive(device, now);
        }
        switch (event.getBodyCase()) {
            case DELETE:
                return delete(device, event.getDelete(), at);
            case CONNECTED:
                device.earliest = Math.min(device.earliest, at);
                return connected(device, event.getConnected(), at);
            case DISCONNECTED:
                device.earliest = Math.min(device.earliest, at);
                return disconnected(device, event.getDisconnected(), at);
            case CONNECT_FAILED:
                device.earliest = Math.min(device.earliest, at);
                return connectFailed(device, event.getConnectFailed(), at);
            case ACTIVITY:
                device.earliest = Math.min(device.earliest, at);
                return activity(device, event.getActivity(), at, now);
            case REQUIRED_INTERVAL:
                device.earliest = Math.min(device.earliest, at);
                return interval(device, event.getRequiredInterval(), at, now);
            case MAINTENANCE:
                device.earliest = Math.min(device.earliest, at);
                return maintenance(device, event.getMaintenance(), at, now);
            case ALARM_COMMAND:
                device.earliest = Math.min(device.earliest, at);
                return alarmCommand(device, event.getAlarmCommand(), at);
            default:
                device.earliest = Math.min(device.earliest, at);
                return null;
        }
    }

    /** A new device in the place of a deleted one; its numbers go on while the tombstone stands. */
    private static void revive(Device device, long now) {
        device.birth = now;
        device.deletedAt = Time.NEVER;
        device.earliest = Long.MAX_VALUE;
    }

    private static Step connected(Device device, Events.Connected event, long at) {
        Channel.Connect outcome = device.channel(event.getChannelValue()).connect(event, at);
        if (outcome == Channel.Connect.DUPLICATE) {
            return null;
        }
        int channel = event.getChannelValue();
        if (channel == 1 || channel == 2 || channel == 7) {
            device.touch(LAST_CONNECTED, at);
        }
        StringBuilder message = new StringBuilder("Connected over ").append(CHANNELS[channel]);
        if (!event.getProtocol().isEmpty()) {
            message.append(" (").append(event.getProtocol()).append(')');
        }
        if (!event.getClientAddress().isEmpty()) {
            message.append(" from ").append(event.getClientAddress());
        }
        if (!event.getSession().getId().isEmpty()) {
            message.append(", session ").append(event.getSession().getId());
        }
        var entry = Outputs.ConnectionLogEntry.newBuilder()
                .setKind(Outputs.LogKind.LOG_KIND_CONNECTED)
                .setChannel(event.getChannel())
                .setSession(event.getSession());
        Rule rule = Rule.RULE_CONNECTED;
        if (outcome == Channel.Connect.STALE) {
            rule = Rule.RULE_CONNECTED_STALE;
            message.append("; not of a current session");
            entry.addFlags(Outputs.Flag.FLAG_STALE);
        } else if (outcome == Channel.Connect.LATE) {
            rule = Rule.RULE_CONNECTED_LATE;
            message.append("; it arrived late");
            entry.addFlags(Outputs.Flag.FLAG_LATE);
        }
        if (!event.getNodeId().isEmpty()) {
            entry.setNodeId(event.getNodeId());
        }
        if (!event.getClientAddress().isEmpty()) {
            entry.setClientAddress(event.getClientAddress());
        }
        if (!event.getProtocol().isEmpty()) {
            entry.setProtocol(event.getProtocol());
        }
        if (event.hasSecure()) {
            entry.setSecure(event.getSecure());
        }
        if (event.hasKeepAliveSeconds()) {
            entry.setKeepAliveSeconds(event.getKeepAliveSeconds());
        }
        if (event.hasCleanStart()) {
            entry.setCleanStart(event.getCleanStart());
        }
        if (!event.getUser().isEmpty()) {
            entry.setUser(event.getUser());
        }
        entry.setMessage(message.toString());
        Step step = new Step(at, rule, message.append(" at ").append(Time.ofDay(at)).append('.').toString());
        step.log(entry);
        return step;
    }

    private static Step disconnected(Device device, Events.Disconnected event, long at) {
        int initiator = Reasons.initiator(event);
        Channel.Ended ended = device.channel(event.getChannelValue()).disconnect(event, initiator, at);
        if (ended.outcome() == Channel.Disconnect.DUPLICATE) {
            return null;
        }
        if (initiator == Events.Initiator.INITIATOR_CLIENT_VALUE) {
            device.touch(LAST_DISCONNECTED, at);
        }
        String id = event.getSession().getId();
        String session = id.isEmpty() ? "a session" : "session " + id;
        String over = session + " over " + CHANNELS[event.getChannelValue()];
        StringBuilder message = new StringBuilder();
        Outputs.LogKind kind;
        switch (initiator) {
            case Events.Initiator.INITIATOR_TAKEN_OVER_VALUE:
                kind = Outputs.LogKind.LOG_KIND_TAKEN_OVER;
                message.append("The client id was used again: ").append(over).append(" was taken over");
                break;
            case Events.Initiator.INITIATOR_CLIENT_VALUE:
                kind = Outputs.LogKind.LOG_KIND_DISCONNECTED_BY_CLIENT;
                message.append("The client ended ").append(over);
                break;
            case Events.Initiator.INITIATOR_SERVER_VALUE:
                kind = Outputs.LogKind.LOG_KIND_DISCONNECTED_BY_SERVER;
                message.append("The server ended ").append(over);
                break;
            default:
                kind = Outputs.LogKind.LOG_KIND_DISCONNECTED_BY_NETWORK;
                message.append("The network lost ").append(over);
        }
        var entry = Outputs.ConnectionLogEntry.newBuilder()
                .setKind(kind)
                .setChannel(event.getChannel())
                .setSession(event.getSession());
        if (Time.happened(ended.lasted())) {
            message.append(" after ").append(ended.lasted() / 1000).append(" s");
            entry.setDurationMs(ended.lasted());
        }
        reason(entry, message, event.getChannelValue(), event.hasMqttReasonCode() ? event.getMqttReasonCode() : -1, event.getReason(), true);
        if (event.hasCloseCode()) {
            entry.setCloseCode(event.getCloseCode());
        }
        if (event.hasBytesRead()) {
            entry.setBytesRead(event.getBytesRead());
        }
        if (event.hasBytesWritten()) {
            entry.setBytesWritten(event.getBytesWritten());
        }
        if (event.hasMessagesRead()) {
            entry.setMessagesRead(event.getMessagesRead());
        }
        if (event.hasMessagesWritten()) {
            entry.setMessagesWritten(event.getMessagesWritten());
        }
        if (!event.getNodeId().isEmpty()) {
            entry.setNodeId(event.getNodeId());
        }
        Rule rule = Rule.RULE_DISCONNECTED;
        if (ended.outcome() == Channel.Disconnect.TAKEN_OVER) {
            rule = Rule.RULE_TAKEN_OVER;
        } else if (ended.outcome() == Channel.Disconnect.STALE) {
            rule = Rule.RULE_DISCONNECTED_STALE;
            entry.addFlags(Outputs.Flag.FLAG_STALE);
            message.append("; not of a current session");
        }
        entry.setMessage(message.toString());
        Step step = new Step(at, rule, message.append(" at ").append(Time.ofDay(at)).append('.').toString());
        step.log(entry);
        return step;
    }

    private static void reason(
            Outputs.ConnectionLogEntry.Builder entry, StringBuilder message, int channel, int code, String words, boolean ends) {
        String name = code < 0 ? null : Reasons.name(channel, code, ends);
        if (code >= 0) {
            entry.setReasonCode(code);
        }
        if (name != null) {
            entry.setReasonName(name);
        }
        if (!words.isEmpty()) {
            entry.setReason(words);
        }
        if (name != null || !words.isEmpty()) {
            message.append(": ").append(name != null ? name : words);
        }
    }

    private static Step connectFailed(Device device, Events.ConnectFailed event, long at) {
        if (!device.channel(event.getChannelValue()).connectFailed(at)) {
            return null;
        }
        StringBuilder message = new StringBuilder("Could not connect over ").append(CHANNELS[event.getChannelValue()]);
        var entry = Outputs.ConnectionLogEntry.newBuilder()
                .setKind(Outputs.LogKind.LOG_KIND_CONNECT_FAILED)
                .setChannel(event.getChannel());
        if (!event.getClientAddress().isEmpty()) {
            message.append(" from ").append(event.getClientAddress());
            entry.setClientAddress(event.getClientAddress());
        }
        reason(entry, message, event.getChannelValue(), event.hasMqttReasonCode() ? event.getMqttReasonCode() : -1, event.getReason(), false);
        entry.setMessage(message.toString());
        Step step = new Step(at, Rule.RULE_CONNECT_FAILED, entry.getMessage());
        step.log(entry);
        return step;
    }

    private static Step activity(Device device, Events.Activity event, long at, long now) {
        int kind = event.getKindValue();
        boolean isMessage =
                switch (event.getKind()) {
                    case ACTIVITY_KIND_MQTT_PUBLISH,
                            ACTIVITY_KIND_HTTP_POST_EVENT,
                            ACTIVITY_KIND_HTTP_POST_COMMAND,
                            ACTIVITY_KIND_HTTP_POST_COMMAND_REQUEST,
                            ACTIVITY_KIND_EVENT_CREATE,
                            ACTIVITY_KIND_MEASUREMENT_CREATE,
                            ACTIVITY_KIND_ALARM_CREATE -> !event.getViaApplication();
                    case ACTIVITY_KIND_HEARTBEAT, ACTIVITY_KIND_LAST_WILL -> true;
                    default -> false;
                };
        switch (event.getKind()) {
            case ACTIVITY_KIND_LAST_WILL, ACTIVITY_KIND_STATE_POLL, ACTIVITY_KIND_READ, ACTIVITY_KIND_PING:
                break;
            default:
                device.touch(kind, at);
        }
        if (!isMessage) {
            return null;
        }
        device.lastMessage = Math.max(device.lastMessage, at);
        if (device.verdict == null && device.availability == device.availabilityNow()) {
            return null;
        }
        Step step = new Step(at, Rule.RULE_DATA_RECEIVED, "Data received at " + Time.ofDay(at) + ".");
        Device.Verdict verdict = device.verdict;
        if (verdict == null) {
            return step;
        }
        if (verdict.isDisprovedBy(at)) {
            step.retracts = verdict.toldAs;
            step.because(
                    Rule.RULE_VERDICT_DISPROVED,
                    "Data observed at " + Time.ofDay(at) + " arrived after the verdict of " + Time.ofDay(verdict.deadline)
                            + " and disproves it.");
            endVerdict(device, ClearReason.CLEAR_REASON_RETRACTED, step);
        } else if (at > verdict.deadline) {
            endVerdict(device, ClearReason.CLEAR_REASON_DATA_RETURNED, step);
        } else {
            endVerdictIfNotOver(device, now, step);
        }
        return step;
    }

    private static void endVerdict(Device device, ClearReason reason, Step step) {
        device.lapsed = false;
        Device.Verdict verdict = device.verdict;
        device.verdict = null;
        if (verdict != null && verdict.alarm != null) {
            step.alarm(verdict.alarm, AlarmEventAction.ALARM_EVENT_ACTION_CLEARED, reason, "");
        }
    }

    private static void endVerdictIfNotOver(Device device, long now, Step step) {
        if (device.lapsed && device.isMonitored() && device.deadline() >= now) {
            endVerdict(device, ClearReason.CLEAR_REASON_INTERVAL_CHANGED, step);
        }
    }

    private static Step interval(Device device, Events.RequiredInterval event, long at, long now) {
        if (at < device.setAt || event.getOnlyIfAbsent() && device.byEvent) {
            return null;
        }
        device.setAt = at;
        boolean isPolicy = event.getSource() == Events.IntervalSource.INTERVAL_SOURCE_POLICY;
        device.byEvent = !isPolicy;
        int minutes = Device.NO_INTERVAL;
        if (event.hasMinutes() && !isPolicy) {
            minutes = (int) Math.max(Short.MIN_VALUE, Math.min(Short.MAX_VALUE, event.getMinutes()));
        }
        String by = SET_BY[event.getSourceValue()];
        boolean isStop = minutes == Device.NO_INTERVAL;
        Step step = new Step(
                at,
                isStop ? Rule.RULE_MONITORING_STOPPED : Rule.RULE_INTERVAL_SET,
                isStop
                        ? "Monitoring stopped by the " + by + " at " + Time.ofDay(at) + "."
                        : "Required interval set to " + minutes + " min by the " + by + " at " + Time.ofDay(at) + ".");
        setMinutes(device, minutes, event.getSourceValue(), at, now, step);
        return step;
    }

    private static void setMinutes(Device device, int minutes, int setBy, long at, long now, Step step) {
        int before = device.minutes;
        device.setBy = setBy;
        if (before == minutes) {
            return;
        }
        boolean wasMonitored = device.isMonitored();
        device.minutes = minutes;
        if (minutes == Device.NO_INTERVAL) {
            endVerdict(device, ClearReason.CLEAR_REASON_MONITORING_STOPPED, step);
        } else if (minutes <= 0) {
            device.lapsed = false;
        } else if (!wasMonitored) {
            device.since = at;
            device.positiveSince = at;
        } else if (device.lapsed) {
            endVerdictIfNotOver(device, now, step);
        } else {
            device.floor = Math.max(device.floor, at);
        }
    }

    private static Step maintenance(Device device, Events.Maintenance event, long at, long now) {
        if (at < device.setAt || device.minutes == Device.NO_INTERVAL || device.minutes == 0) {
            return null;
        }
        device.setAt = at;
        device.byEvent = true;
        Step step = new Step(
                at,
                event.getOn() ? Rule.RULE_MAINTENANCE_ON : Rule.RULE_MAINTENANCE_OFF,
                "Maintenance " + (event.getOn() ? "began" : "ended") + " at " + Time.ofDay(at) + ".");
        int length = Math.abs(device.minutes);
        setMinutes(device, event.getOn() ? -length : Math.min(length, Short.MAX_VALUE), device.setBy, at, now, step);
        return step;
    }

    private static Step alarmCommand(Device device, Events.AlarmCommand event, long at) {
        Device.Alarm alarm = device.verdict == null ? null : device.verdict.alarm;
        if (alarm == null || at < alarm.firstAt) {
            return null;
        }
        if (!event.getAlarmId().equals(alarm.id) && !event.getType().equals("unavailability")) {
            return null;
        }
        Step step = new Step(at, Rule.RULE_ALARM_COMMAND, "Alarm command of " + event.getActor() + " at " + Time.ofDay(at) + ".");
        if (event.getAction() == Events.AlarmAction.ALARM_ACTION_CLEAR) {
            step.alarm(alarm, AlarmEventAction.ALARM_EVENT_ACTION_CLEARED, ClearReason.CLEAR_REASON_COMMAND, event.getActor());
            device.verdict.alarm = null;
            return step;
        }
        if (alarm.acknowledged) {
            return null;
        }
        alarm.acknowledged = true;
        step.alarm(
                alarm,
                AlarmEventAction.ALARM_EVENT_ACTION_ACKNOWLEDGED,
                ClearReason.CLEAR_REASON_UNSPECIFIED,
                event.getActor());
        return step;
    }

    private static Step delete(Device device, Events.Delete event, long at) {
        if (at < device.earliest) {
            return null;
        }
        Step step = new Step(at, Rule.RULE_DELETED, "Deleted at " + Time.ofDay(at) + ".");
        if (device.verdict != null && device.verdict.alarm != null) {
            step.alarm(
                    device.verdict.alarm,
                    AlarmEventAction.ALARM_EVENT_ACTION_CLEARED,
                    ClearReason.CLEAR_REASON_MONITORING_STOPPED,
                    event.getActor());
        }
        device.deletedAt = at;
        device.lastMessage = Time.NEVER;
        device.lastActivity = Time.NEVER;
        device.minutes = Device.NO_INTERVAL;
        device.byEvent = false;
        device.setAt = Time.NEVER;
        device.since = Time.NEVER;
        device.positiveSince = Time.NEVER;
        device.floor = Time.NEVER;
        device.lapsed = false;
        device.verdict = null;
        device.channels.clear();
        return step;
    }

    /** The deadline of the device, if it is over by now and nobody has said so: the step that says it. */
    static Step lapse(Device device, String tenant, String deviceId, long now) {
        long at = device.deadline();
        if (device.lapsed || !device.isMonitored() || at >= now) {
            return null;
        }
        device.lapsed = true;
        boolean isMessage = Time.happened(device.lastMessage) && device.lastMessage >= device.countedFrom();
        String since = isMessage
                ? "No data since " + Time.ofDay(device.lastMessage)
                : "No data since monitoring began at " + Time.ofDay(device.countedFrom());
        Step step = new Step(
                at,
                Rule.RULE_DEADLINE_PASSED,
                since + "; required every " + device.minutes + " min (set by the " + SET_BY[device.setBy] + "); deadline "
                        + Time.ofDay(at) + " passed.");
        var deadline = Outputs.Deadline.newBuilder()
                .setAtMs(at)
                .setMinutes(device.minutes)
                .setSetByValue(device.setBy)
                .setCountedFromMs(device.countedFrom());
        if (Time.happened(device.lastMessage)) {
            deadline.setLastMessageMs(device.lastMessage);
        }
        step.deadline = deadline.build();
        Device.Alarm alarm = device.verdict == null ? null : device.verdict.alarm;
        if (alarm == null) {
            alarm = new Device.Alarm();
            String name = tenant + '/' + deviceId + ':' + device.birth + ':' + device.sequence;
            alarm.id = UUID.nameUUIDFromBytes(name.getBytes(StandardCharsets.UTF_8)).toString();
            alarm.count = 1;
            alarm.firstAt = at;
            alarm.lastAt = at;
            step.alarm(alarm, AlarmEventAction.ALARM_EVENT_ACTION_RAISED, ClearReason.CLEAR_REASON_UNSPECIFIED, "");
        } else {
            alarm.count++;
            alarm.lastAt = at;
            step.alarm(alarm, AlarmEventAction.ALARM_EVENT_ACTION_UPDATED, ClearReason.CLEAR_REASON_UNSPECIFIED, "");
        }
        Device.Verdict verdict = new Device.Verdict();
        verdict.deadline = at;
        verdict.minutes = device.minutes;
        verdict.toldAs = device.sequence + 1;
        verdict.alarm = alarm;
        device.verdict = verdict;
        return step;
    }
}
