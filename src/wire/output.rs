//! Effects as bytes, and back for those who read them (`tail`).

use super::decode::{Scratch, utf8};
use super::event::{read_session, write_session};
use super::json::JsonText;
use super::read_proto::ProtoSource;
use super::reject::{Fault, Read, Reason, Reject, quoted};
use super::schema::{
    AlarmField, AuditField, CauseField, CommonField, DeadlineField, Either, EventField, FacetChangeField,
    Fields, LogField, StatusField,
};
use super::sink::Sink;
use super::source::Source;
use super::write_json::JsonSink;
use super::write_proto::ProtoSink;
use crate::domain::effect::{
    AlarmEvent, Applied, AuditEntry, Cause, Deadline, Effect, EffectKind, LogEntry, LogKind, LogSession,
    Origin, Outcome, StatusChange,
};
use crate::domain::event::{IntervalSource, SessionRef, Traffic, words};
use crate::domain::facet::{Availability, Connection, Facet, FacetChange, Heartbeat, Label, Overall, Push};
use crate::domain::reason::{self, Packet};
use crate::domain::time::{Millis, Timestamp};

words!(
    /// What an output is, by the topic that it stands on and by the `topic` field of `fold`.
    OutputKind { Status = "status", Alarms = "alarms", ConnectionLog = "connection-log", Audit = "audit" }
);
words!(
    /// The format of outputs.
    Format { Protobuf = "protobuf", Json = "json" }
);

/// Whose effect it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity<'a> {
    /// The tenant; empty where the effect is of no device.
    pub tenant: &'a str,
    /// The device; empty where the effect is of no device.
    pub device_id: &'a str,
    /// Arrival of the device's first record; [`Timestamp::NEVER`] where the effect is of no device.
    pub birth: Timestamp,
}

/// An output as its readers see it.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The tenant; empty where the effect is of no device.
    pub tenant: String,
    /// The device; empty where the effect is of no device.
    pub device_id: String,
    /// Arrival of the device's first record; [`Timestamp::NEVER`] where the effect is of no device.
    pub birth: Timestamp,
    /// What happened.
    pub effect: Effect,
}

impl Output {
    /// Whose effect it is.
    pub fn identity(&self) -> Identity<'_> {
        Identity { tenant: &self.tenant, device_id: &self.device_id, birth: self.birth }
    }
}

/// What an effect is, and so which topic it belongs to.
pub fn kind(effect: &EffectKind) -> OutputKind {
    match effect {
        EffectKind::Status(_) => OutputKind::Status,
        EffectKind::Alarm(_) => OutputKind::Alarms,
        EffectKind::Log(_) => OutputKind::ConnectionLog,
        EffectKind::Audit(_) => OutputKind::Audit,
    }
}

/// The id of an output, the value of its header `id`: `tenant/device_id:birth:sequence`, the birth in milliseconds.
pub fn id(identity: &Identity, sequence: u64) -> Vec<u8> {
    let Identity { tenant, device_id, birth } = identity;
    let (mut of_birth, mut of_sequence) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (birth, sequence) = (of_birth.format(birth.millis()), of_sequence.format(sequence));
    [tenant, "/", device_id, ":", birth, ":", sequence].concat().into_bytes()
}

/// Writes an output to the end of `out`.
pub fn encode(format: Format, identity: &Identity, effect: &Effect, out: &mut Vec<u8>) {
    match format {
        Format::Protobuf => write_output(&mut ProtoSink::new(out), identity, effect),
        Format::Json => JsonSink::object(out, |s| write_output(s, identity, effect)),
    }
}

/// Writes an output as `fold` prints it: JSON that begins with its topic, without a line end.
pub fn encode_line(identity: &Identity, effect: &Effect, out: &mut Vec<u8>) {
    JsonSink::object(out, |s| {
        s.plain("topic", kind(&effect.kind).word());
        write_output(s, identity, effect);
    });
}

