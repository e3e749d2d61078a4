//! Any bytes as what a client of the evaluation store says: it is answered or cut off, nothing is
//! kept that it did not send, and what is kept has the path that its contents and references give.

#![no_main]

use gorget::guix::derivation::Derivation;
use gorget::guix::recording_store::{Kind, Recording, fuzzed};
use gorget::guix::store_path::StorePath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|said: &[u8]| {
    let recording = Recording::new(true, 1 << 20);
    let answers = fuzzed::answers(&recording, said);
    // No answer is much longer than what was asked.
    assert!(answers.len() <= 64 + 64 * said.len());
    let (items, bytes) = recording.totals();
    assert!(items <= said.len() && bytes <= said.len());
    let recorded = recording.drain();
    assert_eq!(recorded.len(), items);
    assert_eq!(recording.pending_bytes(), 0);
    for item in recorded.iter().filter(|item| item.kind == Kind::Text) {
        let mut references = item.references.clone();
        if item.derivation.is_some() {
            let derivation = Derivation::parse(&item.contents).unwrap();
            let named = derivation.inputs.iter().map(|(path, _)| path).chain(&derivation.sources);
            references = named.map(|path| StorePath::parse(path).unwrap()).collect();
        }
        let mut references: Vec<String> = references.iter().map(StorePath::to_string).collect();
        references.sort();
        references.dedup();
        let path = StorePath::of_text(item.path.name().as_bytes(), &item.contents, &references);
        assert_eq!(path.as_ref(), Ok(&item.path));
        assert!(recording.knows(item.path.to_string().as_bytes()));
    }
});
