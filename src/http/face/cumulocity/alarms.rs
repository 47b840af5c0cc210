//! Alarms (Cumulocity C20–C27).

use std::ops::ControlFlow;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::objects::address_of;
use super::paging::{Collected, Frame, Paging};
use super::update::patience;
use crate::domain::effect::{AlarmEvent, AlarmState, EffectKind};
use crate::domain::event::{AlarmAction, is_device_id};
use crate::domain::monitoring::UNAVAILABILITY;
use crate::domain::policy::Severity;
use crate::domain::time::Timestamp;
use crate::http::app::{App, Parameters};
use crate::http::commands::{self, BULK_BATCH, BULK_MAX, Command, event_id, give, write};
use crate::http::face::{Asked, time_of};
use crate::http::problem::{self, Problem};
use crate::query::filter::BadFilter;
use crate::query::fleet::Fleet;
use crate::wire::output::Output;
use crate::wire::rfc3339;

/// Where alarms stand.
pub const ALARMS: &str = "/alarm/alarms";
/// What our one type of alarms is called there (C20).
const TYPE: &str = "c8y_UnavailabilityAlarm";

/// The device that an alarm is of.
#[derive(Serialize)]
pub struct Source {
    id: String,
    #[serde(rename = "self")]
    own: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Source {
    /// A device of a tenant; its name while it is there.
    pub fn of(fleet: &Fleet, tenant: &str, origin: &str, id: &str) -> Source {
        let name = fleet.tenant(tenant).and_then(|known| known.row(known.find(id)?).name());
        Source { id: id.to_owned(), own: address_of(origin, id), name: name.map(str::to_owned) }
    }

    /// Those that outputs of a tenant are of, in their order: looked up together.
    fn all(fleet: &Fleet, tenant: &str, origin: &str, outputs: &[Output]) -> Vec<Source> {
        let ids: Vec<&str> = outputs.iter().map(|output| &*output.device_id).collect();
        let names: Vec<Option<String>> = match fleet.tenant(tenant) {
            None => vec![None; ids.len()],
            Some(known) => {
                let name = |row: Option<u32>| known.row(row?).name().map(str::to_owned);
                known.find_all(&ids).into_iter().map(name).collect()
            }
        };
        let all = ids.into_iter().zip(names);
        all.map(|(id, name)| Source { id: id.to_owned(), own: address_of(origin, id), name }).collect()
    }
}

/// An alarm as it stands (C25).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlarmShape {
    id: String,
    #[serde(rename = "self")]
    own: String,
    #[serde(rename = "type")]
    alarm_type: &'static str,
    source: Source,
    severity: &'static str,
    status: &'static str,
    text: String,
    /// The last occurrence: the deadline that passed.
    time: String,
    /// The first one.
    creation_time: String,
    /// When the last of it was concluded.
    last_updated: String,
    count: u32,
    /// If there were several (C24).
    #[serde(skip_serializing_if = "Option::is_none")]
    first_occurrence_time: Option<String>,
}

/// The id of an alarm there: where it stands here, as one piece of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
struct AlarmId {
    device_id: String,
    first_at: Timestamp,
    alarm_id: String,
}

impl AlarmId {
    fn to_text(&self) -> String {
        let AlarmId { device_id, first_at, alarm_id } = self;
        URL_SAFE_NO_PAD.encode(format!("{} {alarm_id} {device_id}", first_at.millis()))
    }

    fn read(text: &str) -> Option<AlarmId> {
        let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut words = plain.splitn(3, ' ');
        let first_at = Timestamp::from_millis(words.next()?.parse().ok()?);
        let alarm_id = words.next()?.to_owned();
        let device_id = words.next().filter(|id| is_device_id(id))?.to_owned();
        Some(AlarmId { device_id, first_at, alarm_id })
    }
}

impl AlarmShape {
    /// Of what is kept of an alarm; `None` if that is something else.
    fn of(source: Source, origin: &str, output: &Output) -> Option<AlarmShape> {
        let alarm = alarm_of(output)?;
        let id = AlarmId {
            device_id: output.device_id.clone(),
            first_at: alarm.first_at,
            alarm_id: alarm.alarm_id.to_string(),
        };
        let id = id.to_text();
        Some(AlarmShape {
            own: format!("{origin}{ALARMS}/{id}"),
            id,
            alarm_type: type_of(alarm),
            source,
            severity: alarm.severity.word(),
            status: alarm.state.word(),
            text: alarm.text.to_string(),
            time: rfc3339::text(alarm.last_at),
            creation_time: rfc3339::text(alarm.first_at),
            last_updated: rfc3339::text(output.effect.recorded_at),
            count: alarm.count,
            first_occurrence_time: (alarm.count > 1).then(|| rfc3339::text(alarm.first_at)),
        })
    }
}

