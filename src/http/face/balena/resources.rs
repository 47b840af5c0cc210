//! `device`, `application` and `organization`: lists, one of them by its key, and how many.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::Version;
use super::fields::{Field, Resource, Scope, Seen, Val, app_name};
use super::find::{self, Kept, Order, Search};
use super::ids::DeviceIds;
use super::predicate::{Memory, Predicate, Term, Test};
use super::shown::{Expanded, Shown, filter, order, shown};
use super::syntax::{self, Key, Op};
use crate::domain::effect::EffectKind;
use crate::domain::facet::{Facet, Heartbeat};
use crate::domain::time::Timestamp;
use crate::http::app::{App, Parameters};
use crate::http::face::Asked;
use crate::http::problem::Problem;
use crate::query::filter::BadFilter;
use crate::query::fleet::Tenant;
use crate::query::history::Past;
use crate::wire::output::Output;

/// Devices that one pass over the fleet finds for a list without an end.
const FOUND: usize = 16_384;
/// Devices that are written in one piece: so long others wait for the view at most, and so much lies in memory.
const WRITTEN: usize = 512;
/// `$top` and `$skip` at most.
const NUMBER_MAX: u64 = 1 << 31;

/// What is asked of a resource.
struct Question {
    tenant: String,
    version: Version,
    resource: Resource,
    test: Option<Test>,
    order: Order,
    skip: usize,
    /// `None`: all of them.
    limit: Option<usize>,
    shown: Shown,
}

impl Question {
    fn read(
        asked: Asked,
        version: Version,
        resource: Resource,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<Question, Problem> {
        let Asked { tenant, mut parameters, .. } = asked;
        let (select, expand) = (parameters.take("$select")?, parameters.take("$expand")?);
        let mut shown = shown(resource, select.as_deref(), expand.as_deref(), now)?;
        let text = parameters.take("$orderby")?;
        let order = text.map(|text| order(resource, &text)).transpose()?.unwrap_or_default();
        let limit = parameters.whole("$top", 0..=NUMBER_MAX)?.map(|top| top as usize);
        let skip = parameters.whole("$skip", 0..=NUMBER_MAX)?.map_or(0, |skip| skip as usize);
        let keyed = key.map(|key| by_key(resource, key)).transpose()?;
        let test = filter_of(&mut parameters, resource, now)?;
        let test = match (keyed, test) {
            (Some(keyed), Some(test)) => Some(Test::And(vec![keyed, test])),
            (keyed, test) => keyed.or(test),
        };
        // What is read from the past of each device is told of many only where it is asked for.
        if resource == Resource::Device && select.is_none() && Predicate::of(test.clone()).only.is_none() {
            shown.fields.retain(|field| !field.is_past());
        }
        Ok(Question { tenant, version, resource, test, order, skip, limit, shown })
    }

    fn scope<'s>(&'s self, app: &App) -> Scope<'s> {
        scope(self.version, &self.tenant, app.partitions)
    }
}

fn scope(version: Version, tenant: &str, partitions: u32) -> Scope<'_> {
    Scope { version, tenant, ids: DeviceIds::new(tenant, partitions) }
}

fn filter_of(
    parameters: &mut Parameters,
    resource: Resource,
    now: Timestamp,
) -> Result<Option<Test>, Problem> {
    Ok(parameters.take("$filter")?.map(|text| filter(resource, &text, now)).transpose()?)
}

/// What a key asks for, as a filter.
fn by_key(resource: Resource, key: &str) -> Result<Test, BadFilter> {
    let refused = |message: String| BadFilter::new(resource.name(), message);
    let (name, value) = match syntax::key(key).map_err(refused)? {
        Key::Id(id) => ("id".to_owned(), Val::Number(id as f64)),
        Key::Named(name, text) => (name, Val::Text(text.into())),
    };
    let keys = match resource {
        Resource::Device => &["id", "uuid"][..],
        Resource::Application => &["id", "uuid", "slug"],
        _ => &["id", "handle"],
    };
    let field = resource.field(&name).filter(|_| keys.contains(&&*name)).ok_or_else(|| {
        refused(format!("{name:?} is no key that is served; served are {}", keys.join(" and ")))
    })?;
    Ok(Test::Compare(Op::Eq, Term::Field(field), Term::Always(value)))
}

