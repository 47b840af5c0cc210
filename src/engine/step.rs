//! The step: everything that arrived up to the clock, in the order of arrival, with the deadlines in between; what it
//! makes of the partition, and what it has to say, as the records of one transaction (DESIGN §3.1).

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::effect::{Blind, EffectKind, Ignored, InputTopic, Origin, Outcome, Rule};
use crate::domain::event::{Event, split_key};
use crate::domain::habit::Habit;
use crate::domain::time::{Millis, Timestamp};
use crate::log::{Header, INPUTS, OutRecord, Positions, Slot, Topic};
use crate::wire::decode::{self, RawRecord, Scratch};
use crate::wire::output::{self, Format, Identity};
use crate::wire::reject::Reason;
use crate::wire::row::{self, CorruptRow, DeviceRow, PartitionRow, PolicyRow, Row, key};
use crate::wire::{dead_letter, pb as proto, policy};

use super::core::{Core, Progress, Touched};
use super::journal::{self, Consumed, Entry, FOLD_VERSION, Gap, Head};
use super::pack::{PackWriter, heartbeats};
use super::state_hash::{clocks_hash, nodes_hash, row_hash};
use super::sweep::Sweep;
use super::table::{Kind, WARM_MAX};

/// Settings of a step. All of it is in the journal, for a replay must have the same.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// How many partitions there are.
    pub partitions: u32,
    /// The largest input record.
    pub record_bytes_max: usize,
    /// The largest record of the dead-letter topic.
    pub dead_letter_bytes_max: usize,
    /// The most effects of one transaction.
    pub effects_max: usize,
    /// How long a whole sweep over the rows takes.
    pub refresh: Millis,
    /// The most rows that a sweep writes in one step.
    pub sweep_rows_max: u32,
    /// An idle partition writes an entry this often at most.
    pub idle: Millis,
    /// The format of outputs.
    pub format: Format,
    /// The real names of the input topics, for the origin of dead letters.
    pub input_names: [String; INPUTS],
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            partitions: 1,
            record_bytes_max: 1 << 20,
            dead_letter_bytes_max: (1 << 20) + (64 << 10),
            effects_max: 20_000,
            refresh: Millis::from_seconds(3600),
            sweep_rows_max: 2_000,
            idle: Millis::from_seconds(10),
            format: Format::Json,
            input_names: std::array::from_fn(|index| {
                Topic::Input(InputTopic::ALL[index]).default_name().to_string()
            }),
        }
    }
}

/// Records are stamped at this at the earliest: Kafka's 0 means now, and a replay must find what was written.
const STAMP_MIN: Timestamp = Timestamp::from_millis(1);

/// A pack this large ends the step: the entry must stay below 512 KiB.
const TOUCHED_MAX: usize = 60_000;

/// Records of one partition as they stand in an inbox, per input topic by offset, and where reading stands.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The records to take, in the order of [`InputTopic::ALL`]: all that arrived up to the clock.
    pub queues: [&'a [Slot]; INPUTS],
    /// Their bytes.
    pub arena: &'a [u8],
    /// Where reading stands, if every record of `queues` is taken: beyond markers and aborted records.
    pub positions: Positions,
    /// The clock reading.
    pub clock: Timestamp,
    /// Sight returns at this moment, before anything else happens. Not while a change is under way.
    pub sight: Option<Timestamp>,
    /// Records that were lost, and accepted as lost, before this step.
    pub gap: Option<&'a Gap>,
    /// Why the monitor cannot judge, at the end of the step.
    pub blind: Option<Blind>,
    /// Whether that is to be told; a step that is cut does not come to that moment.
    pub tell_blind: bool,
    /// An entry is wanted, whether anything happens or not: its append time tells the log's clock.
    pub entry_wanted: bool,
}

impl<'a> Input<'a> {
    /// Records and a clock reading, and nothing besides.
    pub fn new(
        queues: [&'a [Slot]; INPUTS],
        arena: &'a [u8],
        positions: Positions,
        clock: Timestamp,
    ) -> Input<'a> {
        Input {
            queues,
            arena,
            positions,
            clock,
            sight: None,
            gap: None,
            blind: None,
            tell_blind: true,
            entry_wanted: false,
        }
    }

