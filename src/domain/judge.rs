//! Judging: from facts to facets, deadlines, verdicts and alarms (SEMANTICS §5, §6).

use xxhash_rust::xxh3::Xxh3;

use super::channel::Channel;
use super::clocks::{Quiet, SESSION_CHANNELS};
use super::device::{Device, Due};
use super::effect::{AlarmEventAction, ClearReason, Deadline, Effect, Flag, Rule};
use super::event::{ChannelKind, IntervalSource, Stage, UpdatePhase};
use super::facet::{Availability, Connection, Facets, Heartbeat, Label, Overall, Push};
use super::monitoring::{Alarm, UNAVAILABILITY, UNAVAILABILITY_TEXT, Verdict};
use super::policy::{Policy, Severity};
use super::receipt;
use super::session::NodeEnd;
use super::step::{Context, Step};
use super::time::{Millis, Timestamp};

impl Device {
    /// Ends a step: determines the facets anew and tells what changed.
    pub(super) fn settle(&mut self, step: Step, context: &Context<'_>, out: &mut Vec<Effect>) {
        if !self.monitoring.lapsed {
            // monitoring_since never lies before the last sight, but for a device that was UNAVAILABLE then.
            self.monitoring.since = self.monitoring.since.max(context.sight);
            if self.verdict.as_ref().is_some_and(|verdict| verdict.alarm.is_none()) {
                self.verdict = None;
            }
        }
        let after = self.facets_now(context.policy);
        let before = std::mem::replace(&mut self.facets, after);
        let progress = self.progress();
        step.tell(context, &before, &after, progress, &mut self.sequence, out);
    }

    /// Percent of what is under way, for the overall status.
    pub fn progress(&self) -> Option<u8> {
        match self.facets.overall {
            Overall::Updating => self.update.as_ref()?.value.progress,
            Overall::Configuring | Overall::PostProvisioning => self.lifecycle.as_ref()?.value.progress,
            _ => None,
        }
    }

    fn is_open(&self, kinds: &[ChannelKind]) -> bool {
        self.channels.iter().any(|channel| kinds.contains(&channel.kind) && channel.open.is_some())
    }

    fn connection(&self, kinds: &[ChannelKind]) -> Connection {
        if self.is_open(kinds) {
            Connection::Connected
        } else if self.channels.iter().any(|channel| kinds.contains(&channel.kind) && channel.is_known()) {
            Connection::Disconnected
        } else {
            Connection::Unknown
        }
    }

    /// The facets as the facts have them. Deadlines that passed but did not fire yet do not count: they follow as
    /// steps of their own.
    fn facets_now(&self, policy: &Policy) -> Facets {
        const PUSH: [ChannelKind; 3] = [ChannelKind::Mqtt, ChannelKind::Websocket, ChannelKind::LongPoll];
        const CLIENT: [ChannelKind; 4] =
            [ChannelKind::Mqtt, ChannelKind::Websocket, ChannelKind::Lwm2m, ChannelKind::Http];
        let monitoring = &self.monitoring;
        let availability = match monitoring.minutes {
            None => Availability::NotMonitored,
            Some(minutes) if minutes <= 0 => Availability::Maintenance,
            Some(_) if monitoring.lapsed => Availability::Unavailable,
            Some(_) if monitoring.has_message(self.clocks.last_message, policy) => Availability::Available,
            Some(_) => Availability::Unknown,
        };
        let can_push = self.channels.iter().any(|channel| {
            PUSH.contains(&channel.kind)
                && channel.open.as_ref().is_some_and(|open| open.can_receive_operations)
        });
        let push = match monitoring.minutes {
            _ if availability == Availability::Maintenance => Push::Maintenance,
            _ if can_push => Push::Online,
            Some(_) => Push::Offline,
            None => Push::NotMonitored,
        };
        let connection = self.connection(&CLIENT);
        let vpn = self.connection(&[ChannelKind::Vpn]);
        let heartbeat = self.poll_phase;
        let (overall, label) = self.overall(availability, push, connection, vpn, heartbeat, can_push);
        Facets { availability, push, connection, vpn, heartbeat, overall, label }
    }

