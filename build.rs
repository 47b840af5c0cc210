//! Compiles `proto/` with protox, a compiler in Rust, so that no protoc has to be installed.

const FILES: [&str; 2] = ["proto/lastseen/v1/events.proto", "proto/lastseen/v1/state.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    prost_build::Config::new().btree_map(["."]).compile_fds(protox::compile(FILES, ["proto"])?)?;
    Ok(())
}
