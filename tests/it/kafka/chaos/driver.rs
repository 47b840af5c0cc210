//! Faults, and waiting until they are over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::processes::{Instance, Site, Standing, Told};
use super::watch::Watch;
use crate::broker::{self, Broker};
use crate::sim::rng::Rng;

pub const SESSION: Duration = Duration::from_secs(6);

/// So long may the group take to work on all partitions again, after whatever happened.
const PATIENCE: Duration = Duration::from_secs(150);

/// So long nothing is committed before transactions are looked for that hang.
const STUCK: Duration = Duration::from_secs(30);

/// What an instance may say when it ends by itself, to be started again by whoever watches over it.
const MAY_END: [&str; 3] = [
    // A static member that was let in twice by a broker that crashed in between: it is fenced by its own ghost.
    "another process runs with the same instance id",
    // It was started while the broker was away, or not quite back.
    "no answer from Kafka",
    "looking at the topics: Admin operation error: OperationTimedOut",
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// kill -9, and started again when the others have taken over.
    KillAway,
    /// kill -9, and started again at once.
    KillBack,
    /// kill -9 of two at once.
    KillTwo,
    /// kill -9 of one and SIGSTOP of another, until the third has everything.
    KillAndPause,
    /// An empty disk, and kill -9 while it restores.
    KillRestoring,
    /// SIGSTOP until the others have taken over, then SIGCONT: a zombie.
    PauseAway,
    /// An empty disk, and SIGSTOP while it restores, until the others have taken over.
    PauseRestoring,
    /// SIGTERM, and started again when the others have taken over.
    TermAway,
    /// SIGTERM, and started again at once.
    TermBack,
    /// A fourth joins, works, and leaves.
    Visit,
    /// kill -9, and started again with an empty disk.
    EmptyDisk,
    /// The broker is stopped and started.
    BrokerRestart,
    /// kill -9 of the broker; it is started again a little later, and now and then an instance dies meanwhile.
    BrokerKill,
    /// SIGSTOP and SIGCONT of the broker.
    BrokerPause,
}

/// What happened.
#[derive(Default)]
pub struct Tally {
    pub faults: BTreeMap<Fault, u32>,
    pub kills: u32,
    pub pauses: u32,
    pub kills_restoring: u32,
    pub pauses_restoring: u32,
    /// Why instances ended that nobody ended, and how often.
    pub ended: BTreeMap<&'static str, u32>,
    /// Transactions of which the coordinator knew nothing any more, and that were aborted by hand.
    pub healed: u32,
    /// From the fault to the first and to the last of its partitions, without anything taken off.
    pub takeover_kill: Vec<(Duration, Duration)>,
    pub takeover_term: Vec<(Duration, Duration)>,
    /// The same for those that were started again at once and kept their membership.
    pub back_static: Vec<(Duration, Duration)>,
    /// From the end of a fault until all partitions are worked on.
    pub whole: Vec<Duration>,
}

pub struct Chaos {
    pub site: Site,
    pub watch: Watch,
    pub told: Told,
    pub tally: Tally,
    /// Of the last look.
    pub unread: Vec<String>,
    pub verified: String,
    pub published: u64,
    instances: Vec<Instance>,
    broker: Broker,
    rng: Rng,
    /// Instances that were told to end.
    leaving: Vec<usize>,
    is_broker_away: bool,
    /// Entries, and since when there are no more.
    progress: (u64, Instant),
}

impl Chaos {
    pub fn new(site: Site, broker: Broker, watch: Watch, instances: Vec<Instance>, rng: Rng) -> Chaos {
        Chaos {
            site,
            watch,
            told: Told::default(),
            tally: Tally::default(),
            unread: Vec::new(),
            verified: String::new(),
            published: 0,
            instances,
            broker,
            rng,
            leaving: Vec::new(),
            is_broker_away: false,
            progress: (0, Instant::now()),
        }
    }

    pub fn start_all(&mut self) {
        for instance in &mut self.instances {
            instance.start();
        }
        self.settle();
        self.tally.whole.clear();
    }

    /// Ends all, and none may fail.
    pub fn end_all(&mut self) {
        for index in 0..self.instances.len() {
            if self.instances[index].standing == Standing::Runs {
                self.end(index);
            }
        }
    }

    /// Takes in what happened by itself.
    fn look(&mut self) {
        for index in 0..self.instances.len() {
            let instance = &mut self.instances[index];
            instance.read(&mut self.told);
            let Some((status, words)) = instance.ended(&mut self.told) else { continue };
            if let Some(place) = self.leaving.iter().position(|leaving| *leaving == index) {
                self.leaving.remove(place);
                assert!(status.success(), "{status}: {words}\n{}", self.instances[index].last_words());
                continue;
            }
            let Some(why) = MAY_END.into_iter().find(|known| words.contains(known)) else {
                panic!("it ended by itself, {status}: {words}\n{}", self.instances[index].last_words());
            };
            *self.tally.ended.entry(why).or_default() += 1;
            self.instances[index].start();
        }
        let entries = self.watch.state().entries;
        if entries != self.progress.0 || self.is_broker_away {
            self.progress = (entries, Instant::now());
        }
        if self.progress.1.elapsed() > STUCK {
            self.heal();
            self.progress.1 = Instant::now();
        }
    }

