//! One run: processes with real workers over the simulated brokers, in virtual time, everything from one seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lastseen::clock::Clock;
use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::journal;
use lastseen::engine::step::Settings;
use lastseen::log::Topic;
use lastseen::stats::Stats;
use lastseen::worker::{Standby, Worker, WorkerConfig, WorkerError};

use super::broken::Broken;
use super::cluster::{BrokerSettings, Cluster, LEADERS, Ms, START};
use super::disk::{Disk, SimStore};
use super::faults::{Faults, Rates};
use super::host::{Crash, Host, Shared, SimTime};
use super::judge::{self, Expectations};
use super::member::{MemberSettings, SimLog};
use super::rng::Rng;
use super::standby::Following;
use super::trace::Trace;
use super::workload::{Workload, WorkloadSettings};

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub processes: usize,
    pub partitions: u32,
    /// How long the upstream sends.
    pub time: Ms,
    pub devices: usize,
    pub rates: Rates,
    /// What happens to processes between their turns, in a million turns.
    pub disturbance: u32,
    pub commit_interval: Ms,
    pub batch_records: usize,
    pub effects_max: usize,
    pub checkpoint_interval: Ms,
    pub late_markers: u32,
    pub is_static: bool,
    /// Processes keep at hand what others own.
    pub standby: bool,
    pub transaction_timeout: Ms,
    pub transactions: bool,
    pub garbage: bool,
    pub disorder: bool,
    pub housekeeping: bool,
    /// The clocks of leaders jump, by up to a year.
    pub leaps: bool,
    /// The leaders' clocks differ by up to so many milliseconds.
    pub skew: i64,
    pub broken: Option<Broken>,
    pub planned: Option<(u64, super::faults::Fault)>,
    pub named: Option<(&'static str, u64, super::faults::Fault)>,
    pub trace: bool,
    /// The command that runs it again, if there is one: it is of a kind that is drawn from the seed.
    pub kind: &'static str,
}

impl Plan {
    /// How to see it again.
    pub fn again(&self) -> String {
        match self.kind {
            "" => "this plan belongs to its test alone; to run it again, run that test".to_owned(),
            kind => format!("again, with all of it: make simulate KIND={kind} SEED={}", self.seed),
        }
    }

    /// A small, quiet run: nothing goes wrong.
    pub fn quiet(seed: u64) -> Plan {
        Plan {
            seed,
            processes: 1,
            partitions: 2,
            time: 300_000,
            devices: 10,
            rates: Rates::default(),
            disturbance: 0,
            commit_interval: 500,
            batch_records: 1_000,
            effects_max: 1_000,
            checkpoint_interval: 30_000,
            late_markers: 0,
            is_static: true,
            standby: false,
            transaction_timeout: 3_000,
            transactions: false,
            garbage: true,
            disorder: true,
            housekeeping: false,
            leaps: false,
            skew: 0,
            broken: None,
            planned: None,
            named: None,
            trace: false,
            kind: "",
        }
    }

    /// The clocks of hosts and brokers jump, and not much else goes wrong.
    pub fn leaping(seed: u64) -> Plan {
        let mut rng = Rng::new(seed, 7);
        let wild = Plan::wild(seed);
        let rates = Rates {
            wall_jump: if rng.coin() { 100 } else { 0 },
            crash: wild.rates.crash / 10,
            error: wild.rates.error / 10,
            ..Rates::default()
        };
        let leaps = rates.wall_jump == 0 || rng.coin();
        Plan { rates, leaps, disturbance: 0, skew: 0, standby: false, kind: "leaping", ..wild }
    }

