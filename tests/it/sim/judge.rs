//! The judge: what must hold of a run, however it went. It reads what is on the brokers, as any reader of committed
//! records could, and derives the rest by one partition that never stopped (`reference/engine.md` §9.4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::Timestamp;
use lastseen::engine::journal::{self, Entry, Head};
use lastseen::engine::recovery::{Recovery, hash_of};
use lastseen::engine::step::{Input, Partition, Settings, Told};
use lastseen::engine::table::Kind;
use lastseen::log::{INPUTS, Inbox, OutRecord, Positions, Scanned, Topic};

use super::cluster::{Cluster, State, Stored};
use super::disk::Dir;

/// What must hold of this run.
#[derive(Clone, Debug)]
pub struct Expectations {
    pub settings: Arc<Settings>,
    /// Keys that nobody may call unavailable.
    pub steady: BTreeSet<String>,
    /// The upstream ends here, and they with it.
    pub steady_until: Timestamp,
    /// No clock of a leader strays: whatever arrived by an entry's clock must be in it or before it.
    pub clocks_agree: bool,
    /// All input must have been consumed.
    pub is_drained: bool,
}

/// What was found out about one partition.
pub struct Judged {
    pub entries: u64,
    /// The committed heads, by number from 1.
    pub heads: Vec<Head>,
    pub records: u64,
    pub outputs: u64,
    pub partition: Partition,
}

/// The outputs of a step: what is compared record for record.
const OUTPUTS: [Topic; 6] =
    [Topic::Status, Topic::Alarms, Topic::ConnectionLog, Topic::Audit, Topic::State, Topic::DeadLetter];

/// Judges a partition. The error says what is wrong.
pub fn judge(cluster: &Cluster, number: u32, expected: &Expectations) -> Result<Judged, String> {
    let mut readers: BTreeMap<Topic, std::vec::IntoIter<&Stored>> = OUTPUTS
        .iter()
        .map(|topic| (*topic, cluster.part(*topic, number).visible().collect::<Vec<_>>().into_iter()))
        .collect();
    let mut partition = Partition::new(number, expected.settings.clone(), 0);
    let mut judged_records = 0;
    let mut outputs = 0;
    let mut positions: Option<Positions> = None;
    let mut owner = (0, 0);
    let mut ids = BTreeSet::new();
    let mut heads = Vec::new();
    for stored in cluster.part(Topic::Journal, number).visible() {
        let entry = journal::open(stored.value.as_deref().unwrap_or_default()).map_err(|e| e.to_string())?;
        let place = format!("partition {number}, entry {} at {}", entry.entry.seq, stored.offset);
        follows(&partition, &entry, &mut owner).map_err(|what| format!("{place}: {what}"))?;
        let mut mine = positions.unwrap_or(entry.positions_before());
        goes_on(&entry, &mut mine).map_err(|what| format!("{place}: {what}"))?;
        if entry.positions() != Some(mine) {
            return Err(format!("{place}: its ranges end at {mine:?}, it says {:?}", entry.positions()));
        }
        positions = Some(mine);
        let inbox = consumed(cluster, number, &entry).map_err(|what| format!("{place}: {what}"))?;
        judged_records += inbox.slots.len() as u64;
        let told = derive(&mut partition, &entry, &inbox, mine);
        let Some(told) = told else {
            return Err(format!("{place}: derived, nothing happened, but there is {:?}", entry.entry));
        };
        for record in told.records.iter().filter(|record| record.topic != Topic::Journal) {
            let Some(found) = readers.get_mut(&record.topic).and_then(Iterator::next) else {
                return Err(format!("{place}: {} of {} is missing", short(record), record.topic));
            };
            same(record, found)
                .map_err(|what| format!("{place}: {} at {}: {what}", record.topic, found.offset))?;
            outputs += 1;
            if matches!(record.topic, Topic::Status | Topic::Alarms | Topic::ConnectionLog) {
                let id = record.headers.iter().find(|(name, _)| name == "id").map(|(_, id)| id.clone());
                if !ids.insert((record.topic, id)) {
                    return Err(format!("{place}: an id twice: {}", short(record)));
                }
            }
            false_alarm(record, expected).map_err(|what| format!("{place}: {what}"))?;
        }
        heads.push(entry.head());
        sealed_alike(&told, &entry).map_err(|what| format!("{place}: {what}"))?;
        let tally = &told.tally;
        let accounted =
            tally.applied + tally.ignored.iter().sum::<u64>() + tally.rejected.iter().sum::<u64>();
        if accounted != inbox.slots.len() as u64 {
            return Err(format!("{place}: {accounted} of {} records accounted for", inbox.slots.len()));
        }
        if expected.clocks_agree && !told.full {
            left_behind(cluster, number, &entry, mine).map_err(|what| format!("{place}: {what}"))?;
        }
    }
    for (topic, reader) in &mut readers {
        if let Some(left) = reader.next() {
            return Err(format!("partition {number}: {topic} at {}: no entry tells of it", left.offset));
        }
    }
    committed(cluster, number, &partition, positions)?;
    if expected.is_drained {
        drained(cluster, number, positions)?;
    }
    if hash_of(&partition) != partition.state_hash {
        return Err(format!("partition {number}: the state hash is not that of its rows"));
    }
    Ok(Judged { entries: partition.head.seq, heads, records: judged_records, outputs, partition })
}

