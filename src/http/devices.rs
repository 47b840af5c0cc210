//! Routes that read: devices, their past, alarms, the fleet in numbers.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::app::{App, Parameters, Who, key_of, no_device};
use super::auth::Need;
use super::live::mark_of;
use super::problem::{self, Problem};
use super::shapes::{DevicePage, ExplanationShape, PastPage, PastShape, Summary, Trust, raw, time};
use crate::domain::effect::{AlarmState, EffectKind};
use crate::domain::event::words;
use crate::domain::time::Timestamp;
use crate::query::explain::explain;
use crate::query::filter::{BadFilter, Sort};
use crate::query::fleet::Tenant;
use crate::query::history::{HistoryError, Past, Place};
use crate::query::list::{Cursor, Request, count};
use crate::query::past::{Then, status_at};
use crate::wire::output::Output;
use crate::wire::state::device_json;

type Answer<T> = Result<Json<T>, Problem>;

/// `GET …/devices`
pub async fn list(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    mut parameters: Parameters,
) -> Answer<DevicePage> {
    who.may(Need::Read, &tenant)?;
    let limit = parameters.limit()?;
    let with_counts = parameters.flag("counts")?;
    let sort = parameters.take("sort")?.map(|text| Sort::read(&text)).transpose()?;
    let after = parameters.take("cursor")?.map(|text| Cursor::read(&text)).transpose()?;
    if let (Some(sort), Some(cursor)) = (sort, &after)
        && sort != cursor.sort
    {
        return Err(
            BadFilter::new("cursor", format!("it belongs to a list sorted by {}", cursor.sort)).into()
        );
    }
    let sort = sort.or(after.as_ref().map(|cursor| cursor.sort)).unwrap_or_default();
    // All pages count relative times from the same moment.
    let now = after.as_ref().map_or_else(|| app.clock.now(), |cursor| cursor.now);
    let filter = parameters.filter(now)?;
    let request =
        Request { filter, sort, limit, after, now: Some(now), counts: with_counts, ..Request::default() };
    app.beside(move |app| {
        // Before the list: what comes between is told twice rather than never.
        let mark = mark_of(app).to_text();
        let page = app.view.list(&tenant, &request);
        Ok(Json(DevicePage::of(&page, with_counts, mark, Trust::of(&app.view, None))))
    })
    .await
}

/// `GET …/summary`
pub async fn summary(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    parameters: Parameters,
) -> Answer<Summary> {
    who.may(Need::Read, &tenant)?;
    let filter = parameters.filter(app.clock.now())?;
    app.beside(move |app| {
        let state = app.view.state();
        let (devices, counts) = match state.fleet.tenant(&tenant) {
            None => count(&Tenant::default(), &filter),
            Some(tenant) => count(tenant, &filter),
        };
        drop(state);
        Ok(Json(Summary { devices, counts, view: Trust::of(&app.view, None) }))
    })
    .await
}

/// A device in full: facts and statuses, with whether they can be trusted.
pub fn device_value(app: &App, tenant: &str, device_id: &str) -> Result<Value, Problem> {
    let key = key_of(tenant, device_id)?;
    let partition = app.partition_of(&key);
    let (device, listed) = app.view.device(&key)?.ok_or_else(|| no_device(device_id))?;
    let policy = app.view.state().partitions.get(partition as usize).map(|known| known.policy.clone());
    let mut value = device_json(&key, &device, &policy.unwrap_or_default());
    if let Value::Object(fields) = &mut value {
        fields.remove("topic");
        fields.insert("maintenance".into(), json!(super::shapes::DeviceItem::from(&listed).maintenance));
        fields.insert("partition".into(), json!(partition));
    }
    Ok(value)
}

/// `GET …/devices/{device_id}`, also as it was at a past time
pub async fn device(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    let at = parameters.moment("at", app.clock.now())?;
    parameters.done()?;
    app.beside(move |app| {
        if let Some(at) = at {
            return Ok(Json(device_at(app, &tenant, &device_id, at)?).into_response());
        }
        let mut value = device_value(app, &tenant, &device_id)?;
        // What does not depend on the device changes with every commit: it is no part of the tag.
        let tag = format!("\"{:016x}\"", xxh3_64(value.to_string().as_bytes()));
        let partition = value["partition"].as_u64().map(|number| number as u32);
        value["view"] = json!(Trust::of(&app.view, partition));
        let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
        let is_known = known.is_some_and(|known| {
            known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*")
        });
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => Json(value).into_response(),
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        Ok(response)
    })
    .await
}

