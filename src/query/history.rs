//! What the query side keeps on disk: the rows of devices, where following stands, and the past: status changes,
//! alarms, connection log, outcomes of commands.
//!
//! One RocksDB, the write-ahead log off. What one journal entry says goes in one batch with the position behind it, so
//! that after a crash a whole prefix of entries is there; what is missing is followed again. Clocks, which move with
//! every heartbeat, are written at checkpoints only. The past is ordered by when it was concluded, which never goes back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rocksdb::compaction_filter::Decision;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Direction, FlushOptions, IteratorMode,
    Options, WriteBatch, WriteOptions,
};
use serde::{Deserialize, Serialize};

use crate::domain::clocks::LastActivity;
use crate::domain::effect::{AlarmState, Effect, EffectKind};
use crate::domain::time::Timestamp;
use crate::wire::output::{self, Format, Identity, Output, OutputKind};

/// The version of the layout on disk; another one is thrown away and made anew from the log.
const FORMAT: u32 = 1;
/// Bytes that are gathered before they become a file, and how many such files before they are merged.
const WRITE_BUFFER: usize = 32 << 20;
const LEVEL_ZERO: i32 = 16;
const META: &[u8] = b"m";
const ROW: u8 = b'r';
const OWN: u8 = b'o';
const CLOCKS: u8 = b'c';
const POSITION: u8 = b'p';
/// Ends the key of a device, which contains no control characters.
const END: u8 = 0;

crate::domain::event::words!(
    /// What the past of a device consists of.
    Past { Status = "status", Log = "connection-log", Alarm = "alarms", Audit = "audit" }
);

impl Past {
    const fn prefix(self) -> u8 {
        match self {
            Past::Status => b's',
            Past::Log => b'l',
            Past::Alarm => b'e',
            Past::Audit => b'u',
        }
    }

    const fn kind(self) -> OutputKind {
        match self {
            Past::Status => OutputKind::Status,
            Past::Log => OutputKind::ConnectionLog,
            Past::Alarm => OutputKind::Alarms,
            Past::Audit => OutputKind::Audit,
        }
    }
}

/// Alarms as they stand, by device and by tenant; the log by tenant; what concerns a partition.
const ALARM_OF_DEVICE: u8 = b'a';
const ALARM_OF_TENANT: u8 = b'A';
const LOG_OF_TENANT: u8 = b'L';
const OF_PARTITION: u8 = b'P';

/// The database failed, or what it holds is damaged.
#[derive(Debug, thiserror::Error)]
#[error("the query side's database: {action}: {message}")]
pub struct HistoryError {
    /// What was being done.
    pub action: &'static str,
    /// What the database said.
    pub message: String,
}

fn failed(action: &'static str) -> impl Fn(rocksdb::Error) -> HistoryError {
    move |error| HistoryError { action, message: error.to_string() }
}

/// How far one partition was followed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The last entry of the journal whose rows and outputs are kept.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// The last entry whose clocks are kept.
    pub clocks_seq: u64,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    owner: String,
}

/// Where a page of the past ends, and the next begins: behind this key.
pub type Place = Vec<u8>;

/// The database.
#[derive(Debug)]
pub struct History {
    db: DB,
    /// What was concluded before this moment is forgotten, in milliseconds since the epoch.
    horizon: Arc<AtomicI64>,
}

impl History {
    /// Opens, or makes, the database in `path` for the log that `owner` names. One of another log or layout, or one that
    /// cannot be opened, is thrown away: the log has everything. The second value says so.
    ///
    /// # Errors
    /// The disk fails.
    pub fn open(path: &Path, owner: &str) -> Result<(History, Option<String>), HistoryError> {
        let why = match History::open_at(path) {
            Ok(history) => match history.meta() {
                None => {
                    history.put_meta(owner)?;
                    return Ok((history, None));
                }
                Some(meta) if meta.format == FORMAT && meta.owner == owner => return Ok((history, None)),
                Some(meta) => format!("it is of {} (format {})", meta.owner, meta.format),
            },
            Err(error) if error.message.to_ascii_lowercase().contains("lock") => return Err(error),
            Err(error) => error.message,
        };
        std::fs::remove_dir_all(path)
            .map_err(|error| HistoryError { action: "removing it", message: error.to_string() })?;
        let history = History::open_at(path)?;
        history.put_meta(owner)?;
        Ok((history, Some(format!("{} is made anew from the log: {why}", path.display()))))
    }

