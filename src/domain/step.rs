//! One step of one device: what it tells, staged until the facts are settled, then told in the fixed order status,
//! alarms, connection log, audit (SEMANTICS §8).

use super::effect::{
    AlarmEvent, AuditEntry, Cause, Deadline, Effect, EffectKind, LogEntry, Origin, Rule, StatusChange,
};
use super::facet::Facets;
use super::node::Nodes;
use super::policy::Policy;
use super::time::Timestamp;

/// What a device's step may look at besides the device: all of it is input.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The record key, `tenant/device_id`.
    pub key: &'a str,
    /// *Now*: the arrival of the record, or the clock reading that a deadline fell due by.
    pub now: Timestamp,
    /// The last return of sight; never, if there was none.
    pub sight: Timestamp,
    /// The policy in force.
    pub policy: &'a Policy,
    /// The partition's nodes.
    pub nodes: &'a Nodes,
    /// The deciding record.
    pub origin: Origin,
    /// The event's own id.
    pub event_id: Option<&'a str>,
}

/// What a step tells, before it has its numbers.
#[derive(Debug)]
pub(super) struct Step {
    /// When it became true.
    pub at: Timestamp,
    /// The rule that decided.
    pub rule: Rule,
    /// The deadline, if time decided.
    pub deadline: Option<Deadline>,
    /// Why, in one plain sentence.
    pub sentence: String,
    /// The effect that the status change disproves.
    pub retracts: Option<u64>,
    alarms: Vec<AlarmEvent>,
    log: Vec<(Timestamp, Rule, LogEntry)>,
    audit: Option<AuditEntry>,
}

impl Step {
    /// A step that became true at `at` by `rule`.
    pub fn new(at: Timestamp, rule: Rule, sentence: impl Into<String>) -> Step {
        Step {
            at,
            rule,
            deadline: None,
            sentence: sentence.into(),
            retracts: None,
            alarms: Vec::new(),
            log: Vec::new(),
            audit: None,
        }
    }

    /// Gives the whole step another reason: a consequence that matters more than the event itself.
    pub fn because(&mut self, rule: Rule, sentence: impl Into<String>) {
        self.rule = rule;
        self.sentence = sentence.into();
    }

    pub fn alarm(&mut self, event: AlarmEvent) {
        self.alarms.push(event);
    }

    pub fn log(&mut self, at: Timestamp, rule: Rule, entry: LogEntry) {
        self.log.push((at, rule, entry));
    }

    pub fn audit(&mut self, entry: AuditEntry) {
        self.audit = Some(entry);
    }

    /// Tells it: status first, then alarms, the log, the audit, numbered on from `sequence`.
    pub fn tell(
        self,
        context: &Context<'_>,
        before: &Facets,
        after: &Facets,
        progress: Option<u8>,
        sequence: &mut u64,
        out: &mut Vec<Effect>,
    ) {
        let Step { at, rule, deadline, sentence, retracts, alarms, log, audit } = self;
        let mut tell = |at, rule, sentence: &str, kind| {
            // Outcomes of commands are no effects of the device: they carry the number of the last one.
            *sequence += u64::from(!matches!(kind, EffectKind::Audit(_)));
            let cause = Cause {
                rule,
                origin: context.origin,
                deadline,
                event_id: context.event_id.map(Into::into),
                sentence: sentence.into(),
            };
            out.push(Effect { sequence: *sequence, at, recorded_at: context.now, cause, kind });
        };
        let changes = Facets::changes(before, after);
        if !changes.is_empty() {
            tell(at, rule, &sentence, EffectKind::Status(StatusChange { changes, progress, retracts }));
        }
        for event in alarms {
            tell(at, rule, &sentence, EffectKind::Alarm(event));
        }
        for (at, rule, entry) in log {
            let sentence = entry.message.clone();
            tell(at, rule, &sentence, EffectKind::Log(entry));
        }
        if let Some(entry) = audit {
            tell(at, rule, &sentence, EffectKind::Audit(entry));
        }
    }
}
