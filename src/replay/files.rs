//! An export on disk: a directory with a manifest, and a file of JSON Lines for each topic and partition.
//!
//! `manifest.json` says what is in it (see [`Manifest`]). `<topic>-<partition>.jsonl` has one record a line:
//! `{"offset":7,"time":1767225600000,"key":"acme/pump-1","value":"{…}","headers":[["id","…"]]}`, the time in
//! milliseconds since the Unix epoch, no key or value where there is none, bytes that are no UTF-8 as `{"hex":"00ff"}`.
//! `anchor-<partition>.jsonl` has the rows of the state from which the span begins, in the same form.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;
use crate::engine::journal::Head;
use crate::engine::sweep::Sweep;
use crate::log::Archive;
use crate::log::Bounds;
use crate::log::Committed;
use crate::log::Header;
use crate::log::LogError;
use crate::log::Positions;
use crate::log::Records;
use crate::log::ScanControl;
use crate::log::Scanned;
use crate::log::Topic;

use super::derive::Anchor;

/// The format of what is written here; a newer one is refused.
pub const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";

/// What an export says of itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The program that wrote it.
    pub program: String,
    /// Partitions that the log has, whether they were exported or not.
    pub partitions: u32,
    /// The real name of each topic, by the word that files have.
    pub topics: BTreeMap<String, String>,
    /// The span that was asked for, as RFC 3339; absent: everything.
    pub from: Option<String>,
    /// Its end.
    pub to: Option<String>,
    /// Each partition that was exported.
    pub parts: Vec<Part>,
}

/// A partition of an export.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Its number.
    pub partition: u32,
    /// The last entry that was exported, as the metadata of offsets have it; absent if there was none.
    pub head: Option<String>,
    /// Entries that were exported.
    pub entries: u64,
    /// The state before the first of them; absent where that is entry 1, or not known.
    pub anchor: Option<AnchorPart>,
    /// What the files hold, by the word of the topic.
    pub files: BTreeMap<String, Extent>,
}

/// What one file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Extent {
    /// Retention had removed what lay below this offset before the export; 0: nothing that belongs to it.
    pub low: u64,
    /// One past the last offset.
    pub to: u64,
    /// Lines.
    pub records: u64,
}

/// Where the state stands that an export begins with.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnchorPart {
    /// Its entry.
    pub head: String,
    /// Input offsets after it.
    pub positions: Positions,
    /// Its clock.
    pub clock_ms: i64,
    /// Where the sweep stood: the next number, the clock at its start, the entry in which it began, the floor.
    pub sweep: (u32, i64, u64, u64),
}

/// What went wrong with the files of an export.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file system failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no export, or a newer one.
    #[error("{}: {what}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FilesError + use<> {
    let path = path.to_path_buf();
    move |source| FilesError::Io { action, path, source }
}

/// The word of a topic in the names of files.
pub fn word(topic: Topic) -> &'static str {
    topic.default_name().trim_start_matches("devices.")
}

impl Manifest {
    /// Reads that of a directory.
    ///
    /// # Errors
    /// There is none, or one that this program does not know.
    pub fn read(dir: &Path) -> Result<Manifest, FilesError> {
        let path = dir.join(MANIFEST);
        let text = std::fs::read(&path).map_err(io("cannot read", &path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| FilesError::Manifest {
            path: path.clone(),
            what: format!("it is no manifest of an export: {error}"),
        })?;
        if manifest.format > FORMAT {
            let what = format!(
                "it has format {} and this program knows {FORMAT}: use the newer program",
                manifest.format
            );
            return Err(FilesError::Manifest { path, what });
        }
        Ok(manifest)
    }

    /// Writes it; last, so that an export that was cut short has none.
    ///
    /// # Errors
    /// The file system fails.
    pub fn write(&self, dir: &Path) -> Result<(), FilesError> {
        let path = dir.join(MANIFEST);
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest is plain data");
        text.push(b'\n');
        std::fs::write(&path, text).map_err(io("cannot write", &path))
    }

    /// The anchor of a partition, if it has one.
    ///
    /// # Errors
    /// The manifest says of it what cannot be.
    pub fn anchor(&self, dir: &Path, partition: u32) -> Result<Option<Anchor>, FilesError> {
        let Some(part) = self.parts.iter().find(|part| part.partition == partition) else { return Ok(None) };
        let Some(anchor) = &part.anchor else { return Ok(None) };
        let head = Head::from_metadata(&anchor.head).ok_or_else(|| FilesError::Manifest {
            path: dir.join(MANIFEST),
            what: format!("the head of the anchor of partition {partition} cannot be read"),
        })?;
        let (next, started_at, started_seq, floor) = anchor.sweep;
        let path = anchor_path(dir, partition);
        Ok(Some(Anchor {
            head,
            positions: anchor.positions,
            clock: Timestamp::restored(anchor.clock_ms),
            sweep: Sweep { next, started_at, started_seq, floor },
            load: Box::new(move |recovery| {
                let mut lines = Lines::open(&path).map_err(|error| error.to_string())?;
                while let Some(line) = lines.next().map_err(|error| error.to_string())? {
                    let key = line.key.map(Bytes::into_bytes).unwrap_or_default();
                    let key = String::from_utf8(key).map_err(|_| "a key is no text".to_owned())?;
                    let value = line.value.map(Bytes::into_bytes);
                    recovery.row(&key, value.as_deref()).map_err(|error| error.to_string())?;
                }
                Ok(())
            }),
        }))
    }
}

fn path_of(dir: &Path, topic: Topic, partition: u32) -> PathBuf {
    dir.join(format!("{}-{partition}.jsonl", word(topic)))
}

fn anchor_path(dir: &Path, partition: u32) -> PathBuf {
    dir.join(format!("anchor-{partition}.jsonl"))
}

/// Bytes as text where they are, else as hexadecimal digits.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Binary { hex: String },
}

