//! Client connection states (Watson W01–W16).

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{UNTYPED, by_id, id_of, kind_of};
use crate::domain::clocks::LastActivity;
use crate::domain::event::ClientKind;
use crate::domain::facet::Connection;
use crate::domain::time::Timestamp;
use crate::http::app::{App, Parameters};
use crate::http::face::{Asked, time_of};
use crate::http::problem::{self, Problem};
use crate::http::shapes::time;
use crate::query::cells::{Facts, Time};
use crate::query::filter::{BadFilter, Filter, Sort};
use crate::query::fleet::Listed;
use crate::query::list::{Cursor, Page, Request};

/// States of a page, unless `_limit` says otherwise (W02), and at most.
const PAGE: usize = 25;
const PAGE_MAX: u64 = 100;

/// The state of a client. What is not known is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientState {
    id: String,
    client_type: &'static str,
    /// Left out where only an activity is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_connect_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_disconnect_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_activity_event: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_activity_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_connect_protocol: Option<&'static str>,
    /// While disconnected. No source has the name of this field (W10).
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_by: Option<&'static str>,
    /// As above.
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_disconnect_reason_code: Option<u8>,
}

/// What an activity is called there. Only `mqttPublish` is proven (W09); the others follow it.
const fn event_of(kind: LastActivity) -> Option<&'static str> {
    Some(match kind {
        LastActivity::None => return None,
        LastActivity::Connected => "mqttConnect",
        LastActivity::Disconnected => "mqttDisconnect",
        LastActivity::MqttPublish => "mqttPublish",
        LastActivity::MqttSubscribe => "mqttSubscribe",
        LastActivity::MqttUnsubscribe => "mqttUnsubscribe",
        LastActivity::HttpPostEvent => "httpPostEvent",
        LastActivity::HttpPostCommand => "httpPostCommand",
        LastActivity::HttpPostCommandRequest => "httpPostCommandRequest",
        LastActivity::EventCreate => "eventCreate",
        LastActivity::MeasurementCreate => "measurementCreate",
        LastActivity::AlarmCreate => "alarmCreate",
        LastActivity::Heartbeat => "heartbeat",
        LastActivity::InventoryUpdate => "inventoryUpdate",
        LastActivity::OperationUpdate => "operationUpdate",
    })
}

impl ClientState {
    fn of(tenant: &str, listed: &Listed) -> ClientState {
        let cells = &listed.cells;
        let at = |of: Time| time(cells.time(of).time());
        ClientState {
            id: id_of(tenant, listed),
            client_type: kind_of(listed).word(),
            connection_status: match cells.facets().connection {
                Connection::Unknown => None,
                Connection::Connected => Some("connected"),
                Connection::Disconnected => Some("disconnected"),
            },
            last_connect_time: at(Time::LastConnect),
            last_disconnect_time: at(Time::LastDisconnect),
            last_activity_event: event_of(cells.kind()),
            last_activity_time: at(Time::LastActivity),
            mqtt_connect_protocol: cells.mqtt().map(|version| version.word()),
            disconnected_by: cells.disconnected_by().map(|by| by.word()),
            mqtt_disconnect_reason_code: cells.reason_code(),
        }
    }
}

/// A page of them (W02).
#[derive(Serialize)]
pub struct States {
    results: Vec<ClientState>,
    /// None on the last page: a null would make the vendor's client ask for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    bookmark: Option<String>,
}

/// That states are told at all (W13).
fn activated(app: &App) -> Result<(), Problem> {
    if app.limits.client_state {
        return Ok(());
    }
    Err(problem::forbidden(
        "the client connection state API is not activated; http.watson_client_state of this service activates it",
    ))
}

/// `GET /api/v0002/config/clientstate` (W13)
pub async fn config(State(app): State<App>, _: Asked) -> Result<Json<Value>, Problem> {
    activated(&app)?;
    Ok(Json(json!({ "enabled": true })))
}

/// `GET /api/v0002/clientconnectionstates/{clientId}` (W01). Whoever is known by its registration alone has no state (W12).
pub async fn one(
    State(app): State<App>,
    asked: Asked,
    Path(client_id): Path<String>,
) -> Result<Json<Value>, Problem> {
    activated(&app)?;
    let listed = by_id(&app, &asked.tenant, &client_id)?;
    if !listed.cells.has_client_state() {
        let why =
            format!("nothing was heard of {client_id:?} yet: neither a connection nor an activity is known");
        return Err(problem::not_found(why).about(&client_id));
    }
    Ok(Json(json!(ClientState::of(&asked.tenant, &listed))))
}

