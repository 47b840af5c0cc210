//! The OpenAPI document, made from the table of routes. `deploy/openapi.json` is the same, checked in, so that a change
//! of the interface shows as a difference; a test holds both together.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::problem::{KINDS, Problem};
use super::routes::{Content, ROUTES, Route, Shape};
use crate::query::filter;

static DOCUMENT: LazyLock<String> = LazyLock::new(text);

/// `GET /v1/openapi.json`
pub async fn get() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The document as it is checked in.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The document.
pub fn document() -> Value {
    let mut schemas = BTreeMap::new();
    let mut paths: BTreeMap<&str, BTreeMap<String, Value>> = BTreeMap::new();
    for route in ROUTES.iter().filter(|route| !route.is_page) {
        let operation = operation(route, &mut schemas);
        paths.entry(route.path).or_default().insert(route.method.to_lowercase(), operation);
    }
    let problem: Shape = {
        let mut others = Vec::new();
        <Problem as utoipa::ToSchema>::schemas(&mut others);
        Shape { name: "Problem".into(), schema: <Problem as utoipa::PartialSchema>::schema(), others }
    };
    add(&mut schemas, problem);
    let kinds: Vec<String> =
        KINDS.iter().map(|(kind, status, title)| format!("`{kind}` ({status}): {title}")).collect();
    let parameters: BTreeMap<String, Value> = filter::parameters()
        .into_iter()
        .map(|(name, about)| {
            let schema = json!({ "type": "string" });
            (name.clone(), json!({ "name": name, "in": "query", "description": about, "schema": schema }))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lastseen",
            "version": "1",
            "description": format!(
                "Which of my devices are connected, since when, why not, and can I trust the answer?\n\nTimes are RFC 3339 in \
                 UTC. Filters are parameters: all of them must hold; of several values with commas any; `!` in front \
                 excludes. Errors are application/problem+json: {}.", kinds.join("; ")
            ),
        },
        "security": [{ "bearer": [] }, { "basic": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic", "description": "User: the token's name. Password: its secret." },
            },
            "parameters": parameters,
            "schemas": schemas,
        },
    })
}

fn operation(route: &Route, schemas: &mut BTreeMap<String, Value>) -> Value {
    let mut parameters = Vec::new();
    for name in names_in(route.path) {
        parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    for (name, about) in route.parameters.iter().flat_map(|some| some.iter()) {
        parameters.push(
            json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } }),
        );
    }
    if route.takes_filter {
        for (name, _) in filter::parameters() {
            parameters.push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        }
    }
    let mut responses = BTreeMap::new();
    for (status, about, content) in route.answers {
        responses.insert(status.to_string(), described(about, *content, *status >= 400, schemas));
    }
    let problem =
        json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    responses.insert("default".into(), json!({ "description": "A problem.", "content": problem }));
    let needs = match route.need {
        None => "It takes no token.".to_owned(),
        Some(need) => {
            let roles: Vec<&str> = need.roles().iter().map(|role| role.word()).collect();
            let for_all = if route.path.contains("{tenant}") { "" } else { " for all tenants" };
            let open = if route.path == "/metrics" { ", unless http.open_metrics is true" } else { "" };
            format!("It takes a token with the role {}{for_all}{open}.", roles.join(" or "))
        }
    };
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "description": needs,
        "parameters": parameters,
        "responses": responses,
    });
    if route.need.is_none() {
        operation["security"] = json!([]);
    }
    if let Value::Object(body) = described("", route.body, false, schemas)
        && let Some(content) = body.get("content")
    {
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn names_in(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
}

fn described(
    about: &str,
    content: Content,
    is_problem: bool,
    schemas: &mut BTreeMap<String, Value>,
) -> Value {
    let content = match content {
        Content::Nothing => return json!({ "description": about }),
        Content::Json(shape) => {
            let kind = if is_problem { "application/problem+json" } else { "application/json" };
            let shape = shape();
            let reference = format!("#/components/schemas/{}", shape.name);
            add(schemas, shape);
            json!({ kind: { "schema": { "$ref": reference } } })
        }
        Content::Free(what) => {
            json!({ "application/json": { "schema": { "type": "object", "description": what } } })
        }
        Content::Other(kinds, what) => {
            let schema = json!({ "type": "string", "description": what });
            kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": schema }))).collect()
        }
    };
    json!({ "description": about, "content": content })
}

fn add(schemas: &mut BTreeMap<String, Value>, shape: Shape) {
    for (name, schema) in shape.others.into_iter().chain([(shape.name, shape.schema)]) {
        schemas.insert(name, serde_json::to_value(schema).unwrap_or_default());
    }
}
