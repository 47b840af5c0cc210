//! The tables of `schema` and the words of the domain, held against the compiled `proto/`.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

use crate::domain::{effect, event, facet, policy};
use crate::wire::schema::*;
use crate::wire::source::Word;

fn files() -> FileDescriptorSet {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    FileDescriptorSet::decode(bytes.as_slice()).expect("build.rs wrote it")
}

fn messages() -> BTreeMap<String, DescriptorProto> {
    files().file.into_iter().flat_map(|file| file.message_type).map(|m| (m.name().to_owned(), m)).collect()
}

fn enums() -> BTreeMap<String, EnumDescriptorProto> {
    files().file.into_iter().flat_map(|file| file.enum_type).map(|e| (e.name().to_owned(), e)).collect()
}

fn table<F: Fields>() -> BTreeSet<(i32, String)> {
    F::ALL.iter().map(|field| (field.number() as i32, field.proto().to_owned())).collect()
}

#[test]
fn tables_agree_with_proto() {
    let messages = messages();
    let check = |name: &str, tables: Vec<BTreeSet<(i32, String)>>| {
        let declared: BTreeSet<_> =
            messages[name].field.iter().map(|field| (field.number(), field.name().to_owned())).collect();
        let ours: BTreeSet<_> = tables.into_iter().flatten().collect();
        assert_eq!(ours, declared, "{name}");
    };
    check("Event", vec![table::<EventField>()]);
    check("Session", vec![table::<SessionField>()]);
    check("Connected", vec![table::<ConnectedField>()]);
    check("Disconnected", vec![table::<DisconnectedField>()]);
    check("ConnectFailed", vec![table::<ConnectFailedField>()]);
    check("Activity", vec![table::<ActivityField>()]);
    check("Register", vec![table::<RegisterField>()]);
    check("RequiredInterval", vec![table::<RequiredIntervalField>()]);
    check("Maintenance", vec![table::<MaintenanceField>()]);
    check("Lifecycle", vec![table::<LifecycleField>()]);
    check("Update", vec![table::<UpdateField>()]);
    check("PollSettings", vec![table::<PollSettingsField>()]);
    check("AlarmCommand", vec![table::<AlarmCommandField>()]);
    check("Delete", vec![table::<DeleteField>()]);
    check("Node", vec![table::<NodeField>()]);
    check("Policy", vec![table::<PolicyField>()]);
    check("IntervalRule", vec![table::<IntervalRuleField>()]);
    check("AlarmRule", vec![table::<AlarmRuleField>()]);
    check("Cause", vec![table::<CauseField>()]);
    check("Deadline", vec![table::<DeadlineField>()]);
    check("FacetChange", vec![table::<FacetChangeField>()]);
    check("StatusChange", vec![table::<CommonField>(), table::<StatusField>()]);
    check("AlarmEvent", vec![table::<CommonField>(), table::<AlarmField>()]);
    check("ConnectionLogEntry", vec![table::<CommonField>(), table::<LogField>()]);
    check("AuditEntry", vec![table::<CommonField>(), table::<AuditField>()]);
}

#[test]
fn words_agree_with_proto() {
    let enums = enums();
    fn check<W: Word>(enums: &BTreeMap<String, EnumDescriptorProto>, name: &str) {
        // ChannelKind -> CHANNEL_KIND_
        let mut prefix = String::new();
        for (at, c) in name.char_indices() {
            if at > 0 && c.is_ascii_uppercase() {
                prefix.push('_');
            }
            prefix.push(c.to_ascii_uppercase());
        }
        let ours = W::ALL
            .iter()
            .map(|word| (word.number(), format!("{prefix}_{}", word.word().to_ascii_uppercase())));
        let ours: Vec<_> = [(0, format!("{prefix}_UNSPECIFIED"))].into_iter().chain(ours).collect();
        let declared: Vec<_> =
            enums[name].value.iter().map(|value| (value.number(), value.name().to_owned())).collect();
        assert_eq!(ours, declared, "{name}");
    }
    check::<event::ChannelKind>(&enums, "ChannelKind");
    check::<event::Initiator>(&enums, "Initiator");
    check::<event::ActivityKind>(&enums, "ActivityKind");
    check::<event::ClientKind>(&enums, "ClientKind");
    check::<event::IntervalSource>(&enums, "IntervalSource");
    check::<event::Stage>(&enums, "Stage");
    check::<event::UpdatePhase>(&enums, "UpdatePhase");
    check::<event::AlarmAction>(&enums, "AlarmAction");
    check::<event::NodeStatus>(&enums, "NodeStatus");
    check::<policy::Severity>(&enums, "Severity");
    check::<facet::Facet>(&enums, "Facet");
    check::<effect::Rule>(&enums, "Rule");
    check::<effect::InputTopic>(&enums, "InputTopic");
    check::<effect::AlarmEventAction>(&enums, "AlarmEventAction");
    check::<effect::AlarmState>(&enums, "AlarmState");
    check::<effect::ClearReason>(&enums, "ClearReason");
    check::<effect::LogKind>(&enums, "LogKind");
    check::<effect::Flag>(&enums, "Flag");
    check::<effect::Applied>(&enums, "Applied");
    check::<effect::Ignored>(&enums, "Ignored");
}

/// JSON is told from protobuf by the first byte, so no field of an event may begin with one of JSON's, or with the 0
/// of a Confluent frame.
#[test]
fn no_event_begins_like_json() {
    for field in &messages()["Event"].field {
        let wire = match field.r#type() {
            prost_types::field_descriptor_proto::Type::Int64 => 0,
            _ => 2,
        };
        let first = (field.number() << 3 | wire) as u8 | if field.number() > 15 { 0x80 } else { 0 };
        assert!(!b"{ \t\r\n\0\xef".contains(&first), "{}", field.name());
    }
}
