//! Reads JSON (RFC 8259) in one pass and in place: no tree, texts borrowed, one small state. What it accepts is what
//! serde_json accepts, but for nesting and for keys that stand twice: a test holds both together. Our own, because a
//! refusal must say in our words what is wrong and where, and because it is on the way of every event.

use super::decode::Scratch;
use super::reject::{Fault, Read, Reason};

/// How deep objects and lists may lie in each other; the outermost is 1.
pub(super) const DEPTH_MAX: u32 = 64;

/// JSON text under way.
pub(super) struct JsonText<'a> {
    text: &'a str,
    pub(super) at: usize,
    depth: u32,
    scratch: &'a Scratch,
}

/// A number as it was written.
pub(super) enum Number<'a> {
    /// Digits only, and they fit.
    Whole(u64),
    /// A minus sign and digits, and they fit.
    Negative(i64),
    /// All else.
    Text(&'a str),
}

impl<'a> JsonText<'a> {
    pub(super) fn new(text: &'a str, scratch: &'a Scratch) -> JsonText<'a> {
        JsonText { text, at: 0, depth: 0, scratch }
    }

    /// Passes over the white space before the value; there must be one.
    pub(super) fn begin(&mut self) -> Read<()> {
        self.space();
        match self.peek() {
            None => Err(Fault::new(Reason::Empty, "there is nothing but white space")),
            Some(b'{') => Ok(()),
            Some(_) => Err(self.broken("an event or a policy is an object, in { and }")),
        }
    }

    /// Whether the whole text is one value of any kind: what is asked of a field that nobody reads.
    #[cfg(test)]
    pub(super) fn pass_over(&mut self) -> bool {
        self.space();
        self.skip().and_then(|()| self.end()).is_ok()
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Read<()> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.broken("something follows the end of the object"))
        }
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline(always)]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Where it stands, for people: columns count characters.
    #[cold]
    fn place(&self) -> String {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        if line == 1 { format!("column {column}") } else { format!("line {line}, column {column}") }
    }

    /// It is no JSON from here on.
    #[cold]
    fn broken(&self, what: &str) -> Box<Fault> {
        if self.at >= self.text.len() {
            return Fault::new(
                Reason::Truncated,
                format!("the JSON text ends too early, at {}", self.place()),
            );
        }
        Fault::new(Reason::NotJson, format!("not valid JSON at {}: {what}", self.place()))
    }

    /// It is JSON, but of the wrong kind.
    #[cold]
    pub(super) fn wrong(&self, wanted: &str) -> Box<Fault> {
        let found = match self.peek() {
            Some(b'"') => "a text",
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            Some(b'-' | b'0'..=b'9') => "a number",
            _ => return self.broken("a value is expected here"),
        };
        Fault::new(Reason::BadValue, format!("must be {wanted}, not {found}"))
    }

    #[inline(always)]
    fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX { Ok(()) } else { Err(self.too_deep()) }
    }

    #[cold]
    fn too_deep(&self) -> Box<Fault> {
        Fault::new(Reason::TooDeep, format!("nested deeper than {DEPTH_MAX} at {}", self.place()))
    }

    pub(super) fn literal(&mut self, word: &str) -> Read<()> {
        for byte in word.bytes() {
            if !self.eat(byte) {
                return Err(self.broken(&format!("{word} is expected here")));
            }
        }
        Ok(())
    }

    /// Whether a null stands here; it is passed over.
    #[inline(always)]
    pub(super) fn null(&mut self) -> Read<bool> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.literal("null").map(|()| true)
    }

    /// The length of the run of bytes, from here on, that stand for themselves in a text.
    #[inline(always)]
    fn plain_run(&self) -> usize {
        const LOW: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let bytes = &self.text.as_bytes()[self.at..];
        let mut run = 0;
        // Eight bytes at a time: a byte of `zero(x)` has its high bit set where that of x is 0, and perhaps in bytes
        // above the first such one; only the first counts.
        let zero = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
        while let Some(chunk) = bytes[run..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
            let special = zero(word ^ (LOW * b'"' as u64)) | zero(word ^ (LOW * b'\\' as u64)) | control;
            if special != 0 {
                return run + special.trailing_zeros() as usize / 8;
            }
            run += 8;
        }
        run + bytes[run..].iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count()
    }

    /// A text; its opening quotation mark stands here.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Read<&'a str> {
        self.at += 1;
        let start = self.at;
        self.at += self.plain_run();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(&self.text[start..self.at - 1]);
        }
        self.escaped_string(start)
    }

    /// The rest of a text that cannot be borrowed as it is.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Read<&'a str> {
        let mut text = self.scratch.text();
        text.push_str(&self.text[start..self.at]);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text.into_bump_str());
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => return Err(self.broken("a control character in a text must be escaped")),
            }
            let start = self.at;
            self.at += self.plain_run();
            text.push_str(&self.text[start..self.at]);
        }
    }

    /// The character that an escape stands for; its backslash is passed.
    fn escape(&mut self) -> Read<char> {
        let escape = self.peek();
        let simple = match escape {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hex4()?;
                if !(0xd800..0xe000).contains(&first) {
                    return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                let pair = first < 0xdc00 && self.eat(b'\\') && self.eat(b'u');
                let second = if pair { self.hex4()? } else { 0 };
                return match char::from_u32(0x1_0000 + ((first & 0x3ff) << 10) + (second & 0x3ff)) {
                    Some(c) if (0xdc00..0xe000).contains(&second) => Ok(c),
                    _ => Err(self.broken("half of a surrogate pair stands alone")),
                };
            }
            _ => return Err(self.broken("there is no such escape")),
        };
        self.at += 1;
        Ok(simple)
    }

    fn hex4(&mut self) -> Read<u32> {
        let mut value = 0;
        for _ in 0..4 {
            match self.peek().and_then(|digit| (digit as char).to_digit(16)) {
                Some(digit) => value = value * 16 + digit,
                None => return Err(self.broken("four hexadecimal digits are expected here")),
            }
            self.at += 1;
        }
        Ok(value)
    }

    /// A key of an object, and the colon after it.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Read<&'a str> {
        if self.peek() != Some(b'"') {
            return Err(self.broken("a key in quotation marks is expected here"));
        }
        let key = self.string()?;
        self.colon()?;
        Ok(key)
    }

    #[inline(always)]
    fn colon(&mut self) -> Read<()> {
        self.space();
        if !self.eat(b':') {
            return Err(self.broken("a colon is expected here"));
        }
        self.space();
        Ok(())
    }

    /// Whether the list or object goes on; if not, its end is passed.
    #[inline(always)]
    pub(super) fn goes_on(&mut self, end: u8) -> Read<bool> {
        self.space();
        if self.eat(b',') {
            self.space();
            return Ok(true);
        }
        if self.eat(end) {
            self.depth -= 1;
            return Ok(false);
        }
        Err(self.broken(if end == b'}' {
            "a comma or } is expected here"
        } else {
            "a comma or ] is expected here"
        }))
    }

    /// Opens an object or a list; whether it has something in it.
    #[inline(always)]
    pub(super) fn open(&mut self, begin: u8, end: u8, wanted: &str) -> Read<bool> {
        if self.peek() != Some(begin) {
            return Err(self.wrong(wanted));
        }
        self.enter()?;
        self.at += 1;
        self.space();
        if self.eat(end) {
            self.depth -= 1;
            return Ok(false);
        }
        Ok(true)
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.broken("a digit is expected here")) }
    }

    /// A number as text, by the grammar of JSON.
    fn number_text(&mut self) -> Read<&'a str> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    pub(super) fn number(&mut self, wanted: &str) -> Read<Option<Number<'a>>> {
        if self.null()? {
            return Ok(None);
        }
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong(wanted));
        }
        let text = self.number_text()?;
        Ok(Some(match text.parse() {
            Ok(number) => Number::Whole(number),
            Err(_) => text.parse().map_or(Number::Text(text), Number::Negative),
        }))
    }

    /// A number that may have decimals, times a thousand, rounded.
    pub(super) fn thousand_fold(&mut self, wanted: &str) -> Read<Option<i64>> {
        Ok(self.number(wanted)?.map(|number| match number {
            Number::Whole(number) => i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(1000),
            Number::Negative(number) => number.saturating_mul(1000),
            Number::Text(text) => thousand_fold(text),
        }))
    }

    /// Passes over any value, without recursion.
    pub(super) fn skip(&mut self) -> Read<()> {
        let outside = self.depth;
        // One bit for each level that was opened here, the innermost lowest: 1 is an object.
        let mut objects = 0_u64;
        'value: loop {
            match self.peek() {
                Some(b'{') => {
                    if self.open(b'{', b'}', "an object")? {
                        objects = objects << 1 | 1;
                        self.skip_key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    if self.open(b'[', b']', "a list")? {
                        objects <<= 1;
                        continue 'value;
                    }
                }
                Some(b'"') => self.skip_string()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                Some(b'-' | b'0'..=b'9') => self.number_text().map(|_| ())?,
                _ => return Err(self.broken("a value is expected here")),
            }
            while self.depth > outside {
                let object = objects & 1 == 1;
                if self.goes_on(if object { b'}' } else { b']' })? {
                    if object {
                        self.skip_key()?;
                    }
                    continue 'value;
                }
                objects >>= 1;
            }
            return Ok(());
        }
    }

    fn skip_key(&mut self) -> Read<()> {
        if self.peek() != Some(b'"') {
            return Err(self.broken("a key in quotation marks is expected here"));
        }
        self.skip_string()?;
        self.colon()
    }

    fn skip_string(&mut self) -> Read<()> {
        self.at += 1;
        loop {
            self.at += self.plain_run();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    // What nobody reads may name half a surrogate pair, as texts cut by others do.
                    if self.eat(b'u') {
                        self.hex4()?;
                    } else {
                        self.escape()?;
                    }
                }
                _ => return Err(self.broken("a control character in a text must be escaped")),
            }
        }
    }
}

/// A decimal number times a thousand, rounded; saturates. Exact, but for the exponents that no one writes.
fn thousand_fold(text: &str) -> i64 {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    let decimals = digits.split_once('.').and_then(|(whole, decimals)| {
        if !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digit = |place| decimals.as_bytes().get(place).map_or(0, |digit| i64::from(digit - b'0'));
        let thousandths = digit(0) * 100 + digit(1) * 10 + digit(2) + i64::from(digit(3) >= 5);
        let whole: i64 = whole.parse().ok()?;
        Some(whole.saturating_mul(1000).saturating_add(thousandths))
    });
    let magnitude = match decimals {
        Some(magnitude) => magnitude,
        None => digits.parse().map_or(i64::MAX, |number: f64| (number * 1000.0).round() as i64),
    };
    if negative { -magnitude } else { magnitude }
}
