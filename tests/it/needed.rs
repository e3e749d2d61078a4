//! Channels that other channels need: the rules for what authenticates them, and which demand wins.

use std::path::Path;
use std::time::Duration;

use git2::{Oid, Repository, RepositoryInitOptions};
use gorget::domain::revision::{ChannelCommit, Revision};
use gorget::domain::spec::parse;
use gorget::git::{Authenticator, Limits, Mirrors, Obstacle, Resolver, Tips};
use tempfile::TempDir;

use crate::repository::{Remote, noise};
use crate::support::guix::{Tree, guix_root, manifest};
use crate::support::program::Farm;
use crate::support::repl::repl;

const GUIX: &str = "https://git.savannah.gnu.org/git/guix.git";
const LIMIT: Duration = Duration::from_mins(1);

/// Mirrors that have what is at addresses of other machines, so that nothing asks these.
struct Elsewhere {
    directory: TempDir,
    resolver: Resolver,
    tips: Tips,
}

fn mirrors(directory: &Path) -> Mirrors {
    Mirrors::new(directory, Limits { poll: LIMIT, fetch: LIMIT, ..Limits::default() })
}

impl Elsewhere {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authenticator = Authenticator::new(guix_root(), directory.path().join("authentic"));
        let resolver = Resolver::new(mirrors(&directory.path().join("mirrors")), authenticator);
        Self { directory, resolver, tips: Tips::new() }
    }

    /// Has `commit` of `remote` stand on `branch` of `url`.
    fn put(&mut self, url: &str, branch: &str, remote: &Path, commit: &str) {
        put(&self.resolver.mirrors, url, remote, commit);
        self.tips.insert((url.to_owned(), branch.to_owned()), commit.to_owned());
    }

    async fn resolve(&self, named: &[(&str, &str)]) -> Result<Revision, Obstacle> {
        let named = named.iter().map(|(name, url)| {
            let commit = &self.tips[&((*url).to_owned(), "master".to_owned())];
            let mut channel = ChannelCommit::new(*name, *url, commit);
            "master".clone_into(&mut channel.origin.branch);
            channel
        });
        let named: Vec<_> = named.collect();
        let mut search = self.resolver.search(&named);
        self.resolver.resolve(named, &self.tips, &mut search).await
    }
}

/// Whether a spec names the repository or only another channel does, this is what is there.
fn put(mirrors: &Mirrors, url: &str, remote: &Path, commit: &str) {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false);
    for path in [mirrors.path(url), mirrors.for_brought_channels().path(url)] {
        let git = Repository::init_opts(&path, &options).unwrap();
        let alternates = git.path().join("objects/info/alternates");
        std::fs::write(alternates, format!("{}\n", remote.join("objects").display())).unwrap();
        let git = Repository::open(&path).unwrap();
        git.reference(&format!("refs/gorget/{commit}"), Oid::from_str(commit).unwrap(), true, "put").unwrap();
    }
}

/// A channel that needs others.
fn needing(dependencies: &str) -> String {
    format!("(channel (version 0) (dependencies {dependencies}))")
}

#[tokio::test]
async fn a_needed_channel_is_authenticated_by_the_rules_for_a_named_one() {
    let mut elsewhere = Elsewhere::new();
    let (own, other) = (Remote::new(), Remote::new());
    let unsigned = other.push("master", "file", "unsigned");
    let url = "https://git.example.org/own.git";
    let needs = |elsewhere: &mut Elsewhere, dependency: &str| {
        let commit = own.push("master", ".guix-channel", needing(dependency));
        elsewhere.put(url, "master", own.path(), &commit);
    };

    let elsewhere_guix = "(channel (name guix) (url \"https://git.example.org/guix.git\"))";
    needs(&mut elsewhere, elsewhere_guix);
    let error = elsewhere.resolve(&[("own", url)]).await.unwrap_err();
    assert!(matches!(error, Obstacle::MissingIntroduction { .. }), "{error}");
    let error = error.to_string();
    for part in ["channel own: it needs the channel guix at https://git.example.org/guix.git", "\nhint: "] {
        assert!(error.contains(part), "{error}");
    }

    // At its own address it has Guix's introduction, which is what vouches for it here.
    elsewhere.put(GUIX, "master", other.path(), &unsigned);
    needs(&mut elsewhere, &format!("(channel (name guix) (url {GUIX:?}))"));
    let written = format!("build = \"hello\"\n[[channel]]\nname = \"guix\"\nurl = {GUIX:?}\n");
    let introduction = parse(&written, "a").unwrap().spec.channels[0].introduction.clone().unwrap();
    let memory = elsewhere.directory.path().join("authentic");
    std::fs::create_dir(&memory).unwrap();
    let file = memory.join(format!("{}-{}", introduction.commit, introduction.signer));
    std::fs::write(file, format!("{unsigned} SOMEONE\n")).unwrap();
    let revision = elsewhere.resolve(&[("own", url)]).await.unwrap();
    let [_, guix] = revision.channels() else { panic!("{revision:?}") };
    assert_eq!(guix.origin.introduction, Some(introduction));
    assert_eq!(guix.origin.signer.as_deref(), Some("SOMEONE"));
    assert_eq!(revision.warnings().count(), 0);

    let third = "https://git.example.org/third.git";
    elsewhere.put(third, "master", other.path(), &unsigned);
    needs(&mut elsewhere, &format!("(channel (name third) (url {third:?}))"));
    let revision = elsewhere.resolve(&[("own", url)]).await.unwrap();
    let warnings: Vec<_> = revision.warnings().collect();
    let [warning] = warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("channel third: its commits are not authenticated, since channel own"));
}

