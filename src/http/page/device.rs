//! One device: its status card, what it is connected by, its past, its alarms, and why.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::address::{self, Query};
use super::fleet::{label, signs};
use super::frame::{Frame, Section, Trusted, may_command};
use super::icons;
use super::lists::{alarm_rows, log_rows};
use super::timeline::{self, SPANS};
use super::words::{Sign, hint, human, plain, when};
use crate::domain::clocks::LastActivity;
use crate::domain::device::Device;
use crate::domain::effect::EffectKind;
use crate::domain::event::{ChannelKind, IntervalSource};
use crate::domain::facet::{Availability, Connection};
use crate::domain::reason::{Packet, name as reason_name};
use crate::domain::time::{Millis, Timestamp};
use crate::http::app::{App, Parameters, Who, key_of, no_device};
use crate::http::auth::Need;
use crate::http::live::mark_of;
use crate::http::problem::{self, Problem};
use crate::query::cells::client_ends;
use crate::query::explain::{Explanation, explain};
use crate::query::history::Past;
use crate::wire::output::Output;

/// Status changes, and entries of the log, that the picture looks at: so bounded that a page stays quick.
const CHANGES_LOOKED_AT: usize = 3_000;
const LOG_LOOKED_AT: usize = 2_000;
/// Entries of the log, status changes and alarms that the page shows; others have pages of their own.
const LOG_SHOWN: usize = 20;
const CHANGES_SHOWN: usize = 50;
const ALARMS_SHOWN: usize = 10;
/// A partition clock that lies further behind, in milliseconds, ends the picture where it stands.
const LAG_SHOWN: i64 = 60_000;
/// The page is read again after so many seconds, since signs of life alone move its times and tell nobody.
const SECONDS: u32 = 10;

/// Everything that the page shows.
struct Shown {
    tenant: String,
    device_id: String,
    device: Device,
    partition: u32,
    deadline: Option<Timestamp>,
    why: Explanation,
    /// The word of the picture's span, and when it begins.
    span: &'static str,
    begin: Timestamp,
    now: Timestamp,
    /// By when everything is decided.
    decided: Timestamp,
    changes: Vec<Output>,
    log: Vec<Output>,
    alarms: Vec<Output>,
    /// Whether more happened in the span than is looked at: status changes, entries of the log.
    is_cut: (bool, bool),
    may_command: bool,
    notice: Option<&'static str>,
}

/// `GET /tenants/{tenant}/devices/{device_id}`
pub async fn device(
    State(app): State<App>,
    who: Who,
    Path((tenant, device_id)): Path<(String, String)>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    let span = parameters.take("span")?;
    let notice = parameters.take("notice")?;
    parameters.done()?;
    let (span, _, hours) = match span.as_deref() {
        None => SPANS[0],
        Some(said) => *SPANS.iter().find(|(word, ..)| *word == said).ok_or_else(|| {
            let known: Vec<&str> = SPANS.iter().map(|(word, ..)| *word).collect();
            problem::bad_request(format!("span: {said:?} is none of {}", known.join(", ")))
        })?,
    };
    let notice = notice.and_then(|said| super::commands::notice(&said));
    app.beside(move |app| {
        let mark = mark_of(app).to_text();
        let key = key_of(&tenant, &device_id)?;
        let (device, _) = app.view.device(&key)?.ok_or_else(|| no_device(&device_id))?;
        let partition = app.partition_of(&key);
        let frame = Frame::of(app, &who, &tenant, Section::Fleet, called(&device, &device_id).to_owned());
        let now = frame.now;
        let why = explain(&app.view, &key, partition, now)?.ok_or_else(|| no_device(&device_id))?;
        let begin = now + Millis::from_seconds(-hours * 3_600);
        let history = &app.view.history;
        let of = |what: Past, limit: usize, from: Timestamp| {
            history.of_device(what, &key, (from, Timestamp::MAX), None, limit, |_| true)
        };
        let (changes, more) = of(Past::Status, CHANGES_LOOKED_AT, begin)?;
        let (log, more_log) = of(Past::Log, LOG_LOOKED_AT, begin)?;
        // What lies further back is listed all the same.
        let log = if log.len() < LOG_SHOWN { of(Past::Log, LOG_SHOWN, Timestamp::NEVER)?.0 } else { log };
        let always = (Timestamp::NEVER, Timestamp::MAX);
        let (alarms, _) = history.alarms(&tenant, Some(&device_id), always, None, ALARMS_SHOWN, |_| true)?;
        let policy = app.view.state().partitions.get(partition as usize).map(|known| known.policy.clone());
        let deadline =
            policy.and_then(|policy| device.monitoring.deadline(device.clocks.last_message, &policy));
        // A clock that is about right moves with every commit; the picture ends with now.
        let clock = app.view.standing().get(partition as usize).map_or(now, |one| one.clock);
        let decided = if (now - clock).0 > LAG_SHOWN { clock } else { now };
        let shown = Shown {
            may_command: may_command(app, &who, &tenant),
            is_cut: (more.is_some(), more_log.is_some()),
            tenant: tenant.clone(),
            device_id: device_id.clone(),
            device,
            partition,
            deadline,
            why,
            span,
            begin,
            now,
            decided,
            changes,
            log,
            alarms,
            notice,
        };
        let stream = format!("/v1{}/live", address::device(&tenant, &device_id));
        let mut frame = frame.follows(&stream, &Query::default(), &mark).every(SECONDS);
        frame.trust = Some(Trusted::of(app, Some(partition)));
        Ok(frame.page(StatusCode::OK, &content(&shown)))
    })
    .await
}

