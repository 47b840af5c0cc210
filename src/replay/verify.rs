//! Verification: every entry of a journal derived again, and held against what the log holds, byte for byte.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::domain::time::Timestamp;
use crate::engine::journal::{self, BadEntry, Entry, EntryHash, Head};
use crate::engine::step::{Settings, Told};
use crate::follow::{Follower, OUTPUTS, Outputs, Record};
use crate::log::Archive;
use crate::log::LogError;
use crate::log::OutRecord;
use crate::log::Topic;
use crate::wire::pb::JournalEntry;

use super::Span;
use super::derive::{self, Anchor, Deriver, Obstacle};

/// What is to be verified of a partition.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What no entry tells: the number of partitions, the names of the inputs.
    pub settings: Settings,
    /// Entries whose clock lies in it.
    pub span: Span,
    /// Only what concerns this device is compared, besides the entries.
    pub device: Option<String>,
    /// Heads that were noted elsewhere; the report says which of them were met.
    pub heads: Vec<EntryHash>,
}

crate::domain::event::words!(
    /// Which check failed.
    Check {
        /// An entry does not follow the one before, or is none.
        Chain = "chain",
        /// The journal is not the one that was noted: by the group's offsets, an anchor, the asker.
        Head = "head",
        /// The inputs are not those that the entry consumed.
        Input = "input",
        /// A record is not the one that the entry produced, or it is not there, or there is one more.
        Output = "output",
        /// The entry says something else than what is derived.
        Entry = "entry",
    }
);

/// A record as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The payload.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Vec<crate::log::Header>,
    /// The offset, of a record that was found.
    pub offset: Option<u64>,
}

impl From<&Record> for Shown {
    fn from(record: &Record) -> Shown {
        let Record { offset, timestamp, key, value, headers } = record.clone();
        Shown { timestamp, key, value, headers, offset: Some(offset) }
    }
}

impl From<&OutRecord> for Shown {
    fn from(record: &OutRecord) -> Shown {
        let OutRecord { timestamp, key, value, headers, .. } = record.clone();
        Shown { timestamp, key, value, headers, offset: None }
    }
}

/// The first difference of a partition.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The partition.
    pub partition: u32,
    /// The entry at which it showed; 0: after the last one.
    pub seq: u64,
    /// The clock of the entry.
    pub clock: Timestamp,
    /// Which check failed.
    pub check: Check,
    /// What is wrong, in words.
    pub what: String,
    /// The topic of the record in question.
    pub topic: Option<Topic>,
    /// What is derived.
    pub expected: Option<Shown>,
    /// What the log holds.
    pub found: Option<Shown>,
    /// The entry.
    pub entry: Option<JournalEntry>,
}

impl Difference {
    /// The key of the device that it is about, if it is about one.
    pub fn device(&self) -> Option<&str> {
        let key = |shown: &Option<Shown>| shown.as_ref().and_then(|shown| shown.key.as_ref()).cloned();
        let has_device =
            key(&self.expected).or_else(|| key(&self.found)).is_some_and(|key| key.contains(&b'/'));
        let shown = self.expected.as_ref().or(self.found.as_ref()).filter(|_| has_device)?;
        std::str::from_utf8(shown.key.as_deref()?).ok()
    }
}

/// What came of a partition.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The partition.
    pub partition: u32,
    /// Entries that were derived and are the same.
    pub entries: u64,
    /// Records of inputs that were folded.
    pub inputs: u64,
    /// Records of outputs that are the same.
    pub outputs: u64,
    /// Entries that were asked for and not checked: first, last, why.
    pub unchecked: Vec<(u64, u64, String)>,
    /// The last entry that was verified.
    pub head: Option<Head>,
    /// Which of the asker's heads were met.
    pub heads: BTreeSet<usize>,
    /// The first difference; the partition was not looked at any further.
    pub difference: Option<Box<Difference>>,
}

impl Report {
    fn unchecked(&mut self, seq: u64, why: &str) {
        match self.unchecked.last_mut() {
            Some((_, last, known)) if *last + 1 == seq && known == why => *last = seq,
            _ => self.unchecked.push((seq, seq, why.to_owned())),
        }
    }
}

