//! The query service, from the configuration.

use std::sync::Arc;
#[cfg(feature = "kafka")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use lastseen::clock::Clock;
use lastseen::config::{Config, Role};
use lastseen::http::auth::Tokens;
use lastseen::http::{Limits, ServerConfig, Service, ServiceConfig, ServiceError, StartError, Tls, Tools};
use lastseen::log::{Append, Archive};
use lastseen::query::feed::{self, FeedConfig};
use lastseen::stats::Stats;
use tracing::{info, warn};

use super::Usage;

/// Where the view's database is, below the state directory.
const DIR: &str = "view";

/// Whether the configuration asks for it.
pub fn is_wanted(config: &Config) -> bool {
    config.role != Role::Processor && config.http.listen.is_some()
}

/// Starts it over a log that `open` makes readers of; `None`: its port is taken, and the processor goes on without it.
/// `pause`: how long to wait when there is nothing new.
pub fn start(
    config: &Config,
    log_name: &str,
    open: &dyn Fn() -> anyhow::Result<Box<dyn Archive>>,
    append: Box<dyn Append>,
    stats: Option<Arc<Stats>>,
    pause: Duration,
) -> anyhow::Result<Option<Service>> {
    let http = &config.http;
    let Some(listen) = http.listen else { bail!("http.listen is empty") };
    let tls = match &http.tls {
        [Some(certificate), Some(key)] => Some(Tls { certificate: certificate.clone(), key: key.clone() }),
        [None, None] => None,
        _ => {
            return Err(
                Usage("http.tls_certificate and http.tls_key: both are needed, or none".into()).into()
            );
        }
    };
    let tokens = Tokens::open(http.tokens.as_deref(), http.requests_per_second)
        .map_err(|problem| Usage(format!("http.tokens: {problem}")))?;
    if tokens.is_empty() {
        warn!(
            "no tokens: whatever needs one is refused; `lastseen token --help` makes them, http.tokens names the file"
        );
    }
    let is_plain = tls.is_none();
    let service = ServiceConfig {
        dir: config.data_dir.join(DIR),
        log_name: log_name.to_owned(),
        partitions: config.partitions,
        feed: FeedConfig {
            pause,
            checkpoint: config.state_checkpoint,
            kept: http.history,
            ..FeedConfig::default()
        },
        server: ServerConfig { listen, tls },
        limits: Limits {
            body_bytes: http.body_bytes,
            timeout: http.timeout,
            record_bytes: config.record_bytes,
            open_metrics: http.open_metrics,
            client_state: http.watson_client_state,
        },
    };
    let archives = (0..feed::readers(config.partitions)).map(|_| open()).collect::<anyhow::Result<_>>()?;
    let tools =
        Tools { archives, append: Some(append), tokens: Arc::new(tokens), clock: Clock::host(), stats };
    let started = match Service::start(&service, tools) {
        Ok(started) => started,
        // A port that is taken must not keep verdicts from being published.
        Err(error @ ServiceError::Start(StartError::Listen { .. })) if config.role == Role::All => {
            tracing::error!("the query service does not start, the processor runs without it: {error}");
            return Ok(None);
        }
        Err(error) => return Err(error).context("the query service does not start"),
    };
    let scheme = if is_plain { "http" } else { "https" };
    info!(address = format!("{scheme}://{}", started.address()), "the query service answers");
    if is_plain && !started.address().ip().is_loopback() {
        warn!("the query service is open beyond this machine without TLS: secrets travel in plain text");
    }
    Ok(Some(started))
}

/// The query service alone, until `stop`.
#[cfg(feature = "kafka")]
pub fn alone(config: &Config, stop: &AtomicBool) -> anyhow::Result<()> {
    if config.http.listen.is_none() {
        return Err(Usage("role = \"query\" needs http.listen".into()).into());
    }
    let log_name = super::kafka::log_name(config, &super::kafka::cluster_id(config)?);
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the state directory {}", config.data_dir.display()))?;
    let append = super::kafka::appender(config)?;
    let _service = start(config, &log_name, &|| super::kafka::archive(config), append, None, KAFKA_PAUSE)?;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// How long the view waits between questions for the ends of the journal: each is a request for every partition.
#[cfg(feature = "kafka")]
pub const KAFKA_PAUSE: Duration = Duration::from_millis(100);
/// The same of a log in this process.
pub const EMBEDDED_PAUSE: Duration = Duration::from_millis(20);
