#![doc = include_str!("README.md")]

mod fields;
mod find;
mod ids;
mod predicate;
mod resources;
mod shown;
mod status;
mod syntax;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, routing::MethodRouter};
use serde_json::{Value, json};

use self::fields::Resource;
use super::{Asked, Face, FaceParameter, FaceRoute, Treatment, ignored, refused, served};
use crate::http::app::App;
use crate::http::auth::Need;
use crate::http::problem::Problem;

/// A version of the interface: they differ in the words of the overall status (balena B07, B08).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// `/v6`
    V6,
    /// `/v7`
    V7,
}

/// The routes of a resource in one version: the list, one by its key, and how many.
macro_rules! resource {
    ($version:ident, $root:literal, $name:literal, $resource:ident, $about:literal, $list:expr, $one:expr) => {
        [
            FaceRoute {
                method: "GET",
                path: concat!("/", $root, "/", $name),
                need: Need::Read,
                about: $about,
                parameters: $list,
                handler: || list(Version::$version, Resource::$resource),
            },
            FaceRoute {
                method: "GET",
                path: concat!("/", $root, "/", $name, "({key})"),
                need: Need::Read,
                about: concat!("the one ", $name, " of this key, in a list; an empty list if there is none"),
                parameters: $one,
                handler: || one(Version::$version, Resource::$resource),
            },
            FaceRoute {
                method: "GET",
                path: concat!("/", $root, "/", $name, "/$count"),
                need: Need::Read,
                about: "how many there are: `{\"d\": 3}` (B18)",
                parameters: COUNT,
                handler: || count(Version::$version, Resource::$resource),
            },
        ]
    };
}

const V7_DEVICE: [FaceRoute; 3] =
    resource!(V7, "v7", "device", Device, "the devices of a tenant (B01 to B13)", LIST, ONE);
const V7_APPLICATION: [FaceRoute; 3] =
    resource!(V7, "v7", "application", Application, "the types of its devices, as applications", LIST, ONE);
const V7_ORGANIZATION: [FaceRoute; 3] =
    resource!(V7, "v7", "organization", Organization, "the tenant of the token", ORGANIZATIONS, ORGANIZATION);
const V6_DEVICE: [FaceRoute; 3] =
    resource!(V6, "v6", "device", Device, "the same with the words of that version (B08)", LIST, ONE);
const V6_APPLICATION: [FaceRoute; 3] =
    resource!(V6, "v6", "application", Application, "the types of its devices, as applications", LIST, ONE);
const V6_ORGANIZATION: [FaceRoute; 3] =
    resource!(V6, "v6", "organization", Organization, "the tenant of the token", ORGANIZATIONS, ORGANIZATION);
const WHOAMI: [FaceRoute; 2] = [
    FaceRoute {
        method: "GET",
        path: "/actor/v1/whoami",
        need: Need::Read,
        about: "whose token it is, as the client of v7 asks",
        parameters: &[],
        handler: || get(actor),
    },
    FaceRoute {
        method: "GET",
        path: "/user/v1/whoami",
        need: Need::Read,
        about: "the same, as the client of v6 asks",
        parameters: &[],
        handler: || get(user),
    },
];

/// One list of several.
const ROUTES: [FaceRoute; 20] = {
    let [a, b, c] = V7_DEVICE;
    let [d, e, f] = V7_APPLICATION;
    let [g, h, i] = V7_ORGANIZATION;
    let [j, k, l] = V6_DEVICE;
    let [m, n, o] = V6_APPLICATION;
    let [p, q, r] = V6_ORGANIZATION;
    let [s, t] = WHOAMI;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t]
};

/// The face.
pub const FACE: Face = Face {
    name: "balena",
    title: "balena",
    roots: &["/v7/", "/v6/", "/actor/", "/user/v1/"],
    merges_slashes: false,
    media: |_| None,
    routes: &ROUTES,
    unknown: Treatment::Refused,
    names: |user, tenant| user == tenant,
    user: "TENANT",
    error: |problem| json!({ "message": problem.detail }),
    page: include_str!("README.md"),
};