/// The chain, and the epochs of its owners.
fn follows(partition: &Partition, entry: &Entry, owner: &mut (u64, u64)) -> Result<(), String> {
    let Head { seq, hash, .. } = partition.head;
    if entry.entry.seq != seq + 1 {
        return Err(format!("it follows entry {seq}"));
    }
    if seq > 0 && entry.previous() != hash {
        return Err(format!("it names {:?} as the one before, not {hash:?}", entry.previous()));
    }
    if !entry.clock().happened() {
        return Err("its clock was never read".into());
    }
    if entry.clock() < partition.core.clock {
        return Err(format!("the clock went back from {} to {}", partition.core.clock, entry.clock()));
    }
    let now = (entry.entry.epoch, entry.entry.nonce);
    if now != *owner && now.0 <= owner.0 {
        return Err(format!(
            "epoch and writer are {now:?} after {owner:?}: another owner without a new epoch"
        ));
    }
    *owner = now;
    Ok(())
}

/// Ranges join without a hole, but for what was accepted as lost.
fn goes_on(entry: &Entry, positions: &mut Positions) -> Result<(), String> {
    if let Some(gap) = entry.gap(*positions) {
        *positions = gap.to;
    }
    for range in &entry.entry.ranges {
        let position = positions.get_mut((range.topic as usize).wrapping_sub(1)).ok_or("no such input")?;
        if range.from != *position {
            return Err(format!("input {} goes on at {}, after {position}", range.topic, range.from));
        }
        *position = range.to;
    }
    Ok(())
}

/// The records of an entry's ranges, as they were read.
fn consumed(cluster: &Cluster, number: u32, entry: &Entry) -> Result<Inbox, String> {
    let mut inbox = Inbox::default();
    for range in &entry.entry.ranges {
        let index = (range.topic as usize).wrapping_sub(1);
        let topic = *InputTopic::ALL.get(index).ok_or("a topic that is no input")?;
        let part = cluster.part(Topic::Input(topic), number);
        if range.to > part.high {
            return Err(format!("{topic:?} up to {}, but there is only {}", range.to, part.high));
        }
        let mut count = 0;
        for record in &part.records[part.index_of(range.from)..part.index_of(range.to)] {
            match record.state {
                State::Visible => {
                    count += 1;
                    inbox.push(topic, number, show(record));
                }
                State::Open(_) => {
                    return Err(format!("{topic:?}: {} was open and is passed over", record.offset));
                }
                State::Aborted | State::Marker => {}
            }
        }
        if count != range.count {
            let Range { from, to } = Range { from: range.from, to: range.to };
            return Err(format!("{topic:?}: {} records of {from}..{to}, there are {count}", range.count));
        }
    }
    Ok(inbox)
}

struct Range {
    from: u64,
    to: u64,
}

fn show(record: &Stored) -> Scanned<'_> {
    Scanned {
        offset: record.offset,
        timestamp: record.time,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    }
}

