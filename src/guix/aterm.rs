//! The notation of `.drv` files: lists, tuples and strings of `ATerm`. The reader accepts only what
//! the printer would print.

use std::borrow::Cow;

/// Bytes of a string; borrowed if the string has no escapes.
pub(super) type Text<'a> = Cow<'a, [u8]>;

/// A text that is not a derivation, with the place where it stops being one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} of the derivation: expected {expected}")]
pub struct ParseError {
    /// Offset into the text.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

/// The most items of all lists of a text together. A real derivation has several thousand at most.
const MOST_ITEMS: usize = 1 << 17;

/// A position in a text that is being read.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// How many more items the lists of the text may have.
    items_left: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a text.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, items_left: MOST_ITEMS }
    }

    /// An error at the current position.
    pub(super) fn error(&self, expected: &'static str) -> ParseError {
        ParseError { at: self.at, expected }
    }

    /// Ensures that the text ends here.
    pub(super) fn end(&self) -> Result<(), ParseError> {
        if self.at != self.text.len() {
            return Err(ParseError { at: self.at, expected: "the end of the file" });
        }
        Ok(())
    }

    /// Skips `wanted`; `expected` is its name for errors.
    pub(super) fn expect(&mut self, wanted: &[u8], expected: &'static str) -> Result<(), ParseError> {
        if !self.text[self.at..].starts_with(wanted) {
            return Err(ParseError { at: self.at, expected });
        }
        self.at += wanted.len();
        Ok(())
    }

    /// Skips a comma.
    pub(super) fn comma(&mut self) -> Result<(), ParseError> {
        self.expect(b",", "a comma")
    }

    /// Reads a list, each item with `item`.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        self.expect(b"[", "a list")?;
        let mut items = Vec::new();
        if self.text.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            let Some(left) = self.items_left.checked_sub(1) else {
                return Err(self.error("fewer items in its lists"));
            };
            self.items_left = left;
            items.push(item(self)?);
            match self.text.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(items);
                }
                _ => return Err(ParseError { at: self.at, expected: "a comma or the end of a list" }),
            }
        }
    }

    /// Reads a string after a comma.
    pub(super) fn next_string(&mut self) -> Result<Text<'a>, ParseError> {
        self.comma()?;
        self.string()
    }

    /// Reads a string of any bytes.
    pub(super) fn string(&mut self) -> Result<Text<'a>, ParseError> {
        self.expect(b"\"", "a string")?;
        let start = self.at;
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n' | b'\r' | b'\t');
        let mut escaped: Option<Vec<u8>> = None;
        loop {
            let rest = &self.text[self.at..];
            let Some(length) = rest.iter().position(special) else {
                return Err(ParseError { at: self.text.len(), expected: "the end of a string" });
            };
            if let Some(bytes) = &mut escaped {
                bytes.extend_from_slice(&rest[..length]);
            }
            self.at += length;
            match self.text[self.at] {
                b'"' => {
                    self.at += 1;
                    let plain = &self.text[start..self.at - 1];
                    return Ok(escaped.map_or(Cow::Borrowed(plain), Cow::Owned));
                }
                b'\\' => {
                    let bytes = escaped.get_or_insert_with(|| self.text[start..self.at].to_vec());
                    bytes.push(match self.text.get(self.at + 1) {
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(byte @ (b'"' | b'\\')) => *byte,
                        _ => return Err(ParseError { at: self.at, expected: "a known escape" }),
                    });
                    self.at += 2;
                }
                _ => {
                    return Err(ParseError {
                        at: self.at,
                        expected: "an escape instead of a bare control character",
                    });
                }
            }
        }
    }
}

/// Prints a list, each item with `print`.
pub(super) fn print_list<T>(out: &mut Vec<u8>, items: &[T], mut print: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        print(out, item);
    }
    out.push(b']');
}

/// Prints a tuple of texts.
pub(super) fn print_tuple(out: &mut Vec<u8>, texts: &[&[u8]]) {
    for (index, text) in texts.iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b',' });
        print_string(out, text);
    }
    out.push(b')');
}

/// Prints a string.
pub(super) fn print_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(index) = rest.iter().position(|byte| b"\"\\\n\r\t".contains(byte)) {
        out.extend_from_slice(&rest[..index]);
        out.push(b'\\');
        out.push(match rest[index] {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            byte => byte,
        });
        rest = &rest[index + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
