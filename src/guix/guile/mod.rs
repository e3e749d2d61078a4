//! A reader for data as people write them for Guile.
//!
//! It reads what Guile's `read` reads, and refuses what that refuses: all comments, brackets, quotes,
//! escapes, `#!r6rs` and the like. Not supported are arrays, vectors of numbers, `#nil`, curly infix
//! and G-expressions, which no declaration has; they are refused. A text is hostile: nesting is limited,
//! and reading is linear. [`crate::guix::sexp`] is the faster reader for the few things that `write` prints.

mod number;
mod read;
mod token;

/// The deepest nesting that is read.
const DEEPEST: usize = 100;

/// A datum, and where it begins in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datum {
    /// Offset in bytes.
    pub at: usize,
    /// What it is.
    pub value: Value,
}

/// What a datum is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `(a b)`, or `(a b . c)` with a tail, which is no list then.
    List(Vec<Datum>, Option<Box<Datum>>),
    /// `"text"`.
    String(String),
    /// `name`.
    Symbol(String),
    /// `#:name`.
    Keyword(String),
    /// The number 0: the only one that matters.
    Zero,
    /// Any other number, also an inexact 0.
    Number,
    /// `#t`, `#f`.
    Boolean(bool),
    /// `#\a`.
    Character(char),
    /// `#(a b)`, or bits.
    Vector,
}

/// A text that is not a datum, or not the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// Where, as an offset in bytes.
    pub at: usize,
    /// What is wrong there.
    pub reason: String,
    /// What to write instead.
    pub hint: Option<&'static str>,
}

impl Fault {
    /// A fault at an offset.
    pub fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// Reads the first datum of a text. Whatever follows it is not looked at.
pub fn read(text: &str) -> Result<Datum, Fault> {
    read::Reader::new(text).first()
}

/// The line and the column of an offset, both counted from 1.
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

impl Datum {
    /// The elements of a list that has no tail.
    pub fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items, None) => Some(items),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn string(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of a symbol.
    pub fn symbol(&self) -> Option<&str> {
        match &self.value {
            Value::Symbol(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is the symbol `name`.
    pub fn is(&self, name: &str) -> bool {
        self.symbol() == Some(name)
    }

    /// Whether it is `#f`.
    pub fn is_false(&self) -> bool {
        self.value == Value::Boolean(false)
    }
}
