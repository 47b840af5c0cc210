use super::*;

fn read(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, ConfigError> {
    let mut problems = Vec::new();
    let mut layers = layers::file("lastseen.toml", file).unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    let variables = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    layers.extend(layers::environment(variables, &mut problems));
    layers.extend(flags.iter().map(|flag| layers::assignment(flag).unwrap()));
    load(layers, problems)
}

fn refused(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
    read(file, environment, flags).expect_err("this must be refused").to_string()
}

#[test]
fn defaults_are_right_and_every_key_is_used() {
    let mut layers: Vec<Said> = Vec::new();
    // Each key set to something else must change the configuration.
    let before = format!("{:?}", Config::default());
    for key in KEYS {
        let other = match (key.kind, key.default.value()) {
            (Kind::Word(words), Value::Text(now)) => {
                words.iter().find(|word| **word != now).unwrap().to_string()
            }
            (Kind::Flag, Value::Flag(now)) => (!now).to_string(),
            (_, Value::Whole(now)) => (now + 1).to_string(),
            _ => match key.name {
                "start" => "2026-01-01T00:00:00Z".to_owned(),
                "kafka.brokers" => "kafka:1".to_owned(),
                "http.listen" => "127.0.0.1:1".to_owned(),
                _ => "other".to_owned(),
            },
        };
        let said = Said {
            name: key.name.to_owned(),
            raw: Raw::Words(other),
            origin: Origin::Flag("test".to_owned()),
        };
        let loaded =
            load(vec![said.clone()], Vec::new()).unwrap_or_else(|error| panic!("{}: {error}", key.name));
        assert_ne!(before, format!("{:?}", loaded.config), "{} changes nothing", key.name);
        layers.push(said);
    }
    assert_eq!(before, format!("{:?}", read("", &[], &[]).unwrap().config));
}

#[test]
fn names_are_what_they_must_be() {
    for (index, key) in KEYS.iter().enumerate() {
        assert!(KEYS[..index].iter().all(|other| other.variable() != key.variable()), "{} twice", key.name);
        assert!(key.about.ends_with('.'), "{}: no sentence", key.name);
        if let Some((table, _)) = key.name.rsplit_once('.') {
            assert!(tables().any(|name| name == table), "{table} is not described");
        }
        // A default passes its own check.
        let raw = match key.default.value() {
            Value::Text(text) => Raw::Text(text),
            Value::Flag(flag) => Raw::Flag(flag),
            Value::Whole(number) => Raw::Number(number.to_string()),
        };
        assert_eq!(value(key, &raw), Ok(key.default.value()), "{}", key.name);
    }
    for topic in Topic::ALL {
        let key = format!("topics.{}", word_of(topic));
        let key = KEYS.iter().find(|other| other.name == key).unwrap();
        assert_eq!(key.default.value(), Value::Text(topic.default_name().to_owned()));
    }
}

fn tables() -> impl Iterator<Item = &'static str> {
    keys::TABLES.iter().map(|(name, _)| *name)
}

