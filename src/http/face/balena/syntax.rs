//! The syntax of `$filter`, `$orderby`, `$select` and `$expand`: the part of OData that the vendor's clients write.
//!
//! What cannot be read is an error that names the place, counted from 1 in characters, and what is understood there.

use std::fmt;

use crate::domain::time::Timestamp;
use crate::http::face::time_in;

/// Expressions lie in one another so deep at most.
const DEPTH_MAX: usize = 40;

/// What is understood in a filter, for whoever wrote something else.
const UNDERSTOOD: &str = "understood are and, or, not, eq, ne, lt, le, gt, ge, in (…), any(x:…), startswith, endswith, contains, \
     substringof, tolower, toupper, now(), 'texts' ('' is a quote), numbers, true, false, null, datetime'…'";

/// What is wrong with a text, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The place in characters, from 0.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.at + 1, self.message)
    }
}

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// `eq`
    Eq,
    /// `ne`
    Ne,
    /// `lt`
    Lt,
    /// `le`
    Le,
    /// `gt`
    Gt,
    /// `ge`
    Ge,
}

/// What is asked of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `startswith`
    Begin,
    /// `endswith`
    End,
    /// `contains`, `substringof`
    Within,
}

/// Something that has a value.
#[derive(Clone, PartialEq, Debug)]
pub enum Operand {
    /// Names with slashes between, and where they begin.
    Path(Vec<String>, usize),
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A time; `None`: `now()`.
    Time(Option<Timestamp>),
    /// `null`
    Null,
    /// `tolower(…)`
    Lower(Box<Operand>),
    /// `toupper(…)`
    Upper(Box<Operand>),
}

/// A condition.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// Any of these.
    Or(Vec<Expr>),
    /// All of these.
    And(Vec<Expr>),
    /// Not this.
    Not(Box<Expr>),
    /// Two values, and where they stand.
    Compare(Op, Operand, Operand, usize),
    /// One of these values, and where it stands.
    In(Operand, Vec<Operand>, usize),
    /// A part of a text, and where it stands.
    Has(Part, Operand, Operand, usize),
    /// Of what a path leads to, something satisfies this: the path, the name that it has within, the condition; and where.
    Any(Vec<String>, String, Box<Expr>, usize),
    /// A value that is true or false by itself, and where it stands.
    Holds(Operand, usize),
}

/// Reads a filter.
///
/// # Errors
/// It cannot be read.
pub fn filter(text: &str, now: Timestamp) -> Result<Expr, Wrong> {
    let mut reader = Reader { text, at: 0, depth: 0, now };
    let read = reader.or().and_then(|expr| match reader.peek() {
        None => Ok(expr),
        Some(_) => Err(reader.wrong(format!("here it should end, or go on with and, or; {UNDERSTOOD}"))),
    });
    // Places are counted in characters: whoever reads the error counts them so.
    read.map_err(|wrong| Wrong { at: text[..wrong.at.min(text.len())].chars().count(), ..wrong })
}

struct Reader<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
    depth: usize,
    now: Timestamp,
}

impl<'t> Reader<'t> {
    fn wrong(&self, message: impl Into<String>) -> Wrong {
        Wrong { at: self.at, message: message.into() }
    }

    fn rest(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start_matches(' ');
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn peek(&mut self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Takes this sign, if it comes next.
    fn sign(&mut self, sign: char) -> bool {
        let is_next = self.peek() == Some(sign);
        self.at += if is_next { sign.len_utf8() } else { 0 };
        is_next
    }

    fn must(&mut self, sign: char) -> Result<(), Wrong> {
        if self.sign(sign) {
            return Ok(());
        }
        Err(self.wrong(format!("a {sign} is missing here")))
    }

    /// The name that comes next.
    fn name(&mut self) -> Option<&'t str> {
        let rest = self.rest();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '$';
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        (end > 0 && !rest.starts_with(|letter: char| letter.is_ascii_digit())).then(|| &rest[..end])
    }

    /// Takes this word, if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let is_next = self.name() == Some(word);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong(format!("more than {DEPTH_MAX} expressions lie in one another here")));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn or(&mut self) -> Result<Expr, Wrong> {
        let mut all = vec![self.and()?];
        while self.word("or") {
            all.push(self.and()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::Or(all) })
    }

