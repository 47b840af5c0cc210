//! The step of a partition: however the input is cut, wherever a transaction is aborted and wherever the partition is
//! recovered from rows and packs, it says what `fold` says of the same order of arrival (SEMANTICS law 2).

use std::collections::BTreeMap;
use std::sync::Arc;

use lastseen::domain::effect::{Blind, InputTopic};
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::journal;
use lastseen::engine::recovery::{Recovery, hash_of};
use lastseen::engine::step::{Input, Partition, Settings, Told};
use lastseen::fold::{FoldClock, FoldOptions, run};
use lastseen::log::{INPUTS, Inbox, OutRecord, Scanned, Topic};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::generator::{Knobs, inputs};
use crate::model::{self, Body};

/// An event, when it arrives and on which topic.
pub struct Arrival {
    pub at: i64,
    pub topic: InputTopic,
    pub line: String,
    pub key: Option<String>,
}

/// Gives every event of a history a moment of arrival of its own, 7 s after the one before; a tick waits longer.
pub fn arrivals(history: &[model::Input]) -> (Vec<Arrival>, i64) {
    let mut at = model::START;
    let mut arrivals = Vec::new();
    for input in history {
        match input {
            model::Input::Tick(_) | model::Input::Sight(_) => at += 95_000,
            model::Input::Event(event) => {
                at += 7_000;
                let topic = match event.body {
                    Body::Connected { .. } | Body::Disconnected { .. } | Body::ConnectFailed { .. } => {
                        InputTopic::Connections
                    }
                    Body::Activity { .. } => InputTopic::Activity,
                    _ => InputTopic::Control,
                };
                let key = (!event.is_broadcast()).then(|| format!("{}/{}", event.tenant, event.device_id));
                arrivals.push(Arrival { at, topic, line: input.to_line(), key });
            }
        }
    }
    (arrivals, at + 3_600_000)
}

/// What an output says, without its place in the log and the clock reading that it was concluded at.
pub fn essence(mut output: Value) -> Value {
    let fields = output.as_object_mut().expect("outputs are objects");
    fields.remove("recordedAt");
    fields.remove("topic");
    fields.remove("birth");
    if let Some(cause) = fields.get_mut("cause").and_then(Value::as_object_mut) {
        for place in ["line", "topic", "partition", "offset"] {
            cause.remove(place);
        }
    }
    output
}

pub fn folded(arrivals: &[Arrival], end: i64) -> Vec<Value> {
    let mut text = String::new();
    for arrival in arrivals {
        text += &json!({ "tick": Timestamp::from_millis(arrival.at).to_string() }).to_string();
        text.push('\n');
        text += &arrival.line;
        text.push('\n');
    }
    let options = FoldOptions {
        clock: FoldClock::Ticks,
        until: Some(Timestamp::from_millis(end)),
        ..FoldOptions::default()
    };
    let mut output = Vec::new();
    run(&options, text.as_bytes(), &mut output).expect("memory does not fail");
    let lines = String::from_utf8(output).expect("UTF-8");
    let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    values.filter(|value| value["topic"] != "dead-letter").map(essence).collect()
}

pub struct Run {
    pub partition: Partition,
    settings: Arc<Settings>,
    /// `devices.state` and `devices.journal` as they were committed.
    state: Vec<OutRecord>,
    journal: Vec<OutRecord>,
    /// Everything that was committed, in order.
    pub committed: Vec<OutRecord>,
    outputs: Vec<Value>,
    dead: usize,
}

impl Run {
    fn new(settings: Settings) -> Run {
        let settings = Arc::new(settings);
        Run {
            partition: Partition::new(0, settings.clone(), 1),
            settings,
            state: Vec::new(),
            journal: Vec::new(),
            committed: Vec::new(),
            outputs: Vec::new(),
            dead: 0,
        }
    }