#[test]
fn later_layers_win_and_say_where_they_come_from() {
    let file =
        "log = \"kafka\"\n\n[kafka]\ngroup = \"a\"\ninstance = \"i\"\n[worker]\ncommit_interval_ms = 1_000\n";
    let loaded = read(
        file,
        &[("LASTSEEN_KAFKA_GROUP", "b"), ("LASTSEEN_KAFKA_INSTANCE", "j"), ("HOME", "/")],
        &["kafka.instance=k"],
    );
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config.kafka.group, "b");
    assert_eq!(loaded.config.kafka.instance.as_deref(), Some("k"));
    assert_eq!(loaded.config.commit_interval, Duration::from_secs(1));
    let origin =
        |name: &str| loaded.settings.iter().find(|(key, _)| key.name == name).unwrap().1.origin.to_string();
    assert_eq!(origin("kafka.group"), "environment LASTSEEN_KAFKA_GROUP");
    assert_eq!(origin("kafka.instance"), "flag --set kafka.instance");
    assert_eq!(origin("worker.commit_interval_ms"), "lastseen.toml:7");
    assert_eq!(origin("data_dir"), "default");
    assert_eq!(
        toml::from_str::<toml::Value>(&effective(&loaded)).unwrap()["kafka"]["instance"].as_str(),
        Some("k")
    );
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    assert_eq!(
        refused("[kafka]\ngrup = \"a\"\n", &[], &[]),
        "lastseen.toml:2: there is no key kafka.grup; did you mean kafka.group?"
    );
    assert_eq!(
        refused("brokers = \"a:1\"\n", &[], &[]),
        "lastseen.toml:1: there is no key brokers; did you mean kafka.brokers?"
    );
    assert_eq!(
        refused("", &[("LASTSEEN_KAFKA_BROKER", "a:1")], &[]),
        "environment LASTSEEN_KAFKA_BROKER: no key has this variable; did you mean LASTSEEN_KAFKA_BROKERS?"
    );
    assert_eq!(
        refused("", &[], &["worker.commit_intervall=1"]),
        "flag --set worker.commit_intervall: there is no key worker.commit_intervall; did you mean \
         worker.commit_interval_ms?"
    );
    assert_eq!(refused("kafka = 3\n", &[], &[]), "lastseen.toml:1: kafka is a table, not a value");
    assert!(
        refused("[zebra]\nx = 1\n", &[], &[]).contains("no key zebra.x; `lastseen check --sample` lists all")
    );
    // What Kubernetes says of a service named lastseen.
    let kubelet = [
        ("LASTSEEN_SERVICE_HOST", "10.0.0.1"),
        ("LASTSEEN_SERVICE_PORT_HTTP", "80"),
        ("LASTSEEN_PORT", "tcp://10.0.0.1:80"),
        ("LASTSEEN_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("LASTSEEN_QUERY_SERVICE_PORT", "80"),
    ];
    assert!(read("", &kubelet, &[]).is_ok());
}

#[test]
fn bad_values_say_what_is_allowed() {
    assert_eq!(
        refused("[worker]\ncommit_interval_ms = 0\ncount = \"two\"\n", &[], &[]),
        "lastseen.toml:2: worker.commit_interval_ms = 0: it must be a whole number from 1 to 60000 milliseconds\n\
         lastseen.toml:3: worker.count = \"two\": it must be a whole number from 0 to 256"
    );
    assert_eq!(
        refused("log = \"kafak\"\ndry_run = \"yes\"\n", &[], &[]),
        "lastseen.toml:1: log = \"kafak\": it must be kafka or embedded\n\
         lastseen.toml:2: dry_run = \"yes\": it must be true or false"
    );
    assert!(refused("start = \"yesterday\"\n", &[], &[]).contains("earliest, or a time of RFC 3339"));
    assert!(refused("data_dir = 3\n", &[], &[]).contains("data_dir = 3: it must be a text in quotes"));
    assert!(refused("data_dir = [1]\n", &[], &[]).contains("data_dir = a list: it must be a text"));
    assert!(refused("[kafka]\nbrokers = \"localhost\"\n", &[], &[]).contains("kafka-1:9092,kafka-2:9092"));
    assert!(refused("[topics]\nstatus = \"a b\"\n", &[], &[]).contains("1 to 249 of"));
    assert!(refused("[telemetry]\nlevel = \"inf0==\"\n", &[], &[]).contains("error, warn, info"));
    assert!(refused("[kafka\n", &[], &[]).starts_with("lastseen.toml:1: this is not TOML: "));
    assert!(
        refused("log = \"kafka\"\nlog = \"kafka\"\n", &[], &[])
            .starts_with("lastseen.toml:2: this is not TOML")
    );
}