fn device_at(app: &App, tenant: &str, device_id: &str, at: Timestamp) -> Result<PastShape, Problem> {
    let key = key_of(tenant, device_id)?;
    let partition = app.partition_of(&key);
    let known_to = app.view.standing().get(partition as usize).map_or(Timestamp::NEVER, |one| one.clock);
    if at > known_to {
        return Err(problem::bad_request(format!(
            "at: {at} lies ahead of what is decided, {known_to}; leave `at` out for the status now"
        )));
    }
    let now = app.view.device(&key)?;
    let now = now.as_ref().map(|(device, _)| (&device.facets, device.birth));
    match status_at(&app.view.history, &key, at, now)? {
        Then::Known(then) => {
            let (changed_at, recorded_at, sentence) = match then.last_change {
                Some((at, recorded_at, sentence)) => (time(at), time(recorded_at), Some(sentence)),
                None => (None, None, None),
            };
            Ok(PastShape {
                device_id: device_id.to_owned(),
                at: at.to_string(),
                facets: then.facets.into_iter().map(|(facet, word)| (facet.word(), word)).collect(),
                label: then.label.map(|label| label.word()),
                changed_at,
                recorded_at,
                sentence,
            })
        }
        Then::Absent => Err(problem::not_found(format!("at {at} this tenant had no device {device_id:?}"))),
        Then::Forgotten(since) => Err(problem::not_found(format!(
            "the past that is kept begins at {since} (http.history_seconds); replay tells what was before"
        ))),
    }
}

/// `GET …/devices/{device_id}/explain`
pub async fn why(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    parameters: Parameters,
) -> Answer<ExplanationShape> {
    who.may(Need::Read, &tenant)?;
    parameters.done()?;
    app.beside(move |app| {
        let key = key_of(&tenant, &device_id)?;
        let partition = app.partition_of(&key);
        let told =
            explain(&app.view, &key, partition, app.clock.now())?.ok_or_else(|| no_device(&device_id))?;
        Ok(Json(ExplanationShape::of(&device_id, told, Trust::of(&app.view, Some(partition)))))
    })
    .await
}

/// What every page of the past takes.
struct Span {
    from: Timestamp,
    to: Timestamp,
    after: Option<Place>,
    limit: usize,
}

fn span(parameters: &mut Parameters, now: Timestamp) -> Result<Span, Problem> {
    let after = parameters.take("cursor")?.map(|text| {
        URL_SAFE_NO_PAD.decode(text).map_err(|_| {
            BadFilter::new("cursor", "it is none that this service gave; leave it out to begin anew")
        })
    });
    Ok(Span {
        from: parameters.moment("from", now)?.unwrap_or(Timestamp::NEVER),
        to: parameters.moment("to", now)?.unwrap_or(Timestamp::MAX),
        after: after.transpose()?,
        limit: parameters.limit()?,
    })
}

fn past_page(app: &App, found: Result<(Vec<Output>, Option<Place>), HistoryError>) -> Answer<PastPage> {
    let (found, next) = found?;
    Ok(Json(PastPage {
        items: found.iter().filter_map(raw).collect(),
        next: next.map(|place| URL_SAFE_NO_PAD.encode(place)),
        kept_since: time(app.view.history.horizon()),
    }))
}

async fn past_of_device(
    app: App,
    tenant: String,
    device_id: String,
    what: Past,
    mut parameters: Parameters,
) -> Answer<PastPage> {
    let Span { from, to, after, limit } = span(&mut parameters, app.clock.now())?;
    parameters.done()?;
    app.beside(move |app| {
        let key = key_of(&tenant, &device_id)?;
        let found = app.view.history.of_device(what, &key, (from, to), after.as_deref(), limit, |_| true)?;
        // A device that was deleted has a past; one that never was has none.
        if found.0.is_empty() && after.is_none() && app.view.state().fleet.get(&key).is_none() {
            return Err(no_device(&device_id));
        }
        past_page(app, Ok(found))
    })
    .await
}

/// `GET …/devices/{device_id}/history`
pub async fn history(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    parameters: Parameters,
) -> Answer<PastPage> {
    who.may(Need::Read, &tenant)?;
    past_of_device(app, tenant, device_id, Past::Status, parameters).await
}

