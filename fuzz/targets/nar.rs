//! Any bytes as an archive with something behind it: what is read is the beginning, to the byte.

#![no_main]

use gorget::guix::nar;
use libfuzzer_sys::fuzz_target;

/// No archive may be larger.
const LIMIT: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let Ok(archive) = nar::read(&mut rest, LIMIT) else { return };
    assert!(archive.len() <= LIMIT);
    assert_eq!([&archive, rest].concat(), bytes);
    assert_eq!(nar::read(&mut &archive[..], LIMIT).as_deref().ok(), Some(&archive[..]));
    for shorter in [archive.len() - 1, archive.len() / 2] {
        assert!(nar::read(&mut &archive[..shorter], LIMIT).is_err());
    }
    if let Some(contents) = nar::single_file(&archive) {
        assert_eq!(nar::of_file(contents), archive);
    }
});
