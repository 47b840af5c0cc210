//! Commands: control events of people and programs, each with an audited outcome (SEMANTICS §2, §12).

use std::collections::BTreeMap;

use super::device::{Dated, Device, LifecycleFact};
use super::effect::{AlarmEventAction, AuditEntry, ClearReason, Effect, Ignored, Outcome, Rule};
use super::event::{
    AlarmAction, AlarmCommand, AlarmTarget, Body, Delete, IntervalSource, Maintenance, Register,
    RequiredInterval,
};
use super::facet::Facets;
use super::monitoring::{Monitoring, UNAVAILABILITY};
use super::step::{Context, Step};
use super::time::Timestamp;

/// Sets a fact unless a later event set it before. Whether it did.
fn set<T>(fact: &mut Option<Dated<T>>, value: T, at: Timestamp) -> bool {
    if fact.as_ref().is_some_and(|known| at < known.set_at) {
        return false;
    }
    *fact = Some(Dated { value, set_at: at });
    true
}

impl Device {
    /// Folds a command and audits its outcome.
    pub(super) fn command(
        &mut self,
        body: &Body<'_>,
        at: Timestamp,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        let mut step = Step::new(at, Rule::Registered, String::new());
        let before = self.describe(body);
        let outcome = match self.execute(body, at, &mut step, context) {
            Ok(()) => Outcome::Applied,
            Err(why) => Outcome::Ignored(why),
        };
        let edits = !matches!(body, Body::AlarmCommand(_) | Body::Delete(_));
        if outcome == Outcome::Applied && edits {
            self.last_updated = self.last_updated.max(at);
        }
        let note = match body {
            Body::Maintenance(body) => body.note,
            _ => None,
        };
        step.audit(AuditEntry {
            command: body.name(),
            outcome,
            actor: body.actor().map(Into::into),
            subject: None,
            before,
            after: self.describe(body),
            note: note.map(Into::into),
        });
        self.settle(step, context, out);
        outcome
    }

    fn execute(
        &mut self,
        body: &Body<'_>,
        at: Timestamp,
        step: &mut Step,
        context: &Context<'_>,
    ) -> Result<(), Ignored> {
        let time = at.time_of_day();
        match body {
            Body::Register(body) => {
                step.because(Rule::Registered, format!("Registered at {time}."));
                self.register(body, at, step, context)
            }
            Body::RequiredInterval(body) => self.require_interval(body, at, step, context),
            Body::Maintenance(body) => self.maintain(body, at, step, context),
            Body::Lifecycle(body) => {
                step.because(Rule::Lifecycle, format!("Stage {} since {time}.", body.stage));
                let same = self.lifecycle.as_ref().filter(|known| known.value.stage == body.stage);
                let stage_since = same.map_or(at, |known| known.value.stage_since);
                let fact = LifecycleFact { stage: body.stage, stage_since, progress: body.progress };
                set(&mut self.lifecycle, fact, at).then_some(()).ok_or(Ignored::Older)
            }
            Body::Update(body) => {
                step.because(Rule::Update, format!("Update {} since {time}.", body.phase));
                set(&mut self.update, *body, at).then_some(()).ok_or(Ignored::Older)
            }
            Body::PollSettings(body) => {
                step.because(Rule::PollSettings, format!("Poll settings changed at {time}."));
                if !set(&mut self.poll_settings, *body, at) {
                    return Err(Ignored::Older);
                }
                self.review_poll_window(context);
                Ok(())
            }
            Body::AlarmCommand(body) => self.alarm_command(body, at, step),
            // What is no command, and a delete, which ends the device, have ways of their own.
            Body::Delete(_)
            | Body::Connected(_)
            | Body::Disconnected(_)
            | Body::ConnectFailed(_)
            | Body::Activity(_) => Ok(()),
        }
    }