/// Reads an output of either format.
pub fn decode(kind: OutputKind, value: &[u8]) -> Result<Output, Reject> {
    let scratch = Scratch::new();
    let output = if value.first() == Some(&b'{') {
        utf8(value).and_then(|text| read_output(kind, JsonText::new(text, &scratch), JsonText::end))
    } else {
        read_output(kind, ProtoSource::new(value), |_| Ok(()))
    };
    output.map_err(|fault| fault.into_reject())
}

#[inline]
fn write_output<S: Sink>(s: &mut S, identity: &Identity, effect: &Effect) {
    s.text_if(CommonField::Tenant, Some(identity.tenant).filter(|tenant| !tenant.is_empty()));
    s.text_if(CommonField::DeviceId, Some(identity.device_id).filter(|device_id| !device_id.is_empty()));
    s.time_if(CommonField::Birth, identity.birth.known());
    s.whole(CommonField::Sequence, effect.sequence);
    s.time_if(CommonField::At, effect.at.known());
    s.time_if(CommonField::RecordedAt, effect.recorded_at.known());
    match &effect.kind {
        EffectKind::Status(status) => write_status(s, status),
        EffectKind::Alarm(alarm) => write_alarm(s, alarm),
        EffectKind::Log(entry) => write_log(s, entry),
        EffectKind::Audit(entry) => write_audit(s, entry),
    }
    // Last, so that a person who reads the line meets what happened before why.
    s.nested(CommonField::Cause, |s| write_cause(s, &effect.cause));
}

fn write_cause<S: Sink>(s: &mut S, cause: &Cause) {
    s.word(CauseField::Rule, cause.rule);
    match cause.origin {
        Origin::Record { topic, partition, offset } => {
            s.word(CauseField::Topic, topic);
            s.whole(CauseField::Partition, u64::from(partition));
            s.whole(CauseField::Offset, offset);
        }
        Origin::Line(line) => s.whole(CauseField::Line, line),
        Origin::Clock => {}
    }
    if let Some(deadline) = &cause.deadline {
        s.nested(CauseField::Deadline, |s| {
            s.time_if(DeadlineField::At, deadline.at.known());
            if let Some((minutes, set_by)) = deadline.interval {
                s.minutes(DeadlineField::Minutes, minutes);
                s.word(DeadlineField::SetBy, set_by);
            }
            s.time_if(DeadlineField::CountedFrom, deadline.counted_from.known());
            s.time_if(DeadlineField::LastMessage, deadline.last_message.known());
        });
    }
    s.text_if(CauseField::EventId, cause.event_id.as_deref());
    s.text(CauseField::Sentence, &cause.sentence);
}

fn write_status<S: Sink>(s: &mut S, status: &StatusChange) {
    s.list(StatusField::Changes, &status.changes, |s, change| {
        s.word(FacetChangeField::Facet, change.facet);
        s.text(FacetChangeField::From, change.from);
        s.text(FacetChangeField::To, change.to);
        s.text_if(FacetChangeField::Label, change.label.map(Label::word));
    });
    s.whole_if(StatusField::Progress, status.progress);
    s.whole_if(StatusField::Retracts, status.retracts);
}

fn write_alarm<S: Sink>(s: &mut S, alarm: &AlarmEvent) {
    s.text(AlarmField::AlarmId, &alarm.alarm_id);
    s.text(AlarmField::Type, alarm.alarm_type);
    s.word(AlarmField::Severity, alarm.severity);
    s.word(AlarmField::Action, alarm.action);
    s.word(AlarmField::State, alarm.state);
    s.word_if(AlarmField::Reason, alarm.reason);
    s.whole(AlarmField::Count, u64::from(alarm.count));
    s.time_if(AlarmField::FirstAt, alarm.first_at.known());
    s.time_if(AlarmField::LastAt, alarm.last_at.known());
    s.text(AlarmField::Text, &alarm.text);
    s.text_if(AlarmField::Actor, alarm.actor.as_deref());
}

