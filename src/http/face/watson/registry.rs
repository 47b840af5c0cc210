//! Devices as they are registered, and their connection logs (Watson W30–W36).

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::client::{id_of, kind_of, type_of};
use crate::domain::effect::EffectKind;
use crate::domain::event::ClientKind;
use crate::domain::time::{Millis, Timestamp};
use crate::http::app::{App, Parameters, key_of};
use crate::http::face::{Asked, time_of};
use crate::http::problem::{self, Problem};
use crate::http::shapes::time;
use crate::query::filter::BadFilter;
use crate::query::fleet::Listed;
use crate::query::history::Past;

/// Entries of an answer, unless `limit` says otherwise, and at most (W31).
const ENTRIES: u64 = 20;
/// Entries that can be passed over (W31).
const OFFSET_MAX: u64 = 1_000;

/// The properties of a device's description there: labels of these names fill them.
const DESCRIPTION: [&str; 7] =
    ["serialNumber", "manufacturer", "model", "deviceClass", "fwVersion", "hwVersion", "descriptiveLocation"];

/// A device or gateway of this type.
fn registered(app: &App, tenant: &str, type_id: &str, device_id: &str) -> Result<(String, Listed), Problem> {
    let unknown = || {
        problem::not_found(format!("there is no device {device_id:?} of the type {type_id:?}"))
            .about(device_id)
    };
    let key = key_of(tenant, device_id).map_err(|_| unknown())?;
    let listed = app.view.state().fleet.get(&key);
    let is_it = |listed: &Listed| type_of(listed) == type_id && kind_of(listed) != ClientKind::Application;
    listed.filter(is_it).map(|listed| (key, listed)).ok_or_else(unknown)
}

/// `GET /api/v0002/device/types/{typeId}/devices/{deviceId}`
pub async fn device(
    State(app): State<App>,
    asked: Asked,
    Path((type_id, device_id)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    app.beside(move |app| {
        let (key, _) = registered(app, &asked.tenant, &type_id, &device_id)?;
        // Facts and what is listed of the same moment; it may have been deleted meanwhile.
        let (device, listed) = app.view.device(&key)?.ok_or_else(|| {
            problem::not_found(format!("the device {device_id:?} was deleted just now")).about(&device_id)
        })?;
        let labels = listed.labels.as_deref().cloned().unwrap_or_default();
        let mut info: Map<String, Value> = DESCRIPTION
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), json!(labels.get(*name)?))))
            .collect();
        if let Some(name) = &listed.name {
            info.insert("description".into(), json!(name));
        }
        Ok(Json(json!({
            "clientId": id_of(&asked.tenant, &listed),
            "typeId": type_of(&listed),
            "deviceId": listed.id,
            "deviceInfo": info,
            "metadata": labels,
            "registration": { "date": time(device.birth) },
        })))
    })
    .await
}

/// An entry of the log (W32).
#[derive(Serialize)]
pub struct LogEntry {
    message: String,
    timestamp: String,
}

/// `GET /api/v0002/logs/connection` (W30)
pub async fn log(State(app): State<App>, asked: Asked) -> Result<Json<Vec<LogEntry>>, Problem> {
    let Asked { tenant, mut parameters, .. } = asked;
    let type_id = required(&mut parameters, "typeId")?;
    let device_id = required(&mut parameters, "deviceId")?;
    let limit = parameters.whole("limit", 1..=ENTRIES)?.unwrap_or(ENTRIES) as usize;
    let offset = parameters.whole("offset", 1..=OFFSET_MAX)?.unwrap_or(0) as usize;
    let now = app.clock.now();
    let span = match (time_of(&mut parameters, "fromTime", now)?, time_of(&mut parameters, "toTime", now)?) {
        (None, None) => (Timestamp::NEVER, Timestamp::MAX),
        (Some(from), Some(to)) => (from, to),
        (Some(_), None) => {
            return Err(BadFilter::new("fromTime", "it goes with toTime; say both, or none").into());
        }
        (None, Some(_)) => {
            return Err(BadFilter::new("toTime", "it goes with fromTime; say both, or none").into());
        }
    };
    app.beside(move |app| {
        let (key, _) = registered(app, &tenant, &type_id, &device_id)?;
        let kept = |at: Timestamp| at >= span.0 && at < span.1;
        // The log lies in the order of conclusions. What happened was concluded later, but for what was observed ahead of
        // its arrival: so far as the policy allows that, it is looked for earlier.
        let partition = app.partition_of(&key) as usize;
        let ahead =
            app.view.state().partitions.get(partition).map_or(Millis(0), |known| known.policy.max_future);
        let concluded =
            (span.0.known().map_or(Timestamp::NEVER, |from| from + Millis(-ahead.0)), Timestamp::MAX);
        let keep = |output: &crate::wire::output::Output| kept(output.effect.at);
        let found = app.view.history.of_device(Past::Log, &key, concluded, None, offset + limit, keep)?.0;
        let entries = found.into_iter().skip(offset).filter_map(|output| {
            let timestamp = output.effect.at.to_string();
            let EffectKind::Log(entry) = output.effect.kind else { return None };
            Some(LogEntry { message: entry.message, timestamp })
        });
        Ok(Json(entries.collect()))
    })
    .await
}

fn required(parameters: &mut Parameters, name: &str) -> Result<String, Problem> {
    let said = parameters.take(name)?.filter(|text| !text.is_empty());
    said.ok_or_else(|| BadFilter::new(name, "it must be said; typeId and deviceId name the device").into())
}
