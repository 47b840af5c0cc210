//! Metrics for Prometheus. Names, types and meanings stand in one table here, from which the document
//! `deploy/METRICS.md` is made; a test holds what is exported against it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::app::App;
use super::auth::Need;
use super::problem::{self, Problem};
use crate::domain::effect::{Blind, InputTopic};
use crate::domain::time::Timestamp;
use crate::log::Topic;
use crate::query::measures::LATENESS_BOUNDS;
use crate::query::partition::Known as Partition;
use crate::query::view::State as Known;
use crate::stats::Counts;

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name as Prometheus shows it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

/// Every metric. Those of the processor are there where it runs in the same process.
pub const METRICS: &[Metric] = &[
    metric("lastseen_view_devices", Kind::Gauge, &[], "Devices in the view, of all tenants."),
    metric(
        "lastseen_view_caught_up",
        Kind::Gauge,
        &["partition"],
        "1 once the view has everything that was there when it started.",
    ),
    metric(
        "lastseen_view_entry",
        Kind::Gauge,
        &["partition"],
        "The last journal entry that the view applied.",
    ),
    metric(
        "lastseen_view_waiting_records",
        Kind::Gauge,
        &["partition"],
        "Records of the journal that wait for the view.",
    ),
    metric(
        "lastseen_view_freshness_seconds",
        Kind::Gauge,
        &["partition"],
        "Now less the commit of the last entry that the view applied. An idle partition has one every 10 s.",
    ),
    metric(
        "lastseen_consumer_lag_records",
        Kind::Gauge,
        &["partition", "topic"],
        "Records of an input that the processor has not consumed yet: control, connections, activity. Looked at every 5 s.",
    ),
    metric(
        "lastseen_partition_clock_seconds",
        Kind::Gauge,
        &["partition"],
        "The partition clock, in seconds since the epoch: everything due by then is decided.",
    ),
    metric(
        "lastseen_partition_clock_lag_seconds",
        Kind::Gauge,
        &["partition"],
        "Now less the partition clock: how far the verdicts are behind.",
    ),
    metric(
        "lastseen_partition_blind",
        Kind::Gauge,
        &["partition", "reason"],
        "1 while the monitor cannot judge for this reason.",
    ),
    metric("lastseen_entries_total", Kind::Counter, &["partition"], "Journal entries applied by the view."),
    metric(
        "lastseen_input_records_total",
        Kind::Counter,
        &["partition"],
        "Input records that they consumed.",
    ),
    metric(
        "lastseen_signs_of_life_total",
        Kind::Counter,
        &["partition"],
        "Devices whose clocks an entry moved and nothing else.",
    ),
    metric(
        "lastseen_journal_bytes_total",
        Kind::Counter,
        &["partition"],
        "Bytes of journal entries. Divided by lastseen_signs_of_life_total, about what a heartbeat costs.",
    ),
    metric("lastseen_output_bytes_total", Kind::Counter, &["partition"], "Bytes of outputs and rows."),
    metric(
        "lastseen_outputs_total",
        Kind::Counter,
        &["partition", "kind"],
        "Outputs: status, alarms, connection-log, audit.",
    ),
    metric(
        "lastseen_dead_letters_total",
        Kind::Counter,
        &["partition", "reason"],
        "Dead letters, by reason.",
    ),
    metric(
        "lastseen_view_made_anew_total",
        Kind::Counter,
        &["partition"],
        "How often the view could not go on where it stood, and was made from the topics; once where it is new.",
    ),
    metric(
        "lastseen_foreign_records_total",
        Kind::Counter,
        &["partition"],
        "Records on output topics that no journal entry accounts for; they are passed over.",
    ),
    metric(
        "lastseen_verdict_lateness_seconds",
        Kind::Histogram,
        &[],
        "Deadline verdicts: the clock when they were concluded less the deadline.",
    ),
    metric(
        "lastseen_events_total",
        Kind::Counter,
        &["outcome"],
        "Input records by outcome: applied, ignored, dead_letter. Of the processor.",
    ),
    metric("lastseen_commits_total", Kind::Counter, &[], "Transactions committed. Of the processor."),
    metric(
        "lastseen_aborts_total",
        Kind::Counter,
        &[],
        "Transactions that came to nothing. Of the processor.",
    ),
    metric(
        "lastseen_log_errors_total",
        Kind::Counter,
        &[],
        "Errors of the log that were tried again. Of the processor.",
    ),
    metric(
        "lastseen_commit_seconds",
        Kind::Gauge,
        &["quantile"],
        "How long the last 1,000 commits took: 0.5, 0.99, 1. Of the processor.",
    ),
    metric(
        "lastseen_records_written_total",
        Kind::Counter,
        &["topic"],
        "Records written to each topic. Of the processor.",
    ),
    metric(
        "lastseen_audit_verified_total",
        Kind::Counter,
        &[],
        "Transactions that the shadow auditor found the same.",
    ),
    metric(
        "lastseen_audit_differences_total",
        Kind::Counter,
        &[],
        "Partitions in which it found a difference.",
    ),
    metric(
        "lastseen_http_requests_total",
        Kind::Counter,
        &["class"],
        "Requests answered, by class of status: 2xx to 5xx.",
    ),
    metric("lastseen_http_streams", Kind::Gauge, &[], "Live streams that are open."),
];

