//! What talks to strangers' code runs in processes of its own, which have no secrets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::sandbox::{Process, measure_tree};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::guix::{MODULES, Tree, entry};
use crate::support::program::Farm;
use crate::support::siege::peak;

/// So much may the farm itself hold, in bytes. What it would take to read Guix's sources is more.
const MOST_MEMORY: u64 = 150 << 20;
/// A story that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_mins(2);

fn proc(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

fn read(pid: u32, file: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(proc(pid, file)).unwrap_or_default()).into_owned()
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// The process of the farm that was started with this command, once it is as it should be.
async fn child_of(farm: u32, command: &str, is_ready: impl Fn(u32) -> bool) -> u32 {
    let is_it =
        |child: &u32| read(*child, "cmdline").ends_with(&format!("\0{command}\0")) && is_ready(*child);
    let find = async {
        loop {
            let found = measure_tree(farm).into_iter().map(|measured| measured.pid).find(is_it);
            if let Some(child) = found {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, find).await.unwrap()
}

/// Nothing of what the farm keeps is open in a process, but the files of channels.
fn assert_opens_nothing_of(farm: &Farm, child: u32) {
    for entry in std::fs::read_dir(proc(child, "fd")).unwrap() {
        let open = std::fs::read_link(entry.unwrap().path()).unwrap();
        let is_of_farm = open.starts_with(farm.state()) && !open.starts_with(farm.state().join("checkouts"));
        assert!(!is_of_farm, "it has {} open", open.display());
    }
}

fn farm_with_secret() -> Farm {
    let mut farm = Farm::new(None);
    farm.set("GORGET_SECRET", "swordfish");
    farm
}

/// The farm's only evaluation, which is complete at its second attempt, and the program told to stop.
async fn completed_at_second_attempt(farm: &Farm, mut process: Process) -> Value {
    let status = farm.until(&mut process, |status| status["evaluations"][0]["state"] == "complete").await;
    assert_eq!(status["evaluations"][0]["attempts"], 2, "{status}");
    let held = peak(process.id().unwrap());
    assert!(held < MOST_MEMORY, "the farm held {} MiB", held >> 20);
    kill_process(pid(process.id().unwrap()), Signal::TERM).unwrap();
    assert!(process.finish(Duration::from_mins(1)).await.unwrap().success());
    status
}

#[tokio::test]
async fn what_reads_sources_has_no_secrets_and_is_replaced_when_it_dies() {
    let farm = farm_with_secret();
    let guix = Tree::guix().await;
    farm.spec("guix", &format!("build = \"hello\"\n{}", guix.as_channel("guix")));
    let process = farm.start(&[]);
    let is_restricted = |child| read(child, "status").contains("Seccomp:\t2");
    let reader = child_of(process.id().unwrap(), "read-sources", is_restricted).await;
    kill_process(pid(reader), Signal::STOP).unwrap();
    assert_eq!(read(reader, "environ"), "");
    assert_opens_nothing_of(&farm, reader);
    kill_process(pid(reader), Signal::KILL).unwrap();
    completed_at_second_attempt(&farm, process).await;
}

#[tokio::test]
async fn what_evaluates_has_no_secrets_and_takes_all_that_it_started_with_it() {
    let farm = farm_with_secret();
    let slow = entry("slow", "(begin (sleep 4) '())");
    let code = format!("{MODULES}(packages->manifest (list {slow} {}))", entry("quick", "'()"));
    let channel = Tree::channel("manifest.scm", &code);
    farm.spec("own", &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own")));
    let process = farm.start(&[]);
    let is_at_work = |child| {
        measure_tree(child)
            .iter()
            .filter(|process| read(process.pid, "cmdline").contains("worker.scm"))
            .count()
            > 3
    };
    let evaluator = child_of(process.id().unwrap(), "supervise", is_at_work).await;

    let environment = read(evaluator, "environ");
    let set: Vec<_> = environment.split_terminator('\0').filter_map(|entry| entry.split_once('=')).collect();
    let names: BTreeSet<&str> = set.iter().map(|(name, _)| *name).collect();
    let permitted = BTreeSet::from(["GORGET_LOG", "NO_COLOR", "PATH", "TMPDIR"]);
    assert!(names.is_subset(&permitted), "{names:?}");
    assert_opens_nothing_of(&farm, evaluator);
    let directory = set.iter().find(|(name, _)| *name == "TMPDIR").unwrap().1.to_owned();
    assert!(Path::new(&directory).exists());

    let all: Vec<u32> = measure_tree(evaluator).iter().map(|process| process.pid).collect();
    assert!(all.len() > 4, "{all:?}");
    kill_process(pid(evaluator), Signal::KILL).unwrap();
    let status = completed_at_second_attempt(&farm, process).await;
    assert_eq!(status["evaluations"][0]["jobs_done"], 2, "{status}");
    assert!(!Path::new(&directory).exists(), "what it left is removed");
    let left: Vec<u32> = all.into_iter().filter(|process| test_kill_process(pid(*process)).is_ok()).collect();
    assert_eq!(left, [0; 0], "what it started has ended");
}