impl Bytes {
    fn new(bytes: &[u8]) -> Bytes {
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.to_owned()),
            Err(_) => Bytes::Binary { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Bytes::Text(text) => text.into_bytes(),
            // A digit that is none gives other bytes, which is what a verification then finds.
            Bytes::Binary { hex } => hex
                .as_bytes()
                .chunks(2)
                .map(|pair| {
                    let digits = std::str::from_utf8(pair).unwrap_or_default();
                    u8::from_str_radix(digits, 16).unwrap_or_default()
                })
                .collect(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    offset: u64,
    time: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Bytes)>,
}

/// Writes the files of one partition.
pub struct PartWriter {
    dir: PathBuf,
    partition: u32,
    files: BTreeMap<Topic, (BufWriter<File>, Extent)>,
}

impl PartWriter {
    /// Makes the files; there must be none yet.
    ///
    /// # Errors
    /// The file system fails.
    pub fn create(dir: &Path, partition: u32) -> Result<PartWriter, FilesError> {
        let mut files = BTreeMap::new();
        for topic in Topic::ALL {
            let path = path_of(dir, topic, partition);
            let file = File::create_new(&path).map_err(io("cannot make", &path))?;
            files.insert(topic, (BufWriter::new(file), Extent::default()));
        }
        Ok(PartWriter { dir: dir.into(), partition, files })
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The file system fails.
    pub fn record(&mut self, topic: Topic, record: &Scanned<'_>) -> Result<(), FilesError> {
        let (file, extent) = self.files.get_mut(&topic).expect("every topic has a file");
        extent.to = record.offset + 1;
        extent.records += 1;
        write_line(file, record).map_err(io("cannot write", &path_of(&self.dir, topic, self.partition)))
    }

    /// Says that retention had removed what lay below `low`.
    pub fn set_low(&mut self, topic: Topic, low: u64) {
        let (_, extent) = self.files.get_mut(&topic).expect("every topic has a file");
        extent.low = low;
        extent.to = extent.to.max(low);
    }

    /// Writes the rows of the state that the span begins with.
    ///
    /// # Errors
    /// The file system fails.
    pub fn anchor(&self, rows: impl Iterator<Item = (String, Vec<u8>)>) -> Result<(), FilesError> {
        let path = anchor_path(&self.dir, self.partition);
        let mut file = BufWriter::new(File::create_new(&path).map_err(io("cannot make", &path))?);
        for (offset, (key, value)) in rows.enumerate() {
            let record = Scanned {
                offset: offset as u64,
                timestamp: Timestamp::from_millis(0),
                key: Some(key.as_bytes()),
                value: Some(&value),
                headers: &[],
            };
            write_line(&mut file, &record).map_err(io("cannot write", &path))?;
        }
        file.flush().map_err(io("cannot write", &path))
    }

    /// Ends the files; what they hold.
    ///
    /// # Errors
    /// The file system fails.
    pub fn finish(self) -> Result<BTreeMap<String, Extent>, FilesError> {
        let mut extents = BTreeMap::new();
        for (topic, (mut file, extent)) in self.files {
            file.flush().map_err(io("cannot write", &path_of(&self.dir, topic, self.partition)))?;
            extents.insert(word(topic).to_owned(), extent);
        }
        Ok(extents)
    }
}

fn write_line(file: &mut impl Write, record: &Scanned<'_>) -> std::io::Result<()> {
    let line = Line {
        offset: record.offset,
        time: record.timestamp.millis(),
        key: record.key.map(Bytes::new),
        value: record.value.map(Bytes::new),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), Bytes::new(value))).collect(),
    };
    serde_json::to_writer(&mut *file, &line)?;
    file.write_all(b"\n")
}

