//! What another policy would have done over the same past: the same inputs with the same clock, but for the policies
//! among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::effect::{AlarmEventAction, AlarmState, ClearReason, EffectKind, Origin};
use crate::domain::event::{Event, Subject};
use crate::domain::facet::{Availability, Facet};
use crate::domain::policy::Policy;
use crate::domain::time::{Millis, Timestamp};
use crate::engine::core::Output;
use crate::engine::journal::{self, Entry};
use crate::engine::step::{Input, Partition, Settings};
use crate::follow::Follower;
use crate::log::Archive;
use crate::log::Slot;
use crate::log::Topic;
use crate::wire::decode::{self, Limits, RawRecord, Scratch};

use super::Span;
use super::derive::{Anchor, Deriver, Obstacle};
use super::export::ExportError;

/// Why the past cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] ExportError),
    /// An entry cannot be derived.
    #[error("partition {partition}, entry {seq}: {source}")]
    Obstacle {
        /// The partition.
        partition: u32,
        /// The entry.
        seq: u64,
        /// Why.
        source: Obstacle,
    },
    /// There is no state from which to start.
    #[error(
        "partition {partition}: the journal does not begin at entry 1, and there is no anchor in what is left of it: \
         the past cannot be derived"
    )]
    NoStart {
        /// The partition.
        partition: u32,
    },
    /// The journal is not what is derived.
    #[error(
        "partition {partition}, entry {seq}: what is derived is not what the journal says; `lastseen replay --verify` \
         tells why"
    )]
    Differs {
        /// The partition.
        partition: u32,
        /// The entry.
        seq: u64,
    },
}

impl From<crate::log::LogError> for WhatIfError {
    fn from(error: crate::log::LogError) -> WhatIfError {
        WhatIfError::Journal(error.into())
    }
}

/// An alarm that was raised, or occurred again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// The deadline that passed.
    pub at: Timestamp,
    /// What the deadline counted from: it tells the silence, whatever the policy.
    pub silent_since: Timestamp,
    /// Later data disproved it.
    pub retracted: bool,
}

/// What a policy did to one device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ledger {
    /// Its alarms, in order.
    pub alarms: Vec<Occurrence>,
    /// How long it was unavailable; retracted verdicts do not count.
    pub unavailable: i64,
    since: Option<Timestamp>,
}

impl Ledger {
    fn effect(&mut self, output: &Output) {
        let effect = &output.effect;
        match &effect.kind {
            EffectKind::Alarm(alarm) => match alarm.action {
                AlarmEventAction::Raised | AlarmEventAction::Updated => {
                    let deadline = effect.cause.deadline.as_ref();
                    let silent_since = deadline.map_or(effect.at, |deadline| deadline.counted_from);
                    self.alarms.push(Occurrence { at: effect.at, silent_since, retracted: false });
                }
                AlarmEventAction::Cleared if alarm.reason == Some(ClearReason::Retracted) => {
                    debug_assert_eq!(alarm.state, AlarmState::Cleared);
                    if let Some(last) = self.alarms.last_mut() {
                        last.retracted = true;
                    }
                }
                AlarmEventAction::Cleared | AlarmEventAction::Acknowledged => {}
            },
            EffectKind::Status(change) => {
                let unavailable = Availability::Unavailable.word();
                for change_of in change.changes.iter().filter(|change| change.facet == Facet::Availability) {
                    if change_of.to == unavailable {
                        self.since = Some(effect.at);
                    } else if change_of.from == unavailable
                        && let Some(since) = self.since.take()
                        && change.retracts.is_none()
                    {
                        self.unavailable += (effect.at - since).0.max(0);
                    }
                }
            }
            EffectKind::Log(_) | EffectKind::Audit(_) => {}
        }
    }

    fn end(&mut self, clock: Timestamp) {
        if let Some(since) = self.since.take() {
            self.unavailable += (clock - since).0.max(0);
        }
    }
}

/// What became of one device under both policies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceChange {
    /// Its record key.
    pub key: String,
    /// Alarms that only the other policy raises.
    pub gained: Vec<Occurrence>,
    /// Alarms that only the past had.
    pub lost: Vec<Occurrence>,
    /// Alarms of the same silence at another time: as it was, and as it would have been.
    pub moved: Vec<(Occurrence, Occurrence)>,
    /// Alarms that are the same.
    pub same: u64,
    /// Milliseconds of unavailability as they were, and as they would have been.
    pub unavailable: (i64, i64),
}

