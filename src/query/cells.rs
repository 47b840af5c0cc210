//! What filters look at: the facts of a device, small.
//!
//! Statuses and other small facts share one word; times are 48 bits. So a filter reads 6 or 8 bytes a device for each fact
//! that it asks for, and no index has to be kept for any combination of filters.

use crate::domain::clocks::LastActivity;
use crate::domain::device::Device;
use crate::domain::effect::AlarmState;
use crate::domain::event::{ChannelKind, ClientKind, Initiator, Stage, UpdatePhase};
use crate::domain::facet::{Availability, Connection, Facets, Heartbeat, Label, Overall, Push};
use crate::domain::policy::Severity;
use crate::domain::session::{Disconnect, Session};
use crate::domain::time::Timestamp;

/// A small fact within the word of a row: its first bit, and how many bits it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    shift: u32,
    bits: u32,
}

impl Field {
    const fn after(before: Field, bits: u32) -> Field {
        Field { shift: before.shift + before.bits, bits }
    }

    /// The number that stands in it.
    pub fn of(self, word: u64) -> usize {
        ((word >> self.shift) & ((1 << self.bits) - 1)) as usize
    }

    /// Where it begins.
    pub const fn shift(self) -> u32 {
        self.shift
    }

    /// The bits that it has in the word.
    pub const fn mask(self) -> u64 {
        ((1 << self.bits) - 1) << self.shift
    }

    fn put(self, word: &mut u64, value: usize) {
        debug_assert!(value < 1 << self.bits, "{value} does not fit {self:?}");
        *word |= (value as u64) << self.shift;
    }

    /// Puts another number in its place.
    pub fn set(self, word: &mut u64, value: usize) {
        *word &= !self.mask();
        self.put(word, value);
    }
}

/// The availability facet.
pub const AVAILABILITY: Field = Field { shift: 0, bits: 3 };
/// The push facet.
pub const PUSH: Field = Field::after(AVAILABILITY, 2);
/// The connection facet.
pub const CONNECTION: Field = Field::after(PUSH, 2);
/// The VPN facet.
pub const VPN: Field = Field::after(CONNECTION, 2);
/// The heartbeat facet.
pub const HEARTBEAT: Field = Field::after(VPN, 2);
/// The overall facet.
pub const OVERALL: Field = Field::after(HEARTBEAT, 3);
/// The label of the overall facet.
pub const LABEL: Field = Field::after(OVERALL, 4);
/// 0: no alarm is open; else the state of the open one as [`AlarmState`], from 1.
pub const ALARM: Field = Field::after(LABEL, 2);
/// The severity of the open alarm.
pub const SEVERITY: Field = Field::after(ALARM, 2);
/// 0: not disconnected; else by whom, as [`Initiator`], from 1.
pub const DISCONNECTED_BY: Field = Field::after(SEVERITY, 3);
/// 0: not known; else [`ClientKind`], from 1.
pub const CLIENT_KIND: Field = Field::after(DISCONNECTED_BY, 2);
/// 0: not known; else [`Stage`], from 1.
pub const STAGE: Field = Field::after(CLIENT_KIND, 3);
/// 0: none; else the MQTT reason code of the disconnect, from 1.
pub const REASON_CODE: Field = Field::after(STAGE, 9);
/// 0: none; else percent of the stage of its life, from 1.
pub const STAGE_PROGRESS: Field = Field::after(REASON_CODE, 7);
/// 0: none; else percent of its update, from 1.
pub const UPDATE_PROGRESS: Field = Field::after(STAGE_PROGRESS, 7);
/// 0: no update was told; else [`UpdatePhase`], from 1.
pub const UPDATE_PHASE: Field = Field::after(UPDATE_PROGRESS, 3);
/// Whether no tunnel is expected.
pub const NO_TUNNEL: Field = Field::after(UPDATE_PHASE, 1);
/// What set the last activity.
pub const LAST_ACTIVITY: Field = Field::after(NO_TUNNEL, 4);
/// Whether there is a required interval.
pub const HAS_INTERVAL: Field = Field::after(LAST_ACTIVITY, 1);
/// 0: not known, or not MQTT; else the version of MQTT of the newest client session, as [`Mqtt`], from 1.
pub const MQTT: Field = Field::after(HAS_INTERVAL, 2);

const _: () = assert!(MQTT.shift + MQTT.bits <= 64, "the facts of a device fit one word");

crate::domain::event::words!(
    /// The times of a device that lists can be filtered and sorted by.
    Time {
        LastMessage = "lastMessage", LastActivity = "lastActivity", LastPoll = "lastPoll",
        LastConnect = "lastConnect", LastDisconnect = "lastDisconnect", LastUpdated = "lastUpdated",
    }
);

