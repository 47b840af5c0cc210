//! Keys and values of the embedded log's database. Format 1; see [`super::FORMAT`].
//!
//! | key | value |
//! |---|---|
//! | `00 "format"` | format be32, partitions be32 |
//! | `01` partition be32 | the group's offsets: per input offset be64, length be32, metadata |
//! | `02` topic, partition be32 | low be64, next be64, last append time be64: written by retention |
//! | `10` topic, partition be32, offset be64 | a record |
//! | `11` topic, partition be32, append time be64 | the first offset that was appended at or after that time, be64 |

use crate::domain::time::Timestamp;
use crate::log::{Header, INPUTS, OutRecord, Positions, Scanned};

/// The row that says which format this is.
pub const FORMAT_KEY: &[u8] = b"\x00format";
const OFFSETS: u8 = 0x01;
const LIMITS: u8 = 0x02;
const RECORD: u8 = 0x10;
const TIME: u8 = 0x11;

const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const HAS_HEADERS: u8 = 4;

/// One partition of one topic, as it stands in keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The topic's number.
    pub topic: u8,
    /// The partition.
    pub partition: u32,
}

impl Place {
    fn key<const N: usize>(self, table: u8, last: u64) -> [u8; N] {
        let mut key = [0; N];
        key[0] = table;
        key[1] = self.topic;
        key[2..6].copy_from_slice(&self.partition.to_be_bytes());
        if N > 6 {
            key[6..].copy_from_slice(&last.to_be_bytes()[..N - 6]);
        }
        key
    }

    /// The key of a record.
    pub fn record(self, offset: u64) -> [u8; 14] {
        self.key(RECORD, offset)
    }

    /// The key of a row of the time index.
    pub fn time(self, at: Timestamp) -> [u8; 14] {
        // Flipping the sign bit makes signed numbers sort as bytes.
        self.key(TIME, (at.millis() as u64) ^ (1 << 63))
    }

    /// The key of the row with low, next and last time.
    pub fn limits(self) -> [u8; 6] {
        self.key(LIMITS, 0)
    }
}

/// The last eight bytes of a record key.
pub fn offset_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(6..14)?.try_into().ok()?))
}

/// The time in a key of the time index.
pub fn time_of(key: &[u8]) -> Option<Timestamp> {
    let bits = u64::from_be_bytes(key.get(6..14)?.try_into().ok()?);
    Some(Timestamp::from_millis((bits ^ (1 << 63)) as i64))
}

/// The key of the group's offsets of a partition.
pub fn offsets_key(partition: u32) -> [u8; 5] {
    let mut key = [OFFSETS; 5];
    key[1..].copy_from_slice(&partition.to_be_bytes());
    key
}

/// The value of the group's offsets.
pub fn offsets_value(positions: &Positions, metadata: &str) -> Vec<u8> {
    let mut value = Vec::with_capacity(INPUTS * (12 + metadata.len()));
    for offset in positions {
        value.extend_from_slice(&offset.to_be_bytes());
        value.extend_from_slice(&(metadata.len() as u32).to_be_bytes());
        value.extend_from_slice(metadata.as_bytes());
    }
    value
}

/// The group's offsets again; `None` if the bytes are not ours.
pub fn read_offsets(mut value: &[u8]) -> Option<[Option<(u64, String)>; INPUTS]> {
    let mut offsets = [const { None }; INPUTS];
    for slot in &mut offsets {
        let offset = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
        let length = u32::from_be_bytes(value.get(8..12)?.try_into().ok()?) as usize;
        let metadata = std::str::from_utf8(value.get(12..12 + length)?).ok()?;
        *slot = Some((offset, metadata.to_owned()));
        value = &value[12 + length..];
    }
    value.is_empty().then_some(offsets)
}

/// Several big-endian numbers in a row.
pub fn numbers<const N: usize>(values: [u64; N]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// Those numbers again; `None` if there are not as many.
pub fn read_numbers<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut values = [0; N];
    if bytes.len() != 8 * N {
        return None;
    }
    for (value, chunk) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = u64::from_be_bytes(*chunk);
    }
    Some(values)
}

/// The value of a record: flags, timestamp be64, key, headers, payload. [`restamp`] changes the timestamp.
pub fn record_value(record: &OutRecord) -> Vec<u8> {
    let payload = record.value.as_deref();
    let key = record.key.as_deref();
    let mut out = Vec::with_capacity(24 + key.map_or(0, <[u8]>::len) + payload.map_or(0, <[u8]>::len));
    let mut flags = 0;
    flags |= if key.is_some() { HAS_KEY } else { 0 };
    flags |= if payload.is_some() { HAS_VALUE } else { 0 };
    flags |= if record.headers.is_empty() { 0 } else { HAS_HEADERS };
    out.push(flags);
    out.extend_from_slice(&record.timestamp.millis().to_be_bytes());
    if let Some(key) = key {
        put_bytes(&mut out, key);
    }
    if !record.headers.is_empty() {
        put_number(&mut out, record.headers.len());
        for (name, value) in &record.headers {
            put_bytes(&mut out, name.as_bytes());
            put_bytes(&mut out, value);
        }
    }
    if let Some(payload) = payload {
        out.extend_from_slice(payload);
    }
    out
}

