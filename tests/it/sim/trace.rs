//! What happened, for people: kept only while a seed is replayed; the last lines of it, or all of one seed's.

use std::collections::VecDeque;

use super::cluster::Ms;

const LINES: usize = 160;

#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    lines: VecDeque<String>,
    /// Of everything that was said, for comparing two runs of a seed.
    pub hash: u64,
}

impl Trace {
    pub fn new(on: bool) -> Trace {
        Trace { on, ..Trace::default() }
    }

    pub fn note(&mut self, now: Ms, words: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        let line = format!("{:>9.3} s  {}", now as f64 / 1000.0, words());
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(line.as_bytes(), self.hash);
        if self.lines.len() == LINES && super::number("SEED").is_none() {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn tail(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
