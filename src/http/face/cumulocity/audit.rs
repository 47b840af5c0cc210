//! Audit records: who changed what of a device (Cumulocity C32).

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};

use super::alarms::Source;
use super::paging::{Frame, Paging};
use crate::domain::effect::{AuditEntry, Effect, EffectKind, Origin, Outcome};
use crate::domain::time::Timestamp;
use crate::http::app::{App, key_of};
use crate::http::face::{Asked, time_of};
use crate::http::problem::Problem;
use crate::query::filter::BadFilter;
use crate::query::fleet::Fleet;
use crate::query::history::Past;
use crate::wire::output::Output;

/// Where audit records stand.
pub const RECORDS: &str = "/audit/auditRecords";

/// An audit record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    #[serde(rename = "self")]
    own: String,
    #[serde(rename = "type")]
    kind: &'static str,
    activity: &'static str,
    text: String,
    time: String,
    creation_time: String,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    source: Source,
    changes: [Value; 1],
}

/// A page of audit records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    audit_records: Vec<Record>,
    #[serde(flatten)]
    frame: Frame,
}

/// What became of a command, where it took effect: the others are told by the native API.
fn applied(output: &Output) -> Option<&AuditEntry> {
    match &output.effect.kind {
        EffectKind::Audit(entry) if entry.outcome == Outcome::Applied => Some(entry),
        _ => None,
    }
}

/// Type and activity of a record.
fn kind_of(entry: &AuditEntry) -> (&'static str, &'static str) {
    const MONITORING: &str = "Devices availability monitoring";
    // As the facts are described: a number of minutes first, if there is one.
    let minutes = |text: &str| text.split(' ').next().and_then(|word| word.parse::<i32>().ok());
    match entry.command {
        "required_interval" | "maintenance" => {
            let activity = match (minutes(&entry.before), minutes(&entry.after)) {
                (_, None) => "Device availability disabled",
                (_, Some(after)) if after <= 0 => "Device put into maintenance state",
                (Some(before), Some(_)) if before > 0 => "Device availability interval updated",
                _ => "Device availability enabled",
            };
            (MONITORING, activity)
        }
        "alarm_command" => ("Alarm", "Alarm updated"),
        "delete" => ("Inventory", "Managed object deleted"),
        _ => ("Inventory", "Managed object updated"),
    }
}

/// Who it was. An interval names nobody; who set it by HTTP stands in the id of the event.
fn user_of(effect: &Effect, entry: &AuditEntry) -> Option<String> {
    let by_http = || effect.cause.event_id.as_deref()?.strip_prefix("http:")?.rsplit_once(':');
    entry.actor.as_deref().or_else(|| by_http().map(|(name, _)| name)).map(str::to_owned)
}

impl Record {
    fn of(fleet: &Fleet, origin: &str, output: &Output, entry: &AuditEntry) -> Record {
        let effect = &output.effect;
        let id = match effect.cause.origin {
            Origin::Record { partition, offset, .. } => format!("{partition}-{offset}"),
            Origin::Line(line) => line.to_string(),
            Origin::Clock => effect.recorded_at.millis().to_string(),
        };
        let (kind, activity) = kind_of(entry);
        let changes = [json!({
            "attribute": entry.command,
            "type": "String",
            "previousValue": entry.before,
            "newValue": entry.after,
        })];
        Record {
            own: format!("{origin}{RECORDS}/{id}"),
            id,
            kind,
            activity,
            text: effect.cause.sentence.clone(),
            time: effect.at.to_string(),
            creation_time: effect.recorded_at.to_string(),
            severity: "information",
            user: user_of(effect, entry),
            source: Source::of(fleet, &output.tenant, origin, &output.device_id),
            changes,
        }
    }
}

/// `GET /audit/auditRecords`: of one device, the latest first
pub async fn list(State(app): State<App>, mut asked: Asked) -> Result<Json<Records>, Problem> {
    let paging = Paging::take(&mut asked, RECORDS)?;
    let Asked { tenant, mut parameters, origin, .. } = asked;
    let now = app.clock.now();
    let source = parameters.take("source")?.filter(|source| !source.is_empty());
    let source = source.ok_or_else(|| {
        BadFilter::new("source", "it must be said: records are kept by device, and source is the id of one")
    })?;
    let (kind, user) = (parameters.take("type")?, parameters.take("user")?);
    let from = time_of(&mut parameters, "dateFrom", now)?.unwrap_or(Timestamp::NEVER);
    let to = time_of(&mut parameters, "dateTo", now)?.unwrap_or(Timestamp::MAX);
    let oldest_first = parameters.flag("revert")?;
    app.beside(move |app| {
        let key = key_of(&tenant, &source)?;
        let keep = |output: &Output| {
            let Some(entry) = applied(output) else { return false };
            let at = output.effect.at;
            at >= from
                && (at < to || to == Timestamp::MAX)
                && kind.as_deref().is_none_or(|kind| kind == kind_of(entry).0)
                && (user.is_none() || user == user_of(&output.effect, entry))
        };
        let (skip, limit) = (paging.skip(), paging.limit());
        // One more tells whether there is another page; who counts, or begins with the first, needs all of them.
        let needed = match oldest_first || paging.wants_total() {
            true => usize::MAX,
            false => skip.saturating_add(limit + 1),
        };
        let span = (Timestamp::NEVER, Timestamp::MAX);
        let (mut found, _) = app.view.history.of_device(Past::Audit, &key, span, None, needed, keep)?;
        if oldest_first {
            found.reverse();
        }
        let frame = paging.frame(found.len() > skip.saturating_add(limit), found.len());
        let page = found.iter().skip(skip).take(limit);
        let state = app.view.state();
        let records = page
            .filter_map(|output| Some(Record::of(&state.fleet, &origin, output, applied(output)?)))
            .collect();
        Ok(Json(Records { audit_records: records, frame }))
    })
    .await
}
