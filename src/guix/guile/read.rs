//! Comments, lists, quotes, and syntax that begins with `#`.

use super::{DEEPEST, Datum, Fault, Value};

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// Whether `#!fold-case` is in effect.
    pub(super) folds_case: bool,
    /// Whether `#!r6rs` is in effect: escapes like `\x41;`, and blanks are skipped after a `\` at
    /// the end of a line.
    pub(super) is_r6rs: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, folds_case: false, is_r6rs: false }
    }

    pub(super) fn first(mut self) -> Result<Datum, Fault> {
        self.datum(0)
    }

    pub(super) fn all(mut self) -> Result<Vec<Datum>, Fault> {
        let mut data = Vec::new();
        self.blanks(0)?;
        while self.peek().is_some() {
            data.push(self.datum(0)?);
            self.blanks(0)?;
        }
        Ok(data)
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.text[self.at..].starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.at, reason)
    }

    /// Skips blanks and comments before a datum at `depth`.
    fn blanks(&mut self, depth: usize) -> Result<(), Fault> {
        loop {
            let start = self.at;
            match self.peek() {
                Some(' ' | '\r' | '\n' | '\t' | '\u{c}') => self.at += 1,
                Some(';') => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                Some('#') if self.skip("#;") => drop(self.datum(depth + 1)?),
                Some('#') if self.skip("#|") => self.block_comment(start)?,
                Some('#') if self.skip("#!") => self.directive(start)?,
                _ => return Ok(()),
            }
        }
    }

    /// The rest of `#| … |#`, which nests.
    fn block_comment(&mut self, start: usize) -> Result<(), Fault> {
        let mut depth = 1_usize;
        while depth > 0 {
            if self.skip("|#") {
                depth -= 1;
            } else if self.skip("#|") {
                depth += 1;
            } else if self.next().is_none() {
                return Err(Fault::new(start, "this comment has no end: expected `|#`"));
            }
        }
        Ok(())
    }

    /// Reads what follows `#!`: a reader option, or a comment that ends in `!#`.
    fn directive(&mut self, start: usize) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| c != '-' && !c.is_alphanumeric()).unwrap_or(rest.len());
        match &rest[..end] {
            "r6rs" => {
                self.is_r6rs = true;
                self.folds_case = false;
            }
            "fold-case" => self.folds_case = true,
            "no-fold-case" => self.folds_case = false,
            "curly-infix" | "curly-infix-and-bracket-lists" => {
                return Err(Fault::new(start, "curly infix is not supported"));
            }
            _ => {
                let length = rest
                    .find("!#")
                    .ok_or_else(|| Fault::new(start, "this comment has no end: expected `!#`"))?;
                self.at += length + 2;
                return Ok(());
            }
        }
        self.at += end;
        Ok(())
    }

    fn datum(&mut self, depth: usize) -> Result<Datum, Fault> {
        if depth > DEEPEST {
            return Err(self.fault("nesting is too deep"));
        }
        self.blanks(depth)?;
        let at = self.at;
        let value = match self.next() {
            None => return Err(self.fault("unexpected end of file: expected a datum")),
            Some('(') => return self.list(at, ')', depth),
            Some('[') => return self.list(at, ']', depth),
            Some(close @ (')' | ']')) => return Err(Fault::new(at, format!("unexpected `{close}`"))),
            Some('"') => Value::String(self.string(at)?),
            Some('\'') => self.quoted("quote", at, depth)?,
            Some('`') => self.quoted("quasiquote", at, depth)?,
            Some(',') if self.skip("@") => self.quoted("unquote-splicing", at, depth)?,
            Some(',') => self.quoted("unquote", at, depth)?,
            Some('#') => self.sharp(at, depth)?,
            Some('0'..='9' | '+' | '-' | '.') => self.number_or_symbol(at),
            Some(_) => Value::Symbol(self.symbol(at)),
        };
        Ok(Datum { at, value })
    }

    fn list(&mut self, at: usize, close: char, depth: usize) -> Result<Datum, Fault> {
        let mut items = Vec::new();
        loop {
            self.blanks(depth)?;
            let start = self.at;
            match self.peek() {
                None => return Err(Fault::new(at, format!("this list has no end: expected `{close}`"))),
                Some(c) if c == close => {
                    self.next();
                    return Ok(Datum { at, value: Value::List(items, None) });
                }
                Some(c @ (')' | ']')) => {
                    return Err(self.fault(format!("expected `{close}`, not `{c}`")));
                }
                Some(first) => {
                    let item = self.datum(depth + 1)?;
                    if first != '.' || self.text[start..self.at] != *"." {
                        items.push(item);
                        continue;
                    }
                    let tail = self.datum(depth + 1)?;
                    self.blanks(depth)?;
                    if self.peek() != Some(close) {
                        return Err(self.fault(format!("expected `{close}` after the tail of a list")));
                    }
                    self.next();
                    return Ok(joined(at, items, tail));
                }
            }
        }
    }

    fn quoted(&mut self, name: &str, at: usize, depth: usize) -> Result<Value, Fault> {
        let name = Datum { at, value: Value::Symbol(name.to_owned()) };
        Ok(Value::List(vec![name, self.datum(depth + 1)?], None))
    }

    /// Reads what follows `#`.
    fn sharp(&mut self, at: usize, depth: usize) -> Result<Value, Fault> {
        match self.next() {
            Some('\\') => self.character(at),
            Some('(') => self.list(at, ')', depth).and_then(|list| match list.list() {
                Some(_) => Ok(Value::Vector),
                None => Err(Fault::new(at, "a vector has no tail")),
            }),
            Some('*') => {
                while matches!(self.peek(), Some('0' | '1')) {
                    self.next();
                }
                Ok(Value::Vector)
            }
            Some('t' | 'T') => Ok(self.boolean(true, "rue")),
            Some('f') if matches!(self.peek(), Some('3' | '6')) => Err(Fault::new(at, ARRAY)),
            Some('f' | 'F') => Ok(self.boolean(false, "alse")),
            Some(':') => match self.datum(depth + 1)?.value {
                Value::Symbol(name) => Ok(Value::Keyword(name)),
                _ => Err(Fault::new(at, "expected a symbol after `#:`")),
            },
            Some('i' | 'e' | 'b' | 'B' | 'o' | 'O' | 'd' | 'D' | 'x' | 'X' | 'I' | 'E') => self.number(at),
            Some('{') => self.extended_symbol(at).map(Value::Symbol),
            Some('\'') => self.quoted("syntax", at, depth),
            Some('`') => self.quoted("quasisyntax", at, depth),
            Some(',') if self.skip("@") => self.quoted("unsyntax-splicing", at, depth),
            Some(',') => self.quoted("unsyntax", at, depth),
            Some('u' | 's' | 'c' | 'v' | '0'..='9' | '@') => Err(Fault::new(at, ARRAY)),
            Some('~' | '$' | '+') => Err(Fault::new(at, "G-expressions are not supported")),
            Some(other) => Err(Fault::new(at, format!("Guile does not read `#{}`", other.escape_debug()))),
            None => Err(self.fault("unexpected end of file after `#`")),
        }
    }

    /// Reads the rest of a boolean. Neither `#t` nor `#true` needs a delimiter after it.
    fn boolean(&mut self, value: bool, rest: &str) -> Value {
        let there = self.text.as_bytes().get(self.at..self.at + rest.len());
        if there.is_some_and(|bytes| bytes.eq_ignore_ascii_case(rest.as_bytes())) {
            self.at += rest.len();
        }
        Value::Boolean(value)
    }
}

const ARRAY: &str = "arrays and vectors of numbers are not supported";

/// `(items . tail)`.
fn joined(at: usize, mut items: Vec<Datum>, tail: Datum) -> Datum {
    match tail.value {
        // In Guile, `( . x)` is `x`.
        _ if items.is_empty() => tail,
        Value::List(more, rest) => {
            items.extend(more);
            Datum { at, value: Value::List(items, rest) }
        }
        _ => Datum { at, value: Value::List(items, Some(Box::new(tail))) },
    }
}
