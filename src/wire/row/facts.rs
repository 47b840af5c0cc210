//! A device without its sessions.

use std::collections::BTreeMap;

use super::CorruptRow;
use super::bytes::{Reader, Value, Writer, timestamp, word};
use super::sessions::{push, read_channel, write_channel};
use crate::domain::channel::Channel;
use crate::domain::clocks::Clocks;
use crate::domain::device::{Dated, Device, LifecycleFact, Registration};
use crate::domain::event::{
    ChannelKind, ClientKind, IntervalSource, PollSettings, Stage, Update, UpdatePhase,
};
use crate::domain::facet::{Availability, Connection, Facets, Heartbeat, Label, Overall, Push};
use crate::domain::monitoring::{Alarm, Monitoring, Verdict};
use crate::domain::policy::Severity;
use crate::domain::time::{Millis, Timestamp};

const NEVER: Timestamp = Timestamp::NEVER;
/// The alarm text whose absence stands for it. Part of the format: it stays, whatever the domain's text becomes.
const USUAL_ALARM_TEXT: &str = "No data received from device within required interval";

/// Appends the facts of a device, without its clocks. Equal facts are equal bytes.
pub fn encode_facts(device: &Device, out: &mut Vec<u8>) {
    out.reserve(96);
    let birth = device.birth.millis();
    let w = &mut Writer::new(out, birth);
    w.nonzero(1, birth as u64);
    w.time(2, device.earliest, Timestamp::MAX);
    w.time(3, device.deleted_at, NEVER);
    w.nonzero(4, device.sequence);
    w.nonzero(5, u64::from(pack_facets(&device.facets)));
    if device.monitoring != Monitoring::default() {
        w.message(6, |w| write_monitoring(w, &device.monitoring));
    }
    for channel in &device.channels {
        w.message(7, |w| write_channel(w, channel));
    }
    w.time(8, device.last_connect, usual_connect(device));
    w.time(9, device.last_updated, NEVER);
    if device.registration != Registration::default() {
        w.message(10, |w| write_registration(w, &device.registration));
    }
    if let Some(verdict) = &device.verdict {
        w.message(11, |w| write_verdict(w, verdict));
    }
    if let Some(lifecycle) = &device.lifecycle {
        w.message(12, |w| {
            w.time(1, lifecycle.set_at, NEVER);
            w.int(2, lifecycle.value.stage as u64 + 1);
            w.time(3, lifecycle.value.stage_since, lifecycle.set_at);
            write_progress(w, 4, lifecycle.value.progress);
        });
    }
    if let Some(update) = &device.update {
        w.message(13, |w| {
            w.time(1, update.set_at, NEVER);
            w.int(2, update.value.phase as u64 + 1);
            write_progress(w, 3, update.value.progress);
        });
    }
    if let Some(settings) = &device.poll_settings {
        w.message(14, |w| {
            w.time(1, settings.set_at, NEVER);
            if let Some(seconds) = settings.value.poll_interval_seconds {
                w.int(2, u64::from(seconds));
            }
            w.flag(3, !settings.value.vpn_expected);
        });
    }
    w.time(15, device.poll_since, NEVER);
    if device.poll_phase != device.facets.heartbeat {
        w.int(16, device.poll_phase as u64);
    }
}

