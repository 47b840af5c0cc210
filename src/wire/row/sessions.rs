//! A channel and its sessions.

use super::CorruptRow;
use super::bytes::{Reader, Value, Writer};
use crate::domain::channel::{Channel, NamedProof};
use crate::domain::effect::LogSession;
use crate::domain::event::{ChannelKind, Initiator};
use crate::domain::session::{Disconnect, Evidence, NodeEnd, Session};
use crate::domain::time::Timestamp;

const NEVER: Timestamp = Timestamp::NEVER;

/// Disconnects of sessions in the order that `recorded_from` counts.
fn disconnects(channel: &Channel) -> impl Iterator<Item = &Disconnect> {
    channel.newest_over.iter().chain(&channel.closed).flat_map(|session| &session.disconnects)
}

pub(super) fn write_channel(w: &mut Writer<'_>, channel: &Channel) {
    w.int(1, channel.kind as u64 + 1);
    if let Some(session) = &channel.open {
        w.message(2, |w| write_session(w, session));
    }
    if let Some(session) = &channel.newest_over {
        w.message(3, |w| write_session(w, session));
    }
    for session in &channel.closed {
        w.message(4, |w| write_session(w, session));
    }
    if let Some((evidence, end)) = &channel.stray_end {
        w.message(5, |w| {
            write_evidence(w, evidence);
            w.message(4, |w| write_end(w, end));
        });
    }
    if let Some(recorded) = &channel.recorded {
        match disconnects(channel).position(|end| end == recorded) {
            Some(index) => w.int(7, index as u64 + 1),
            None => w.message(6, |w| write_end(w, recorded)),
        }
    }
    if let Some(proof) = &channel.named_proof {
        w.message(8, |w| {
            w.time(1, proof.at, NEVER);
            w.optional_text(2, proof.session.id.as_deref());
            w.sequence(3, &proof.session.sequence);
            w.optional_time(4, proof.session.started_at);
        });
    }
    for (field, last) in (9..).zip(&channel.last_nameless) {
        if let Some(last) = last {
            w.message(field, |w| write_evidence(w, last));
        }
    }
    w.times(12, &channel.failed);
}

fn write_evidence(w: &mut Writer<'_>, evidence: &Evidence) {
    w.sequence(1, &evidence.sequence);
    w.optional_time(2, evidence.started_at);
    w.time(3, evidence.observed_at, NEVER);
}

fn write_end(w: &mut Writer<'_>, end: &Disconnect) {
    w.time(1, end.at, NEVER);
    w.int(2, end.initiator as u64 + 1);
    if let Some(code) = end.reason_code {
        w.int(3, u64::from(code));
    }
}

/// What `polled_at` is where it is not written.
fn usual_poll(session: &Session) -> Timestamp {
    if session.inferred { NEVER } else { session.connected_at }
}

fn write_session(w: &mut Writer<'_>, session: &Session) {
    w.optional_text(1, session.id.as_deref());
    w.sequence(2, &session.sequence);
    w.optional_time(3, session.started_at);
    w.time(4, session.connected_at, NEVER);
    w.optional_text(5, session.node_id.as_deref());
    w.optional_text(6, session.protocol.as_deref());
    w.flag(7, !session.can_receive_operations);
    w.flag(8, session.inferred);
    w.time(9, session.polled_at, usual_poll(session));
    w.time(10, session.seen_since, NEVER);
    for end in &session.disconnects {
        w.message(11, |w| write_end(w, end));
    }
    if let Some(end) = &session.node_end {
        w.message(12, |w| {
            w.time(1, end.at, NEVER);
            w.flag(2, end.timed_out);
        });
    }
    w.time(13, session.lapsed_at, NEVER);
    w.time(14, session.superseded_at, NEVER);
    w.times(15, &session.early_polls);
    w.times(16, &session.takeovers);
}

