//! What the messages of an event mean: read from any source, written to any sink.

use super::policy;
use super::reject::{Fault, Read, Reason};
use super::schema::{
    ActivityField, AlarmCommandField, ConnectFailedField, ConnectedField, DeleteField, DisconnectedField,
    EventField, Fields, LifecycleField, LineField, MaintenanceField, NodeField, PollSettingsField,
    RegisterField, RequiredIntervalField, SessionField, UpdateField,
};
use super::sink::Sink;
use super::source::{Source, too_long};
use crate::domain::event::{
    Activity, AlarmCommand, AlarmTarget, Body, ConnectFailed, Connected, Delete, Disconnected, Event,
    IntervalSource, LABELS_MAX, Lifecycle, Maintenance, NodeEvent, POLICY_BYTES_MAX, PollSettings, Register,
    RequiredInterval, SessionRef, Subject, TEXT_BYTES_MAX, Traffic, Update, split_key,
};
use crate::domain::time::Timestamp;

/// An event as it stands on the wire; nobody has looked at its identity yet.
pub(super) struct Envelope<'a> {
    /// Perhaps not UTF-8.
    pub(super) tenant: Option<&'a [u8]>,
    /// Perhaps not UTF-8.
    pub(super) device_id: Option<&'a [u8]>,
    /// Which body it has.
    pub(super) body: Option<EventField>,
    /// The event, without its key. It is filled in place, since moving it costs as much as reading it.
    pub(super) event: Event<'a>,
}

impl Envelope<'_> {
    pub(super) fn new() -> Self {
        let subject = Subject::Device { key: "", body: Body::Delete(Delete { actor: None }) };
        let event = Event { observed_at: None, event_id: None, subject };
        Envelope { tenant: None, device_id: None, body: None, event }
    }
}

/// Reads an event.
#[inline(always)]
pub(super) fn read_envelope<'a, S: Source<'a>>(s: &mut S, envelope: &mut Envelope<'a>) -> Read<()> {
    s.fields(|s, field| {
        match field {
            EventField::Tenant => name(&mut envelope.tenant, s.text_bytes()?)?,
            EventField::DeviceId => name(&mut envelope.device_id, s.text_bytes()?)?,
            EventField::EventId => envelope.event.event_id = s.said()?,
            EventField::ObservedAt => envelope.event.observed_at = s.time()?,
            _ => {
                // The limit of a policy is its own; other bodies have those of their texts.
                let bytes_max = if field == EventField::Policy { POLICY_BYTES_MAX } else { usize::MAX };
                let body = s.nested(bytes_max, |s| match envelope.body {
                    None => read_body(s, field, &mut envelope.event.subject),
                    Some(first) => Err(two_bodies(&S::name(first), &S::name(field))),
                })?;
                if body.is_some() {
                    envelope.body = Some(field);
                }
            }
        }
        Ok(())
    })
}

/// Takes a name. Whether it is UTF-8 is looked at later, together with the key, so a name that it replaces must be
/// looked at here.
#[inline(always)]
fn name<'a>(place: &mut Option<&'a [u8]>, name: Option<&'a [u8]>) -> Read<()> {
    match std::mem::replace(place, name) {
        Some(before) if std::str::from_utf8(before).is_err() => {
            Err(Fault::new(Reason::NotProtobuf, "is not UTF-8"))
        }
        _ => Ok(()),
    }
}

#[cold]
fn two_bodies(first: &str, second: &str) -> Box<Fault> {
    Fault::new(Reason::TwoBodies, format!("an event has exactly one body, this one has {first} and {second}"))
}

#[inline(always)]
fn read_body<'a, S: Source<'a>>(s: &mut S, field: EventField, subject: &mut Subject<'a>) -> Read<()> {
    let body = match field {
        EventField::Activity => Body::Activity(read_activity(s)?),
        _ => return read_rarer_body(s, field, subject),
    };
    *subject = Subject::Device { key: "", body };
    Ok(())
}

