//! The demo's query service: over the same log, with a token that is made anew at every start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::live::{DemoError, DemoOptions, HttpPort, PARTITIONS};
use crate::clock::Clock;
use crate::http::auth::{self, Tokens};
use crate::http::{Limits, ServerConfig, Service, ServiceConfig, ServiceError, StartError, Tools};
use crate::log::embedded::EmbeddedLog;
use crate::query::feed::FeedConfig;

/// The service, and the secret of the token that may do everything.
pub(super) struct Open {
    service: Service,
    pub(super) secret: String,
}

impl Open {
    pub(super) fn address(&self) -> SocketAddr {
        self.service.address()
    }
}

/// Starts it, if the options ask for it.
pub(super) fn start(
    options: &DemoOptions,
    log: &EmbeddedLog,
    clock: &Clock,
    dir: &Path,
) -> Result<Option<Open>, DemoError> {
    let Some(port) = options.http else { return Ok(None) };
    let failed = |error: &dyn std::fmt::Display| DemoError::Http(error.to_string());
    let roles: Vec<String> = auth::Role::ALL.iter().map(|role| role.word().to_owned()).collect();
    let token = auth::token("demo", &["*".to_owned()], &roles).map_err(|error| failed(&error))?;
    let secret = auth::new_secret();
    let with = |port: u16| {
        let tokens = Tokens::open(None, 0).map_err(DemoError::Http)?;
        tokens.add(token.clone(), &secret);
        let config = ServiceConfig {
            dir: dir.join("view"),
            log_name: "demo".to_owned(),
            partitions: PARTITIONS,
            feed: FeedConfig { pause: Duration::from_millis(20), ..FeedConfig::default() },
            server: ServerConfig { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), tls: None },
            limits: Limits::default(),
        };
        let tools = Tools {
            archives: vec![Box::new(log.clone())],
            append: Some(Box::new(log.clone())),
            tokens: Arc::new(tokens),
            clock: clock.clone(),
            stats: None,
        };
        Ok::<_, DemoError>(Service::start(&config, tools))
    };
    let started = match port {
        HttpPort::Exactly(port) => with(port)?,
        HttpPort::Preferred(port) => match with(port)? {
            Err(ServiceError::Start(StartError::Listen { .. })) => with(0)?,
            other => other,
        },
    };
    let service = started.map_err(|error| failed(&error))?;
    Ok(Some(Open { service, secret }))
}
