//! What questions cost: any filter over a fleet in memory, and a look-up.
//!
//! `DEVICES=10000000` asks a larger fleet. Before it measures it prints what each question finds, so that nothing is
//! optimised away.

use std::sync::LazyLock;

use divan::{Bencher, black_box};
use lastseen::domain::device::{Dated, Device};
use lastseen::domain::facet::{Availability, Connection, Facets, Heartbeat, Overall};
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::query::filter::{Filter, Sort};
use lastseen::query::fleet::Fleet;
use lastseen::query::list::{Request, list};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Questions: filter and order, as they stand in an address.
const QUESTIONS: [(&str, &str); 8] = [
    ("", "id"),
    ("availability=UNAVAILABLE", "id"),
    ("availability=UNAVAILABLE&connection=CONNECTED&alarm=open", "-lastMessage"),
    ("lastMessageBefore=-2h&maintenance=false", "lastMessage"),
    ("type=type-7&label=site:site-3", "id"),
    ("namePrefix=pump%2012", "id"),
    ("idPrefix=device-0012", "-lastActivity"),
    ("lastPollBefore=-2d", "-lastPoll"),
];

static FLEET: LazyLock<Fleet> = LazyLock::new(|| {
    let devices = std::env::var("DEVICES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000u32);
    let mut random = StdRng::seed_from_u64(7);
    let mut fleet = Fleet::default();
    for number in 0..devices {
        let mut device = Device::new(NOW, 0, Timestamp::NEVER);
        let pick = |random: &mut StdRng, words: usize| random.random_range(0..words);
        device.facets = Facets {
            availability: Availability::ALL[pick(&mut random, 5)],
            connection: Connection::ALL[pick(&mut random, 3)],
            heartbeat: Heartbeat::ALL[pick(&mut random, 4)],
            overall: Overall::ALL[pick(&mut random, 7)],
            ..Facets::START
        };
        device.clocks.last_message = NOW + Millis(-random.random_range(0..86_400_000));
        device.clocks.last_activity = device.clocks.last_message;
        let text = |text: String| Some(Dated { value: text.into_boxed_str(), set_at: NOW });
        device.registration.name = text(format!("Pump {}", random.random_range(0..100_000)));
        device.registration.device_type = text(format!("type-{}", pick(&mut random, 20)));
        let labels = [("site".to_owned(), format!("site-{}", pick(&mut random, 50)))].into();
        device.registration.labels = Some(Dated { value: labels, set_at: NOW });
        // As hashes of keys lie: not in the order of ids.
        let id = number.wrapping_mul(2_654_435_761) % devices.next_power_of_two();
        fleet.put(0, &format!("acme/device-{id:08}"), &device, number);
    }
    fleet
});

fn request(question: (&str, &str)) -> Request {
    let mut filter = Filter::default();
    for term in question.0.split('&').filter(|term| !term.is_empty()) {
        let (name, value) = term.split_once('=').expect("a term");
        filter.read(name, &value.replace("%20", " "), NOW).expect("a good term");
    }
    let sort = Sort::read(question.1).expect("a good order");
    Request { filter, sort, limit: 100, now: Some(NOW), counts: true, ..Request::default() }
}

#[divan::bench(args = 0..QUESTIONS.len(), sample_count = 50, sample_size = 1)]
fn first_page_with_counts(bencher: Bencher<'_, '_>, question: usize) {
    let tenant = FLEET.tenant("acme").expect("it has devices");
    let request = request(QUESTIONS[question]);
    bencher.bench_local(|| black_box(list(tenant, &request)));
}

#[divan::bench]
fn look_up(bencher: Bencher<'_, '_>) {
    let mut number = 0u32;
    bencher.bench_local(|| {
        number = number.wrapping_add(7919) % 1_000_000;
        black_box(FLEET.get(&format!("acme/device-{number:08}")))
    });
}

fn main() {
    let tenant = FLEET.tenant("acme").expect("it has devices");
    println!("{} devices", tenant.len());
    for question in QUESTIONS {
        println!("{question:?} finds {}", list(tenant, &request(question)).matched);
    }
    divan::main();
}
