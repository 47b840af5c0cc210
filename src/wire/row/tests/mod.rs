mod any;
mod golden;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::domain::channel::Channel;
use crate::domain::device::Device;
use crate::domain::event;
use crate::domain::facet;
use crate::domain::policy::{Policy, Severity};
use crate::wire::pb;

fn facts(device: &Device) -> Vec<u8> {
    let mut out = Vec::new();
    encode_facts(device, &mut out);
    out
}

fn row(entry_seq: u64, row: &Row<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_row(entry_seq, row, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_device_comes_back_as_it_was(device in any::device()) {
        let bytes = facts(&device);
        prop_assert_eq!(&decode_facts(&bytes, device.clocks).unwrap(), &device);
        prop_assert_eq!(facts(&device.clone()), bytes);
    }

    /// The hand-written bytes are those of the schema: prost knows every field, and would write the same.
    #[test]
    fn prost_reads_and_writes_the_same_bytes(device in any::device(), number: u32, seq: u64) {
        let facts = facts(&device);
        let message = pb::DeviceFacts::decode(&*facts).unwrap();
        prop_assert_eq!(message.sequence, device.sequence);
        prop_assert_eq!(message.channels.len(), device.channels.len());
        prop_assert_eq!(message.encode_to_vec(), facts.clone());
        let bytes = row(seq, &Row::Device(DeviceRow { facts: &facts, clocks: device.clocks, number }));
        prop_assert_eq!(pb::StateRow::decode(&*bytes).unwrap().encode_to_vec(), bytes);
    }

    #[test]
    fn a_row_comes_back_as_it_was(
        device in any::device(),
        number: u32,
        seq: u64,
        nodes in any::nodes(),
        policy in any::policy_row(),
        partition in any::partition_row(),
    ) {
        let facts = facts(&device);
        let tombstone = Tombstone { deleted_at: device.deleted_at, sequence: device.sequence, number: 7 };
        for written in [
            Row::Device(DeviceRow { facts: &facts, clocks: device.clocks, number }),
            Row::Tombstone(tombstone),
            Row::Nodes(nodes),
            Row::Policy(Box::new(policy)),
            Row::Partition(partition),
        ] {
            let bytes = row(seq, &written);
            prop_assert_eq!(decode_row(&bytes).unwrap(), (seq, written));
            prop_assert_eq!(pb::StateRow::decode(&*bytes).unwrap().encode_to_vec(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = decode_facts(&bytes, Clocks::default());
        let _ = decode_row(&bytes);
    }

    /// What damaged bytes say, if they still say something, can be written and read again.
    #[test]
    fn damaged_facts_are_refused_or_make_a_device(
        device in any::device(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = facts(&device);
        prop_assume!(!bytes.is_empty());
        for (index, byte) in damage {
            *index.get_mut(&mut bytes) = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(read) = decode_facts(&bytes, Clocks::default()) {
            prop_assert_eq!(decode_facts(&facts(&read), Clocks::default()).unwrap(), read);
        }
    }
}

#[test]
fn a_usual_row_is_small() {
    let device = golden::online();
    let size = facts(&device).len();
    assert!(size <= 70, "{size} bytes");
}

#[test]
fn fields_of_a_newer_version_are_passed_over() {
    let device = golden::online();
    let mut message = pb::DeviceFacts::decode(&*facts(&device)).unwrap();
    // Field 200: a number, a text, 4 and 8 bytes.
    let unknown: &[u8] = &[
        0xc0, 0x0c, 7, 0xc2, 0x0c, 2, b'h', b'i', 0xc5, 0x0c, 1, 2, 3, 4, 0xc1, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    let mut bytes = message.encode_to_vec();
    bytes.extend_from_slice(unknown);
    // In a nested message too.
    let session = message.channels[0].open.take().unwrap().encode_to_vec();
    let mut channel = message.channels[0].encode_to_vec();
    channel.extend([0x12, u8::try_from(session.len() + unknown.len()).unwrap()]);
    channel.extend(session);
    channel.extend_from_slice(unknown);
    message.channels.clear();
    assert_eq!(decode_facts(&bytes, device.clocks).unwrap(), device);

    let mut nested = message.encode_to_vec();
    nested.extend([0x3a, u8::try_from(channel.len()).unwrap()]);
    nested.extend(channel);
    assert_eq!(decode_facts(&nested, device.clocks).unwrap(), device);
}

#[test]
fn what_is_wrong_is_said() {
    let refused = |message: pb::DeviceFacts| {
        decode_facts(&message.encode_to_vec(), Clocks::default()).unwrap_err().to_string()
    };
    let stage = pb::LifecycleFacts { stage: 9, ..Default::default() };
    assert_eq!(
        refused(pb::DeviceFacts { lifecycle: Some(stage), ..Default::default() }),
        "corrupt row: stage number 8, counted from 0, is none that this version knows"
    );
    let nothing = pb::LifecycleFacts::default();
    assert_eq!(
        refused(pb::DeviceFacts { lifecycle: Some(nothing), ..Default::default() }),
        "corrupt row: stage is missing"
    );
    assert_eq!(
        refused(pb::DeviceFacts { facets: 5, ..Default::default() }),
        "corrupt row: availability number 5, counted from 0, is none that this version knows"
    );
    assert_eq!(
        refused(pb::DeviceFacts { birth_ms: i64::MAX, ..Default::default() }),
        "corrupt row: time is out of range"
    );
    let mqtt = pb::ChannelFacts { kind: 1, ..Default::default() };
    assert_eq!(
        refused(pb::DeviceFacts { channels: vec![mqtt.clone(), mqtt], ..Default::default() }),
        "corrupt row: channel is out of order, or there twice"
    );
    let nowhere = pb::ChannelFacts { kind: 1, recorded_from: 3, ..Default::default() };
    assert_eq!(
        refused(pb::DeviceFacts { channels: vec![nowhere], ..Default::default() }),
        "corrupt row: recorded end is missing"
    );
    assert_eq!(decode_row(&[0x12, 5, 0]).unwrap_err(), CorruptRow::Truncated);
    assert!(matches!(decode_row(&[]), Err(CorruptRow::Missing { .. })));
    // Two kinds of row at once.
    assert!(matches!(decode_row(&[0x12, 0, 0x1a, 0]), Err(CorruptRow::Order { .. })));
}

/// The numbers on the wire are those of the schema, whatever becomes of the order of declaration.
#[test]
fn words_have_the_numbers_of_the_schema() {
    fn check(prefix: &str, words: Vec<&'static str>, first: i32, name: impl Fn(i32) -> Option<&'static str>) {
        for (number, word) in (first..).zip(&words) {
            let expected = format!("{prefix}_{}", word.to_ascii_uppercase());
            assert_eq!(name(number), Some(&*expected));
        }
        assert_eq!(
            name(first + words.len() as i32),
            None,
            "{prefix} has words that the domain does not know"
        );
    }
    macro_rules! check {
        ($prefix:literal, $domain:ty, $message:ty) => {
            check($prefix, <$domain>::ALL.iter().map(|word| word.word()).collect(), 1, |number| {
                <$message>::try_from(number).ok().map(|word| word.as_str_name())
            });
        };
    }
    check!("CHANNEL_KIND", event::ChannelKind, pb::ChannelKind);
    check!("INITIATOR", event::Initiator, pb::Initiator);
    check!("CLIENT_KIND", event::ClientKind, pb::ClientKind);
    check!("INTERVAL_SOURCE", event::IntervalSource, pb::IntervalSource);
    check!("STAGE", event::Stage, pb::Stage);
    check!("UPDATE_PHASE", event::UpdatePhase, pb::UpdatePhase);
    check!("SEVERITY", Severity, pb::Severity);
    let activities = LastActivity::ALL[1..].iter().map(|word| word.word()).collect();
    check("LAST_ACTIVITY", activities, 1, |number| {
        pb::LastActivity::try_from(number).ok().map(|word| word.as_str_name())
    });
}

/// The facets have no enum in the schema; its comment has their words.
#[test]
fn facets_have_the_words_of_the_comment() {
    let schema = include_str!("../../../../proto/lastseen/v1/state.proto");
    let words = |all: &[&str], separator: &str| all.join(separator);
    macro_rules! all {
        ($name:ident) => {
            &facet::$name::ALL.iter().map(|word| word.word()).collect::<Vec<_>>()
        };
    }
    let labels = words(all!(Label), ", ");
    let text = schema.replace("\n  //                 ", " ");
    for line in [
        format!("availability: {}\n", words(all!(Availability), " ")),
        format!("push:         {}\n", words(all!(Push), " ")),
        format!("connection:   {}\n", words(all!(Connection), " ")),
        format!("heartbeat:    {}\n", words(all!(Heartbeat), " ")),
        format!("overall:      {}\n", words(all!(Overall), " ")),
        format!("label:        {labels}\n"),
    ] {
        assert!(text.contains(&line), "the schema does not say: {line}");
    }
}

#[test]
fn keys_of_the_partition_are_no_device_s() {
    for key in [key::NODES, key::POLICY, key::PARTITION] {
        let (tenant, _) = event::split_key(key);
        assert!(!event::is_tenant(tenant) && !key::is_device(key));
    }
    assert_eq!(key::device("acme", "pump 7"), "acme/pump 7");
    assert!(key::is_device("acme/pump 7"));
}

#[test]
fn a_policy_row_has_every_field() {
    let row = PolicyRow { policy: Policy::default(), predecessor: None };
    let message = partition::policy_row_message(&row).policy.unwrap();
    let debug = format!("{message:?}");
    assert_eq!(debug.matches("None").count(), 1, "only the version may be absent: {debug}");
    // A message without any field is the default policy, to the millisecond.
    let empty = pb::PolicyRow { policy: Some(pb::Policy::default()), predecessor: None };
    assert_eq!(partition::policy_row(empty).unwrap(), row);
}

#[test]
fn an_empty_channel_takes_four_bytes() {
    let mut device = Device::new(Timestamp::from_millis(0), 0, Timestamp::NEVER);
    device.channels.push(Channel::new(event::ChannelKind::Vpn));
    assert_eq!(facts(&device), [0x3a, 2, 8, 4]);
}
