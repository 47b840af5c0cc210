//! Managed objects and their availability (Cumulocity C01–C16, C28–C31, C35).

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value, json};

use super::paging::{Frame, Paging};
use super::query::{self, Expr};
use crate::domain::event::ClientKind;
use crate::domain::facet::{Availability, Push};
use crate::domain::policy::Severity;
use crate::domain::time::Timestamp;
use crate::http::app::{App, key_of};
use crate::http::face::Asked;
use crate::http::page::address::encoded;
use crate::http::problem::{self, Problem};
use crate::http::shapes::time;
use crate::query::cells::{Facts, Time};
use crate::query::filter::Sort;
use crate::query::fleet::Listed;
use crate::query::list::Request;

/// Where managed objects stand.
pub const OBJECTS: &str = "/inventory/managedObjects";

/// `c8y_Availability` (C13). There is no status before the first message, and none where nothing is required (C15).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AvailabilityFragment {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

/// `c8y_Connection` (C14).
#[derive(Serialize)]
struct ConnectionFragment {
    status: &'static str,
}

/// `c8y_RequiredAvailability` (C01): minutes; zero or less is maintenance (C03).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequiredFragment {
    response_interval: i16,
}

/// `c8y_ActiveAlarmsStatus`: how many alarms of each severity are not cleared (C31).
#[derive(Serialize, Default)]
struct AlarmsFragment {
    critical: u8,
    major: u8,
    minor: u8,
    warning: u8,
}

/// A fragment that says by being there.
#[derive(Serialize)]
struct Empty {}

/// A device as a managed object. What is not known is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedObject {
    id: String,
    #[serde(rename = "self")]
    own: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    device_type: Option<String>,
    /// The arrival of its first record; told of one, not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<String>,
    /// When its record was edited: not the last communication (C28).
    #[serde(skip_serializing_if = "Option::is_none")]
    last_updated: Option<String>,
    #[serde(rename = "c8y_IsDevice", skip_serializing_if = "Option::is_none")]
    is_device: Option<Empty>,
    #[serde(rename = "c8y_Availability", skip_serializing_if = "Option::is_none")]
    availability: Option<AvailabilityFragment>,
    #[serde(rename = "c8y_Connection", skip_serializing_if = "Option::is_none")]
    connection: Option<ConnectionFragment>,
    #[serde(rename = "c8y_RequiredAvailability", skip_serializing_if = "Option::is_none")]
    required: Option<RequiredFragment>,
    #[serde(rename = "c8y_ActiveAlarmsStatus")]
    alarms: AlarmsFragment,
}

/// The status of the send connection, where there is one (C13, C15).
pub const fn send_status(availability: Availability) -> Option<&'static str> {
    match availability {
        Availability::Available => Some("AVAILABLE"),
        Availability::Unavailable => Some("UNAVAILABLE"),
        Availability::Maintenance => Some("MAINTENANCE"),
        Availability::Unknown | Availability::NotMonitored => None,
    }
}

/// The status of the push connection, where there is one (C07, C14, C15).
pub const fn push_status(push: Push) -> Option<&'static str> {
    match push {
        Push::Online => Some("CONNECTED"),
        Push::Offline => Some("DISCONNECTED"),
        Push::Maintenance => Some("MAINTENANCE"),
        Push::NotMonitored => None,
    }
}

/// The address of a managed object.
pub fn address_of(origin: &str, id: &str) -> String {
    // A path segment of dots alone would be walked, not named.
    let segment = if id.bytes().all(|byte| byte == b'.') { id.replace('.', "%2E") } else { encoded(id) };
    format!("{origin}{OBJECTS}/{segment}")
}

impl ManagedObject {
    /// Of a device; `birth` where it is known.
    pub fn of(origin: &str, listed: &Listed, birth: Timestamp) -> ManagedObject {
        let cells = &listed.cells;
        let facets = cells.facets();
        let at = |of: Time| time(cells.time(of).time());
        let (last_message, status) = (at(Time::LastMessage), send_status(facets.availability));
        let has_availability = last_message.is_some() || status.is_some();
        let mut alarms = AlarmsFragment::default();
        if let Some((_, severity)) = cells.alarm() {
            *match severity {
                Severity::Critical => &mut alarms.critical,
                Severity::Major => &mut alarms.major,
                Severity::Minor => &mut alarms.minor,
                Severity::Warning => &mut alarms.warning,
            } = 1;
        }
        ManagedObject {
            id: listed.id.to_string(),
            own: address_of(origin, &listed.id),
            name: listed.name.as_ref().map(ToString::to_string),
            device_type: listed.device_type.as_ref().map(ToString::to_string),
            creation_time: time(birth),
            last_updated: at(Time::LastUpdated),
            is_device: (cells.client_kind() != Some(ClientKind::Application)).then_some(Empty {}),
            availability: has_availability.then_some(AvailabilityFragment { last_message, status }),
            connection: push_status(facets.push).map(|status| ConnectionFragment { status }),
            required: cells.minutes().map(|response_interval| RequiredFragment { response_interval }),
            alarms,
        }
    }
}

