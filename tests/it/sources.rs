//! Repositories against the program itself: whatever files they bring, reading them ends soon, takes little
//! memory, and touches nothing of the machine.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use gorget::git::{Change, fold_changes};

use crate::repository::Remote;
use crate::support::guix::Tree;
use crate::support::program::Farm;

const FILE: &str = "100644";
const LINK: &str = "120000";
const DIRECTORY: &str = "40000";

#[tokio::test]
async fn comparing_commits_opens_no_file_that_a_link_names() {
    let remote = Remote::new();
    let before = remote.tree(&[(FILE, b"a.scm", remote.blob("(define a 1)"))]);
    let first = remote.commit_tree(before, None);
    let link = |target: &str| remote.blob(target);
    let after = remote.tree(&[
        (FILE, b"a.scm", remote.blob("(define a 2)")),
        (LINK, b"console.scm", link("/dev/console")),
        (FILE, b"data.txt", remote.blob("not Scheme")),
        (FILE, b"huge.scm", remote.blob(vec![b' '; 9 << 20])),
        (LINK, b"kmsg.scm", link("/proc/kmsg")),
        (LINK, b"passwd.scm", link("/etc/passwd")),
        (LINK, b"zero.scm", link("/dev/zero")),
    ]);
    let second = remote.commit_tree(after, Some(&first));
    let note = |texts: &mut Vec<String>, change: Change<'_>| {
        texts.push(String::from_utf8([change.before, b" -> ", change.after].concat()).unwrap());
        ControlFlow::Continue(())
    };
    let started = Instant::now();
    let texts = fold_changes(remote.path(), [&first, &second], "scm", Vec::new(), note).await.unwrap();
    assert_eq!(texts, ["(define a 1) -> (define a 2)", " -> ", " -> ", " -> ", " -> "]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// The smallest repository that passes for Guix.
fn guix() -> Vec<(&'static str, String)> {
    let names = [
        ("guix/packages.scm", "package"),
        ("guix/discovery.scm", "all-modules"),
        ("guix/gexp.scm", "lower-object"),
        ("guix/grafts.scm", "%graft?"),
        ("guix/diagnostics.scm", "location-file"),
        ("gnu/packages.scm", "fold-packages"),
    ];
    let module = |(path, name): (&'static str, &str)| {
        let module = path.trim_end_matches(".scm").replace('/', " ");
        (path, format!("(define-module ({module}) #:export ({name}))\n(define {name} 1)\n"))
    };
    names.into_iter().map(module).collect()
}

/// A repository whose branch `master` has these files: mode, path, contents.
fn repository(files: &[(&str, &str, &[u8])]) -> Remote {
    let remote = Remote::new();
    let mut index = git2::Index::new().unwrap();
    for (mode, path, contents) in files {
        let entry = git2::IndexEntry {
            ctime: git2::IndexTime::new(0, 0),
            mtime: git2::IndexTime::new(0, 0),
            dev: 0,
            ino: 0,
            mode: u32::from_str_radix(mode, 8).unwrap(),
            uid: 0,
            gid: 0,
            file_size: 0,
            id: remote.blob(contents),
            flags: 0,
            flags_extended: 0,
            path: path.as_bytes().to_vec(),
        };
        index.add(&entry).unwrap();
    }
    let tree = index.write_tree_to(&remote.git).unwrap();
    let commit = remote.commit_tree(tree, None);
    remote.set("master", Some(&commit));
    remote
}

/// What a farm with one spec made of a channel beside the smallest Guix: why its evaluation failed, the most
/// memory that the program took, in MiB, and the time.
async fn evaluate(channel: &Remote) -> (String, u64, Duration) {
    let guix = guix();
    let files: Vec<_> = guix.iter().map(|(path, text)| (FILE, *path, text.as_bytes())).collect();
    let guix = repository(&files);
    let farm = Farm::new(None);
    farm.spec(
        "evil",
        &format!(
            "build = \"hello\"\n\
             [[channel]]\nname = \"guix\"\nurl = \"{}\"\nbranch = \"master\"\n\
             [[channel]]\nname = \"evil\"\nurl = \"{}\"\nbranch = \"master\"\n",
            guix.url(),
            channel.url()
        ),
    );
    let started = Instant::now();
    let mut process = farm.start(&["--once"]);
    let file = format!("/proc/{}/status", process.id().unwrap());
    let mut most = 0;
    while tokio::time::timeout(Duration::from_millis(20), process.ended()).await.is_err() {
        let status = std::fs::read_to_string(&file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        most = most.max(line.trim_end_matches("kB").trim().parse::<u64>().unwrap() >> 10);
        assert!(most < 2048 && started.elapsed() < Duration::from_mins(5), "{most} MiB");
    }
    let newest = farm.newest().await;
    assert_eq!(newest["state"], "failed", "{newest}");
    (newest["reason"].as_str().unwrap().to_owned(), most, started.elapsed())
}

/// The program may take so much memory in these stories, in MiB.
const CEILING: u64 = 1024;

#[tokio::test]
async fn a_module_file_that_is_no_file_is_the_channels_fault() {
    for target in ["/dev/zero", "/dev/tty", "/proc/kmsg", "/proc/self/environ", "../../../../../etc/passwd"] {
        let evil = repository(&[(LINK, "evil/packages.scm", target.as_bytes())]);
        let (reason, memory, _) = evaluate(&evil).await;
        assert!(reason.contains("`evil`") && reason.contains("evil/packages.scm"), "{target}: {reason}");
        assert!(reason.contains("leads out") && reason.contains("hint: "), "{target}: {reason}");
        assert!(memory < CEILING, "{target}: {memory} MiB");
    }
}

#[tokio::test]
async fn modules_without_number_and_nests_without_end_take_little_memory() {
    // One blob and few directories have 120,000 names.
    let remote = Remote::new();
    let module = remote.blob("(define-module (x))");
    let names: Vec<String> = (0..1000).map(|number| format!("n{number}.scm")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    let files: Vec<_> = names.iter().map(|name| (FILE, name.as_bytes(), module)).collect();
    let directory = remote.tree(&files);
    let names: Vec<String> = (100..220).map(|number| format!("d{number}")).collect();
    let directories: Vec<_> = names.iter().map(|name| (DIRECTORY, name.as_bytes(), directory)).collect();
    let commit = remote.commit_tree(remote.tree(&directories), None);
    remote.set("master", Some(&commit));
    let (reason, memory, _) = evaluate(&remote).await;
    assert!(reason.contains("`evil`") && reason.contains("more than 40000"), "{reason}");
    assert!(memory < CEILING, "{memory} MiB");

    let header = "(define-module (evil packages))\n";
    let definitions: String = (0..200_000).map(|_| "(define-syntax x (x y))").collect();
    for text in [format!("{header}{}", "(a ".repeat(4 << 20)), format!("{header}{definitions}")] {
        let (reason, memory, time) =
            evaluate(&repository(&[(FILE, "evil/packages.scm", text.as_bytes())])).await;
        assert!(memory < CEILING, "{memory} MiB: {reason}");
        assert!(time < Duration::from_mins(3), "{time:?}: {reason}");
    }
}

/// A farm with one spec of Guix itself.
async fn farm_of_guix() -> (Farm, Tree) {
    let (farm, guix) = (Farm::new(None), Tree::guix().await);
    let channel = guix.as_channel("guix");
    farm.spec("guix", &format!("build = \"hello\"\n{channel}"));
    (farm, guix)
}

#[tokio::test]
async fn preparing_counts_as_evaluating() {
    let (farm, _guix) = farm_of_guix().await;
    farm.configure("evaluation-time = \"1s\"");
    let said = farm.say(&["run", "--once"]).await;
    let newest = farm.newest().await;
    assert_eq!(newest["state"], "failed", "{}", said.talk);
    let reason = newest["reason"].as_str().unwrap();
    assert!(reason.contains("modules of the revision: time limit of 1s reached"), "{reason}");
}

#[tokio::test]
async fn preparing_can_be_stopped() {
    let (farm, _guix) = farm_of_guix().await;
    let mut process = farm.start(&[]);
    farm.until(&mut process, |status| status["evaluations"][0]["state"] == "running").await;
    let id = rustix::process::Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    tokio::time::timeout(Duration::from_secs(12), process.ended()).await.unwrap().unwrap();
}
