//! The whole of it: a fleet with every story, the real binary, TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::Arc;

use lastseen::demo::fleet::Fleet;
use lastseen::domain::time::{Millis, Timestamp};
use lastseen::engine::journal;
use lastseen::engine::recovery::Recovery;
use lastseen::engine::step::Settings;
use lastseen::engine::table::Kind;
use lastseen::log::{Append, OutRecord, Topic};
use lastseen::wire::partition;
use lastseen::wire::state::device_json;
use tokio_rustls::rustls;

use super::{Bench, PARTITIONS, ROOT, START, Serving, until};
use crate::cli::Shell;

/// What the simulated fleet says of a minute, over HTTP, and what recovery finds in the log, device by device.
#[test]
fn the_view_is_what_recovery_finds() {
    let mut bench = Bench::new();
    let start = Timestamp::from_millis(START);
    let mut fleet = Fleet::new(3, 60, start);
    // Ten minutes of stories, sent as fast as they can be.
    for event in fleet.events_until(start + Millis::from_minutes(10)) {
        let partitions = match &event.key {
            Some(key) => {
                let partition = partition::of(key.as_bytes(), PARTITIONS);
                partition..partition + 1
            }
            None => 0..PARTITIONS,
        };
        let record = |partition| OutRecord {
            topic: Topic::Input(event.topic),
            partition,
            timestamp: event.arrival,
            key: event.key.as_ref().map(|key| key.clone().into_bytes()),
            value: Some(event.payload.clone()),
            headers: Vec::new(),
        };
        bench.log.append(&partitions.map(record).collect::<Vec<_>>()).unwrap();
    }
    let ends: Vec<u64> = (0..PARTITIONS)
        .map(|partition| {
            let inputs = Topic::ALL.iter().filter(|topic| matches!(topic, Topic::Input(_)));
            inputs.map(|topic| bench.log.bounds(*topic, partition).unwrap().high).sum()
        })
        .collect();
    let view = Arc::clone(&bench.service.as_ref().unwrap().view);
    until("everything is folded", || {
        let state = view.state();
        let taken = state.partitions.iter().map(|known| known.positions.iter().sum::<u64>());
        taken.eq(ends.iter().copied()).then_some(())
    });
    bench.stop_processor();
    let mut devices = 0;
    for number in 0..PARTITIONS {
        let settings = Settings { partitions: PARTITIONS, ..Settings::default() };
        let mut recovery = Recovery::new(number, Arc::new(settings), 0);
        let mut seq = 0;
        let state = bench.log.bounds(Topic::State, number).unwrap();
        let each = &mut |record: lastseen::log::Scanned<'_>| {
            recovery.row(std::str::from_utf8(record.key.unwrap()).unwrap(), record.value).unwrap();
            ControlFlow::Continue(())
        };
        bench.log.scan(Topic::State, number, state.low..state.high, each).unwrap();
        let entries = bench.log.bounds(Topic::Journal, number).unwrap();
        let each = &mut |record: lastseen::log::Scanned<'_>| {
            let entry = journal::open(record.value.unwrap()).unwrap();
            seq = entry.entry.seq;
            recovery.entry(entry).unwrap();
            ControlFlow::Continue(())
        };
        bench.log.scan(Topic::Journal, number, entries.low..entries.high, each).unwrap();
        let core = recovery.finish(None).unwrap().core;
        until("the view has the last entry", || (view.standing()[number as usize].seq == seq).then_some(()));
        for slot in 0..core.table.capacity() {
            if core.table.slot(slot).kind() != Kind::Live {
                continue;
            }
            devices += 1;
            let key = core.table.slot(slot).key();
            let expected = device_json(key, &core.device(slot), &core.policy);
            let (tenant, id) = key.split_once('/').unwrap();
            let path = format!("/v1/tenants/{tenant}/devices/{id}");
            let told = bench.call("GET", &path, Some(ROOT), None).good();
            for (name, value) in expected.as_object().unwrap() {
                assert!(
                    name == "topic" || told[name] == *value,
                    "{key}: {name} is {value}, told as {}",
                    told[name]
                );
            }
        }
    }
    assert!(devices >= 40, "{devices} devices only");
    let tenants: Vec<String> = view.state().fleet.tenants().map(|(name, _)| name.to_owned()).collect();
    let listed: u64 = tenants
        .iter()
        .map(|tenant| {
            let path = format!("/v1/tenants/{tenant}/devices?limit=1");
            bench.call("GET", &path, Some(ROOT), None).good()["matched"].as_u64().unwrap()
        })
        .sum();
    assert_eq!(listed, devices, "nobody is listed who is not there");
}

