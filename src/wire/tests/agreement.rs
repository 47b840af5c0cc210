//! Our decoders held against others': protobuf against prost, JSON against serde_json, times against chrono.

use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::strategies;
use crate::domain::event::*;
use crate::domain::policy::{AlarmRule, IntervalRule, Policy, Severity};
use crate::domain::time::{Millis, Timestamp};
use crate::wire::decode::{Limits, RawRecord, Scratch, decode, decode_line};
use crate::wire::encode::{PROTOBUF, encode_event, encode_event_json};
use crate::wire::json::JsonText;
use crate::wire::pb;
use crate::wire::reject::Reason;
use crate::wire::rfc3339;
use crate::wire::source::Source;

/// What a message of prost's means: slow, obvious, and by another hand than the decoder. `None`: to be refused.
fn meaning(message: &pb::Event) -> Option<Event<'_>> {
    fn said(text: &str) -> Option<&str> {
        Some(text).filter(|text| !text.is_empty())
    }
    fn word<W: Copy>(all: &[W], number: i32) -> Option<Option<W>> {
        match number {
            0 => Some(None),
            number => Some(Some(*all.get(usize::try_from(number).ok()? - 1)?)),
        }
    }
    fn time(millis: Option<i64>) -> Option<Option<Timestamp>> {
        let Some(millis) = millis else { return Some(None) };
        (-62_135_596_800_000..=253_402_300_799_999)
            .contains(&millis)
            .then(|| Some(Timestamp::from_millis(millis)))
    }
    fn byte(code: Option<u32>, max: u32) -> Option<Option<u8>> {
        let Some(code) = code else { return Some(None) };
        (code <= max).then_some(Some(code as u8))
    }
    fn session(session: &Option<pb::Session>) -> Option<SessionRef<'_>> {
        let Some(session) = session else { return Some(SessionRef::default()) };
        let sequence = match &session.sequence {
            None => None,
            Some(bytes) => {
                let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
                if bytes.is_empty() || digits.len() > 32 {
                    return None;
                }
                let mut number = [0; 32];
                number[32 - digits.len()..].copy_from_slice(&digits);
                Some(number)
            }
        };
        Some(SessionRef { id: said(&session.id), started_at: time(session.started_at_ms)?, sequence })
    }
    fn minutes(minutes: i64) -> i16 {
        minutes.clamp(-32_768, 32_767) as i16
    }
    fn span(millis: Option<i64>, default: Millis) -> Option<Millis> {
        let Some(millis) = millis else { return Some(default) };
        (0..=3_162_240_000_000).contains(&millis).then_some(Millis(millis))
    }
    fn policy(message: &pb::Policy) -> Option<Policy> {
        let default = Policy::default();
        let intervals = message.required_intervals.iter().map(|rule| {
            (rule.labels.len() <= 32).then_some(())?;
            Some(IntervalRule {
                tenant: rule.tenant.clone(),
                device_type: rule.device_type.clone(),
                labels: rule.labels.clone(),
                minutes: minutes(rule.minutes?),
            })
        });
        let alarms = message.alarms.iter().map(|rule| {
            Some(AlarmRule {
                type_prefix: rule.type_prefix.clone()?,
                severity: word(Severity::ALL, rule.severity)?,
                text: rule.text.clone(),
                drop: rule.drop,
            })
        });
        let factor = message.poll_factor_thousandths.unwrap_or(default.poll_factor_thousandths);
        Some(Policy {
            version: message.version.clone(),
            grace: span(message.grace_ms, default.grace)?,
            required_intervals: intervals.collect::<Option<_>>()?,
            max_future: span(message.max_future_ms, default.max_future)?,
            tombstone_retention: span(message.tombstone_retention_ms, default.tombstone_retention)?,
            infer_sessions: message.infer_sessions.unwrap_or(true),
            node_timeout: span(message.node_timeout_ms, default.node_timeout)?,
            long_poll_linger: span(message.long_poll_linger_ms, default.long_poll_linger)?,
            inventory_counts_as_message: message.inventory_counts_as_message.unwrap_or(false),
            poll_floor: span(message.poll_floor_ms, default.poll_floor)?,
            poll_factor_thousandths: (1..=1_000_000).contains(&factor).then_some(factor)?,
            poll_slack: span(message.poll_slack_ms, default.poll_slack)?,
            clear_on_maintenance: message.clear_on_maintenance.unwrap_or(false),
            alarms: alarms.collect::<Option<_>>()?,
            max_clock_skew: span(message.max_clock_skew_ms, default.max_clock_skew)?,
            input_silence: span(message.input_silence_ms, default.input_silence)?,
            input_silence_max: span(message.input_silence_max_ms, default.input_silence_max)?,
        })
    }
    let body = match message.body.as_ref()? {
        pb::event::Body::Connected(body) => Body::Connected(Connected {
            channel: word(ChannelKind::ALL, body.channel)??,
            session: session(&body.session)?,
            node_id: said(&body.node_id),
            client_address: said(&body.client_address),
            protocol: said(&body.protocol),
            secure: body.secure,
            keep_alive_seconds: body.keep_alive_seconds,
            clean_start: body.clean_start,
            user: said(&body.user),
            can_receive_operations: body.can_receive_operations != Some(false),
        }),
        pb::event::Body::Disconnected(body) => Body::Disconnected(Disconnected {
            channel: word(ChannelKind::ALL, body.channel)??,
            session: session(&body.session)?,
            node_id: said(&body.node_id),
            initiator: word(Initiator::ALL, body.initiator)?,
            mqtt_reason_code: byte(body.mqtt_reason_code, 255)?,
            close_code: body.close_code,
            reason: said(&body.reason),
            traffic: Traffic {
                bytes_read: body.bytes_read,
                bytes_written: body.bytes_written,
                messages_read: body.messages_read,
                messages_written: body.messages_written,
            },
        }),
        pb::event::Body::ConnectFailed(body) => Body::ConnectFailed(ConnectFailed {
            channel: word(ChannelKind::ALL, body.channel)??,
            client_address: said(&body.client_address),
            mqtt_reason_code: byte(body.mqtt_reason_code, 255)?,
            close_code: body.close_code,
            reason: said(&body.reason),
        }),
        pb::event::Body::Activity(body) => Body::Activity(Activity {
            kind: word(ActivityKind::ALL, body.kind)??,
            channel: word(ChannelKind::ALL, body.channel)?,
            session: session(&body.session)?,
            via_application: body.via_application,
            topic: said(&body.topic),
            count: if body.count == Some(0) { return None } else { body.count.unwrap_or(1) },
        }),
        pb::event::Body::Register(body) => Body::Register(Register {
            device_type: body.device_type.as_deref(),
            name: body.name.as_deref(),
            client_kind: word(ClientKind::ALL, body.client_kind)?,
            parent: body.parent.as_deref(),
            labels: match body.labels.len() {
                0 if !body.clear_labels => None,
                0..=32 => {
                    Some(body.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())
                }
                _ => return None,
            },
        }),
        pb::event::Body::RequiredInterval(body) => Body::RequiredInterval(RequiredInterval {
            minutes: body.minutes.map(minutes),
            source: word(IntervalSource::ALL, body.source)?.unwrap_or(IntervalSource::Operator),
            only_if_absent: body.only_if_absent,
        }),
        pb::event::Body::Maintenance(body) => {
            Body::Maintenance(Maintenance { on: body.on?, actor: said(&body.actor), note: said(&body.note) })
        }
        pb::event::Body::Lifecycle(body) => Body::Lifecycle(Lifecycle {
            stage: word(Stage::ALL, body.stage)??,
            progress: byte(body.progress, 100)?,
        }),
        pb::event::Body::Update(body) => Body::Update(Update {
            phase: word(UpdatePhase::ALL, body.phase)??,
            progress: byte(body.progress, 100)?,
        }),
        pb::event::Body::PollSettings(body) => Body::PollSettings(PollSettings {
            poll_interval_seconds: body.poll_interval_seconds,
            vpn_expected: body.vpn_expected != Some(false),
        }),
        pb::event::Body::AlarmCommand(body) => Body::AlarmCommand(AlarmCommand {
            target: match (said(&body.alarm_id), said(&body.r#type)) {
                (Some(id), None) => AlarmTarget::Id(id),
                (None, Some(alarm_type)) => AlarmTarget::Type(alarm_type),
                _ => return None,
            },
            action: word(AlarmAction::ALL, body.action)??,
            actor: said(&body.actor),
        }),
        pb::event::Body::Delete(body) => Body::Delete(Delete { actor: said(&body.actor) }),
        pb::event::Body::Node(body) => {
            let node = NodeEvent {
                node_id: said(&body.node_id)?,
                status: word(NodeStatus::ALL, body.status)??,
                started_at: time(body.started_at_ms)?,
            };
            return finish(message, Subject::Node(node), time(message.observed_at_ms)?);
        }
        pb::event::Body::Policy(body) => {
            if !message.tenant.is_empty() || !message.device_id.is_empty() {
                return None;
            }
            let policy = Subject::Policy(Box::new(policy(body)?));
            return finish(message, policy, time(message.observed_at_ms)?);
        }
    };
    if !is_tenant(&message.tenant) || !is_device_id(&message.device_id) {
        return None;
    }
    let key = Box::leak(format!("{}/{}", message.tenant, message.device_id).into_boxed_str());
    finish(message, Subject::Device { key, body }, time(message.observed_at_ms)?)
}