fn write_log<S: Sink>(s: &mut S, entry: &LogEntry) {
    s.word(LogField::Kind, entry.kind);
    s.word(LogField::Channel, entry.channel);
    let LogSession { id, started_at, sequence } = &entry.session;
    let session = SessionRef { id: id.as_deref(), started_at: *started_at, sequence: *sequence };
    write_session(s, LogField::Session, &session);
    s.text_if(LogField::NodeId, entry.node_id.as_deref());
    s.text_if(LogField::ClientAddress, entry.client_address.as_deref());
    s.text_if(LogField::Protocol, entry.protocol.as_deref());
    s.flag_if(LogField::Secure, entry.secure);
    s.whole_if(LogField::KeepAlive, entry.keep_alive_seconds);
    s.flag_if(LogField::CleanStart, entry.clean_start);
    s.text_if(LogField::User, entry.user.as_deref());
    if let Some(duration) = entry.duration_millis {
        s.span(LogField::Duration, Millis(duration));
    }
    s.whole_if(LogField::ReasonCode, entry.reason_code);
    s.text_if(LogField::ReasonName, entry.reason_name);
    s.whole_if(LogField::CloseCode, entry.close_code);
    s.text_if(LogField::Reason, entry.reason.as_deref());
    s.whole_if(LogField::BytesRead, entry.traffic.bytes_read);
    s.whole_if(LogField::BytesWritten, entry.traffic.bytes_written);
    s.whole_if(LogField::MessagesRead, entry.traffic.messages_read);
    s.whole_if(LogField::MessagesWritten, entry.traffic.messages_written);
    s.text(LogField::Message, &entry.message);
    s.words(LogField::Flags, &entry.flags);
}

fn write_audit<S: Sink>(s: &mut S, entry: &AuditEntry) {
    s.text(AuditField::Command, entry.command);
    match entry.outcome {
        Outcome::Applied => s.word(AuditField::Outcome, Applied::Applied),
        Outcome::Ignored(reason) => {
            s.word(AuditField::Outcome, Applied::Ignored);
            s.word(AuditField::Reason, reason);
        }
    }
    s.text_if(AuditField::Actor, entry.actor.as_deref());
    s.text_if(AuditField::Subject, entry.subject.as_deref());
    s.text(AuditField::Before, &entry.before);
    s.text(AuditField::After, &entry.after);
    s.text_if(AuditField::Note, entry.note.as_deref());
}

/// What all outputs have in common.
struct Common<'a> {
    tenant: &'a str,
    device_id: &'a str,
    birth: Timestamp,
    sequence: u64,
    at: Timestamp,
    recorded_at: Timestamp,
    cause: Option<Cause>,
}

impl<'a> Common<'a> {
    fn read<S: Source<'a>>(&mut self, s: &mut S, field: CommonField) -> Read<()> {
        match field {
            CommonField::Tenant => self.tenant = s.any_text()?.unwrap_or_default(),
            CommonField::DeviceId => self.device_id = s.any_text()?.unwrap_or_default(),
            CommonField::Birth => self.birth = s.time()?.unwrap_or(Timestamp::NEVER),
            CommonField::Sequence => self.sequence = s.whole64()?.unwrap_or_default(),
            CommonField::At => self.at = s.time()?.unwrap_or(Timestamp::NEVER),
            CommonField::RecordedAt => self.recorded_at = s.time()?.unwrap_or(Timestamp::NEVER),
            CommonField::Cause => self.cause = s.nested(usize::MAX, read_cause)?,
        }
        Ok(())
    }
}

/// Reads the fields of a message that are its own to `each`, and those that all outputs have to `common`.
#[inline(always)]
fn fields_of<'a, S: Source<'a>, F: Fields>(
    s: &mut S,
    common: &mut Common<'a>,
    mut each: impl FnMut(&mut S, F) -> Read<()>,
) -> Read<()> {
    s.fields(|s, field| match field {
        Either::Left(field) => common.read(s, field),
        Either::Right(field) => each(s, field),
    })
}

