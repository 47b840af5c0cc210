//! The embedded log: topics, partitions and group offsets in one RocksDB, for one process (DESIGN §2).
//!
//! * **A commit is one synced write batch**: outputs, journal and offsets, all or nothing. What was acknowledged
//!   survives kill -9 and loss of power, as far as the disk keeps what it said it had.
//! * **One writer at a time.** Appends and commits queue up; whoever finds the log idle writes for all who wait, in
//!   one batch with one sync (`writer`). Offsets are given out there, so the order of offsets is the order of writing.
//! * **Readers never wait for writers**: they read below the published high watermarks only, which rise together, after
//!   the sync; a condition variable wakes those who wait for more.
//! * **Retention is by the time of appending**, in every topic; `devices.state` keeps the latest record of each key
//!   (`retention`).

mod archive;
mod codec;
mod member;
mod retention;
mod tail;
mod writer;

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rocksdb::{
    DB, DBCompressionType, DBRawIterator, DBRecoveryMode, IteratorMode, LogLevel, Options, ReadOptions,
};

use self::codec::Place;
pub use self::member::EmbeddedMember;
pub use self::tail::EmbeddedTail;
use super::{Append, Bounds, LogError, OutRecord, ScanControl, Scanned, Start, TOPICS, Topic};
use crate::domain::effect::InputTopic;
use crate::domain::time::{Millis, Timestamp};

/// The format that this code writes; a database of a newer one is refused.
pub const FORMAT: u32 = 1;

/// The clock that stamps appended records; may be simulated. Where it goes back, stamps do not.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of the embedded log.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Partitions of every topic; fixed for the life of the directory.
    pub partitions: u32,
    /// For how long records stay, per [`Topic::number`]; `None` for good. Not looked at for compacted topics.
    pub retention: [Option<Millis>; TOPICS],
    /// For how long a null record of a compacted topic stays, so that followers see that its key is gone.
    pub tombstone_retention: Millis,
    /// Whether a thread applies retention every second; otherwise only [`EmbeddedLog::apply_retention`] does.
    pub retention_thread: bool,
    /// Bytes that RocksDB gathers in memory before it writes a table; up to three times that much is held.
    pub write_buffer: usize,
}

impl Default for EmbeddedConfig {
    /// Four partitions; seven days of everything, thirty of dead letters; tombstones for a day.
    fn default() -> EmbeddedConfig {
        const DAY: Millis = Millis::from_minutes(24 * 60);
        let mut retention = [Some(Millis(7 * DAY.0)); TOPICS];
        retention[Topic::DeadLetter.number()] = Some(Millis(30 * DAY.0));
        retention[Topic::State.number()] = None;
        EmbeddedConfig {
            partitions: 4,
            retention,
            tombstone_retention: DAY,
            retention_thread: true,
            write_buffer: 32 << 20,
        }
    }
}

/// The embedded log, open. Clones are the same log; it closes with the last of them and of its members and tails.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    _keeper: Arc<Keeper>,
}

/// Where a partition of a topic stands.
#[derive(Clone, Copy, Debug)]
struct Head {
    low: u64,
    high: u64,
    /// No record was appended later; stamps never go below it.
    last_time: Timestamp,
    /// When the time index got its latest row.
    indexed: Timestamp,
    /// Rows written since the last compaction, and rows that it left.
    dirty: u64,
    clean: u64,
}

struct Shared {
    db: DB,
    config: EmbeddedConfig,
    clock: Clock,
    heads: Mutex<Vec<Head>>,
    grown: Condvar,
    writer: writer::Writer,
    member: AtomicBool,
    /// Held by whoever applies retention.
    housekeeping: Mutex<()>,
    /// Locked while the log is open; says who has it.
    _owner: File,
}

