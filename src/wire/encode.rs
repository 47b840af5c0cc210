//! Events as bytes, for those who send: `send`, `demo`, tests.

use super::event::write_event;
use super::write_json::JsonSink;
use super::write_proto::ProtoSink;
use crate::domain::event::{Event, Subject};

/// The content-type header of records in protobuf.
pub const PROTOBUF: &str = "application/x-protobuf";
/// The content-type header of records in JSON.
pub const JSON: &str = "application/json";

/// An event in protobuf.
pub fn encode_event(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_event(&mut ProtoSink::new(&mut out), event);
    out
}

/// An event in JSON, in one line.
pub fn encode_event_json(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    JsonSink::object(&mut out, |s| write_event(s, event));
    out
}

/// The key that the event's record must have; `None` for a broadcast (node, policy): it is written to every partition,
/// under any key.
pub fn record_key<'e>(event: &Event<'e>) -> Option<&'e str> {
    match event.subject {
        Subject::Device { key, .. } => Some(key),
        Subject::Node(_) | Subject::Policy(_) => None,
    }
}
