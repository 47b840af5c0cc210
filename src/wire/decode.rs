//! Records as events: format, identity, key, partition.
//!
//! Whatever comes out is well-formed, so that nothing behind it has to look again; whatever is refused is refused with
//! a reason. Nothing is copied but texts that had to be unescaped or joined.

use bumpalo::Bump;

use super::event::{Envelope, read_envelope, read_line_times};
use super::json::JsonText;
use super::partition;
use super::read_proto::ProtoSource;
use super::reject::{Fault, Read, Reason, Reject, quoted};
use super::schema::EventField;
use super::source::Source;
use crate::domain::event::{DEVICE_ID_BYTES_MAX, Event, Subject, TENANT_BYTES_MAX, is_device_id, is_tenant};
use crate::domain::time::Timestamp;

/// A line of `fold`, and a record where nothing else is configured, holds at most this many bytes.
pub const BYTES_MAX: usize = 1024 * 1024;

/// Room for texts that cannot be borrowed from the record. Clear it when the events that borrow from it are done.
#[derive(Debug, Default)]
pub struct Scratch {
    bump: Bump,
}

impl Scratch {
    /// Takes no memory before it is needed.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// Forgets all texts and keeps the memory.
    pub fn clear(&mut self) {
        self.bump.reset();
    }

    pub(super) fn text(&self) -> bumpalo::collections::String<'_> {
        bumpalo::collections::String::new_in(&self.bump)
    }

    fn join(&self, tenant: &str, device_id: &str) -> &str {
        let mut key =
            bumpalo::collections::String::with_capacity_in(tenant.len() + 1 + device_id.len(), &self.bump);
        key.push_str(tenant);
        key.push('/');
        key.push_str(device_id);
        key.into_bump_str()
    }
}

/// A record as the log gives it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRecord<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its payload.
    pub value: Option<&'a [u8]>,
    /// Its content-type header.
    pub content_type: Option<&'a [u8]>,
    /// The partition that it stands in.
    pub partition: u32,
    /// How many partitions there are; 0 where there are none, as in a file: then key and partition are not looked at.
    pub partitions: u32,
}

/// What a record may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest payload.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes_max: BYTES_MAX }
    }
}

/// A line of `fold`.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are events; a box would cost each an allocation")]
pub enum Line<'a> {
    /// An event.
    Event(Event<'a>),
    /// `{"tick":TIME}`: the clock moves.
    Tick(Timestamp),
    /// `{"sight":TIME}`: the clock moves, and the monitor sees again from then on (SEMANTICS §9).
    Sight(Timestamp),
}

/// The event that a record holds, or why it is refused.
pub fn decode<'a>(
    record: &RawRecord<'a>,
    scratch: &'a Scratch,
    limits: &Limits,
) -> Result<Event<'a>, Reject> {
    let mut envelope = Envelope::new();
    match read_record(record, scratch, limits, &mut envelope) {
        Ok(()) => Ok(envelope.event),
        Err(fault) => Err(fault.into_reject()),
    }
}

fn read_record<'a>(
    record: &RawRecord<'a>,
    scratch: &'a Scratch,
    limits: &Limits,
    envelope: &mut Envelope<'a>,
) -> Read<()> {
    let value = record.value.unwrap_or_default();
    check_size(value, limits)?;
    match payload(value, record.content_type)? {
        Payload::Protobuf(message) => {
            read_envelope(&mut ProtoSource::new(message), envelope)?;
            identify::<ProtoSource>(envelope, record, scratch)
        }
        Payload::Json(text) => {
            read_json(utf8(text)?, scratch, envelope)?;
            identify::<JsonText>(envelope, record, scratch)
        }
    }
}

/// What the headers of a record say of its payload.
pub fn content_type(headers: &[(String, Vec<u8>)]) -> Option<&[u8]> {
    let named = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    named.map(|(_, value)| &value[..])
}

/// What a line of `fold` says, or why it is refused. A line is JSON and nothing else.
pub fn decode_line<'a>(line: &'a [u8], scratch: &'a Scratch, limits: &Limits) -> Result<Line<'a>, Reject> {
    let mut envelope = Envelope::new();
    match read_line(line, scratch, limits, &mut envelope) {
        Ok(None) => Ok(Line::Event(envelope.event)),
        Ok(Some(line)) => Ok(line),
        Err(fault) => Err(fault.into_reject()),
    }
}

/// A line that is no event; an event stands in the envelope.
fn read_line<'a>(
    line: &'a [u8],
    scratch: &'a Scratch,
    limits: &Limits,
    envelope: &mut Envelope<'a>,
) -> Read<Option<Line<'a>>> {
    check_size(line, limits)?;
    let text = utf8(strip_mark(line))?;
    read_json(text, scratch, envelope)?;
    if envelope.body.is_none() {
        match read_line_times(&mut begun(text, scratch)?)? {
            (Some(tick), None) => return Ok(Some(Line::Tick(tick))),
            (None, Some(sight)) => return Ok(Some(Line::Sight(sight))),
            (Some(_), Some(_)) => {
                return Err(Fault::new(Reason::TwoBodies, "a line is a tick or a sight, not both"));
            }
            (None, None) => {}
        }
    }
    identify::<JsonText>(envelope, &RawRecord::default(), scratch)?;
    Ok(None)
}