/// The lines of a file, from any of those seen so far.
struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    /// Of every so many lines: its offset, its number and where it stands.
    marks: Vec<(u64, u64, u64)>,
    /// Number of the next line, from 0, and where it stands.
    number: u64,
    place: u64,
    text: Vec<u8>,
    /// The line that was read last is the next one again.
    kept: Option<Line>,
}

const MARK_EVERY: u64 = 1_000;

impl Lines {
    fn open(path: &Path) -> Result<Lines, FilesError> {
        let file = File::open(path).map_err(io("cannot read", path))?;
        let reader = BufReader::with_capacity(1 << 16, file);
        let text = Vec::new();
        Ok(Lines { reader, path: path.into(), marks: Vec::new(), number: 0, place: 0, text, kept: None })
    }

    fn next(&mut self) -> Result<Option<Line>, FilesError> {
        if let Some(line) = self.kept.take() {
            return Ok(Some(line));
        }
        self.text.clear();
        let length = self.reader.read_until(b'\n', &mut self.text).map_err(io("cannot read", &self.path))?;
        if length == 0 {
            return Ok(None);
        }
        let line: Line = serde_json::from_slice(&self.text).map_err(|error| FilesError::Manifest {
            path: self.path.clone(),
            what: format!("line {} is no record: {error}", self.number + 1),
        })?;
        if self.number.is_multiple_of(MARK_EVERY)
            && self.marks.last().is_none_or(|(offset, ..)| *offset < line.offset)
        {
            self.marks.push((line.offset, self.number, self.place));
        }
        self.number += 1;
        self.place += length as u64;
        Ok(Some(line))
    }

    /// Goes to the first line at or after `offset`.
    fn seek(&mut self, offset: u64) -> Result<(), FilesError> {
        let before = self.marks.iter().rev().find(|(mark, ..)| *mark <= offset).or(self.marks.first());
        if let Some((_, number, place)) = before.copied() {
            self.reader.seek(SeekFrom::Start(place)).map_err(io("cannot read", &self.path))?;
            (self.number, self.place, self.kept) = (number, place, None);
        }
        Ok(())
    }
}

/// Reads an export.
pub struct FileArchive {
    dir: PathBuf,
    manifest: Arc<Manifest>,
    /// Open files, and the offset that each has come to.
    open: BTreeMap<(Topic, u32), (Lines, u64)>,
}

impl FileArchive {
    /// Of the export in `dir`, whose manifest this is.
    pub fn new(dir: &Path, manifest: Arc<Manifest>) -> FileArchive {
        FileArchive { dir: dir.into(), manifest, open: BTreeMap::new() }
    }

    fn part(&self, partition: u32) -> Result<&Part, LogError> {
        let part = self.manifest.parts.iter().find(|part| part.partition == partition);
        part.ok_or_else(|| LogError::fatal("reading an export", format!("it has no partition {partition}")))
    }

    fn extent(&self, topic: Topic, partition: u32) -> Result<Extent, LogError> {
        Ok(self.part(partition)?.files.get(word(topic)).copied().unwrap_or_default())
    }
}

impl Records for FileArchive {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        let Extent { low, to, .. } = self.extent(topic, partition)?;
        Ok(Bounds { low, high: to })
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        let failed = |error: FilesError| LogError::fatal("reading an export", error.to_string());
        let path = path_of(&self.dir, topic, partition);
        let (lines, reached) = match self.open.entry((topic, partition)) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert((Lines::open(&path).map_err(failed)?, 0))
            }
        };
        if range.start < *reached {
            lines.seek(range.start).map_err(failed)?;
        }
        while let Some(line) = lines.next().map_err(failed)? {
            *reached = line.offset + 1;
            if line.offset < range.start {
                continue;
            }
            if line.offset >= range.end {
                *reached = line.offset;
                lines.kept = Some(line);
                break;
            }
            let (key, value) = (line.key.map(Bytes::into_bytes), line.value.map(Bytes::into_bytes));
            let headers: Vec<Header> =
                line.headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            let record = Scanned {
                offset: line.offset,
                timestamp: Timestamp::from_millis(line.time),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            };
            if let ControlFlow::Break(()) = each(record) {
                break;
            }
        }
        Ok(())
    }
}

impl Archive for FileArchive {
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        Ok(self.extent(topic, partition)?.to)
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        let mut offsets = [const { None }; crate::log::INPUTS];
        offsets[0] = self.part(partition)?.head.clone().map(|head| (0, head));
        Ok(Committed { partition, offsets })
    }
}
