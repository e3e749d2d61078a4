//! Faults of the machine: they pause the farm, cost no revision, and need no restart.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use gorget::sandbox::Process;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::disk::SmallDisk;
use crate::support::guix::{MODULES, Tree, entry, guix_root};
use crate::support::program::{Farm, text};
use crate::support::{Cluster, own, postgres_database};

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
    if let Ok(status) = tokio::time::timeout(3 * PATIENCE, farm.until(process, enough)).await {
        return status;
    }
    panic!("{}\n{}", farm.status().await, stop(process).await)
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
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
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

#[tokio::test]
async fn a_database_server_that_is_away_for_a_while_costs_no_evaluation_and_needs_no_restart() {
    let mut cluster = Cluster::start();
    let farm = Farm::new(None);
    farm.at_database(&cluster.url("postgres"));
    let channel = Tree::channel("manifest.scm", &slow(8, "--first"));
    farm.spec("slow", &spec(&channel));
    let mut process = farm.start(&[]);
    until(&farm, &mut process, |status| status["evaluations"][0]["jobs_total"] == 2).await;
    cluster.stop();
    // No lease stands for so long.
    tokio::time::sleep(Duration::from_secs(35)).await;
    cluster.restart();
    let status = until(&farm, &mut process, |status| builds(status, "queued") == 2).await;
    assert_eq!(
        (states(&status), &status["evaluations"][0]["attempts"]),
        (vec!["complete".to_owned()], &1.into())
    );
    channel.write("manifest.scm", &slow(0, "--second"));
    until(&farm, &mut process, |status| builds(status, "canceled") == 1 && states(status).len() == 2).await;
    stop(&mut process).await;
}

/// A directory of programs that a farm finds on its PATH, of which some can be taken away.
struct Programs(tempfile::TempDir);

impl Programs {
    fn of(farm: &mut Farm) -> Self {
        let programs = Self(tempfile::tempdir().unwrap());
        for name in ["git", "bwrap"] {
            programs.put_back(name);
        }
        farm.set("PATH", programs.0.path().to_str().unwrap());
        programs
    }

    fn take_away(&self, name: &str) {
        std::fs::remove_file(self.0.path().join(name)).unwrap();
    }

    fn put_back(&self, name: &str) {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|directory| directory.join(name));
        let found = found.into_iter().find(|program| program.exists()).unwrap();
        std::os::unix::fs::symlink(found, self.0.path().join(name)).unwrap();
    }
}

fn pause(status: &Value) -> &str {
    status["hosts"][0]["paused_reason"].as_str().unwrap_or_default()
}

/// Takes something away that evaluating needs, and gives it back: the same process evaluates what it could not.
async fn pauses_and_resumes(farm: &Farm, guix_root: &Path, programs: &Programs) {
    let channel = Tree::channel("manifest.scm", &slow(0, "--first"));
    farm.spec("small", &spec(&channel));
    programs.take_away("bwrap");
    let mut process = farm.start(&[]);
    let status = until(farm, &mut process, |status| pause(status).contains("bwrap")).await;
    assert!(pause(&status).contains("hint: install bubblewrap"), "{status}");
    assert_eq!(states(&status), ["pending"]);
    let said = farm.say(&["status"]).await;
    assert!(said.data.contains("is paused, for "), "{}", said.data);
    let said = farm.say(&["check"]).await;
    assert!(said.code == Some(2) && said.talk.contains("install bubblewrap"), "{}", said.talk);
    programs.put_back("bwrap");
    let status = until(farm, &mut process, |status| states(status) == ["complete"]).await;
    assert_eq!(pause(&status), "");

    let real = std::fs::read_link(guix_root).unwrap();
    std::fs::remove_file(guix_root).unwrap();
    channel.write("manifest.scm", &slow(0, "--second"));
    until(farm, &mut process, |status| pause(status).contains("guix-root")).await;
    assert_eq!(states(&farm.status().await), ["complete", "pending"]);
    std::os::unix::fs::symlink(real, guix_root).unwrap();
    until(farm, &mut process, |status| states(status) == ["complete", "complete"]).await;
    let said = stop(&mut process).await;
    assert_eq!(said.matches("the host pauses: ").count(), 2, "nobody loops: {said}");
    assert_eq!(said.matches("the host resumes: ").count(), 2, "{said}");
}

/// A farm whose Guix root is a link.
fn farm_with_link() -> (Farm, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("root");
    std::os::unix::fs::symlink(guix_root(), &link).unwrap();
    (Farm::with_guix(&link, None), directory)
}

#[tokio::test]
async fn what_the_machine_lacks_pauses_the_host_until_it_is_there_again() {
    let (mut farm, directory) = farm_with_link();
    let programs = Programs::of(&mut farm);
    pauses_and_resumes(&farm, &directory.path().join("root"), &programs).await;
}

#[tokio::test]
async fn with_postgresql_it_does_so_as_well_and_another_host_evaluates_meanwhile() {
    let (mut farm, directory) = farm_with_link();
    let database = postgres_database().await;
    farm.at_database(&database);
    let programs = Programs::of(&mut farm);
    pauses_and_resumes(&farm, &directory.path().join("root"), &programs).await;

    programs.take_away("bwrap");
    let channel = Tree::channel("manifest.scm", &slow(0, "--third"));
    farm.spec("other", &spec(&channel));
    let mut process = farm.start(&[]);
    until(&farm, &mut process, |status| pause(status).contains("bwrap")).await;
    let other = farm.another(&database);
    let mut second = other.start(&["--role", "evaluate", "--host", "whole"]);
    let status = until(&farm, &mut process, |status| states(status).last().unwrap() == "complete").await;
    assert_eq!(status["evaluations"][0]["host"], "whole");
    stop(&mut second).await;
    stop(&mut process).await;
}

#[tokio::test]
async fn who_does_everything_once_is_told_what_the_machine_lacks_and_no_attempt_counts() {
    let mut farm = Farm::new(None);
    let programs = Programs::of(&mut farm);
    let channel = Tree::channel("manifest.scm", &slow(0, "--first"));
    farm.spec("small", &spec(&channel));
    programs.take_away("bwrap");
    for _ in 0..6 {
        let said = farm.say(&["run", "--once"]).await;
        assert!(said.code == Some(2) && said.talk.contains("hint: install bubblewrap"), "{}", said.talk);
        assert_eq!(states(&farm.status().await), ["pending"]);
    }
    programs.put_back("bwrap");
    farm.run_once().await;
    assert_eq!(states(&farm.status().await), ["complete"]);
}

#[tokio::test]
async fn nobody_else_can_read_what_a_farm_keeps() {
    let farm = Farm::new(None);
    farm.run_once().await;
    let mode = |name: &str| farm.state().join(name).metadata().unwrap().permissions().mode() & 0o777;
    let modes = ["", "gorget.db", "identity", "lock", "roots", "time-machine"].map(mode);
    assert_eq!(modes, [0o711, 0o600, 0o600, 0o600, 0o755, 0o755], "{modes:?}");
}
