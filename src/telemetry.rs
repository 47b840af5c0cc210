//! What Lastseen tells of itself while it works: tracing on standard error, lines for people on a terminal, JSON
//! otherwise. Standard output belongs to results.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::TelemetryFormat;

/// Sets tracing up for this process. `level` is a level or directives, checked before; a second call changes nothing.
pub fn start(level: &str, format: TelemetryFormat) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = io::stderr().is_terminal();
    let human = match format {
        TelemetryFormat::Auto => terminal,
        TelemetryFormat::Human => true,
        TelemetryFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A subscriber that was set before (a test's) stays.
    let _ = if human {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        builder.with_ansi(colours).with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
}
