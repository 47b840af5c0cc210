//! The keys as text: the commented sample, and the configuration in force.

use std::fmt::Write;

use super::keys::{CLIENT, KEYS, Kind, TABLES, Value};
use super::{Loaded, shown, unit};

/// The value as TOML writes it.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::Text(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Whole(number) => number.to_string(),
    }
}

/// Every key with its default and its meaning, as a file of TOML in which nothing is switched on: `deploy/config.toml`.
pub fn sample() -> String {
    let mut out = String::from(
        "# The configuration of Lastseen: every key with its default, what is allowed, and its environment variable.\n\
         # Made by `lastseen check --sample`; a test holds it against the code.\n\
         #\n\
         # Copy what you change to lastseen.toml (or name a file by --config FILE or LASTSEEN_CONFIG), and look at the\n\
         # outcome with `lastseen check`. The environment goes before the file, flags before both; unknown keys are\n\
         # refused.\n",
    );
    let mut table = "";
    for key in KEYS {
        let (of, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if of != table {
            if table == "kafka" {
                head(&mut out, CLIENT);
                out.push_str(
                    "# \"security.protocol\" = \"sasl_ssl\"\n# \"sasl.mechanism\" = \"SCRAM-SHA-512\"\n",
                );
                out.push_str("# \"sasl.username\" = \"lastseen\"\n");
            }
            table = of;
            head(&mut out, table);
        }
        out.push('\n');
        comment(&mut out, key.about);
        let _ = writeln!(out, "# {}{}", allowed(key.name, key.kind), key.variable());
        let _ = writeln!(out, "# {name} = {}", literal(&key.default.value()));
    }
    out
}

fn head(out: &mut String, table: &str) {
    let _ = write!(out, "\n[{table}]\n");
    if let Some((_, about)) = TABLES.iter().find(|(name, _)| *name == table) {
        comment(out, about);
    }
}

/// What is allowed, where the sentence about the key does not say so; with a separator for what follows.
fn allowed(name: &str, kind: Kind) -> String {
    let unit = unit(name).map(|unit| format!(" {unit}")).unwrap_or_default();
    match kind {
        Kind::Whole(low, high) => format!("{low} to {high}{unit}; "),
        Kind::ZeroOr(low, high) => format!("0, or {low} to {high}{unit}; "),
        Kind::Word(words) => format!("{}; ", words.join(", ")),
        Kind::Flag => "true, false; ".to_owned(),
        Kind::Text(_) => String::new(),
    }
}

/// Text as comments of at most 110 columns.
fn comment(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.chars().count() > 110 {
            out.push('\n');
            column = 0;
        }
        out.push_str(if column == 0 { "# " } else { " " });
        out.push_str(word);
        column += word.chars().count() + if column == 0 { 2 } else { 1 };
    }
    if column > 0 {
        out.push('\n');
    }
}

/// The configuration in force, each value with where it came from; valid TOML. Secrets are not shown.
pub fn effective(loaded: &Loaded) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut table = "";
    let client = |lines: &mut Vec<(String, String)>| {
        if loaded.client.is_empty() {
            return;
        }
        lines.push((String::new(), String::new()));
        lines.push((format!("[{CLIENT}]"), String::new()));
        for (name, (value, origin)) in &loaded.client {
            let value = literal(&Value::Text(shown(name, value).to_owned()));
            lines.push((format!("{name:?} = {value}"), origin.to_string()));
        }
    };
    for (key, setting) in &loaded.settings {
        let (of, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if of != table {
            if table == "kafka" {
                client(&mut lines);
            }
            table = of;
            lines.push((String::new(), String::new()));
            lines.push((format!("[{table}]"), String::new()));
        }
        lines.push((format!("{name} = {}", literal(&setting.value)), setting.origin.to_string()));
    }
    let width =
        lines.iter().map(|(line, _)| line.chars().count()).filter(|&width| width <= 60).max().unwrap_or(0);
    let mut out = String::new();
    for (line, origin) in lines {
        if origin.is_empty() {
            let _ = writeln!(out, "{line}");
        } else {
            let pad = width.saturating_sub(line.chars().count());
            let _ = writeln!(out, "{line}{:pad$}  # {origin}", "");
        }
    }
    out
}
