//! A mixed fleet, as a processor leaves it: the steps of each partition are taken, their rows are written to an embedded log
//! and their alarms to the view's database, and the rest of what they say to nobody. The clock stands still, so that the
//! same number of devices is always the same fleet.

use std::path::Path;
use std::sync::Arc;

use lastseen::domain::effect::InputTopic;
use lastseen::domain::event::{
    Activity, ActivityKind, AlarmAction, AlarmCommand, AlarmTarget, Body, ChannelKind, ClientKind, Connected,
    Disconnected, Event, Initiator, IntervalSource, Lifecycle, PollSettings, Register, RequiredInterval,
    SessionRef, Stage, Subject, Traffic, Update, UpdatePhase,
};
use lastseen::domain::monitoring::UNAVAILABILITY;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::journal::Head;
use lastseen::engine::step::{Input, Partition, Settings};
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog};
use lastseen::log::{Append, Inbox, OutRecord, Scanned, Topic};
use lastseen::query::history::History;
use lastseen::wire::encode::encode_event;
use lastseen::wire::output::{self, Format, OutputKind};
use lastseen::wire::partition;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const TENANT: &str = "acme";
/// The log that the view's database is of.
pub const NAME: &str = "bench";
/// The device whose connection log is asked for.
const LOGGED: &str = "acme/device-00000121";
pub const PARTITIONS: u32 = 4;
/// Where the clock stands.
pub const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Devices of a step.
const STEP: usize = 5_000;
/// Of how many devices one has an overall status that is rare, and how many such statuses there are.
const RARE: u32 = 5_000;

/// The id of a device: in the order of numbers, of which no step has neighbours.
pub fn id_of(number: u32) -> String {
    format!("device-{number:08}")
}

/// What has happened, a partition at a time.
struct Past<'h> {
    partition: Partition,
    history: &'h History,
    queues: [Inbox; 3],
    steps: u64,
}