crate::domain::event::words!(
    /// A version of MQTT.
    Mqtt { V31 = "3.1", V311 = "3.1.1", V5 = "5.0" }
);

impl Mqtt {
    /// From what a platform calls it: by version, as `3.1.1` or `MQTTv5`, or by the level of the protocol, as `mqtt4-ws`
    /// (Watson W24).
    pub fn from_protocol(text: &str) -> Option<Mqtt> {
        let text = text.to_ascii_lowercase();
        let is_named = text.starts_with("mqtt");
        let version = text.trim_start_matches("mqtt").trim_start_matches(['-', '_', ' ', '/', 'v']);
        let version = version.split(['-', '_', ' ']).next()?;
        match version {
            "3.1" => Some(Mqtt::V31),
            "3.1.1" => Some(Mqtt::V311),
            "5.0" | "5" => Some(Mqtt::V5),
            "3" if is_named => Some(Mqtt::V31),
            "4" if is_named => Some(Mqtt::V311),
            _ => None,
        }
    }
}

/// Number of times in a row.
pub const TIMES: usize = Time::ALL.len();

/// The first millisecond that a [`Moment`] can tell from "never"; the last one is [`Timestamp::MAX`].
const FIRST: i64 = Timestamp::MAX.millis() - ((1 << 48) - 2);

/// A time in 48 bits. Times before the year 1080 count as that year's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment([u8; 6]);

impl Moment {
    /// From a time.
    pub fn new(at: Timestamp) -> Moment {
        let number = match at.known() {
            None => 0,
            Some(at) => (at.millis().max(FIRST) - FIRST) as u64 + 1,
        };
        Moment::of_rank(number)
    }

    /// The way back from [`Moment::rank`].
    pub fn of_rank(rank: u64) -> Moment {
        let [a, b, c, d, e, f, ..] = rank.to_le_bytes();
        Moment([a, b, c, d, e, f])
    }

    /// A number in the order of time; 0 is never.
    #[inline]
    pub fn rank(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The time.
    pub fn time(self) -> Timestamp {
        match self.rank() {
            0 => Timestamp::NEVER,
            rank => Timestamp::from_millis((rank - 1) as i64 + FIRST),
        }
    }
}

/// What filters look at, without the texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cells {
    /// Small facts, see [`Field`].
    pub word: u64,
    /// By [`Time`].
    pub times: [Moment; TIMES],
    /// Its type, a number of the tenant's; 0: none.
    pub device_type: u32,
    /// Its labels, a number of the tenant's; 0: none.
    pub labels: u32,
    /// The first bytes of its name in lower case, so that a sort by name need not look at most names.
    pub name_head: u32,
    /// Its dense number in the partition.
    pub number: u32,
    /// The required interval in minutes, where [`HAS_INTERVAL`].
    pub minutes: i16,
}

/// The facts of a device, wherever they lie.
pub trait Facts {
    /// Small facts, see [`Field`].
    fn word(&self) -> u64;
    /// One of its times.
    fn time(&self, time: Time) -> Moment;
    /// The required interval in minutes, where [`HAS_INTERVAL`].
    fn minutes_told(&self) -> i16;

    /// The required interval in minutes.
    fn minutes(&self) -> Option<i16> {
        (HAS_INTERVAL.of(self.word()) == 1).then(|| self.minutes_told())
    }

    /// Whether a connection, or an activity, is known: what a client connection state tells.
    fn has_client_state(&self) -> bool {
        CONNECTION.of(self.word()) != Connection::Unknown as usize
            || self.time(Time::LastActivity).rank() != 0
    }

    /// What set the last activity.
    fn kind(&self) -> LastActivity {
        LastActivity::ALL[LAST_ACTIVITY.of(self.word())]
    }
}

impl Facts for Cells {
    fn word(&self) -> u64 {
        self.word
    }

    fn time(&self, time: Time) -> Moment {
        self.times[time as usize]
    }

    fn minutes_told(&self) -> i16 {
        self.minutes
    }
}

/// The first four bytes of a name in lower case; shorter ones are filled up with zeros.
pub fn head_of(name: &str) -> u32 {
    let mut head = [0; 4];
    for (place, byte) in head.iter_mut().zip(name.to_lowercase().bytes()) {
        *place = byte;
    }
    u32::from_be_bytes(head)
}

