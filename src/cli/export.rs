//! `lastseen export`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use lastseen::replay::files::{FORMAT, Manifest};
use lastseen::replay::{Merged, MergedSummary, export, in_parallel, write_merged};

use super::past::{Past, SpanFlags, bar, threads};
use super::settings::{Settings, TelemetryFlags};
use super::{Ending, Usage};

/// Takes a span of inputs, journal and outputs into files, for an auditor who has no Kafka
///
/// The directory gets a manifest and a file of JSON Lines for each topic and partition, record by record as they stand
/// in the log: `lastseen replay --verify DIR` proves them anywhere. A span that begins late begins with the last anchor
/// before it; where there is none, with the beginning of the journal, for a verification must start somewhere. With
/// --merged the inputs come out in the order of their arrival instead, as `lastseen fold --clock ticks` reads them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lastseen export audit-2026-01 --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z
  lastseen replay --verify audit-2026-01                         wherever the directory is taken
  lastseen export --merged --partition 0 | lastseen fold --clock ticks     the same verdicts again

Of one partition --merged is exact. Several are merged by time: an event for all partitions (node, policy) is told once.
A record that became a dead letter comes out as {\"deadLetter\":{…}} with its place and reason, and fold refuses it too.
The embedded log belongs to one process: stop `run` first.
Read on: README.md, \"Audits\"; the manifest says what an export holds.")]
pub struct Export {
    /// The directory to make; none with --merged
    #[arg(value_name = "DIR", required_unless_present = "merged", conflicts_with = "merged")]
    dir: Option<PathBuf>,
    /// Print the inputs in the order of their arrival, with ticks
    #[arg(long)]
    merged: bool,
    #[command(flatten)]
    span: SpanFlags,
    #[command(flatten)]
    settings: Settings,
}

impl Export {
    pub fn run(&self, telemetry: &TelemetryFlags) -> anyhow::Result<Ending> {
        let loaded = self.settings.load(telemetry, Vec::new())?;
        let span = self.span.span()?;
        let past = Past::of_log(&loaded.config)?;
        let partitions = self.span.partitions(&past)?;
        let Some(dir) = &self.dir else { return self.merged(&past, &partitions) };
        if dir.exists() && std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Usage(format!(
                "{} is not empty: an export makes a directory of its own",
                dir.display()
            ))
            .into());
        }
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let bar = bar(past.length(&partitions)?);
        let parts = in_parallel(&partitions, threads(partitions.len()), |partition| {
            let mut archive = past.open()?;
            let anchors = past.anchors(*partition)?;
            let part = export(&mut *archive, dir, *partition, span, &anchors, &|entries| bar.inc(entries))
                .with_context(|| format!("cannot export partition {partition}"))?;
            anyhow::Ok(part)
        });
        bar.finish_and_clear();
        let parts = parts.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let (from, to) = self.span.said();
        let manifest = Manifest {
            format: FORMAT,
            program: format!("lastseen {}", env!("CARGO_PKG_VERSION")),
            partitions: past.settings.partitions,
            topics: past.topic_names(&loaded.config),
            from,
            to,
            parts,
        };
        manifest.write(dir)?;
        let entries: u64 = manifest.parts.iter().map(|part| part.entries).sum();
        let records: u64 =
            manifest.parts.iter().flat_map(|part| part.files.values()).map(|file| file.records).sum();
        println!(
            "exported {entries} entries of {} partitions, {records} records, from {} to {}",
            manifest.parts.len(),
            past.name,
            dir.display()
        );
        println!("verify it by: lastseen replay --verify {}", dir.display());
        Ok(Ending::Done)
    }

    fn merged(&self, past: &Past, partitions: &[u32]) -> anyhow::Result<Ending> {
        let span = self.span.span()?;
        let mut parts = Vec::new();
        for partition in partitions {
            parts.push(Merged::new(past.open()?, *partition, past.settings.clone(), span)?);
        }
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let summary = write_merged(parts, |lines| out.write_all(lines))??;
        out.flush()?;
        for word in words(&summary) {
            eprintln!("{word}");
        }
        Ok(Ending::Done)
    }
}

/// What is not exact about it.
fn words(summary: &MergedSummary) -> Vec<String> {
    let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let mut words = Vec::new();
    if !summary.late.is_empty() {
        words.push(format!(
            "partition {}: the journal does not begin at entry 1; fold will not know what was before",
            list(&summary.late)
        ));
    }
    if !summary.gaps.is_empty() {
        words.push(format!("partition {}: records were lost, and that was accepted", list(&summary.gaps)));
    }
    if summary.sights_left_out > 0 {
        words.push(format!(
            "{} returns of sight are left out, for each concerns one partition only: use --partition for an exact copy",
            summary.sights_left_out
        ));
    }
    words
}
