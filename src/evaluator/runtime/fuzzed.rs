//! Entry points for the fuzzer: see `fuzz/`.

use super::compiler::CompilerIdentity;
use super::key;
use super::key_limits::KeyLimits;
use super::layer::{Kind, Layer};
use super::sources::File;

/// The keys of the modules `(a)` and `(gnu packages b)` with these sources, by path, and how many
/// modules are unknown. The limits are those of channels.
pub fn keys(a: &[u8], b: &[u8]) -> (Vec<(String, [u8; 32])>, usize) {
    let file = |path: &str, text: &[u8]| File {
        path: path.to_owned(),
        place: path.to_owned(),
        layer: 0,
        kind: Kind::Guix,
        text: text.to_vec(),
    };
    let files = [file("a.scm", a), file("gnu/packages/b.scm", b)];
    let Ok(empty) = tempfile::tempdir() else { return (Vec::new(), 0) };
    let layers = [Layer::alone(empty.path().to_owned(), Kind::Guix)];
    let core = ["define", "define-syntax", "let", "list"].map(str::to_owned).to_vec();
    let compiler = CompilerIdentity { identity: "3.0".to_owned(), core };
    let limits = KeyLimits::limited();
    let Ok(keyed) = key::keys(&files, &layers, Kind::Guix, &compiler, &limits) else {
        return (Vec::new(), 0);
    };
    let mut keys: Vec<_> = keyed.keys.into_iter().map(|(path, keys)| (path, keys.own)).collect();
    keys.sort();
    (keys, keyed.unknown.len())
}
