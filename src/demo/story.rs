//! What the devices of the demo do: each has a role, and a role is told in chapters of a minute or so.
//!
//! A chapter is a list of lines: when something is observed, counted from the chapter's beginning, how much longer
//! than usual it is on its way, and what it is. The fleet plays them; nothing here knows of time or brokers.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::domain::event::{ActivityKind, ChannelKind, Initiator, Stage, UpdatePhase};

/// The simulation's only source of chance.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// Milliseconds, evenly from `low` to `high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high)
    }

    /// One of the numbers below `count`.
    pub(super) fn pick(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }
}

/// What a device is there to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Sends over MQTT, and on time.
    Steady,
    /// Polls for its state and holds a VPN tunnel, each of which fails now and then.
    Tunnel,
    /// Asks for work by long polls.
    LongPoll,
    /// Sends for itself; the devices behind it fall silent with it.
    Gateway,
    /// Sends through the gateway before it, without a session of its own.
    Child,
    /// On a bad network: its sessions are taken over, and what is told of them comes late or not at all.
    Flapper,
    /// Falls silent and returns.
    Silent,
    /// Sends on time; its data is held up on the way.
    Delayed,
    /// Goes into maintenance and comes back.
    Maintained,
    /// Is provisioned, or gets updates.
    Updating,
    /// Has the wrong password at first.
    WrongPassword,
    /// Is taken out of service and put back.
    Replaced,
}

/// A device's type, how its id begins, and the interval that the policy gives the type, in minutes.
pub(super) type Make = (&'static str, &'static str, i16);

/// The types, which the demo's policy names.
pub(super) const MAKES: [Make; 6] = [
    ("sensor", "sensor", 1),
    ("pump", "pump", 2),
    ("tracker", "truck", 3),
    ("meter", "meter", 5),
    ("gateway", "gw", 2),
    ("camera", "cam", 5),
];
const SENSOR: Make = MAKES[0];
const PUMP: Make = MAKES[1];
const TRACKER: Make = MAKES[2];
const METER: Make = MAKES[3];
const GATEWAY: Make = MAKES[4];
const CAMERA: Make = MAKES[5];

/// The fleet repeats this cast: twenty devices show everything.
pub(super) const CAST: [(Role, Make); 20] = [
    (Role::Silent, SENSOR),
    (Role::Flapper, TRACKER),
    (Role::Steady, PUMP),
    (Role::Delayed, SENSOR),
    (Role::Tunnel, CAMERA),
    (Role::WrongPassword, PUMP),
    (Role::Maintained, PUMP),
    (Role::Gateway, GATEWAY),
    (Role::Child, SENSOR),
    (Role::Child, METER),
    (Role::LongPoll, METER),
    (Role::Updating, TRACKER),
    (Role::Steady, SENSOR),
    (Role::Steady, METER),
    (Role::Replaced, SENSOR),
    (Role::Steady, TRACKER),
    (Role::Silent, PUMP),
    (Role::Steady, PUMP),
    (Role::Tunnel, CAMERA),
    (Role::Steady, METER),
];

/// One thing that a device does, or that a person does to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Register,
    /// Opens a session; an open one before it is not ended, it is taken over.
    Connect(ChannelKind),
    /// Opens an MQTT session whose connect is lost on the way, until [`Act::TellConnect`].
    ConnectUntold,
    TellConnect,
    /// Ends the open session, with an MQTT reason code.
    Disconnect(ChannelKind, u8),
    /// What the broker tells of the MQTT session before the open one.
    EndOfOld(Option<Initiator>, u8),
    ConnectFailed(u8),
    /// Sends over the MQTT session; without one, it tries to open one first.
    Publish,
    /// The same, but the broker does not say in which session.
    PublishUnnamed,
    /// Sends over HTTP.
    Post(ActivityKind),
    LongPoll,
    StatePoll,
    PollSettings,
    Lifecycle(Stage, Option<u8>),
    Update(UpdatePhase, u8),
    Maintenance(bool),
    Acknowledge,
    Delete,
    /// Nothing passes through this gateway for so long, in milliseconds.
    Nap(i64),
}

