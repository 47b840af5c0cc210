//! The live feed: what changed, entry by entry, kept for a while so that a client that was away can go on.
//!
//! A client remembers, per partition, the last journal entry that it saw: its mark. Marks mean the same at every
//! replica and after a restart. What lies behind the window is not told; the client is, and begins anew.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use crate::wire::output::Output;

use super::fleet::Listed;

/// What one entry did to one device.
#[derive(Clone, Debug)]
pub struct Change {
    /// The partition.
    pub partition: u32,
    /// The entry.
    pub seq: u64,
    /// The tenant.
    pub tenant: Box<str>,
    /// The device.
    pub device_id: Box<str>,
    /// The device before it; `None`: it did not exist.
    pub before: Option<Listed>,
    /// The device after it; `None`: it does not exist any more.
    pub after: Option<Listed>,
    /// What was told of it: status changes, alarms, log, outcomes of commands, in this order.
    pub outputs: Vec<Output>,
    /// Whether it is the last one of its entry: only behind it does a mark count the entry as seen.
    pub is_last: bool,
}

/// Per partition, the last entry that a client saw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mark(pub Vec<u64>);

impl Mark {
    /// As a text for `Last-Event-ID`.
    pub fn to_text(&self) -> String {
        let numbers: Vec<String> = self.0.iter().map(u64::to_string).collect();
        numbers.join("-")
    }

    /// The way back; `None` if it is none.
    pub fn read(text: &str) -> Option<Mark> {
        text.split('-').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>().map(Mark)
    }

    /// Moves past an entry.
    pub fn pass(&mut self, partition: u32, seq: u64) {
        let place = partition as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        self.0[place] = self.0[place].max(seq);
    }

    fn has(&self, partition: u32, seq: u64) -> bool {
        self.0.get(partition as usize).is_some_and(|seen| *seen >= seq)
    }
}

#[derive(Debug, Default)]
struct Window {
    changes: VecDeque<Arc<Change>>,
    /// The sum of their weights.
    weight: usize,
    /// Number of the first of them, counted from the start of the process.
    first: u64,
    /// The last entry of each partition that is not in the window in full.
    floor: Mark,
}

/// The feed.
#[derive(Debug)]
pub struct Live {
    window: RwLock<Window>,
    size: usize,
}

fn weight(change: &Change) -> usize {
    1 + change.outputs.len()
}

/// Why a client cannot go on where it stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Behind;

impl Live {
    /// A feed that keeps so many changes, outputs counted as changes: one device may have told thousands at once.
    pub fn new(size: usize) -> Live {
        Live { window: RwLock::default(), size }
    }

    /// Everything of a partition up to `seq` is past: the feed begins behind it.
    pub fn begin(&self, partition: u32, seq: u64) {
        self.window.write().unwrap_or_else(PoisonError::into_inner).floor.pass(partition, seq);
    }

    /// Adds the changes of one entry, in order.
    pub fn publish(&self, mut changes: Vec<Change>) {
        let Some(last) = changes.last_mut() else { return };
        last.is_last = true;
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        window.weight += changes.iter().map(weight).sum::<usize>();
        window.changes.extend(changes.into_iter().map(Arc::new));
        while window.weight > self.size
            && let Some(gone) = window.changes.pop_front()
        {
            window.first += 1;
            window.weight -= weight(&gone);
            window.floor.pass(gone.partition, gone.seq);
        }
    }

    /// The place behind the newest change.
    pub fn end(&self) -> u64 {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        window.first + window.changes.len() as u64
    }

    /// The changes from `place` on, at most `limit`, and the place behind them.
    ///
    /// # Errors
    /// The window has moved past the place.
    pub fn read(&self, place: u64, limit: usize) -> Result<(Vec<Arc<Change>>, u64), Behind> {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        let skip = place.checked_sub(window.first).ok_or(Behind)? as usize;
        let found: Vec<_> = window.changes.iter().skip(skip).take(limit).cloned().collect();
        let next = place + found.len() as u64;
        Ok((found, next))
    }

    /// The place from which a client that has seen everything up to `mark` goes on; changes it has seen are to be passed
    /// over ([`Live::has_seen`]).
    ///
    /// # Errors
    /// Some of what it has not seen is not in the window any more.
    pub fn resume(&self, mark: &Mark) -> Result<u64, Behind> {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        let known = |(partition, floor): (usize, &u64)| mark.has(partition as u32, *floor);
        if window.floor.0.iter().enumerate().all(known) { Ok(window.first) } else { Err(Behind) }
    }