fn read_output<'a, S: Source<'a>>(
    kind: OutputKind,
    mut s: S,
    end: impl FnOnce(&mut S) -> Read<()>,
) -> Read<Output> {
    let (s, never) = (&mut s, Timestamp::NEVER);
    let mut common = Common {
        tenant: "",
        device_id: "",
        birth: never,
        sequence: 0,
        at: never,
        recorded_at: never,
        cause: None,
    };
    let kind = match kind {
        OutputKind::Status => EffectKind::Status(read_status(s, &mut common)?),
        OutputKind::Alarms => EffectKind::Alarm(read_alarm(s, &mut common)?),
        OutputKind::ConnectionLog => EffectKind::Log(read_log(s, &mut common)?),
        OutputKind::Audit => EffectKind::Audit(read_audit(s, &mut common)?),
    };
    end(s)?;
    let Common { tenant, device_id, birth, sequence, at, recorded_at, cause } = common;
    let cause = cause.ok_or_else(|| s.missing(CommonField::Cause))?;
    let effect = Effect { sequence, at, recorded_at, cause, kind };
    Ok(Output { tenant: tenant.to_owned(), device_id: device_id.to_owned(), birth, effect })
}

fn owned<'a, S: Source<'a>>(s: &mut S) -> Read<Option<Box<str>>> {
    Ok(s.any_text()?.map(Box::from))
}

fn read_cause<'a, S: Source<'a>>(s: &mut S) -> Read<Cause> {
    let (mut rule, mut deadline, mut event_id, mut sentence) = (None, None, None, String::new());
    let (mut topic, mut partition, mut offset, mut line) = (None, None, None, None);
    s.fields(|s, field| {
        match field {
            CauseField::Rule => rule = s.word()?,
            CauseField::Topic => topic = s.word()?,
            CauseField::Partition => partition = s.whole(0..=u32::MAX)?,
            CauseField::Offset => offset = s.whole64()?,
            CauseField::Line => line = s.whole64()?,
            CauseField::Deadline => deadline = s.nested(usize::MAX, read_deadline)?,
            CauseField::EventId => event_id = owned(s)?,
            CauseField::Sentence => sentence = s.any_text()?.unwrap_or_default().to_owned(),
        }
        Ok(())
    })?;
    let origin = match (topic, line) {
        (Some(topic), _) => Origin::Record {
            topic,
            partition: partition.unwrap_or_default(),
            offset: offset.unwrap_or_default(),
        },
        (None, Some(line)) => Origin::Line(line),
        (None, None) => Origin::Clock,
    };
    let rule = rule.ok_or_else(|| s.missing(CauseField::Rule))?;
    Ok(Cause { rule, origin, deadline, event_id, sentence })
}

fn read_deadline<'a, S: Source<'a>>(s: &mut S) -> Read<Deadline> {
    let (mut at, mut counted_from, mut last_message) = (Timestamp::NEVER, Timestamp::NEVER, Timestamp::NEVER);
    let (mut minutes, mut set_by) = (None, None);
    s.fields(|s, field| {
        match field {
            DeadlineField::At => at = s.time()?.unwrap_or(at),
            DeadlineField::Minutes => minutes = s.minutes()?,
            DeadlineField::SetBy => set_by = s.word()?,
            DeadlineField::CountedFrom => counted_from = s.time()?.unwrap_or(counted_from),
            DeadlineField::LastMessage => last_message = s.time()?.unwrap_or(last_message),
        }
        Ok(())
    })?;
    let interval = minutes.map(|minutes| (minutes, set_by.unwrap_or(IntervalSource::Operator)));
    Ok(Deadline { at, interval, counted_from, last_message })
}

/// The word of a facet, as the constant that it is.
fn facet_word(facet: Facet, said: &str) -> Read<&'static str> {
    let word = match facet {
        Facet::Availability => Availability::from_word(said).map(Availability::word),
        Facet::Push => Push::from_word(said).map(Push::word),
        Facet::Connection | Facet::Vpn => Connection::from_word(said).map(Connection::word),
        Facet::Heartbeat => Heartbeat::from_word(said).map(Heartbeat::word),
        Facet::Overall => Overall::from_word(said).map(Overall::word),
    };
    word.ok_or_else(|| unknown(facet.word(), said))
}

fn unknown(field: &'static str, said: &str) -> Box<Fault> {
    Fault::at(Reason::UnknownEnum, field, format!("{} is not known to this version", quoted(said)))
}