/// The newest session and the recorded disconnect over all client channels: what the client connection state tells.
pub fn client_ends(device: &Device) -> (Option<&Session>, Option<Disconnect>) {
    let is_client = |kind: ChannelKind| {
        matches!(kind, ChannelKind::Mqtt | ChannelKind::Websocket | ChannelKind::Lwm2m | ChannelKind::Http)
    };
    let clients = || device.channels.iter().filter(|channel| is_client(channel.kind));
    let newest = clients().filter_map(|channel| channel.newest()).max_by_key(|session| session.connected_at);
    let recorded = clients().filter_map(|channel| channel.recorded).max_by_key(|end| end.at);
    (newest, recorded)
}

/// When the tunnel of a device was last seen to come or to go; never, if it had none.
pub fn tunnel_moved(device: &Device) -> Timestamp {
    let Some(vpn) = device.channels.iter().find(|channel| channel.kind == ChannelKind::Vpn) else {
        return Timestamp::NEVER;
    };
    let came = vpn.newest().map_or(Timestamp::NEVER, |session| session.connected_at);
    came.max(vpn.recorded.map_or(Timestamp::NEVER, |end| end.at))
}

impl Cells {
    /// Of a device. What the tenant numbers (type, labels) is left at 0.
    pub fn of(device: &Device, number: u32) -> Cells {
        let facets = &device.facets;
        let (newest, recorded) = client_ends(device);
        let mut word = 0;
        let mut put = |field: Field, value: usize| field.put(&mut word, value);
        put(AVAILABILITY, facets.availability as usize);
        put(PUSH, facets.push as usize);
        put(CONNECTION, facets.connection as usize);
        put(VPN, facets.vpn as usize);
        put(HEARTBEAT, facets.heartbeat as usize);
        put(OVERALL, facets.overall as usize);
        put(LABEL, facets.label as usize);
        if let Some(alarm) = device.verdict.as_ref().and_then(|verdict| verdict.alarm.as_ref()) {
            put(ALARM, alarm.state() as usize + 1);
            put(SEVERITY, alarm.severity as usize);
        }
        if facets.connection == Connection::Disconnected
            && let Some(end) = recorded
        {
            put(DISCONNECTED_BY, end.initiator as usize + 1);
            put(REASON_CODE, end.reason_code.map_or(0, |code| usize::from(code) + 1));
        }
        put(CLIENT_KIND, device.registration.client_kind.as_ref().map_or(0, |fact| fact.value as usize + 1));
        put(STAGE, device.lifecycle.as_ref().map_or(0, |fact| fact.value.stage as usize + 1));
        let percent = |known: Option<u8>| known.map_or(0, |percent| usize::from(percent) + 1);
        put(STAGE_PROGRESS, percent(device.lifecycle.as_ref().and_then(|fact| fact.value.progress)));
        put(UPDATE_PROGRESS, percent(device.update.as_ref().and_then(|fact| fact.value.progress)));
        put(UPDATE_PHASE, device.update.as_ref().map_or(0, |fact| fact.value.phase as usize + 1));
        put(
            NO_TUNNEL,
            usize::from(device.poll_settings.as_ref().is_some_and(|fact| !fact.value.vpn_expected)),
        );
        put(LAST_ACTIVITY, device.clocks.kind as usize);
        put(HAS_INTERVAL, usize::from(device.monitoring.minutes.is_some()));
        let protocol = newest.and_then(|session| session.protocol.as_deref());
        put(MQTT, protocol.and_then(Mqtt::from_protocol).map_or(0, |version| version as usize + 1));
        let mut cells = Cells {
            word,
            number,
            minutes: device.monitoring.minutes.unwrap_or_default(),
            name_head: device.registration.name.as_ref().map_or(0, |fact| head_of(&fact.value)),
            ..Cells::default()
        };
        cells.set(Time::LastMessage, device.clocks.last_message);
        cells.set(Time::LastActivity, device.clocks.last_activity);
        cells.set(Time::LastPoll, device.clocks.last_poll);
        cells.set(Time::LastConnect, newest.map_or(Timestamp::NEVER, |session| session.connected_at));
        cells.set(Time::LastDisconnect, recorded.map_or(Timestamp::NEVER, |end| end.at));
        cells.set(Time::LastUpdated, device.last_updated);
        cells
    }

    /// Sets one of its times.
    pub fn set(&mut self, time: Time, at: Timestamp) {
        self.times[time as usize] = Moment::new(at);
    }

    /// Sets what set the last activity.
    pub fn set_kind(&mut self, kind: LastActivity) {
        LAST_ACTIVITY.set(&mut self.word, kind as usize);
    }

