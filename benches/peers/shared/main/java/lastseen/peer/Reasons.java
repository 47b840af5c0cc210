package lastseen.peer;

import lastseen.v1.Events.Disconnected;
import lastseen.v1.Events.Initiator;

/** Who ended a session (SEMANTICS §2), and the names of the reason codes that are met most. */
final class Reasons {
    private Reasons() {}

    static int initiator(Disconnected event) {
        if (event.getInitiatorValue() != 0) {
            return event.getInitiatorValue();
        }
        int mqtt = event.hasMqttReasonCode() ? event.getMqttReasonCode() : -1;
        int close = event.hasCloseCode() ? event.getCloseCode() : -1;
        if (mqtt == 0x8e || close == 288) {
            return Initiator.INITIATOR_TAKEN_OVER_VALUE;
        }
        if (mqtt == 0 || mqtt == 4 || close == 91) {
            return Initiator.INITIATOR_CLIENT_VALUE;
        }
        boolean isServer = mqtt == 0x87 || mqtt == 0x89 || mqtt == 0x8b || mqtt == 0x98 || mqtt >= 0x9c && mqtt <= 0xa2;
        return isServer || close >= 92 && close <= 94 ? Initiator.INITIATOR_SERVER_VALUE : Initiator.INITIATOR_NETWORK_VALUE;
    }

    /** The standard name of a code over MQTT or a websocket; null for one that it does not know. */
    static String name(int channel, int code, boolean endsSession) {
        if (channel != 1 && channel != 2) {
            return null;
        }
        return switch (code) {
            case 0x00 -> endsSession ? "Normal disconnection" : "Success";
            case 0x04 -> endsSession ? "Disconnect with Will Message" : "Connection Refused, bad user name or password";
            case 0x05 -> endsSession ? null : "Connection Refused, not authorized";
            case 0x80 -> "Unspecified error";
            case 0x81 -> "Malformed Packet";
            case 0x82 -> "Protocol Error";
            case 0x86 -> "Bad User Name or Password";
            case 0x87 -> "Not authorized";
            case 0x88 -> "Server unavailable";
            case 0x89 -> "Server busy";
            case 0x8a -> "Banned";
            case 0x8b -> "Server shutting down";
            case 0x8d -> "Keep Alive timeout";
            case 0x8e -> "Session taken over";
            case 0x97 -> "Quota exceeded";
            case 0x98 -> "Administrative action";
            case 0x9c -> "Use another server";
            case 0x9d -> "Server moved";
            default -> null;
        };
    }
}
