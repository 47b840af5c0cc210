//! Whether the service lives, whether it is ready, and how the monitor itself does.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::app::{App, Parameters, Who};
use super::auth::Need;
use super::problem::Problem;
use super::shapes::{Health, PartitionHealth, raw};

/// A view that is so far behind the journal, in records, is not ready.
const WAITING_MAX: u64 = 1_000;

/// The health of the view.
pub fn health(app: &App) -> Health {
    let standing = app.view.standing();
    let status = if app.view.failure().is_some() {
        "failed"
    } else if standing.iter().any(|one| !one.caught_up) {
        "restoring"
    } else if standing.iter().any(|one| one.waiting > WAITING_MAX) {
        "lagging"
    } else {
        "ready"
    };
    Health {
        status,
        devices: app.view.state().fleet.len(),
        partitions: standing.iter().map(PartitionHealth::of).collect(),
    }
}

/// `GET /healthz`: it lives
pub async fn healthz() -> Json<Value> {
    Json(json!({ "status": "alive" }))
}

/// `GET /readyz`: it has what it needs to answer. Blindness does not make it unready: its answers say so themselves.
pub async fn readyz(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let health = health(&app);
    let is_ready = health.status == "ready";
    let blind = health.partitions.iter().filter(|one| one.blind.is_some()).count();
    let waiting: u64 = health.partitions.iter().map(|one| one.waiting).sum();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // No counts of devices here: nobody has said who they are.
    (status, Json(json!({ "status": health.status, "blindPartitions": blind, "waiting": waiting })))
}

/// `GET /v1/monitor`: the partitions, and what the monitor said of itself
pub async fn monitor(
    State(app): State<App>,
    Who(token): Who,
    mut parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    token.may(Need::Audit, None)?;
    let limit = parameters.limit()?;
    parameters.done()?;
    app.beside(move |app| {
        let told = app.view.history.of_monitor(limit)?;
        let told: Vec<Value> = told
            .iter()
            .filter_map(|(partition, output)| Some(json!({ "partition": partition, "output": raw(output)? })))
            .collect();
        Ok(Json(json!({ "health": health(app), "told": told })))
    })
    .await
}