/// All bodies but the one that most records have.
fn read_rarer_body<'a, S: Source<'a>>(s: &mut S, field: EventField, subject: &mut Subject<'a>) -> Read<()> {
    let body = match field {
        EventField::Connected => Body::Connected(read_connected(s)?),
        EventField::Disconnected => Body::Disconnected(read_disconnected(s)?),
        EventField::ConnectFailed => Body::ConnectFailed(read_connect_failed(s)?),
        EventField::Activity => Body::Activity(read_activity(s)?),
        EventField::Register => Body::Register(read_register(s)?),
        EventField::RequiredInterval => Body::RequiredInterval(read_required_interval(s)?),
        EventField::Maintenance => Body::Maintenance(read_maintenance(s)?),
        EventField::Lifecycle => Body::Lifecycle(read_lifecycle(s)?),
        EventField::Update => Body::Update(read_update(s)?),
        EventField::PollSettings => Body::PollSettings(read_poll_settings(s)?),
        EventField::AlarmCommand => Body::AlarmCommand(read_alarm_command(s)?),
        EventField::Delete => Body::Delete(read_delete(s)?),
        EventField::Node => {
            *subject = Subject::Node(read_node(s)?);
            return Ok(());
        }
        EventField::Policy => {
            *subject = Subject::Policy(Box::new(policy::read(s)?));
            return Ok(());
        }
        // No bodies.
        EventField::Tenant | EventField::DeviceId | EventField::EventId | EventField::ObservedAt => {
            return Ok(());
        }
    };
    *subject = Subject::Device { key: "", body };
    Ok(())
}

/// Reads the moment of a line of `fold` that is no event: tick, sight.
pub(super) fn read_line_times<'a, S: Source<'a>>(s: &mut S) -> Read<(Option<Timestamp>, Option<Timestamp>)> {
    let (mut tick, mut sight) = (None, None);
    s.fields(|s, field| {
        match field {
            LineField::Tick => tick = s.time()?,
            LineField::Sight => sight = s.time()?,
        }
        Ok(())
    })?;
    Ok((tick, sight))
}

#[inline]
pub(super) fn read_session<'a, S: Source<'a>>(s: &mut S, session: &mut SessionRef<'a>) -> Read<()> {
    // Of a message that comes twice protobuf merges the fields, hence the reference.
    s.nested(usize::MAX, |s| {
        s.fields(|s, field| {
            match field {
                SessionField::Id => session.id = s.said()?,
                SessionField::StartedAt => session.started_at = s.time()?,
                SessionField::Sequence => session.sequence = s.sequence()?,
            }
            Ok(())
        })
    })
    .map(|_| ())
}

fn read_connected<'a, S: Source<'a>>(s: &mut S) -> Read<Connected<'a>> {
    let (mut channel, mut session) = (None, SessionRef::default());
    let (mut node_id, mut client_address, mut protocol, mut user) = (None, None, None, None);
    let (mut secure, mut keep_alive_seconds, mut clean_start, mut can_receive) = (None, None, None, None);
    s.fields(|s, field| {
        match field {
            ConnectedField::Channel => channel = s.word()?,
            ConnectedField::Session => read_session(s, &mut session)?,
            ConnectedField::NodeId => node_id = s.said()?,
            ConnectedField::ClientAddress => client_address = s.said()?,
            ConnectedField::Protocol => protocol = s.said()?,
            ConnectedField::Secure => secure = s.flag()?,
            ConnectedField::KeepAlive => keep_alive_seconds = s.whole(0..=u32::MAX)?,
            ConnectedField::CleanStart => clean_start = s.flag()?,
            ConnectedField::User => user = s.said()?,
            ConnectedField::CanReceiveOperations => can_receive = s.flag()?,
        }
        Ok(())
    })?;
    let channel = channel.ok_or_else(|| s.missing(ConnectedField::Channel))?;
    Ok(Connected {
        channel,
        session,
        node_id,
        client_address,
        protocol,
        secure,
        keep_alive_seconds,
        clean_start,
        user,
        can_receive_operations: can_receive.unwrap_or(true),
    })
}

