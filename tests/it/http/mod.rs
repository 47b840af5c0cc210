//! The query side as its clients meet it: real requests to a real server, over a real processor on the embedded log.

mod api;
mod live;
mod pages;
mod papers;
mod restart;
mod rights;
mod whole;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lastseen::clock::Clock;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::step::Settings;
use lastseen::http::auth::{self, Tokens};
use lastseen::http::{Limits, ServerConfig, Service, ServiceConfig, Tls, Tools};
use lastseen::log::embedded::{EmbeddedConfig, EmbeddedLog};
use lastseen::query::feed::FeedConfig;
use lastseen::stats::Stats;
use lastseen::store::RocksStore;
use lastseen::worker::{Worker, WorkerConfig};
use serde_json::Value;

pub const START: i64 = 1_767_225_600_000;
const PARTITIONS: u32 = 4;
/// So many seconds of the fleet pass in one of ours.
const SPEED: f64 = 20.0;
/// Whatever is waited for comes within this time, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The secrets of the tokens that every bench has.
pub const OPERATOR: &str = "secret-of-kim";
pub const VIEWER: &str = "secret-of-lee";
pub const INGEST: &str = "secret-of-gateway";
pub const AUDITOR: &str = "secret-of-ada";
pub const STRANGER: &str = "secret-of-mallory";
pub const ROOT: &str = "secret-of-prometheus";
pub const BOSS: &str = "secret-of-the-boss";

/// Everything in one process: log, processor, query side.
pub struct Bench {
    pub clock: Clock,
    pub log: EmbeddedLog,
    pub service: Option<Service>,
    worker: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
    pub stats: Arc<Stats>,
    pub dir: tempfile::TempDir,
    pub limits: Limits,
    /// Changes that the live feed keeps.
    pub window: usize,
    agent: ureq::Agent,
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    ureq::Agent::new_with_config(config.timeout_global(Some(PATIENCE)).build())
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// That it went well.
    #[track_caller]
    pub fn good(self) -> Value {
        assert!(self.status < 300, "{}: {}", self.status, self.text);
        self.json()
    }

