//! The demo: a simulated fleet, the embedded log, the processor and readable output, in one process.
//!
//! Time is simulated: one clock, so many times as fast as the host's, stamps the log's records, drives the fleet and
//! the processor. What is printed comes back out of the log, as any consumer would read it.

mod device;
pub mod fleet;
mod payload;
#[cfg(feature = "http")]
mod service;
#[cfg(test)]
mod stand_in;
mod story;
#[cfg(feature = "rocksdb")]
mod watch;

#[cfg(feature = "rocksdb")]
pub use live::{DemoError, DemoOptions, HttpPort, run};

#[cfg(feature = "rocksdb")]
mod live {
    use std::io::{self, IsTerminal, Write};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant};

    use super::fleet::{Fleet, FleetEvent};
    use super::watch::Watch;
    use crate::clock::Clock;
    use crate::domain::effect::InputTopic;
    use crate::domain::time::Millis;
    use crate::engine::step::Settings;
    use crate::log::embedded::{EmbeddedConfig, EmbeddedLog};
    use crate::log::{Append, LogError, OutRecord, Topic};
    use crate::render::Style;
    use crate::store::RocksStore;
    use crate::wire::partition;
    use crate::worker::{Worker, WorkerConfig};

    pub(super) const PARTITIONS: u32 = 4;
    const COMMIT_INTERVAL: Duration = Duration::from_millis(50);
    /// How often the fleet is asked for what has happened meanwhile.
    const FLEET_PERIOD: Duration = Duration::from_millis(20);
    const SUMMARY_PERIOD: Duration = Duration::from_secs(5);
    /// How long the watch waits for outputs; also how soon a stop is noticed.
    const WATCH_PERIOD: Duration = Duration::from_millis(100);

    /// What the demo is asked for.
    #[derive(Clone, Debug)]
    pub struct DemoOptions {
        /// How many devices to simulate; twenty show every story.
        pub devices: usize,
        /// How many times as fast as the host's the simulated time passes.
        pub speed: f64,
        /// End after so many seconds of the host's time.
        pub seconds: Option<u64>,
        /// Decides the fleet: the same seed, the same stories.
        pub seed: u64,
        /// Where log and state stay; `None`: in a temporary directory that goes with the demo.
        pub data_dir: Option<PathBuf>,
        /// Print every output as a line of JSON, instead of a choice of readable lines.
        pub json: bool,
        /// Where the query service listens on this machine; `None`: there is none.
        pub http: Option<HttpPort>,
    }

    /// Where the demo's query service listens.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum HttpPort {
        /// On this port, or on any that is free if another program has it.
        Preferred(u16),
        /// On this port; 0: any that is free.
        Exactly(u16),
    }

    impl Default for DemoOptions {
        fn default() -> DemoOptions {
            DemoOptions {
                devices: 300,
                speed: 20.0,
                seconds: None,
                seed: 1,
                data_dir: None,
                json: false,
                http: None,
            }
        }
    }

    /// Why the demo ended early.
    #[derive(Debug, thiserror::Error)]
    pub enum DemoError {
        /// An option that cannot be.
        #[error("{0}")]
        Options(String),
        /// The embedded log.
        #[error("the demo's log: {0}")]
        Log(#[from] LogError),
        /// The processor.
        #[error("the demo's processor: {0}")]
        Worker(String),
        /// The query service.
        #[error("the demo's query service: {0}")]
        Http(String),
        /// Directories, threads, the terminal.
        #[error("{action}: {source}")]
        Io {
            /// What was being done.
            action: String,
            /// What the system said.
            source: io::Error,
        },
        /// A part of the demo panicked; the message is on stderr.
        #[error("the demo's {0} panicked")]
        Panicked(&'static str),
    }

    impl DemoError {
        pub(super) fn io(action: impl Into<String>, source: io::Error) -> DemoError {
            DemoError::Io { action: action.into(), source }
        }
    }

    /// A part of the demo that runs in a thread of its own until its flag is set.
    pub(super) struct Part {
        name: &'static str,
        stop: Arc<AtomicBool>,
        thread: JoinHandle<Result<(), DemoError>>,
    }

    impl Part {
        pub(super) fn spawn(
            name: &'static str,
            work: impl FnOnce(&AtomicBool) -> Result<(), DemoError> + Send + 'static,
        ) -> Result<Part, DemoError> {
            let stop = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&stop);
            let thread = thread::Builder::new().name(format!("demo-{name}")).spawn(move || work(&flag));
            Ok(Part {
                name,
                stop,
                thread: thread.map_err(|error| DemoError::io("starting a thread", error))?,
            })
        }

        fn end(self) -> Result<(), DemoError> {
            self.stop.store(true, Ordering::SeqCst);
            self.thread.join().unwrap_or(Err(DemoError::Panicked(self.name)))
        }
    }

    /// Starts the processor over the demo's log.
    pub(super) type SpawnWorker = dyn Fn(&EmbeddedLog, &Clock, &Path) -> Result<Part, DemoError>;

    /// Starts the worker on the demo's log, in a thread that steps until its flag is set, then commits, checkpoints and
    /// leaves.
    fn spawn_worker(log: &EmbeddedLog, clock: &Clock, dir: &Path) -> Result<Part, DemoError> {
        let config = WorkerConfig {
            log_name: "demo".into(),
            settings: Arc::new(Settings { partitions: PARTITIONS, ..Settings::default() }),
            commit_interval: COMMIT_INTERVAL,
            batch_records: 10_000,
            // The clock of the demo runs faster than the host's, and so must what it waits for.
            clock_margin: Millis((10.0 * clock.speed().max(1.0)) as i64),
            checkpoint_interval: Duration::from_secs(30),
            ..WorkerConfig::default()
        };
        let store = RocksStore::new(dir);
        let worker = Worker::new(log.member()?, store, clock.clone(), config, Arc::default(), rand::random());
        Part::spawn("processor", move |stop| {
            worker.run(stop).map_err(|error| DemoError::Worker(error.to_string()))
        })
    }

    /// Runs the demo until `stop` is set, its time is over or nobody reads its output any more.
    ///
    /// # Errors
    /// The data directory, the log or the processor fails; what was committed stays.
    pub fn run(options: &DemoOptions, stop: &AtomicBool) -> Result<(), DemoError> {
        let stdout = io::stdout();
        let style = Style::for_terminal(stdout.is_terminal() && !options.json);
        run_with(options, stop, &spawn_worker, style, &mut stdout.lock())
    }

    pub(super) fn run_with(
        options: &DemoOptions,
        stop: &AtomicBool,
        spawn_worker: &SpawnWorker,
        style: Style,
        out: &mut dyn Write,
    ) -> Result<(), DemoError> {
        check(options)?;
        let dir = DataDir::make(options.data_dir.as_deref())?;
        let (log, clock) = open_log(&dir.path, options.speed)?;
        let mut watch = Watch::new(&log, clock.clone(), options, style);
        let told = watch.greet(&dir.path, out).and_then(|()| watch.catch_up());
        if let Some(result) = watch.outcome(told) {
            return result;
        }
        #[cfg(feature = "http")]
        let service = super::service::start(options, &log, &clock, &dir.path)?;
        #[cfg(feature = "http")]
        if let Some(service) = &service {
            let told = watch.tell_address(service.address(), &service.secret, out);
            if let Some(result) = watch.outcome(told) {
                return result;
            }
        }
        let worker = spawn_worker(&log, &clock, &dir.path)?;
        let fleet = Fleet::new(options.seed, options.devices, clock.now());
        let (feed, feed_clock) = (log.clone(), clock.clone());
        let fleet = match Part::spawn("fleet", move |stop| play(fleet, &feed, &feed_clock, stop)) {
            Ok(fleet) => fleet,
            Err(error) => return worker.end().and(Err(error)),
        };

        let started = Instant::now();
        let mut summarized = started;
        let mut watched = Ok(());
        let over = |limit: u64| started.elapsed() >= Duration::from_secs(limit);
        while watched.is_ok()
            && !stop.load(Ordering::SeqCst)
            && !options.seconds.is_some_and(over)
            && !worker.thread.is_finished()
            && !fleet.thread.is_finished()
        {
            watched = watch.read(WATCH_PERIOD, out);
            if watched.is_ok() && summarized.elapsed() >= SUMMARY_PERIOD {
                summarized = Instant::now();
                watched = watch.summarize(out);
            }
        }
        // First the source, then the processor, which commits what it has; then the rest of what it told is printed.
        let ended = fleet.end();
        let ended = worker.end().and(ended);
        watched = watched.and_then(|()| watch.finish(out));
        if watched.is_ok() && ended.is_ok() {
            watched = watch.say_goodbye(options.data_dir.as_deref(), started.elapsed(), out);
        }
        ended.and(watch.outcome(watched).unwrap_or(Ok(())))
    }

    fn check(options: &DemoOptions) -> Result<(), DemoError> {
        if !(options.speed.is_finite() && (0.1..=10_000.0).contains(&options.speed)) {
            return Err(DemoError::Options(format!(
                "--speed {}: it must lie between 0.1 and 10000",
                options.speed
            )));
        }
        if options.devices == 0 {
            return Err(DemoError::Options("--devices 0: a fleet has at least one device".into()));
        }
        Ok(())
    }

    /// Opens the log under a clock that goes on where the log's last records stand: an accelerated run before this one
    /// may have left them in the host's future.
    fn open_log(dir: &Path, speed: f64) -> Result<(EmbeddedLog, Clock), DemoError> {
        let clock = Arc::new(OnceLock::new());
        let stamps = Arc::clone(&clock);
        let host = Clock::host();
        let now = move || stamps.get().unwrap_or(&host).now();
        let config = EmbeddedConfig { partitions: PARTITIONS, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(dir.join("log"), config, Arc::new(now))?;
        let mut origin = Clock::host().now();
        for topic in InputTopic::ALL.iter().map(|input| Topic::Input(*input)).chain([Topic::Journal]) {
            for partition in 0..PARTITIONS {
                let high = log.bounds(topic, partition)?.high;
                log.scan(topic, partition, high.saturating_sub(1)..high, &mut |record| {
                    origin = origin.max(record.timestamp + Millis(1000));
                    std::ops::ControlFlow::Continue(())
                })?;
            }
        }
        let clock = clock.get_or_init(|| Clock::accelerated(origin, speed)).clone();
        Ok((log, clock))
    }

    /// Appends the fleet's events as their time comes.
    fn play(mut fleet: Fleet, log: &EmbeddedLog, clock: &Clock, stop: &AtomicBool) -> Result<(), DemoError> {
        while !stop.load(Ordering::SeqCst) {
            let events = fleet.events_until(clock.now());
            if !events.is_empty() {
                let records: Vec<OutRecord> = events.into_iter().flat_map(records_of).collect();
                log.append(&records)?;
            }
            thread::sleep(FLEET_PERIOD);
        }
        Ok(())
    }

    fn records_of(event: FleetEvent) -> Vec<OutRecord> {
        let FleetEvent { arrival, topic, key, payload } = event;
        let partitions = match &key {
            Some(key) => {
                let partition = partition::of(key.as_bytes(), PARTITIONS);
                partition..partition + 1
            }
            None => 0..PARTITIONS,
        };
        let record = |partition| OutRecord {
            topic: Topic::Input(topic),
            partition,
            timestamp: arrival,
            key: key.as_ref().map(|key| key.clone().into_bytes()),
            value: Some(payload.clone()),
            headers: Vec::new(),
        };
        partitions.map(record).collect()
    }

    /// The processor that [`run`] starts.
    #[cfg(test)]
    pub(super) const PROCESSOR: &SpawnWorker = &spawn_worker;

    /// Where log and state are; a temporary one is removed at the end.
    struct DataDir {
        path: PathBuf,
        temporary: bool,
    }

    impl DataDir {
        fn make(given: Option<&Path>) -> Result<DataDir, DemoError> {
            let failed =
                |path: &Path, error| DemoError::io(format!("making the directory {}", path.display()), error);
            if let Some(path) = given {
                std::fs::create_dir_all(path).map_err(|error| failed(path, error))?;
                return Ok(DataDir { path: path.to_owned(), temporary: false });
            }
            let mut number = 0;
            loop {
                let path =
                    std::env::temp_dir().join(format!("lastseen-demo-{}-{number}", std::process::id()));
                match std::fs::create_dir(&path) {
                    Ok(()) => return Ok(DataDir { path, temporary: true }),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                        number += 1
                    }
                    Err(error) => return Err(failed(&path, error)),
                }
            }
        }
    }

    impl Drop for DataDir {
        fn drop(&mut self) {
            if self.temporary {
                // What the system keeps in use is left to its own cleaning of temporary files.
                let _ = std::fs::remove_dir_all(&self.path);
            }
        }
    }

    /// The host's seconds that a simulated span takes.
    pub(super) fn in_host_time(span: Millis, speed: f64) -> Millis {
        Millis((span.0 as f64 / speed) as i64)
    }
}

#[cfg(all(test, feature = "rocksdb"))]
#[path = "live_tests.rs"]
mod tests;
