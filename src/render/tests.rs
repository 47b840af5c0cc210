use super::*;
use crate::domain::effect::{AlarmState, Cause, ClearReason, Flag, Ignored, InputTopic, LogSession};
use crate::domain::event::{ChannelKind, Traffic};
use crate::domain::facet::{Availability, Facets, Heartbeat, Label, Overall, Push};
use crate::domain::policy::Severity;
use crate::domain::time::Millis;

const AT: Timestamp = Timestamp::from_millis(1_767_268_800_000 + 5_004_321);
const PLAIN: Style = Style { colour: false };
const COLOURED: Style = Style { colour: true };

fn effect(rule: Rule, sentence: &str, kind: EffectKind) -> Effect {
    let cause =
        Cause { rule, origin: Origin::Clock, deadline: None, event_id: None, sentence: sentence.into() };
    let at = AT + Millis(-9000);
    Effect { sequence: 7, at, recorded_at: AT, cause, kind }
}

fn status_change(before: Facets, after: Facets) -> EffectKind {
    EffectKind::Status(StatusChange {
        changes: Facets::changes(&before, &after),
        progress: None,
        retracts: None,
    })
}

fn lapse() -> Effect {
    let before = Facets {
        availability: Availability::Available,
        overall: Overall::Online,
        label: Label::Online,
        ..Facets::START
    };
    let after = Facets {
        availability: Availability::Unavailable,
        overall: Overall::Offline,
        label: Label::Offline,
        ..Facets::START
    };
    let sentence =
        "No data since 13:21:24Z; required every 2 min (set by the policy); deadline 13:23:24Z passed.";
    effect(Rule::DeadlinePassed, sentence, status_change(before, after))
}

fn alarm(action: AlarmEventAction, state: AlarmState) -> AlarmEvent {
    AlarmEvent {
        alarm_id: "a1".into(),
        alarm_type: "unavailability",
        severity: Severity::Major,
        action,
        state,
        reason: None,
        count: 1,
        first_at: AT,
        last_at: AT,
        text: "No data received from device within required interval".into(),
        actor: None,
    }
}

fn taken_over() -> LogEntry {
    LogEntry {
        kind: LogKind::TakenOver,
        channel: ChannelKind::Mqtt,
        session: LogSession::default(),
        node_id: None,
        client_address: None,
        protocol: None,
        secure: None,
        keep_alive_seconds: None,
        clean_start: None,
        user: None,
        duration_millis: None,
        reason_code: None,
        reason_name: None,
        close_code: None,
        reason: None,
        traffic: Traffic::default(),
        message: "The client id was used again.".into(),
        flags: vec![Flag::Stale, Flag::Late],
    }
}

fn audit(outcome: Outcome) -> EffectKind {
    EffectKind::Audit(AuditEntry {
        command: "maintenance",
        outcome,
        actor: Some("kim".into()),
        subject: None,
        before: "off".into(),
        after: "on".into(),
        note: Some("new\nroof".into()),
    })
}

#[test]
fn a_line_says_when_who_what_and_why() {
    assert_eq!(
        line("acme/pump-0017", &lapse(), PLAIN),
        "13:23:24 ● acme/pump-0017        AVAILABLE → UNAVAILABLE ⇒ Offline  \
         No data since 13:21:24Z; required every 2 min (set by the policy); deadline 13:23:24Z passed."
    );
    let raised = alarm(AlarmEventAction::Raised, AlarmState::Active);
    assert_eq!(
        line("acme/pump-0017", &effect(Rule::DeadlinePassed, "Why.", EffectKind::Alarm(raised)), PLAIN),
        "13:23:24 ▲ acme/pump-0017        MAJOR alarm unavailability RAISED  Why."
    );
    let entry = EffectKind::Log(taken_over());
    assert_eq!(
        line("acme/a-rather-long-device-id", &effect(Rule::TakenOver, "Why.", entry), PLAIN),
        "13:23:24 ⇄ acme/a-rather-long-device-id  TAKEN_OVER [stale, late]  Why."
    );
}

#[test]
fn facets_are_named_and_a_retraction_and_progress_are_shown() {
    let after = Facets {
        push: Push::Online,
        heartbeat: Heartbeat::Timeout,
        overall: Overall::Updating,
        label: Label::Updating,
        ..Facets::START
    };
    let changes = Facets::changes(&Facets::START, &after);
    let change = StatusChange { changes, progress: Some(40), retracts: Some(6) };
    assert_eq!(
        line("acme/x", &effect(Rule::Update, "Why.", EffectKind::Status(change)), PLAIN),
        "13:23:24 ● acme/x                push NOT_MONITORED → ONLINE, heartbeat UNKNOWN → TIMEOUT \
         ⇒ Updating 40 % (retracts #6)  Why."
    );
}

