//! A policy in JSON. What is taken comes back as it was.
#![no_main]

use lastseen::wire::policy::{from_json, to_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(policy) = from_json(data) {
        assert_eq!(from_json(&to_json(&policy)), Ok(policy));
    }
});
