//! The semantics as stories: every file of `tests/scenarios/` through `fold`'s own code. The format is described in
//! the README beside the files.

use std::fmt::Write;
use std::path::Path;

use lastseen::fold::{FoldOptions, run};
use serde_json::Value;

/// Every key given must match; a list matches if each of its items matches some item of the actual list.
fn matches(want: &Value, have: &Value) -> bool {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            want.iter().all(|(key, value)| have.get(key).is_some_and(|other| matches(value, other)))
        }
        (Value::Array(want), Value::Array(have)) => {
            want.iter().all(|item| have.iter().any(|other| matches(item, other)))
        }
        _ => want == have,
    }
}

fn fold(input: &str) -> Vec<Value> {
    let mut output = Vec::new();
    run(&FoldOptions::default(), input.as_bytes(), &mut output)
        .expect("folding from memory to memory cannot fail");
    let text = String::from_utf8(output).expect("fold writes UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("fold writes JSON")).collect()
}

/// What is wrong with a story, if anything.
fn check(text: &str) -> Result<(), String> {
    let steps: Vec<Value> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}")))
        .collect::<Result<_, _>>()?;
    let mut input = String::new();
    for step in steps.iter().filter_map(|step| step.get("in")) {
        match step.get("raw").and_then(Value::as_str) {
            Some(raw) => writeln!(input, "{raw}"),
            None => writeln!(input, "{step}"),
        }
        .map_err(|error| error.to_string())?;
    }
    let outputs = fold(&input);
    let mut position = 0;
    for step in &steps {
        if let Some(want) = step.get("out") {
            let Some(found) = outputs[position..].iter().position(|have| matches(want, have)) else {
                let rest: Vec<String> = outputs[position..].iter().take(8).map(Value::to_string).collect();
                return Err(format!("missing: {want}\n  outputs left:\n    {}", rest.join("\n    ")));
            };
            position += found + 1;
        }
        if let Some(never) = step.get("never")
            && let Some(bad) = outputs.iter().find(|have| matches(never, have))
        {
            return Err(format!("must not come: {never}\n  came: {bad}"));
        }
    }
    Ok(())
}

#[test]
fn every_story_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("tests/scenarios is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{} stories in {}", files.len(), directory.display());
    let mut failures = String::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a story can be read");
        if let Err(problem) = check(&text) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let _ = writeln!(failures, "{name}: {problem}");
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn a_story_that_does_not_hold_is_noticed() {
    let connect = r#"{"in":{"tenant":"a","deviceId":"d","observedAt":"2026-01-01T00:00:00Z","connected":{"channel":"mqtt"}}}"#;
    assert!(check(&format!("{connect}\n{}", r#"{"out":{"topic":"alarms"}}"#)).is_err());
    assert!(check(&format!("{connect}\n{}", r#"{"never":{"topic":"status"}}"#)).is_err());
    assert!(check(&format!("{connect}\n{}", r#"{"out":{"topic":"status"}}"#)).is_ok());
}
