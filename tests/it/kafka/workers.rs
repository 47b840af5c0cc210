//! Several workers in one process: the group gives one of them everything first, then each its share.

use std::collections::BTreeMap;
use std::time::Duration;

use super::chaos::compare::{self, OUTPUTS};
use super::chaos::processes::{Instance, Site, Told, directory, until};
use super::chaos::traffic::{Rate, Traffic, now};
use super::chaos::watch::Watch;
use crate::broker::Broker;

const PARTITIONS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(120);
/// Each start moves half of the partitions from the worker that joined first to the other.
const STARTS: usize = 3;

#[test]
fn partitions_go_from_one_worker_to_another_of_the_same_process() {
    let broker = Broker::start();
    let (dir, _kept) = directory("workers");
    let site = Site {
        dir,
        brokers: broker.brokers.clone(),
        prefix: "workers".to_owned(),
        partitions: PARTITIONS,
        settings: BTreeMap::from([
            ("output", "format = \"json\"".to_owned()),
            ("worker", "count = 2\ncommit_interval_ms = 100".to_owned()),
            ("state", "checkpoint_seconds = 1".to_owned()),
        ]),
    };
    site.says(&["topics", "create"], 0);
    let mut traffic = Traffic::start(&site, 3, Rate { devices: 1_000, per_second: 500 });
    let watch = Watch::start(&site.brokers, site.topic("journal"), PARTITIONS);
    let mut one = Instance::new(&site, "one", false);
    let mut told = Told::default();
    for start in 0..STARTS {
        // What one worker has, the other gets with its checkpoint, standby or not.
        one.start_with(if start % 2 == 0 { &["--standby"] } else { &[] });
        let begun = now();
        // Both workers write, and each partition goes on: nobody waits for what the other has.
        let all_go_on = || {
            if let Some((status, words)) = one.ended(&mut told) {
                panic!("start {start}: it ended by itself, {status}: {words}");
            }
            let state = watch.state();
            let mut writers: Vec<u64> = state.partitions.iter().flatten().map(|seen| seen.writer).collect();
            writers.sort_unstable();
            writers.dedup();
            writers.len() == 2
                && state.partitions.iter().all(|seen| seen.as_ref().is_some_and(|seen| seen.clock_ms > begun))
        };
        until(PATIENCE, all_go_on, || "not all partitions go on".to_owned());
        if start + 1 == STARTS {
            break;
        }
        one.signal("-TERM");
        until(PATIENCE, || one.ended(&mut told).is_some(), || "it does not end".to_owned());
    }
    traffic.finish();
    let sent_by = now();
    until(PATIENCE, || compare::unread(&site).is_empty(), || "inputs are left".to_owned());
    let is_over = || {
        let state = watch.state();
        state.partitions.iter().all(|seen| seen.as_ref().is_some_and(|seen| seen.clock_ms > sent_by))
    };
    until(PATIENCE, is_over, || "the clocks do not go on".to_owned());
    one.signal("-TERM");
    until(PATIENCE, || one.ended(&mut told).is_some(), || "it does not end".to_owned());
    assert_eq!(watch.state().problems, [""; 0], "the journal");
    let published = compare::published(&compare::read(&site, &OUTPUTS));
    if let Err(difference) = compare::same(&published, &compare::folded(&site).0) {
        panic!("what was published is not what fold says of the merged inputs:\n{difference}");
    }
}
