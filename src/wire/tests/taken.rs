//! What is taken although it looks odd, and the lines of `fold`.

use super::record;
use super::refusals::{HEARTBEAT, json, taken};
use crate::domain::event::{Body, Event, Subject};
use crate::domain::time::Timestamp;
use crate::wire::decode::{Limits, Line, Scratch, decode, decode_line};
use crate::wire::reject::Reason;

#[test]
fn the_key_is_borrowed_where_there_is_one() {
    let scratch = Scratch::new();
    let text = json(HEARTBEAT);
    let record = record(text.as_bytes());
    let event = decode(&record, &scratch, &Limits::default()).expect("a good record");
    let Subject::Device { key, .. } = event.subject else { panic!("{event:?}") };
    assert_eq!(Some(key.as_ptr()), record.key.map(<[u8]>::as_ptr));
}

#[test]
fn odd_but_good() {
    let scratch = Scratch::new();
    let minutes = |minutes: &str| {
        let text = json(&format!(r#""requiredInterval":{{"minutes":{minutes}}}"#));
        let scratch = Scratch::new();
        match taken(text.as_bytes(), &scratch).subject {
            Subject::Device { body: Body::RequiredInterval(body), .. } => body.minutes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(minutes("15"), Some(15));
    assert_eq!(minutes("15.0"), Some(15));
    assert_eq!(minutes("1e1"), Some(10));
    assert_eq!(minutes("99999999999999999999999"), Some(i16::MAX));
    assert_eq!(minutes("-1e400"), Some(i16::MIN));
    assert_eq!(minutes("null"), None);

    let observed = |time: &str| {
        let text = json(&format!(r#"{HEARTBEAT},"observedAt":"{time}""#));
        let scratch = Scratch::new();
        taken(text.as_bytes(), &scratch).observed_at.map(Timestamp::millis)
    };
    assert_eq!(observed("1970-01-01T00:00:01Z"), Some(1000));
    assert_eq!(observed("1970-01-01T00:00:00.0019999Z"), Some(1));
    assert_eq!(observed("1970-01-01T01:00:00.5+01:00"), Some(500));
    assert_eq!(observed("1970-01-01t00:00:00z"), Some(0));
    assert_eq!(observed("1969-12-31T23:59:59.9999Z"), Some(-1));

    // Escapes, and keys that are written with them.
    let text = "{\"tenant\":\"acme\",\"device\\u0049d\":\"p1\",\"eventId\":\"a\\n\\ud83d\\ude00\",\"delete\":{\"actor\":\"\"}}";
    let event = taken(text.as_bytes(), &scratch);
    assert_eq!(event.event_id, Some("a\n\u{1F600}"));
    // The empty text says as much as none.
    assert!(
        matches!(event.subject, Subject::Device { body: Body::Delete(body), .. } if body.actor.is_none())
    );
    // Half a surrogate pair in a field that nobody reads; a byte order mark.
    taken(json(&format!(r#"{HEARTBEAT},"x":"\ud83d""#)).as_bytes(), &scratch);
    taken(format!("\u{feff}{}", json(HEARTBEAT)).as_bytes(), &scratch);
}

#[test]
fn lines_of_fold() {
    let scratch = Scratch::new();
    let read = |line: &'static str| decode_line(line.as_bytes(), &scratch, &Limits::default());
    let time = Timestamp::from_millis(1_767_225_600_000);
    assert_eq!(read(r#"{"tick":"2026-01-01T00:00:00.000Z"}"#), Ok(Line::Tick(time)));
    assert_eq!(read(r#"{"sight":"2026-01-01T00:00:00.000Z"}"#), Ok(Line::Sight(time)));
    let refused = |line| read(line).map_err(|reject| (reject.reason, reject.message)).unwrap_err();
    assert_eq!(
        refused("this is not json"),
        (
            Reason::NotJson,
            "not valid JSON at column 1: an event or a policy is an object, in { and }".to_owned()
        )
    );
    assert_eq!(
        refused(r#"{"tick":"now"}"#),
        (
            Reason::BadValue,
            "tick: \"now\" is not an RFC 3339 time in the years 1 to 9999, such as 2026-01-01T00:00:00.000Z"
                .to_owned()
        )
    );
    assert_eq!(
        refused(r#"{"tick":"2026-01-01T00:00:00.000Z","sight":"2026-01-01T00:00:00.000Z"}"#).0,
        Reason::TwoBodies
    );
    assert_eq!(refused("{}").0, Reason::NoBody);
    match read(r#"{"tenant":"acme","deviceId":"p1","delete":{}}"#) {
        Ok(Line::Event(Event { subject: Subject::Device { key: "acme/p1", .. }, .. })) => {}
        other => panic!("{other:?}"),
    }
}