#[tokio::test]
async fn an_admin_sees_what_is_wrong_with_needed_channels() {
    let own = Tree::channel("manifest.scm", &manifest(&[("one", "")]));
    let other = Remote::new();
    let commit = other.push("master", "file", "x");
    let farm = Farm::new(None);
    farm.spec("own", &format!("build = {{ manifests = [\"manifest.scm\"] }}\n{}", own.as_channel("own")));
    own.write(".guix-channel", &needing("(channel (name guix) (url \"https://git.example.org/guix.git\"))"));
    let talk = farm.run_once_in_trouble().await;
    assert!(talk.contains("channel own: it needs the channel guix at"), "{talk}");
    assert_eq!(farm.status().await["blocked_specs"][0]["kind"], "not authentic");

    let url = "https://git.example.org/third.git";
    put(&mirrors(&farm.state().join("mirrors")), url, other.path(), &commit);
    own.write(
        ".guix-channel",
        &needing(&format!("(channel (name third) (url {url:?}) (commit {commit:?}))")),
    );
    let said = farm.say(&["run", "--once"]).await;
    let warning = "channel third: its commits are not authenticated";
    assert!(said.code == Some(0) && said.talk.contains(warning), "{}", said.talk);
    let shown = farm.say(&["status"]).await.data;
    assert!(shown.contains(&format!("warning for own: {warning}")), "{shown}");
    let origin = &farm.newest().await["revision"]["channels"][1]["origin"];
    assert!(origin["warnings"][0].as_str().unwrap().starts_with(warning), "{origin}");
}