fn begun<'a>(text: &'a str, scratch: &'a Scratch) -> Read<JsonText<'a>> {
    let mut source = JsonText::new(text, scratch);
    source.begin()?;
    Ok(source)
}

fn read_json<'a>(text: &'a str, scratch: &'a Scratch, envelope: &mut Envelope<'a>) -> Read<()> {
    let mut source = begun(text, scratch)?;
    read_envelope(&mut source, envelope)?;
    source.end()
}

fn check_size(value: &[u8], limits: &Limits) -> Read<()> {
    if value.is_empty() {
        return Err(Fault::new(Reason::Empty, "there is no payload"));
    }
    if value.len() > limits.bytes_max {
        let message = format!("{} bytes; at most {} are taken", value.len(), limits.bytes_max);
        return Err(Fault::new(Reason::Oversize, message));
    }
    Ok(())
}

/// The bytes as text, or where they are none.
pub(super) fn utf8(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("not valid JSON: byte {} is not UTF-8", error.valid_up_to() + 1);
        Fault::new(Reason::NotJson, message)
    })
}

/// Without the byte order mark that some editors put first.
fn strip_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// A payload whose format is known.
enum Payload<'a> {
    Json(&'a [u8]),
    Protobuf(&'a [u8]),
}

/// The format by the header, else by the first byte. No protobuf event begins like JSON: its field 1 is reserved for
/// that reason, and none begins with 0.
fn payload<'a>(value: &'a [u8], content_type: Option<&[u8]>) -> Read<Payload<'a>> {
    let said = match content_type {
        None => None,
        Some(content_type) => said_format(content_type)?,
    };
    match (said, value.first()) {
        (_, Some(0)) => unframed(value, said),
        (Some(Format::Json), _) => Ok(Payload::Json(strip_mark(value))),
        (Some(Format::Protobuf), _) => Ok(Payload::Protobuf(value)),
        (None, Some(b'{' | b' ' | b'\t' | b'\r' | b'\n')) => Ok(Payload::Json(value)),
        (None, _) if value.starts_with(b"\xef\xbb\xbf") => Ok(Payload::Json(strip_mark(value))),
        (None, _) => Ok(Payload::Protobuf(value)),
    }
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Protobuf,
}

/// The format that a content type names; `None` for one that leaves it open.
fn said_format(content_type: &[u8]) -> Read<Option<Format>> {
    // Parameters, such as a charset, change nothing.
    let name = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if is("application/json") || is("text/json") {
        return Ok(Some(Format::Json));
    }
    if is("application/x-protobuf") || is("application/protobuf") || is("application/vnd.google.protobuf") {
        return Ok(Some(Format::Protobuf));
    }
    let family = name.get(..22).unwrap_or_default();
    if is("application/octet-stream")
        || family.eq_ignore_ascii_case(b"application/vnd.conflu")
        || name.is_empty()
    {
        return Ok(None);
    }
    let message = format!(
        "content-type {} is not understood; send application/json or application/x-protobuf, or no such header",
        quoted(&String::from_utf8_lossy(name))
    );
    Err(Fault::new(Reason::UnknownContentType, message))
}

/// What a Confluent frame holds: 0, the schema's id in 4 bytes, in protobuf the message's place in the schema, payload.
fn unframed<'a>(value: &'a [u8], said: Option<Format>) -> Read<Payload<'a>> {
    let bad = |what: &str| {
        Fault::new(Reason::BadFraming, format!("begins like a Confluent frame (byte 0), but {what}"))
    };
    let inner =
        value.get(5..).filter(|inner| !inner.is_empty()).ok_or_else(|| bad("has no payload after byte 5"))?;
    match said {
        Some(Format::Json) => return Ok(Payload::Json(inner)),
        None if inner[0] == b'{' => return Ok(Payload::Json(inner)),
        _ => {}
    }
    // The place: how many indexes, then the indexes, all zigzag; a single 0 stands for [0], the first message.
    let mut rest = inner;
    let count = zigzag(&mut rest).ok_or_else(|| bad("its message index is cut off"))?;
    if !(0..=16).contains(&count) {
        return Err(bad("its message index is none"));
    }
    for _ in 0..count {
        match zigzag(&mut rest) {
            Some(0..) => {}
            _ => return Err(bad("its message index is none")),
        }
    }
    Ok(Payload::Protobuf(rest))
}

