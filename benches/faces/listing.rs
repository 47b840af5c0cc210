//! The whole fleet listed by the vendors' own clients (`tests/sdk`), and what that costs the service in memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use lastseen::http::{Service, Tls};
use lastseen::log::embedded::EmbeddedLog;

use super::{SECRET, agent, ask, fleet, found, questions::Found, served};

/// Each client lists everybody there is.
pub fn measure(log: &EmbeddedLog, dir: &Path) {
    let python = variable("SDK_PYTHON");
    let modules = variable("SDK_NODE");
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name);
    let by_python = |arguments: [&str; 2], certificate: Option<&Path>| {
        let mut command = Command::new(&python);
        command.arg(script("listing.py")).args(arguments).args([fleet::TENANT, SECRET]);
        command.env("PYTHONWARNINGS", "ignore");
        if let Some(certificate) = certificate {
            command.env("REQUESTS_CA_BUNDLE", certificate);
        }
        command
    };
    println!("{:<22} {:>9} {:>8} {:>25} {:>9}", "client", "found", "s", "resident before, MiB", "at most");

    let service = served(log, dir, None);
    let url = format!("http://{}", service.address());
    // Whoever was neither connected nor active has no client state.
    let has_state = count(&url, "connection=!UNKNOWN")
        + count(&url, "connection=UNKNOWN&lastActivityAfter=1970-01-01T00:00:00Z");
    let all = count(&url, "");
    listed("c8y_api", by_python(["cumulocity", &url], None), all);
    for package in ["balena-sdk", "balena-sdk-v6"] {
        let mut command = Command::new("node");
        command.arg("--max-old-space-size=4096").arg(script("listing.js")).arg(&modules);
        // What the client keeps at home stays in the bench's own directory.
        command.args([package, &url, SECRET]).env("HOME", dir);
        listed(package, command, all);
    }
    drop(service);

    let (service, certificate) = encrypted(log, dir);
    let port = service.address().port().to_string();
    listed("wiotp-sdk", by_python(["watson", &port], Some(&certificate)), has_state);
}

fn variable(name: &str) -> PathBuf {
    let said = std::env::var_os(name).map(PathBuf::from);
    said.unwrap_or_else(|| {
        panic!("{name} must say where what `tests/sdk/fetch` fetched is; `make listing` sets it")
    })
}

/// A service that speaks TLS, as the client of Watson IoT wants, and its certificate.
fn encrypted(log: &EmbeddedLog, dir: &Path) -> (Service, PathBuf) {
    let host = format!("{}.localhost", fleet::TENANT);
    let made = rcgen::generate_simple_self_signed(vec![host]).expect("a certificate");
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("it is written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("it is written");
    let tls = Tls { certificate: certificate.clone(), key };
    (served(log, dir, Some(tls)), certificate)
}

fn count(url: &str, filter: &str) -> u64 {
    let url = format!("{url}/v1/tenants/{}/summary?{filter}", fleet::TENANT);
    found(&ask(&agent(), &url).0, Found::Told("/devices"))
}

/// Lets a client list everybody.
fn listed(client: &str, mut command: Command, expected: u64) {
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    // The most that was ever resident counts anew.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux does so");
    let (before, began) = (resident("VmRSS:"), Instant::now());
    let output = command.output().expect("it runs");
    let took = began.elapsed().as_secs_f64();
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{client}: {told}{error}");
    assert_eq!(told.trim(), format!("{expected} {expected}"), "{client} finds everybody, once");
    println!("{client:<22} {expected:>9} {took:>8.1} {before:>25} {:>9}", resident("VmHWM:"));
}

/// Memory of this process, in MiB.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