/// Makes the fleet: its log in `dir`, and what its view will know of the past in `view`.
pub fn made(dir: &Path, view: &Path, devices: u32) -> EmbeddedLog {
    let config =
        EmbeddedConfig { partitions: PARTITIONS, retention_thread: false, ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(dir, config, Arc::new(|| NOW)).expect("a log");
    let settings = Settings { partitions: PARTITIONS, format: Format::Protobuf, ..Settings::default() };
    let settings = Arc::new(settings);
    // Keys come in any order.
    let order = devices.next_power_of_two();
    let mixed = (0..order).map(|number| number.wrapping_mul(2_654_435_761) % order);
    let mut of_partition = vec![Vec::new(); PARTITIONS as usize];
    for number in mixed.filter(|number| *number < devices) {
        let key = format!("{TENANT}/{}", id_of(number));
        of_partition[partition::of(key.as_bytes(), PARTITIONS) as usize].push(number);
    }
    let (history, _) = History::open(view, NAME).expect("a database");
    std::thread::scope(|scope| {
        for (numbers, partition) in of_partition.into_iter().zip(0..) {
            let partition = Partition::new(partition, Arc::clone(&settings), 1);
            let mut past = Past { partition, history: &history, queues: Default::default(), steps: 0 };
            let log = &log;
            scope.spawn(move || past.of(&numbers, log));
        }
    });
    history.flush().expect("it is written");
    log
}

impl Past<'_> {
    fn of(&mut self, numbers: &[u32], log: &EmbeddedLog) {
        // All of them say what they are, and what they did.
        for some in numbers.chunks(STEP) {
            some.iter().for_each(|number| self.lives(*number));
            self.step(NOW + Millis::from_seconds(-60));
        }
        // Deadlines pass: alarms are raised.
        self.step(NOW);
        // Some are acknowledged, some come back.
        for some in numbers.chunks(STEP) {
            for number in some {
                let key = format!("{TENANT}/{}", id_of(*number));
                match number % 40 {
                    3 => self.said(&key, 0, acknowledged()),
                    7 => self.said(&key, 0, activity(ActivityKind::MqttPublish)),
                    _ => {}
                }
            }
            self.step(NOW);
        }
        // Rows of no entry: there is no journal.
        self.partition.head = Head::default();
        let rows = (0..self.partition.core.table.capacity()).filter_map(|number| self.partition.row(number));
        let mut records = rows.map(|(key, value)| OutRecord {
            topic: Topic::State,
            partition: self.partition.number,
            timestamp: NOW,
            key: Some(key.as_bytes().to_vec()),
            value: Some(value),
            headers: Vec::new(),
        });
        loop {
            let some: Vec<OutRecord> = records.by_ref().take(STEP).collect();
            if some.is_empty() {
                break;
            }
            log.append(&some).expect("it is written");
        }
    }

    fn said(&mut self, key: &str, minutes_ago: i64, body: Body<'_>) {
        let topic = match &body {
            Body::Connected(_) | Body::Disconnected(_) | Body::ConnectFailed(_) => InputTopic::Connections,
            Body::Activity(_) => InputTopic::Activity,
            _ => InputTopic::Control,
        };
        let at = NOW + Millis::from_seconds(-60 * minutes_ago);
        let event = Event { observed_at: Some(at), event_id: None, subject: Subject::Device { key, body } };
        let inbox = &mut self.queues[topic as usize];
        let record = Scanned {
            offset: self.partition.positions[topic as usize] + inbox.slots.len() as u64,
            timestamp: self.partition.core.clock,
            key: Some(key.as_bytes()),
            value: Some(&encode_event(&event)),
            headers: &[],
        };
        inbox.push(topic, self.partition.number, record);
    }

    /// Takes what was said, and writes what comes of it.
    fn step(&mut self, clock: Timestamp) {
        let mut arena = Vec::new();
        let mut bases = [0; 3];
        for (inbox, base) in self.queues.iter().zip(&mut bases) {
            *base = arena.len();
            arena.extend_from_slice(&inbox.arena);
        }
        let mut queues = std::mem::take(&mut self.queues).map(|inbox| inbox.slots);
        for (slots, base) in queues.iter_mut().zip(bases) {
            for slot in slots {
                let moved = |range: &mut std::ops::Range<usize>| {
                    *range = range.start + base..range.end + base;
                };
                slot.key.as_mut().map(moved);
                slot.value.as_mut().map(moved);
            }
        }
        let mut left: [&[_]; 3] = [&queues[0], &queues[1], &queues[2]];
        let mut positions = self.partition.positions;
        positions.iter_mut().zip(left).for_each(|(position, slots)| *position += slots.len() as u64);
        loop {
            let input = Input::new(left, &arena, positions, clock);
            let Some(told) = self.partition.step(&input) else { return };
            for (slots, taken) in left.iter_mut().zip(told.taken) {
                *slots = &slots[taken..];
            }
            self.keep(&told.records);
            if !told.full {
                return;
            }
        }
    }

    /// Keeps the alarms, and of the connection log what is asked for.
    fn keep(&mut self, records: &[OutRecord]) {
        self.steps += 1;
        let mut batch = self.history.batch();
        for (record, index) in records.iter().zip(0..) {
            let kind = match record.topic {
                Topic::Alarms => OutputKind::Alarms,
                Topic::ConnectionLog if record.key.as_deref() == Some(LOGGED.as_bytes()) => {
                    OutputKind::ConnectionLog
                }
                _ => continue,
            };
            let output = output::decode(kind, record.value.as_deref().unwrap_or_default());
            batch.output(self.partition.number, self.steps, index, &output.expect("an output"));
        }
        batch.write().expect("it is written");
    }

    /// A device's whole life.
    fn lives(&mut self, number: u32) {
        let mut random = StdRng::seed_from_u64(u64::from(number));
        let random = &mut random;
        let key = format!("{TENANT}/{}", id_of(number));
        let (device_type, name) = (format!("type-{}", number % 20), format!("Pump {}", number % 99_991));
        let (site, model) =
            (format!("site-{}", random.random_range(0..50)), format!("m{}", random.random_range(0..4)));
        let client_kind = match random.random_range(0..100) {
            0..3 => Some(ClientKind::Gateway),
            3..5 => Some(ClientKind::Application),
            5..50 => Some(ClientKind::Device),
            _ => None,
        };
        let is_typed = random.random_range(0..100) < 95;
        let register = Register {
            device_type: is_typed.then_some(&device_type),
            name: (random.random_range(0..100) < 90).then_some(&name),
            client_kind,
            parent: None,
            labels: Some(vec![("model", &model), ("site", &site)]),
        };
        self.said(&key, 400, Body::Register(register));
        // Most were heard of in the last half hour, some hours ago.
        let heard = match random.random_range(0..100) {
            0..85 => random.random_range(0..30),
            _ => random.random_range(30..720),
        };
        match random.random_range(0..100) {
            0..45 => {
                self.monitored(&key, random);
                self.by_mqtt(&key, heard, random);
            }
            45..70 => self.by_polls(&key, heard, random),
            70..90 => {
                self.monitored(&key, random);
                self.said(&key, heard, activity(ActivityKind::HttpPostEvent));
            }
            // Known by its registration alone.
            _ => {}
        }
        self.rarely(&key, number, random);
    }

    fn monitored(&mut self, key: &str, random: &mut StdRng) {
        let minutes = [30, 60, 120, 240, 600][random.random_range(0..5)];
        let minutes = if random.random_range(0..100) < 2 { -minutes } else { minutes };
        let (source, only_if_absent) = (IntervalSource::Device, false);
        let interval = RequiredInterval { minutes: Some(minutes), source, only_if_absent };
        self.said(key, 400, Body::RequiredInterval(interval));
    }

    fn by_mqtt(&mut self, key: &str, heard: i64, random: &mut StdRng) {
        let since = heard + random.random_range(1..600);
        let protocol = ["mqtt4", "mqtt5", "mqtt5-ws"][random.random_range(0..3)];
        self.said(key, since, connected(ChannelKind::Mqtt, "s1", Some(protocol)));
        self.said(key, heard, activity(ActivityKind::MqttPublish));
        if random.random_range(0..100) < 20 {
            let (initiator, code) =
                [(Initiator::Client, 0), (Initiator::Server, 0x8D), (Initiator::Network, 0x80)]
                    [random.random_range(0..3)];
            let end = disconnected(ChannelKind::Mqtt, "s1", Some(initiator), Some(code));
            self.said(key, heard.saturating_sub(1), end);
        }
    }

    fn by_polls(&mut self, key: &str, heard: i64, random: &mut StdRng) {
        let settings =
            PollSettings { poll_interval_seconds: Some(900), vpn_expected: random.random_range(0..100) < 80 };
        self.said(key, 400, Body::PollSettings(settings));
        let since = heard + random.random_range(1..600);
        match random.random_range(0..100) {
            0..70 => self.said(key, since, connected(ChannelKind::Vpn, "v1", None)),
            70..80 => {
                self.said(key, since, connected(ChannelKind::Vpn, "v1", None));
                self.said(key, heard, disconnected(ChannelKind::Vpn, "v1", None, None));
            }
            _ => {}
        }
        self.said(key, heard, activity(ActivityKind::StatePoll));
        if random.random_range(0..100) < 3 {
            let progress = Some(random.random_range(0..100));
            self.said(key, heard, Body::Update(Update { phase: UpdatePhase::Downloading, progress }));
        }
    }

    /// What few devices are.
    fn rarely(&mut self, key: &str, number: u32, random: &mut StdRng) {
        let lifecycle = |stage, progress| Body::Lifecycle(Lifecycle { stage, progress });
        match number % RARE {
            1 => self.said(key, 10, lifecycle(Stage::PostProvisioning, Some(50))),
            2 => self.said(key, 10, lifecycle(Stage::Deactivated, None)),
            3 => self.said(key, 10, lifecycle(Stage::Configuring, Some(random.random_range(0..100)))),
            _ => {}
        }
    }
}