/// Reads a device from its facts and its clocks.
pub fn decode_facts(facts: &[u8], clocks: Clocks) -> Result<Device, CorruptRow> {
    let mut reader = Reader::new(facts);
    let mut birth = 0;
    if reader.is_next_int(1)
        && let Some((_, value)) = reader.next()?
    {
        birth = value.int()? as i64;
    }
    let mut device = Device::new(timestamp(birth)?, 0, NEVER);
    device.clocks = clocks;
    let (mut last_connect, mut poll_phase) = (None, None);
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => return Err(CorruptRow::Order { what: "birth" }),
            2 => device.earliest = value.time(birth)?,
            3 => device.deleted_at = value.time(birth)?,
            4 => device.sequence = value.int()?,
            5 => device.facets = unpack_facets(value.narrow("facets")?)?,
            6 => device.monitoring = read_monitoring(value, birth)?,
            7 => {
                // Most devices have one channel, and a channel is large.
                device.channels.reserve_exact(1);
                read_channel(value, birth, push(&mut device.channels, Channel::new(ChannelKind::Other)))?;
            }
            8 => last_connect = Some(value.time(birth)?),
            9 => device.last_updated = value.time(birth)?,
            10 => device.registration = read_registration(value, birth)?,
            11 => device.verdict = Some(read_verdict(value, birth)?),
            12 => device.lifecycle = Some(read_lifecycle(value, birth)?),
            13 => device.update = Some(read_update(value, birth)?),
            14 => device.poll_settings = Some(read_poll_settings(value, birth)?),
            15 => device.poll_since = value.time(birth)?,
            16 => poll_phase = Some(word(Heartbeat::ALL, value.int()?, "poll phase")?),
            _ => {}
        }
    }
    if !device.channels.is_sorted_by(|channel, next| channel.kind < next.kind) {
        return Err(CorruptRow::Order { what: "channel" });
    }
    device.last_connect = last_connect.unwrap_or_else(|| usual_connect(&device));
    device.poll_phase = poll_phase.unwrap_or(device.facets.heartbeat);
    Ok(device)
}

/// What `last_connect` is where it is not written.
fn usual_connect(device: &Device) -> Timestamp {
    let newest = device.channels.iter().flat_map(|channel| [&channel.open, &channel.newest_over]);
    newest.flatten().map(|session| session.connected_at).max().unwrap_or(NEVER)
}

fn pack_facets(facets: &Facets) -> u32 {
    let Facets { availability, push, connection, vpn, heartbeat, overall, label } = *facets;
    availability as u32
        | (push as u32) << 4
        | (connection as u32) << 8
        | (vpn as u32) << 12
        | (heartbeat as u32) << 16
        | (overall as u32) << 20
        | (label as u32) << 24
}

fn unpack_facets(packed: u32) -> Result<Facets, CorruptRow> {
    if packed >> 28 != 0 {
        return Err(CorruptRow::Range { what: "facets" });
    }
    let index = |place: u32| u64::from(packed >> (4 * place) & 15);
    Ok(Facets {
        availability: word(Availability::ALL, index(0), "availability")?,
        push: word(Push::ALL, index(1), "push")?,
        connection: word(Connection::ALL, index(2), "connection")?,
        vpn: word(Connection::ALL, index(3), "vpn")?,
        heartbeat: word(Heartbeat::ALL, index(4), "heartbeat")?,
        overall: word(Overall::ALL, index(5), "overall")?,
        label: word(Label::ALL, index(6), "label")?,
    })
}

fn write_progress(w: &mut Writer<'_>, field: u32, progress: Option<u8>) {
    if let Some(progress) = progress {
        w.int(field, u64::from(progress));
    }
}

fn write_monitoring(w: &mut Writer<'_>, monitoring: &Monitoring) {
    if let Some(minutes) = monitoring.minutes {
        w.signed(1, i64::from(minutes));
    }
    if monitoring.set_by != IntervalSource::Policy {
        w.int(2, monitoring.set_by as u64 + 1);
    }
    w.flag(3, monitoring.by_event);
    w.flag(4, monitoring.lent_by_policy);
    w.flag(5, monitoring.lapsed);
    w.time(6, monitoring.set_at, NEVER);
    w.time(7, monitoring.since, NEVER);
    w.time(8, monitoring.positive_since, monitoring.since);
    w.time(9, monitoring.floor, NEVER);
}

fn read_monitoring(value: Value<'_>, birth: i64) -> Result<Monitoring, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut monitoring = Monitoring::default();
    let mut positive_since = None;
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => monitoring.minutes = Some(value.minutes()?),
            2 => monitoring.set_by = value.word(IntervalSource::ALL, "interval source")?,
            3 => monitoring.by_event = value.flag()?,
            4 => monitoring.lent_by_policy = value.flag()?,
            5 => monitoring.lapsed = value.flag()?,
            6 => monitoring.set_at = value.time(birth)?,
            7 => monitoring.since = value.time(birth)?,
            8 => positive_since = Some(value.time(birth)?),
            9 => monitoring.floor = value.time(birth)?,
            _ => {}
        }
    }
    monitoring.positive_since = positive_since.unwrap_or(monitoring.since);
    Ok(monitoring)
}

