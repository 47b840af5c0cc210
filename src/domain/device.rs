//! The device: its facts, and how events and deadlines change them.

use std::collections::BTreeMap;

use super::channel::{Channel, ConnectOutcome, DisconnectOutcome};
use super::clocks::{Clocks, LastActivity, can_prove, moves, session_channel};
use super::effect::{Effect, Flag, Ignored, Outcome, Rule};
use super::event::{
    Activity, Body, ChannelKind, ClientKind, Connected, Disconnected, Initiator, PollSettings, Stage, Update,
};
use super::facet::{Facets, Heartbeat};
use super::monitoring::{Monitoring, Verdict};
use super::receipt;
use super::step::{Context, Step};
use super::time::Timestamp;

/// A fact and the observed time of the event that set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dated<T> {
    /// The fact.
    pub value: T,
    /// When it was set.
    pub set_at: Timestamp,
}

/// What is known of a device besides its behaviour.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registration {
    /// Its type.
    pub device_type: Option<Dated<Box<str>>>,
    /// Its name for people.
    pub name: Option<Dated<Box<str>>>,
    /// What kind of client it is.
    pub client_kind: Option<Dated<ClientKind>>,
    /// The device it sits behind.
    pub parent: Option<Dated<Box<str>>>,
    /// Key/value pairs.
    pub labels: Option<Dated<BTreeMap<String, String>>>,
}

/// Where a device stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LifecycleFact {
    /// The stage.
    pub stage: Stage,
    /// Since when; the same stage again does not restart it.
    pub stage_since: Timestamp,
    /// Percent.
    pub progress: Option<u8>,
}

/// Everything that is known of one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Arrival of its first record; names this life of the device.
    pub birth: Timestamp,
    /// The earliest observed time of its events.
    pub earliest: Timestamp,
    /// The delete of its predecessor: nothing observed at or before it counts.
    pub deleted_at: Timestamp,
    /// Number of the last effect.
    pub sequence: u64,
    /// What signs of life move.
    pub clocks: Clocks,
    /// The last connect over any channel, long polls and inferred ones included.
    pub last_connect: Timestamp,
    /// When its record was last edited (seed: last updated).
    pub last_updated: Timestamp,
    /// What is known of it.
    pub registration: Registration,
    /// The required interval.
    pub monitoring: Monitoring,
    /// The standing verdict.
    pub verdict: Option<Verdict>,
    /// Where it stands in its life.
    pub lifecycle: Option<Dated<LifecycleFact>>,
    /// The state of an update.
    pub update: Option<Dated<Update>>,
    /// How it polls.
    pub poll_settings: Option<Dated<PollSettings>>,
    /// The return of sight that its poll window counts from.
    pub poll_since: Timestamp,
    /// How far the poll window has run out, as told.
    pub poll_phase: Heartbeat,
    /// Its channels, in the order of [`ChannelKind`].
    pub channels: Vec<Channel>,
    /// What was told last.
    pub facets: Facets,
}

/// A deadline of a device; the order is that of equal moments (SEMANTICS §12).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Due {
    /// D has passed.
    Availability,
    /// The poll window, or its slack, is over.
    Poll,
    /// The long poll lapsed.
    LongPoll,
}

impl Device {
    /// A device that comes into being with a record that arrives at `birth`. `sequence` and `deleted_at` go on from a
    /// tombstone, where one stands.
    pub fn new(birth: Timestamp, sequence: u64, deleted_at: Timestamp) -> Device {
        Device {
            birth,
            earliest: Timestamp::MAX,
            deleted_at,
            sequence,
            clocks: Clocks::default(),
            last_connect: Timestamp::NEVER,
            last_updated: Timestamp::NEVER,
            registration: Registration::default(),
            monitoring: Monitoring::default(),
            verdict: None,
            lifecycle: None,
            update: None,
            poll_settings: None,
            poll_since: Timestamp::NEVER,
            poll_phase: Heartbeat::Unknown,
            channels: Vec::new(),
            facets: Facets::START,
        }
    }