fn connected<'a>(channel: ChannelKind, session: &'a str, protocol: Option<&'a str>) -> Body<'a> {
    Body::Connected(Connected {
        channel,
        session: SessionRef { id: Some(session), ..SessionRef::default() },
        node_id: Some("n1"),
        client_address: Some("203.0.113.9:50122"),
        protocol,
        secure: None,
        keep_alive_seconds: None,
        clean_start: None,
        user: None,
        can_receive_operations: true,
    })
}

fn disconnected(
    channel: ChannelKind,
    session: &str,
    initiator: Option<Initiator>,
    mqtt_reason_code: Option<u8>,
) -> Body<'_> {
    Body::Disconnected(Disconnected {
        channel,
        session: SessionRef { id: Some(session), ..SessionRef::default() },
        node_id: Some("n1"),
        initiator,
        mqtt_reason_code,
        close_code: None,
        reason: None,
        traffic: Traffic::default(),
    })
}

fn activity(kind: ActivityKind) -> Body<'static> {
    let session = SessionRef::default();
    Body::Activity(Activity { kind, channel: None, session, via_application: false, topic: None, count: 1 })
}

fn acknowledged() -> Body<'static> {
    let target = AlarmTarget::Type(UNAVAILABILITY);
    Body::AlarmCommand(AlarmCommand { target, action: AlarmAction::Acknowledge, actor: Some("kim") })
}
