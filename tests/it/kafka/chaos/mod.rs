//! Exactly once under fire: three instances as processes of their own in one group, a steady producer, and faults drawn
//! from a seed. When all has drained, what Kafka's own client reads must be, record for record, what `fold` says.
//!
//! Processes and brokers are no simulation: a seed repeats the faults and their order, not the moments at which they hit.

pub mod compare;
mod driver;
pub mod processes;
mod report;
pub mod traffic;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use self::compare::{INPUTS, OUTPUTS};
use self::driver::{Chaos, Fault};
use self::processes::{Instance, Site, directory, until};
use self::report::Report;
use self::traffic::{Rate, Traffic};
use self::watch::Watch;
use crate::broker::Broker;
use crate::sim::rng::Rng;

/// What a short round does, in an order that is drawn: seconds count in it.
const SHORT: [Fault; 5] =
    [Fault::KillAndPause, Fault::KillRestoring, Fault::KillBack, Fault::PauseRestoring, Fault::BrokerRestart];

/// What a long one does again and again, in an order that is drawn each time.
const LONG: [Fault; 17] = [
    Fault::KillAway,
    Fault::KillAway,
    Fault::KillBack,
    Fault::KillRestoring,
    Fault::KillRestoring,
    Fault::PauseAway,
    Fault::PauseAway,
    Fault::PauseRestoring,
    Fault::TermAway,
    Fault::TermBack,
    Fault::Visit,
    Fault::EmptyDisk,
    Fault::KillTwo,
    Fault::KillAndPause,
    Fault::BrokerRestart,
    Fault::BrokerKill,
    Fault::BrokerPause,
];

/// A long round goes on until kill -9 and SIGSTOP happened so often each, however short it was meant to be.
const LEAST: u32 = 10;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no whole number")))
}

/// `make chaos MINUTES=… SEED=…` for a long one.
#[test]
fn what_is_published_under_fire_is_what_fold_says() {
    let minutes = number("MINUTES");
    let seed = number("SEED").unwrap_or_else(|| match minutes {
        Some(_) => unix_seconds(),
        None => 1,
    });
    let again = match minutes {
        Some(minutes) => format!("make chaos MINUTES={minutes} SEED={seed}"),
        None => format!("SEED={seed} cargo test --test it -- kafka::chaos:: --nocapture"),
    };
    println!("seed {seed}; the same faults again: {again}");
    round(seed, minutes.map(|minutes| Duration::from_secs(60 * minutes)), &again);
}

fn unix_seconds() -> u64 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

fn round(seed: u64, time: Option<Duration>, again: &str) {
    let began = Instant::now();
    let mut phases = vec![("start", Duration::ZERO)];
    let broker = Broker::start_for(time.unwrap_or_default() + Duration::from_secs(1200));
    let (dir, _kept) = directory("chaos");
    let partitions = if time.is_some() { 12 } else { 6 };
    let site = Site {
        dir,
        brokers: broker.brokers.clone(),
        prefix: "chaos".to_owned(),
        partitions,
        settings: BTreeMap::from([
            ("output", "format = \"json\"".to_owned()),
            ("worker", "commit_interval_ms = 50".to_owned()),
            ("state", "checkpoint_seconds = 2\nrefresh_seconds = 60".to_owned()),
        ]),
    };
    site.says(&["topics", "create"], 0);
    let rate = match time {
        Some(_) => Rate { devices: 3000, per_second: 800 },
        None => Rate { devices: 600, per_second: 400 },
    };
    let mut traffic = Traffic::start(&site, seed, rate);
    let watch = Watch::start(&site.brokers, site.topic("journal"), partitions);
    // One is a static member, which keeps its partitions over a restart; the others are missed at once when they leave.
    let instances = vec![
        Instance::new(&site, "one", true),
        Instance::new(&site, "two", false),
        Instance::new(&site, "three", false),
    ];
    let mut chaos = Chaos::new(site.clone(), broker, watch, instances, Rng::new(seed, 1));
    chaos.start_all();
    phases.push(("faults", began.elapsed()));

    let mut rng = Rng::new(seed, 3);
    let faults = Instant::now();
    let is_over = |chaos: &Chaos| {
        let often = |count: u32| count >= LEAST;
        time.is_none_or(|time| {
            faults.elapsed() > time && often(chaos.tally.kills) && often(chaos.tally.pauses)
        })
    };
    loop {
        let mut plan: Vec<Fault> = if time.is_some() { LONG.to_vec() } else { SHORT.to_vec() };
        while !plan.is_empty() {
            let fault = plan.remove(rng.below(plan.len() as u64) as usize);
            chaos.fault(fault, time.is_some());
            if time.is_some() && is_over(&chaos) {
                break;
            }
        }
        if is_over(&chaos) {
            break;
        }
    }
    chaos.settle();

    phases.push(("drain", began.elapsed()));
    traffic.finish();
    let sent_by = unix_seconds() as i64 * 1000;
    chaos.wait(Duration::from_secs(120), "the inputs are read to their ends", |chaos| {
        chaos.unread = compare::unread(&chaos.site);
        chaos.unread.is_empty()
    });
    chaos.wait(Duration::from_secs(60), "the clocks of all partitions go on", |chaos| {
        let state = chaos.watch.state();
        state.partitions.iter().all(|seen| seen.as_ref().is_some_and(|seen| seen.clock_ms > sent_by))
    });
    chaos.end_all();

    phases.push(("check", began.elapsed()));
    check(&mut chaos, &traffic);
    phases.push(("end", began.elapsed()));
    Report { chaos: &chaos, traffic: &traffic, again, phases: &phases, seed }.print();
}