/// Has `latest-channel-instances` find the channels; what it adds to the store stays where it is.
const INSTANCES: &str = r#"
(use-modules (guix channels) (guix git) (guix store) (ice-9 match))
(define add (module-variable (resolve-module '(guix store)) 'add-to-store))
(variable-set! add (lambda* (store name recursive? algorithm path #:key select?) path))
(%repository-cache-directory "/tmp/cache")
(define (parse name url commit)
  (channel (name (string->symbol name)) (url url) (commit (if (string=? commit "-") #f commit))))
(define channels
  (let loop ((words (cdr (command-line))))
    (match words
      (() '())
      ((name url commit rest ...) (cons (parse name url commit) (loop rest))))))
(for-each (lambda (instance)
            (format #t "~a ~a~%" (channel-name (channel-instance-channel instance))
                    (channel-instance-commit instance)))
          (latest-channel-instances #f channels))
"#;

/// What a spec names: a channel, where it is, and a commit.
type Named<'a> = (&'a str, &'a Remote, Option<&'a str>);

/// The commits of channels, by Guix.
async fn by_guix(named: &[Named<'_>], all: &[&Remote]) -> Vec<String> {
    let urls: Vec<String> = named.iter().map(|(_, remote, _)| remote.url()).collect();
    let mut words = Vec::new();
    for ((name, _, commit), url) in named.iter().zip(&urls) {
        words.extend([*name, url, commit.unwrap_or("-")]);
    }
    let paths: Vec<&Path> = all.iter().map(|remote| remote.path()).collect();
    let mut lines: Vec<String> = repl(INSTANCES, &words, &paths).await.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The commits of channels, by Gorget, and its warnings.
async fn by_gorget(named: &[Named<'_>]) -> (Vec<String>, Vec<String>) {
    let elsewhere = Elsewhere::new();
    let named = named.iter().map(|(name, remote, commit)| {
        let tip = remote.git.refname_to_id("refs/heads/master").unwrap().to_string();
        let mut channel = ChannelCommit::new(*name, remote.url(), commit.unwrap_or(&tip));
        "master".clone_into(&mut channel.origin.branch);
        channel.origin.pinned = commit.is_some();
        channel
    });
    let named: Vec<_> = named.collect();
    let mut search = elsewhere.resolver.search(&named);
    let revision = elsewhere.resolver.resolve(named, &Tips::new(), &mut search).await.unwrap();
    let line = |channel: &ChannelCommit| format!("{} {}", channel.name, channel.commit);
    let mut lines: Vec<String> = revision.channels().iter().map(line).collect();
    lines.sort();
    (lines, revision.warnings().map(str::to_owned).collect())
}

#[expect(clippy::many_single_char_names, reason = "channels that are called so")]
#[tokio::test]
async fn of_conflicting_demands_the_one_is_met_that_guix_meets_and_the_others_are_told() {
    let [a, b, c, d, e] = [(); 5].map(|()| Remote::new());
    let all = [&a, &b, &c, &d, &e];
    let needs = |remote: &Remote, text: &str| remote.push("master", ".guix-channel", needing(text));
    d.push("master", "file", "d");
    let elsewhere = e.push("master", "file", "another c");
    let old = c.push("master", "file", "old");
    c.set("dev", Some(&old));
    let tip = needs(&c, &format!("(channel (name d) (url {:?}))", d.url()));
    let at = |remote: &Remote, more: &str| format!("(channel (name c) (url {:?}) {more})", remote.url());
    let pinned = |commit: &str| format!("(commit {commit:?})");
    // What a and b need; how many demands are not met when the spec names both.
    let table = [
        (at(&c, ""), at(&c, ""), 0),
        (at(&c, ""), at(&c, &pinned(&old)), 1),
        (at(&c, &pinned(&old)), at(&c, ""), 1),
        (at(&c, &pinned(&old)), at(&c, &pinned(&tip)), 1),
        (at(&c, &pinned(&old)), at(&c, &pinned(&old)), 0),
        (at(&c, "(branch \"dev\")"), at(&c, ""), 1),
        (at(&c, ""), at(&e, ""), 1),
        (at(&c, ""), at(&e, &pinned(&elsewhere)), 1),
    ];
    for (by_a, by_b, conflicts) in table {
        needs(&a, &by_a);
        needs(&b, &by_b);
        for named in [[("a", &a, None), ("b", &b, None)], [("b", &b, None), ("a", &a, None)]] {
            let (found, warnings) = by_gorget(&named).await;
            assert_eq!(found, by_guix(&named, &all).await, "{by_a} {by_b}");
            assert_eq!(warnings.len(), conflicts, "{by_a} {by_b}: {warnings:?}");
        }
    }
    // What the spec names comes first of all, also where it follows a branch: there Guix differs.
    needs(&a, &at(&c, &pinned(&old)));
    for commit in [None, Some(&tip[..])] {
        let named = [("a", &a, None), ("c", &c, commit)];
        let (found, warnings) = by_gorget(&named).await;
        assert!(found.contains(&format!("c {tip}")), "{found:?}");
        assert_eq!(found == by_guix(&named, &all).await, commit.is_some());
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        let told = format!("which the spec names, is used, but channel a needs commit {old} of {}", c.url());
        assert!(warning.contains(&told), "{warning}");
    }
}

#[tokio::test]
async fn what_channels_bring_is_bounded_each_and_together() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { poll: LIMIT, fetch: LIMIT, size: 8 << 20, ..Limits::default() };
    let mirrors = Mirrors::new(directory.path().join("mirrors"), limits);
    let authenticator = Authenticator::new(guix_root(), directory.path().join("authentic"));
    let (resolver, own) = (Resolver::new(mirrors, authenticator), Remote::new());
    let resolve = async |remotes: &[&Remote]| {
        let needs = remotes.iter().enumerate();
        let needs: Vec<String> = needs
            .map(|(number, remote)| format!("(channel (name n{number}) (url {:?}))", remote.url()))
            .collect();
        let commit = own.push("master", ".guix-channel", needing(&needs.concat()));
        let mut channel = ChannelCommit::new("own", own.url(), commit);
        "master".clone_into(&mut channel.origin.branch);
        let mut search = resolver.search(std::slice::from_ref(&channel));
        resolver.resolve(vec![channel], &Tips::new(), &mut search).await
    };
    let remote = |size| {
        let remote = Remote::new();
        remote.push("master", "a", noise(size));
        remote
    };
    let (large, small) = (remote(3_000_000), [(); 5].map(|()| remote(1_800_000)));
    let small = small.each_ref();
    assert_eq!(resolve(&small[..4]).await.unwrap().channels().len(), 5);
    let error = resolve(&small).await.unwrap_err().to_string();
    assert!(error.contains("n4 (needed by own): with it, what the spec does not name takes more than 8 MiB"));
    let error = resolve(&[&large]).await.unwrap_err().to_string();
    assert!(error.contains("sends more than 2 MiB") && error.contains("gets a quarter"), "{error}");
}
