//! stub
use lastseen::config::Config;
use lastseen::domain::policy::Policy;
use lastseen::domain::time::Timestamp;
use std::io::{Read, Write};
use std::sync::atomic::AtomicBool;
pub struct FoldOptions {
    pub policy: Option<Policy>,
    pub until: Option<Timestamp>,
    pub clock: super::fold::FoldClock,
    pub state: bool,
}
#[derive(Default)]
pub struct FoldSummary {
    pub lines: u64,
    pub applied: u64,
    pub ignored: u64,
    pub rejected: u64,
    pub outputs: u64,
    pub devices: u64,
    pub first_rejected: Option<(u64, String)>,
}
pub fn fold(_: &FoldOptions, _: impl Read, _: impl Write) -> anyhow::Result<FoldSummary> {
    anyhow::bail!("not yet")
}
pub fn run(_: &Config, _: &AtomicBool) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
pub fn policy_of_row(_: Option<&[u8]>, _: Option<&[u8]>) -> anyhow::Result<Option<Policy>> {
    anyhow::bail!("not yet")
}
