//! The laws of SEMANTICS §10 for the real fold, held against the slow model that was written from SEMANTICS alone and
//! shares no function with the domain.

use lastseen::fold::{FoldOptions, run};
use proptest::prelude::*;
use serde_json::Value;

use crate::model::generator::{Knobs, inputs};
use crate::model::{Clock, Input, Model, check_facts, check_inputs};

fn fold(inputs: &[Input]) -> (Vec<Value>, Vec<Value>) {
    let mut text = String::new();
    for input in inputs {
        text.push_str(&input.to_line());
        text.push('\n');
    }
    let mut output = Vec::new();
    let options = FoldOptions { state: true, ..FoldOptions::default() };
    run(&options, text.as_bytes(), &mut output).expect("folding from memory to memory cannot fail");
    let text = String::from_utf8(output).expect("fold writes UTF-8");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("fold writes JSON"));
    lines.partition(|line| line["topic"] != "state")
}

/// The real fold and the model say the same: every output, and at the end every fact.
fn agree(inputs: &[Input]) -> Result<(), TestCaseError> {
    let model = Model::fold(Clock::Observed, inputs);
    let (outputs, states) = fold(inputs);
    let told: Vec<Value> = outputs.into_iter().filter(|output| output["topic"] != "audit").collect();
    check_inputs(inputs, &told, model.outputs()).map_err(TestCaseError::fail)?;
    for state in &states {
        let key = format!(
            "{}/{}",
            state["tenant"].as_str().unwrap_or(""),
            state["deviceId"].as_str().unwrap_or("")
        );
        let facts =
            model.facts(&key).ok_or_else(|| TestCaseError::fail(format!("the model has no {key}")))?;
        check_facts(&key, state, &facts).map_err(|problem| {
            let lines: Vec<String> = inputs.iter().map(Input::to_line).collect();
            TestCaseError::fail(format!("{problem}\n{}", lines.join("\n")))
        })?;
    }
    Ok(())
}

macro_rules! agreement {
    ($($name:ident: $knobs:expr;)+) => {
        $(proptest! {
            #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
            #[test]
            fn $name(history in inputs($knobs)) {
                agree(&history)?;
            }
        })+
    };
}

agreement! {
    sessions_agree_with_the_model: Knobs::sessions();
    many_sessions_agree_with_the_model: Knobs::many_sessions();
    sequences_agree_with_the_model: Knobs::sequences();
    starts_agree_with_the_model: Knobs::started();
    mixed_evidence_agrees_with_the_model: Knobs::mixed_evidence();
    nodes_agree_with_the_model: Knobs::nodes();
    long_polls_agree_with_the_model: Knobs::long_poll();
    availability_agrees_with_the_model: Knobs::availability();
    alarms_agree_with_the_model: Knobs::alarms();
    the_overall_word_agrees_with_the_model: Knobs::overall();
    everything_agrees_with_the_model: Knobs::everything();
}
