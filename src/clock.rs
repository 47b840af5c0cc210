//! The host's clock: the only place that asks for the time.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::{Millis, Timestamp};

/// A source of time. Cheap to clone; clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    Host,
    Accelerated { started: Instant, origin: Timestamp, speed: f64 },
    Manual(AtomicI64),
    Other(Box<dyn TimeSource>),
}

/// Time of another making: a simulation's.
pub trait TimeSource: Send + Sync + fmt::Debug {
    /// What the wall clock shows. It may jump.
    fn now(&self) -> Timestamp;
    /// Time since some moment; it never jumps and never goes back.
    fn elapsed(&self) -> Duration;
    /// Lets time pass.
    fn pause(&self, time: Duration);
}

/// When the process first asked; monotonic time counts from here.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock {
    /// Tells the time of `source`.
    pub fn of(source: impl TimeSource + 'static) -> Clock {
        Clock(Arc::new(Source::Other(Box::new(source))))
    }

    /// The host's wall clock.
    pub fn host() -> Clock {
        Clock(Arc::new(Source::Host))
    }

    /// Begins at `origin` and runs `speed` times as fast as the host: simulated fleets.
    pub fn accelerated(origin: Timestamp, speed: f64) -> Clock {
        Clock(Arc::new(Source::Accelerated { started: Instant::now(), origin, speed }))
    }

    /// Stands still until it is set, its monotonic hand too: tests.
    pub fn manual(at: Timestamp) -> Clock {
        Clock(Arc::new(Source::Manual(AtomicI64::new(at.millis()))))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Host => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(since.as_millis() as i64)
            }
            Source::Accelerated { started, origin, speed } => {
                *origin + Millis((started.elapsed().as_secs_f64() * 1000.0 * speed) as i64)
            }
            Source::Manual(millis) => Timestamp::from_millis(millis.load(Ordering::SeqCst)),
            Source::Other(source) => source.now(),
        }
    }

    /// Monotonic time: it passes as the host's does, whatever the wall clock shows.
    pub fn elapsed(&self) -> Duration {
        match &*self.0 {
            Source::Host | Source::Accelerated { .. } => BEGAN.elapsed(),
            Source::Manual(millis) => Duration::from_millis(millis.load(Ordering::SeqCst).max(0) as u64),
            Source::Other(source) => source.elapsed(),
        }
    }

    /// Waits for so long, or less.
    pub fn pause(&self, time: Duration) {
        match &*self.0 {
            Source::Host | Source::Accelerated { .. } => std::thread::park_timeout(time),
            Source::Manual(_) => {}
            Source::Other(source) => source.pause(time),
        }
    }

    /// How much faster than the host's it runs.
    pub fn speed(&self) -> f64 {
        match &*self.0 {
            Source::Accelerated { speed, .. } => *speed,
            Source::Host | Source::Manual(_) | Source::Other(_) => 1.0,
        }
    }

    /// Sets a manual clock; no other kind can be set.
    pub fn set(&self, at: Timestamp) {
        if let Source::Manual(millis) = &*self.0 {
            millis.store(at.millis(), Ordering::SeqCst);
        }
    }
}