    /// What the step of a journal entry was told: its records, and what stands in it. `positions`: after the step;
    /// `gap`: as [`Entry::gap`] has it.
    pub fn again(
        entry: &Entry,
        queues: [&'a [Slot]; INPUTS],
        arena: &'a [u8],
        positions: Positions,
        gap: Option<&'a Gap>,
    ) -> Result<Input<'a>, CorruptRow> {
        Ok(Input {
            sight: entry.entry.sight_ms.map(Timestamp::from_millis),
            gap,
            blind: row::blind_of(entry.entry.blind.unwrap_or_default())?,
            tell_blind: entry.entry.blind.is_some(),
            entry_wanted: true,
            ..Input::new(queues, arena, positions, entry.clock())
        })
    }
}

/// What became of the records of a step (SEMANTICS law 6).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Took effect.
    pub applied: u64,
    /// Ignored, by reason, in the order of the reasons.
    pub ignored: [u64; Ignored::ALL.len()],
    /// Dead letters, by reason, in the order of the reasons.
    pub rejected: [u64; Reason::ALL.len()],
}

/// What a step has to say.
#[derive(Debug)]
pub struct Told {
    /// The records of the transaction; the journal entry is the last.
    pub records: Vec<OutRecord>,
    /// All input offsets after the step.
    pub positions: Positions,
    /// The head that it makes; the metadata of the offsets.
    pub head: Head,
    /// How many records of each queue it took.
    pub taken: [usize; INPUTS],
    /// It stopped at a limit: there is more to do at once.
    pub full: bool,
    /// What became of the records.
    pub tally: Tally,
    /// Lateness of the verdicts it tells: how long after its deadline the clock passed each.
    pub lateness: Vec<Millis>,
}

/// One partition: its core, and its place in the log.
#[derive(Debug)]
pub struct Partition {
    /// Its number.
    pub number: u32,
    /// Devices, nodes, policy, timers.
    pub core: Core,
    /// The newest entry.
    pub head: Head,
    /// What is consumed.
    pub positions: Positions,
    /// Sum of the hashes of all rows.
    pub state_hash: u128,
    /// The sweep.
    pub sweep: Sweep,
    /// How often records arrive.
    pub habit: Habit,
    /// Names the writer of entries.
    pub nonce: u64,
    /// Settings.
    pub settings: Arc<Settings>,
    scratch: Scratch,
    before: BeforeStep,
}

#[derive(Debug, Default, Clone)]
struct BeforeStep {
    head: Head,
    positions: Positions,
    state_hash: u128,
    sweep: Sweep,
    habit: Habit,
}

impl Partition {
    /// A partition of which nothing is known yet.
    pub fn new(number: u32, settings: Arc<Settings>, nonce: u64) -> Partition {
        Partition {
            number,
            core: Core::default(),
            head: Head::default(),
            positions: [0; INPUTS],
            state_hash: 0,
            sweep: Sweep::default(),
            habit: Habit::default(),
            nonce,
            settings,
            scratch: Scratch::default(),
            before: BeforeStep::default(),
        }
    }

