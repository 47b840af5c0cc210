//! Kafka as a worker sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::errors::Watch;
use super::group::{self, Event, Member};
use super::native::{self, At, Group, LATEST, NEWEST, PartitionList, Reader, list_offsets};
use super::producer::Transactor;
use super::scan::{self, Scanner};
use super::{KafkaConfig, reader};
use crate::domain::effect::InputTopic;
use crate::domain::time::Timestamp;
use crate::log::{
    Bounds, Change, CommitOutcome, Committed, INPUTS, Inbox, Log, LogError, POLL_BYTES, Positions, Records,
    ScanControl, Scanned, Topic, Transaction,
};

/// How long one wait for records may keep a rebalance waiting.
const SLICE: Duration = Duration::from_millis(20);

/// One worker on Kafka: a member of the group, a reader, a transactional producer.
pub struct KafkaLog {
    config: KafkaConfig,
    /// `None` once closed.
    member: Option<Member>,
    reader: Reader,
    transactor: Transactor,
    scanner: Scanner,
    parts: BTreeMap<u32, Part>,
    /// What was reported as revoked or lost and is not released yet; librdkafka waits for it.
    leaving: Option<BTreeSet<u32>>,
    /// A commit was fenced: wait so long for the group to say why, then join again.
    fenced_until: Option<Instant>,
    /// High watermarks seen, so that a scan does not ask again for what it knows.
    highs: BTreeMap<(Topic, u32), u64>,
}

#[derive(Default)]
struct Part {
    /// Assigned to the reader.
    reading: bool,
    held: [bool; INPUTS],
    next: Positions,
}

impl KafkaLog {
    /// Fences what ran under the same instance and worker before, and joins the group. Assignments come by polling.
    ///
    /// # Errors
    /// Settings that cannot work; no broker answers in time, or none that lets us in.
    pub fn open(config: KafkaConfig) -> Result<KafkaLog, LogError> {
        config.check()?;
        let transactor = Transactor::open(&config)?;
        let reader = reader("making a reader", &config.reader("50"))?;
        let mut scanner = Scanner::open(&config)?;
        let member = group::join(&config)?;
        // Before partitions are given, so that a restore and the first reading find leaders known and connected.
        let asked = [(Topic::State, 0), (Topic::Journal, 0)];
        let inputs: [(Topic, u32); INPUTS] = std::array::from_fn(|index| (input(index), 0));
        let (client, watch) = (member.client().native_ptr(), &member.context().watch);
        let prepared = scan::bounds_of(client, watch, &config, &[&asked[..], &inputs].concat())
            .and_then(|_| scan::bounds_of(reader.client(), reader.watch(), &config, &inputs))
            .and_then(|_| asked.iter().try_for_each(|(topic, at)| scanner.prepare(&config, *topic, *at)));
        if let Err(error) = prepared {
            tracing::debug!(target: "kafka", %error, "the readers are not connected yet");
        }
        let log = KafkaLog {
            member: Some(member),
            reader,
            transactor,
            scanner,
            parts: BTreeMap::new(),
            leaving: None,
            fenced_until: None,
            highs: BTreeMap::new(),
            config,
        };
        log.subscribe()?;
        Ok(log)
    }

    fn subscribe(&self) -> Result<(), LogError> {
        let names: Vec<&str> = (0..INPUTS).map(|index| self.config.topic(input(index))).collect();
        let subscribed = self.member()?.subscribe(&names);
        subscribed.map_err(|error| LogError::fatal("joining the group", error.to_string()))
    }

    fn member(&self) -> Result<&Member, LogError> {
        self.member.as_ref().ok_or_else(|| LogError::fatal("using the log", "this member is closed"))
    }

    /// The same, for those that speak to librdkafka.
    fn client(&self) -> Result<(*mut rdkafka::bindings::rd_kafka_t, &Watch), LogError> {
        let member = self.member()?;
        Ok((member.client().native_ptr(), &member.context().watch))
    }

    fn owned(&self, partition: u32) -> Result<(), LogError> {
        if self.parts.contains_key(&partition) {
            return Ok(());
        }
        Err(LogError::fatal(format!("using partition {partition}"), "it is not assigned to this member"))
    }

