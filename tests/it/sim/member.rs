//! The simulated log as a worker sees it: what `KafkaLog` does, request by request, with a fault possible before and
//! after each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::Timestamp;
use lastseen::log::{
    Bounds, Change, CommitOutcome, Committed, INPUTS, Inbox, Log, LogError, Positions, Records, ScanControl,
    Scanned, Topic, Transaction,
};

use super::broken::Broken;
use super::cluster::{Ms, Refusal, State, Stored};
use super::group::Pulse;
use super::host::Host;

/// How a member is set up.
#[derive(Clone, Debug)]
pub struct MemberSettings {
    pub instance: String,
    pub is_static: bool,
    pub transaction_timeout: Ms,
    pub request_timeout: Ms,
    /// What it gets wrong on purpose.
    pub broken: Option<Broken>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    reading: bool,
    held: [bool; INPUTS],
    next: Positions,
    /// Records delivered since the start: what a broken variant counts instead of offsets.
    counted: Positions,
}

/// One worker's log.
pub struct SimLog {
    pub(super) host: Rc<Host>,
    pub(super) settings: MemberSettings,
    member: Option<u64>,
    /// The generation that it got its assignment in.
    generation: i32,
    parts: BTreeMap<u32, Part>,
    leaving: Option<BTreeSet<u32>>,
    fenced_until: Option<Ms>,
    closed: bool,
    pub(super) epoch: Option<u32>,
    pub(super) unresolved: bool,
    pub(super) failed: bool,
    pub(super) last_offsets: BTreeMap<u32, Positions>,
}

impl SimLog {
    /// Registers its transactional id, and joins the group.
    pub fn open(host: Rc<Host>, settings: MemberSettings) -> Result<SimLog, LogError> {
        let mut log = SimLog {
            host,
            settings,
            member: None,
            generation: -1,
            parts: BTreeMap::new(),
            leaving: None,
            fenced_until: None,
            closed: false,
            epoch: None,
            unresolved: false,
            failed: false,
            last_offsets: BTreeMap::new(),
        };
        log.ensure()?;
        log.join()?;
        Ok(log)
    }

    pub(super) fn is(&self, broken: Broken) -> bool {
        self.settings.broken == Some(broken)
    }

    fn join(&mut self) -> Result<(), LogError> {
        self.host.site("join")?;
        let mut cluster = self.host.cluster();
        let now = cluster.now;
        let instance = self.settings.is_static.then_some(&*self.settings.instance);
        let id = cluster.group.join(instance, now);
        let (number, name) = (self.host.number, self.settings.instance.clone());
        cluster.trace.note(now, || format!("[{number}] joins as member {id}, instance {name}"));
        drop(cluster);
        self.member = Some(id);
        self.generation = -1;
        self.host.member.set(Some(id));
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(member) = self.member.take() {
            self.host.member.set(None);
            let mut cluster = self.host.cluster();
            let now = cluster.now;
            cluster.group.leave(member, now);
        }
    }

    pub(super) fn membership(&self) -> Option<(u64, i32)> {
        self.member.filter(|_| self.generation >= 0).map(|member| (member, self.generation))
    }

    pub(super) fn owns(&self, partition: u32) -> bool {
        self.parts.contains_key(&partition)
    }

    /// After a commit that said that all is lost: nothing is ours until it is assigned anew.
    pub(super) fn lose(&mut self) {
        self.parts.clear();
        if self.leaving.take().is_some() {
            self.rejoin();
            return;
        }
        self.fenced_until = Some(self.host.now() + 2_000);
    }

    fn rejoin(&mut self) {
        let Some(member) = self.member else { return };
        let mut cluster = self.host.cluster();
        let now = cluster.now;
        if cluster.group.has(member) {
            cluster.group.rejoin(member, now);
        }
    }

    /// Serves the member: heartbeats and rebalances.
    fn serve(&mut self) -> Result<Vec<Change>, LogError> {
        if self.fenced_until.is_some_and(|until| until <= self.host.now()) {
            self.fenced_until = None;
            self.leave();
        }
        if self.leaving.is_some() {
            return Ok(Vec::new());
        }
        let Some(member) = self.member else {
            self.join()?;
            return Ok(Vec::new());
        };
        let pulse = {
            let mut cluster = self.host.cluster();
            let cluster = &mut *cluster;
            let now = cluster.now;
            cluster.group.complete(now, cluster.settings.partitions, &mut cluster.trace);
            cluster.group.pulse(member, now)
        };
        let owned: Vec<u32> = self.parts.keys().copied().collect();
        match pulse {
            Pulse::Replaced => {
                Err(LogError::fatal("belonging to the group", "another process has this instance id"))
            }
            Pulse::Unknown => {
                self.generation = -1;
                self.member = None;
                self.host.member.set(None);
                if owned.is_empty() {
                    return Ok(Vec::new());
                }
                self.leaving = Some(owned.iter().copied().collect());
                Ok(vec![Change::Lost(owned)])
            }
            Pulse::Rebalance => {
                if owned.is_empty() {
                    self.rejoin();
                    return Ok(Vec::new());
                }
                self.stop_reading();
                self.leaving = Some(owned.iter().copied().collect());
                Ok(vec![Change::Revoked(owned)])
            }
            Pulse::Fine => {
                let found = self.host.cluster().group.assignment(member);
                match found {
                    Some((generation, assigned)) if generation != self.generation => {
                        self.generation = generation;
                        self.fenced_until = None;
                        self.parts = assigned.iter().map(|partition| (*partition, Part::default())).collect();
                        let changes =
                            if assigned.is_empty() { Vec::new() } else { vec![Change::Assigned(assigned)] };
                        Ok(changes)
                    }
                    _ => Ok(Vec::new()),
                }
            }
        }
    }

