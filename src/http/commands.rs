//! Routes that command. A command is a control event: it goes through the log like any other, and what became of it is
//! read from there.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::app::{App, Parameters, Who, key_of, no_device};
use super::auth::Need;
use super::problem::{self, Problem};
use super::shapes::{BulkAnswer, CommandAnswer, Position};
use crate::domain::effect::{Ignored, InputTopic, Outcome};
use crate::domain::event::{
    AlarmAction, AlarmCommand, AlarmTarget, Body, Delete, Event, IntervalSource, LABELS_MAX, Lifecycle,
    Maintenance, Register, RequiredInterval, Stage, Subject, TEXT_BYTES_MAX,
};
use crate::log::{OutRecord, Topic};
use crate::query::outcomes::Became;
use crate::wire::encode;

/// The longest that `wait` waits, in seconds.
pub const WAIT_MAX: u64 = 30;
/// Devices that one command for a filter reaches at most.
pub const BULK_MAX: usize = 100_000;
/// How many are written in one go.
pub const BULK_BATCH: usize = 2_000;

/// How often a device must send.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IntervalCommand {
    /// Minutes; null stops monitoring, whatever the policy says; zero or less is maintenance.
    #[serde(default)]
    pub minutes: Option<i64>,
    /// true gives the device back to the policy.
    #[serde(default)]
    pub policy: bool,
}

/// Maintenance on or off.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceCommand {
    /// On or off.
    pub on: bool,
    /// Why.
    #[serde(default)]
    pub note: Option<String>,
}

/// The stage of a device's life.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LifecycleCommand {
    /// preregistered, post_provisioning, configuring, active or deactivated.
    pub stage: String,
    /// Percent.
    #[serde(default)]
    pub progress: Option<u8>,
}

/// The labels of a device, all of them.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelsCommand {
    /// Keys and values; at most 32.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// One command for every device that a filter matches.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BulkCommand {
    /// Exactly one of these.
    #[serde(default)]
    pub required_interval: Option<IntervalCommand>,
    /// Maintenance on or off.
    #[serde(default)]
    pub maintenance: Option<MaintenanceCommand>,
    /// The stage of their lives.
    #[serde(default)]
    pub lifecycle: Option<LifecycleCommand>,
    /// Their labels, all of them.
    #[serde(default)]
    pub labels: Option<LabelsCommand>,
    /// true acknowledges the open unavailability alarm of each.
    #[serde(default)]
    pub acknowledge: bool,
    /// true clears it.
    #[serde(default)]
    pub clear: bool,
    /// true deletes them.
    #[serde(default)]
    pub delete: bool,
    /// How many devices match, as the count said; without it they are only counted.
    #[serde(default)]
    pub expect: Option<usize>,
}

/// A command, checked.
pub enum Command {
    /// How often it must send, and who says so.
    Interval(Option<i16>, IntervalSource),
    /// Maintenance on or off, and why.
    Maintenance(bool, Option<String>),
    /// The stage of its life, and percent.
    Lifecycle(Stage, Option<u8>),
    /// Its labels, all of them.
    Labels(Vec<(String, String)>),
    /// To its alarm of this id, or to the open one.
    Alarm(Option<String>, AlarmAction),
    /// Forget it.
    Delete,
}

impl Command {
    /// How often it must send.
    ///
    /// # Errors
    /// It says two things.
    pub fn interval(command: &IntervalCommand) -> Result<Command, Problem> {
        match (command.minutes, command.policy) {
            (Some(_), true) => Err(problem::bad_request("either `minutes` or `policy`, not both")),
            (None, true) => Ok(Command::Interval(None, IntervalSource::Policy)),
            // Out-of-range values clamp to the border (SEMANTICS §5.1).
            (minutes, false) => {
                let clamp = |minutes: i64| minutes.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
                Ok(Command::Interval(minutes.map(clamp), IntervalSource::Operator))
            }
        }
    }

    /// Maintenance on or off.
    ///
    /// # Errors
    /// The note is too long.
    pub fn maintenance(command: MaintenanceCommand) -> Result<Command, Problem> {
        if let Some(note) = &command.note {
            check_text("note", note)?;
        }
        Ok(Command::Maintenance(command.on, command.note))
    }