/// A line of a chapter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// When it is observed, in milliseconds from the beginning of the chapter; negative: before it.
    pub(super) at: i64,
    /// How much longer than usual it is on its way, in milliseconds.
    pub(super) late: i64,
    pub(super) act: Act,
}

/// A chapter and its length in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Chapter {
    pub(super) lines: Vec<Line>,
    pub(super) length: i64,
}

impl Chapter {
    /// The next line, `after` milliseconds after the one before.
    fn then(&mut self, after: i64, act: Act) -> &mut Chapter {
        self.length += after;
        self.lines.push(Line { at: self.length, late: 0, act });
        self
    }

    /// Like [`Chapter::then`], but it arrives `late` milliseconds later than usual.
    fn late(&mut self, after: i64, late: i64, act: Act) -> &mut Chapter {
        self.length += after;
        self.lines.push(Line { at: self.length, late, act });
        self
    }

    fn pause(&mut self, length: i64) -> &mut Chapter {
        self.length += length;
        self
    }

    /// `count` times the same, about `period` milliseconds apart.
    fn repeat(&mut self, dice: &mut Dice, count: usize, period: i64, act: Act) -> &mut Chapter {
        for _ in 0..count {
            self.then(dice.between(period * 4 / 5, period * 6 / 5), act);
        }
        self
    }
}

const SECOND: i64 = 1000;
const MQTT: ChannelKind = ChannelKind::Mqtt;
const VPN: ChannelKind = ChannelKind::Vpn;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
const TAKEN_OVER: u8 = 0x8e;
const BAD_PASSWORD: u8 = 0x86;
const ADMINISTRATIVE: u8 = 0x98;

/// The chapter with this number, from 0, of a device with this role and required interval; `turn` tells devices of
/// one role apart.
pub(super) fn chapter(role: Role, number: usize, minutes: i16, turn: usize, dice: &mut Dice) -> Chapter {
    let mut story = Chapter::default();
    let interval = i64::from(minutes) * 60 * SECOND;
    let period = interval * 2 / 5;
    let first = number == 0;
    if first {
        story.length = -dice.between(500, 2500);
        story.then(0, Act::Register);
    }
    match role {
        Role::Steady => {
            if first {
                story.then(200, Act::Connect(MQTT)).then(300, Act::Publish);
            }
            story.repeat(dice, 5, period, Act::Publish);
            if dice.chance(8) {
                story.then(SECOND, Act::Disconnect(MQTT, 0x00));
                story.then(dice.between(10_000, 25_000), Act::Connect(MQTT)).then(200, Act::Publish);
            }
        }
        Role::Tunnel => tunnel(&mut story, number, turn, dice),
        Role::LongPoll => {
            for _ in 0..4 {
                story.then(if first { 500 } else { dice.between(18_000, 27_000) }, Act::LongPoll);
                story.then(2 * SECOND, Act::Post(ActivityKind::HttpPostEvent));
            }
            if number % 3 == 1 {
                story.pause(dice.between(80_000, 140_000));
            }
        }
        Role::Gateway => {
            if first {
                story.then(200, Act::Connect(MQTT)).then(300, Act::Publish);
            }
            story.repeat(dice, 4, period, Act::Publish);
            if number % 2 == 1 {
                let nap = interval + dice.between(30_000, 90_000);
                story.then(SECOND, Act::Nap(nap)).then(2 * SECOND, Act::Disconnect(MQTT, KEEP_ALIVE_TIMEOUT));
                story.then(nap, Act::Connect(MQTT)).then(200, Act::Publish);
            }
        }
        Role::Child => {
            if first {
                story.then(600, Act::Post(ActivityKind::MeasurementCreate));
            }
            story.repeat(dice, 4, period, Act::Post(ActivityKind::MeasurementCreate));
        }
        Role::Flapper => flapper(&mut story, number + turn, first, dice),
        Role::Silent => silent(&mut story, number, turn, interval, dice),
        Role::Delayed => delayed(&mut story, number, turn, interval, dice),
        Role::Maintained => {
            if first {
                story.then(200, Act::Connect(MQTT)).then(300, Act::Publish).pause(dice.between(4_000, 9_000));
            }
            story.then(0, Act::Maintenance(true));
            story.then(dice.between(3_000, 20_000), Act::Disconnect(MQTT, 0x00));
            story.then(interval + dice.between(20_000, 90_000), Act::Connect(MQTT));
            story.then(dice.between(1_000, 5_000), Act::Maintenance(false)).then(SECOND, Act::Publish);
            story.repeat(dice, 5, period, Act::Publish);
        }
        Role::Updating => updating(&mut story, number, turn, period, dice),
        Role::WrongPassword => {
            story.pause(if first { 3_000 } else { 0 });
            for _ in 0..3 {
                story.then(dice.between(4_000, 15_000), Act::ConnectFailed(BAD_PASSWORD));
            }
            story.then(dice.between(20_000, 30_000), Act::Connect(MQTT)).then(300, Act::Publish);
            story.repeat(dice, 4, period, Act::Publish);
            story.then(SECOND, Act::Disconnect(MQTT, ADMINISTRATIVE));
        }
        Role::Replaced => {
            if !first {
                story.then(0, Act::Register);
            }
            story.then(300, Act::Connect(MQTT)).then(300, Act::Publish);
            story.repeat(dice, 4, period, Act::Publish);
            story.then(5 * SECOND, Act::Disconnect(MQTT, 0x00)).then(4 * SECOND, Act::Delete);
            story.pause(dice.between(60_000, 120_000));
        }
    }
    story
}

