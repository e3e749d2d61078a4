//! What the fuzzer calls.
//!
//! Six readers take bytes from strangers: messages of evaluating processes, requests to the
//! recording store, archives, derivations, declarations of channels, and modules, as far as cache
//! keys need them. `fuzz/` has a target for each, built by the ordinary compiler;
//! `fuzz/instrument` adds the counters that libFuzzer reads. The corpus starts with what a real
//! evaluation of `hello` makes. `cfg(fuzzing)` makes private items visible.

use super::protocol::{Message, string};
use crate::guix::sexp::Sexp;

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
