//! The fleet: counts that are filters, and the list with the arrows.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::address::{self, Query};
use super::frame::{Frame, Section};
use super::icons;
use super::words::{Sign, human, tone_of, tone_of_severity, when};
use crate::domain::effect::AlarmState;
use crate::domain::event::Initiator;
use crate::domain::facet::{Availability, Connection, Facets, Heartbeat, Label, Overall, Push};
use crate::domain::time::Timestamp;
use crate::http::app::{App, Parameters, Who};
use crate::http::auth::{Need, Tenants};
use crate::http::live::mark_of;
use crate::http::problem::Problem;
use crate::query::cells::{Facts, Time};
use crate::query::filter::{Filter, Sort};
use crate::query::fleet::Listed;
use crate::query::list::{Counts, Cursor, Page, Request, count};

/// Devices of a page.
const LIMIT: usize = 100;
/// A list is read again after so many seconds, since signs of life alone move its times and tell nobody.
const SECONDS: u32 = 15;

/// A group of counts: the parameter that it filters by, its heading, and its words with what they are called.
type Group = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const GROUPS: &[Group] = &[
    (
        "statusLabel",
        "Status",
        &[
            (Label::Online.word(), "Online"),
            (Label::HeartbeatOnly.word(), "Heartbeat only"),
            (Label::VpnOnly.word(), "VPN only"),
            (Label::Offline.word(), "Offline"),
            (Label::Updating.word(), "Updating"),
            (Label::Configuring.word(), "Configuring"),
            (Label::PostProvisioning.word(), "Post provisioning"),
            (Label::Inactive.word(), "Inactive"),
            (Label::Unknown.word(), "Unknown"),
        ],
    ),
    (
        "availability",
        "Send",
        &[
            (Availability::Available.word(), "Online"),
            (Availability::Unavailable.word(), "Offline"),
            (Availability::Unknown.word(), "Unknown"),
            (Availability::Maintenance.word(), "Maintenance"),
            (Availability::NotMonitored.word(), "Not monitored"),
        ],
    ),
    (
        "push",
        "Push",
        &[
            (Push::Online.word(), "Online"),
            (Push::Offline.word(), "Offline"),
            (Push::Maintenance.word(), "Maintenance"),
            (Push::NotMonitored.word(), "Not monitored"),
        ],
    ),
    (
        "alarm",
        "Alarm",
        &[
            (AlarmState::Active.word(), "Active"),
            (AlarmState::Acknowledged.word(), "Acknowledged"),
            ("none", "None"),
        ],
    ),
];

/// Orders of the list.
const SORTS: &[(&str, &str)] = &[
    ("id", "Device id"),
    ("lastMessage", "Last communication, oldest first"),
    ("-lastMessage", "Last communication, latest first"),
    ("-lastDisconnect", "Disconnected last"),
    ("lastConnect", "Connected longest ago"),
    ("-lastUpdated", "Updated last"),
];

/// How long ago something was.
const AGES: &[(&str, &str)] = &[
    ("", "any time"),
    ("-1h", "1 hour"),
    ("-1d", "1 day"),
    ("-2d", "2 days"),
    ("-1w", "1 week"),
    ("-4w", "4 weeks"),
];

/// What a form takes as it was said, and what a page alone knows.
const OF_PAGE: &[&str] = &["sort", "cursor"];

/// `GET /`: the tenants of whoever asks, or the only one at once
pub async fn home(State(app): State<App>, who: Who) -> Result<Response, Problem> {
    let mut tenants: Vec<String> = match &who.0.tenants {
        Tenants::Some(tenants) => tenants.clone(),
        Tenants::All => app.view.state().fleet.tenants().map(|(name, _)| name.to_owned()).collect(),
    };
    tenants.sort();
    if let [only] = tenants.as_slice() {
        return Ok(Redirect::to(&address::fleet(only)).into_response());
    }
    let frame = Frame {
        title: "Tenants".to_owned(),
        tenant: None,
        section: None,
        stream: None,
        seconds: None,
        now: app.clock.now(),
        trust: None,
        who: Some(who.0.name.clone()),
    };
    let content = html! {
        h1 { "Tenants" }
        @if tenants.is_empty() { p { "There are no devices yet. A tenant is listed here with its first device." } }
        ul class="plain" { @for tenant in &tenants { li { a href=(address::fleet(tenant)) { (tenant) } } } }
    };
    Ok(frame.page(StatusCode::OK, &content))
}