    /// Takes a step. `None`: nothing happened, and the clock reading counts for nothing. The step stands as if it were
    /// committed; [`Partition::roll_back`] undoes it.
    pub fn step(&mut self, input: &Input<'_>) -> Option<Told> {
        self.core.begin_step();
        self.before = BeforeStep {
            head: self.head,
            positions: self.positions,
            state_hash: self.state_hash,
            sweep: self.sweep,
            habit: self.habit.clone(),
        };
        let before = self.core.clock;
        if let Some(gap) = input.gap {
            self.positions = gap.to;
            self.core.lose(&gap.words());
        }
        if let Some(at) = input.sight {
            self.core.see(at.max(before));
        }
        let started_at = self.core.clock;
        let mut work = Work {
            taken: [0; INPUTS],
            consumed: std::array::from_fn(|index| Consumed::new(self.positions[index])),
            records: Vec::new(),
            tally: Tally::default(),
            looked: false,
        };
        let mut full = self.run(input, started_at, &mut work) == Progress::Full;
        // Whether a step was cut can hang on records that it did not take, which a replay does not have.
        work.looked = !full && input.tell_blind;
        if work.looked {
            self.core.look(input.blind);
        }
        let is_idle = work.taken == [0; INPUTS]
            && self.core.fired == 0
            && self.core.outputs.is_empty()
            && self.core.touched.is_empty()
            // A change may come to its end without another word: the row that says so must be written.
            && !self.core.partition_moved()
            && !full;
        let is_early = self.head.seq > 0 && self.core.clock - started_at < self.settings.idle;
        if is_idle && is_early && !input.entry_wanted {
            self.core.clock = started_at;
            return None;
        }
        for index in 0..INPUTS {
            let all_taken = work.taken[index] == input.queues[index].len();
            if all_taken && !full {
                work.consumed[index].to = work.consumed[index].to.max(input.positions[index]);
            }
            self.positions[index] = work.consumed[index].to;
        }
        full |= (0..INPUTS).any(|index| work.taken[index] < input.queues[index].len());
        Some(self.tell(input, work, full))
    }

    /// Undoes the last step: its transaction was aborted.
    pub fn roll_back(&mut self) {
        let BeforeStep { head, positions, state_hash, sweep, habit } = std::mem::take(&mut self.before);
        self.core.roll_back();
        self.habit = habit;
        self.head = head;
        self.positions = positions;
        self.state_hash = state_hash;
        self.sweep = sweep;
    }

    fn run(&mut self, input: &Input<'_>, started_at: Timestamp, work: &mut Work) -> Progress {
        let limit = self.settings.effects_max;
        let clock = input.clock.max(started_at);
        // Arrival: the append time, raised to the arrival before it in its topic and to the clock of the entry before,
        // lowered to the clock of this one.
        let mut arrivals = [started_at; INPUTS];
        // The table has the devices of these records at hand.
        let mut warm = [0; INPUTS];
        loop {
            // Before it is known whether there is more: where a step ended must follow from what it took.
            if self.core.touched.len() >= TOUCHED_MAX || work.records.len() >= limit {
                return Progress::Full;
            }
            let head = |index: usize| {
                let slot = input.queues[index].get(work.taken[index])?;
                Some((slot.append_time.max(arrivals[index]).min(clock), index))
            };
            let next = (0..INPUTS).filter_map(head).min();
            let to = next.map_or(clock, |(arrival, _)| arrival);
            if self.core.advance(to, limit) == Progress::Full || self.core.outputs.len() >= limit {
                return Progress::Full;
            }
            let Some((arrival, index)) = next else { return Progress::Done };
            arrivals[index] = arrival;
            self.habit.arrival(arrival);
            if work.taken[index] == warm[index] {
                let ahead = input.queues[index][warm[index]..].iter().take(WARM_MAX);
                warm[index] += ahead.len();
                self.core.table.warm(ahead.filter_map(|slot| Some(&input.arena[slot.key.clone()?])));
            }
            let slot = &input.queues[index][work.taken[index]];
            work.taken[index] += 1;
            self.fold(slot, input.arena, arrival, work);
        }
    }