    fn stop_reading(&mut self) {
        self.parts.values_mut().for_each(|part| part.reading = false);
    }

    /// Takes what is there; whether there was anything.
    fn read(&mut self, limit: usize, inbox: &mut Inbox) -> Result<bool, LogError> {
        let mut cluster = self.host.cluster();
        let cluster = &mut *cluster;
        let readable: Vec<u32> =
            self.parts.iter().filter(|(_, part)| part.reading).map(|(p, _)| *p).collect();
        if readable.is_empty() {
            return Ok(false);
        }
        let places = readable.len() * INPUTS;
        let turn = cluster.rng.below(places as u64) as usize;
        let mut room = limit;
        let mut moved = false;
        for place in (0..places).map(|place| (place + turn) % places) {
            let (partition, index) = (readable[place / INPUTS], place % INPUTS);
            let is_held = self.parts.get(&partition).is_some_and(|part| part.held[index]);
            if is_held
                || cluster.held.is_some_and(|(held, until)| held == index && until > cluster.now)
                || room == 0
            {
                continue;
            }
            let Some(at) = cluster.place(Topic::Input(InputTopic::ALL[index]), partition) else { continue };
            let Some(mine) = self.parts.get_mut(&partition) else { continue };
            // A fetch brings as much as it happens to; often all.
            let most = if cluster.rng.chance(700_000) { room } else { cluster.rng.below(8) as usize + 1 };
            let sees_end = cluster.rng.chance(800_000);
            let part = &cluster.parts[at];
            let next = mine.next[index];
            if next < part.low {
                let words = format!("offset {next} is gone, the first one is {}", part.low);
                return Err(LogError::fatal(format!("reading {:?}", InputTopic::ALL[index]), words));
            }
            let stable = part.stable();
            let mut count = 0;
            let mut end = true;
            for record in &part.records[part.index_of(next)..] {
                if record.offset >= stable {
                    break;
                }
                if record.state != State::Visible || record.gone {
                    continue;
                }
                if count == most.min(room) {
                    end = false;
                    break;
                }
                count += 1;
                mine.next[index] = record.offset + 1;
                mine.counted[index] += 1;
                inbox.push(InputTopic::ALL[index], partition, scanned(record));
            }
            room -= count;
            cluster.steps += count as u64;
            // That only markers and aborted records lie between is known once the end is seen, a moment later.
            if end && sees_end {
                moved |= stable > mine.next[index];
                mine.next[index] = mine.next[index].max(stable);
            }
            moved |= count > 0;
        }
        Ok(moved)
    }

    pub(super) fn wait(&self, time: Ms) {
        self.host.cluster().advance(time);
    }

    fn place(&self, topic: Topic, partition: u32) -> Result<usize, LogError> {
        let place = self.host.cluster().place(topic, partition);
        place.ok_or_else(|| LogError::fatal(format!("using {topic}"), "there is no such partition"))
    }
}

/// As a reader is shown it.
pub fn scanned(record: &Stored) -> Scanned<'_> {
    Scanned {
        offset: record.offset,
        timestamp: record.time,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    }
}

impl Records for SimLog {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        self.host.site("bounds")?;
        self.place(topic, partition)?;
        let cluster = self.host.cluster();
        let part = cluster.part(topic, partition);
        let high = if self.is(Broken::RestoreToWhatIsStable) { part.stable() } else { part.high };
        Ok(Bounds { low: part.low, high })
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        self.host.site("scan")?;
        let place = self.place(topic, partition)?;
        let mut until = self.host.now() + self.settings.request_timeout;
        let mut next = range.start;
        loop {
            let batch: Vec<Stored> = {
                let cluster = self.host.cluster();
                let part = &cluster.parts[place];
                let end = range.end.min(part.stable());
                let records = part.records[part.index_of(next)..].iter();
                let seen = records.take_while(|record| record.offset < end);
                let batch = seen.filter(|r| r.state == State::Visible && !r.gone).take(40).cloned().collect();
                if range.end.min(part.high) <= part.stable() {
                    until = Ms::MAX;
                }
                batch
            };
            for record in &batch {
                next = record.offset + 1;
                if each(scanned(record)).is_break() {
                    return Ok(());
                }
            }
            if batch.len() == 40 {
                self.host.site("scan goes on")?;
                continue;
            }
            // Nothing visible is left below the last stable offset. Is that the end, or is something open there?
            if until == Ms::MAX || self.is(Broken::RestoreToWhatIsStable) {
                return Ok(());
            }
            if self.host.now() >= until {
                return Err(LogError::retriable("reading", "a transaction is open there"));
            }
            self.wait(20);
        }
    }
}

