//! Any bytes as what a process of an evaluation says: each line is a message or none, and a text
//! survives the way to Guile and back.

#![no_main]

use gorget::evaluator::fuzzed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    fuzzed::hear(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        assert_eq!(fuzzed::quoted_and_read(text).as_deref(), Some(text));
    }
});