    /// What of a partition is read.
    fn ats_read(&self, partition: u32, part: &Part) -> Vec<At> {
        let ats = self.ats(partition, part.next).into_iter().zip(part.held);
        ats.filter(|(_, held)| !held).map(|(at, _)| at).collect()
    }

    fn ats(&self, partition: u32, offsets: Positions) -> [At; INPUTS] {
        std::array::from_fn(|index| At {
            topic: self.config.topic(input(index)).to_owned(),
            partition,
            offset: offsets[index] as i64,
        })
    }

    /// Tells the reader to begin with a partition at its positions.
    fn read_on(&mut self, partition: u32) -> Result<(), LogError> {
        self.read_no_more(partition)?;
        let Some(part) = self.parts.get(&partition) else { return Ok(()) };
        let ats = self.ats_read(partition, part);
        let assigned = self.reader.assign(&ats);
        assigned
            .map_err(|error| self.reader.watch().explain("starting to read", error.code, &error.message))?;
        self.parts.entry(partition).or_default().reading = true;
        Ok(())
    }

    /// Tells the reader to stop with a partition.
    fn read_no_more(&mut self, partition: u32) -> Result<(), LogError> {
        let Some(part) = self.parts.get(&partition).filter(|part| part.reading) else { return Ok(()) };
        let ats = self.ats_read(partition, part);
        let unassigned = self.reader.unassign(&ats);
        unassigned
            .map_err(|error| self.reader.watch().explain("stopping to read", error.code, &error.message))?;
        self.parts.entry(partition).or_default().reading = false;
        Ok(())
    }

    fn stop_all(&mut self) -> Result<(), LogError> {
        let all: Vec<u32> = self.parts.keys().copied().collect();
        all.into_iter().try_for_each(|partition| self.read_no_more(partition))
    }

