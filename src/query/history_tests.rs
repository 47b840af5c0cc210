//! The past on disk: pages of it, and what is forgotten.

use super::*;
use crate::domain::effect::{AlarmEvent, AlarmEventAction, Cause, Origin, Rule, StatusChange};
use crate::domain::policy::Severity;

const START: i64 = 1_767_225_600_000;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(START + minutes * 60_000)
}

fn output(device: &str, minutes: i64, kind: EffectKind) -> Output {
    let cause = Cause {
        rule: Rule::Activity,
        origin: Origin::Clock,
        deadline: None,
        event_id: None,
        sentence: format!("{device} at {minutes}"),
    };
    let (sequence, at) = (minutes as u64, at(minutes));
    let effect = Effect { sequence, at, recorded_at: at, cause, kind };
    Output { tenant: "acme".into(), device_id: device.into(), birth: Timestamp::from_millis(START), effect }
}

fn status(device: &str, minutes: i64) -> Output {
    let change = StatusChange { changes: Vec::new(), progress: None, retracts: None };
    output(device, minutes, EffectKind::Status(change))
}

fn alarm(device: &str, minutes: i64, raised: i64, state: AlarmState) -> Output {
    let action = match state {
        AlarmState::Cleared => AlarmEventAction::Cleared,
        _ => AlarmEventAction::Raised,
    };
    let alarm = AlarmEvent {
        alarm_id: format!("{device}-{raised}").into(),
        alarm_type: crate::domain::monitoring::UNAVAILABILITY,
        severity: Severity::Major,
        action,
        state,
        reason: None,
        count: 1,
        first_at: at(raised),
        last_at: at(raised),
        text: "silent".into(),
        actor: None,
    };
    output(device, minutes, EffectKind::Alarm(alarm))
}

fn kept(outputs: &[Output]) -> (tempfile::TempDir, History) {
    let dir = tempfile::tempdir().unwrap();
    let (history, anew) = History::open(dir.path(), "log").unwrap();
    assert_eq!(anew, None);
    let mut batch = history.batch();
    for (seq, output) in outputs.iter().enumerate() {
        batch.output(0, seq as u64, 0, output);
    }
    batch.write().unwrap();
    (dir, history)
}

fn told(found: (Vec<Output>, Option<Place>)) -> (Vec<String>, Option<Place>) {
    (found.0.into_iter().map(|output| output.effect.cause.sentence).collect(), found.1)
}

const ALWAYS: (Timestamp, Timestamp) = (Timestamp::NEVER, Timestamp::MAX);

#[test]
fn the_past_comes_in_pages_latest_first_and_of_nobody_else() {
    // "a" is where "a2" begins, and its past must not contain the other's.
    let outputs: Vec<Output> =
        (0..5).flat_map(|minute| [status("a", minute), status("a2", minute)]).collect();
    let (_dir, history) = kept(&outputs);
    let page = |after: Option<&[u8]>, span| {
        told(history.of_device(Past::Status, "acme/a", span, after, 2, |_| true).unwrap())
    };
    let (first, next) = page(None, ALWAYS);
    assert_eq!(first, ["a at 4", "a at 3"]);
    let (second, next) = page(next.as_deref(), ALWAYS);
    assert_eq!(second, ["a at 2", "a at 1"]);
    let (last, next) = page(next.as_deref(), ALWAYS);
    assert_eq!((last, next), (vec!["a at 0".to_owned()], None));
    let (span, _) = page(None, (at(1), at(3)));
    assert_eq!(span, ["a at 2", "a at 1"], "the first moment included, the last one not");
    // A place of another device is none of this one's.
    let (_, foreign) = told(history.of_device(Past::Status, "acme/a2", ALWAYS, None, 2, |_| true).unwrap());
    assert_eq!(page(foreign.as_deref(), ALWAYS).0, ["a at 4", "a at 3"]);
}

#[test]
fn an_alarm_stands_once_as_it_is_now() {
    let raised = [alarm("a", 1, 1, AlarmState::Active), alarm("b", 2, 2, AlarmState::Active)];
    let (_dir, history) = kept(&[&raised[..], &[alarm("a", 9, 1, AlarmState::Cleared)]].concat());
    let (alarms, _) = history.alarms("acme", None, ALWAYS, None, 10, |_| true).unwrap();
    let states: Vec<(&str, AlarmState)> = alarms
        .iter()
        .map(|output| match &output.effect.kind {
            EffectKind::Alarm(alarm) => (&*output.device_id, alarm.state),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(states, [("b", AlarmState::Active), ("a", AlarmState::Cleared)]);
    assert_eq!(history.alarms("acm", None, ALWAYS, None, 10, |_| true).unwrap().0.len(), 0);
    assert_eq!(history.alarms("acme", Some("a"), ALWAYS, None, 10, |_| true).unwrap().0.len(), 1);
    let (events, _) = history.of_device(Past::Alarm, "acme/a", ALWAYS, None, 10, |_| true).unwrap();
    assert_eq!(events.len(), 2, "each event of it is kept besides");
}

#[test]
fn what_is_older_than_is_kept_is_forgotten_but_an_open_alarm() {
    let outputs = [
        status("a", 1),
        status("a", 50),
        alarm("a", 1, 1, AlarmState::Cleared),
        alarm("b", 2, 2, AlarmState::Active),
    ];
    let (_dir, history) = kept(&outputs);
    history.flush().unwrap();
    history.forget_before(at(10));
    let (statuses, _) = told(history.of_device(Past::Status, "acme/a", ALWAYS, None, 10, |_| true).unwrap());
    assert_eq!(statuses, ["a at 50"], "at once");
    let (alarms, _) = history.alarms("acme", None, ALWAYS, None, 10, |_| true).unwrap();
    assert_eq!(alarms.iter().map(|output| &*output.device_id).collect::<Vec<_>>(), ["b"]);
    history.db.compact_range_cf(history.past(), None::<&[u8]>, None::<&[u8]>);
    let mut left = Vec::new();
    history.scan(Some(history.past()), &[], |key, _| left.push(key[0])).unwrap();
    left.sort_unstable();
    // The alarm's events go with their time; the alarm itself stays while it is open.
    assert_eq!(left, [ALARM_OF_TENANT, ALARM_OF_DEVICE, b's'], "and from the disk, as compaction comes by");
}

#[test]
fn a_database_of_another_log_is_made_anew() {
    let (dir, history) = kept(&[status("a", 1)]);
    drop(history);
    let (history, anew) = History::open(dir.path(), "log").unwrap();
    assert_eq!(anew, None);
    assert_eq!(history.of_device(Past::Status, "acme/a", ALWAYS, None, 10, |_| true).unwrap().0.len(), 1);
    drop(history);
    let (history, anew) = History::open(dir.path(), "another log").unwrap();
    assert!(anew.unwrap().contains("it is of log"));
    assert_eq!(history.of_device(Past::Status, "acme/a", ALWAYS, None, 10, |_| true).unwrap().0.len(), 0);
    let busy = History::open(dir.path(), "another log").unwrap_err().to_string();
    assert!(busy.to_lowercase().contains("lock"), "one that is open is not thrown away: {busy}");
}
