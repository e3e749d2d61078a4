//! What Guix itself computes, to compare with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::sandbox::Tool;

use super::unlimited;

/// Names and derivations.
pub type Jobs = BTreeSet<(String, String)>;

/// Jobs and derivations of `subset` as `(gnu ci)` of the Guix below `root` computes them, with a real daemon.
pub async fn jobs(root: &Path, subset: &str, system: &str, manifests: &Path) -> Jobs {
    run(unlimited(script()).arg(root).args([subset, system]).arg(manifests)).await
}

/// Jobs and derivations of the packages of a channel whose repository is checked out in `checkout`, with
/// its modules in the directory `modules` of it.
pub async fn channel_jobs(root: &Path, checkout: &Path, modules: &str, system: &str) -> Jobs {
    run(unlimited(script()).arg(root).args(["(channels own)", system]).arg(checkout).arg(modules)).await
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracle")
}

async fn run(run: Tool) -> Jobs {
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