fn tunnel(story: &mut Chapter, number: usize, turn: usize, dice: &mut Dice) {
    if number == 0 {
        story.then(100, Act::PollSettings).then(200, Act::Connect(VPN)).then(300, Act::StatePoll);
        story.pause(dice.between(1_000, 6_000));
    }
    match (number + turn) % 4 {
        // The tunnel breaks and the device polls on: Heartbeat Only.
        0 => {
            story.then(3 * SECOND, Act::Disconnect(VPN, 0x00)).repeat(dice, 3, 25_000, Act::StatePoll);
            story.then(4 * SECOND, Act::Connect(VPN));
        }
        // No power: the tunnel breaks and no poll comes until the window is over.
        1 => {
            story.then(3 * SECOND, Act::Disconnect(VPN, 0x00)).pause(dice.between(120_000, 170_000));
            story.then(0, Act::Connect(VPN)).then(500, Act::StatePoll);
        }
        // The supervisor hangs behind an open tunnel: VPN Only.
        2 => {
            story.pause(dice.between(110_000, 150_000)).then(0, Act::StatePoll);
        }
        _ => {}
    }
    story.repeat(dice, 4, 25_000, Act::StatePoll);
}

fn flapper(story: &mut Chapter, turn: usize, first: bool, dice: &mut Dice) {
    if first {
        story.then(200, Act::Connect(MQTT)).then(300, Act::Publish).pause(dice.between(3_000, 6_000));
    }
    match turn % 4 {
        // Taken over; the broker finds out twice, the second time long after.
        0 => {
            story.then(0, Act::Connect(MQTT));
            story.then(50, Act::EndOfOld(Some(Initiator::TakenOver), TAKEN_OVER));
            story.then(dice.between(5_000, 9_000), Act::EndOfOld(None, KEEP_ALIVE_TIMEOUT));
        }
        // The broker of the old session is slow to tell of its end, which lay before the new connect.
        1 => {
            let late = dice.between(5_000, 9_000);
            story
                .late(0, late, Act::Disconnect(MQTT, KEEP_ALIVE_TIMEOUT))
                .then(3 * SECOND, Act::Connect(MQTT));
        }
        // The connect is lost; data proves it; it turns up after all.
        2 => {
            story.then(0, Act::Disconnect(MQTT, KEEP_ALIVE_TIMEOUT)).then(4 * SECOND, Act::ConnectUntold);
            story.then(SECOND, Act::PublishUnnamed).then(dice.between(8_000, 12_000), Act::TellConnect);
        }
        // Two connects in quick succession overtake each other.
        _ => {
            story
                .late(0, dice.between(6_000, 9_000), Act::Connect(MQTT))
                .then(2 * SECOND, Act::Connect(MQTT));
        }
    }
    story.pause(12 * SECOND).repeat(dice, 3, 14_000, Act::Publish);
}