fn finish<'a>(
    message: &'a pb::Event,
    subject: Subject<'a>,
    observed_at: Option<Timestamp>,
) -> Option<Event<'a>> {
    let event_id = Some(message.event_id.as_str()).filter(|id| !id.is_empty());
    Some(Event { observed_at, event_id, subject })
}

/// How many bodies an envelope has on the wire.
fn bodies(mut bytes: &[u8]) -> usize {
    let mut bodies = 0;
    while let Ok((number, wire)) = decode_key(&mut bytes) {
        if skip_field(wire, number, &mut bytes, DecodeContext::default()).is_err() {
            break;
        }
        bodies += usize::from((10..=23).contains(&number) && wire == WireType::LengthDelimited);
    }
    bodies
}

fn in_protobuf(bytes: &[u8]) -> RawRecord<'_> {
    RawRecord { value: Some(bytes), content_type: Some(PROTOBUF.as_bytes()), ..RawRecord::default() }
}

/// Holds our decoder against prost's on any bytes.
fn check_against_prost(bytes: &[u8]) -> Result<(), TestCaseError> {
    if bytes.is_empty() || bytes[0] == 0 {
        // Nothing at all, and a Confluent frame: prost knows neither rule.
        return Ok(());
    }
    let scratch = Scratch::new();
    let ours = decode(&in_protobuf(bytes), &scratch, &Limits::default());
    let Ok(theirs) = pb::Event::decode(bytes) else {
        prop_assert!(ours.is_err(), "prost refuses it: {:?}", ours);
        return Ok(());
    };
    if bodies(bytes) > 1 {
        prop_assert!(ours.is_err());
        return Ok(());
    }
    match (&ours, meaning(&theirs)) {
        (Ok(ours), theirs) => prop_assert_eq!(Some(ours), theirs.as_ref()),
        (Err(reject), Some(theirs)) => {
            // Ours is stricter in three things: unknown fields of a policy, texts that are too long, and bad values
            // that a later field of the same number replaces. Without them, it must agree.
            prop_assert!(
                matches!(
                    reject.reason,
                    Reason::UnknownPolicyKey | Reason::TooLong | Reason::UnknownEnum | Reason::BadValue
                ),
                "{reject} but prost says {theirs:?}"
            );
            let again = encode_event(&theirs);
            let again = decode(&in_protobuf(&again), &scratch, &Limits::default());
            match &again {
                Err(reject) => prop_assert_eq!(reject.reason, Reason::TooLong),
                again => prop_assert_eq!(again, &Ok(theirs)),
            }
        }
        (Err(_), None) => {}
    }
    Ok(())
}