impl DeviceChange {
    fn of(key: String, was: &Ledger, would: &Ledger) -> DeviceChange {
        let mut change = DeviceChange {
            key,
            unavailable: (was.unavailable, would.unavailable),
            ..DeviceChange::default()
        };
        let mut left: Vec<Option<Occurrence>> = would.alarms.iter().copied().map(Some).collect();
        for alarm in &was.alarms {
            let of_silence = |other: &&mut Option<Occurrence>| {
                other.is_some_and(|other| other.silent_since == alarm.silent_since)
            };
            match left.iter_mut().find(of_silence).and_then(Option::take) {
                None => change.lost.push(*alarm),
                Some(other) if other.at == alarm.at => change.same += 1,
                Some(other) => change.moved.push((*alarm, other)),
            }
        }
        change.gained = left.into_iter().flatten().collect();
        change
    }

    /// Whether anything is other.
    pub fn is_any(&self) -> bool {
        !self.gained.is_empty()
            || !self.lost.is_empty()
            || !self.moved.is_empty()
            || self.unavailable.0 != self.unavailable.1
    }

    /// Alarms that were false, for later data disproved them, and would not have been raised.
    pub fn false_avoided(&self) -> u64 {
        self.lost.iter().filter(|alarm| alarm.retracted).count() as u64
    }
}

/// What became of the devices of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WhatIf {
    /// Each device that had an alarm or was unavailable under either policy, by key.
    pub devices: Vec<DeviceChange>,
    /// Entries that were derived.
    pub entries: u64,
    /// The last clock.
    pub until: Option<Timestamp>,
}

/// Derives one partition twice: as it was, and as `policy` would have had it.
///
/// # Errors
/// The log fails; the past cannot be derived, or is not what the journal says.
pub fn what_if(
    archive: &mut dyn Archive,
    partition: u32,
    settings: &Settings,
    span: Span,
    anchors: &[Anchor],
    policy: &Policy,
    progress: &dyn Fn(u64, u64),
) -> Result<WhatIf, WhatIfError> {
    let from = span.from.unwrap_or(Timestamp::NEVER);
    let nearest = anchors.iter().filter(|anchor| anchor.clock < from).max_by_key(|anchor| anchor.head.seq);
    let mut follower = Follower::new(partition);
    let end = archive.settled(Topic::Journal, partition)?;
    let mut both: Option<Both> = None;
    let mut result = WhatIf::default();
    let mut told = 0;
    while let Some(record) = follower.next_record(archive, end)? {
        let entry = journal::open(record.value.as_deref().unwrap_or_default())
            .map_err(|source| ExportError::Entry { partition, offset: record.offset, source })?;
        if span.over(entry.clock()) {
            break;
        }
        let seq = entry.entry.seq;
        let obstacle = |source| WhatIfError::Obstacle { partition, seq, source };
        if both.is_none() {
            both = Both::begin(partition, settings, &entry, anchors, nearest, policy).map_err(obstacle)?;
        }
        let mut records = 0;
        if let Some(both) = &mut both {
            let derived = both.was.derive(archive, &entry).map_err(obstacle)?;
            if derived.head.hash != entry.hash {
                return Err(WhatIfError::Differs { partition, seq });
            }
            both.step(&entry, span.begun(entry.clock()));
            records = entry.entry.ranges.iter().map(|range| range.count).sum();
            result.entries += 1;
            result.until = Some(entry.clock());
        }
        let offset = record.offset + 1;
        progress(offset - told, records);
        told = offset;
    }
    match both {
        Some(both) => result.devices = both.end(),
        None if told > 0 => return Err(WhatIfError::NoStart { partition }),
        None => {}
    }
    Ok(result)
}

/// The past and its other.
struct Both {
    was: Deriver,
    would: Partition,
    scratch: Scratch,
    ledgers: BTreeMap<Box<str>, (Ledger, Ledger)>,
}

impl Both {
    fn begin(
        number: u32,
        settings: &Settings,
        entry: &Entry,
        anchors: &[Anchor],
        nearest: Option<&Anchor>,
        policy: &Policy,
    ) -> Result<Option<Both>, Obstacle> {
        // Nothing cuts it short: it says more, or less, than the past did.
        let unbounded = Settings { effects_max: usize::MAX, ..settings.clone() };
        let (was, mut would) = match nearest {
            None if entry.entry.seq == 1 => {
                let was = Deriver::genesis(number, settings.clone(), entry);
                (was, Partition::new(number, Arc::new(unbounded), 0))
            }
            _ => {
                let wanted = |anchor: &&Anchor| {
                    anchor.head.seq + 1 == entry.entry.seq
                        && nearest.is_none_or(|nearest| anchor.head.seq >= nearest.head.seq)
                };
                let Some(anchor) = anchors.iter().find(wanted) else { return Ok(None) };
                let was = Deriver::anchored(number, settings.clone(), anchor, None)?;
                (was, Deriver::anchored(number, unbounded, anchor, None)?.partition)
            }
        };
        let mut ledgers = BTreeMap::new();
        if would.core.table.is_empty() {
            would.core.policy = Arc::new(policy.clone());
        } else {
            let subject = Subject::Policy(Box::new(policy.clone()));
            let event = Event { observed_at: None, event_id: None, subject };
            let clock = would.core.clock;
            would.core.begin_step();
            let _ = would.core.apply(&event, clock, Origin::Clock);
            let _ = would.core.advance(clock, usize::MAX);
            note(&mut ledgers, &would.core.outputs, |ledgers| &mut ledgers.1);
        }
        Ok(Some(Both { was, would, scratch: Scratch::new(), ledgers }))
    }

