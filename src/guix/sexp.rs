//! A reader for S-expressions as Guile's `write` prints them, with positions and a depth limit.
//!
//! It accepts what messages and declarations consist of: lists, strings, symbols, keywords,
//! integers, booleans, and comments to the end of the line. Anything else (`#<procedure …>`,
//! vectors, dotted tails other than in pairs) is an error with its place, never a guess.

/// The deepest nesting that is accepted.
const DEEPEST: usize = 64;
/// The most data in a text, those in lists included. Each datum takes about sixteen times as much
/// memory as its text.
const MOST_DATA: usize = 1 << 18;

/// A datum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sexp {
    /// `(a b c)`, and `(a . b)` as the two-element [`Sexp::Pair`].
    List(Vec<Self>),
    /// `(a . b)`.
    Pair(Box<(Self, Self)>),
    /// `"text"`.
    String(String),
    /// `name`, `#:name`.
    Symbol(String),
    /// `42`.
    Integer(i64),
    /// `#t`, `#f`.
    Boolean(bool),
}

/// A text that is not a datum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: expected {expected}")]
pub struct ReadError {
    /// Offset into the text.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl Sexp {
    /// Reads the only datum of `text`.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        Self::read_shortened(text, usize::MAX)
    }

    /// Like [`Sexp::read`], but keeps only the beginning of strings and symbols of more than
    /// `longest` bytes, with an ellipsis.
    pub fn read_shortened(text: &str, longest: usize) -> Result<Self, ReadError> {
        let mut reader = Reader { text, at: 0, data_left: MOST_DATA, longest };
        let datum = reader.datum(0)?;
        reader.blanks();
        if reader.at == text.len() { Ok(datum) } else { Err(reader.error("the end")) }
    }

    /// The elements of a list.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn string(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of a symbol.
    pub fn symbol(&self) -> Option<&str> {
        match self {
            Self::Symbol(name) => Some(name),
            _ => None,
        }
    }

    /// The value of an integer that is not negative and fits into a `usize`.
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Integer(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }
}

/// Shortens a text of more than `longest` bytes to its beginning, with an ellipsis.
pub fn shortened(mut text: String, longest: usize) -> String {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// How many more data may be read.
    data_left: usize,
    /// Longest text that is kept.
    longest: usize,
}

