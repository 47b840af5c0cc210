//! The simulation: the whole worker, the same code that runs on Kafka, over brokers, disks and clocks that misbehave on
//! purpose, all of it from one seed, in one thread and in virtual time.

mod broken;
mod cluster;
mod disk;
mod faults;
mod group;
mod host;
mod judge;
mod member;
mod producer;
mod rng;
mod trace;
mod workload;
mod world;

use world::{Plan, Report, run};

/// Fails with the way to see it again.
#[track_caller]
fn holds(plan: &Plan, report: &Report) {
    if let Some(problem) = &report.problem {
        let again = run(Plan { trace: true, ..plan.clone() });
        panic!(
            "seed {}: {problem}\n\n{}\nagain: make simulate SEED={}\n{plan:?}",
            plan.seed, again.trace, plan.seed
        );
    }
}

#[test]
fn a_quiet_run_is_what_one_partition_derives() {
    for seed in 0..20 {
        // Several minutes of a few devices.
        let plan = Plan::quiet(seed);
        let report = run(plan.clone());
        holds(&plan, &report);
        assert!(report.commits > 50 && report.records > 50 && report.outputs > 50, "{report:?}");
    }
}

#[test]
fn any_seed_holds() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100);
    let began = std::time::Instant::now();
    let mut total = Report::default();
    let only: Option<u64> = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let plan = Plan::wild(seed);
        let report = run(plan.clone());
        holds(&plan, &report);
        total.steps += report.steps;
        total.turns += report.turns;
        total.commits += report.commits;
        total.records += report.records;
        total.outputs += report.outputs;
        total.faults += report.faults;
        total.crashes += report.crashes;
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds in {took:.1} s: {} steps ({:.1} M/min), {} turns, {} entries, {} records, {} outputs, {} faults, {} crashes",
        total.steps,
        total.steps as f64 / took * 60.0 / 1e6,
        total.turns,
        total.commits,
        total.records,
        total.outputs,
        total.faults,
        total.crashes
    );
}