    fn register(
        &mut self,
        body: &Register<'_>,
        at: Timestamp,
        step: &mut Step,
        context: &Context<'_>,
    ) -> Result<(), Ignored> {
        let known = &mut self.registration;
        let mut given = false;
        let mut applied = false;
        let mut note = |is_set: bool| {
            given = true;
            applied |= is_set;
        };
        if let Some(value) = body.device_type {
            note(set(&mut known.device_type, value.into(), at));
        }
        if let Some(value) = body.name {
            note(set(&mut known.name, value.into(), at));
        }
        if let Some(value) = body.client_kind {
            note(set(&mut known.client_kind, value, at));
        }
        if let Some(value) = body.parent {
            note(set(&mut known.parent, value.into(), at));
        }
        if let Some(labels) = &body.labels {
            let labels: BTreeMap<String, String> =
                labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            note(set(&mut known.labels, labels, at));
        }
        if given && !applied {
            return Err(Ignored::Older);
        }
        self.follow_policy_interval(at, step, context);
        Ok(())
    }

    fn require_interval(
        &mut self,
        body: &RequiredInterval,
        at: Timestamp,
        step: &mut Step,
        context: &Context<'_>,
    ) -> Result<(), Ignored> {
        let time = at.time_of_day();
        match (body.source, body.minutes) {
            (IntervalSource::Policy, _) => {
                step.because(
                    Rule::IntervalSet,
                    format!("The policy sets the required interval since {time}."),
                );
            }
            (source, Some(minutes)) => step.because(
                Rule::IntervalSet,
                format!("Required interval set to {minutes} min by the {source} at {time}."),
            ),
            (source, None) => {
                step.because(
                    Rule::MonitoringStopped,
                    format!("Monitoring stopped by the {source} at {time}."),
                );
            }
        }
        if at < self.monitoring.set_at {
            return Err(Ignored::Older);
        }
        // SEMANTICS §5.1 says it of the device alone; whoever else asks for it means the same.
        if body.only_if_absent && self.monitoring.by_event {
            return Err(Ignored::IntervalPresent);
        }
        self.monitoring.set_at = at;
        self.monitoring.lent_by_policy = false;
        if body.source == IntervalSource::Policy {
            self.monitoring.by_event = false;
            self.follow_policy_interval(at, step, context);
        } else {
            self.monitoring.by_event = true;
            self.set_minutes(body.minutes, body.source, at, step, context);
        }
        Ok(())
    }

    fn maintain(
        &mut self,
        body: &Maintenance<'_>,
        at: Timestamp,
        step: &mut Step,
        context: &Context<'_>,
    ) -> Result<(), Ignored> {
        let time = at.time_of_day();
        let by = body.actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
        match body.on {
            true => step.because(Rule::MaintenanceOn, format!("Maintenance switched on{by} at {time}.")),
            false => step.because(Rule::MaintenanceOff, format!("Maintenance switched off{by} at {time}.")),
        }
        if at < self.monitoring.set_at {
            return Err(Ignored::Older);
        }
        let minutes = match self.monitoring.minutes {
            None | Some(0) => return Err(Ignored::NoInterval),
            Some(minutes) => minutes,
        };
        // Said again, it is set again: what was observed before that is ignored.
        let Monitoring { set_by, by_event, lent_by_policy, .. } = self.monitoring;
        self.monitoring.set_at = at;
        let is_policy_s = lent_by_policy || !by_event;
        self.monitoring.lent_by_policy = is_policy_s && body.on;
        if is_policy_s && !body.on {
            // Given back to the policy, also where its own rule says maintenance.
            self.monitoring.by_event = false;
            self.follow_policy_interval(at, step, context);
        } else {
            self.monitoring.by_event = true;
            let length = i32::from(minutes).abs();
            let minutes = i16::try_from(if body.on { -length } else { length }).unwrap_or(i16::MAX);
            self.set_minutes(Some(minutes), set_by, at, step, context);
        }
        Ok(())
    }

    fn alarm_command(
        &mut self,
        body: &AlarmCommand<'_>,
        at: Timestamp,
        step: &mut Step,
    ) -> Result<(), Ignored> {
        let by = body.actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
        let verb = match body.action {
            AlarmAction::Acknowledge => "acknowledged",
            AlarmAction::Clear => "cleared",
        };
        step.because(Rule::AlarmCommand, format!("Alarm {verb}{by} at {}.", at.time_of_day()));
        let verdict = self.verdict.as_mut().ok_or(Ignored::NoAlarm)?;
        let alarm = verdict.alarm.as_mut().ok_or(Ignored::NoAlarm)?;
        let is_meant = match body.target {
            AlarmTarget::Id(id) => id == &*alarm.id,
            AlarmTarget::Type(name) => name == UNAVAILABILITY,
        };
        if !is_meant {
            return Err(Ignored::NoAlarm);
        }
        if at < alarm.first_at {
            return Err(Ignored::BeforeAlarm);
        }
        match body.action {
            AlarmAction::Acknowledge if alarm.acknowledged => return Err(Ignored::AlreadyAcknowledged),
            AlarmAction::Acknowledge => {
                alarm.acknowledged = true;
                step.alarm(alarm.event(AlarmEventAction::Acknowledged, None, body.actor));
            }
            AlarmAction::Clear => {
                step.alarm(alarm.event(AlarmEventAction::Cleared, Some(ClearReason::Command), body.actor));
                verdict.alarm = None;
            }
        }
        Ok(())
    }