fn read_disconnected<'a, S: Source<'a>>(s: &mut S) -> Read<Disconnected<'a>> {
    let (mut channel, mut session, mut traffic) = (None, SessionRef::default(), Traffic::default());
    let (mut node_id, mut initiator, mut reason) = (None, None, None);
    let (mut mqtt_reason_code, mut close_code) = (None, None);
    s.fields(|s, field| {
        match field {
            DisconnectedField::Channel => channel = s.word()?,
            DisconnectedField::Session => read_session(s, &mut session)?,
            DisconnectedField::NodeId => node_id = s.said()?,
            DisconnectedField::Initiator => initiator = s.word()?,
            DisconnectedField::MqttReasonCode => mqtt_reason_code = s.byte()?,
            DisconnectedField::CloseCode => close_code = s.whole(0..=u32::MAX)?,
            DisconnectedField::Reason => reason = s.said()?,
            DisconnectedField::BytesRead => traffic.bytes_read = s.whole64()?,
            DisconnectedField::BytesWritten => traffic.bytes_written = s.whole64()?,
            DisconnectedField::MessagesRead => traffic.messages_read = s.whole64()?,
            DisconnectedField::MessagesWritten => traffic.messages_written = s.whole64()?,
        }
        Ok(())
    })?;
    let channel = channel.ok_or_else(|| s.missing(DisconnectedField::Channel))?;
    Ok(Disconnected { channel, session, node_id, initiator, mqtt_reason_code, close_code, reason, traffic })
}

fn read_connect_failed<'a, S: Source<'a>>(s: &mut S) -> Read<ConnectFailed<'a>> {
    let (mut channel, mut client_address, mut reason) = (None, None, None);
    let (mut mqtt_reason_code, mut close_code) = (None, None);
    s.fields(|s, field| {
        match field {
            ConnectFailedField::Channel => channel = s.word()?,
            ConnectFailedField::ClientAddress => client_address = s.said()?,
            ConnectFailedField::MqttReasonCode => mqtt_reason_code = s.byte()?,
            ConnectFailedField::CloseCode => close_code = s.whole(0..=u32::MAX)?,
            ConnectFailedField::Reason => reason = s.said()?,
        }
        Ok(())
    })?;
    let channel = channel.ok_or_else(|| s.missing(ConnectFailedField::Channel))?;
    Ok(ConnectFailed { channel, client_address, mqtt_reason_code, close_code, reason })
}

#[inline]
fn read_activity<'a, S: Source<'a>>(s: &mut S) -> Read<Activity<'a>> {
    let (mut kind, mut channel, mut session) = (None, None, SessionRef::default());
    let (mut via_application, mut topic, mut count) = (None, None, None);
    s.fields(|s, field| {
        match field {
            ActivityField::Kind => kind = s.word()?,
            ActivityField::Channel => channel = s.word()?,
            ActivityField::Session => read_session(s, &mut session)?,
            ActivityField::ViaApplication => via_application = s.flag()?,
            ActivityField::Topic => topic = s.said()?,
            ActivityField::Count => count = s.whole(1..=u32::MAX)?,
        }
        Ok(())
    })?;
    let kind = kind.ok_or_else(|| s.missing(ActivityField::Kind))?;
    let (via_application, count) = (via_application.unwrap_or(false), count.unwrap_or(1));
    Ok(Activity { kind, channel, session, via_application, topic, count })
}

/// Reads labels into `labels`; the last of equal keys counts. There are few.
pub(super) fn read_labels<'a, S: Source<'a>>(s: &mut S, labels: &mut Vec<(&'a str, &'a str)>) -> Read<bool> {
    s.pairs(|key, value| {
        for text in [key, value] {
            if text.len() > TEXT_BYTES_MAX {
                return Err(too_long(text.len(), TEXT_BYTES_MAX));
            }
        }
        match labels.iter().position(|(known, _)| *known == key) {
            Some(place) => labels[place].1 = value,
            None if labels.len() == LABELS_MAX => {
                return Err(Fault::new(Reason::TooLong, format!("more than {LABELS_MAX} labels")));
            }
            None => labels.push((key, value)),
        }
        Ok(())
    })
}

