//! Mirrors: what remotes can do to them, and what crashes can.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use git2::Oid;
use gorget::git::{CheckoutError, Checkouts, Limits, Mirrors, RemoteError, descends, steps};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::repository::{Remote, Server, noise};

const NO_COMMIT: &str = "1234567890123456789012345678901234567890";

fn mirrors() -> (TempDir, Mirrors) {
    with_limit(Duration::from_mins(1))
}

fn with_limit(limit: Duration) -> (TempDir, Mirrors) {
    let directory = tempfile::tempdir().unwrap();
    let mirrors = Mirrors::new(
        directory.path().join("mirrors"),
        Limits { poll: limit, fetch: limit, ..Limits::default() },
    );
    (directory, mirrors)
}

/// How many commits the history of `commit` has in the mirror of `url`.
fn history(mirrors: &Mirrors, url: &str, commit: &str) -> usize {
    let repository = git2::Repository::open_bare(mirrors.path(url)).unwrap();
    let mut walk = repository.revwalk().unwrap();
    walk.push(Oid::from_str(commit).unwrap()).unwrap();
    let trees = walk.map(|id| repository.find_commit(id.unwrap()).unwrap().tree().unwrap());
    trees.collect::<Vec<_>>().len()
}

#[tokio::test]
async fn a_branch_moves_is_rewritten_and_vanishes() {
    let (remote, (_directory, mirrors)) = (Remote::new(), mirrors());
    let url = remote.url();
    assert_eq!(mirrors.tips(&url, &["main"]).await.unwrap().tips["main"], None, "an empty repository");
    let first = remote.push("main", "a", "1");
    remote.push("x/refs/heads/main", "b", "decoy");

    let tips = mirrors.tips(&url, &["main", "gone", "not a name", "ma*"]).await.unwrap().tips;
    assert_eq!(tips["main"].as_deref(), Some(first.as_str()));
    assert_eq!(tips.values().filter(|tip| tip.is_some()).count(), 1);
    assert_eq!(tips.len(), 4);
    mirrors.fetch(&url, "main", &first).await.unwrap();
    let second = remote.push("main", "a", "2");
    mirrors.fetch(&url, "main", &second).await.unwrap();
    assert_eq!(history(&mirrors, &url, &second), 2);

    remote.set("main", None);
    let rewritten = remote.push("main", "a", "3");
    mirrors.fetch(&url, "main", &rewritten).await.unwrap();
    assert_eq!(history(&mirrors, &url, &rewritten), 1);
    assert_eq!(history(&mirrors, &url, &second), 2, "what was fetched stays");

    remote.set("main", None);
    mirrors.fetch(&url, "main", &rewritten).await.unwrap();
    let error = mirrors.fetch(&url, "main", NO_COMMIT).await.unwrap_err();
    assert!(matches!(error, RemoteError::MissingBranch { .. }), "{error}");
    remote.directory.close().unwrap();
    mirrors.fetch(&url, "main", &rewritten).await.unwrap();
}

#[tokio::test]
async fn a_server_that_gives_only_branches_is_asked_for_the_branch() {
    let (remote, (_directory, mirrors)) = (Remote::new(), mirrors());
    let old = remote.push("main", "a", "1");
    remote.push("main", "a", "2");
    let elsewhere = remote.push("other", "a", "3");
    let removed = remote.push("removed", "a", "4");
    remote.set("removed", None);
    let server = Server::new(&remote).await;
    let fetch = async |commit: &str| mirrors.fetch(&server.url, "main", commit).await;

    // A server of today gives any commit that it has.
    fetch(&removed).await.unwrap();
    server.line.is_old.store(1, Relaxed);
    mirrors.discard(&server.url).await.unwrap();
    fetch(&old).await.unwrap();
    assert_eq!(history(&mirrors, &server.url, &old), 1);
    fetch(&elsewhere).await.unwrap();
    for commit in [removed.as_str(), NO_COMMIT, "", "../../x", &old[..12], &old.to_uppercase()] {
        let error = fetch(commit).await.unwrap_err();
        assert!(matches!(error, RemoteError::MissingCommit { .. }), "{commit}: {error}");
    }
}