/// The table as a document.
pub fn document() -> String {
    let mut text = String::from(
        "# Metrics\n\n`GET /metrics` exports these in the text format of OpenMetrics. It takes a token with the role auditor \
         for all tenants, unless `http.open_metrics` is true. No metric names a tenant or a device. This file is made from \
         the table in `src/http/metrics.rs`, and a test holds both together and against what is exported.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let _ =
            writeln!(text, "| {} | {kind} | {} | {} |", metric.name, metric.labels.join(", "), metric.help);
    }
    text
}

/// Counters of the service.
#[derive(Debug, Default)]
pub struct Served {
    classes: [AtomicU64; 5],
}

impl Served {
    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        if let Some(class) = self.classes.get(usize::from(status / 100).saturating_sub(1)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `GET /metrics`
pub async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    if !app.limits.open_metrics {
        app.tokens.who(&headers)?.may(Need::Audit, None)?;
    }
    app.beside(|app| {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Snapshot(app.clone())));
        let mut text = String::new();
        encode(&mut text, &registry).map_err(|_| problem::internal("the metrics cannot be written"))?;
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
    })
    .await
}

/// What is told at one moment.
struct Snapshot(App);

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

/// A sample: the values of its labels, and its own.
type Sample = (Vec<String>, f64);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let app = &self.0;
        let state = app.view.state();
        for metric in METRICS {
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            if metric.kind == Kind::Histogram {
                lateness(&state, metric, &mut encoder)?;
                continue;
            }
            let samples = samples(app, &state, metric.name);
            if samples.is_empty() {
                continue;
            }
            let kind = if metric.kind == Kind::Counter { MetricType::Counter } else { MetricType::Gauge };
            let mut encoder = encoder.encode_descriptor(name, metric.help, None, kind)?;
            for (values, sample) in samples {
                let labels: Vec<(&str, String)> = metric.labels.iter().copied().zip(values).collect();
                if labels.is_empty() {
                    one(metric.kind, sample, encoder)?;
                    break;
                }
                one(metric.kind, sample, encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn one(kind: Kind, sample: f64, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
    match kind {
        Kind::Counter => ConstCounter::new(sample).encode(encoder),
        _ => ConstGauge::new(sample).encode(encoder),
    }
}

fn lateness(
    known: &Known,
    metric: &Metric,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let mut counts = [0; LATENESS_BOUNDS.len() + 1];
    let mut sum = 0;
    for partition in &known.partitions {
        sum += partition.measures.lateness_sum;
        for (count, more) in counts.iter_mut().zip(partition.measures.lateness) {
            *count += more;
        }
    }
    let bounds = LATENESS_BOUNDS.iter().map(|bound| *bound as f64 / 1000.0).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
    let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Histogram)?;
    encoder.encode_histogram::<[(String, String); 0]>(
        sum as f64 / 1000.0,
        counts.iter().sum(),
        &buckets,
        None,
    )
}

fn seconds(at: Timestamp) -> f64 {
    at.known().map_or(0.0, |at| at.millis() as f64 / 1000.0)
}

/// The samples of a metric now.
fn samples(app: &App, known: &Known, name: &str) -> Vec<Sample> {
    let now = app.clock.now();
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let by_partition = |sample: &dyn Fn(&Partition) -> f64| -> Vec<Sample> {
        known
            .partitions
            .iter()
            .zip(0..)
            .map(|(one, number): (_, u32)| (vec![number.to_string()], sample(one)))
            .collect()
    };
    let counts = || app.stats.as_ref().map(|stats| stats.counts());
    let of_processor =
        |sample: &dyn Fn(&Counts) -> Vec<Sample>| counts().map(|counts| sample(&counts)).unwrap_or_default();
    let one = |sample: f64| vec![(Vec::new(), sample)];
    match name {
        "lastseen_view_devices" => one(known.fleet.len() as f64),
        "lastseen_view_caught_up" => by_partition(&|one| flag(one.caught_up)),
        "lastseen_view_entry" => by_partition(&|one| one.seq as f64),
        "lastseen_view_waiting_records" => by_partition(&|one| one.waiting as f64),
        "lastseen_view_freshness_seconds" => {
            by_partition(&|one| one.committed_at.known().map_or(0.0, |at| (now - at).0 as f64 / 1000.0))
        }
        "lastseen_consumer_lag_records" => {
            let each = known.partitions.iter().zip(0u32..);
            let of = |(one, number): (&Partition, u32)| {
                let lag = one.lag;
                InputTopic::ALL
                    .iter()
                    .zip(lag)
                    .map(move |(topic, lag)| (vec![number.to_string(), topic.word().to_owned()], lag as f64))
            };
            each.flat_map(of).collect()
        }
        "lastseen_partition_clock_seconds" => by_partition(&|one| seconds(one.clock)),
        "lastseen_partition_clock_lag_seconds" => {
            by_partition(&|one| one.clock.known().map_or(0.0, |at| (now - at).0 as f64 / 1000.0))
        }
        "lastseen_partition_blind" => {
            let each = known.partitions.iter().zip(0u32..);
            let of = |(one, number): (&Partition, u32)| {
                let blind = one.blind;
                Blind::ALL.iter().map(move |why| {
                    (vec![number.to_string(), why.word().to_owned()], flag(blind == Some(*why)))
                })
            };
            each.flat_map(of).collect()
        }
        "lastseen_entries_total" => by_partition(&|one| one.measures.entries as f64),
        "lastseen_input_records_total" => by_partition(&|one| one.measures.records as f64),
        "lastseen_signs_of_life_total" => by_partition(&|one| one.measures.moved as f64),
        "lastseen_journal_bytes_total" => by_partition(&|one| one.measures.journal_bytes as f64),
        "lastseen_output_bytes_total" => by_partition(&|one| one.measures.output_bytes as f64),
        "lastseen_view_made_anew_total" => by_partition(&|one| one.measures.made_anew as f64),
        "lastseen_foreign_records_total" => by_partition(&|one| one.measures.foreign as f64),
        "lastseen_outputs_total" => known
            .partitions
            .iter()
            .zip(0u32..)
            .flat_map(|(one, number)| {
                one.measures
                    .outputs
                    .iter()
                    .map(move |(kind, count)| (vec![number.to_string(), (*kind).to_owned()], *count as f64))
            })
            .collect(),
        "lastseen_dead_letters_total" => known
            .partitions
            .iter()
            .zip(0u32..)
            .flat_map(|(one, number)| {
                one.measures
                    .dead_letters
                    .iter()
                    .map(move |(reason, count)| (vec![number.to_string(), reason.clone()], *count as f64))
            })
            .collect(),
        "lastseen_events_total" => of_processor(&|counts| {
            let outcomes =
                [("applied", counts.applied), ("ignored", counts.ignored), ("dead_letter", counts.rejected)];
            outcomes.map(|(outcome, count)| (vec![outcome.to_owned()], count as f64)).to_vec()
        }),
        "lastseen_commits_total" => of_processor(&|counts| one(counts.commits as f64)),
        "lastseen_aborts_total" => of_processor(&|counts| one(counts.aborts as f64)),
        "lastseen_log_errors_total" => of_processor(&|counts| one(counts.log_errors as f64)),
        "lastseen_commit_seconds" => of_processor(&|counts| {
            let mut times = counts.commit_times.clone();
            times.sort_unstable();
            let at = |share: f64| {
                let place = ((times.len() as f64 - 1.0) * share).round() as usize;
                times.get(place).map_or(0.0, std::time::Duration::as_secs_f64)
            };
            [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)]
                .map(|(quantile, share)| (vec![quantile.to_owned()], at(share)))
                .to_vec()
        }),
        "lastseen_records_written_total" => of_processor(&|counts| {
            let is_input = |topic: &Topic| InputTopic::ALL.iter().any(|input| Topic::Input(*input) == *topic);
            let outputs = Topic::ALL.iter().filter(|topic| !is_input(topic));
            outputs
                .map(|topic| (vec![topic.default_name().to_owned()], counts.written[topic.number()] as f64))
                .collect()
        }),
        "lastseen_audit_verified_total" => of_processor(&|counts| one(counts.audited as f64)),
        "lastseen_audit_differences_total" => of_processor(&|counts| one(counts.audit_differences as f64)),
        "lastseen_http_requests_total" => {
            let classes = app.served.classes.iter().zip(1..);
            classes
                .map(|(count, class)| (vec![format!("{class}xx")], count.load(Ordering::Relaxed) as f64))
                .collect()
        }
        "lastseen_http_streams" => one((super::app::STREAMS - app.streams.available_permits()) as f64),
        _ => Vec::new(),
    }
}
