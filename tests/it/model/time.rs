//! Times are milliseconds since 1970.

use chrono::{DateTime, SecondsFormat};
use serde_json::Value;

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
/// 2026-01-01T00:00:00.000Z, where every story begins.
pub const START: i64 = 1_767_225_600_000;

/// RFC 3339, UTC, milliseconds (DESIGN §1).
pub fn show(at: i64) -> String {
    let time = DateTime::from_timestamp_millis(at).expect("a time of a test is in range");
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub fn read_time(value: &Value) -> Result<i64, String> {
    let text = value.as_str().ok_or("a time is a text")?;
    let time = DateTime::parse_from_rfc3339(text).map_err(|e| format!("{text}: {e}"))?;
    Ok(time.timestamp_millis())
}