    fn and(&mut self) -> Result<Expr, Wrong> {
        let mut all = vec![self.one()?];
        while self.word("and") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::And(all) })
    }

    fn one(&mut self) -> Result<Expr, Wrong> {
        self.deeper(|reader| {
            if reader.word("not") {
                return Ok(Expr::Not(Box::new(reader.one()?)));
            }
            if reader.sign('(') {
                let within = reader.or()?;
                reader.must(')')?;
                return Ok(within);
            }
            reader.rest();
            let at = reader.at;
            let part = match reader.name() {
                Some("startswith") => Some(Part::Begin),
                Some("endswith") => Some(Part::End),
                Some("contains" | "substringof") => Some(Part::Within),
                _ => None,
            };
            if let Some(part) = part {
                let is_turned = reader.word("substringof") || {
                    reader.at += reader.name().map_or(0, str::len);
                    false
                };
                reader.must('(')?;
                let first = reader.operand()?;
                reader.must(',')?;
                let second = reader.operand()?;
                reader.must(')')?;
                let (whole, part_of_it) = if is_turned { (second, first) } else { (first, second) };
                let has = Expr::Has(part, whole, part_of_it, at);
                // Some clients write `startswith(…) eq true`.
                return reader.as_bool(has);
            }
            let left = reader.operand()?;
            if let Operand::Path(path, _) = &left
                && path.last().is_some_and(|last| last == "any" || last == "all")
                && reader.peek() == Some('(')
            {
                return reader.any(path.clone(), at);
            }
            reader.compared(left, at)
        })
    }

    fn as_bool(&mut self, expr: Expr) -> Result<Expr, Wrong> {
        let at = self.at;
        let Some(op) = self.op() else { return Ok(expr) };
        match (op, self.operand()?) {
            (Op::Eq, Operand::Bool(true)) | (Op::Ne, Operand::Bool(false)) => Ok(expr),
            (Op::Eq, Operand::Bool(false)) | (Op::Ne, Operand::Bool(true)) => Ok(Expr::Not(Box::new(expr))),
            _ => {
                Err(Wrong { at, message: "this is true or false: it can be compared with these only".into() })
            }
        }
    }

    fn any(&mut self, mut path: Vec<String>, at: usize) -> Result<Expr, Wrong> {
        if path.pop().is_some_and(|last| last == "all") {
            return Err(Wrong { at, message: format!("all(…) is not served; {UNDERSTOOD}") });
        }
        self.must('(')?;
        let name =
            self.name().ok_or_else(|| self.wrong("a name is missing here, as in any(d:d/is_online)"))?;
        self.at += name.len();
        self.must(':')?;
        let within = self.or()?;
        self.must(')')?;
        Ok(Expr::Any(path, name.to_owned(), Box::new(within), at))
    }

    fn op(&mut self) -> Option<Op> {
        let op = match self.name()? {
            "eq" => Op::Eq,
            "ne" => Op::Ne,
            "lt" => Op::Lt,
            "le" => Op::Le,
            "gt" => Op::Gt,
            "ge" => Op::Ge,
            _ => return None,
        };
        self.at += 2;
        Some(op)
    }

    fn compared(&mut self, left: Operand, at: usize) -> Result<Expr, Wrong> {
        if let Some(op) = self.op() {
            return Ok(Expr::Compare(op, left, self.operand()?, at));
        }
        if self.word("in") {
            self.must('(')?;
            let mut all = Vec::new();
            if !self.sign(')') {
                loop {
                    all.push(self.operand()?);
                    if !self.sign(',') {
                        break;
                    }
                }
                self.must(')')?;
            }
            return Ok(Expr::In(left, all, at));
        }
        match left {
            Operand::Path(..) | Operand::Bool(_) => Ok(Expr::Holds(left, at)),
            _ => Err(self.wrong(format!("a comparison is missing here; {UNDERSTOOD}"))),
        }
    }

    fn operand(&mut self) -> Result<Operand, Wrong> {
        let nothing = |reader: &Self| reader.wrong(format!("a value is missing here; {UNDERSTOOD}"));
        match self.peek() {
            None => Err(nothing(self)),
            Some('\'') => Ok(Operand::Text(self.quoted()?)),
            Some(letter) if letter.is_ascii_digit() || letter == '-' => self.number(),
            Some(_) => {
                let at = self.at;
                let Some(name) = self.name() else { return Err(nothing(self)) };
                self.at += name.len();
                match name {
                    "true" => Ok(Operand::Bool(true)),
                    "false" => Ok(Operand::Bool(false)),
                    "null" => Ok(Operand::Null),
                    "datetime" | "datetimeoffset" if self.text[self.at..].starts_with('\'') => {
                        let at = self.at;
                        let text = self.quoted()?;
                        let time = time_in(&text, self.now);
                        time.map(|time| Operand::Time(Some(time))).map_err(|message| Wrong { at, message })
                    }
                    "now" if self.sign('(') => self.must(')').map(|()| Operand::Time(None)),
                    "tolower" | "toupper" if self.sign('(') => {
                        let within = Box::new(self.deeper(Self::operand)?);
                        self.must(')')?;
                        Ok(if name == "tolower" { Operand::Lower(within) } else { Operand::Upper(within) })
                    }
                    _ => self.path(name, at),
                }
            }
        }
    }

    fn path(&mut self, first: &str, at: usize) -> Result<Operand, Wrong> {
        let mut path = vec![first.to_owned()];
        while self.text[self.at..].starts_with('/') {
            self.at += 1;
            let is_apart = self.text[self.at..].starts_with(' ');
            let name = self.name().filter(|_| !is_apart);
            let name = name.ok_or_else(|| self.wrong("a name is missing behind the /"))?;
            self.at += name.len();
            path.push(name.to_owned());
        }
        let is_call =
            self.text[self.at..].starts_with('(') && !["any", "all"].contains(&&*path[path.len() - 1]);
        if is_call {
            let message = format!("{}(…) is not served; {UNDERSTOOD}", path.join("/"));
            return Err(Wrong { at, message });
        }
        Ok(Operand::Path(path, at))
    }

    fn quoted(&mut self) -> Result<String, Wrong> {
        let begin = self.at;
        let rest = &self.text[begin + 1..];
        let mut text = String::new();
        let mut letters = rest.char_indices().peekable();
        while let Some((place, letter)) = letters.next() {
            if letter != '\'' {
                text.push(letter);
            } else if letters.next_if(|(_, next)| *next == '\'').is_some() {
                text.push('\'');
            } else {
                self.at = begin + 1 + place + 1;
                return Ok(text);
            }
        }
        Err(self.wrong("the text that begins here has no end; a quote within it is written twice"))
    }

    fn number(&mut self) -> Result<Operand, Wrong> {
        let rest = self.rest();
        let end =
            rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.' || letter == '-'));
        let text = &rest[..end.unwrap_or(rest.len())];
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.ok_or_else(|| self.wrong(format!("{text} is no number")))?;
        self.at += text.len();
        Ok(Operand::Number(number))
    }
}

