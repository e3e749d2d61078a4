//! A power loss: of what was written, only what was asked to be on the disk is sure to be there.
//!
//! strace writes down every write and sync of the program; from that the disk is made up as it is after a loss at any
//! moment, without the writes that nobody had waited for, or with some of them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use gorget::db::{Build, BuildState, Db, QueueFilter};

use crate::support::Dice;
use crate::support::coordinator::StandIn;
use crate::support::guix::{Tree, manifest};
use crate::support::program::Farm;

const FILES: [&str; 2] = ["gorget.db", "gorget.db-wal"];

/// One thing that the program did. Files are numbers of [`FILES`].
enum Step {
    Wrote {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        length: usize,
    },
    /// All that was written to the file before that step is on the disk.
    Synced {
        file: usize,
        before: usize,
    },
    /// The coordinator may have heard this.
    Sent(String),
}

/// Reads `\x61\x62`.
fn bytes(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap()).collect()
}

/// All strings of a line, in order.
fn strings(line: &str) -> Vec<u8> {
    line.split('"').skip(1).step_by(2).flat_map(bytes).collect()
}

/// The file that a call is about.
fn file(line: &str) -> Option<usize> {
    let path = if line.starts_with("unlink") {
        strings(line)
    } else {
        bytes(line.split_once('<')?.1.split_once('>')?.0)
    };
    let path = String::from_utf8(path).ok()?;
    FILES.iter().position(|name| Path::new(&path).file_name().is_some_and(|last| last == *name))
}

/// The last argument of a call.
fn last_number(line: &str) -> usize {
    let line = line.split(") = ").next().unwrap().trim_end_matches(" <unfinished ...>");
    line.rsplit(", ").next().unwrap().trim_end_matches(')').parse().unwrap_or_else(|_| panic!("{line}"))
}

fn steps(trace: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut begun: HashMap<&str, (usize, usize)> = HashMap::new();
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("<... fsync resumed") || call.starts_with("<... fdatasync resumed") {
            let done = begun.remove(process).filter(|_| call.ends_with("= 0"));
            steps.extend(done.map(|(file, before)| Step::Synced { file, before }));
        } else if call.starts_with("sendto(") || call.starts_with("writev(") {
            steps.push(Step::Sent(String::from_utf8_lossy(&strings(call)).into_owned()));
        }
        let Some(file) = file(call) else { continue };
        match call.split('(').next().unwrap() {
            "pwrite64" => steps.push(Step::Wrote { file, at: last_number(call), bytes: strings(call) }),
            "ftruncate" => steps.push(Step::Cut { file, length: last_number(call) }),
            "unlink" | "unlinkat" => steps.push(Step::Cut { file, length: 0 }),
            "fsync" | "fdatasync" if call.contains("<unfinished") => {
                begun.insert(process, (file, steps.len()));
            }
            "fsync" | "fdatasync" => steps.push(Step::Synced { file, before: steps.len() }),
            "write" => panic!("SQLite writes otherwise: {call}"),
            _ => {}
        }
    }
    steps
}

/// What a loss after some steps leaves of the files, which were `disk` before them: of what was not synced, the writes
/// for which `keeps` says so.
fn after_loss(disk: &[Vec<u8>; 2], steps: &[Step], mut keeps: impl FnMut() -> bool) -> [Vec<u8>; 2] {
    let mut disk = disk.clone();
    let mut waiting: Vec<(usize, usize, &Step)> = Vec::new();
    let mut apply = |step: &Step| match step {
        Step::Wrote { file, at, bytes } => {
            let end = at + bytes.len();
            if disk[*file].len() < end {
                disk[*file].resize(end, 0);
            }
            disk[*file][*at..end].copy_from_slice(bytes);
        }
        Step::Cut { file, length } => disk[*file].resize(*length, 0),
        _ => {}
    };
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Wrote { file, .. } | Step::Cut { file, .. } => waiting.push((number, *file, step)),
            Step::Synced { file, before } => {
                let is_safe = |entry: &(usize, usize, &Step)| entry.1 == *file && entry.0 < *before;
                waiting.iter().filter(|entry| is_safe(entry)).for_each(|(.., step)| apply(step));
                waiting.retain(|entry| !is_safe(entry));
            }
            Step::Sent(_) => {}
        }
    }
    waiting.iter().filter(|_| keeps()).for_each(|(.., step)| apply(step));
    disk
}

