//! What is evaluated is what Guix itself computes, and what is kept of it comes back unchanged.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use gorget::db::{Db, ItemKind};
use gorget::sandbox::Tool;
use gorget::store::derivation::Derivation;
use gorget::store::nar;
use gorget::store::path::StorePath;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::guix::{MODULES, Tree, entry, guix_root, manifest};
use crate::support::program::{Farm, text};

const SYSTEMS: [&str; 2] = ["x86_64-linux", "i686-linux"];

/// Jobs and derivations of `subset` as `(gnu ci)` computes them, with a real daemon.
async fn oracle(subset: &str, system: &str, manifests: &Path) -> BTreeSet<(String, String)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracle");
    let run = Tool::new(script).arg(guix_root()).args([subset, system]).arg(manifests);
    let finished = run.spawn().unwrap().finish(Duration::from_mins(10)).await.unwrap();
    assert!(finished.success(), "{}", finished.reason());
    let answer = String::from_utf8(finished.stdout).unwrap();
    answer
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

/// What `gorget evaluate --json` says: jobs and derivations by system.
async fn evaluate(farm: &Farm, file: &Path) -> [BTreeSet<(String, String)>; 2] {
    let said = farm.say(&["evaluate", "--json", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let mut lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &true.into()));
    assert_eq!(summary["jobs"], lines.len());
    let of = |system: &str| {
        let jobs = lines.iter().filter(|line| line["type"] == "job" && line["system"] == system);
        jobs.map(|job| (text(&job["name"]), text(&job["derivation"]))).collect()
    };
    SYSTEMS.map(of)
}