    /// Anything goes, as the seed says.
    pub fn wild(seed: u64) -> Plan {
        let mut rng = Rng::new(seed, 5);
        let partitions = rng.range(1, 5) as u32;
        Plan {
            processes: rng.range(1, 4) as usize,
            partitions,
            time: rng.range(120_000, 900_000),
            devices: partitions as usize + rng.range(1, 25) as usize,
            rates: Faults::draw(seed),
            disturbance: if rng.coin() { rng.below(20_000) as u32 } else { 0 },
            commit_interval: *rng.pick(&[20, 100, 500, 500, 2_000]),
            batch_records: *rng.pick(&[1, 10, 1_000, 1_000]),
            effects_max: *rng.pick(&[1, 3, 1_000, 1_000]),
            checkpoint_interval: *rng.pick(&[1_000, 10_000, 30_000, 120_000]),
            late_markers: *rng.pick(&[0, 20_000, 300_000]),
            is_static: rng.coin(),
            transactions: rng.coin(),
            garbage: rng.coin(),
            disorder: rng.coin(),
            housekeeping: rng.coin(),
            skew: *rng.pick(&[0, 0, 0, 30, 500]),
            standby: rng.coin(),
            kind: "wild",
            ..Plan::quiet(seed)
        }
    }
}

/// A year, an hour, more than clocks may differ, and less.
pub const LEAPS: [i64; 4] = [31_536_000_000, 3_600_000, 90_000, 1_500];

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    pub problem: Option<String>,
    pub trace: String,
    pub trace_hash: u64,
    pub steps: u64,
    pub turns: u64,
    pub commits: u64,
    pub records: u64,
    pub outputs: u64,
    pub faults: u64,
    pub crashes: u64,
    pub points: u64,
    pub taken_over: u64,
}

impl Report {
    pub fn add(&mut self, other: &Report) {
        self.steps += other.steps;
        self.turns += other.turns;
        self.commits += other.commits;
        self.records += other.records;
        self.outputs += other.outputs;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.taken_over += other.taken_over;
    }
}

type Process = Option<Worker<SimLog, SimStore>>;

/// A place where a process may run.
struct Slot {
    instance: RefCell<String>,
    process: RefCell<Process>,
    host: RefCell<Option<Rc<Host>>>,
    following: RefCell<Option<Following>>,
    disk: Disk,
    down_until: Cell<Ms>,
    paused_until: Cell<Ms>,
    is_paused: Cell<bool>,
    more: Cell<bool>,
    starts: Cell<u64>,
}

pub struct World {
    plan: Plan,
    settings: Arc<Settings>,
    cluster: Shared,
    faults: Rc<RefCell<Faults>>,
    slots: Vec<Slot>,
    rng: RefCell<Rng>,
    problem: RefCell<Option<String>>,
    turns: Cell<u64>,
    crashes: Cell<u64>,
    stats: Arc<Stats>,
    me: Weak<World>,
}

/// Far more than any run needs.
const TURNS_MAX: u64 = 400_000;

pub const SESSION: Ms = 6_000;

/// Runs a plan from its beginning to the verdict.
pub fn run(plan: Plan) -> Report {
    let world = World::new(plan);
    world.live();
    world.heal();
    world.verdict()
}