    /// Whether a client with this mark has seen a change.
    pub fn has_seen(mark: &Mark, change: &Change) -> bool {
        mark.has(change.partition, change.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effect::{Cause, Effect, EffectKind, Origin, Rule, StatusChange};
    use crate::domain::time::Timestamp;

    fn change(partition: u32, seq: u64) -> Change {
        let (tenant, device_id) = ("acme".into(), "pump".into());
        Change {
            partition,
            seq,
            tenant,
            device_id,
            before: None,
            after: None,
            outputs: Vec::new(),
            is_last: false,
        }
    }

    fn seqs(live: &Live, mark: &Mark) -> Result<Vec<(u32, u64)>, Behind> {
        let (changes, _) = live.read(live.resume(mark)?, 100)?;
        let fresh = changes.iter().filter(|change| !Live::has_seen(mark, change));
        Ok(fresh.map(|change| (change.partition, change.seq)).collect())
    }

    #[test]
    fn a_client_goes_on_where_it_stood_or_is_told_that_it_cannot() {
        let live = Live::new(3);
        live.begin(0, 10);
        live.begin(1, 20);
        live.publish(vec![change(0, 11)]);
        live.publish(vec![change(1, 21)]);
        let mark = Mark(vec![10, 20]);
        assert_eq!(seqs(&live, &mark), Ok(vec![(0, 11), (1, 21)]));
        assert_eq!(seqs(&live, &Mark(vec![11, 20])), Ok(vec![(1, 21)]));
        assert_eq!(seqs(&live, &Mark(vec![9, 20])), Err(Behind), "entry 10 was before the feed began");
        live.publish(vec![change(0, 12)]);
        live.publish(vec![change(0, 13)]);
        assert_eq!(seqs(&live, &mark), Err(Behind), "entry 11 has left the window");
        assert_eq!(seqs(&live, &Mark(vec![11, 20])), Ok(vec![(1, 21), (0, 12), (0, 13)]));
        assert_eq!(live.read(0, 10).unwrap_err(), Behind, "a slow reader is told");
        assert_eq!(live.read(live.end(), 10).map(|(changes, _)| changes.len()), Ok(0));
    }

    #[test]
    fn a_change_that_told_much_takes_the_room_of_many() {
        let told = || {
            let cause = Cause {
                rule: Rule::Activity,
                origin: Origin::Clock,
                deadline: None,
                event_id: None,
                sentence: String::new(),
            };
            let kind =
                EffectKind::Status(StatusChange { changes: Vec::new(), progress: None, retracts: None });
            let (at, recorded_at) = (Timestamp::NEVER, Timestamp::NEVER);
            Output {
                tenant: "acme".into(),
                device_id: "pump".into(),
                birth: at,
                effect: Effect { sequence: 1, at, recorded_at, cause, kind },
            }
        };
        let live = Live::new(5);
        for seq in 1..=3 {
            live.publish(vec![Change { outputs: vec![told()], ..change(0, seq) }]);
        }
        assert_eq!(seqs(&live, &Mark(vec![1])), Ok(vec![(0, 2), (0, 3)]), "two changes, each told one thing");
        live.publish(vec![Change { outputs: vec![told(), told(), told()], ..change(0, 4) }]);
        assert_eq!(seqs(&live, &Mark(vec![2])), Err(Behind));
        assert_eq!(seqs(&live, &Mark(vec![3])), Ok(vec![(0, 4)]));
        live.publish(vec![Change { outputs: vec![told(); 9], ..change(0, 5) }]);
        assert_eq!(seqs(&live, &Mark(vec![4])), Err(Behind), "more than there is room for is not kept");
        assert_eq!(seqs(&live, &Mark(vec![5])), Ok(vec![]));
    }

    #[test]
    fn marks_come_back_from_their_text() {
        let mut mark = Mark::default();
        mark.pass(2, 7);
        mark.pass(0, 3);
        mark.pass(2, 5);
        assert_eq!(mark.to_text(), "3-0-7");
        assert_eq!(Mark::read("3-0-7"), Some(mark));
        for foreign in ["", "a", "1-", "1-x", "-1"] {
            assert_eq!(Mark::read(foreign), None, "{foreign:?}");
        }
    }
}
