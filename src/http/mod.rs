//! The HTTP service: routes, who may use them, and the server (DESIGN §1, "HTTP").
//!
//! It has a small runtime of its own. What reads the view or the disk runs beside the requests, a few at a time, so that
//! no list holds up a heartbeat of the server. Every error is `application/problem+json`, for browsers a page, and in a face
//! what that product says.

mod app;
pub mod auth;
mod commands;
mod devices;
pub mod face;
mod health;
mod ingest;
mod live;
pub mod metrics;
pub mod openapi;
mod page;
mod policy;
mod problem;
pub mod routes;
mod serve;
mod service;
mod shapes;

pub use app::Limits;
pub use serve::{ServerConfig, StartError, Tls};
pub use service::{Service, ServiceConfig, ServiceError, Tools};
