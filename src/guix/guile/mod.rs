//! A reader for data that people write for Guile.
//!
//! It accepts what Guile's `read` accepts and refuses what that refuses: all comments, brackets,
//! quotes, escapes, `#!r6rs` and the like. Arrays, vectors of numbers, `#nil`, curly infix and
//! G-expressions are not supported, because no declaration has them; they are refused. Texts are
//! hostile: nesting is limited, and reading takes linear time. [`crate::guix::sexp`] is a faster
//! reader for the few kinds of data that `write` prints.

mod number;
mod read;
mod token;

/// The deepest nesting that is read.
const DEEPEST: usize = 100;

/// A datum, and its place in the text.
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
    /// `(a b)`; with a tail `(a b . c)`, which is not a list.
    List(Vec<Datum>, Option<Box<Datum>>),
    /// `"text"`.
    String(String),
    /// `name`.
    Symbol(String),
    /// `#:name`.
    Keyword(String),
    /// The exact number 0, the only one that is told apart.
    Zero,
    /// Any other number, also an inexact 0.
    Number,
    /// `#t`, `#f`.
    Boolean(bool),
    /// `#\a`.
    Character(char),
    /// `#(a b)`, or a bit vector.
    Vector,
}

/// A text that is not a datum, or not the expected one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// The offset of the fault, in bytes.
    pub at: usize,
    /// A description of the fault.
    pub reason: String,
    /// What to write instead.
    pub hint: Option<&'static str>,
}

impl Fault {
    /// A fault at an offset.
    pub fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// Reads the first datum of a text, and ignores what follows it.
pub fn read(text: &str) -> Result<Datum, Fault> {
    read::Reader::new(text).first()
}

/// Reads all data of a text.
pub fn read_all(text: &str) -> Result<Vec<Datum>, Fault> {
    read::Reader::new(text).all()
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
