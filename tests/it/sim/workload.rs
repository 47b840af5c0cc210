//! What comes in: devices with sessions and signs of life, nodes, policies, deletions, garbage, duplicates, records out
//! of order, bursts, silences, and an upstream producer that writes in transactions of its own.

use lastseen::domain::effect::InputTopic;
use lastseen::domain::time::Timestamp;
use lastseen::log::{OutRecord, Topic};
use lastseen::wire::partition;

use super::cluster::{Cluster, Event, Ms, START};
use super::rng::Rng;

/// What the upstream does next.
#[derive(Clone, Debug)]
pub enum Step {
    Device(usize),
    Node(usize),
    Policy,
    Garbage,
    Burst,
    Open,
    /// Ends the open transaction.
    Close(bool),
}

#[derive(Clone, Debug)]
pub struct Device {
    pub key: String,
    /// It reports well within its interval, come what may: whoever calls it unavailable is wrong.
    pub is_steady: bool,
    period: Ms,
    session: Option<u64>,
    sessions: u64,
    quiet_until: Ms,
}

#[derive(Clone, Debug)]
pub struct WorkloadSettings {
    pub devices: usize,
    pub until: Ms,
    /// Some transactions of the upstream are open for long.
    pub transactions: bool,
    pub garbage: bool,
    /// Observed times stray, records come twice.
    pub disorder: bool,
    pub partitions: u32,
}

pub struct Workload {
    pub devices: Vec<Device>,
    pub sent: u64,
    settings: WorkloadSettings,
    rng: Rng,
    open: Option<u32>,
    recent: Vec<OutRecord>,
    policies: u64,
}

const UPSTREAM: &str = "upstream";
const CONTROL: InputTopic = InputTopic::Control;

fn show(at: Ms) -> Timestamp {
    Timestamp::from_millis(START + at as i64)
}

