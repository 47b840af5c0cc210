//! What no compiler sees: layers, purity, length, leftovers, and whether the documents speak of things that exist.
//! Every failure says where, what, and what to do.

use std::path::Path;

// ---- the rules --------------------------------------------------------------------------------------------------

/// Each module of `src/` and which of the others it may import, in dependency order: the code map of ARCHITECTURE.md.
/// `lib.rs`, `main.rs` and `cli` may import everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("wire", &["domain"]),
    ("log", &["domain", "wire"]),
    ("engine", &["domain", "wire", "log"]),
    ("store", &["domain", "wire", "log", "engine"]),
    ("clock", &["domain"]),
    ("stats", &["domain", "wire", "log", "engine"]),
    ("worker", &["domain", "wire", "log", "engine", "store", "clock", "stats"]),
    ("follow", &["domain", "wire", "log", "engine"]),
    ("query", &["domain", "wire", "log", "engine", "follow", "clock"]),
    ("http", &["domain", "wire", "log", "query", "clock", "stats"]),
    ("replay", &["domain", "wire", "log", "engine", "follow"]),
    ("fold", &["domain", "wire", "engine"]),
    ("render", &["domain", "wire"]),
    ("config", &["domain", "wire", "log"]),
    ("telemetry", &["config"]),
    (
        "demo",
        &[
            "domain",
            "wire",
            "log",
            "engine",
            "store",
            "clock",
            "stats",
            "worker",
            "fold",
            "render",
            "config",
            "telemetry",
            "query",
            "http",
        ],
    ),
];

/// They know a log by its interface alone, never one of the two.
const KNOW_NO_LOG_BY_NAME: &[&str] = &[
    "domain", "wire", "engine", "store", "clock", "stats", "worker", "follow", "query", "http", "replay",
    "fold", "render",
];

/// Words that may stand in these places of `src/` only, and why.
const OWNERS: &[(&str, &[&str], &str)] = &[
    ("rdkafka", &["src/log/kafka"], "the rest talks to `crate::log::Log`"),
    (
        "rocksdb",
        &["src/store/rocks.rs", "src/store/rocks", "src/log/embedded", "src/query/history.rs"],
        "the rest talks to `Checkpoints`, to `crate::log::Log` or to `History`",
    ),
    ("tokio", &["src/cli", "src/http"], "a worker is one thread, and waits in its log only"),
    ("anyhow", &["src/cli", "src/main.rs"], "the library's errors have types that say what to do"),
    ("clap", &["src/cli", "src/main.rs"], "the library knows no command line"),
    ("SystemTime", &["src/clock.rs"], "ask `crate::clock::Clock`, which tests and the demo can set"),
    ("Utc::now", &["src/clock.rs"], "ask `crate::clock::Clock`"),
    ("Local::now", &["src/clock.rs"], "ask `crate::clock::Clock`"),
    (
        "Instant",
        &["src/clock.rs", "src/log", "src/demo", "src/cli", "src/http"],
        "measuring is the business of those who wait",
    ),
];

/// Words that make a function depend on something else than its arguments.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant",
    "Utc::now",
    "Local::now",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "rand",
    "tokio",
    "tracing",
    "rdkafka",
    "rocksdb",
    "anyhow",
    "println",
    "eprintln",
    // Their order is no order.
    "HashMap",
];

/// What pure layers must not speak of besides: the domain knows no format, and decides by whole numbers.
const PURE: &[(&str, &[&str])] = &[
    ("domain", &["serde", "serde_json", "prost", "std::io", "HashSet", "hashbrown", "f32", "f64"]),
    ("engine", &["serde", "serde_json", "std::io", "f32", "f64"]),
    ("wire", &[]),
];

/// Lines of code in one file, without comments, blank lines and tests.
const LINES_MAX: usize = 600;

/// The documents whose links are followed.
const DOCUMENTS: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    "deploy/RUNBOOK.md",
    "src/http/face/watson/README.md",
    "src/http/face/cumulocity/README.md",
];

// ---- reading the sources ----------------------------------------------------------------------------------------

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

/// A file of Rust: its path from the root, its text, and the same without comments and without what is in strings.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    /// The module right below `src/` that it belongs to.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = below.split('/').next().unwrap_or(below);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Whether it lies at one of these places, files or directories.
    fn is_at(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            self.path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether all of it is tests.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }
}

