//! Moments as text: RFC 3339, with an express lane for the form that machines write.

use chrono::DateTime;

use crate::domain::time::Timestamp;

const DAY_MILLIS: i64 = 86_400_000;

/// The moment that an RFC 3339 text stands for; what is finer than a millisecond is cut off. `None` for any other
/// text, and for moments outside the years 1 to 9999.
pub fn parse(text: &str) -> Option<Timestamp> {
    let millis = match parse_plain(text.as_bytes()) {
        Some(millis) => millis,
        // Offsets, leap seconds, lower case.
        None => DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis(),
    };
    let time = Timestamp::from_millis(millis);
    (time.millis() == millis).then_some(time)
}

/// `YYYY-MM-DDTHH:MM:SSZ` and `YYYY-MM-DDTHH:MM:SS.fffZ`, nothing else.
fn parse_plain(text: &[u8]) -> Option<i64> {
    let (main, rest) = text.split_first_chunk::<19>()?;
    let fraction = match rest {
        b"Z" => 0,
        [b'.', a, b, c, b'Z'] => number(&[*a, *b, *c])?,
        _ => return None,
    };
    let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _] = *main else { return None };
    let (year, month, day) = (number(&main[..4])?, number(&main[5..7])?, number(&main[8..10])?);
    let (hour, minute, second) = (number(&main[11..13])?, number(&main[14..16])?, number(&main[17..])?);
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_of(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let days = days_from_civil(year, month, day);
    Some(days * DAY_MILLIS + ((hour * 60 + minute) * 60 + second) * 1000 + fraction)
}

#[inline(always)]
fn number(digits: &[u8]) -> Option<i64> {
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar; the year is reckoned from March, so that the leap day is
/// its last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The way back: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year_of_era + era * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// The text of a time, as [`write()`] writes it.
///
/// # Panics
/// Never: it is digits.
pub fn text(time: Timestamp) -> String {
    let mut out = Vec::with_capacity(24);
    write(time, &mut out);
    String::from_utf8(out).expect("it is digits")
}

/// Writes `YYYY-MM-DDTHH:MM:SS.fffZ`, as [`Timestamp`]'s `Display` does, several times as fast. The time must have
/// happened.
pub fn write(time: Timestamp, out: &mut Vec<u8>) {
    debug_assert!(time.happened());
    let days = time.millis().div_euclid(DAY_MILLIS);
    let millis = time.millis().rem_euclid(DAY_MILLIS);
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, width: usize, mut value: i64| {
        for place in (at..at + width).rev() {
            text[place] = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, millis / 3_600_000);
    put(14, 2, millis / 60_000 % 60);
    put(17, 2, millis / 1000 % 60);
    put(20, 3, millis % 1000);
    out.extend_from_slice(&text);
}
