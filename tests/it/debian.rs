//! The Debian package, from its installation to its removal, in a root of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gorget::sandbox::{Finished, Process};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::guix::{Tree, guix_root};
use crate::support::unlimited;

const PATIENCE: Duration = Duration::from_mins(20);
const STATE: &str = "/var/lib/gorget";
/// Where the Guix of the tests is in it.
const GUIX: &str = "/var/cache/gorget/sid-root";
const CONFIG: &str = "/etc/gorget/gorget.toml";

/// A Debian system in a directory.
struct Debian {
    directory: tempfile::TempDir,
}

async fn finish(mut process: Process) -> Finished {
    process.finish(PATIENCE).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a program of this machine, which has to succeed.
async fn run(program: &str, arguments: &[&str]) -> String {
    let top = env!("CARGO_MANIFEST_DIR");
    let finished = finish(
        unlimited(program)
            .args(arguments.iter().map(|word| (*word).to_owned()))
            .directory(top)
            .spawn()
            .unwrap(),
    )
    .await;
    assert!(finished.success(), "{}: {}", finished.reason(), text(&finished.stderr));
    text(&finished.stdout)
}

impl Debian {
    /// The smallest one with what `package` depends on, and no more.
    async fn for_package(package: &Path) -> Self {
        let depends = run("dpkg-deb", &["--field", package.to_str().unwrap(), "Depends"]).await;
        // Of alternatives, the first; without versions.
        let depends: Vec<&str> = depends.split(',').filter_map(|one| one.split_whitespace().next()).collect();
        let release = std::fs::read_to_string("/etc/os-release").unwrap();
        let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap();
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (root, include) = (directory.path().join("root"), format!("--include={}", depends.join(",")));
        run("mmdebstrap", &["--variant=minbase", &include, suite, root.to_str().unwrap()]).await;
        std::fs::create_dir_all(root.join(GUIX.trim_start_matches('/'))).unwrap();
        Self { directory }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path.trim_start_matches('/'))
    }

    /// Begins to run a program in it, as root. A changed root without a mount point of its own would forbid
    /// user namespaces, so bubblewrap makes one.
    fn start(&self, words: &[&str]) -> Process {
        let root = self.path("/");
        let bwrap = unlimited("bwrap").args(["--bind", root.to_str().unwrap(), "/", "--dev", "/dev"]);
        let bwrap = bwrap.args(["--proc", "/proc", "--perms", "1777", "--tmpfs", "/tmp", "--cap-add", "ALL"]);
        let bwrap = bwrap.args(["--ro-bind", guix_root().to_str().unwrap(), GUIX, "--unshare-pid"]);
        bwrap
            .args(["--die-with-parent", "--"])
            .args(words.iter().map(|word| (*word).to_owned()))
            .spawn()
            .unwrap()
    }

    async fn run(&self, words: &[&str]) -> String {
        let finished = finish(self.start(words)).await;
        let (data, talk) = (text(&finished.stdout), text(&finished.stderr));
        assert!(finished.success(), "{words:?}: {}: {data} {talk}", finished.reason());
        data
    }

    async fn install(&self, package: &Path) {
        std::fs::copy(package, self.path("/gorget.deb")).unwrap();
        self.run(&["dpkg", "--install", "/gorget.deb"]).await;
    }

    /// Begins to run `words` as the user of the service, with no more rights than the unit gives.
    fn start_as_service(&self, words: &[&str]) -> Process {
        let user = ["setpriv", "--reuid=gorget", "--regid=gorget", "--clear-groups", "--no-new-privs"];
        let rights = ["--inh-caps=-all", "--bounding-set=-all", "env", "HOME=/var/lib/gorget"];
        self.start(&[&user[..], &rights, words].concat())
    }

    /// What `gorget status` says, once `enough` is true of it.
    async fn status(&self, enough: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let process = self.start_as_service(&["gorget", "--config", CONFIG, "status", "--json"]);
            let finished = finish(process).await;
            if let Ok(status) = serde_json::from_slice(&finished.stdout)
                && enough(&status)
            {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{} {}", text(&finished.stdout), text(&finished.stderr));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// The command line of the service.
    fn service(&self) -> Vec<String> {
        let unit = std::fs::read_to_string(self.path("/usr/lib/systemd/system/gorget.service")).unwrap();
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        line.split(' ').map(str::to_owned).collect()
    }

    /// Runs the service until `enough` is true of its status; returns that.
    async fn serve(&self, enough: impl Fn(&Value) -> bool) -> Value {
        let words = self.service();
        let process = self.start_as_service(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let status = self.status(enough).await;
        // Bubblewrap's process passes no signal on; its child is the service.
        let bwrap = process.id().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{bwrap}/task/{bwrap}/children")).unwrap();
        let init: i32 = children.trim().parse().unwrap();
        let service = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
        let service: i32 = service.split_whitespace().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(service).unwrap(), Signal::TERM).unwrap();
        let finished = finish(process).await;
        assert!(finished.success(), "{}: {}", finished.reason(), text(&finished.stderr));
        status
    }
}

/// Makes a package of the program of the tests.
async fn package(directory: &Path, version: &str) -> PathBuf {
    let program = env!("CARGO_BIN_EXE_gorget");
    let script = run("scripts/deb", &[directory.to_str().unwrap(), program, version]).await;
    script.lines().last().unwrap().into()
}

fn is_complete(status: &Value) -> bool {
    status["evaluations"][0]["state"] == "complete"
}

#[tokio::test]
#[ignore = "takes minutes: `make test-slow`"]
async fn a_package_loses_nothing_from_installation_to_removal() {
    let is_possible = Path::new("/usr/bin/mmdebstrap").exists() && rustix::process::geteuid().is_root();
    assert!(is_possible, "this takes root on Debian, with mmdebstrap");
    let packages = tempfile::tempdir().unwrap();
    let (old, new) = (package(packages.path(), "0.1.0-1").await, package(packages.path(), "0.1.0-2").await);
    let debian = Debian::for_package(&old).await;
    debian.install(&old).await;
    assert_eq!(debian.run(&["stat", "-c", "%U %G %a", STATE]).await, "gorget gorget 711\n");
    for file in ["usr/share/man/man1/gorget-run.1.gz", "usr/share/bash-completion/completions/gorget"] {
        assert!(debian.path(file).exists(), "{file}");
    }

    // What the user writes.
    let channel = Tree::channel("own.scm", "(define-module (own))\n");
    let repository = debian.path("/srv/channel");
    run("cp", &["--archive", &channel.url(), repository.to_str().unwrap()]).await;
    debian.run(&["chown", "-R", "gorget:", "/srv/channel"]).await;
    let spec = "build = { channels = [\"own\"] }\n[[channel]]\nname = \"own\"\nurl = \"/srv/channel\"\n";
    std::fs::write(debian.path("/etc/gorget/specs/own.toml"), spec).unwrap();
    let mut config = std::fs::read_to_string(debian.path(CONFIG)).unwrap();
    writeln!(config, "guix-root = \"{GUIX}\"\n[evaluate]\nworkers = 1").unwrap();
    std::fs::write(debian.path(CONFIG), &config).unwrap();

    let before = debian.serve(is_complete).await;
    let is_served = |status: &Value| status["hosts"][0]["stopped_at"].is_null();
    let same = |status: &Value| status["evaluations"] == before["evaluations"] && is_served(status);
    debian.install(&new).await;
    assert!(debian.run(&["dpkg", "--status", "gorget"]).await.contains("Version: 0.1.0-2\n"));
    assert_eq!(std::fs::read_to_string(debian.path(CONFIG)).unwrap(), config);
    debian.serve(same).await;

    debian.run(&["dpkg", "--remove", "gorget"]).await;
    assert!(!debian.path("/usr/bin/gorget").exists());
    assert_eq!(std::fs::read_to_string(debian.path(CONFIG)).unwrap(), config);
    debian.install(&new).await;
    debian.serve(same).await;
    debian.run(&["dpkg", "--purge", "gorget"]).await;
    assert!(!debian.path(STATE).exists() && !debian.path(CONFIG).exists());
    assert_eq!(std::fs::read_to_string(debian.path("/etc/gorget/specs/own.toml")).unwrap(), spec);
}
