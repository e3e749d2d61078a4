//! Any bytes as two modules of a channel: they get the same keys each time, and a text that differs gets
//! another key.

#![no_main]

use gorget::evaluator::runtime::fuzzed::keys;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let middle = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (a, b) = (&bytes[..middle], bytes.get(middle + 1..).unwrap_or_default());
    let (found, unknown) = keys(a, b);
    assert!(found.len() + unknown <= 4);
    assert_eq!(keys(a, b), (found.clone(), unknown));
    let changed = keys(&[a, b"\n;"].concat(), b).0;
    let of_a =
        |keys: &[(String, [u8; 32])]| keys.iter().find(|(path, _)| path == "a.scm").map(|(_, key)| *key);
    if let (Some(before), Some(after)) = (of_a(&found), of_a(&changed)) {
        assert_ne!(before, after);
    }
});