    /// The statuses.
    pub fn facets(&self) -> Facets {
        Facets {
            availability: Availability::ALL[AVAILABILITY.of(self.word)],
            push: Push::ALL[PUSH.of(self.word)],
            connection: Connection::ALL[CONNECTION.of(self.word)],
            vpn: Connection::ALL[VPN.of(self.word)],
            heartbeat: Heartbeat::ALL[HEARTBEAT.of(self.word)],
            overall: Overall::ALL[OVERALL.of(self.word)],
            label: Label::ALL[LABEL.of(self.word)],
        }
    }

    /// The open alarm: its state and severity.
    pub fn alarm(&self) -> Option<(AlarmState, Severity)> {
        let state = ALARM.of(self.word).checked_sub(1)?;
        Some((AlarmState::ALL[state], Severity::ALL[SEVERITY.of(self.word)]))
    }

    /// By whom it is disconnected.
    pub fn disconnected_by(&self) -> Option<Initiator> {
        Some(Initiator::ALL[DISCONNECTED_BY.of(self.word).checked_sub(1)?])
    }

    /// The MQTT reason code of the disconnect.
    pub fn reason_code(&self) -> Option<u8> {
        Some(REASON_CODE.of(self.word).checked_sub(1)? as u8)
    }

    /// What kind of client it is.
    pub fn client_kind(&self) -> Option<ClientKind> {
        Some(ClientKind::ALL[CLIENT_KIND.of(self.word).checked_sub(1)?])
    }

    /// The stage of its life.
    pub fn stage(&self) -> Option<Stage> {
        Some(Stage::ALL[STAGE.of(self.word).checked_sub(1)?])
    }

    /// Percent of what is under way, for the overall status, as [`Device::progress`].
    pub fn progress(&self) -> Option<u8> {
        match Overall::ALL[OVERALL.of(self.word)] {
            Overall::Updating => self.update_progress(),
            Overall::Configuring | Overall::PostProvisioning => self.stage_progress(),
            _ => None,
        }
    }

    /// Percent of the stage of its life, whatever the overall status.
    pub fn stage_progress(&self) -> Option<u8> {
        Some(STAGE_PROGRESS.of(self.word).checked_sub(1)? as u8)
    }

    /// Percent of its update, whatever the overall status.
    pub fn update_progress(&self) -> Option<u8> {
        Some(UPDATE_PROGRESS.of(self.word).checked_sub(1)? as u8)
    }

    /// How far its update has come.
    pub fn update_phase(&self) -> Option<UpdatePhase> {
        Some(UpdatePhase::ALL[UPDATE_PHASE.of(self.word).checked_sub(1)?])
    }

    /// Whether a tunnel is expected of it.
    pub fn tunnel_expected(&self) -> bool {
        NO_TUNNEL.of(self.word) == 0
    }

    /// The version of MQTT of the newest client session.
    pub fn mqtt(&self) -> Option<Mqtt> {
        Some(Mqtt::ALL[MQTT.of(self.word).checked_sub(1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_keep_times_and_their_order() {
        let times = [i64::MIN, FIRST, -1, 0, 1, 1_767_225_600_000, Timestamp::MAX.millis()];
        let moments: Vec<Moment> = times.iter().map(|time| Moment::new(Timestamp::restored(*time))).collect();
        for (time, moment) in times.iter().zip(&moments) {
            assert_eq!(moment.time().millis(), *time);
        }
        assert!(moments.is_sorted_by_key(|moment| moment.rank()));
        assert_eq!(Moment::new(Timestamp::MIN).time().millis(), FIRST, "clamped, not lost");
    }

    #[test]
    fn versions_of_mqtt_are_known_by_what_platforms_call_them() {
        for (text, version) in [
            ("mqtt3", Some(Mqtt::V31)),
            ("mqtt4", Some(Mqtt::V311)),
            ("mqtt5-ws", Some(Mqtt::V5)),
            ("MQTTv3.1.1", Some(Mqtt::V311)),
            ("MQTT 5.0", Some(Mqtt::V5)),
            ("mqtt/3.1", Some(Mqtt::V31)),
            ("5", Some(Mqtt::V5)),
            ("mqtt-tcp", None),
            ("3", None),
            ("wireguard", None),
            ("", None),
        ] {
            assert_eq!(Mqtt::from_protocol(text), version, "{text}");
        }
    }

    #[test]
    fn names_begin_alike_in_either_case() {
        assert_eq!(head_of("Pump"), head_of("pUMP 12"));
        assert!(head_of("p") < head_of("pa"));
    }
}
