//! Random histories: few devices, few nodes, a coarse grid of times, so that ties and exact deadlines happen often.

use super::input::*;
pub use super::knobs::Knobs;
use super::policy::{AlarmRule, IntervalRule, Policy};
use super::time::{MINUTE, SECOND, START};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Connected,
    Disconnected,
    Failed,
    Activity,
    Interval,
    Maintenance,
    Register,
    Lifecycle,
    Update,
    PollSettings,
    AlarmCommand,
    Delete,
    Node,
    Policy,
    Tick,
    Sight,
    Duplicate,
}

/// One step of a history before it has its times: small numbers, so that it shrinks well.
#[derive(Clone, Debug)]
struct Draft {
    what: What,
    device: u8,
    /// Steps of the grid that the time moves on before it.
    pause: u8,
    /// Now and then a millisecond beside the grid: -1, 0, 1.
    beside: i64,
    late: u8,
    how_late: u8,
    a: u8,
    b: u8,
    c: u8,
    d: u8,
}

fn drafts(knobs: &Knobs) -> impl Strategy<Value = Vec<Draft>> + use<> {
    let kinds = [
        (knobs.connected, What::Connected),
        (knobs.disconnected, What::Disconnected),
        (knobs.failed, What::Failed),
        (knobs.activity, What::Activity),
        (knobs.interval, What::Interval),
        (knobs.maintenance, What::Maintenance),
        (knobs.register, What::Register),
        (knobs.lifecycle, What::Lifecycle),
        (knobs.update, What::Update),
        (knobs.poll_settings, What::PollSettings),
        (knobs.alarm_command, What::AlarmCommand),
        (knobs.delete, What::Delete),
        (knobs.node, What::Node),
        (knobs.policy, What::Policy),
        (knobs.tick, What::Tick),
        (knobs.sight, What::Sight),
        (knobs.duplicate, What::Duplicate),
    ];
    let kinds: Vec<(u32, Just<What>)> = kinds
        .into_iter()
        .filter(|(weight, _)| *weight > 0)
        .map(|(weight, what)| (weight, Just(what)))
        .collect();
    let what = proptest::strategy::Union::new_weighted(kinds);
    let beside = prop_oneof![12 => Just(0i64), 1 => Just(-1i64), 1 => Just(1i64)];
    let pause = prop_oneof![6 => 0u8..3, 2 => 3u8..8, 1 => 8u8..14];
    let times = (pause, beside, 0u8..16, 1u8..8);
    let rest = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    let draft = (what, 0..knobs.devices, times, rest).prop_map(|(what, device, times, (a, b, c, d))| {
        let (pause, beside, late, how_late) = times;
        Draft { what, device, pause, beside, late, how_late, a, b, c, d }
    });
    vec(draft, 1..=knobs.length)
}

/// What `lastseen fold` reads.
pub fn lines(inputs: &[Input]) -> String {
    inputs.iter().map(|input| input.to_line() + "\n").collect()
}

/// Histories.
pub fn inputs(knobs: Knobs) -> impl Strategy<Value = Vec<Input>> {
    drafts(&knobs).prop_map(move |drafts| build(&knobs, &drafts))
}

/// The grid: every deadline of the defaults below lies on it.
const GRID: i64 = 10 * SECOND;

fn build(knobs: &Knobs, drafts: &[Draft]) -> Vec<Input> {
    let mut inputs = Vec::new();
    // No clock of the monitor is ahead of this.
    let mut clock = START;
    let mut seen = START - 100 * MINUTE;
    let mut last: BTreeMap<(u8, Channel), (SessionRef, Option<String>)> = BTreeMap::new();
    if knobs.tick_first {
        inputs.push(Input::Tick(clock));
    }
    for device in (0..knobs.devices).filter(|_| knobs.monitored) {
        let (tenant, device_id) = name(device);
        let source = Source::Operator;
        let body = Body::RequiredInterval { minutes: Some(1), source, only_if_absent: false };
        inputs.push(Input::Event(ModelEvent { tenant, device_id, observed_at: clock, body }));
    }
    for draft in drafts {
        let mut at = clock + i64::from(draft.pause) * GRID + draft.beside;
        match draft.what {
            What::Tick => {
                clock = clock.max(at);
                inputs.push(Input::Tick(at));
                continue;
            }
            What::Sight => {
                clock = clock.max(at);
                seen = clock;
                inputs.push(Input::Sight(clock));
                continue;
            }
            What::Duplicate => {
                let events: Vec<&Input> = inputs.iter().filter(|i| matches!(i, Input::Event(_))).collect();
                if !events.is_empty() {
                    let again = events[usize::from(draft.a) % events.len()].clone();
                    inputs.push(again);
                }
                continue;
            }
            _ => {}
        }
        if draft.late < knobs.late {
            at = clock - i64::from(draft.how_late) * GRID + draft.beside;
        } else if knobs.future && draft.d >= 240 {
            at += 7 * MINUTE;
        }
        let Some(mut body) = body(knobs, draft) else { continue };
        match &mut body {
            Body::Connected { channel, session, node_id, .. } => {
                last.insert((draft.device, *channel), (session.clone(), node_id.clone()));
            }
            // Half of the ends are those of the session that was connected last: else nearly all would be stale.
            Body::Disconnected { channel, session, node_id, .. } if draft.c & 32 == 0 => {
                if let Some(known) = last.get(&(draft.device, *channel)) {
                    (*session, *node_id) = known.clone();
                }
            }
            _ => {}
        }
        if !knobs.exotic && is_poll(&body) {
            at = at.max(seen);
        }
        clock = clock.max(at);
        let broadcast = matches!(body, Body::Node { .. } | Body::Policy(_));
        let (tenant, device_id) = if broadcast { Default::default() } else { name(draft.device) };
        inputs.push(Input::Event(ModelEvent { tenant, device_id, observed_at: at, body }));
    }
    // Every deadline that is still to come shows what was known at the end.
    inputs.push(Input::Tick(clock + 60 * MINUTE));
    inputs
}

