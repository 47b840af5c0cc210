//! How fast a partition comes back: a checkpoint written and read, rows and packs applied, timers set. One core.
//!
//! `make micro ARGS=recovery`; with a number of devices, `make micro ARGS='recovery 10000000'` (README.md of this directory).

use std::sync::Arc;
use std::time::Duration;

use lastseen::domain::effect::InputTopic;
use lastseen::domain::event::{
    Activity, ActivityKind, Body, ChannelKind, Connected, Event, SessionRef, Subject,
};
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::journal;
use lastseen::engine::recovery::Recovery;
use lastseen::engine::step::{Input, Partition, Settings};
use lastseen::log::{Inbox, Scanned, Topic};
use lastseen::store::{Checkpoint, CheckpointMeta, RocksCheckpoint};
use lastseen::wire::encode::encode_event;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Records of a step.
const STEP: usize = 100_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--bench")).collect();
    if words.iter().any(|word| word != "recovery" && word.parse::<usize>().is_err()) {
        return;
    }
    let devices = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let settings = Arc::new(Settings::default());
    let mut partition = Partition::new(0, settings.clone(), 1);
    let keys: Vec<String> = (0..devices).map(|number| format!("acme/device-{number:07}")).collect();
    for (moment, connects) in [(1, true), (60, false)] {
        steps(&mut partition, &keys, START + Millis::from_seconds(moment), connects, |_| {});
    }

    // What the log has: rows in the order of their numbers, and the entries of a round of heartbeats after them.
    let rows: Vec<(Box<str>, Vec<u8>)> =
        (0..partition.core.table.capacity()).filter_map(|number| partition.row(number)).collect();
    let own = partition.own_rows();
    let meta = CheckpointMeta::new("bench".into(), &partition, 0, 0);
    let (head, positions, clock, sweep) =
        (partition.head, partition.positions, partition.core.clock, partition.sweep);
    let mut entries = Vec::new();
    steps(&mut partition, &keys, START + Millis::from_seconds(120), false, |entry| entries.push(entry));

    let dir = tempfile::tempdir().expect("a directory");
    let checkpoint = RocksCheckpoint::open(&dir.path().join("p")).expect("it opens").0;
    let own = own.iter().map(|(key, value)| ((*key).into(), value.clone()));
    let mut sorted: Vec<(Box<str>, Vec<u8>)> = rows.iter().cloned().chain(own).collect();
    let write = timed(|| {
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut rows = sorted.iter_mut().map(|(key, value)| (&**key, Some(std::mem::take(value))));
        checkpoint.write(&mut rows, &meta).expect("it is written");
    });
    tell("a checkpoint of all rows written", devices, write.1);
    drop(checkpoint);

    let (mut recovery, read) = timed(|| {
        let checkpoint = RocksCheckpoint::open(&dir.path().join("p")).expect("it opens").0;
        let mut recovery = Recovery::new(0, settings.clone(), 2);
        let done = checkpoint.rows(|key, value| recovery.row(key, Some(value)));
        done.expect("it is read").expect("rows are good");
        recovery
    });
    tell("a checkpoint opened, its rows applied", devices, read);
    recovery.stands_at(head, positions, clock, sweep);
    let opened: Vec<_> = entries.iter().map(|value| journal::open(value).expect("an entry")).collect();
    let ((), packs) =
        timed(|| opened.into_iter().for_each(|entry| recovery.entry(entry).expect("it follows")));
    tell("packs of a round of heartbeats applied", devices, packs);
    let (recovered, finish) = timed(|| recovery.finish(Some(partition.head)).expect("the hashes agree"));
    tell("state hash held, timers set", devices, finish);
    assert_eq!(recovered.state_hash, partition.state_hash);
    tell("all of it: checkpoint, packs, timers", devices, read + packs + finish);

    let (recovery, applied) = timed(|| {
        let mut recovery = Recovery::new(0, settings.clone(), 2);
        for (key, value) in &rows {
            recovery.row(key, Some(value)).expect("rows are good");
        }
        recovery
    });
    tell("rows as devices.state has them applied, from memory", devices, applied);
    assert_eq!(recovery.devices(), devices);
    println!("state hash {:032x}", partition.state_hash);
}

/// Time that this thread had a core for itself: what others do on the machine counts for less.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = stat.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.expect("the first word is a number"))
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = processor_time();
    let made = act();
    (made, processor_time() - began)
}

fn tell(what: &str, devices: usize, took: Duration) {
    let rate = devices as f64 / took.as_secs_f64() / 1e6;
    println!("{what:<55} {:>8.2} s {rate:>7.2} M devices/s", took.as_secs_f64());
}

/// Each device says something, in whole steps; `entry` gets what each step adds to the journal.
fn steps(
    partition: &mut Partition,
    keys: &[String],
    at: Timestamp,
    connects: bool,
    mut entry: impl FnMut(Vec<u8>),
) {
    for chunk in keys.chunks(STEP) {
        let mut inbox = Inbox::default();
        let first = partition.positions[InputTopic::Activity as usize];
        for (index, key) in chunk.iter().enumerate() {
            let value = encode_event(&event(key, at, connects));
            let record = Scanned {
                offset: first + index as u64,
                timestamp: at,
                key: Some(key.as_bytes()),
                value: Some(&value),
                headers: &[],
            };
            inbox.push(InputTopic::Activity, 0, record);
        }
        let mut left = &inbox.slots[..];
        while !left.is_empty() {
            let next = first + chunk.len() as u64;
            let input = Input::new([&[], &[], left], &inbox.arena, [0, 0, next], at);
            let told = partition.step(&input).expect("something happened");
            left = &left[told.taken[2]..];
            for record in told.records {
                if record.topic == Topic::Journal {
                    entry(record.value.expect("an entry"));
                }
            }
        }
    }
}

fn event(key: &str, at: Timestamp, connects: bool) -> Event<'_> {
    let session = SessionRef { id: Some("c0ffee01"), ..SessionRef::default() };
    let body = if connects {
        Body::Connected(Connected {
            channel: ChannelKind::Mqtt,
            session,
            node_id: Some("n1"),
            client_address: Some("203.0.113.9:50122"),
            protocol: Some("mqtt5"),
            secure: None,
            keep_alive_seconds: None,
            clean_start: None,
            user: None,
            can_receive_operations: true,
        })
    } else {
        Body::Activity(Activity {
            kind: ActivityKind::MqttPublish,
            channel: Some(ChannelKind::Mqtt),
            session: SessionRef::default(),
            via_application: false,
            topic: None,
            count: 1,
        })
    };
    Event { observed_at: Some(at), event_id: None, subject: Subject::Device { key, body } }
}
