//! `POST …/events`: events by HTTP, for upstreams without Kafka. JSON, JSON Lines, CloudEvents.
//!
//! Every event is checked as the processor will check it, before any is written: all of them are taken, or none.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::app::{App, Parameters, Who};
use super::auth::Need;
use super::commands::{json, write};
use super::problem::{self, ItemProblem, Problem};
use super::shapes::{EventsAnswer, Position};
use crate::domain::effect::InputTopic;
use crate::domain::event::{Body, IntervalSource, Subject};
use crate::domain::time::Timestamp;
use crate::log::{OutRecord, Topic};
use crate::wire::decode::{self, Limits, Line, Scratch};
use crate::wire::encode;
use crate::wire::reject::{Reason, Reject};

/// Events that are taken at once.
pub const EVENTS_MAX: usize = 10_000;
/// Problems and positions that are told.
const TOLD_MAX: usize = 1_000;

crate::domain::event::words!(
    /// How a body holds its events.
    Form {
        Json = "application/json", Lines = "application/x-ndjson", LinesToo = "application/jsonl",
        CloudEvent = "application/cloudevents+json", CloudEvents = "application/cloudevents-batch+json",
    }
);

/// `POST …/events`
pub async fn events(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<EventsAnswer>), Problem> {
    who.may(Need::Send, &tenant)?;
    parameters.done()?;
    app.beside(move |app| {
        let texts = texts(&headers, &body)?;
        if texts.len() > EVENTS_MAX {
            return Err(problem::too_large(format!(
                "{} events; at most {EVENTS_MAX} are taken at once",
                texts.len()
            )));
        }
        let (mut records, mut errors) = (Vec::with_capacity(texts.len()), Vec::new());
        for (text, index) in texts.into_iter().zip(0..) {
            match record(app, &tenant, text) {
                Ok(record) => records.push(record),
                Err(reject) => errors.push(ItemProblem {
                    index,
                    reason: reason_word(reject.reason),
                    detail: reject.message,
                }),
            }
        }
        if !errors.is_empty() {
            let detail = format!("{} of the events cannot be taken, so none was", errors.len());
            errors.truncate(TOLD_MAX);
            return Err(problem::bad_request(detail).of_items(errors));
        }
        let offsets = if records.is_empty() { Vec::new() } else { write(app, &records)? };
        let position = |(record, offset): (&OutRecord, &u64)| {
            let Topic::Input(topic) = record.topic else { return None };
            Some(Position { topic: topic.word(), partition: record.partition, offset: *offset })
        };
        let positions = records.iter().zip(&offsets).filter_map(position).take(TOLD_MAX).collect();
        Ok((StatusCode::ACCEPTED, Json(EventsAnswer { accepted: records.len(), positions })))
    })
    .await
}

fn reason_word(reason: Reason) -> &'static str {
    reason.word()
}

/// The events of a body, each as the text of a JSON object of ours, or why it is none.
fn texts(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Result<String, Reject>>, Problem> {
    let said =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(Form::Json.word());
    let plain = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let form = Form::from_word(&plain).ok_or_else(|| {
        let known: Vec<&str> = Form::ALL.iter().map(|form| form.word()).collect();
        problem::media_type(format!("content-type {plain:?}; it must be one of {}", known.join(", ")))
    })?;
    let own = |value: &RawValue| Ok(value.get().to_owned());
    match form {
        Form::Json if headers.contains_key("ce-specversion") => {
            let attribute = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
            let attributes = [attribute("ce-id"), attribute("ce-time"), attribute("ce-subject")];
            Ok(vec![completed(json::<Map<String, Value>>(body)?, attributes)])
        }
        Form::Json if body.trim_ascii_start().first() == Some(&b'[') => {
            let all: Vec<Box<RawValue>> = json(body)?;
            Ok(all.iter().map(|value| own(value)).collect())
        }
        Form::Json => Ok(vec![String::from_utf8(body.to_vec()).map_err(|_| not_json("not UTF-8"))]),
        Form::Lines | Form::LinesToo => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            Ok(lines
                .map(|line| String::from_utf8(line.to_vec()).map_err(|_| not_json("not UTF-8")))
                .collect())
        }
        Form::CloudEvent => Ok(vec![cloud_event(json(body)?)]),
        Form::CloudEvents => {
            let all: Vec<Map<String, Value>> = json(body)?;
            Ok(all.into_iter().map(cloud_event).collect())
        }
    }
}