    fn commit(&mut self, told: Told) {
        self.committed.extend(told.records.iter().cloned());
        for record in told.records {
            match record.topic {
                Topic::State => self.state.push(record),
                Topic::Journal => self.journal.push(record),
                Topic::DeadLetter => self.dead += 1,
                _ => {
                    let value = record.value.expect("outputs have values");
                    let output: Value = serde_json::from_slice(&value).expect("JSON");
                    // `fold` is never blind.
                    if output["command"] != "blind" {
                        self.outputs.push(essence(output));
                    }
                }
            }
        }
        assert_eq!(hash_of(&self.partition), self.partition.state_hash, "the state hash is kept up to date");
    }

    /// A partition made from what is on the log, and nothing else; `from_floor`: of the journal only what the floor asks
    /// for.
    fn recover(&mut self, from_floor: bool) {
        let mut recovery = Recovery::new(0, self.settings.clone(), 1);
        let mut latest: BTreeMap<Vec<u8>, (usize, Option<Vec<u8>>)> = BTreeMap::new();
        for (index, record) in self.state.iter().enumerate() {
            latest.insert(record.key.clone().expect("rows have keys"), (index, record.value.clone()));
        }
        // As compaction leaves them: the latest of each key, in order of offset.
        let mut rows: Vec<_> = latest.into_iter().map(|(key, (index, value))| (index, key, value)).collect();
        rows.sort();
        for (_, key, value) in rows {
            let key = String::from_utf8(key).expect("keys are text");
            recovery.row(&key, value.as_deref()).expect("a row that was written can be read");
        }
        let entry = |record: &OutRecord| {
            journal::open(record.value.as_deref().expect("entries have values")).expect("an entry")
        };
        let floor = self.journal.last().map_or(0, |newest| entry(newest).entry.floor);
        for entry in self.journal.iter().map(entry).filter(|entry| !from_floor || entry.entry.seq >= floor) {
            recovery.entry(entry).expect("the chain holds");
        }
        let recovered = recovery.finish(None).expect("the state hash agrees");
        assert_eq!(recovered.positions, self.partition.positions);
        assert_eq!(recovered.core.clock, self.partition.core.clock);
        assert_eq!(recovered.core.nodes, self.partition.core.nodes);
        assert_eq!(recovered.core.policy, self.partition.core.policy);
        assert_eq!(recovered.head.seq, self.partition.head.seq);
        assert_eq!(recovered.sweep, self.partition.sweep);
        assert_eq!(recovered.habit, self.partition.habit);
        assert_eq!(recovered.core.blind, self.partition.core.blind);
        assert_eq!(recovered.core.sight, self.partition.core.sight);
        assert_eq!(recovered.core.table.high(), self.partition.core.table.high());
        for number in 0..recovered.core.table.high() {
            let (ours, theirs) = (recovered.core.table.slot(number), self.partition.core.table.slot(number));
            assert_eq!(
                (ours.key(), ours.kind(), ours.row(), ours.clocks()),
                (theirs.key(), theirs.kind(), theirs.row(), theirs.clocks())
            );
        }
        self.partition = recovered;
    }
}

/// What happens between two clock readings.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// How far the next reading lies ahead.
    pub millis: i64,
    /// The transaction of this step is aborted first.
    pub abort: bool,
    /// The partition is recovered afterwards, from all of the journal or from its floor.
    pub recover: bool,
    pub from_floor: bool,
    /// The monitor is blind at this reading.
    pub blind: Option<Blind>,
}

pub fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = (
        prop_oneof![1..9_000i64, 1_000..200_000i64, Just(7_000)],
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        any::<bool>(),
        prop::option::weighted(0.1, prop::sample::select(Blind::ALL)),
    )
        .prop_map(|(millis, abort, recover, from_floor, blind)| Cut {
            millis,
            abort,
            recover,
            from_floor,
            blind,
        });
    proptest::collection::vec(cut, 1..40)
}

