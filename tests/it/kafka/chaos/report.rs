//! What a round says at its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::driver::{Chaos, SESSION};
use super::traffic::Traffic;

pub struct Report<'a> {
    pub chaos: &'a Chaos,
    pub traffic: &'a Traffic,
    pub seed: u64,
    pub again: &'a str,
    /// When each phase began, from the beginning of the round.
    pub phases: &'a [(&'static str, Duration)],
}

impl Report<'_> {
    pub fn print(&self) {
        let (chaos, tally, told) = (self.chaos, &self.chaos.tally, &self.chaos.told);
        let state = chaos.watch.state();
        let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
        println!("\n==== seed {}; the same faults again: {} ====", self.seed, self.again);
        println!(
            "faults: {:?}\n  kill -9: {} ({} while restoring), SIGSTOP: {} ({} while restoring), partitions moved {} times",
            tally.faults,
            tally.kills,
            tally.kills_restoring,
            tally.pauses,
            tally.pauses_restoring,
            state.moves
        );
        if !tally.ended.is_empty() || tally.healed > 0 {
            println!(
                "  instances that ended by themselves and were started again: {:?}; transactions that hung and were \
                 aborted by hand: {}",
                tally.ended, tally.healed
            );
        }
        println!(
            "in: {} records, {} of them garbage; out: {} verdicts, each once; {} entries, {} deadlines passed",
            count(&self.traffic.counts.acknowledged),
            count(&self.traffic.counts.garbage),
            chaos.published,
            state.entries,
            state.sum(|seen| seen.fired)
        );
        println!("verified: {}", chaos.verified);
        let commits: u64 = told.commits.iter().map(|(.., commits)| commits).sum();
        let worst = |of: fn(&(f64, f64, u64)) -> f64| told.commits.iter().map(of).fold(0.0, f64::max);
        println!(
            "commit: p50 {:.1} ms, p99 {:.1} ms (the worst of {} runs that ended by themselves, {commits} commits, of the last 1,000 of each)",
            worst(|commit| commit.0),
            worst(|commit| commit.1),
            told.commits.len()
        );
        let mut restores = told.restores.clone();
        restores.sort_by(f64::total_cmp);
        if let (Some(half), Some(most)) = (restores.get(restores.len() / 2), restores.last()) {
            println!(
                "restoring a partition: p50 {half:.1} ms, at most {most:.1} ms, {} times",
                restores.len()
            );
        }
        times("takeover after kill -9, beyond the session timeout", &tally.takeover_kill, SESSION);
        times("takeover after SIGTERM", &tally.takeover_term, Duration::ZERO);
        times("kill -9 of a static member that is started again at once", &tally.back_static, Duration::ZERO);
        let mut whole = tally.whole.clone();
        whole.sort();
        if let (Some(half), Some(most)) = (whole.get(whole.len() / 2), whole.last()) {
            println!("all partitions worked on again after a fault: p50 {half:.1?}, at most {most:.1?}");
        }
        println!("warnings of instances: {:#?}", told.warnings);
        let phases: Vec<String> = self
            .phases
            .windows(2)
            .map(|pair| format!("{} {:.1} s", pair[0].0, (pair[1].1 - pair[0].1).as_secs_f64()))
            .collect();
        println!("took: {}", phases.join(", "));
    }
}

/// Until the first and until the last partition of each: half, and the worst. What lies before `beyond` does not count.
fn times(what: &str, times: &[(Duration, Duration)], beyond: Duration) {
    if times.is_empty() {
        return;
    }
    let of = |part: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<Duration> = times.iter().map(|time| part(time).saturating_sub(beyond)).collect();
        all.sort();
        (all[all.len() / 2], all[all.len() - 1])
    };
    let ((first, first_worst), (last, last_worst)) = (of(|time| time.0), of(|time| time.1));
    println!(
        "{what}: first partition p50 {first:.1?} (worst {first_worst:.1?}), last p50 {last:.1?} (worst \
         {last_worst:.1?}), {} times",
        times.len()
    );
}