/// Stops the retention thread when the last handle is gone.
struct Keeper {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

/// A lock whose holder panicked guards nothing that is half done here: every change of a head is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmbeddedLog {
    /// Opens the log in the directory `path`, or makes a new one there.
    ///
    /// # Errors
    /// Another process has it open (the message says which); it was written by a newer version or for another number
    /// of partitions; the disk or the database fails. None is retriable but the first.
    pub fn open(
        path: impl AsRef<Path>,
        config: EmbeddedConfig,
        clock: Clock,
    ) -> Result<EmbeddedLog, LogError> {
        let path = path.as_ref();
        let action = || format!("opening the embedded log in {}", path.display());
        if config.partitions == 0 {
            return Err(LogError::fatal(action(), "it needs at least one partition"));
        }
        fs::create_dir_all(path).map_err(|error| LogError::fatal(action(), error.to_string()))?;
        let owner = claim(path).map_err(|error| LogError { action: action(), ..error })?;
        let db = DB::open(&options(config.write_buffer), path.join("db"))
            .map_err(|error| LogError::fatal(action(), error.to_string()))?;
        check_format(&db, config.partitions).map_err(|error| LogError { action: action(), ..error })?;
        let heads =
            find_heads(&db, config.partitions).map_err(|error| LogError { action: action(), ..error })?;
        let shared = Arc::new(Shared {
            db,
            heads: Mutex::new(heads),
            grown: Condvar::new(),
            writer: writer::Writer::default(),
            member: AtomicBool::new(false),
            housekeeping: Mutex::new(()),
            _owner: owner,
            clock,
            config,
        });
        let keeper = Keeper { stop: Arc::default(), thread: Mutex::new(None) };
        if shared.config.retention_thread {
            let (weak, stop) = (Arc::downgrade(&shared), Arc::clone(&keeper.stop));
            let work = move || retention::keep(&weak, &stop.0, &stop.1);
            let thread = std::thread::Builder::new().name("log-retention".to_owned()).spawn(work);
            *lock(&keeper.thread) =
                Some(thread.map_err(|error| LogError::fatal(action(), error.to_string()))?);
        }
        Ok(EmbeddedLog { shared, _keeper: Arc::new(keeper) })
    }

    /// The number of partitions of every topic.
    pub fn partitions(&self) -> u32 {
        self.shared.config.partitions
    }

    /// The one member of the group; it owns all partitions, which its first poll says.
    ///
    /// # Errors
    /// There is one already (retriable: it may end).
    pub fn member(&self) -> Result<EmbeddedMember, LogError> {
        if self.shared.member.swap(true, Ordering::AcqRel) {
            return Err(LogError::retriable(
                "joining the embedded log",
                "it has a member already, and takes only one",
            ));
        }
        Ok(EmbeddedMember::new(self.clone()))
    }

    /// Follows one partition of a topic.
    pub fn follow(&self, topic: Topic, partition: u32, start: Start) -> EmbeddedTail {
        self.tail(&[(topic, partition, start)])
    }

    /// Follows partitions of any topics; a partition that does not exist never has records.
    pub fn tail(&self, from: &[(Topic, u32, Start)]) -> EmbeddedTail {
        EmbeddedTail::new(self.clone(), from)
    }

    /// Low and high watermark of one partition.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn bounds(&self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        let slot = self.shared.slot(topic, partition).ok_or_else(|| no_partition(topic, partition))?;
        let head = lock(&self.shared.heads)[slot];
        Ok(Bounds { low: head.low, high: head.high })
    }

    /// When the newest record of a partition was appended; `None` where there never was one.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn newest_time(&self, topic: Topic, partition: u32) -> Result<Option<Timestamp>, LogError> {
        let slot = self.shared.slot(topic, partition).ok_or_else(|| no_partition(topic, partition))?;
        let head = lock(&self.shared.heads)[slot];
        Ok((head.high > 0).then_some(head.last_time))
    }

    /// Reads records of one partition, offsets in `range`, in order, until its end or until `each` breaks. What lies
    /// at or above the high watermark of this moment is not waited for.
    ///
    /// # Errors
    /// There is no such partition; the range begins below the low watermark; the database fails.
    pub fn scan(
        &self,
        topic: Topic,
        partition: u32,
        range: std::ops::Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        let bounds = self.bounds(topic, partition)?;
        if range.start < bounds.low && range.start < range.end {
            let message = format!("offset {} is gone, the first one is {}", range.start, bounds.low);
            return Err(LogError::fatal(format!("reading {topic}, partition {partition}"), message));
        }
        self.shared.read(topic, partition, range.start..range.end.min(bounds.high), each)
    }

    /// Applies retention and compaction as of `now`. A thread does so every second unless the configuration says no.
    ///
    /// # Errors
    /// The database fails; what was not removed is removed the next time.
    pub fn apply_retention(&self, now: Timestamp) -> Result<(), LogError> {
        retention::apply(&self.shared, now, true)
    }
}

