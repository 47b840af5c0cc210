//! What every request needs: the view, the log to write to, who may, and the parameters of an address.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::{Semaphore, watch};

use super::auth::{Need, Token, Tokens};
use super::problem::{self, Problem};
use crate::clock::Clock;
use crate::domain::event::{is_device_id, is_tenant};
use crate::domain::time::Timestamp;
use crate::log::Append;
use crate::query::filter::{BadFilter, Filter, moment};
use crate::query::view::View;
use crate::stats::Stats;

/// Lists that are answered at a time: each goes through a whole fleet.
const SCANS: usize = 4;
/// Live streams at a time.
pub const STREAMS: usize = 4_000;
/// Items of a page, unless `limit` says otherwise, and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
    /// The longest that an answer takes, live streams and `wait` excepted.
    pub timeout: Duration,
    /// The largest event.
    pub record_bytes: usize,
    /// Whether `/metrics` needs no token.
    pub open_metrics: bool,
    /// Whether the Watson IoT face tells client connection states.
    pub client_state: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 4 << 20,
            timeout: Duration::from_secs(10),
            record_bytes: 1 << 20,
            open_metrics: false,
            client_state: true,
        }
    }
}

/// What every request needs. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// What an [`App`] shares.
pub struct Inner {
    /// What is known.
    pub view: Arc<View>,
    /// Where commands and events go; `None`: they are refused.
    pub append: Option<Box<dyn Append>>,
    /// The time.
    pub clock: Clock,
    /// Who may.
    pub tokens: Arc<Tokens>,
    /// Partitions of every topic.
    pub partitions: u32,
    /// Bounds.
    pub limits: Limits,
    /// Whether it speaks TLS itself.
    pub secure: bool,
    /// Counters of the processor, where it runs in this process.
    pub stats: Option<Arc<Stats>>,
    /// Grows whenever the view changes.
    pub changed: watch::Receiver<u64>,
    /// Becomes true when the service stops.
    pub stopping: watch::Receiver<bool>,
    /// Live streams that may still begin.
    pub streams: Arc<Semaphore>,
    /// Counters of the service.
    pub served: super::metrics::Served,
    scans: Semaphore,
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What an [`App`] is made of.
pub struct Base {
    /// What is known.
    pub view: Arc<View>,
    /// Where commands and events go.
    pub append: Option<Box<dyn Append>>,
    /// The time.
    pub clock: Clock,
    /// Who may.
    pub tokens: Arc<Tokens>,
    /// Partitions of every topic.
    pub partitions: u32,
    /// Bounds.
    pub limits: Limits,
    /// Whether it speaks TLS itself.
    pub secure: bool,
    /// Counters of the processor.
    pub stats: Option<Arc<Stats>>,
}

impl App {
    /// Over a view. `stopping` becomes true when the service stops.
    pub fn new(parts: Base, stopping: watch::Receiver<bool>) -> App {
        let (change, changed) = watch::channel(0);
        parts.view.on_change(move || change.send_modify(|count| *count += 1));
        let Base { view, append, clock, tokens, partitions, limits, secure, stats } = parts;
        App(Arc::new(Inner {
            view,
            append,
            clock,
            tokens,
            partitions,
            limits,
            secure,
            stats,
            changed,
            stopping,
            streams: Arc::new(Semaphore::new(STREAMS)),
            served: super::metrics::Served::default(),
            scans: Semaphore::new(SCANS),
        }))
    }

    /// Does what takes long, or waits for the disk, beside the requests; a few at a time.
    ///
    /// # Errors
    /// What `work` fails with.
    pub async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let _turn = self.scans.acquire().await.map_err(|_| problem::unavailable("the service stops"))?;
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app)).await.unwrap_or_else(|_| {
            Err(problem::internal("the request ended in a panic; this is a bug in Lastseen"))
        })
    }

    /// The partition that a device's records lie in.
    pub fn partition_of(&self, key: &str) -> u32 {
        crate::wire::partition::of(key.as_bytes(), self.partitions)
    }
}

