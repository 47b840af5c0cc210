//! The clocks of a device: the facts that a mere sign of life moves (SEMANTICS §4).
//!
//! They are apart from the rest of the device because most events move nothing else: the engine keeps them at hand
//! for every device, and [`Clocks::absorb`] folds such an event without touching the rest.

use super::event::{Activity, ActivityKind, ChannelKind, words};
use super::policy::Policy;
use super::time::Timestamp;

words!(
    /// What set the last activity (seed: Watson's last activity event).
    LastActivity {
        None = "none", Connected = "connected", Disconnected = "disconnected", MqttPublish = "mqtt_publish",
        MqttSubscribe = "mqtt_subscribe", MqttUnsubscribe = "mqtt_unsubscribe", HttpPostEvent = "http_post_event",
        HttpPostCommand = "http_post_command", HttpPostCommandRequest = "http_post_command_request",
        EventCreate = "event_create", MeasurementCreate = "measurement_create", AlarmCreate = "alarm_create",
        Heartbeat = "heartbeat", InventoryUpdate = "inventory_update", OperationUpdate = "operation_update",
    }
);

/// The channels over which activity proves a session.
pub const SESSION_CHANNELS: [ChannelKind; 3] = [ChannelKind::Mqtt, ChannelKind::Websocket, ChannelKind::Vpn];

/// The index of a session channel.
pub fn session_channel(channel: ChannelKind) -> Option<usize> {
    SESSION_CHANNELS.iter().position(|known| *known == channel)
}

/// The clocks of a device. Each is a maximum: an older event never lowers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    /// The last data that the device itself sent (seed: last communication).
    pub last_message: Timestamp,
    /// The last thing that the device did.
    pub last_activity: Timestamp,
    /// The last poll of the API (seed: heartbeat).
    pub last_poll: Timestamp,
    /// The last activity over each session channel that named no session.
    pub channels: [Timestamp; 3],
    /// What set the last activity.
    pub kind: LastActivity,
}

impl Default for Clocks {
    fn default() -> Clocks {
        Clocks {
            last_message: Timestamp::NEVER,
            last_activity: Timestamp::NEVER,
            last_poll: Timestamp::NEVER,
            channels: [Timestamp::NEVER; 3],
            kind: LastActivity::None,
        }
    }
}

/// Which clocks can move forward without any consequence, by the device's other facts as they are. Bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quiet(pub u8);

impl Quiet {
    /// A message changes no facet, no alarm.
    pub const MESSAGE: u8 = 1;
    /// A poll changes no facet.
    pub const POLL: u8 = 2;
    /// Activity over session channel `i` proves nothing: `CHANNEL << i`.
    pub const CHANNEL: u8 = 4;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// Which of the clocks an activity moves: the table of SEMANTICS §4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moves {
    /// last_message.
    pub message: bool,
    /// last_activity, and as what.
    pub activity: Option<LastActivity>,
    /// last_poll.
    pub poll: bool,
}

/// The row of an activity in the table of SEMANTICS §4.
pub fn moves(activity: &Activity<'_>, policy: &Policy) -> Moves {
    use ActivityKind as K;
    let from_device = !activity.via_application;
    let (message, kind) = match activity.kind {
        K::MqttPublish => (from_device, Some(LastActivity::MqttPublish)),
        K::HttpPostEvent => (from_device, Some(LastActivity::HttpPostEvent)),
        K::HttpPostCommand => (from_device, Some(LastActivity::HttpPostCommand)),
        K::HttpPostCommandRequest => (from_device, Some(LastActivity::HttpPostCommandRequest)),
        K::EventCreate => (from_device, Some(LastActivity::EventCreate)),
        K::MeasurementCreate => (from_device, Some(LastActivity::MeasurementCreate)),
        K::AlarmCreate => (from_device, Some(LastActivity::AlarmCreate)),
        K::Heartbeat => (true, Some(LastActivity::Heartbeat)),
        K::LastWill => (true, None),
        K::MqttSubscribe => (false, Some(LastActivity::MqttSubscribe)),
        K::MqttUnsubscribe => (false, Some(LastActivity::MqttUnsubscribe)),
        K::InventoryUpdate => {
            (policy.inventory_counts_as_message && from_device, Some(LastActivity::InventoryUpdate))
        }
        K::OperationUpdate => {
            (policy.inventory_counts_as_message && from_device, Some(LastActivity::OperationUpdate))
        }
        K::StatePoll | K::Read | K::Ping => (false, None),
    };
    Moves { message, activity: kind, poll: activity.kind == K::StatePoll }
}

/// Whether an activity can be evidence of a session at all (SEMANTICS §3, disproof).
pub fn can_prove(activity: &Activity<'_>) -> bool {
    activity.kind != ActivityKind::LastWill && !activity.via_application
}

impl Clocks {
    /// Moves last_activity; of equal times the later arrival names it.
    pub fn touch(&mut self, kind: LastActivity, at: Timestamp) {
        if at >= self.last_activity {
            self.last_activity = at;
            self.kind = kind;
        }
    }

    /// Folds an activity that can only move clocks, and says so; leaves everything as it is if it might do more.
    pub fn absorb(&mut self, quiet: Quiet, activity: &Activity<'_>, at: Timestamp, policy: &Policy) -> bool {
        // Out of order, an event may be the device's earliest: that is a fact beyond the clocks.
        let latest = self.last_activity.max(self.last_message).max(self.last_poll);
        if !latest.happened() || at < latest {
            return false;
        }
        let moves = moves(activity, policy);
        if moves.message && !quiet.has(Quiet::MESSAGE) || moves.poll && !quiet.has(Quiet::POLL) {
            return false;
        }
        if let Some(channel) = activity.channel {
            if channel == ChannelKind::LongPoll {
                return false;
            }
            if let Some(index) = session_channel(channel)
                && policy.infer_sessions
                && can_prove(activity)
            {
                let named = &activity.session;
                let is_named = named.id.is_some() || named.sequence.is_some() || named.started_at.is_some();
                if is_named || !quiet.has(Quiet::CHANNEL << index) {
                    return false;
                }
                self.channels[index] = self.channels[index].max(at);
            }
        }
        if moves.message {
            self.last_message = self.last_message.max(at);
        }
        if moves.poll {
            self.last_poll = self.last_poll.max(at);
        }
        if let Some(kind) = moves.activity {
            self.touch(kind, at);
        }
        true
    }
}