impl Append for EmbeddedLog {
    fn append(&self, records: &[OutRecord]) -> Result<Vec<u64>, LogError> {
        self.shared
            .write(records, &[])
            .map_err(|error| LogError::fatal("appending to the embedded log", error.message))
    }
}

impl Shared {
    /// Where [`Shared::heads`] has this partition.
    fn slot(&self, topic: Topic, partition: u32) -> Option<usize> {
        let partitions = self.config.partitions as usize;
        ((partition as usize) < partitions).then(|| topic.number() * partitions + partition as usize)
    }

    fn place(&self, slot: usize) -> Place {
        let partitions = self.config.partitions as usize;
        Place { topic: (slot / partitions) as u8, partition: (slot % partitions) as u32 }
    }

    /// Reads a range that lies below the high watermark.
    fn read(
        &self,
        topic: Topic,
        partition: u32,
        range: std::ops::Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        if range.is_empty() {
            return Ok(());
        }
        let broken =
            |message: String| LogError::fatal(format!("reading {topic}, partition {partition}"), message);
        let place = Place { topic: topic.number() as u8, partition };
        let mut iterator = self.iterate(&place.record(range.start), &place.record(range.end));
        let mut headers = Vec::new();
        while let Some((key, value)) = iterator.item() {
            let offset = codec::offset_of(key);
            let record = offset.and_then(|offset| codec::read_record(offset, value, &mut headers));
            let Some(record) = record else {
                return Err(broken(format!("a record is damaged: key {key:02x?}")));
            };
            if each(record).is_break() {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| broken(error.to_string()))
    }

    /// An iterator over `[from, to)`, at its first row.
    fn iterate(&self, from: &[u8], to: &[u8]) -> DBRawIterator<'_> {
        iterate(&self.db, from, to)
    }

    /// Waits until `ready` finds what it looks for among the heads, or for so long.
    fn wait<T>(&self, wait: Duration, ready: impl Fn(&[Head]) -> Option<T>) -> Option<T> {
        let deadline = std::time::Instant::now() + wait;
        let mut heads = lock(&self.heads);
        loop {
            if let Some(found) = ready(&heads) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return None;
            }
            heads = self.grown.wait_timeout(heads, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn iterate<'a>(db: &'a DB, from: &[u8], to: &[u8]) -> DBRawIterator<'a> {
    let mut options = ReadOptions::default();
    // What is read once, in order, must not push out what is looked up.
    options.fill_cache(false);
    // Both bounds: a search from the end must not run on into the partition before.
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    let mut iterator = db.raw_iterator_opt(options);
    iterator.seek(from);
    iterator
}

fn no_partition(topic: Topic, partition: u32) -> LogError {
    LogError::fatal(format!("looking for {topic}, partition {partition}"), "there is no such partition")
}

fn options(write_buffer: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(write_buffer);
    options.set_max_write_buffer_number(3);
    options.set_max_background_jobs(2);
    options.set_max_total_wal_size(128 << 20);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_log_level(LogLevel::Warn);
    // A torn last write was never acknowledged and goes; damage anywhere else is refused, not skipped.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

/// Takes the lock of the directory and writes down who has it. The system lets go of it when the process ends.
fn claim(path: &Path) -> Result<File, LogError> {
    let failed = |error: std::io::Error| LogError::fatal("", error.to_string());
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path.join("owner"));
    let mut file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut who = String::new();
            let _ = file.read_to_string(&mut who);
            let who = if who.trim().is_empty() { "another process" } else { who.trim() };
            return Err(LogError::retriable("", format!("{who} has it open; one process at a time may")));
        }
        Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
    }
    let program = std::env::args().next().unwrap_or_default();
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "process {} ({program})", std::process::id()).map_err(failed)?;
    Ok(file)
}

