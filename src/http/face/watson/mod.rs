#![doc = include_str!("README.md")]

mod client;
mod registry;
mod states;

use axum::routing::get;
use serde_json::{Value, json};

use super::{Face, FaceParameter, FaceRoute, Treatment, served};
use crate::http::auth::Need;
use crate::http::problem::Problem;

/// The face.
pub const FACE: Face = Face {
    name: "watson",
    title: "Watson IoT",
    roots: &["/api/v0002/"],
    merges_slashes: false,
    media: |_| None,
    routes: &[
        FaceRoute {
            method: "GET",
            path: "/api/v0002/clientconnectionstates",
            need: Need::Read,
            about: "the client connection states of a tenant, in pages (W02)",
            parameters: STATES,
            handler: || get(states::list),
        },
        FaceRoute {
            method: "GET",
            path: "/api/v0002/clientconnectionstates/{clientId}",
            need: Need::Read,
            about: "that of one client (W01)",
            parameters: &[],
            handler: || get(states::one),
        },
        FaceRoute {
            method: "GET",
            path: "/api/v0002/config/clientstate",
            need: Need::Read,
            about: "whether client connection states are told: `enabled` is true, or 403 (W13)",
            parameters: &[],
            handler: || get(states::config),
        },
        FaceRoute {
            method: "GET",
            path: "/api/v0002/logs/connection",
            need: Need::Read,
            about: "the connection log of a device, what was told last first (W30)",
            parameters: LOG,
            handler: || get(registry::log),
        },
        FaceRoute {
            method: "GET",
            path: "/api/v0002/device/types/{typeId}/devices/{deviceId}",
            need: Need::Read,
            about: "a device or gateway",
            parameters: &[],
            handler: || get(registry::device),
        },
    ],
    unknown: Treatment::Refused,
    names: |user, tenant| {
        let rest = user.strip_prefix("a-").and_then(|rest| rest.strip_prefix(tenant));
        rest.is_some_and(|rest| rest.starts_with('-'))
    },
    user: "a-TENANT-ANYTHING",
    error,
    page: include_str!("README.md"),
};

const STATES: &[FaceParameter] = &[
    served("_limit", "states of a page, 1 to 100; 25 if it is left out (W02, W03)"),
    served("_bookmark", "`bookmark` of the page before; the last page has none (W03)"),
    served(
        "_sort",
        "`lastActivityTime`, `lastConnectTime` or `lastDisconnectTime`, with `-` in front latest first (W04); else by \
         device id",
    ),
    served("connectionStatus", "`connected` or `disconnected` (W05)"),
    served("connectedAfter", "connected last then or later: the connect time, not activity (W06)"),
    served("lastConnectedAfter", "the same, as an early document calls it (W06)"),
    served("deviceType", "exactly this type; `untyped` finds those without one, too (W07)"),
    served("deviceId", "exactly this device or gateway (W07)"),
    served("clientType", "extension: `device`, `gateway` or `application` (W08)"),
    served("lastActivityAfter", "extension: active last then or later (W08)"),
    served("lastActivityBefore", "extension: active last before; never counts as before (W08)"),
    served("connectedBefore", "extension: connected last before; never counts as before (W08)"),
    served("disconnectedAfter", "extension: disconnected last then or later (W08)"),
    served("disconnectedBefore", "extension: disconnected last before; never counts as before (W08)"),
];

const LOG: &[FaceParameter] = &[
    served("typeId", "the type of the device; it must be said (W30)"),
    served("deviceId", "its id; it must be said (W30)"),
    served("limit", "entries at most, 1 to 20; 20 if it is left out (W31)"),
    served("offset", "entries to pass over, 1 to 1000 (W31)"),
    served("fromTime", "what happened then or later; only with `toTime` (W31)"),
    served("toTime", "what happened before; only with `fromTime` (W31)"),
];

/// An error as W12 has it: a message, and apart from it which it is and what it is about.
fn error(problem: &Problem) -> Value {
    let id = problem.kind.rsplit(':').next().unwrap_or(problem.kind);
    let properties: Vec<&str> = problem.about.as_deref().into_iter().collect();
    json!({ "message": problem.detail, "exception": { "id": id, "properties": properties } })
}
