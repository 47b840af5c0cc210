//! The whole query side: a view with its database, the thread that feeds it, and the server over it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::app::{Base, Limits};
use super::auth::Tokens;
use super::serve::{Server, ServerConfig, StartError};
use crate::clock::Clock;
use crate::log::Append;
use crate::log::Archive;
use crate::query::feed::{FeedConfig, feed};
use crate::query::history::{History, HistoryError};
use crate::query::view::View;
use crate::stats::Stats;

/// What the query side needs to know.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Where its database is.
    pub dir: PathBuf,
    /// The log that it follows, by name: a database of another one is made anew.
    pub log_name: String,
    /// Partitions of every topic.
    pub partitions: u32,
    /// How it follows.
    pub feed: FeedConfig,
    /// Where it listens.
    pub server: ServerConfig,
    /// Bounds.
    pub limits: Limits,
}

/// What the query side works with.
pub struct Tools {
    /// Read the log, one at least: as many partitions are followed at a time while the view catches up.
    pub archives: Vec<Box<dyn Archive>>,
    /// Writes commands and events; `None`: they are refused.
    pub append: Option<Box<dyn Append>>,
    /// Who may.
    pub tokens: Arc<Tokens>,
    /// The time.
    pub clock: Clock,
    /// Counters of the processor, where it runs in this process.
    pub stats: Option<Arc<Stats>>,
}

/// Why the query side did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its database.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The server.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A thread.
    #[error("cannot start the thread that follows the log: {0}")]
    Thread(std::io::Error),
}

/// The query side, running. It stops when it is dropped.
#[derive(Debug)]
pub struct Service {
    server: Option<Server>,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The view, for those in the same process.
    pub view: Arc<View>,
}

impl Service {
    /// Starts it.
    ///
    /// # Errors
    /// Its database cannot be opened, or it cannot listen.
    pub fn start(config: &ServiceConfig, tools: Tools) -> Result<Service, ServiceError> {
        let (history, anew) = History::open(&config.dir, &config.log_name)?;
        if let Some(why) = anew {
            tracing::warn!("the view: {why}");
        }
        let view = Arc::new(View::new(history, config.partitions, config.feed.window));
        let Tools { archives, append, tokens, clock, stats } = tools;
        let base = Base {
            view: Arc::clone(&view),
            append,
            clock: clock.clone(),
            tokens,
            partitions: config.partitions,
            limits: config.limits.clone(),
            secure: config.server.tls.is_some(),
            stats,
        };
        let server = Server::start(&config.server, base)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, fed, feeding) = (Arc::clone(&stop), Arc::clone(&view), config.feed.clone());
        let thread = std::thread::Builder::new().name("view".to_owned()).spawn(move || {
            if let Err(error) = feed(&fed, archives, &clock, &feeding, &flag) {
                tracing::error!(%error, "the view ends; the processor is not concerned");
                fed.fail(error.to_string());
            }
        });
        let address = server.address();
        let thread = thread.map_err(ServiceError::Thread)?;
        Ok(Service { server: Some(server), address, stop, thread: Some(thread), view })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // First whoever asks, then what answers.
        self.server = None;
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic was told by its own message.
            let _ = thread.join();
        }
    }
}
