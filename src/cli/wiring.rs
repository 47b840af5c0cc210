//! `run`: from the configuration to workers on a log.

use std::io::{IsTerminal, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use lastseen::clock::Clock;
use lastseen::config::{Config, LogKind, StartAt};
use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::Millis;
use lastseen::engine::step::Settings;
use lastseen::log::dry_run::DryRun;
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog};
use lastseen::log::{Archive, Log, OutRecord, Topic, Transaction};
use lastseen::replay::{Heard, shadow};
use lastseen::stats::Stats;
use lastseen::store::RocksStore;
use lastseen::wire::dead_letter::HEADROOM_BYTES;
use lastseen::wire::output::Format;
use lastseen::worker::{self, Standby, Worker, WorkerConfig};
use tracing::info;

/// Runs the processor until `stop`.
pub fn run(config: &Config, stop: &AtomicBool) -> anyhow::Result<()> {
    if config.dry_run {
        return dry_run(config, stop);
    }
    #[cfg(all(feature = "http", feature = "kafka"))]
    if config.role == lastseen::config::Role::Query {
        return super::service::alone(config, stop);
    }
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the state directory {}", dir.display()))?;
    let instance = Instance::lock(dir)?;
    match config.log {
        LogKind::Embedded => {
            let log = EmbeddedLog::open(dir.join("log"), embedded(config), clock())?;
            info!(log = "embedded", data_dir = %dir.display(), partitions = log.partitions(), "running");
            let members = vec![log.member()?];
            let stats = Arc::default();
            let _service = query_of_embedded(config, &log, &stats)?;
            let archive = move || -> anyhow::Result<Box<dyn Archive>> { Ok(Box::new(log.clone())) };
            work(config, dir, members, EMBEDDED.to_owned(), Some(&archive), stats, stop)
        }
        LogKind::Kafka => kafka(config, &instance, stop),
    }
}

#[cfg(feature = "http")]
fn query_of_embedded(
    config: &Config,
    log: &EmbeddedLog,
    stats: &Arc<Stats>,
) -> anyhow::Result<Option<lastseen::http::Service>> {
    use super::service;
    if !service::is_wanted(config) {
        return Ok(None);
    }
    let archive = || -> anyhow::Result<Box<dyn Archive>> { Ok(Box::new(log.clone())) };
    let append = Box::new(log.clone());
    let stats = Some(Arc::clone(stats));
    service::start(config, EMBEDDED, &archive, append, stats, service::EMBEDDED_PAUSE)
}

#[cfg(not(feature = "http"))]
fn query_of_embedded(_: &Config, _: &EmbeddedLog, _: &Arc<Stats>) -> anyhow::Result<()> {
    Ok(())
}

/// Consumes and folds, publishes nothing, prints what it would publish. State is scratch, and the group is nobody's: no
/// offset is ever committed with it.
fn dry_run(config: &Config, stop: &AtomicBool) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a directory for scratch state")?;
    let tell = |transaction: &Transaction| {
        let mut out = std::io::stdout().lock();
        for record in &transaction.records {
            // Whoever reads it may have had enough.
            if let Some(line) = would_publish(config, record)
                && writeln!(out, "{line}").is_err()
            {
                stop.store(true, Ordering::SeqCst);
                return;
            }
        }
    };
    match config.log {
        LogKind::Embedded => {
            let log = EmbeddedLog::open(config.data_dir.join("log"), embedded(config), clock())?;
            let member = DryRun::new(log.member()?, tell);
            work(config, scratch.path(), vec![member], "dry run".to_owned(), None, Arc::default(), stop)
        }
        LogKind::Kafka => dry_run_on_kafka(config, scratch.path(), tell, stop),
    }
}

#[cfg(not(feature = "kafka"))]
fn dry_run_on_kafka(_: &Config, _: &Path, _: impl FnMut(&Transaction), _: &AtomicBool) -> anyhow::Result<()> {
    bail!("this lastseen was built without Kafka (cargo build --features kafka); --log embedded needs none")
}