/// Replaces the timestamp in a value that [`record_value`] made.
pub fn restamp(value: &mut [u8], at: Timestamp) {
    value[1..9].copy_from_slice(&at.millis().to_be_bytes());
}

/// A record again, its headers in `headers`; `None` if the bytes are not ours.
pub fn read_record<'a>(offset: u64, bytes: &'a [u8], headers: &'a mut Vec<Header>) -> Option<Scanned<'a>> {
    headers.clear();
    let flags = *bytes.first()?;
    let timestamp = Timestamp::from_millis(i64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?));
    let mut rest = &bytes[9..];
    let key = if flags & HAS_KEY != 0 { Some(take_bytes(&mut rest)?) } else { None };
    if flags & HAS_HEADERS != 0 {
        for _ in 0..take_number(&mut rest)? {
            let name = std::str::from_utf8(take_bytes(&mut rest)?).ok()?.to_owned();
            headers.push((name, take_bytes(&mut rest)?.to_vec()));
        }
    }
    let value = (flags & HAS_VALUE != 0).then_some(rest);
    Some(Scanned { offset, timestamp, key, value, headers })
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u32).to_be_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let number = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    *rest = &rest[4..];
    Some(number)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_number(rest)?;
    let bytes = rest.get(..length)?;
    *rest = &rest[length..];
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Topic;

    #[test]
    fn a_record_comes_back_as_it_went_in() {
        for (key, value, headers) in [
            (Some(b"k".to_vec()), Some(b"v".to_vec()), vec![("h".to_owned(), vec![0, 255])]),
            (None, Some(Vec::new()), Vec::new()),
            (Some(Vec::new()), None, vec![("".to_owned(), Vec::new()), ("x".to_owned(), b"y".to_vec())]),
        ] {
            let record = OutRecord {
                topic: Topic::Status,
                partition: 3,
                timestamp: Timestamp::from_millis(-5),
                key: key.clone(),
                value: value.clone(),
                headers: headers.clone(),
            };
            let mut bytes = record_value(&record);
            let mut read = Vec::new();
            let back = read_record(7, &bytes, &mut read).unwrap();
            assert_eq!((back.key, back.value), (key.as_deref(), value.as_deref()));
            assert_eq!((back.timestamp.millis(), back.headers, back.offset), (-5, &headers[..], 7));
            restamp(&mut bytes, Timestamp::from_millis(99));
            assert_eq!(read_record(7, &bytes, &mut read).unwrap().timestamp.millis(), 99);
            assert!(read_record(7, &bytes[..5], &mut read).is_none());
        }
    }

    #[test]
    fn keys_sort_by_place_then_offset_or_time() {
        let place = Place { topic: 2, partition: 1 };
        let mut keys = vec![
            Place { topic: 1, partition: 9 }.record(u64::MAX).to_vec(),
            place.record(0).to_vec(),
            place.record(255).to_vec(),
            place.record(256).to_vec(),
            Place { topic: 2, partition: 2 }.record(0).to_vec(),
            place.time(Timestamp::from_millis(-1)).to_vec(),
            place.time(Timestamp::from_millis(0)).to_vec(),
            place.time(Timestamp::from_millis(1)).to_vec(),
        ];
        let sorted = keys.clone();
        keys.sort();
        assert_eq!(keys, sorted);
        assert_eq!(offset_of(&place.record(77)), Some(77));
        assert_eq!(time_of(&place.time(Timestamp::from_millis(-7))), Some(Timestamp::from_millis(-7)));
    }

    #[test]
    fn offsets_come_back_and_foreign_bytes_do_not() {
        let value = offsets_value(&[1, 2, u64::MAX], "e=1 s=2 h=é");
        let meta = "e=1 s=2 h=é".to_owned();
        let wanted = [Some((1, meta.clone())), Some((2, meta.clone())), Some((u64::MAX, meta))];
        assert_eq!(read_offsets(&value), Some(wanted));
        assert_eq!(read_offsets(&value[1..]), None);
        assert_eq!(read_numbers::<2>(&numbers([4, 5])), Some([4, 5]));
        assert_eq!(read_numbers::<3>(&numbers([4, 5])), None);
    }
}