    fn lifecycle(command: &LifecycleCommand) -> Result<Command, Problem> {
        let stage = Stage::from_word(&command.stage).ok_or_else(|| {
            let known: Vec<&str> = Stage::ALL.iter().map(|stage| stage.word()).collect();
            problem::bad_request(format!("stage: {:?} is none of {}", command.stage, known.join(", ")))
        })?;
        if command.progress.is_some_and(|percent| percent > 100) {
            return Err(problem::bad_request("progress: it must be 0 to 100"));
        }
        Ok(Command::Lifecycle(stage, command.progress))
    }

    fn labels(command: LabelsCommand) -> Result<Command, Problem> {
        if command.labels.len() > LABELS_MAX {
            return Err(problem::bad_request(format!("labels: at most {LABELS_MAX}")));
        }
        for (key, value) in &command.labels {
            check_text("labels", key)?;
            check_text("labels", value)?;
        }
        Ok(Command::Labels(command.labels.into_iter().collect()))
    }

    fn bulk(command: BulkCommand) -> Result<Command, Problem> {
        let mut said = Vec::new();
        if let Some(interval) = &command.required_interval {
            said.push(Command::interval(interval)?);
        }
        if let Some(maintenance) = command.maintenance {
            said.push(Command::maintenance(maintenance)?);
        }
        if let Some(lifecycle) = &command.lifecycle {
            said.push(Command::lifecycle(lifecycle)?);
        }
        if let Some(labels) = command.labels {
            said.push(Command::labels(labels)?);
        }
        if command.acknowledge {
            said.push(Command::Alarm(None, AlarmAction::Acknowledge));
        }
        if command.clear {
            said.push(Command::Alarm(None, AlarmAction::Clear));
        }
        if command.delete {
            said.push(Command::Delete);
        }
        match (said.pop(), said.is_empty()) {
            (Some(command), true) => Ok(command),
            _ => Err(problem::bad_request(
                "exactly one of requiredInterval, maintenance, lifecycle, labels, acknowledge, clear, delete",
            )),
        }
    }

    /// The record that carries it for one device.
    pub fn record(&self, app: &App, key: &str, actor: &str, event_id: &str) -> OutRecord {
        let labels: Vec<(&str, &str)>;
        let actor = Some(actor);
        let body = match self {
            Command::Interval(minutes, source) => Body::RequiredInterval(RequiredInterval {
                minutes: *minutes,
                source: *source,
                only_if_absent: false,
            }),
            Command::Maintenance(on, note) => {
                Body::Maintenance(Maintenance { on: *on, actor, note: note.as_deref() })
            }
            Command::Lifecycle(stage, progress) => {
                Body::Lifecycle(Lifecycle { stage: *stage, progress: *progress })
            }
            Command::Labels(all) => {
                labels = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                Body::Register(Register {
                    device_type: None,
                    name: None,
                    client_kind: None,
                    parent: None,
                    labels: Some(labels),
                })
            }
            Command::Alarm(id, action) => Body::AlarmCommand(AlarmCommand {
                target: match id {
                    Some(id) => AlarmTarget::Id(id),
                    None => AlarmTarget::Type(crate::domain::monitoring::UNAVAILABILITY),
                },
                action: *action,
                actor,
            }),
            Command::Delete => Body::Delete(Delete { actor }),
        };
        event_record(app, InputTopic::Control, key, body, event_id)
    }
}

/// The record of an event without a time of its own: it counts as observed when the log takes it.
pub fn event_record(app: &App, topic: InputTopic, key: &str, body: Body<'_>, event_id: &str) -> OutRecord {
    let event = Event { observed_at: None, event_id: Some(event_id), subject: Subject::Device { key, body } };
    OutRecord {
        topic: Topic::Input(topic),
        partition: app.partition_of(key),
        timestamp: app.clock.now(),
        key: Some(key.as_bytes().to_vec()),
        value: Some(encode::encode_event_json(&event)),
        headers: vec![("content-type".to_owned(), encode::JSON.as_bytes().to_vec())],
    }
}