fn zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let value = prost::encoding::decode_varint(bytes).ok()?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Who the event is about; for a device also whether its record is where it belongs.
#[inline]
fn identify<'a, S: Source<'a>>(
    envelope: &mut Envelope<'a>,
    record: &RawRecord<'a>,
    scratch: &'a Scratch,
) -> Read<()> {
    let tenant = envelope.tenant.unwrap_or_default();
    let device_id = envelope.device_id.unwrap_or_default();
    match &mut envelope.event.subject {
        _ if envelope.body.is_none() => Err(Fault::new(
            Reason::NoBody,
            "the envelope holds no event, such as connected, activity or register",
        )),
        Subject::Device { key, .. } => {
            *key = match right_key(tenant, device_id, record) {
                Some(key) => key,
                None => examine_key::<S>(tenant, device_id, record, scratch)?,
            };
            Ok(())
        }
        Subject::Node(_) => identity::<S>(tenant, device_id).map(|_| ()),
        Subject::Policy(_) => {
            let (tenant, device_id) = identity::<S>(tenant, device_id)?;
            // Someone who names a tenant expects the policy to be that tenant's; it would be everybody's.
            let Some(owner) = [tenant, device_id].into_iter().find(|name| !name.is_empty()) else {
                return Ok(());
            };
            let message =
                format!("a policy is for all tenants and devices, but this one names {}", quoted(owner));
            Err(Fault::new(Reason::BadIdentity, message))
        }
    }
}

/// The record's key, if it and all else is as it must be. What nobody doubts is looked at once: the key.
#[inline(always)]
fn right_key<'a>(tenant: &[u8], device_id: &[u8], record: &RawRecord<'a>) -> Option<&'a str> {
    let bytes = record.key?;
    let (before, after) = bytes.split_at_checked(tenant.len())?;
    let (slash, after) = after.split_first()?;
    if record.partitions == 0 || before != tenant || *slash != b'/' || after != device_id {
        return None;
    }
    let key = std::str::from_utf8(bytes).ok()?;
    let (tenant, device_id) = (key.get(..tenant.len())?, key.get(tenant.len() + 1..)?);
    let right = is_tenant(tenant)
        && is_device_id(device_id)
        && partition::of(bytes, record.partitions) == record.partition;
    right.then_some(key)
}

/// The key where [`right_key`] found none: that of a line of `fold`, or what is wrong.
#[inline(never)]
fn examine_key<'a, S: Source<'a>>(
    tenant: &'a [u8],
    device_id: &'a [u8],
    record: &RawRecord<'a>,
    scratch: &'a Scratch,
) -> Read<&'a str> {
    let (tenant, device_id) = identity::<S>(tenant, device_id)?;
    for (field, name) in [(EventField::Tenant, tenant), (EventField::DeviceId, device_id)] {
        if name.is_empty() {
            return Err(Fault::at(Reason::MissingIdentity, S::name(field), "is missing"));
        }
    }
    if !is_tenant(tenant) {
        let message = format!("{} is not 1 to {TENANT_BYTES_MAX} of A-Z a-z 0-9 _ -", quoted(tenant));
        return Err(Fault::at(Reason::BadIdentity, S::name(EventField::Tenant), message));
    }
    if !is_device_id(device_id) {
        let message = format!(
            "{} is not 1 to {DEVICE_ID_BYTES_MAX} bytes without / and without control characters",
            quoted(device_id)
        );
        return Err(Fault::at(Reason::BadIdentity, S::name(EventField::DeviceId), message));
    }
    let key = scratch.join(tenant, device_id);
    match record.key {
        _ if record.partitions == 0 => Ok(key),
        None => Err(Fault::new(Reason::NoKey, format!("the record has no key; it must be {}", quoted(key)))),
        Some(other) if other != key.as_bytes() => Err(wrong_key(other, key)),
        Some(_) => Err(wrong_partition(record, partition::of(key.as_bytes(), record.partitions))),
    }
}

fn identity<'a, S: Source<'a>>(tenant: &'a [u8], device_id: &'a [u8]) -> Read<(&'a str, &'a str)> {
    let text = |field: EventField, bytes| {
        std::str::from_utf8(bytes).map_err(|_| Fault::at(Reason::NotProtobuf, S::name(field), "is not UTF-8"))
    };
    Ok((text(EventField::Tenant, tenant)?, text(EventField::DeviceId, device_id)?))
}

fn wrong_key(key: &[u8], right: &str) -> Box<Fault> {
    let shown = quoted(&String::from_utf8_lossy(key));
    Fault::new(Reason::WrongKey, format!("the record's key is {shown}; it must be {}", quoted(right)))
}

fn wrong_partition(record: &RawRecord, home: u32) -> Box<Fault> {
    let RawRecord { partition, partitions, .. } = record;
    let message = format!(
        "the record stands in partition {partition}, its key belongs to {home} of {partitions}; set the producer's \
         partitioner to murmur2_random (librdkafka), or use the default one of Kafka's Java client"
    );
    Fault::new(Reason::WrongPartition, message)
}