    /// Folds one event, observed at `at` (clamped if it had to be).
    pub fn apply(
        &mut self,
        body: &Body<'_>,
        at: Timestamp,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        if self.is_before_delete(at, context) {
            return Outcome::Ignored(Ignored::Deleted);
        }
        if self.earliest == Timestamp::MAX {
            // The policy's interval is in force from the first event on; that event tells it.
            self.follow_policy_interval(at, &mut Step::new(at, Rule::PolicyChanged, ""), context);
        }
        self.earliest = self.earliest.min(at);
        match body {
            Body::Connected(event) => self.connected(event, at, context, out),
            Body::Disconnected(event) => self.disconnected(event, at, context, out),
            Body::ConnectFailed(event) => {
                if !self.channel(event.channel).connect_failed(at) {
                    return Outcome::Ignored(Ignored::Duplicate);
                }
                let entry = receipt::connect_failed(event);
                let mut step = Step::new(at, Rule::ConnectFailed, entry.message.clone());
                step.log(at, Rule::ConnectFailed, entry);
                self.settle(step, context, out);
                Outcome::Applied
            }
            Body::Activity(event) => {
                self.activity(event, at, context, out);
                Outcome::Applied
            }
            Body::Delete(event) => self.delete(event, at, context, out),
            _ => self.command(body, at, context, out),
        }
    }

    /// Whether what was observed at `at` does not count, because the predecessor's tombstone stands.
    pub(super) fn is_before_delete(&self, at: Timestamp, context: &Context<'_>) -> bool {
        at <= self.deleted_at && context.now < self.deleted_at + context.policy.tombstone_retention
    }

    /// The channel's sessions, made where there are none.
    pub(super) fn channel(&mut self, kind: ChannelKind) -> &mut Channel {
        let index = match self.channels.binary_search_by_key(&kind, |channel| channel.kind) {
            Ok(index) => index,
            Err(index) => {
                self.channels.insert(index, Channel::new(kind));
                index
            }
        };
        &mut self.channels[index]
    }

    /// Whether it was ever heard from, and when last: any connect, poll or message.
    pub fn last_heard(&self) -> Timestamp {
        self.last_connect.max(self.clocks.last_poll).max(self.clocks.last_message)
    }

    fn connected(
        &mut self,
        event: &Connected<'_>,
        at: Timestamp,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        use ConnectOutcome as O;
        let outcome = self.channel(event.channel).connect(event, at, context);
        if outcome == O::Duplicate {
            return Outcome::Ignored(Ignored::Duplicate);
        }
        self.last_connect = self.last_connect.max(at);
        if matches!(event.channel, ChannelKind::Mqtt | ChannelKind::Websocket | ChannelKind::Lwm2m) {
            self.clocks.touch(LastActivity::Connected, at);
        }
        let (rule, flags) = match outcome {
            O::Stale => (Rule::ConnectedStale, vec![Flag::Stale]),
            O::Late => (Rule::ConnectedLate, vec![Flag::Late]),
            O::Opened | O::Polled(_) | O::Duplicate => (Rule::Connected, vec![]),
        };
        let entry = receipt::connected(event, flags);
        let mut step = Step::new(at, rule, format!("{} at {}.", entry.message, at.time_of_day()));
        if !matches!(outcome, O::Polled(_)) {
            step.log(at, rule, entry);
        }
        self.infer(event.channel, &mut step, context);
        self.settle(step, context, out);
        match outcome {
            O::Stale => Outcome::Ignored(Ignored::Stale),
            O::Polled(false) => Outcome::Ignored(Ignored::Duplicate),
            _ => Outcome::Applied,
        }
    }

    fn disconnected(
        &mut self,
        event: &Disconnected<'_>,
        at: Timestamp,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        use DisconnectOutcome as O;
        let outcome = self.channel(event.channel).disconnect(event, at);
        let (rule, lasted, flags) = match &outcome {
            O::Duplicate => return Outcome::Ignored(Ignored::Duplicate),
            O::TakenOver(lasted) => (Rule::TakenOver, *lasted, vec![]),
            O::Stale(lasted) => (Rule::DisconnectedStale, *lasted, vec![Flag::Stale]),
            O::Ended(lasted) => (Rule::Disconnected, *lasted, vec![]),
        };
        let initiator = super::reason::initiator(event.initiator, event.mqtt_reason_code, event.close_code);
        if initiator == Initiator::Client {
            self.clocks.touch(LastActivity::Disconnected, at);
        }
        let entry = receipt::disconnected(event, lasted, flags);
        let mut step = Step::new(at, rule, format!("{} at {}.", entry.message, at.time_of_day()));
        step.log(at, rule, entry);
        self.infer(event.channel, &mut step, context);
        self.settle(step, context, out);
        if matches!(outcome, O::Stale(_)) { Outcome::Ignored(Ignored::Stale) } else { Outcome::Applied }
    }