/// `GET …/devices/{device_id}/connection-log`
pub async fn connection_log(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    parameters: Parameters,
) -> Answer<PastPage> {
    who.may(Need::Read, &tenant)?;
    past_of_device(app, tenant, device_id, Past::Log, parameters).await
}

/// `GET …/devices/{device_id}/audit`
pub async fn audit(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    parameters: Parameters,
) -> Answer<PastPage> {
    who.may(Need::Audit, &tenant)?;
    past_of_device(app, tenant, device_id, Past::Audit, parameters).await
}

words!(
    /// Which alarms.
    Which { Open = "open", Active = "active", Acknowledged = "acknowledged", Cleared = "cleared" }
);

fn which(parameters: &mut Parameters) -> Result<impl Fn(&Output) -> bool + Send + 'static, Problem> {
    let state = parameters.take("state")?.map(|text| {
        Which::from_word(&text).ok_or_else(|| {
            let known: Vec<&str> = Which::ALL.iter().map(|which| which.word()).collect();
            BadFilter::new("state", format!("{text:?} is none of {}", known.join(", ")))
        })
    });
    let severity = parameters.take("severity")?.map(|text| text.to_ascii_uppercase());
    let state = state.transpose()?;
    Ok(move |output: &Output| {
        let EffectKind::Alarm(alarm) = &output.effect.kind else { return false };
        let is_state = match state {
            None => true,
            Some(Which::Open) => alarm.state != AlarmState::Cleared,
            Some(Which::Active) => alarm.state == AlarmState::Active,
            Some(Which::Acknowledged) => alarm.state == AlarmState::Acknowledged,
            Some(Which::Cleared) => alarm.state == AlarmState::Cleared,
        };
        is_state && severity.as_ref().is_none_or(|severity| alarm.severity.word() == severity)
    })
}

/// `GET …/devices/{device_id}/alarms`
pub async fn alarms_of_device(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    mut parameters: Parameters,
) -> Answer<PastPage> {
    who.may(Need::Read, &tenant)?;
    let keep = which(&mut parameters)?;
    let Span { from, to, after, limit } = span(&mut parameters, app.clock.now())?;
    parameters.done()?;
    app.beside(move |app| {
        let key = key_of(&tenant, &device_id)?;
        let history = &app.view.history;
        let found = history.alarms(&tenant, Some(&device_id), (from, to), after.as_deref(), limit, keep)?;
        if found.0.is_empty() && after.is_none() && app.view.state().fleet.get(&key).is_none() {
            return Err(no_device(&device_id));
        }
        past_page(app, Ok(found))
    })
    .await
}

/// `GET …/alarms`
pub async fn alarms(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    mut parameters: Parameters,
) -> Answer<PastPage> {
    who.may(Need::Read, &tenant)?;
    let keep = which(&mut parameters)?;
    let Span { from, to, after, limit } = span(&mut parameters, app.clock.now())?;
    parameters.done()?;
    app.beside(move |app| {
        past_page(app, app.view.history.alarms(&tenant, None, (from, to), after.as_deref(), limit, keep))
    })
    .await
}

/// `GET …/connection-log`: across devices, for troubleshooting
pub async fn log_of_tenant(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    mut parameters: Parameters,
) -> Answer<PastPage> {
    who.may(Need::Read, &tenant)?;
    let kind = parameters.take("kind")?.map(|text| text.to_ascii_uppercase());
    let code = parameters.whole("reasonCode", 0..=255)?.map(|code| code as u8);
    let prefix = parameters.take("idPrefix")?;
    let Span { from, to, after, limit } = span(&mut parameters, app.clock.now())?;
    parameters.done()?;
    app.beside(move |app| {
        let keep = |output: &Output| {
            let EffectKind::Log(entry) = &output.effect.kind else { return false };
            kind.as_ref().is_none_or(|kind| kind.split(',').any(|kind| kind == entry.kind.word()))
                && code.is_none_or(|code| entry.reason_code == Some(code))
                && prefix.as_ref().is_none_or(|prefix| output.device_id.starts_with(&**prefix))
        };
        past_page(app, app.view.history.log_of_tenant(&tenant, (from, to), after.as_deref(), limit, keep))
    })
    .await
}