    /// SEMANTICS §5.6: the first rule that matches wins.
    fn overall(
        &self,
        availability: Availability,
        push: Push,
        connection: Connection,
        vpn: Connection,
        heartbeat: Heartbeat,
        can_push: bool,
    ) -> (Overall, Label) {
        let in_maintenance = availability == Availability::Maintenance;
        let is_plain = vpn == Connection::Unknown && heartbeat == Heartbeat::Unknown;
        let (tunnel, heard) = if is_plain {
            let pushes = push == Push::Online || in_maintenance && can_push;
            (pushes || connection == Connection::Connected, availability == Availability::Available)
        } else {
            (vpn == Connection::Connected, matches!(heartbeat, Heartbeat::Online | Heartbeat::Timeout))
        };
        let ever_heard = self.last_heard().happened();
        let lifecycle = self.lifecycle.as_ref().map(|fact| fact.value);
        let stage = lifecycle.map(|fact| fact.stage);
        if stage == Some(Stage::Deactivated) || stage == Some(Stage::Preregistered) && !ever_heard {
            return (Overall::Inactive, Label::Inactive);
        }
        if let Some(fact) = lifecycle
            && fact.stage == Stage::PostProvisioning
            && self.last_heard() < fact.stage_since
        {
            return (Overall::PostProvisioning, Label::PostProvisioning);
        }
        // Rule 4, needed by rule 3.
        let reachable = tunnel || heard || connection == Connection::Connected || push == Push::Online;
        let unproven = connection == Connection::Unknown && availability != Availability::Unavailable;
        let fourth = match (reachable, is_plain && (unproven || in_maintenance)) {
            (true, _) => None,
            (false, true) => Some((Overall::Unknown, Label::Unknown)),
            (false, false) => Some((Overall::Offline, Label::Offline)),
        };
        let configuring = lifecycle
            .is_some_and(|fact| fact.stage == Stage::Configuring || fact.progress.is_some_and(|p| p < 100));
        let is_offline = matches!(fourth, Some((Overall::Offline, _)));
        if configuring && !(ever_heard && is_offline) {
            return (Overall::Configuring, Label::Configuring);
        }
        if let Some(verdict) = fourth {
            return verdict;
        }
        let phase = self.update.as_ref().map(|fact| fact.value.phase);
        if matches!(phase, Some(UpdatePhase::Downloading | UpdatePhase::Installing)) {
            return (Overall::Updating, Label::Updating);
        }
        let vpn_expected = self.poll_settings.as_ref().is_none_or(|fact| fact.value.vpn_expected);
        let label = match (tunnel, heard) {
            _ if is_plain => Label::Online,
            (false, true) if vpn_expected => Label::HeartbeatOnly,
            (true, false) => Label::VpnOnly,
            _ => Label::Online,
        };
        (Overall::Online, label)
    }

    /// Which clocks may move without any consequence as long as no other fact does.
    pub fn quiet(&self) -> Quiet {
        if self.deleted_at.happened() {
            return Quiet::default();
        }
        let mut quiet = 0;
        // While its life begins, being heard from at all can change the one word for people.
        let settled = self.lifecycle.as_ref().is_none_or(|fact| {
            matches!(fact.value.stage, Stage::Active | Stage::Deactivated) && self.last_heard().happened()
        });
        if settled && self.verdict.is_none() && self.facets.availability != Availability::Unknown {
            quiet |= Quiet::MESSAGE;
        }
        if settled && self.poll_phase == Heartbeat::Online {
            quiet |= Quiet::POLL;
        }
        for (index, kind) in SESSION_CHANNELS.iter().enumerate() {
            let found = self.channels.iter().find(|channel| channel.kind == *kind);
            // A closed channel waits for proof; a named proof may have to give way to a later nameless one.
            if found.is_none_or(|channel| {
                (channel.open.is_some() || channel.recorded.is_none()) && channel.named_proof.is_none()
            }) {
                quiet |= Quiet::CHANNEL << index;
            }
        }
        Quiet(quiet)
    }

    /// When its poll window, then its slack, runs out.
    fn poll_due(&self, policy: &Policy) -> Option<Timestamp> {
        let from = self.clocks.last_poll.max(self.poll_since);
        let window = self.poll_window(policy);
        match self.poll_phase {
            Heartbeat::Online => Some(from + window),
            Heartbeat::Timeout => Some(from + window + policy.poll_slack),
            Heartbeat::Unknown | Heartbeat::Offline => None,
        }
    }

    fn poll_window(&self, policy: &Policy) -> Millis {
        let settings = self.poll_settings.as_ref().and_then(|fact| fact.value.poll_interval_seconds);
        policy.poll_window(settings)
    }