    fn fold(&mut self, slot: &Slot, arena: &[u8], arrival: Timestamp, work: &mut Work) {
        let key = slot.key.clone().map(|range| &arena[range]);
        let value = slot.value.clone().map(|range| &arena[range]);
        let index = slot.topic as usize;
        work.consumed[index].record(slot.offset, slot.append_time, key, value);
        let content_type = decode::content_type(slot.headers.as_deref().unwrap_or_default());
        let record = RawRecord {
            key,
            value,
            content_type,
            partition: self.number,
            partitions: self.settings.partitions,
        };
        let limits = decode::Limits { bytes_max: self.settings.record_bytes_max };
        self.scratch.clear();
        let scratch = std::mem::take(&mut self.scratch);
        match decode::decode(&record, &scratch, &limits) {
            Ok(event) => {
                let outcome = self.apply(&event, slot, arrival);
                match outcome {
                    Outcome::Applied => work.tally.applied += 1,
                    Outcome::Ignored(reason) => work.tally.ignored[reason as usize] += 1,
                }
            }
            Err(reject) => {
                work.tally.rejected[reject.reason as usize] += 1;
                let source = dead_letter::Source {
                    topic: &self.settings.input_names[index],
                    partition: self.number,
                    offset: slot.offset,
                    timestamp: slot.append_time,
                };
                let bytes_max = self.settings.dead_letter_bytes_max;
                let mut letter =
                    dead_letter::dead_letter(key, value, content_type, &reject, &source, bytes_max);
                letter.headers.push(self.entry_header(work.records.len()));
                work.records.push(OutRecord {
                    topic: Topic::DeadLetter,
                    partition: self.number,
                    timestamp: arrival,
                    key: letter.key,
                    value: letter.value,
                    headers: letter.headers,
                });
            }
        }
        self.scratch = scratch;
    }

    fn apply(&mut self, event: &Event<'_>, slot: &Slot, arrival: Timestamp) -> Outcome {
        let observed_at = event.observed_at.unwrap_or(slot.append_time);
        let observed_at = self.core.clamp(observed_at, slot.append_time, arrival);
        let origin = Origin::Record { topic: slot.topic, partition: self.number, offset: slot.offset };
        self.core.apply(event, observed_at, origin)
    }

    /// The header that says to which entry an output of this step belongs.
    fn entry_header(&self, index: usize) -> Header {
        journal::entry_header(self.number, self.head.seq + 1, index)
    }

