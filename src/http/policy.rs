//! The policy: read, tried on the devices as they are, set. It concerns all tenants, and so do the tokens that it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::app::{App, Parameters, Who};
use super::auth::Need;
use super::commands::{WAIT_MAX, became, event_id, write};
use super::problem::{self, Problem};
use super::shapes::Position;
use crate::domain::effect::InputTopic;
use crate::domain::event::{Event, Subject};
use crate::domain::policy::Policy;
use crate::log::{OutRecord, Topic};
use crate::query::whatif::{Trial, would_change};
use crate::wire::encode;
use crate::wire::policy::{from_json, to_json};

/// Devices that a trial names.
const NAMED_MAX: usize = 1_000;

/// `GET /v1/policy`
pub async fn get(
    State(app): State<App>,
    Who(token): Who,
    parameters: Parameters,
) -> Result<Json<Box<RawValue>>, Problem> {
    token.may(Need::Audit, None)?;
    parameters.done()?;
    let policy = app.view.state().partitions.first().map(|known| known.policy.clone()).unwrap_or_default();
    let text = String::from_utf8(to_json(&policy)).ok().and_then(|text| RawValue::from_string(text).ok());
    text.map(Json).ok_or_else(|| problem::internal("the policy cannot be written"))
}

fn read(body: &[u8]) -> Result<Policy, Problem> {
    from_json(body).map_err(|reject| {
        problem::bad_request(format!("the policy is refused ({}): {}", reject.reason, reject.message))
    })
}

/// What a policy would change.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialShape {
    /// Devices that were looked at.
    pub devices: u64,
    /// Devices whose status would change.
    pub changed: u64,
    /// Alarms that would be raised at once.
    pub raised: u64,
    /// Alarms that would be cleared at once.
    pub cleared: u64,
    /// By facet and change, as `AVAILABLE → UNAVAILABLE`, how many devices.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    pub changes: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Those devices, by key: what would change. Of more than 1,000 the others are only counted.
    pub named: BTreeMap<String, Vec<String>>,
}

/// `POST /v1/policy/try`
pub async fn attempt(
    State(app): State<App>,
    Who(token): Who,
    parameters: Parameters,
    body: Bytes,
) -> Result<Json<TrialShape>, Problem> {
    token.may(Need::Audit, None)?;
    parameters.done()?;
    let policy = read(&body)?;
    app.beside(move |app| {
        let Trial { devices, changed, raised, cleared, changes, named } =
            would_change(&app.view, &policy, NAMED_MAX)?;
        Ok(Json(TrialShape { devices, changed, raised, cleared, changes, named }))
    })
    .await
}

/// What became of a policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAnswer {
    /// accepted: it is in the log of every partition; applied: the view shows it in all of them.
    pub outcome: &'static str,
    /// Where it stands.
    pub positions: Vec<Position>,
    /// Its id: `eventId` in the causes of what it does; it names who asked.
    pub event_id: String,
}

/// `PUT /v1/policy`
pub async fn set(
    State(app): State<App>,
    Who(token): Who,
    mut parameters: Parameters,
    body: Bytes,
) -> Result<Response, Problem> {
    token.may(Need::Command, None)?;
    let wait = parameters.whole("wait", 0..=WAIT_MAX)?;
    parameters.done()?;
    let policy = read(&body)?;
    let actor = token.name.clone();
    let event_id = event_id(&actor);
    let positions = {
        let event_id = event_id.clone();
        app.beside(move |app| {
            let subject = Subject::Policy(Box::new(policy));
            let event = Event { observed_at: None, event_id: Some(&event_id), subject };
            let value = encode::encode_event_json(&event);
            let record = |partition: u32| OutRecord {
                topic: Topic::Input(InputTopic::Control),
                partition,
                timestamp: app.clock.now(),
                key: None,
                value: Some(value.clone()),
                headers: vec![("content-type".to_owned(), encode::JSON.as_bytes().to_vec())],
            };
            let records: Vec<OutRecord> = (0..app.partitions).map(record).collect();
            let offsets = write(app, &records)?;
            tracing::info!(target: "lastseen::audit", actor, event_id, "policy");
            let position = |(record, offset): (&OutRecord, &u64)| Position {
                topic: InputTopic::Control.word(),
                partition: record.partition,
                offset: *offset,
            };
            Ok(records.iter().zip(&offsets).map(position).collect::<Vec<_>>())
        })
        .await?
    };
    let mut outcome = "accepted";
    if let Some(wait) = wait {
        let all = async {
            for position in &positions {
                became(&app, position.partition, position.offset, Duration::from_secs(wait)).await?;
            }
            Some(())
        };
        if let Ok(Some(())) = tokio::time::timeout(Duration::from_secs(wait), all).await {
            outcome = "applied";
        }
    }
    let status = if outcome == "applied" { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(PolicyAnswer { outcome, positions, event_id })).into_response())
}
