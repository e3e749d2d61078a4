//! What Guix itself computes, to compare with.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use gorget::sandbox::Tool;

/// Names and derivations.
pub type Jobs = BTreeSet<(String, String)>;

/// Jobs and derivations of `subset` as `(gnu ci)` of the Guix below `root` computes them, with a real daemon.
pub async fn jobs(root: &Path, subset: &str, system: &str, manifests: &Path) -> Jobs {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracle");
    let run = Tool::new(script).arg(root).args([subset, system]).arg(manifests);
    let finished = run.spawn().unwrap().finish(Duration::from_mins(10)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    let answer = String::from_utf8(finished.stdout).unwrap();
    answer.lines().map(pair).collect()
}

/// The job and the derivation of a line that has both.
pub fn pair(line: &str) -> (String, String) {
    let (name, derivation) = line.split_once(' ').unwrap();
    (name.to_owned(), derivation.to_owned())
}
