//! The clock pack: the clocks that a step moved and nothing else, three to five bytes a device (DESIGN §3.2).
//!
//! For each device, in order of its number: the distance to the number before, a mask of what moved, and the new times
//! as distances back from the entry's clock. Then the nodes whose heartbeats moved, by their place in the order of ids.

use crate::domain::clocks::{Clocks, LastActivity};
use crate::domain::node::Nodes;
use crate::domain::time::{Millis, Timestamp};

const MESSAGE: u8 = 1;
const ACTIVITY: u8 = 2;
const POLL: u8 = 4;
const CHANNEL: u8 = 8;
const KIND: u8 = 64;
/// All times that moved are the same.
const SAME: u8 = 128;

/// A pack that cannot be read: it is not one of ours, or it is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the clock pack is damaged at byte {at}")]
pub struct DamagedPack {
    /// Where.
    pub at: usize,
}

/// Writes a pack.
#[derive(Debug)]
pub struct PackWriter {
    bytes: Vec<u8>,
    clock: Timestamp,
    last: u32,
    devices: usize,
}

impl PackWriter {
    /// A pack of an entry with this clock.
    pub fn new(clock: Timestamp) -> PackWriter {
        PackWriter { bytes: Vec::new(), clock, last: 0, devices: 0 }
    }

    /// Adds a device. Numbers must rise.
    pub fn device(&mut self, number: u32, before: &Clocks, after: &Clocks) {
        let mut mask = 0;
        let mut times = [Timestamp::NEVER; 6];
        let mut count = 0;
        let mut moved = |bit: u8, old: Timestamp, new: Timestamp| {
            if old != new {
                mask |= bit;
                times[count] = new;
                count += 1;
            }
        };
        moved(MESSAGE, before.last_message, after.last_message);
        moved(ACTIVITY, before.last_activity, after.last_activity);
        moved(POLL, before.last_poll, after.last_poll);
        for index in 0..3 {
            moved(CHANNEL << index, before.channels[index], after.channels[index]);
        }
        if before.kind != after.kind {
            mask |= KIND;
        }
        if mask == 0 {
            return;
        }
        let times = &times[..count];
        let same = count > 1 && times.iter().all(|time| *time == times[0]);
        varint(&mut self.bytes, u64::from(number - self.last) + 1);
        self.last = number;
        self.devices += 1;
        self.bytes.push(if same { mask | SAME } else { mask });
        for time in if same { &times[..1] } else { times } {
            varint(&mut self.bytes, zigzag((self.clock - *time).0));
        }
        if mask & KIND != 0 {
            self.bytes.push(after.kind as u8);
        }
    }

    /// Ends the devices and adds the nodes whose heartbeats moved: place in the order of ids, and the new time.
    pub fn finish(mut self, nodes: &[(u32, Timestamp)]) -> Vec<u8> {
        if self.devices == 0 && nodes.is_empty() {
            return Vec::new();
        }
        self.bytes.push(0);
        for (place, time) in nodes {
            varint(&mut self.bytes, u64::from(*place));
            varint(&mut self.bytes, zigzag((self.clock - *time).0));
        }
        self.bytes
    }
}

/// The nodes whose heartbeats merely moved, by place; `None` if more changed.
pub fn heartbeats(before: &Nodes, after: &Nodes) -> Option<Vec<(u32, Timestamp)>> {
    if before.0.len() != after.0.len() {
        return None;
    }
    let mut moved = Vec::new();
    for (place, ((old_id, old), (id, new))) in before.0.iter().zip(&after.0).enumerate() {
        if old_id != id {
            return None;
        }
        if old == new {
            continue;
        }
        let mut expected = old.clone();
        expected.last_alive = new.last_alive;
        expected.set_at = new.last_alive;
        if expected != *new {
            return None;
        }
        moved.push((place as u32, new.last_alive));
    }
    Some(moved)
}

/// What a pack says, in its order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packed {
    /// Clocks of a device: apply with [`Moved::apply`].
    Device(u32, Moved),
    /// The last sign of life of a node, by its place in the order of ids.
    Node(u32, Timestamp),
}

/// The clocks that moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    mask: u8,
    times: [Timestamp; 6],
    kind: LastActivity,
}

impl Moved {
    /// Sets the clocks that moved.
    pub fn apply(&self, clocks: &mut Clocks) {
        let set = |bit: u8, index: usize, clock: &mut Timestamp| {
            if self.mask & bit != 0 {
                *clock = self.times[index];
            }
        };
        set(MESSAGE, 0, &mut clocks.last_message);
        set(ACTIVITY, 1, &mut clocks.last_activity);
        set(POLL, 2, &mut clocks.last_poll);
        let [first, second, third] = &mut clocks.channels;
        set(CHANNEL, 3, first);
        set(CHANNEL << 1, 4, second);
        set(CHANNEL << 2, 5, third);
        if self.mask & KIND != 0 {
            clocks.kind = self.kind;
        }
    }
}

