//! Takeovers by a standby: two processes in one group, each follows what the other owns. One leaves, once told to and once
//! by kill -9; what counts is the time from the group's word to the first commits of the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::chaos::compare::{self, OUTPUTS};
use super::chaos::processes::{Instance, Site, Told, directory, until};
use super::chaos::traffic::{Rate, Traffic, now};
use super::chaos::watch::Watch;
use crate::broker::Broker;

/// Half of them move each time.
const PARTITIONS: u32 = 16;
const PATIENCE: Duration = Duration::from_secs(120);
/// A second is wanted, of a quiet machine. Tests share theirs, where a broker may stand still for seconds.
const BOUND: Duration = Duration::from_secs(20);

#[test]
fn a_standby_takes_over_with_the_tail_only() {
    let broker = Broker::start();
    let (dir, _kept) = directory("standby");
    let site = Site {
        dir,
        brokers: broker.brokers.clone(),
        prefix: "standby".to_owned(),
        partitions: PARTITIONS,
        settings: BTreeMap::from([
            ("output", "format = \"json\"".to_owned()),
            ("worker", "commit_interval_ms = 100".to_owned()),
            ("state", "checkpoint_seconds = 5".to_owned()),
        ]),
    };
    site.says(&["topics", "create"], 0);
    let mut traffic = Traffic::start(&site, 3, Rate { devices: 4_000, per_second: 1_000 });
    let watch = Watch::start(&site.brokers, site.topic("journal"), PARTITIONS);
    // No static members: a leave is a leave.
    let (mut one, mut two) = (Instance::new(&site, "one", false), Instance::new(&site, "two", false));
    let mut told = Told::default();
    one.start_with(&["--standby"]);
    two.start_with(&["--standby"]);

    takeover("SIGTERM", &mut one, &mut two, &watch, &mut told, |leaving, _| leaving.signal("-TERM"));
    until(PATIENCE, || one.ended(&mut told).is_some(), || "it does not end".to_owned());
    // It comes back to a disk with checkpoints, from which it follows.
    one.start_with(&["--standby"]);
    takeover("kill -9", &mut two, &mut one, &watch, &mut told, Instance::kill);
    assert!(told.begun_at_checkpoints > 0, "the standby began without the checkpoints on its disk");

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

/// Lets `leaving` go by `leave` once `heir` has at hand all that it owns, and measures.
fn takeover(
    how: &str,
    leaving: &mut Instance,
    heir: &mut Instance,
    watch: &Watch,
    told: &mut Told,
    leave: impl FnOnce(&mut Instance, &mut Told),
) {
    let mut moving = Vec::new();
    let is_ready = || {
        leaving.read(told);
        heir.read(told);
        let (Some(from), Some(to)) = (leaving.writer, heir.writer) else { return false };
        let state = watch.state();
        moving = state.partitions_of(from);
        moving.len() == PARTITIONS as usize / 2
            && state.partitions_of(to).len() == moving.len()
            && moving.iter().all(|partition| heir.at_hand.contains(&(*partition as u64)))
    };
    until(PATIENCE, is_ready, || "the heir does not have at hand what is to move".to_owned());
    let (before, to) = (told.taken_over, heir.writer.expect("it runs"));
    heir.assigned = None;
    let left = Instant::now();
    leave(leaving, told);
    let is_assigned = || {
        heir.read(told);
        heir.assigned.is_some()
    };
    until(PATIENCE, is_assigned, || "the group does not move".to_owned());
    let assigned = heir.assigned.expect("it was waited for");
    let is_done = || watch.state().partitions_of(to).len() == PARTITIONS as usize;
    until(PATIENCE, is_done, || format!("it owns {:?}", watch.state().partitions_of(to)));
    let mut took: Vec<Duration> = {
        let state = watch.state();
        let seen = moving.iter().flat_map(|partition| &state.partitions[*partition]);
        seen.map(|seen| seen.since.saturating_duration_since(assigned)).collect()
    };
    took.sort();
    heir.read(told);
    let (first, last) = (took[0], took[took.len() - 1]);
    println!(
        "{how}: the group moved after {:.1?}; then the first of {} partitions commits after {first:.1?}, the last after {last:.1?}",
        assigned - left,
        took.len()
    );
    assert_eq!(told.taken_over - before, moving.len(), "each of them comes from the standby");
    assert!(last < BOUND, "{last:?} until all commit");
}