impl Workload {
    /// Begins: the first events are scheduled.
    pub fn begin(settings: WorkloadSettings, seed: u64, cluster: &mut Cluster) {
        let mut rng = Rng::new(seed, 4);
        let mut devices = Vec::new();
        let mut name = 0;
        let mut device = |rng: &mut Rng, only: Option<u32>| loop {
            name += 1;
            let key = format!("acme/d{name}");
            let partition = partition::of(key.as_bytes(), settings.partitions);
            if only.is_none_or(|only| only == partition) {
                let period = rng.range(4_000, 120_000);
                let is_steady = only.is_some();
                let period = if is_steady { rng.range(40_000, 55_000) } else { period };
                return Device { key, is_steady, period, session: None, sessions: 0, quiet_until: 0 };
            }
        };
        for only in 0..settings.partitions {
            devices.push(device(&mut rng, Some(only)));
        }
        while devices.len() < settings.devices {
            devices.push(device(&mut rng, None));
        }
        let mut workload =
            Workload { devices, sent: 0, settings, rng, open: None, recent: Vec::new(), policies: 0 };
        for index in 0..workload.devices.len() {
            let Device { is_steady, key, .. } = workload.devices[index].clone();
            let minutes = if is_steady { 3 } else { workload.rng.range(1, 4) };
            let body = format!(r#""requiredInterval":{{"minutes":{minutes},"source":"operator"}}"#);
            workload.send(cluster, CONTROL, Some(&key), 0, &body);
            let first = workload.rng.below(5_000);
            cluster.at(first, Event::Upstream(Step::Device(index)));
        }
        for node in 0..2 {
            cluster.at(0, Event::Upstream(Step::Node(node)));
        }
        cluster.at(60_000, Event::Upstream(Step::Policy));
        cluster.at(30_000, Event::Upstream(Step::Burst));
        if workload.settings.garbage {
            cluster.at(7_000, Event::Upstream(Step::Garbage));
        }
        if workload.settings.transactions {
            cluster.at(10_000, Event::Upstream(Step::Open));
        }
        cluster.workload = Some(workload);
    }

    pub fn happen(&mut self, step: Step, cluster: &mut Cluster) {
        let now = cluster.now;
        if let Step::Close(commit) = step {
            if let Some(epoch) = self.open.take() {
                // If the coordinator gave it up meanwhile, it is gone.
                let _ = cluster.end(UPSTREAM, epoch, commit);
            }
            if now < self.settings.until {
                let next = now + self.rng.range(1_000, 60_000);
                cluster.at(next, Event::Upstream(Step::Open));
            }
            return;
        }
        if now >= self.settings.until {
            return;
        }
        match step {
            Step::Device(index) => {
                self.device(index, cluster);
                let period = self.devices[index].period;
                let next =
                    if self.devices[index].is_steady { period } else { 1 + self.rng.below(2 * period) };
                cluster.at(now + next, Event::Upstream(Step::Device(index)));
            }
            Step::Node(node) => {
                self.node(node, cluster);
                let next = if self.rng.chance(100_000) { 100_000 } else { self.rng.range(10_000, 40_000) };
                cluster.at(now + next, Event::Upstream(Step::Node(node)));
            }
            Step::Policy => {
                self.policy(cluster);
                let next = now + self.rng.range(60_000, 400_000);
                cluster.at(next, Event::Upstream(Step::Policy));
            }
            Step::Garbage => {
                self.garbage(cluster);
                let next = now + self.rng.range(1_000, 60_000);
                cluster.at(next, Event::Upstream(Step::Garbage));
            }
            Step::Burst => {
                if self.rng.coin() {
                    for index in 0..self.devices.len() {
                        self.device(index, cluster);
                    }
                } else {
                    let until = now + self.rng.range(10_000, 400_000);
                    for device in self.devices.iter_mut().filter(|device| !device.is_steady) {
                        device.quiet_until = until;
                    }
                }
                let next = now + self.rng.range(30_000, 300_000);
                cluster.at(next, Event::Upstream(Step::Burst));
            }
            Step::Open => {
                match cluster.init(UPSTREAM, 60_000) {
                    Ok(epoch) => self.open = Some(epoch),
                    Err(_) => {
                        cluster.at(now + 100, Event::Upstream(Step::Open));
                        return;
                    }
                }
                let time = if self.rng.chance(200_000) {
                    self.rng.range(20_000, 90_000)
                } else {
                    self.rng.range(10, 3_000)
                };
                let commit = self.rng.chance(700_000);
                cluster.at(now + time, Event::Upstream(Step::Close(commit)));
            }
            Step::Close(_) => {}
        }
    }

    fn device(&mut self, index: usize, cluster: &mut Cluster) {
        let now = cluster.now;
        let Device { is_steady, key, session, sessions, quiet_until, .. } = self.devices[index].clone();
        if is_steady {
            let body = r#""activity":{"kind":"mqtt_publish"}"#;
            return self.send_now(cluster, InputTopic::Activity, Some(&key), now, body);
        }
        if quiet_until > now {
            return;
        }
        let mut at = now;
        if self.settings.disorder {
            at = match self.rng.below(12) {
                0 => now.saturating_sub(self.rng.below(180_000)),
                1 => now + self.rng.below(20_000),
                2 => now + 10_000_000,
                _ => now.saturating_sub(self.rng.below(500)),
            };
        }
        let named = |session: u64| format!(r#""session":{{"id":"s{session}"}}"#);
        let node = self.rng.below(2);
        match self.rng.below(20) {
            0 | 1 => {
                let number = sessions + 1;
                self.devices[index].sessions = number;
                self.devices[index].session = Some(number);
                let body =
                    format!(r#""connected":{{"channel":"mqtt",{},"nodeId":"n{node}"}}"#, named(number));
                self.send(cluster, InputTopic::Connections, Some(&key), at, &body);
            }
            2 | 3 => {
                if let Some(number) = session {
                    self.devices[index].session = None;
                    let who = *self.rng.pick(&["client", "server", "network", "taken_over"]);
                    let body = format!(
                        r#""disconnected":{{"channel":"mqtt",{},"initiator":"{who}"}}"#,
                        named(number)
                    );
                    self.send(cluster, InputTopic::Connections, Some(&key), at, &body);
                }
            }
            4 => {
                let body = match self.rng.below(5) {
                    0 => format!(r#""maintenance":{{"on":{},"actor":"ops"}}"#, self.rng.coin()),
                    1 => r#""delete":{"actor":"ops"}"#.to_owned(),
                    2 => r#""alarmCommand":{"action":"acknowledge","actor":"ops"}"#.to_owned(),
                    3 => format!(
                        r#""requiredInterval":{{"minutes":{},"source":"operator"}}"#,
                        self.rng.below(4)
                    ),
                    _ => r#""pollSettings":{"pollIntervalSeconds":30}"#.to_owned(),
                };
                self.send(cluster, CONTROL, Some(&key), at, &body);
            }
            5 => self.send(
                cluster,
                InputTopic::Activity,
                Some(&key),
                at,
                r#""activity":{"kind":"state_poll"}"#,
            ),
            other => {
                let channel = if other % 2 == 0 { r#","channel":"mqtt""# } else { "" };
                let body = format!(r#""activity":{{"kind":"mqtt_publish"{channel}}}"#);
                self.send(cluster, InputTopic::Activity, Some(&key), at, &body);
            }
        }
        if self.settings.disorder && !self.recent.is_empty() && self.rng.chance(60_000) {
            let again = self.rng.pick(&self.recent).clone();
            self.write(cluster, &again);
        }
    }

    fn node(&mut self, node: usize, cluster: &mut Cluster) {
        let now = cluster.now;
        let status = match self.rng.below(30) {
            0 => "down",
            1 => "up",
            _ => "heartbeat",
        };
        let body = format!(r#""node":{{"nodeId":"n{node}","status":"{status}","startedAt":"{}"}}"#, show(0));
        self.send(cluster, CONTROL, None, now, &body);
    }

    fn policy(&mut self, cluster: &mut Cluster) {
        self.policies += 1;
        let (grace, minutes, retention) = (self.rng.below(20), self.rng.range(1, 4), self.rng.range(20, 200));
        let number = self.policies;
        let body = format!(
            r#""policy":{{"version":"v{number}","requiredIntervals":[{{"minutes":{minutes}}}],"graceSeconds":{grace},"tombstoneRetentionSeconds":{retention}}}"#
        );
        let now = cluster.now;
        self.send(cluster, CONTROL, None, now, &body);
    }

    fn garbage(&mut self, cluster: &mut Cluster) {
        let key = self.rng.pick(&self.devices).key.clone();
        let right = partition::of(key.as_bytes(), self.settings.partitions);
        let wrong = (right + 1) % self.settings.partitions;
        let (key, value, partition): (Option<&str>, Option<&[u8]>, u32) = match self.rng.below(6) {
            0 => (Some(&key), None, right),
            1 => (Some(&key), Some(b"\xa7\x01\x00"), right),
            2 => (Some(&key), Some(br#"{"tenant":"acme""#), right),
            3 => (None, Some(br#"{"tenant":"acme","deviceId":"x"}"#), right),
            4 => (Some(&key), Some(b""), right),
            _ => (Some(&key), Some(br#"{"activity":{"kind":"no such"}}"#), wrong),
        };
        let topic = *self.rng.pick(InputTopic::ALL);
        let record = OutRecord {
            topic: Topic::Input(topic),
            partition,
            timestamp: show(0),
            key: key.map(|key| key.as_bytes().to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: Vec::new(),
        };
        self.write(cluster, &record);
    }

    /// To the partition of the key, or to all.
    fn send(&mut self, cluster: &mut Cluster, topic: InputTopic, key: Option<&str>, at: Ms, body: &str) {
        for record in self.records(topic, key, at, body) {
            if self.settings.disorder && self.rng.chance(100_000) {
                self.recent.push(record.clone());
                if self.recent.len() > 30 {
                    self.recent.remove(0);
                }
            }
            self.write(cluster, &record);
        }
    }

    /// In no transaction, whatever is open.
    fn send_now(&mut self, cluster: &mut Cluster, topic: InputTopic, key: Option<&str>, at: Ms, body: &str) {
        for record in self.records(topic, key, at, body) {
            self.sent += 1;
            let _ = cluster.append(&record);
        }
    }

    fn write(&mut self, cluster: &mut Cluster, record: &OutRecord) {
        self.sent += 1;
        if let Some(epoch) = self.open
            && self.rng.coin()
        {
            if cluster.produce(UPSTREAM, epoch, record).is_err() {
                self.open = None;
            }
            return;
        }
        let _ = cluster.append(record);
    }

    fn records(&self, topic: InputTopic, key: Option<&str>, at: Ms, body: &str) -> Vec<OutRecord> {
        let who = key.and_then(|key| key.split_once('/')).map_or(String::new(), |(tenant, device)| {
            format!(r#""tenant":"{tenant}","deviceId":"{device}","#)
        });
        let line = format!(r#"{{{who}"observedAt":"{}",{body}}}"#, show(at));
        let partitions = match key {
            Some(key) => {
                let own = partition::of(key.as_bytes(), self.settings.partitions);
                own..own + 1
            }
            None => 0..self.settings.partitions,
        };
        partitions
            .map(|partition| OutRecord {
                topic: Topic::Input(topic),
                partition,
                timestamp: show(at),
                key: key.map(|key| key.as_bytes().to_vec()),
                value: Some(line.clone().into_bytes()),
                headers: Vec::new(),
            })
            .collect()
    }
}
