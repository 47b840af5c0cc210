//! Reason codes: the standard names of MQTT 3.1.1 and MQTT 5.0, and who ended a session (SEMANTICS §2).

use super::event::{ChannelKind, Initiator};

/// Who ended a session, derived from its codes where the platform does not say.
pub fn initiator(
    given: Option<Initiator>,
    mqtt_reason_code: Option<u8>,
    close_code: Option<u32>,
) -> Initiator {
    if let Some(initiator) = given {
        return initiator;
    }
    match (mqtt_reason_code, close_code) {
        (Some(0x8e), _) | (_, Some(288)) => Initiator::TakenOver,
        (Some(0x00 | 0x04), _) | (_, Some(91)) => Initiator::Client,
        (Some(0x87 | 0x89 | 0x8b | 0x98 | 0x9c..=0xa2), _) | (_, Some(92..=94)) => Initiator::Server,
        _ => Initiator::Network,
    }
}

/// What a reason code stands in: the packet decides the name of a few codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet {
    /// The server's answer to a connect.
    Connack,
    /// The end of a session.
    Disconnect,
}

/// The standard name of an MQTT reason code: MQTT 5.0 §2.4 table 2-6 and §3.2.2.2, §3.14.2.1; codes 1 to 5 of a
/// refused connect are MQTT 3.1.1 §3.2.2.3 table 3.1. `None` for a code that neither standard names.
pub fn name(packet: Packet, channel: ChannelKind, code: u8) -> Option<&'static str> {
    if !matches!(channel, ChannelKind::Mqtt | ChannelKind::Websocket) {
        return None;
    }
    if packet == Packet::Connack {
        match code {
            0x01 => return Some("Connection Refused, unacceptable protocol version"),
            0x02 => return Some("Connection Refused, identifier rejected"),
            0x03 => return Some("Connection Refused, Server unavailable"),
            0x04 => return Some("Connection Refused, bad user name or password"),
            0x05 => return Some("Connection Refused, not authorized"),
            _ => {}
        }
    }
    Some(match code {
        0x00 if packet == Packet::Disconnect => "Normal disconnection",
        0x00 => "Success",
        0x01 => "Granted QoS 1",
        0x02 => "Granted QoS 2",
        0x04 => "Disconnect with Will Message",
        0x10 => "No matching subscribers",
        0x11 => "No subscription existed",
        0x18 => "Continue authentication",
        0x19 => "Re-authenticate",
        0x80 => "Unspecified error",
        0x81 => "Malformed Packet",
        0x82 => "Protocol Error",
        0x83 => "Implementation specific error",
        0x84 => "Unsupported Protocol Version",
        0x85 => "Client Identifier not valid",
        0x86 => "Bad User Name or Password",
        0x87 => "Not authorized",
        0x88 => "Server unavailable",
        0x89 => "Server busy",
        0x8a => "Banned",
        0x8b => "Server shutting down",
        0x8c => "Bad authentication method",
        0x8d => "Keep Alive timeout",
        0x8e => "Session taken over",
        0x8f => "Topic Filter invalid",
        0x90 => "Topic Name invalid",
        0x91 => "Packet Identifier in use",
        0x92 => "Packet Identifier not found",
        0x93 => "Receive Maximum exceeded",
        0x94 => "Topic Alias invalid",
        0x95 => "Packet too large",
        0x96 => "Message rate too high",
        0x97 => "Quota exceeded",
        0x98 => "Administrative action",
        0x99 => "Payload format invalid",
        0x9a => "Retain not supported",
        0x9b => "QoS not supported",
        0x9c => "Use another server",
        0x9d => "Server moved",
        0x9e => "Shared Subscriptions not supported",
        0x9f => "Connection rate exceeded",
        0xa0 => "Maximum connect time",
        0xa1 => "Subscription Identifiers not supported",
        0xa2 => "Wildcard Subscriptions not supported",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEMANTICS §2, the whole table: every code that is not named is the network's.
    #[test]
    fn who_ended_a_session_by_its_mqtt_reason() {
        for code in 0..=255 {
            let expected = match code {
                0x8e => Initiator::TakenOver,
                0x00 | 0x04 => Initiator::Client,
                0x87 | 0x89 | 0x8b | 0x98 | 0x9c | 0x9d | 0x9e | 0x9f | 0xa0 | 0xa1 | 0xa2 => {
                    Initiator::Server
                }
                _ => Initiator::Network,
            };
            assert_eq!(initiator(None, Some(code), None), expected, "{code:#x}");
        }
        assert_eq!(initiator(None, Some(0x8d), None), Initiator::Network, "keep-alive timeout");
    }

    #[test]
    fn who_ended_a_session_by_its_close_code() {
        for code in 0..=300 {
            let expected = match code {
                288 => Initiator::TakenOver,
                91 => Initiator::Client,
                92..=94 => Initiator::Server,
                _ => Initiator::Network,
            };
            assert_eq!(initiator(None, None, Some(code)), expected, "{code}");
        }
        assert_eq!(initiator(None, None, None), Initiator::Network);
    }

    /// Where two codes disagree the first row of the table that either is in counts; what was said counts before all.
    #[test]
    fn who_ended_a_session_where_evidence_disagrees() {
        assert_eq!(initiator(None, Some(0x00), Some(288)), Initiator::TakenOver);
        assert_eq!(initiator(None, Some(0x8e), Some(91)), Initiator::TakenOver);
        assert_eq!(initiator(None, Some(0x8b), Some(91)), Initiator::Client);
        assert_eq!(initiator(None, Some(0x8d), Some(93)), Initiator::Server);
        for said in Initiator::ALL {
            assert_eq!(initiator(Some(*said), Some(0x8e), Some(91)), *said);
        }
    }

    #[test]
    fn names_depend_on_the_packet_and_on_mqtt() {
        use ChannelKind::{LongPoll, Mqtt, Websocket};
        assert_eq!(name(Packet::Disconnect, Mqtt, 0x00), Some("Normal disconnection"));
        assert_eq!(name(Packet::Connack, Mqtt, 0x00), Some("Success"));
        assert_eq!(name(Packet::Connack, Websocket, 0x05), Some("Connection Refused, not authorized"));
        assert_eq!(name(Packet::Disconnect, Mqtt, 0x04), Some("Disconnect with Will Message"));
        assert_eq!(name(Packet::Disconnect, Mqtt, 0x8d), Some("Keep Alive timeout"));
        assert_eq!(name(Packet::Disconnect, Mqtt, 0x03), None);
        assert_eq!(name(Packet::Disconnect, LongPoll, 0x8d), None);
    }
}
