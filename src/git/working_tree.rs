//! A user's working tree on this machine: its commits and its uncommitted changes.
//!
//! # Guarantees
//!
//! * It writes nothing to the repository, neither index nor objects. Uncommitted changes become a
//!   commit in another repository, which borrows the objects of this one.
//! * The same files give the same commit at any time, so an earlier evaluation of them is found
//!   again.
//! * Files that Git ignores are left out. New files that have not been added yet are included.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::is_commit;
use super::program::git;
use crate::sandbox::Tool;

/// Time limit of one run of git. Reading a working tree of Guix takes some seconds on a slow disk.
const LIMIT: Duration = Duration::from_mins(10);
/// The exit code with which git says "no".
const NO: i32 = 1;
/// Author and committer of the commit with uncommitted changes.
const NOBODY: [(&str, &str); 6] = [
    ("GIT_AUTHOR_NAME", "nobody"),
    ("GIT_AUTHOR_EMAIL", "nobody@localhost"),
    ("GIT_AUTHOR_DATE", "@1 +0000"),
    ("GIT_COMMITTER_NAME", "nobody"),
    ("GIT_COMMITTER_EMAIL", "nobody@localhost"),
    ("GIT_COMMITTER_DATE", "@1 +0000"),
];
/// Branches that a branch without an upstream may have started from, the likeliest first.
const USUAL_BASES: [&str; 5] = ["origin/HEAD", "origin/master", "origin/main", "master", "main"];

/// Why a working tree cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkingTreeError {
    /// There is no working tree.
    #[error("{} is not in a Git working tree: {reason}", .directory.display())]
    NoWorkingTree {
        /// The directory where it was looked for.
        directory: PathBuf,
        /// The output of git.
        reason: String,
    },
    /// The branch has no commit.
    #[error("{} has no commit yet\nhint: commit something to compare with", .0.display())]
    NoCommit(PathBuf),
    /// The name is not that of a commit.
    #[error("{0:?} is not a commit\nhint: give a branch, a tag or a commit that `git log` shows")]
    NoSuchCommit(String),
    /// It is unknown what the branch started from.
    #[error("there is no upstream branch\nhint: say what to compare with, such as --base origin/master")]
    NoBase,
    /// The two histories have no commit in common.
    #[error(
        "HEAD and {0} have no commit in common\nhint: fetch more history (`git fetch --unshallow`), or give another --base"
    )]
    Unrelated(String),
    /// git failed.
    #[error("git {command} failed: {reason}")]
    Failed {
        /// The arguments of git.
        command: String,
        /// The output of git.
        reason: String,
    },
    /// Something on this machine failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

type Result<T> = std::result::Result<T, WorkingTreeError>;

/// A working tree.
#[derive(Debug, Clone)]
pub struct WorkingTree {
    top: PathBuf,
    /// The Git directory of this working tree.
    git_directory: PathBuf,
    /// The repository's common directory, which other working trees may share.
    repository: PathBuf,
    head: String,
}

/// The commit that a working tree is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The name that a user knows it by.
    pub name: String,
    /// The newest commit that it has in common with HEAD.
    pub commit: String,
}

impl WorkingTree {
    /// Finds the working tree that contains `directory`.
    ///
    /// git itself refuses a repository that belongs to another user.
    pub async fn find(directory: &Path) -> Result<Self> {
        let words =
            ["rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir", "--git-common-dir"];
        let tool = Tool::new("git").env("LC_ALL", "C").arg("-C").arg(directory).args(words);
        let finished = tool.spawn()?.finish(LIMIT).await?;
        let absent =
            |reason: String| WorkingTreeError::NoWorkingTree { directory: directory.to_owned(), reason };
        if !finished.success() {
            let said = finished.reason();
            return Err(absent(said.trim().trim_start_matches("fatal: ").to_owned()));
        }
        let said = String::from_utf8(finished.stdout)
            .map_err(|_| absent("its path is not UTF-8, which is not supported".to_owned()))?;
        let lines: Vec<PathBuf> = said.lines().map(PathBuf::from).collect();
        let [top, git_directory, repository] = <[PathBuf; 3]>::try_from(lines)
            .map_err(|_| absent("its path has a line break, which is not supported".to_owned()))?;
        let tree = Self { top, git_directory, repository, head: String::new() };
        let head = tree.commit("HEAD").await?.ok_or_else(|| WorkingTreeError::NoCommit(tree.top.clone()))?;
        Ok(Self { head, ..tree })
    }

    /// The top directory.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// The commit that is checked out.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// The repository's common directory, which other working trees may share.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// Finds what to compare with: the newest commit that HEAD has in common with `name`; without a
    /// name, with the upstream branch, or with a usual base. An upstream branch that is only a copy
    /// of this branch is tried last.
    pub async fn base(&self, name: Option<&str>) -> Result<Base> {
        let (name, other) = match name {
            Some(name) => {
                let commit = self.commit(name).await?;
                (name.to_owned(), commit.ok_or_else(|| WorkingTreeError::NoSuchCommit(name.to_owned()))?)
            }
            None => self.upstream().await?.ok_or(WorkingTreeError::NoBase)?,
        };
        match self.ask(&["merge-base", &self.head, &other]).await? {
            Some(commit) => Ok(Base { name, commit }),
            None => Err(WorkingTreeError::Unrelated(name)),
        }
    }