#[cfg(feature = "kafka")]
fn dry_run_on_kafka(
    config: &Config,
    scratch: &Path,
    tell: impl FnMut(&Transaction) + Send,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let nobody = format!("dry-run-{:016x}", rand::random::<u64>());
    let mut client = super::kafka::client(config, &nobody, 0);
    client.group = format!("{}-{nobody}", client.group);
    let log = lastseen::log::kafka::KafkaLog::open(client)?;
    work(config, scratch, vec![DryRun::new(log, tell)], "dry run".to_owned(), None, Arc::default(), stop)
}

/// A record as a line of JSON; rows of state and the journal are nothing for people.
fn would_publish(config: &Config, record: &OutRecord) -> Option<String> {
    if matches!(record.topic, Topic::State | Topic::Journal | Topic::Input(_)) {
        return None;
    }
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let value =
        record.value.as_deref().and_then(|value| serde_json::from_slice::<serde_json::Value>(value).ok());
    let reason = record.headers.iter().find(|(name, _)| name == "reason");
    let line = serde_json::json!({
        "topic": config.topic(record.topic),
        "partition": record.partition,
        "key": text(&record.key),
        "value": value.unwrap_or_else(|| text(&record.value).into()),
        "reason": reason.map(|(_, reason)| String::from_utf8_lossy(reason)),
    });
    Some(line.to_string())
}

/// What checkpoints of the embedded log say that they are of.
pub const EMBEDDED: &str = "embedded";

/// The embedded log, for whoever only reads: nothing is removed from it meanwhile.
pub fn embedded_to_read(config: &Config, dir: &Path) -> anyhow::Result<EmbeddedLog> {
    let settings = EmbeddedConfig { retention_thread: false, ..embedded(config) };
    EmbeddedLog::open(dir, settings, clock())
        .context("the embedded log belongs to one process: stop `lastseen run` before its past is read")
}

fn clock() -> lastseen::log::embedded::Clock {
    let clock = Clock::host();
    Arc::new(move || clock.now())
}

fn embedded(config: &Config) -> EmbeddedConfig {
    EmbeddedConfig {
        partitions: config.partitions,
        retention: config.retention,
        tombstone_retention: config.tombstone_retention,
        ..EmbeddedConfig::default()
    }
}

#[cfg(not(feature = "kafka"))]
fn kafka(_: &Config, _: &Instance, _: &AtomicBool) -> anyhow::Result<()> {
    bail!("this lastseen was built without Kafka (cargo build --features kafka); --log embedded needs none")
}

#[cfg(feature = "kafka")]
fn kafka(config: &Config, instance: &Instance, stop: &AtomicBool) -> anyhow::Result<()> {
    use lastseen::log::kafka::{KafkaLog, topics};
    let client = |worker: usize| super::kafka::client(config, &instance.id, worker as u32);
    let first = client(0);
    let cluster = super::kafka::inspect(&first)?;
    let report = topics::plan(&first, &cluster, &super::kafka::wanted(config, &first, cluster.brokers));
    let mut refusals: Vec<String> = report
        .create
        .iter()
        .map(|want| format!("there is no topic {}; `lastseen topics create` makes it", want.name))
        .collect();
    let input = |name: &str| InputTopic::ALL.iter().any(|&input| config.topic(Topic::Input(input)) == name);
    for complaint in &report.complaints {
        let tolerated = config.allow_create_time
            && complaint.setting == "message.timestamp.type"
            && input(&complaint.topic);
        if complaint.refuse && !tolerated {
            refusals.push(complaint.to_string());
        } else {
            tracing::warn!(topic = complaint.topic, setting = complaint.setting, "{complaint}");
        }
    }
    if !refusals.is_empty() {
        bail!("the topics on {} are not as they must be:\n{}", first.brokers, refusals.join("\n"));
    }
    let mut logs = Vec::new();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let workers = if config.workers == 0 { cores() } else { config.workers };
    for worker in 0..workers {
        logs.push(KafkaLog::open(client(worker))?);
    }
    info!(log = "kafka", brokers = first.brokers, group = first.group, instance = first.instance, "running");
    let archive = || super::kafka::archive(config);
    let name = super::kafka::log_name(config, &cluster.id);
    let stats: Arc<Stats> = Arc::default();
    #[cfg(feature = "http")]
    let _service = if super::service::is_wanted(config) {
        let append = super::kafka::appender(config)?;
        let pause = super::service::KAFKA_PAUSE;
        super::service::start(config, &name, &archive, append, Some(Arc::clone(&stats)), pause)?
    } else {
        None
    };
    work(config, &config.data_dir, logs, name, Some(&archive), stats, stop)
}

