//! Questions to a real Guix.

use std::path::Path;
use std::time::Duration;

use gorget::sandbox::{Confined, Limits, find_guix};

use super::guix::guix_root;

const PATIENCE: Duration = Duration::from_mins(5);

/// What a script prints that `guix repl` runs with these arguments. It sees the paths that are named.
pub async fn repl(script: &str, arguments: &[&str], paths: &[&Path]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("script.scm");
    std::fs::write(&file, script).unwrap();
    let inside = "/gorget/script.scm";
    let limits = Limits::sandbox(4 << 30, Duration::from_mins(5));
    let guix = Confined::new(guix_root(), find_guix(&guix_root()).unwrap(), limits);
    let guix = guix.args(["repl", "--", inside]).args(arguments).readable(file, inside);
    let guix = paths.iter().fold(guix, |guix, path| guix.readable(*path, *path));
    let finished = guix.spawn().unwrap().finish(PATIENCE).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    String::from_utf8(finished.stdout).unwrap()
}
