//! What every page stands in: head, navigation, whether it can be trusted.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use xxhash_rust::xxh3::xxh3_64;

use super::address::{self, Query};
use super::icons;
use super::words::{ago, human, plain};
use crate::domain::time::Timestamp;
use crate::http::app::{App, Who};
use crate::http::auth::Need;

/// The style of all pages.
const CSS: &str = include_str!("page.css");
/// What makes them live; every page works without it.
const JS: &str = include_str!("page.js");
/// The icon of the browser's tab.
const ICON: &str = include_str!("icon.svg");

/// What names this version of style and script, so that browsers may keep them for ever.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{:08x}", xxh3_64([CSS, JS, ICON].concat().as_bytes())));

fn asset(kind: &'static str, text: &'static str) -> Response {
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CACHE_CONTROL, kept)], text)
        .into_response()
}

/// `GET /page.css`
pub async fn css() -> Response {
    asset("text/css; charset=utf-8", CSS)
}

/// `GET /page.js`
pub async fn js() -> Response {
    asset("text/javascript; charset=utf-8", JS)
}

/// `GET /page.svg`
pub async fn svg() -> Response {
    asset("image/svg+xml", ICON)
}

/// The pages of a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// The list of devices, and each of them.
    Fleet,
    /// The alarms.
    Alarms,
    /// The connection log across devices.
    Connections,
    /// The monitor itself.
    Monitor,
}

/// A page without what it is about.
pub struct Frame {
    /// Its title.
    pub title: String,
    /// Whose devices it shows; `None`: nobody's.
    pub tenant: Option<String>,
    /// Where it stands in the navigation.
    pub section: Option<Section>,
    /// The stream that says when it is out of date.
    pub stream: Option<String>,
    /// After how many seconds it is out of date at the latest.
    pub seconds: Option<u32>,
    /// Now, by the service's clock.
    pub now: Timestamp,
    /// Whether what it says can be trusted.
    pub trust: Option<Trusted>,
    /// Who looks at it.
    pub who: Option<String>,
}

/// Whether what a page says can be trusted.
pub struct Trusted {
    as_of: Timestamp,
    caught_up: bool,
    blind: Vec<String>,
}

impl Trusted {
    /// As the view stands; `partition`: of one alone.
    pub fn of(app: &App, partition: Option<u32>) -> Trusted {
        let mut standing = app.view.standing();
        standing.retain(|one| partition.is_none_or(|wanted| one.partition == wanted));
        let blind = standing.iter().filter_map(|one| {
            let (why, since) = one.blind?;
            Some(format!(
                "partition {}: {}, since {}",
                one.partition,
                human(why.word()).to_lowercase(),
                plain(since)
            ))
        });
        Trusted {
            as_of: standing.iter().map(|one| one.clock).min().unwrap_or(Timestamp::NEVER),
            caught_up: standing.iter().all(|one| one.caught_up),
            blind: blind.collect(),
        }
    }

    /// By when everything is decided.
    fn markup(&self, now: Timestamp) -> Markup {
        html! {
            p class="trust" id="trust" data-swap {
                "Everything that was due by "
                @if let Some(at) = self.as_of.known() {
                    time datetime=(at) { (plain(at)) }
                    " is decided ("
                    span class="ago" data-at=(at.millis()) { (ago(at, now)) }
                    ")."
                } @else { "now is not decided yet." }
                @if !self.caught_up { strong { " This view is still being restored: what it says may be old." } }
            }
        }
    }

    /// What must be known before anything on the page is believed.
    fn warning(&self) -> Markup {
        html! {
            div id="blind" data-swap {
                @if !self.blind.is_empty() {
                    div class="notice warn" role="status" {
                        (icons::icon("eye"))
                        div {
                            strong { "The monitor cannot see everything. " }
                            "Until it sees again, nobody is called offline for want of data. "
                            (self.blind.join("; ")) "."
                        }
                    }
                }
            }
        }
    }
}

impl Frame {
    /// Of a page of a tenant.
    pub fn of(app: &App, who: &Who, tenant: &str, section: Section, title: String) -> Frame {
        Frame {
            title,
            tenant: Some(tenant.to_owned()),
            section: Some(section),
            stream: None,
            seconds: None,
            now: app.clock.now(),
            trust: Some(Trusted::of(app, None)),
            who: Some(who.0.name.clone()),
        }
    }

    /// Reads itself again when this stream says so from `mark` on.
    pub fn follows(mut self, path: &str, query: &Query, mark: &str) -> Frame {
        self.stream = Some(query.with("lastEventId", mark).behind(path));
        self
    }

    /// Reads itself again after so many seconds.
    pub fn every(mut self, seconds: u32) -> Frame {
        self.seconds = Some(seconds);
        self
    }

    /// With the content, as an answer.
    pub fn page(&self, status: StatusCode, content: &Markup) -> Response {
        let version = VERSION.as_str();
        let text = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Lastseen" }
                    link rel="stylesheet" href={ "/page.css?v=" (version) };
                    link rel="icon" type="image/svg+xml" href={ "/page.svg?v=" (version) };
                    script src={ "/page.js?v=" (version) } defer {}
                }
                body data-now=(self.now.millis()) data-stream=[&self.stream] data-seconds=[self.seconds] {
                    a class="skip" href="#main" { "Skip to content" }
                    (icons::sprite())
                    (self.header())
                    main id="main" tabindex="-1" {
                        p id="told" class="told" role="status" aria-live="polite" {}
                        @if let Some(trust) = &self.trust { (trust.warning()) }
                        (content)
                    }
                    footer {
                        @if let Some(trust) = &self.trust { (trust.markup(self.now)) }
                        p class="foot" {
                            @if let Some(who) = &self.who { "Signed in as " strong { (who) } ". " }
                            @if self.trust.is_some() { "All times are UTC. " }
                            a href="/docs" { "API" }
                            "."
                            @if self.seconds.is_some() {
                                " "
                                span id="liveness" class="liveness" hidden { span class="dot" aria-hidden="true" {} " " span { "Live" } }
                            }
                        }
                    }
                }
            }
        };
        (status, Html(text.into_string())).into_response()
    }

    fn header(&self) -> Markup {
        let Some(tenant) = &self.tenant else {
            return html! { header class="top" { a class="brand" href="/" { "Lastseen" } } };
        };
        let home = address::fleet(tenant);
        let entries = [
            (Section::Fleet, "Fleet", home.clone()),
            (Section::Alarms, "Alarms", format!("{home}/alarms")),
            (Section::Connections, "Connection log", format!("{home}/connections")),
            (Section::Monitor, "Health", format!("{home}/monitor")),
        ];
        html! {
            header class="top" {
                a class="brand" href="/" { "Lastseen" }
                a class="tenant" href=(home) { (tenant) }
                nav aria-label="Pages" {
                    ul {
                        @for (section, name, path) in &entries {
                            @let current = (self.section == Some(*section)).then_some("page");
                            li { a href=(path) aria-current=[current] { (name) } }
                        }
                    }
                }
            }
        }
    }
}

/// Whether who asks may command the devices of this tenant here.
pub fn may_command(app: &App, who: &Who, tenant: &str) -> bool {
    app.append.is_some() && who.0.may(Need::Command, Some(tenant)).is_ok()
}