    /// The first millisecond at which a facet will differ if nothing arrives, and by which deadline.
    pub fn next_due(&self, policy: &Policy) -> Option<(Timestamp, Due)> {
        let availability = match self.monitoring.lapsed {
            true => None,
            false => self.monitoring.deadline(self.clocks.last_message, policy),
        };
        let long_poll = self
            .channels
            .iter()
            .find(|channel| channel.kind == ChannelKind::LongPoll)
            .and_then(|channel| channel.open.as_ref())
            .map(|open| open.lapse(policy.long_poll_linger));
        [
            availability.map(|deadline| (deadline.next(), Due::Availability)),
            self.poll_due(policy).map(|due| (due, Due::Poll)),
            long_poll.map(|due| (due, Due::LongPoll)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Fires the deadline that [`Device::next_due`] names.
    pub fn fire(&mut self, context: &Context<'_>, out: &mut Vec<Effect>) {
        match self.next_due(context.policy) {
            Some((due, Due::Availability)) => self.fire_availability(due + Millis(-1), context, out),
            Some((due, Due::Poll)) => self.fire_poll(due, context, out),
            Some((due, Due::LongPoll)) => self.fire_long_poll(due, context, out),
            None => {}
        }
    }

    fn fire_availability(&mut self, at: Timestamp, context: &Context<'_>, out: &mut Vec<Effect>) {
        let monitoring = &mut self.monitoring;
        let Some(minutes) = monitoring.positive() else { return };
        monitoring.lapsed = true;
        let counted_from = monitoring.counted_from(self.clocks.last_message);
        let last_message = self.clocks.last_message;
        let set_by = monitoring.set_by;
        let sentence = receipt::deadline_passed(counted_from, last_message, minutes, set_by, at);
        let mut step = Step::new(at, Rule::DeadlinePassed, sentence);
        step.deadline = Some(Deadline { at, interval: Some((minutes, set_by)), counted_from, last_message });
        let open = self.verdict.take().and_then(|verdict| verdict.alarm);
        let (alarm, action) = match open {
            Some(mut alarm) => {
                alarm.count = alarm.count.saturating_add(1);
                alarm.last_at = at;
                (Some(alarm), AlarmEventAction::Updated)
            }
            None => (self.new_alarm(at, context), AlarmEventAction::Raised),
        };
        if let Some(alarm) = &alarm {
            step.alarm(alarm.event(action, None, None));
        }
        self.verdict = Some(Verdict {
            deadline: at,
            minutes,
            grace: context.policy.grace,
            told_as: self.sequence + 1,
            alarm,
        });
        self.settle(step, context, out);
    }

    /// An alarm as the policy wants it; none if the policy drops it.
    fn new_alarm(&self, at: Timestamp, context: &Context<'_>) -> Option<Alarm> {
        let rule = context.policy.alarm_rule(UNAVAILABILITY);
        if rule.is_some_and(|rule| rule.drop) {
            return None;
        }
        // Stable, the same in every replay, and safe in a path.
        let mut hash = Xxh3::new();
        hash.update(context.key.as_bytes());
        hash.update(&self.birth.millis().to_be_bytes());
        hash.update(&self.sequence.to_be_bytes());
        Some(Alarm {
            id: format!("{:032x}", hash.digest128()).into(),
            severity: rule.and_then(|rule| rule.severity).unwrap_or(Severity::Major),
            text: rule.and_then(|rule| rule.text.as_deref()).unwrap_or(UNAVAILABILITY_TEXT).into(),
            acknowledged: false,
            count: 1,
            first_at: at,
            last_at: at,
        })
    }

    fn fire_poll(&mut self, at: Timestamp, context: &Context<'_>, out: &mut Vec<Effect>) {
        let from = self.clocks.last_poll.max(self.poll_since);
        let slack = context.policy.poll_slack;
        self.poll_phase = match self.poll_phase {
            Heartbeat::Online if slack > Millis(0) => Heartbeat::Timeout,
            _ => Heartbeat::Offline,
        };
        let sentence = format!(
            "No poll since {}; the poll window of {} ended at {}.",
            from.time_of_day(),
            receipt::span(self.poll_window(context.policy)),
            at.time_of_day()
        );
        let mut step = Step::new(at, Rule::PollWindowPassed, sentence);
        step.deadline =
            Some(Deadline { at, interval: None, counted_from: from, last_message: self.clocks.last_message });
        self.settle(step, context, out);
    }

    fn fire_long_poll(&mut self, at: Timestamp, context: &Context<'_>, out: &mut Vec<Effect>) {
        let linger = context.policy.long_poll_linger;
        let Some(ended) = self.channel(ChannelKind::LongPoll).lapse(at) else { return };
        let why = format!("no poll for {}", receipt::span(linger));
        let counted_from = ended.polled_at.max(ended.seen_since);
        let entry = receipt::ended(ChannelKind::LongPoll, ended, at, &why, vec![Flag::Lapsed]);
        let mut step = Step::new(at, Rule::LongPollLapsed, entry.message.clone());
        step.deadline =
            Some(Deadline { at, interval: None, counted_from, last_message: self.clocks.last_message });
        step.log(at, Rule::LongPollLapsed, entry);
        self.settle(step, context, out);
    }

    /// A message observed at `at`: it may end or disprove the standing verdict.
    pub(super) fn message(&mut self, at: Timestamp, step: &mut Step, context: &Context<'_>) {
        self.clocks.last_message = self.clocks.last_message.max(at);
        let Some(verdict) = &self.verdict else { return };
        if verdict.is_disproved_by(at) {
            let was = verdict.deadline;
            // Also when maintenance came in between: D is the open alarm's own (SEMANTICS §6).
            step.retracts = Some(verdict.told_as);
            step.because(
                Rule::VerdictDisproved,
                format!(
                    "Data observed at {} arrived after the verdict of {} and disproves it.",
                    at.time_of_day(),
                    was.time_of_day()
                ),
            );
            self.end_verdict(ClearReason::Retracted, step);
        } else if at > verdict.deadline {
            self.end_verdict(ClearReason::DataReturned, step);
        } else {
            self.end_verdict_if_not_over(step, context);
        }
    }

    /// The device is not UNAVAILABLE any more, and its alarm is over.
    fn end_verdict(&mut self, reason: ClearReason, step: &mut Step) {
        self.monitoring.lapsed = false;
        if let Some(alarm) = self.verdict.take().and_then(|verdict| verdict.alarm) {
            step.alarm(alarm.event(AlarmEventAction::Cleared, Some(reason), None));
        }
    }

    /// By today's interval D is not over any more: the unavailability ends.
    pub(super) fn end_verdict_if_not_over(&mut self, step: &mut Step, context: &Context<'_>) {
        let deadline = self.monitoring.deadline(self.clocks.last_message, context.policy);
        if self.monitoring.lapsed && deadline.is_some_and(|deadline| deadline >= context.now) {
            self.end_verdict(ClearReason::IntervalChanged, step);
        }
    }

    /// R becomes `minutes`, set by `set_by`, as of `at`. Whether it changed.
    pub(super) fn set_minutes(
        &mut self,
        minutes: Option<i16>,
        set_by: IntervalSource,
        at: Timestamp,
        step: &mut Step,
        context: &Context<'_>,
    ) -> bool {
        let before = self.monitoring;
        self.monitoring.set_by = set_by;
        if before.minutes == minutes {
            return false;
        }
        self.monitoring.minutes = minutes;
        match (before.positive(), minutes) {
            (None, Some(1..)) => {
                self.monitoring.since = at.max(context.sight);
                self.monitoring.positive_since = at;
            }
            (Some(_), Some(1..)) if before.lapsed => self.end_verdict_if_not_over(step, context),
            (Some(_), Some(1..)) => self.monitoring.floor = self.monitoring.floor.max(at),
            (_, None) => self.end_verdict(ClearReason::MonitoringStopped, step),
            (_, Some(_)) => {
                self.monitoring.lapsed = false;
                // It acts when maintenance is switched on, not when it goes on by another interval (SEMANTICS §12).
                if context.policy.clear_on_maintenance && !before.is_maintenance() {
                    self.end_verdict(ClearReason::Maintenance, step);
                }
            }
        }
        true
    }

    /// Where no event set R, the policy's rules do. Whether R changed.
    pub(super) fn follow_policy_interval(
        &mut self,
        at: Timestamp,
        step: &mut Step,
        context: &Context<'_>,
    ) -> bool {
        if self.monitoring.by_event {
            return false;
        }
        let minutes = self.policy_interval(context);
        self.set_minutes(minutes, IntervalSource::Policy, at, step, context)
    }

    /// R as the policy's rules have it.
    pub(super) fn policy_interval(&self, context: &Context<'_>) -> Option<i16> {
        let (tenant, _) = super::event::split_key(context.key);
        let registration = &self.registration;
        let none = std::collections::BTreeMap::new();
        let labels = registration.labels.as_ref().map_or(&none, |fact| &fact.value);
        let device_type = registration.device_type.as_ref().map(|fact| &*fact.value);
        context.policy.required_interval(tenant, device_type, labels)
    }

    /// Settings changed: a poll window that is not over by them any more is open again; one that is now over lapses
    /// as a step of its own.
    pub(super) fn review_poll_window(&mut self, context: &Context<'_>) {
        let from = self.clocks.last_poll.max(self.poll_since);
        let window = from + self.poll_window(context.policy);
        let by_now = match context.now {
            _ if self.poll_phase == Heartbeat::Unknown => return,
            now if now < window => Heartbeat::Online,
            now if now < window + context.policy.poll_slack => Heartbeat::Timeout,
            _ => Heartbeat::Offline,
        };
        self.poll_phase = self.poll_phase.min(by_now);
    }

    /// Another policy is in force as of now.
    pub fn policy_changed(&mut self, before: &Policy, context: &Context<'_>, out: &mut Vec<Effect>) {
        let at = context.now;
        let mut step =
            Step::new(at, Rule::PolicyChanged, format!("The policy changed at {}.", at.time_of_day()));
        self.follow_policy_interval(at, &mut step, context);
        self.end_verdict_if_not_over(&mut step, context);
        self.review_poll_window(context);
        if context.policy.infer_sessions && !before.infer_sessions {
            // What arrived while nothing was inferred proves nothing.
            self.clocks.channels = [Timestamp::NEVER; 3];
            for channel in &mut self.channels {
                channel.named_proof = None;
            }
        }
        self.settle(step, context, out);
    }

    /// The monitor sees again, from `context.sight` on.
    pub fn sight(&mut self, context: &Context<'_>, out: &mut Vec<Effect>) {
        if self.poll_phase == Heartbeat::Online {
            self.poll_since = self.poll_since.max(context.sight);
        }
        if let Ok(index) = self.channels.binary_search_by_key(&ChannelKind::LongPoll, |channel| channel.kind)
            && let Some(open) = &mut self.channels[index].open
        {
            open.seen_since = open.seen_since.max(context.sight);
        }
        self.settle(Step::new(context.sight, Rule::Sight, "The monitor sees again."), context, out);
    }

    /// A node went down: the sessions it owned are over.
    pub fn node_down(
        &mut self,
        node: &str,
        at: Timestamp,
        timed_out: bool,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) {
        let (rule, why) = match timed_out {
            true => (Rule::NodeTimedOut, format!("node {node} fell silent")),
            false => (Rule::NodeDown, format!("node {node} went down")),
        };
        let mut step = Step::new(at, rule, format!("{why}: down since {}.", at.time_of_day()));
        let mut any = false;
        for index in 0..self.channels.len() {
            let kind = self.channels[index].kind;
            if let Some(ended) = self.channels[index].node_down(node, NodeEnd { at, timed_out }) {
                any = true;
                step.log(at, rule, receipt::ended(kind, ended, at, &why, vec![]));
                self.infer(kind, &mut step, context);
            }
        }
        if any {
            self.settle(step, context, out);
        }
    }

    /// A node's time-out was disproved at `at`.
    pub fn node_returned(&mut self, node: &str, at: Timestamp, context: &Context<'_>, out: &mut Vec<Effect>) {
        let why = format!("node {node} was never down, only late");
        let rule = Rule::NodeTimeoutDisproved;
        let mut step =
            Step::new(at, rule, format!("{why}; its sign of life of {} shows it.", at.time_of_day()));
        for index in 0..self.channels.len() {
            let kind = self.channels[index].kind;
            if let Some(opened) = self.channels[index].node_returns(node, context.nodes) {
                step.log(at, rule, receipt::inferred(kind, opened, &why));
            }
            // The recorded disconnect may be an earlier one now.
            self.infer(kind, &mut step, context);
        }
        self.settle(step, context, out);
    }

    /// Whether a walk for `node` can concern it at all.
    pub fn knows_node(&self, node: &str) -> bool {
        self.channels.iter().flat_map(Channel::sessions).any(|session| session.is_owned_by(node))
    }
}
