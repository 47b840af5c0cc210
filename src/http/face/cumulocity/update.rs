//! Managed objects as they are written: heartbeats, required intervals, maintenance (Cumulocity C01–C05, C09, C10, C18).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::objects::{found, object};
use crate::domain::effect::InputTopic;
use crate::domain::event::{Activity, ActivityKind, Body, SessionRef};
use crate::http::app::App;
use crate::http::auth::Need;
use crate::http::commands::{
    self, Command, IntervalCommand, MaintenanceCommand, event_id, event_record, give, write,
};
use crate::http::face::Asked;
use crate::http::problem::{self, Problem};
use crate::query::cells::Facts;
use crate::query::fleet::Listed;

/// Who sends this speaks for a device, and is not it (C10).
const APPLICATION_KEY: &str = "x-cumulocity-application-key";
/// So many seconds at most are waited for what becomes of a command, so that the answer shows it (C18).
const WAIT_MAX: u64 = 5;

/// What can be written, for whoever wrote something else.
const SUPPORTED: &str = "a managed object takes {} as a heartbeat, and {\"c8y_RequiredAvailability\": \
    {\"responseInterval\": MINUTES}} or null for it; what a device is called comes by register events";

/// For so many seconds a command is waited for: less than an answer may take.
pub fn patience(app: &App) -> u64 {
    WAIT_MAX.min(app.limits.timeout.as_secs() / 2)
}

/// `PUT /inventory/managedObjects/{id}`
pub async fn put(
    State(app): State<App>,
    asked: Asked,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut said: Map<String, Value> = match body.trim_ascii() {
        b"" => Map::new(),
        body => commands::json(body)?,
    };
    if said.remove("id").is_some_and(|said| said != json!(id)) {
        return Err(
            problem::bad_request(format!("id: it is another than that of the address, {id:?}")).about("id")
        );
    }
    let required = said.remove("c8y_RequiredAvailability");
    if let Some(other) = said.keys().next() {
        return Err(problem::bad_request(format!("{other}: it cannot be written; {SUPPORTED}")).about(other));
    }
    match required {
        None => heartbeat(app, asked, id, headers.contains_key(APPLICATION_KEY)).await,
        Some(required) => require(app, asked, id, &required).await,
    }
}

/// A heartbeat: its answer has the id, and the record of the device was not edited.
async fn heartbeat(app: App, asked: Asked, id: String, is_application: bool) -> Result<Response, Problem> {
    let Asked { tenant, who, .. } = asked;
    app.beside(move |app| {
        let (key, _) = found(app, &tenant, &id)?;
        if !is_application {
            let body = Body::Activity(Activity {
                kind: ActivityKind::Heartbeat,
                channel: None,
                session: SessionRef::default(),
                via_application: false,
                topic: None,
                count: 1,
            });
            write(app, &[event_record(app, InputTopic::Activity, &key, body, &event_id(&who.0.name))])?;
        }
        Ok(Json(json!({ "id": id })).into_response())
    })
    .await
}

async fn require(app: App, asked: Asked, id: String, required: &Value) -> Result<Response, Problem> {
    let Asked { tenant, who, origin, .. } = asked;
    who.may(Need::Command, &tenant)?;
    let minutes = minutes_of(required)?;
    let (_, listed) = found(&app, &tenant, &id)?;
    let given = give(&app, &who, &tenant, &id, command(minutes, &listed)?, Some(patience(&app))).await?;
    // Not taken yet, it is in the log all the same, and will be.
    let status = if given.outcome == "applied" { StatusCode::OK } else { StatusCode::ACCEPTED };
    let object = app.beside(move |app| object(app, &tenant, &origin, &id)).await?;
    Ok((status, Json(object)).into_response())
}

/// What a required interval comes to. One that is only negated is maintenance, on or off: so the interval goes back to the
/// policy, if it is the policy's (C18).
fn command(minutes: Option<i64>, listed: &Listed) -> Result<Command, Problem> {
    let known = listed.cells.minutes().map(i64::from).filter(|known| *known != 0);
    match (minutes, known) {
        (Some(minutes), Some(known)) if minutes == -known => {
            Command::maintenance(MaintenanceCommand { on: minutes < 0, note: None })
        }
        (minutes, _) => Command::interval(&IntervalCommand { minutes, policy: false }),
    }
}

/// Minutes of a `c8y_RequiredAvailability`; without it monitoring stops (C04).
fn minutes_of(required: &Value) -> Result<Option<i64>, Problem> {
    if required.is_null() {
        return Ok(None);
    }
    let said = required.get("responseInterval");
    // Beyond all borders it is clamped as well (C02).
    let whole = |said: &Value| {
        said.as_i64().or_else(|| said.as_f64().filter(|said| said.fract() == 0.0).map(|said| said as i64))
    };
    said.and_then(whole).map(Some).ok_or_else(|| {
        let why = format!(
            "c8y_RequiredAvailability: responseInterval must be a whole number of minutes; {SUPPORTED}"
        );
        problem::bad_request(why).about("c8y_RequiredAvailability")
    })
}