#[test]
fn alarms_say_why_they_ended_and_who_cared() {
    let mut cleared = alarm(AlarmEventAction::Cleared, AlarmState::Cleared);
    (cleared.reason, cleared.count, cleared.actor) = (Some(ClearReason::Command), 3, Some("kim".into()));
    cleared.text = "Call the harbour".into();
    let told = line("acme/x", &effect(Rule::AlarmCommand, "Why.", EffectKind::Alarm(cleared)), PLAIN);
    assert!(
        told.contains("MAJOR alarm unavailability CLEARED (COMMAND) ×3 by kim “Call the harbour”  Why."),
        "{told}"
    );
}

#[test]
fn commands_show_what_they_changed_or_why_they_did_not() {
    assert_eq!(
        line("acme/x", &effect(Rule::MaintenanceOn, "Why.", audit(Outcome::Applied)), PLAIN),
        "13:23:24 ✎ acme/x                maintenance off → on by kim “new\u{fffd}roof”  Why."
    );
    assert_eq!(
        line("", &effect(Rule::MaintenanceOn, "Why.", audit(Outcome::Ignored(Ignored::NoInterval))), PLAIN),
        "13:23:24 ✎ (partition)           maintenance ignored (no_interval) by kim “new\u{fffd}roof”  Why."
    );
}

#[test]
fn a_dead_letter_says_where_it_stands_and_hides_no_escape_sequence() {
    let origin = Origin::Record { topic: InputTopic::Activity, partition: 2, offset: 17 };
    assert_eq!(
        dead_letter(AT, "acme/\x1b[2Jx", origin, "truncated", "it ends in the middle", PLAIN),
        "13:23:24 ✗ acme/\u{fffd}[2Jx            dead letter truncated (activity, partition 2, offset 17)  \
         it ends in the middle"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    for effect in [lapse(), effect(Rule::TakenOver, "Why.", EffectKind::Log(taken_over()))] {
        let coloured = line("acme/x", &effect, COLOURED);
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            bare.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        assert_ne!(bare, coloured);
        assert_eq!(bare, line("acme/x", &effect, PLAIN));
    }
}

#[test]
fn a_summary_adds_up() {
    let mut summary = Summary::default();
    summary.observe("acme/x", &lapse());
    let raised = alarm(AlarmEventAction::Raised, AlarmState::Active);
    summary.observe("acme/x", &effect(Rule::DeadlinePassed, "", EffectKind::Alarm(raised)));
    summary.observe("acme/y", &effect(Rule::MaintenanceOn, "", audit(Outcome::Applied)));
    summary.observe("", &effect(Rule::NodeDown, "", audit(Outcome::Applied)));
    summary.observe_journal(0, AT, 10);
    summary.observe_journal(1, AT + Millis(-1500), 5);
    summary.observe_dead_letter();
    assert_eq!(
        summary.line(AT, summary.lag(AT), PLAIN),
        "── 13:23:24.321Z 2 devices: Unknown 1 Offline 1 │ 1 open alarms │ 15 events in, 4 out, 1 dead letters \
         │ clock 1.5 s behind"
    );
    let mut cleared = alarm(AlarmEventAction::Cleared, AlarmState::Cleared);
    cleared.reason = Some(ClearReason::Retracted);
    summary.observe("acme/x", &effect(Rule::VerdictDisproved, "", EffectKind::Alarm(cleared)));
    summary.observe("acme/x", &effect(Rule::Deleted, "", status_change(Facets::START, Facets::START)));
    assert_eq!((summary.devices(), summary.open_alarms(), summary.raised), (1, 0, 1));
}

#[test]
fn alarms_and_doubt_interest_more_than_routine() {
    let raised = EffectKind::Alarm(alarm(AlarmEventAction::Raised, AlarmState::Active));
    assert_eq!(interest(&effect(Rule::DeadlinePassed, "", raised)), Interest::Grave);
    assert_eq!(interest(&lapse()), Interest::Tricky);
    assert_eq!(interest(&effect(Rule::TakenOver, "", EffectKind::Log(taken_over()))), Interest::Tricky);
    assert_eq!(interest(&effect(Rule::Connected, "", EffectKind::Log(taken_over()))), Interest::Routine);
    assert_eq!(interest(&effect(Rule::MaintenanceOn, "", audit(Outcome::Applied))), Interest::Notable);
}