fn read_register<'a, S: Source<'a>>(s: &mut S) -> Read<Register<'a>> {
    let mut register = Register::default();
    let (mut labels, mut named, mut clear) = (Vec::new(), false, None);
    s.fields(|s, field| {
        match field {
            RegisterField::DeviceType => register.device_type = s.text()?,
            RegisterField::Name => register.name = s.text()?,
            RegisterField::ClientKind => register.client_kind = s.word()?,
            RegisterField::Parent => register.parent = s.text()?,
            // In JSON {} says "no labels"; null says nothing.
            RegisterField::Labels => named |= read_labels(s, &mut labels)?,
            RegisterField::ClearLabels => clear = s.flag()?,
        }
        Ok(())
    })?;
    labels.sort_unstable();
    register.labels = (named || clear == Some(true)).then_some(labels);
    Ok(register)
}

fn read_required_interval<'a, S: Source<'a>>(s: &mut S) -> Read<RequiredInterval> {
    let (mut minutes, mut source, mut only_if_absent) = (None, None, None);
    s.fields(|s, field| {
        match field {
            RequiredIntervalField::Minutes => minutes = s.minutes()?,
            RequiredIntervalField::Source => source = s.word()?,
            RequiredIntervalField::OnlyIfAbsent => only_if_absent = s.flag()?,
        }
        Ok(())
    })?;
    let source = source.unwrap_or(IntervalSource::Operator);
    Ok(RequiredInterval { minutes, source, only_if_absent: only_if_absent.unwrap_or(false) })
}

fn read_maintenance<'a, S: Source<'a>>(s: &mut S) -> Read<Maintenance<'a>> {
    let (mut on, mut actor, mut note) = (None, None, None);
    s.fields(|s, field| {
        match field {
            MaintenanceField::On => on = s.flag()?,
            MaintenanceField::Actor => actor = s.said()?,
            MaintenanceField::Note => note = s.said()?,
        }
        Ok(())
    })?;
    Ok(Maintenance { on: on.ok_or_else(|| s.missing(MaintenanceField::On))?, actor, note })
}

fn read_lifecycle<'a, S: Source<'a>>(s: &mut S) -> Read<Lifecycle> {
    let (mut stage, mut progress) = (None, None);
    s.fields(|s, field| {
        match field {
            LifecycleField::Stage => stage = s.word()?,
            LifecycleField::Progress => progress = s.percent()?,
        }
        Ok(())
    })?;
    Ok(Lifecycle { stage: stage.ok_or_else(|| s.missing(LifecycleField::Stage))?, progress })
}

fn read_update<'a, S: Source<'a>>(s: &mut S) -> Read<Update> {
    let (mut phase, mut progress) = (None, None);
    s.fields(|s, field| {
        match field {
            UpdateField::Phase => phase = s.word()?,
            UpdateField::Progress => progress = s.percent()?,
        }
        Ok(())
    })?;
    Ok(Update { phase: phase.ok_or_else(|| s.missing(UpdateField::Phase))?, progress })
}

fn read_poll_settings<'a, S: Source<'a>>(s: &mut S) -> Read<PollSettings> {
    let (mut poll_interval_seconds, mut vpn_expected) = (None, None);
    s.fields(|s, field| {
        match field {
            PollSettingsField::PollInterval => poll_interval_seconds = s.whole(0..=u32::MAX)?,
            PollSettingsField::VpnExpected => vpn_expected = s.flag()?,
        }
        Ok(())
    })?;
    Ok(PollSettings { poll_interval_seconds, vpn_expected: vpn_expected.unwrap_or(true) })
}

fn read_alarm_command<'a, S: Source<'a>>(s: &mut S) -> Read<AlarmCommand<'a>> {
    let (mut alarm_id, mut alarm_type, mut action, mut actor) = (None, None, None, None);
    s.fields(|s, field| {
        match field {
            AlarmCommandField::AlarmId => alarm_id = s.said()?,
            AlarmCommandField::Type => alarm_type = s.said()?,
            AlarmCommandField::Action => action = s.word()?,
            AlarmCommandField::Actor => actor = s.said()?,
        }
        Ok(())
    })?;
    let target = match (alarm_id, alarm_type) {
        (Some(id), None) => AlarmTarget::Id(id),
        (None, Some(alarm_type)) => AlarmTarget::Type(alarm_type),
        (None, None) => return Err(s.missing(AlarmCommandField::AlarmId)),
        (Some(_), Some(_)) => {
            let message = "names an alarm, and type names another way to find one: give only one of them";
            return Err(Fault::at(Reason::BadValue, S::name(AlarmCommandField::AlarmId), message));
        }
    };
    Ok(AlarmCommand { target, action: action.ok_or_else(|| s.missing(AlarmCommandField::Action))?, actor })
}

