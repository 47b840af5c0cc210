//! A fleet as it is in the field, from a seed: what it sends is drawn, encoded and handed over in batches, in the order in
//! which a platform would append it. The same [`Spec`] gives the same bytes.
//!
//! Heartbeats come every 10 s to 1 h, as many devices between one and ten minutes as between six seconds and a minute, with
//! jitter; a few hot devices send twice a second. Sessions churn: ended by the client, by the server, by the network, taken
//! over, and with the late disconnect that the network brings a minute after the new connect. One node goes down, and its
//! devices come back in a storm; a share of the fleet falls silent at once, half of it returns; others were silent before it
//! began. Records come late and twice.

#![allow(dead_code)]

pub mod events;

use lastseen::domain::effect::InputTopic;
use xxhash_rust::xxh3::Xxh3;

/// What fleet, and for how long. Shares are in thousandths.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub seed: u64,
    pub devices: u32,
    /// The time at which it begins, in milliseconds since the epoch.
    pub start: i64,
    pub seconds: u32,
    /// No required interval is shorter: in a backlog, deadlines of the living must lie behind the time at which it is read.
    pub required_minutes_min: i16,
    /// Of the emissions: how many end a session.
    pub churn: u64,
    /// Of the devices: how many send twice a second.
    pub hot: u64,
    /// Of the devices: how many lose their session in the middle, within a second.
    pub storm: u64,
    /// Of the devices: how many fall silent after two thirds; half of them return near the end.
    pub silence: u64,
    /// Of the devices: how many were last heard of long before; half of them return on the way.
    pub lost: u64,
    /// Of the records: how many are appended up to half a minute late.
    pub late: u64,
    /// Of the records: how many are appended twice.
    pub twice: u64,
}

impl Spec {
    pub fn new(seed: u64, devices: u32, start: i64, seconds: u32) -> Spec {
        Spec {
            seed,
            devices,
            start,
            seconds,
            required_minutes_min: 1,
            churn: 10,
            hot: 1,
            storm: 100,
            silence: 100,
            lost: 20,
            late: 10,
            twice: 10,
        }
    }
}

/// One record of a batch; key and value are ranges of its bytes.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: InputTopic,
    /// None: a broadcast, for every partition.
    pub key: Option<std::ops::Range<usize>>,
    pub value: std::ops::Range<usize>,
}

/// Records in the order in which they are to be appended.
#[derive(Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub records: Vec<Record>,
}

impl Batch {
    pub fn key<'a>(&'a self, record: &Record) -> Option<&'a [u8]> {
        Some(&self.bytes[record.key.clone()?])
    }

    pub fn value<'a>(&'a self, record: &Record) -> &'a [u8] {
        &self.bytes[record.value.clone()]
    }
}

/// What was drawn.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Tally {
    pub records: u64,
    pub bytes: u64,
    pub control: u64,
    pub connects: u64,
    pub disconnects: u64,
    pub failed: u64,
    pub activity: u64,
    pub late: u64,
    pub twice: u64,
    /// Devices whose deadline is over when they are first heard of.
    pub lost: u64,
}

/// Of a device, what changes.
#[derive(Clone, Copy, Default)]
struct State {
    drawn: u32,
    session: u32,
    connected: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The device comes up or back, with a new session.
    Connect,
    /// What a device that was lost had sent long before.
    Remains,
    /// Its node goes down.
    Drop,
    /// The network tells of the end of this session, long after it.
    LateEnd(u32),
    Send,
    /// A record that was held back.
    Held(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    millis: u16,
    device: u32,
    what: What,
}

struct Held {
    topic: InputTopic,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The source of batches.
pub struct Workload {
    spec: Spec,
    states: Vec<State>,
    /// What happens, by the second.
    wheel: Vec<Vec<Entry>>,
    held: Vec<Held>,
    /// The next device to be registered; after that, the next second.
    registered: u32,
    second: u32,
    pub tally: Tally,
    hash: Xxh3,
}

/// Devices that are registered in one batch.
const REGISTERED: u32 = 5_000;
const LATE_SECONDS: u64 = 30;

impl Workload {
    pub fn new(spec: Spec) -> Workload {
        let mut workload = Workload {
            states: vec![State::default(); spec.devices as usize],
            wheel: (0..spec.seconds).map(|_| Vec::new()).collect(),
            held: Vec::new(),
            registered: 0,
            second: 0,
            tally: Tally::default(),
            hash: Xxh3::new(),
            spec,
        };
        for device in 0..workload.spec.devices {
            workload.schedule_life(device);
        }
        workload
    }

    /// A hash of everything that was handed over so far.
    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// The next records, in the place of those that the batch had; false when there are no more.
    pub fn next(&mut self, batch: &mut Batch) -> bool {
        batch.bytes.clear();
        batch.records.clear();
        if self.registered < self.spec.devices {
            self.register(batch);
        } else if self.second < self.spec.seconds {
            self.one_second(batch);
            self.second += 1;
        } else {
            return false;
        }
        self.hash.update(&batch.bytes);
        true
    }

