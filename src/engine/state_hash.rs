//! The state hash: the sum of 128-bit hashes of all rows, kept incrementally. It tells corruption; attackers meet the
//! re-derivation (DESIGN §3.2).

use xxhash_rust::xxh3::Xxh3;

use super::table::Kind;
use crate::domain::clocks::Clocks;
use crate::domain::node::Nodes;
use crate::wire::row::{self, Row};

/// The hash of a row, as part of the state hash.
pub fn row_hash(kind: Kind, number: u32, key: &str, row: &[u8]) -> u128 {
    if kind == Kind::Free {
        return 0;
    }
    let (number, length) = (number.to_le_bytes(), (key.len() as u32).to_le_bytes());
    let parts: [&[u8]; 4] = [&number, &length, key.as_bytes(), row];
    let mut piece = [0; 512];
    let mut end = 0;
    for part in parts {
        let Some(place) = piece.get_mut(end..end + part.len()) else {
            let mut hash = Xxh3::new();
            parts.iter().for_each(|part| hash.update(part));
            return hash.digest128();
        };
        place.copy_from_slice(part);
        end += part.len();
    }
    // Of one piece it costs a third: most rows are short.
    xxhash_rust::xxh3::xxh3_128(&piece[..end])
}

/// The hash of a device's clocks, as part of the state hash.
pub fn clocks_hash(kind: Kind, number: u32, clocks: &Clocks) -> u128 {
    if kind != Kind::Live {
        return 0;
    }
    let times = [clocks.last_message, clocks.last_activity, clocks.last_poll];
    let mut bytes = [0u8; 56];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4] = clocks.kind as u8;
    for (index, time) in times.iter().chain(&clocks.channels).enumerate() {
        bytes[8 + index * 8..16 + index * 8].copy_from_slice(&time.millis().to_le_bytes());
    }
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

/// The hash of the nodes, as part of the state hash.
pub fn nodes_hash(nodes: &Nodes) -> u128 {
    if nodes.0.is_empty() {
        return 0;
    }
    let mut bytes = Vec::new();
    row::encode_row(0, &Row::Nodes(nodes.clone()), &mut bytes);
    xxhash_rust::xxh3::xxh3_128(&bytes)
}