/// The same step, by a partition that never stopped: only what each owner begins anew is begun anew.
fn derive(partition: &mut Partition, entry: &Entry, inbox: &Inbox, positions: Positions) -> Option<Told> {
    if partition.head.seq == 0 {
        partition.positions = entry.positions_before();
    }
    partition.head.epoch = entry.entry.epoch;
    partition.nonce = entry.entry.nonce;
    let mut queues: [Vec<_>; INPUTS] = Default::default();
    for slot in &inbox.slots {
        queues[slot.topic as usize].push(slot.clone());
    }
    let queues = queues.each_ref().map(|queue| &queue[..]);
    let gap = entry.gap(partition.positions);
    let input = Input::again(entry, queues, &inbox.arena, positions, gap.as_ref()).expect("a known reason");
    partition.step(&input)
}

/// The derived entry is the one that was written, byte for byte.
fn sealed_alike(told: &Told, entry: &Entry) -> Result<(), String> {
    if told.head == entry.head() {
        return Ok(());
    }
    let derived = told.records.last().and_then(|record| journal::open(record.value.as_deref()?).ok());
    Err(format!("derived, it is {:?}, not {:?}", derived.map(|derived| derived.entry), entry.entry))
}

fn short(record: &OutRecord) -> String {
    let text = String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"(deleted)")).into_owned();
    text.chars().take(200).collect()
}

fn same(derived: &OutRecord, found: &Stored) -> Result<(), String> {
    let ours = (&derived.key, &derived.value, &derived.headers, derived.timestamp);
    let theirs = (&found.key, &found.value, &found.headers, found.time);
    if ours == theirs {
        return Ok(());
    }
    let text = |value: &Option<Vec<u8>>| {
        String::from_utf8_lossy(value.as_deref().unwrap_or(b"(deleted)")).into_owned()
    };
    let key = text(&derived.key);
    Err(format!(
        "{key} of {}: derived {}, found {} of {}",
        derived.timestamp,
        text(&derived.value).escape_debug(),
        text(&found.value).escape_debug(),
        found.time
    ))
}

fn false_alarm(record: &OutRecord, expected: &Expectations) -> Result<(), String> {
    if record.topic != Topic::Status || record.timestamp > expected.steady_until {
        return Ok(());
    }
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
    let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
    if expected.steady.contains(&key) && value.contains(r#""to":"UNAVAILABLE""#) {
        return Err(format!("a false offline: {key} reports well within its interval, and yet {value}"));
    }
    Ok(())
}

/// Nothing that arrived before an entry's clock may be left to a later one: that would be a verdict without the evidence.
fn left_behind(cluster: &Cluster, number: u32, entry: &Entry, to: Positions) -> Result<(), String> {
    for (index, topic) in InputTopic::ALL.iter().enumerate() {
        let part = cluster.part(Topic::Input(*topic), number);
        let rest = part.records[part.index_of(to[index])..].iter();
        let late = rest
            .take_while(|record| record.time < entry.clock())
            .find(|record| matches!(record.state, State::Visible | State::Open(_)));
        if let Some(late) = late {
            return Err(format!(
                "{topic:?} at {}, appended at {}, is not in it, and its clock is {}",
                late.offset,
                late.time,
                entry.clock()
            ));
        }
    }
    Ok(())
}

/// The group's offsets are where the journal ends.
fn committed(
    cluster: &Cluster,
    number: u32,
    partition: &Partition,
    positions: Option<Positions>,
) -> Result<(), String> {
    let offsets = &cluster.offsets[number as usize].stable;
    let Some(positions) = positions else { return Ok(()) };
    for (index, known) in offsets.iter().enumerate() {
        let Some((offset, metadata)) = known else {
            return Err(format!("partition {number}: a journal, but no offsets"));
        };
        let head = Head::from_metadata(metadata);
        if *offset != positions[index] || head != Some(partition.head) {
            return Err(format!(
                "partition {number}: the journal ends at {positions:?} with {:?}, the offsets say {offset} with {metadata}",
                partition.head
            ));
        }
    }
    Ok(())
}

