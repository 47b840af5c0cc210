//! What a device's row costs: every event that is more than a sign of life reads and writes one.

use divan::{Bencher, black_box};
use lastseen::domain::channel::Channel;
use lastseen::domain::clocks::Clocks;
use lastseen::domain::device::Device;
use lastseen::domain::event::{ChannelKind, Initiator};
use lastseen::domain::facet::{Availability, Connection, Facets, Label, Overall, Push};
use lastseen::domain::session::{Disconnect, Session};
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::wire::pb;
use lastseen::wire::row::{decode_facts, encode_facts};
use prost::Message;

/// A device that came into being `days` ago, with an open MQTT session and as many before it.
fn device(days: i64, closed: usize) -> Device {
    let birth = Timestamp::from_millis(1_760_000_000_000);
    let mut device = Device::new(birth, 1234, Timestamp::NEVER);
    device.earliest = birth + Millis(-40);
    device.monitoring.minutes = Some(15);
    device.monitoring.since = device.earliest;
    device.monitoring.positive_since = device.earliest;
    device.facets = Facets {
        availability: Availability::Available,
        push: Push::Online,
        connection: Connection::Connected,
        overall: Overall::Online,
        label: Label::Online,
        ..Facets::START
    };
    let session = |index: usize| {
        let at = birth + Millis(days * 86_400_000 + index as i64 * 3_600_000);
        Session {
            id: Some(format!("c0ffee{index:02}").into()),
            connected_at: at,
            node_id: Some("n1".into()),
            protocol: Some("mqtt5".into()),
            polled_at: at,
            ..Session::UNKNOWN
        }
    };
    let ended = |index| {
        let mut session = session(index);
        let at = session.connected_at + Millis(1_800_000);
        session.disconnects.push(Disconnect { at, initiator: Initiator::Client, reason_code: Some(0) });
        session
    };
    let mut channel = Channel::new(ChannelKind::Mqtt);
    channel.closed = (0..closed).map(ended).collect();
    channel.recorded = channel.closed.last().and_then(|session| session.disconnects.last().copied());
    channel.open = Some(session(closed));
    device.last_connect = session(closed).connected_at;
    device.channels.push(channel);
    device
}

const CLOSED: [usize; 3] = [0, 1, 8];

#[divan::bench(args = CLOSED)]
fn encode(bencher: Bencher<'_, '_>, closed: usize) {
    let device = device(30, closed);
    let mut out = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        out.clear();
        encode_facts(black_box(&device), &mut out);
        out.len()
    });
}

#[divan::bench(args = CLOSED)]
fn decode(bencher: Bencher<'_, '_>, closed: usize) {
    let mut row = Vec::new();
    encode_facts(&device(30, closed), &mut row);
    bencher.bench_local(|| {
        decode_facts(black_box(&row), Clocks::default()).map(|device| black_box(device).sequence)
    });
}

/// What prost's message costs before anything of ours is made of it.
#[divan::bench(args = CLOSED)]
fn decode_by_prost(bencher: Bencher<'_, '_>, closed: usize) {
    let mut row = Vec::new();
    encode_facts(&device(30, closed), &mut row);
    bencher.bench_local(|| pb::DeviceFacts::decode(black_box(&*row)).map(|facts| black_box(facts).sequence));
}

/// What writing prost's message costs once it is there.
#[divan::bench(args = CLOSED)]
fn encode_by_prost(bencher: Bencher<'_, '_>, closed: usize) {
    let mut row = Vec::new();
    encode_facts(&device(30, closed), &mut row);
    let message = pb::DeviceFacts::decode(&*row).unwrap_or_default();
    let mut out = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        out.clear();
        black_box(&message).encode_raw(&mut out);
        out.len()
    });
}

fn main() {
    for days in [0, 30] {
        for closed in CLOSED {
            let mut row = Vec::new();
            encode_facts(&device(days, closed), &mut row);
            println!("{days:2} days old, one session open, {closed} closed: {} bytes", row.len());
        }
    }
    divan::main();
}