    /// Serves the member: heartbeats, rebalances, errors.
    fn serve(&mut self) -> Result<Vec<Change>, LogError> {
        let member = self.member()?;
        let watch = &member.context().watch;
        // Lines of the log look like nothing, and brokers that are down leave hundreds of complaints, behind which a
        // rebalance must not wait.
        let mut nothing = 0;
        for _ in 0..1_000 {
            match member.poll(Duration::ZERO) {
                None if nothing == 2 => break,
                None => nothing += 1,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    nothing = 0;
                    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                    let shown = watch.explain("belonging to the group", code, "");
                    if matches!(error, KafkaError::MessageConsumptionFatal(_)) || !shown.retriable {
                        return Err(LogError { retriable: false, ..shown });
                    }
                    tracing::debug!(target: "kafka", "{shown}");
                }
            }
        }
        let mut changes = Vec::new();
        loop {
            match self.member()?.context().next() {
                None => return Ok(changes),
                Some(Event::Failed(words)) => return Err(LogError::fatal("taking an assignment", words)),
                Some(Event::Assigned(list)) => {
                    let partitions = self.co_partitioned(&list)?;
                    self.stop_all()?;
                    self.fenced_until = None;
                    self.parts = partitions.iter().map(|partition| (*partition, Part::default())).collect();
                    if !partitions.is_empty() {
                        changes.push(Change::Assigned(partitions.into_iter().collect()));
                    }
                }
                Some(Event::Revoked { lost }) => {
                    self.stop_all()?;
                    let partitions: Vec<u32> = self.parts.keys().copied().collect();
                    if partitions.is_empty() {
                        // Nothing to finish: none was ours, or a commit told that all was lost.
                        self.unassign()?;
                        continue;
                    }
                    self.leaving = Some(partitions.iter().copied().collect());
                    changes.push(if lost { Change::Lost(partitions) } else { Change::Revoked(partitions) });
                }
            }
        }
    }

    /// The partitions of an assignment, which must be those of every input topic.
    fn co_partitioned(&self, list: &[(String, u32)]) -> Result<BTreeSet<u32>, LogError> {
        let of = |index: usize| -> BTreeSet<u32> {
            let name = self.config.topic(input(index));
            list.iter().filter(|(topic, _)| topic == name).map(|(_, partition)| *partition).collect()
        };
        let partitions = of(0);
        for index in 1..INPUTS {
            if of(index) != partitions {
                let message = format!(
                    "of {} it got {partitions:?}, of {} {:?}: the topics must have equal partition counts (`lastseen \
                     topics` checks), and all members of the group the assignor range and the same topics",
                    self.config.topic(input(0)),
                    self.config.topic(input(index)),
                    of(index)
                );
                return Err(LogError::fatal("taking an assignment", message));
            }
        }
        Ok(partitions)
    }

    /// Lets librdkafka go on after a revocation.
    fn unassign(&self) -> Result<(), LogError> {
        let unassigned = self.member()?.unassign();
        unassigned.map_err(|error| LogError::fatal("giving partitions back", error.to_string()))
    }

    /// After a commit that said that all is lost: nothing is ours until it is assigned anew.
    ///
    /// If the group fenced us, our next heartbeats learn of it, and librdkafka joins again. If the transaction's
    /// coordinator did, then either another process has our instance id, or the transaction took longer than its
    /// timeout. The first would be fenced in turn if we joined again at once, and so on: so wait whether the
    /// group tells our heartbeats that we are replaced, which is final. If it tells nothing, join again.
    fn lose(&mut self) -> Result<(), LogError> {
        self.stop_all()?;
        self.parts.clear();
        if self.leaving.take().is_some() {
            return self.unassign();
        }
        self.fenced_until =
            Some(Instant::now() + 2 * group::heartbeat(&self.config) + Duration::from_secs(1));
        Ok(())
    }

    fn rejoin_if_due(&mut self) -> Result<(), LogError> {
        if self.fenced_until.is_some_and(|until| until <= Instant::now()) {
            self.fenced_until = None;
            tracing::warn!(
                "a commit of {} was fenced and the group did not say why: joining again. If it happens again and \
                 again, two processes have the same instance id",
                self.config.transactional_id()
            );
            self.member()?.unsubscribe();
            self.subscribe()?;
        }
        Ok(())
    }

    /// Takes what the reader has; whether there was anything, records or news of positions.
    fn read(&mut self, wait: Duration, limit: usize, inbox: &mut Inbox) -> Result<bool, LogError> {
        let (began, began_bytes) = (inbox.slots.len(), inbox.arena.len());
        let mut moved = false;
        let mut headers = Vec::new();
        let mut known: Option<(usize, usize)> = None;
        let mut wait = wait;
        while inbox.slots.len() - began < limit && inbox.arena.len() - began_bytes < POLL_BYTES {
            let Some(message) = self.reader.next(wait) else { break };
            wait = Duration::ZERO;
            let index = match known {
                Some((id, index)) if id == message.topic_id() => index,
                _ => {
                    let name = message.topic();
                    let index = (0..INPUTS).find(|index| self.config.topic(input(*index)).as_bytes() == name);
                    let Some(index) = index else {
                        self.notice(&message, None)?;
                        continue;
                    };
                    known = Some((message.topic_id(), index));
                    index
                }
            };
            let Some(part) = self.parts.get_mut(&message.partition()).filter(|part| part.reading) else {
                continue;
            };
            if part.held[index] {
                // Fetched before it was held back; it is fetched again.
                continue;
            }
            match message.code() {
                Code::NoError => {
                    if message.offset() >= part.next[index] {
                        part.next[index] = message.offset() + 1;
                        inbox.push(InputTopic::ALL[index], message.partition(), message.record(&mut headers));
                    }
                }
                Code::PartitionEOF => {
                    moved |= message.offset() > part.next[index];
                    part.next[index] = part.next[index].max(message.offset());
                }
                _ => self.notice(&message, Some(index))?,
            }
        }
        Ok(moved || inbox.slots.len() > began)
    }

    /// An error about a partition: ours to report if it stays.
    fn notice(&self, message: &native::Message, index: Option<usize>) -> Result<(), LogError> {
        let what = match index {
            Some(index) => {
                format!("reading {}, partition {}", self.config.topic(input(index)), message.partition())
            }
            None => "reading".to_owned(),
        };
        let error = self.reader.watch().explain(what, message.code(), &message.words());
        if error.retriable {
            tracing::debug!(target: "kafka", "{error}");
            return Ok(());
        }
        Err(error)
    }

    /// Offsets did not come in time. If all else is answered, a transaction is pending on them.
    fn unanswered(&self, action: &str, code: Code, words: &str) -> LogError {
        let probe = At { topic: self.config.topic(input(0)).to_owned(), partition: 0, offset: LATEST };
        let answered = self
            .client()
            .is_ok_and(|(client, _)| list_offsets(client, &[probe], false, Duration::from_secs(2)).is_ok());
        if code == Code::OperationTimedOut && answered {
            let limit = self.config.transaction_timeout;
            let message = format!(
                "a transaction is pending on them; the brokers end it {limit:?} after its beginning, plus their scan. \
                 If it stays for minutes it hangs: kafka-transactions.sh --bootstrap-server {} describe-producers \
                 --topic __consumer_offsets --partition N shows it for one N, and abort ends it",
                self.config.brokers
            );
            return LogError::retriable(action, message);
        }
        match self.client() {
            Ok((_, watch)) => watch.explain(action, code, words),
            Err(error) => error,
        }
    }

    fn ask(&self, questions: &[At]) -> Result<Vec<At>, LogError> {
        Ok(self.ask_with_times(questions)?.into_iter().map(|(at, _)| at).collect())
    }

    fn ask_with_times(&self, questions: &[At]) -> Result<Vec<(At, i64)>, LogError> {
        let (client, watch) = self.client()?;
        let found = list_offsets(client, questions, false, self.config.request_timeout);
        found.map_err(|(code, words)| watch.explain("asking for watermarks", code, &words))
    }
}

