//! `lastseen token`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use lastseen::http::auth;

use super::settings::TelemetryFlags;
use super::{Ending, Usage};

/// Makes a token for the query service: adds its hash to a file, prints its secret once
///
/// The secret is shown now and never again: the file holds its hash alone. A running service reads the file again within
/// a second or two. To withdraw a token, remove its lines.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen token kim --tenant acme --role operator --file tokens.toml
  lastseen token prometheus --tenant '*' --role auditor --file tokens.toml
  curl -H \"Authorization: Bearer $SECRET\" http://127.0.0.1:7080/v1/tenants/acme/devices
  curl -u kim:$SECRET http://127.0.0.1:7080/v1/tenants/acme/summary

Roles: viewer reads; operator reads and commands; ingest sends events; auditor reads, and sees who did what, the policy,
the monitor's health and the metrics. Name the file in the configuration: http.tokens.
Read on: README.md, \"Asking, watching, commanding\".")]
pub struct Token {
    /// Who: stands in the audit as the actor of commands
    name: String,
    /// A tenant that it is for, or '*' for all; may be repeated
    #[arg(long = "tenant", value_name = "TENANT", required = true)]
    tenants: Vec<String>,
    /// What it is for: viewer, operator, ingest, auditor; may be repeated
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// The file to add it to; without it the lines are printed
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Token {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        telemetry.start_alone()?;
        let token = auth::token(&self.name, &self.tenants, &self.roles).map_err(Usage)?;
        let secret = auth::new_secret();
        let entry = auth::file_entry(&token, &secret);
        match &self.file {
            Some(file) => add(file, &entry)?,
            None => writeln!(std::io::stdout(), "{entry}")?,
        }
        writeln!(std::io::stdout(), "{secret}")?;
        Ok(Ending::Done)
    }
}

/// Adds the lines, unless the file would be refused with them.
fn add(file: &Path, entry: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let known = match std::fs::read_to_string(file) {
        Ok(known) => known,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let gap = if known.is_empty() || known.ends_with("\n\n") { "" } else { "\n" };
    let text = format!("{known}{gap}{entry}");
    auth::check(&text).map_err(|problem| Usage(format!("{}: {problem}", file.display())))?;
    let written =
        std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(file).and_then(|mut out| {
            out.write_all(format!("{gap}{entry}").as_bytes())?;
            out.sync_all()
        });
    written.with_context(|| format!("cannot write {}", file.display()))
}