impl World {
    pub fn new(plan: Plan) -> Rc<World> {
        let settings = Settings {
            partitions: plan.partitions,
            effects_max: plan.effects_max,
            refresh: Millis::from_seconds(120),
            sweep_rows_max: 5,
            idle: Millis::from_seconds(10),
            ..Settings::default()
        };
        let brokers = BrokerSettings {
            partitions: plan.partitions,
            late_markers: plan.late_markers,
            session_timeout: SESSION,
            rebalance_timeout: 60_000,
            no_fence: plan.broken == Some(Broken::PredecessorIsNotFenced),
        };
        let mut cluster = Cluster::new(brokers, plan.seed, Trace::new(plan.trace));
        let mut rng = Rng::new(plan.seed, 6);
        for leader in 0..LEADERS {
            cluster.skew[leader] = rng.below(2 * plan.skew as u64 + 1) as i64 - plan.skew;
        }
        let workload = WorkloadSettings {
            devices: plan.devices,
            until: plan.time,
            transactions: plan.transactions,
            garbage: plan.garbage,
            disorder: plan.disorder,
            partitions: plan.partitions,
        };
        Workload::begin(workload, plan.seed, &mut cluster);
        let mut faults = Faults::new(plan.seed, plan.rates.clone(), SESSION);
        (faults.planned, faults.named) = (plan.planned, plan.named);
        let slot = |number| Slot {
            instance: RefCell::new(format!("i{number}")),
            process: RefCell::new(None),
            host: RefCell::new(None),
            following: RefCell::new(None),
            disk: Disk::default(),
            down_until: Cell::new(if number == 0 { 0 } else { rng.below(plan.time / 2) }),
            paused_until: Cell::new(0),
            is_paused: Cell::new(false),
            more: Cell::new(false),
            starts: Cell::new(0),
        };
        let slots = (0..plan.processes).map(slot).collect();
        Rc::new_cyclic(|me| World {
            settings: Arc::new(settings),
            cluster: Arc::new(Mutex::new(cluster)),
            faults: Rc::new(RefCell::new(faults)),
            slots,
            rng: RefCell::new(rng),
            problem: RefCell::new(None),
            turns: Cell::new(0),
            crashes: Cell::new(0),
            stats: Arc::default(),
            me: me.clone(),
            plan,
        })
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut Cluster) -> T) -> T {
        act(&mut self.cluster.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub fn now(&self) -> Ms {
        self.with(|cluster| cluster.now)
    }

    fn complain(&self, words: String) {
        self.with(|cluster| cluster.trace.note(cluster.now, || format!("WRONG: {words}")));
        self.problem.borrow_mut().get_or_insert(words);
    }

    fn has_failed(&self) -> bool {
        self.problem.borrow().is_some()
    }

    // ---- processes ----------------------------------------------------------------------------------------------

    fn start(&self, number: usize) {
        let slot = &self.slots[number];
        let Ok(mut process) = slot.process.try_borrow_mut() else { return };
        slot.starts.set(slot.starts.get() + 1);
        let world = self.me.clone();
        let others = move |me: usize, time: Ms| {
            if let Some(world) = world.upgrade() {
                world.others(me, time);
            }
        };
        let host = Rc::new(Host {
            number,
            cluster: self.cluster.clone(),
            faults: self.faults.clone(),
            others: Rc::new(others),
            wall: Arc::new(AtomicI64::new(0)),
            cut_off: Cell::new(0),
            is_dead: Cell::new(false),
            member: Cell::new(None),
        });
        *slot.host.borrow_mut() = Some(host.clone());
        host.note(|| "starts".into());
        let settings = MemberSettings {
            instance: slot.instance.borrow().clone(),
            is_static: self.plan.is_static,
            transaction_timeout: self.plan.transaction_timeout,
            request_timeout: 5_000,
            broken: self.plan.broken,
        };
        let opened = catch_unwind(AssertUnwindSafe(|| SimLog::open(host.clone(), settings)));
        let log = match opened {
            Ok(Ok(log)) => log,
            Ok(Err(_)) => return self.down(number, false),
            Err(payload) => return self.crashed(number, payload),
        };
        let time = self.with(|cluster| SimTime { shown: cluster.shown.clone(), wall: host.wall.clone() });
        let config = WorkerConfig {
            log_name: "simulated".into(),
            settings: self.settings.clone(),
            commit_interval: Duration::from_millis(self.plan.commit_interval),
            batch_records: self.plan.batch_records,
            clock_margin: Millis(10),
            checkpoint_interval: Duration::from_millis(self.plan.checkpoint_interval),
            ..WorkerConfig::default()
        };
        let store = || SimStore { host: host.clone(), disk: slot.disk.clone(), broken: self.plan.broken };
        let nonce = (number as u64) << 32 | slot.starts.get();
        let standby = self.plan.standby.then(Arc::<Standby>::default);
        *slot.following.borrow_mut() =
            standby.clone().map(|standby| Following { standby, store: store(), config: config.clone() });
        let worker = Worker::new(log, store(), Clock::of(time), config, self.stats.clone(), nonce);
        *process = Some(worker.with_standby(standby));
        slot.more.set(false);
    }

    /// The process is gone: what it held in the group stays until its session ends.
    fn down(&self, number: usize, soon: bool) {
        let slot = &self.slots[number];
        if let Some(host) = slot.host.borrow_mut().take() {
            host.is_dead.set(true);
            if let Some(member) = host.member.get() {
                self.with(|cluster| cluster.group.set_alive(member, false, cluster.now));
            }
        }
        let wait = if soon { 10 } else { self.rng.borrow_mut().range(10, 10_000) };
        slot.down_until.set(self.now() + wait);
    }

    fn crashed(&self, number: usize, payload: Box<dyn std::any::Any + Send>) {
        if !payload.is::<Crash>() {
            resume_unwind(payload);
        }
        self.crashes.set(self.crashes.get() + 1);
        self.down(number, false);
    }

    /// One turn of a process; false if it is not there to take one.
    fn turn(&self, number: usize) -> bool {
        let slot = &self.slots[number];
        let now = self.now();
        if slot.is_paused.get() {
            if slot.paused_until.get() > now {
                return false;
            }
            slot.is_paused.set(false);
            self.set_alive(number, true);
        }
        let Ok(mut process) = slot.process.try_borrow_mut() else { return false };
        if process.is_none() {
            drop(process);
            if slot.down_until.get() > now {
                return false;
            }
            self.start(number);
            return true;
        }
        self.turns.set(self.turns.get() + 1);
        if self.turns.get() > TURNS_MAX {
            self.complain(format!("{TURNS_MAX} turns, and no end: {}", self.left()));
            return false;
        }
        let more = slot.more.get();
        let Some(worker) = process.as_mut() else { return false };
        let turned = catch_unwind(AssertUnwindSafe(|| {
            let following = slot.following.borrow();
            if let Some(following) = following.as_ref().filter(|_| self.turns.get().is_multiple_of(4)) {
                following.round();
            }
            worker.turn(more)
        }));
        match turned {
            Ok(Ok(more)) => slot.more.set(more),
            Ok(Err(WorkerError::Log(error))) if error.retriable => {
                self.with(|cluster| {
                    cluster.trace.note(cluster.now, || format!("[{number}] tries again: {error}"));
                    cluster.advance(200);
                });
            }
            Ok(Err(error)) => {
                self.with(|c| c.trace.note(c.now, || format!("[{number}] dies: {error}")));
                self.down(number, false);
                *process = None;
                self.refused(&error);
            }
            Err(payload) => {
                // Dropped as it is: its log knows that it is dead and tells nobody.
                if let Some(host) = &*slot.host.borrow() {
                    host.is_dead.set(true);
                }
                *process = None;
                drop(process);
                self.crashed(number, payload);
            }
        }
        true
    }

    /// A process may give up for a fault of its disk, or because another one has its name; else it must not.
    fn refused(&self, error: &WorkerError) {
        let words = error.to_string();
        let is_replaced = words.contains("another process has this instance id");
        if !is_replaced && !matches!(error, WorkerError::Store(_)) {
            self.complain(format!("a worker gave up: {words}"));
        }
    }

    fn set_alive(&self, number: usize, is_alive: bool) {
        if let Some(host) = &*self.slots[number].host.borrow()
            && let Some(member) = host.member.get()
        {
            self.with(|cluster| cluster.group.set_alive(member, is_alive, cluster.now));
        }
    }

    /// The others go on for so long, in the middle of whatever `me` does.
    fn others(&self, me: usize, time: Ms) {
        let until = self.now() + time;
        while self.now() < until {
            let number = self.rng.borrow_mut().below(self.slots.len() as u64) as usize;
            let slice = 20.min(until - self.now());
            if number == me || !self.turn(number) {
                self.with(|cluster| cluster.advance(slice));
            }
        }
    }

    // ---- the run ------------------------------------------------------------------------------------------------

    /// Until the upstream ends.
    pub fn live(&self) {
        self.live_until(self.plan.time);
    }

    pub fn live_until(&self, time: Ms) {
        while self.now() < time && !self.has_failed() {
            self.round();
            let disturbed = self.rng.borrow_mut().chance(self.plan.disturbance);
            if disturbed {
                self.disturb();
            }
            if self.plan.leaps && self.rng.borrow_mut().chance(400) {
                self.leap();
            }
            if self.plan.housekeeping && self.rng.borrow_mut().chance(5_000) {
                self.keep_house();
            }
        }
    }

    /// The clock of a partition's leader jumps, or is set right again.
    fn leap(&self) {
        let (leader, by, is_right) = {
            let mut rng = self.rng.borrow_mut();
            let by = *rng.pick(&LEAPS);
            (rng.below(LEADERS as u64) as usize, if rng.coin() { by } else { -by }, rng.coin())
        };
        self.with(|cluster| {
            cluster.skew[leader] = if is_right { 0 } else { by };
            let skew = cluster.skew[leader];
            cluster.trace.note(cluster.now, || format!("the clock of leader {leader} is off by {skew} ms"));
        });
    }

    /// The upstream alone goes on.
    pub fn live_frozen(&self, time: Ms) {
        self.with(|cluster| cluster.advance(time));
    }

    pub fn kill(&self, number: usize) {
        *self.slots[number].process.borrow_mut() = None;
        self.down(number, true);
    }

    /// Retention takes all inputs but the newest record of each.
    pub fn truncate_inputs(&self) {
        self.with(|cluster| {
            for number in 0..cluster.settings.partitions {
                for &topic in InputTopic::ALL {
                    let high = cluster.part(Topic::Input(topic), number).high;
                    if let Some(place) = cluster.place(Topic::Input(topic), number) {
                        cluster.truncate(place, high.saturating_sub(1));
                    }
                }
            }
        });
    }

    fn round(&self) {
        let number = self.rng.borrow_mut().below(self.slots.len() as u64) as usize;
        if !self.turn(number) {
            self.with(|cluster| cluster.advance(10));
        }
    }

    /// Something happens to a process between two of its turns.
    fn disturb(&self) {
        let (number, what, time) = {
            let mut rng = self.rng.borrow_mut();
            (rng.below(self.slots.len() as u64) as usize, rng.below(9), rng.range(10, 3 * SESSION))
        };
        let slot = &self.slots[number];
        let note = |words: &str| {
            self.with(|cluster| cluster.trace.note(cluster.now, || format!("[{number}] {words}")));
        };
        match what {
            0 | 1 => {
                note("is killed");
                *slot.process.borrow_mut() = None;
                self.down(number, false);
            }
            2 => {
                note("is told to stop");
                self.stop(number);
            }
            3 | 4 => {
                note("is paused");
                slot.is_paused.set(true);
                slot.paused_until.set(self.now() + time);
                self.set_alive(number, false);
            }
            5 => {
                note("comes back with another name and an empty disk");
                *slot.process.borrow_mut() = None;
                slot.disk.borrow_mut().clear();
                let name = format!("i{number}-{}", slot.starts.get());
                *slot.instance.borrow_mut() = name;
                self.down(number, true);
            }
            6 => {
                note("gets a copy of another's disk");
                *slot.process.borrow_mut() = None;
                let from = self.rng.borrow_mut().below(self.slots.len() as u64) as usize;
                let copy = self.slots[from].disk.borrow().clone();
                *slot.disk.borrow_mut() = copy;
                self.down(number, false);
            }
            7 => {
                note("dies, and its disk is damaged");
                *slot.process.borrow_mut() = None;
                for dir in slot.disk.borrow_mut().values_mut() {
                    if self.rng.borrow_mut().coin() {
                        dir.is_damaged = true;
                    } else {
                        dir.has_bad_block = true;
                    }
                }
                self.down(number, false);
            }
            _ => {
                note("does not get one of the inputs for a while");
                let index = self.rng.borrow_mut().below(3) as usize;
                self.with(|cluster| cluster.held = Some((index, cluster.now + 2 * time)));
            }
        }
    }

    /// As SIGTERM does.
    fn stop(&self, number: usize) {
        let slot = &self.slots[number];
        let Some(worker) = slot.process.borrow_mut().take() else { return };
        let stop = AtomicBool::new(true);
        let stopped = catch_unwind(AssertUnwindSafe(|| worker.run(&stop)));
        match stopped {
            Ok(Ok(())) => self.down(number, false),
            Ok(Err(WorkerError::Log(error))) if error.retriable => self.down(number, false),
            Ok(Err(error)) => {
                self.down(number, false);
                self.refused(&error);
            }
            Err(payload) => self.crashed(number, payload),
        }
    }

    /// Retention and compaction, as far as the brokers may go.
    fn keep_house(&self) {
        let mut rng = self.rng.borrow_mut();
        let number = rng.below(u64::from(self.plan.partitions)) as u32;
        let keep = rng.below(20);
        let deletions = rng.coin();
        drop(rng);
        self.with(|cluster| {
            let offsets = cluster.offsets[number as usize].stable.clone();
            for (topic, known) in InputTopic::ALL.iter().zip(offsets) {
                if let (Some((offset, _)), Some(place)) = (known, cluster.place(Topic::Input(*topic), number))
                {
                    cluster.truncate(place, offset.saturating_sub(keep));
                }
            }
            let Some(place) = cluster.place(Topic::Journal, number) else { return };
            let open = |value: &Option<Vec<u8>>| journal::open(value.as_deref().unwrap_or_default()).ok();
            let part = &cluster.parts[place];
            let floor =
                part.visible().last().and_then(|record| open(&record.value)).map_or(0, |e| e.entry.floor);
            let first = part.visible().find(|r| open(&r.value).is_some_and(|entry| entry.entry.seq >= floor));
            if let Some(low) = first.map(|record| record.offset)
                && floor > 0
            {
                cluster.truncate(place, low);
            }
            if let Some(place) = cluster.place(Topic::State, number) {
                let end = cluster.parts[place].high.saturating_sub(keep);
                cluster.compact(place, end, deletions);
            }
        });
    }

    /// Nothing goes wrong any more, and everything must come to its end in bounded time.
    pub fn heal(&self) {
        self.faults.borrow_mut().off = true;
        let began = self.now();
        self.with(|cluster| {
            cluster.trace.note(cluster.now, || "HEALED".into());
            cluster.held = None;
            cluster.settings.late_markers = 0;
            cluster.skew = [0; LEADERS];
        });
        for slot in &self.slots {
            slot.paused_until.set(0);
            slot.down_until.set(slot.down_until.get().min(began + 1_000));
            if let Some(host) = &*slot.host.borrow() {
                host.cut_off.set(0);
                host.wall.store(0, Ordering::Relaxed);
            }
        }
        // Open transactions of the upstream end within 90 s; sessions, transactions and rebalances in less. How long it
        // takes to read what is left depends on the plan; that every partition goes on does not.
        let (mut before, mut since) = (Vec::new(), began);
        while !self.has_failed() && !self.is_drained(began + 15_000) {
            let standing = self.standing();
            let now = self.now();
            if standing.iter().zip(&before).all(|(now, before)| now > before) || before.is_empty() {
                (before, since) = (standing, now);
            }
            if now > since + 150_000 || now > began + 10_800_000 {
                self.complain(format!("stuck: {}", self.left()));
                return;
            }
            self.round();
        }
        if self.has_failed() {
            return;
        }
        for number in 0..self.slots.len() {
            self.stop(number);
        }
        self.with(|cluster| cluster.advance(5_000));
    }

    fn is_drained(&self, time: Ms) -> bool {
        self.with(|cluster| {
            (0..cluster.settings.partitions).all(|number| {
                let newest = cluster.part(Topic::Journal, number).visible().last();
                let clock = newest
                    .and_then(|record| journal::open(record.value.as_deref().unwrap_or_default()).ok())
                    .map(|entry| entry.entry.clock_ms.saturating_sub(START));
                let offsets = &cluster.offsets[number as usize];
                let read = InputTopic::ALL.iter().enumerate().all(|(index, topic)| {
                    let high = cluster.part(Topic::Input(*topic), number).high;
                    offsets.stable[index].as_ref().is_some_and(|(offset, _)| *offset == high) || high == 0
                });
                read && offsets.pending.is_empty() && clock.is_some_and(|clock| clock >= time as i64)
            })
        })
    }

    /// How far each partition's journal is. An idle one writes an entry every ten seconds, too.
    fn standing(&self) -> Vec<u64> {
        self.with(|cluster| {
            let partitions = 0..cluster.settings.partitions;
            partitions.map(|number| cluster.part(Topic::Journal, number).stable()).collect()
        })
    }

    fn left(&self) -> String {
        self.with(|cluster| {
            let mut words = String::new();
            for number in 0..cluster.settings.partitions {
                let highs: Vec<u64> =
                    InputTopic::ALL.iter().map(|t| cluster.part(Topic::Input(*t), number).high).collect();
                words +=
                    &format!("partition {number}: {:?} of {highs:?}; ", cluster.offsets[number as usize]);
            }
            words
        })
    }

    pub fn verdict(&self) -> Report {
        let mut report = Report {
            turns: self.turns.get(),
            crashes: self.crashes.get(),
            faults: self.faults.borrow().count,
            points: self.faults.borrow().points,
            taken_over: self.stats.counts().taken_over,
            ..Report::default()
        };
        let steady: BTreeSet<String> = self.with(|cluster| {
            let devices =
                cluster.workload.as_ref().map(|workload| workload.devices.clone()).unwrap_or_default();
            devices.into_iter().filter(|device| device.is_steady).map(|device| device.key).collect()
        });
        let expected = Expectations {
            settings: self.settings.clone(),
            steady,
            steady_until: Timestamp::from_millis(START + self.plan.time as i64),
            clocks_agree: self.plan.skew == 0 && self.plan.rates.wall_jump == 0 && !self.plan.leaps,
            is_drained: !self.has_failed(),
        };
        for number in 0..self.plan.partitions {
            let found = self.with(|cluster| {
                let judged = judge::judge(cluster, number, &expected)?;
                if !self.has_failed() {
                    judge::recovered(cluster, &judged, None)?;
                    for slot in &self.slots {
                        let dir = slot.disk.borrow().get(&number).cloned();
                        if let Some(dir) = dir.filter(|dir| !dir.is_damaged && !dir.has_bad_block) {
                            judge::checkpoint(cluster, &judged, &dir)?;
                        }
                    }
                }
                Ok(judged)
            });
            match found {
                Ok(judged) => {
                    report.commits += judged.entries;
                    report.records += judged.records;
                    report.outputs += judged.outputs;
                }
                // What a worker noticed itself is told first; what the judge sees says what it was.
                Err(words) => self.complain(words),
            }
        }
        report.problem = self.problem.borrow().clone();
        self.with(|cluster| {
            report.steps = cluster.steps;
            report.trace = cluster.trace.tail();
            report.trace_hash = cluster.trace.hash;
        });
        report
    }
}
