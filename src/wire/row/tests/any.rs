//! Any device, any row: whatever the types can hold, reachable or not.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::{PartitionRow, PendingChange, PendingKind, PolicyRow};
use crate::domain::channel::{Channel, NamedProof};
use crate::domain::clocks::{Clocks, LastActivity};
use crate::domain::device::{Dated, Device, LifecycleFact, Registration};
use crate::domain::effect::{Blind, InputTopic, LogSession, Origin};
use crate::domain::event::{
    ChannelKind, ClientKind, Initiator, IntervalSource, PollSettings, SessionSequence, Stage, Update,
    UpdatePhase,
};
use crate::domain::facet::{Availability, Connection, Facets, Heartbeat, Label, Overall, Push};
use crate::domain::habit::{Habit, Hour};
use crate::domain::monitoring::{Alarm, Monitoring, UNAVAILABILITY_TEXT, Verdict};
use crate::domain::node::{Node, NodeTimeout, Nodes};
use crate::domain::policy::{AlarmRule, IntervalRule, Policy, Severity};
use crate::domain::session::{Disconnect, Evidence, NodeEnd, Session};
use crate::domain::time::{Millis, Timestamp};

/// Few enough usual times that equal ones meet, and the extremes.
fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (0..4i64).prop_map(|days| Timestamp::from_millis(1_760_000_000_000 + days * 86_400_000)),
        3 => Just(Timestamp::NEVER),
        1 => Just(Timestamp::MIN),
        1 => Just(Timestamp::MAX),
        1 => Just(Timestamp::from_millis(0)),
        1 => any::<i64>().prop_map(Timestamp::from_millis),
    ]
}

fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof![8 => "\\PC{0,12}", 1 => Just("ä".repeat(600))].prop_map(Into::into)
}

fn sequence() -> impl Strategy<Value = SessionSequence> {
    prop_oneof![
        any::<u64>().prop_map(|low| {
            let mut sequence = SessionSequence::default();
            sequence[24..].copy_from_slice(&low.to_be_bytes());
            sequence
        }),
        any::<SessionSequence>(),
        Just(SessionSequence::default()),
        Just([255; 32]),
    ]
}

fn disconnect() -> impl Strategy<Value = Disconnect> {
    (time(), select(Initiator::ALL), any::<Option<u8>>())
        .prop_map(|(at, initiator, reason_code)| Disconnect { at, initiator, reason_code })
}

fn node_end() -> impl Strategy<Value = NodeEnd> {
    (time(), any::<bool>()).prop_map(|(at, timed_out)| NodeEnd { at, timed_out })
}

/// Boxed, as channels are: the trees of values would be too large for a stack.
fn session() -> BoxedStrategy<Session> {
    let who = (
        option::of(text()),
        option::of(sequence()),
        option::of(time()),
        option::of(text()),
        option::of(text()),
    );
    let when = (time(), time(), time(), any::<bool>(), any::<bool>(), any::<bool>());
    let ends = (vec(disconnect(), 0..3), option::of(node_end()), time(), time());
    let seen = (vec(time(), 0..3), vec(time(), 0..3));
    (who, when, ends, seen)
        .prop_map(|(who, when, ends, (early_polls, takeovers))| {
            let (id, sequence, started_at, node_id, protocol) = who;
            let (connected_at, polled_at, seen_since, is_usual_poll, can_receive_operations, inferred) = when;
            let (disconnects, node_end, lapsed_at, superseded_at) = ends;
            Session {
                id,
                sequence,
                started_at,
                connected_at,
                node_id,
                protocol,
                can_receive_operations,
                inferred,
                polled_at: if is_usual_poll { connected_at } else { polled_at },
                seen_since,
                early_polls,
                disconnects,
                node_end,
                lapsed_at,
                superseded_at,
                takeovers,
            }
        })
        .boxed()
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (option::of(sequence()), option::of(time()), time())
        .prop_map(|(sequence, started_at, observed_at)| Evidence { sequence, started_at, observed_at })
}

fn named_proof() -> impl Strategy<Value = NamedProof> {
    (time(), option::of(text()), option::of(time()), option::of(sequence())).prop_map(
        |(at, id, started_at, sequence)| NamedProof { at, session: LogSession { id, started_at, sequence } },
    )
}

