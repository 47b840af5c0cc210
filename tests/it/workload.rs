//! The workload of the benches: the same seed gives the same bytes, every record is an event, shares are what they are
//! said to be.

use lastseen::domain::event::{Body, Subject};
use lastseen::wire::decode::{Limits, RawRecord, Scratch, decode};
use proptest::prelude::*;

#[path = "../../benches/workload/mod.rs"]
mod fleet;

use fleet::{Batch, Spec, Tally, Workload};

const START: i64 = 1_767_225_600_000;

fn run(spec: &Spec) -> (Tally, u64) {
    let mut workload = Workload::new(spec.clone());
    let mut batch = Batch::default();
    while workload.next(&mut batch) {}
    (workload.tally.clone(), workload.hash())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_seed_says_everything(seed in any::<u64>(), devices in 1..2_000u32, seconds in 4..300u32) {
        let spec = Spec::new(seed, devices, START, seconds);
        prop_assert_eq!(run(&spec), run(&spec));
        let other = Spec { seed: seed.wrapping_add(1), ..spec.clone() };
        prop_assert_ne!(run(&spec).1, run(&other).1);
    }
}

#[test]
fn every_record_of_it_is_an_event() {
    let mut workload = Workload::new(Spec::new(1, 3_000, START, 600));
    let (mut batch, mut scratch) = (Batch::default(), Scratch::new());
    let (mut records, mut connects) = (0, 0);
    while workload.next(&mut batch) {
        for record in &batch.records {
            scratch.clear();
            let raw = RawRecord {
                key: batch.key(record),
                value: Some(batch.value(record)),
                partitions: 1,
                ..RawRecord::default()
            };
            let event = decode(&raw, &scratch, &Limits::default()).expect("an event");
            records += 1;
            connects += u64::from(matches!(event.subject, Subject::Device { body: Body::Connected(_), .. }));
        }
    }
    assert_eq!(records, workload.tally.records);
    assert!(connects >= 2_900, "{connects}");
}

#[test]
fn its_shares_are_what_they_are_said_to_be() {
    let spec = Spec::new(7, 20_000, START, 600);
    let (tally, _) = run(&spec);
    let of = |part: u64, whole: u64| part as f64 / whole as f64;
    let told = tally.records - tally.control;
    assert!((0.008..0.012).contains(&of(tally.late, told)), "{tally:?}");
    assert!((0.008..0.012).contains(&of(tally.twice, told)), "{tally:?}");
    assert!((0.015..0.025).contains(&of(tally.lost, u64::from(spec.devices))), "{tally:?}");
    // All connect once, a tenth twice, and one of a hundred emissions ends a session or begins another.
    let more = tally.connects - u64::from(spec.devices);
    let churn = of(more, tally.activity);
    assert!((0.01..0.04).contains(&churn), "{churn} {tally:?}");
    // Bodies as in the field: 60 to 300 bytes, key included.
    let mean = of(tally.bytes, tally.records);
    assert!((60.0..300.0).contains(&mean), "{mean}");
    // From every few seconds to once an hour: on the average about once a minute.
    let rate = of(tally.activity, u64::from(spec.devices)) / 10.0;
    assert!((0.5..2.0).contains(&rate), "{rate} a device and minute");
}