fn read_delete<'a, S: Source<'a>>(s: &mut S) -> Read<Delete<'a>> {
    let mut actor = None;
    s.fields(|s, field| {
        match field {
            DeleteField::Actor => actor = s.said()?,
        }
        Ok(())
    })?;
    Ok(Delete { actor })
}

fn read_node<'a, S: Source<'a>>(s: &mut S) -> Read<NodeEvent<'a>> {
    let (mut node_id, mut status, mut started_at) = (None, None, None);
    s.fields(|s, field| {
        match field {
            NodeField::NodeId => node_id = s.said()?,
            NodeField::Status => status = s.word()?,
            NodeField::StartedAt => started_at = s.time()?,
        }
        Ok(())
    })?;
    let node_id = node_id.ok_or_else(|| s.missing(NodeField::NodeId))?;
    Ok(NodeEvent { node_id, status: status.ok_or_else(|| s.missing(NodeField::Status))?, started_at })
}

/// Writes an event.
pub(super) fn write_event<S: Sink>(s: &mut S, event: &Event) {
    if let Subject::Device { key, .. } = &event.subject {
        let (tenant, device_id) = split_key(key);
        s.text(EventField::Tenant, tenant);
        s.text(EventField::DeviceId, device_id);
    }
    s.text_if(EventField::EventId, event.event_id);
    s.time_if(EventField::ObservedAt, event.observed_at);
    match &event.subject {
        Subject::Device { body, .. } => write_body(s, body),
        Subject::Node(node) => s.nested(EventField::Node, |s| {
            s.text(NodeField::NodeId, node.node_id);
            s.word(NodeField::Status, node.status);
            s.time_if(NodeField::StartedAt, node.started_at);
        }),
        Subject::Policy(policy) => s.nested(EventField::Policy, |s| policy::write(s, policy)),
    }
}

fn write_body<S: Sink>(s: &mut S, body: &Body) {
    match body {
        Body::Connected(body) => s.nested(EventField::Connected, |s| write_connected(s, body)),
        Body::Disconnected(body) => s.nested(EventField::Disconnected, |s| write_disconnected(s, body)),
        Body::ConnectFailed(body) => s.nested(EventField::ConnectFailed, |s| {
            s.word(ConnectFailedField::Channel, body.channel);
            s.text_if(ConnectFailedField::ClientAddress, body.client_address);
            s.whole_if(ConnectFailedField::MqttReasonCode, body.mqtt_reason_code);
            s.whole_if(ConnectFailedField::CloseCode, body.close_code);
            s.text_if(ConnectFailedField::Reason, body.reason);
        }),
        Body::Activity(body) => s.nested(EventField::Activity, |s| write_activity(s, body)),
        Body::Register(body) => s.nested(EventField::Register, |s| {
            s.text_if(RegisterField::DeviceType, body.device_type);
            s.text_if(RegisterField::Name, body.name);
            s.word_if(RegisterField::ClientKind, body.client_kind);
            s.text_if(RegisterField::Parent, body.parent);
            if let Some(labels) = &body.labels {
                s.pairs(RegisterField::Labels, labels.iter().copied());
                // Only protobuf cannot tell an empty list from none.
                s.flag_unless(RegisterField::ClearLabels, labels.is_empty() && !S::TELLS_EMPTY, false);
            }
        }),
        Body::RequiredInterval(body) => s.nested(EventField::RequiredInterval, |s| {
            s.minutes_if(RequiredIntervalField::Minutes, body.minutes);
            s.word(RequiredIntervalField::Source, body.source);
            s.flag_unless(RequiredIntervalField::OnlyIfAbsent, body.only_if_absent, false);
        }),
        Body::Maintenance(body) => s.nested(EventField::Maintenance, |s| {
            s.flag(MaintenanceField::On, body.on);
            s.text_if(MaintenanceField::Actor, body.actor);
            s.text_if(MaintenanceField::Note, body.note);
        }),
        Body::Lifecycle(body) => s.nested(EventField::Lifecycle, |s| {
            s.word(LifecycleField::Stage, body.stage);
            s.whole_if(LifecycleField::Progress, body.progress);
        }),
        Body::Update(body) => s.nested(EventField::Update, |s| {
            s.word(UpdateField::Phase, body.phase);
            s.whole_if(UpdateField::Progress, body.progress);
        }),
        Body::PollSettings(body) => s.nested(EventField::PollSettings, |s| {
            s.whole_if(PollSettingsField::PollInterval, body.poll_interval_seconds);
            s.flag_unless(PollSettingsField::VpnExpected, body.vpn_expected, true);
        }),
        Body::AlarmCommand(body) => s.nested(EventField::AlarmCommand, |s| {
            match body.target {
                AlarmTarget::Id(id) => s.text(AlarmCommandField::AlarmId, id),
                AlarmTarget::Type(alarm_type) => s.text(AlarmCommandField::Type, alarm_type),
            }
            s.word(AlarmCommandField::Action, body.action);
            s.text_if(AlarmCommandField::Actor, body.actor);
        }),
        Body::Delete(body) => s.nested(EventField::Delete, |s| s.text_if(DeleteField::Actor, body.actor)),
    }
}

