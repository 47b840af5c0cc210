//! Compiles `proto/` with protox, a compiler in Rust, so that no protoc has to be installed.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 4] = [
    "proto/lastseen/v1/events.proto",
    "proto/lastseen/v1/outputs.proto",
    "proto/lastseen/v1/journal.proto",
    "proto/lastseen/v1/state.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    // Tests hold the hand-written decoder's numbers and names against this.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new().btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}
