//! Faces: the interfaces of other products over the same view, so that whoever comes from there keeps the client that
//! they have. Each stands at the root of the host.
//!
//! A face declares its routes, and for each of its parameters whether it is served, ignored or refused. Router, errors,
//! documents and tests are made of that declaration. A handler asks for [`Asked`] and gets the tenant, which comes from
//! the token, and the parameters that are served; it fails with the same problems as the native API does, which go out
//! in the words of the face.

pub mod balena;
pub mod cumulocity;
pub mod watson;

use std::fmt::Write as _;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Json, Router};
use serde_json::Value;

use super::app::{App, Parameters, Who};
use super::auth::{Need, Tenants, Token};
use super::problem::{self, Problem};
use crate::domain::time::Timestamp;
use crate::query::filter::{BadFilter, moment};

/// Every face.
pub const FACES: &[&Face] = &[&watson::FACE, &cumulocity::FACE, &balena::FACE];

/// The interface of another product.
pub struct Face {
    /// Its name in addresses: `/docs/{name}` is its page.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What the paths of its routes begin with: of two faces the longer beginning says whose a path is. A root may have no
    /// route: who asks there is told in the words of the face what it serves.
    pub roots: &'static [&'static str],
    /// Whether a path of it with repeated slashes means the one without.
    pub merges_slashes: bool,
    /// What an answer of JSON is called for whoever accepts these types: one of them, or JSON.
    pub media: fn(accepts: &str) -> Option<&str>,
    /// Its routes.
    pub routes: &'static [FaceRoute],
    /// What becomes of a parameter that is in no table: refused, or ignored.
    pub unknown: Treatment,
    /// Whether a user name of basic authentication names this tenant.
    pub names: fn(user: &str, tenant: &str) -> bool,
    /// How its user names name a tenant, for who must be told.
    pub user: &'static str,
    /// The body of an error.
    pub error: fn(&Problem) -> Value,
    /// Its page, in Markdown.
    pub page: &'static str,
}

/// A route of a face.
pub struct FaceRoute {
    /// GET, PUT, POST or DELETE.
    pub method: &'static str,
    /// Its path.
    pub path: &'static str,
    /// What it takes to ask.
    pub need: Need,
    /// What it tells or does.
    pub about: &'static str,
    /// Its parameters behind the question mark.
    pub parameters: &'static [FaceParameter],
    /// What answers.
    pub handler: fn() -> MethodRouter<App>,
}

/// A parameter of a face's route.
pub struct FaceParameter {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub treatment: Treatment,
    /// Served: what it does. Ignored or refused: why.
    pub about: &'static str,
}

crate::domain::event::words!(
    /// What becomes of a parameter.
    Treatment {
        /// It does what it does there.
        Served = "served",
        /// It may be said, and changes nothing.
        Ignored = "ignored",
        /// Whoever says it is told what is served.
        Refused = "refused",
    }
);

/// A parameter that is served.
pub const fn served(name: &'static str, about: &'static str) -> FaceParameter {
    FaceParameter { name, treatment: Treatment::Served, about }
}

/// A parameter that may be said, and changes nothing.
pub const fn ignored(name: &'static str, about: &'static str) -> FaceParameter {
    FaceParameter { name, treatment: Treatment::Ignored, about }
}

/// A parameter that is refused.
pub const fn refused(name: &'static str, about: &'static str) -> FaceParameter {
    FaceParameter { name, treatment: Treatment::Refused, about }
}

/// The face that a path belongs to.
pub fn of(path: &str) -> Option<&'static Face> {
    let roots = FACES.iter().flat_map(|face| face.roots.iter().map(move |root| (*root, *face)));
    roots.filter(|(root, _)| path.starts_with(root)).max_by_key(|(root, _)| root.len()).map(|(_, face)| face)
}