fn check_format(db: &DB, partitions: u32) -> Result<(), LogError> {
    let failed = |error: rocksdb::Error| LogError::fatal("", error.to_string());
    match db.get(codec::FORMAT_KEY).map_err(failed)? {
        None => {
            if db.iterator(IteratorMode::Start).next().is_some() {
                return Err(LogError::fatal("", "the database there is not one of ours"));
            }
            let mut durable = rocksdb::WriteOptions::default();
            durable.set_sync(true);
            let row = codec::numbers([u64::from(FORMAT), u64::from(partitions)]);
            db.put_opt(codec::FORMAT_KEY, row, &durable).map_err(failed)
        }
        Some(row) => {
            // The format stands first whatever a newer version adds behind it.
            let [format] = row.get(..8).and_then(codec::read_numbers).unwrap_or([u64::MAX]);
            if format > u64::from(FORMAT) {
                let message = format!(
                    "it has format {format} and this version knows {FORMAT}: use the version that wrote it"
                );
                return Err(LogError::fatal("", message));
            }
            let [_, had] =
                codec::read_numbers(&row).ok_or_else(|| LogError::fatal("", "its first row is damaged"))?;
            if had != u64::from(partitions) {
                let message = format!(
                    "it has {had} partitions and the configuration says {partitions}: the number is fixed for life"
                );
                return Err(LogError::fatal("", message));
            }
            Ok(())
        }
    }
}

/// Finds the end of every partition: after its last record, or where retention noted that it ended.
fn find_heads(db: &DB, partitions: u32) -> Result<Vec<Head>, LogError> {
    let failed = |error: rocksdb::Error| LogError::fatal("", error.to_string());
    let mut heads = Vec::new();
    for topic in Topic::ALL {
        for partition in 0..partitions {
            let place = Place { topic: topic.number() as u8, partition };
            let mut head = Head {
                low: 0,
                high: 0,
                last_time: Timestamp::MIN,
                indexed: Timestamp::NEVER,
                dirty: if topic.compacted() { u64::MAX / 2 } else { 0 },
                clean: 0,
            };
            if let Some([low, next, time]) =
                db.get(place.limits()).map_err(failed)?.and_then(|row| codec::read_numbers(&row))
            {
                head = Head { low, high: next, last_time: Timestamp::from_millis(time as i64), ..head };
            }
            let mut rows = iterate(db, &place.record(0), &place.record(u64::MAX));
            rows.seek_to_last();
            if let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(&place.record(0)[..6]))
            {
                let offset = codec::offset_of(key).unwrap_or_default();
                head.high = head.high.max(offset + 1);
                let mut headers = Vec::new();
                if let Some(record) =
                    codec::read_record(offset, value, &mut headers).filter(|_| topic.stamped_by_log())
                {
                    head.last_time = head.last_time.max(record.timestamp);
                }
            }
            rows.status().map_err(failed)?;
            let mut times = iterate(db, &place.time(Timestamp::MIN), &place.time(Timestamp::MAX));
            times.seek_to_last();
            if let Some(time) = times.key().filter(|key| key.starts_with(&place.time(Timestamp::MIN)[..6])) {
                head.last_time = head.last_time.max(codec::time_of(time).unwrap_or(Timestamp::MIN));
            }
            times.status().map_err(failed)?;
            heads.push(head);
        }
    }
    Ok(heads)
}

/// The input topic of a slot in [`crate::log::Positions`].
fn input(index: usize) -> Topic {
    Topic::Input(InputTopic::ALL[index])
}
