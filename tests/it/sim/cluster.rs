//! The brokers of the simulation: partitions, transactions and their coordinator, the group's offsets.
//!
//! What is modelled is what can be seen from outside: a transaction is decided at one moment, and its markers arrive at
//! every partition at another, take an offset there and move the last stable offset; the group's offsets stay pending
//! until theirs has arrived; who registers a transactional id fences whoever had it. `tests/it/kafka/histories.rs`
//! holds the same histories against real Kafka.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lastseen::domain::time::Timestamp;
use lastseen::log::{Header, INPUTS, OutRecord, Positions, TOPICS, Topic};

use super::group::Group;
use super::rng::Rng;
use super::trace::Trace;
use super::workload::Workload;

/// Milliseconds since the beginning of a run.
pub type Ms = u64;

/// What the beginning of a run is called.
pub const START: i64 = 1_767_225_600_000;

/// Leaders of partitions, each with a clock of its own.
pub const LEADERS: usize = 3;

pub type TxnId = usize;

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The transaction before is not through; ask again.
    Concurrent,
    /// Another producer has this transactional id, or the coordinator gave this one up.
    Fenced,
    /// The member is not in the group, or not in this generation of it.
    Generation,
    /// Offsets are pending; ask again.
    Unstable,
    /// There is no such partition.
    Unknown,
}

/// A record as a partition keeps it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub offset: u64,
    pub time: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    pub state: State,
    /// Retention or compaction took it; kept for the judge alone.
    pub gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Open(TxnId),
    Visible,
    Aborted,
    Marker,
}

#[derive(Debug, Default)]
pub struct Part {
    pub low: u64,
    pub high: u64,
    pub records: Vec<Stored>,
    /// Transactions without a marker here, with their first offsets.
    pub open: Vec<(TxnId, u64)>,
    pub leader: usize,
}

impl Part {
    /// Everything below is decided.
    pub fn stable(&self) -> u64 {
        self.open.iter().map(|(_, first)| *first).min().unwrap_or(self.high)
    }

    /// Where the first record at or after `offset` stands.
    pub fn index_of(&self, offset: u64) -> usize {
        self.records.partition_point(|record| record.offset < offset)
    }

    /// What a reader of committed records may see.
    pub fn visible(&self) -> impl Iterator<Item = &Stored> {
        self.records.iter().filter(|record| record.state == State::Visible)
    }

    /// Without a record it is a marker.
    fn push(&mut self, time: Timestamp, record: Option<&OutRecord>, state: State) -> u64 {
        let offset = self.high;
        self.high += 1;
        let (key, value, headers) = match record.cloned() {
            Some(OutRecord { key, value, headers, .. }) => (key, value, headers),
            None => (None, None, Vec::new()),
        };
        self.records.push(Stored { offset, time, key, value, headers, state, gone: false });
        offset
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Ongoing,
    /// Decided: true is commit.
    Decided(bool),
    Done(bool),
}

#[derive(Debug)]
pub struct Txn {
    pub phase: Phase,
    pub started: Ms,
    pub parts: BTreeSet<usize>,
    /// Markers on the way, that of the group's offsets included.
    pub waiting: usize,
    pub has_offsets: bool,
}

/// What the coordinator knows of a transactional id.
#[derive(Debug, Default)]
pub struct Producer {
    pub epoch: u32,
    pub current: Option<TxnId>,
    pub timeout: Ms,
}

#[derive(Clone, Debug, Default)]
pub struct Offsets {
    pub stable: [Option<(u64, String)>; INPUTS],
    pub pending: Vec<(TxnId, Positions, String)>,
}

/// What is to happen at some moment.
#[derive(Clone, Debug)]
pub enum Event {
    Marker(TxnId, usize),
    OffsetMarker(TxnId),
    /// Transactions that took too long are aborted, members that are not heard of are put out.
    Scan,
    Upstream(super::workload::Step),
}

/// Settings of the brokers.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    pub partitions: u32,
    /// Every how many markers one comes late.
    pub late_markers: u32,
    pub session_timeout: Ms,
    pub rebalance_timeout: Ms,
    /// The coordinator forgets to fence: a broken variant.
    pub no_fence: bool,
}

