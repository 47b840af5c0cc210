//! A record in any format. What is taken is well-formed, and comes back as it was through protobuf and JSON; what
//! prost refuses is refused.
#![no_main]

use lastseen::domain::event::{Subject, is_device_id, is_tenant, split_key};
use lastseen::wire::decode::{Limits, RawRecord, Scratch, decode};
use lastseen::wire::encode::{encode_event, encode_event_json};
use lastseen::wire::pb;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let scratch = Scratch::new();
    let limits = Limits::default();
    let record = RawRecord { value: Some(data), ..RawRecord::default() };
    // As a record of Kafka, whose key is almost never right: refused, but not by a panic.
    let _ = decode(&RawRecord { key: Some(b"acme/p1"), partitions: 12, ..record }, &scratch, &limits);
    let Ok(event) = decode(&record, &scratch, &limits) else { return };
    if let Subject::Device { key, .. } = event.subject {
        let (tenant, device_id) = split_key(key);
        assert!(is_tenant(tenant) && is_device_id(device_id));
    }
    if !matches!(data[0], 0 | b'{' | b' ' | b'\t' | b'\r' | b'\n' | 0xef) {
        assert!(pb::Event::decode(data).is_ok());
    }
    let protobuf = encode_event(&event);
    let json = encode_event_json(&event);
    for bytes in [&protobuf, &json] {
        let record = RawRecord { value: Some(bytes), ..RawRecord::default() };
        assert_eq!(decode(&record, &scratch, &limits).as_ref(), Ok(&event));
    }
});