/// The time whose absence stands for it: that of the first fact there is.
fn usual_set_at(registration: &Registration) -> Timestamp {
    let Registration { device_type, name, client_kind, parent, labels } = registration;
    let texts = [device_type, name].into_iter().flatten().map(|fact| fact.set_at);
    texts
        .chain(client_kind.as_ref().map(|fact| fact.set_at))
        .chain(parent.as_ref().map(|fact| fact.set_at))
        .chain(labels.as_ref().map(|fact| fact.set_at))
        .next()
        .unwrap_or(NEVER)
}

fn write_registration(w: &mut Writer<'_>, registration: &Registration) {
    let Registration { device_type, name, client_kind, parent, labels } = registration;
    let usual = usual_set_at(registration);
    w.time(1, usual, NEVER);
    w.optional_text(2, device_type.as_ref().map(|fact| &*fact.value));
    w.optional_text(3, name.as_ref().map(|fact| &*fact.value));
    if let Some(kind) = client_kind {
        w.int(4, kind.value as u64 + 1);
    }
    w.optional_text(5, parent.as_ref().map(|fact| &*fact.value));
    for (key, value) in labels.iter().flat_map(|fact| &fact.value) {
        w.message(6, |w| {
            // A map's entry leaves out what is empty.
            w.optional_text(1, Some(&**key).filter(|key| !key.is_empty()));
            w.optional_text(2, Some(&**value).filter(|value| !value.is_empty()));
        });
    }
    w.flag(7, labels.as_ref().is_some_and(|fact| fact.value.is_empty()));
    let set_at = [
        device_type.as_ref().map(|fact| fact.set_at),
        name.as_ref().map(|fact| fact.set_at),
        client_kind.as_ref().map(|fact| fact.set_at),
        parent.as_ref().map(|fact| fact.set_at),
        labels.as_ref().map(|fact| fact.set_at),
    ];
    for (field, at) in (8..).zip(set_at) {
        w.time(field, at.unwrap_or(usual), usual);
    }
}

fn read_registration(value: Value<'_>, birth: i64) -> Result<Registration, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut usual = NEVER;
    let (mut device_type, mut name, mut parent) = (None, None, None);
    let mut client_kind = None;
    let mut labels: Option<BTreeMap<String, String>> = None;
    let mut set_at = [None; 5];
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => usual = value.time(birth)?,
            2 => device_type = value.boxed()?,
            3 => name = value.boxed()?,
            4 => client_kind = Some(value.word(ClientKind::ALL, "client kind")?),
            5 => parent = value.boxed()?,
            6 => {
                let (key, value) = read_label(value)?;
                labels.get_or_insert_default().insert(key.into(), value.into());
            }
            7 if value.flag()? => labels = Some(labels.unwrap_or_default()),
            8..=12 => set_at[field as usize - 8] = Some(value.time(birth)?),
            _ => {}
        }
    }
    fn dated<T>(value: Option<T>, set_at: Timestamp) -> Option<Dated<T>> {
        value.map(|value| Dated { value, set_at })
    }
    let [type_at, name_at, kind_at, parent_at, labels_at] = set_at.map(|at| at.unwrap_or(usual));
    Ok(Registration {
        device_type: dated(device_type, type_at),
        name: dated(name, name_at),
        client_kind: dated(client_kind, kind_at),
        parent: dated(parent, parent_at),
        labels: dated(labels, labels_at),
    })
}

fn read_label(value: Value<'_>) -> Result<(&str, &str), CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let (mut key, mut text) = ("", "");
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => key = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
    }
    Ok((key, text))
}