fn called<'d>(device: &'d Device, device_id: &'d str) -> &'d str {
    device.registration.name.as_ref().map_or(device_id, |fact| &fact.value)
}

fn content(shown: &Shown) -> Markup {
    let Shown { tenant, device_id, device, .. } = shown;
    html! {
        nav class="crumbs" aria-label="Breadcrumb" { a href=(address::fleet(tenant)) { "Fleet" } " / " span { (device_id) } }
        @if let Some(notice) = shown.notice { p class="notice good" role="status" { (notice) } }
        div class="title" id="title" data-swap {
            h1 { (called(device, device_id)) }
            (signs(&device.facets, device.clocks.last_message, device.clocks.last_poll))
            (label(&device.facets, device.progress()))
        }
        div id="hint" data-swap { @if let Some(hint) = hint(&device.facets) { p class="notice warn" { (hint) } } }
        div class="grid" {
            (status_card(shown))
            (connectivity_card(shown))
            (connection_card(shown))
            (about_card(shown))
        }
        (past(shown))
        (why(shown))
        (alarms(shown))
        (log(shown))
        (changes(shown))
    }
}

fn row(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// The device status card of the seed: send, push, last communication; the interval; the toggle.
fn status_card(shown: &Shown) -> Markup {
    let Shown { device, now, .. } = shown;
    let facets = &device.facets;
    let send = Sign::send(facets.availability, device.clocks.last_message);
    let push = Sign::push(facets.push);
    html! {
        section class="card" aria-labelledby="status-heading" {
            h2 id="status-heading" { "Device status" }
            dl id="status" data-swap {
                (row("Send connection", &html! { (send) " " span id="send" class="word" { (send.word) } }))
                (row("Push connection", &html! { (push) " " span id="push" class="word" { (push.word) } }))
                (row("Last communication", &when(device.clocks.last_message, *now)))
                (row("Last updated", &html! {
                    (when(device.last_updated, *now))
                    small { "when its record was edited; says nothing of its connection" }
                }))
                @if let Some(deadline) = shown.deadline.filter(|_| facets.availability != Availability::Unavailable) {
                    (row("Data is due by", &when(deadline, *now)))
                }
            }
            (monitoring(shown))
        }
    }
}

/// The required interval with who set it, and below it, where one is set, the maintenance toggle.
fn monitoring(shown: &Shown) -> Markup {
    let Shown { tenant, device_id, device, .. } = shown;
    let path = address::device(tenant, device_id);
    let monitoring = &device.monitoring;
    let minutes = monitoring.minutes.map(|minutes| i32::from(minutes).abs());
    let by = match monitoring.set_by {
        IntervalSource::Device => "the device",
        IntervalSource::Operator => "an operator",
        IntervalSource::Policy => "the policy",
    };
    let is_on = monitoring.is_maintenance();
    html! {
        div id="monitoring" class="monitoring" data-swap {
            @if shown.may_command {
                form method="post" action={ (path) "/required-interval" } {
                    label for="minutes" { "Required interval" }
                    div class="inline" {
                        input id="minutes" name="minutes" type="number" inputmode="numeric" min="-32768" max="32767"
                            value=[minutes] placeholder="not monitored" aria-describedby="minutes-by";
                        span { "minutes" }
                        button name="do" value="set" { "Save" }
                    }
                    small id="minutes-by" {
                        @match minutes {
                            Some(_) => { "Set by " (by) ". How often you expect to hear from the device; 0 or less is maintenance." },
                            None => { "No interval: the device is not monitored, and its silence is not judged." },
                        }
                    }
                    div class="inline" {
                        @if minutes.is_some() { button class="quiet" name="do" value="stop" formnovalidate { "Stop monitoring" } }
                        @if monitoring.by_event { button class="quiet" name="do" value="policy" formnovalidate { "Leave it to the policy" } }
                    }
                }
                @if minutes.is_some() {
                    form class="toggle" method="post" action={ (path) "/maintenance" } {
                        input type="hidden" name="on" value=(if is_on { "false" } else { "true" });
                        span id="maintenance-name" { (icons::icon("tool")) " Maintenance" }
                        button id="maintenance" class="switch" role="switch" aria-checked=(if is_on { "true" } else { "false" })
                            aria-labelledby="maintenance-name" aria-describedby="maintenance-is" {
                            span class="knob" aria-hidden="true" {}
                        }
                        small id="maintenance-is" {
                            @if is_on { "On: nothing is judged, and no alarm is raised." }
                            @else { "Off. While it is on, no alarm is raised." }
                        }
                    }
                }
            } @else {
                dl {
                    (row("Required interval", &html! {
                        @match minutes { Some(minutes) => { (minutes) " minutes, set by " (by) }, None => "none: not monitored" }
                    }))
                    @if minutes.is_some() { (row("Maintenance", &html! { @if is_on { "on" } @else { "off" } })) }
                }
            }
        }
    }
}

/// Check mark and heartbeat, and what they tell.
fn connectivity_card(shown: &Shown) -> Markup {
    let Shown { device, now, .. } = shown;
    let vpn = Sign::vpn(device.facets.vpn);
    let heartbeat = Sign::heartbeat(device.facets.heartbeat, device.clocks.last_poll);
    html! {
        section class="card" aria-labelledby="reach-heading" {
            h2 id="reach-heading" { "Device connectivity" }
            dl id="reach" data-swap {
                (row("VPN tunnel", &html! { (vpn) " " span class="word" { (vpn.word) }
                    small { "the check mark: an open tunnel, through which the device can be reached" } }))
                (row("API heartbeat", &html! { (heartbeat) " " span class="word" { (heartbeat.word) }
                    small { "the heartbeat: it asked the API for its state in time" } }))
                (row("Last poll", &when(device.clocks.last_poll, *now)))
                (row("Tells", &html! {
                    @if let Some(hint) = hint(&device.facets) { (hint) }
                    @else if device.facets.vpn == Connection::Unknown && device.clocks.last_poll.known().is_none() {
                        "This device has neither a tunnel nor polls: its status follows from its sessions and its data."
                    } @else { "Nothing is amiss between tunnel and API that one of them alone would show." }
                }))
            }
        }
    }
}

/// The client connection state: connected or not, since when, by whom and why.
fn connection_card(shown: &Shown) -> Markup {
    let Shown { device, now, .. } = shown;
    let sign = Sign::connection(device.facets.connection);
    let (newest, recorded) = client_ends(device);
    let is_disconnected = device.facets.connection == Connection::Disconnected;
    let ended = recorded.filter(|_| is_disconnected);
    let open: Vec<_> =
        device.channels.iter().filter_map(|channel| Some((channel.kind, channel.open.as_ref()?))).collect();
    html! {
        section class="card" aria-labelledby="connection-heading" {
            h2 id="connection-heading" { "Client connection state" }
            dl id="connection" data-swap {
                (row("State", &html! { (sign) " " span class="word" { (sign.word) } }))
                (row("Last connect", &when(newest.map_or(Timestamp::NEVER, |session| session.connected_at), *now)))
                (row("Last disconnect", &when(recorded.map_or(Timestamp::NEVER, |end| end.at), *now)))
                @if let Some(end) = ended {
                    (row("Disconnected by", &html! { (human(end.initiator.word())) }))
                    @if let Some(code) = end.reason_code {
                        (row("Reason", &html! {
                            (format!("0x{code:02X}"))
                            @if let Some(name) = reason_name(Packet::Disconnect, ChannelKind::Mqtt, code) { " " (name) }
                        }))
                    }
                }
                @if device.clocks.kind != LastActivity::None {
                    (row("Last activity", &html! {
                        (human(device.clocks.kind.word())) ", " (when(device.clocks.last_activity, *now))
                    }))
                }
                @for (kind, session) in &open {
                    (row(&format!("Open session, {}", kind.word().replace('_', " ")), &html! {
                        (session.id.as_deref().unwrap_or("without an id"))
                        @if let Some(node) = &session.node_id { ", node " (node) }
                        @if let Some(protocol) = &session.protocol { ", " (protocol) }
                        ", since " (when(session.connected_at, *now))
                        @if session.inferred { small { "inferred: its connect was lost, activity over it proves it" } }
                    }))
                }
            }
        }
    }
}

fn about_card(shown: &Shown) -> Markup {
    let Shown { device, device_id, now, .. } = shown;
    let registration = &device.registration;
    let text = |text: &str| html! { (text) };
    html! {
        section class="card" aria-labelledby="about-heading" {
            h2 id="about-heading" { "About" }
            dl id="about" data-swap {
                (row("Id", &text(device_id)))
                @if let Some(fact) = &registration.device_type { (row("Type", &text(&fact.value))) }
                @if let Some(fact) = &registration.client_kind { (row("Kind", &text(fact.value.word()))) }
                @if let Some(fact) = &registration.parent { (row("Behind", &text(&fact.value))) }
                @if let Some(fact) = &device.lifecycle { (row("Stage", &text(&human(fact.value.stage.word())))) }
                @if let Some(labels) = &registration.labels {
                    (row("Labels", &html! {
                        @for (key, value) in &labels.value {
                            @let query = Query::default().with("label", &format!("{key}:{value}"));
                            a class="tag" href=(query.behind(&address::fleet(&shown.tenant))) { (key) ": " (value) } " "
                        }
                    }))
                }
                (row("First heard of", &when(device.birth, *now)))
                (row("Partition", &text(&shown.partition.to_string())))
            }
        }
    }
}

fn past(shown: &Shown) -> Markup {
    let Shown { tenant, device_id, device, .. } = shown;
    let path = address::device(tenant, device_id);
    let mut known_from = device.birth.min(device.earliest);
    if let Some(oldest) = shown.changes.last() {
        // Of an earlier life, or older than what is looked at.
        known_from = if shown.is_cut.0 { oldest.effect.at } else { known_from.min(oldest.effect.at) };
    }
    let picture = timeline::Past {
        span: (shown.begin, shown.now),
        known: (known_from, shown.decided),
        changes: &shown.changes,
        log: &shown.log,
        facets: &device.facets,
        last_message: device.clocks.last_message,
        is_cut: shown.is_cut.0 || shown.is_cut.1,
    };
    html! {
        section class="card" aria-labelledby="timeline-heading" {
            div class="title" {
                h2 id="timeline-heading" { "Timeline" }
                ul class="chips" aria-label="Span of the timeline" {
                    @for (word, name, _) in SPANS {
                        @let current = (*word == shown.span).then_some("true");
                        li { a class="chip" href={ (path) "?span=" (word) } aria-current=[current] { (name) } }
                    }
                }
            }
            div id="timeline" data-swap { (timeline::figure(&picture)) }
        }
    }
}

fn why(shown: &Shown) -> Markup {
    html! {
        section class="card" aria-labelledby="why-heading" {
            h2 id="why-heading" { "Why?" }
            div id="why" data-swap {
                ul class="plain sentences" { @for sentence in &shown.why.sentences { li { (sentence) } } }
            }
            details id="receipts" {
                summary { "Receipts: what this rests on" }
                div id="receipts-of" data-swap {
                    table class="cards" {
                        thead { tr { th scope="col" { "What" } th scope="col" { "Since" } th scope="col" { "Why" } th scope="col" { "Record" } } }
                        tbody {
                            @for receipt in &shown.why.receipts {
                                tr {
                                    th scope="row" { (human(receipt.about)) ": " (receipt.value) }
                                    td data-name="Since" class="time" { (plain(receipt.at)) }
                                    td data-name="Why" { (receipt.sentence) " " small { "rule " code { (receipt.rule) } } }
                                    td data-name="Record" {
                                        @match receipt.record {
                                            Some((topic, partition, offset)) => code { (topic) "/" (partition) "@" (offset) },
                                            None => "none: time passed",
                                        }
                                        small { "output " code { (receipt.id) } ", recorded " (plain(receipt.recorded_at)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn alarms(shown: &Shown) -> Markup {
    let Shown { tenant, device_id, now, .. } = shown;
    let all = Query::default().with("device", device_id).with("state", "all");
    html! {
        section class="card" aria-labelledby="alarms-heading" {
            h2 id="alarms-heading" { "Alarms" }
            div id="alarms" data-swap {
                @if shown.alarms.is_empty() { p class="empty" { "None." } }
                @else { (alarm_rows(tenant, &shown.alarms, *now, shown.may_command, Some(device_id))) }
            }
            p { a href=(all.behind(&format!("{}/alarms", address::fleet(tenant)))) { "All alarms of this device" } }
        }
    }
}

fn log(shown: &Shown) -> Markup {
    let Shown { tenant, device_id, now, .. } = shown;
    let all = Query::default().with("device", device_id).with("from", "all");
    let latest = shown.log.get(..LOG_SHOWN).unwrap_or(&shown.log);
    html! {
        section class="card" aria-labelledby="log-heading" {
            h2 id="log-heading" { "Connection log" }
            div id="log" data-swap {
                @if latest.is_empty() { p class="empty" { "No connect, disconnect or failed attempt was seen." } }
                @else { (log_rows(tenant, latest, *now, true)) }
            }
            p { a href=(all.behind(&format!("{}/connections", address::fleet(tenant)))) { "All entries of this device" } }
        }
    }
}

/// The picture's changes in words.
fn changes(shown: &Shown) -> Markup {
    let latest = shown.changes.get(..CHANGES_SHOWN).unwrap_or(&shown.changes);
    html! {
        section class="card" aria-labelledby="changes-heading" {
            h2 id="changes-heading" { "Status changes" }
            details id="changes" {
                summary { "The latest " (latest.len()) " of the timeline's span, in words" }
                div id="changes-of" data-swap {
                    table class="cards" {
                        thead { tr { th scope="col" { "At" } th scope="col" { "Change" } th scope="col" { "Why" } } }
                        tbody {
                            @for output in latest {
                                @if let EffectKind::Status(status) = &output.effect.kind {
                                    tr {
                                        td data-name="At" class="time" { (plain(output.effect.at)) }
                                        td data-name="Change" {
                                            @for change in &status.changes {
                                                div { (human(change.facet.word())) ": " (change.from) " → " (change.to) }
                                            }
                                        }
                                        td data-name="Why" { (output.effect.cause.sentence) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
