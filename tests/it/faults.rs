//! Faults of the machine: they pause the farm, cost no revision, and need no restart.

use std::path::Path;
use std::time::Duration;

use gorget::sandbox::Process;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::disk::SmallDisk;
use crate::support::guix::{MODULES, Tree, entry};
use crate::support::program::{Farm, text};
use crate::support::{Cluster, own};

/// More than a machine needs to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// Two packages, one of which takes so many seconds, and a new build each time.
fn slow(seconds: u32, flags: &str) -> String {
    let slow = entry("slow", &format!("(begin (sleep {seconds}) (list #:configure-flags '({flags:?})))"));
    format!("{MODULES}(packages->manifest (list {slow} {}))", entry("quick", "'()"))
}

fn spec(channel: &Tree) -> String {
    format!("build = {{ manifests = [\"manifest.scm\"] }}\nevery = \"10s\"\n{}", channel.as_channel("own"))
}

fn signal(process: &Process, signal: Signal) {
    let id = i32::try_from(process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// What a process has said when it is told to stop.
async fn stop(process: &mut Process) -> String {
    signal(process, Signal::TERM);
    let finished = process.finish(PATIENCE).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    String::from_utf8(finished.stderr).unwrap()
}

/// What the farm says once `enough` is true of it, which must not take long.
async fn until(farm: &Farm, process: &mut Process, enough: impl Fn(&Value) -> bool) -> Value {
    match tokio::time::timeout(3 * PATIENCE, farm.until(process, enough)).await {
        Ok(status) => status,
        Err(_) => panic!("{}\n{}", farm.status().await, stop(process).await),
    }
}

fn states(status: &Value) -> Vec<String> {
    let evaluations = status["evaluations"].as_array().unwrap().iter().rev();
    evaluations.map(|evaluation| text(&evaluation["state"])).collect()
}

fn builds(status: &Value, state: &str) -> i64 {
    let counts = status["builds"].as_array().unwrap().iter();
    counts.filter(|count| count["state"] == state).map(|count| count["count"].as_i64().unwrap()).sum()
}

/// Fills the disk while the first evaluation runs, frees it later, and expects the same process to finish that
/// evaluation and to go on to the next one.
async fn fills_up_and_goes_on(farm: &Farm, disk: &SmallDisk) {
    let channel = Tree::channel("manifest.scm", &slow(8, "--first"));
    farm.spec("slow", &spec(&channel));
    let mut process = farm.start(&[]);
    until(farm, &mut process, |status| status["evaluations"][0]["jobs_total"] == 2).await;
    disk.fill();
    // The evaluation comes to its end, and cannot be recorded.
    tokio::time::sleep(Duration::from_secs(15)).await;
    disk.free();
    let status = until(farm, &mut process, |status| builds(status, "queued") == 2).await;
    assert_eq!(states(&status), ["complete"]);
    channel.write("manifest.scm", &slow(0, "--second"));
    until(farm, &mut process, |status| builds(status, "canceled") == 1 && states(status).len() == 2).await;
    let said = stop(&mut process).await;
    assert!(said.contains("the disk is full"), "{said}");
    assert!(!said.contains("the evaluation failed") && !said.contains("non-zero"), "{said}");
}

#[tokio::test]
async fn a_disk_that_fills_up_while_an_evaluation_runs_needs_no_restart() {
    let mut farm = Farm::new(None);
    let disk = farm.on_small_disk(48);
    fills_up_and_goes_on(&farm, &disk).await;
}

#[tokio::test]
async fn a_database_server_whose_disk_fills_up_needs_no_restart() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let disk = SmallDisk::at(directory.path(), 48);
    let place = directory.path().join("apart");
    let outside = disk.outside(&place);
    std::fs::create_dir(&outside).unwrap();
    own(Path::new(&outside));
    let cluster = Cluster::start_within(&disk.enter());
    let farm = Farm::new(None);
    farm.at_database(&cluster.database_in(&place).await);
    fills_up_and_goes_on(&farm, &disk).await;
}
