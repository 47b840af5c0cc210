//! The shadow auditor: it begins in the middle of a live journal, verifies what follows, and is loud at a difference.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use lastseen::engine::step::Settings;
use lastseen::log::{Archive, Bounds, Committed, LogError, Records, ScanControl, Scanned, Topic};
use lastseen::replay::{Check, Heard, shadow};

use super::shelf::Shelf;
use super::tampering::story;

/// A shelf whose journal and outputs grow whenever somebody asks for the end of the journal.
struct Live {
    whole: Shelf,
    entries: usize,
    step: usize,
}

impl Live {
    fn ends_at(&self, topic: Topic, high: u64) -> u64 {
        if let Topic::Input(_) = topic {
            return high;
        }
        let last = self.entries.min(self.whole.entries().len()) as u64;
        let mut records = self.whole.topics[&topic].iter().filter(|record| match topic {
            Topic::Journal => record.offset < last,
            _ => lastseen::follow::entry_of(topic, 0, record).is_none_or(|seq| seq <= last),
        });
        records.next_back().map_or(0, |record| record.offset + 1)
    }
}

impl Records for Live {
    fn bounds(&mut self, topic: Topic, partition: u32) -> Result<Bounds, LogError> {
        let Bounds { low, high } = self.whole.bounds(topic, partition)?;
        Ok(Bounds { low, high: self.ends_at(topic, high) })
    }

    fn scan(
        &mut self,
        topic: Topic,
        partition: u32,
        range: std::ops::Range<u64>,
        each: &mut dyn FnMut(Scanned<'_>) -> ScanControl,
    ) -> Result<(), LogError> {
        self.whole.scan(topic, partition, range, each)
    }
}

impl Archive for Live {
    fn settled(&mut self, topic: Topic, partition: u32) -> Result<u64, LogError> {
        self.entries += self.step;
        Ok(self.bounds(topic, partition)?.high)
    }

    fn committed(&mut self, partition: u32) -> Result<Committed, LogError> {
        self.whole.committed(partition)
    }
}

/// Where it began, how many it verified, and what it found.
fn audited(shelf: &Shelf, entries: usize) -> (Option<u64>, u64, Option<Check>) {
    let mut live = Live { whole: shelf.clone(), entries, step: 3 };
    let settings = Settings { partitions: 1, ..Settings::default() };
    let stop = AtomicBool::new(false);
    let heard = RefCell::new((None, 0, None));
    let last = shelf.entries().len() as u64;
    shadow(
        &mut live,
        &settings,
        || vec![0],
        |_, word| {
            let mut heard = heard.borrow_mut();
            match word {
                Heard::Begins(seq, _) => heard.0 = Some(seq),
                Heard::Verified(count) => heard.1 += count,
                Heard::Differs(difference) => heard.2 = Some(difference.check),
                Heard::Failed(why) => panic!("{why}"),
            }
            if heard.2.is_some() || heard.0.unwrap_or(0) + heard.1 >= last {
                stop.store(true, Ordering::Relaxed);
            }
        },
        &stop,
    );
    heard.into_inner()
}

#[test]
fn it_begins_in_the_middle_and_verifies_what_follows() {
    let (_, shelf) = story();
    let last = shelf.entries().len() as u64;
    let (began, verified, found) = audited(&shelf, 17);
    assert_eq!((began, verified, found), (Some(20), last - 20, None));
    // With the very first entry, too.
    let mut live = shelf.clone();
    live.compact();
    let (began, verified, found) = audited(&shelf, 0);
    assert_eq!((began, verified, found), (Some(3), last - 3, None));
}

#[test]
fn it_is_loud_at_the_first_difference() {
    let (_, mut shelf) = story();
    let alarms = shelf.topics.get_mut(&Topic::Alarms).unwrap();
    alarms.last_mut().unwrap().value.as_mut().unwrap().push(b' ');
    assert_eq!(audited(&shelf, 5).2, Some(Check::Output));
}