/// Verifies one partition. `progress` is told, now and then, how many offsets of the journal and records of inputs
/// were gone through since it was told last.
///
/// # Errors
/// The log fails. What is wrong with what it holds is in the report.
pub fn verify(
    archive: &mut dyn Archive,
    partition: u32,
    plan: &Plan,
    anchors: &[Anchor],
    progress: &dyn Fn(u64, u64),
) -> Result<Report, LogError> {
    let mut verifier = Verifier::new(archive, partition)?;
    // With a span that begins later, an anchor nearer to it saves the way from the beginning.
    let from = plan.span.from.unwrap_or(Timestamp::NEVER);
    let before = anchors.iter().filter(|anchor| anchor.clock < from).map(|anchor| anchor.head.seq);
    verifier.start = before.max().unwrap_or(0);
    let end = archive.settled(Topic::Journal, partition)?;
    let mut told = 0;
    while let Some(record) = verifier.follower.next_record(archive, end)? {
        let folded = verifier.report.inputs;
        let offset = record.offset + 1;
        if verifier.entry(archive, &record, plan, anchors)?.is_break() {
            break;
        }
        progress(offset.saturating_sub(told), verifier.report.inputs - folded);
        told = offset;
    }
    verifier.finish(archive, plan)?;
    Ok(verifier.report)
}

/// The verification of one partition, entry by entry.
#[derive(Debug)]
pub struct Verifier {
    partition: u32,
    follower: Follower,
    state: Option<Deriver>,
    last: Option<(Head, Vec<u8>)>,
    /// Outputs follow from here on.
    placed: bool,
    /// No entry below this one is derived: an anchor nearer to the span stands there.
    start: u64,
    /// By topic: entries before this one may have lost records to retention.
    gone: [u64; OUTPUTS.len()],
    committed: Option<Head>,
    why_not: String,
    /// What came of it so far.
    pub report: Report,
}

impl Verifier {
    fn new(archive: &mut dyn Archive, partition: u32) -> Result<Verifier, LogError> {
        // Before the journal is looked at: what is committed by now must be in it.
        let offsets = archive.committed(partition)?.offsets;
        let heads = offsets.iter().flatten().filter_map(|(_, metadata)| Head::from_metadata(metadata));
        let committed = heads.max_by_key(|head| head.seq);
        let mut verifier = Verifier::bare(partition, committed);
        for (place, topic) in OUTPUTS.into_iter().enumerate() {
            verifier.gone[place] = first_complete(archive, partition, topic)?;
        }
        Ok(verifier)
    }

    fn bare(partition: u32, committed: Option<Head>) -> Verifier {
        Verifier {
            partition,
            follower: Follower::new(partition),
            state: None,
            last: None,
            placed: false,
            start: 0,
            gone: [0; OUTPUTS.len()],
            committed,
            why_not: "the journal does not begin at entry 1, and there is no anchor before".to_owned(),
            report: Report { partition, ..Report::default() },
        }
    }

    /// Verification of a live journal from its beginning.
    pub fn from_the_beginning(partition: u32) -> Verifier {
        Verifier::bare(partition, None)
    }

    /// Verification of a live journal from a state that was just recovered: entries after `state` follow.
    ///
    /// # Errors
    /// The log fails.
    pub fn live(archive: &mut dyn Archive, state: Deriver) -> Result<Verifier, LogError> {
        let head = state.partition.head;
        let mut verifier = Verifier::bare(state.partition.number, None);
        let seq = head.seq;
        verifier.follower.seek(archive, |entry| entry.seq > seq)?;
        verifier.follower.skip_outputs(archive, seq + 1)?;
        verifier.placed = true;
        verifier.last = Some((head, Vec::new()));
        verifier.state = Some(state);
        Ok(verifier)
    }

