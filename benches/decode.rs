//! Events and outputs per second and core, bytes ⇄ meaning: `cargo bench --profile dev --bench decode`.
//!
//! 10,000 devices, fixed seed; a hash of what was decoded is printed, so that a faster decoder that decodes something
//! else shows.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use lastseen::domain::effect::{Cause, Deadline, Effect, EffectKind, Origin, Rule, StatusChange};
use lastseen::domain::event::{
    Activity, ActivityKind, Body, ChannelKind, Connected, Event, IntervalSource, SessionRef, Subject,
};
use lastseen::domain::facet::{Facet, FacetChange};
use lastseen::domain::time::Timestamp;
use lastseen::wire::decode::{Limits, RawRecord, Scratch, decode, decode_line};
use lastseen::wire::encode::{encode_event, encode_event_json};
use lastseen::wire::output::{self, Format, Identity};
use lastseen::wire::partition;

const DEVICES: usize = 10_000;
const PARTITIONS: u32 = 12;
const START: i64 = 1_767_225_600_000;

struct Sample {
    key: String,
    value: Vec<u8>,
    partition: u32,
}

impl Sample {
    fn record(&self) -> RawRecord<'_> {
        RawRecord {
            key: Some(self.key.as_bytes()),
            value: Some(&self.value),
            content_type: None,
            partition: self.partition,
            partitions: PARTITIONS,
        }
    }
}

/// One event of each device.
fn samples(json: bool, body: impl Fn(&mut StdRng) -> Body<'static>) -> Vec<Sample> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..DEVICES)
        .map(|number| {
            let key = format!("acme/pump-{number:08}");
            let observed_at = Some(Timestamp::from_millis(START + rng.random_range(0..86_400_000)));
            let event = Event {
                observed_at,
                event_id: None,
                subject: Subject::Device { key: &key, body: body(&mut rng) },
            };
            let value = if json { encode_event_json(&event) } else { encode_event(&event) };
            let partition = partition::of(key.as_bytes(), PARTITIONS);
            Sample { key, value, partition }
        })
        .collect()
}

fn heartbeat(_: &mut StdRng) -> Body<'static> {
    Body::Activity(Activity {
        kind: ActivityKind::Heartbeat,
        channel: Some(ChannelKind::Mqtt),
        session: SessionRef { id: Some("f3a1c07d99e4b2"), ..SessionRef::default() },
        via_application: false,
        topic: None,
        count: 1,
    })
}

fn connected(rng: &mut StdRng) -> Body<'static> {
    let mut sequence = [0; 32];
    sequence[24..].copy_from_slice(&rng.random_range(0..1_u64 << 40).to_be_bytes());
    Body::Connected(Connected {
        channel: ChannelKind::Mqtt,
        session: SessionRef {
            id: Some("f3a1c07d99e4b2"),
            started_at: Some(Timestamp::from_millis(START)),
            sequence: Some(sequence),
        },
        node_id: Some("broker-3"),
        client_address: Some("203.0.113.9:50122"),
        protocol: Some("mqtt5"),
        secure: Some(true),
        keep_alive_seconds: Some(60),
        clean_start: Some(true),
        user: Some("pump"),
        can_receive_operations: true,
    })
}

fn verdict() -> Effect {
    let at = Timestamp::from_millis(START);
    Effect {
        sequence: 17,
        at,
        recorded_at: at,
        cause: Cause {
            rule: Rule::DeadlinePassed,
            origin: Origin::Clock,
            deadline: Some(Deadline {
                at,
                interval: Some((15, IntervalSource::Operator)),
                counted_from: at,
                last_message: at,
            }),
            event_id: None,
            sentence: "No data since 09:12:04Z; required every 15 min (set by the operator); deadline 09:27:04Z passed."
                .to_owned(),
        },
        kind: EffectKind::Status(StatusChange {
            changes: vec![
                FacetChange { facet: Facet::Availability, from: "AVAILABLE", to: "UNAVAILABLE", label: None },
                FacetChange { facet: Facet::Overall, from: "ONLINE", to: "OFFLINE", label: None },
            ],
            progress: None,
            retracts: None,
        }),
    }
}

fn decode_all(bencher: Bencher, samples: &[Sample]) {
    let mut scratch = Scratch::new();
    let limits = Limits::default();
    bencher.counter(ItemsCount::new(samples.len())).bench_local(|| {
        for sample in samples {
            // By reference: to move an event through the box would be measured as well.
            black_box(&decode(black_box(&sample.record()), &scratch, &limits));
        }
        scratch.clear();
    });
}

#[divan::bench]
fn protobuf_heartbeat(bencher: Bencher) {
    decode_all(bencher, &samples(false, heartbeat));
}

#[divan::bench]
fn protobuf_connected(bencher: Bencher) {
    decode_all(bencher, &samples(false, connected));
}

#[divan::bench]
fn json_heartbeat(bencher: Bencher) {
    decode_all(bencher, &samples(true, heartbeat));
}

#[divan::bench]
fn json_connected(bencher: Bencher) {
    decode_all(bencher, &samples(true, connected));
}

#[divan::bench]
fn json_heartbeat_as_lines_of_fold(bencher: Bencher) {
    let samples = samples(true, heartbeat);
    let mut scratch = Scratch::new();
    let limits = Limits::default();
    bencher.counter(ItemsCount::new(samples.len())).bench_local(|| {
        for sample in &samples {
            black_box(&decode_line(black_box(&sample.value), &scratch, &limits));
        }
        scratch.clear();
    });
}

/// The yardstick: prost alone, without any check of ours.
#[divan::bench]
fn prost_alone_heartbeat(bencher: Bencher) {
    use prost::Message;
    let samples = samples(false, heartbeat);
    bencher.counter(ItemsCount::new(samples.len())).bench_local(|| {
        for sample in &samples {
            black_box(&lastseen::wire::pb::Event::decode(black_box(sample.value.as_slice())));
        }
    });
}

#[divan::bench(args = [Format::Protobuf, Format::Json])]
fn encode_verdict(bencher: Bencher, format: Format) {
    let effect = verdict();
    let identity =
        Identity { tenant: "acme", device_id: "pump-00000007", birth: Timestamp::from_millis(START) };
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        out.clear();
        output::encode(format, black_box(&identity), black_box(&effect), &mut out);
        black_box(out.len())
    });
}

fn main() {
    let scratch = Scratch::new();
    let mut hash = DefaultHasher::new();
    for (json, what) in [(false, "protobuf"), (true, "JSON")] {
        let mut bytes = 0;
        for sample in samples(json, heartbeat).iter().chain(&samples(json, connected)) {
            bytes += sample.value.len();
            let event =
                decode(&sample.record(), &scratch, &Limits::default()).expect("the samples are well-formed");
            encode_event(&event).hash(&mut hash);
        }
        println!("{what}: {} bytes an event on average", bytes / (2 * DEVICES));
    }
    println!("hash of what was decoded: {:016x}", hash.finish());
    divan::main();
}