fn write_verdict(w: &mut Writer<'_>, verdict: &Verdict) {
    w.time(1, verdict.deadline, NEVER);
    if verdict.minutes != 0 {
        w.signed(2, i64::from(verdict.minutes));
    }
    if verdict.grace != Millis(0) {
        w.signed(3, verdict.grace.0);
    }
    w.nonzero(4, verdict.told_as);
    if let Some(alarm) = &verdict.alarm {
        w.message(5, |w| {
            if !alarm.id.is_empty() {
                w.text(1, &alarm.id);
            }
            w.int(2, alarm.severity as u64 + 1);
            w.optional_text(3, Some(&*alarm.text).filter(|text| *text != USUAL_ALARM_TEXT));
            w.flag(4, alarm.acknowledged);
            w.nonzero(5, u64::from(alarm.count));
            w.time(6, alarm.first_at, NEVER);
            w.time(7, alarm.last_at, alarm.first_at);
        });
    }
}

fn read_verdict(value: Value<'_>, birth: i64) -> Result<Verdict, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let mut verdict = Verdict { deadline: NEVER, minutes: 0, grace: Millis(0), told_as: 0, alarm: None };
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => verdict.deadline = value.time(birth)?,
            2 => verdict.minutes = value.minutes()?,
            3 => verdict.grace = Millis(value.signed()?),
            4 => verdict.told_as = value.int()?,
            5 => verdict.alarm = Some(read_alarm(value, birth)?),
            _ => {}
        }
    }
    Ok(verdict)
}

fn read_alarm(value: Value<'_>, birth: i64) -> Result<Alarm, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let (mut id, mut severity, mut text) = ("", None, USUAL_ALARM_TEXT);
    let (mut acknowledged, mut count) = (false, 0);
    let (mut first_at, mut last_at) = (NEVER, None);
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => id = value.text()?,
            2 => severity = Some(value.word(Severity::ALL, "severity")?),
            3 => text = value.text()?,
            4 => acknowledged = value.flag()?,
            5 => count = value.narrow("count")?,
            6 => first_at = value.time(birth)?,
            7 => last_at = Some(value.time(birth)?),
            _ => {}
        }
    }
    let severity = severity.ok_or(CorruptRow::Missing { what: "severity" })?;
    let last_at = last_at.unwrap_or(first_at);
    Ok(Alarm { id: id.into(), severity, text: text.into(), acknowledged, count, first_at, last_at })
}

fn read_lifecycle(value: Value<'_>, birth: i64) -> Result<Dated<LifecycleFact>, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let (mut set_at, mut stage, mut stage_since, mut progress) = (NEVER, None, None, None);
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => set_at = value.time(birth)?,
            2 => stage = Some(value.word(Stage::ALL, "stage")?),
            3 => stage_since = Some(value.time(birth)?),
            4 => progress = Some(value.narrow("progress")?),
            _ => {}
        }
    }
    let stage = stage.ok_or(CorruptRow::Missing { what: "stage" })?;
    Ok(Dated { value: LifecycleFact { stage, stage_since: stage_since.unwrap_or(set_at), progress }, set_at })
}

fn read_update(value: Value<'_>, birth: i64) -> Result<Dated<Update>, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let (mut set_at, mut phase, mut progress) = (NEVER, None, None);
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => set_at = value.time(birth)?,
            2 => phase = Some(value.word(UpdatePhase::ALL, "update phase")?),
            3 => progress = Some(value.narrow("progress")?),
            _ => {}
        }
    }
    let phase = phase.ok_or(CorruptRow::Missing { what: "update phase" })?;
    Ok(Dated { value: Update { phase, progress }, set_at })
}

fn read_poll_settings(value: Value<'_>, birth: i64) -> Result<Dated<PollSettings>, CorruptRow> {
    let mut reader = Reader::new(value.bytes()?);
    let (mut set_at, mut poll_interval_seconds, mut vpn_expected) = (NEVER, None, true);
    while let Some((field, value)) = reader.next()? {
        match field {
            1 => set_at = value.time(birth)?,
            2 => poll_interval_seconds = Some(value.narrow("poll interval")?),
            3 => vpn_expected = !value.flag()?,
            _ => {}
        }
    }
    Ok(Dated { value: PollSettings { poll_interval_seconds, vpn_expected }, set_at })
}
