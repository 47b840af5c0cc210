//! A journal entry. What is taken comes back as it was.
#![no_main]

use lastseen::wire::pb::JournalEntry;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = JournalEntry::decode(data) {
        let bytes = entry.encode_to_vec();
        assert_eq!(JournalEntry::decode(bytes.as_slice()).as_ref(), Ok(&entry));
    }
});
