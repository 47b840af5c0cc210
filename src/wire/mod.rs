//! Bytes ⇄ meaning.

pub mod row;

/// The messages of `proto/lastseen/v1`, as prost generates them.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/lastseen.v1.rs"));
}