fn channel() -> BoxedStrategy<Channel> {
    let sessions = (option::of(session()), option::of(session()), vec(session(), 0..4));
    let ends = (option::of((evidence(), disconnect())), option::of(disconnect()), 0..6usize);
    let rest = (
        option::of(named_proof()),
        [option::of(evidence()), option::of(evidence()), option::of(evidence())],
        vec(time(), 0..9),
    );
    (sessions, ends, rest)
        .prop_map(|((open, newest_over, closed), (stray_end, recorded, from), rest)| {
            let (named_proof, last_nameless, failed) = rest;
            let own_end =
                closed.iter().chain(&newest_over).flat_map(|session| &session.disconnects).nth(from).copied();
            Channel {
                kind: ChannelKind::Other,
                open,
                newest_over,
                closed,
                stray_end,
                recorded: own_end.or(recorded),
                named_proof,
                last_nameless,
                failed,
            }
        })
        .boxed()
}

fn channels() -> impl Strategy<Value = Vec<Channel>> {
    (subsequence(ChannelKind::ALL.to_vec(), 0..4), vec(channel(), 4)).prop_map(|(kinds, channels)| {
        kinds.into_iter().zip(channels).map(|(kind, channel)| Channel { kind, ..channel }).collect()
    })
}

pub fn clocks() -> impl Strategy<Value = Clocks> {
    (time(), time(), time(), [time(), time(), time()], select(LastActivity::ALL)).prop_map(
        |(last_message, last_activity, last_poll, channels, kind)| Clocks {
            last_message,
            last_activity,
            last_poll,
            channels,
            kind,
        },
    )
}

fn dated<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<Dated<T>>> {
    option::of((value, time()).prop_map(|(value, set_at)| Dated { value, set_at }))
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-c]{0,2}", "\\PC{0,6}", 0..4)
}

fn registration() -> impl Strategy<Value = Registration> {
    (dated(text()), dated(text()), dated(select(ClientKind::ALL)), dated(text()), dated(labels())).prop_map(
        |(device_type, name, client_kind, parent, labels)| Registration {
            device_type,
            name,
            client_kind,
            parent,
            labels,
        },
    )
}

fn monitoring() -> impl Strategy<Value = Monitoring> {
    let flags = any::<(bool, bool, bool)>();
    (any::<Option<i16>>(), select(IntervalSource::ALL), flags, [time(), time(), time(), time()]).prop_map(
        |(minutes, set_by, (by_event, lent_by_policy, lapsed), [set_at, since, positive_since, floor])| {
            Monitoring {
                minutes,
                set_by,
                by_event,
                lent_by_policy,
                set_at,
                since,
                positive_since,
                floor,
                lapsed,
            }
        },
    )
}

