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

/// What only the monitor can say: the model knows neither sentences nor addresses.
fn without_words(want: &Value) -> Value {
    let mut want = want.clone();
    if let Some(map) = want.as_object_mut() {
        for key in ["cause", "nodeId", "clientAddress", "protocol", "reasonName", "message"] {
            map.remove(key);
        }
    }
    want
}

pub fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
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
        if let Some(want) = line.get("out").map(without_words) {
            let found = outputs[position..].iter().position(|output| matches(&want, output));
            let Some(found) = found else {
                let rest: Vec<String> = outputs[position..].iter().map(Value::to_string).collect();
                return Err(format!("missing: {want}\n  outputs left:\n  {}", rest.join("\n  ")));
            };
            position += found + 1;
        }
        if let Some(never) = line.get("never").map(without_words)
            && let Some(output) = outputs.iter().find(|output| matches(&never, output))
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
    let problems: Vec<String> = paths
        .iter()
        .filter_map(|path| {
            run(path).err().map(|e| format!("{}: {e}", path.file_name().unwrap().to_string_lossy()))
        })
        .collect();
    assert!(paths.len() >= 30, "{} scenarios", paths.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
