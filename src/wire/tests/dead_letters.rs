//! Dead letters: byte for byte, or cut and said so. And Kafka's partitions, by Kafka's own client.

use super::{record, refusal};
use crate::domain::time::Timestamp;
use crate::wire::dead_letter::{DeadLetter, HEADROOM_BYTES, Source, dead_letter, encode_line};
use crate::wire::partition;
use crate::wire::reject::{Reason, Reject};

const SOURCE: Source = Source {
    topic: "devices.activity",
    partition: 3,
    offset: 77,
    timestamp: Timestamp::from_millis(1_767_225_600_000),
};

fn header<'l>(letter: &'l DeadLetter, name: &str) -> Option<&'l str> {
    let header = letter.headers.iter().find(|(known, _)| known == name);
    header.map(|(_, value)| std::str::from_utf8(value).expect("headers are text"))
}

#[test]
fn says_why_and_whence() {
    let value = b"{\"tenant\":\"acme\",\xff";
    let reject = refusal(&record(value));
    let letter = dead_letter(Some(b"k"), Some(value), Some(b"application/json"), &reject, &SOURCE, 1 << 20);
    assert_eq!(
        (letter.key.as_deref(), letter.value.as_deref()),
        (Some(b"k".as_slice()), Some(value.as_slice()))
    );
    assert_eq!(header(&letter, "reason"), Some("not_json"));
    assert_eq!(header(&letter, "message"), Some("not valid JSON: byte 18 is not UTF-8"));
    assert_eq!(header(&letter, "origin-topic"), Some("devices.activity"));
    assert_eq!(header(&letter, "origin-partition"), Some("3"));
    assert_eq!(header(&letter, "origin-offset"), Some("77"));
    assert_eq!(header(&letter, "origin-timestamp"), Some("2026-01-01T00:00:00.000Z"));
    assert_eq!(header(&letter, "content-type"), Some("application/json"));
    assert_eq!(header(&letter, "original-length"), None);
    let letter = dead_letter(None, None, None, &reject, &SOURCE, 1 << 20);
    assert_eq!((letter.key, letter.value), (None, None));
}

#[test]
fn cuts_what_does_not_fit() {
    let bytes_max = 1024 * 1024 + HEADROOM_BYTES;
    let reject = Reject::new(Reason::Oversize, "too large");
    let fits = vec![b'x'; 1024 * 1024];
    let letter = dead_letter(Some(b"key"), Some(&fits), None, &reject, &SOURCE, bytes_max);
    assert_eq!(letter.value.as_deref(), Some(fits.as_slice()));

    let large = vec![b'x'; 3 * 1024 * 1024];
    let letter = dead_letter(Some(b"key"), Some(&large), None, &reject, &SOURCE, bytes_max);
    assert_eq!(header(&letter, "original-length"), Some("3145728"));
    assert_eq!(header(&letter, "original-sha256").map(str::len), Some(64));
    let size = letter.value.map_or(0, |value| value.len())
        + letter.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    assert!((1024 * 1024..bytes_max).contains(&size), "{size}");

    let letter = dead_letter(Some(&large), Some(b"v"), None, &reject, &SOURCE, bytes_max);
    assert_eq!((letter.key, letter.value.as_deref()), (None, Some(b"v".as_slice())));
}

#[test]
fn line_of_fold() {
    let mut out = Vec::new();
    encode_line(&Reject::new(Reason::BadValue, "a \"b\"\n"), 7, &mut out);
    let line = br#"{"topic":"dead-letter","reason":"bad_value","message":"a \"b\"\n","line":7}"#;
    assert_eq!(out, line);
}

#[test]
fn kafkas_own_client_agrees_on_partitions() {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    };
    let mut lines = 0;
    for line in
        include_str!("../../../tests/fixtures/murmur2.tsv").lines().filter(|line| !line.starts_with('#'))
    {
        let columns: Vec<&str> = line.split('\t').collect();
        let key = bytes(columns[0]);
        assert_eq!(partition::murmur2(&key).to_string(), columns[1], "{line}");
        for (partitions, wanted) in [1, 3, 8, 12, 64].into_iter().zip(&columns[2..]) {
            assert_eq!(partition::of(&key, partitions).to_string(), *wanted, "{line}");
        }
        lines += 1;
    }
    assert!(lines > 50, "{lines} lines");
}