#[tokio::test]
async fn packages_have_the_derivations_that_guix_computes() {
    let guix = Tree::guix().await;
    let farm = Farm::new(None);
    let names =
        ["hello", "guile-json", "clisp", "python-numpy", "emacs-no-x"].map(|name| format!("{name:?}"));
    let file = farm.spec(
        "some",
        &format!(
            "build = {{ packages = [{}] }}\nsystems = {SYSTEMS:?}\n{}",
            names.join(","),
            guix.as_channel("guix")
        ),
    );
    let found = evaluate(&farm, &file).await;
    for (system, found) in SYSTEMS.iter().zip(found) {
        let expected = oracle(&format!("(packages {})", names.join(" ")), system, Path::new("/tmp")).await;
        assert_eq!(expected.len(), names.len());
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn manifests_have_the_derivations_that_guix_computes() {
    let packages =
        "(use-modules (gnu packages))\n(specifications->manifest '(\"sed\" \"glib:bin\" \"git:send-email\"))";
    let directory = tempfile::tempdir().unwrap();
    let own = manifest(&[("one", "--with-one")]);
    let channel = Tree::channel("named.scm", packages);
    channel.write("own.scm", &own);
    std::fs::write(directory.path().join("named.scm"), packages).unwrap();
    std::fs::write(directory.path().join("own.scm"), own).unwrap();
    let farm = Farm::new(None);
    let build = "build = { manifests = [\"named.scm\", \"own.scm\"] }";
    let file = farm.spec("some", &format!("{build}\nsystems = {SYSTEMS:?}\n{}", channel.as_channel("own")));
    let found = evaluate(&farm, &file).await;
    for (system, found) in SYSTEMS.iter().zip(found) {
        let expected = oracle("(manifests \"named.scm\" \"own.scm\")", system, directory.path()).await;
        assert!(expected.len() >= 4, "{expected:?}");
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn evaluate_lists_what_it_finds_and_says_when_something_is_wrong() {
    let raising = entry("two", "(error \"out of luck\")");
    let text_of =
        |raising: &str| format!("{MODULES}(packages->manifest (list {}{raising}))", entry("one", "'()"));
    let channel = Tree::channel("manifest.scm", &text_of(&raising));
    let farm = Farm::new(None);
    let build = format!("build = {{ manifests = [\"manifest.scm\"] }}\nsystems = {SYSTEMS:?}");
    let file = farm.spec("own", &format!("{build}\n{}", channel.as_channel("own")));
    let file = file.to_str().unwrap();
    let said = farm.say(&["evaluate", "--json", file]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    let lines: Vec<Value> = said.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| (text(&line["type"]), line["system"].as_str())).collect();
    for system in SYSTEMS {
        for kind in ["job", "error"] {
            assert!(kinds.contains(&(kind.to_owned(), Some(system))), "{kinds:?}");
        }
    }
    assert_eq!(lines.len(), 5);
    let job = lines.iter().find(|line| line["type"] == "job").unwrap();
    assert!(text(&job["outputs"]["out"]).ends_with("-one-1"), "{job}");
    let error = lines.iter().find(|line| line["type"] == "error").unwrap();
    assert_eq!((&error["name"], &error["cause"]), (&"two-1".into(), &"exception".into()));
    assert!(text(&error["message"]).contains("out of luck"), "{error}");
    let summary = &lines[4];
    assert_eq!((&summary["type"], &summary["complete"]), (&"summary".into(), &false.into()));
    assert_eq!((&summary["jobs"], &summary["errors"]), (&2.into(), &2.into()));

    let broken = channel.tip();
    channel.write("manifest.scm", &text_of(""));
    let said = farm.say(&["evaluate", "--json", "--system=i686-linux", file]).await;
    assert_eq!((said.code, said.data.lines().count()), (Some(0), 2), "{}", said.talk);
    let said = farm.say(&["evaluate", "--json", "--commit", &broken, file]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    let said = farm.say(&["evaluate", "--commit", "1234567890123456789012345678901234567890", file]).await;
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.talk.contains("has no commit"), "{}", said.talk);
}

#[tokio::test]
async fn whatever_a_derivation_needs_comes_back_byte_by_byte() {
    let channel = Tree::channel("README", "nothing\n");
    let farm = Farm::new(None);
    farm.spec("hello", &format!("build = \"hello\"\n{}", channel.as_channel("own")));
    farm.run_once().await;
    let queue = farm.queue().await;
    let hello = StorePath::parse(text(&queue[0]["derivation"]).as_bytes()).unwrap();
    let db = farm.db().await;
    let mut waiting = vec![hello];
    let mut seen: BTreeSet<StorePath> = waiting.iter().cloned().collect();
    let mut derivations = 0;
    while let Some(path) = waiting.pop() {
        let below = check_item(&db, &path).await;
        derivations += usize::from(path.derivation_name().is_some());
        waiting.extend(below.into_iter().filter(|path| seen.insert(path.clone())));
    }
    assert!(derivations > 100, "the whole way down to the seeds: {derivations}");
}

/// Makes sure that the contents of a store item hash to its path; gives what it refers to.
async fn check_item(db: &Db, path: &StorePath) -> Vec<StorePath> {
    let item = db.item(&path.hash_text()).await.unwrap().unwrap_or_else(|| panic!("{path} is not kept"));
    assert_eq!(item.name, path.name());
    let parse = |reference: &String| StorePath::parse_base_name(reference.as_bytes()).unwrap();
    let mut references: Vec<StorePath> = item.refs.iter().map(parse).collect();
    if path.derivation_name().is_some() {
        let derivation = Derivation::parse(&item.contents).unwrap();
        assert_eq!(derivation.print(), item.contents);
        let inputs = derivation.inputs.iter().map(|(path, _)| path).chain(&derivation.sources);
        references = inputs.map(|path| StorePath::parse(path).unwrap()).collect();
    }
    references.sort_by_key(StorePath::base_name);
    match item.kind {
        ItemKind::Text => {
            let references: Vec<String> = references.iter().map(StorePath::to_string).collect();
            let hashed = StorePath::of_text(path.name().as_bytes(), &item.contents, &references).unwrap();
            assert_eq!(&hashed, path);
        }
        ItemKind::Nar => {
            // A single file may have been named by its own contents instead of its archive's.
            let name = path.name().as_bytes();
            let of = |bytes: &[u8], recursive| {
                StorePath::of_fixed(name, "sha256", &Sha256::digest(bytes), recursive).unwrap()
            };
            let flat = nar::single_file(&item.contents).map(|file| of(file, false));
            assert!(of(&item.contents, true) == *path || flat.as_ref() == Some(path), "{path}");
        }
    }
    references
}