fn type_of(alarm: &AlarmEvent) -> &'static str {
    if alarm.alarm_type == UNAVAILABILITY { TYPE } else { alarm.alarm_type }
}

fn alarm_of(output: &Output) -> Option<&AlarmEvent> {
    match &output.effect.kind {
        EffectKind::Alarm(alarm) => Some(alarm),
        _ => None,
    }
}

/// Times from the first one on, and before the second.
type Span = (Timestamp, Timestamp);

/// Which alarms are asked for (C26).
struct Wanted {
    states: Option<Vec<AlarmState>>,
    severities: Option<Vec<Severity>>,
    types: Option<Vec<String>>,
    source: Option<String>,
    resolved: Option<bool>,
    date: Span,
    created: Span,
    updated: Span,
}

impl Wanted {
    fn take(parameters: &mut Parameters, now: Timestamp) -> Result<Wanted, Problem> {
        let mut span = |from: &str, to: &str| -> Result<Span, Problem> {
            let from = time_of(parameters, from, now)?.unwrap_or(Timestamp::NEVER);
            Ok((from, time_of(parameters, to, now)?.unwrap_or(Timestamp::MAX)))
        };
        let date = span("dateFrom", "dateTo")?;
        let created = span("createdFrom", "createdTo")?;
        let updated = span("lastUpdatedFrom", "lastUpdatedTo")?;
        let states = |word: &str| AlarmState::from_word(word);
        let states = words(parameters, "status", states, AlarmState::ALL.iter().map(|one| one.word()))?;
        let severities = |word: &str| Severity::from_word(word);
        let known = Severity::ALL.iter().map(|one| one.word());
        let severities = words(parameters, "severity", severities, known)?;
        let resolved = match parameters.take("resolved")?.as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                let why = format!("{other:?} is neither true nor false");
                return Err(BadFilter::new("resolved", why).into());
            }
        };
        let types = parameters.take("type")?;
        Ok(Wanted {
            states,
            severities,
            types: types.map(|types| types.split(',').map(|one| one.trim().to_owned()).collect()),
            source: parameters.take("source")?,
            resolved,
            date,
            created,
            updated,
        })
    }

    fn takes(&self, output: &Output, alarm: &AlarmEvent) -> bool {
        let within = |(from, to): Span, at: Timestamp| at >= from && (at < to || to == Timestamp::MAX);
        self.states.as_ref().is_none_or(|states| states.contains(&alarm.state))
            && self.severities.as_ref().is_none_or(|severities| severities.contains(&alarm.severity))
            && self.types.as_ref().is_none_or(|types| types.iter().any(|one| one == type_of(alarm)))
            && self.resolved.is_none_or(|resolved| resolved == (alarm.state == AlarmState::Cleared))
            && within(self.date, alarm.last_at)
            && within(self.created, alarm.first_at)
            && within(self.updated, output.effect.recorded_at)
    }

    /// Hands each of them to `take`, the newest first unless `oldest_first`, until it wants no more.
    fn each(
        &self,
        app: &App,
        tenant: &str,
        oldest_first: bool,
        mut take: impl FnMut(Output) -> bool,
    ) -> Result<(), Problem> {
        // None occurred last before it occurred first.
        let span = (self.created.0, self.created.1.min(self.date.1));
        app.view.history.each_alarm(tenant, self.source.as_deref(), span, oldest_first, |output| {
            let is_wanted = alarm_of(&output).is_some_and(|alarm| self.takes(&output, alarm));
            match !is_wanted || take(output) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        Ok(())
    }
}

/// Takes a parameter of several words.
fn words<T>(
    parameters: &mut Parameters,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
    known: impl Iterator<Item = &'static str>,
) -> Result<Option<Vec<T>>, Problem> {
    let Some(text) = parameters.take(name)? else { return Ok(None) };
    let found: Option<Vec<T>> = text.split(',').map(|word| read(&word.trim().to_ascii_uppercase())).collect();
    found.map(Some).ok_or_else(|| {
        let known: Vec<&str> = known.collect();
        BadFilter::new(name, format!("{text:?}: there are {}; several with commas", known.join(", "))).into()
    })
}

/// A page of alarms.
#[derive(Serialize)]
pub struct Alarms {
    alarms: Vec<AlarmShape>,
    #[serde(flatten)]
    frame: Frame,
}

/// `GET /alarm/alarms` (C26)
pub async fn list(State(app): State<App>, mut asked: Asked) -> Result<Json<Alarms>, Problem> {
    let paging = Paging::take(&mut asked, ALARMS)?;
    let Asked { tenant, mut parameters, origin, .. } = asked;
    let wanted = Wanted::take(&mut parameters, app.clock.now())?;
    let oldest_first = parameters.flag("revert")?;
    app.beside(move |app| {
        let mut page = Collected::new();
        wanted.each(app, &tenant, oldest_first, |output| page.take(&paging, || output))?;
        let frame = paging.frame(page.has_next, page.seen);
        // One look at what is known for all of them, and none while the past is read: the follower waits meanwhile.
        let sources = Source::all(&app.view.state().fleet, &tenant, &origin, &page.items);
        let alarms = sources.into_iter().zip(&page.items);
        let alarms = alarms.filter_map(|(source, output)| AlarmShape::of(source, &origin, output));
        Ok(Json(Alarms { alarms: alarms.collect(), frame }))
    })
    .await
}

/// `GET /alarm/alarms/count`: a number
pub async fn count(State(app): State<App>, asked: Asked) -> Result<Json<u64>, Problem> {
    let Asked { tenant, mut parameters, .. } = asked;
    let wanted = Wanted::take(&mut parameters, app.clock.now())?;
    app.beside(move |app| {
        let mut count = 0;
        wanted.each(app, &tenant, false, |_| {
            count += 1;
            true
        })?;
        Ok(Json(count))
    })
    .await
}

/// An alarm by its id there. One of another tenant is answered in the same words as one that never was.
fn found(app: &App, tenant: &str, id: &str) -> Result<(AlarmId, Output), Problem> {
    let unknown =
        || problem::not_found(format!("there is no alarm {id:?}; lists of alarms tell their ids")).about(id);
    let known = AlarmId::read(id).ok_or_else(unknown)?;
    let found = app.view.history.alarm(tenant, &known.device_id, known.first_at, &known.alarm_id)?;
    Ok((known, found.ok_or_else(unknown)?))
}

fn shape(app: &App, tenant: &str, origin: &str, id: &str) -> Result<AlarmShape, Problem> {
    let (_, output) = found(app, tenant, id)?;
    let source = Source::of(&app.view.state().fleet, tenant, origin, &output.device_id);
    let shape = AlarmShape::of(source, origin, &output);
    shape.ok_or_else(|| problem::internal("an alarm is kept as something else"))
}

/// `GET /alarm/alarms/{id}`
pub async fn one(
    State(app): State<App>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Json<AlarmShape>, Problem> {
    app.beside(move |app| shape(app, &asked.tenant, &asked.origin, &id).map(Json)).await
}

/// `PUT /alarm/alarms/{id}`: acknowledges or clears it (C23). What it is already is no error.
pub async fn put(
    State(app): State<App>,
    asked: Asked,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let Asked { tenant, who, origin, .. } = asked;
    let wanted = status_of(&body)?;
    let (alarm_id, state) = {
        let (tenant, id) = (tenant.clone(), id.clone());
        app.beside(move |app| {
            let (known, output) = found(app, &tenant, &id)?;
            Ok((known, alarm_of(&output).map(|alarm| alarm.state)))
        })
        .await?
    };
    let action = match (wanted, state) {
        (None, _) => None,
        (wanted, state) if wanted == state => None,
        (Some(AlarmState::Cleared), _) => Some(AlarmAction::Clear),
        (Some(AlarmState::Acknowledged), Some(AlarmState::Active)) => Some(AlarmAction::Acknowledge),
        (Some(wanted), state) => {
            let state = state.map_or("unknown", AlarmState::word);
            return Err(problem::conflict(format!(
                "the alarm is {state} and does not become {wanted} again: from ACTIVE it is ACKNOWLEDGED, and CLEARED for good"
            )));
        }
    };
    let mut status = StatusCode::OK;
    if let Some(action) = action {
        let AlarmId { device_id, alarm_id, .. } = alarm_id;
        let command = Command::Alarm(Some(alarm_id), action);
        let given = give(&app, &who, &tenant, &device_id, command, Some(patience(&app))).await?;
        if given.outcome != "applied" {
            status = StatusCode::ACCEPTED;
        }
    }
    let shape = app.beside(move |app| shape(app, &tenant, &origin, &id)).await?;
    Ok((status, Json(shape)).into_response())
}

/// `PUT /alarm/alarms`: acknowledges or clears all open alarms that satisfy the filter (C23), and tells how many those are.
/// The commands are in the log when it answers; each is audited by itself.
pub async fn put_all(
    State(app): State<App>,
    asked: Asked,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Asked { tenant, who, mut parameters, .. } = asked;
    let wanted = Wanted::take(&mut parameters, app.clock.now())?;
    let (action, from) = match status_of(&body)? {
        Some(AlarmState::Acknowledged) => (AlarmAction::Acknowledge, &[AlarmState::Active][..]),
        Some(AlarmState::Cleared) => {
            (AlarmAction::Clear, &[AlarmState::Active, AlarmState::Acknowledged][..])
        }
        _ => {
            let why = "status: it must be ACKNOWLEDGED or CLEARED; alarms become ACTIVE by themselves";
            return Err(problem::bad_request(why).about("status"));
        }
    };
    app.beside(move |app| {
        let (mut meant, mut matched) = (Vec::new(), 0u64);
        wanted.each(app, &tenant, false, |output| {
            let Some(alarm) = alarm_of(&output) else { return true };
            matched += u64::from(alarm.state != AlarmState::Cleared);
            if from.contains(&alarm.state) {
                let key = format!("{}/{}", output.tenant, output.device_id);
                meant.push((key, Command::Alarm(Some(alarm.alarm_id.to_string()), action)));
            }
            meant.len() <= BULK_MAX
        })?;
        if meant.len() > BULK_MAX {
            return Err(problem::bad_request(format!(
                "more than {BULK_MAX} alarms are meant, which is more than one request changes: narrow the filter"
            )));
        }
        let actor = &*who.0.name;
        let event_id = event_id(actor);
        for some in meant.chunks(BULK_BATCH) {
            let record = |(key, command): &(String, Command)| command.record(app, key, actor, &event_id);
            write(app, &some.iter().map(record).collect::<Vec<_>>())?;
        }
        tracing::info!(target: "lastseen::audit", actor, tenant, matched, event_id, "command for many alarms");
        Ok((StatusCode::ACCEPTED, Json(json!({ "matched": matched }))))
    })
    .await
}

/// The status that a body asks for. What says which alarm is meant may be said again; nothing else can be changed.
fn status_of(body: &[u8]) -> Result<Option<AlarmState>, Problem> {
    let mut said: Map<String, Value> = match body.trim_ascii() {
        b"" => Map::new(),
        body => commands::json(body)?,
    };
    let status = said.remove("status");
    for name in ["id", "source", "type", "self"] {
        said.remove(name);
    }
    if let Some(other) = said.keys().next() {
        let why = format!("{other}: of an alarm the status alone can be changed");
        return Err(problem::bad_request(why).about(other));
    }
    let Some(status) = status else { return Ok(None) };
    let known = status.as_str().and_then(AlarmState::from_word);
    known.map(Some).ok_or_else(|| {
        let known: Vec<&str> = AlarmState::ALL.iter().map(|state| state.word()).collect();
        let why = format!("status: {} is none of {}", json!(status), known.join(", "));
        problem::bad_request(why).about("status")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_alarms_are_one_piece_of_a_path_whatever_the_device_is_called() {
        for device_id in ["pump-1", "a b", "ä/ö".replace('/', "?").as_str(), "%2F..#", "d:x:y z"] {
            let id = AlarmId {
                device_id: device_id.to_owned(),
                first_at: Timestamp::from_millis(1_767_225_600_000),
                alarm_id: "0123456789abcdef0123456789abcdef".to_owned(),
            };
            let text = id.to_text();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
            assert_eq!(AlarmId::read(&text), Some(id));
        }
        for wrong in ["", "x", "12", "MTIgYQ", "MTIgYSBiL2M"] {
            assert_eq!(AlarmId::read(wrong), None, "{wrong}");
        }
    }
}