    /// Reopens a session that activity proves (SEMANTICS §3, disproof), and logs it.
    pub(super) fn infer(&mut self, kind: ChannelKind, step: &mut Step, context: &Context<'_>) {
        let Some(index) = session_channel(kind) else { return };
        if !context.policy.infer_sessions {
            return;
        }
        let nameless_at = self.clocks.channels[index];
        let Some(inferred) = self.channel(kind).infer(nameless_at) else { return };
        let at = inferred.connected_at;
        let why = format!("activity at {} proves that a connect was lost", at.time_of_day());
        step.log(at, Rule::SessionInferred, receipt::inferred(kind, &inferred, &why));
        // "Heard from: any connect": there was one.
        self.last_connect = self.last_connect.max(at);
    }

    fn activity(
        &mut self,
        event: &Activity<'_>,
        at: Timestamp,
        context: &Context<'_>,
        out: &mut Vec<Effect>,
    ) {
        let moves = moves(event, context.policy);
        let what = event.kind;
        let mut step = Step::new(at, Rule::Activity, format!("Seen at {} ({what}).", at.time_of_day()));
        if moves.poll {
            self.polled(at, context);
        }
        if let Some(kind) = moves.activity {
            self.clocks.touch(kind, at);
        }
        if moves.message {
            step.because(Rule::DataReceived, format!("Data received at {} ({what}).", at.time_of_day()));
            self.message(at, &mut step, context);
        }
        match event.channel {
            Some(ChannelKind::LongPoll) => self.long_polled(event, at, &mut step, context),
            Some(kind) => {
                if let Some(index) = session_channel(kind)
                    && can_prove(event)
                    && context.policy.infer_sessions
                {
                    self.prove(kind, index, event, at, &mut step, context);
                }
            }
            None => {}
        }
        self.settle(step, context, out);
    }

    fn long_polled(&mut self, event: &Activity<'_>, at: Timestamp, step: &mut Step, context: &Context<'_>) {
        use ConnectOutcome as O;
        let poll = Connected {
            channel: ChannelKind::LongPoll,
            session: event.session,
            node_id: None,
            client_address: None,
            protocol: None,
            secure: None,
            keep_alive_seconds: None,
            clean_start: None,
            user: None,
            can_receive_operations: true,
        };
        let outcome = self.channel(ChannelKind::LongPoll).connect(&poll, at, context);
        self.last_connect = self.last_connect.max(at);
        let (rule, flags) = match outcome {
            O::Duplicate | O::Polled(_) => return,
            O::Stale => (Rule::ConnectedStale, vec![Flag::Stale]),
            O::Late => (Rule::ConnectedLate, vec![Flag::Late]),
            O::Opened => (Rule::Connected, vec![]),
        };
        step.log(at, rule, receipt::connected(&poll, flags));
    }

    fn prove(
        &mut self,
        kind: ChannelKind,
        index: usize,
        event: &Activity<'_>,
        at: Timestamp,
        step: &mut Step,
        context: &Context<'_>,
    ) {
        let session = &event.session;
        let is_named = session.id.is_some() || session.sequence.is_some() || session.started_at.is_some();
        if !is_named {
            self.clocks.channels[index] = self.clocks.channels[index].max(at);
            if let Ok(found) = self.channels.binary_search_by_key(&kind, |channel| channel.kind)
                && self.channels[found].named_proof.as_ref().is_some_and(|proof| proof.at == at)
            {
                // Of two proving activities at one time the later arrival counts.
                self.channels[found].named_proof = None;
            }
        } else {
            self.channel(kind).keep_named_proof(session, at);
        }
        if self.channels.iter().any(|channel| channel.kind == kind) {
            self.infer(kind, step, context);
        }
    }

    fn polled(&mut self, at: Timestamp, context: &Context<'_>) {
        let later = at > self.clocks.last_poll;
        self.clocks.last_poll = self.clocks.last_poll.max(at);
        let first = self.poll_phase == Heartbeat::Unknown;
        // In hindsight, a poll from before the return of sight moves no window that is over.
        if later && (first || at >= context.sight) {
            self.poll_phase = Heartbeat::Online;
        }
    }
}
