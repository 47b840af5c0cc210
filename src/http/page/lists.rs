//! Alarms and the connection log, of a tenant or of one device.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};

use super::address::{self, Query};
use super::fleet::grouped;
use super::frame::{Frame, Section, may_command};
use super::icons;
use super::words::{human, length, tone_of_severity, when};
use crate::domain::effect::{AlarmEvent, AlarmState, EffectKind, LogEntry, LogKind};
use crate::domain::policy::Severity;
use crate::domain::time::{Millis, Timestamp};
use crate::http::app::{App, Parameters, Who, key_of};
use crate::http::auth::Need;
use crate::http::live::mark_of;
use crate::http::problem::{self, Problem};
use crate::query::filter::BadFilter;
use crate::query::history::{Past, Place};
use crate::wire::output::Output;

/// Items of a page.
const LIMIT: usize = 100;
/// Entries of the connection log that the counts by reason look at.
const LOOKED_AT: usize = 5_000;
/// A list is read again after so many seconds.
const SECONDS: u32 = 15;

/// Which alarms: the word in the address, and how it is called.
const STATES: &[(&str, &str)] = &[
    ("open", "Open"),
    ("active", "Active"),
    ("acknowledged", "Acknowledged"),
    ("cleared", "Cleared"),
    ("all", "All"),
];

/// How far back the connection log goes.
const FROMS: &[(&str, &str, i64)] = &[
    ("-1h", "1 hour", 1),
    ("-24h", "24 hours", 24),
    ("-7d", "7 days", 7 * 24),
    ("all", "All that is kept", 0),
];

/// The value of a parameter that takes one of these words.
fn one_of(
    name: &str,
    said: Option<String>,
    words: &[&'static str],
    default: &'static str,
) -> Result<&'static str, Problem> {
    let Some(said) = said.filter(|said| !said.is_empty()) else { return Ok(default) };
    let found = words.iter().find(|word| word.eq_ignore_ascii_case(&said)).copied();
    found.ok_or_else(|| BadFilter::new(name, format!("{said:?} is none of {}", words.join(", "))).into())
}

fn place(said: Option<String>) -> Result<Option<Place>, Problem> {
    said.map(|text| URL_SAFE_NO_PAD.decode(text)).transpose().map_err(|_| {
        problem::bad_request("cursor: it is none that this service gave; begin with the first page")
    })
}

/// A choice among words as chips that are links.
fn choice(label: &str, name: &str, words: &[(&str, &str)], said: &str, query: &Query, path: &str) -> Markup {
    html! {
        ul class="chips" aria-label=(label) {
            @for (word, called) in words {
                @let to = query.without(&["cursor"]).with(name, word).behind(path);
                li { a class="chip" href=(to) aria-current=[(*word == said).then_some("true")] { (called) } }
            }
        }
    }
}

fn pager(query: &Query, next: Option<&Place>, path: &str) -> Markup {
    html! {
        nav class="pager" aria-label="Pages of the list" {
            @if query.get("cursor").is_some() { a href=(query.without(&["cursor"]).behind(path)) { "First page" } }
            @if let Some(next) = next {
                a rel="next" href=(query.with("cursor", &URL_SAFE_NO_PAD.encode(next)).behind(path)) { "Next page" }
            }
        }
    }
}

/// The device that a list is narrowed to, with a way to drop it.
fn narrowed(device: Option<&str>, query: &Query, path: &str) -> Markup {
    html! {
        @if let Some(device) = device {
            ul class="chips terms" aria-label="Other filters" {
                li { a class="chip" href=(query.without(&["device", "cursor"]).behind(path)) {
                    "device: " (device) " " span aria-hidden="true" { "×" } span class="hidden" { " (drop it)" }
                } }
            }
        }
    }
}

