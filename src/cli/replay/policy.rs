//! `replay --policy`: what another policy would have done, as a table or as JSON.

use std::io::Write;
use std::time::Instant;

use anyhow::Context;
use lastseen::domain::policy::Policy;
use lastseen::domain::time::Millis;
use lastseen::replay::{DeviceChange, Occurrence, Span, Totals, in_parallel, what_if};
use serde_json::{Value, json};

use crate::cli::Ending;
use crate::cli::past::{Past, bar, threads};

/// Devices that a table shows; JSON has all.
const SHOWN: usize = 30;

pub fn compare(
    past: &Past,
    partitions: &[u32],
    span: Span,
    policy: Policy,
    device: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Ending> {
    let started = Instant::now();
    let bar = bar(past.length(partitions)?);
    let parts = in_parallel(partitions, threads(partitions.len()), |partition| {
        let mut archive = past.open()?;
        let anchors = past.anchors(*partition)?;
        let tell = |entries: u64, _: u64| bar.inc(entries);
        let result = what_if(&mut *archive, *partition, &past.settings, span, &anchors, &policy, &tell);
        result.with_context(|| format!("cannot derive partition {partition}"))
    });
    bar.finish_and_clear();
    let parts = parts.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let entries: u64 = parts.iter().map(|part| part.entries).sum();
    let mut devices: Vec<DeviceChange> = parts.into_iter().flat_map(|part| part.devices).collect();
    devices.retain(|change| device.is_none_or(|device| change.key == device));
    let weight = |change: &DeviceChange| change.gained.len() + change.lost.len() + change.moved.len();
    devices.sort_by(|a, b| weight(b).cmp(&weight(a)).then_with(|| a.key.cmp(&b.key)));
    let totals = Totals::of(&devices);
    devices.retain(DeviceChange::is_any);
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", document(&totals, &devices))?;
        return Ok(Ending::Done);
    }
    let seconds = started.elapsed().as_secs_f64();
    writeln!(
        out,
        "{}: {entries} entries of {} partitions derived twice, in {seconds:.1} s",
        past.name,
        partitions.len()
    )?;
    table(&mut out, &totals, &devices)?;
    Ok(Ending::Done)
}

fn table(out: &mut impl Write, totals: &Totals, devices: &[DeviceChange]) -> std::io::Result<()> {
    let (was, would) = totals.unavailable;
    writeln!(
        out,
        "alarms       {} → {}: {} gained, {} lost, {} moved",
        totals.alarms.0, totals.alarms.1, totals.gained, totals.lost, totals.moved
    )?;
    writeln!(out, "false alarms {} avoided, {} new", totals.false_avoided, totals.false_gained)?;
    writeln!(out, "unavailable  {} → {}: {} saved", span(was), span(would), span(Millis(was.0 - would.0)))?;
    writeln!(
        out,
        "devices      {} changed, of {} that ever were unavailable",
        totals.changed, totals.devices
    )?;
    if devices.is_empty() {
        return Ok(());
    }
    let width = devices.iter().take(SHOWN).map(|device| device.key.chars().count()).max().unwrap_or(0).max(6);
    writeln!(
        out,
        "\n{:width$}  {:>6} {:>6} {:>6} {:>7}  unavailable",
        "device", "gained", "lost", "moved", "avoided"
    )?;
    for device in devices.iter().take(SHOWN) {
        writeln!(
            out,
            "{:width$}  {:>6} {:>6} {:>6} {:>7}  {} → {}",
            device.key,
            device.gained.len(),
            device.lost.len(),
            device.moved.len(),
            device.false_avoided(),
            span(Millis(device.unavailable.0)),
            span(Millis(device.unavailable.1))
        )?;
    }
    if devices.len() > SHOWN {
        writeln!(out, "and {} more: --json has all of them", devices.len() - SHOWN)?;
    }
    Ok(())
}

/// `1 h 05 min`, `12 min 30 s`, `4.5 s`.
fn span(time: Millis) -> String {
    let sign = if time.0 < 0 { "−" } else { "" };
    let millis = time.0.unsigned_abs();
    let (seconds, minutes, hours) = (millis / 1000, millis / 60_000, millis / 3_600_000);
    match (hours, minutes) {
        (1.., _) => format!("{sign}{hours} h {:02} min", minutes % 60),
        (0, 1..) => format!("{sign}{minutes} min {:02} s", seconds % 60),
        (0, 0) => format!("{sign}{seconds}.{} s", millis % 1000 / 100),
    }
}

fn document(totals: &Totals, devices: &[DeviceChange]) -> Value {
    let occurrence = |alarm: &Occurrence| {
        json!({
            "at": alarm.at.to_string(),
            "silentSince": alarm.silent_since.known().map(|at| at.to_string()),
            "retracted": alarm.retracted,
        })
    };
    let device = |device: &DeviceChange| {
        let moved: Vec<Value> = device
            .moved
            .iter()
            .map(|(was, would)| json!({"was": occurrence(was), "would": occurrence(would)}))
            .collect();
        json!({
            "key": device.key,
            "gained": device.gained.iter().map(occurrence).collect::<Vec<_>>(),
            "lost": device.lost.iter().map(occurrence).collect::<Vec<_>>(),
            "moved": moved,
            "same": device.same,
            "falseAvoided": device.false_avoided(),
            "unavailableMs": {"was": device.unavailable.0, "would": device.unavailable.1},
        })
    };
    let (was, would) = totals.unavailable;
    json!({
        "alarms": {"was": totals.alarms.0, "would": totals.alarms.1},
        "gained": totals.gained,
        "lost": totals.lost,
        "moved": totals.moved,
        "falseAvoided": totals.false_avoided,
        "falseGained": totals.false_gained,
        "unavailableMs": {"was": was.0, "would": would.0, "saved": was.0 - would.0},
        "devices": devices.iter().map(device).collect::<Vec<_>>(),
    })
}