    /// The past has taken its step; the other takes the same, without policies.
    fn step(&mut self, entry: &Entry, is_asked: bool) {
        let (queues, arena) = self.was.last_taken();
        let partitions = self.was.partition.settings.partitions;
        let limits = Limits { bytes_max: self.was.partition.settings.record_bytes_max };
        let kept = queues.map(|queue| -> Vec<Slot> {
            let mut is_policy = |slot: &&Slot| {
                let content_type = decode::content_type(slot.headers.as_deref().unwrap_or_default());
                let record = RawRecord {
                    key: slot.key.clone().map(|range| &arena[range]),
                    value: slot.value.clone().map(|range| &arena[range]),
                    content_type,
                    partition: slot.partition,
                    partitions,
                };
                self.scratch.clear();
                let decoded = decode::decode(&record, &self.scratch, &limits);
                decoded.is_ok_and(|event| matches!(event.subject, Subject::Policy(_)))
            };
            queue.iter().filter(|slot| !is_policy(slot)).cloned().collect()
        });
        self.would.settings = {
            let settings = &self.was.partition.settings;
            Arc::new(Settings { effects_max: usize::MAX, ..(**settings).clone() })
        };
        let gap = entry.gap(self.would.positions);
        let queues = kept.each_ref().map(Vec::as_slice);
        let positions = self.was.partition.positions;
        if let Ok(input) = Input::again(entry, queues, arena, positions, gap.as_ref()) {
            let _ = self.would.step(&input);
        }
        if is_asked {
            note(&mut self.ledgers, &self.was.partition.core.outputs, |ledgers| &mut ledgers.0);
            note(&mut self.ledgers, &self.would.core.outputs, |ledgers| &mut ledgers.1);
        }
    }

    fn end(self) -> Vec<DeviceChange> {
        let clock = self.was.partition.core.clock;
        let of_device = |(key, (mut was, mut would)): (Box<str>, (Ledger, Ledger))| {
            was.end(clock);
            would.end(clock);
            DeviceChange::of(key.into_string(), &was, &would)
        };
        self.ledgers.into_iter().map(of_device).collect()
    }
}

type Ledgers = BTreeMap<Box<str>, (Ledger, Ledger)>;

fn note(ledgers: &mut Ledgers, outputs: &[Output], side: fn(&mut (Ledger, Ledger)) -> &mut Ledger) {
    for output in outputs {
        let tells = match &output.effect.kind {
            EffectKind::Alarm(_) => true,
            EffectKind::Status(change) => {
                change.changes.iter().any(|change| change.facet == Facet::Availability)
            }
            EffectKind::Log(_) | EffectKind::Audit(_) => false,
        };
        if tells {
            side(ledgers.entry(output.key.clone()).or_default()).effect(output);
        }
    }
}

/// Sums over devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Devices that had an alarm or were unavailable under either policy.
    pub devices: u64,
    /// Devices for which anything is other.
    pub changed: u64,
    /// Alarms as they were, and as they would have been.
    pub alarms: (u64, u64),
    /// Alarms that only the other policy raises.
    pub gained: u64,
    /// Alarms that only the past had.
    pub lost: u64,
    /// Alarms at another time.
    pub moved: u64,
    /// False alarms that would not have been raised.
    pub false_avoided: u64,
    /// False alarms that only the other policy raises.
    pub false_gained: u64,
    /// Unavailability as it was, and as it would have been.
    pub unavailable: (Millis, Millis),
}

impl Totals {
    /// Of these devices.
    pub fn of<'a>(devices: impl IntoIterator<Item = &'a DeviceChange>) -> Totals {
        let mut totals = Totals::default();
        for device in devices {
            let DeviceChange { gained, lost, moved, same, unavailable, .. } = device;
            let both = *same + moved.len() as u64;
            totals.devices += 1;
            totals.changed += u64::from(device.is_any());
            totals.alarms.0 += both + lost.len() as u64;
            totals.alarms.1 += both + gained.len() as u64;
            totals.gained += gained.len() as u64;
            totals.lost += lost.len() as u64;
            totals.moved += moved.len() as u64;
            totals.false_avoided += device.false_avoided();
            totals.false_gained += gained.iter().filter(|alarm| alarm.retracted).count() as u64;
            totals.unavailable.0.0 += unavailable.0;
            totals.unavailable.1.0 += unavailable.1;
        }
        totals
    }
}
