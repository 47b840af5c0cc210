//! The laws of SEMANTICS §10 for the real fold, and its agreement with the slow model that was written from SEMANTICS
//! alone and shares no function with the domain.

use std::collections::{BTreeMap, BTreeSet};

use lastseen::domain::clocks::Clocks;
use lastseen::domain::effect::{AlarmState, ClearReason, EffectKind, Origin, Outcome};
use lastseen::domain::facet::{Availability, Facet};
use lastseen::domain::monitoring::UNAVAILABILITY;
use lastseen::domain::time::Timestamp;
use lastseen::engine::core::{Core, Output, Progress};
use lastseen::engine::table::Kind;
use lastseen::fold::{FoldClock, FoldOptions, FoldSummary, run};
use lastseen::wire::decode::{Limits, Line, Scratch, decode_line};
use proptest::prelude::*;
use serde_json::Value;

use crate::model::generator::{Knobs, inputs, lines};
use crate::model::lives::{Lives, lives, settled};
use crate::model::{Clock, Input, Model, check_facts, check_inputs};

/// Cases of each law: `PROPTEST_CASES` says otherwise.
fn config(cases: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(cases);
    ProptestConfig { cases, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Runs a law, and says which lines break it: the values as Rust prints them are of no use to anybody.
fn law<T: std::fmt::Debug>(
    cases: u32,
    strategy: impl Strategy<Value = T>,
    test: impl Fn(T) -> Result<(), String>,
) {
    let mut runner = proptest::test_runner::TestRunner::new(config(cases));
    match runner.run(&strategy, |value| test(value).map_err(TestCaseError::fail)) {
        Ok(()) => {}
        Err(proptest::test_runner::TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(other) => panic!("{other}"),
    }
}

struct Folded {
    bytes: Vec<u8>,
    outputs: Vec<Value>,
    states: Vec<Value>,
    summary: FoldSummary,
}

fn fold_text(clock: FoldClock, text: &str) -> Folded {
    let mut bytes = Vec::new();
    let options = FoldOptions { state: true, clock, ..FoldOptions::default() };
    let summary =
        run(&options, text.as_bytes(), &mut bytes).expect("folding from memory to memory cannot fail");
    let text = std::str::from_utf8(&bytes).expect("fold writes UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("fold writes JSON"));
    let (outputs, states) = lines.partition(|line| line["topic"] != "state");
    Folded { outputs, states, summary, bytes }
}

/// The real fold and the model say the same: every output, and at the end every fact.
fn agree(clock: FoldClock, inputs: &[Input]) -> Result<(), String> {
    let mode = match clock {
        FoldClock::Observed => Clock::Observed,
        FoldClock::Ticks => Clock::Ticks,
    };
    let model = Model::fold(mode, inputs);
    let folded = fold_text(clock, &lines(inputs));
    check_inputs(inputs, &folded.outputs, model.outputs())?;
    let key = |state: &Value| {
        format!("{}/{}", state["tenant"].as_str().unwrap_or(""), state["deviceId"].as_str().unwrap_or(""))
    };
    let there: Vec<String> = folded.states.iter().map(key).collect();
    if there != model.devices() {
        return Err(format!("devices: monitor {there:?}, model {:?}\n{}", model.devices(), lines(inputs)));
    }
    for state in &folded.states {
        let facts = model.facts(&key(state)).expect("it is there");
        check_facts(&key(state), state, &facts).map_err(|problem| format!("{problem}\n{}", lines(inputs)))?;
    }
    Ok(())
}

macro_rules! agreement {
    ($($name:ident: $cases:literal, $clock:ident, $knobs:expr;)+) => {
        $(#[test]
        fn $name() {
            law($cases, inputs($knobs), |history| agree(FoldClock::$clock, &history));
        })+
    };
}

agreement! {
    sessions_agree_with_the_model: 2000, Observed, Knobs::sessions();
    many_sessions_agree_with_the_model: 2000, Observed, Knobs::many_sessions();
    sequences_agree_with_the_model: 2000, Observed, Knobs::sequences();
    starts_agree_with_the_model: 2000, Observed, Knobs::started();
    mixed_evidence_agrees_with_the_model: 2000, Observed, Knobs::mixed_evidence();
    nodes_agree_with_the_model: 2000, Observed, Knobs::nodes();
    long_polls_agree_with_the_model: 2000, Observed, Knobs::long_poll();
    availability_agrees_with_the_model: 2000, Observed, Knobs::availability();
    alarms_agree_with_the_model: 2000, Observed, Knobs::alarms();
    the_overall_word_agrees_with_the_model: 2000, Observed, Knobs::overall();
    everything_agrees_with_the_model: 2000, Observed, Knobs::everything();
    the_exotic_agrees_with_the_model: 2000, Observed, Knobs::exotic();
    exotic_sessions_agree_with_the_model: 2000, Observed, Knobs::exotic_sessions();
    exotic_long_polls_agree_with_the_model: 2000, Observed, Knobs::exotic_long_poll();
    long_polls_with_ticks_agree_with_the_model: 2000, Ticks, Knobs::long_poll().with_ticks();
    availability_with_ticks_agrees_with_the_model: 2000, Ticks, Knobs::availability().with_ticks();
    everything_with_ticks_agrees_with_the_model: 2000, Ticks, Knobs { future: true, ..Knobs::everything() }.with_ticks();
    the_exotic_with_ticks_agrees_with_the_model: 2000, Ticks, Knobs::exotic().with_ticks();
}

/// Law 1: the same input, byte-identical outputs and state.
#[test]
fn the_same_input_gives_the_same_bytes() {
    law(1000, inputs(Knobs::exotic()), |history| {
        let text = lines(&history);
        let (one, two) = (fold_text(FoldClock::Observed, &text), fold_text(FoldClock::Observed, &text));
        if one.bytes == two.bytes { Ok(()) } else { Err(text) }
    });
}

/// The core of a partition as `fold` drives it, input by input, in steps of any size.
struct Steps {
    core: Core,
    ticked: bool,
    line: u64,
    outputs: Vec<Output>,
}

impl Steps {
    fn new() -> Steps {
        let mut core = Core::default();
        core.begin_step();
        Steps { core, ticked: false, line: 0, outputs: Vec::new() }
    }

    /// One input; a step ends whenever it has `limit` outputs.
    fn feed(&mut self, line: &str, limit: usize) {
        let scratch = Scratch::new();
        self.line += 1;
        match decode_line(line.as_bytes(), &scratch, &Limits::default()).expect("an input") {
            Line::Tick(at) => {
                self.ticked = true;
                self.advance(at, limit);
            }
            Line::Sight(at) => {
                self.ticked = true;
                if at >= self.core.clock {
                    self.core.see(at);
                }
                self.advance(at, limit);
            }
            Line::Event(event) => {
                let mut at = event.observed_at.expect("the histories have times");
                if self.ticked {
                    at = self.core.clamp(at, self.core.clock, self.core.clock);
                }
                self.advance(at, limit);
                let _ = self.core.apply(&event, at, Origin::Line(self.line));
                self.advance(at, limit);
            }
        }
    }

    fn advance(&mut self, to: Timestamp, limit: usize) {
        while self.core.advance(to.max(self.core.clock), limit) == Progress::Full {
            self.end_step();
        }
    }

    fn end_step(&mut self) {
        self.outputs.append(&mut self.core.outputs);
        self.core.begin_step();
    }

    /// Every row of the table, as bytes, and what is beside them.
    fn state(&self) -> String {
        let mut text = format!("{:?} {:?} {:?}\n", self.core.clock, self.core.sight, self.core.nodes);
        for number in self.core.table.in_key_order(None) {
            let slot = self.core.table.slot(number);
            text += &format!(
                "{number} {} {:?} {:?} {:02x?}\n",
                slot.key(),
                slot.kind(),
                slot.clocks(),
                slot.row()
            );
        }
        text
    }
}

/// Law 2: however the same order of arrival is cut into steps, and wherever one is given up and done again: the same
/// outputs, the same state.
#[test]
fn the_cut_into_steps_decides_nothing() {
    let cuts = proptest::collection::vec((1usize..6, 0u8..4), 64);
    law(1500, (inputs(Knobs::exotic()), cuts), |(history, cuts)| {
        let mut whole = Steps::new();
        let mut cut = Steps::new();
        for (place, input) in history.iter().enumerate() {
            let line = input.to_line();
            whole.feed(&line, usize::MAX);
            let (limit, act) = cuts[place % cuts.len()];
            match act {
                // A step of its own, whose transaction fails the first time.
                0 => {
                    cut.end_step();
                    let (ticked, clamped) = (cut.ticked, cut.core.clamped);
                    let before = cut.state();
                    cut.feed(&line, usize::MAX);
                    cut.core.roll_back();
                    cut.line -= 1;
                    cut.ticked = ticked;
                    cut.core.clamped = clamped;
                    if cut.state() != before {
                        return Err(format!(
                            "rolled back, line {} left something\n{}",
                            place + 1,
                            lines(&history)
                        ));
                    }
                    cut.feed(&line, limit);
                }
                1 => {
                    cut.end_step();
                    cut.feed(&line, limit);
                }
                _ => cut.feed(&line, limit),
            }
        }
        whole.end_step();
        cut.end_step();
        if whole.outputs != cut.outputs || whole.state() != cut.state() {
            return Err(format!("cut {cuts:?}\n{}", lines(&history)));
        }
        Ok(())
    });
}

/// Law 3 and SEMANTICS §3: duplicates, and re-ordering of connection events that carry ids and one common kind of
/// evidence, end in the same facts as the clean order.
#[test]
fn re_ordered_connection_events_end_in_the_same_facts() {
    law(5000, lives(), |Lives { clean, mixed }| {
        let facts = |events: &[Input]| {
            let folded = fold_text(FoldClock::Observed, &lines(events));
            folded.states.first().cloned().map(settled)
        };
        let (one, two) = (facts(&clean), facts(&mixed));
        if one == two { Ok(()) } else { Err(format!("{one:?}\nbut mixed\n{two:?}\n{}", lines(&mixed))) }
    });
}

/// Law 3: an event that comes once more, anywhere later, changes no output and no fact.
#[test]
fn a_duplicate_changes_nothing() {
    // Law 3 excepts control events, deletes, events without a session id; and it does not reach long_poll.
    let quiet = |knobs| Knobs { duplicate: 0, without_id: 0, delete: 0, policy: 0, maintenance: 0, ..knobs };
    let knobs = prop_oneof![
        Just(quiet(Knobs::sessions())),
        Just(quiet(Knobs::sequences())),
        Just(quiet(Knobs::nodes())),
        Just(quiet(Knobs::availability())),
        Just(quiet(Knobs::overall())),
    ];
    let cases = (knobs.prop_flat_map(inputs), any::<u16>(), any::<u16>());
    law(3000, cases, |(history, which, place)| {
        let which = usize::from(which) % history.len();
        let line = history[which].to_line();
        let is_plain = ["\"connected\"", "\"disconnected\"", "\"connectFailed\"", "\"activity\""];
        // Of equal times the later arrival names the last activity, and a taken-over notice may be of a session that
        // was not known.
        let takes_over = ["taken_over", "142", "288"];
        if !is_plain.iter().any(|body| line.contains(body))
            || takes_over.iter().any(|word| line.contains(word))
        {
            return Ok(());
        }
        let place = which + 1 + usize::from(place) % (history.len() - which);
        let mut twice = history.clone();
        twice.insert(place, history[which].clone());
        let (one, two) = (
            fold_text(FoldClock::Observed, &lines(&history)),
            fold_text(FoldClock::Observed, &lines(&twice)),
        );
        let told = |folded: &Folded| {
            let mut told = folded.outputs.clone();
            // Lines are counted, and notices of unknown sessions are logged each time.
            told.retain(|output| output["topic"] != "audit");
            told.iter_mut().for_each(|output| output["cause"] = Value::Null);
            told
        };
        let states = |folded: &Folded| {
            let mut states = folded.states.clone();
            states.iter_mut().for_each(|state| state["lastActivityEvent"] = Value::Null);
            states
        };
        if told(&one) == told(&two) && states(&one) == states(&two) {
            return Ok(());
        }
        Err(format!("line {} once more as line {}\n{}", which + 1, place + 1, lines(&twice)))
    });
}

/// Whether it tells of a delete that took effect.
fn is_delete(output: &Output) -> bool {
    matches!(&output.effect.kind, EffectKind::Audit(entry) if entry.command == "delete" && entry.outcome == Outcome::Applied)
}

/// Law 4: the clocks of SEMANTICS §4, the partition clock and the sequences never go back; sequences have no gaps.
#[test]
fn clocks_and_sequences_never_go_back() {
    law(2000, inputs(Knobs { delete: 3, ..Knobs::exotic() }), |history| {
        let mut steps = Steps::new();
        let mut clocks: BTreeMap<Box<str>, Clocks> = BTreeMap::new();
        let mut looked_at = 0;
        for input in &history {
            steps.feed(&input.to_line(), usize::MAX);
            steps.end_step();
            // A delete and what follows may come in one step, even at one moment: another life.
            for output in steps.outputs[looked_at..].iter().filter(|output| is_delete(output)) {
                clocks.remove(&*output.key);
            }
            looked_at = steps.outputs.len();
            for number in steps.core.table.in_key_order(None) {
                let slot = steps.core.table.slot(number);
                if slot.kind() != Kind::Live {
                    clocks.remove(slot.key());
                    continue;
                }
                let now = slot.clocks();
                if let Some(old) = clocks.insert(slot.key().into(), now) {
                    let went_back = now.last_message < old.last_message
                        || now.last_activity < old.last_activity
                        || now.last_poll < old.last_poll;
                    if went_back {
                        return Err(format!("{}: {old:?} became {now:?}\n{}", slot.key(), lines(&history)));
                    }
                }
            }
        }
        if !steps.outputs.is_sorted_by_key(|output| output.effect.recorded_at) {
            return Err(format!("recordedAt went back\n{}", lines(&history)));
        }
        let mut last: BTreeMap<&str, (Timestamp, u64)> = BTreeMap::new();
        // A delete that was observed longer ago than a tombstone stands leaves none: the next life begins at once, and
        // in a clock that stands at the very moment of the birth before.
        let mut deleted = BTreeSet::new();
        for output in &steps.outputs {
            let Output { key, birth, effect } = output;
            let (old_birth, old) = last.get(&**key).copied().unwrap_or((*birth, 0));
            let is_numbered = key.is_empty() || !matches!(effect.kind, EffectKind::Audit(_));
            let wanted = old + u64::from(is_numbered);
            // After the tombstone is gone, numbers of a new life start at 1 again.
            let starts_anew = (old_birth != *birth || deleted.contains(&**key))
                && effect.sequence == u64::from(is_numbered);
            if effect.sequence != wanted && !starts_anew {
                return Err(format!("{key}: {} after {old}\n{}", effect.sequence, lines(&history)));
            }
            if effect.sequence != wanted {
                deleted.remove(&**key);
            }
            if is_delete(output) {
                deleted.insert(&**key);
            }
            last.insert(key, (*birth, effect.sequence));
        }
        Ok(())
    });
}

/// Law 5: an alarm is open exactly while availability is UNAVAILABLE, but for maintenance in between, an alarm cleared
/// by command, and one that the policy drops.
#[test]
fn an_alarm_is_open_exactly_while_unavailable() {
    #[derive(Default)]
    struct Seen {
        unavailable: bool,
        open: bool,
        /// Maintenance came since it was raised.
        maintenance: bool,
        /// No alarm of this unavailability was wanted, or a person cleared it.
        quiet: bool,
    }
    let knobs = prop_oneof![
        Just(Knobs::availability()),
        Just(Knobs::alarms()),
        Just(Knobs::exotic()),
        Just(Knobs::everything())
    ];
    law(3000, knobs.prop_flat_map(inputs), |history| {
        let mut steps = Steps::new();
        let mut devices: BTreeMap<Box<str>, Seen> = BTreeMap::new();
        for (place, input) in history.iter().enumerate() {
            let drops = |core: &Core| core.policy.alarm_rule(UNAVAILABILITY).is_some_and(|rule| rule.drop);
            // A deadline before a policy fires by the one before it.
            let dropped = drops(&steps.core);
            steps.feed(&input.to_line(), usize::MAX);
            let drops = dropped || drops(&steps.core);
            for Output { key, effect, .. } in &steps.core.outputs {
                let seen = devices.entry(key.clone()).or_default();
                match &effect.kind {
                    EffectKind::Status(status) => {
                        let changes =
                            status.changes.iter().filter(|change| change.facet == Facet::Availability);
                        for change in changes {
                            seen.unavailable = change.to == Availability::Unavailable.word();
                            seen.maintenance |= seen.open && change.to == Availability::Maintenance.word();
                            if seen.unavailable {
                                seen.quiet = drops;
                            }
                        }
                    }
                    EffectKind::Alarm(alarm) => {
                        seen.open = alarm.state != AlarmState::Cleared;
                        seen.maintenance &= seen.open;
                        seen.quiet |= alarm.reason == Some(ClearReason::Command);
                    }
                    _ => {}
                }
            }
            steps.end_step();
            for (key, seen) in &devices {
                let lawful = match (seen.unavailable, seen.open) {
                    (true, true) | (false, false) => true,
                    (true, false) => seen.quiet,
                    (false, true) => seen.maintenance,
                };
                let number = steps.core.table.find(key);
                let number = number.filter(|number| steps.core.table.slot(*number).kind() == Kind::Live);
                let said = number.map(|number| steps.core.device(number));
                let agrees = said.is_none_or(|device| {
                    let open = device.verdict.is_some_and(|verdict| verdict.alarm.is_some());
                    let unavailable = device.facets.availability == Availability::Unavailable;
                    (unavailable, open) == (seen.unavailable, seen.open)
                });
                if !lawful || !agrees {
                    let at = place + 1;
                    return Err(format!(
                        "{key}, after line {at}: unavailable {}, alarm open {}\n{}",
                        seen.unavailable,
                        seen.open,
                        lines(&history)
                    ));
                }
            }
        }
        Ok(())
    });
}

/// Law 6: each event ends as exactly one of applied, ignored, dead-lettered.
#[test]
fn the_tallies_add_up() {
    const BAD: [&str; 5] = [
        "{",
        r#"{"tenant":"acme","deviceId":"p1","observedAt":"2026-01-01T00:00:00Z"}"#,
        r#"{"tenant":"acme","deviceId":"a/b","observedAt":"2026-01-01T00:00:00Z","maintenance":{"on":true}}"#,
        r#"{"tenant":"acme","deviceId":"p1","observedAt":"2026-01-01T00:00:00Z","activity":{"kind":"dance"}}"#,
        r#"{"tenant":"acme","deviceId":"p1","observedAt":"noon","activity":{"kind":"ping"}}"#,
    ];
    let bad = proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6);
    law(1500, (inputs(Knobs::exotic()), bad), |(history, bad)| {
        let mut text: Vec<String> = history.iter().map(Input::to_line).collect();
        for (place, which) in &bad {
            text.insert(place.index(text.len()), (*which.get(&BAD)).into());
        }
        text.push(String::new());
        let FoldSummary { lines, applied, ignored, rejected, outputs, .. } = {
            let folded = fold_text(FoldClock::Observed, &text.join("\n"));
            let dead = folded.outputs.iter().filter(|output| output["topic"] == "dead-letter").count() as u64;
            if dead != folded.summary.rejected || folded.outputs.len() as u64 - dead != folded.summary.outputs
            {
                return Err(format!("{:?} with {dead} dead letters\n{}", folded.summary, text.join("\n")));
            }
            folded.summary
        };
        let events = history.iter().filter(|input| matches!(input, Input::Event(_))).count() as u64;
        let adds_up = rejected == bad.len() as u64 && applied + ignored == events;
        if adds_up && lines as usize == history.len() + bad.len() {
            return Ok(());
        }
        Err(format!("{applied} + {ignored} + {rejected} of {lines}, {outputs} outputs\n{}", text.join("\n")))
    });
}