/// The same request with single slashes in its path, where the face that it is for wants that.
pub async fn with_single_slashes(mut request: Request) -> Request {
    let path = request.uri().path();
    if !path.contains("//") {
        return request;
    }
    let mut merged = String::with_capacity(path.len());
    path.chars().for_each(|letter| {
        if !(letter == '/' && merged.ends_with('/')) {
            merged.push(letter);
        }
    });
    if of(&merged).is_none_or(|face| !face.merges_slashes) {
        return request;
    }
    if let Some(query) = request.uri().query() {
        merged.push('?');
        merged.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(merged).ok();
    // Slashes fewer, it is an address all the same.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// The router of all faces.
pub fn router() -> Router<App> {
    let routes = FACES.iter().flat_map(|face| face.routes.iter().map(move |route| (*face, route)));
    routes.fold(Router::new(), |router, (face, route)| {
        let known = move |mut request: Request, next: Next| async move {
            request.extensions_mut().insert(Place { face, route });
            let kind = face.media_type(request.headers());
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            let is_json = |kind: &HeaderValue| kind.as_bytes() == b"application/json";
            if let Some(kind) = kind.filter(|_| headers.get(header::CONTENT_TYPE).is_some_and(is_json)) {
                headers.insert(header::CONTENT_TYPE, kind);
            }
            response
        };
        // A key in brackets goes to the end of the path: the router takes it with the bracket.
        let path = route.path.strip_suffix(')').unwrap_or(route.path);
        router.route(path, (route.handler)().layer(middleware::from_fn(known)))
    })
}

/// Which route of which face a request came to.
#[derive(Clone, Copy)]
struct Place {
    face: &'static Face,
    route: &'static FaceRoute,
}

/// There is no such route, in the words of whoever the path belongs to.
pub async fn no_route(uri: Uri) -> Problem {
    match of(uri.path()) {
        None => problem::not_found("there is no such route; /v1/openapi.json lists them"),
        Some(face) => problem::not_found(face.tells(&format!("{} is not served", uri.path()))),
    }
}

/// The route knows other methods.
pub async fn no_method(method: Method, uri: Uri) -> Problem {
    match of(uri.path()) {
        None => problem::method("this route knows other methods; /v1/openapi.json lists them"),
        Some(face) => problem::method(face.tells(&format!("{method} {} is not served", uri.path()))),
    }
}

/// `GET /docs`: where to read what, for people.
pub async fn pages() -> Response {
    let mut text = "# Lastseen\n\n\
        * /v1/openapi.json: the native API\n"
        .to_owned();
    for face in FACES {
        // Writing to a text does not fail.
        let _ = writeln!(text, "* /docs/{}: what people of {} find here", face.name, face.title);
    }
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// `GET /docs/{face}`: the page of a face, for people.
pub async fn page(axum::extract::Path(name): axum::extract::Path<String>) -> Result<Response, Problem> {
    let face = FACES.iter().find(|face| face.name == name).ok_or_else(|| {
        let known: Vec<String> = FACES.iter().map(|face| format!("/docs/{}", face.name)).collect();
        problem::not_found(format!("there is no page of that name; there are {}", known.join(", ")))
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], face.page).into_response())
}

impl Face {
    /// An answer that tells a problem, in the words of the face; any other as it is.
    pub fn told(&self, mut response: Response) -> Response {
        let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
        let body = Json((self.error)(&problem)).into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *response.body_mut() = body.into_body();
        response
    }

    /// What the answer to such a request is called, if not JSON.
    fn media_type(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let accepts = headers.get(header::ACCEPT)?.to_str().ok()?;
        HeaderValue::from_str((self.media)(accepts)?).ok()
    }

    /// What was wrong, and what is served.
    fn tells(&self, wrong: &str) -> String {
        let routes: Vec<String> =
            self.routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        format!("{wrong}; of {} Lastseen serves {}; see /docs/{}", self.title, routes.join(", "), self.name)
    }

    /// The table of its routes and parameters, in Markdown.
    pub fn table(&self) -> String {
        let mut table = "| route | parameter | | |\n|---|---|---|---|\n".to_owned();
        for route in self.routes {
            // Writing to a text does not fail.
            let _ = writeln!(table, "| `{} {}` | | served | {} |", route.method, route.path, route.about);
            for parameter in route.parameters {
                let FaceParameter { name, treatment, about } = parameter;
                let _ = writeln!(table, "| | `{name}` | {treatment} | {about} |");
            }
            let _ = writeln!(table, "| | any other | {} | |", self.unknown);
        }
        let _ = writeln!(table, "| any other | | refused | the error lists those that are served |");
        table
    }

    /// The tenant that a request is about: that of the token, or of several the one that the user name names.
    ///
    /// # Errors
    /// It cannot be told which.
    fn tenant(&self, app: &App, token: &Token, user: Option<&str>) -> Result<String, Problem> {
        let named = |tenants: &mut dyn Iterator<Item = &str>| {
            // Of the tenants `a` and `a-b` a user name may name both: it means the longer.
            let named = user.map(|user| tenants.filter(|tenant| (self.names)(user, tenant)));
            named.and_then(|named| named.max_by_key(|tenant| tenant.len()).map(str::to_owned))
        };
        let is_own_name = user.is_none_or(|user| user == token.name);
        let found = match &token.tenants {
            Tenants::Some(tenants) => match &**tenants {
                [only] if is_own_name => Some(only.clone()),
                tenants => named(&mut tenants.iter().map(String::as_str)),
            },
            Tenants::All => named(&mut app.view.state().fleet.tenants().map(|(name, _)| name)),
        };
        found.ok_or_else(|| {
            let wrong = match user {
                None => "this token is for more than one tenant".to_owned(),
                Some(user) => format!("the user {user:?} names no tenant of this token"),
            };
            problem::forbidden(format!(
                "{wrong}; name one by basic authentication: the user is {}, the password the token",
                self.user
            ))
        })
    }
}

/// What a face's route was asked: for which tenant, and with which of the parameters that it serves. Whoever may not ask
/// is refused before anything else is looked at.
pub struct Asked {
    /// The tenant, by the token.
    pub tenant: String,
    /// Who asks.
    pub who: Who,
    /// The parameters.
    pub parameters: Parameters,
    /// Scheme, host and port as the client knows them, for addresses in answers; empty if it did not say.
    pub origin: String,
}

impl FromRequestParts<App> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Asked, Problem> {
        let Some(Place { face, route }) = parts.extensions.get().copied() else {
            return Err(problem::internal(
                "a handler of a face stands outside of it; this is a bug in Lastseen",
            ));
        };
        let (token, user) = app.tokens.who_by_secret(&parts.headers)?;
        let tenant = face.tenant(app, &token, user.as_deref())?;
        token.may(route.need, Some(&tenant))?;
        let parameters = Parameters::from_request_parts(parts, app).await?;
        let origin = origin(parts, app.secure);
        Ok(Asked { tenant, who: Who(token), parameters: sorted(face, route, parameters)?, origin })
    }
}

/// Scheme, host and port that a request was sent to; what stands in front says by `X-Forwarded-Proto` that it speaks TLS.
fn origin(parts: &Parts, is_secure: bool) -> String {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let host = parts.uri.authority().map(|host| host.as_str()).or_else(|| text("host"));
    let is_secure = is_secure || text("x-forwarded-proto").is_some_and(|proto| proto.starts_with("https"));
    host.map(|host| format!("{}://{host}", if is_secure { "https" } else { "http" })).unwrap_or_default()
}

/// The parameters that are served; of the others, those that are not merely ignored are an error.
fn sorted(face: &Face, route: &FaceRoute, parameters: Parameters) -> Result<Parameters, Problem> {
    let mut kept = Vec::new();
    for (name, value) in parameters.into_pairs() {
        let known = route.parameters.iter().find(|known| known.name == name);
        let (treatment, why) =
            known.map_or((face.unknown, "it is not known here"), |known| (known.treatment, known.about));
        match treatment {
            Treatment::Served => kept.push((name, value)),
            Treatment::Ignored => {}
            Treatment::Refused => {
                let served = route.parameters.iter().filter(|one| one.treatment == Treatment::Served);
                let served: Vec<&str> = served.map(|one| one.name).collect();
                let served = if served.is_empty() { "none".to_owned() } else { served.join(", ") };
                return Err(BadFilter::new(&name, format!("{why}; served here: {served}")).into());
            }
        }
    }
    Ok(Parameters::of(kept))
}

/// Takes a time as ISO 8601 has it: RFC 3339, a date alone, without a zone in UTC; or relative to now as `-2d`.
///
/// # Errors
/// It is none.
pub fn time_of(
    parameters: &mut Parameters,
    name: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = parameters.take(name)? else { return Ok(None) };
    time_in(&text, now).map(Some).map_err(|message| BadFilter::new(name, message).into())
}

/// The time that a text is, as [`time_of`] reads it.
///
/// # Errors
/// It is none: what would be.
pub fn time_in(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    moment(&with_zone(text), now)
}

/// The same moment with a time of the day and a zone, if the text begins as a date does.
fn with_zone(text: &str) -> String {
    let is_date = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let Some((date, rest)) = text.split_at_checked(10).filter(|(date, _)| is_date(date)) else {
        return text.to_owned();
    };
    let Some(clock) = rest.strip_prefix(['T', 't', ' ']) else {
        return if rest.is_empty() { format!("{date}T00:00:00Z") } else { text.to_owned() };
    };
    // In an address a plus sign may have become a space.
    let clock = clock.replace(' ', "+");
    let has_zone = clock.contains(['Z', 'z', '+', '-']);
    format!("{date}T{clock}{}", if has_zone { "" } else { "Z" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_other_products_write_them() {
        for (text, full) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
            ("2026-01-31 12:00:00.123456", "2026-01-31T12:00:00.123456Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00+01:00"),
            ("2026-01-31T12:00:00 01:00", "2026-01-31T12:00:00+01:00"),
            ("-2d", "-2d"),
            ("2026-01-31x", "2026-01-31x"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(with_zone(text), full, "{text}");
        }
    }

    #[test]
    fn every_route_lies_below_the_root_of_its_face_and_no_parameter_is_there_twice() {
        for face in FACES {
            for route in face.routes {
                assert_eq!(of(route.path).map(|face| face.name), Some(face.name), "{}", route.path);
                let mut names: Vec<&str> = route.parameters.iter().map(|one| one.name).collect();
                names.sort_unstable();
                assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", route.path);
            }
        }
    }
}
