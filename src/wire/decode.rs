//! Records as events: format, identity, key, partition.
//!
//! Whatever comes out is well-formed, so that nothing behind it has to look again; whatever is refused is refused with
//! a reason. Nothing is copied but texts that had to be unescaped or joined.

use bumpalo::Bump;

use super::event::{Content, Envelope, read_envelope, read_line_times};
use super::json::JsonText;
use super::partition;
use super::read_proto::ProtoSource;
use super::reject::{Read, Reason, Reject, quoted};
use crate::domain::event::{DEVICE_ID_BYTES_MAX, Event, Subject, TENANT_BYTES_MAX, is_device_id, is_tenant};
use crate::domain::time::Timestamp;

/// A line of `fold`, and a record where nothing else is configured, holds at most this many bytes.
pub const BYTES_MAX: usize = 1024 * 1024;

/// Room for texts that cannot be borrowed from the record. Clear it when the events that borrow from it are done.
#[derive(Default)]
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
    let value = record.value.unwrap_or_default();
    check_size(value, limits)?;
    let payload = payload(value, record.content_type)?;
    let envelope = match payload {
        Payload::Protobuf(message) => read_envelope(&mut ProtoSource::new(message)),
        Payload::Json(text) => read_json(utf8(text)?, scratch),
    };
    let envelope = envelope.map_err(|fault| fault.into_reject())?;
    let names = if matches!(payload, Payload::Json(_)) { &JSON_NAMES } else { &PROTO_NAMES };
    identify(envelope, record, scratch, names)
}

/// What a line of `fold` says, or why it is refused. A line is JSON and nothing else.
pub fn decode_line<'a>(line: &'a [u8], scratch: &'a Scratch, limits: &Limits) -> Result<Line<'a>, Reject> {
    check_size(line, limits)?;
    let text = utf8(strip_mark(line))?;
    let envelope = read_json(text, scratch).map_err(|fault| fault.into_reject())?;
    if matches!(envelope.content, Content::Nothing) {
        let times = read_line_times(&mut begun(text, scratch).map_err(|fault| fault.into_reject())?);
        match times.map_err(|fault| fault.into_reject())? {
            (Some(tick), None) => return Ok(Line::Tick(tick)),
            (None, Some(sight)) => return Ok(Line::Sight(sight)),
            (Some(_), Some(_)) => {
                return Err(Reject::new(Reason::TwoBodies, "a line is a tick or a sight, not both"));
            }
            (None, None) => {}
        }
    }
    identify(envelope, &RawRecord::default(), scratch, &JSON_NAMES).map(Line::Event)
}

fn begun<'a>(text: &'a str, scratch: &'a Scratch) -> Read<JsonText<'a>> {
    let mut source = JsonText::new(text, scratch);
    source.begin()?;
    Ok(source)
}

fn read_json<'a>(text: &'a str, scratch: &'a Scratch) -> Read<Envelope<'a>> {
    let mut source = begun(text, scratch)?;
    let envelope = read_envelope(&mut source)?;
    source.end()?;
    Ok(envelope)
}

fn check_size(value: &[u8], limits: &Limits) -> Result<(), Reject> {
    if value.is_empty() {
        return Err(Reject::new(Reason::Empty, "there is no payload"));
    }
    if value.len() > limits.bytes_max {
        let message = format!("{} bytes; at most {} are taken", value.len(), limits.bytes_max);
        return Err(Reject::new(Reason::Oversize, message));
    }
    Ok(())
}

/// The bytes as text, or where they are none.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("not valid JSON: byte {} is not UTF-8", error.valid_up_to() + 1);
        Reject::new(Reason::NotJson, message)
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
fn payload<'a>(value: &'a [u8], content_type: Option<&[u8]>) -> Result<Payload<'a>, Reject> {
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
fn said_format(content_type: &[u8]) -> Result<Option<Format>, Reject> {
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
    Err(Reject::new(Reason::UnknownContentType, message))
}

