//! The sources of channels are read by a process of its own, which can do nothing else.

use std::path::PathBuf;
use std::time::Duration;

use gorget::sandbox::measure_tree;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::guix::Tree;
use crate::support::program::Farm;
use crate::support::siege::peak;

/// So much may the farm itself hold, in bytes. What it would take to read Guix's sources is more.
const MOST_MEMORY: u64 = 150 << 20;

fn proc(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The source reader of the farm `pid`, once it has given up what it does not need.
async fn reader_of(pid: u32) -> u32 {
    let is_restricted = |child: &u32| {
        let read = |file| std::fs::read_to_string(proc(*child, file)).unwrap_or_default();
        read("cmdline").contains("read-sources") && read("status").contains("Seccomp:\t2")
    };
    let find = async {
        loop {
            let found = measure_tree(pid).into_iter().map(|measured| measured.pid).find(is_restricted);
            if let Some(reader) = found {
                return reader;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), find).await.unwrap()
}

#[tokio::test]
async fn what_reads_sources_has_no_secrets_and_is_replaced_when_it_dies() {
    let mut farm = Farm::new(None);
    farm.set("GORGET_SECRET", "swordfish");
    let guix = Tree::guix().await;
    farm.spec("guix", &format!("build = \"hello\"\n{}", guix.as_channel("guix")));
    let mut process = farm.start(&[]);
    let pid = process.id().unwrap();

    let reader = reader_of(pid).await;
    send(reader, Signal::STOP);
    assert_eq!(std::fs::read(proc(reader, "environ")).unwrap(), b"", "it has no environment");
    for entry in std::fs::read_dir(proc(reader, "fd")).unwrap() {
        let open = std::fs::read_link(entry.unwrap().path()).unwrap();
        let open = open.to_string_lossy();
        let is_of_gorget = open.contains(farm.state().to_str().unwrap()) && !open.contains("/checkouts/");
        assert!(!is_of_gorget, "it has {open} open");
    }
    send(reader, Signal::KILL);

    let status = farm.until(&mut process, |status| status["evaluations"][0]["state"] == "complete").await;
    assert_eq!(status["evaluations"][0]["attempts"], 2, "{status}");
    assert!(peak(pid) < MOST_MEMORY, "the farm held {} MiB", peak(pid) >> 20);
    send(pid, Signal::TERM);
    assert!(process.finish(Duration::from_mins(1)).await.unwrap().success());
}
