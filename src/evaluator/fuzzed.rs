//! Entry points for the fuzzer.
//!
//! Six parsers read untrusted bytes: messages of evaluating processes, requests to the recording
//! store, archives, derivations, declarations of channels, and modules, as far as cache keys need
//! them. `fuzz/` has a target for each, built by the ordinary compiler; `fuzz/instrument` adds the
//! counters that libFuzzer reads. The initial corpus is what a real evaluation of `hello` produces.
//! `cfg(fuzzing)` makes private items visible.

use super::protocol::{Message, string};
use crate::guix::sexp::Sexp;

/// Parses each line of a process's output as a message.
pub fn hear(said: &[u8]) {
    for line in said.split_inclusive(|byte| *byte == b'\n') {
        let _ = str::from_utf8(line).map(Message::parse);
    }
}

/// Quotes `text` for Guile, and reads it back with the reader for Guile's output.
pub fn quoted_and_read(text: &str) -> Option<String> {
    let Ok(Sexp::String(text)) = Sexp::read(&string(text)) else { return None };
    Some(text)
}