/// What the list shows.
struct Shown {
    page: Page,
    /// Of each group, the counts without the group's own filter.
    counts: Vec<Counts>,
    all: usize,
    mark: String,
}

/// `GET /tenants/{tenant}`
pub async fn fleet(
    State(app): State<App>,
    who: Who,
    Path(tenant): Path<String>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    who.may(Need::Read, &tenant)?;
    // A form sends its empty fields, too.
    let query = Query(parameters.pairs().iter().filter(|(_, value)| !value.is_empty()).cloned().collect());
    parameters.take("sort")?;
    let after = parameters.take("cursor")?.map(|text| Cursor::read(&text)).transpose()?;
    let sort = query.get("sort").map(Sort::read).transpose()?.unwrap_or_default();
    let now = after.as_ref().map_or_else(|| app.clock.now(), |cursor| cursor.now);
    let filter = read(&query, &[], now)?;
    let of_groups: Vec<Option<Filter>> = GROUPS
        .iter()
        .map(|(name, ..)| query.get(name).map(|_| read(&query, &[name], now)).transpose())
        .collect::<Result<_, _>>()?;
    // A cursor of another order would show any place of the list.
    let after = after.filter(|cursor| cursor.sort == sort);
    app.beside(move |app| {
        let mark = mark_of(app).to_text();
        let request =
            Request { filter, sort, limit: LIMIT, after, now: Some(now), counts: true, ..Request::default() };
        let page = app.view.list(&tenant, &request);
        let shown = {
            let state = app.view.state();
            let devices = state.fleet.tenant(&tenant);
            let counts = of_groups.iter().map(|filter| match (filter, devices) {
                (Some(filter), Some(devices)) => count(devices, filter).1,
                _ => page.counts.clone(),
            });
            let counts = counts.collect();
            Shown { counts, all: devices.map_or(0, |devices| devices.len()), page, mark }
        };
        let frame = Frame::of(app, &who, &tenant, Section::Fleet, format!("Fleet of {tenant}"));
        let stream = query.without(OF_PAGE);
        let frame = frame.follows(&format!("/v1/tenants/{tenant}/live"), &stream, &shown.mark).every(SECONDS);
        Ok(frame.page(StatusCode::OK, &content(&tenant, &query, &shown, frame.now)))
    })
    .await
}

fn read(query: &Query, without: &[&str], now: Timestamp) -> Result<Filter, Problem> {
    Parameters::of(query.without(OF_PAGE).without(without).0).filter(now)
}

fn content(tenant: &str, query: &Query, shown: &Shown, now: Timestamp) -> Markup {
    let path = address::fleet(tenant);
    let next = shown.page.next.as_ref().map(|cursor| query.with("cursor", &cursor.to_text()).behind(&path));
    html! {
        div class="title" {
            h1 { "Fleet" }
            p id="matched" class="matched" data-swap {
                @if shown.page.matched == shown.all { (grouped(shown.all)) " devices" }
                @else { (grouped(shown.page.matched)) " of " (grouped(shown.all)) " devices" }
            }
        }
        div id="counts" class="groups" data-swap {
            @for (group, counts) in GROUPS.iter().zip(&shown.counts) { (chips(group, counts, query, &path)) }
        }
        (search(query, &path))
        (terms(query, &path))
        p id="banner" class="notice" role="status" hidden {}
        @if shown.page.devices.is_empty() {
            p class="empty" {
                @if shown.all == 0 { "This tenant has no devices yet: the first valid event that names one makes it." }
                @else { "No device satisfies these filters. " a href=(path) { "Show all" } "." }
            }
        } @else {
            table class="cards fleet" {
                caption class="hidden" { "Devices: status, last communication, alarm, connection" }
                thead {
                    tr {
                        th scope="col" { "Status" }
                        th scope="col" { "Device" }
                        th scope="col" { "State" }
                        th scope="col" { "Last communication" }
                        th scope="col" { "Alarm" }
                        th scope="col" { "Connection" }
                    }
                }
                tbody data-keyed { @for device in &shown.page.devices { (row(tenant, device, now)) } }
            }
        }
        nav class="pager" aria-label="Pages of the list" {
            @if query.get("cursor").is_some() { a href=(query.without(&["cursor"]).behind(&path)) { "First page" } }
            @if let Some(next) = next { a rel="next" href=(next) { "Next page" } }
        }
    }
}