#[test]
fn the_real_binary_makes_tokens_serves_and_withdraws_them() {
    let shell = Shell::new();
    let made =
        shell.run(&["token", "kim", "--tenant", "acme", "--role", "operator", "--file", "tokens.toml"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let secret = made.out.trim().to_owned();
    let twice = shell.run(&["token", "kim", "--tenant", "acme", "--role", "viewer", "--file", "tokens.toml"]);
    assert_eq!(twice.code, 2);
    assert!(twice.err.contains("there twice"), "{}", twice.err);
    let serving = Serving::start(shell.command(&[
        "run",
        "--log",
        "embedded",
        "--data-dir",
        "data",
        "--set",
        "http.tokens=tokens.toml",
    ]));
    let events = "/v1/tenants/acme/events";
    let sent =
        serving.ask("POST", events, &secret, r#"{"deviceId":"pump-1","connected":{"channel":"mqtt"}}"#);
    assert_eq!(sent.0, 202, "{}", sent.1);
    until("the device is shown", || {
        let (_, device) = serving.ask("GET", "/v1/tenants/acme/devices/pump-1", &secret, "");
        (device["connection"] == "CONNECTED").then_some(())
    });
    shell.write("tokens.toml", "");
    until("the token is withdrawn", || (serving.ask("POST", events, &secret, "{}").0 == 401).then_some(()));
    assert_eq!(serving.kill(), 0, "a secret in what it tells of itself");
}

#[test]
fn the_demo_prints_a_token_that_works() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let shell = Shell::new();
    let refused = shell.run(&["demo", "--http-port", "web"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("0 for any that is free, or off"), "{}", refused.err);
    let mut command = shell.command(&[
        "demo",
        "--http-port",
        "0",
        "--devices",
        "30",
        "--speed",
        "60",
        "--data-dir",
        "data",
    ]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.find(|line| line.starts_with("Ask it: ")).expect("it says where it answers");
    let (address, secret) = said.trim_start_matches("Ask it: ").split_once(", token ").unwrap();
    let drained = std::thread::spawn(move || lines.count());
    let agent = super::agent();
    until("the fleet is shown", || {
        let request = agent.get(format!("{address}/v1/tenants/acme/summary"));
        let mut answer = request.header("authorization", format!("Bearer {secret}")).call().unwrap();
        let summary: serde_json::Value =
            serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        (summary["devices"].as_u64() > Some(5)).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    drained.join().unwrap();
}

#[test]
fn a_certificate_makes_it_tls_and_http_2() {
    let bench = Bench::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (bench.dir.path().join("cert.pem"), bench.dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = lastseen::http::Tls { certificate, key };
    let service = bench.service_with(&bench.dir.path().join("tls"), Some(tls));
    let talk = |protocols: &[&[u8]], said: &[u8]| -> (Option<Vec<u8>>, Vec<u8>) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = "localhost".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(service.address()).unwrap();
        socket.set_read_timeout(Some(super::PATIENCE)).unwrap();
        let mut stream = rustls::Stream::new(&mut client, &mut socket);
        stream.write_all(said).unwrap();
        let mut answer = vec![0; 9];
        stream.read_exact(&mut answer).unwrap();
        (client.alpn_protocol().map(<[u8]>::to_vec), answer)
    };
    let said = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(talk(&[b"http/1.1"], said), (Some(b"http/1.1".to_vec()), b"HTTP/1.1 ".to_vec()));
    // The preface of HTTP/2 and empty settings; the server's own settings come back: a frame of type 4 on stream 0.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let (protocol, frame) = talk(&[b"h2", b"http/1.1"], preface);
    assert_eq!(protocol.as_deref(), Some(b"h2".as_slice()));
    assert_eq!((frame[3], &frame[5..9]), (4, [0; 4].as_slice()));
}
