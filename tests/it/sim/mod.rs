//! The simulation: the whole worker, the same code that runs on Kafka, over brokers, disks and clocks that misbehave on
//! purpose, all of it from one seed, in one thread and in virtual time.
//!
//! `cluster.rs`, `group.rs` are the brokers, `member.rs`, `producer.rs` the log that a worker sees of them, `disk.rs` its
//! checkpoints, `standby.rs` what it keeps of the partitions of others, `workload.rs` what comes in, `faults.rs` what goes wrong. `world.rs` runs it, `judge.rs` says whether it
//! held. `broken.rs` are protocols that are wrong, each of which must be noticed.

pub mod broken;
pub mod cluster;
mod crashes;
mod disk;
mod faults;
pub mod group;
mod host;
mod judge;
mod member;
mod producer;
pub mod rng;
mod standby;
pub mod trace;
mod workload;
mod world;

use broken::Broken;
use world::{Plan, Report, run};

/// Fails with the way to see it again.
#[track_caller]
fn holds(plan: &Plan, report: &Report) {
    if let Some(problem) = &report.problem {
        let again = run(Plan { trace: true, ..plan.clone() });
        panic!(
            "seed {}: {problem}\n\nthe last of what happened:\n{}\n{}\n{plan:?}",
            plan.seed,
            again.trace,
            plan.again()
        );
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
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
fn a_seed_says_all_of_a_run() {
    for seed in [3, 7, 11] {
        let plan = Plan { trace: true, ..Plan::wild(seed) };
        let (one, other) = (run(plan.clone()), run(plan));
        assert_eq!((one.trace_hash, one.steps, one.points), (other.trace_hash, other.steps, other.points));
    }
}

/// `make simulate SEEDS=…` for more of them, `FROM=…` for others, `SEED=…` for one; `KIND=` of plan: wild or leaping.
#[test]
fn any_seed_holds() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = number("FROM").unwrap_or(0);
            from..from + number("SEEDS").unwrap_or(250)
        }
    };
    let kind = std::env::var("KIND").unwrap_or_default();
    let count = seeds.end - seeds.start;
    let began = std::time::Instant::now();
    let mut total = Report::default();
    for seed in seeds {
        let plan = match kind.as_str() {
            "" | "wild" => Plan::wild(seed),
            "leaping" => Plan::leaping(seed),
            other => panic!("KIND is wild or leaping, not {other}"),
        };
        let report = run(plan.clone());
        holds(&plan, &report);
        total.add(&report);
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{count} seeds in {took:.1} s, {:.1} million steps a minute: {} steps, {} turns, {} entries, {} records, {} \
         outputs, {} faults, {} crashes, {} takeovers",
        total.steps as f64 / took * 60.0 / 1e6,
        total.steps,
        total.turns,
        total.commits,
        total.records,
        total.outputs,
        total.faults,
        total.crashes,
        total.taken_over
    );
    assert!(total.taken_over > 0 || count < 100, "no standby took over");
}

/// Hosts and brokers a year ahead or behind, to and fro: records are folded all the same, and no device is called offline
/// that reports in time.
#[test]
fn clocks_that_jump_call_nobody_offline() {
    // The last one notices a leader that was behind and is forgotten.
    for seed in (0..100).chain([548]) {
        let plan = Plan::leaping(seed);
        let report = run(plan.clone());
        holds(&plan, &report);
    }
}

/// Seeds that found something, kept for good.
#[test]
fn what_was_found_once_stays_found() {
    let found = [
        (0, "a batch that one input fills"),
        (1, "the end of a change that was not told"),
        (7, "a device that is gone came back from a checkpoint; blindness that was not looked at"),
        (34, "another instance went on while a partition was restored"),
        (39, "a change of policy lost its place and cause in a checkpoint"),
        (41, "timers that are not due made a step full"),
        (90, "a checkpoint that cannot be read in the middle"),
        (370, "a device that went, in a checkpoint that has it still"),
        (410, "timers that are not due, in the positions of an entry"),
    ];
    for (seed, what) in found {
        let plan = Plan::wild(seed);
        let report = run(plan.clone());
        assert!(report.problem.is_none(), "again: {what}");
        holds(&plan, &report);
    }
}

/// A suite that a wrong protocol passes proves nothing.
#[test]
fn each_broken_protocol_is_noticed() {
    const SEEDS: u64 = 150;
    for broken in Broken::ALL {
        let mut noticed = None;
        for seed in 0..SEEDS {
            let report = run(Plan { broken: Some(broken), ..Plan::wild(seed) });
            if let Some(problem) = report.problem {
                noticed = Some((seed, problem));
                break;
            }
        }
        let Some((seed, problem)) = noticed else { panic!("{broken:?} passes {SEEDS} seeds unnoticed") };
        println!("{broken:?}: seed {seed}: {}", problem.chars().take(150).collect::<String>());
    }
}