    /// Encodes what the step has to say, and seals its entry.
    fn tell(&mut self, input: &Input<'_>, work: Work, full: bool) -> Told {
        let Work { taken, consumed, mut records, tally, looked } = work;
        let clock = self.core.clock;
        let seq = self.head.seq + 1;
        let mut lateness = Vec::new();
        // Each output comes with a row at most; the entry and the partition's own rows besides.
        records.reserve(2 * self.core.outputs.len() + 4);
        // Written here first, so that what is kept until the commit takes no more than its length.
        let mut buffer = Vec::with_capacity(1024);
        for (index, told) in self.core.outputs.iter().enumerate() {
            if let Some(deadline) = &told.effect.cause.deadline {
                lateness.push(clock - deadline.at);
            }
            let (tenant, device_id) = split_key(&told.key);
            let identity = Identity { tenant, device_id, birth: told.birth };
            buffer.clear();
            output::encode(self.settings.format, &identity, &told.effect, &mut buffer);
            let id = match (&told.effect.kind, told.effect.cause.origin) {
                // Of these there is one of a kind in an entry, and they have no number of their own.
                _ if matches!(told.effect.cause.rule, Rule::Blind | Rule::BlindOver | Rule::Gap) => {
                    format!("audit:{}:{}:{seq}", self.number, told.effect.cause.rule).into_bytes()
                }
                // There is one for each command: its own place names it.
                (EffectKind::Audit(_), Origin::Record { topic, partition, offset }) => {
                    format!("audit:{topic}/{partition}/{offset}").into_bytes()
                }
                (EffectKind::Audit(_), _) => {
                    format!("audit:{}:{}", self.number, told.effect.sequence).into_bytes()
                }
                _ => output::id(&identity, told.effect.sequence),
            };
            records.push(OutRecord {
                topic: topic_of(&told.effect.kind),
                partition: self.number,
                timestamp: told.effect.at.max(STAMP_MIN),
                key: Some(told.key.as_bytes().to_vec()),
                value: Some(buffer.clone()),
                headers: vec![("id".into(), id), self.entry_header(index)],
            });
        }
        let previous = self.head;
        // Rows name the entry that writes them.
        self.head.seq = seq;
        let rows = self.changed_rows();
        let sweep_began = self.sweep.started_seq == 0 || self.sweep.started_seq == seq;
        let swept = self.sweep_rows(seq, &rows);
        for (index, key) in self.freed_keys().into_iter().enumerate() {
            // Other rows name their entry within.
            let headers = vec![journal::entry_header(self.number, seq, index)];
            records.push(OutRecord { headers, ..self.own_row(key, None) });
        }
        for number in rows.iter().chain(&swept.numbers) {
            records.extend(self.row(*number).map(|(key, value)| self.own_row(key, Some(value))));
        }
        let pack = self.settle_touched(sweep_began, &mut records);
        let entry = proto::JournalEntry {
            partition: self.number,
            epoch: self.head.epoch,
            seq,
            previous_hash: if previous.seq == 0 {
                Vec::new()
            } else {
                previous.hash.0.to_le_bytes().to_vec()
            },
            nonce: self.nonce,
            ranges: InputTopic::ALL
                .iter()
                .zip(&consumed)
                .filter(|(_, consumed)| consumed.to > consumed.from)
                .map(|(topic, consumed)| consumed.to_proto(*topic))
                .collect(),
            clock_ms: clock.millis(),
            deadlines_fired: self.core.fired,
            change_place: self.change_place(),
            outputs: journal::produced(&records),
            clock_pack: pack,
            sweep: Some(swept.span),
            floor: self.sweep.floor,
            state_hash: self.state_hash.to_le_bytes().to_vec(),
            fold_version: FOLD_VERSION,
            policy_version: xxh3_64(&policy::to_json(&self.core.policy)),
            output_format: match self.settings.format {
                Format::Json => proto::OutputFormat::Json as i32,
                Format::Protobuf => proto::OutputFormat::Protobuf as i32,
            },
            limits: Some(proto::Limits {
                effects_max: self.settings.effects_max as u32,
                record_bytes_max: self.settings.record_bytes_max as u32,
                dead_letter_bytes_max: self.settings.dead_letter_bytes_max as u32,
                refresh_ms: self.settings.refresh.0 as u64,
                sweep_rows_max: self.settings.sweep_rows_max,
            }),
            sight_ms: input.sight.map(Timestamp::millis),
            gap: input.gap.map(Gap::to_proto),
            blind: looked.then(|| input.blind.map_or(0, row::blind_number)),
            habit: self.habit.changed_since(&self.before.habit).map(row::hour_message).collect(),
            positions: self.positions.to_vec(),
            last_arrival_ms: (self.habit.last() != self.before.habit.last())
                .then(|| self.habit.last().millis()),
        };
        let (bytes, hash) = journal::seal(&entry);
        self.head = Head { epoch: self.head.epoch, seq, hash };
        records.push(OutRecord {
            topic: Topic::Journal,
            partition: self.number,
            timestamp: clock,
            key: Some(self.number.to_string().into_bytes()),
            value: Some(bytes),
            headers: Vec::new(),
        });
        Told { records, positions: self.positions, head: self.head, taken, full, tally, lateness }
    }

    fn change_place(&self) -> Option<proto::ChangePlace> {
        use super::core::Change;
        let pending = self.core.pending.as_ref()?;
        let kind = match pending.change {
            Change::NodeDown { .. } | Change::NodeReturned { .. } => 1,
            Change::Policy { .. } => 2,
            Change::Sight => 3,
        };
        let after_key = pending.after.as_deref().unwrap_or_default().as_bytes().to_vec();
        Some(proto::ChangePlace { kind, after_key })
    }

