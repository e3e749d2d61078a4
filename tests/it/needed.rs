//! Channels that other channels need: the rules for what authenticates them, and which demand wins.

use std::path::Path;
use std::time::Duration;

use git2::{Oid, Repository, RepositoryInitOptions};
use gorget::channel::{Authenticator, Limits, Mirrors, Obstacle, Resolver, Tips};
use gorget::revision::{ChannelCommit, Revision};
use gorget::spec::parse;
use tempfile::TempDir;

use crate::repository::Remote;
use crate::support::guix::{Tree, guix_root, manifest};
use crate::support::program::Farm;

const GUIX: &str = "https://git.savannah.gnu.org/git/guix.git";
const LIMIT: Duration = Duration::from_mins(1);

/// Mirrors that have what is at addresses of other machines, so that nothing asks these.
struct Elsewhere {
    directory: TempDir,
    resolver: Resolver,
    tips: Tips,
}

fn mirrors(directory: &Path) -> Mirrors {
    Mirrors::new(directory, Limits { look: LIMIT, fetch: LIMIT })
}

impl Elsewhere {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authenticator = Authenticator::new(guix_root(), directory.path().join("authentic"));
        let resolver = Resolver { mirrors: mirrors(&directory.path().join("mirrors")), authenticator };
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
        self.resolver.resolve(named.collect(), &self.tips).await
    }
}

fn put(mirrors: &Mirrors, url: &str, remote: &Path, commit: &str) {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false);
    let path = mirrors.path(url);
    let git = Repository::init_opts(&path, &options).unwrap();
    let alternates = git.path().join("objects/info/alternates");
    std::fs::write(alternates, format!("{}\n", remote.join("objects").display())).unwrap();
    let git = Repository::open(&path).unwrap();
    git.reference(&format!("refs/gorget/{commit}"), Oid::from_str(commit).unwrap(), true, "put").unwrap();
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
    assert!(matches!(error, Obstacle::Unintroduced { .. }), "{error}");
    let error = error.to_string();
    for part in ["channel own: it needs the channel guix at https://git.example.org/guix.git", "\nhint: "] {
        assert!(error.contains(part), "{error}");
    }

    // At its own address it has Guix's introduction, which is what vouches for it here.
    elsewhere.put(GUIX, "master", other.path(), &unsigned);
    needs(&mut elsewhere, &format!("(channel (name guix) (url {GUIX:?}))"));
    let written = format!("build = {{ subset = \"hello\" }}\n[[channel]]\nname = \"guix\"\nurl = {GUIX:?}\n");
    let introduction = parse(&written, "a").unwrap().spec.channels[0].introduction.clone().unwrap();
    let memory = elsewhere.directory.path().join("authentic");
    std::fs::create_dir(&memory).unwrap();
    let file = memory.join(format!("{}-{}", introduction.commit, introduction.signer));
    std::fs::write(file, format!("{unsigned} SOMEONE\n")).unwrap();
    let revision = elsewhere.resolve(&[("own", url)]).await.unwrap();
    let [guix, _] = revision.channels() else { panic!("{revision:?}") };
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
    assert!(talk.contains("own is not evaluated: channel own: it needs the channel guix at"), "{talk}");
    assert_eq!(farm.status().await["holds"][0]["kind"], "not authentic");

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
