//! Errors as `application/problem+json` (RFC 9457): what was wrong, where, and what to do.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::query::filter::BadFilter;
use crate::query::history::HistoryError;

/// A problem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem: stable, for programs.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The same in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong here, and what to do.
    pub detail: String,
    /// Why a command was ignored, as `devices.audit` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Of several things, what was wrong with each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ItemProblem>,
    /// What it is about, a parameter or an id: faces tell it apart from the rest.
    #[serde(skip)]
    pub about: Option<Box<str>>,
}

/// What was wrong with one of several things.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ItemProblem {
    /// Its place, from 0.
    pub index: usize,
    /// Why, as in the headers of dead letters.
    pub reason: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

macro_rules! problems {
    ($($(#[$meta:meta])* $name:ident = $status:ident, $kind:literal, $title:literal;)+) => {
        $($(#[$meta])*
        pub fn $name(detail: impl Into<String>) -> Problem {
            Problem {
                kind: concat!("urn:lastseen:problem:", $kind),
                title: $title,
                status: StatusCode::$status.as_u16(),
                detail: detail.into(),
                reason: None,
                errors: Vec::new(),
                about: None,
            }
        })+

        /// Every kind of problem: type, status, title.
        pub const KINDS: &[(&str, u16, &str)] =
            &[$((concat!("urn:lastseen:problem:", $kind), StatusCode::$status.as_u16(), $title)),+];
    };
}

problems! {
    /// The request cannot be understood.
    bad_request = BAD_REQUEST, "bad-request", "The request cannot be understood";
    /// Nobody, or nobody we know, asks.
    unauthorized = UNAUTHORIZED, "unauthorized", "Say who you are";
    /// Whoever asks may not.
    forbidden = FORBIDDEN, "forbidden", "Not allowed";
    /// There is no such thing.
    not_found = NOT_FOUND, "not-found", "Not found";
    /// Another method, perhaps.
    method = METHOD_NOT_ALLOWED, "method-not-allowed", "Another method";
    /// It does not go with the state of things.
    conflict = CONFLICT, "conflict", "It does not go with the state of things";
    /// Too large.
    too_large = PAYLOAD_TOO_LARGE, "too-large", "Too large";
    /// Of a kind that is not taken.
    media_type = UNSUPPORTED_MEDIA_TYPE, "media-type", "Another content type";
    /// Too many requests.
    too_many = TOO_MANY_REQUESTS, "too-many-requests", "Too many requests";
    /// Our fault.
    internal = INTERNAL_SERVER_ERROR, "internal", "It failed";
    /// Not now.
    unavailable = SERVICE_UNAVAILABLE, "unavailable", "Not now";
}

impl Problem {
    /// With the reason of `devices.audit`.
    pub fn because(mut self, reason: &'static str) -> Problem {
        self.reason = Some(reason);
        self
    }

    /// With the parameter or the id that it is about.
    pub fn about(mut self, what: &str) -> Problem {
        self.about = Some(what.into());
        self
    }

    /// With what is wrong with each of several things.
    pub fn of_items(mut self, errors: Vec<ItemProblem>) -> Problem {
        self.errors = errors;
        self
    }
}

impl From<BadFilter> for Problem {
    fn from(bad: BadFilter) -> Problem {
        bad_request(bad.to_string()).about(&bad.name)
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Problem {
        tracing::error!(%error, "a request failed");
        internal("the query side's database failed; the log of the service says more")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            // A line each: browsers take a line for one scheme, and would not ask for a password.
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lastseen\""));
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"lastseen\""));
        }
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // For whoever tells it in another form.
        response.extensions_mut().insert(self);
        response
    }
}