impl Log for SimLog {
    fn poll(&mut self, wait: Duration, limit: usize, inbox: &mut Inbox) -> Result<Vec<Change>, LogError> {
        if self.closed {
            return Err(LogError::fatal("polling", "this member is closed"));
        }
        let until = self.host.now() + wait.as_millis() as Ms;
        loop {
            self.host.site("poll")?;
            let changes = self.serve()?;
            if !changes.is_empty() || self.read(limit, inbox)? {
                return Ok(changes);
            }
            let now = self.host.now();
            if now >= until {
                return Ok(changes);
            }
            // To the next thing that happens, in slices: an assignment is noticed soon.
            let next = self.host.cluster().next_event().unwrap_or(until);
            self.wait(next.clamp(now + 1, until.min(now + 50)) - now);
        }
    }

    fn start(&mut self, partition: u32, from: Positions) -> Result<(), LogError> {
        if !self.owns(partition) {
            return Err(LogError::fatal("starting", format!("partition {partition} is not ours")));
        }
        if self.leaving.is_none() {
            let part = Part { reading: true, held: [false; INPUTS], next: from, counted: from };
            self.parts.insert(partition, part);
        }
        Ok(())
    }

    fn hold(&mut self, partition: u32, held: [bool; INPUTS]) -> Result<(), LogError> {
        self.host.site("hold")?;
        if let Some(part) = self.parts.get_mut(&partition) {
            part.held = held;
        }
        Ok(())
    }

    fn release(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        for partition in partitions {
            if self.leaving.is_some() {
                self.parts.remove(partition);
            } else if let Some(part) = self.parts.get_mut(partition) {
                *part = Part::default();
            }
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.retain(|partition| !partitions.contains(partition));
            if leaving.is_empty() {
                self.leaving = None;
                self.rejoin();
            }
        }
        Ok(())
    }

    fn positions(&mut self, partition: u32) -> Positions {
        let counts = self.is(Broken::OffsetsAreCounted);
        let of = |part: &Part| if counts { part.counted } else { part.next };
        self.parts.get(&partition).map(of).unwrap_or_default()
    }

    fn ends(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Positions)>, LogError> {
        self.host.site("ends")?;
        let cluster = self.host.cluster();
        let end = |partition: u32, index: usize| {
            let part = cluster.part(Topic::Input(InputTopic::ALL[index]), partition);
            match self.settings.broken {
                Some(Broken::ClockWithoutLag) => 0,
                Some(Broken::EndsOfWhatIsStable) => part.stable(),
                _ => part.high,
            }
        };
        Ok(partitions.iter().map(|p| (*p, std::array::from_fn(|index| end(*p, index)))).collect())
    }

    fn committed(&mut self, partitions: &[u32]) -> Result<Vec<Committed>, LogError> {
        self.resolve();
        let until = self.host.now() + self.settings.request_timeout;
        let stable = !self.is(Broken::PendingOffsetsAreNotWaitedFor);
        loop {
            self.host.site("committed")?;
            let mut found = Vec::with_capacity(partitions.len());
            let mut pending = false;
            for &partition in partitions {
                match self.host.cluster().committed(partition, stable) {
                    Ok(offsets) => found.push(Committed { partition, offsets }),
                    Err(Refusal::Unstable) => pending = true,
                    Err(refusal) => {
                        return Err(LogError::fatal("reading the group's offsets", format!("{refusal:?}")));
                    }
                }
            }
            if !pending {
                return Ok(found);
            }
            if self.host.now() >= until {
                return Err(LogError::retriable(
                    "reading the group's offsets",
                    "a transaction is pending on them",
                ));
            }
            self.wait(20);
        }
    }

    fn journal_times(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Option<Timestamp>)>, LogError> {
        self.host.site("journal times")?;
        let cluster = self.host.cluster();
        let newest = |partition: u32| {
            let part = cluster.part(Topic::Journal, partition);
            // By the largest time, as ListOffsets answers.
            let records = part.records.iter().rev().take(64);
            let real = records.filter(|record| record.state != State::Marker && !record.gone);
            real.map(|record| record.time).max()
        };
        Ok(partitions.iter().map(|partition| (*partition, newest(*partition))).collect())
    }

    fn commit(&mut self, transaction: &Transaction) -> CommitOutcome {
        let outcome = self.transact(transaction);
        self.host.note(|| {
            let heads: Vec<String> = transaction
                .offsets
                .iter()
                .map(|(partition, positions, head)| {
                    format!("{partition}: {positions:?} {}", &head[..head.len().min(24)])
                })
                .collect();
            format!("commit of {} records, {}: {outcome:?}", transaction.records.len(), heads.join("; "))
        });
        outcome
    }

    fn close(&mut self) -> Result<(), LogError> {
        if !self.closed && !self.host.is_dead.get() {
            self.closed = true;
            self.leave();
        }
        self.parts.clear();
        Ok(())
    }
}