fn silent(story: &mut Chapter, number: usize, turn: usize, interval: i64, dice: &mut Dice) {
    let period = interval * 2 / 5;
    if number == 0 {
        // It fell silent before Lastseen was switched on: its deadline is near.
        let last = -(interval - dice.between(6_000, 13_000));
        story.lines[0].at = last - 1500;
        story.length = last - 1000;
        story.then(0, Act::Connect(MQTT)).then(1000, Act::Publish);
        if turn % 2 == 1 {
            story.then(interval - 16_000, Act::Disconnect(MQTT, KEEP_ALIVE_TIMEOUT));
        }
        story.length = last;
    } else {
        story.repeat(dice, 3, period, Act::Publish);
        if dice.chance(50) {
            story.then(4 * SECOND, Act::Disconnect(MQTT, KEEP_ALIVE_TIMEOUT));
        }
    }
    if dice.chance(50) {
        story
            .then(interval + dice.between(15_000, 25_000), Act::Acknowledge)
            .pause(dice.between(5_000, 40_000));
    } else {
        story.pause(interval + dice.between(30_000, 90_000));
    }
    story.then(0, Act::Publish);
}

fn delayed(story: &mut Chapter, number: usize, turn: usize, interval: i64, dice: &mut Dice) {
    let post = Act::Post(ActivityKind::MeasurementCreate);
    if number == 0 && turn.is_multiple_of(2) {
        // Held up already when Lastseen is switched on.
        let last = -(interval - dice.between(5_000, 9_000));
        story.lines[0].at = last - 500;
        story.length = last;
        story.then(0, post);
        story.length = -2000;
        story.late(0, dice.between(12_000, 14_000), post).pause(14_000);
    } else if number == 0 {
        story.then(500, post);
    }
    story.repeat(dice, 4, interval * 2 / 5, post);
    // A link on the way is down; what was sent meanwhile comes all at once.
    let (gap, end) = (interval * 2 / 5, interval * 3 / 2 + dice.between(10_000, 30_000));
    for sent in 1..=3 {
        story.late(gap, end - sent * gap, post);
    }
    story.pause(end - 3 * gap);
}

fn updating(story: &mut Chapter, number: usize, turn: usize, period: i64, dice: &mut Dice) {
    if number == 0 && turn.is_multiple_of(2) {
        story.then(50, Act::Lifecycle(Stage::Preregistered, None));
        story.then(dice.between(4_000, 8_000), Act::Lifecycle(Stage::PostProvisioning, None));
        story.then(dice.between(6_000, 9_000), Act::Connect(MQTT));
        for progress in [20, 55, 90] {
            story.then(dice.between(2_000, 6_000), Act::Lifecycle(Stage::Configuring, Some(progress)));
        }
        story.then(3 * SECOND, Act::Lifecycle(Stage::Active, Some(100))).then(500, Act::Publish);
    } else {
        if number == 0 {
            story.then(50, Act::Lifecycle(Stage::Active, None)).then(200, Act::Connect(MQTT));
            story.then(200, Act::Publish).pause(dice.between(2_000, 6_000));
        }
        for (phase, progress) in [(UpdatePhase::Downloading, 0), (UpdatePhase::Downloading, 60)] {
            story.then(dice.between(3_000, 8_000), Act::Update(phase, progress));
        }
        story.then(6 * SECOND, Act::Update(UpdatePhase::Installing, 90));
        let end = if dice.chance(25) { UpdatePhase::Failed } else { UpdatePhase::Done };
        // An update ends with a restart.
        story.then(4 * SECOND, Act::Disconnect(MQTT, 0x00)).then(9 * SECOND, Act::Connect(MQTT));
        story.then(500, Act::Update(end, 100)).then(500, Act::Publish);
    }
    story.repeat(dice, 6, period, Act::Publish);
}