    fn open_at(path: &Path) -> Result<History, HistoryError> {
        let horizon = Arc::new(AtomicI64::new(i64::MIN));
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_atomic_flush(true);
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_bytes_per_sync(1 << 20);
        let mut each = Options::default();
        each.set_write_buffer_size(WRITE_BUFFER);
        each.set_compression_type(DBCompressionType::Lz4);
        // Merged seldom: it was a sixth of the work of making a view anew. Reads look at a few files more.
        each.set_level_zero_file_num_compaction_trigger(LEVEL_ZERO);
        each.set_level_zero_slowdown_writes_trigger(3 * LEVEL_ZERO);
        each.set_level_zero_stop_writes_trigger(4 * LEVEL_ZERO);
        each.set_max_bytes_for_level_base((LEVEL_ZERO as u64) * (WRITE_BUFFER as u64));
        let mut past = each.clone();
        let limit = Arc::clone(&horizon);
        past.set_compaction_filter("horizon", move |_, key, value| {
            let is_over = is_over(key, value, limit.load(Ordering::Relaxed));
            if is_over { Decision::Remove } else { Decision::Keep }
        });
        let families =
            [ColumnFamilyDescriptor::new("default", each), ColumnFamilyDescriptor::new("past", past)];
        let db = DB::open_cf_descriptors(&options, path, families).map_err(failed("opening it"))?;
        Ok(History { db, horizon })
    }

    fn meta(&self) -> Option<Meta> {
        let bytes = self.db.get(META).ok()??;
        Some(serde_json::from_slice(&bytes).unwrap_or(Meta { format: 0, owner: "an unknown log".into() }))
    }

    fn put_meta(&self, owner: &str) -> Result<(), HistoryError> {
        let meta = serde_json::to_vec(&Meta { format: FORMAT, owner: owner.to_owned() });
        self.db.put(META, meta.unwrap_or_default()).map_err(failed("writing what it is of"))
    }

    fn past(&self) -> &ColumnFamily {
        self.db.cf_handle("past").expect("it is opened with this family")
    }

    /// Forgets what was concluded before this moment, as compaction comes by; it is not shown any more at once.
    pub fn forget_before(&self, horizon: Timestamp) {
        self.horizon.fetch_max(horizon.millis(), Ordering::Relaxed);
    }

    /// The earliest moment of the past that is still told.
    pub fn horizon(&self) -> Timestamp {
        Timestamp::restored(self.horizon.load(Ordering::Relaxed))
    }

