//! Service availability: the share of time without an open CRITICAL alarm (Cumulocity C33). No source has an address for
//! it; these routes are ours.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::objects::found;
use crate::domain::effect::{AlarmState, ClearReason, EffectKind};
use crate::domain::policy::Severity;
use crate::domain::time::{Millis, Timestamp};
use crate::http::app::App;
use crate::http::face::Asked;
use crate::http::problem::Problem;
use crate::wire::output::Output;

/// The spans that are told, in days.
const DAYS: [i64; 3] = [1, 7, 30];
/// So many alarms are held against the devices that there are in one go.
const AT_ONCE: usize = 1_000;

/// Percent of the time, of the last 24 hours, 7 and 30 days; null where the past that is kept is shorter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAvailability {
    /// The device; left out where it is about all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// How many devices it is about.
    devices: usize,
    last_day: Option<f64>,
    last_week: Option<f64>,
    last_month: Option<f64>,
}

/// The time that one alarm took out of service; none, unless it is CRITICAL. One that was disproved took none.
fn out_of_service(output: &Output, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let EffectKind::Alarm(alarm) = &output.effect.kind else { return None };
    let is_meant = alarm.severity == Severity::Critical && alarm.reason != Some(ClearReason::Retracted);
    let end = if alarm.state == AlarmState::Cleared { output.effect.at } else { now };
    is_meant.then_some((alarm.first_at, end))
}

fn told(app: &App, tenant: &str, id: Option<String>) -> Result<ServiceAvailability, Problem> {
    let now = app.clock.now();
    let spans = DAYS.map(|days| Millis(days * 86_400_000));
    let mut lost = [0i64; DAYS.len()];
    let mut add = |found: &mut Vec<(String, Timestamp, Timestamp)>| {
        let state = app.view.state();
        for (key, from, to) in found.drain(..) {
            // Of devices that are still there.
            if state.fleet.get(&key).is_none() {
                continue;
            }
            for (lost, span) in lost.iter_mut().zip(spans) {
                let overlap = to.min(now) - from.max(now + Millis(-span.0));
                *lost += overlap.0.max(0);
            }
        }
    };
    // Some at a time: whoever looks at what is known makes the follower wait, and waits for it.
    let mut found = Vec::with_capacity(AT_ONCE);
    let all = (Timestamp::NEVER, now.next());
    app.view.history.each_alarm(tenant, id.as_deref(), all, true, |output| {
        let lost = out_of_service(&output, now);
        found.extend(lost.map(|(from, to)| (format!("{tenant}/{}", output.device_id), from, to)));
        if found.len() == AT_ONCE {
            add(&mut found);
        }
        ControlFlow::Continue(())
    })?;
    add(&mut found);
    let devices = match id {
        Some(_) => 1,
        None => app.view.state().fleet.tenant(tenant).map_or(0, |devices| devices.len()),
    };
    let horizon = app.view.history.horizon();
    let mut shares = lost.iter().zip(spans).map(|(lost, span)| {
        let is_kept = !horizon.happened() || horizon <= now + Millis(-span.0);
        let whole = span.0 as f64 * devices as f64;
        (is_kept && devices > 0).then(|| {
            let percent = 100.0 * (1.0 - *lost as f64 / whole);
            (percent.max(0.0) * 100.0).round() / 100.0
        })
    });
    let mut next = || shares.next().flatten();
    Ok(ServiceAvailability { id, devices, last_day: next(), last_week: next(), last_month: next() })
}

/// `GET /inventory/managedObjects/{id}/serviceAvailability`
pub async fn one(
    State(app): State<App>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Json<ServiceAvailability>, Problem> {
    app.beside(move |app| {
        found(app, &asked.tenant, &id)?;
        told(app, &asked.tenant, Some(id)).map(Json)
    })
    .await
}

/// `GET /inventory/serviceAvailability`: across all devices of a tenant
pub async fn all(State(app): State<App>, asked: Asked) -> Result<Json<ServiceAvailability>, Problem> {
    app.beside(move |app| told(app, &asked.tenant, None).map(Json)).await
}