/// `GET /tenants/{tenant}/alarms`
pub async fn alarms(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    let notice = parameters.take("notice")?.and_then(|said| super::commands::notice(&said));
    let query = Query(parameters.pairs().to_vec());
    let words: Vec<&'static str> = STATES.iter().map(|(word, _)| *word).collect();
    let state = one_of("state", parameters.take("state")?, &words, "open")?;
    let severities: Vec<&'static str> = Severity::ALL.iter().map(|severity| severity.word()).collect();
    let severity = one_of("severity", parameters.take("severity")?, &severities, "")?;
    let device = parameters.take("device")?;
    let after = place(parameters.take("cursor")?)?;
    parameters.done()?;
    app.beside(move |app| {
        let mark = mark_of(app).to_text();
        let keep = |output: &Output| match &output.effect.kind {
            EffectKind::Alarm(alarm) => {
                is_in(alarm, state) && (severity.is_empty() || alarm.severity.word() == severity)
            }
            _ => false,
        };
        let always = (Timestamp::NEVER, Timestamp::MAX);
        let found =
            app.view.history.alarms(&tenant, device.as_deref(), always, after.as_deref(), LIMIT, keep);
        let (found, next) = found?;
        let frame = Frame::of(app, &who, &tenant, Section::Alarms, format!("Alarms of {tenant}"));
        let frame =
            frame.follows(&format!("/v1/tenants/{tenant}/live"), &Query::default(), &mark).every(SECONDS);
        let path = format!("{}/alarms", address::fleet(&tenant));
        let grave: Vec<(&str, String)> = severities.iter().map(|word| (*word, human(word))).collect();
        let mut grave: Vec<(&str, &str)> =
            grave.iter().map(|(word, called)| (*word, called.as_str())).collect();
        grave.insert(0, ("", "Any severity"));
        let content = html! {
            @if let Some(notice) = notice { p class="notice good" role="status" { (notice) } }
            div class="title" { h1 { "Alarms" } }
            div class="groups" {
                (choice("State", "state", STATES, state, &query, &path))
                (choice("Severity", "severity", &grave, severity, &query, &path))
            }
            (narrowed(device.as_deref(), &query, &path))
            p id="banner" class="notice" role="status" data-told="alarm" hidden {}
            @if found.is_empty() { p class="empty" { "No alarm is like this." } }
            @else { (alarm_rows(&tenant, &found, frame.now, may_command(app, &who, &tenant), None)) }
            (pager(&query, next.as_ref(), &path))
        };
        Ok(frame.page(StatusCode::OK, &content))
    })
    .await
}

fn is_in(alarm: &AlarmEvent, state: &str) -> bool {
    match state {
        "open" => alarm.state != AlarmState::Cleared,
        "all" => true,
        state => alarm.state.word().eq_ignore_ascii_case(state),
    }
}

/// A table of alarms. `of`: they are those of this device, on its page.
pub fn alarm_rows(
    tenant: &str,
    alarms: &[Output],
    now: Timestamp,
    may_command: bool,
    of: Option<&str>,
) -> Markup {
    html! {
        table class="cards alarms" {
            caption class="hidden" { "Alarms, latest first" }
            thead {
                tr {
                    th scope="col" { "Alarm" }
                    @if of.is_none() { th scope="col" { "Device" } }
                    th scope="col" { "State" }
                    th scope="col" { "Raised" }
                    @if may_command { th scope="col" { "Do" } }
                }
            }
            tbody data-keyed {
                @for output in alarms {
                    @if let EffectKind::Alarm(alarm) = &output.effect.kind { (alarm_row(tenant, output, alarm, now, may_command, of)) }
                }
            }
        }
    }
}