fn alarm() -> impl Strategy<Value = Alarm> {
    let text = prop_oneof![text(), Just(UNAVAILABILITY_TEXT.into())];
    (self::text(), select(Severity::ALL), text, any::<bool>(), any::<u32>(), time(), time()).prop_map(
        |(id, severity, text, acknowledged, count, first_at, last_at)| Alarm {
            id,
            severity,
            text,
            acknowledged,
            count,
            first_at,
            last_at,
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    (time(), any::<i16>(), any::<i64>(), any::<u64>(), option::of(alarm())).prop_map(
        |(deadline, minutes, grace, told_as, alarm)| Verdict {
            deadline,
            minutes,
            grace: Millis(grace),
            told_as,
            alarm,
        },
    )
}

fn facets() -> impl Strategy<Value = Facets> {
    (
        select(Availability::ALL),
        select(Push::ALL),
        select(Connection::ALL),
        select(Connection::ALL),
        select(Heartbeat::ALL),
        select(Overall::ALL),
        select(Label::ALL),
    )
        .prop_map(|(availability, push, connection, vpn, heartbeat, overall, label)| Facets {
            availability,
            push,
            connection,
            vpn,
            heartbeat,
            overall,
            label,
        })
}

fn lifecycle() -> impl Strategy<Value = LifecycleFact> {
    (select(Stage::ALL), time(), any::<Option<u8>>())
        .prop_map(|(stage, stage_since, progress)| LifecycleFact { stage, stage_since, progress })
}

fn update() -> impl Strategy<Value = Update> {
    (select(UpdatePhase::ALL), any::<Option<u8>>()).prop_map(|(phase, progress)| Update { phase, progress })
}

fn poll_settings() -> impl Strategy<Value = PollSettings> {
    any::<(Option<u32>, bool)>().prop_map(|(poll_interval_seconds, vpn_expected)| PollSettings {
        poll_interval_seconds,
        vpn_expected,
    })
}

/// Any device.
pub fn device() -> impl Strategy<Value = Device> {
    let times = (time(), time(), time(), time(), time(), time());
    let facts = (registration(), monitoring(), option::of(verdict()), facets(), select(Heartbeat::ALL));
    let stages = (dated(lifecycle()), dated(update()), dated(poll_settings()));
    (times, any::<u64>(), clocks(), facts, stages, channels()).prop_map(
        |(times, sequence, clocks, facts, (lifecycle, update, poll_settings), channels)| {
            let (birth, earliest, deleted_at, last_connect, last_updated, poll_since) = times;
            let (registration, monitoring, verdict, facets, poll_phase) = facts;
            Device {
                birth,
                earliest,
                deleted_at,
                sequence,
                clocks,
                last_connect,
                last_updated,
                registration,
                monitoring,
                verdict,
                lifecycle,
                update,
                poll_settings,
                poll_since,
                poll_phase,
                channels,
                facets,
            }
        },
    )
}

fn node() -> impl Strategy<Value = Node> {
    let timeout = (time(), option::of(time()), time()).prop_map(|(at, started_at, last_alive)| NodeTimeout {
        at,
        started_at,
        last_alive,
    });
    let times = [time(), time(), time(), time()];
    (any::<(bool, bool)>(), times, option::of(time()), vec(timeout, 0..3)).prop_map(
        |((up, beats), [set_at, last_alive, seen_since, said_down], started_at, timeouts)| Node {
            up,
            set_at,
            last_alive,
            seen_since,
            beats,
            started_at,
            said_down,
            timeouts,
        },
    )
}

pub fn nodes() -> impl Strategy<Value = Nodes> {
    btree_map(text(), node(), 0..4).prop_map(Nodes)
}

fn interval_rule() -> impl Strategy<Value = IntervalRule> {
    (any::<Option<String>>(), any::<Option<String>>(), labels(), any::<i16>()).prop_map(
        |(tenant, device_type, labels, minutes)| IntervalRule { tenant, device_type, labels, minutes },
    )
}

fn alarm_rule() -> impl Strategy<Value = AlarmRule> {
    (any::<String>(), option::of(select(Severity::ALL)), any::<Option<String>>(), any::<bool>())
        .prop_map(|(type_prefix, severity, text, drop)| AlarmRule { type_prefix, severity, text, drop })
}

fn policy() -> impl Strategy<Value = Policy> {
    let flags = any::<(bool, bool, bool)>();
    (
        any::<Option<String>>(),
        any::<[i64; 10]>(),
        flags,
        vec(interval_rule(), 0..3),
        vec(alarm_rule(), 0..3),
        any::<i64>(),
    )
        .prop_map(|(version, spans, flags, required_intervals, alarms, poll_factor_thousandths)| {
            let [grace, max_future, retention, timeout, linger, floor, slack, skew, silence, silence_max] =
                spans.map(Millis);
            let (infer_sessions, inventory_counts_as_message, clear_on_maintenance) = flags;
            Policy {
                version,
                grace,
                required_intervals,
                max_future,
                tombstone_retention: retention,
                infer_sessions,
                node_timeout: timeout,
                long_poll_linger: linger,
                inventory_counts_as_message,
                poll_floor: floor,
                poll_factor_thousandths,
                poll_slack: slack,
                clear_on_maintenance,
                alarms,
                max_clock_skew: skew,
                input_silence: silence,
                input_silence_max: silence_max,
            }
        })
}

pub fn policy_row() -> impl Strategy<Value = PolicyRow> {
    (policy(), option::of(policy())).prop_map(|(policy, predecessor)| PolicyRow { policy, predecessor })
}

pub fn partition_row() -> impl Strategy<Value = PartitionRow> {
    let node = || "[a-z0-9]{1,4}".prop_map(Box::<str>::from);
    let kind = prop_oneof![
        (node(), time(), any::<bool>()).prop_map(|(node, at, timed_out)| PendingKind::NodeDown {
            node,
            at,
            timed_out
        }),
        (node(), time()).prop_map(|(node, at)| PendingKind::NodeReturned { node, at }),
        Just(PendingKind::Policy),
        Just(PendingKind::Sight),
    ];
    let origin = prop_oneof![
        Just(Origin::Clock),
        (select(InputTopic::ALL), any::<(u32, u64)>())
            .prop_map(|(topic, (partition, offset))| Origin::Record { topic, partition, offset }),
    ];
    let pending = (kind, origin, option::of(node())).prop_map(|(kind, origin, after)| PendingChange {
        kind,
        origin,
        after,
    });
    let hour = (0..100i64, any::<u64>(), [1..90i64, 1..90i64, 1..90i64]);
    let hour = hour.prop_map(|(number, count, gaps)| Hour { number, count, gaps });
    let habit =
        (proptest::collection::vec(hour, 0..3), time()).prop_map(|(hours, last)| Habit::of(hours, last));
    let blind = option::of((select(Blind::ALL), time()));
    (time(), any::<u64>(), option::of(pending), blind, habit).prop_map(
        |(sight, sequence, pending, blind, habit)| PartitionRow { sight, sequence, pending, blind, habit },
    )
}