fn drained(cluster: &Cluster, number: u32, positions: Option<Positions>) -> Result<(), String> {
    let positions = positions.unwrap_or_default();
    for (index, topic) in InputTopic::ALL.iter().enumerate() {
        let part = cluster.part(Topic::Input(*topic), number);
        let mut left = part.records[part.index_of(positions[index])..].iter();
        if let Some(record) = left.find(|record| record.state == State::Visible) {
            return Err(format!("partition {number}: {topic:?} at {} was never consumed", record.offset));
        }
    }
    Ok(())
}

/// Every checkpoint is of a committed entry, and the newest one is the partition that never stopped. An older one may want what
/// retention took meanwhile; a worker throws it away.
pub fn checkpoint(cluster: &Cluster, judged: &Judged, dir: &Dir) -> Result<(), String> {
    let truth = &judged.partition;
    let Some(meta) = &dir.meta else { return Ok(()) };
    let head = meta.head().ok_or("a checkpoint without a head")?;
    // Its epoch may be that of whoever restored it and wrote it again.
    let known = judged.heads.get(head.seq.wrapping_sub(1) as usize);
    if known.is_none_or(|known| known.hash != head.hash) {
        let number = truth.number;
        return Err(format!("partition {number}: a checkpoint of what was never committed: {head:?}"));
    }
    if head.hash == truth.head.hash { recovered(cluster, judged, Some(dir)) } else { Ok(()) }
}

/// A partition recovered from what is left of rows and journal, and from a checkpoint if there is one, must be the one
/// that never stopped, row for row.
pub fn recovered(cluster: &Cluster, judged: &Judged, dir: Option<&Dir>) -> Result<(), String> {
    let truth = &judged.partition;
    let number = truth.number;
    let mut recovery = Recovery::new(number, truth.settings.clone(), 1);
    let mut from = (0, 0);
    if let Some(dir) = dir {
        let Some(meta) = &dir.meta else { return Ok(()) };
        let head = meta.head().ok_or("a checkpoint without a head")?;
        for (key, value) in &dir.rows {
            recovery.row(key, Some(value)).map_err(|error| error.to_string())?;
        }
        recovery.stands_at(head, meta.positions, Timestamp::from_millis(meta.clock_ms), meta.sweep());
        from = (meta.state_offset, meta.journal_offset);
    }
    let state = cluster.part(Topic::State, number);
    for record in state.visible().filter(|record| !record.gone && record.offset >= from.0) {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        recovery.row(&key, record.value.as_deref()).map_err(|error| error.to_string())?;
    }
    let entries = cluster.part(Topic::Journal, number);
    for record in entries.visible().filter(|record| !record.gone && record.offset >= from.1) {
        let entry = journal::open(record.value.as_deref().unwrap_or_default()).map_err(|e| e.to_string())?;
        recovery.entry(entry).map_err(|error| error.to_string())?;
    }
    let what = if dir.is_some() { "from a checkpoint" } else { "from the log alone" };
    let recovered = recovery
        .finish(Some(truth.head))
        .map_err(|error| format!("partition {number}, recovered {what}: {error}"))?;
    compare(&recovered, truth).map_err(|error| format!("partition {number}, recovered {what}: {error}"))
}

fn compare(ours: &Partition, truth: &Partition) -> Result<(), String> {
    let facts = |partition: &Partition| {
        let core = &partition.core;
        let rows = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            core.nodes,
            core.policy,
            core.sight,
            core.sequence(),
            partition.sweep,
            partition.habit
        );
        (core.clock, partition.state_hash, rows, core.table.high())
    };
    if facts(ours) != facts(truth) {
        return Err(format!("{:?} differs from {:?}", facts(ours), facts(truth)));
    }
    for number in 0..truth.core.table.high() {
        let (a, b) = (ours.core.table.slot(number), truth.core.table.slot(number));
        if (a.kind(), a.row(), a.clocks()) != (b.kind(), b.row(), b.clocks())
            || (a.kind() != Kind::Free && a.key() != b.key())
        {
            return Err(format!("device {number} is {a:?}, not {b:?}"));
        }
    }
    Ok(())
}