/// Who asks. A request without a token that is known is refused before anything else of it is looked at.
pub struct Who(pub Arc<Token>);

impl FromRequestParts<App> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Who, Problem> {
        app.tokens.who(&parts.headers).map(Who)
    }
}

impl Who {
    /// Whether they may do this to this tenant.
    ///
    /// # Errors
    /// They may not, or the tenant cannot be one.
    pub fn may(&self, need: Need, tenant: &str) -> Result<(), Problem> {
        self.0.may(need, Some(tenant))?;
        if !is_tenant(tenant) {
            return Err(problem::bad_request(format!("{tenant:?} is no tenant: 1 to 64 of A-Z a-z 0-9 _ -")));
        }
        Ok(())
    }
}

/// The record key of a device in an address.
///
/// # Errors
/// The id cannot be one.
pub fn key_of(tenant: &str, device_id: &str) -> Result<String, Problem> {
    if !is_device_id(device_id) {
        return Err(problem::bad_request(
            "a device id has 1 to 256 bytes of UTF-8, without / and control characters",
        ));
    }
    Ok(format!("{tenant}/{device_id}"))
}

/// That there is no such device.
pub fn no_device(device_id: &str) -> Problem {
    problem::not_found(format!("this tenant has no device {device_id:?}"))
}

/// The parameters behind the question mark, decoded.
pub struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Parameters, Problem> {
        let query = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let axum::extract::Query(pairs) = query.map_err(|error| problem::bad_request(error.body_text()))?;
        Ok(Parameters(pairs))
    }
}

impl Parameters {
    /// Of these names and values.
    pub fn of(pairs: Vec<(String, String)>) -> Parameters {
        Parameters(pairs)
    }

    /// All of them.
    pub fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }

    /// What was not taken yet.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Takes a parameter that may be said once.
    ///
    /// # Errors
    /// It was said twice.
    pub fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut said = self.0.extract_if(.., |(known, _)| known == name).map(|(_, value)| value);
        let (first, second) = (said.next(), said.next());
        drop(said);
        if second.is_some() {
            return Err(BadFilter::new(name, "said twice").into());
        }
        Ok(first)
    }

    /// Takes a flag: `true`, `false`, or the name alone.
    ///
    /// # Errors
    /// It is neither.
    pub fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(other) => Err(BadFilter::new(name, format!("{other:?} is neither true nor false")).into()),
        }
    }

    /// Takes a whole number.
    ///
    /// # Errors
    /// It is none, or out of bounds.
    pub fn whole(
        &mut self,
        name: &str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.map(Some).ok_or_else(|| {
            let (low, high) = (bounds.start(), bounds.end());
            BadFilter::new(name, format!("{text:?} is no whole number from {low} to {high}")).into()
        })
    }

    /// Takes `limit`.
    ///
    /// # Errors
    /// It is out of bounds.
    pub fn limit(&mut self) -> Result<usize, Problem> {
        Ok(self.whole("limit", 1..=PAGE_MAX as u64)?.map_or(PAGE, |limit| limit as usize))
    }

    /// Takes a time.
    ///
    /// # Errors
    /// It is none.
    pub fn moment(&mut self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        moment(&text, now).map(Some).map_err(|message| BadFilter::new(name, message).into())
    }

    /// Takes the filter: everything that is left.
    ///
    /// # Errors
    /// A parameter that is none, or a value that cannot be.
    pub fn filter(self, now: Timestamp) -> Result<Filter, Problem> {
        let mut filter = Filter::default();
        for (name, value) in &self.0 {
            if !filter.read(name, value, now)? {
                return Err(unknown(name));
            }
        }
        Ok(filter)
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// A parameter that the route does not know.
    pub fn done(self) -> Result<(), Problem> {
        self.0.first().map_or(Ok(()), |(name, _)| Err(unknown(name)))
    }
}

fn unknown(name: &str) -> Problem {
    problem::bad_request(format!(
        "{name}: there is no such parameter here; /v1/openapi.json lists those that are"
    ))
}
