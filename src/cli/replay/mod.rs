//! `lastseen replay`.

mod difference;
mod policy;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use lastseen::engine::journal::EntryHash;
use lastseen::replay::{Plan, Report, in_parallel, verify};
use lastseen::wire::partition;

use super::past::{Past, SpanFlags, bar, threads};
use super::settings::{Settings, TelemetryFlags};
use super::{Ending, Usage};

/// Derives the past again from journal and inputs: to prove it, or to try another policy on it
///
/// --verify takes every entry of the journal, folds its inputs again with its clock and settings, and compares what
/// follows with what the log holds: the entry, and each output record, byte for byte. It finds records that were
/// changed, added or removed, edited inputs, and an edited journal, names the first difference and ends with exit code 3.
/// It proves that the log is consistent, not where it came from: --head holds it against a head noted elsewhere.
///
/// --policy asks what another policy would have done over the same past, with the same clock.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen replay --verify                                   all that the log still has
  lastseen replay --verify audit-2026-01                     an export, without any broker
  lastseen replay --verify --from 2026-01-01T00:00:00Z --device acme/pump-1
  lastseen replay --policy stricter.toml                     alarms gained, lost, moved
  lastseen replay --policy stricter.toml --json | jq .devices

A verification starts at entry 1 or at an anchor. What retention took before, and entries of another version of the
rules, are not checked: it says so, and never calls them different. Rows of devices.state are compared as far as
compaction left them.
Exit codes: 0 the same, 1 nothing of a partition could be checked, 3 a difference.
Read on: README.md, \"Audits\"; deploy/RUNBOOK.md, \"A verification found a difference\".")]
pub struct Replay {
    /// An export to read instead of the log
    #[arg(value_name = "DIR")]
    export: Option<PathBuf>,
    /// Compare what is derived with what the log holds
    #[arg(long, required_unless_present = "policy", conflicts_with = "policy")]
    verify: bool,
    /// Show what this policy (TOML or JSON) would have done
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    span: SpanFlags,
    /// Only this device, as tenant/id: its partition is derived, its records are compared or shown
    #[arg(long, value_name = "KEY")]
    device: Option<String>,
    /// The journal must contain the entry with this hash; may be repeated
    #[arg(long, value_name = "HASH", requires = "verify")]
    head: Vec<String>,
    /// With --policy: print JSON
    #[arg(long, requires = "policy")]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Replay {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        let loaded = self.settings.load(telemetry, Vec::new())?;
        let heads = self.head.iter().map(|text| head(text)).collect::<Result<Vec<_>, _>>()?;
        let span = self.span.span()?;
        let policy = self.policy.as_deref().map(super::policy::read).transpose()?;
        let past = match &self.export {
            Some(dir) => Past::of_export(dir)?,
            None => Past::of_log(&loaded.config)?,
        };
        let mut partitions = self.span.partitions(&past)?;
        if let Some(device) = &self.device {
            if !device.contains('/') {
                return Err(Usage(format!("--device {device}: it must be tenant/id")).into());
            }
            let home = partition::of(device.as_bytes(), past.settings.partitions);
            partitions.retain(|partition| *partition == home);
            if partitions.is_empty() {
                let words = format!(
                    "--device {device} lives in partition {home}, which is not among those asked for"
                );
                return Err(Usage(words).into());
            }
        }
        if let Some(policy) = policy {
            return policy::compare(&past, &partitions, span, policy, self.device.as_deref(), self.json);
        }
        let plan = Plan { settings: past.settings.clone(), span, device: self.device.clone(), heads };
        self.verify(&past, &partitions, &plan)
    }

    fn verify(&self, past: &Past, partitions: &[u32], plan: &Plan) -> anyhow::Result<Ending> {
        let started = Instant::now();
        let bar = bar(past.length(partitions)?);
        let folded = std::sync::atomic::AtomicU64::new(0);
        let reports = in_parallel(partitions, threads(partitions.len()), |partition| {
            let mut archive = past.open()?;
            let anchors = past.anchors(*partition)?;
            let tell = |entries: u64, records: u64| advance(&bar, &folded, entries, records, started);
            let report = verify(&mut *archive, *partition, plan, &anchors, &tell)
                .with_context(|| format!("cannot verify partition {partition}"))?;
            anyhow::Ok(report)
        });
        bar.finish_and_clear();
        let reports = reports.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        self.tell(past, plan, &reports, started)
    }

    fn tell(&self, past: &Past, plan: &Plan, reports: &[Report], started: Instant) -> anyhow::Result<Ending> {
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let seconds = started.elapsed().as_secs_f64();
        let records = sum(|report| report.inputs);
        println!(
            "{}: {} entries of {} partitions verified; {records} records folded, {} outputs compared, in {seconds:.1} s ({:.0} records/s)",
            past.name,
            sum(|report| report.entries),
            reports.len(),
            sum(|report| report.outputs),
            records as f64 / seconds.max(0.001)
        );
        for report in reports {
            for (first, last, why) in &report.unchecked {
                println!("not checked: partition {}, entries {first} to {last}: {why}", report.partition);
            }
            if let Some(head) = report.head {
                println!(
                    "partition {}: verified up to entry {}, hash {}",
                    report.partition, head.seq, head.hash
                );
            }
        }
        let mut ending = Ending::Done;
        if reports.iter().any(|report| report.entries == 0 && !report.unchecked.is_empty()) {
            eprintln!("of some partitions nothing could be checked");
            ending = Ending::Failed;
        }
        for (index, wanted) in plan.heads.iter().enumerate() {
            if !reports.iter().any(|report| report.heads.contains(&index)) {
                println!("\nDIFFERENCE: no entry of the journal has the hash {wanted} (check: head)");
                ending = Ending::Difference;
            }
        }
        for report in reports {
            if let Some(found) = &report.difference {
                let mut archive = past.open()?;
                print!("\n{}", difference::words(found, &mut *archive, &past.settings)?);
                ending = Ending::Difference;
            }
        }
        Ok(ending)
    }
}

fn advance(
    bar: &ProgressBar,
    folded: &std::sync::atomic::AtomicU64,
    entries: u64,
    records: u64,
    started: Instant,
) {
    bar.inc(entries);
    let folded = folded.fetch_add(records, std::sync::atomic::Ordering::Relaxed) + records;
    if !bar.is_hidden() {
        bar.set_message(format!(
            "{:.0} records/s",
            folded as f64 / started.elapsed().as_secs_f64().max(0.001)
        ));
    }
}

fn head(text: &str) -> anyhow::Result<EntryHash> {
    let hash =
        Some(text).filter(|text| text.len() == 32).and_then(|text| u128::from_str_radix(text, 16).ok());
    hash.map(EntryHash).ok_or_else(|| {
        anyhow!(Usage(format!("--head {text}: it must be the 32 hexadecimal digits of an entry's hash")))
    })
}