    /// Ends the device: its alarm is cleared, its facets go back to the start. What remains is a tombstone, which is
    /// the engine's. Ignored where it was observed before the device's earliest event.
    pub fn delete(
        &mut self,
        body: &Delete<'_>,
        at: Timestamp,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        let time = at.time_of_day();
        let by = body.actor.map(|actor| format!(" by {actor}")).unwrap_or_default();
        let mut step = Step::new(at, Rule::Deleted, format!("Deleted{by} at {time}."));
        let outcome = match at {
            _ if self.is_before_delete(at, context) => Outcome::Ignored(Ignored::Deleted),
            _ if at < self.earliest => Outcome::Ignored(Ignored::BeforeBirth),
            _ => Outcome::Applied,
        };
        if outcome == Outcome::Applied
            && let Some(alarm) = self.verdict.take().and_then(|verdict| verdict.alarm)
        {
            let reason = Some(ClearReason::MonitoringStopped);
            step.alarm(alarm.event(AlarmEventAction::Cleared, reason, body.actor));
        }
        step.audit(AuditEntry {
            command: "delete",
            outcome,
            actor: body.actor.map(Into::into),
            subject: None,
            before: "present".into(),
            after: if outcome == Outcome::Applied { "deleted".into() } else { "present".into() },
            note: None,
        });
        let before = self.facets;
        if outcome == Outcome::Applied {
            self.facets = Facets::START;
        }
        let after = self.facets;
        step.tell(context, &before, &after, None, &mut self.sequence, out);
        outcome
    }

    /// The fact that a command is about, in words.
    fn describe(&self, body: &Body<'_>) -> String {
        fn or_none<T>(fact: &Option<Dated<T>>, words: impl Fn(&T) -> String) -> String {
            fact.as_ref().map_or_else(|| "none".to_string(), |fact| words(&fact.value))
        }
        let percent = |progress: Option<u8>| progress.map(|p| format!(" {p} %")).unwrap_or_default();
        match body {
            Body::RequiredInterval(_) | Body::Maintenance(_) => self.monitoring.describe(),
            Body::Lifecycle(_) => or_none(&self.lifecycle, |l| format!("{}{}", l.stage, percent(l.progress))),
            Body::Update(_) => or_none(&self.update, |u| format!("{}{}", u.phase, percent(u.progress))),
            Body::PollSettings(_) => or_none(&self.poll_settings, |settings| {
                let interval = settings.poll_interval_seconds.map_or("default".into(), |s| format!("{s} s"));
                format!(
                    "interval {interval}, vpn {}expected",
                    if settings.vpn_expected { "" } else { "not " }
                )
            }),
            Body::AlarmCommand(_) => match self.verdict.as_ref().and_then(|verdict| verdict.alarm.as_ref()) {
                Some(alarm) => format!("{} {}", alarm.id, alarm.state()),
                None => "no open alarm".into(),
            },
            Body::Register(_) => {
                let known = &self.registration;
                let mut words = Vec::new();
                if let Some(fact) = &known.device_type {
                    words.push(format!("type {}", fact.value));
                }
                if let Some(fact) = &known.name {
                    words.push(format!("name {}", fact.value));
                }
                if let Some(fact) = &known.client_kind {
                    words.push(format!("kind {}", fact.value));
                }
                if let Some(fact) = &known.parent {
                    words.push(format!("parent {}", fact.value));
                }
                if let Some(fact) = &known.labels {
                    let labels: Vec<String> =
                        fact.value.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    words.push(format!("labels {}", labels.join(" ")));
                }
                words.join(", ")
            }
            _ => String::new(),
        }
    }
}