/// The input topic at an index of [`Positions`].
fn input(index: usize) -> Topic {
    Topic::Input(InputTopic::ALL[index])
}

impl Records for KafkaLog {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        Ok(self.bounds_of(&[(topic, partition)])?[0])
    }

    fn bounds_of(&mut self, asked: &[(Topic, u32)]) -> Result<Vec<Bounds>, LogError> {
        let (client, watch) = self.client()?;
        let found = scan::bounds_of(client, watch, &self.config, asked)?;
        self.highs.extend(asked.iter().copied().zip(found.iter().map(|bounds| bounds.high)));
        Ok(found)
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        let mut high = self.highs.get(&(topic, partition)).copied().unwrap_or(0);
        if high < range.end {
            high = self.bounds(topic, partition)?.high;
        }
        self.scanner.scan(&self.config, topic, partition, range.start..range.end.min(high), each)
    }
}

impl Log for KafkaLog {
    fn poll(&mut self, wait: Duration, limit: usize, inbox: &mut Inbox) -> Result<Vec<Change>, LogError> {
        let until = Instant::now() + wait;
        loop {
            self.rejoin_if_due()?;
            let changes = self.serve()?;
            let left = until.saturating_duration_since(Instant::now());
            if !changes.is_empty() || self.read(left.min(SLICE), limit, inbox)? || left.is_zero() {
                return Ok(changes);
            }
        }
    }

    fn start(&mut self, partition: u32, from: Positions) -> Result<(), LogError> {
        self.owned(partition)?;
        if self.leaving.is_some() {
            return Ok(());
        }
        self.read_no_more(partition)?;
        self.parts.insert(partition, Part { next: from, ..Part::default() });
        self.read_on(partition)
    }

    fn hold(&mut self, partition: u32, held: [bool; INPUTS]) -> Result<(), LogError> {
        self.owned(partition)?;
        let part = self.parts.entry(partition).or_default();
        let before = std::mem::replace(&mut part.held, held);
        let (is_reading, next) = (part.reading, part.next);
        if !is_reading || before == held {
            return Ok(());
        }
        let of = |wanted: bool| {
            (0..INPUTS).filter(move |index| before[*index] != held[*index] && held[*index] == wanted)
        };
        let ats = self.ats(partition, next);
        let pick = |wanted: bool| of(wanted).map(|index| ats[index].clone()).collect::<Vec<At>>();
        let (stopped, goes_on) = (pick(true), pick(false));
        let told = if stopped.is_empty() { Ok(()) } else { self.reader.unassign(&stopped) };
        let told = told.and_then(|()| if goes_on.is_empty() { Ok(()) } else { self.reader.assign(&goes_on) });
        told.map_err(|error| self.reader.watch().explain("holding inputs back", error.code, &error.message))
    }