pub struct Cluster {
    pub now: Ms,
    pub shown: Arc<AtomicU64>,
    pub rng: Rng,
    pub settings: BrokerSettings,
    pub parts: Vec<Part>,
    pub txns: Vec<Txn>,
    pub producers: BTreeMap<String, Producer>,
    pub offsets: Vec<Offsets>,
    pub group: Group,
    pub skew: [i64; LEADERS],
    /// An input of which nothing is delivered until then.
    pub held: Option<(usize, Ms)>,
    pub workload: Option<Workload>,
    pub trace: Trace,
    /// Requests, markers, records: what the speed of the simulation is told in.
    pub steps: u64,
    events: BinaryHeap<Reverse<(Ms, u64)>>,
    payload: BTreeMap<u64, Event>,
    order: u64,
}

impl Cluster {
    pub fn new(settings: BrokerSettings, seed: u64, trace: Trace) -> Cluster {
        let mut rng = Rng::new(seed, 1);
        let count = TOPICS * settings.partitions as usize;
        let mut parts: Vec<Part> = (0..count).map(|_| Part::default()).collect();
        for part in &mut parts {
            part.leader = rng.below(LEADERS as u64) as usize;
        }
        let mut cluster = Cluster {
            now: 0,
            shown: Arc::default(),
            rng,
            parts,
            txns: Vec::new(),
            producers: BTreeMap::new(),
            offsets: vec![Offsets::default(); settings.partitions as usize],
            group: Group::new(settings.session_timeout, settings.rebalance_timeout),
            skew: [0; LEADERS],
            held: None,
            workload: None,
            trace,
            steps: 0,
            events: BinaryHeap::new(),
            payload: BTreeMap::new(),
            order: 0,
            settings,
        };
        cluster.at(500, Event::Scan);
        cluster
    }