fn check_text(name: &str, text: &str) -> Result<(), Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(problem::bad_request(format!("{name}: a text has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// A body of JSON.
///
/// # Errors
/// It is none, or not of this shape: where, and what is wrong.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| problem::bad_request(format!("the body: {error}")))
}

/// An id that names who asked, for the causes of what a command does.
pub fn event_id(actor: &str) -> String {
    format!("http:{actor}:{:016x}", rand::random::<u64>())
}

/// Writes records, acknowledged by all replicas.
///
/// # Errors
/// Nothing can be written here, or the log does not take it.
pub fn write(app: &App, records: &[OutRecord]) -> Result<Vec<u64>, Problem> {
    let append = app.append.as_ref().ok_or_else(|| {
        problem::unavailable("this service only reads; commands and events go to one that may write")
    })?;
    append.append(records).map_err(|error| {
        tracing::error!(%error, "commands or events could not be written");
        problem::unavailable(
            "the log did not take it, at least not all of it; an event that is sent twice counts once",
        )
    })
}

async fn command(
    app: App,
    who: Who,
    tenant: String,
    device_id: String,
    mut parameters: Parameters,
    read: impl FnOnce() -> Result<Command, Problem>,
) -> Result<Response, Problem> {
    who.may(Need::Command, &tenant)?;
    let wait = parameters.whole("wait", 0..=WAIT_MAX)?;
    parameters.done()?;
    let answer = give(&app, &who, &tenant, &device_id, read()?, wait).await?;
    let status = if answer.outcome == "applied" { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(answer)).into_response())
}

/// Gives a command to a device; with `wait`, so many seconds for what becomes of it. Who may is asked before.
///
/// # Errors
/// There is no such device, the log does not take the command, or it was ignored.
pub async fn give(
    app: &App,
    who: &Who,
    tenant: &str,
    device_id: &str,
    command: Command,
    wait: Option<u64>,
) -> Result<CommandAnswer, Problem> {
    let key = key_of(tenant, device_id)?;
    let actor = who.0.name.clone();
    let event_id = event_id(&actor);
    let (partition, offset) = {
        let (event_id, tenant, device_id) = (event_id.clone(), tenant.to_owned(), device_id.to_owned());
        app.beside(move |app| {
            if app.view.state().fleet.get(&key).is_none() {
                return Err(no_device(&device_id));
            }
            let record = command.record(app, &key, &actor, &event_id);
            let partition = record.partition;
            let offsets = write(app, &[record])?;
            let offset = offsets.first().copied().unwrap_or_default();
            tracing::info!(target: "lastseen::audit", actor, tenant, device = device_id, event_id, partition, offset, "command");
            Ok((partition, offset))
        })
        .await?
    };
    let position = Position { topic: InputTopic::Control.word(), partition, offset };
    let accepted = |sentence| CommandAnswer { outcome: "accepted", position, event_id, sentence };
    let Some(wait) = wait else { return Ok(accepted(None)) };
    match became(app, partition, offset, Duration::from_secs(wait)).await {
        Some(Became::Told(Outcome::Applied, sentence)) => {
            Ok(CommandAnswer { outcome: "applied", ..accepted(Some(sentence)) })
        }
        Some(Became::Told(Outcome::Ignored(why), sentence)) => {
            Err(problem::conflict(format!("ignored: {}. {sentence}", in_words(why))).because(why.word()))
        }
        Some(Became::Untold) => Err(problem::conflict(format!("ignored: {}", in_words(Ignored::Deleted)))
            .because(Ignored::Deleted.word())),
        None => Ok(accepted(Some(format!("not taken within {wait} s; it is in the log and will be")))),
    }
}

fn in_words(why: Ignored) -> &'static str {
    match why {
        Ignored::Duplicate => "the same was said before",
        Ignored::Stale => "it is of an old session",
        Ignored::Older => "something later set this fact already",
        Ignored::Deleted => "it lies before the delete of its device",
        Ignored::IntervalPresent => "an interval is set already",
        Ignored::NoInterval => {
            "the device has no required interval, so it has no maintenance either; set an interval first"
        }
        Ignored::NoAlarm => "the device has no such open alarm",
        Ignored::AlreadyAcknowledged => "the alarm is acknowledged already",
        Ignored::BeforeAlarm => "it lies before the alarm",
        Ignored::BeforeBirth => "it lies before the device's first event",
    }
}