/// `GET /api/v0002/clientconnectionstates` (W02–W08)
pub async fn list(State(app): State<App>, asked: Asked) -> Result<Json<States>, Problem> {
    activated(&app)?;
    let Asked { tenant, mut parameters, .. } = asked;
    let limit = parameters.whole("_limit", 1..=PAGE_MAX)?.map_or(PAGE, |limit| limit as usize);
    let sort = parameters.take("_sort")?.map(|text| sort_of(&text)).transpose()?;
    let after = parameters.take("_bookmark")?.map(|text| {
        let unknown = "it is none that this service gave; leave it out to begin with the first page";
        Cursor::read(&text).map_err(|_| BadFilter::new("_bookmark", unknown))
    });
    let after = after.transpose()?;
    if let (Some(sort), Some(cursor)) = (sort, &after)
        && sort != cursor.sort
    {
        let why = "it belongs to a list in another order; `_sort` must be the same on all pages";
        return Err(BadFilter::new("_bookmark", why).into());
    }
    let sort = sort.or(after.as_ref().map(|cursor| cursor.sort)).unwrap_or_default();
    // All pages count relative times from the same moment.
    let now = after.as_ref().map_or_else(|| app.clock.now(), |cursor| cursor.now);
    let device_id = parameters.take("deviceId")?;
    let filter = filter_of(&mut parameters, device_id.is_some(), now)?;
    app.beside(move |app| {
        let page = match device_id {
            // There is one such device at most: nobody else need be looked at.
            Some(id) => {
                let known = app.view.state().fleet.get(&format!("{tenant}/{id}"));
                let devices = known.filter(|listed| listed.satisfies(&filter)).into_iter().collect();
                Page { devices, ..Page::default() }
            }
            None => {
                let now = Some(now);
                let request =
                    Request { filter, sort, limit, after, now, uncounted: true, ..Request::default() };
                app.view.list(&tenant, &request)
            }
        };
        let bookmark = page.next.as_ref().map(Cursor::to_text);
        Ok(Json(States {
            results: page.devices.iter().map(|one| ClientState::of(&tenant, one)).collect(),
            bookmark,
        }))
    })
    .await
}

/// `_sort` (W04).
fn sort_of(text: &str) -> Result<Sort, BadFilter> {
    let (name, is_descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let time = match name {
        "lastActivityTime" => Time::LastActivity,
        "lastConnectTime" => Time::LastConnect,
        "lastDisconnectTime" => Time::LastDisconnect,
        _ => {
            let known =
                "lastActivityTime, lastConnectTime, lastDisconnectTime; - in front sorts latest first";
            return Err(BadFilter::new("_sort", format!("{text:?} is none of {known}")));
        }
    };
    Ok(Sort::By(time, is_descending))
}

/// What each filter of a time is called in the filter language.
const TIMES: [(&str, &str); 7] = [
    ("connectedAfter", "lastConnectAfter"),
    ("lastConnectedAfter", "lastConnectAfter"),
    ("connectedBefore", "lastConnectBefore"),
    ("disconnectedAfter", "lastDisconnectAfter"),
    ("disconnectedBefore", "lastDisconnectBefore"),
    ("lastActivityAfter", "lastActivityAfter"),
    ("lastActivityBefore", "lastActivityBefore"),
];

/// The filter of a list. Its values are whole words: commas and exclamation marks mean nothing there.
fn filter_of(parameters: &mut Parameters, asks_for_id: bool, now: Timestamp) -> Result<Filter, Problem> {
    let mut filter = Filter::of_client_states();
    let mut must = |name: &str, value: &str| filter.read(name, value, now).map(|_| ());
    for (name, native) in TIMES {
        if let Some(at) = time_of(parameters, name, now)? {
            must(native, &at.to_string())?;
        }
    }
    match parameters.take("connectionStatus")?.as_deref() {
        None => {}
        Some("connected") => must("connection", Connection::Connected.word())?,
        Some("disconnected") => must("connection", Connection::Disconnected.word())?,
        Some(other) => {
            let why = format!("{other:?} is neither connected nor disconnected");
            return Err(BadFilter::new("connectionStatus", why).into());
        }
    }
    if let Some(text) = parameters.take("clientType")? {
        let known: Vec<&str> = ClientKind::ALL.iter().map(|kind| kind.word()).collect();
        let why = || BadFilter::new("clientType", format!("{text:?} is none of {}", known.join(", ")));
        match ClientKind::from_word(&text).ok_or_else(why)? {
            // Whoever was not registered as something else is a device.
            ClientKind::Device => must("clientKind", "!gateway,!application")?,
            kind => must("clientKind", kind.word())?,
        }
    }
    let device_type = parameters.take("deviceType")?;
    if asks_for_id || device_type.is_some() {
        // Applications have an id of their own, and no type.
        must("clientKind", "!application")?;
    }
    if let Some(wanted) = device_type {
        if wanted == UNTYPED {
            filter.device_type.any.push(String::new());
        }
        filter.device_type.any.push(wanted);
    }
    Ok(filter)
}
