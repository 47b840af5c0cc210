//! What a face costs beside the native API: the same questions to both, in turn, over HTTP on this machine.
//!
//! `DEVICES=100000` (default a million) of the fleet of `fleet.rs`, `ROUNDS=50`. Before it measures it holds what both
//! found against each other, and prints a hash of it. `ONLY=balena` asks the questions of one face, or with this word.
//! `LISTING=1` lets the vendors' own clients list the whole fleet instead (`listing.rs`).

mod fleet;
mod listing;
mod questions;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lastseen::clock::Clock;
use lastseen::http::auth::{self, Tokens};
use lastseen::http::{Limits, ServerConfig, Service, ServiceConfig, Tls, Tools};
use lastseen::log::embedded::EmbeddedLog;
use lastseen::query::feed::{FeedConfig, readers};
use questions::{Found, QUESTIONS, Question};
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The secret of the one token: of a viewer of the tenant.
const SECRET: &str = "secret-of-lee";

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    if words.any(|word| word != "faces") {
        return;
    }
    let devices = number("DEVICES", 1_000_000);
    let dir = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let log = fleet::made(&dir.path().join("log"), &dir.path().join("view"), devices);
    println!("{devices} devices made in {:.1} s", began.elapsed().as_secs_f64());
    match std::env::var_os("LISTING") {
        None => measure(&log, dir.path(), devices),
        Some(_) => listing::measure(&log, dir.path()),
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build())
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A service over the log, once its view has all of it.
fn served(log: &EmbeddedLog, dir: &Path, tls: Option<Tls>) -> Service {
    let tokens = Tokens::open(None, 0).expect("no file");
    let token = auth::token("lee", &[fleet::TENANT.to_owned()], &["viewer".to_owned()]).expect("a token");
    tokens.add(token, SECRET);
    let config = ServiceConfig {
        dir: dir.join("view"),
        log_name: fleet::NAME.into(),
        partitions: fleet::PARTITIONS,
        feed: FeedConfig::default(),
        server: ServerConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), tls },
        limits: Limits { timeout: Duration::from_secs(120), ..Limits::default() },
    };
    let tools = Tools {
        archives: (0..readers(fleet::PARTITIONS)).map(|_| Box::new(log.clone()) as _).collect(),
        append: None,
        tokens: Arc::new(tokens),
        clock: Clock::manual(fleet::NOW),
        stats: None,
    };
    let service = Service::start(&config, tools).expect("the service starts");
    while !service.view.is_caught_up() {
        if let Some(why) = service.view.failure() {
            panic!("the view: {why}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    service
}

/// Asks, and how long it took.
fn ask(agent: &ureq::Agent, url: &str) -> (String, Duration) {
    let began = Instant::now();
    let request = agent.get(url).header("authorization", format!("Bearer {SECRET}"));
    let mut response = request.call().unwrap_or_else(|error| panic!("{url}: {error}"));
    let text = response.body_mut().with_config().limit(u64::MAX).read_to_string().expect("a text");
    let took = began.elapsed();
    assert_eq!(response.status(), 200, "{url}: {text}");
    (text, took)
}

/// How many an answer says it found.
fn found(text: &str, told: Found) -> u64 {
    let answer: Value = serde_json::from_str(text).expect("JSON");
    let at = |pointer: &str| answer.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {text}"));
    match told {
        Found::Listed(pointer) => at(pointer).as_array().expect("a list").len() as u64,
        Found::Told(pointer) => at(pointer).as_u64().expect("a number"),
        Found::Nothing => 1,
    }
}

fn measure(log: &EmbeddedLog, dir: &Path, devices: u32) {
    let began = Instant::now();
    let service = served(log, dir, None);
    println!("the view is there after {:.1} s", began.elapsed().as_secs_f64());
    let agent = agent();
    let url = format!("http://{}", service.address());
    let native = |question: &Question| format!("{url}/v1/tenants/{}/{}", fleet::TENANT, question.native.0);
    let theirs = |question: &Question| format!("{url}{}", question.theirs.0);
    println!("by availability, overall: {}", counts(&agent, &url));

    let mut hash = Xxh3::new();
    let mut all = Vec::new();
    for question in QUESTIONS {
        let (own, face) = (ask(&agent, &native(question)).0, ask(&agent, &theirs(question)).0);
        let (here, there) = (found(&own, question.native.1), found(&face, question.theirs.1));
        if devices >= 100_000 {
            assert_eq!(here, there, "{}, {}:\n{own}\n{face}", question.face, question.what);
        }
        hash.update(&here.to_le_bytes());
        all.push((here, own.len(), face.len()));
    }
    println!("hash of what was found {:016x}", hash.digest());

    println!(
        "{:<11} {:<38} {:>7} {:>15} {:>15} {:>15} {:>6}",
        "face", "question", "found", "bytes", "native, ms", "face, ms", "ratio"
    );
    let only = std::env::var("ONLY").unwrap_or_default();
    for (question, (found, own, face)) in QUESTIONS.iter().zip(all) {
        if !question.what.contains(&only) && question.face != only {
            continue;
        }
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..number("ROUNDS", 50) {
            for (took, url) in took.iter_mut().zip([native(question), theirs(question)]) {
                took.push(ask(&agent, &url).1.as_secs_f64() * 1e3);
            }
        }
        took.iter_mut().for_each(|took| took.sort_unstable_by(f64::total_cmp));
        let [(here, here_max), (there, there_max)] =
            took.map(|took| (took[took.len() / 2], took[took.len() - 1]));
        println!(
            "{:<11} {:<38} {found:>7} {own:>7} {face:>7} {here:>7.2} ({here_max:>5.1}) {there:>7.2} ({there_max:>5.1}) {:>6.2}",
            question.face,
            question.what,
            there / here
        );
    }
}

fn counts(agent: &ureq::Agent, url: &str) -> String {
    let text = ask(agent, &format!("{url}/v1/tenants/{}/summary", fleet::TENANT)).0;
    let summary: Value = serde_json::from_str(&text).expect("JSON");
    format!("{} {}", summary["counts"]["availability"], summary["counts"]["overall"])
}
