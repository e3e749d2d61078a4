//! A release: a tarball that builds without network.

use std::path::Path;
use std::time::Duration;

use gorget::sandbox::Tool;

use crate::support::unlimited;

const PATIENCE: Duration = Duration::from_hours(1);

/// Runs a program, which has to succeed; returns what it printed.
async fn run(tool: Tool) -> String {
    let finished = tool.spawn().unwrap().finish(PATIENCE).await.unwrap();
    assert!(finished.success(), "{}: {}", finished.reason(), String::from_utf8_lossy(&finished.stderr));
    String::from_utf8(finished.stdout).unwrap()
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn the_tarball_of_a_release_builds_without_network() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let here = directory.path().to_str().unwrap();
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = run(unlimited(top.join("scripts/dist")).arg(here).directory(top)).await;
    let tarball = Path::new(made.lines().last().unwrap()).file_name().unwrap().to_str().unwrap();
    run(unlimited("sha256sum").args(["--check", &format!("{tarball}.sha256")]).directory(here)).await;
    run(unlimited("tar").args(["--extract", "--file", tarball]).directory(here)).await;
    let source = directory.path().join(tarball.strip_suffix(".tar.xz").unwrap());
    // No network, and nothing that Cargo has fetched before.
    let build = unlimited("bwrap").args(["--dev-bind", "/", "/", "--unshare-net", "--die-with-parent", "--"]);
    let build = build.args([env!("CARGO"), "build", "--locked", "--bin", "gorget"]).directory(&source);
    run(build.env("CARGO_HOME", format!("{here}/cargo")).env("CARGO_TARGET_DIR", format!("{here}/built")))
        .await;
    let version = run(unlimited(format!("{here}/built/debug/gorget")).arg("--version")).await;
    assert_eq!(version, concat!("gorget ", env!("CARGO_PKG_VERSION"), "\n"));
}