    /// Whether registration is over: what follows stands on other topics, and must be appended after it.
    pub fn is_registered(&self) -> bool {
        self.registered == self.spec.devices
    }

    // ---- what a device is like ------------------------------------------------------------------------------------

    /// A number that belongs to a device and to one question about it.
    pub fn draw(&self, device: u32, question: u64) -> u64 {
        mix(self.spec.seed ^ mix((u64::from(device) << 32) ^ question))
    }

    fn is(&self, device: u32, question: u64, share: u64) -> bool {
        self.draw(device, question) % 1000 < share
    }

    fn is_lost(&self, device: u32) -> bool {
        self.is(device, LOST, self.spec.lost)
    }

    /// Milliseconds between heartbeats.
    fn period(&self, device: u32) -> u64 {
        if self.is(device, HOT, self.spec.hot) {
            return 500;
        }
        // Evenly by the logarithm: 10 s to 1 h are 8.5 doublings; a table of tenths would only be longer than this.
        let tenths = self.draw(device, PERIOD) % 85;
        let whole = 10_000u64 << (tenths / 10);
        whole + whole * (tenths % 10) / 10
    }

    fn required_minutes(&self, device: u32) -> i16 {
        let three = (3 * self.period(device) / 60_000 + 1) as i16;
        three.max(self.spec.required_minutes_min)
    }

    // ---- when it does what ----------------------------------------------------------------------------------------

    fn at(&mut self, millis: u64, device: u32, what: What) {
        if let Some(second) = self.wheel.get_mut((millis / 1000) as usize) {
            second.push(Entry { millis: (millis % 1000) as u16, device, what });
        }
    }

    fn schedule_life(&mut self, device: u32) {
        let span = u64::from(self.spec.seconds) * 1000;
        let mut up = self.draw(device, UP) % (span / 4).clamp(1, 30_000);
        if self.is_lost(device) {
            self.tally.lost += 1;
            self.at(up, device, What::Remains);
            if self.is(device, RETURNS, 500) {
                up = span / 4 + self.draw(device, UP) % (span / 2).max(1);
            } else {
                return;
            }
        }
        self.at(up, device, What::Connect);
        let first = up + 1 + self.draw(device, FIRST) % self.period(device);
        self.at(first, device, What::Send);
        if self.is(device, STORM, self.spec.storm) {
            self.at(span / 2 + self.draw(device, DROP) % 1000, device, What::Drop);
        }
    }

    fn is_silent(&self, device: u32, millis: u64) -> bool {
        let span = u64::from(self.spec.seconds) * 1000;
        millis >= span * 2 / 3
            && self.is(device, SILENT, self.spec.silence)
            && (millis < span * 9 / 10 || !self.is(device, RETURNS, 500))
    }

    fn register(&mut self, batch: &mut Batch) {
        if self.registered == 0 {
            let record = events::policy(batch);
            self.tally.control += 1;
            self.count(batch, record);
        }
        let last = (self.registered + REGISTERED).min(self.spec.devices);
        for device in self.registered..last {
            let minutes = self.required_minutes(device);
            let since = if self.is_lost(device) { 2 * HOUR + i64::from(minutes) * MINUTE } else { MINUTE };
            let at = self.spec.start - since;
            for record in [
                events::register(batch, self.draw(device, NAME), device, at),
                events::interval(batch, self.draw(device, NAME), device, at, minutes),
            ] {
                self.tally.control += 1;
                self.count(batch, record);
            }
        }
        self.registered = last;
    }

    fn one_second(&mut self, batch: &mut Batch) {
        let mut due = std::mem::take(&mut self.wheel[self.second as usize]);
        due.sort_unstable();
        for entry in due {
            let millis = u64::from(self.second) * 1000 + u64::from(entry.millis);
            self.one(batch, entry, millis);
        }
    }

    fn one(&mut self, batch: &mut Batch, entry: Entry, millis: u64) {
        let (device, index) = (entry.device, entry.device as usize);
        let at = self.spec.start + millis as i64;
        let name = self.draw(device, NAME);
        match entry.what {
            What::Connect => {
                let session = self.states[index].session + 1;
                self.states[index].session = session;
                self.states[index].connected = true;
                let record = events::connected(batch, name, device, at, session);
                self.tally.connects += 1;
                self.tell(batch, record, device, millis);
            }
            What::Remains => {
                let old = self.spec.start - i64::from(self.required_minutes(device)) * MINUTE - HOUR;
                let record = events::activity(batch, name, device, old, 1, 0);
                self.tally.activity += 1;
                self.tell(batch, record, device, millis);
            }
            What::Drop => {
                if self.states[index].connected {
                    self.end(batch, device, millis, events::End::NodeDown);
                    let back = 1000 + self.draw(device, BACK) % 29_000;
                    self.at(millis + back, device, What::Connect);
                }
            }
            What::LateEnd(session) => {
                let end = events::End::KeepAlive;
                let record = events::disconnected(batch, name, device, at, session, end);
                self.tally.disconnects += 1;
                self.tell(batch, record, device, millis);
            }
            What::Send => self.send(batch, device, millis),
            What::Held(place) => {
                let held = &mut self.held[place as usize];
                let (topic, key, value) =
                    (held.topic, std::mem::take(&mut held.key), std::mem::take(&mut held.value));
                let record = events::put(batch, topic, &key, &value);
                self.count(batch, record);
            }
        }
    }