/// That there is no such managed object. One of another tenant is answered in the same words.
pub fn no_object(id: &str) -> Problem {
    problem::not_found(format!("there is no managed object {id:?}; its id is the id of the device")).about(id)
}

/// The record key of a device, and the device as lists tell it.
///
/// # Errors
/// There is none.
pub fn found(app: &App, tenant: &str, id: &str) -> Result<(String, Listed), Problem> {
    let key = key_of(tenant, id).map_err(|_| no_object(id))?;
    let listed = app.view.state().fleet.get(&key).ok_or_else(|| no_object(id))?;
    Ok((key, listed))
}

/// A managed object in full.
///
/// # Errors
/// There is none, or the database fails.
pub fn object(app: &App, tenant: &str, origin: &str, id: &str) -> Result<ManagedObject, Problem> {
    let key = key_of(tenant, id).map_err(|_| no_object(id))?;
    let (device, listed) = app.view.device(&key)?.ok_or_else(|| no_object(id))?;
    Ok(ManagedObject::of(origin, &listed, device.birth))
}

/// `GET /inventory/managedObjects/{id}`
pub async fn one(
    State(app): State<App>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Json<ManagedObject>, Problem> {
    app.beside(move |app| object(app, &asked.tenant, &asked.origin, &id).map(Json)).await
}

/// `GET /inventory/managedObjects/{id}/availability`: what the vendor's client of today reads. It looks for every field,
/// so all of them are there.
pub async fn availability(
    State(app): State<App>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (_, listed) = found(&app, &asked.tenant, &id)?;
    let cells = &listed.cells;
    let facets = cells.facets();
    Ok(Json(json!({
        "deviceId": listed.id,
        "externalId": listed.id,
        "lastMessage": time(cells.time(Time::LastMessage).time()),
        "interval": cells.minutes().map(|minutes| format!("{minutes} MINUTES")),
        "dataStatus": send_status(facets.availability).unwrap_or(facets.availability.word()),
        "connectionStatus": push_status(facets.push).unwrap_or("UNKNOWN"),
    })))
}

/// A page of managed objects.
#[derive(Serialize)]
pub struct Objects {
    #[serde(rename = "managedObjects")]
    objects: Vec<ManagedObject>,
    #[serde(flatten)]
    frame: Frame,
}

/// `GET /inventory/managedObjects` (C30). What it is asked for holds together.
pub async fn list(State(app): State<App>, mut asked: Asked) -> Result<Json<Objects>, Problem> {
    let paging = Paging::take(&mut asked, OBJECTS)?;
    let Asked { tenant, mut parameters, origin, .. } = asked;
    let now = app.clock.now();
    let mut terms = Vec::new();
    let mut sort = Sort::Id;
    for (name, only_devices) in [("q", true), ("query", false)] {
        if let Some(text) = parameters.take(name)? {
            let read = query::read(name, &text, now)?;
            terms.extend(read.filter);
            terms.extend(only_devices.then(query::is_device));
            sort = read.sort.unwrap_or(sort);
        }
    }
    if let Some(wanted) = parameters.take("type")? {
        terms.push(query::is_of_type(&wanted));
    }
    if let Some(name) = parameters.take("fragmentType")? {
        terms.push(query::has("fragmentType", &name)?);
    }
    let ids: Option<Vec<String>> =
        parameters.take("ids")?.map(|ids| ids.split(',').map(|id| id.trim().to_owned()).collect());
    let mut filters = query::filters(&Expr::All(terms))?;
    app.beside(move |app| {
        let (skip, limit) = (paging.skip(), paging.limit());
        let (devices, has_next, total) = match ids {
            // So many devices at most: nobody else need be looked at.
            Some(ids) => {
                let state = app.view.state();
                let known = ids.iter().filter_map(|id| state.fleet.get(&format!("{tenant}/{id}")));
                let is_meant = |listed: &Listed| filters.iter().any(|filter| listed.satisfies(filter));
                let found: Vec<Listed> = known.filter(is_meant).collect();
                let total = found.len();
                let page = found.into_iter().skip(skip).take(limit).collect();
                (page, total > skip.saturating_add(limit), total)
            }
            None => {
                let filter = filters.pop().unwrap_or_default();
                let uncounted = !paging.wants_total();
                let request =
                    Request { filter, or: filters, sort, limit, skip, uncounted, ..Request::default() };
                let page = app.view.list(&tenant, &request);
                (page.devices, page.next.is_some(), page.matched)
            }
        };
        let object = |listed: &Listed| ManagedObject::of(&origin, listed, Timestamp::NEVER);
        Ok(Json(Objects {
            objects: devices.iter().map(object).collect(),
            frame: paging.frame(has_next, total),
        }))
    })
    .await
}