    /// That it is a problem of this status, as RFC 9457 has it; what it says.
    #[track_caller]
    pub fn problem(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().starts_with("urn:lastseen:problem:"));
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
        problem
    }
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Bench {
        Bench::with_window(limits, 10_000)
    }

    /// With a live feed that keeps so few changes.
    pub fn with_window(limits: Limits, window: usize) -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::accelerated(Timestamp::from_millis(START), SPEED);
        let stamps = clock.clone();
        let config =
            EmbeddedConfig { partitions: PARTITIONS, retention_thread: false, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(dir.path().join("log"), config, Arc::new(move || stamps.now()))
            .expect("the log opens");
        let stats = Arc::new(Stats::default());
        let agent = agent();
        let mut bench = Bench { clock, log, service: None, worker: None, stats, dir, limits, window, agent };
        bench.start_processor();
        bench.start_service();
        bench.until_ready();
        bench
    }

    pub fn start_processor(&mut self) {
        let config = WorkerConfig {
            log_name: "test".into(),
            settings: Arc::new(Settings { partitions: PARTITIONS, ..Settings::default() }),
            commit_interval: Duration::from_millis(5),
            batch_records: 1000,
            clock_margin: Millis(0),
            checkpoint_interval: Duration::from_secs(3600),
            ..WorkerConfig::default()
        };
        let (member, store) = (self.log.member().expect("one member"), RocksStore::new(self.dir.path()));
        let worker = Worker::new(member, store, self.clock.clone(), config, Arc::clone(&self.stats), 7);
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || worker.run(&flag).expect("the processor works"));
        self.worker = Some((stop, thread));
    }

    /// As SIGTERM does: everything that was sent is committed.
    pub fn stop_processor(&mut self) {
        if let Some((stop, thread)) = self.worker.take() {
            stop.store(true, Ordering::SeqCst);
            thread.join().expect("it ends well");
        }
    }

    pub fn start_service(&mut self) {
        self.service = Some(self.another_service(&self.dir.path().join("view")));
    }

    /// A query side over the same log, with its database in `dir`.
    pub fn another_service(&self, dir: &Path) -> Service {
        self.service_with(dir, None)
    }

    /// The same, by TLS.
    pub fn service_with(&self, dir: &Path, tls: Option<Tls>) -> Service {
        let tokens = Tokens::open(None, 0).expect("no file");
        let add = |name: &str, tenant: &str, role: &str, secret: &str| {
            tokens.add(auth::token(name, &[tenant.to_owned()], &[role.to_owned()]).unwrap(), secret);
        };
        add("kim", "acme", "operator", OPERATOR);
        add("lee", "acme", "viewer", VIEWER);
        add("gateway", "acme", "ingest", INGEST);
        add("ada", "acme", "auditor", AUDITOR);
        add("mallory", "other", "operator", STRANGER);
        add("prometheus", "*", "auditor", ROOT);
        let roles: Vec<String> = auth::Role::ALL.iter().map(|role| role.word().to_owned()).collect();
        tokens.add(auth::token("boss", &["*".to_owned()], &roles).unwrap(), BOSS);
        let config = ServiceConfig {
            dir: dir.to_owned(),
            log_name: "test".into(),
            partitions: PARTITIONS,
            feed: FeedConfig {
                pause: Duration::from_millis(2),
                checkpoint: Duration::from_millis(200),
                kept: None,
                window: self.window,
            },
            server: ServerConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), tls },
            limits: self.limits.clone(),
        };
        let tools = Tools {
            archives: vec![Box::new(self.log.clone()), Box::new(self.log.clone())],
            append: Some(Box::new(self.log.clone())),
            tokens: Arc::new(tokens),
            clock: self.clock.clone(),
            stats: Some(Arc::clone(&self.stats)),
        };
        Service::start(&config, tools).expect("the query side starts")
    }

    pub fn until_ready(&self) {
        self.until("ready", || (self.call("GET", "/readyz", None, None).status == 200).then_some(()));
    }

    /// Asks until there is an answer.
    #[track_caller]
    pub fn until<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        until(what, ask)
    }

    pub fn address(&self) -> SocketAddr {
        self.service.as_ref().expect("it runs").address()
    }

    pub fn call(&self, method: &str, path: &str, secret: Option<&str>, body: Option<(&str, &str)>) -> Answer {
        let mut headers = Vec::new();
        if let Some(secret) = secret {
            headers.push(("authorization", format!("Bearer {secret}")));
        }
        if let Some((kind, _)) = body {
            headers.push(("content-type", kind.to_owned()));
        }
        self.ask(self.address(), method, path, &headers, body.map(|(_, body)| body))
    }

    pub fn ask(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: Option<&str>,
    ) -> Answer {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body.unwrap_or_default().to_owned()).expect("a request");
        let mut response = self.agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let mut text = String::new();
        response.body_mut().as_reader().read_to_string(&mut text).expect("a text");
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), text }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Some(VIEWER), None)
    }

    pub fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(OPERATOR), Some(("application/json", &body.to_string())))
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(OPERATOR), Some(("application/json", &body.to_string())))
    }

    /// Sends events of the tenant acme, and waits until the view shows them.
    #[track_caller]
    pub fn send(&self, events: &[Value]) {
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        let body = lines.join("\n");
        let path = "/v1/tenants/acme/events";
        let answer = self.call("POST", path, Some(INGEST), Some(("application/x-ndjson", &body))).good();
        assert_eq!(answer["accepted"], events.len());
        let view = &self.service.as_ref().expect("it runs").view;
        for position in answer["positions"].as_array().unwrap() {
            let number = |name: &str| position[name].as_u64().unwrap();
            let index =
                ["control", "connections", "activity"].iter().position(|topic| position["topic"] == **topic);
            let partition = number("partition") as usize;
            self.until("the events in the view", || {
                let taken = view.state().partitions[partition].positions[index.unwrap()];
                (taken > number("offset")).then_some(())
            });
        }
    }

    /// Opens a stream.
    pub fn stream(&self, path: &str, last: Option<&str>) -> Stream {
        let mut request = self.agent.get(format!("http://{}{path}", self.address()));
        request = request.header("authorization", format!("Bearer {VIEWER}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.call().expect("a stream");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream(BufReader::new(Box::new(response.into_body().into_reader())))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.service = None;
        if let Some((stop, thread)) = self.worker.take() {
            stop.store(true, Ordering::SeqCst);
            // A panic was told by its own message.
            let _ = thread.join();
        }
    }
}

/// Asks until there is an answer.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A stream of events.
pub struct Stream(BufReader<Box<dyn Read + Send>>);

/// An event of a stream.
#[derive(Debug)]
pub struct Seen {
    pub event: String,
    pub data: Value,
    pub id: String,
}

impl Stream {
    /// The next event; `None`: the stream is over.
    pub fn next(&mut self) -> Option<Seen> {
        let (mut event, mut data, mut id) = (String::new(), String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("a line within the time") == 0 {
                return None;
            }
            let line = line.trim_end();
            if let Some(text) = line.strip_prefix("event: ") {
                event = text.into();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data.push_str(text);
            } else if let Some(text) = line.strip_prefix("id: ") {
                id = text.into();
            } else if line.is_empty() && !event.is_empty() {
                return Some(Seen { event, data: serde_json::from_str(&data).expect("JSON"), id });
            }
        }
    }
}

/// The real binary, serving; ended when dropped.
pub struct Serving {
    child: std::process::Child,
    /// Where it answers.
    pub address: String,
    /// How many lines of what it tells of itself hold a secret.
    leaks: Option<JoinHandle<usize>>,
    agent: ureq::Agent,
}

impl Serving {
    /// Runs it and waits until it says where it answers.
    pub fn start(mut command: std::process::Command) -> Serving {
        use std::process::Stdio;
        let mut child = command
            .args(["--set", "http.listen=127.0.0.1:0", "--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut told = String::new();
        let address = loop {
            let line =
                lines.next().unwrap_or_else(|| panic!("it ended without an address:\n{told}")).unwrap();
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) =
                said.pointer("/fields/address").or(said.get("address")).and_then(Value::as_str)
            {
                break address.trim_start_matches("http://").to_owned();
            }
            told.push_str(&line);
            told.push('\n');
        };
        // The rest is drained, so that it can go on telling.
        let leaks = std::thread::spawn(move || {
            lines.map_while(Result::ok).filter(|line| line.contains("lst_")).count()
        });
        Serving { child, address, leaks: Some(leaks), agent: agent() }
    }

    /// Asks it; status and body.
    pub fn ask(&self, method: &str, path: &str, secret: &str, body: &str) -> (u16, Value) {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {secret}"))
            .header("content-type", "application/json")
            .body(body.to_owned())
            .unwrap();
        let mut answer = self.agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default())
    }

    /// kill -9; how many lines held a secret.
    pub fn kill(mut self) -> usize {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
        self.leaks.take().map_or(0, |leaks| leaks.join().expect("lines"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