    /// Ends the device's session now.
    fn end(&mut self, batch: &mut Batch, device: u32, millis: u64, end: events::End) {
        let state = &mut self.states[device as usize];
        state.connected = false;
        let session = state.session;
        let at = self.spec.start + millis as i64;
        let record = events::disconnected(batch, self.draw(device, NAME), device, at, session, end);
        self.tally.disconnects += 1;
        self.tell(batch, record, device, millis);
    }

    fn send(&mut self, batch: &mut Batch, device: u32, millis: u64) {
        let period = self.period(device);
        let state = &mut self.states[device as usize];
        state.drawn += 1;
        let (drawn, session, connected) = (state.drawn, state.session, state.connected);
        let dice = self.draw(device, DRAWN + u64::from(drawn));
        let jitter = (dice >> 40) % (period / 5 + 1);
        self.at(millis + period * 9 / 10 + jitter, device, What::Send);
        if !connected || self.is_silent(device, millis) {
            return;
        }
        let (name, at) = (self.draw(device, NAME), self.spec.start + millis as i64);
        if dice % 1000 >= self.spec.churn {
            let record = events::activity(batch, name, device, at, session, dice >> 20);
            self.tally.activity += 1;
            self.tell(batch, record, device, millis);
            return;
        }
        let back = millis + 1000 + (dice >> 16) % 5000;
        match (dice >> 10) % 5 {
            0 => self.end(batch, device, millis, events::End::ByClient),
            1 => self.end(batch, device, millis, events::End::KeepAlive),
            2 => {
                self.end(batch, device, millis, events::End::ByServer);
                let record = events::failed(batch, name, device, at + 400);
                self.tally.failed += 1;
                self.tell(batch, record, device, millis);
            }
            3 => {
                self.one(batch, Entry { millis: 0, device, what: What::Connect }, millis);
                let record = events::disconnected(batch, name, device, at, session, events::End::TakenOver);
                self.tally.disconnects += 1;
                self.tell(batch, record, device, millis);
                return;
            }
            _ => {
                self.one(batch, Entry { millis: 0, device, what: What::Connect }, millis);
                self.at(millis + 60_000, device, What::LateEnd(session));
                return;
            }
        }
        self.at(back, device, What::Connect);
    }

    // ---- the way of a record --------------------------------------------------------------------------------------

    /// The record that was just put: it goes out now, later, or twice.
    fn tell(&mut self, batch: &mut Batch, record: Record, device: u32, millis: u64) {
        let dice = mix(self.tally.records ^ self.draw(device, WAY) ^ millis);
        let delay = 1000 + (dice >> 32) % (LATE_SECONDS * 1000);
        if dice % 1000 < self.spec.twice {
            self.hold(batch, &record, device, millis + delay);
            self.tally.twice += 1;
            self.count(batch, record);
        } else if dice % 1000 < self.spec.twice + self.spec.late && self.is_within(millis + delay) {
            self.hold(batch, &record, device, millis + delay);
            self.tally.late += 1;
            let start = record.key.as_ref().map_or(record.value.start, |key| key.start);
            batch.bytes.truncate(start);
        } else {
            self.count(batch, record);
        }
    }

    fn is_within(&self, millis: u64) -> bool {
        millis / 1000 < u64::from(self.spec.seconds)
    }

    fn hold(&mut self, batch: &Batch, record: &Record, device: u32, until: u64) {
        if self.is_within(until) {
            let key = batch.key(record).unwrap_or_default().to_vec();
            self.held.push(Held { topic: record.topic, key, value: batch.value(record).to_vec() });
            self.at(until, device, What::Held(self.held.len() as u32 - 1));
        }
    }

    fn count(&mut self, batch: &mut Batch, record: Record) {
        self.tally.records += 1;
        self.tally.bytes +=
            (record.value.end - record.key.as_ref().map_or(record.value.start, |key| key.start)) as u64;
        batch.records.push(record);
    }
}

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

const LOST: u64 = 1;
const HOT: u64 = 2;
const PERIOD: u64 = 3;
const UP: u64 = 4;
const FIRST: u64 = 5;
const STORM: u64 = 6;
const DROP: u64 = 7;
const BACK: u64 = 8;
const SILENT: u64 = 9;
const RETURNS: u64 = 10;
pub const NAME: u64 = 11;
const WAY: u64 = 12;
/// What a device does each time that it does something: so many times, counted from here.
const DRAWN: u64 = 1 << 20;

/// Every bit of the result depends on every bit of the number (the finaliser of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
