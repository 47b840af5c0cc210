//! The devices of the fleet: who they are, and what they remember.

use super::story::{CAST, Dice, Role};
use crate::domain::time::Timestamp;

#[derive(Debug)]
pub(super) struct Device {
    pub(super) tenant: &'static str,
    pub(super) id: String,
    pub(super) device_type: &'static str,
    pub(super) role: Role,
    pub(super) minutes: i16,
    /// Its place among the devices of its role.
    pub(super) turn: usize,
    pub(super) chapters: usize,
    pub(super) tier: &'static str,
    /// The broker node that it goes to first, and whether it takes no other.
    pub(super) home: usize,
    pub(super) stubborn: bool,
    pub(super) mqtt: Option<Session>,
    /// The MQTT session before that.
    pub(super) previous: Option<Session>,
    pub(super) vpn: Option<Session>,
    pub(super) long_poll: Option<Session>,
    pub(super) sessions: u64,
    /// The gateway that it sits behind.
    pub(super) parent: Option<usize>,
    pub(super) naps_until: Timestamp,
    pub(super) operator: usize,
    /// When the last event arrives that came without delay, and the last that a stalled node held up: each keeps
    /// its order.
    pub(super) last_arrival: [Timestamp; 2],
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) node: Option<usize>,
    pub(super) opened_at: Timestamp,
    pub(super) address: String,
}

/// So many devices, in the roles of the cast, in turn.
pub(super) fn muster(count: usize, nodes: usize, operators: usize, dice: &mut Dice) -> Vec<Device> {
    let mut gateway = None;
    (0..count)
        .map(|number| {
            let (role, (device_type, stem, minutes)) = CAST[number % CAST.len()];
            if role == Role::Gateway {
                gateway = Some(number);
            }
            let critical = device_type == "pump" && dice.chance(25);
            Device {
                tenant: if number / CAST.len() % 4 == 3 { "borealis" } else { "acme" },
                id: format!("{stem}-{number:04}"),
                device_type,
                role,
                minutes: if critical { 1 } else { minutes },
                turn: CAST.iter().take(number % CAST.len()).filter(|(other, _)| *other == role).count()
                    + number / CAST.len(),
                chapters: 0,
                tier: if critical { "critical" } else { "standard" },
                home: dice.pick(nodes),
                stubborn: dice.chance(40),
                mqtt: None,
                previous: None,
                vpn: None,
                long_poll: None,
                sessions: 0,
                parent: if role == Role::Child { gateway } else { None },
                naps_until: Timestamp::NEVER,
                operator: dice.pick(operators),
                last_arrival: [Timestamp::NEVER; 2],
            }
        })
        .collect()
}
