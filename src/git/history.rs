//! Ancestry of the commits in a mirror.
//!
//! A stranger wrote the history, and it may be of any length. So a git process walks through it: a
//! process can be killed, while libgit2 keeps half a kilobyte for each commit that it has seen.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{Odb, Oid, Repository};

use super::program::git;
use super::{blocking, is_commit};
use crate::sandbox::{Finished, Limits};

/// Memory limit of one walk, in bytes: enough for some millions of commits.
const MEMORY: u64 = 1 << 30;
/// Time limit of one walk: enough for some millions of commits.
const LIMIT: Duration = Duration::from_mins(1);

/// How many commits of a history are looked at for one that was evaluated: their names are 820 kB.
const NEWEST: &str = "--max-count=20000";

/// Why the ancestry of commits is unknown.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// git gave no answer.
    #[error("cannot walk the history of commit {commit}: {reason}")]
    Walk {
        /// The commit where the walk started.
        commit: String,
        /// What stopped it.
        reason: String,
    },
    /// The mirror cannot be read.
    #[error("cannot use the mirror {}: {source}", .path.display())]
    Mirror {
        /// The mirror's directory.
        path: PathBuf,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// Something on this machine failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whether `commit` is `ancestor` or descends from it. False when the repository lacks one of them:
/// a mirror has the whole history of each commit that it has.
pub async fn descends(repository: &Path, commit: &str, ancestor: &str) -> Result<bool, HistoryError> {
    if !has(repository, [commit, ancestor]).await? {
        return Ok(false);
    }
    if commit == ancestor {
        return Ok(true);
    }
    let walked = walk(repository, &["merge-base", "--is-ancestor", ancestor, commit]).await?;
    match walked.status.and_then(|status| status.code()) {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(walk_failed(commit, &walked)),
    }
}

/// The commits of a branch between `old`, exclusive, and `new`, inclusive, along first parents. The
/// oldest comes first; only the newest `limit` are returned. Only `new` when `new` does not descend
/// from `old`.
pub async fn steps(
    repository: &Path,
    old: &str,
    new: &str,
    limit: usize,
) -> Result<Vec<String>, HistoryError> {
    if old == new || !descends(repository, new, old).await? {
        return Ok(vec![new.to_owned()]);
    }
    let (most, left_out) = (format!("--max-count={limit}"), format!("^{old}"));
    let walked = walk(repository, &["rev-list", "--first-parent", &most, new, &left_out]).await?;
    if !walked.success() {
        return Err(walk_failed(new, &walked));
    }
    let text = String::from_utf8_lossy(&walked.stdout).into_owned();
    Ok(text.lines().rev().filter(|line| is_commit(line)).map(str::to_owned).collect())
}

/// The newest of `candidates` that the history of `commit` has, or is. Only its newest commits are looked at.
#[expect(clippy::implicit_hasher, reason = "callers have the ordinary hasher")]
pub async fn newest_ancestor(
    repository: &Path,
    commit: &str,
    candidates: &HashSet<&str>,
) -> Result<Option<String>, HistoryError> {
    if candidates.contains(commit) {
        return Ok(Some(commit.to_owned()));
    }
    if candidates.is_empty() || !has(repository, [commit, commit]).await? {
        return Ok(None);
    }
    let walked = walk(repository, &["rev-list", NEWEST, commit]).await?;
    if !walked.success() {
        return Err(walk_failed(commit, &walked));
    }
    let text = String::from_utf8_lossy(&walked.stdout).into_owned();
    Ok(text.lines().find(|line| candidates.contains(line)).map(str::to_owned))
}

/// Whether a repository has these objects.
async fn has(repository: &Path, commits: [&str; 2]) -> Result<bool, HistoryError> {
    let commits = commits.map(str::to_owned);
    let is_there = |odb: &Odb<'_>, commit: &String| Oid::from_str(commit).is_ok_and(|id| odb.exists(id));
    with_repository(repository, move |repository| {
        let odb = repository.odb()?;
        Ok(commits.iter().all(|commit| is_there(&odb, commit)))
    })
    .await
}

/// Runs `work` on a mirror through libgit2.
pub(super) async fn with_repository<T: Send + 'static>(
    mirror: &Path,
    work: impl FnOnce(&Repository) -> Result<T, git2::Error> + Send + 'static,
) -> Result<T, HistoryError> {
    let path = mirror.to_owned();
    blocking(move || {
        let done = Repository::open_bare(&path).and_then(|repository| work(&repository));
        done.map_err(|source| HistoryError::Mirror { path, source })
    })
    .await
}

/// Runs a git command that reads commits and contacts no server.
async fn walk(repository: &Path, arguments: &[&str]) -> io::Result<Finished> {
    // git maps packs into memory, and that counts as its memory.
    let settings = ["core.packedGitWindowSize=32m", "core.packedGitLimit=256m"];
    let git = git(repository).args(settings.iter().flat_map(|setting| ["-c", setting]));
    let git = git.env("GIT_NO_REPLACE_OBJECTS", "1").args(arguments.iter().copied());
    git.limits(Limits { memory: MEMORY, ..Limits::tool() }).spawn()?.finish(LIMIT).await
}

fn walk_failed(commit: &str, walked: &Finished) -> HistoryError {
    HistoryError::Walk { commit: commit.to_owned(), reason: walked.reason() }
}
