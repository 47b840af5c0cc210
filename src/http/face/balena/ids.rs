//! Numbers that stand for things there, all below 2^53, which is as far as the numbers of JavaScript are exact.
//!
//! The id of a device is made of its place (partition and number within it), and of 14 bits of a hash of its name, so
//! that whoever is given the number of a deleted device has another id. Both are mixed by a key of the tenant: ids tell nobody how many
//! devices others have. The way back costs a look-up and no memory.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::query::fleet::Fleet;
use crate::wire::partition;

/// Bits of an id, and of each half of it.
const BITS: u32 = 52;
const HALF: u32 = BITS / 2;
/// Bits of the place.
const PLACE: u32 = 38;
const ROUNDS: u64 = 4;

/// What the ids of a tenant's devices are made with.
#[derive(Clone, Copy, Debug)]
pub struct DeviceIds<'t> {
    tenant: &'t str,
    partitions: u32,
}

impl<'t> DeviceIds<'t> {
    /// Of a tenant, where every topic has so many partitions.
    pub fn new(tenant: &'t str, partitions: u32) -> DeviceIds<'t> {
        DeviceIds { tenant, partitions }
    }

    fn round(&self, round: u64, half: u64) -> u64 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half.to_le_bytes());
        bytes[8..].copy_from_slice(&xxh3_64_with_seed(self.tenant.as_bytes(), round).to_le_bytes());
        xxh3_64(&bytes) & ((1 << HALF) - 1)
    }

    /// Of the device of this id and number.
    pub fn id(&self, device_id: &str, number: u32) -> u64 {
        let key = format!("{}/{device_id}", self.tenant);
        let place = u64::from(number) * u64::from(self.partitions)
            + u64::from(partition::of(key.as_bytes(), self.partitions));
        let plain = (check(&key) << PLACE) | (place & ((1 << PLACE) - 1));
        let (mut left, mut right) = (plain >> HALF, plain & ((1 << HALF) - 1));
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ self.round(round, right));
        }
        1 + ((left << HALF) | right)
    }

    /// The row of the device that has this id.
    pub fn find(&self, fleet: &Fleet, id: u64) -> Option<u32> {
        let mixed = id.checked_sub(1).filter(|mixed| mixed >> BITS == 0)?;
        let (mut left, mut right) = (mixed >> HALF, mixed & ((1 << HALF) - 1));
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ self.round(round, left), left);
        }
        let plain = (left << HALF) | right;
        let place = plain & ((1 << PLACE) - 1);
        let (number, partition) = (place / u64::from(self.partitions), place % u64::from(self.partitions));
        let row = fleet.numbered(self.tenant, partition as u32, u32::try_from(number).ok()?)?;
        let device_id = fleet.tenant(self.tenant)?.row(row).id();
        (check(&format!("{}/{device_id}", self.tenant)) == plain >> PLACE).then_some(row)
    }
}

fn check(key: &str) -> u64 {
    xxh3_64(key.as_bytes()) >> (64 - (BITS - PLACE))
}

/// The id of what has a name and is not a device: an application, an organization, who asks.
pub fn of_name(kind: &str, tenant: &str, name: &str) -> u64 {
    1 + (xxh3_64(format!("{kind} {tenant} {name}").as_bytes()) >> (64 - BITS))
}

/// 32 hexadecimal digits for what has a name, in the place of a UUID.
pub fn uuid_of_name(kind: &str, tenant: &str, name: &str) -> String {
    let text = format!("{kind} {tenant} {name}");
    format!("{:016x}{:016x}", xxh3_64_with_seed(text.as_bytes(), 1), xxh3_64_with_seed(text.as_bytes(), 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::device::Device;
    use crate::domain::time::Timestamp;

    #[test]
    fn every_device_has_an_id_of_its_own_that_leads_back_to_it() {
        let partitions = 4;
        let mut fleet = Fleet::default();
        let device = Device::new(Timestamp::from_millis(0), 0, Timestamp::NEVER);
        let mut numbers = [0; 4];
        let mut put = |fleet: &mut Fleet, tenant: &str, id: &str| {
            let key = format!("{tenant}/{id}");
            let partition = partition::of(key.as_bytes(), partitions);
            let number = &mut numbers[partition as usize];
            fleet.put(partition, &key, &device, *number);
            *number += 1;
        };
        let names: Vec<String> = (0..500).map(|number| format!("pump-{number}")).collect();
        for name in &names {
            put(&mut fleet, "acme", name);
            put(&mut fleet, "other", name);
        }
        let ids = DeviceIds::new("acme", partitions);
        let tenant = fleet.tenant("acme").unwrap();
        let number_of = |name: &str| tenant.row(tenant.find(name).unwrap()).number;
        let mut all: Vec<u64> = names.iter().map(|name| ids.id(name, number_of(name))).collect();
        for (name, id) in names.iter().zip(&all) {
            assert!(*id > 0 && *id < 1 << 53, "{id}");
            assert_eq!(tenant.row(ids.find(&fleet, *id).unwrap()).id(), name);
            assert_eq!(
                DeviceIds::new("other", partitions).find(&fleet, *id),
                None,
                "of another tenant it is none"
            );
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), names.len());
        for nobody in [0, 1, (1 << 52) + 1, 1 << 53, u64::MAX] {
            assert_eq!(ids.find(&fleet, nobody), None, "{nobody}");
        }
        // Whoever is given the number of a deleted device is somebody else.
        let (gone, number) = ("pump-7", number_of("pump-7"));
        let partition = partition::of(b"acme/pump-7", partitions);
        fleet.remove(partition, "acme/pump-7");
        fleet.put(partition, "acme/heir", &device, number);
        assert_eq!(ids.find(&fleet, ids.id(gone, number)), None);
    }
}
