//! Forms that command: the commands of the API, answered by a redirect to the page that shows their effect.

use axum::RequestExt;
use axum::extract::{Form, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::address::{self, Query};
use crate::domain::event::AlarmAction;
use crate::http::app::{App, Parameters, Who};
use crate::http::auth::Need;
use crate::http::commands::{Command, IntervalCommand, MaintenanceCommand, give};
use crate::http::problem::{self, Problem};

/// Whoever sends a form waits so long, in seconds, for the view to show its effect.
const WAIT: u64 = 10;

/// What the page says of a command that took effect, or is to.
pub fn notice(word: &str) -> Option<&'static str> {
    match word {
        "applied" => Some("Done."),
        "accepted" => {
            Some("The command is in the log, but was not taken yet. It will be; this page shows it then.")
        }
        _ => None,
    }
}

/// The fields of a form. They are read after it is known that whoever sends it may.
async fn fields(request: Request) -> Result<Parameters, Problem> {
    let form: Result<Form<Vec<(String, String)>>, _> = request.extract().await;
    let Form(fields) = form.map_err(|error| problem::bad_request(format!("the form: {error}")))?;
    Ok(Parameters::of(fields))
}

async fn sent(
    app: App,
    who: Who,
    (tenant, device_id): (String, String),
    command: Command,
    to: String,
) -> Result<Response, Problem> {
    let answer = give(&app, &who, &tenant, &device_id, command, Some(WAIT)).await?;
    let to = Query::default().with("notice", answer.outcome).behind(&to);
    Ok(Redirect::to(&to).into_response())
}

/// `POST /tenants/{tenant}/devices/{device_id}/required-interval`
pub async fn required_interval(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Need::Command, &tenant)?;
    let mut fields = fields(request).await?;
    let action = fields.take("do")?;
    let minutes = fields.take("minutes")?.filter(|text| !text.trim().is_empty());
    let command = match action.as_deref() {
        Some("stop") => IntervalCommand { minutes: None, policy: false },
        Some("policy") => IntervalCommand { minutes: None, policy: true },
        // Enter in the field says no more than the field.
        None | Some("set") => {
            let minutes = minutes.ok_or_else(|| {
                problem::bad_request("the required interval: say how many minutes, or stop monitoring")
            })?;
            let number = minutes.trim().parse::<i64>().map_err(|_| {
                problem::bad_request(format!(
                    "the required interval: {minutes:?} is no whole number of minutes"
                ))
            })?;
            IntervalCommand { minutes: Some(number), policy: false }
        }
        Some(other) => {
            return Err(problem::bad_request(format!("do: {other:?} is none of set, stop, policy")));
        }
    };
    let to = address::device(&tenant, &device_id);
    sent(app, who, (tenant, device_id), Command::interval(&command)?, to).await
}

/// `POST /tenants/{tenant}/devices/{device_id}/maintenance`
pub async fn maintenance(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    who.may(Need::Command, &tenant)?;
    let mut fields = fields(request).await?;
    let on = match fields.take("on")?.as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => return Err(problem::bad_request("on: it must be true or false")),
    };
    let command = Command::maintenance(MaintenanceCommand { on, note: None })?;
    let to = address::device(&tenant, &device_id);
    sent(app, who, (tenant, device_id), command, to).await
}

async fn alarm(
    app: App,
    who: Who,
    (tenant, device_id, alarm_id): (String, String, String),
    request: Request,
    action: AlarmAction,
) -> Result<Response, Problem> {
    who.may(Need::Command, &tenant)?;
    let mut fields = fields(request).await?;
    let to = match fields.take("back")?.as_deref() {
        Some("alarms") => format!("{}/alarms", address::fleet(&tenant)),
        _ => address::device(&tenant, &device_id),
    };
    sent(app, who, (tenant, device_id), Command::Alarm(Some(alarm_id), action), to).await
}

/// `POST /tenants/{tenant}/devices/{device_id}/alarms/{alarm_id}/acknowledge`
pub async fn acknowledge(
    State(app): State<App>,
    who: Who,
    Path(path): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    alarm(app, who, path, request, AlarmAction::Acknowledge).await
}

/// `POST /tenants/{tenant}/devices/{device_id}/alarms/{alarm_id}/clear`
pub async fn clear(
    State(app): State<App>,
    who: Who,
    Path(path): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    alarm(app, who, path, request, AlarmAction::Clear).await
}
