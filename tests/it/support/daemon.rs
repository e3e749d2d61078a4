//! A real guix-daemon, with a store and a state of its own, and programs that talk to it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use gorget::sandbox::{Finished, Process};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use super::Port;
use super::guix::guix_root;
use super::unlimited;

/// More than any of these stories takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(10);

/// Starts the daemon, and stops it when what follows has ended.
const DAEMON: &str = r#"guix-daemon --disable-chroot --substitute-urls="${1:-}" > /tmp/daemon.log 2>&1 &
daemon=$!
trap 'status=$?; kill $daemon; cat /tmp/daemon.log >&2; exit $status' EXIT
until [ -S /var/guix/daemon-socket/socket ]; do kill -0 $daemon || exit 2; sleep 0.1; done
"#;

/// The machine that such a daemon runs on.
pub struct Machine {
    directory: TempDir,
    /// The root of the system whose Guix it has.
    root: PathBuf,
    /// Other directories that are seen there, under the names that they have here.
    shown: Mutex<Vec<PathBuf>>,
}

impl Machine {
    /// One with an empty store, which trusts nobody.
    pub fn new() -> Self {
        Self::with_guix(guix_root())
    }

    /// The same with the Guix below `root`.
    pub fn with_guix(root: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["store", "state", "log", "etc"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self { directory, root, shown: Mutex::default() }
    }

    /// Where its `/etc/guix` is.
    pub fn settings(&self) -> PathBuf {
        self.directory.path().join("etc")
    }

    /// Where its store is.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Where the socket of its daemon is.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("state/daemon-socket/socket")
    }

    /// Where links to what it must keep are.
    pub fn roots(&self) -> PathBuf {
        self.directory.path().join("state/gcroots/auto")
    }

    /// Has this directory be seen there by what is begun from now on.
    pub fn show(&self, directory: &Path) {
        self.shown.lock().unwrap().push(directory.to_owned());
    }

    /// Has its daemon, which must run, collect garbage.
    pub async fn collect_garbage(&self) {
        let mut process = self.begin("guix gc", "");
        let finished = process.finish(PATIENCE).await.unwrap();
        assert!(finished.success(), "{}", finished.reason());
    }

    /// Runs its daemon, which is not root there: as root it would need users to build for it.
    pub async fn serve(&self) -> Process {
        let nobody = ["--unshare-user", "--uid", "65534", "--gid", "65534"];
        let mut process = self.begin_as(&nobody, &format!("{DAEMON}wait"), "");
        while UnixStream::connect(self.socket()).await.is_err() {
            let ended = tokio::time::timeout(Duration::from_millis(100), process.ended()).await;
            assert!(ended.is_err(), "{}", process.finish(PATIENCE).await.unwrap().reason());
        }
        process
    }

    /// Begins a shell script on it, with the network of this machine. `$1` is `argument`.
    fn begin(&self, script: &str, argument: &str) -> Process {
        self.begin_as(&[], script, argument)
    }

    fn begin_as(&self, user: &[&str], script: &str, argument: &str) -> Process {
        let here = |name: &str| self.directory.path().join(name);
        let mut tool = unlimited("bwrap").arg("--ro-bind").arg(&self.root).arg("/");
        tool = tool.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"]);
        tool = tool.args(["--tmpfs", "/root", "--unshare-all", "--share-net", "--die-with-parent"]);
        tool = tool.args(user);
        for (name, inside) in
            [("store", "/gnu/store"), ("state", "/var/guix"), ("log", "/var/log"), ("etc", "/etc/guix")]
        {
            tool = tool.arg("--bind").arg(here(name)).arg(inside);
        }
        for shown in &*self.shown.lock().unwrap() {
            tool = tool.arg("--ro-bind").arg(shown).arg(shown);
        }
        tool =
            tool.args(["--setenv", "HOME", "/tmp", "--setenv", "PATH", "/usr/bin:/bin", "--chdir", "/tmp"]);
        tool.args(["sh", "-euc", script, "sh", argument]).spawn().unwrap()
    }

    /// Lets it trust what is signed with this key.
    pub async fn authorize(&self, public_key: &str) {
        std::fs::write(self.settings().join("their.pub"), public_key).unwrap();
        let mut process = self.begin("guix archive --authorize < /etc/guix/their.pub", "");
        let finished = process.finish(PATIENCE).await.unwrap();
        assert!(finished.success(), "{}", finished.reason());
    }

    /// Runs a Scheme program that talks to the daemon, which fetches substitutes from `server`.
    pub async fn run(&self, program: &str, server: &str) -> Finished {
        std::fs::write(self.settings().join("program.scm"), program).unwrap();
        let script = format!("{DAEMON}guix repl -- /etc/guix/program.scm");
        self.begin(&script, server).finish(PATIENCE).await.unwrap()
    }

    /// Runs a real substitute server, with a key of its own, which this machine trusts. Gives its URL.
    pub async fn publish(&self) -> (Process, String) {
        self.publish_after(DAEMON).await
    }

    /// The same while its daemon runs.
    pub async fn publish_beside_daemon(&self) -> (Process, String) {
        self.publish_after("").await
    }

    async fn publish_after(&self, daemon: &str) -> (Process, String) {
        let port = Port::free();
        let script = format!(
            "{daemon}guix archive --generate-key 2> /dev/null
            guix archive --authorize < /etc/guix/signing-key.pub
            guix publish --listen=127.0.0.1 --port={}",
            port.address.port()
        );
        let mut process = self.begin(&script, "");
        while TcpStream::connect(port.address).await.is_err() {
            let ended = tokio::time::timeout(Duration::from_millis(100), process.ended()).await;
            assert!(ended.is_err(), "{}", process.finish(PATIENCE).await.unwrap().reason());
        }
        (process, format!("http://{}", port.address))
    }
}