/// What became of a command; `None`: nothing within `wait`.
pub async fn became(app: &App, partition: u32, offset: u64, wait: Duration) -> Option<Became> {
    let mut changed = app.changed.clone();
    let told = async {
        loop {
            changed.mark_unchanged();
            if let Some(became) = app.view.became(partition, offset) {
                return became;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::time::timeout(wait, told).await.ok()
}

type DevicePath = Path<(String, String)>;

/// `PUT …/devices/{device_id}/required-interval`
pub async fn required_interval(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): DevicePath,
    parameters: Parameters,
    body: Bytes,
) -> Result<Response, Problem> {
    command(app, who, tenant, device_id, parameters, || Command::interval(&json(&body)?)).await
}

/// `PUT …/devices/{device_id}/maintenance`
pub async fn maintenance(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): DevicePath,
    parameters: Parameters,
    body: Bytes,
) -> Result<Response, Problem> {
    command(app, who, tenant, device_id, parameters, || Command::maintenance(json(&body)?)).await
}

/// `PUT …/devices/{device_id}/lifecycle`
pub async fn lifecycle(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): DevicePath,
    parameters: Parameters,
    body: Bytes,
) -> Result<Response, Problem> {
    command(app, who, tenant, device_id, parameters, || Command::lifecycle(&json(&body)?)).await
}

/// `PUT …/devices/{device_id}/labels`
pub async fn labels(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): DevicePath,
    parameters: Parameters,
    body: Bytes,
) -> Result<Response, Problem> {
    command(app, who, tenant, device_id, parameters, || Command::labels(json(&body)?)).await
}

/// `POST …/devices/{device_id}/alarms/{alarm_id}/acknowledge`
pub async fn acknowledge(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id, alarm_id)): Path<(String, String, String)>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let read = || Ok(Command::Alarm(Some(alarm_id), AlarmAction::Acknowledge));
    command(app, who, tenant, device_id, parameters, read).await
}

/// `POST …/devices/{device_id}/alarms/{alarm_id}/clear`
pub async fn clear(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id, alarm_id)): Path<(String, String, String)>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let read = || Ok(Command::Alarm(Some(alarm_id), AlarmAction::Clear));
    command(app, who, tenant, device_id, parameters, read).await
}

/// `DELETE …/devices/{device_id}`
pub async fn delete(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): DevicePath,
    parameters: Parameters,
) -> Result<Response, Problem> {
    command(app, who, tenant, device_id, parameters, || Ok(Command::Delete)).await
}

/// `POST …/commands?filter`: the same command for all devices that match; counted first, then confirmed by the count
pub async fn bulk(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    parameters: Parameters,
    body: Bytes,
) -> Result<Response, Problem> {
    who.may(Need::Command, &tenant)?;
    let filter = parameters.filter(app.clock.now())?;
    let said: BulkCommand = json(&body)?;
    let expect = said.expect;
    let command = Command::bulk(said)?;
    let actor = who.0.name.clone();
    app.beside(move |app| {
        let keys: Vec<String> = {
            let state = app.view.state();
            let tenant_of = state.fleet.tenant(&tenant);
            tenant_of.map_or(Vec::new(), |devices| {
                let found = devices.matching(&[&filter]);
                found.iter().map(|index| format!("{tenant}/{}", devices.row(index).id())).collect()
            })
        };
        let matched = keys.len();
        let Some(expect) = expect else {
            return Ok(Json(BulkAnswer { outcome: "counted", matched, event_id: None }).into_response());
        };
        if expect != matched {
            return Err(problem::conflict(format!(
                "{matched} devices match, and {expect} were expected: nothing was done. Look again, and expect {matched}"
            )));
        }
        if matched > BULK_MAX {
            return Err(problem::bad_request(format!(
                "{matched} devices match; one command reaches {BULK_MAX} at most: narrow the filter"
            )));
        }
        let event_id = event_id(&actor);
        for some in keys.chunks(BULK_BATCH) {
            let records: Vec<OutRecord> =
                some.iter().map(|key| command.record(app, key, &actor, &event_id)).collect();
            write(app, &records)?;
        }
        tracing::info!(target: "lastseen::audit", actor, tenant, matched, event_id, "command for many");
        let answer = BulkAnswer { outcome: "accepted", matched, event_id: Some(event_id) };
        Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
    })
    .await
}