/// Reads into a channel of which nothing is known: it is large, and moving it takes longer than reading it.
pub(super) fn read_channel(value: Value<'_>, origin: i64, channel: &mut Channel) -> Result<(), CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut kind = None;
    let mut recorded_from = 0;
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => kind = Some(value.word(ChannelKind::ALL, "channel kind")?),
            2 => read_session(value, origin, channel.open.insert(Session::UNKNOWN))?,
            3 => read_session(value, origin, channel.newest_over.insert(Session::UNKNOWN))?,
            4 => read_session(value, origin, push(&mut channel.closed, Session::UNKNOWN))?,
            5 => channel.stray_end = Some(read_stray_end(value, origin)?),
            6 => channel.recorded = Some(read_end(value, origin)?),
            7 => recorded_from = value.narrow("recorded_from")?,
            8 => channel.named_proof = Some(read_proof(value, origin)?),
            9..=11 => channel.last_nameless[field as usize - 9] = Some(read_evidence(value, origin)?),
            12 => value.times(origin, &mut channel.failed)?,
            _ => {}
        }
    }
    channel.kind = kind.ok_or(CorruptRow::Missing { what: "channel kind" })?;
    if let Some(index) = usize::checked_sub(recorded_from, 1) {
        let end = disconnects(channel).nth(index).copied();
        channel.recorded = Some(end.ok_or(CorruptRow::Missing { what: "recorded end" })?);
    }
    Ok(())
}

/// Appends, and gives the place.
pub(super) fn push<T>(list: &mut Vec<T>, value: T) -> &mut T {
    let index = list.len();
    list.push(value);
    &mut list[index]
}

fn read_evidence(value: Value<'_>, origin: i64) -> Result<Evidence, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut evidence = Evidence { sequence: None, started_at: None, observed_at: NEVER };
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => evidence.sequence = value.sequence()?,
            2 => evidence.started_at = Some(value.time(origin)?),
            3 => evidence.observed_at = value.time(origin)?,
            _ => {}
        }
    }
    Ok(evidence)
}

fn read_stray_end(value: Value<'_>, origin: i64) -> Result<(Evidence, Disconnect), CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut evidence = Evidence { sequence: None, started_at: None, observed_at: NEVER };
    let mut end = None;
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => evidence.sequence = value.sequence()?,
            2 => evidence.started_at = Some(value.time(origin)?),
            3 => evidence.observed_at = value.time(origin)?,
            4 => end = Some(read_end(value, origin)?),
            _ => {}
        }
    }
    Ok((evidence, end.ok_or(CorruptRow::Missing { what: "stray end" })?))
}

fn read_end(value: Value<'_>, origin: i64) -> Result<Disconnect, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let (mut at, mut initiator, mut reason_code) = (NEVER, None, None);
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => at = value.time(origin)?,
            2 => initiator = Some(value.word(Initiator::ALL, "initiator")?),
            3 => reason_code = Some(value.narrow("reason code")?),
            _ => {}
        }
    }
    Ok(Disconnect { at, initiator: initiator.ok_or(CorruptRow::Missing { what: "initiator" })?, reason_code })
}

fn read_node_end(value: Value<'_>, origin: i64) -> Result<NodeEnd, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut end = NodeEnd { at: NEVER, timed_out: false };
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => end.at = value.time(origin)?,
            2 => end.timed_out = value.flag()?,
            _ => {}
        }
    }
    Ok(end)
}

fn read_proof(value: Value<'_>, origin: i64) -> Result<NamedProof, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut proof = NamedProof { at: NEVER, session: LogSession::default() };
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => proof.at = value.time(origin)?,
            2 => proof.session.id = value.boxed()?,
            3 => proof.session.sequence = value.sequence()?,
            4 => proof.session.started_at = Some(value.time(origin)?),
            _ => {}
        }
    }
    Ok(proof)
}

fn read_session(value: Value<'_>, origin: i64, session: &mut Session) -> Result<(), CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut polled_at = None;
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => session.id = value.boxed()?,
            2 => session.sequence = value.sequence()?,
            3 => session.started_at = Some(value.time(origin)?),
            4 => session.connected_at = value.time(origin)?,
            5 => session.node_id = value.boxed()?,
            6 => session.protocol = value.boxed()?,
            7 => session.can_receive_operations = !value.flag()?,
            8 => session.inferred = value.flag()?,
            9 => polled_at = Some(value.time(origin)?),
            10 => session.seen_since = value.time(origin)?,
            11 => session.disconnects.push(read_end(value, origin)?),
            12 => session.node_end = Some(read_node_end(value, origin)?),
            13 => session.lapsed_at = value.time(origin)?,
            14 => session.superseded_at = value.time(origin)?,
            15 => value.times(origin, &mut session.early_polls)?,
            16 => value.times(origin, &mut session.takeovers)?,
            _ => {}
        }
    }
    session.polled_at = polled_at.unwrap_or_else(|| usual_poll(session));
    Ok(())
}
