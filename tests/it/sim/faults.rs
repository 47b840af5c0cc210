//! What goes wrong, and when: drawn from the seed, or at one chosen point.

use super::cluster::Ms;
use super::rng::Rng;

/// What can happen at a point of a process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    /// The process is gone.
    Crash,
    /// The process stands still; its sessions and transactions may time out.
    Freeze(Ms),
    /// It takes long, and others go on meanwhile; its heartbeats come.
    Slow(Ms),
    /// A request, or its answer, is lost.
    Error,
    /// No broker answers this process for so long.
    CutOff(Ms),
    /// The wall clock jumps.
    WallJump(i64),
}

/// How often, in a million points, each happens. Which of them a run has at all is drawn for each run.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    pub crash: u32,
    pub freeze: u32,
    pub slow: u32,
    pub error: u32,
    pub cut_off: u32,
    pub wall_jump: u32,
    pub disk: u32,
}

pub struct Faults {
    rng: Rng,
    pub rates: Rates,
    pub session_timeout: Ms,
    /// None of them any more: healing.
    pub off: bool,
    /// Points so far.
    pub points: u64,
    /// One fault at one point, besides those of the rates.
    pub planned: Option<(u64, Fault)>,
    /// The same, by name: at the so-manieth point of that name.
    pub named: Option<(&'static str, u64, Fault)>,
    /// How many faults there were.
    pub count: u64,
}

impl Faults {
    pub fn new(seed: u64, rates: Rates, session_timeout: Ms) -> Faults {
        Faults {
            rng: Rng::new(seed, 2),
            rates,
            session_timeout,
            off: false,
            points: 0,
            planned: None,
            named: None,
            count: 0,
        }
    }

    /// Half of the kinds, so that each meets runs in which little else goes wrong.
    pub fn draw(seed: u64) -> Rates {
        let mut rng = Rng::new(seed, 3);
        let mut rate = |most: u32| if rng.coin() { rng.below(u64::from(most)) as u32 + 1 } else { 0 };
        Rates {
            crash: rate(1_500),
            freeze: rate(600),
            slow: rate(3_000),
            error: rate(8_000),
            cut_off: rate(200),
            wall_jump: 0,
            disk: rate(30_000),
        }
    }

    pub fn at(&mut self, name: &'static str, _host: usize) -> Option<Fault> {
        self.points += 1;
        if let Some((_, fault)) = self.planned.take_if(|(point, _)| *point == self.points) {
            self.count += 1;
            return Some(fault);
        }
        if let Some((wanted, left, fault)) = &mut self.named
            && *wanted == name
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let fault = *fault;
                self.named = None;
                self.count += 1;
                return Some(fault);
            }
        }
        if self.off {
            return None;
        }
        // Within a commit there are few points, and every one is delicate.
        let weight = match name {
            "produce" | "abort" => 4,
            "offsets" | "end" | "ended" => 12,
            "init" | "committed" | "scan" | "bounds" => 3,
            "disk: written" | "disk: read" => 8,
            _ => 1,
        };
        let fault = self.drawn(weight, name.starts_with("disk"));
        self.count += u64::from(fault.is_some());
        fault
    }

    fn drawn(&mut self, weight: u32, is_disk: bool) -> Option<Fault> {
        let Rates { crash, freeze, slow, error, cut_off, wall_jump, disk } = self.rates;
        let rng = &mut self.rng;
        if rng.chance(crash * weight) {
            return Some(Fault::Crash);
        }
        if rng.chance(if is_disk { disk } else { error * weight }) {
            return Some(Fault::Error);
        }
        if rng.chance(freeze * weight) {
            return Some(Fault::Freeze(rng.range(10, 2 * self.session_timeout)));
        }
        if rng.chance(slow * weight) {
            return Some(Fault::Slow(rng.range(1, 400)));
        }
        if rng.chance(cut_off) {
            return Some(Fault::CutOff(rng.range(200, 20_000)));
        }
        if rng.chance(wall_jump) {
            let by = *rng.pick(&[31_536_000_000i64, 3_600_000, 90_000, 1_500]);
            return Some(Fault::WallJump(if rng.coin() { by } else { -by }));
        }
        None
    }
}
