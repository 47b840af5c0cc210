//! The live stream: server-sent events, with the filters of lists.
//!
//! `device`: a device that satisfies the filter changed. `left`: one that did satisfies it no more. `deleted`. `reset`:
//! some of what was missed is not kept any more; read the list again. `bye`: the stream ends, and why. The id of an event
//! is a mark that means the same at every replica.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::app::{App, Parameters, STREAMS, Who, key_of, no_device};
use super::auth::Need;
use super::devices::device_value;
use super::problem::{self, Problem};
use super::shapes::{DeviceItem, kind_of, raw};
use crate::query::filter::{BadFilter, Filter};
use crate::query::live::{Change, Live, Mark};

/// Changes that are looked at before the next are waited for.
const TURN: usize = 256;
/// A comment is sent after so long a silence, so that nobody in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream shows.
enum Scope {
    Fleet(Box<Filter>),
    Device(String),
}

struct Client {
    app: App,
    tenant: String,
    scope: Scope,
    /// Where it reads on.
    place: u64,
    /// What it has seen.
    mark: Mark,
    ready: VecDeque<Event>,
    changed: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

fn begin(
    app: App,
    tenant: String,
    scope: Scope,
    headers: &HeaderMap,
    said: Option<String>,
) -> Result<Client, Problem> {
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        problem::unavailable(format!("{STREAMS} live streams run already; try again in a while"))
    })?;
    let (changed, stopping) = (app.changed.clone(), app.stopping.clone());
    // A browser says it in a header when it comes back; whoever begins anew may say it in the address.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned).or(said);
    // The end first, then the mark of what is known: what is applied between the two counts as seen, and whoever reads
    // a state after this moment sees it there.
    let end = app.view.live.end();
    let now = mark_of(&app);
    let mut ready = VecDeque::new();
    let (place, mark) = match last.filter(|last| !last.is_empty()) {
        None => (end, now),
        Some(last) => {
            let mark = Mark::read(&last).ok_or_else(|| {
                BadFilter::new("Last-Event-ID", format!("{last:?} is none that this service gave"))
            })?;
            match app.view.live.resume(&mark) {
                Ok(place) => (place, mark),
                Err(_) => {
                    let why = "what happened since then is not kept any more: read the list again";
                    ready.push_back(event("reset", &json!({ "detail": why })).id(now.to_text()));
                    (end, now)
                }
            }
        }
    };
    Ok(Client { app, tenant, scope, place, mark, ready, changed, stopping, is_over: false, _permit: permit })
}

/// The mark of what is known now.
pub fn mark_of(app: &App) -> Mark {
    Mark(app.view.standing().iter().map(|one| one.seq).collect())
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

impl Client {
    /// The next event; `None`: the stream is over.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Client)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            if self.is_over {
                return None;
            }
            self.changed.mark_unchanged();
            match self.app.view.live.read(self.place, TURN) {
                Err(_) => {
                    let why = "you read more slowly than things happen, and some of it is not kept any more: read the \
                               list again, then connect anew, perhaps with a narrower filter";
                    self.ready.push_back(event("bye", &json!({ "reason": "too_slow", "detail": why })));
                    self.is_over = true;
                }
                Ok((changes, next)) if next > self.place => {
                    self.place = next;
                    for change in changes {
                        self.see(&change);
                    }
                }
                Ok(_) => {
                    tokio::select! {
                        changed = self.changed.changed() => self.is_over |= changed.is_err(),
                        _ = self.stopping.wait_for(|stopping| *stopping) => {
                            let why = "the service stops; connect again, with Last-Event-ID nothing is missed";
                            self.ready.push_back(event("bye", &json!({ "reason": "stopping", "detail": why })));
                            self.is_over = true;
                        }
                    }
                }
            }
        }
    }

    fn see(&mut self, change: &Change) {
        if Live::has_seen(&self.mark, change) {
            return;
        }
        let event = (*change.tenant == *self.tenant).then(|| self.tell(change)).flatten();
        if change.is_last {
            self.mark.pass(change.partition, change.seq);
        }
        if let Some(event) = event {
            self.ready.push_back(event.id(self.mark.to_text()));
        }
    }

    fn tell(&self, change: &Change) -> Option<Event> {
        let (was, is) = match &self.scope {
            Scope::Device(device_id) => {
                if *change.device_id != **device_id {
                    return None;
                }
                (change.before.is_some(), change.after.is_some())
            }
            Scope::Fleet(filter) => {
                let satisfies = |listed: &Option<_>| {
                    listed
                        .as_ref()
                        .is_some_and(|listed: &crate::query::fleet::Listed| listed.satisfies(filter))
                };
                (satisfies(&change.before), satisfies(&change.after))
            }
        };
        let device_id = &*change.device_id;
        let outputs: Vec<Value> = change
            .outputs
            .iter()
            .filter_map(|output| Some(json!({ "kind": kind_of(&output.effect), "output": raw(output)? })))
            .collect();
        match (&change.after, was, is) {
            (Some(after), _, true) => {
                let device = DeviceItem::from(after);
                Some(event("device", &json!({ "device": device, "isNew": !was, "told": outputs })))
            }
            (Some(_), true, false) => Some(event("left", &json!({ "deviceId": device_id, "told": outputs }))),
            (None, true, _) => Some(event("deleted", &json!({ "deviceId": device_id, "told": outputs }))),
            _ => None,
        }
    }
}

fn events_of(client: Client) -> Response {
    let events = stream::unfold(client, Client::next);
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("still here"));
    // Proxies that gather answers would hold it back.
    ([("x-accel-buffering", "no")], stream).into_response()
}

/// `GET …/live`
pub async fn fleet(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    let said = parameters.take("lastEventId")?;
    let filter = parameters.filter(app.clock.now())?;
    Ok(events_of(begin(app, tenant, Scope::Fleet(Box::new(filter)), &headers, said)?))
}

/// `GET …/devices/{device_id}/live`
pub async fn device(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    let said = parameters.take("lastEventId")?;
    parameters.done()?;
    let key = key_of(&tenant, &device_id)?;
    let mut client = begin(app.clone(), tenant.clone(), Scope::Device(device_id.clone()), &headers, said)?;
    let mark = client.mark.to_text();
    let present = app
        .beside(move |app| {
            if app.view.state().fleet.get(&key).is_none() {
                return Err(no_device(&device_id));
            }
            device_value(app, &tenant, &device_id)
        })
        .await?;
    client.ready.push_back(event("present", &present).id(mark));
    Ok(events_of(client))
}
