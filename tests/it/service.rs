//! `gorget run` as a service manager sees it: messages, sockets and logs.

use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::sandbox::{Process, Tool};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::UnixDatagram;

use crate::support::program::Farm;

/// As Linux has it in `/proc/PID/fdinfo`.
const O_CLOEXEC: i32 = 0o2_000_000;
/// More time than a message takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A service manager: it reads what the service says.
pub(crate) struct Manager {
    socket: UnixDatagram,
    pub(crate) path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path, _directory: directory }
    }

    /// Has every command of a farm report to it.
    fn manages(&self, farm: &mut Farm) {
        farm.set("NOTIFY_SOCKET", self.path.to_str().unwrap());
    }

    /// The next message.
    pub(crate) async fn message(&self) -> String {
        let mut buffer = [0; 4096];
        let length = tokio::time::timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        String::from_utf8(buffer[..length.expect("it says nothing more").unwrap()].to_vec()).unwrap()
    }

    /// All messages up to the first one that has this line.
    async fn until(&self, line: &str) -> Vec<String> {
        let mut messages = vec![self.message().await];
        while !messages.last().unwrap().lines().any(|one| one == line) {
            messages.push(self.message().await);
        }
        messages
    }
}

fn stop(process: &Process) {
    let pid = i32::try_from(process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
}

/// Waits for its end, and returns its log.
async fn ended(mut process: Process) -> String {
    let finished = process.finish(PATIENCE).await.unwrap();
    let log = String::from_utf8(finished.stderr.clone()).unwrap();
    assert!(finished.success(), "{}: {log}", finished.reason());
    log
}

#[tokio::test]
async fn a_service_says_that_it_is_ready_that_it_is_well_and_that_it_stops() {
    let (manager, mut farm) = (Manager::new(), Farm::new(None));
    manager.manages(&mut farm);
    farm.set("WATCHDOG_USEC", "3000000");
    let process = farm.start(&[]);
    assert_eq!(manager.message().await, "STATUS=opening the database\n");
    manager.until("READY=1").await;
    assert!(farm.state().join("gorget.sock").exists(), "it is ready before it can be reached");
    for _ in 0..3 {
        let fed = manager.until("WATCHDOG=1").await;
        assert!(fed.last().unwrap().starts_with("STATUS=waiting for work\n"), "{fed:?}");
    }
    stop(&process);
    let last = manager.until("STOPPING=1").await;
    assert_eq!(last.last().unwrap(), "STOPPING=1\nSTATUS=stopping\n");
    ended(process).await;
}

/// Has commands of a farm begin with `count` descriptors of `listener`, as a socket unit passes them.
fn pass(farm: &mut Farm, listener: &TcpListener, count: usize) -> std::os::fd::OwnedFd {
    // Unlike the listener's own descriptor, programs inherit this one.
    let inherited = rustix::io::dup(listener).unwrap();
    let open: String = (3..3 + count).map(|to| format!("exec {to}<&{}; ", inherited.as_raw_fd())).collect();
    let open = format!("{open}exec {}<&-; ", inherited.as_raw_fd());
    let script = format!("{open}LISTEN_FDS={count} LISTEN_PID=$$ exec \"$@\"");
    farm.begin_with(["bash", "-c", &script, "bash"].map(str::to_owned).to_vec());
    inherited
}

/// The flags of each descriptor with which a process has a socket.
fn flags_of(process: &Process, socket: &Path) -> Vec<i32> {
    let process = PathBuf::from(format!("/proc/{}", process.id().unwrap()));
    let all = std::fs::read_dir(process.join("fd")).unwrap().map(|entry| entry.unwrap());
    // One may be closed meanwhile.
    let with_socket = all.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|found| found == socket));
    let flags = with_socket.map(|entry| {
        let text = std::fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        i32::from_str_radix(flags.trim(), 8).unwrap()
    });
    flags.collect()
}

#[tokio::test]
async fn it_serves_at_the_socket_that_it_is_given() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // This waits: nobody serves yet.
    let early = tokio::spawn(reqwest::get(format!("http://{address}/healthz")));
    let mut farm = Farm::new(None);
    let _inherited = pass(&mut farm, &listener, 1);
    let process = farm.start(&["--listen", "127.0.0.1:1"]);
    let socket = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
    let answer = tokio::time::timeout(PATIENCE, early).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok\n");
    let [flags] = flags_of(&process, &socket)[..] else { panic!("one descriptor has the socket") };
    assert_ne!(flags & O_CLOEXEC, 0, "no program that it starts has the socket");
    stop(&process);
    let log = ended(process).await;
    assert!(log.contains(&format!("serving at http://{address}")), "{log}");
    assert!(log.contains("--listen 127.0.0.1:1 is ignored"), "{log}");

    let manager = Manager::new();
    manager.manages(&mut farm);
    let process = farm.start(&["--role", "evaluate"]);
    manager.until("READY=1").await;
    assert!(flags_of(&process, &socket).is_empty(), "it serves nothing");
    stop(&process);
    ended(process).await;

    let _inherited = pass(&mut farm, &listener, 2);
    let said = farm.say(&["run"]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.talk.contains("the service manager passes 2 sockets, and Gorget serves at one"),
        "{}",
        said.talk
    );
}

/// The events of a log in JSON: each line is one.
fn events(log: &str) -> Vec<Value> {
    let events =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}: {log}")));
    let events: Vec<Value> = events.collect();
    for event in &events {
        assert!(event["timestamp"].is_string() && event["message"].is_string(), "{event}");
    }
    events
}

#[tokio::test]
async fn a_log_can_be_json() {
    let (manager, mut farm) = (Manager::new(), Farm::new(None));
    manager.manages(&mut farm);
    farm.set("GORGET_LOG_FORMAT", "");
    let unset = farm.say(&["status"]).await;
    assert!(!unset.talk.contains("LOG_FORMAT"), "{}", unset.talk);
    farm.set("GORGET_LOG_FORMAT", "json");
    farm.spec("wrong", "build = \"al\"\n");
    let process = farm.start(&[]);
    manager.until("READY=1").await;
    // The first events of its steps.
    manager.until("WATCHDOG=1").await;
    let refused = farm.say(&["run"]).await;
    assert_eq!(refused.code, Some(1));
    let errors = events(&refused.talk);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["level"], "ERROR");
    assert!(errors[0]["message"].as_str().unwrap().starts_with("another `gorget run` uses "));

    stop(&process);
    let events = events(&ended(process).await);
    let has = |level: &str, start: &str| {
        events
            .iter()
            .any(|event| event["level"] == level && event["message"].as_str().unwrap().starts_with(start))
    };
    assert!(has("INFO", "serving at ") && has("INFO", "stopping"), "{events:?}");
    let of_spec =
        events.iter().find(|event| event["path"].as_str().is_some_and(|path| path.ends_with("wrong.toml")));
    assert_eq!(of_spec.unwrap()["level"], "ERROR");
}

#[tokio::test]
async fn the_unit_permits_little() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd/gorget.service");
    // Exposure from 0, best, to 100.
    let analyze = Tool::new("systemd-analyze").args(["security", "--offline=true", "--threshold=30", unit]);
    let finished = analyze.spawn().unwrap().finish(PATIENCE).await.unwrap();
    assert!(finished.success(), "{}", String::from_utf8_lossy(&finished.stdout));
}
