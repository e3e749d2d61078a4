//! What the fuzzer calls: see `fuzz/`.

use super::protocol::{Message, string};
use crate::sexp::Sexp;

/// Hears all lines of what a process says.
pub fn hear(said: &[u8]) {
    for line in said.split_inclusive(|byte| *byte == b'\n') {
        let _ = str::from_utf8(line).map(Message::parse);
    }
}

/// A text as it is written for Guile, read as what Guile writes.
pub fn quoted_and_read(text: &str) -> Option<String> {
    let Ok(Sexp::String(text)) = Sexp::read(&string(text)) else { return None };
    Some(text)
}