#[test]
fn times_lists_and_client_settings_may_be_written_as_toml_writes_them() {
    let file = "start = 2026-01-01T00:00:00Z\n[kafka]\nbrokers = [\"a:1\", \"b:2\"]\n[kafka.client]\n\
                sasl.username = \"u\"\n\"linger.ms\" = 5\n\"socket.nagle.disable\" = true\n";
    let config = read(file, &[], &[]).unwrap().config;
    assert_eq!(config.start, StartAt::Time(Timestamp::from_millis(1_767_225_600_000)));
    assert_eq!(config.kafka.brokers, "a:1,b:2");
    let client: Vec<(&str, &str)> =
        config.kafka.client.0.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(client, [("linger.ms", "5"), ("sasl.username", "u"), ("socket.nagle.disable", "true")]);
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    assert_eq!(
        refused("[kafka]\nsession_timeout_ms = 20000\n", &[], &[]),
        "kafka.transaction_timeout_ms = 10000 (default), kafka.abort_scan_ms = 10000 (default), \
         kafka.session_timeout_ms = 20000 (lastseen.toml:2): the first two together must be less than the third, so that \
         the brokers have aborted what a dead instance left before another takes its partitions"
    );
    assert!(refused("[worker]\ncommit_interval_ms = 5000\n", &[], &[]).contains("three times"));
    assert!(
        refused("[retention]\njournal_seconds = 3600\n", &[], &[]).contains("state.refresh_seconds = 3600")
    );
    assert!(refused("[topics]\nstatus = \"x\"\naudit = \"x\"\n", &[], &[]).contains("a name of its own"));
    let loaded =
        read("log = \"embedded\"\n[kafka]\ngroup = \"g\"\n[retention]\nactivity_seconds = 60\n", &[], &[]);
    let notes = notes(&loaded.unwrap());
    assert_eq!(notes.len(), 2, "{notes:?}");
}

#[test]
fn secrets_stay_secret_and_owned_settings_are_refused() {
    let file = "[kafka.client]\n\"sasl.password\" = \"hunter2\"\n\"ssl.key.location\" = \"/key\"\n";
    let environment = [("LASTSEEN_KAFKA_CLIENT_SSL_KEY_PASSWORD", "hunter2")];
    let loaded = read(file, &environment, &["kafka.client.sasl.oauthbearer.client.secret=hunter2"]).unwrap();
    assert_eq!(loaded.config.kafka.client.0["ssl.key.password"], "hunter2");
    let shown = format!("{}{:?}", effective(&loaded), loaded.config);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("\"sasl.password\" = \"(not shown)\""), "{shown}");
    assert!(shown.contains("/key"));
    assert_eq!(
        refused("[kafka.client]\n\"group.id\" = \"g\"\n", &[], &[]),
        "lastseen.toml:2: kafka.client.\"group.id\" is not yours to set: set kafka.group"
    );
}

#[test]
fn the_sample_in_deploy_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config.toml");
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == sample(),
        "deploy/config.toml is not that of the code; make it anew: lastseen check --sample > {path}"
    );
    // As it stands it says nothing; with its comment signs taken away it says the defaults.
    assert!(layers::file("sample", &there).unwrap().is_empty());
    let is_key = |line: &&str| {
        !line.starts_with('"') && line.split_once(" = ").is_some_and(|(name, _)| !name.contains(' '))
    };
    let live: Vec<&str> = there
        .lines()
        .map(|line| line.strip_prefix("# ").filter(is_key).unwrap_or(line))
        .filter(|line| !line.starts_with('#'))
        .collect();
    let loaded = load(layers::file("sample", &live.join("\n")).unwrap(), Vec::new()).unwrap();
    assert!(loaded.settings.iter().all(|(key, setting)| setting.value == key.default.value()));
    assert!(loaded.settings.iter().all(|(_, setting)| setting.origin != Origin::Default), "a key is missing");
    assert!(there.lines().all(|line| line.chars().count() <= 110), "a line is too long");
}
