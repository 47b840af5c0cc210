//! Where values come from: a TOML file, the environment, flags. Each is a list of names, raw values and origins.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::keys::{self, CLIENT, KEYS};

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of a file, from 1.
    File(String, usize),
    /// An environment variable.
    Environment(String),
    /// A flag, as it is written.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{path}:{line}"),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value before its key has looked at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Raw {
    /// A text of the file.
    Text(String),
    /// A number of the file, as it is written.
    Number(String),
    /// A flag of the file.
    Flag(bool),
    /// From the environment or a flag: a text that may stand for anything.
    Words(String),
    /// Something that no key takes; its name.
    Other(&'static str),
}

/// A name, what was said of it, and where.
#[derive(Clone, Debug)]
pub struct Said {
    /// The key, `kafka.group`; settings of librdkafka begin with `kafka.client.`.
    pub name: String,
    /// The value.
    pub raw: Raw,
    /// Where it was said.
    pub origin: Origin,
}

/// Reads a file's text. What is not TOML is a problem with its line.
pub fn file(path: &str, text: &str) -> Result<Vec<Said>, Problem> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Problem::at(Origin::File(path.to_owned(), line), format!("this is not TOML: {}", error.message()))
    })?;
    let mut said = Vec::new();
    flatten(path, text, "", table.get_ref(), &mut said);
    said.sort_by_key(|said| match said.origin {
        Origin::File(_, line) => line,
        _ => 0,
    });
    Ok(said)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

fn flatten(path: &str, text: &str, prefix: &str, table: &DeTable<'_>, said: &mut Vec<Said>) {
    for (key, value) in table {
        let name =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            // A table where a key takes a value is said as such, not as keys that do not exist.
            DeValue::Table(within) if KEYS.iter().all(|key| key.name != name) => {
                flatten(path, text, &name, within, said);
            }
            _ => {
                let origin = Origin::File(path.to_owned(), line_of(text, key.span().start));
                said.push(Said { name, raw: raw(value), origin });
            }
        }
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(plain) => Raw::Number(plain.to_string()),
            Err(_) => Raw::Number(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Raw::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(time) => Raw::Text(time.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map_or(Raw::Other("a list"), |texts| Raw::Text(texts.join(",")))
        }
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// Reads the variables that begin with `LASTSEEN_`. Those that Kubernetes sets for a service named lastseen are not
/// ours; any other that no key answers to is a problem.
pub fn environment(
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Vec<Said> {
    let client = format!("LASTSEEN_{}_", CLIENT.replace('.', "_").to_ascii_uppercase());
    let mut said = Vec::new();
    for (variable, value) in variables {
        let Some(rest) = variable.strip_prefix("LASTSEEN_") else { continue };
        let name = if let Some(setting) = variable.strip_prefix(&client) {
            format!("{CLIENT}.{}", setting.replace('_', ".").to_ascii_lowercase())
        } else if let Some(key) = KEYS.iter().find(|key| key.variable() == variable) {
            key.name.to_owned()
        } else if rest == "CONFIG" || is_of_kubernetes(rest) {
            continue;
        } else {
            let origin = Origin::Environment(variable.clone());
            let known: Vec<String> = KEYS.iter().map(keys::Key::variable).collect();
            let hint = match nearest(&variable, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "`lastseen check --sample` lists every key with its variable".to_owned(),
            };
            problems.push(Problem::at(origin, format!("no key has this variable; {hint}")));
            continue;
        };
        said.push(Said { name, raw: Raw::Words(value), origin: Origin::Environment(variable) });
    }
    said.sort_by(|a, b| a.name.cmp(&b.name));
    said
}

/// `LASTSEEN_SERVICE_HOST`, `LASTSEEN_HTTP_PORT_80_TCP_ADDR`: the kubelet sets these in every pod beside a service.
fn is_of_kubernetes(rest: &str) -> bool {
    let of_port = |(_, after): (&str, &str)| after.starts_with(|c: char| c.is_ascii_digit());
    let underscored = format!("_{rest}");
    underscored.ends_with("_SERVICE_HOST")
        || underscored.contains("_SERVICE_PORT")
        || underscored.ends_with("_PORT")
        || underscored.split_once("_PORT_").is_some_and(of_port)
}

/// `KEY=VALUE`, as `--set` takes it.
pub fn assignment(text: &str) -> Result<Said, Problem> {
    let origin = Origin::Flag(format!("--set {}", text.split('=').next().unwrap_or_default()));
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            let value = value.trim();
            let plain = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            Ok(Said { name: name.trim().to_owned(), raw: Raw::Words(plain.to_owned()), origin })
        }
        _ => Err(Problem::at(origin, "--set takes KEY=VALUE, such as --set worker.commit_interval_ms=50")),
    }
}

/// The name that a slip of the pen most likely meant.
pub fn nearest<'n>(said: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.replace(['_', '-', '.'], "").to_ascii_lowercase();
    let last = |name: &str| plain(name.rsplit('.').next().unwrap_or(name));
    // The cost grows with the square of the length.
    let said: String = said.chars().take(96).collect();
    let wanted = plain(&said);
    names
        .into_iter()
        .filter_map(|name| {
            let known = plain(name);
            let distance = strsim::damerau_levenshtein(&wanted, &known);
            // A key named without its table, or in the wrong one, is meant as well.
            let moved = last(&said) == last(name) || wanted == last(name);
            let cut = wanted.len() >= 4 && known.contains(&wanted);
            let plausible = distance <= 1 + known.len() / 5 || moved || cut;
            plausible.then_some((if moved { 0 } else { distance }, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
