//! The host's clock: the only place that asks for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::{Millis, Timestamp};

/// A source of time. Cheap to clone; clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    Host,
    Accelerated { started: Instant, origin: Timestamp, speed: f64 },
    Manual(AtomicI64),
}

impl Clock {
    /// The host's wall clock.
    pub fn host() -> Clock {
        Clock(Arc::new(Source::Host))
    }

    /// Begins at `origin` and runs `speed` times as fast as the host: simulated fleets.
    pub fn accelerated(origin: Timestamp, speed: f64) -> Clock {
        Clock(Arc::new(Source::Accelerated { started: Instant::now(), origin, speed }))
    }

    /// Stands still until it is set: tests.
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
        }
    }

    /// How much faster than the host's it runs.
    pub fn speed(&self) -> f64 {
        match &*self.0 {
            Source::Accelerated { speed, .. } => *speed,
            Source::Host | Source::Manual(_) => 1.0,
        }
    }

    /// Sets a manual clock; no other kind can be set.
    pub fn set(&self, at: Timestamp) {
        if let Source::Manual(millis) = &*self.0 {
            millis.store(at.millis(), Ordering::SeqCst);
        }
    }
}