/// `-` sorts before `/`: key order is not the order of (tenant, id).
fn name(device: u8) -> (String, String) {
    if device == 2 { ("acme-x".into(), "a".into()) } else { ("acme".into(), format!("p{}", device + 1)) }
}

fn is_poll(body: &Body) -> bool {
    match body {
        Body::Connected { channel, .. } => *channel == Channel::LongPoll,
        Body::Activity { channel, kind, .. } => {
            *channel == Some(Channel::LongPoll) || *kind == Kind::StatePoll
        }
        _ => false,
    }
}

/// A session by its number: the evidence belongs to the session, so that all that names it agrees.
fn session(knobs: &Knobs, channel: Channel, draft: &Draft, number: u8) -> SessionRef {
    if draft.b % 16 < knobs.without_id {
        let mut session = SessionRef::default();
        if knobs.exotic && draft.d & 4 != 0 {
            session.sequence = (draft.d & 8 != 0).then(|| format!("{:x}", number % 4));
            session.started_at = (draft.d & 16 != 0).then(|| START + i64::from(number % 4) * 30 * SECOND);
        }
        return session;
    }
    let number = number % knobs.ids;
    let prefix = &channel.word()[..1];
    let mut session = SessionRef { id: Some(format!("{prefix}{number}")), ..SessionRef::default() };
    if (number.wrapping_mul(7) % 16) < knobs.sequence {
        // Upper and lower case, leading zeros: it is a number.
        session.sequence = Some(if number & 1 == 0 { format!("0{number:X}") } else { format!("{number:x}") });
    }
    if (number.wrapping_mul(5).wrapping_add(3) % 16) < knobs.started_at {
        session.started_at = Some(START + i64::from(number / 2) * MINUTE);
    }
    if knobs.exotic && draft.d % 16 == 3 {
        // Now and then an event leaves out what others say of the session.
        (session.sequence, session.started_at) = (None, None);
    }
    session
}

fn pick<T: Copy>(list: &[T], by: u8) -> T {
    list[usize::from(by) % list.len()]
}

