//! What random histories are made of.

use super::input::Channel;

/// What a history is made of: how often each kind of input comes (weights), and how wild it is.
#[derive(Clone, Debug)]
pub struct Knobs {
    pub length: usize,
    pub devices: u8,
    pub nodes: u8,
    /// By these channels only.
    pub channels: Vec<Channel>,
    pub connected: u32,
    pub disconnected: u32,
    pub failed: u32,
    pub activity: u32,
    pub interval: u32,
    pub maintenance: u32,
    pub register: u32,
    pub lifecycle: u32,
    pub update: u32,
    pub poll_settings: u32,
    pub alarm_command: u32,
    pub delete: u32,
    pub node: u32,
    pub policy: u32,
    pub tick: u32,
    pub sight: u32,
    /// An earlier event once more, word by word.
    pub duplicate: u32,
    /// In 16ths: how often an event is observed before events that arrived already.
    pub late: u8,
    /// In 16ths: how often a session has no id.
    pub without_id: u8,
    /// How many session ids a channel of a device has.
    pub ids: u8,
    /// Which evidence sessions carry besides (in 16ths): sequence, startedAt.
    pub sequence: u8,
    pub started_at: u8,
    /// Events that are observed ahead of the clock, beyond `max_future` too (with `--clock ticks`, or after a tick).
    pub future: bool,
    /// What the specification leaves most open (see the list in the author's report): negative policy intervals, polls
    /// from before a sight, activity that carries evidence but no id.
    pub exotic: bool,
    /// Begin with a required interval of one minute for every device.
    pub monitored: bool,
    /// Begin with a tick, as `--clock ticks` needs it.
    pub tick_first: bool,
}

impl Knobs {
    pub fn nothing() -> Self {
        Knobs {
            length: 30,
            devices: 2,
            nodes: 2,
            channels: vec![Channel::Mqtt],
            connected: 0,
            disconnected: 0,
            failed: 0,
            activity: 0,
            interval: 0,
            maintenance: 0,
            register: 0,
            lifecycle: 0,
            update: 0,
            poll_settings: 0,
            alarm_command: 0,
            delete: 0,
            node: 0,
            policy: 0,
            tick: 2,
            sight: 0,
            duplicate: 1,
            late: 4,
            without_id: 0,
            ids: 4,
            sequence: 0,
            started_at: 0,
            future: false,
            exotic: false,
            monitored: false,
            tick_first: false,
        }
    }

    /// Connects and disconnects on two channels, without nodes.
    pub fn sessions() -> Self {
        Knobs {
            channels: vec![Channel::Mqtt, Channel::Vpn],
            connected: 8,
            disconnected: 6,
            failed: 1,
            activity: 3,
            without_id: 2,
            ..Self::nothing()
        }
    }

    /// More sessions than are remembered.
    pub fn many_sessions() -> Self {
        Knobs { ids: 14, length: 60, devices: 1, channels: vec![Channel::Mqtt], ..Self::sessions() }
    }

    /// Every session has a sequence, which does not go with the time.
    pub fn sequences() -> Self {
        Knobs { sequence: 16, ..Self::sessions() }
    }

    pub fn started() -> Self {
        Knobs { started_at: 16, ..Self::sessions() }
    }

    /// Sessions whose evidence is of several kinds: *older* is no order any more, and the letter decides.
    pub fn mixed_evidence() -> Self {
        Knobs { sequence: 8, started_at: 8, without_id: 1, ..Self::sessions() }
    }

    pub fn nodes() -> Self {
        Knobs {
            node: 8,
            tick: 4,
            policy: 1,
            channels: vec![Channel::Mqtt, Channel::Http],
            ..Self::sessions()
        }
    }

    pub fn long_poll() -> Self {
        Knobs {
            channels: vec![Channel::LongPoll],
            connected: 10,
            disconnected: 2,
            activity: 3,
            node: 1,
            tick: 4,
            policy: 1,
            without_id: 5,
            ids: 2,
            devices: 1,
            ..Self::nothing()
        }
    }

    pub fn availability() -> Self {
        Knobs {
            length: 50,
            activity: 12,
            interval: 3,
            maintenance: 3,
            register: 1,
            alarm_command: 2,
            policy: 2,
            tick: 8,
            sight: 1,
            delete: 1,
            devices: 1,
            late: 6,
            channels: vec![Channel::Other],
            ..Self::nothing()
        }
    }

    /// What happens around an open alarm: maintenance, commands, late data.
    pub fn alarms() -> Self {
        Knobs {
            length: 50,
            devices: 1,
            activity: 5,
            interval: 2,
            maintenance: 4,
            alarm_command: 2,
            policy: 1,
            tick: 10,
            late: 7,
            monitored: true,
            channels: vec![Channel::Other],
            ..Self::nothing()
        }
    }

    /// The one word for people, and what it looks at.
    pub fn overall() -> Self {
        Knobs {
            channels: vec![Channel::Mqtt, Channel::Vpn],
            connected: 3,
            disconnected: 3,
            activity: 6,
            interval: 2,
            maintenance: 2,
            lifecycle: 3,
            update: 2,
            poll_settings: 2,
            tick: 5,
            delete: 1,
            ..Self::nothing()
        }
    }

    /// Sessions whose events are of several minds: evidence without ids, ids without evidence.
    pub fn exotic_sessions() -> Self {
        Knobs { exotic: true, without_id: 5, ids: 6, node: 3, sight: 1, ..Self::mixed_evidence() }
    }

    /// Polls from before a sight, and nodes that go down under them.
    pub fn exotic_long_poll() -> Self {
        Knobs { exotic: true, node: 4, sight: 2, disconnected: 4, late: 7, ids: 3, ..Self::long_poll() }
    }

    /// All of it, wilder: negative policy intervals, polls from before a sight, evidence without ids.
    pub fn exotic() -> Self {
        Knobs { exotic: true, future: true, sight: 2, ..Self::everything() }
    }

    pub fn everything() -> Self {
        Knobs {
            length: 60,
            devices: 3,
            channels: Channel::ALL.to_vec(),
            connected: 8,
            disconnected: 6,
            failed: 1,
            activity: 10,
            interval: 3,
            maintenance: 2,
            register: 1,
            lifecycle: 2,
            update: 1,
            poll_settings: 1,
            alarm_command: 1,
            delete: 1,
            node: 3,
            policy: 1,
            tick: 5,
            sight: 1,
            duplicate: 2,
            without_id: 3,
            sequence: 2,
            started_at: 2,
            ..Self::nothing()
        }
    }

    /// The same, for `fold --clock ticks`.
    pub fn with_ticks(self) -> Self {
        Knobs { tick_first: true, tick: self.tick.max(1) * 3, ..self }
    }
}