    async fn upstream(&self) -> Result<Option<(String, String)>> {
        let upstream = ["rev-parse", "--quiet", "--verify", "--abbrev-ref", "@{upstream}"];
        let upstream = self.ask_or_none(&upstream).await?;
        let branch = self.ask_or_none(&["symbolic-ref", "--quiet", "--short", "HEAD"]).await?;
        let is_copy = |upstream: &&String| {
            let pushed = upstream.split_once('/').map(|(_, branch)| branch);
            let is_usual = branch.as_deref().is_some_and(|branch| USUAL_BASES.contains(&branch));
            pushed.is_some() && pushed == branch.as_deref() && !is_usual
        };
        let copy = upstream.as_ref().filter(is_copy);
        let own = upstream.as_ref().filter(|_| copy.is_none());
        for name in own.into_iter().map(String::as_str).chain(USUAL_BASES).chain(copy.map(String::as_str)) {
            if let Some(commit) = self.commit(name).await? {
                return Ok(Some((name.to_owned(), commit)));
            }
        }
        Ok(None)
    }

    /// The commit that `name` stands for.
    async fn commit(&self, name: &str) -> Result<Option<String>> {
        let name = format!("{name}^{{commit}}");
        let commit =
            self.ask_or_none(&["rev-parse", "--quiet", "--verify", "--end-of-options", &name]).await?;
        // Git accepts some arguments that do not name a commit.
        Ok(commit.filter(|commit| is_commit(commit)))
    }

    /// The working tree as a commit, uncommitted changes included. This is HEAD if there are none.
    ///
    /// New objects are written to the bare repository at `target`, which has to borrow the objects
    /// of this one.
    pub async fn snapshot(&self, target: &Path) -> Result<String> {
        let directory = tempfile::tempdir()?;
        let index = directory.path().join("index");
        let own = self.git_directory.join("index");
        if own.exists() {
            // The index lets git read only files that were changed. git also reads each file that
            // is as old as the index, so the copy must not be newer.
            let modified = fs_err::metadata(&own)?.modified()?;
            fs_err::copy(&own, &index)?;
            fs_err::OpenOptions::new().write(true).open(&index)?.file().set_modified(modified)?;
        }
        let git = self.git().env("GIT_INDEX_FILE", &index).env("GIT_WORK_TREE", &self.top);
        let git = git.env("GIT_OBJECT_DIRECTORY", target.join("objects"));
        let git = git.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", self.repository.join("objects"));
        let git = NOBODY.iter().fold(git, |git, (name, value)| git.env(*name, *value)).directory(&self.top);
        if !own.exists() {
            answer(&git, &["read-tree", "HEAD"]).await?;
        }
        answer(&git, &["add", "--all", "--", "."]).await?;
        let tree = answer(&git, &["write-tree"]).await?;
        let committed = answer(&git, &["rev-parse", &format!("{}^{{tree}}", self.head)]).await?;
        if tree == committed {
            return Ok(self.head.clone());
        }
        answer(&git, &["commit-tree", &tree, "-p", &self.head, "-m", "What is not committed"]).await
    }

    /// Whether any file that Git does not ignore contains a Guile module.
    pub async fn has_modules(&self) -> Result<bool> {
        let words = ["grep", "--quiet", "--untracked", "-e", "^(define-module", "--", "*.scm"];
        let git = self.git().env("GIT_WORK_TREE", &self.top).directory(&self.top);
        let finished = git.args(words).spawn()?.finish(LIMIT).await?;
        Ok(finished.success())
    }

    fn git(&self) -> Tool {
        git(&self.git_directory)
    }

    /// The output of git; `None` when git says "no".
    async fn ask(&self, words: &[&str]) -> Result<Option<String>> {
        let finished = self.git().args(words.iter().copied()).spawn()?.finish(LIMIT).await?;
        if finished.success() {
            return Ok(Some(String::from_utf8_lossy(&finished.stdout).trim().to_owned()));
        }
        if finished.status.and_then(|status| status.code()) == Some(NO) {
            return Ok(None);
        }
        Err(failed(words, &finished.reason()))
    }

    /// The same, for a command that has one exit code for "no" and all errors.
    async fn ask_or_none(&self, words: &[&str]) -> Result<Option<String>> {
        match self.ask(words).await {
            Err(WorkingTreeError::Failed { .. }) => Ok(None),
            answer => answer,
        }
    }
}

async fn answer(git: &Tool, words: &[&str]) -> Result<String> {
    let finished = git.clone().args(words.iter().copied()).spawn()?.finish(LIMIT).await?;
    if !finished.success() {
        return Err(failed(words, &finished.reason()));
    }
    Ok(String::from_utf8_lossy(&finished.stdout).trim().to_owned())
}

fn failed(words: &[&str], reason: &str) -> WorkingTreeError {
    let command = words.first().copied().unwrap_or_default().to_owned();
    WorkingTreeError::Failed { command, reason: reason.trim().to_owned() }
}
