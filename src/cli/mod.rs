//! Commands: what they are called, what they take, how they end. The only place with anyhow.

mod check;
mod demo;
#[cfg(feature = "rocksdb")]
mod export;
mod fold;
mod input;
mod kafka;
#[cfg(feature = "rocksdb")]
mod past;
mod policy;
#[cfg(feature = "rocksdb")]
mod replay;
mod run;
mod send;
#[cfg(feature = "http")]
mod service;
mod settings;
mod tail;
#[cfg(feature = "http")]
mod token;
mod topics;
#[cfg(feature = "rocksdb")]
mod wiring;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use lastseen::config::ConfigError;

/// Which of my devices are connected, since when, why not, and can I trust the answer?
///
/// Lastseen folds connection and activity events of devices into a status for each of them, raises and clears alarms
/// when devices fall silent and return, keeps a log of connections, and says with one plain sentence why.
#[derive(Debug, Parser)]
#[command(
    name = "lastseen",
    version,
    max_term_width = 100,
    after_help = "\
Try it:
  lastseen demo                     everything at once, with a simulated fleet; needs nothing
  lastseen fold events.jsonl        your own events in, verdicts out, as JSON Lines
  lastseen COMMAND --help           what a command does, with examples

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 a verification found a difference.
README.md is the tour, deploy/config.toml has every setting, deploy/RUNBOOK.md every refusal and what to do."
)]
struct Cli {
    #[command(flatten)]
    telemetry: settings::TelemetryFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Demo(demo::Demo),
    Fold(fold::Fold),
    Send(send::Send),
    Tail(tail::Tail),
    Topics(topics::Topics),
    Policy(policy::Policy),
    #[cfg(feature = "http")]
    Token(token::Token),
    #[cfg(feature = "rocksdb")]
    Replay(replay::Replay),
    #[cfg(feature = "rocksdb")]
    Export(export::Export),
    Check(check::Check),
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It did what it was asked for.
    Done,
    /// It did what could be done; what could not has been told.
    Failed,
    /// It compared, and what it compared differs.
    #[cfg_attr(
        not(any(feature = "kafka", feature = "rocksdb")),
        expect(dead_code, reason = "nothing can differ")
    )]
    Difference,
}

/// Wrong usage: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let Cli { telemetry, command } = Cli::parse();
    let ended = match command {
        Command::Run(command) => command.run(&telemetry),
        Command::Demo(command) => command.run(&telemetry),
        Command::Fold(command) => command.run(&telemetry),
        Command::Send(command) => command.run(&telemetry),
        Command::Tail(command) => command.run(&telemetry),
        Command::Topics(command) => command.run(&telemetry),
        Command::Policy(command) => command.run(&telemetry),
        #[cfg(feature = "http")]
        Command::Token(command) => command.run(&telemetry),
        #[cfg(feature = "rocksdb")]
        Command::Replay(command) => command.run(&telemetry),
        #[cfg(feature = "rocksdb")]
        Command::Export(command) => command.run(&telemetry),
        Command::Check(command) => command.run(&telemetry),
    };
    match ended {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Failed) => ExitCode::from(1),
        Ok(Ending::Difference) => ExitCode::from(3),
        // Whoever read our output has seen enough: `lastseen fold … | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed, nobody wants to know.
            let _ = complain(&error);
            let usage = error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<Usage>());
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn complain(error: &anyhow::Error) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    // One line each; a cause whose words its context already has says nothing new.
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.contains(&cause) {
            continue;
        }
        let lead = if said.is_empty() { "lastseen: " } else { "  because: " };
        let indent = if said.is_empty() { "\n          " } else { "\n           " };
        writeln!(stderr, "{lead}{}", cause.replace('\n', indent))?;
        said.push_str(&cause);
    }
    Ok(())
}

/// A flag that is set by Ctrl-C and by SIGTERM; a second one of either ends the process at once.
pub fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    use anyhow::Context;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot listen for signals")?;
    let waiting = move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                };
                if flag.swap(true, Ordering::SeqCst) {
                    std::process::exit(code);
                }
            }
        });
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(waiting)
        .context("cannot listen for signals")?;
    Ok(stop)
}