fn read_change<'a, S: Source<'a>>(s: &mut S) -> Read<FacetChange> {
    let (mut facet, mut from, mut to, mut label) = (None, "", "", None);
    s.fields(|s, field| {
        match field {
            FacetChangeField::Facet => facet = s.word()?,
            FacetChangeField::From => from = s.any_text()?.unwrap_or_default(),
            FacetChangeField::To => to = s.any_text()?.unwrap_or_default(),
            FacetChangeField::Label => {
                let said = s.said()?;
                label = said
                    .map(|said| Label::from_word(said).ok_or_else(|| unknown("label", said)))
                    .transpose()?;
            }
        }
        Ok(())
    })?;
    let facet = facet.ok_or_else(|| s.missing(FacetChangeField::Facet))?;
    Ok(FacetChange { facet, from: facet_word(facet, from)?, to: facet_word(facet, to)?, label })
}

fn read_status<'a, S: Source<'a>>(s: &mut S, common: &mut Common<'a>) -> Read<StatusChange> {
    let (mut changes, mut progress, mut retracts) = (Vec::new(), None, None);
    fields_of(s, common, |s, field| {
        match field {
            StatusField::Changes => s.list(changes.len(), |s| {
                changes.push(read_change(s)?);
                Ok(())
            })?,
            StatusField::Progress => progress = s.percent()?,
            StatusField::Retracts => retracts = s.whole64()?,
        }
        Ok(())
    })?;
    Ok(StatusChange { changes, progress, retracts })
}

fn read_alarm<'a, S: Source<'a>>(s: &mut S, common: &mut Common<'a>) -> Read<AlarmEvent> {
    /// Every type of alarm there is (SEMANTICS §6).
    const TYPES: [&str; 1] = ["unavailability"];
    let (mut alarm_id, mut alarm_type, mut text, mut actor) = (None, "", None, None);
    let (mut severity, mut action, mut state, mut reason, mut count) = (None, None, None, None, 0);
    let (mut first_at, mut last_at) = (Timestamp::NEVER, Timestamp::NEVER);
    fields_of(s, common, |s, field| {
        match field {
            AlarmField::AlarmId => alarm_id = owned(s)?,
            AlarmField::Type => alarm_type = s.any_text()?.unwrap_or_default(),
            AlarmField::Severity => severity = s.word()?,
            AlarmField::Action => action = s.word()?,
            AlarmField::State => state = s.word()?,
            AlarmField::Reason => reason = s.word()?,
            AlarmField::Count => count = s.whole(0..=u32::MAX)?.unwrap_or_default(),
            AlarmField::FirstAt => first_at = s.time()?.unwrap_or(first_at),
            AlarmField::LastAt => last_at = s.time()?.unwrap_or(last_at),
            AlarmField::Text => text = owned(s)?,
            AlarmField::Actor => actor = owned(s)?,
        }
        Ok(())
    })?;
    let known = TYPES.into_iter().find(|known| *known == alarm_type);
    Ok(AlarmEvent {
        alarm_id: alarm_id.unwrap_or_default(),
        alarm_type: known.ok_or_else(|| unknown("type", alarm_type))?,
        severity: severity.ok_or_else(|| s.missing(AlarmField::Severity))?,
        action: action.ok_or_else(|| s.missing(AlarmField::Action))?,
        state: state.ok_or_else(|| s.missing(AlarmField::State))?,
        reason,
        count,
        first_at,
        last_at,
        text: text.unwrap_or_default(),
        actor,
    })
}

