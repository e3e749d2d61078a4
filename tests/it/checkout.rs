//! Checkouts: what ends up on the disk, and what never may.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use git2::Oid;
use gorget::git::{CheckoutError, Checkouts, Refusal};
use tempfile::TempDir;

use crate::repository::Remote;

const FILE: &str = "100644";
const PROGRAM: &str = "100755";
const LINK: &str = "120000";
const DIRECTORY: &str = "40000";
const SUBMODULE: &str = "160000";

fn checkouts() -> (TempDir, Checkouts) {
    let directory = tempfile::tempdir().unwrap();
    let checkouts = Checkouts::new(directory.path().join("checkouts"));
    (directory, checkouts)
}

/// Everything below a directory, without following links.
fn below(directory: &Path) -> BTreeMap<PathBuf, std::fs::Metadata> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                waiting.push(path.clone());
            }
            found.insert(path.strip_prefix(directory).unwrap().to_owned(), metadata);
        }
    }
    found
}

fn refusal(error: CheckoutError) -> (PathBuf, Refusal) {
    match error {
        CheckoutError::Refused { path, refusal, .. } => (path, refusal),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_tree_becomes_read_only_files_and_the_next_one_shares_them() {
    let (remote, (_directory, checkouts)) = (Remote::new(), checkouts());
    let (one, two, target) = (remote.blob("one"), remote.blob("two"), remote.blob("../nowhere"));
    let inner = remote.tree(&[(FILE, b"same", one), (FILE, b"two", two)]);
    let module = Oid::from_str("1234567890123456789012345678901234567890").unwrap();
    let entries: [(&str, &[u8], Oid); 5] = [
        (DIRECTORY, b"inner", inner),
        (LINK, b"link", target),
        (SUBMODULE, b"module", module),
        (FILE, b"one", one),
        (PROGRAM, b"program", one),
    ];
    let first = remote.commit_tree(remote.tree(&entries), None);
    let tree = checkouts.checkout(remote.path(), &first).await.unwrap();

    let files = below(&tree);
    let mode = |path: &str| files[Path::new(path)].mode() & 0o777;
    let names: Vec<_> = files.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["inner", "inner/same", "inner/two", "link", "module", "one", "program"]);
    assert_eq!((mode("one"), mode("inner/two"), mode("program")), (0o444, 0o444, 0o555));
    assert!(files.values().filter(|metadata| metadata.is_file()).all(|metadata| metadata.mtime() == 1));
    assert_eq!(files[Path::new("one")].ino(), files[Path::new("inner/same")].ino());
    assert_eq!(std::fs::read_link(tree.join("link")).unwrap(), Path::new("../nowhere"));
    assert_eq!(std::fs::read(tree.join("program")).unwrap(), b"one");

    let later = remote.tree(&[(DIRECTORY, b"inner", inner), (FILE, b"one", remote.blob("changed"))]);
    let second = remote.commit_tree(later, Some(&first));
    let next = checkouts.checkout(remote.path(), &second).await.unwrap();
    assert_eq!(below(&next)[Path::new("inner/two")].ino(), files[Path::new("inner/two")].ino());
    assert_eq!(std::fs::read(next.join("one")).unwrap(), b"changed");
    assert_eq!(std::fs::read(tree.join("one")).unwrap(), b"one");
}

#[tokio::test]
async fn hostile_trees_are_refused_before_anything_is_written() {
    let (remote, (directory, checkouts)) = (Remote::new(), checkouts());
    let file = remote.blob("x");
    let away = remote.blob(directory.path().to_str().unwrap());
    let evil = remote.tree(&[(FILE, b"evil", file)]);
    let mut deep = evil;
    for _ in 0..70 {
        deep = remote.tree(&[(DIRECTORY, b"d", deep)]);
    }
    let mut long = evil;
    for _ in 0..5 {
        long = remote.tree(&[(DIRECTORY, &[b'n'; 250], long)]);
    }
    let ten: Vec<Vec<u8>> = (0..10_u8).map(|number| vec![b'a' + number]).collect();
    let mut bomb = remote.tree(&[(FILE, b"x", file)]);
    for _ in 0..9 {
        let entries: Vec<_> = ten.iter().map(|name| (DIRECTORY, name.as_slice(), bomb)).collect();
        bomb = remote.tree(&entries);
    }
    let wide_names: Vec<_> = (0..1_000_000).map(|number| format!("{number:07}")).collect();
    let wide: Vec<_> = wide_names.iter().map(|name| (FILE, name.as_bytes(), file)).collect();
    let name = |name: &[u8]| remote.tree(&[(FILE, name, file)]);
    for (tree, path, expected) in [
        (name(b".."), "..", Refusal::Name),
        (name(b"."), ".", Refusal::Name),
        (name(b"../../evil"), "../../evil", Refusal::Name),
        (name(b"/evil"), "/evil", Refusal::Name),
        (name(b".GIT"), ".GIT", Refusal::Name),
        (remote.tree(&[(DIRECTORY, b"..", evil)]), "..", Refusal::Name),
        (remote.tree(&[(DIRECTORY, b".git", evil)]), ".git", Refusal::Name),
        (remote.tree(&[(LINK, b"a", away), (DIRECTORY, b"a", evil)]), "a", Refusal::Twice),
        (remote.tree(&[(FILE, b"a", file), (FILE, b"b", file), (LINK, b"a", away)]), "a", Refusal::Twice),
        (remote.tree(&[(DIRECTORY, b"a", file)]), "a", Refusal::Kind),
        (deep, &["d"; 65].join("/"), Refusal::TooDeep),
        (bomb, "", Refusal::TooMany),
        (remote.tree(&wide), "", Refusal::TooBig),
        (remote.tree(&[(LINK, b"empty", remote.blob(""))]), "empty", Refusal::Link),
        (remote.tree(&[(LINK, b"zero", remote.blob("a\0b"))]), "zero", Refusal::Link),
        (remote.tree(&[(LINK, b"long", remote.blob("a".repeat(5000)))]), "long", Refusal::TooBig),
        (long, &vec!["n".repeat(250); 5].join("/"), Refusal::TooDeep),
        (name(&[b'n'; 256]), &"n".repeat(256), Refusal::LongName),
        (remote.tree(&[(DIRECTORY, &[b'n'; 300], evil)]), &"n".repeat(300), Refusal::LongName),
    ] {
        let commit = remote.commit_tree(tree, None);
        let error = checkouts.checkout(remote.path(), &commit).await.unwrap_err();
        let (found, refusal) = refusal(error);
        assert_eq!(refusal, expected, "{path}");
        assert!(path.is_empty() || found == Path::new(path), "{found:?}");
    }
    for garbage in [name(b""), remote.git.odb().unwrap().write(git2::ObjectType::Tree, b"junk").unwrap()] {
        let commit = remote.commit_tree(garbage, None);
        let error = checkouts.checkout(remote.path(), &commit).await.unwrap_err();
        assert!(matches!(error, CheckoutError::Repository { .. } | CheckoutError::Refused { .. }), "{error}");
    }
    let written: Vec<_> = below(directory.path()).into_keys().collect();
    let harmless =
        ["", "/blobs", "/lock", "/new", "/trees"].map(|name| PathBuf::from(format!("checkouts{name}")));
    assert_eq!(written, harmless);
}

#[tokio::test]
async fn a_commit_with_a_message_without_end_is_not_read() {
    let (remote, (_directory, checkouts)) = (Remote::new(), checkouts());
    let tree = remote.tree(&[(FILE, b"x", remote.blob("x"))]);
    let who = "a <a@example.org> 1 +0000";
    let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{}", "m".repeat(2 << 20));
    let commit = remote.git.odb().unwrap().write(git2::ObjectType::Commit, text.as_bytes()).unwrap();
    let error = checkouts.checkout(remote.path(), &commit.to_string()).await.unwrap_err();
    assert_eq!(refusal(error), (PathBuf::new(), Refusal::TooBig));
    let error = gorget::git::metadata(remote.path(), "u", &commit.to_string()).await.unwrap_err();
    assert!(error.to_string().contains("too big to be read"), "{error}");
}

#[tokio::test]
async fn a_channel_that_only_another_channel_names_may_be_smaller() {
    let (remote, (_directory, checkouts)) = (Remote::new(), checkouts());
    let files = [b"a", b"b", b"c"].map(|name| (FILE, &name[..], remote.blob(name.repeat(200 << 20))));
    let commit = remote.commit_tree(remote.tree(&files), None);
    let error = checkouts.for_brought_channels().checkout(remote.path(), &commit).await.unwrap_err();
    assert_eq!(refusal(error), (PathBuf::from("c"), Refusal::TooBig));
}

#[tokio::test]
async fn only_what_is_a_commit_is_checked_out() {
    let (remote, (_directory, checkouts)) = (Remote::new(), checkouts());
    let commit = remote.push("main", "a", "1");
    let blob = remote.blob("1").to_string();
    for wrong in [
        "",
        "main",
        "HEAD",
        "../x",
        &commit[..12],
        &commit.to_uppercase(),
        &commit.replace(&commit[..1], "z"),
    ] {
        let error = checkouts.checkout(remote.path(), wrong).await.unwrap_err();
        assert!(matches!(error, CheckoutError::MissingCommit { .. }), "{wrong}: {error}");
    }
    checkouts.checkout(remote.path(), &blob).await.unwrap_err();
    checkouts.checkout(Path::new("/nowhere"), &commit).await.unwrap_err();
}

#[tokio::test]
async fn file_names_may_hold_any_byte() {
    let (remote, (_directory, checkouts)) = (Remote::new(), checkouts());
    let names: Vec<Vec<u8>> =
        (1..=255).filter(|byte| !b"/.".contains(byte)).map(|byte| vec![byte, b'-', byte]).collect();
    let file = remote.blob("x");
    let mut entries: Vec<_> = names.iter().map(|name| (FILE, name.as_slice(), file)).collect();
    entries.push((FILE, b"...", file));
    entries.push((FILE, &[b'n'; 255], file));
    let commit = remote.commit_tree(remote.tree(&entries), None);
    let tree = checkouts.checkout(remote.path(), &commit).await.unwrap();
    for (_, name, _) in &entries {
        assert_eq!(std::fs::read(tree.join(OsStr::from_bytes(name))).unwrap(), b"x", "{name:?}");
    }
    assert_eq!(below(&tree).len(), entries.len());
}

#[tokio::test]
async fn a_content_with_more_names_than_the_file_system_allows_is_copied() {
    let (remote, (_directory, checkouts)) = (Remote::new(), checkouts());
    let file = remote.blob("x");
    let names: Vec<_> = (0..70_000).map(|number| format!("{number:05}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (FILE, name.as_bytes(), file)).collect();
    let tree = remote.tree(&entries);
    for parent in [None, Some("1234567890123456789012345678901234567890")] {
        let commit = remote.commit_tree(tree, parent);
        let tree = checkouts.checkout(remote.path(), &commit).await.unwrap();
        let files = below(&tree);
        assert_eq!(files.len(), 70_000);
        assert!(files.values().all(|metadata| metadata.len() == 1 && metadata.mtime() == 1));
    }
}

#[tokio::test]
async fn several_at_once_make_one_tree_and_leave_nothing_behind() {
    let (remote, (directory, checkouts)) = (Remote::new(), checkouts());
    for number in 0..200 {
        remote.push("main", &format!("file-{number}"), format!("{number}"));
    }
    let commit = remote.push("main", "last", "x");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (checkouts, path, commit) = (checkouts.clone(), remote.path().to_owned(), commit.clone());
        tasks.spawn(async move { checkouts.checkout(&path, &commit).await.unwrap() });
    }
    for tree in tasks.join_all().await {
        assert_eq!(below(&tree).len(), 201);
    }
    assert_eq!(below(&directory.path().join("checkouts/new")).len(), 0);
}

#[tokio::test]
async fn what_nobody_keeps_or_uses_is_removed_and_leftovers_of_a_crash_with_it() {
    let (remote, (directory, checkouts)) = (Remote::new(), checkouts());
    assert_eq!(checkouts.remove_unused([].into()).await.unwrap(), 0);
    let old = remote.push("main", "a", "old");
    let new = remote.push("main", "b", "new");
    let old_tree = checkouts.checkout(remote.path(), &old).await.unwrap().to_owned();
    let held = checkouts.checkout(remote.path(), &new).await.unwrap();
    let new_tree = held.to_owned();
    let leftover = directory.path().join("checkouts/new/.tmpXYZ");
    std::fs::create_dir(&leftover).unwrap();
    std::fs::write(leftover.join("half"), "half").unwrap();

    assert_eq!(checkouts.remove_unused([old.clone()].into()).await.unwrap(), 0, "somebody uses the other");
    assert!(new_tree.join("b").exists() && !leftover.exists());
    drop(held);
    assert_eq!(checkouts.remove_unused([old].into()).await.unwrap(), 1);
    assert!(old_tree.join("a").exists() && !new_tree.exists());
    let blobs = below(&directory.path().join("checkouts/blobs"));
    assert_eq!(blobs.values().filter(|metadata| metadata.is_file()).count(), 1);
    let new_tree = checkouts.checkout(remote.path(), &new).await.unwrap();
    assert_eq!(std::fs::read(new_tree.join("b")).unwrap(), b"new");
}
