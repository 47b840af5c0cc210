//! The crash table, row by row (C1 to C16 in ARCHITECTURE.md): one fault at one point of the protocol, at its first
//! occurrence, its second, and so on.

use super::broken::Broken;
use super::faults::Fault;
use super::holds;
use super::world::{Plan, Report, SESSION, World, run};

const DEAD_LONG: u64 = 2 * SESSION;

/// A minute of one process, or of two that share the partitions.
fn plan(processes: usize) -> Plan {
    Plan {
        processes,
        time: 60_000,
        devices: 6,
        checkpoint_interval: 7_000,
        late_markers: 200_000,
        is_static: false,
        ..Plan::quiet(1)
    }
}

/// One fault at each of the first occurrences of a point.
#[track_caller]
fn at_each(plan: Plan, point: &'static str, occurrences: u64, fault: Fault) -> Vec<Report> {
    let each = (1..=occurrences).map(|occurrence| {
        let plan = Plan { named: Some((point, occurrence, fault)), ..plan.clone() };
        let report = run(plan.clone());
        holds(&plan, &report);
        assert_eq!(report.faults, 1, "{point} does not occur {occurrence} times");
        assert_eq!(report.crashes, u64::from(fault == Fault::Crash));
        report
    });
    each.collect()
}

#[test]
fn a_crash_at_any_point_changes_nothing() {
    let plan = Plan { time: 40_000, ..plan(1) };
    let points = run(plan.clone()).points;
    assert!(points > 300, "{points}");
    // A few hundred of them, spread evenly; `any_seed_holds` draws from all.
    let stride = points / 250 + 1;
    for point in (1..points).step_by(stride as usize) {
        let plan = Plan { planned: Some((point, Fault::Crash)), ..plan.clone() };
        let report = run(plan.clone());
        holds(&plan, &report);
        assert_eq!(report.crashes, 1, "point {point}");
    }
}

#[test]
fn a_crash_while_it_reads_or_folds_changes_nothing() {
    at_each(plan(1), "poll", 30, Fault::Crash);
    at_each(plan(1), "ends", 30, Fault::Crash);
}

#[test]
fn a_crash_among_the_records_of_a_transaction_leaves_nothing_behind() {
    at_each(plan(1), "produce", 40, Fault::Crash);
    at_each(plan(2), "produce", 40, Fault::Crash);
}

#[test]
fn a_crash_before_the_end_is_asked_for_leaves_nothing_behind() {
    at_each(plan(1), "offsets", 20, Fault::Crash);
    at_each(plan(1), "end", 20, Fault::Crash);
    at_each(plan(2), "end", 20, Fault::Crash);
}

#[test]
fn a_commit_without_an_answer_is_told_by_the_committed_head() {
    // The request is lost: it came to nothing. The answer is lost: it is committed.
    at_each(plan(1), "end", 20, Fault::Error);
    at_each(plan(1), "ended", 20, Fault::Error);
    at_each(plan(2), "ended", 20, Fault::Error);
    // And nobody answers for a while, so that the head cannot be asked for either.
    for lost in ["end", "ended"] {
        at_each(plan(1), lost, 20, Fault::CutOff(4_000));
        at_each(plan(2), lost, 20, Fault::CutOff(DEAD_LONG));
    }
}

#[test]
fn a_process_that_dies_with_its_commit_decided_goes_on_from_it() {
    at_each(plan(1), "ended", 20, Fault::Crash);
    at_each(plan(2), "ended", 20, Fault::Crash);
}

#[test]
fn a_crash_while_a_checkpoint_is_written_leaves_the_one_before() {
    at_each(plan(1), "disk: write", 4, Fault::Crash);
    at_each(plan(1), "disk: flush", 4, Fault::Crash);
    at_each(plan(1), "disk: written", 4, Fault::Crash);
}

#[test]
fn a_checkpoint_that_is_half_written_is_made_anew() {
    for occurrence in 1..=4 {
        let plan = Plan { named: Some(("disk: written", occurrence, Fault::Error)), ..plan(1) };
        let report = run(plan.clone());
        holds(&plan, &report);
        assert_eq!((report.faults, report.crashes), (1, 1));
    }
    at_each(plan(1), "disk: write", 4, Fault::Error);
    at_each(plan(1), "disk: flush", 4, Fault::Error);
}

#[test]
fn a_partition_that_is_revoked_in_mid_transaction_moves_whole() {
    for point in ["produce", "offsets", "end", "ended"] {
        // Long enough for the other one to join in the middle of it.
        at_each(plan(2), point, 20, Fault::Slow(1_500));
    }
}

#[test]
fn a_zombie_that_wakes_in_mid_transaction_commits_nothing() {
    let points = [("produce", 8), ("offsets", 8), ("end", 8), ("ended", 8), ("bounds", 8), ("committed", 4)];
    for (point, occurrences) in points {
        let reports = at_each(plan(2), point, occurrences, Fault::Freeze(DEAD_LONG));
        assert!(reports.iter().all(|report| report.commits > 5));
    }
}

#[test]
fn a_successor_waits_for_what_a_zombie_left_open() {
    // The coordinator does not end the transaction before the group moves.
    let plan = Plan { transaction_timeout: 20_000, ..plan(2) };
    for point in ["produce", "offsets", "end"] {
        at_each(plan.clone(), point, 8, Fault::Freeze(3 * SESSION));
        at_each(plan.clone(), point, 8, Fault::Crash);
    }
    // Whoever does not wait is noticed.
    let noticed = (0..200).find(|seed| {
        let plan = Plan {
            seed: *seed,
            named: Some(("ended", seed % 12 + 1, Fault::Crash)),
            late_markers: 1_000_000,
            broken: Some(Broken::PendingOffsetsAreNotWaitedFor),
            ..plan.clone()
        };
        run(plan).problem.is_some()
    });
    assert!(noticed.is_some());
}

#[test]
fn a_crash_while_a_partition_is_restored_changes_nothing() {
    for point in ["init", "join", "committed", "bounds", "scan", "disk: open", "disk: read"] {
        for occurrence in 1..=6 {
            // Something to restore from: the process is killed now and then.
            let plan = Plan {
                disturbance: 4_000,
                seed: occurrence,
                named: Some((point, 2 * occurrence, Fault::Crash)),
                time: 120_000,
                ..plan(2)
            };
            let report = run(plan.clone());
            holds(&plan, &report);
        }
    }
}

#[test]
fn where_offsets_expired_the_journal_tells() {
    let plan = Plan { time: 90_000, ..plan(1) };
    let world = World::new(plan.clone());
    world.live_until(45_000);
    world.kill(0);
    world.with(|cluster| cluster.offsets.iter_mut().for_each(|known| known.stable = Default::default()));
    world.live_until(plan.time);
    world.heal();
    holds(&plan, &world.verdict());
}

#[test]
fn records_that_are_gone_before_they_were_read_are_refused() {
    let world = World::new(plan(1));
    world.live_until(20_000);
    world.kill(0);
    world.live_frozen(30_000);
    world.truncate_inputs();
    world.live_until(60_000);
    let problem = world.verdict().problem.unwrap_or_default();
    assert!(
        problem.contains("records in between are lost") && problem.contains("--accept-loss"),
        "{problem}"
    );
}