/// All that must be true when everything has drained and nobody runs any more.
fn check(chaos: &mut Chaos, traffic: &Traffic) {
    let site = &chaos.site;
    let partitions = site.partitions;
    let told: Vec<&str> = OUTPUTS.into_iter().chain(["dead-letter", "state", "journal"]).collect();
    assert_eq!(
        compare::hanging(site, &told),
        [""; 0],
        "transactions are open, and nobody is there who writes"
    );
    let inputs = compare::read(site, &INPUTS);
    let outputs = compare::read(site, &[&OUTPUTS[..], &["dead-letter"]].concat());
    let sent = traffic.counts.acknowledged.load(Ordering::Relaxed);
    let in_log: usize = inputs.values().map(Vec::len).sum();
    assert_eq!(in_log as u64, sent, "the inputs hold what was sent");
    {
        let state = chaos.watch.state();
        assert_eq!(state.problems, [""; 0], "the journal");
        assert_eq!(state.sum(|seen| seen.consumed), sent, "the journal consumed each record once");
    }

    let published = compare::published(&outputs);
    let (folded, refused) = compare::folded(site);
    if let Err(difference) = compare::same(&published, &folded) {
        panic!("what was published is not what fold says of the merged inputs:\n{difference}");
    }
    let of_plain = compare::plain(&published, partitions);
    if let Err(difference) = compare::same(&of_plain, &compare::folded_raw(site, &inputs)) {
        panic!("what was published of plain devices is not what fold says of the raw inputs:\n{difference}");
    }
    for topic in ["status", "connection-log", "audit"] {
        assert!(!of_plain[&(topic.to_owned(), 0)].is_empty(), "plain devices have no {topic}");
    }
    let alarms = (0..partitions).map(|number| published[&("alarms".to_owned(), number)].len()).sum::<usize>();
    assert!(alarms > 0, "no deadline passed");

    let mut garbage: Vec<Vec<u8>> = (0..traffic.counts.garbage.load(Ordering::Relaxed))
        .map(|number| format!("garbage {number}").into_bytes())
        .collect();
    let letters = outputs.iter().filter(|((topic, _), _)| topic == "dead-letter");
    let mut letters: Vec<Vec<u8>> =
        letters.flat_map(|(_, records)| records.iter().map(|record| record.value.clone())).collect();
    garbage.sort();
    letters.sort();
    assert_eq!(letters.len(), refused, "fold refuses what became a dead letter");
    assert!(letters == garbage, "each record that is no event is a dead letter once");

    let verified = site.says(&["replay", "--verify"], 0);
    assert!(verified.contains(&format!("of {partitions} partitions verified")), "{verified}");
    assert!(!verified.contains("not checked"), "{verified}");
    chaos.verified = verified.lines().next().unwrap_or_default().to_owned();
    chaos.published = published.values().map(|values| values.len() as u64).sum();

    // And the checks bite: a verdict that stands there twice is found by both.
    let place = (0..partitions).find(|number| !outputs[&("status".to_owned(), *number)].is_empty());
    let place = place.expect("some status changed");
    let twice = outputs[&("status".to_owned(), place)].last().expect("it is not empty").clone();
    let value = String::from_utf8(twice.value).expect("UTF-8");
    append(site, "status", place, &value);
    let outputs = compare::read(site, &OUTPUTS);
    assert!(compare::same(&compare::published(&outputs), &folded).is_err(), "a verdict twice is not noticed");
    site.says(&["replay", "--verify", "--partition", &place.to_string()], 3);
}

/// A record that no instance wrote.
fn append(site: &Site, topic: &str, partition: u32, value: &str) {
    let counts = std::sync::Arc::default();
    let producer = traffic::producer(&site.brokers, std::sync::Arc::clone(&counts));
    let name = site.topic(topic);
    let record =
        rdkafka::producer::BaseRecord::<str, str>::to(&name).partition(partition as i32).payload(value);
    producer.send(record).map_err(|(error, _)| error).expect("it is taken");
    until(
        Duration::from_secs(30),
        || counts.acknowledged.load(Ordering::Relaxed) == 1,
        || "the record is not acknowledged".to_owned(),
    );
}