/// A property of `$orderby`, and whether the largest comes first.
pub type Order = (String, bool);

/// Reads `$orderby`: properties, each with `asc` or `desc` behind it, or with neither.
///
/// # Errors
/// One of them has something else behind it.
pub fn order(text: &str) -> Result<Vec<Order>, String> {
    let one = |part: &str| {
        let mut words = part.split_whitespace();
        let name = words.next().ok_or("a property is missing between the commas")?;
        match (words.next(), words.next()) {
            (None | Some("asc"), None) => Ok((name.to_owned(), false)),
            (Some("desc"), None) => Ok((name.to_owned(), true)),
            (Some(other), _) => Err(format!("{other:?} is neither asc nor desc")),
            (None, Some(_)) => Err("asc or desc is missing".to_owned()),
        }
    };
    text.split(',').map(one).collect()
}

/// What `$expand` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expand {
    /// The property.
    pub name: String,
    /// Only how many there are: `/$count`.
    pub counts: bool,
    /// What is said in brackets behind it.
    pub options: Vec<(String, String)>,
}

/// Reads `$expand`: properties, each with options in brackets behind it, or with none.
///
/// # Errors
/// Brackets or quotes have no end, or an option no value.
pub fn expand(text: &str) -> Result<Vec<Expand>, String> {
    split(text, ',')?.into_iter().map(one_expand).collect()
}

fn one_expand(text: &str) -> Result<Expand, String> {
    let text = text.trim();
    let (path, options) = match text.split_once('(') {
        None => (text, ""),
        Some((path, rest)) => {
            let inner = rest.strip_suffix(')');
            (path, inner.ok_or_else(|| format!("{path}: a ) is missing at the end of its options"))?)
        }
    };
    let (name, counts) = match path.strip_suffix("/$count") {
        Some(name) => (name, true),
        None => (path, false),
    };
    let mut read = Vec::new();
    for option in split(options, ';')?.into_iter().filter(|option| !option.trim().is_empty()) {
        let (option, value) =
            option.split_once('=').ok_or_else(|| format!("{name}: {option:?} has no value"))?;
        read.push((option.trim().to_owned(), value.to_owned()));
    }
    Ok(Expand { name: name.trim().to_owned(), counts, options: read })
}

/// The parts between these signs; signs in brackets or quotes divide nothing.
fn split(text: &str, sign: char) -> Result<Vec<&str>, String> {
    let (mut parts, mut begin, mut depth, mut is_quoted) = (Vec::new(), 0, 0usize, false);
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or_else(|| format!("{text:?} has a ) too many"))?,
            _ if letter == sign && depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    if is_quoted || depth > 0 {
        return Err(format!("{text:?} has a quote or a bracket without an end"));
    }
    parts.push(&text[begin..]);
    Ok(parts)
}

/// The key between the brackets behind a resource: a number, or a property and a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// `(5)`
    Id(u64),
    /// `(uuid='…')`: the property, and the text.
    Named(String, String),
}

/// Reads a key, as `5)` or `uuid='…')`, without the bracket in front.
///
/// # Errors
/// It is none.
pub fn key(text: &str) -> Result<Key, String> {
    let wrong = || format!("({text} is no key: write a number, or uuid='…'");
    let inner = text.strip_suffix(')').ok_or_else(wrong)?.trim();
    if let Ok(id) = inner.parse() {
        return Ok(Key::Id(id));
    }
    let (name, value) = inner.split_once('=').ok_or_else(wrong)?;
    let mut reader = Reader { text: value, at: 0, depth: 0, now: Timestamp::NEVER };
    match reader.operand() {
        Ok(Operand::Text(text)) if reader.peek().is_none() => Ok(Key::Named(name.trim().to_owned(), text)),
        Ok(Operand::Number(number)) if name.trim() == "id" && reader.peek().is_none() => {
            Ok(Key::Id(number as u64))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
#[path = "syntax_tests.rs"]
mod tests;