    /// Begins a batch.
    pub fn batch(&self) -> Batch<'_> {
        Batch { history: self, batch: WriteBatch::default() }
    }

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// The disk fails.
    pub fn flush(&self) -> Result<(), HistoryError> {
        let families = [self.db.cf_handle("default"), self.db.cf_handle("past")];
        let families: Vec<&ColumnFamily> = families.into_iter().flatten().collect();
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(failed("making it durable"))
    }

    /// How far each partition was followed.
    ///
    /// # Errors
    /// The database fails.
    pub fn position(&self, partition: u32) -> Result<Option<Position>, HistoryError> {
        let found = self.db.get(numbered(POSITION, partition)).map_err(failed("reading a position"))?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Every row that was kept: partition, record key, value as on `devices.state`.
    ///
    /// # Errors
    /// The database fails.
    pub fn rows(&self, mut each: impl FnMut(u32, &str, &[u8])) -> Result<(), HistoryError> {
        for prefix in [ROW, OWN] {
            self.scan(None, &[prefix], |key, value| {
                let Some((partition, row)) = value.split_first_chunk::<4>() else { return };
                let name = if prefix == ROW { &key[1..] } else { key.get(5..).unwrap_or_default() };
                if let Ok(name) = std::str::from_utf8(name) {
                    each(u32::from_be_bytes(*partition), name, row);
                }
            })?;
        }
        Ok(())
    }

    /// The row of a device, as on `devices.state`.
    ///
    /// # Errors
    /// The database fails.
    pub fn row(&self, key: &str) -> Result<Option<Vec<u8>>, HistoryError> {
        let found = self.db.get(prefixed(ROW, key)).map_err(failed("reading a row"))?;
        Ok(found.and_then(|value| Some(value.split_first_chunk::<4>()?.1.to_vec())))
    }

    /// The clocks that the last checkpoint kept: partition, number, last message, activity and poll, and what set it.
    ///
    /// # Errors
    /// The database fails.
    pub fn clocks(
        &self,
        mut each: impl FnMut(u32, u32, [Timestamp; 3], LastActivity),
    ) -> Result<(), HistoryError> {
        self.scan(None, &[CLOCKS], |key, value| {
            let number = |at: usize| Some(u32::from_be_bytes(key.get(at..at + 4)?.try_into().ok()?));
            let time = |at: usize| {
                Some(Timestamp::restored(i64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?)))
            };
            let kind = || LastActivity::ALL.get(usize::from(*value.get(24)?)).copied();
            let read = || Some((number(1)?, number(5)?, [time(0)?, time(8)?, time(16)?], kind()?));
            if let Some((partition, number, times, kind)) = read() {
                each(partition, number, times, kind);
            }
        })
    }

    fn scan(
        &self,
        family: Option<&ColumnFamily>,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), HistoryError> {
        let mode = IteratorMode::From(prefix, Direction::Forward);
        let found = match family {
            Some(family) => self.db.iterator_cf(family, mode),
            None => self.db.iterator(mode),
        };
        for item in found {
            let (key, value) = item.map_err(failed("reading it"))?;
            if !key.starts_with(prefix) {
                break;
            }
            each(&key, &value);
        }
        Ok(())
    }

    /// Goes through keys that begin with `prefix`, latest first, from `before` down, until `each` breaks.
    fn backwards(
        &self,
        prefix: &[u8],
        before: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> std::ops::ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        let mode = IteratorMode::From(before, Direction::Reverse);
        for item in self.db.iterator_cf(self.past(), mode) {
            let (key, value) = item.map_err(failed("reading the past"))?;
            if &*key == before {
                continue;
            }
            if !key.starts_with(prefix) || each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The past of a device (`key`: its record key), latest first: what was concluded from `span.0` on and before
    /// `span.1`, behind `after`, at most `limit`, and what `keep` keeps. The second value is where the next page
    /// begins.
    ///
    /// # Errors
    /// The database fails.
    pub fn of_device(
        &self,
        what: Past,
        key: &str,
        span: (Timestamp, Timestamp),
        after: Option<&[u8]>,
        limit: usize,
        keep: impl Fn(&Output) -> bool,
    ) -> Result<(Vec<Output>, Option<Place>), HistoryError> {
        let mut prefix = prefixed(what.prefix(), key);
        prefix.push(END);
        self.page(&prefix, (span.0, span.1, self.horizon()), after, limit, |_, value| {
            output::decode(what.kind(), value).ok().filter(|output| keep(output))
        })
    }

    /// The connection log of a tenant's devices, latest first; as [`History::of_device`].
    ///
    /// # Errors
    /// The database fails.
    pub fn log_of_tenant(
        &self,
        tenant: &str,
        span: (Timestamp, Timestamp),
        after: Option<&[u8]>,
        limit: usize,
        keep: impl Fn(&Output) -> bool,
    ) -> Result<(Vec<Output>, Option<Place>), HistoryError> {
        let mut prefix = prefixed(LOG_OF_TENANT, tenant);
        prefix.push(END);
        self.page(&prefix, (span.0, span.1, self.horizon()), after, limit, |_, key| {
            let value = self.db.get_cf(self.past(), key).ok()??;
            output::decode(OutputKind::ConnectionLog, &value).ok().filter(|output| keep(output))
        })
    }

    /// The alarms of a tenant, or of one device, each as it stands; by the time when they were raised, latest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn alarms(
        &self,
        tenant: &str,
        device_id: Option<&str>,
        span: (Timestamp, Timestamp),
        after: Option<&[u8]>,
        limit: usize,
        keep: impl Fn(&Output) -> bool,
    ) -> Result<(Vec<Output>, Option<Place>), HistoryError> {
        let prefix = alarm_prefix(tenant, device_id);
        let horizon = self.horizon();
        // An open alarm is told however long ago it was raised.
        self.page(&prefix, (span.0, span.1, Timestamp::NEVER), after, limit, |_, value| {
            alarm_of(value, horizon).filter(|output| keep(output))
        })
    }

    /// Goes through the same alarms, the earliest or the latest first, until `each` breaks: for those who count in pages,
    /// or sum up.
    ///
    /// # Errors
    /// The database fails.
    pub fn each_alarm(
        &self,
        tenant: &str,
        device_id: Option<&str>,
        span: (Timestamp, Timestamp),
        earliest_first: bool,
        mut each: impl FnMut(Output) -> std::ops::ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        use std::ops::ControlFlow::{Break, Continue};
        let prefix = alarm_prefix(tenant, device_id);
        let place_of = |at: Timestamp| [&*prefix, &ordered(at)].concat();
        let horizon = self.horizon();
        let mut visit = |value: &[u8]| alarm_of(value, horizon).map_or(Continue(()), &mut each);
        if !earliest_first {
            let from = place_of(span.0);
            return self.backwards(&prefix, &place_of(span.1), |key, value| {
                if key < &*from { Break(()) } else { visit(value) }
            });
        }
        let (from, to) = (place_of(span.0), place_of(span.1));
        for item in self.db.iterator_cf(self.past(), IteratorMode::From(&from, Direction::Forward)) {
            let (key, value) = item.map_err(failed("reading the past"))?;
            if !key.starts_with(&prefix) || *key >= *to || visit(&value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// One alarm as it stands: of this device, raised then, with this id.
    ///
    /// # Errors
    /// The database fails.
    pub fn alarm(
        &self,
        tenant: &str,
        device_id: &str,
        first_at: Timestamp,
        alarm_id: &str,
    ) -> Result<Option<Output>, HistoryError> {
        let mut key = alarm_prefix(tenant, Some(device_id));
        key.extend_from_slice(&ordered(first_at));
        key.extend_from_slice(alarm_id.as_bytes());
        let found = self.db.get_cf(self.past(), key).map_err(failed("reading an alarm"))?;
        Ok(found.and_then(|value| alarm_of(&value, self.horizon())))
    }

    /// What the monitor said of itself, latest first: policies, nodes, blind spells, gaps.
    ///
    /// # Errors
    /// The database fails.
    pub fn of_monitor(&self, limit: usize) -> Result<Vec<(u32, Output)>, HistoryError> {
        let span = (Timestamp::NEVER, Timestamp::MAX, self.horizon());
        let (found, _) = self.page(&[OF_PARTITION], span, None, limit, |key, value| {
            let partition = u32::from_be_bytes(key.get(9..13)?.try_into().ok()?);
            Some((partition, output::decode(OutputKind::Audit, value).ok()?))
        })?;
        Ok(found)
    }

    fn page<T>(
        &self,
        prefix: &[u8],
        (from, to, horizon): (Timestamp, Timestamp, Timestamp),
        after: Option<&[u8]>,
        limit: usize,
        read: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<(Vec<T>, Option<Place>), HistoryError> {
        let from = from.max(horizon);
        let mut before = prefix.to_vec();
        before.extend_from_slice(&ordered(to));
        if let Some(after) = after.filter(|after| after.starts_with(prefix) && **after < *before) {
            before = after.to_vec();
        }
        let mut found = Vec::new();
        let (mut last, mut next) = (None, None);
        self.backwards(prefix, &before, |key, value| {
            if time_of(key, prefix.len()).is_none_or(|at| at < from) {
                return std::ops::ControlFlow::Break(());
            }
            if let Some(item) = read(key, value) {
                if found.len() == limit {
                    next = last.take();
                    return std::ops::ControlFlow::Break(());
                }
                found.push(item);
                last = Some(key.to_vec());
            }
            std::ops::ControlFlow::Continue(())
        })?;
        Ok((found, next))
    }

    /// The first status change of a device that was concluded after `at`.
    ///
    /// # Errors
    /// The database fails.
    pub fn statuses_after(&self, key: &str, at: Timestamp) -> Result<Vec<Output>, HistoryError> {
        let mut prefix = prefixed(Past::Status.prefix(), key);
        prefix.push(END);
        let mut from = prefix.clone();
        from.extend_from_slice(&ordered(at.next()));
        let mut found = Vec::new();
        for item in self.db.iterator_cf(self.past(), IteratorMode::From(&from, Direction::Forward)) {
            let (key, value) = item.map_err(failed("reading the past"))?;
            if !key.starts_with(&prefix) || found.len() >= AFTER_MAX {
                break;
            }
            found.extend(output::decode(OutputKind::Status, &value).ok());
        }
        Ok(found)
    }
}

/// So many later changes are looked at for what a status was before.
const AFTER_MAX: usize = 1000;

/// What one entry writes, all of it or nothing.
pub struct Batch<'h> {
    history: &'h History,
    batch: WriteBatch,
}

impl Batch<'_> {
    /// The row of a device or of a partition itself, as on `devices.state`; without a value it is gone.
    pub fn row(&mut self, partition: u32, key: &str, value: Option<&[u8]>) {
        let name = if key.starts_with('/') {
            let mut name = numbered(OWN, partition);
            name.extend_from_slice(key.as_bytes());
            name
        } else {
            prefixed(ROW, key)
        };
        match value {
            Some(value) => self.batch.put(name, [&partition.to_be_bytes(), value].concat()),
            None => self.batch.delete(name),
        }
    }

    /// The clocks of a device.
    pub fn clocks(&mut self, partition: u32, number: u32, times: [Timestamp; 3], kind: LastActivity) {
        let mut key = numbered(CLOCKS, partition);
        key.extend_from_slice(&number.to_be_bytes());
        let mut value = Vec::with_capacity(25);
        for time in times {
            value.extend_from_slice(&time.millis().to_le_bytes());
        }
        value.push(kind as u8);
        self.batch.put(key, value);
    }

    /// How far a partition was followed.
    pub fn position(&mut self, partition: u32, position: &Position) {
        let value = serde_json::to_vec(position).unwrap_or_default();
        self.batch.put(numbered(POSITION, partition), value);
    }

    /// Something that happened: `seq` and `index` are its entry and its place in it.
    pub fn output(&mut self, partition: u32, seq: u64, index: usize, output: &Output) {
        let past = self.history.past();
        let effect = &output.effect;
        let value = bytes_of(&output.identity(), effect);
        if output.device_id.is_empty() {
            let mut key = vec![OF_PARTITION];
            key.extend_from_slice(&ordered(effect.recorded_at));
            key.extend_from_slice(&partition.to_be_bytes());
            key.extend_from_slice(&place(seq, index));
            self.batch.put_cf(past, key, value);
            return;
        }
        let what = match &effect.kind {
            EffectKind::Status(_) => Past::Status,
            EffectKind::Log(_) => Past::Log,
            EffectKind::Alarm(_) => Past::Alarm,
            EffectKind::Audit(_) => Past::Audit,
        };
        let name = format!("{}/{}", output.tenant, output.device_id);
        let mut key = prefixed(what.prefix(), &name);
        key.push(END);
        key.extend_from_slice(&ordered(effect.recorded_at));
        key.extend_from_slice(&place(seq, index));
        if let EffectKind::Alarm(alarm) = &effect.kind {
            for (prefix, name) in [(ALARM_OF_DEVICE, &name), (ALARM_OF_TENANT, &output.tenant)] {
                let mut key = prefixed(prefix, name);
                key.push(END);
                key.extend_from_slice(&ordered(alarm.first_at));
                key.extend_from_slice(alarm.alarm_id.as_bytes());
                self.batch.put_cf(past, key, &value);
            }
        }
        if what == Past::Log {
            let mut index_key = prefixed(LOG_OF_TENANT, &output.tenant);
            index_key.push(END);
            index_key.extend_from_slice(&ordered(effect.recorded_at));
            index_key.extend_from_slice(&partition.to_be_bytes());
            index_key.extend_from_slice(&place(seq, index));
            self.batch.put_cf(past, index_key, &key);
        }
        self.batch.put_cf(past, key, value);
    }

    /// Writes it.
    ///
    /// # Errors
    /// The database fails.
    pub fn write(self) -> Result<(), HistoryError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.history.db.write_opt(self.batch, &options).map_err(failed("writing to it"))
    }
}

fn bytes_of(identity: &Identity<'_>, effect: &Effect) -> Vec<u8> {
    let mut value = Vec::with_capacity(256);
    output::encode(Format::Protobuf, identity, effect, &mut value);
    value
}

fn prefixed(prefix: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 32);
    key.push(prefix);
    key.extend_from_slice(name.as_bytes());
    key
}

