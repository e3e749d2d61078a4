//! Contributors ask what their change rebuilds, before they send it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gorget::db::Db;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::program::{Farm, Said, share_compiled_worker};
use crate::support::unlimited;

const PATIENCE: Duration = Duration::from_mins(10);

/// A person with a checkout, and no farm.
struct Contributor {
    /// Says where Guix is, and nothing else of it is used.
    farm: Farm,
    directory: TempDir,
}

impl Contributor {
    /// One whose checkout of a channel has these files, committed to `master`.
    async fn new(files: &[(&str, &str)]) -> Self {
        let mut farm = Farm::new(None);
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        share_compiled_worker(&cache.join("gorget/impact"));
        farm.set("XDG_CACHE_HOME", cache.to_str().unwrap());
        let contributor = Self { farm, directory };
        std::fs::create_dir(contributor.checkout()).unwrap();
        contributor.git(&["init", "--quiet", "--initial-branch=master"]).await;
        for (file, text) in files {
            contributor.write(file, text);
        }
        if !files.is_empty() {
            contributor.commit().await;
        }
        contributor
    }

    fn checkout(&self) -> PathBuf {
        self.directory.path().join("own")
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.checkout().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.checkout().join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        self.write(file, &text.replacen(from, to, 1));
    }

    async fn git(&self, words: &[&str]) -> String {
        let git = ["AUTHOR", "COMMITTER"].iter().fold(unlimited("git"), |git, who| {
            let git =
                git.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.org");
            git.env(format!("GIT_{who}_DATE"), "1700000000 +0000")
        });
        let git = git.env("GIT_CONFIG_GLOBAL", "/dev/null").directory(self.checkout());
        let finished = git.args(words.iter().copied()).spawn().unwrap().finish(PATIENCE).await.unwrap();
        assert!(finished.success(), "git {words:?}: {}", finished.reason());
        String::from_utf8(finished.stdout).unwrap().trim().to_owned()
    }

    async fn commit(&self) {
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "--message", "Change something"]).await;
    }

    /// Runs `gorget impact` on the checkout.
    async fn impact(&self, words: &[&str]) -> Said {
        let checkout = self.checkout();
        self.farm.say(&[&["impact", checkout.to_str().unwrap()], words].concat()).await
    }

    /// What it says of its only system.
    async fn system(&self, words: &[&str], code: i32) -> Value {
        let said = self.impact(&[&["--json"], words].concat()).await;
        assert_eq!(said.code, Some(code), "{}{}", said.talk, said.data);
        let mut impact: Value = serde_json::from_str(&said.data).unwrap();
        impact["systems"][0].take()
    }

    async fn db(&self) -> Db {
        let path = self.directory.path().join("cache/gorget/impact/impact.db");
        Db::open(path.to_str().unwrap()).await.unwrap()
    }
}

/// A module of the channel, with these packages.
fn module(name: &str, uses: &str, packages: &str) -> String {
    format!(
        "(define-module ({name}) #:use-module (guix packages) #:use-module (guix gexp)
  #:use-module (guix build-system trivial){uses})\n{packages}"
    )
}