impl Reader<'_> {
    fn error(&self, expected: &'static str) -> ReadError {
        ReadError { at: self.at, expected }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    /// Skips blanks and comments.
    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(';') => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                Some(c) if c.is_whitespace() => self.at += c.len_utf8(),
                _ => return,
            }
        }
    }

    fn datum(&mut self, depth: usize) -> Result<Sexp, ReadError> {
        self.blanks();
        let Some(left) = self.data_left.checked_sub(1) else { return Err(self.error("fewer data")) };
        self.data_left = left;
        match self.peek() {
            Some('(') if depth < DEEPEST => self.list(depth),
            Some('(') => Err(self.error("less deep nesting")),
            Some('"') => self.string().map(Sexp::String),
            Some(c) if !is_delimiter(c) => self.atom(),
            _ => Err(self.error("a datum")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Sexp, ReadError> {
        self.next();
        let mut items = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(')') => {
                    self.next();
                    return Ok(Sexp::List(items));
                }
                Some('.') if self.text[self.at + 1..].starts_with(char::is_whitespace) => {
                    self.next();
                    let tail = self.datum(depth + 1)?;
                    self.blanks();
                    return match (items.pop(), items.is_empty(), self.next()) {
                        (Some(head), true, Some(')')) => Ok(Sexp::Pair(Box::new((head, tail)))),
                        _ => Err(self.error("a pair of two")),
                    };
                }
                Some(_) => items.push(self.datum(depth + 1)?),
                None => return Err(self.error("the end of a list")),
            }
        }
    }

    fn string(&mut self) -> Result<String, ReadError> {
        self.next();
        let mut text = String::new();
        loop {
            let character = match self.next() {
                None => return Err(self.error("the end of a string")),
                Some('"') => return Ok(shortened(text, self.longest)),
                Some('\\') => self.escape()?,
                Some(character) => character,
            };
            if text.len() <= self.longest {
                text.push(character);
            }
        }
    }

    fn escape(&mut self) -> Result<char, ReadError> {
        let known = match self.next() {
            Some(c @ ('"' | '\\' | '|' | '(')) => Some(c),
            Some('a') => Some('\u{7}'),
            Some('b') => Some('\u{8}'),
            Some('t') => Some('\t'),
            Some('n') => Some('\n'),
            Some('v') => Some('\u{b}'),
            Some('f') => Some('\u{c}'),
            Some('r') => Some('\r'),
            Some('0') => Some('\0'),
            // Guile writes two, four or six digits. A `;` after them is part of the text.
            Some('x') => self.hexadecimal(2),
            Some('u') => self.hexadecimal(4),
            Some('U') => self.hexadecimal(6),
            _ => None,
        };
        known.ok_or(self.error("a known escape"))
    }

    fn hexadecimal(&mut self, length: usize) -> Option<char> {
        let digits = self.text.get(self.at..self.at + length)?;
        let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
        self.at += length;
        Some(character)
    }

    fn atom(&mut self) -> Result<Sexp, ReadError> {
        let start = self.at;
        while self.peek().is_some_and(|c| !is_delimiter(c)) {
            self.next();
        }
        let word = &self.text[start..self.at];
        match word {
            "#t" | "#true" => Ok(Sexp::Boolean(true)),
            "#f" | "#false" => Ok(Sexp::Boolean(false)),
            _ if word.starts_with("#:") || !word.starts_with('#') => {
                let symbol = || Sexp::Symbol(shortened(word.to_owned(), self.longest));
                Ok(word.parse().map_or_else(|_| symbol(), Sexp::Integer))
            }
            _ => Err(ReadError { at: start, expected: "a datum that can be read back" }),
        }
    }
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | '"' | ';' | '\'' | '`' | ',')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_guile_writes_is_read() {
        let datum = Sexp::read(r#"(job 3 "a\nb\x1b;\"é\u202e\U01f600" (x . "y") #t #:key -7)"#).unwrap();
        let Sexp::List(items) = datum else { panic!() };
        assert_eq!(items[0].symbol(), Some("job"));
        assert_eq!(items[1].index(), Some(3));
        assert_eq!(items[2].string(), Some("a\nb\u{1b};\"é\u{202e}\u{1f600}"));
        assert_eq!(items[3], Sexp::Pair(Box::new((Sexp::Symbol("x".into()), Sexp::String("y".into())))));
        assert_eq!(items[4..], [Sexp::Boolean(true), Sexp::Symbol("#:key".into()), Sexp::Integer(-7)]);
    }

    #[test]
    fn comments_are_skipped() {
        let datum = Sexp::read(";; a (\n(a ; b)\n \";c\") ; d").unwrap();
        assert_eq!(datum, Sexp::List(vec![Sexp::Symbol("a".into()), Sexp::String(";c".into())]));
        assert!(Sexp::read("; a").is_err());
    }

    #[test]
    fn what_cannot_be_read_back_is_refused() {
        for text in
            ["", "(", ")", "(a", "\"a", "(a . b c)", "( . a)", "#<procedure x>", "a b", "\"\\q\"", "\"\\x\""]
        {
            assert!(Sexp::read(text).is_err(), "{text}");
        }
        assert!(Sexp::read(&"(".repeat(100_000)).is_err());
    }

    #[test]
    fn what_is_read_is_bounded() {
        assert!(Sexp::read(&format!("({})", "a ".repeat(MOST_DATA - 1))).is_ok());
        let error = Sexp::read(&format!("({})", "a ".repeat(MOST_DATA))).unwrap_err();
        assert_eq!(error.expected, "fewer data");
        let datum = Sexp::read_shortened("(abcdef \"ééé\" \"ab\\ncd\" abc 123456)", 3).unwrap();
        let texts: Vec<_> = datum.list().unwrap().iter().map(|d| d.symbol().or(d.string())).collect();
        assert_eq!(texts, [Some("abc…"), Some("é…"), Some("ab\n…"), Some("abc"), None]);
    }

    proptest! {
        #[test]
        fn no_text_crashes_the_reader(text in r#"[()". \\#;:xa0-9é]{0,40}"#) {
            let _ = Sexp::read(&text);
        }
    }
}