fn body(knobs: &Knobs, draft: &Draft) -> Option<Body> {
    let Draft { a, b, c, d, .. } = *draft;
    let channel = pick(&knobs.channels, c);
    let node =
        |by: u8| if knobs.nodes > 0 && by & 3 != 0 { Some(format!("n{}", by % knobs.nodes)) } else { None };
    let progress = [None, Some(0), Some(40), Some(99), Some(100)];
    Some(match draft.what {
        What::Connected => Body::Connected {
            channel,
            session: session(knobs, channel, draft, a),
            node_id: node(d),
            can_receive: pick(&[None, None, None, Some(true), Some(false)], b / 16),
        },
        What::Disconnected => {
            // One code at most, so that no two of them contradict each other.
            let said = pick(
                &[
                    None,
                    None,
                    Some(Initiator::Client),
                    Some(Initiator::Server),
                    Some(Initiator::Network),
                    Some(Initiator::TakenOver),
                ],
                b / 16,
            );
            let codes = [
                None,
                Some(0),
                Some(4),
                Some(0x8E),
                Some(0x87),
                Some(0x98),
                Some(0x9D),
                Some(0x8D),
                Some(0x80),
            ];
            let closes = [None, None, Some(288), Some(91), Some(93), Some(160)];
            let mqtt_reason_code = pick(&codes, d / 8);
            let close_code = if mqtt_reason_code.is_none() { pick(&closes, d / 32) } else { None };
            Body::Disconnected {
                channel,
                session: session(knobs, channel, draft, a),
                node_id: node(d),
                initiator: said,
                mqtt_reason_code,
                close_code,
            }
        }
        What::Failed => {
            Body::ConnectFailed { channel, mqtt_reason_code: pick(&[None, Some(135), Some(134)], b) }
        }
        What::Activity => {
            let kind = pick(Kind::ALL, a);
            let channel = if d % 3 == 0 { None } else { Some(channel) };
            // Many name no session at all.
            let session = match (channel, b % 3) {
                (Some(channel), 0) => session(knobs, channel, draft, a / 16),
                (Some(_), 1) if knobs.exotic => {
                    SessionRef { sequence: Some(format!("{:x}", a / 16)), ..SessionRef::default() }
                }
                _ => SessionRef::default(),
            };
            Body::Activity { kind, channel, session, via_application: d % 8 == 7 }
        }
        What::Register => Body::Register {
            device_type: pick(&[None, Some("pump"), Some("valve")], a).map(str::to_string),
            name: None,
            labels: pick(&[None, Some("berlin"), Some("wien"), Some("")], b).map(|site| {
                if site.is_empty() { BTreeMap::new() } else { BTreeMap::from([("site".into(), site.into())]) }
            }),
        },
        What::Interval => {
            let source = pick(
                &[
                    Source::Operator,
                    Source::Operator,
                    Source::Operator,
                    Source::Device,
                    Source::Device,
                    Source::Policy,
                ],
                b,
            );
            let minutes = [1, 1, 1, 1, 2, 2, 3, 40_000, -1, 0].map(Some);
            Body::RequiredInterval {
                minutes: if source == Source::Policy || a >= 240 { None } else { pick(&minutes, a) },
                source,
                only_if_absent: source == Source::Device && c % 2 == 0,
            }
        }
        What::Maintenance => Body::Maintenance { on: a % 2 == 0 },
        What::Lifecycle => Body::Lifecycle { stage: pick(Stage::ALL, a), progress: pick(&progress, b) },
        What::Update => Body::Update { phase: pick(Phase::ALL, a), progress: pick(&progress, b) },
        What::PollSettings => Body::PollSettings {
            poll_interval_s: Some(pick(&[0, 60, 100, 600], a)),
            vpn_expected: b % 2 == 0,
        },
        What::AlarmCommand => Body::AlarmCommand {
            alarm_id: (b % 8 == 0).then(|| "none-such".to_string()),
            action: pick(AlarmAction::ALL, a),
        },
        What::Delete => {
            if a % 2 == 0 {
                return None;
            }
            Body::Delete
        }
        What::Node => Body::Node {
            node_id: format!("n{}", a % knobs.nodes.max(1)),
            status: pick(
                &[NodeStatus::Heartbeat, NodeStatus::Heartbeat, NodeStatus::Up, NodeStatus::Down],
                b,
            ),
            started_at: pick(&[None, Some(START - MINUTE), Some(START - MINUTE), Some(START)], c),
        },
        What::Policy => Body::Policy(policy(knobs, draft)),
        What::Tick | What::Sight | What::Duplicate => return None,
    })
}

fn policy(knobs: &Knobs, draft: &Draft) -> Policy {
    let Draft { a, b, c, d, .. } = *draft;
    let mut policy = Policy { poll_floor: 60 * SECOND, ..Policy::default() };
    policy.grace = pick(&[0, 0, 0, 30 * SECOND], a);
    policy.poll_factor = pick(&[1.5, 1.5, 1.0, 2.25], a / 4);
    policy.poll_slack = pick(&[15 * SECOND, 10 * SECOND, 0, 30 * SECOND], a / 16);
    if knobs.future {
        policy.max_future = pick(&[300 * SECOND, 300 * SECOND, 0, 60 * SECOND], a / 64);
    }
    policy.node_timeout = pick(&[60 * SECOND, 60 * SECOND, 30 * SECOND, 120 * SECOND], b);
    policy.long_poll_linger = pick(&[120 * SECOND, 120 * SECOND, 30 * SECOND, 60 * SECOND], b / 4);
    policy.infer_sessions = (b / 16) % 4 != 0;
    policy.inventory_counts_as_message = (b / 64) % 2 == 0;
    policy.clear_on_maintenance = c % 3 == 0;
    policy.tombstone_retention = pick(&[86_400 * SECOND, 60 * SECOND, 20 * SECOND], c / 4);
    let rule = |minutes| IntervalRule { minutes, ..IntervalRule::default() };
    let negative = if knobs.exotic { -2 } else { 2 };
    policy.required_intervals = match d % 6 {
        0 | 1 => Vec::new(),
        2 => vec![rule(1)],
        3 => vec![
            IntervalRule { device_type: Some("pump".into()), ..rule(1) },
            IntervalRule { labels: BTreeMap::from([("site".into(), "berlin".into())]), ..rule(2) },
        ],
        4 => vec![IntervalRule { tenant: Some("acme-x".into()), ..rule(3) }, rule(negative)],
        _ => vec![rule(3)],
    };
    let face = |prefix: &str| AlarmRule { type_prefix: prefix.into(), ..AlarmRule::default() };
    policy.alarms = match d / 32 {
        0..=3 => Vec::new(),
        4 => vec![face("other"), AlarmRule { severity: Some("CRITICAL".into()), ..face("unavail") }],
        5 => vec![AlarmRule { text: Some("gone".into()), ..face("") }],
        _ => vec![AlarmRule { drop: true, ..face("unavailability") }],
    };
    policy
}