    /// What an operator does about transactions that hang (deploy/RUNBOOK.md): Kafka now and then loses the marker that
    /// aborts one when it is killed, and waits for it for ever.
    fn heal(&mut self) {
        let found = broker::abort_hanging(&self.site.brokers);
        println!("nothing was committed for {STUCK:?}; {} transactions hang: {found:?}", found.len());
        self.tally.healed += found.len() as u32;
    }

    /// Waits until something holds; meanwhile whoever ends by itself is started again.
    pub fn wait(&mut self, bound: Duration, what: &str, mut holds: impl FnMut(&mut Chaos) -> bool) {
        let until = Instant::now() + bound;
        loop {
            self.look();
            if holds(self) {
                return;
            }
            if Instant::now() > until {
                panic!("not within {bound:?}: {what}\n{}", self.words());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn words(&self) -> String {
        let mut words = format!("unread: {:?}\n", self.unread);
        for (number, seen) in self.watch.state().partitions.iter().enumerate() {
            let seen =
                seen.as_ref().map(|seen| (seen.seq, seen.at.elapsed(), format!("{:016x}", seen.writer)));
            words += &format!("partition {number}: {seen:?}\n");
        }
        for instance in &self.instances {
            instance.dump();
            words += &format!("{:?} {:x?} {}\n", instance.standing, instance.writer, instance.last_words());
        }
        words += &format!("the broker warned:\n{}\n", self.broker.last_words(&self.site.dir));
        words
    }

    /// Waits until every partition is worked on by an instance that runs.
    pub fn settle(&mut self) {
        let began = Instant::now();
        self.wait(PATIENCE, "all partitions are worked on", |chaos| {
            let running = chaos.instances.iter().filter(|instance| instance.standing == Standing::Runs);
            let writers: Vec<u64> = running.filter_map(|instance| instance.writer).collect();
            let state = chaos.watch.state();
            let is_alive = |seen: &super::watch::Seen| seen.at > began && writers.contains(&seen.writer);
            state.partitions.iter().all(|seen| seen.as_ref().is_some_and(is_alive))
        });
        self.tally.whole.push(began.elapsed());
    }

    /// One of those that run and have partitions.
    fn victim(&mut self, wanted: impl Fn(&Instance) -> bool) -> usize {
        let mut found = Vec::new();
        self.wait(PATIENCE, "there is a victim", |chaos| {
            let state = chaos.watch.state();
            let owns = |instance: &Instance| {
                instance.standing == Standing::Runs
                    && instance.writer.is_some_and(|writer| !state.partitions_of(writer).is_empty())
            };
            let able = chaos.instances.iter().enumerate().filter(|(_, it)| owns(it) && wanted(it));
            found = able.map(|(index, _)| index).collect();
            !found.is_empty()
        });
        *self.rng.pick(&found)
    }

    fn kill(&mut self, index: usize) {
        self.tally.kills += 1;
        self.instances[index].kill(&mut self.told);
    }

    fn pause(&mut self, index: usize) {
        self.tally.pauses += 1;
        self.instances[index].signal("-STOP");
    }

    /// SIGTERM, and it ends well.
    fn end(&mut self, index: usize) {
        self.leaving.push(index);
        self.instances[index].signal("-TERM");
        self.wait(Duration::from_secs(60), "it ends when it is told to", |chaos| {
            !chaos.leaving.contains(&index)
        });
    }

    /// What an instance works on.
    fn owned(&self, index: usize) -> (u64, Vec<usize>) {
        let writer = self.instances[index].writer.unwrap_or_default();
        (writer, self.watch.state().partitions_of(writer))
    }

    /// Waits until others, or others under the same name, commit on all of these; how long it took for the first and
    /// for the last.
    fn taken_over(
        &mut self,
        (writer, partitions): &(u64, Vec<usize>),
        since: Instant,
    ) -> (Duration, Duration) {
        let mut times = Vec::new();
        self.wait(PATIENCE, "its partitions are taken over", |chaos| {
            let state = chaos.watch.state();
            let seen = partitions.iter().filter_map(|partition| state.partitions[*partition].as_ref());
            let others = seen.filter(|seen| seen.writer != *writer);
            times = others.map(|seen| seen.since.saturating_duration_since(since)).collect();
            times.len() == partitions.len()
        });
        let min = times.iter().min().copied().unwrap_or_default();
        (min, times.iter().max().copied().unwrap_or_default())
    }

    /// Starts an instance with an empty disk and waits until it restores. Whether it was caught at it.
    fn restoring(&mut self, index: usize) -> bool {
        self.instances[index].lose_disk();
        self.instances[index].start();
        let mut is_caught = false;
        self.wait(PATIENCE, "it gets partitions", |chaos| {
            let instance = &chaos.instances[index];
            let state = chaos.watch.state();
            is_caught = !instance.restoring.is_empty();
            is_caught || instance.writer.is_some_and(|writer| !state.partitions_of(writer).is_empty())
        });
        is_caught
    }

    /// In long rounds the next fault may come before this one is over.
    pub fn fault(&mut self, fault: Fault, may_overlap: bool) {
        *self.tally.faults.entry(fault).or_default() += 1;
        let began = Instant::now();
        match fault {
            Fault::KillAway => {
                let index = self.victim(|_| true);
                let owned = self.owned(index);
                self.kill(index);
                let since = Instant::now();
                let times = self.taken_over(&owned, since);
                self.tally.takeover_kill.push(times);
                self.instances[index].start();
            }
            Fault::KillBack => {
                let index = self.victim(|instance| instance.is_static || may_overlap);
                let owned = self.owned(index);
                self.kill(index);
                let since = Instant::now();
                self.instances[index].start();
                if self.instances[index].is_static {
                    let times = self.taken_over(&owned, since);
                    self.tally.back_static.push(times);
                }
            }
            Fault::KillTwo => {
                for _ in 0..2 {
                    let index = self.victim(|_| true);
                    self.kill(index);
                }
                for index in 0..self.instances.len() {
                    if self.instances[index].standing == Standing::Gone {
                        self.instances[index].start();
                    }
                }
            }
            Fault::KillAndPause => {
                let one = self.victim(|_| true);
                let name = self.instances[one].name.clone();
                let two = self.victim(|instance| instance.name != name);
                let (of_one, of_two) = (self.owned(one), self.owned(two));
                self.kill(one);
                self.pause(two);
                let since = Instant::now();
                let times = self.taken_over(&of_one, since);
                self.tally.takeover_kill.push(times);
                self.taken_over(&of_two, since);
                self.instances[two].signal("-CONT");
                self.instances[one].start();
            }
            Fault::KillRestoring => {
                let index = self.victim(|instance| instance.is_static || may_overlap);
                self.kill(index);
                if self.restoring(index) {
                    self.kill(index);
                    self.tally.kills_restoring += u32::from(!self.instances[index].restoring.is_empty());
                    self.instances[index].start();
                }
            }
            Fault::PauseAway => {
                let index = self.victim(|_| true);
                let owned = self.owned(index);
                self.pause(index);
                self.taken_over(&owned, Instant::now());
                self.instances[index].signal("-CONT");
            }
            Fault::PauseRestoring => {
                let index = self.victim(|instance| instance.is_static || may_overlap);
                self.kill(index);
                if self.restoring(index) {
                    self.pause(index);
                    self.look();
                    self.tally.pauses_restoring += u32::from(!self.instances[index].restoring.is_empty());
                    self.settle();
                    self.instances[index].signal("-CONT");
                }
            }
            Fault::TermAway => {
                let index = self.victim(|instance| !instance.is_static);
                let owned = self.owned(index);
                let since = Instant::now();
                self.end(index);
                let times = self.taken_over(&owned, since);
                self.tally.takeover_term.push(times);
                self.instances[index].start();
            }
            Fault::TermBack => {
                let index = self.victim(|_| true);
                self.end(index);
                self.instances[index].start();
            }
            Fault::Visit => {
                let visitor = Instance::new(&self.site, "visitor", false);
                let index = self.instances.len();
                self.instances.push(visitor);
                self.instances[index].start();
                self.wait(PATIENCE, "the visitor works", |chaos| !chaos.owned(index).1.is_empty());
                self.end(index);
                self.instances.pop();
            }
            Fault::EmptyDisk => {
                let index = self.victim(|_| true);
                self.kill(index);
                self.instances[index].lose_disk();
                self.instances[index].start();
            }
            Fault::BrokerRestart => {
                self.is_broker_away = true;
                self.broker.restart();
                self.is_broker_away = false;
            }
            Fault::BrokerKill => {
                self.is_broker_away = true;
                self.broker.kill();
                if self.rng.below(3) == 0 {
                    let running = |instance: &Instance| instance.standing == Standing::Runs;
                    if let Some(index) = self.instances.iter().position(running) {
                        self.kill(index);
                        self.instances[index].start();
                    }
                }
                let away = Duration::from_millis(self.rng.below(5_000));
                self.wait(away * 2 + SESSION, "the outage is over", |_| began.elapsed() >= away);
                self.broker.restart();
                self.is_broker_away = false;
            }
            Fault::BrokerPause => {
                let away = Duration::from_millis(1_000 + self.rng.below(9_000));
                self.is_broker_away = true;
                self.broker.pause(true);
                self.wait(away * 2, "the outage is over", |_| began.elapsed() >= away);
                self.broker.pause(false);
                self.is_broker_away = false;
            }
        }
        let took = began.elapsed();
        let is_last = may_overlap && self.rng.below(4) == 0;
        if !is_last {
            self.settle();
        }
        println!("{fault:?}: {took:.1?}{}", if is_last { ", and on at once" } else { "" });
    }
}
