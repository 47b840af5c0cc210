//! The grammar of queries: words, texts in quotes, brackets, `and`, `or`, `not`.

use super::query::{Asked, Expr};

/// Brackets and `not` within each other.
const DEPTH_MAX: usize = 32;

crate::domain::event::words!(
    /// How a field is held against a value.
    Operator { Eq = "eq", Ne = "ne", Gt = "gt", Ge = "ge", Lt = "lt", Le = "le" }
);

impl Operator {
    /// Whether it holds between two values.
    pub fn holds<T: Ord>(self, a: &T, b: &T) -> bool {
        match self {
            Operator::Eq => a == b,
            Operator::Ne => a != b,
            Operator::Gt => a > b,
            Operator::Ge => a >= b,
            Operator::Lt => a < b,
            Operator::Le => a <= b,
        }
    }
}

/// Filter and order of a query, each empty where it does not say it. `$filter=` may be left out.
///
/// # Errors
/// One of them is there twice.
pub fn sections(text: &str) -> Result<(&str, &str), String> {
    const MARKS: [&str; 2] = ["$filter=", "$orderby="];
    let mut starts: Vec<(usize, usize)> = Vec::new();
    let mut in_quotes = false;
    for (at, letter) in text.char_indices() {
        in_quotes ^= letter == '\'';
        if letter == '$' && !in_quotes {
            let mark = MARKS.iter().position(|mark| text[at..].starts_with(mark));
            starts.extend(mark.map(|mark| (at, mark)));
        }
    }
    // Sections are joined by what an address joins words with.
    let plain = |text: &'_ str| -> (usize, usize) {
        let kept = text.trim_end_matches([' ', '+', '&']);
        let begin = kept.len() - kept.trim_start_matches([' ', '+', '&']).len();
        (begin, kept.len())
    };
    let cut = |text| {
        let (begin, end) = plain(text);
        &text[begin.min(end)..end]
    };
    let mut found = [None, None];
    let before = cut(&text[..starts.first().map_or(text.len(), |(at, _)| *at)]);
    if !before.is_empty() {
        found[0] = Some(before);
    }
    for (index, (at, mark)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(text.len(), |(next, _)| *next);
        let section = cut(&text[at + MARKS[*mark].len()..end]);
        if found[*mark].replace(section).is_some() {
            return Err(format!("{} is there twice", MARKS[*mark].trim_end_matches('=')));
        }
    }
    Ok((found[0].unwrap_or_default(), found[1].unwrap_or_default()))
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Open,
    Close,
    Word(String),
    /// In quotes.
    Text(String),
}

/// A place in a query.
pub struct Cursor {
    tokens: std::vec::IntoIter<Token>,
    depth: usize,
}

/// Makes an expression of what is asked about one thing.
type Make<'m> = &'m mut dyn FnMut(Asked<'_>) -> Result<Expr, String>;

impl Cursor {
    /// At its begin.
    ///
    /// # Errors
    /// Quotes that do not end.
    pub fn new(text: &str) -> Result<Cursor, String> {
        let mut tokens = Vec::new();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '(' => tokens.push(Token::Open),
                ')' => tokens.push(Token::Close),
                '\'' => {
                    let mut quoted = String::new();
                    loop {
                        match letters.next() {
                            // Two of them are one.
                            Some('\'') if letters.peek() == Some(&'\'') => {
                                letters.next();
                                quoted.push('\'');
                            }
                            Some('\'') => break,
                            Some(letter) => quoted.push(letter),
                            None => return Err("a text in quotes has no end".to_owned()),
                        }
                    }
                    tokens.push(Token::Text(quoted));
                }
                letter if letter.is_whitespace() => {}
                letter => {
                    let mut word = String::from(letter);
                    while let Some(letter) =
                        letters.next_if(|letter| !letter.is_whitespace() && !"()'".contains(*letter))
                    {
                        word.push(letter);
                    }
                    tokens.push(Token::Word(word));
                }
            }
        }
        Ok(Cursor { tokens: tokens.into_iter(), depth: 0 })
    }

    /// The whole of it.
    ///
    /// # Errors
    /// It is no expression, or `make` fails.
    pub fn expression(&mut self, make: Make<'_>) -> Result<Expr, String> {
        let found = self.either(make)?;
        match self.tokens.next() {
            None => Ok(found),
            Some(token) => Err(format!("{} is one too many", told(Some(token)))),
        }
    }

    fn is_next(&self, word: &str) -> bool {
        matches!(self.tokens.as_slice().first(), Some(Token::Word(next)) if next == word)
    }

    fn either(&mut self, make: Make<'_>) -> Result<Expr, String> {
        let first = self.both(make)?;
        if !self.is_next("or") {
            return Ok(first);
        }
        let mut any = vec![first];
        while self.is_next("or") {
            self.tokens.next();
            any.push(self.both(make)?);
        }
        Ok(Expr::Any(any))
    }

    fn both(&mut self, make: Make<'_>) -> Result<Expr, String> {
        let first = self.single(make)?;
        if !self.is_next("and") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.is_next("and") {
            self.tokens.next();
            all.push(self.single(make)?);
        }
        Ok(Expr::All(all))
    }

    fn single(&mut self, make: Make<'_>) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("brackets lie deeper than {DEPTH_MAX}"));
        }
        let found = match self.tokens.next() {
            Some(Token::Word(word)) if word == "not" => self.single(make)?.not(),
            Some(Token::Open) => {
                let found = self.either(make)?;
                self.close()?;
                found
            }
            Some(Token::Word(word)) if self.tokens.as_slice().first() == Some(&Token::Open) => {
                self.tokens.next();
                if word != "has" {
                    return Err(format!("{word}(…) cannot be asked for"));
                }
                let fragment = match self.tokens.next() {
                    Some(Token::Word(name) | Token::Text(name)) => name,
                    other => return Err(format!("a fragment must stand here, not {}", told(other))),
                };
                self.close()?;
                make(Asked::Has(&fragment))?
            }
            Some(Token::Word(field)) => {
                let operator = match self.tokens.next() {
                    Some(Token::Word(word)) => Operator::from_word(&word).ok_or_else(|| {
                        let known: Vec<&str> = Operator::ALL.iter().map(|one| one.word()).collect();
                        format!("{word:?} is none of {}", known.join(", "))
                    })?,
                    other => {
                        return Err(format!("behind {field:?} must stand a comparison, not {}", told(other)));
                    }
                };
                let value = match self.tokens.next() {
                    Some(Token::Word(value) | Token::Text(value)) => value,
                    other => return Err(format!("a value must stand here, not {}", told(other))),
                };
                make(Asked::Compare(&field, operator, &value))?
            }
            other => return Err(format!("a field must stand here, not {}", told(other))),
        };
        self.depth -= 1;
        Ok(found)
    }

    fn close(&mut self) -> Result<(), String> {
        match self.tokens.next() {
            Some(Token::Close) => Ok(()),
            other => Err(format!("a bracket must end here, not {}", told(other))),
        }
    }
}

fn told(token: Option<Token>) -> String {
    match token {
        None => "the end".to_owned(),
        Some(Token::Open) => "(".to_owned(),
        Some(Token::Close) => ")".to_owned(),
        Some(Token::Word(word)) => format!("{word:?}"),
        Some(Token::Text(text)) => format!("'{text}'"),
    }
}
