//! What is written is read back as it was.

use proptest::prelude::*;

use super::strategies;
use crate::domain::event::{Event, Subject};
use crate::wire::decode::{Limits, Line, RawRecord, Scratch, decode, decode_line};
use crate::wire::encode::{JSON, PROTOBUF, encode_event, encode_event_json, record_key};
use crate::wire::output::{self, Format};
use crate::wire::{partition, policy};

/// Reads what was written for `event`, as a record and, framed or not, with or without a content type.
fn check_event(event: &Event, bytes: &[u8], content_type: &str) {
    let scratch = Scratch::new();
    let key = record_key(event).unwrap_or("any");
    let framed = [b"\0\0\0\0\x07".as_slice(), if bytes[0] == b'{' { b"" } else { b"\0" }, bytes].concat();
    for value in [bytes, &framed] {
        for content_type in [None, Some(content_type.as_bytes())] {
            let record = RawRecord {
                key: Some(key.as_bytes()),
                value: Some(value),
                content_type,
                partition: partition::of(key.as_bytes(), 12),
                partitions: 12,
            };
            assert_eq!(decode(&record, &scratch, &Limits::default()).as_ref(), Ok(event));
        }
    }
}

proptest! {
    #[test]
    fn event_in_protobuf(event in strategies::event()) {
        check_event(&event, &encode_event(&event), PROTOBUF);
    }

    #[test]
    fn event_in_json(event in strategies::event()) {
        let json = encode_event_json(&event);
        check_event(&event, &json, JSON);
        let scratch = Scratch::new();
        prop_assert_eq!(decode_line(&json, &scratch, &Limits::default()), Ok(Line::Event(event)));
        // Others read it as well.
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
    }

    #[test]
    fn output_in_both_formats(output in strategies::output()) {
        let kind = output::kind(&output.effect.kind);
        for format in [Format::Protobuf, Format::Json] {
            let mut bytes = Vec::new();
            output::encode(format, &output.identity(), &output.effect, &mut bytes);
            let decoded = output::decode(kind, &bytes);
            prop_assert_eq!(decoded.as_ref(), Ok(&output));
        }
        let mut line = Vec::new();
        output::encode_line(&output.identity(), &output.effect, &mut line);
        let decoded = output::decode(kind, &line);
        prop_assert_eq!(decoded.as_ref(), Ok(&output));
        let value: serde_json::Value = serde_json::from_slice(&line).expect("others read it as well");
        prop_assert_eq!(&value["topic"], kind.word());
    }

    #[test]
    fn policy_in_json(policy in strategies::policy()) {
        let json = policy::to_json(&policy);
        let read = policy::from_json(&json);
        prop_assert_eq!(read.as_ref(), Ok(&policy));
        // As the body of an event it is the same.
        let event = Event { observed_at: None, event_id: None, subject: Subject::Policy(Box::new(policy)) };
        let text = String::from_utf8(encode_event_json(&event)).expect("JSON is text");
        prop_assert_eq!(text, format!("{{\"policy\":{}}}", String::from_utf8_lossy(&json)));
    }
}

#[test]
fn output_id_names_device_birth_and_sequence() {
    let identity = output::Identity {
        tenant: "acme",
        device_id: "p:1",
        birth: crate::domain::time::Timestamp::from_millis(1_767_225_600_000),
    };
    assert_eq!(output::id(&identity, 7), b"acme/p:1:1767225600000:7");
}
