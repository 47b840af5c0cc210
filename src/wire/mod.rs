//! Bytes ⇄ meaning: protobuf and JSON events in, effects out, the policy document, dead letters, record keys and
//! partitions.
//!
//! What a field is called and which number it has stands once, in `schema`, and is held against `proto/` by a test.
//! What a message means stands once, too: `event`, `policy` and `output` read from any [`source`](self) and write to
//! any sink; protobuf, JSON and TOML are such sources and sinks. Input is decoded in place: texts are borrowed from
//! the record, and from a [`Scratch`](decode::Scratch) where they had to be unescaped or joined.
//!
//! Not here: logs, clocks, state. Bad input is a value ([`reject::Reject`]), never a panic and never an error that
//! stops anything.

pub mod dead_letter;
pub mod decode;
pub mod encode;
mod event;
mod json;
pub mod output;
pub mod partition;
pub mod policy;
mod read_json;
mod read_proto;
mod read_toml;
pub mod reject;
pub mod rfc3339;
pub mod row;
mod schema;
mod sink;
mod source;
pub mod state;
mod write_json;
mod write_proto;

#[cfg(test)]
mod tests;

/// The messages of `proto/lastseen/v1`, as prost generates them. Events and outputs have a decoder and an encoder of
/// our own, which is faster and says more; these types are the yardstick for it, and the form of the journal.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/lastseen.v1.rs"));
}
