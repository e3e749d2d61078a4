//! Any bytes as a derivation: what is read prints as it was, and can be checked.

#![no_main]

use gorget::guix::derivation::Derivation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(derivation) = Derivation::parse(text) {
        let printed = derivation.print();
        assert_eq!(printed, text);
        assert_eq!(Derivation::parse(&printed), Ok(derivation.clone()));
        let _ = derivation.check_outputs("a-name", |_| Some([0; 32]));
        let _ = derivation.is_substitutable();
    }
});