/// Makes readers of the log.
type Archives<'a> = dyn Fn() -> anyhow::Result<Box<dyn Archive>> + Sync + 'a;

/// A thread for each log; the first that fails stops the others.
fn work<L: Log + Send>(
    config: &Config,
    data_dir: &Path,
    logs: Vec<L>,
    log_name: String,
    archive: Option<&Archives<'_>>,
    stats: Arc<Stats>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let partitions = config.partitions;
    let settings = Settings {
        partitions,
        record_bytes_max: config.record_bytes,
        dead_letter_bytes_max: config.record_bytes + HEADROOM_BYTES,
        refresh: Millis(config.state_refresh.as_millis() as i64),
        // A dry run is for people to read.
        format: if config.dry_run { Format::Json } else { config.output_format },
        input_names: std::array::from_fn(|index| {
            config.topic(Topic::Input(InputTopic::ALL[index])).to_owned()
        }),
        ..Settings::default()
    };
    let worker_config = WorkerConfig {
        log_name,
        settings: Arc::new(settings.clone()),
        commit_interval: config.commit_interval,
        batch_records: config.batch_records,
        clock_margin: config.clock_margin,
        checkpoint_interval: config.state_checkpoint,
        start: match config.start {
            StartAt::Earliest => worker::StartAt::Earliest,
            StartAt::Time(time) => worker::StartAt::Time(time),
        },
        // Ten of them reach as far back as the journal.
        anchor_every: Millis(
            config.retention[Topic::Journal.number()].map_or(7 * 86_400_000, |kept| kept.0) / 10,
        ),
        allow_create_time: config.allow_create_time,
        accept_loss: config.accept_loss,
    };
    let standby =
        (config.standby && config.log == LogKind::Kafka && !config.dry_run).then(Arc::<Standby>::default);
    let results = std::thread::scope(|scope| {
        if std::io::stderr().is_terminal() {
            let stats = &stats;
            scope.spawn(move || show_restoring(stats, stop));
        }
        let store = RocksStore::new(data_dir);
        let start = |(number, log): (usize, L)| {
            let store = store.clone();
            let (config, stats) = (worker_config.clone(), Arc::clone(&stats));
            let writer: u64 = rand::random();
            // By this the entries of the journal tell which process wrote them.
            info!(worker = number, writer = format!("{writer:016x}"), "a worker starts");
            let worker = Worker::new(log, store, Clock::host(), config, stats, writer);
            let worker = worker.with_standby(standby.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            thread.spawn_scoped(scope, move || {
                let result = worker.run(stop);
                // Whoever ends first, by a failure, ends all: half a processor would look like a whole one.
                stop.store(true, Ordering::SeqCst);
                result
            })
        };
        let threads: Vec<_> = logs.into_iter().enumerate().map(start).collect();
        if let Some(archive) = archive.filter(|_| config.audit_shadow) {
            let (settings, stats) = (&settings, &stats);
            let thread = std::thread::Builder::new().name("shadow-auditor".to_owned());
            let spawned = thread.spawn_scoped(scope, move || audit(archive, settings, stats, stop));
            if let Err(error) = spawned {
                tracing::error!(%error, "cannot start the shadow auditor");
            }
        }
        if let (Some(archive), Some(standby)) = (archive, &standby) {
            let (config, store) = (&worker_config, store.clone());
            let thread = std::thread::Builder::new().name("standby".to_owned());
            let spawned = thread.spawn_scoped(scope, move || match archive() {
                Ok(mut archive) => standby.follow(&mut *archive, &store, config, stop),
                Err(error) => tracing::error!("the standby cannot read the log: {error:#}"),
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "cannot start the standby");
            }
        }
        let mut results: Vec<anyhow::Result<()>> = Vec::new();
        for (number, thread) in threads.into_iter().enumerate() {
            results.push(match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(result)) => result.with_context(|| format!("worker {number} stopped")),
                Ok(Err(_)) => Err(anyhow!("worker {number} panicked; this is a bug in Lastseen")),
                Err(error) => Err(error).context("cannot start a worker's thread"),
            });
        }
        results
    });
    results.into_iter().collect::<anyhow::Result<()>>()?;
    let counts = stats.counts();
    info!(
        applied = counts.applied,
        ignored = counts.ignored,
        dead_letters = counts.rejected,
        commits = counts.commits,
        aborts = counts.aborts,
        commit_ms_p50 = counts.commit_millis(50),
        commit_ms_p99 = counts.commit_millis(99),
        "stopped"
    );
    Ok(())
}

