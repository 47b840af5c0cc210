//! Events, effects and policies of every kind. Texts are leaked, so that borrowing types can hold them.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::domain::effect::*;
use crate::domain::event::*;
use crate::domain::facet::*;
use crate::domain::policy::*;
use crate::domain::reason::{self, Packet};
use crate::domain::time::{Millis, Timestamp};
use crate::wire::output::Output;

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A text that is not empty: with quotation marks, control characters, several scripts.
pub(super) fn text() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        "[a-z0-9:./-]{1,20}",
        "[\\PC\\x00-\\x1f\"\\\\/]{1,12}",
        Just("é\u{1F600}\u{7f}\u{0}".to_owned()),
        "x{1020,1024}",
    ]
    .prop_map(leak)
}

fn maybe() -> impl Strategy<Value = Option<&'static str>> {
    option::of(text())
}

/// A text that may be empty.
fn any_text() -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => Just(""), 9 => text()]
}

fn boxed() -> impl Strategy<Value = Option<Box<str>>> {
    option::of(text().prop_map(Box::from))
}

pub(super) fn time() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (Timestamp::MIN.millis(), Timestamp::MAX.millis());
    prop_oneof![select(vec![first, last, 0, -1, 1]), 1_600_000_000_000..2_000_000_000_000_i64, first..=last,]
        .prop_map(Timestamp::from_millis)
}

pub(super) fn sequence() -> impl Strategy<Value = SessionSequence> {
    prop_oneof![
        Just([0; 32]),
        any::<[u8; 32]>(),
        any::<u64>().prop_map(|number| {
            let mut sequence = [0; 32];
            sequence[24..].copy_from_slice(&number.to_be_bytes());
            sequence
        }),
    ]
}

fn session() -> impl Strategy<Value = SessionRef<'static>> {
    (maybe(), option::of(time()), option::of(sequence())).prop_map(|(id, started_at, sequence)| SessionRef {
        id,
        started_at,
        sequence,
    })
}

fn traffic() -> impl Strategy<Value = Traffic> {
    (option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<u64>()))
        .prop_map(|(bytes_read, bytes_written, messages_read, messages_written)| Traffic {
            bytes_read,
            bytes_written,
            messages_read,
            messages_written,
        })
}

fn word<W: Copy + std::fmt::Debug + 'static>(all: &'static [W]) -> impl Strategy<Value = W> {
    select(all)
}

fn percent() -> impl Strategy<Value = Option<u8>> {
    option::of(0..=100_u8)
}

fn labels() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    btree_map(any_text(), any_text(), 0..=LABELS_MAX).prop_map(|labels| labels.into_iter().collect())
}

fn connected() -> impl Strategy<Value = Body<'static>> {
    let said = (maybe(), maybe(), maybe(), maybe());
    let numbers =
        (option::of(any::<bool>()), option::of(any::<u32>()), option::of(any::<bool>()), any::<bool>());
    (word(ChannelKind::ALL), session(), said, numbers).prop_map(|(channel, session, said, numbers)| {
        let (node_id, client_address, protocol, user) = said;
        let (secure, keep_alive_seconds, clean_start, can_receive_operations) = numbers;
        Body::Connected(Connected {
            channel,
            session,
            node_id,
            client_address,
            protocol,
            secure,
            keep_alive_seconds,
            clean_start,
            user,
            can_receive_operations,
        })
    })
}

fn disconnected() -> impl Strategy<Value = Body<'static>> {
    let codes = (option::of(word(Initiator::ALL)), option::of(any::<u8>()), option::of(any::<u32>()));
    (word(ChannelKind::ALL), session(), maybe(), codes, maybe(), traffic()).prop_map(
        |(channel, session, node_id, (initiator, mqtt_reason_code, close_code), reason, traffic)| {
            Body::Disconnected(Disconnected {
                channel,
                session,
                node_id,
                initiator,
                mqtt_reason_code,
                close_code,
                reason,
                traffic,
            })
        },
    )
}

fn connect_failed() -> impl Strategy<Value = Body<'static>> {
    (word(ChannelKind::ALL), maybe(), option::of(any::<u8>()), option::of(any::<u32>()), maybe()).prop_map(
        |(channel, client_address, mqtt_reason_code, close_code, reason)| {
            Body::ConnectFailed(ConnectFailed {
                channel,
                client_address,
                mqtt_reason_code,
                close_code,
                reason,
            })
        },
    )
}

fn activity() -> impl Strategy<Value = Body<'static>> {
    let rest = (any::<bool>(), maybe(), prop_oneof![Just(1_u32), 1..=u32::MAX]);
    (word(ActivityKind::ALL), option::of(word(ChannelKind::ALL)), session(), rest).prop_map(
        |(kind, channel, session, (via_application, topic, count))| {
            Body::Activity(Activity { kind, channel, session, via_application, topic, count })
        },
    )
}

fn register() -> impl Strategy<Value = Body<'static>> {
    let said = option::of(any_text());
    (
        said,
        option::of(any_text()),
        option::of(word(ClientKind::ALL)),
        option::of(any_text()),
        option::of(labels()),
    )
        .prop_map(|(device_type, name, client_kind, parent, labels)| {
            Body::Register(Register { device_type, name, client_kind, parent, labels })
        })
}