/// A package that needs these.
fn package(name: &str, version: &str, inputs: &str) -> String {
    format!(
        "(define-public {name} (package (name {name:?}) (version {version:?}) (source #f)
  (build-system trivial-build-system) (arguments (list #:builder #~(mkdir #$output))) (inputs (list {inputs}))
  (home-page \"\") (synopsis \"\") (description \"\") (license #f)))\n"
    )
}

/// `base` is needed by `middle`, that by `top`; `left` is needed by `user`; nobody needs `other`.
fn channel() -> Vec<(&'static str, String)> {
    let first =
        [package("base", "1", ""), package("middle", "1", "base"), package("other", "1", "")].concat();
    let second =
        [package("top", "1", "middle"), package("left", "1", ""), package("user", "1", "left")].concat();
    vec![
        ("first.scm", module("first", "", &first)),
        ("second.scm", module("second", " #:use-module (first)", &second)),
        (".gitignore", "*.go\n".to_owned()),
    ]
}

async fn with_channel() -> Contributor {
    let files = channel();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (*file, text.as_str())).collect();
    Contributor::new(&files).await
}

/// Every file below a directory, with its contents.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let names = list.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap());
    names.map(|name| name.trim_end_matches(".x86_64-linux").to_owned()).collect()
}

#[tokio::test]
async fn what_is_not_committed_counts_and_the_checkout_stays_as_it_is() {
    let contributor = with_channel().await;
    let said = contributor.impact(&[]).await;
    assert_eq!((said.code, said.data.as_str()), (Some(0), "0 rebuilds\n"), "{}", said.talk);

    contributor.edit("first.scm", "(version \"1\")", "(version \"2\")");
    contributor.edit("second.scm", "(define-public left", "(define left");
    contributor.write("new.scm", &module("new", "", &package("fresh", "1", "")));
    // Git ignores it, and so does Gorget.
    contributor.write("ignored.go", "nothing");
    let before = contents(&contributor.checkout());
    let system = contributor.system(&[], 0).await;
    assert_eq!(contents(&contributor.checkout()), before, "nothing was written");
    assert_eq!(names(&system["rebuilt"], "job"), ["base", "fresh", "middle", "top"]);
    assert_eq!(system["rebuilds"], json!({ "count": 4, "range": "1-300" }));
    assert_eq!(names(&system["causes"], "job"), ["base", "fresh"]);
    assert_eq!(system["causes"][0]["rebuilds"], 3);
    assert_eq!(names(&system["added"], "job"), ["fresh"]);
    assert_eq!(system["updated"][0], json!({ "after": "2", "before": "1", "job": "base.x86_64-linux" }));
    let left = json!({ "job": "left.x86_64-linux", "needed_by": 1, "version": "1" });
    assert_eq!(system["removed"], json!([left]));
    assert_eq!(system["new_errors"], json!([]));

    // It knows both revisions again.
    let text = contributor.impact(&[]).await;
    let comment = contributor.impact(&["--comment"]).await;
    let db = contributor.db().await;
    assert_eq!(db.evaluations(None, None, 10).await.unwrap().len(), 2);
    db.close().await;
    insta::assert_snapshot!("impact", text.data);
    insta::assert_snapshot!("impact_comment", comment.data);
    let why = contributor.impact(&["--why", "top@1"]).await;
    assert_eq!(why.code, Some(0), "{}", why.talk);
    let chain: Vec<&str> = why.data.lines().filter(|line| line.starts_with("  /")).collect();
    let ends = ["-top-1.drv", "-middle-1.drv", "-base-2.drv"];
    assert_eq!(chain.len(), ends.len(), "{}", why.data);
    assert!(chain.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{}", why.data);
    assert!(why.data.contains("first: name\n  - base-1.drv\n  + base-2.drv\n"), "{}", why.data);
    for (package, said) in [("top@2", "there is no package top@2\nhint: "), ("left", "left is removed")] {
        let why = contributor.impact(&["--why", package]).await;
        assert!(why.talk.contains(said) && why.data.is_empty(), "{}", why.talk);
    }
    let same = contributor.impact(&["--why", "other"]).await;
    assert_eq!((same.code, same.data.as_str()), (Some(0), ""));
    assert!(same.talk.contains("other is not rebuilt for x86_64-linux"), "{}", same.talk);
    let unknown = contributor.impact(&["--why", "nothing"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.talk.contains("there is no package nothing\nhint: "), "{}", unknown.talk);
}

#[tokio::test]
async fn the_base_is_what_both_branches_have_in_common() {
    let contributor = with_channel().await;
    contributor.git(&["checkout", "--quiet", "-b", "topic"]).await;
    contributor.edit("second.scm", "(version \"1\")", "(version \"2\")");
    contributor.commit().await;
    // What master did meanwhile is not the topic's.
    contributor.git(&["checkout", "--quiet", "master"]).await;
    contributor.edit("first.scm", "(version \"1\")", "(version \"3\")");
    contributor.commit().await;
    contributor.git(&["checkout", "--quiet", "topic"]).await;
    let top = json!([{ "job": "top.x86_64-linux", "version": "2" }]);
    assert_eq!(contributor.system(&[], 0).await["rebuilt"], top);
    contributor.git(&["checkout", "--quiet", "--detach"]).await;
    assert_eq!(contributor.system(&["--base", "master"], 0).await["rebuilt"], top);
    assert_eq!(contributor.system(&["--base", "master~1"], 0).await["rebuilt"], top);

    // Another working tree of the same repository knows what this one evaluated.
    contributor.git(&["worktree", "add", "--quiet", "../other", "topic"]).await;
    let other = contributor.directory.path().join("other");
    let said = contributor.farm.say(&["impact", "--json", other.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let impact: Value = serde_json::from_str(&said.data).unwrap();
    assert_eq!(impact["systems"][0]["rebuilt"], top);
    let db = contributor.db().await;
    assert_eq!(db.evaluations(None, None, 10).await.unwrap().len(), 2);
    db.close().await;

    // A branch that was pushed is compared with what it began with, not with its own copy.
    contributor.git(&["clone", "--quiet", "--bare", ".", "../mine.git"]).await;
    contributor.git(&["remote", "add", "mine", "../mine.git"]).await;
    contributor.git(&["checkout", "--quiet", "-b", "pushed", "topic"]).await;
    contributor.git(&["push", "--quiet", "--set-upstream", "mine", "pushed"]).await;
    assert_eq!(contributor.system(&[], 0).await["rebuilt"], top);

    // The upstream branch comes before all others.
    contributor.git(&["checkout", "--quiet", "--ignore-other-worktrees", "topic"]).await;
    contributor.git(&["checkout", "--quiet", "-b", "more", "--track", "topic"]).await;
    contributor.edit("second.scm", "(version \"2\")", "(version \"4\")");
    let system = contributor.system(&[], 0).await;
    assert_eq!(system["updated"][0], json!({ "after": "4", "before": "2", "job": "top.x86_64-linux" }));
}

#[tokio::test]
async fn what_is_missing_is_said_with_a_hint() {
    let fails = async |contributor: &Contributor, words: &[&str], said: &str| {
        let answer = contributor.impact(words).await;
        assert_eq!(answer.code, Some(1), "{}", answer.talk);
        assert!(answer.talk.contains(said), "{said}: {}", answer.talk);
        assert_eq!(answer.data, "");
    };
    let empty = Contributor::new(&[]).await;
    fails(&empty, &[], "has no commit yet\nhint: ").await;
    let said = empty.farm.say(&["impact", "/nowhere"]).await;
    assert!(said.talk.contains("/nowhere is not in a Git working tree: "), "{}", said.talk);
    let plain = Contributor::new(&[("README", "no channel")]).await;
    fails(&plain, &[], "is neither Guix nor a channel: it has no .guix-channel and no Guile module\nhint: ")
        .await;

    let contributor = with_channel().await;
    fails(&contributor, &["--base", "nothing"], "\"nothing\" is not a commit\nhint: ").await;
    for word in ["--all", "^HEAD", ""] {
        fails(&contributor, &[&format!("--base={word}")], "is not a commit\nhint: ").await;
    }
    fails(&contributor, &["--system", "vax-linux"], "Guix knows these: x86_64-linux, ").await;
    contributor.git(&["branch", "--move", "only"]).await;
    fails(&contributor, &[], "there is no upstream branch\nhint: say what to compare with, such as --base ")
        .await;
    contributor.git(&["checkout", "--quiet", "--orphan", "unrelated"]).await;
    contributor.write("README", "another history");
    contributor.commit().await;
    fails(&contributor, &["--base", "only"], "HEAD and only have no commit in common\nhint: ").await;
}

#[tokio::test]
async fn what_cannot_be_evaluated_any_more_is_an_error() {
    let contributor = with_channel().await;
    contributor.git(&["checkout", "--quiet", "-b", "topic"]).await;
    contributor.edit("first.scm", "(version \"1\")", "(version (car '()))");
    let system = contributor.system(&[], 1).await;
    assert!(!system["new_errors"].as_array().unwrap().is_empty(), "{system}");

    // A file that others need is gone.
    contributor.git(&["checkout", "--quiet", "first.scm"]).await;
    std::fs::remove_file(contributor.checkout().join("first.scm")).unwrap();
    let said = contributor.impact(&[]).await;
    assert_eq!(said.code, Some(1), "{}{}", said.talk, said.data);
    assert!(said.data.contains("(second)"), "{}", said.data);
    assert!(said.data.contains("in modules that failed to load, or need one"), "{}", said.data);
    assert!(!said.data.contains("  - "), "nothing is known to be removed: {}", said.data);
    // Nothing of that is left when the file is back.
    contributor.git(&["checkout", "--quiet", "first.scm"]).await;
    assert_eq!(contributor.impact(&[]).await.data, "0 rebuilds\n");
}

#[tokio::test]
async fn what_was_broken_before_is_no_error_of_the_change() {
    let contributor = with_channel().await;
    contributor
        .write("bad.scm", &(module("bad", "", &package("bad", "1", "(error \"one\")")) + "(define x (\n"));
    contributor
        .write("worse.scm", &module("worse", "", &package("worse", "1", "(error \"a\" (current-time))")));
    let system = contributor.system(&[], 1).await;
    assert_eq!(names(&system["new_errors"], "name"), ["(bad)", "worse"]);
    // Once that is committed, only what the change does counts, whatever the messages say.
    contributor.commit().await;
    contributor.edit("bad.scm", "(define-public", ";; a comment\n(define-public");
    contributor.edit("worse.scm", "(define-public", ";; a comment\n(define-public");
    contributor.edit("first.scm", "(version \"1\")", "(version \"2\")");
    let system = contributor.system(&[], 0).await;
    assert_eq!((&system["new_errors"], &system["fixed"]), (&json!([]), &json!([])));
    assert_eq!(system["rebuilds"]["count"], 3);
    contributor.edit("worse.scm", "(error \"a\" (current-time))", "");
    assert_eq!(names(&contributor.system(&[], 0).await["fixed"], "job"), ["worse"]);
}

#[tokio::test]
async fn what_was_interrupted_in_one_checkout_keeps_no_other_waiting() {
    let endless =
        Contributor::new(&[("endless.scm", &module("endless", "", "(let loop () (loop))\n"))]).await;
    endless.git(&["checkout", "--quiet", "-b", "topic"]).await;
    endless.write("new.scm", &module("new", "", &package("fresh", "1", "")));
    let checkout = endless.checkout();
    let words = ["impact", checkout.to_str().unwrap()];
    for signal in [Signal::INT, Signal::KILL] {
        let mut process = endless.farm.gorget(&words);
        let _ = tokio::time::timeout(Duration::from_secs(4), process.ended()).await;
        let id = Pid::from_raw(i32::try_from(process.id().unwrap()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
        process.finish(PATIENCE).await.unwrap();
    }
    let other = with_channel().await;
    other.git(&["checkout", "--quiet", "-b", "topic"]).await;
    other.edit("first.scm", "(version \"1\")", "(version \"2\")");
    let said = endless.farm.say(&["impact", "--json", other.checkout().to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let impact: Value = serde_json::from_str(&said.data).unwrap();
    assert_eq!(impact["systems"][0]["rebuilds"]["count"], 3);
}

#[tokio::test]
async fn more_rebuilds_than_the_bound_have_an_exit_code() {
    let many: String = (0..300).map(|number| package(&format!("p{number}"), "1", "base")).collect();
    let text = module("many", "", &(package("base", "1", "") + &many));
    let contributor = Contributor::new(&[("many.scm", &text)]).await;
    contributor.git(&["checkout", "--quiet", "-b", "topic"]).await;
    contributor.edit("many.scm", "(version \"1\")", "(version \"2\")");
    let system = contributor.system(&[], 3).await;
    assert_eq!(system["rebuilds"], json!({ "count": 301, "range": "301-1800" }));
    assert_eq!(system["causes"], json!([{ "job": "base.x86_64-linux", "rebuilds": 301, "version": "2" }]));
    let comment = contributor.impact(&["--comment"]).await;
    assert!(comment.data.starts_with("**301 rebuilds** compared with `"), "{}", comment.data);
}

#[tokio::test]
async fn interrupted_and_two_at_once_it_says_the_same() {
    let contributor = with_channel().await;
    contributor.git(&["checkout", "--quiet", "-b", "topic"]).await;
    contributor.edit("first.scm", "(version \"1\")", "(version \"2\")");
    let checkout = contributor.checkout();
    let words = ["impact", "--json", checkout.to_str().unwrap()];
    for milliseconds in [20, 150, 400, 800, 1500, 2500, 4000, 6000] {
        let mut process = contributor.farm.gorget(&words);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        if let Some(id) = process.id() {
            let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
            let _ = kill_process(id, Signal::INT);
        }
        process.finish(PATIENCE).await.unwrap();
    }
    let [mut one, mut other] = [contributor.farm.gorget(&words), contributor.farm.gorget(&words)];
    let (one, other) = tokio::join!(one.finish(PATIENCE), other.finish(PATIENCE));
    let answers = [one.unwrap(), other.unwrap()].map(|finished| {
        assert!(finished.success(), "{}", finished.reason());
        String::from_utf8(finished.stdout).unwrap()
    });
    assert_eq!(answers[0], answers[1]);
    let impact: Value = serde_json::from_str(&answers[0]).unwrap();
    assert_eq!(names(&impact["systems"][0]["causes"], "job"), ["base"]);
    assert_eq!(impact["systems"][0]["rebuilds"]["count"], 3);
}

#[tokio::test]
async fn a_full_disk_is_said_and_costs_nothing() {
    let mut contributor = with_channel().await;
    contributor.git(&["checkout", "--quiet", "-b", "topic"]).await;
    contributor.edit("first.scm", "(version \"1\")", "(version \"2\")");
    let cache = contributor.directory.path().join("cache");
    let disk = crate::support::disk::SmallDisk::at(&cache, 64);
    contributor.farm.begin_with(disk.enter());
    disk.fill();
    let said = contributor.impact(&[]).await;
    assert_ne!(said.code, Some(0));
    assert!(said.talk.contains("No space left on device") || said.talk.contains("full"), "{}", said.talk);
    assert_eq!(said.data, "");
    disk.free();
    assert_eq!(contributor.system(&[], 0).await["rebuilds"]["count"], 3);
}

#[tokio::test]
async fn a_channel_is_evaluated_with_the_channels_that_it_needs() {
    let library =
        Contributor::new(&[("library.scm", &module("library", "", &package("lib", "1", "")))]).await;
    let needs = format!(
        "(channel (version 0) (dependencies (channel (name library) (url {:?}))))\n",
        library.checkout().join(".git").to_str().unwrap()
    );
    let own = module("own", " #:use-module (library)", &package("own", "1", "lib"));
    let contributor = Contributor::new(&[(".guix-channel", &needs), ("own.scm", &own)]).await;
    contributor.git(&["checkout", "--quiet", "-b", "topic"]).await;
    contributor.edit("own.scm", "(version \"1\")", "(version \"2\")");
    let system = contributor.system(&[], 0).await;
    assert_eq!(names(&system["rebuilt"], "job"), ["own"]);
    assert_eq!(system["new_errors"], json!([]));
}
