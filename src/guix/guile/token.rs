//! Strings, characters and symbols.

use super::read::Reader;
use super::{Fault, Value, number};

/// Names of characters, in lower case.
const CHARACTERS: [(&str, u8); 48] = [
    ("space", 0x20),
    ("newline", 0x0a),
    ("nul", 0x00),
    ("alarm", 0x07),
    ("backspace", 0x08),
    ("tab", 0x09),
    ("linefeed", 0x0a),
    ("vtab", 0x0b),
    ("page", 0x0c),
    ("return", 0x0d),
    ("esc", 0x1b),
    ("delete", 0x7f),
    ("escape", 0x1b),
    ("soh", 0x01),
    ("stx", 0x02),
    ("etx", 0x03),
    ("eot", 0x04),
    ("enq", 0x05),
    ("ack", 0x06),
    ("bel", 0x07),
    ("bs", 0x08),
    ("ht", 0x09),
    ("lf", 0x0a),
    ("vt", 0x0b),
    ("ff", 0x0c),
    ("cr", 0x0d),
    ("so", 0x0e),
    ("si", 0x0f),
    ("dle", 0x10),
    ("dc1", 0x11),
    ("dc2", 0x12),
    ("dc3", 0x13),
    ("dc4", 0x14),
    ("nak", 0x15),
    ("syn", 0x16),
    ("etb", 0x17),
    ("can", 0x18),
    ("em", 0x19),
    ("sub", 0x1a),
    ("fs", 0x1c),
    ("gs", 0x1d),
    ("rs", 0x1e),
    ("us", 0x1f),
    ("sp", 0x20),
    ("del", 0x7f),
    ("null", 0x00),
    ("nl", 0x0a),
    ("np", 0x0c),
];

fn is_delimiter(c: char) -> bool {
    matches!(c, '(' | ')' | '[' | ']' | ';' | '"' | ' ' | '\r' | '\u{c}' | '\n' | '\t')
}

impl<'a> Reader<'a> {
    /// The text from `start` to the next delimiter.
    fn token(&mut self, start: usize) -> &'a str {
        let rest = &self.text[self.at..];
        self.at += rest.find(is_delimiter).unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    fn folded(&self, token: &str) -> String {
        if !self.folds_case {
            return token.to_owned();
        }
        let lower = |c: char| {
            let mut lower = c.to_lowercase();
            lower.next().filter(|_| lower.next().is_none()).unwrap_or(c)
        };
        token.chars().map(lower).collect()
    }

    pub(super) fn symbol(&mut self, start: usize) -> String {
        let token = self.token(start);
        self.folded(token)
    }

    pub(super) fn number_or_symbol(&mut self, start: usize) -> Value {
        let token = self.token(start);
        number::parse(token).unwrap_or_else(|| Value::Symbol(self.folded(token)))
    }

    /// A number that begins with `#`.
    pub(super) fn number(&mut self, start: usize) -> Result<Value, Fault> {
        number::parse(self.token(start)).ok_or_else(|| Fault::new(start, "this is not a number"))
    }

    /// Reads what follows `"`.
    pub(super) fn string(&mut self, start: usize) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            let at = self.at;
            match self.next() {
                None => return Err(Fault::new(start, "this string has no end: expected `\"`")),
                Some('"') => return Ok(text),
                Some('\\') => text.extend(self.escape(start, at)?),
                Some(character) => text.push(character),
            }
        }
    }

    /// Reads what follows `\` in a string.
    fn escape(&mut self, start: usize, at: usize) -> Result<Option<char>, Fault> {
        let character = match self.next() {
            Some('\n') => {
                while self.is_r6rs && self.peek().is_some_and(is_blank) {
                    self.next();
                }
                return Ok(None);
            }
            Some(c @ ('"' | '|' | '\\' | '(')) => c,
            Some('0') => '\0',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('a') => '\u{7}',
            Some('v') => '\u{b}',
            Some('b') => '\u{8}',
            Some('x') if self.is_r6rs => self.terminated(at)?,
            Some('x') => self.fixed(at, 2)?,
            Some('u') => self.fixed(at, 4)?,
            Some('U') => self.fixed(at, 6)?,
            Some(_) => return Err(Fault::new(at, "Guile does not know this escape")),
            None => return Err(Fault::new(start, "this string has no end: expected `\"`")),
        };
        Ok(Some(character))
    }

    /// Reads a character of `length` hexadecimal digits.
    fn fixed(&mut self, at: usize, length: usize) -> Result<char, Fault> {
        let digits = self.text.get(self.at..self.at + length);
        let character = digits.and_then(hexadecimal).ok_or_else(|| bad_escape(at))?;
        self.at += length;
        Ok(character)
    }

    /// Reads a character of hexadecimal digits that end in `;`.
    fn terminated(&mut self, at: usize) -> Result<char, Fault> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let character = hexadecimal(&rest[..end]).filter(|_| rest[end..].starts_with(';'));
        self.at += end + 1;
        character.ok_or_else(|| bad_escape(at))
    }

    /// Reads what follows `#\`.
    pub(super) fn character(&mut self, at: usize) -> Result<Value, Fault> {
        let start = self.at;
        let first = self.next().ok_or_else(|| self.fault("unexpected end of file after `#\\`"))?;
        if is_delimiter(first) {
            return Ok(Value::Character(first));
        }
        let token = self.token(start);
        let rest = &token[first.len_utf8()..];
        if rest.is_empty() || rest == "\u{25cc}" {
            return Ok(Value::Character(first));
        }
        let all = |text: &str, radix| text.chars().all(|c| c.is_digit(radix));
        let scalar = |text: &str, radix| u32::from_str_radix(text, radix).ok().and_then(char::from_u32);
        let found = if all(token, 8) {
            scalar(token, 8)
        } else if first == 'x' && all(rest, 16) {
            scalar(rest, 16)
        } else {
            let named = CHARACTERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(token));
            named.map(|(_, code)| char::from(*code))
        };
        found.map(Value::Character).ok_or_else(|| Fault::new(at, "Guile knows no character of this name"))
    }

    /// Reads what follows `#{`.
    pub(super) fn extended_symbol(&mut self, at: usize) -> Result<String, Fault> {
        let mut name = String::new();
        loop {
            let escape = self.at;
            match self.next() {
                Some('}') if self.peek() == Some('#') => {
                    self.next();
                    return Ok(name);
                }
                Some('\\') => match self.next() {
                    Some('x') => name.push(self.terminated(escape)?),
                    Some(other) => name.push(other),
                    None => break,
                },
                Some(other) => name.push(other),
                None => break,
            }
        }
        Err(Fault::new(at, "this symbol has no end: expected `}#`"))
    }
}

fn bad_escape(at: usize) -> Fault {
    Fault::new(at, "this escape is not a character")
}

fn hexadecimal(digits: &str) -> Option<char> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let significant = digits.trim_start_matches('0');
    match plain && !digits.is_empty() {
        true if significant.is_empty() => Some('\0'),
        true => char::from_u32(u32::from_str_radix(significant, 16).ok()?),
        false => None,
    }
}

/// A tab, or a space of any kind.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\t' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}