/// A list, or what has this key: `{"d": […]}`. What is not there is a list without anything in it.
///
/// # Errors
/// What is asked for is not served.
pub async fn list(
    app: App,
    asked: Asked,
    version: Version,
    resource: Resource,
    key: Option<String>,
) -> Result<Response, Problem> {
    let question = Question::read(asked, version, resource, key.as_deref(), app.clock.now())?;
    if resource != Resource::Device {
        return app.beside(move |app| Ok(few(app, &question))).await;
    }
    let walk = Walk::new(Arc::new(question));
    let (walk, first) = app.beside(move |app| walk.on(app)).await?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let begin = format!("{{\"d\":[{first}");
    if walk.is_over {
        return Ok((kind, begin + "]}").into_response());
    }
    // The rest is found while the client reads: nothing lies in memory but the piece that is on its way.
    let rest = stream::unfold(Some((app, walk)), |state| async {
        let (app, walk) = state?;
        if walk.is_over {
            return Some((Ok("]}".to_owned()), None));
        }
        match app.beside(move |app| walk.on(app)).await {
            Ok((walk, piece)) => Some((Ok(piece), Some((app, walk)))),
            // It breaks off, so that nobody takes it for the whole.
            Err(problem) => Some((Err(io::Error::other(problem.detail)), None)),
        }
    });
    let begin = stream::once(async { Ok::<_, io::Error>(begin) });
    // Whatever compresses it asks once more behind its end.
    Ok((kind, Body::from_stream(begin.chain(rest).fuse())).into_response())
}

/// How many there are: `{"d": 3}`.
///
/// # Errors
/// What is asked for is not served.
pub async fn count(
    app: App,
    asked: Asked,
    version: Version,
    resource: Resource,
) -> Result<Json<Value>, Problem> {
    let now = app.clock.now();
    let Asked { tenant, mut parameters, .. } = asked;
    let test = filter_of(&mut parameters, resource, now)?;
    app.beside(move |app| {
        let scope = scope(version, &tenant, app.partitions);
        let state = app.view.state();
        let count = match (resource, state.fleet.tenant(&tenant)) {
            (Resource::Device, Some(known)) => {
                let predicate = Predicate::of(test);
                Search { scope: &scope, fleet: &state.fleet, tenant: known, predicate: &predicate }.count()
            }
            (Resource::Device, None) => 0,
            (_, known) => {
                let names = names(&scope, resource, known);
                let holds = |name: &&String| {
                    test.as_ref().is_none_or(|test| test.holds(&|field| scope.of_app(field, name)))
                };
                names.keys().filter(holds).count() as u64
            }
        };
        Ok(Json(json!({ "d": count })))
    })
    .await
}

/// A list of devices that is under way.
struct Walk {
    question: Arc<Question>,
    predicate: Arc<Predicate>,
    /// Found, and not told yet.
    found: std::vec::IntoIter<u32>,
    /// Behind this one the search goes on.
    last: Option<Kept>,
    skip: usize,
    left: usize,
    has_told: bool,
    is_over: bool,
}

impl Walk {
    fn new(question: Arc<Question>) -> Walk {
        Walk {
            predicate: Arc::new(Predicate::of(question.test.clone())),
            found: Vec::new().into_iter(),
            last: None,
            skip: question.skip,
            left: question.limit.unwrap_or(usize::MAX),
            has_told: false,
            is_over: false,
            question,
        }
    }

    /// The next piece.
    ///
    /// # Errors
    /// The past of a device, where it is told, cannot be read.
    fn on(mut self, app: &App) -> Result<(Walk, String), Problem> {
        let question = Arc::clone(&self.question);
        let predicate = Arc::clone(&self.predicate);
        let scope = question.scope(app);
        let state = app.view.state();
        let mut piece = String::new();
        let Some(tenant) = state.fleet.tenant(&question.tenant) else {
            self.is_over = true;
            return Ok((self, piece));
        };
        let search = Search { scope: &scope, fleet: &state.fleet, tenant, predicate: &predicate };
        if self.found.len() == 0 {
            let wanted = self.left.min(FOUND);
            let rows = search.first(&question.order, self.last.as_ref(), self.skip, wanted);
            self.skip = 0;
            self.left -= rows.len();
            self.is_over = rows.len() < wanted || self.left == 0;
            self.last = rows.last().map(|index| Kept::of(tenant, *index)).or(self.last.take());
            self.found = rows.into_iter();
        }
        let mut memory = Memory::default();
        let tells_past = question.shown.fields.iter().any(|field| field.is_past());
        for index in self.found.by_ref().take(WRITTEN) {
            // Since it was found it may have changed, or its row may be another's.
            if !search.takes(index, &mut memory) {
                continue;
            }
            if self.has_told {
                piece.push(',');
            }
            self.has_told = true;
            let seen = Seen::of(tenant, index);
            let changed =
                if tells_past { heartbeat_changed(app, &question.tenant, &seen)? } else { Val::Null };
            let value = |field: Field| {
                if field.is_past() { changed.clone() } else { scope.of_device(field, &seen) }
            };
            question.shown.write(&mut piece, &value, &[]);
        }
        self.is_over &= self.found.len() == 0;
        Ok((self, piece))
    }
}