    /// The next entry below offset `end` of a live journal; whether there was one.
    ///
    /// # Errors
    /// The log fails.
    pub fn follow(&mut self, archive: &mut dyn Archive, plan: &Plan, end: u64) -> Result<bool, LogError> {
        let Some(record) = self.follower.next_record(archive, end)? else { return Ok(false) };
        let _ = self.entry(archive, &record, plan, &[])?;
        Ok(true)
    }

    /// Whether it still derives: an obstacle or a difference ends it.
    pub fn derives(&self) -> bool {
        self.state.is_some() && self.report.difference.is_none()
    }

    fn differs(
        &mut self,
        check: Check,
        entry: Option<&Entry>,
        what: String,
        records: (Option<Topic>, Option<Shown>, Option<Shown>),
    ) -> ControlFlow<()> {
        let (topic, expected, found) = records;
        self.report.difference = Some(Box::new(Difference {
            partition: self.partition,
            seq: entry.map_or(0, |entry| entry.entry.seq),
            clock: entry.map_or(Timestamp::NEVER, Entry::clock),
            check,
            what,
            topic,
            expected,
            found,
            entry: entry.map(|entry| entry.entry.clone()),
        }));
        ControlFlow::Break(())
    }

    /// Checks one record of the journal.
    fn entry(
        &mut self,
        archive: &mut dyn Archive,
        record: &Record,
        plan: &Plan,
        anchors: &[Anchor],
    ) -> Result<ControlFlow<()>, LogError> {
        let bytes = record.value.as_deref().unwrap_or_default();
        let entry = match journal::open(bytes) {
            Ok(entry) => entry,
            Err(BadEntry::Newer { seq, version }) => {
                self.state = None;
                self.last = None;
                self.report
                    .unchecked(seq, &format!("fold version {version}, newer than this program's, made it"));
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => {
                let what =
                    format!("the record at offset {} of the journal is no entry: {error}", record.offset);
                let shown = (Some(Topic::Journal), None, Some(Shown::from(record)));
                return Ok(self.differs(Check::Chain, None, what, shown));
            }
        };
        if let Some(what) = self.breaks_chain(&entry) {
            return Ok(self.differs(Check::Chain, Some(&entry), what, (None, None, None)));
        }
        if let Some(what) = self.breaks_head(&entry, plan, anchors) {
            return Ok(self.differs(Check::Head, Some(&entry), what, (None, None, None)));
        }
        if plan.span.over(entry.clock()) {
            return Ok(ControlFlow::Break(()));
        }
        self.begin(archive, &entry, plan, anchors)?;
        let went = self.derive(archive, record, &entry, plan)?;
        self.last = Some((entry.head(), entry.entry.state_hash.clone()));
        Ok(went)
    }

    /// Whether the entry is not the one after the last.
    fn breaks_chain(&self, entry: &Entry) -> Option<String> {
        let JournalEntry { partition, seq, .. } = entry.entry;
        if partition != self.partition {
            return Some(format!("an entry of partition {partition} stands in the journal of this one"));
        }
        let Some((last, _)) = &self.last else {
            let begins_well = seq != 1 || entry.entry.previous_hash.is_empty();
            return (!begins_well).then(|| "entry 1 names an entry before it".to_owned());
        };
        if seq != last.seq + 1 {
            return Some(format!(
                "entry {seq} follows entry {}: entries were removed, added or moved",
                last.seq
            ));
        }
        if entry.previous() != last.hash {
            let (named, is) = (entry.previous(), last.hash);
            return Some(format!(
                "entry {seq} says that the one before has the hash {named}, and it has {is}: one of the two was edited"
            ));
        }
        (entry.entry.epoch < last.epoch)
            .then(|| format!("entry {seq} is of an older epoch than the one before"))
    }

    /// Whether the entry has another hash than one that was noted.
    fn breaks_head(&mut self, entry: &Entry, plan: &Plan, anchors: &[Anchor]) -> Option<String> {
        for (index, wanted) in plan.heads.iter().enumerate() {
            if *wanted == entry.hash {
                self.report.heads.insert(index);
            }
        }
        let seq = entry.entry.seq;
        let other = |head: &Head| head.seq == seq && head.hash != entry.hash;
        if self.committed.as_ref().is_some_and(other) {
            let what = "the committed offsets of the group name entry";
            return Some(format!("{what} {seq} with another hash than {}", entry.hash));
        }
        let anchor = anchors.iter().find(|anchor| other(&anchor.head))?;
        Some(format!(
            "the anchor at entry {seq} names the hash {}, the entry has {}",
            anchor.head.hash, entry.hash
        ))
    }

    /// Begins to derive at this entry, if it can be done here.
    fn begin(
        &mut self,
        archive: &mut dyn Archive,
        entry: &Entry,
        plan: &Plan,
        anchors: &[Anchor],
    ) -> Result<(), LogError> {
        let seq = entry.entry.seq;
        if self.state.is_none() && seq > self.start {
            if seq == 1 {
                self.state = Some(Deriver::genesis(self.partition, plan.settings.clone(), entry));
            } else if let Some(anchor) = anchors.iter().find(|anchor| anchor.head.seq + 1 == seq) {
                self.begin_at(anchor, plan);
            }
            self.placed = false;
        }
        if self.state.is_some() && !self.placed && plan.span.begun(entry.clock()) {
            if seq > 1 {
                self.follower.skip_outputs(archive, seq)?;
            }
            self.placed = true;
        }
        Ok(())
    }

    fn begin_at(&mut self, anchor: &Anchor, plan: &Plan) {
        let hash = self.last.as_ref().map(|(_, state_hash)| state_hash.as_slice());
        match Deriver::anchored(self.partition, plan.settings.clone(), anchor, hash) {
            Ok(state) => self.state = Some(state),
            Err(obstacle) => self.why_not = obstacle.to_string(),
        }
    }

    fn derive(
        &mut self,
        archive: &mut dyn Archive,
        record: &Record,
        entry: &Entry,
        plan: &Plan,
    ) -> Result<ControlFlow<()>, LogError> {
        let asked = plan.span.begun(entry.clock());
        let seq = entry.entry.seq;
        let Some(state) = &mut self.state else {
            if asked {
                let why = self.why_not.clone();
                self.report.unchecked(seq, &why);
            }
            return Ok(ControlFlow::Continue(()));
        };
        if let Some(what) = state.contradiction(entry) {
            return Ok(self.differs(Check::Input, Some(entry), what, (None, None, None)));
        }
        let told = match state.derive(archive, entry) {
            Ok(told) => told,
            Err(Obstacle::Inputs(super::inputs::InputError::Log(error))) => return Err(error),
            Err(obstacle) => {
                self.why_not = format!("{obstacle}, and there is no anchor after");
                self.state = None;
                if asked {
                    self.report.unchecked(seq, &obstacle.to_string());
                }
                return Ok(ControlFlow::Continue(()));
            }
        };
        if told.head.hash != entry.hash {
            return self.explain(archive, record, entry, &told, plan);
        }
        self.report.inputs += entry.entry.ranges.iter().map(|range| range.count).sum::<u64>();
        if !asked {
            return Ok(ControlFlow::Continue(()));
        }
        let outputs = self.follower.outputs_of(archive, &entry.entry)?;
        if self.compare(entry, &told, &outputs, plan).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.report.entries += 1;
        self.report.head = Some(entry.head());
        Ok(ControlFlow::Continue(()))
    }

    /// The derived entry is another: because of other inputs, or because the entry was edited.
    fn explain(
        &mut self,
        archive: &mut dyn Archive,
        record: &Record,
        entry: &Entry,
        told: &Told,
        plan: &Plan,
    ) -> Result<ControlFlow<()>, LogError> {
        for range in &entry.entry.ranges {
            let Some(there) = derive::consumed(archive, self.partition, range)? else { continue };
            if there != *range {
                let (topic, from, to) =
                    (crate::domain::effect::InputTopic::ALL[range.topic as usize - 1], range.from, range.to);
                let what = if there.count == range.count {
                    format!("{topic}, offsets {from} to {to}: a record was edited ({} records)", range.count)
                } else {
                    let (had, has) = (range.count, there.count);
                    format!("{topic}, offsets {from} to {to}: it consumed {had} records, and there are {has}")
                };
                let topic = Some(Topic::Input(topic));
                return Ok(self.differs(Check::Input, Some(entry), what, (topic, None, None)));
            }
        }
        if self.placed && plan.span.begun(entry.clock()) {
            // A record that is another says more than the hash of all of them.
            let outputs = self.follower.outputs_of(archive, &entry.entry)?;
            if self.compare(entry, told, &outputs, plan).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let derived = told.records.last().expect("the entry is the last record of a step");
        let fields = match journal::open(derived.value.as_deref().unwrap_or_default()) {
            Ok(derived) => fields_that_differ(&derived.entry, &entry.entry),
            Err(error) => error.to_string(),
        };
        let what = format!("the entry is not the one that is derived; other: {fields}");
        let shown = (Some(Topic::Journal), Some(Shown::from(derived)), Some(Shown::from(record)));
        Ok(self.differs(Check::Entry, Some(entry), what, shown))
    }

    /// Holds what is there against what is derived, topic by topic.
    fn compare(&mut self, entry: &Entry, told: &Told, outputs: &Outputs, plan: &Plan) -> ControlFlow<()> {
        let concerns = |key: &Option<Vec<u8>>| {
            plan.device.as_ref().is_none_or(|device| key.as_deref() == Some(device.as_bytes()))
        };
        if plan.device.is_none()
            && let Some((place, record)) = outputs.foreign.first()
        {
            let topic = OUTPUTS[*place];
            let what = format!("a record on {topic} that no entry produced");
            return self.differs(
                Check::Output,
                Some(entry),
                what,
                (Some(topic), None, Some(Shown::from(record))),
            );
        }
        for (place, topic) in OUTPUTS.into_iter().enumerate() {
            let of_topic = |record: &&OutRecord| record.topic == topic && concerns(&record.key);
            let mut expected = told.records.iter().filter(of_topic).peekable();
            let found: Vec<&Record> =
                outputs.records[place].iter().filter(|record| concerns(&record.key)).collect();
            // Retention took the first ones; rows are compacted.
            let may_lack = topic == Topic::State || entry.entry.seq < self.gone[place];
            for record in found {
                while may_lack && expected.peek().is_some_and(|wanted| !record.is(wanted)) {
                    expected.next();
                }
                match expected.next() {
                    Some(wanted) if record.is(wanted) => self.report.outputs += 1,
                    Some(wanted) if !may_lack && expected.any(|later| record.is(later)) => {
                        let what = format!("a record on {topic} is not there any more");
                        let shown = (Some(topic), Some(Shown::from(wanted)), None);
                        return self.differs(Check::Output, Some(entry), what, shown);
                    }
                    wanted => {
                        let wanted = wanted.or_else(|| {
                            let same =
                                |wanted: &&OutRecord| wanted.topic == topic && wanted.key == record.key;
                            told.records.iter().find(same)
                        });
                        let what = difference_of(topic, wanted, record);
                        let shown = (Some(topic), wanted.map(Shown::from), Some(Shown::from(record)));
                        return self.differs(Check::Output, Some(entry), what, shown);
                    }
                }
            }
            if let Some(wanted) = expected.next().filter(|_| !may_lack) {
                let what = format!("a record on {topic} is not there any more");
                let shown = (Some(topic), Some(Shown::from(wanted)), None);
                return self.differs(Check::Output, Some(entry), what, shown);
            }
        }
        ControlFlow::Continue(())
    }

    /// After the last entry: what lies behind on the outputs, and whether the journal is as long as it must be.
    fn finish(&mut self, archive: &mut dyn Archive, plan: &Plan) -> Result<(), LogError> {
        if self.report.difference.is_some() {
            return Ok(());
        }
        let last = self.last.as_ref().map_or(0, |(head, _)| head.seq);
        if plan.span.to.is_none() && self.committed.is_some_and(|committed| committed.seq > last) {
            let committed = self.committed.map_or(0, |head| head.seq);
            let what =
                format!("the journal ends at entry {last}, but the committed offsets name entry {committed}");
            let _ = self.differs(Check::Head, None, what, (None, None, None));
            return Ok(());
        }
        let is_whole = plan.span.to.is_none() && plan.device.is_none();
        if !is_whole || self.state.is_none() || !self.placed {
            return Ok(());
        }
        let mut added = None;
        let mut newest = last;
        self.follower.rest(archive, |place, named, record| match named {
            Some(seq) if seq > last => {
                newest = newest.max(seq);
                ControlFlow::Break(())
            }
            _ => {
                added.get_or_insert((place, record));
                ControlFlow::Break(())
            }
        })?;
        if let Some((place, record)) = added {
            let topic = OUTPUTS[place];
            let what = format!("a record on {topic} that no entry produced");
            let _ = self.differs(Check::Output, None, what, (Some(topic), None, Some(Shown::from(&record))));
            return Ok(());
        }
        // Written while we read? Then the journal has it by now.
        let mut reached = last;
        while reached < newest {
            match self.follower.next_record(archive, u64::MAX)? {
                Some(record) => {
                    let entry = journal::open(record.value.as_deref().unwrap_or_default());
                    reached = entry.map_or(newest, |entry| entry.entry.seq.max(reached + 1));
                }
                None => {
                    let what =
                        format!("outputs name entry {newest}, and the journal ends at entry {reached}");
                    let _ = self.differs(Check::Head, None, what, (None, None, None));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The first entry of which a topic has all records: those before it may have lost some to retention.
pub(super) fn first_complete(
    archive: &mut dyn Archive,
    partition: u32,
    topic: Topic,
) -> Result<u64, LogError> {
    let bounds = archive.bounds(topic, partition)?;
    if bounds.low == 0 {
        return Ok(0);
    }
    let mut first = u64::MAX;
    archive.scan(topic, partition, bounds.low..bounds.high, &mut |record| match crate::follow::entry_of(
        topic,
        partition,
        &Record::keep(&record),
    ) {
        Some(seq) => {
            first = seq + 1;
            ControlFlow::Break(())
        }
        None => ControlFlow::Continue(()),
    })?;
    Ok(first)
}

fn difference_of(topic: Topic, wanted: Option<&OutRecord>, found: &Record) -> String {
    let Some(wanted) = wanted else { return format!("a record on {topic} that is not derived") };
    let mut other = Vec::new();
    if wanted.timestamp != found.timestamp {
        other.push("timestamp");
    }
    if wanted.key != found.key {
        other.push("key");
    }
    if wanted.value != found.value {
        other.push("payload");
    }
    if wanted.headers != found.headers {
        other.push("headers");
    }
    format!("a record on {topic} is not the one that is derived: other {}", other.join(", "))
}

/// The names of the fields in which two entries differ.
fn fields_that_differ(derived: &JournalEntry, found: &JournalEntry) -> String {
    let pairs = [
        ("ranges", derived.ranges != found.ranges),
        ("clock", derived.clock_ms != found.clock_ms),
        ("deadlines fired", derived.deadlines_fired != found.deadlines_fired),
        ("place within a change", derived.change_place != found.change_place),
        ("counts and hashes of outputs", derived.outputs != found.outputs),
        ("clock pack", derived.clock_pack != found.clock_pack),
        ("sweep", derived.sweep != found.sweep || derived.floor != found.floor),
        ("state hash", derived.state_hash != found.state_hash),
        ("policy version", derived.policy_version != found.policy_version),
        ("format or limits", derived.output_format != found.output_format || derived.limits != found.limits),
        ("sight or gap", derived.sight_ms != found.sight_ms || derived.gap != found.gap),
        ("blindness", derived.blind != found.blind),
        ("habit", derived.habit != found.habit || derived.last_arrival_ms != found.last_arrival_ms),
        ("positions", derived.positions != found.positions),
    ];
    let names: Vec<&str> = pairs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    if names.is_empty() { "fields that this program does not know".to_owned() } else { names.join(", ") }
}
