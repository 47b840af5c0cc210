//! The health of the monitor itself: can its verdicts be trusted, and how late are they.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::fleet::grouped;
use super::frame::{Frame, Section};
use super::words::{human, length, plain, when};
use crate::domain::effect::{EffectKind, Outcome};
use crate::domain::time::Timestamp;
use crate::http::app::{App, Parameters, Who};
use crate::http::auth::Need;
use crate::http::health::health;
use crate::http::problem::Problem;
use crate::query::measures::LATENESS_BOUNDS;
use crate::query::view::Standing;
use crate::wire::output::Output;

/// What the monitor told of itself: so many entries.
const TOLD: usize = 50;
const SECONDS: u32 = 5;

/// `GET /tenants/{tenant}/monitor`
pub async fn monitor(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    parameters.done()?;
    app.beside(move |app| {
        // How much happens elsewhere, and what the monitor tells of itself, is for those who may see all tenants.
        let sees_all = who.0.may(Need::Audit, None).is_ok();
        let told = if sees_all { app.view.history.of_monitor(TOLD)? } else { Vec::new() };
        let health = health(app);
        let lags: Vec<u64> = app.view.state().partitions.iter().map(|known| known.lag.iter().sum()).collect();
        let frame = Frame::of(app, &who, &tenant, Section::Monitor, "Health of the monitor".to_owned());
        let now = frame.now;
        let content = html! {
            div class="title" { h1 { "Health of the monitor" } }
            p id="health" data-swap {
                @let (tone, text) = in_words(health.status);
                span class={ "pill " (tone) } { (human(health.status)) } " " (text)
            }
            (partitions(&app.view.standing(), &lags, now, sees_all))
            @if sees_all { (lateness(app)) (sayings(&told, now)) }
        };
        Ok(frame.every(SECONDS).page(StatusCode::OK, &content))
    })
    .await
}

fn in_words(status: &str) -> (&'static str, &'static str) {
    match status {
        "ready" => ("good", "The view has everything that was committed."),
        "restoring" => ("warn", "The view is being restored: what it says may be old. It ends by itself."),
        "lagging" => {
            ("warn", "The view lies behind the log: what it says is old. See the runbook, if it stays so.")
        }
        _ => (
            "bad",
            "The view is not fed any more: what it says grows old. The log of the service says why; restart it.",
        ),
    }
}

fn partitions(standing: &[Standing], lags: &[u64], now: Timestamp, sees_all: bool) -> Markup {
    html! {
        section class="card" aria-labelledby="partitions-heading" {
            h2 id="partitions-heading" { "Clocks and blind spells" }
            p { "What was due by a partition's clock is decided. While the monitor is blind in one, its clock waits, and nobody there is "
                "called offline for want of data."
                @if sees_all { " Unread are records of the inputs, waiting are records of the journal." } }
            div id="partitions" data-swap {
                table class="cards" {
                    thead {
                        tr {
                            th scope="col" { "Partition" } th scope="col" { "Clock" } th scope="col" { "Behind" } th scope="col" { "Sees" }
                            @if sees_all { th scope="col" { "Unread" } th scope="col" { "Entry" } th scope="col" { "Waiting" } th scope="col" { "Committed" } }
                        }
                    }
                    tbody {
                        @for (one, lag) in standing.iter().zip(lags) {
                            tr {
                                th scope="row" { (one.partition) }
                                td data-name="Clock" class="time" { (plain(one.clock)) }
                                td data-name="Behind" {
                                    @if one.clock.happened() { (length(((now - one.clock).0.max(0) / 1000) as u64)) } @else { "not begun" }
                                }
                                td data-name="Sees" {
                                    @match one.blind {
                                        Some((why, since)) => {
                                            span class="pill bad" { "Blind" } " " (human(why.word())) ", since " (when(since, now))
                                        },
                                        None => span class="pill good" { "Everything" },
                                    }
                                    @if !one.caught_up { " " span class="pill warn" { "Restoring" } }
                                }
                                @if sees_all {
                                    td data-name="Unread" { (grouped(*lag as usize)) }
                                    td data-name="Entry" { (grouped(one.seq as usize)) }
                                    td data-name="Waiting" { (grouped(one.waiting as usize)) }
                                    td data-name="Committed" class="time" { (when(one.committed_at, now)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How late verdicts are: recorded less due.
fn lateness(app: &App) -> Markup {
    let mut sums = [0u64; LATENESS_BOUNDS.len() + 1];
    for known in &app.view.state().partitions {
        for (sum, count) in sums.iter_mut().zip(&known.measures.lateness) {
            *sum += count;
        }
    }
    let most = sums.iter().copied().max().unwrap_or_default();
    html! {
        section class="card" aria-labelledby="lateness-heading" {
            h2 id="lateness-heading" { "Lateness of verdicts" }
            p { "How long after its deadline a verdict was concluded, since this service began to follow." }
            div id="lateness" data-swap {
                @if most == 0 { p class="empty" { "No verdict of a deadline was given yet." } }
                @else {
                    table class="cards bars" {
                        thead { tr { th scope="col" { "At most" } th scope="col" { "Verdicts" } } }
                        tbody {
                            @for (index, sum) in sums.iter().enumerate() {
                                tr {
                                    th scope="row" {
                                        @match LATENESS_BOUNDS.get(index) {
                                            Some(bound) if *bound < 1000 => { (bound) " ms" },
                                            Some(bound) => (length((*bound / 1000) as u64)),
                                            None => "longer",
                                        }
                                    }
                                    td data-name="Verdicts" {
                                        meter min="0" max=(most) value=(sum) aria-hidden="true" {}
                                        " " (grouped(*sum as usize))
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

fn sayings(told: &[(u32, Output)], now: Timestamp) -> Markup {
    html! {
        section class="card" aria-labelledby="sayings-heading" {
            h2 id="sayings-heading" { "What it told of itself" }
            div id="sayings" data-swap {
                @if told.is_empty() { p class="empty" { "Nothing yet: neither a policy, nor a node, nor a blind spell." } }
                @else {
                    table class="cards" {
                        thead { tr { th scope="col" { "At" } th scope="col" { "What" } th scope="col" { "Partition" } th scope="col" { "In words" } } }
                        tbody {
                            @for (partition, output) in told {
                                @if let EffectKind::Audit(entry) = &output.effect.kind {
                                    tr {
                                        td data-name="At" class="time" { (when(output.effect.recorded_at, now)) }
                                        th scope="row" {
                                            (human(entry.command))
                                            @if let Some(subject) = &entry.subject { " " (subject) }
                                            @if entry.outcome != Outcome::Applied { " " span class="tag" { "ignored" } }
                                        }
                                        td data-name="Partition" { (partition) }
                                        td data-name="In words" { (output.effect.cause.sentence) }
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
