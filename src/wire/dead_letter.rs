//! Rejected input as it goes to the dead-letter topic: byte for byte, with the reason and the origin in headers.

use sha2::{Digest, Sha256};

use super::reject::Reject;
use super::write_json::JsonSink;
use crate::domain::time::Timestamp;

/// How much larger a record of the dead-letter topic may be than one of the inputs: room for the headers.
pub const HEADROOM_BYTES: usize = 64 * 1024;
/// What is kept of that for our own headers; a record's own key and content type may take the rest.
const HEADERS_BYTES: usize = 16 * 1024;
/// A content type longer than this is not handed on.
const CONTENT_TYPE_BYTES_MAX: usize = 1024;

/// Where a rejected record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source<'a> {
    /// The topic, by its real name.
    pub topic: &'a str,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The record's timestamp.
    pub timestamp: Timestamp,
}

/// A record for the dead-letter topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The key as it was; none if it was too large.
    pub key: Option<Vec<u8>>,
    /// The payload as it was; cut if it was too large.
    pub value: Option<Vec<u8>>,
    /// Reason, message, origin; the content type as it was.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The dead letter of a rejected record. `bytes_max` is the record limit of the dead-letter topic.
pub fn dead_letter(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    content_type: Option<&[u8]>,
    reject: &Reject,
    source: &Source,
    bytes_max: usize,
) -> DeadLetter {
    let mut headers = vec![
        ("reason".to_owned(), reject.reason.word().into()),
        ("message".to_owned(), reject.message.as_bytes().to_vec()),
        ("origin-topic".to_owned(), source.topic.into()),
        ("origin-partition".to_owned(), source.partition.to_string().into_bytes()),
        ("origin-offset".to_owned(), source.offset.to_string().into_bytes()),
        ("origin-timestamp".to_owned(), source.timestamp.to_string().into_bytes()),
    ];
    if let Some(content_type) =
        content_type.filter(|content_type| content_type.len() <= CONTENT_TYPE_BYTES_MAX)
    {
        headers.push(("content-type".to_owned(), content_type.to_vec()));
    }
    let room = bytes_max.saturating_sub(HEADERS_BYTES);
    let kept_key = key.filter(|key| key.len() <= room);
    if let (Some(key), None) = (key, kept_key) {
        headers.push(("original-key-length".to_owned(), key.len().to_string().into_bytes()));
        headers.push(("original-key-sha256".to_owned(), sha256(key)));
    }
    let room = room - kept_key.map_or(0, <[u8]>::len);
    let value = value.map(|value| {
        if value.len() <= room {
            return value.to_vec();
        }
        headers.push(("original-length".to_owned(), value.len().to_string().into_bytes()));
        headers.push(("original-sha256".to_owned(), sha256(value)));
        value[..room].to_vec()
    });
    DeadLetter { key: kept_key.map(<[u8]>::to_vec), value, headers }
}

/// In hexadecimal text.
fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// Writes the dead letter of a line of `fold`, without a line end.
pub fn encode_line(reject: &Reject, line: u64, out: &mut Vec<u8>) {
    JsonSink::object(out, |s| {
        s.plain("topic", "dead-letter");
        s.plain("reason", reject.reason.word());
        s.named_text("message", &reject.message);
        s.named_whole("line", line);
    });
}

/// Writes a record that was refused as a line among the inputs of `fold`, which refuses it too: it has no body, but says
/// where the record stands and why it was refused.
pub fn encode_input_line(reject: &Reject, source: &Source, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"deadLetter\":");
    JsonSink::object(out, |s| {
        s.plain("reason", reject.reason.word());
        s.named_text("message", &reject.message);
        s.named_text("topic", source.topic);
        s.named_whole("partition", u64::from(source.partition));
        s.named_whole("offset", source.offset);
        s.named_text("timestamp", &source.timestamp.to_string());
    });
    out.push(b'}');
}
