//! A policy in TOML. What is taken comes back as it was, by way of JSON.
#![no_main]

use lastseen::wire::policy::{from_json, from_toml, to_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(policy) = from_toml(data) {
        assert_eq!(from_json(&to_json(&policy)), Ok(policy));
    }
});
