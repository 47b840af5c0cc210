//! What a text looks like: pieces of it, with a star for anything between them.

/// A text of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Text {
    /// Its id.
    Id,
    /// Its name.
    Name,
    /// Its type.
    Type,
}

/// What a text must look like: `*` stands for any letters, also none; every other letter for itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// What stands between the stars.
    pieces: Vec<String>,
}

impl Pattern {
    /// From its text.
    pub fn new(text: &str) -> Pattern {
        Pattern { pieces: text.split('*').map(str::to_owned).collect() }
    }

    /// This text and no other, stars included.
    pub fn exact(text: &str) -> Pattern {
        Pattern { pieces: vec![text.to_owned()] }
    }

    /// What every text that looks so begins with.
    pub fn begin(&self) -> &str {
        self.pieces.first().map_or("", |piece| piece)
    }

    /// Whether a text looks so.
    pub fn takes(&self, text: &str) -> bool {
        let [begin, rest @ ..] = &*self.pieces else { return false };
        let [between @ .., end] = rest else { return text == begin };
        let Some(mut text) = text.strip_prefix(&**begin) else { return false };
        for piece in between {
            // The first place is as good as any: what follows has the more room.
            let Some(at) = text.find(&**piece) else { return false };
            text = &text[at + piece.len()..];
        }
        text.ends_with(&**end)
    }
}

/// A text that is wanted, or not wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextTerm {
    /// Which text.
    pub of: Text,
    /// What it looks like.
    pub pattern: Pattern,
    /// Whether it must look so, or must not.
    pub wanted: bool,
}

impl TextTerm {
    /// Whether a device with this text satisfies it. A text that is not there looks like nothing.
    pub fn takes(&self, text: Option<&str>) -> bool {
        text.is_some_and(|text| self.pattern.takes(text)) == self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("pump", "pump", true),
            ("pump", "pumps", false),
            ("pump", "Pump", false),
            ("pump*", "pump-1", true),
            ("pump*", "a pump", false),
            ("*1", "pump-1", true),
            ("*1", "pump-12", false),
            ("*um*", "pump", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*a", "aba", true),
            ("a*b*a", "aa", false),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
            ("*é*", "café au lait", true),
            ("a*bc*c", "abcbc", true),
        ] {
            assert_eq!(Pattern::new(pattern).takes(text), expected, "{pattern} {text}");
        }
        assert!(Pattern::exact("a*").takes("a*") && !Pattern::exact("a*").takes("ab"));
        let term = |wanted| TextTerm { of: Text::Name, pattern: Pattern::new("*"), wanted };
        assert!(!term(true).takes(None) && term(false).takes(None), "what is not there looks like nothing");
    }
}
