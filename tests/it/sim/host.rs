//! A process of the simulation: its clock, its faults, and the points at which a fault may strike.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lastseen::clock::TimeSource;
use lastseen::domain::time::Timestamp;
use lastseen::log::LogError;

use super::cluster::{Cluster, Ms, START};
use super::faults::{Fault, Faults};

pub type Shared = Arc<Mutex<Cluster>>;

/// What a crash unwinds with.
pub struct Crash;

/// Ends the process here and now: nothing of it runs any more, destructors aside.
pub fn crash() -> ! {
    std::panic::resume_unwind(Box::new(Crash))
}

/// Lets the other processes go on for so long, while this one stands still.
pub type Others = Rc<dyn Fn(usize, Ms)>;

/// One process. Its log and its disk share it.
pub struct Host {
    pub number: usize,
    pub cluster: Shared,
    pub faults: Rc<RefCell<Faults>>,
    pub others: Others,
    /// How far its wall clock is off.
    pub wall: Arc<AtomicI64>,
    /// It does not reach the brokers until then.
    pub cut_off: Cell<Ms>,
    pub is_dead: Cell<bool>,
    pub member: Cell<Option<u64>>,
}

impl Host {
    pub fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Ms {
        self.cluster().now
    }

    pub fn note(&self, words: impl FnOnce() -> String) {
        let mut cluster = self.cluster();
        let now = cluster.now;
        let number = self.number;
        cluster.trace.note(now, || format!("[{number}] {}", words()));
    }

    /// Stands still for so long while everybody else goes on: a pause of the whole process.
    pub fn freeze(&self, time: Ms) {
        self.note(|| format!("stands still for {time} ms"));
        self.set_alive(false);
        (self.others)(self.number, time);
        self.set_alive(true);
    }

    fn set_alive(&self, is_alive: bool) {
        if let Some(member) = self.member.get() {
            let mut cluster = self.cluster();
            let now = cluster.now;
            cluster.group.set_alive(member, is_alive, now);
        }
    }

    /// A point at which anything may happen. `Err`: the request that follows is not answered, nor does it arrive.
    pub fn site(&self, name: &'static str) -> Result<(), LogError> {
        let fault = self.faults.borrow_mut().at(name, self.number);
        {
            let mut cluster = self.cluster();
            cluster.steps += 1;
            if let Some(fault) = fault {
                let (now, number) = (cluster.now, self.number);
                cluster.trace.note(now, || format!("[{number}] {fault:?} at {name}"));
            }
            let latency = cluster.rng.below(3) / 2;
            if latency > 0 {
                cluster.advance(latency);
            }
        }
        match fault {
            None => {}
            Some(Fault::Crash) => crash(),
            Some(Fault::Freeze(time)) => self.freeze(time),
            Some(Fault::Slow(time)) => (self.others)(self.number, time),
            Some(Fault::Error) => return Err(LogError::retriable(name, "the brokers did not answer")),
            Some(Fault::CutOff(time)) => self.cut_off.set(self.now() + time),
            Some(Fault::WallJump(by)) => {
                self.wall.fetch_add(by, Ordering::Relaxed);
            }
        }
        if self.cut_off.get() > self.now() {
            self.cluster().advance(150);
            return Err(LogError::retriable(name, "no answer from the brokers"));
        }
        Ok(())
    }

    /// A point at which no request is sent: errors do not show.
    pub fn point(&self, name: &'static str) {
        let _ = self.site(name);
    }
}

/// The clock of a process.
#[derive(Debug)]
pub struct SimTime {
    pub shown: Arc<AtomicU64>,
    pub wall: Arc<AtomicI64>,
}

impl TimeSource for SimTime {
    fn now(&self) -> Timestamp {
        let now = self.shown.load(Ordering::Relaxed) as i64;
        Timestamp::from_millis(START + now + self.wall.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.shown.load(Ordering::Relaxed))
    }

    /// The world lets time pass between turns.
    fn pause(&self, _: Duration) {}
}