fn read_log<'a, S: Source<'a>>(s: &mut S, common: &mut Common<'a>) -> Read<LogEntry> {
    let (mut kind, mut channel, mut session, mut traffic) =
        (None, None, SessionRef::default(), Traffic::default());
    let (mut node_id, mut client_address, mut protocol, mut user) = (None, None, None, None);
    let (mut secure, mut keep_alive_seconds, mut clean_start, mut duration) = (None, None, None, None);
    let (mut reason_code, mut reason_name, mut close_code, mut reason) = (None, None, None, None);
    let (mut message, mut flags) = (String::new(), Vec::new());
    fields_of(s, common, |s, field| {
        match field {
            LogField::Kind => kind = s.word()?,
            LogField::Channel => channel = s.word()?,
            LogField::Session => read_session(s, &mut session)?,
            LogField::NodeId => node_id = owned(s)?,
            LogField::ClientAddress => client_address = owned(s)?,
            LogField::Protocol => protocol = owned(s)?,
            LogField::Secure => secure = s.flag()?,
            LogField::KeepAlive => keep_alive_seconds = s.whole(0..=u32::MAX)?,
            LogField::CleanStart => clean_start = s.flag()?,
            LogField::User => user = owned(s)?,
            LogField::Duration => duration = s.span()?,
            LogField::ReasonCode => reason_code = s.byte()?,
            LogField::ReasonName => reason_name = s.any_text()?,
            LogField::CloseCode => close_code = s.whole(0..=u32::MAX)?,
            LogField::Reason => reason = owned(s)?,
            LogField::BytesRead => traffic.bytes_read = s.whole64()?,
            LogField::BytesWritten => traffic.bytes_written = s.whole64()?,
            LogField::MessagesRead => traffic.messages_read = s.whole64()?,
            LogField::MessagesWritten => traffic.messages_written = s.whole64()?,
            LogField::Message => message = s.any_text()?.unwrap_or_default().to_owned(),
            LogField::Flags => s.words(|flag| flags.push(flag))?,
        }
        Ok(())
    })?;
    let kind = kind.ok_or_else(|| s.missing(LogField::Kind))?;
    let channel = channel.ok_or_else(|| s.missing(LogField::Channel))?;
    // The name as the constant that it is: the code tells it.
    let packet = if kind == LogKind::ConnectFailed { Packet::Connack } else { Packet::Disconnect };
    let named = reason_code.and_then(|code| reason::name(packet, channel, code));
    Ok(LogEntry {
        kind,
        channel,
        session: LogSession {
            id: session.id.map(Box::from),
            started_at: session.started_at,
            sequence: session.sequence,
        },
        node_id,
        client_address,
        protocol,
        secure,
        keep_alive_seconds,
        clean_start,
        user,
        duration_millis: duration.map(|Millis(millis)| millis),
        reason_code,
        reason_name: reason_name.and(named),
        close_code,
        reason,
        traffic,
        message,
        flags,
    })
}

fn read_audit<'a, S: Source<'a>>(s: &mut S, common: &mut Common<'a>) -> Read<AuditEntry> {
    let (mut command, mut outcome, mut reason) = ("", None, None);
    let (mut actor, mut subject, mut note) = (None, None, None);
    let (mut before, mut after) = (String::new(), String::new());
    fields_of(s, common, |s, field| {
        match field {
            AuditField::Command => command = s.any_text()?.unwrap_or_default(),
            AuditField::Outcome => outcome = s.word()?,
            AuditField::Reason => reason = s.word()?,
            AuditField::Actor => actor = owned(s)?,
            AuditField::Subject => subject = owned(s)?,
            AuditField::Before => before = s.any_text()?.unwrap_or_default().to_owned(),
            AuditField::After => after = s.any_text()?.unwrap_or_default().to_owned(),
            AuditField::Note => note = owned(s)?,
        }
        Ok(())
    })?;
    let commands = EventField::ALL.iter().map(|field| field.proto()).chain(["blind", "sight", "gap"]);
    let known =
        commands.into_iter().find(|known| *known == command).ok_or_else(|| unknown("command", command))?;
    let outcome = match (outcome, reason) {
        (Some(Applied::Applied), _) => Outcome::Applied,
        (Some(Applied::Ignored), Some(reason)) => Outcome::Ignored(reason),
        (Some(Applied::Ignored), None) => return Err(s.missing(AuditField::Reason)),
        (None, _) => return Err(s.missing(AuditField::Outcome)),
    };
    Ok(AuditEntry { command: known, outcome, actor, subject, before, after, note })
}