/// Every file of Rust below a directory, by path.
fn sources(directory: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let entries = std::fs::read_dir(root().join(&directory))
            .unwrap_or_else(|error| panic!("{directory} cannot be listed: {error}"));
        for entry in entries {
            let entry = entry.unwrap_or_else(|error| panic!("{directory} cannot be listed: {error}"));
            let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                waiting.push(path);
            } else if path.ends_with(".rs") {
                let text = read(&path);
                let code = stripped(&text, false);
                found.push(Source { path, text, code });
            }
        }
    }
    assert!(!found.is_empty(), "{directory} holds no Rust");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

enum Piece {
    Comment,
    Text,
    Code,
}

/// What `rest` begins with, and how long that is; `before` is the character in front of it.
fn piece(rest: &[char], before: Option<char>) -> (Piece, usize) {
    let in_word = before.is_some_and(is_word);
    let raw =
        |prefix: usize| raw_length(rest, prefix).map_or((Piece::Code, 1), |length| (Piece::Text, length));
    match rest {
        ['/', '/', ..] => {
            (Piece::Comment, rest.iter().position(|letter| *letter == '\n').unwrap_or(rest.len()))
        }
        ['/', '*', ..] => (Piece::Comment, block_length(rest)),
        ['"', ..] => (Piece::Text, quoted_length(rest)),
        ['r', '"' | '#', ..] if !in_word => raw(1),
        ['b', 'r', '"' | '#', ..] if !in_word => raw(2),
        ['\'', '\\', _, after @ ..] => {
            let more = after.iter().position(|letter| *letter == '\'').map_or(after.len(), |at| at + 1);
            (Piece::Text, 3 + more)
        }
        ['\'', _, '\'', ..] => (Piece::Text, 3),
        _ => (Piece::Code, 1),
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The length of a comment that begins with `/*`; such comments nest.
fn block_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a text that begins with a quotation mark.
fn quoted_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw text whose marks begin after `prefix`; `None` if it is none, but a raw identifier.
fn raw_length(rest: &[char], prefix: usize) -> Option<usize> {
    let marks = rest[prefix..].iter().take_while(|letter| **letter == '#').count();
    let begin = prefix + marks + 1;
    if rest.get(begin - 1) != Some(&'"') {
        return None;
    }
    let ends = |at: &usize| {
        rest[*at] == '"' && rest[at + 1..].iter().take_while(|letter| **letter == '#').count() >= marks
    };
    Some((begin..rest.len()).find(ends).map_or(rest.len(), |at| at + 1 + marks))
}

/// Rust without comments, and without texts unless they are wanted. Every line stays where it is.
fn stripped(text: &str, keep_texts: bool) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let before = at.checked_sub(1).map(|index| letters[index]);
        let (piece, length) = piece(&letters[at..], before);
        let end = (at + length).min(letters.len());
        let span = &letters[at..end];
        match piece {
            Piece::Code => out.extend(span),
            Piece::Text if keep_texts => out.extend(span),
            Piece::Text | Piece::Comment => out.extend(span.iter().filter(|letter| **letter == '\n')),
        }
        at = end;
    }
    out
}

/// The lines, from 1, in which a word stands by itself.
fn lines_with(text: &str, word: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let stands_alone = |at: usize| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        };
        if line.match_indices(word).any(|(at, _)| stands_alone(at)) {
            found.push(number);
        }
    }
    found
}

/// What stands behind each `crate::`, with its line.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, number) in code.lines().zip(1..) {
        for (at, word) in line.match_indices("crate::") {
            if !line[..at].chars().next_back().is_some_and(is_word) {
                let name = line[at + word.len()..].chars().take_while(|letter| is_word(*letter)).collect();
                found.push((number, name));
            }
        }
    }
    found
}

/// The lines of code of a file: no comments, no blank lines, no modules of tests.
fn lines_of_code(text: &str) -> usize {
    let code = stripped(text, true);
    let mut lines = code.lines().filter(|line| !line.trim().is_empty());
    let mut count = 0;
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            count += 1;
            continue;
        }
        let Some(next) = lines.next() else { break };
        if next.trim_end().ends_with('{') {
            let indent = &next[..next.len() - next.trim_start().len()];
            let end = format!("{indent}}}");
            let _ = lines.find(|line| line.trim_end() == end);
        }
    }
    count
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

// ---- the tests --------------------------------------------------------------------------------------------------