fn alarm_row(
    tenant: &str,
    output: &Output,
    alarm: &AlarmEvent,
    now: Timestamp,
    may_command: bool,
    of: Option<&str>,
) -> Markup {
    let device = address::device(tenant, &output.device_id);
    let path = format!("{device}/alarms/{}", address::encoded(&alarm.alarm_id));
    let tone = if alarm.state == AlarmState::Cleared { "off" } else { tone_of_severity(alarm.severity) };
    html! {
        tr id={ "a-" (output.device_id) "-" (alarm.alarm_id) } data-id=(output.device_id) {
            th scope="row" {
                span class={ "alarm " (tone) } { (icons::icon("bell")) " " (human(alarm.severity.word())) }
                " " (alarm.text)
                @if alarm.count > 1 { small { (alarm.count) " times, last " (when(alarm.last_at, now)) } }
            }
            @if of.is_none() { td data-name="Device" { a href=(device) { (output.device_id) } } }
            td data-name="State" {
                (human(alarm.state.word()))
                @if let Some(actor) = &alarm.actor { " by " (actor) }
                @if let Some(reason) = alarm.reason { small { (human(reason.word())) ", " (when(output.effect.at, now)) } }
            }
            td data-name="Raised" class="time" { (when(alarm.first_at, now)) }
            @if may_command {
                td data-name="Do" class="do" {
                    @if alarm.state != AlarmState::Cleared {
                        @for (action, name) in [("acknowledge", "Acknowledge"), ("clear", "Clear")] {
                            @if action == "clear" || alarm.state == AlarmState::Active {
                                form method="post" action={ (path) "/" (action) } {
                                    @if of.is_none() { input type="hidden" name="back" value="alarms"; }
                                    button aria-label={ (name) " the alarm of " (output.device_id) } { (name) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `GET /tenants/{tenant}/connections`
pub async fn connections(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    let query = Query(parameters.pairs().to_vec());
    let kinds: Vec<&'static str> = LogKind::ALL.iter().map(|kind| kind.word()).collect();
    let kind = one_of("kind", parameters.take("kind")?, &kinds, "")?;
    let froms: Vec<&'static str> = FROMS.iter().map(|(word, ..)| *word).collect();
    let from = one_of("from", parameters.take("from")?, &froms, "-24h")?;
    let code = parameters.take("reasonCode")?.filter(|said| !said.is_empty());
    let code =
        code.map(|said| said.parse::<u8>().map_err(|_| problem::bad_request("reasonCode: it is 0 to 255")));
    let code = code.transpose()?;
    let device = parameters.take("device")?.filter(|said| !said.is_empty());
    let after = place(parameters.take("cursor")?)?;
    parameters.done()?;
    app.beside(move |app| {
        let mark = mark_of(app).to_text();
        let frame = Frame::of(app, &who, &tenant, Section::Connections, format!("Connection log of {tenant}"));
        let hours = FROMS.iter().find(|(word, ..)| *word == from).map_or(0, |(.., hours)| *hours);
        let begin = if hours == 0 { Timestamp::NEVER } else { frame.now + Millis::from_seconds(-hours * 3_600) };
        let span = (begin, Timestamp::MAX);
        let history = &app.view.history;
        let keep = |output: &Output| match &output.effect.kind {
            EffectKind::Log(entry) => {
                (kind.is_empty() || entry.kind.word() == kind) && code.is_none_or(|code| entry.reason_code == Some(code))
            }
            _ => false,
        };
        let read = |limit: usize, after: Option<&[u8]>, keep: &dyn Fn(&Output) -> bool| match &device {
            Some(device) => history.of_device(Past::Log, &key_of(&tenant, device)?, span, after, limit, keep).map_err(Problem::from),
            None => history.log_of_tenant(&tenant, span, after, limit, keep).map_err(Problem::from),
        };
        let (looked_at, more) = read(LOOKED_AT, None, &|_| true)?;
        let (found, next) = read(LIMIT, after.as_deref(), &keep)?;
        let frame = frame.follows(&format!("/v1/tenants/{tenant}/live"), &Query::default(), &mark).every(SECONDS);
        let path = format!("{}/connections", address::fleet(&tenant));
        let of_kinds: Vec<(&str, String)> = kinds.iter().map(|word| (*word, human(word))).collect();
        let mut of_kinds: Vec<(&str, &str)> = of_kinds.iter().map(|(word, called)| (*word, called.as_str())).collect();
        of_kinds.insert(0, ("", "All"));
        let of_froms: Vec<(&str, &str)> = FROMS.iter().map(|(word, called, _)| (*word, *called)).collect();
        let content = html! {
            div class="title" { h1 { "Connection log" } }
            div class="groups" {
                (choice("Back to", "from", &of_froms, from, &query, &path))
                (choice("What happened", "kind", &of_kinds, kind, &query.without(&["reasonCode"]), &path))
            }
            (narrowed(device.as_deref(), &query, &path))
            @if let Some(code) = code {
                ul class="chips terms" aria-label="Reason" {
                    li { a class="chip" href=(query.without(&["reasonCode", "cursor"]).behind(&path)) {
                        "reason code: " (format!("0x{code:02X}")) " " span aria-hidden="true" { "×" } span class="hidden" { " (drop it)" }
                    } }
                }
            }
            (reasons(&looked_at, more.is_some(), &query, &path))
            p id="banner" class="notice" role="status" data-told="connection-log" hidden {}
            @if found.is_empty() { p class="empty" { "No such entry in this time." } }
            @else { (log_rows(&tenant, &found, frame.now, false)) }
            (pager(&query, next.as_ref(), &path))
        };
        Ok(frame.page(StatusCode::OK, &content))
    })
    .await
}

/// What happened, its reason code, and its reason in words.
type Trouble<'e> = (&'e str, Option<u8>, String);

/// Why connects fail and sessions end, by reason, the most frequent first.
fn reasons(entries: &[Output], is_cut: bool, query: &Query, path: &str) -> Markup {
    let mut counts: BTreeMap<Trouble<'_>, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for output in entries {
        let EffectKind::Log(entry) = &output.effect.kind else { continue };
        let is_trouble = matches!(
            entry.kind,
            LogKind::ConnectFailed | LogKind::DisconnectedByServer | LogKind::DisconnectedByNetwork
        );
        if is_trouble {
            let (count, devices) =
                counts.entry((entry.kind.word(), entry.reason_code, reason_of(entry))).or_default();
            *count += 1;
            devices.insert(&output.device_id);
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    // Failed attempts first, then what happens most often.
    counts
        .sort_by_key(|((kind, ..), (count, _))| (*kind != LogKind::ConnectFailed.word(), usize::MAX - count));
    html! {
        section id="reasons" class="card" aria-labelledby="reasons-heading" data-swap {
            h2 id="reasons-heading" { "Trouble by reason" }
            @if counts.is_empty() { p class="empty" { "No attempt failed, and no session was ended by server or network." } }
            @else {
                table class="cards" {
                    thead { tr { th scope="col" { "What" } th scope="col" { "Reason" } th scope="col" { "Times" } th scope="col" { "Devices" } } }
                    tbody {
                        @for ((kind, code, reason), (count, devices)) in &counts {
                            @let to = query.without(&["cursor", "reasonCode"]).with("kind", kind);
                            @let to = match code { Some(code) => to.with("reasonCode", &code.to_string()), None => to };
                            tr {
                                th scope="row" { a href=(to.behind(path)) { (human(kind)) } }
                                td data-name="Reason" { (reason) }
                                td data-name="Times" { (grouped(*count)) }
                                td data-name="Devices" { (grouped(devices.len())) }
                            }
                        }
                    }
                }
            }
            @if is_cut { p { small { "Of the latest " (grouped(entries.len())) " entries." } } }
        }
    }
}

fn reason_of(entry: &LogEntry) -> String {
    let code = entry.reason_code.map(|code| format!("0x{code:02X}"));
    let close_code = entry.close_code.map(|code| format!("close code {code}"));
    let said = entry.reason.as_deref().map(|reason| format!("“{reason}”"));
    let parts = [code.as_deref(), entry.reason_name, close_code.as_deref(), said.as_deref()];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none was given".to_owned() } else { parts.join(" ") }
}

/// A table of entries of the connection log; `of_one`: all of one device, on its page.
pub fn log_rows(tenant: &str, entries: &[Output], now: Timestamp, of_one: bool) -> Markup {
    html! {
        table class="cards log" {
            caption class="hidden" { "Connection log, latest first" }
            thead {
                tr {
                    th scope="col" { "Time" }
                    @if !of_one { th scope="col" { "Device" } }
                    th scope="col" { "What happened" }
                    th scope="col" { "Where" }
                }
            }
            tbody data-keyed {
                @for output in entries {
                    @if let EffectKind::Log(entry) = &output.effect.kind { (log_row(tenant, output, entry, now, of_one)) }
                }
            }
        }
    }
}

fn log_row(tenant: &str, output: &Output, entry: &LogEntry, now: Timestamp, of_one: bool) -> Markup {
    let tone = match entry.kind {
        LogKind::Connected => "good",
        LogKind::ConnectFailed | LogKind::DisconnectedByServer | LogKind::DisconnectedByNetwork => "bad",
        LogKind::DisconnectedByClient | LogKind::TakenOver => "off",
    };
    let place = [
        Some(entry.channel.word().replace('_', " ")),
        entry.node_id.as_deref().map(|node| format!("node {node}")),
        entry.session.id.as_deref().map(|id| format!("session {id}")),
        entry.duration_millis.map(|millis| format!("lasted {}", length(millis.unsigned_abs() / 1000))),
    ];
    let place: Vec<String> = place.into_iter().flatten().collect();
    html! {
        tr id={ "l-" (output.device_id) "-" (output.birth.millis()) "-" (output.effect.sequence) } data-id=(output.device_id) {
            td data-name="Time" class="time" { (when(output.effect.at, now)) }
            @if !of_one { td data-name="Device" { a href=(address::device(tenant, &output.device_id)) { (output.device_id) } } }
            th scope="row" {
                span class={ "pill " (tone) } { (human(entry.kind.word())) }
                @for flag in &entry.flags { " " span class="tag" { (flag.word()) } }
                small { (entry.message) }
            }
            td data-name="Where" { (place.join(", ")) }
        }
    }
}
