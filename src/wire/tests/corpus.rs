//! What the fuzz targets begin with: `tests/fuzz/corpus`. `UPDATE_CORPUS=1` writes it anew; each run decodes all of it,
//! so that an input that once broke a target, and was put there, is tried on every compiler.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use prost::Message;

use super::strategies;
use crate::wire::decode::{Limits, Scratch, decode, decode_line};
use crate::wire::encode::{encode_event, encode_event_json};
use crate::wire::output::{self, Format, OutputKind};
use crate::wire::{pb, policy};

const TARGETS: [&str; 6] =
    ["decode_event", "decode_json", "policy_json", "policy_toml", "output_decode", "journal"];
/// The most files of one target.
const FILES_MAX: usize = 40;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

/// The first samples of a strategy that are not long; always the same.
fn samples<S: Strategy>(strategy: S, count: usize, bytes: impl Fn(&S::Value) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let values = std::iter::from_fn(|| strategy.new_tree(&mut runner).ok().map(|tree| tree.current()));
    values.map(|value| bytes(&value)).filter(|bytes| bytes.len() < 1000).take(count).collect()
}

fn journal_entries() -> Vec<Vec<u8>> {
    let range = pb::ConsumedRange { topic: 3, from: 7, to: 12, count: 4, hash: 5 };
    let entry = pb::JournalEntry {
        partition: 3,
        epoch: 2,
        seq: 9,
        previous_hash: vec![7; 16],
        nonce: 11,
        ranges: vec![range],
        clock_ms: 1_767_225_600_000,
        deadlines_fired: 1,
        outputs: vec![pb::ProducedRecords { topic: 1, count: 2, hash: 3 }],
        clock_pack: vec![1, 2, 3],
        sweep: Some(pb::Sweep { from: 1, to: 4, next: 4, started_ms: 1_767_225_600_000, started_seq: 2 }),
        floor: 1,
        state_hash: vec![9; 16],
        fold_version: 1,
        output_format: pb::OutputFormat::Protobuf.into(),
        ..Default::default()
    };
    let gap = Some(pb::Gap { lost: vec![range], note: "lost".to_owned() });
    let rare = pb::JournalEntry {
        change_place: Some(pb::ChangePlace { kind: 2, after_key: b"acme/p1".to_vec() }),
        sight_ms: Some(1_767_225_600_000),
        limits: Some(pb::Limits { effects_max: 1000, ..Default::default() }),
        gap,
        ..entry.clone()
    };
    vec![Vec::new(), entry.encode_to_vec(), rare.encode_to_vec()]
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "decode_event" => {
            let mut seeds = samples(strategies::event(), 24, encode_event);
            seeds.extend(samples(strategies::event(), 4, encode_event_json));
            seeds.extend(samples(strategies::event(), 4, |event| {
                [b"\0\0\0\0\x07\0".as_slice(), &encode_event(event)].concat()
            }));
            seeds
        }
        "decode_json" => {
            let mut seeds = samples(strategies::event(), 28, encode_event_json);
            seeds.push(br#"{"tick":"2026-01-01T00:00:00.000Z"}"#.to_vec());
            seeds.push(br#"{"sight":"2026-01-01T00:00:00.000Z"}"#.to_vec());
            seeds.push(
                br#"{"tenant":"a","deviceId":"\ud83d\ude00","delete":{},"x":[1e9,-0.5,{"y":null}]}"#.to_vec(),
            );
            seeds
        }
        "policy_json" => samples(strategies::policy(), 12, policy::to_json),
        "policy_toml" => {
            let text = super::policies::TOML;
            vec![
                Vec::new(),
                text.as_bytes().to_vec(),
                b"grace_seconds = 1.5\npoll_factor = 2\ninfer_sessions = false\n".to_vec(),
                b"alarms = [{ type_prefix = \"\", drop = true }]\n".to_vec(),
            ]
        }
        "output_decode" => {
            let encode = |format| {
                move |output: &output::Output| {
                    let kind = output::kind(&output.effect.kind);
                    let mut bytes = vec![kind as u8];
                    output::encode(format, &output.identity(), &output.effect, &mut bytes);
                    bytes
                }
            };
            let mut seeds = samples(strategies::output(), 20, encode(Format::Protobuf));
            seeds.extend(samples(strategies::output(), 8, encode(Format::Json)));
            seeds
        }
        _ => journal_entries(),
    }
}

#[test]
fn every_file_is_taken_or_refused() {
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        for target in TARGETS {
            let directory = root().join(target);
            fs::create_dir_all(&directory).expect("the directory can be made");
            for (number, seed) in seeds(target).iter().enumerate() {
                fs::write(directory.join(format!("{number:02}")), seed).expect("the file can be written");
            }
        }
    }
    for target in TARGETS {
        let files = fs::read_dir(root().join(target)).expect("the corpus is in the repository");
        let files: Vec<PathBuf> = files.map(|entry| entry.expect("a directory").path()).collect();
        assert!((1..=FILES_MAX).contains(&files.len()), "{target} has {} files", files.len());
        for file in files {
            let bytes = fs::read(file).expect("the corpus is in the repository");
            let scratch = Scratch::new();
            let _ = decode(&super::record(&bytes), &scratch, &Limits::default());
            let _ = decode_line(&bytes, &scratch, &Limits::default());
            let _ = policy::from_json(&bytes);
            let _ = policy::from_toml(&String::from_utf8_lossy(&bytes));
            let _ = pb::JournalEntry::decode(bytes.as_slice());
            for kind in OutputKind::ALL {
                let _ = output::decode(*kind, bytes.get(1..).unwrap_or_default());
            }
        }
    }
}
