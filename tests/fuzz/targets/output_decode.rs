//! An output: the first byte says of which topic, the rest is the record. What is taken comes back as it was through
//! both formats.
#![no_main]

use lastseen::wire::output::{Format, OutputKind, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, value)) = data.split_first() else { return };
    let kind = OutputKind::ALL[usize::from(*kind) % OutputKind::ALL.len()];
    let Ok(output) = decode(kind, value) else { return };
    for format in [Format::Protobuf, Format::Json] {
        let mut bytes = Vec::new();
        encode(format, &output.identity(), &output.effect, &mut bytes);
        assert_eq!(decode(kind, &bytes).as_ref(), Ok(&output));
    }
});