const SELECT: FaceParameter = served("$select", "these properties, with commas between; else all");
const EXPAND: FaceParameter = served(
    "$expand",
    "of a device `belongs_to__application` and `is_of__device_type`, of an application `organization`, `is_for__device_type` \
     and `owns__device/$count($filter=…)`; within `$select` and `$expand`",
);
const FILTER: FaceParameter = served(
    "$filter",
    "`and`, `or`, `not`, `eq`, `ne`, `lt`, `le`, `gt`, `ge`, `in (…)`, `any(x:…)`, `startswith`, `endswith`, `contains`, \
     `substringof`, `tolower`, `toupper`, `now()`, `datetime'…'` over every property",
);
const FORMAT: FaceParameter = refused("$format", "answers are JSON");
const INLINE_COUNT: FaceParameter =
    refused("$count", "counts are a question of their own: `/$count` behind the resource");
const LIST: &[FaceParameter] = &[
    FILTER,
    SELECT,
    EXPAND,
    served("$orderby", "properties, each with `asc` or `desc`; what is not there comes last; else by `uuid`"),
    served("$top", "so many at most; else all of them, in an answer that is made while it is read"),
    served("$skip", "so many are passed over"),
    INLINE_COUNT,
    FORMAT,
];
const ONE: &[FaceParameter] = &[
    FILTER,
    SELECT,
    EXPAND,
    refused("$orderby", "there is one at most"),
    refused("$top", "there is one at most"),
    refused("$skip", "there is one at most"),
    INLINE_COUNT,
    FORMAT,
];
const ORGANIZATIONS: &[FaceParameter] = &[
    FILTER,
    SELECT,
    refused("$expand", "nothing is behind it that is served"),
    ignored("$orderby", "there is one at most"),
    served("$top", "0: none"),
    served("$skip", "1 or more: none"),
    INLINE_COUNT,
    FORMAT,
];
const ORGANIZATION: &[FaceParameter] = &[
    FILTER,
    SELECT,
    refused("$expand", "nothing is behind it that is served"),
    refused("$orderby", "there is one at most"),
    refused("$top", "there is one at most"),
    refused("$skip", "there is one at most"),
    INLINE_COUNT,
    FORMAT,
];
const COUNT: &[FaceParameter] = &[
    FILTER,
    refused("$select", "a number has no properties"),
    refused("$expand", "a number has no properties"),
    refused("$orderby", "a number has no order"),
    refused("$top", "all are counted"),
    refused("$skip", "all are counted"),
];

fn list(version: Version, resource: Resource) -> MethodRouter<App> {
    get(move |State(app): State<App>, asked: Asked| resources::list(app, asked, version, resource, None))
}

fn one(version: Version, resource: Resource) -> MethodRouter<App> {
    get(move |State(app): State<App>, asked: Asked, Path(key): Path<String>| {
        resources::list(app, asked, version, resource, Some(key))
    })
}

fn count(version: Version, resource: Resource) -> MethodRouter<App> {
    get(move |State(app): State<App>, asked: Asked| resources::count(app, asked, version, resource))
}

/// `GET /actor/v1/whoami`
async fn actor(asked: Asked) -> Result<Json<Value>, Problem> {
    let name = &asked.who.0.name;
    let id = |kind| ids::of_name(kind, "", name);
    Ok(Json(json!({
        "id": id("actor"), "actorType": "user", "actorTypeId": id("user"), "username": name, "email": null,
    })))
}

/// `GET /user/v1/whoami`
async fn user(asked: Asked) -> Result<Json<Value>, Problem> {
    let name = &asked.who.0.name;
    Ok(Json(json!({ "id": ids::of_name("user", "", name), "username": name, "email": null })))
}