    /// Numbers whose rows changed beyond their clocks, rising.
    fn changed_rows(&self) -> Vec<u32> {
        let rewritten = self.core.touched.iter().filter(|touched| touched.rest.is_some());
        let mut numbers: Vec<u32> = rewritten.map(|touched| touched.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The next rows of the sweep, as many as the clock says; those that `changed` are told anyway.
    fn sweep_rows(&mut self, seq: u64, changed: &[u32]) -> Swept {
        let Settings { refresh, sweep_rows_max, .. } = *self.settings;
        let rows = self.sweep.go_on(seq, self.core.clock, self.core.table.high(), refresh, sweep_rows_max);
        let (from, to) = (rows.start, rows.end);
        let is_changed = |number: &u32| changed.binary_search(number).is_ok();
        let numbers = (from..to)
            .filter(|number| self.core.table.slot(*number).kind() != Kind::Free && !is_changed(number))
            .collect();
        let Sweep { next, started_at, started_seq, .. } = self.sweep;
        Swept { numbers, span: proto::Sweep { from, to, next, started_ms: started_at, started_seq } }
    }

    /// The row of a number as it stands: its key and value on `devices.state`; none for a free one.
    pub fn row(&self, number: u32) -> Option<(Box<str>, Vec<u8>)> {
        /// What a row has beyond its facts: entry, number, clocks.
        const REST: usize = 64;
        let slot = self.core.table.slot(number);
        let mut value = Vec::with_capacity(slot.row().len() + REST);
        match slot.kind() {
            Kind::Free => return None,
            Kind::Live => {
                let row = DeviceRow { facts: slot.row(), clocks: slot.clocks(), number };
                row::encode_row(self.head.seq, &Row::Device(row), &mut value);
            }
            Kind::Tombstone => {
                let (_, row) =
                    row::decode_row(slot.row()).expect("a tombstone in memory is one that we wrote");
                row::encode_row(self.head.seq, &row, &mut value);
            }
        }
        Some((slot.key().into(), value))
    }

    /// The partition's own rows: nodes, policy, and what else it keeps.
    pub fn own_rows(&self) -> Vec<(&'static str, Vec<u8>)> {
        let rows = [
            (key::NODES, Row::Nodes(self.core.nodes.clone())),
            (key::POLICY, self.policy_row()),
            (key::PARTITION, self.partition_row()),
        ];
        rows.into_iter().map(|(key, row)| (key, self.encoded(&row))).collect()
    }

    fn encoded(&self, row: &Row<'_>) -> Vec<u8> {
        let mut value = Vec::new();
        row::encode_row(self.head.seq, row, &mut value);
        value
    }

    fn policy_row(&self) -> Row<'static> {
        let predecessor = self.core.predecessor().cloned();
        Row::Policy(Box::new(PolicyRow { policy: (*self.core.policy).clone(), predecessor }))
    }

    fn partition_row(&self) -> Row<'static> {
        let pending = self.core.pending.as_ref().map(|pending| pending.to_row());
        Row::Partition(PartitionRow {
            sight: self.core.sight,
            sequence: self.core.sequence(),
            pending,
            blind: self.core.blind,
            habit: self.habit.clone(),
        })
    }

    /// Keys whose rows are gone: the tombstone of a deleted device stood long enough.
    fn freed_keys(&self) -> Vec<Box<str>> {
        let rests =
            self.core.touched.iter().filter_map(|touched| Some((touched.number, touched.rest.as_deref()?)));
        rests
            .filter(|(number, before)| {
                before.kind != Kind::Free && self.core.table.slot(*number).key() != &*before.key
            })
            .map(|(_, before)| before.key.clone())
            .filter(|key| self.core.table.find(key).is_none())
            .collect()
    }

