//! `lastseen demo`.

use std::path::PathBuf;

use clap::Args;

use super::settings::TelemetryFlags;
use super::{Ending, stop_flag};

/// Shows everything at once: a simulated fleet, the log, the processor and its verdicts, in this one process
///
/// Sessions are taken over, disconnects arrive late, devices fall silent and return, some are in maintenance, a broker
/// node dies. Each line says what changed and why. Nothing else is needed, and nothing stays unless --data-dir says where.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen demo
  lastseen demo --devices 2000 --speed 60
  lastseen demo --seconds 30 --json | jq 'select(.topic == \"alarms\")'

Ctrl-C ends it. Read on: README.md, \"Five minutes\".")]
pub struct Demo {
    /// How many devices to simulate
    #[arg(long, value_name = "NUMBER", default_value_t = 300)]
    devices: usize,
    /// How many times as fast as yours the simulated time passes
    #[arg(long, value_name = "FACTOR", default_value_t = 20.0)]
    speed: f64,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Decides the fleet: the same seed, the same stories
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where log and state stay, and go on from in another demo (default: a temporary directory)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the query service listens: a port, 0 for any that is free, or off
    /// (default: 7080, or any that is free if that is taken)
    #[cfg(feature = "http")]
    #[arg(long, value_name = "PORT", value_parser = http_port)]
    http_port: Option<Port>,
    /// Print every output as a line of JSON
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "http")]
fn http_port(text: &str) -> Result<Port, String> {
    if text == "off" {
        return Ok(Port(None));
    }
    let port = text.parse().map_err(|_| "it must be a port, 0 for any that is free, or off".to_owned())?;
    Ok(Port(Some(port)))
}

/// What `--http-port` says; none: off.
#[cfg(feature = "http")]
#[derive(Clone, Copy, Debug)]
struct Port(Option<u16>);

impl Demo {
    #[cfg(feature = "rocksdb")]
    pub fn run(self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        #[cfg(feature = "http")]
        use lastseen::demo::HttpPort;
        use lastseen::demo::{DemoError, DemoOptions, run};
        telemetry.start_alone()?;
        #[cfg(feature = "http")]
        let http = match self.http_port {
            None => Some(HttpPort::Preferred(7080)),
            Some(Port(port)) => port.map(HttpPort::Exactly),
        };
        #[cfg(not(feature = "http"))]
        let http = None;
        let Demo { devices, speed, seconds, seed, data_dir, json, .. } = self;
        let options = DemoOptions { devices, speed, seconds, seed, data_dir, json, http };
        let stop = stop_flag()?;
        match run(&options, &stop) {
            Ok(()) => Ok(Ending::Done),
            Err(DemoError::Options(message)) => Err(super::Usage(message).into()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(feature = "rocksdb"))]
    pub fn run(self, _: &TelemetryFlags) -> anyhow::Result<Ending> {
        let _ = (stop_flag, self);
        anyhow::bail!("this lastseen was built without the embedded log (cargo build --features rocksdb)")
    }
}