/// Bytes that were changed here and there.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), proptest::collection::vec(any::<u8>(), 1..6))
            .prop_map(|(at, b)| Change::Insert(at, b)),
        (any::<Index>(), 1..9_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            return bytes;
        }
        match change {
            Change::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Repeat(at, length) => {
                let at = at.index(bytes.len());
                let part = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn prost_agrees_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        check_against_prost(&bytes)?;
    }

    #[test]
    fn prost_agrees_on_events(event in strategies::event()) {
        let bytes = encode_event(&event);
        let theirs = pb::Event::decode(bytes.as_slice()).expect("prost reads what we write");
        prop_assert_eq!(meaning(&theirs), Some(event));
        // Prost writes fields in the order of their numbers, and so do we.
        let scratch = Scratch::new();
        let again = theirs.encode_to_vec();
        prop_assert_eq!(
            decode(&in_protobuf(&again), &scratch, &Limits::default()),
            decode(&in_protobuf(&bytes), &scratch, &Limits::default())
        );
    }

    #[test]
    fn prost_agrees_on_damaged_events(
        event in strategies::event(),
        changes in proptest::collection::vec(change(), 1..4),
    ) {
        check_against_prost(&changed(encode_event(&event), &changes))?;
    }

    /// Two messages one after the other are one message with the fields of both.
    #[test]
    fn prost_agrees_on_merged_events(first in strategies::event(), second in strategies::event()) {
        let mut bytes = encode_event(&first);
        bytes.extend(encode_event(&second));
        check_against_prost(&bytes)?;
    }

    #[test]
    fn serde_json_agrees_on_damaged_events(
        event in strategies::event(),
        changes in proptest::collection::vec(change(), 0..3),
    ) {
        check_against_serde_json(&changed(encode_event_json(&event), &changes))?;
    }

    #[test]
    fn serde_json_agrees_on_json_like_bytes(text in "[\\[\\]{}\",:0-9eE+.a-z\\\\ -]{0,30}") {
        check_against_serde_json(text.as_bytes())?;
    }

    #[test]
    fn serde_json_agrees_on_texts(text in "\"([a-z\"\\\\/\\x00-\\x20é\u{1F600}]|\\\\[\"\\\\/bfnrtux]|\\\\u[0-9a-fA-FdD]{3,4}){0,6}\"") {
        let scratch = Scratch::new();
        let mut source = JsonText::new(&text, &scratch);
        let ours = source.any_text().and_then(|text| source.end().map(|()| text)).ok().flatten();
        let theirs = serde_json::from_str::<String>(&text).ok();
        prop_assert_eq!(ours, theirs.as_deref(), "{}", text);
    }

    #[test]
    fn chrono_agrees_on_times(time in strategies::time()) {
        let text = time.to_string();
        prop_assert_eq!(rfc3339::parse(&text), Some(time));
        let mut ours = Vec::new();
        rfc3339::write(time, &mut ours);
        prop_assert_eq!(String::from_utf8(ours), Ok(text));
    }

    #[test]
    fn chrono_agrees_on_texts_like_times(
        text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|z|[+-][0-2][0-9]:[0-5][0-9])"
    ) {
        let theirs = chrono::DateTime::parse_from_rfc3339(&text).ok().map(|time| time.timestamp_millis());
        let theirs = theirs.filter(|millis| Timestamp::from_millis(*millis).millis() == *millis);
        prop_assert_eq!(rfc3339::parse(&text).map(Timestamp::millis), theirs);
    }

    /// Nothing panics, in any format.
    #[test]
    fn any_bytes_are_taken_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        first in prop_oneof![Just(None), Just(Some(b'{')), Just(Some(0)), Just(Some(b' '))],
    ) {
        let bytes: Vec<u8> = first.into_iter().chain(bytes).collect();
        let scratch = Scratch::new();
        let _ = decode(&super::record(&bytes), &scratch, &Limits::default());
        let _ = decode_line(&bytes, &scratch, &Limits::default());
        for kind in crate::wire::output::OutputKind::ALL {
            let _ = crate::wire::output::decode(*kind, &bytes);
        }
        let _ = crate::wire::policy::from_json(&bytes);
        let _ = pb::JournalEntry::decode(bytes.as_slice());
    }
}

/// Passing over a value accepts what serde_json accepts: the fields that nobody reads.
fn check_against_serde_json(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Ok(()) };
    let deep = text.bytes().filter(|byte| b"[{".contains(byte)).count() >= 64;
    let theirs = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let scratch = Scratch::new();
    let mut source = JsonText::new(text, &scratch);
    let ours = source.pass_over();
    prop_assert!(deep || ours == theirs, "{text}: ours {ours}, theirs {theirs}");
    // An event is a value.
    let taken = decode_line(bytes, &scratch, &Limits::default());
    prop_assert!(theirs || taken.is_err(), "{text}");
    Ok(())
}