fn not_json(message: &str) -> Reject {
    Reject::new(Reason::NotJson, message)
}

/// A CloudEvent in structured mode: its data is the event; id, time and subject stand in for what that does not say.
fn cloud_event(mut event: Map<String, Value>) -> Result<String, Reject> {
    if !matches!(event.get("specversion"), Some(Value::String(version)) if version == "1.0") {
        return Err(not_json("a CloudEvent has specversion \"1.0\""));
    }
    let attributes = ["id", "time", "subject"].map(|name| match event.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    });
    match event.remove("data") {
        Some(Value::Object(data)) => completed(data, attributes),
        _ => Err(not_json(
            "the data of a CloudEvent must be an event as a JSON object; data_base64 is not taken",
        )),
    }
}

fn completed(
    mut data: Map<String, Value>,
    [id, time, subject]: [Option<String>; 3],
) -> Result<String, Reject> {
    for (name, value) in [("eventId", id), ("observedAt", time), ("deviceId", subject)] {
        if let Some(value) = value {
            data.entry(name).or_insert(Value::String(value));
        }
    }
    Ok(Value::Object(data).to_string())
}

/// The record of an event, checked.
fn record(app: &App, tenant: &str, text: Result<String, Reject>) -> Result<OutRecord, Reject> {
    let text = with_tenant(&text?, tenant)?;
    let scratch = Scratch::new();
    let limits = Limits { bytes_max: app.limits.record_bytes };
    let Line::Event(event) = decode::decode_line(text.as_bytes(), &scratch, &limits)? else {
        return Err(Reject::new(
            Reason::NoBody,
            "ticks and sights belong to files; the log has its own clock",
        ));
    };
    let Subject::Device { key, body } = &event.subject else {
        return Err(Reject::new(
            Reason::NoBody,
            "events of nodes and policies concern all tenants; `lastseen send` and `lastseen policy` send them",
        ));
    };
    let is_theirs = key.split_once('/').is_some_and(|(known, _)| known == tenant);
    if !is_theirs {
        return Err(Reject::new(Reason::BadIdentity, "the event names another tenant than the address"));
    }
    let instead = match body {
        Body::Maintenance(_) => Some("PUT …/maintenance"),
        Body::AlarmCommand(_) => Some("POST …/alarms/{alarmId}/acknowledge or /clear"),
        Body::Delete(_) => Some("DELETE …/devices/{deviceId}"),
        Body::RequiredInterval(interval) if interval.source != IntervalSource::Device => {
            Some("PUT …/required-interval; here its source must be device")
        }
        _ => None,
    };
    if let Some(instead) = instead {
        let message = format!("a command has a route of its own, which knows who asks: {instead}");
        return Err(Reject::new(Reason::BadValue, message));
    }
    let topic = match body {
        Body::Connected(_) | Body::Disconnected(_) | Body::ConnectFailed(_) => InputTopic::Connections,
        Body::Activity(_) => InputTopic::Activity,
        _ => InputTopic::Control,
    };
    let (partition, key) = (app.partition_of(key), key.as_bytes().to_vec());
    Ok(OutRecord {
        topic: Topic::Input(topic),
        partition,
        timestamp: app.clock.now().max(Timestamp::MIN),
        key: Some(key),
        value: Some(text.into_bytes()),
        headers: vec![("content-type".to_owned(), encode::JSON.as_bytes().to_vec())],
    })
}

/// The same event with the tenant of the address, if it names none.
fn with_tenant(text: &str, tenant: &str) -> Result<String, Reject> {
    let mut event: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| not_json(&error.to_string()))?;
    if event.get("tenant").is_none_or(Value::is_null) {
        event.insert("tenant".into(), Value::String(tenant.to_owned()));
    }
    Ok(Value::Object(event).to_string())
}
