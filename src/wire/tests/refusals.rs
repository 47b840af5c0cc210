//! Every way for a record to be refused, with the words that go with it.

use super::{check_refused, record, refusal};
use crate::domain::event::{Body, Event, Subject};
use crate::wire::decode::{Limits, RawRecord, Scratch, decode};
use crate::wire::reject::Reason;

/// An event of `acme/p1` with this body, in JSON.
pub(super) fn json(body: &str) -> String {
    format!(r#"{{"tenant":"acme","deviceId":"p1",{body}}}"#)
}

#[track_caller]
fn check_json(body: &str, reason: Reason, words: &str) {
    check_refused(&record(json(body).as_bytes()), reason, words);
}

/// Protobuf fields, by hand.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut field);
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

fn acme_p1(body: &[u8]) -> Vec<u8> {
    [field(2, b"acme"), field(3, b"p1"), body.to_vec()].concat()
}

pub(super) const HEARTBEAT: &str = r#""activity":{"kind":"heartbeat"}"#;

#[track_caller]
pub(super) fn taken<'a>(value: &'a [u8], scratch: &'a Scratch) -> Event<'a> {
    decode(&record(value), scratch, &Limits::default()).expect("a good record")
}

#[test]
fn nothing_or_too_much() {
    check_refused(&RawRecord { value: None, ..record(b"") }, Reason::Empty, "there is no payload");
    check_refused(&record(b""), Reason::Empty, "there is no payload");
    check_refused(&record(b" \n\t"), Reason::Empty, "there is nothing but white space");
    let scratch = Scratch::new();
    let text = json(HEARTBEAT);
    let limits = Limits { bytes_max: text.len() - 1 };
    let reject = decode(&record(text.as_bytes()), &scratch, &limits).unwrap_err();
    assert_eq!(
        (reject.reason, reject.message.as_str()),
        (Reason::Oversize, "65 bytes; at most 64 are taken")
    );
    assert!(decode(&record(text.as_bytes()), &scratch, &Limits { bytes_max: text.len() }).is_ok());
}

#[test]
fn not_json() {
    check_refused(
        &record(b"{oops}"),
        Reason::NotJson,
        "not valid JSON at column 2: a key in quotation marks is expected here",
    );
    check_json(r#""x":tru,"#, Reason::NotJson, "not valid JSON at column 41: true is expected here");
    check_json(r#""x":01"#, Reason::NotJson, "not valid JSON at column 39: a comma or } is expected here");
    check_json(r#""x":[1 2]"#, Reason::NotJson, "not valid JSON at column 41: a comma or ] is expected here");
    check_json(r#""eventId":"\x""#, Reason::NotJson, "not valid JSON at column 46: there is no such escape");
    check_json(
        r#""eventId":"\ud83d!""#,
        Reason::NotJson,
        "not valid JSON at column 51: half of a surrogate pair stands alone",
    );
    check_json(
        "\"eventId\":\"a\tb\"",
        Reason::NotJson,
        "not valid JSON at column 46: a control character in a text must be escaped",
    );
    check_refused(
        &record(b"{\n  \"tenant\": acme\n}"),
        Reason::NotJson,
        "not valid JSON at line 2, column 13: a value is expected here",
    );
    check_refused(&record(b"{\"tenant\":\"\xff\"}"), Reason::NotJson, "not valid JSON: byte 12 is not UTF-8");
    let text = json(HEARTBEAT) + "}";
    check_refused(
        &record(text.as_bytes()),
        Reason::NotJson,
        "not valid JSON at column 66: something follows the end of the object",
    );
    let record = RawRecord { content_type: Some(b"application/json"), ..record(b"[1]") };
    check_refused(
        &record,
        Reason::NotJson,
        "not valid JSON at column 1: an event or a policy is an object, in { and }",
    );
}

#[test]
fn not_protobuf() {
    check_refused(
        &record(b"this is neither"),
        Reason::NotProtobuf,
        "register: a group's end stands where a length is expected: neither JSON nor a lastseen.v1 message in protobuf",
    );
    let number_for_text = [0x10, 0x05];
    check_refused(
        &record(&number_for_text),
        Reason::NotProtobuf,
        "tenant: a number stands where a length is expected: neither JSON nor a lastseen.v1 message in protobuf",
    );
    check_refused(
        &record(&field(2, b"\xff")),
        Reason::NoBody,
        "the envelope holds no event, such as connected, activity or register",
    );
    let value = [field(2, b"\xff"), field(3, b"p1"), field(21, b"")].concat();
    check_refused(&record(&value), Reason::NotProtobuf, "tenant: is not UTF-8");
    let value = [field(2, b"\xff"), acme_p1(&field(21, b""))].concat();
    check_refused(&record(&value), Reason::NotProtobuf, "tenant: is not UTF-8");
    let topic = field(13, &[b"\x08\x0a".to_vec(), field(5, b"\xff")].concat());
    check_refused(
        &record(&acme_p1(&topic)),
        Reason::NotProtobuf,
        "activity.topic: a text is not UTF-8: neither JSON nor a lastseen.v1 message in protobuf",
    );
}

#[test]
fn truncated() {
    let text = json(HEARTBEAT);
    check_refused(
        &record(&text.as_bytes()[..40]),
        Reason::Truncated,
        "the JSON text ends too early, at column 41",
    );
    let value = acme_p1(&field(13, b"\x08\x0a"));
    let cut = &value[..value.len() - 1];
    check_refused(&record(cut), Reason::Truncated, "the protobuf message ends in the middle of a field");
}

#[test]
fn content_type() {
    let text = json(HEARTBEAT);
    for content_type in
        ["application/json", "Application/JSON; charset=utf-8", "", "application/octet-stream"]
    {
        let record = RawRecord { content_type: Some(content_type.as_bytes()), ..record(text.as_bytes()) };
        assert!(decode(&record, &Scratch::new(), &Limits::default()).is_ok(), "{content_type}");
    }
    let record = RawRecord { content_type: Some(b"application/avro"), ..record(text.as_bytes()) };
    check_refused(
        &record,
        Reason::UnknownContentType,
        "content-type \"application/avro\" is not understood; send application/json or application/x-protobuf, or no such header",
    );
}

#[test]
fn confluent_frames() {
    let scratch = Scratch::new();
    let message = acme_p1(&field(13, b"\x08\x0a"));
    let text = json(HEARTBEAT);
    // The short form of [0]; the long form of it; the second message nested in the first.
    for index in [b"\0".as_slice(), b"\x02\0", b"\x04\0\x02"] {
        let value = [b"\0\0\0\0\x2a", index, &message].concat();
        assert!(matches!(taken(&value, &scratch).subject, Subject::Device { body: Body::Activity(_), .. }));
    }
    let value = [b"\0\0\0\0\x2a".as_slice(), text.as_bytes()].concat();
    assert!(matches!(taken(&value, &scratch).subject, Subject::Device { body: Body::Activity(_), .. }));

    let frame = "begins like a Confluent frame (byte 0), but";
    check_refused(&record(b"\0\0\0"), Reason::BadFraming, &format!("{frame} has no payload after byte 5"));
    check_refused(
        &record(b"\0\0\0\0\x2a\x02"),
        Reason::BadFraming,
        &format!("{frame} its message index is none"),
    );
    check_refused(
        &record(b"\0\0\0\0\x2a\x80"),
        Reason::BadFraming,
        &format!("{frame} its message index is cut off"),
    );
    check_refused(
        &record(b"\0\0\0\0\x2a\x01"),
        Reason::BadFraming,
        &format!("{frame} its message index is none"),
    );
}

#[test]
fn too_deep() {
    let nested =
        |levels: usize| json(&format!("{HEARTBEAT},\"x\":{}{}", "[".repeat(levels), "]".repeat(levels)));
    // The envelope is the first of 64.
    assert!(decode(&record(nested(63).as_bytes()), &Scratch::new(), &Limits::default()).is_ok());
    let reject = refusal(&record(nested(64).as_bytes()));
    assert_eq!(
        (reject.reason, reject.message.as_str()),
        (Reason::TooDeep, "nested deeper than 64 at column 133")
    );
    let mut groups = acme_p1(&field(13, b"\x08\x0a"));
    groups.extend([0x4b; 200]);
    check_refused(&record(&groups), Reason::TooDeep, "the protobuf message is nested deeper than 100");
}

#[test]
fn exactly_one_body() {
    let none = "the envelope holds no event, such as connected, activity or register";
    check_json(r#""observedAt":"2026-01-01T00:00:00Z""#, Reason::NoBody, none);
    check_json(r#""activity":null"#, Reason::NoBody, none);
    check_json(r#""teleported":{}"#, Reason::NoBody, none);
    check_refused(&record(&acme_p1(b"")), Reason::NoBody, none);
    check_json(
        &format!(r#"{HEARTBEAT},"connectFailed":{{"channel":"mqtt"}}"#),
        Reason::TwoBodies,
        "an event has exactly one body, this one has activity and connectFailed",
    );
    check_json(
        &format!("{HEARTBEAT},{HEARTBEAT}"),
        Reason::TwoBodies,
        "an event has exactly one body, this one has activity and activity",
    );
    let twice = [field(13, b"\x08\x0a"), field(12, b"\x08\x01")].concat();
    check_refused(
        &record(&acme_p1(&twice)),
        Reason::TwoBodies,
        "an event has exactly one body, this one has activity and connect_failed",
    );
    // A null is no body.
    let scratch = Scratch::new();
    taken(json(&format!(r#"{HEARTBEAT},"connected":null"#)).as_bytes(), &scratch);
}

#[test]
fn identity() {
    check_refused(
        &record(br#"{"tenant":"acme","delete":{}}"#),
        Reason::MissingIdentity,
        "deviceId: is missing",
    );
    check_refused(
        &record(br#"{"deviceId":"p1","delete":{}}"#),
        Reason::MissingIdentity,
        "tenant: is missing",
    );
    check_refused(
        &record(&[field(2, b"acme"), field(21, b"")].concat()),
        Reason::MissingIdentity,
        "device_id: is missing",
    );
    check_refused(
        &record(br#"{"tenant":"a b","deviceId":"p1","delete":{}}"#),
        Reason::BadIdentity,
        "tenant: \"a b\" is not 1 to 64 of A-Z a-z 0-9 _ -",
    );
    check_refused(
        &record(br#"{"tenant":"acme","deviceId":"p\u0007/1","delete":{}}"#),
        Reason::BadIdentity,
        "deviceId: \"p\\u{7}/1\" is not 1 to 256 bytes without / and without control characters",
    );
    check_refused(
        &record(br#"{"tenant":"acme","policy":{}}"#),
        Reason::BadIdentity,
        "a policy is for all tenants and devices, but this one names \"acme\"",
    );
    let scratch = Scratch::new();
    let node = taken(br#"{"tenant":"acme","node":{"nodeId":"n1","status":"up"}}"#, &scratch);
    assert!(matches!(node.subject, Subject::Node(_)), "a tenant beside a node is ignored");
}

#[test]
fn unknown_words() {
    check_json(
        r#""activity":{"kind":"telepathy"}"#,
        Reason::UnknownEnum,
        "activity.kind: \"telepathy\" is not one of mqtt_publish, mqtt_subscribe, mqtt_unsubscribe, \
         http_post_event, http_post_command, http_post_command_request, event_create, measurement_create, \
         alarm_create, heartbeat, last_will, state_poll, inventory_update, operation_update, read, ping",
    );
    check_json(
        r#""connected":{"channel":"MQTT"}"#,
        Reason::UnknownEnum,
        "connected.channel: \"MQTT\" is not one of mqtt, websocket, long_poll, vpn, http, coap, lwm2m, lorawan, \
         other; did you mean mqtt?",
    );
    check_refused(
        &record(&acme_p1(&field(18, b"\x08\x05"))),
        Reason::UnknownEnum,
        "update.phase: 5 is not one of 1 (downloading), 2 (installing), 3 (done), 4 (failed)",
    );
}

#[test]
fn missing_fields() {
    check_json(r#""connected":{}"#, Reason::MissingField, "connected.channel: is missing");
    check_json(r#""activity":{"channel":"mqtt"}"#, Reason::MissingField, "activity.kind: is missing");
    check_json(r#""maintenance":{"actor":"ops"}"#, Reason::MissingField, "maintenance.on: is missing");
    check_json(r#""lifecycle":{}"#, Reason::MissingField, "lifecycle.stage: is missing");
    check_json(r#""update":{}"#, Reason::MissingField, "update.phase: is missing");
    check_json(
        r#""alarmCommand":{"action":"clear"}"#,
        Reason::MissingField,
        "alarmCommand.alarmId: is missing",
    );
    check_json(r#""alarmCommand":{"alarmId":"a"}"#, Reason::MissingField, "alarmCommand.action: is missing");
    check_json(r#""node":{"status":"up"}"#, Reason::MissingField, "node.nodeId: is missing");
    check_json(r#""node":{"nodeId":"n1"}"#, Reason::MissingField, "node.status: is missing");
    check_refused(
        &record(&acme_p1(&field(20, b"\x18\x02"))),
        Reason::MissingField,
        "alarm_command.alarm_id: is missing",
    );
}

#[test]
fn bad_values() {
    #[track_caller]
    fn bad(body: &str, words: &str) {
        check_json(body, Reason::BadValue, words);
    }
    bad(r#""connected":5"#, "connected: must be an object, not a number");
    bad(r#""connected":{"channel":true}"#, "connected.channel: must be a text, not true or false");
    bad(
        r#""connected":{"session":{"startedAt":"yesterday"}}"#,
        "connected.session.startedAt: \"yesterday\" is not an RFC 3339 time in the years 1 to 9999, such as \
         2026-01-01T00:00:00.000Z",
    );
    bad(
        r#""observedAt":1767225600000"#,
        "observedAt: must be an RFC 3339 time in quotation marks, such as \"2026-01-01T00:00:00.000Z\", not a number",
    );
    bad(
        r#""observedAt":"0000-12-31T23:59:59Z""#,
        "observedAt: \"0000-12-31T23:59:59Z\" is not an RFC 3339 time in the years 1 to 9999, such as \
         2026-01-01T00:00:00.000Z",
    );
    bad(
        r#""connected":{"session":{"sequence":"xyz"}}"#,
        "connected.session.sequence: \"xyz\" is not a hexadecimal number of up to 256 bits",
    );
    bad(
        &format!(r#""connected":{{"session":{{"sequence":"1{}"}}}}"#, "0".repeat(64)),
        &format!(
            "connected.session.sequence: \"1{}…\" is not a hexadecimal number of up to 256 bits",
            "0".repeat(63)
        ),
    );
    bad(r#""update":{"progress":101}"#, "update.progress: 101 is not a whole number from 0 to 100");
    bad(r#""update":{"progress":-1}"#, "update.progress: -1 is not a whole number from 0 to 100");
    bad(r#""update":{"progress":0.5}"#, "update.progress: \"0.5\" is not a whole number from 0 to 100");
    bad(
        r#""disconnected":{"mqttReasonCode":256}"#,
        "disconnected.mqttReasonCode: 256 is not a whole number from 0 to 255",
    );
    bad(r#""activity":{"count":0}"#, "activity.count: 0 is not a whole number of 1 or more, within 32 bits");
    bad(
        r#""disconnected":{"bytesRead":-1}"#,
        "disconnected.bytesRead: -1 is not a whole number of 0 or more",
    );
    bad(r#""requiredInterval":{"minutes":1.5}"#, "requiredInterval.minutes: \"1.5\" is not a whole number");
    bad(r#""maintenance":{"on":"yes"}"#, "maintenance.on: must be true or false, not a text");
    bad(
        r#""alarmCommand":{"alarmId":"a","type":"unavailability","action":"clear"}"#,
        "alarmCommand.alarmId: names an alarm, and type names another way to find one: give only one of them",
    );
    let far = [b"\x28".to_vec(), vec![0xff; 8], vec![0x7f]].concat();
    check_refused(
        &record(&far),
        Reason::BadValue,
        "observed_at_ms: 9223372036854775807 lies outside the years 1 to 9999",
    );
    check_refused(
        &record(&acme_p1(&field(10, &field(2, &field(3, &[1; 33]))))),
        Reason::BadValue,
        "connected.session.sequence: 33 bytes are not a number of 1 to 256 bits",
    );
}

#[test]
fn duplicate_keys() {
    check_json(
        &format!(r#"{HEARTBEAT},"tenant":"other""#),
        Reason::DuplicateKey,
        "tenant: stands there twice",
    );
    check_json(
        r#""activity":{"kind":"ping","kind":"read"}"#,
        Reason::DuplicateKey,
        "activity.kind: stands there twice",
    );
    check_json(
        r#""register":{"labels":{"a":"1","a":"2"}}"#,
        Reason::DuplicateKey,
        "register.labels.\"a\": stands there twice",
    );
}

#[test]
fn too_long() {
    let text = |bytes| json(&format!(r#""register":{{"name":"{}"}}"#, "n".repeat(bytes)));
    assert!(decode(&record(text(1024).as_bytes()), &Scratch::new(), &Limits::default()).is_ok());
    check_refused(
        &record(text(1025).as_bytes()),
        Reason::TooLong,
        "register.name: is 1025 bytes long; at most 1024 are taken",
    );
    let labels = |count| {
        let labels: Vec<String> = (0..count).map(|number| format!(r#""k{number}":"v""#)).collect();
        json(&format!(r#""register":{{"labels":{{{}}}}}"#, labels.join(",")))
    };
    assert!(decode(&record(labels(32).as_bytes()), &Scratch::new(), &Limits::default()).is_ok());
    check_refused(&record(labels(33).as_bytes()), Reason::TooLong, "register.labels: more than 32 labels");
    let rules = vec![r#"{"minutes":1}"#; 10_000].join(",");
    let policy = format!(r#"{{"policy":{{"requiredIntervals":[{rules}]}}}}"#);
    check_refused(
        &record(policy.as_bytes()),
        Reason::TooLong,
        "policy: is 140023 bytes long; at most 131072 are taken",
    );
    let rules: Vec<u8> = (0..40_000).flat_map(|_| field(3, b"\x20\x02")).collect();
    check_refused(
        &record(&field(23, &rules)),
        Reason::TooLong,
        "policy: is 160000 bytes long; at most 131072 are taken",
    );
}

#[test]
fn keys_and_partitions() {
    let text = json(HEARTBEAT);
    let good = record(text.as_bytes());
    check_refused(
        &RawRecord { key: None, ..good },
        Reason::NoKey,
        "the record has no key; it must be \"acme/p1\"",
    );
    check_refused(
        &RawRecord { key: Some(b"p1"), ..good },
        Reason::WrongKey,
        "the record's key is \"p1\"; it must be \"acme/p1\"",
    );
    check_refused(
        &RawRecord { key: Some(b"acme/p2"), ..good },
        Reason::WrongKey,
        "the record's key is \"acme/p2\"; it must be \"acme/p1\"",
    );
    let elsewhere = (good.partition + 1) % 12;
    check_refused(
        &RawRecord { partition: elsewhere, ..good },
        Reason::WrongPartition,
        &format!(
            "the record stands in partition {elsewhere}, its key belongs to {} of 12; set the producer's partitioner \
             to murmur2_random (librdkafka), or use the default one of Kafka's Java client",
            good.partition
        ),
    );
    // Broadcasts stand in every partition, under any key.
    let node = br#"{"node":{"nodeId":"n1","status":"up"}}"#;
    let record = RawRecord { key: None, partition: 7, ..record(node) };
    assert!(decode(&record, &Scratch::new(), &Limits::default()).is_ok());
}