fn put(directory: &Path, disk: &[Vec<u8>; 2]) {
    for (name, bytes) in FILES.iter().zip(disk) {
        std::fs::write(directory.join(name), bytes).unwrap();
    }
    let _ = std::fs::remove_file(directory.join("gorget.db-shm"));
}

/// The derivations that the coordinator may have heard of.
fn told(steps: &[Step]) -> BTreeSet<String> {
    let sent = steps.iter().filter_map(|step| if let Step::Sent(text) = step { Some(text) } else { None });
    let paths = sent.flat_map(|text| text.split(['"', ' ']).filter(|word| word.starts_with("/gnu/store/")));
    paths.filter(|path| path.strip_suffix(".drv").is_some()).map(str::to_owned).collect()
}

/// Those of `told` that the database takes for unknown to the coordinator.
async fn forgotten(disk: &[Vec<u8>; 2], told: &BTreeSet<String>) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), disk);
    let db = Db::open(directory.path().join(FILES[0]).to_str().unwrap()).await.unwrap();
    assert_eq!(db.verify().await.unwrap(), []);
    let builds = db.queue(&QueueFilter::default(), i64::MAX).await.unwrap();
    db.close().await;
    let is_known = |build: &&Build| build.sent || build.state == BuildState::Submitted;
    let known: BTreeSet<&str> =
        builds.iter().filter(is_known).map(|build| build.derivation.as_str()).collect();
    told.iter().filter(|path| !known.contains(path.as_str())).cloned().collect()
}

#[tokio::test]
async fn a_power_loss_costs_nothing_that_a_coordinator_was_told() {
    let names = ["one", "two", "three", "four", "five"];
    let channel = Tree::channel("manifest.scm", &manifest(&names.map(|name| (name, ""))));
    let mut farm = Farm::new(None);
    farm.spec(
        "small",
        &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", channel.as_channel("own")),
    );
    farm.run_once().await;
    let coordinator = StandIn::start().await;
    farm.configure(&format!(
        "[coordinator]\nkind = \"guix-build-coordinator\"\nurl = \"{}\"",
        coordinator.url()
    ));
    let read = |name: &str| std::fs::read(farm.state().join(name)).unwrap_or_default();
    let before = FILES.map(read);
    assert!(before[1].is_empty(), "the first run left its log in the database");
    let trace = tempfile::NamedTempFile::new().unwrap();
    let calls = "trace=pwrite64,write,writev,sendto,ftruncate,unlink,unlinkat,fsync,fdatasync";
    let options = ["-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-s", "10000000", "-e", calls, "-o"];
    let words = ["strace"].into_iter().chain(options).map(str::to_owned);
    farm.begin_with(words.chain([trace.path().to_str().unwrap().to_owned()]).collect());
    farm.run_once().await;
    farm.begin_with(Vec::new());
    assert_eq!(coordinator.builds().len(), names.len());

    let steps = steps(&String::from_utf8(std::fs::read(trace.path()).unwrap()).unwrap());
    assert_eq!(told(&steps).len(), names.len(), "all submissions were seen");
    let mut dice = Dice(1);
    for end in 1..=steps.len() {
        if !matches!(steps[end - 1], Step::Sent(_) | Step::Synced { .. }) {
            continue;
        }
        let told = told(&steps[..end]);
        for kept in [false, true] {
            let disk = after_loss(&before, &steps[..end], || kept && dice.roll(2) == 0);
            assert_eq!(forgotten(&disk, &told).await, [""; 0], "after step {end}");
        }
    }

    // At the last submission, before its answer could be written down.
    let last =
        steps.iter().rposition(|step| matches!(step, Step::Sent(text) if text.contains(".drv"))).unwrap();
    let unsynced: Vec<Step> = steps.into_iter().take(last + 1).collect();
    let disk = after_loss(&before, &unsynced, || false);
    let lazy: Vec<Step> =
        unsynced.into_iter().filter(|step| !matches!(step, Step::Synced { file: 1, .. })).collect();
    let forgotten = forgotten(&after_loss(&before, &lazy, || false), &told(&lazy)).await;
    assert!(!forgotten.is_empty(), "without the syncs of the log, this story would have failed");
    put(&farm.state(), &disk);
    farm.run_once().await;
    let builds = coordinator.builds();
    let different: BTreeSet<&str> = builds.iter().map(|build| build.derivation.as_str()).collect();
    assert_eq!((builds.len(), different.len()), (names.len(), names.len()), "nothing is there twice");
    assert!(builds.iter().all(|build| !build.canceled));
}
