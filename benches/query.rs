//! What questions cost: any filter over a fleet in memory, and a look-up.
//!
//! `DEVICES=10000000` asks a larger fleet, `ROUNDS=1000` more often. It prints what each question finds: a faster run that
//! finds something else does something else.

use std::hint::black_box;
use std::time::Instant;

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

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn fleet(devices: u32) -> Fleet {
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
}

fn request(question: (&str, &str)) -> Request {
    let mut filter = Filter::default();
    for term in question.0.split('&').filter(|term| !term.is_empty()) {
        let (name, value) = term.split_once('=').expect("a term");
        filter.read(name, &value.replace("%20", " "), NOW).expect("a good term");
    }
    let sort = Sort::read(question.1).expect("a good order");
    Request { filter, sort, limit: 100, now: Some(NOW), counts: true, ..Request::default() }
}

/// Times, in milliseconds: the middle one, the one that a hundredth exceed, the longest.
fn spread(mut took: Vec<f64>) -> String {
    took.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize];
    format!("{:>9.3} {:>9.3} {:>9.3}", at(0.5), at(0.99), at(1.0))
}

fn timed<T>(act: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    black_box(act());
    began.elapsed().as_secs_f64() * 1e3
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    if words.any(|word| word != "query") {
        return;
    }
    let (devices, rounds) = (number("DEVICES", 1_000_000), number("ROUNDS", 300));
    let fleet = fleet(devices);
    let tenant = fleet.tenant("acme").expect("it has devices");
    println!("{devices} devices, the first 100 of each list with counts, {rounds} times\n");
    println!("{:<75} {:>9} {:>9} {:>9} {:>9}", "filter, order", "found", "p50, ms", "p99", "at most");
    let requests = QUESTIONS.map(request);
    let mut took = QUESTIONS.map(|_| Vec::new());
    // In turn, so that what else happens on the machine meets all of them.
    for _ in 0..rounds {
        for (request, took) in requests.iter().zip(&mut took) {
            took.push(timed(|| list(tenant, request)));
        }
    }
    for ((question, request), took) in QUESTIONS.iter().zip(&requests).zip(took) {
        let found = list(tenant, request).matched;
        println!("{:<75} {found:>9} {}", format!("{}, {}", question.0, question.1), spread(took));
    }
    let ids = (0..100_000u32).map(|index| index.wrapping_mul(7919) % devices);
    let keys: Vec<String> = ids.map(|number| format!("acme/device-{number:08}")).collect();
    let took = keys.iter().map(|key| timed(|| fleet.get(key))).collect();
    println!("{:<75} {:>9} {}", "one, by its id", 1, spread(took));
}