/// When the heartbeat state of a device last changed (balena B01): null if it never polled, or if that is longer ago than
/// the past that is kept.
fn heartbeat_changed(app: &App, tenant: &str, seen: &Seen<'_>) -> Result<Val<'static>, Problem> {
    if seen.cells.facets().heartbeat == Heartbeat::Unknown {
        return Ok(Val::Null);
    }
    let changes_it = |output: &Output| match &output.effect.kind {
        EffectKind::Status(status) => status.changes.iter().any(|one| one.facet == Facet::Heartbeat),
        _ => false,
    };
    let key = format!("{tenant}/{}", seen.id);
    let always = (Timestamp::NEVER, Timestamp::MAX);
    let (found, _) = app.view.history.of_device(Past::Status, &key, always, None, 1, changes_it)?;
    Ok(found.first().map_or(Val::Null, |output| Val::of_time(output.effect.at)))
}

/// The names of the applications of a tenant, and the numbers of their types; or of the organization alone.
fn names(scope: &Scope<'_>, resource: Resource, tenant: Option<&Tenant>) -> BTreeMap<String, Vec<u32>> {
    let mut names: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    if resource == Resource::Organization {
        names.insert(scope.tenant.to_owned(), Vec::new());
        return names;
    }
    let Some(tenant) = tenant else { return names };
    let mut typed = 0;
    for (number, name, users) in tenant.types() {
        names.entry(app_name(Some(name)).to_owned()).or_default().push(number);
        typed += users as usize;
    }
    if typed < tenant.len() {
        names.entry(app_name(None).to_owned()).or_default().push(0);
    }
    names
}

/// Applications, or the organization: there are few of them.
fn few(app: &App, question: &Question) -> Response {
    let scope = question.scope(app);
    let state = app.view.state();
    let tenant = state.fleet.tenant(&question.tenant);
    let names = names(&scope, question.resource, tenant);
    let value = |name: &str, field: Field| scope.of_app(field, name).owned();
    let holds =
        |name: &&String| question.test.as_ref().is_none_or(|test| test.holds(&|field| value(name, field)));
    let mut found: Vec<&String> = names.keys().filter(holds).collect();
    found.sort_by(|a, b| {
        let mut order = question.order.iter().map(|(field, is_descending)| {
            let by = match (value(a, *field), value(b, *field)) {
                (Val::Text(a), Val::Text(b)) => find::alike(&a, &b),
                (a, b) => find::values(&a, &b),
            };
            if *is_descending { by.reverse() } else { by }
        });
        order.find(|by| by.is_ne()).unwrap_or_else(|| a.cmp(b))
    });
    // How many devices each has, for each expansion that asks.
    let counts = question.shown.expanded.iter().filter_map(|expanded| match (expanded, tenant) {
        (Expanded::Devices(predicate), Some(tenant)) => {
            Some(Search { scope: &scope, fleet: &state.fleet, tenant, predicate }.count_by_type())
        }
        _ => None,
    });
    let counts: Vec<Vec<u64>> = counts.collect();
    let mut body = "{\"d\":[".to_owned();
    let page = found.into_iter().skip(question.skip).take(question.limit.unwrap_or(usize::MAX));
    for (name, place) in page.zip(0..) {
        if place > 0 {
            body.push(',');
        }
        let of_type = |counts: &Vec<u64>| {
            names[name].iter().map(|number| counts.get(*number as usize).copied().unwrap_or(0)).sum()
        };
        let devices: Vec<u64> = counts.iter().map(of_type).collect();
        question.shown.write(&mut body, &|field| value(name, field), &devices);
    }
    ([(header::CONTENT_TYPE, "application/json")], body + "]}").into_response()
}