/// A bar on the terminal while partitions are restored.
fn show_restoring(stats: &Stats, stop: &AtomicBool) {
    let style = ProgressStyle::with_template(
        "restoring {bar:30} {human_pos} of {human_len} records, {per_sec}, {eta} left",
    );
    let mut bar: Option<ProgressBar> = None;
    while !stop.load(Ordering::Relaxed) {
        let (done, of) = stats.progress();
        match &bar {
            None if of > 0 => {
                let new = ProgressBar::new(of);
                bar = Some(match &style {
                    Ok(style) => new.with_style(style.clone()),
                    Err(_) => new,
                });
            }
            Some(shown) if of == 0 => {
                shown.finish_and_clear();
                bar = None;
            }
            Some(shown) => {
                shown.set_length(of);
                shown.set_position(done);
            }
            None => {}
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// The shadow auditor, over the partitions that this process has worked on.
fn audit(archive: &Archives<'_>, settings: &Settings, stats: &Stats, stop: &AtomicBool) {
    let mut archive = match archive() {
        Ok(archive) => archive,
        Err(error) => return tracing::error!("the shadow auditor cannot read the log: {error:#}"),
    };
    let partitions = || stats.counts().clocks.into_keys().collect();
    let hear = |partition: u32, heard: Heard<'_>| match heard {
        Heard::Verified(count) => stats.audited(count),
        Heard::Begins(seq, why) => info!(partition, seq, why, "the shadow auditor begins"),
        Heard::Failed(why) => tracing::warn!(partition, why, "the shadow auditor tries again"),
        Heard::Differs(difference) => {
            stats.audit_differs();
            tracing::error!(
                partition,
                seq = difference.seq,
                check = difference.check.word(),
                what = difference.what,
                device = difference.device(),
                "AUDIT: what the log holds is not what follows from journal and inputs; \
                 `lastseen replay --verify` tells more"
            );
        }
    };
    shadow(&mut *archive, settings, partitions, hear, stop);
    let counts = stats.counts();
    info!(verified = counts.audited, differences = counts.audit_differences, "the shadow auditor ends");
}

/// The id of this instance, in a file of the state directory that is locked while the process lives.
struct Instance {
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "names us to Kafka"))]
    id: String,
    _lock: std::fs::File,
}

impl Instance {
    fn lock(dir: &Path) -> anyhow::Result<Instance> {
        let path = dir.join("instance");
        let broken = || format!("cannot use {}", path.display());
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).with_context(broken)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => bail!(
                "another process uses the state directory {}; stop it, or give this one its own by --data-dir",
                dir.display()
            ),
            Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(broken),
        }
        let mut id = String::new();
        file.read_to_string(&mut id).with_context(broken)?;
        let mut id = id.trim().to_owned();
        if id.is_empty() {
            id = format!("{:08x}", rand::random::<u32>());
            file.rewind()
                .and_then(|()| writeln!(file, "{id}"))
                .and_then(|()| file.sync_all())
                .with_context(broken)?;
        }
        Ok(Instance { id, _lock: file })
    }
}