fn chips((name, heading, words): &Group, counts: &Counts, query: &Query, path: &str) -> Markup {
    let said = query.get(name);
    let counted = counts.get(name);
    let count_of = |word: &str| counted.and_then(|counts| counts.get(word)).copied().unwrap_or_default();
    html! {
        section aria-labelledby={ "of-" (name) } {
            h2 id={ "of-" (name) } { (heading) }
            ul class="chips" {
                @for (word, called) in *words {
                    @let is_on = said.is_some_and(|said| said.eq_ignore_ascii_case(word));
                    @if is_on || count_of(word) > 0 {
                        @let others = query.without(&["cursor", name]);
                        @let to = if is_on { others } else { others.with(name, word) };
                        li {
                            a id={ (name) "-" (word.to_lowercase().replace(' ', "-")) } class={ "chip " (tone(name, word)) }
                                href=(to.behind(path)) aria-current=[is_on.then_some("true")] {
                                span class="called" { (called) }
                                " "
                                b { (grouped(count_of(word) as usize)) }
                                @if is_on { span class="hidden" { " (chosen; choose again to show all)" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tone(name: &str, word: &str) -> &'static str {
    match (name, word) {
        (_, "ONLINE" | "AVAILABLE" | "Online") | ("alarm", "none") => "good",
        (_, "OFFLINE" | "UNAVAILABLE" | "Offline" | "ACTIVE") => "bad",
        (_, "NOT_MONITORED" | "UNKNOWN" | "Unknown" | "Inactive") => "off",
        _ => "warn",
    }
}

/// A number with thin spaces between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

fn search(query: &Query, path: &str) -> Markup {
    const OWN: &[&str] = &[
        "search",
        "sort",
        "cursor",
        "type",
        "label",
        "disconnectedBy",
        "lastConnectBefore",
        "lastMessageBefore",
    ];
    let value = |name: &str| query.get(name).unwrap_or_default().to_owned();
    let choice = |name: &'static str, called: &str, options: &[(&str, &str)]| -> Markup {
        html! {
            label { span { (called) }
                select name=(name) {
                    @for (word, text) in options { option value=(word) selected[*word == value(name)] { (text) } }
                }
            }
        }
    };
    let ends: Vec<(&str, &str)> = [("", "anybody"), ("client", "the client"), ("server", "the server")]
        .into_iter()
        .chain([(Initiator::Network.word(), "the network")])
        .collect();
    let is_open = ["type", "label", "disconnectedBy", "lastConnectBefore", "lastMessageBefore"]
        .iter()
        .any(|name| query.get(name).is_some());
    html! {
        form class="search" method="get" action=(path) role="search" {
            @for (name, value) in &query.without(OWN).0 { input type="hidden" name=(name) value=(value); }
            label { span { "Id or name begins with" }
                input type="search" name="search" value=(value("search")) autocomplete="off" spellcheck="false";
            }
            (choice("sort", "Order", SORTS))
            button { "Show" }
            details id="more" open[is_open] {
                summary { "More filters" }
                div class="fields" {
                    label { span { "Type" } input name="type" value=(value("type")) autocomplete="off"; }
                    label { span { "Label" }
                        input name="label" value=(value("label")) placeholder="key or key:value" autocomplete="off"; }
                    (choice("disconnectedBy", "Disconnected by", &ends))
                    (choice("lastConnectBefore", "Not connected for", AGES))
                    (choice("lastMessageBefore", "No data for", AGES))
                }
            }
        }
    }
}

/// The filters in force that no group of counts shows, each with a way to drop it.
fn terms(query: &Query, path: &str) -> Markup {
    let is_shown = |name: &str| OF_PAGE.contains(&name) || GROUPS.iter().any(|(group, ..)| *group == name);
    let others: Vec<&(String, String)> = query.0.iter().filter(|(name, _)| !is_shown(name)).collect();
    html! {
        @if !others.is_empty() {
            ul class="chips terms" aria-label="Other filters" {
                @for (name, value) in others {
                    li { a class="chip" href=(query.without(&["cursor", name]).behind(path)) {
                        (name) ": " (value) " " span aria-hidden="true" { "×" } span class="hidden" { " (drop it)" }
                    } }
                }
            }
        }
    }
}

/// The two arrows, or the tool while the device is in maintenance; then check mark and heartbeat of a device that has any.
pub fn signs(facets: &Facets, last_message: Timestamp, last_poll: Timestamp) -> Markup {
    let has_tunnel = facets.vpn != Connection::Unknown || facets.heartbeat != Heartbeat::Unknown;
    html! {
        span class="signs" {
            span class="arrows" {
                (Sign::send(facets.availability, last_message))
                @if facets.availability != Availability::Maintenance { (Sign::push(facets.push)) }
            }
            @if has_tunnel {
                span class="arrows" {
                    (Sign::vpn(facets.vpn))
                    (Sign::heartbeat(facets.heartbeat, last_poll))
                }
            }
        }
    }
}

/// The one word for people, with how far what is under way has come.
pub fn label(facets: &Facets, progress: Option<u8>) -> Markup {
    let is_under_way = matches!(facets.overall, Overall::Updating | Overall::Configuring);
    html! {
        span class={ "pill " (tone_of(facets.overall)) } {
            (facets.label.word())
            @if let Some(percent) = progress.filter(|_| is_under_way) { " " (percent) " %" }
        }
    }
}

fn row(tenant: &str, device: &Listed, now: Timestamp) -> Markup {
    let cells = &device.cells;
    let facets = cells.facets();
    let at = |time: Time| cells.time(time).time();
    html! {
        tr id={ "d-" (device.id) } data-id=(device.id) {
            td class="status" { (signs(&facets, at(Time::LastMessage), at(Time::LastPoll))) }
            th scope="row" {
                a class="device" href=(address::device(tenant, &device.id)) {
                    (device.name.as_deref().unwrap_or(&device.id))
                }
                @if device.name.is_some() || device.device_type.is_some() {
                    small {
                        @if device.name.is_some() { (device.id) }
                        @if device.name.is_some() && device.device_type.is_some() { " · " }
                        @if let Some(of) = &device.device_type { (of) }
                    }
                }
            }
            td data-name="State" { (label(&facets, cells.progress())) }
            td data-name="Last communication" class="time" { (when(at(Time::LastMessage), now)) }
            td data-name="Alarm" {
                @if let Some((state, severity)) = cells.alarm() {
                    span class={ "alarm " (tone_of_severity(severity)) } {
                        (icons::icon("bell")) " " (human(severity.word()))
                        @if state == AlarmState::Acknowledged { ", acknowledged" }
                    }
                } @else { span class="never" { "none" } }
            }
            td data-name="Connection" {
                @match facets.connection {
                    Connection::Connected => "Connected",
                    Connection::Unknown => span class="never" { "unknown" },
                    Connection::Disconnected => {
                        "Disconnected"
                        @if let Some(by) = cells.disconnected_by() { " by " (by.word().replace('_', " ")) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let all = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }

    #[test]
    fn every_word_of_a_group_is_a_filter() {
        for (name, _, words) in GROUPS {
            for (word, _) in *words {
                let read = Filter::default().read(name, word, Timestamp::from_millis(0));
                assert_eq!(read, Ok(true), "{name}={word}");
            }
        }
        for (sort, _) in SORTS {
            Sort::read(sort).unwrap();
        }
    }
}
