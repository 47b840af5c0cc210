//! A channel and its sessions.

use super::CorruptRow;
use super::bytes::{Reader, Value, Writer};
use crate::domain::channel::{Channel, Disconnect, Evidence, NamedProof, NodeEnd, Session};
use crate::domain::effect::LogSession;
use crate::domain::event::{ChannelKind, Initiator};
use crate::domain::time::Timestamp;

const NEVER: Timestamp = Timestamp::NEVER;

/// Own ends in the order that `recorded_from` counts.
fn own_ends(channel: &Channel) -> impl Iterator<Item = Option<Disconnect>> {
    let newest = channel.newest_over.as_ref().and_then(|session| session.own_end);
    std::iter::once(newest).chain(channel.closed.iter().map(|session| session.own_end))
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
            w.sequence(1, &evidence.sequence);
            w.optional_time(2, evidence.started_at);
            w.time(3, evidence.observed_at, NEVER);
            w.message(4, |w| write_end(w, end));
        });
    }
    if let Some(recorded) = &channel.recorded {
        match own_ends(channel).position(|end| end.as_ref() == Some(recorded)) {
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
    for (field, at) in (9..).zip(channel.last_nameless) {
        w.time(field, at, NEVER);
    }
    w.times(12, &channel.failed);
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
    if let Some(end) = &session.own_end {
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
    let own_end = session.own_end.map(|end| end.at);
    if session.disconnects.as_slice() != own_end.as_slice() {
        w.times(15, &session.disconnects);
    }
    w.times(16, &session.takeovers);
    w.flag(17, own_end.is_some() && session.disconnects.is_empty());
}

/// Reads into a channel of which nothing is known: it is large, and moving it takes longer than reading it.
pub(super) fn read_channel(value: Value<'_>, origin: i64, channel: &mut Channel) -> Result<(), CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut kind = None;
    let mut recorded_from = 0;
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => kind = Some(value.word(ChannelKind::ALL, "channel kind")?),
            2 => read_session(value, origin, channel.open.insert(NOTHING_KNOWN))?,
            3 => read_session(value, origin, channel.newest_over.insert(NOTHING_KNOWN))?,
            4 => read_session(value, origin, push(&mut channel.closed, NOTHING_KNOWN))?,
            5 => channel.stray_end = Some(read_stray_end(value, origin)?),
            6 => channel.recorded = Some(read_end(value, origin)?),
            7 => recorded_from = value.narrow("recorded_from")?,
            8 => channel.named_proof = Some(read_proof(value, origin)?),
            9..=11 => channel.last_nameless[field as usize - 9] = value.time(origin)?,
            12 => value.times(origin, &mut channel.failed)?,
            _ => {}
        }
    }
    channel.kind = kind.ok_or(CorruptRow::Missing { what: "channel kind" })?;
    if let Some(index) = usize::checked_sub(recorded_from, 1) {
        let end = own_ends(channel).nth(index).flatten();
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

const NOTHING_KNOWN: Session = Session {
    id: None,
    sequence: None,
    started_at: None,
    connected_at: NEVER,
    node_id: None,
    protocol: None,
    can_receive_operations: true,
    inferred: false,
    polled_at: NEVER,
    seen_since: NEVER,
    own_end: None,
    node_end: None,
    lapsed_at: NEVER,
    superseded_at: NEVER,
    disconnects: Vec::new(),
    takeovers: Vec::new(),
};

fn read_session(value: Value<'_>, origin: i64, session: &mut Session) -> Result<(), CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut polled_at = None;
    let mut no_disconnects = false;
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
            11 => session.own_end = Some(read_end(value, origin)?),
            12 => session.node_end = Some(read_node_end(value, origin)?),
            13 => session.lapsed_at = value.time(origin)?,
            14 => session.superseded_at = value.time(origin)?,
            15 => value.times(origin, &mut session.disconnects)?,
            16 => value.times(origin, &mut session.takeovers)?,
            17 => no_disconnects = value.flag()?,
            _ => {}
        }
    }
    session.polled_at = polled_at.unwrap_or_else(|| usual_poll(session));
    if session.disconnects.is_empty() && !no_disconnects {
        session.disconnects.extend(session.own_end.map(|end| end.at));
    }
    Ok(())
}