    fn release(&mut self, partitions: &[u32]) -> Result<(), LogError> {
        for partition in partitions {
            self.read_no_more(*partition)?;
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
                self.unassign()?;
            }
        }
        Ok(())
    }

    fn positions(&mut self, partition: u32) -> Positions {
        self.parts.get(&partition).map(|part| part.next).unwrap_or_default()
    }

    fn ends(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Positions)>, LogError> {
        let questions: Vec<At> =
            partitions.iter().flat_map(|partition| self.ats(*partition, [LATEST as u64; INPUTS])).collect();
        let mut ends: BTreeMap<u32, Positions> =
            partitions.iter().map(|partition| (*partition, [0; INPUTS])).collect();
        for at in self.ask(&questions)? {
            let index = (0..INPUTS).find(|index| self.config.topic(input(*index)) == at.topic);
            if let (Some(index), Some(positions)) = (index, ends.get_mut(&at.partition)) {
                positions[index] = at.offset.max(0) as u64;
            }
        }
        Ok(ends.into_iter().collect())
    }

    fn committed(&mut self, partitions: &[u32]) -> Result<Vec<Committed>, LogError> {
        self.transactor.resolve();
        let (client, _) = self.client()?;
        group::offsets(client, &self.config, partitions)
            .map_err(|(action, code, words)| self.unanswered(&action, code, &words))
    }

    fn journal_times(&mut self, partitions: &[u32]) -> Result<Vec<(u32, Option<Timestamp>)>, LogError> {
        let journal = self.config.topic(Topic::Journal);
        let question =
            |partition: &u32| At { topic: journal.to_owned(), partition: *partition, offset: NEWEST };
        let questions: Vec<At> = partitions.iter().map(question).collect();
        let found = self.ask_with_times(&questions)?.into_iter();
        Ok(found
            .map(|(at, time)| (at.partition, (time >= 0).then(|| Timestamp::from_millis(time))))
            .collect())
    }

    fn commit(&mut self, transaction: &Transaction) -> CommitOutcome {
        const ACTION: &str = "committing";
        if transaction.offsets.is_empty() {
            return CommitOutcome::Aborted(LogError::fatal(
                ACTION,
                "a transaction without offsets is not fenced",
            ));
        }
        let foreign = transaction.offsets.iter().find(|(partition, ..)| !self.parts.contains_key(partition));
        if let Some((partition, ..)) = foreign {
            return CommitOutcome::Lost(LogError::retriable(
                ACTION,
                format!("partition {partition} is not ours"),
            ));
        }
        let Ok((client, _)) = self.client() else {
            return CommitOutcome::Lost(LogError::fatal(ACTION, "this member is closed"));
        };
        let group = Group::of(client).filter(|group| group.generation() >= 0 && !group.member().is_empty());
        let Some(group) = group else {
            let lost = LogError::retriable(ACTION, "this member is not in the group any more");
            return CommitOutcome::Lost(self.lose().err().unwrap_or(lost));
        };
        let config = &self.config;
        let offsets =
            PartitionList::new(transaction.offsets.iter().flat_map(|(partition, positions, metadata)| {
                let at = |index: usize| {
                    (config.topic(input(index)), *partition, positions[index] as i64, Some(&**metadata))
                };
                (0..INPUTS).map(at)
            }));
        let outcome = self.transactor.commit(&transaction.records, &offsets, &group);
        if matches!(outcome, CommitOutcome::Lost(_))
            && let Err(error) = self.lose()
        {
            return CommitOutcome::Lost(error);
        }
        outcome
    }

    fn close(&mut self) -> Result<(), LogError> {
        if let Some(member) = self.member.take() {
            group::leave(&member);
        }
        self.parts.clear();
        Ok(())
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