    /// Brings the state hash up to date with what the step touched, packs the clocks that merely moved, and adds the
    /// rows of nodes, policy and partition that changed.
    fn settle_touched(&mut self, sweep_began: bool, records: &mut Vec<OutRecord>) -> Vec<u8> {
        let touched = std::mem::take(&mut self.core.touched);
        // Number and place as one: sorting then reads nothing else, and the first touch of a device comes first.
        let mut order: Vec<u64> =
            touched.iter().zip(0..).map(|(touched, place)| u64::from(touched.number) << 32 | place).collect();
        order.sort_unstable();
        let mut pack = PackWriter::new(self.core.clock);
        let at = |number_and_place: &u64| &touched[*number_and_place as u32 as usize];
        let (mut done, mut warm) = (0, 0);
        for same in order.chunk_by(|a, b| a >> 32 == b >> 32) {
            if done >= warm {
                let ahead = order[done..].iter().take(WARM_MAX);
                warm = done + ahead.len();
                self.core.table.warm_slots(ahead.map(|next| at(next).number));
            }
            done += same.len();
            let first = at(&same[0]);
            let number = first.number;
            let rest = same.iter().find_map(|touched| at(touched).rest.as_deref());
            self.rehash(number, first, rest);
            let slot = self.core.table.slot(number);
            if rest.is_none() {
                pack.device(number, &(&first.clocks).into(), &slot.clocks());
            }
        }
        self.core.touched = touched;
        let nodes = self.tell_nodes(sweep_began, records);
        self.tell_partition(sweep_began, records);
        pack.finish(&nodes)
    }

    fn rehash(&mut self, number: u32, first: &Touched, rest: Option<&super::core::Before>) {
        let slot = self.core.table.slot(number);
        let kind = rest.map_or(slot.kind(), |before| before.kind);
        let mut sum = self.state_hash;
        sum = sum.wrapping_sub(clocks_hash(kind, number, &(&first.clocks).into()));
        sum = sum.wrapping_add(clocks_hash(slot.kind(), number, &slot.clocks()));
        if let Some(before) = rest {
            sum = sum.wrapping_sub(row_hash(kind, number, &before.key, &before.row));
            sum = sum.wrapping_add(row_hash(slot.kind(), number, slot.key(), slot.row()));
        }
        self.state_hash = sum;
    }

    /// The nodes whose heartbeats merely moved; where more changed, the nodes' row.
    fn tell_nodes(&mut self, sweep_began: bool, records: &mut Vec<OutRecord>) -> Vec<(u32, Timestamp)> {
        let before = self.core.nodes_before();
        let after = &self.core.nodes;
        if before == after && (!sweep_began || after.0.is_empty()) {
            return Vec::new();
        }
        let sum = self.state_hash.wrapping_sub(nodes_hash(before)).wrapping_add(nodes_hash(after));
        // A sweep writes the partition's own rows at its start: the packs before it need not be kept.
        let moved = heartbeats(before, after).filter(|_| !sweep_began);
        self.state_hash = sum;
        match moved {
            Some(moved) => moved,
            None => {
                let value = self.encoded(&Row::Nodes(self.core.nodes.clone()));
                records.push(self.own_row(key::NODES, Some(value)));
                Vec::new()
            }
        }
    }

    fn tell_partition(&mut self, sweep_began: bool, records: &mut Vec<OutRecord>) {
        if self.core.policy_moved() || sweep_began {
            records.push(self.own_row(key::POLICY, Some(self.encoded(&self.policy_row()))));
        }
        if self.core.partition_moved() || sweep_began {
            records.push(self.own_row(key::PARTITION, Some(self.encoded(&self.partition_row()))));
        }
    }

    fn own_row(&self, key: impl Into<String>, value: Option<Vec<u8>>) -> OutRecord {
        OutRecord {
            topic: Topic::State,
            partition: self.number,
            timestamp: self.core.clock.max(STAMP_MIN),
            key: Some(key.into().into_bytes()),
            value,
            headers: Vec::new(),
        }
    }
}

struct Work {
    taken: [usize; INPUTS],
    consumed: [Consumed; INPUTS],
    records: Vec<OutRecord>,
    tally: Tally,
    /// Whether it was told why the monitor cannot judge.
    looked: bool,
}

struct Swept {
    numbers: Vec<u32>,
    span: proto::Sweep,
}

fn topic_of(kind: &EffectKind) -> Topic {
    match kind {
        EffectKind::Status(_) => Topic::Status,
        EffectKind::Alarm(_) => Topic::Alarms,
        EffectKind::Log(_) => Topic::ConnectionLog,
        EffectKind::Audit(_) => Topic::Audit,
    }
}