/// Writes how a session is named, under a field of the message around it; nothing if nothing is known.
pub(super) fn write_session<S: Sink, F: Fields>(s: &mut S, field: F, session: &SessionRef) {
    if *session == SessionRef::default() {
        return;
    }
    s.nested(field, |s| {
        s.text_if(SessionField::Id, session.id);
        s.time_if(SessionField::StartedAt, session.started_at);
        if let Some(sequence) = &session.sequence {
            s.sequence(SessionField::Sequence, sequence);
        }
    });
}

fn write_connected<S: Sink>(s: &mut S, body: &Connected) {
    s.word(ConnectedField::Channel, body.channel);
    write_session(s, ConnectedField::Session, &body.session);
    s.text_if(ConnectedField::NodeId, body.node_id);
    s.text_if(ConnectedField::ClientAddress, body.client_address);
    s.text_if(ConnectedField::Protocol, body.protocol);
    s.flag_if(ConnectedField::Secure, body.secure);
    s.whole_if(ConnectedField::KeepAlive, body.keep_alive_seconds);
    s.flag_if(ConnectedField::CleanStart, body.clean_start);
    s.text_if(ConnectedField::User, body.user);
    s.flag_unless(ConnectedField::CanReceiveOperations, body.can_receive_operations, true);
}

fn write_disconnected<S: Sink>(s: &mut S, body: &Disconnected) {
    s.word(DisconnectedField::Channel, body.channel);
    write_session(s, DisconnectedField::Session, &body.session);
    s.text_if(DisconnectedField::NodeId, body.node_id);
    s.word_if(DisconnectedField::Initiator, body.initiator);
    s.whole_if(DisconnectedField::MqttReasonCode, body.mqtt_reason_code);
    s.whole_if(DisconnectedField::CloseCode, body.close_code);
    s.text_if(DisconnectedField::Reason, body.reason);
    s.whole_if(DisconnectedField::BytesRead, body.traffic.bytes_read);
    s.whole_if(DisconnectedField::BytesWritten, body.traffic.bytes_written);
    s.whole_if(DisconnectedField::MessagesRead, body.traffic.messages_read);
    s.whole_if(DisconnectedField::MessagesWritten, body.traffic.messages_written);
}

fn write_activity<S: Sink>(s: &mut S, body: &Activity) {
    s.word(ActivityField::Kind, body.kind);
    s.word_if(ActivityField::Channel, body.channel);
    write_session(s, ActivityField::Session, &body.session);
    s.flag_unless(ActivityField::ViaApplication, body.via_application, false);
    s.text_if(ActivityField::Topic, body.topic);
    s.whole_if(ActivityField::Count, Some(body.count).filter(|&count| count != 1));
}
