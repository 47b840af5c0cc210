//! The words of receipts and of the connection log: one plain sentence each (SEMANTICS §7, §8).

use super::effect::{Flag, LogEntry, LogKind, LogSession};
use super::event::{ChannelKind, ConnectFailed, Connected, Disconnected, Initiator, IntervalSource, Traffic};
use super::reason::{self, Packet};
use super::session::Session;
use super::time::{Millis, Timestamp};

/// "No data since 09:12:04Z; required every 15 min (set by the operator); deadline 09:27:04Z passed."
pub fn deadline_passed(
    counted_from: Timestamp,
    last_message: Timestamp,
    minutes: i16,
    set_by: IntervalSource,
    deadline: Timestamp,
) -> String {
    let since = if last_message.happened() && last_message >= counted_from {
        format!("No data since {}", last_message.time_of_day())
    } else {
        format!("No data since monitoring began at {}", counted_from.time_of_day())
    };
    format!(
        "{since}; required every {minutes} min (set by the {set_by}); deadline {} passed.",
        deadline.time_of_day()
    )
}

/// A span for people.
pub fn span(millis: Millis) -> String {
    let seconds = millis.0 / 1000;
    match seconds {
        0..120 if millis.0 % 1000 != 0 => format!("{}.{:03} s", seconds, millis.0 % 1000),
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn session_name(id: Option<&str>) -> String {
    id.map_or_else(|| "a session".to_string(), |id| format!("session {id}"))
}

fn with_flags(mut message: String, flags: &[Flag]) -> String {
    for flag in flags {
        message.push_str(match flag {
            Flag::Stale => "; not of a current session",
            Flag::Late => "; it arrived late",
            Flag::Inferred => "; concluded, not reported",
            Flag::Lapsed => "; no further poll came",
        });
    }
    message
}

fn entry(kind: LogKind, channel: ChannelKind, session: LogSession) -> LogEntry {
    LogEntry {
        kind,
        channel,
        session,
        node_id: None,
        client_address: None,
        protocol: None,
        secure: None,
        keep_alive_seconds: None,
        clean_start: None,
        user: None,
        duration_millis: None,
        reason_code: None,
        reason_name: None,
        close_code: None,
        reason: None,
        traffic: Traffic::default(),
        message: String::new(),
        flags: Vec::new(),
    }
}

fn log_session(session: &super::event::SessionRef<'_>) -> LogSession {
    LogSession { id: session.id.map(Into::into), started_at: session.started_at, sequence: session.sequence }
}

/// A connect.
pub fn connected(event: &Connected<'_>, flags: Vec<Flag>) -> LogEntry {
    let mut message = format!("Connected over {}", event.channel);
    if let Some(protocol) = event.protocol {
        message.push_str(&format!(" ({protocol})"));
    }
    if let Some(address) = event.client_address {
        message.push_str(&format!(" from {address}"));
    }
    if let Some(id) = event.session.id {
        message.push_str(&format!(", session {id}"));
    }
    LogEntry {
        node_id: event.node_id.map(Into::into),
        client_address: event.client_address.map(Into::into),
        protocol: event.protocol.map(Into::into),
        secure: event.secure,
        keep_alive_seconds: event.keep_alive_seconds,
        clean_start: event.clean_start,
        user: event.user.map(Into::into),
        message: with_flags(message, &flags),
        flags,
        ..entry(LogKind::Connected, event.channel, log_session(&event.session))
    }
}

/// A failed attempt to connect.
pub fn connect_failed(event: &ConnectFailed<'_>) -> LogEntry {
    let name = event.mqtt_reason_code.and_then(|code| reason::name(Packet::Connack, event.channel, code));
    let mut message = format!("Could not connect over {}", event.channel);
    if let Some(address) = event.client_address {
        message.push_str(&format!(" from {address}"));
    }
    if let Some(why) = name.or(event.reason) {
        message.push_str(&format!(": {why}"));
    }
    LogEntry {
        client_address: event.client_address.map(Into::into),
        reason_code: event.mqtt_reason_code,
        reason_name: name,
        close_code: event.close_code,
        reason: event.reason.map(Into::into),
        message,
        ..entry(LogKind::ConnectFailed, event.channel, LogSession::default())
    }
}

/// The kind of log entry for a disconnect.
fn kind_of(initiator: Initiator) -> LogKind {
    match initiator {
        Initiator::Client => LogKind::DisconnectedByClient,
        Initiator::Server => LogKind::DisconnectedByServer,
        Initiator::Network => LogKind::DisconnectedByNetwork,
        Initiator::TakenOver => LogKind::TakenOver,
    }
}

/// A disconnect.
pub fn disconnected(event: &Disconnected<'_>, lasted: Option<Millis>, flags: Vec<Flag>) -> LogEntry {
    let initiator = reason::initiator(event.initiator, event.mqtt_reason_code, event.close_code);
    let name = event.mqtt_reason_code.and_then(|code| reason::name(Packet::Disconnect, event.channel, code));
    let name_of = session_name(event.session.id);
    let mut message = match initiator {
        Initiator::TakenOver => {
            format!("The client id was used again: {name_of} over {} was taken over", event.channel)
        }
        Initiator::Client => format!("The client ended {name_of} over {}", event.channel),
        Initiator::Server => format!("The server ended {name_of} over {}", event.channel),
        Initiator::Network => format!("The network lost {name_of} over {}", event.channel),
    };
    if let Some(lasted) = lasted {
        message.push_str(&format!(" after {}", span(lasted)));
    }
    if let Some(why) = name.or(event.reason) {
        message.push_str(&format!(": {why}"));
    }
    LogEntry {
        node_id: event.node_id.map(Into::into),
        duration_millis: lasted.map(|lasted| lasted.0),
        reason_code: event.mqtt_reason_code,
        reason_name: name,
        close_code: event.close_code,
        reason: event.reason.map(Into::into),
        traffic: event.traffic,
        message: with_flags(message, &flags),
        flags,
        ..entry(kind_of(initiator), event.channel, log_session(&event.session))
    }
}

/// A session that opened without an event of its own.
pub fn inferred(channel: ChannelKind, session: &Session, why: &str) -> LogEntry {
    let flags = vec![Flag::Inferred];
    let message = format!("{} over {channel} is open: {why}", capital(&session_name(session.id.as_deref())));
    LogEntry {
        node_id: session.node_id.clone(),
        protocol: session.protocol.clone(),
        message: with_flags(message, &flags),
        flags,
        ..entry(LogKind::Connected, channel, session.log_session())
    }
}

/// A session that ended without an event of its own.
pub fn ended(
    channel: ChannelKind,
    session: &Session,
    at: Timestamp,
    why: &str,
    flags: Vec<Flag>,
) -> LogEntry {
    let lasted = session.lasted(at);
    let mut message = format!("The network lost {} over {channel}", session_name(session.id.as_deref()));
    if let Some(lasted) = lasted {
        message.push_str(&format!(" after {}", span(lasted)));
    }
    message.push_str(&format!(": {why}"));
    LogEntry {
        node_id: session.node_id.clone(),
        protocol: session.protocol.clone(),
        duration_millis: lasted.map(|lasted| lasted.0),
        message: with_flags(message, &flags),
        flags,
        ..entry(LogKind::DisconnectedByNetwork, channel, session.log_session())
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64, minute: i64, millis: i64) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000 + (hour * 60 + minute) * 60_000 + millis)
    }

    /// Word for word as SEMANTICS §8 has it.
    #[test]
    fn the_sentence_of_a_deadline() {
        let (last, deadline) = (at(9, 12, 4_000), at(9, 27, 4_000));
        assert_eq!(
            deadline_passed(last, last, 15, IntervalSource::Operator, deadline),
            "No data since 09:12:04Z; required every 15 min (set by the operator); deadline 09:27:04Z passed."
        );
        assert_eq!(
            deadline_passed(last, Timestamp::NEVER, 15, IntervalSource::Policy, deadline),
            "No data since monitoring began at 09:12:04Z; required every 15 min (set by the policy); deadline 09:27:04Z \
             passed."
        );
        // A message from before monitoring began is not what the deadline counted from.
        let earlier = at(9, 0, 0);
        assert!(deadline_passed(last, earlier, 1, IntervalSource::Device, at(9, 13, 4_005)).ends_with(
            "began at 09:12:04Z; required every 1 min (set by the device); deadline 09:13:04.005Z passed."
        ));
    }

    #[test]
    fn spans_for_people() {
        let said = [
            (0, "0 s"),
            (61_500, "61.500 s"),
            (119_000, "119 s"),
            (150_000, "2 min 30 s"),
            (7_260_000, "2 h 1 min"),
        ];
        for (millis, text) in said {
            assert_eq!(span(Millis(millis)), text);
        }
    }
}