fn control() -> impl Strategy<Value = Body<'static>> {
    prop_oneof![
        (option::of(any::<i16>()), word(IntervalSource::ALL), any::<bool>()).prop_map(
            |(minutes, source, only_if_absent)| {
                Body::RequiredInterval(RequiredInterval { minutes, source, only_if_absent })
            }
        ),
        (any::<bool>(), maybe(), maybe()).prop_map(|(on, actor, note)| Body::Maintenance(Maintenance {
            on,
            actor,
            note
        })),
        (word(Stage::ALL), percent())
            .prop_map(|(stage, progress)| Body::Lifecycle(Lifecycle { stage, progress })),
        (word(UpdatePhase::ALL), percent())
            .prop_map(|(phase, progress)| Body::Update(Update { phase, progress })),
        (option::of(any::<u32>()), any::<bool>()).prop_map(|(poll_interval_seconds, vpn_expected)| {
            Body::PollSettings(PollSettings { poll_interval_seconds, vpn_expected })
        }),
        (text(), any::<bool>(), word(AlarmAction::ALL), maybe()).prop_map(|(name, by_id, action, actor)| {
            let target = if by_id { AlarmTarget::Id(name) } else { AlarmTarget::Type(name) };
            Body::AlarmCommand(AlarmCommand { target, action, actor })
        }),
        maybe().prop_map(|actor| Body::Delete(Delete { actor })),
    ]
}

pub(super) fn body() -> impl Strategy<Value = Body<'static>> {
    prop_oneof![connected(), disconnected(), connect_failed(), activity(), register(), control()]
}

fn millis() -> impl Strategy<Value = Millis> {
    prop_oneof![(0..100_000_i64).prop_map(Millis), (0..100_000_i64).prop_map(Millis::from_seconds)]
}

pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let owned = || option::of(any_text().prop_map(str::to_owned));
    let labels = btree_map(any_text().prop_map(str::to_owned), any_text().prop_map(str::to_owned), 0..4);
    let interval =
        (owned(), owned(), labels, any::<i16>()).prop_map(|(tenant, device_type, labels, minutes)| {
            IntervalRule { tenant, device_type, labels, minutes }
        });
    let alarm = (any_text().prop_map(str::to_owned), option::of(word(Severity::ALL)), owned(), any::<bool>())
        .prop_map(|(type_prefix, severity, text, drop)| AlarmRule { type_prefix, severity, text, drop });
    let spans = [(); 10].map(|()| millis());
    let rest = (owned(), any::<[bool; 3]>(), 1..=1_000_000_i64, vec(interval, 0..3), vec(alarm, 0..3));
    (spans, rest).prop_map(
        |(spans, (version, flags, poll_factor_thousandths, required_intervals, alarms))| Policy {
            version,
            grace: spans[0],
            required_intervals,
            max_future: spans[1],
            tombstone_retention: spans[2],
            infer_sessions: flags[0],
            node_timeout: spans[3],
            long_poll_linger: spans[4],
            inventory_counts_as_message: flags[1],
            poll_floor: spans[5],
            poll_factor_thousandths,
            poll_slack: spans[6],
            clear_on_maintenance: flags[2],
            alarms,
            max_clock_skew: spans[7],
            input_silence: spans[8],
            input_silence_max: spans[9],
        },
    )
}

/// A key of a device; it holds what ids may hold.
pub(super) fn key() -> impl Strategy<Value = &'static str> {
    ("[A-Za-z0-9_-]{1,64}", prop_oneof!["[ -.0-~]{1,30}", "[äöü\u{4e00}-\u{4e20}a]{1,40}", "d{256}"])
        .prop_map(|(tenant, device_id)| leak(format!("{tenant}/{device_id}")))
}

pub(super) fn event() -> impl Strategy<Value = Event<'static>> {
    let subject = prop_oneof![
        8 => (key(), body()).prop_map(|(key, body)| Subject::Device { key, body }),
        1 => (text(), word(NodeStatus::ALL), option::of(time())).prop_map(|(node_id, status, started_at)| {
            Subject::Node(NodeEvent { node_id, status, started_at })
        }),
        1 => policy().prop_map(|policy| Subject::Policy(Box::new(policy))),
    ];
    (option::of(time()), maybe(), subject).prop_map(|(observed_at, event_id, subject)| Event {
        observed_at,
        event_id,
        subject,
    })
}

fn maybe_never() -> impl Strategy<Value = Timestamp> {
    prop_oneof![Just(Timestamp::NEVER), time()]
}

fn cause() -> impl Strategy<Value = Cause> {
    let origin = prop_oneof![
        (word(InputTopic::ALL), any::<u32>(), any::<u64>())
            .prop_map(|(topic, partition, offset)| Origin::Record { topic, partition, offset }),
        any::<u64>().prop_map(Origin::Line),
        Just(Origin::Clock),
    ];
    let interval = option::of((any::<i16>(), word(IntervalSource::ALL)));
    let deadline =
        (time(), interval, time(), maybe_never()).prop_map(|(at, interval, counted_from, last_message)| {
            Deadline { at, interval, counted_from, last_message }
        });
    (word(Rule::ALL), origin, option::of(deadline), boxed(), any_text()).prop_map(
        |(rule, origin, deadline, event_id, sentence)| Cause {
            rule,
            origin,
            deadline,
            event_id,
            sentence: sentence.to_owned(),
        },
    )
}