/// Reads a pack of an entry with this clock.
pub fn read(bytes: &[u8], clock: Timestamp, mut each: impl FnMut(Packed)) -> Result<(), DamagedPack> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut reader = Reader { bytes, at: 0 };
    let mut number = 0u64;
    loop {
        let step = reader.varint()?;
        if step == 0 {
            break;
        }
        number = number.checked_add(step - 1).ok_or(DamagedPack { at: reader.at })?;
        let number = u32::try_from(number).map_err(|_| DamagedPack { at: reader.at })?;
        let mask = reader.byte()?;
        let mut moved = Moved { mask, times: [Timestamp::NEVER; 6], kind: LastActivity::None };
        let mut shared = None;
        for index in 0..6 {
            if mask & (1 << index) == 0 {
                continue;
            }
            let time = match shared {
                Some(time) => time,
                None => reader.time(clock)?,
            };
            if mask & SAME != 0 {
                shared = Some(time);
            }
            moved.times[index] = time;
        }
        if mask & KIND != 0 {
            let kind = usize::from(reader.byte()?);
            moved.kind = *LastActivity::ALL.get(kind).ok_or(DamagedPack { at: reader.at })?;
        }
        each(Packed::Device(number, moved));
    }
    while reader.at < bytes.len() {
        let place = u32::try_from(reader.varint()?).map_err(|_| DamagedPack { at: reader.at })?;
        let time = reader.time(clock)?;
        each(Packed::Node(place, time));
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, DamagedPack> {
        let byte = *self.bytes.get(self.at).ok_or(DamagedPack { at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, DamagedPack> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DamagedPack { at: self.at })
    }

    fn time(&mut self, clock: Timestamp) -> Result<Timestamp, DamagedPack> {
        let back = self.varint()?;
        let back = (back >> 1) as i64 ^ -((back & 1) as i64);
        Ok(clock + Millis(back.checked_neg().ok_or(DamagedPack { at: self.at })?))
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLOCK: i64 = 1_767_225_600_000;

    fn clocks() -> impl Strategy<Value = Clocks> {
        let time = prop_oneof![
            Just(Timestamp::NEVER),
            (0..5_000i64).prop_map(|back| Timestamp::from_millis(CLOCK - back)),
            any::<i64>().prop_map(Timestamp::from_millis)
        ];
        (proptest::collection::vec(time, 6), 0..LastActivity::ALL.len()).prop_map(|(times, kind)| Clocks {
            last_message: times[0],
            last_activity: times[1],
            last_poll: times[2],
            channels: [times[3], times[4], times[5]],
            kind: LastActivity::ALL[kind],
        })
    }

    proptest! {
        #[test]
        fn a_pack_moves_the_clocks_as_they_moved(
            devices in proptest::collection::btree_map(any::<u32>(), (clocks(), clocks()), 0..20),
            nodes in proptest::collection::vec((any::<u32>(), any::<i32>()), 0..3),
        ) {
            let clock = Timestamp::from_millis(CLOCK);
            let mut writer = PackWriter::new(clock);
            // A clock never goes back to "never".
            let forward = |before: &Clocks, after: &Clocks| {
                let later = |old: Timestamp, new: Timestamp| if new.happened() { new } else { old };
                Clocks {
                    last_message: later(before.last_message, after.last_message),
                    last_activity: later(before.last_activity, after.last_activity),
                    last_poll: later(before.last_poll, after.last_poll),
                    channels: std::array::from_fn(|i| later(before.channels[i], after.channels[i])),
                    kind: after.kind,
                }
            };
            let mut expected = std::collections::BTreeMap::new();
            for (number, (before, after)) in &devices {
                let after = forward(before, after);
                writer.device(*number, before, &after);
                expected.insert(*number, after);
            }
            let nodes: Vec<(u32, Timestamp)> =
                nodes.into_iter().map(|(place, back)| (place, clock + Millis(i64::from(back)))).collect();
            let bytes = writer.finish(&nodes);
            let mut state: std::collections::BTreeMap<u32, Clocks> =
                devices.iter().map(|(number, (before, _))| (*number, *before)).collect();
            let mut read_nodes = Vec::new();
            read(&bytes, clock, |packed| match packed {
                Packed::Device(number, moved) => moved.apply(state.get_mut(&number).unwrap()),
                Packed::Node(place, time) => read_nodes.push((place, time)),
            })
            .unwrap();
            prop_assert_eq!(state, expected);
            prop_assert_eq!(read_nodes, nodes);
        }

        #[test]
        fn damage_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes, Timestamp::from_millis(CLOCK), |_| {});
        }
    }

    #[test]
    fn a_heartbeat_costs_four_bytes() {
        let clock = Timestamp::from_millis(CLOCK);
        let mut writer = PackWriter::new(clock);
        let at = Timestamp::from_millis(CLOCK - 120);
        let before = Clocks { kind: LastActivity::MqttPublish, ..Clocks::default() };
        let after = Clocks { last_message: at, last_activity: at, ..before };
        writer.device(0, &before, &after);
        writer.device(1, &before, &after);
        assert_eq!(writer.finish(&[]).len(), 2 * 4 + 1);
    }
}
