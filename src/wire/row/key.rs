//! The record keys of `devices.state`: `tenant/device_id` for a device, a text that begins with `/` for a row of the
//! partition itself. No tenant is empty, so no device has such a key. Every partition has each of those rows; its
//! records name their partition, so nothing hashes their keys.

/// The nodes of the partition.
pub const NODES: &str = "/nodes";
/// Its policy.
pub const POLICY: &str = "/policy";
/// What else it keeps.
pub const PARTITION: &str = "/partition";

/// Whether a key is a device's.
pub fn is_device(key: &str) -> bool {
    !key.starts_with('/')
}

/// The record key of a device.
pub fn device(tenant: &str, device_id: &str) -> String {
    format!("{tenant}/{device_id}")
}
