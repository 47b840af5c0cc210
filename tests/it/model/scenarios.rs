//! The stories of `tests/scenarios/` through the model, by the rules of its README.

use super::{Input, Model};
use serde_json::Value;
use std::path::Path;

/// "Partial: every key given must match; a list matches if each of its items matches some item of the actual list."
pub fn matches(want: &Value, have: &Value) -> bool {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            want.iter().all(|(key, value)| have.get(key).is_some_and(|other| matches(value, other)))
        }
        (Value::Array(want), Value::Array(have)) => {
            want.iter().all(|item| have.iter().any(|o| matches(item, o)))
        }
        _ => want == have,
    }
}

/// What the model says as well: status, alarms and connection log. It knows neither sentences nor addresses nor numbers.
/// `None`: nothing that it could be asked for.
fn in_the_model(want: &Value) -> Option<Value> {
    let topic = want["topic"].as_str()?;
    if !matches!(topic, "status" | "alarms" | "connection-log") {
        return None;
    }
    let words =
        ["cause", "nodeId", "clientAddress", "protocol", "reasonName", "message", "sequence", "progress"];
    let mut map = want.as_object()?.clone();
    map.retain(|key, _| !words.contains(&key.as_str()));
    if let Some(retracts) = map.get_mut("retracts") {
        *retracts = true.into();
    }
    Some(map.into())
}

/// Whether the model can tell the story: it does not check what the limits of names, texts and lines are, so that what
/// is told of dead letters is the monitor's alone.
fn is_told_by_the_model(text: &str) -> bool {
    !text.contains("dead-letter")
}

fn run(text: &str) -> Result<(), String> {
    let lines: Vec<Value> = text
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let mut model = Model::new();
    for input in lines.iter().filter_map(|line| line.get("in")) {
        let raw = input.get("raw").and_then(Value::as_str);
        let value = raw.map_or(Ok(input.clone()), |raw| serde_json::from_str(raw).map_err(|e| e.to_string()));
        match value.and_then(|value| Input::parse(&value)) {
            Ok(parsed) => {
                // What it writes is what it reads.
                let again: Value = serde_json::from_str(&parsed.to_line()).expect("JSON");
                assert_eq!(Input::parse(&again).as_ref(), Ok(&parsed));
                model.feed(&parsed);
            }
            Err(reason) => model.feed_bad(&reason),
        }
    }
    let outputs = model.outputs();
    let mut position = 0;
    for line in &lines {
        if let Some(want) = line.get("out").and_then(in_the_model) {
            let found = outputs[position..].iter().position(|output| matches(&want, output));
            let Some(found) = found else {
                let rest: Vec<String> = outputs[position..].iter().map(Value::to_string).collect();
                return Err(format!("missing: {want}\n  outputs left:\n  {}", rest.join("\n  ")));
            };
            position += found + 1;
        }
        // What must not come is asked for only if all of it can be: else it would mean more than it says.
        if let Some(never) = line.get("never")
            && in_the_model(never).as_ref() == Some(never)
            && let Some(output) = outputs.iter().find(|output| matches(never, output))
        {
            return Err(format!("must not come: {never}\n  came: {output}"));
        }
    }
    Ok(())
}

#[test]
fn all_scenarios_hold_in_the_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("tests/scenarios").map(|e| e.expect("file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    let texts = paths.iter().map(|path| (path, std::fs::read_to_string(path).expect("a story can be read")));
    let told: Vec<_> = texts.filter(|(_, text)| is_told_by_the_model(text)).collect();
    let problems: Vec<String> = told
        .iter()
        .filter_map(|(path, text)| {
            run(text).err().map(|e| format!("{}: {e}", path.file_name().unwrap().to_string_lossy()))
        })
        .collect();
    assert!(told.len() >= 110, "{} of {} stories", told.len(), paths.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