#[test]
fn layers_hold() {
    let mut problems = Vec::new();
    for source in sources("src") {
        let module = source.module();
        if ["lib", "main", "cli"].contains(&module) {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            problems.push(format!(
                "{}: the module {module} has no place among the layers; give it one in LAYERS (tests/it/tidy.rs) and \
                 in the code map of ARCHITECTURE.md",
                source.path
            ));
            continue;
        };
        for (line, name) in imports(&source.code) {
            let place = format!("{}:{line}", source.path);
            if name.is_empty() {
                problems.push(format!(
                    "{place}: write one `use crate::module…` a line instead of a group, so that layers can be seen"
                ));
            } else if name != module
                && !allowed.contains(&name.as_str())
                && LAYERS.iter().any(|(known, _)| *known == name)
            {
                let may = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
                problems.push(format!(
                    "{place}: {module} must not import {name} (it may: {may}); move what both need further down, or \
                     hand it in from above"
                ));
            }
        }
        let other_logs: &[&str] = if source.is_at(&["src/log/kafka"]) {
            &["embedded"]
        } else if source.is_at(&["src/log/embedded"]) {
            &["kafka"]
        } else if KNOW_NO_LOG_BY_NAME.contains(&module) {
            &["kafka", "embedded"]
        } else {
            &[]
        };
        for log in other_logs {
            for line in lines_with(&source.code, log) {
                problems.push(format!(
                    "{}:{line}: it names the log `{log}`; only the interface in src/log/mod.rs is its business",
                    source.path
                ));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn purity_holds() {
    let mut problems = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        for (word, places, why) in OWNERS {
            if !source.is_at(places) {
                for line in lines_with(&source.code, word) {
                    let places = places.join(", ");
                    problems
                        .push(format!("{}:{line}: `{word}` belongs to {places} only: {why}", source.path));
                }
            }
        }
        let Some((module, more)) = PURE.iter().find(|(module, _)| *module == source.module()) else {
            continue;
        };
        for word in IMPURE.iter().chain(more.iter()) {
            for line in lines_with(&source.code, word) {
                problems.push(format!(
                    "{}:{line}: {module} is pure and must not speak of `{word}`; hand in what it needs",
                    source.path
                ));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn files_are_short() {
    let mut problems = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let lines = lines_of_code(&source.text);
        if lines > LINES_MAX {
            problems.push(format!(
                "{}: {lines} lines of code, at most {LINES_MAX} are allowed; find the part that can stand alone and \
                 give it a file",
                source.path
            ));
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_is_left_over() {
    let mut problems = Vec::new();
    for source in sources("src") {
        let words = ["TODO", "FIXME"].map(|word| (word, &source.text));
        let macros = ["todo!", "unimplemented!", "dbg!"].map(|word| (word, &source.code));
        for (word, text) in words.into_iter().chain(macros) {
            for line in lines_with(text, word) {
                problems.push(format!("{}:{line}: `{word}`: do it, or write an issue", source.path));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn links_lead_somewhere() {
    let mut problems = Vec::new();
    for document in DOCUMENTS {
        let text = read(document);
        for (line, prose, _) in lines_of_document(&text) {
            for target in targets(&prose) {
                if let Some(problem) = dead(document, &target) {
                    problems.push(format!("{document}:{line}: the link {target} leads nowhere: {problem}"));
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn quoted_tests_exist() {
    let mut all: Vec<Source> = sources("tests/it");
    all.extend(sources("src"));
    let exists = |name: &str| {
        let function = format!("fn {name}");
        let row = format!("{name}: ");
        all.iter().any(|source| {
            // Some tests are rows of a macro.
            let is_row = || {
                source.is_at(&["tests"])
                    && source.code.lines().any(|line| line.trim_start().starts_with(&row))
            };
            !lines_with(&source.code, &function).is_empty() || is_row()
        })
    };
    let mut problems = Vec::new();
    let mut quoted = 0;
    for (line, _, codes) in lines_of_document(&read("ARCHITECTURE.md")) {
        for code in codes.iter().filter(|code| looks_like_a_test(code)) {
            quoted += 1;
            let name = code.rsplit("::").next().unwrap_or(code);
            if !exists(name) {
                problems.push(format!(
                    "ARCHITECTURE.md:{line}: there is no test `{name}` in tests/it or src; name the one that holds this \
                     now, or say that it is not tested"
                ));
            }
        }
    }
    assert!(quoted > 20, "ARCHITECTURE.md quotes {quoted} tests only; is it still read as it is written?");
    assert_none(&problems);
}

/// A name in snake case with two underscores at least, and nothing else: what tests are called here.
fn looks_like_a_test(code: &str) -> bool {
    let name = code.rsplit("::").next().unwrap_or(code);
    let plain =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_:".contains(letter);
    code.chars().all(plain) && name.matches('_').count() >= 2
}

// ---- reading the documents --------------------------------------------------------------------------------------

/// The lines of a document outside of blocks of code: number, text without code, and the pieces of code in it.
fn lines_of_document(text: &str) -> Vec<(usize, String, Vec<String>)> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let pieces: Vec<&str> = line.split('`').collect();
            let prose = pieces.iter().step_by(2).copied().collect();
            let codes = pieces.iter().skip(1).step_by(2).map(|piece| (*piece).to_owned()).collect();
            found.push((number, prose, codes));
        }
    }
    found
}

/// Where the links of a line lead.
fn targets(prose: &str) -> Vec<String> {
    let ends = prose.split("](").skip(1);
    ends.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Why a link leads nowhere; links to other places are not followed.
fn dead(document: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) =
        target.split_once('#').map_or((target, None), |(path, heading)| (path, Some(heading)));
    let directory = Path::new(document).parent().unwrap_or(Path::new(""));
    let file = if path.is_empty() { Path::new(document).to_owned() } else { directory.join(path) };
    if !root().join(&file).exists() {
        return Some(format!("there is no {}", file.display()));
    }
    let heading = heading?;
    let text = std::fs::read_to_string(root().join(&file)).unwrap_or_default();
    let headings: Vec<String> = headings(&text);
    (!headings.iter().any(|known| known == heading))
        .then(|| format!("{} has no heading #{heading}; it has {}", file.display(), headings.join(", ")))
}

/// The names by which the headings of a document are linked to: small letters, hyphens for spaces, no punctuation.
fn headings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block && line.starts_with('#') {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|letter| is_word(*letter) || " -".contains(*letter));
            found.push(kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect());
        }
    }
    found
}

// ---- the tidier's own tests -------------------------------------------------------------------------------------

#[test]
fn comments_and_texts_are_told_from_code() {
    let text = concat!(
        "use a; // use b;\n",
        "/* use c; /* nested */ still */ use d;\n",
        "let e = \"use f \\\" // no comment\"; let g = r#\"use \"h\"\"#; let i = b\"use j\";\n",
        "fn k<'l>(m: &'l str) -> char { '\"' } // '\n",
        "let n = '\\''; let o = r\"\\\"; use p;\n",
        "let r#type = br##\"use q\"##; use s;\n",
    );
    let code = stripped(text, false);
    for word in ["a", "d", "e", "g", "i", "k", "l", "m", "n", "o", "p", "s", "type"] {
        assert!(!lines_with(&code, word).is_empty(), "{word} is missing in:\n{code}");
    }
    for word in ["b", "c", "nested", "still", "f", "no", "h", "j", "q"] {
        // `b` is also what byte strings begin with.
        let count = lines_with(&code, word).len();
        assert_eq!(count, usize::from(word == "b"), "{word} in:\n{code}");
    }
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(
        lines_of_code(
            "//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod t {\n    fn b() {}\n}\nfn c() {}\n"
        ),
        2
    );
    assert_eq!(
        imports("use crate::log::Topic;\nlet x = $crate::wire::y; mycrate::z();\nuse crate::{a, b};").len(),
        3
    );
}

#[test]
fn links_and_headings_are_read_as_they_are_written() {
    let text = "# A *b* c: `d`, e_f\n```text\n# no heading [x](y)\n```\nsee [one](two) and `[three](four)`, [five](six#seven)\n";
    assert_eq!(headings(text), ["a-b-c-d-e_f"]);
    let found: Vec<String> =
        lines_of_document(text).iter().flat_map(|(_, prose, _)| targets(prose)).collect();
    assert_eq!(found, ["two", "six#seven"]);
    assert!(
        looks_like_a_test("it_never_goes_back") && looks_like_a_test("engine::clock::it_never_goes_back")
    );
    assert!(!looks_like_a_test("commit_interval") && !looks_like_a_test("worker.commit_interval_ms"));
}