/// What a Confluent frame holds: 0, the schema's id in 4 bytes, in protobuf the message's place in the schema, payload.
fn unframed<'a>(value: &'a [u8], said: Option<Format>) -> Result<Payload<'a>, Reject> {
    let bad = |what: &str| {
        Reject::new(Reason::BadFraming, format!("begins like a Confluent frame (byte 0), but {what}"))
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

/// The names of the identity's fields, in the words of the format.
struct Names {
    device_id: &'static str,
}

const JSON_NAMES: Names = Names { device_id: "deviceId" };
const PROTO_NAMES: Names = Names { device_id: "device_id" };

/// Who the event is about; for a device also whether its record is where it belongs.
#[inline]
fn identify<'a>(
    envelope: Envelope<'a>,
    record: &RawRecord<'a>,
    scratch: &'a Scratch,
    names: &Names,
) -> Result<Event<'a>, Reject> {
    let Envelope { tenant, device_id, observed_at, event_id, content } = envelope;
    let said = |text: Option<&'a str>| text.filter(|text| !text.is_empty());
    let subject = match content {
        Content::Device(body) => {
            let tenant = said(tenant).ok_or_else(|| missing("tenant"))?;
            let device_id = said(device_id).ok_or_else(|| missing(names.device_id))?;
            if !is_tenant(tenant) {
                return Err(bad_tenant(tenant));
            }
            if !is_device_id(device_id) {
                return Err(bad_device_id(device_id, names));
            }
            let key = match record.partitions {
                0 => scratch.join(tenant, device_id),
                partitions => check_key(tenant, device_id, record, partitions)?,
            };
            Subject::Device { key, body }
        }
        Content::Node(node) => Subject::Node(node),
        Content::Policy(policy) => {
            // Someone who names a tenant expects the policy to be that tenant's; it would be everybody's.
            if let Some(owner) = said(tenant).or(said(device_id)) {
                let message =
                    format!("a policy is for all tenants and devices, but this one names {}", quoted(owner));
                return Err(Reject::new(Reason::BadIdentity, message));
            }
            Subject::Policy(policy)
        }
        Content::Nothing => return Err(no_body()),
    };
    Ok(Event { observed_at, event_id, subject })
}

#[inline(always)]
fn check_key<'a>(
    tenant: &str,
    device_id: &str,
    record: &RawRecord<'a>,
    partitions: u32,
) -> Result<&'a str, Reject> {
    let Some(key) = record.key else {
        let message =
            format!("the record has no key; it must be {}", quoted(&format!("{tenant}/{device_id}")));
        return Err(Reject::new(Reason::NoKey, message));
    };
    let right = key.len() == tenant.len() + 1 + device_id.len()
        && key[..tenant.len()] == *tenant.as_bytes()
        && key[tenant.len()] == b'/'
        && key[tenant.len() + 1..] == *device_id.as_bytes();
    match std::str::from_utf8(key) {
        Ok(key) if right => {
            let home = partition::of(key.as_bytes(), partitions);
            if home == record.partition {
                Ok(key)
            } else {
                Err(wrong_partition(record.partition, home, partitions))
            }
        }
        _ => Err(wrong_key(key, tenant, device_id)),
    }
}

#[cold]
fn missing(field: &str) -> Reject {
    Reject::new(Reason::MissingIdentity, format!("{field}: is missing"))
}

#[cold]
fn bad_tenant(tenant: &str) -> Reject {
    let message = format!("tenant: {} is not 1 to {TENANT_BYTES_MAX} of A-Z a-z 0-9 _ -", quoted(tenant));
    Reject::new(Reason::BadIdentity, message)
}

#[cold]
fn bad_device_id(device_id: &str, names: &Names) -> Reject {
    let message = format!(
        "{}: {} is not 1 to {DEVICE_ID_BYTES_MAX} bytes without / and without control characters",
        names.device_id,
        quoted(device_id)
    );
    Reject::new(Reason::BadIdentity, message)
}

#[cold]
fn no_body() -> Reject {
    Reject::new(Reason::NoBody, "the envelope holds no event, such as connected, activity or register")
}

#[cold]
fn wrong_key(key: &[u8], tenant: &str, device_id: &str) -> Reject {
    let message = format!(
        "the record's key is {}; it must be {}",
        quoted(&String::from_utf8_lossy(key)),
        quoted(&format!("{tenant}/{device_id}"))
    );
    Reject::new(Reason::WrongKey, message)
}

#[cold]
fn wrong_partition(here: u32, home: u32, partitions: u32) -> Reject {
    let message = format!(
        "the record stands in partition {here}, its key belongs to {home} of {partitions}; set the producer's \
         partitioner to murmur2_random (librdkafka), or use the default one of Kafka's Java client"
    );
    Reject::new(Reason::WrongPartition, message)
}
