//! A line of `fold`. What is taken is JSON for others as well, and comes back as it was.
#![no_main]

use lastseen::wire::decode::{Limits, Line, Scratch, decode_line};
use lastseen::wire::encode::encode_event_json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let scratch = Scratch::new();
    let limits = Limits::default();
    let Ok(line) = decode_line(data, &scratch, &limits) else { return };
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok());
    if let Line::Event(event) = &line {
        let again = encode_event_json(event);
        assert_eq!(decode_line(&again, &scratch, &limits).as_ref(), Ok(&line));
    }
});
