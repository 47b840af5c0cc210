//! Problems as pages, for whoever looks with a browser.

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use maud::html;

use super::frame::Frame;
use crate::domain::time::Timestamp;
use crate::http::problem::Problem;

/// Whether a problem there is told as a page: a browser asks, and not for something of the API.
pub fn wants_page(uri: &Uri, headers: &HeaderMap) -> bool {
    let takes = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    takes.is_some_and(|takes| takes.contains("text/html")) && !uri.path().starts_with("/v1/")
}

/// The same answer with a page for its body, if it tells a problem.
pub fn as_page(mut response: Response, path: &str, now: Timestamp) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let tenant = path.strip_prefix("/tenants/").and_then(|rest| rest.split('/').next());
    // Of a page of ours only: what stands in the address came from anywhere.
    let device = tenant.and_then(|_| path.split_once("/devices/")).map(|(before, rest)| {
        let id = rest.split('/').next().unwrap_or(rest);
        format!("{before}/devices/{id}")
    });
    let is_command = device.as_ref().is_some_and(|device| device.len() < path.len());
    let frame = Frame {
        title: problem.title.to_owned(),
        tenant: None,
        section: None,
        stream: None,
        seconds: None,
        now,
        trust: None,
        who: None,
    };
    let content = html! {
        div class="card problem" role="alert" {
            h1 { (problem.title) }
            p id="detail" { (problem.detail) }
            @match status {
                StatusCode::UNAUTHORIZED => p { "The user is the name of a token, the password its secret. Load this page anew to be asked again." },
                StatusCode::FORBIDDEN => p { "Whoever keeps the tokens of this service can give yours what it lacks." },
                StatusCode::NOT_FOUND => p { "Perhaps it was deleted, or the address was mistyped." },
                _ => {}
            }
            ul class="plain" {
                @if let Some(device) = device.filter(|_| is_command) { li { a href=(device) { "Back to the device" } } }
                @if let Some(tenant) = tenant { li { a href={ "/tenants/" (tenant) } { "To the fleet" } } }
                li { a href="/" { "To the start" } }
            }
            p { small { "Status " (problem.status) @if let Some(reason) = problem.reason { ", reason " code { (reason) } } } }
        }
    };
    let page = frame.page(status, &content);
    let kind = page.headers().get(header::CONTENT_TYPE).cloned();
    *response.body_mut() = page.into_body();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("text/html")));
    response
}

/// What browsers may load for a page of ours: from this service alone, and nothing that stands in the page itself.
pub const SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'",
);