fn change() -> impl Strategy<Value = FacetChange> {
    fn facet(facet: Facet, words: Vec<&'static str>, labelled: bool) -> impl Strategy<Value = FacetChange> {
        let label = if labelled { option::of(word(Label::ALL)).boxed() } else { Just(None).boxed() };
        (select(words.clone()), select(words), label).prop_map(move |(from, to, label)| FacetChange {
            facet,
            from,
            to,
            label,
        })
    }
    let connection = || Connection::ALL.iter().map(|value| value.word()).collect();
    prop_oneof![
        facet(Facet::Availability, Availability::ALL.iter().map(|value| value.word()).collect(), false),
        facet(Facet::Push, Push::ALL.iter().map(|value| value.word()).collect(), false),
        facet(Facet::Connection, connection(), false),
        facet(Facet::Vpn, connection(), false),
        facet(Facet::Heartbeat, Heartbeat::ALL.iter().map(|value| value.word()).collect(), false),
        facet(Facet::Overall, Overall::ALL.iter().map(|value| value.word()).collect(), true),
    ]
}

fn alarm() -> impl Strategy<Value = EffectKind> {
    let words = (
        word(Severity::ALL),
        word(AlarmEventAction::ALL),
        word(AlarmState::ALL),
        option::of(word(ClearReason::ALL)),
    );
    (text(), words, any::<u32>(), time(), time(), any_text(), boxed()).prop_map(
        |(alarm_id, (severity, action, state, reason), count, first_at, last_at, text, actor)| {
            EffectKind::Alarm(AlarmEvent {
                alarm_id: alarm_id.into(),
                alarm_type: "unavailability",
                severity,
                action,
                state,
                reason,
                count,
                first_at,
                last_at,
                text: text.into(),
                actor,
            })
        },
    )
}

fn log_entry() -> impl Strategy<Value = EffectKind> {
    let names = (boxed(), boxed(), boxed(), boxed(), boxed());
    let numbers = (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(any::<bool>()),
        option::of(-1_000_000..1_000_000_000_i64),
        option::of(any::<u8>()),
        option::of(any::<u32>()),
    );
    let rest = (traffic(), any_text(), vec(word(Flag::ALL), 0..4));
    (word(LogKind::ALL), word(ChannelKind::ALL), session(), names, numbers, rest).prop_map(
        |(kind, channel, session, names, numbers, (traffic, message, flags))| {
            let (node_id, client_address, protocol, user, reason) = names;
            let (secure, keep_alive_seconds, clean_start, duration_millis, reason_code, close_code) = numbers;
            let packet = if kind == LogKind::ConnectFailed { Packet::Connack } else { Packet::Disconnect };
            EffectKind::Log(LogEntry {
                kind,
                channel,
                session: LogSession {
                    id: session.id.map(Box::from),
                    started_at: session.started_at,
                    sequence: session.sequence,
                },
                node_id,
                client_address,
                protocol,
                secure,
                keep_alive_seconds,
                clean_start,
                user,
                duration_millis,
                reason_code,
                reason_name: reason_code.and_then(|code| reason::name(packet, channel, code)),
                close_code,
                reason,
                traffic,
                message: message.to_owned(),
                flags,
            })
        },
    )
}

fn audit() -> impl Strategy<Value = EffectKind> {
    let outcome = prop_oneof![Just(Outcome::Applied), word(Ignored::ALL).prop_map(Outcome::Ignored)];
    let command =
        select(vec!["register", "required_interval", "delete", "node", "policy", "blind", "sight", "gap"]);
    (command, outcome, boxed(), boxed(), any_text(), any_text(), boxed()).prop_map(
        |(command, outcome, actor, subject, before, after, note)| {
            let (before, after) = (before.to_owned(), after.to_owned());
            EffectKind::Audit(AuditEntry { command, outcome, actor, subject, before, after, note })
        },
    )
}

pub(super) fn output() -> impl Strategy<Value = Output> {
    let status = (vec(change(), 0..4), percent(), option::of(any::<u64>())).prop_map(
        |(changes, progress, retracts)| EffectKind::Status(StatusChange { changes, progress, retracts }),
    );
    let kind = prop_oneof![status, alarm(), log_entry(), audit()];
    (option::of((key(), time())), any::<u64>(), time(), time(), cause(), kind).prop_map(
        |(device, sequence, at, recorded_at, cause, kind)| {
            let (key, birth) = device.unwrap_or(("/", Timestamp::NEVER));
            let (tenant, device_id) = split_key(key);
            let effect = Effect { sequence, at, recorded_at, cause, kind };
            Output { tenant: tenant.to_owned(), device_id: device_id.to_owned(), birth, effect }
        },
    )
}
