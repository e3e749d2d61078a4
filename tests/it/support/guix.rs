//! A real Guix, and Git repositories made of its sources.

use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::build::{CheckoutBuilder, TreeUpdateBuilder};
use git2::{FileMode, Oid, Repository, RepositoryInitOptions, Signature, Time};
use gorget::evaluator::runtime::{Compiling, InstalledGuix};
use gorget::sandbox::Tool;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Making the first repository takes some seconds; this is for a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(5);

/// The root of the system whose Guix the stories are told with.
pub fn guix_root() -> PathBuf {
    if let Some(root) = std::env::var_os("GORGET_TEST_GUIX_ROOT") {
        return root.into();
    }
    debian_root("sid")
}

/// The root of a system with the oldest Guix that Gorget works with.
pub fn old_guix_root() -> PathBuf {
    debian_root("bullseye")
}

/// How modules are compiled; this program is not Gorget, which reads their sources.
pub fn compiling_with_gorget() -> Compiling {
    Compiling { program: env!("CARGO_BIN_EXE_gorget").into(), ..Compiling::default() }
}

fn debian_root(suite: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let root = cache.unwrap_or_default().join(format!("gorget/{suite}-root"));
    assert!(
        root.join("usr/bin/guix").exists(),
        "there is no Guix in {}\nhint: `make test` makes one; so does `scripts/guix-root {suite}`",
        root.display()
    );
    root
}

/// A bare repository with one branch, `master`. Commits are made without touching a file.
pub struct Tree {
    directory: TempDir,
    git: Repository,
}

impl Tree {
    /// Guix itself, with one commit.
    pub async fn guix() -> Self {
        static BASE: OnceCell<(PathBuf, String)> = OnceCell::const_new();
        Self::of(BASE.get_or_init(|| guix_sources(guix_root(), "guix.git")).await)
    }

    /// The oldest Guix that Gorget works with, with one commit.
    pub async fn old_guix() -> Self {
        static BASE: OnceCell<(PathBuf, String)> = OnceCell::const_new();
        Self::of(BASE.get_or_init(|| guix_sources(old_guix_root(), "old-guix.git")).await)
    }

    fn of((base, commit): &(PathBuf, String)) -> Self {
        let tree = Self::empty();
        // Its objects stay where they are.
        let alternates = tree.git.path().join("objects/info/alternates");
        std::fs::write(alternates, format!("{}\n", base.join("objects").display())).unwrap();
        let tree = Self { git: Repository::open(tree.git.path()).unwrap(), directory: tree.directory };
        tree.reset(commit);
        tree
    }

    /// A channel of this one file, with one commit.
    pub fn channel(file: &str, text: &str) -> Self {
        let tree = Self::empty();
        tree.write(file, text);
        tree
    }

    fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("master").external_template(false);
        let git = Repository::init_opts(directory.path().join("repository"), &options).unwrap();
        Self { directory, git }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.git.path().to_str().unwrap().to_owned()
    }

    /// The `[[channel]]` of a spec that watches it.
    pub fn as_channel(&self, name: &str) -> String {
        format!("[[channel]]\nname = \"{name}\"\nurl = \"{}\"\nbranch = \"master\"\n", self.url())
    }

    /// The commit that the branch is at.
    pub fn tip(&self) -> String {
        self.git.refname_to_id("refs/heads/master").unwrap().to_string()
    }

    /// Commits `file` with the first `from` in it replaced.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> String {
        let tree = self.git.find_commit(Oid::from_str(&self.tip()).unwrap()).unwrap().tree().unwrap();
        let id = tree.get_path(Path::new(file)).unwrap().id();
        let text = String::from_utf8(self.git.find_blob(id).unwrap().content().to_vec()).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        self.write(file, &text.replacen(from, to, 1))
    }

    /// Commits `file` with another text.
    pub fn write(&self, file: &str, text: &str) -> String {
        self.put(file, text, FileMode::Blob)
    }

    /// Commits a symbolic link.
    pub fn link(&self, file: &str, target: &str) -> String {
        self.put(file, target, FileMode::Link)
    }

    fn put(&self, file: &str, text: &str, mode: FileMode) -> String {
        let parent = self.git.find_reference("refs/heads/master").ok();
        let parent = parent.map(|tip| tip.peel_to_commit().unwrap());
        let before = match &parent {
            Some(parent) => parent.tree().unwrap(),
            None => self.git.find_tree(self.git.treebuilder(None).unwrap().write().unwrap()).unwrap(),
        };
        let blob = self.git.blob(text.as_bytes()).unwrap();
        let tree = TreeUpdateBuilder::new().upsert(file, blob, mode).create_updated(&self.git, &before);
        let tree = self.git.find_tree(tree.unwrap()).unwrap();
        let who = Signature::new("A", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
        let message = format!("Change {file}");
        let parents: Vec<_> = parent.iter().collect();
        let commit = self.git.commit(Some("refs/heads/master"), &who, &who, &message, &tree, &parents);
        commit.unwrap().to_string()
    }

    /// The files of the branch, in a directory.
    pub fn checkout(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let tree = self.git.find_commit(Oid::from_str(&self.tip()).unwrap()).unwrap().tree().unwrap();
        let mut options = CheckoutBuilder::new();
        options.target_dir(directory.path()).force();
        self.git.checkout_tree(tree.as_object(), Some(&mut options)).unwrap();
        directory
    }

    /// Sets the branch to `commit`, wherever it was.
    pub fn reset(&self, commit: &str) {
        let commit = Oid::from_str(commit).unwrap();
        self.git.reference("refs/heads/master", commit, true, "reset").unwrap();
    }

    /// Moves what was committed after `commit` to another branch, which is at its last commit.
    pub fn move_to(&self, branch: &str, commit: &str) {
        let tip = Oid::from_str(&self.tip()).unwrap();
        self.git.reference(&format!("refs/heads/{branch}"), tip, true, "branch").unwrap();
        self.reset(commit);
    }

    /// Removes the branch.
    pub fn remove_branch(&self) {
        self.git.find_reference("refs/heads/master").unwrap().delete().unwrap();
    }

    /// Takes the repository away, or brings it back.
    pub fn hide(&self, hidden: bool) {
        let [here, away] = ["repository", "away"].map(|name| self.directory.path().join(name));
        if hidden { std::fs::rename(here, away) } else { std::fs::rename(away, here) }.unwrap();
    }
}

/// A repository with the sources of the Guix below `root`, packed so that it is fetched quickly, and the
/// commit of its only branch. It is made once and kept, as `name`, among the build's own temporary files.
async fn guix_sources(root: PathBuf, name: &str) -> (PathBuf, String) {
    let host = InstalledGuix::probe(&root).await.unwrap();
    let sources = host.root.join(host.sources.strip_prefix("/").unwrap());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lock = std::fs::File::create(directory.with_extension("lock")).unwrap();
    let _lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await.unwrap().unwrap();
    let git = async |arguments: &[&str]| {
        let git = Tool::new("git").arg("--git-dir").arg(&directory).arg("--work-tree").arg(&sources);
        let git = ["AUTHOR", "COMMITTER"].iter().fold(git, |git, who| {
            let git =
                git.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.org");
            git.env(format!("GIT_{who}_DATE"), "1700000000 +0000")
        });
        let git = git.directory(&sources).args(["-c", "core.looseCompression=0"]).args(arguments);
        let finished = git.spawn().unwrap().finish(PATIENCE).await.unwrap();
        assert!(finished.success(), "git {arguments:?}: {}", finished.reason());
        String::from_utf8(finished.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=master"]).await;
    git(&["add", "gnu", "guix", "gnu.scm", "guix.scm"]).await;
    let tree = git(&["write-tree"]).await;
    // The same files make the same commit.
    let commit = git(&["commit-tree", "-m", "Guix", &tree]).await;
    if git(&["for-each-ref", "--format=%(objectname)"]).await != commit {
        git(&["update-ref", "refs/heads/master", &commit]).await;
        git(&["repack", "-a", "-d", "-q"]).await;
    }
    (directory, commit)
}

/// A manifest of packages that differ from `hello` in name and configure flags; all have version 1.
pub fn manifest(packages: &[(&str, &str)]) -> String {
    let packages =
        packages.iter().map(|(name, flags)| entry(name, &format!("(list #:configure-flags '({flags:?}))")));
    format!("{MODULES}(packages->manifest (list\n{}))\n", packages.collect::<String>())
}

/// What a manifest of [`entry`]s begins with.
pub const MODULES: &str = "(use-modules (guix packages) (guix profiles) (gnu packages base))\n";

/// A package like `hello` with these arguments, an expression that is evaluated when they are needed.
pub fn entry(name: &str, arguments: &str) -> String {
    format!("(package (inherit hello) (name \"{name}\") (version \"1\")\n  (arguments {arguments}))\n")
}