/// What the keys of a tenant's alarms, or of one device's, begin with.
fn alarm_prefix(tenant: &str, device_id: Option<&str>) -> Vec<u8> {
    let mut prefix = match device_id {
        Some(device_id) => prefixed(ALARM_OF_DEVICE, &format!("{tenant}/{device_id}")),
        None => prefixed(ALARM_OF_TENANT, tenant),
    };
    prefix.push(END);
    prefix
}

/// An alarm that is still told.
fn alarm_of(value: &[u8], horizon: Timestamp) -> Option<Output> {
    let output = output::decode(OutputKind::Alarms, value).ok()?;
    let is_open =
        matches!(&output.effect.kind, EffectKind::Alarm(alarm) if alarm.state != AlarmState::Cleared);
    (is_open || output.effect.recorded_at >= horizon).then_some(output)
}

fn numbered(prefix: u8, partition: u32) -> Vec<u8> {
    let mut key = vec![prefix];
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// A time in bytes that sort as times do; never first.
fn ordered(at: Timestamp) -> [u8; 8] {
    ((at.millis() as u64) ^ (1 << 63)).to_be_bytes()
}

fn place(seq: u64, index: usize) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&seq.to_be_bytes());
    place[8..].copy_from_slice(&(index as u32).to_be_bytes());
    place
}

fn time_of(key: &[u8], at: usize) -> Option<Timestamp> {
    let bytes: [u8; 8] = key.get(at..at + 8)?.try_into().ok()?;
    Some(Timestamp::restored((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64))
}

/// Whether something of the past lies before the horizon. Alarms that are not cleared stay.
fn is_over(key: &[u8], value: &[u8], horizon: i64) -> bool {
    let Some((&prefix, rest)) = key.split_first() else { return false };
    let at = match prefix {
        OF_PARTITION => Some(1),
        _ => rest.iter().position(|byte| *byte == END).map(|end| end + 2),
    };
    let Some(at) = at.and_then(|at| time_of(key, at)) else { return false };
    if at.millis() >= horizon {
        return false;
    }
    if matches!(prefix, ALARM_OF_DEVICE | ALARM_OF_TENANT) {
        return output::decode(OutputKind::Alarms, value).is_ok_and(|output| match &output.effect.kind {
            EffectKind::Alarm(alarm) => {
                alarm.state == AlarmState::Cleared && output.effect.recorded_at.millis() < horizon
            }
            _ => true,
        });
    }
    true
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
