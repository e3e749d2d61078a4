//! Any text as a declaration for Guile: it is read or refused, quickly, and every place is one.

#![no_main]

use gorget::guix::guile::{Datum, Value, position, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match read(text) {
        Ok(datum) => check(&datum, text),
        Err(fault) => {
            let (line, column) = position(text, fault.at);
            assert!(fault.at <= text.len() && line <= text.len() + 1 && column <= text.len() + 1);
        }
    }
});

fn check(datum: &Datum, text: &str) {
    assert!(datum.at < text.len() && text.is_char_boundary(datum.at));
    if let Value::List(items, tail) = &datum.value {
        items.iter().chain(tail.as_deref()).for_each(|item| check(item, text));
    }
}