pub fn play(arrivals: &[Arrival], end: i64, cuts: &[Cut], settings: Settings) -> Run {
    let mut inbox = Inbox::default();
    let mut offsets = [0u64; INPUTS];
    for arrival in arrivals {
        let index = arrival.topic as usize;
        inbox.push(
            arrival.topic,
            0,
            Scanned {
                offset: offsets[index],
                timestamp: Timestamp::from_millis(arrival.at),
                key: arrival.key.as_deref().map(str::as_bytes),
                value: Some(arrival.line.as_bytes()),
                headers: &[],
            },
        );
        offsets[index] += 1;
    }
    let mut queues: [Vec<_>; INPUTS] = Default::default();
    for slot in inbox.slots.drain(..) {
        queues[slot.topic as usize].push(slot);
    }
    let mut run = Run::new(settings);
    let mut clock = model::START;
    let mut turn = 0;
    loop {
        let cut = cuts[turn % cuts.len()];
        turn += 1;
        clock = (clock + cut.millis).min(end);
        let mut more = true;
        let mut abort = cut.abort;
        while more {
            let now = Timestamp::from_millis(clock);
            let eligible = queues
                .each_ref()
                .map(|queue| queue.iter().take_while(|slot| slot.append_time <= now).count());
            let positions = std::array::from_fn(|index| {
                queues[index].get(eligible[index]).map_or(offsets[index], |slot| slot.offset)
            });
            let taken = std::array::from_fn(|index| &queues[index][..eligible[index]]);
            let input = Input { blind: cut.blind, ..Input::new(taken, &inbox.arena, positions, now) };
            let Some(told) = run.partition.step(&input) else { break };
            if std::mem::take(&mut abort) {
                run.partition.roll_back();
                continue;
            }
            more = told.full;
            for (queue, taken) in queues.iter_mut().zip(told.taken) {
                queue.drain(..taken);
            }
            run.commit(told);
        }
        if cut.recover && run.partition.head.seq > 0 {
            run.recover(cut.from_floor);
        }
        if clock == end {
            return run;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_says_what_fold_says_however_it_is_cut(
        history in inputs(Knobs::everything()),
        cuts in cuts(),
        effects_max in prop_oneof![Just(1usize), Just(3), Just(1000)],
    ) {
        let (arrivals, end) = arrivals(&history);
        let settings = Settings {
            effects_max,
            partitions: 1,
            refresh: Millis::from_seconds(600),
            ..Settings::default()
        };
        let run = play(&arrivals, end, &cuts, settings);
        let expected = folded(&arrivals, end);
        for (index, (ours, theirs)) in run.outputs.iter().zip(&expected).enumerate() {
            prop_assert_eq!(ours, theirs, "output {} of {}", index, expected.len());
        }
        prop_assert_eq!(run.outputs.len(), expected.len());
    }
}

/// The return of sight gives every monitored device another row and tells nothing: the rows of a large partition must not
/// all be in one transaction.
#[test]
fn a_change_of_every_row_is_cut_and_goes_on() {
    const DEVICES: i64 = 45_000;
    let arrivals = (0..DEVICES).map(|device| Arrival {
        at: model::START + 1 + device / 1_000,
        topic: InputTopic::Control,
        line: json!({ "tenant": "acme", "deviceId": format!("d{device}"), "requiredInterval": { "minutes": 30 } })
            .to_string(),
        key: Some(format!("acme/d{device}")),
    });
    let arrivals: Vec<Arrival> = arrivals.collect();
    let cut = Cut { millis: 1_000, abort: false, recover: false, from_floor: false, blind: None };
    let settings = Settings { sweep_rows_max: 0, ..Settings::default() };
    let mut run = play(&arrivals, model::START + 60_000, &[cut], settings);
    let now = Timestamp::from_millis(model::START + 61_000);
    let (mut sight, mut rows, mut more) = (Some(now), Vec::new(), true);
    while more {
        let positions = run.partition.positions;
        let input = Input { sight: sight.take(), ..Input::new([&[]; INPUTS], &[], positions, now) };
        let told = run.partition.step(&input).expect("there is something to do");
        let is_device = |record: &&OutRecord| {
            record.topic == Topic::State && record.key.as_ref().is_some_and(|key| key.starts_with(b"acme/"))
        };
        rows.push(told.records.iter().filter(is_device).count());
        more = told.full;
        run.commit(told);
        // What is left of it is known from the log alone.
        run.recover(false);
    }
    assert_eq!(rows, [20_000, 20_000, 5_000]);
}