#[tokio::test]
async fn words_that_git_could_take_for_options_or_commands_are_harmless() {
    let (_directory, mirrors) = mirrors();
    let remote = Remote::new();
    let commit = remote.push("main", "a", "1");
    let trap = tempfile::tempdir().unwrap();
    let touched = trap.path().join("touched");
    let touch = format!("touch {}", touched.display());
    for url in [
        format!("--upload-pack={touch}"),
        format!("ext::sh -c '{touch}'"),
        format!("ssh://-oProxyCommand={}/x", touch.replace(' ', "${IFS}")),
        "-".to_owned(),
        String::new(),
        "http://127.0.0.1:1/\x1b[31m".to_owned(),
    ] {
        for error in [
            mirrors.tips(&url, &["main"]).await.unwrap_err(),
            mirrors.fetch(&url, "main", &commit).await.unwrap_err(),
        ] {
            assert!(matches!(error, RemoteError::Unreachable { .. }), "{url:?}: {error}");
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
    }
    for branch in [&format!("--upload-pack={touch}"), "--all", "-", "$(touch x)", "+x:refs/gorget/y"] {
        assert_eq!(mirrors.tips(&remote.url(), &[branch]).await.unwrap().tips[branch], None);
        let error = mirrors.fetch(&remote.url(), branch, NO_COMMIT).await.unwrap_err();
        assert!(matches!(error, RemoteError::MissingBranch { .. }), "{error}");
    }
    assert!(!touched.exists());
}

#[tokio::test]
async fn a_remote_that_is_dead_or_silent_costs_no_more_than_the_limit() {
    let limit = Duration::from_millis(600);
    let (_directory, mirrors) = with_limit(limit);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("git://{}/repository", listener.local_addr().unwrap());
    for fetches in [false, true] {
        let begun = Instant::now();
        let error = if fetches {
            mirrors.fetch(&url, "main", NO_COMMIT).await.unwrap_err()
        } else {
            mirrors.tips(&url, &["main"]).await.unwrap_err()
        };
        assert!(matches!(error, RemoteError::TimedOut { .. }), "{error}");
        assert!((limit..limit * 10).contains(&begun.elapsed()));
        // git is dead: its end of the line is closed.
        let mut line = listener.accept().await.unwrap().0;
        let closed = tokio::time::timeout(Duration::from_secs(5), line.read_to_end(&mut Vec::new())).await;
        closed.expect("git still runs").unwrap();
    }
    drop(listener);
    let error = mirrors.tips(&url, &["main"]).await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_fetch_that_is_cut_off_or_killed_is_made_good_by_the_next() {
    let (remote, (_directory, mirrors)) = (Remote::new(), mirrors());
    let server = Server::new(&remote).await;
    let line = &server.line;
    for (step, closes) in [(1, 1), (2, 0), (3, 1), (4, 0)] {
        let commit = remote.push("main", &format!("file-{step}"), noise(step * 1_000_000));
        line.carried.store(0, Relaxed);
        line.stops_after.store(300_000, Relaxed);
        line.closes.store(closes, Relaxed);
        let fetch = mirrors.fetch(&server.url, "main", &commit);
        if closes == 1 {
            let error = fetch.await.unwrap_err();
            assert!(
                matches!(error, RemoteError::Unreachable { .. } | RemoteError::Refused { .. }),
                "{error}"
            );
        } else {
            let halfway = async {
                while line.carried.load(Relaxed) < 300_000 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            // What is no longer waited for is killed.
            tokio::select! { _ = fetch => panic!("the line has stopped"), () = halfway => {} }
        }
        line.stops_after.store(0, Relaxed);
        mirrors.fetch(&server.url, "main", &commit).await.unwrap();
        assert_eq!(history(&mirrors, &server.url, &commit), step);
    }
}

fn only_pack(mirror: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(mirror.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let packs: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "pack")).collect();
    packs[0].clone()
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    let (remote, (_directory, mirrors)) = (Remote::new(), mirrors());
    let url = remote.url();
    let first = remote.push("main", "a", noise(100_000));
    let second = remote.push("main", "b", noise(100_000));
    let mirror = mirrors.path(&url);
    let first_name = format!("refs/gorget/{first}");
    let truncate = |path: &Path, size| {
        let content = std::fs::read(path).unwrap();
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, &content[..size]).unwrap();
    };
    let damages: [(&str, &dyn Fn()); 8] = [
        ("pack cut off", &|| truncate(&only_pack(&mirror), 60_000)),
        ("pack emptied", &|| truncate(&only_pack(&mirror), 0)),
        ("index cut off", &|| truncate(&only_pack(&mirror).with_extension("idx"), 50)),
        ("pack lost", &|| std::fs::remove_file(only_pack(&mirror)).unwrap()),
        ("both lost", &|| std::fs::remove_dir_all(mirror.join("objects/pack")).unwrap()),
        ("HEAD emptied", &|| truncate(&mirror.join("HEAD"), 0)),
        ("reference emptied", &|| truncate(&mirror.join(&first_name), 0)),
        ("a lock left behind", &|| {
            std::fs::write(mirror.join(format!("refs/gorget/{second}.lock")), "").unwrap();
        }),
    ];
    for (damage, inflict) in damages {
        for commit in [&first, &second] {
            mirrors.discard(&url).await.unwrap();
            mirrors.fetch(&url, "main", &first).await.unwrap();
            inflict();
            mirrors.fetch(&url, "main", commit).await.unwrap_or_else(|error| panic!("{damage}: {error}"));
            assert_eq!(history(&mirrors, &url, commit), 1 + usize::from(*commit == second), "{damage}");
        }
    }
}

#[tokio::test]
async fn bit_rot_shows_when_files_are_read_and_a_discarded_mirror_is_fetched_again() {
    let (remote, (directory, mirrors)) = (Remote::new(), mirrors());
    let url = remote.url();
    let commit = remote.push("main", "a", noise(100_000));
    mirrors.fetch(&url, "main", &commit).await.unwrap();
    let pack = only_pack(&mirrors.path(&url));
    let mut content = std::fs::read(&pack).unwrap();
    content[70_000] ^= 1;
    std::fs::remove_file(&pack).unwrap();
    std::fs::write(&pack, content).unwrap();

    let checkouts = Checkouts::new(directory.path().join("checkouts"));
    let error = checkouts.checkout(&mirrors.path(&url), &commit).await.unwrap_err();
    assert!(matches!(error, CheckoutError::Repository { .. }), "{error}");
    mirrors.discard(&url).await.unwrap();
    mirrors.fetch(&url, "main", &commit).await.unwrap();
    let tree = checkouts.checkout(&mirrors.path(&url), &commit).await.unwrap();
    assert_eq!(std::fs::read(tree.join("a")).unwrap(), noise(100_000));
}

#[tokio::test]
async fn two_at_once_share_a_mirror() {
    let (remote, (_directory, mirrors)) = (Remote::new(), mirrors());
    let url = remote.url();
    let first = remote.push("main", "a", noise(500_000));
    let second = remote.push("main", "b", noise(500_000));
    let (one, two) = tokio::join!(mirrors.fetch(&url, "main", &first), mirrors.fetch(&url, "main", &second));
    one.and(two).unwrap();
    assert_eq!(history(&mirrors, &url, &second), 2);
}

#[tokio::test]
async fn git_says_how_commits_lie_to_each_other() {
    let remote = Remote::new();
    let first = remote.push("main", "a", "1");
    let second = remote.push("main", "a", "2");
    remote.set("side", Some(&first));
    let aside = remote.push("side", "b", "1");
    let third = remote.push("main", "a", "3");
    let apart = remote.push("apart", "a", "apart");
    let path = remote.path();
    for (commit, ancestor, expected) in [
        (&third, &first, true),
        (&third, &third, true),
        (&first, &third, false),
        (&third, &aside, false),
        (&apart, &first, false),
        (&third, &NO_COMMIT.to_owned(), false),
        (&NO_COMMIT.to_owned(), &NO_COMMIT.to_owned(), false),
    ] {
        assert_eq!(descends(path, commit, ancestor).await.unwrap(), expected, "{commit} {ancestor}");
    }
    let merge = {
        let id = |commit: &str| remote.git.find_commit(Oid::from_str(commit).unwrap()).unwrap();
        let (one, other) = (id(&third), id(&aside));
        let who = one.author().to_owned();
        let tree = one.tree().unwrap();
        remote.git.commit(None, &who, &who, "Merge", &tree, &[&one, &other]).unwrap().to_string()
    };
    assert!(descends(path, &merge, &aside).await.unwrap());
    for (old, new, limit, expected) in [
        (&first, &merge, 9, vec![&second, &third, &merge]),
        (&first, &merge, 2, vec![&third, &merge]),
        (&aside, &merge, 9, vec![&second, &third, &merge]),
        (&third, &third, 9, vec![&third]),
        (&apart, &third, 9, vec![&third]),
        (&NO_COMMIT.to_owned(), &third, 9, vec![&third]),
    ] {
        let found = steps(path, old, new, limit).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{old} {new} {limit}");
    }
}