    pub fn at(&mut self, time: Ms, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time.max(self.now), self.order)));
        self.payload.insert(self.order, event);
    }

    /// Lets time pass; what is due in it happens.
    pub fn advance(&mut self, time: Ms) {
        let until = self.now + time;
        while let Some(Reverse((due, order))) = self.events.peek().copied()
            && due <= until
        {
            self.events.pop();
            self.show(due);
            if let Some(event) = self.payload.remove(&order) {
                self.happen(event);
            }
        }
        self.show(until);
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<Ms> {
        self.events.peek().map(|Reverse((due, _))| *due)
    }

    fn show(&mut self, now: Ms) {
        self.now = now;
        self.shown.store(now, Ordering::Relaxed);
    }

    fn happen(&mut self, event: Event) {
        self.steps += 1;
        match event {
            Event::Marker(txn, part) => self.mark(txn, part),
            Event::OffsetMarker(txn) => self.mark_offsets(txn),
            Event::Scan => self.scan(),
            Event::Upstream(step) => {
                if let Some(mut workload) = self.workload.take() {
                    workload.happen(step, self);
                    self.workload = Some(workload);
                }
            }
        }
    }

    pub fn place(&self, topic: Topic, partition: u32) -> Option<usize> {
        let partitions = self.settings.partitions;
        (partition < partitions).then(|| topic.number() * partitions as usize + partition as usize)
    }

    pub fn part(&self, topic: Topic, partition: u32) -> &Part {
        &self.parts[self.place(topic, partition).expect("a partition that exists")]
    }

    /// What the clock of a partition's leader shows.
    pub fn stamp(&self, part: usize) -> Timestamp {
        Timestamp::from_millis(START + self.now as i64 + self.skew[self.parts[part].leader])
    }

    fn store(&mut self, place: usize, record: &OutRecord, state: State) -> u64 {
        let time = if record.topic.stamped_by_log() { self.stamp(place) } else { record.timestamp };
        self.steps += 1;
        self.parts[place].push(time, Some(record), state)
    }

    /// Writes from outside, in no transaction.
    pub fn append(&mut self, record: &OutRecord) -> Result<u64, Refusal> {
        let place = self.place(record.topic, record.partition).ok_or(Refusal::Unknown)?;
        Ok(self.store(place, record, State::Visible))
    }

    // ---- transactions -------------------------------------------------------------------------------------------

    /// Registers a transactional id: whoever had it is fenced, what it left open is aborted.
    pub fn init(&mut self, id: &str, timeout: Ms) -> Result<u32, Refusal> {
        self.steps += 1;
        if self.settings.no_fence {
            let producer = self.producers.entry(id.to_owned()).or_default();
            producer.timeout = timeout;
            return Ok(producer.epoch);
        }
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.timeout = timeout;
        if let Some(txn) = producer.current {
            match self.txns[txn].phase {
                Phase::Ongoing => {
                    producer.epoch += 1;
                    let epoch = producer.epoch;
                    self.trace
                        .note(self.now, || format!("{id} is fenced by epoch {epoch}, {txn} is aborted"));
                    self.decide(txn, false);
                    return Err(Refusal::Concurrent);
                }
                Phase::Decided(_) => return Err(Refusal::Concurrent),
                Phase::Done(_) => producer.current = None,
            }
        }
        producer.epoch += 1;
        Ok(producer.epoch)
    }

    /// The transaction that this producer may write to; begins one where there is none.
    fn writing(&mut self, id: &str, epoch: u32) -> Result<TxnId, Refusal> {
        let next = self.txns.len();
        let producer = self.producers.get_mut(id).filter(|producer| producer.epoch == epoch);
        let producer = producer.ok_or(Refusal::Fenced)?;
        match producer.current {
            Some(txn) if self.txns[txn].phase == Phase::Ongoing => Ok(txn),
            Some(txn) if matches!(self.txns[txn].phase, Phase::Decided(_)) => Err(Refusal::Concurrent),
            _ => {
                producer.current = Some(next);
                self.txns.push(Txn {
                    phase: Phase::Ongoing,
                    started: self.now,
                    parts: BTreeSet::new(),
                    waiting: 0,
                    has_offsets: false,
                });
                Ok(next)
            }
        }
    }

    pub fn produce(&mut self, id: &str, epoch: u32, record: &OutRecord) -> Result<u64, Refusal> {
        let place = self.place(record.topic, record.partition).ok_or(Refusal::Unknown)?;
        let txn = self.writing(id, epoch)?;
        let offset = self.store(place, record, State::Open(txn));
        if self.txns[txn].parts.insert(place) {
            self.parts[place].open.push((txn, offset));
        }
        Ok(offset)
    }

    /// Adds the group's offsets to a transaction. `member` is who says so, in which generation; without one nobody is asked.
    pub fn add_offsets(
        &mut self,
        id: &str,
        epoch: u32,
        member: Option<(u64, i32)>,
        offsets: &[(u32, Positions, String)],
    ) -> Result<(), Refusal> {
        self.steps += 1;
        let txn = self.writing(id, epoch)?;
        // The coordinator knows of the group's partition from here on, even if the group then refuses.
        self.txns[txn].has_offsets = true;
        if let Some((member, generation)) = member
            && !self.group.is_member(member, generation)
        {
            return Err(Refusal::Generation);
        }
        for (partition, positions, metadata) in offsets {
            let known = self.offsets.get_mut(*partition as usize).ok_or(Refusal::Unknown)?;
            known.pending.retain(|(other, ..)| *other != txn);
            known.pending.push((txn, *positions, metadata.clone()));
        }
        Ok(())
    }

    /// Asks for the end. Asked again after it was decided the same way, it says so again.
    pub fn end(&mut self, id: &str, epoch: u32, commit: bool) -> Result<(), Refusal> {
        self.steps += 1;
        let producer = self.producers.get(id).filter(|producer| producer.epoch == epoch);
        let Some(txn) = producer.ok_or(Refusal::Fenced)?.current else { return Ok(()) };
        match self.txns[txn].phase {
            Phase::Ongoing => {
                self.decide(txn, commit);
                Ok(())
            }
            Phase::Decided(known) if known == commit => Err(Refusal::Concurrent),
            Phase::Done(known) if known == commit => Ok(()),
            _ => Err(Refusal::Fenced),
        }
    }

    /// From here on it is decided, whatever anybody hears of it.
    pub fn decide(&mut self, txn: TxnId, commit: bool) {
        let now = self.now;
        self.trace.note(now, || format!("transaction {txn} {}", if commit { "COMMITS" } else { "aborts" }));
        let Txn { parts, has_offsets, .. } = &self.txns[txn];
        let (parts, has_offsets) = (parts.clone(), *has_offsets);
        self.txns[txn].phase = Phase::Decided(commit);
        self.txns[txn].waiting = parts.len() + usize::from(has_offsets);
        for part in parts {
            let due = self.marker_delay();
            self.at(due, Event::Marker(txn, part));
        }
        if has_offsets {
            let due = self.marker_delay();
            self.at(due, Event::OffsetMarker(txn));
        }
        self.marked(txn);
    }

    fn marker_delay(&mut self) -> Ms {
        let late = self.settings.late_markers;
        self.now + if self.rng.chance(late) { self.rng.range(50, 3_000) } else { self.rng.below(4) }
    }

    fn mark(&mut self, txn: TxnId, place: usize) {
        let Phase::Decided(commit) = self.txns[txn].phase else { return };
        let time = self.stamp(place);
        let part = &mut self.parts[place];
        let Some(index) = part.open.iter().position(|(open, _)| *open == txn) else { return };
        let (_, first) = part.open.swap_remove(index);
        let from = part.index_of(first);
        let state = if commit { State::Visible } else { State::Aborted };
        for record in &mut part.records[from..] {
            if record.state == State::Open(txn) {
                record.state = state;
            }
        }
        part.push(time, None, State::Marker);
        self.txns[txn].waiting -= 1;
        self.marked(txn);
    }

    fn mark_offsets(&mut self, txn: TxnId) {
        let Phase::Decided(commit) = self.txns[txn].phase else { return };
        for offsets in &mut self.offsets {
            let Some(index) = offsets.pending.iter().position(|(pending, ..)| *pending == txn) else {
                continue;
            };
            let (_, positions, metadata) = offsets.pending.remove(index);
            if commit {
                offsets.stable = positions.map(|position| Some((position, metadata.clone())));
            }
        }
        self.txns[txn].waiting -= 1;
        self.marked(txn);
    }

    fn marked(&mut self, txn: TxnId) {
        if self.txns[txn].waiting == 0
            && let Phase::Decided(commit) = self.txns[txn].phase
        {
            self.txns[txn].phase = Phase::Done(commit);
        }
    }

    fn scan(&mut self) {
        let now = self.now;
        let late: Vec<(String, TxnId)> = self
            .producers
            .iter()
            .filter_map(|(id, producer)| Some((id.clone(), producer.current?, producer.timeout)))
            .filter(|(_, txn, timeout)| {
                self.txns[*txn].phase == Phase::Ongoing && self.txns[*txn].started + timeout < now
            })
            .map(|(id, txn, _)| (id, txn))
            .collect();
        for (id, txn) in late {
            self.trace.note(now, || format!("{id}: transaction {txn} took too long"));
            if let Some(producer) = self.producers.get_mut(&id) {
                producer.epoch += 1;
            }
            self.decide(txn, false);
        }
        self.group.scan(now, self.settings.partitions, &mut self.trace);
        self.at(now + 500, Event::Scan);
    }

    // ---- reading ------------------------------------------------------------------------------------------------

    /// The group's offsets; refused while a transaction is pending on them.
    pub fn committed(
        &mut self,
        partition: u32,
        stable: bool,
    ) -> Result<[Option<(u64, String)>; INPUTS], Refusal> {
        self.steps += 1;
        let offsets = self.offsets.get(partition as usize).ok_or(Refusal::Unknown)?;
        if stable && !offsets.pending.is_empty() {
            return Err(Refusal::Unstable);
        }
        Ok(offsets.stable.clone())
    }

    // ---- housekeeping -------------------------------------------------------------------------------------------

    /// Retention: nothing below `low` is there any more.
    pub fn truncate(&mut self, place: usize, low: u64) {
        let part = &mut self.parts[place];
        part.low = part.low.max(low.min(part.stable()));
        let end = part.index_of(part.low);
        for record in &mut part.records[..end] {
            record.gone = true;
        }
    }

    /// Compaction below `end`: of each key the last record stays; its deletion goes, too, if `deletions` says so.
    pub fn compact(&mut self, place: usize, end: u64, deletions: bool) {
        let part = &mut self.parts[place];
        let end = part.index_of(end.min(part.stable()));
        let mut seen = BTreeSet::new();
        for record in part.records[..end].iter_mut().rev() {
            let keep = match (record.state, &record.key) {
                (State::Visible, Some(key)) => {
                    seen.insert(key.clone()) && (record.value.is_some() || !deletions)
                }
                (State::Visible, None) => true,
                _ => false,
            };
            record.gone |= !keep;
        }
    }
}
