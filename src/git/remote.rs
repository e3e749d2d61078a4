//! What is asked of a remote through the `git` program.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::history::HistoryError;
use crate::domain::spec::without_credentials;
use crate::sandbox::Finished;

/// The longest explanation by git that is kept, in characters.
const LONGEST_REASON: usize = 2000;

/// What git may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For one look at a remote's branches.
    pub poll: Duration,
    /// For one fetch, the first one of a big repository included.
    pub fetch: Duration,
    /// Size of the mirror of one repository, in bytes.
    pub size: u64,
    /// How many branches of one repository patterns may mean.
    pub branches: usize,
}

impl Default for Limits {
    /// A minute for a look, an hour for a fetch, 4 GiB for a mirror, 500 branches.
    fn default() -> Self {
        Self { poll: Duration::from_mins(1), fetch: Duration::from_hours(1), size: 4 << 30, branches: 500 }
    }
}

/// Why a remote did not give what was asked of it.
///
/// URLs and reasons are fit to be shown: without control characters, without passwords.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nothing that speaks Git answers there, or it does not let us in.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The remote.
        url: String,
        /// What git says.
        reason: String,
    },
    /// It is none of the places that a channel may have us reach.
    #[error(
        "{url} is not fetched for a channel that needs it: {reason}\nhint: name the channel in the spec if that is meant; a host in a network of your own can be listed in `private-hosts` of [git]"
    )]
    Forbidden {
        /// The remote.
        url: String,
        /// Why it is out of bounds.
        reason: String,
    },
    /// It tells its branches, but a fetch fails.
    #[error("cannot fetch from {url}: {reason}")]
    Refused {
        /// The remote.
        url: String,
        /// What git says.
        reason: String,
    },
    /// It answered a question about branches with something else.
    #[error("{url} sent a list of branches that makes no sense: {reason}")]
    BadListing {
        /// The remote.
        url: String,
        /// What is wrong with the list.
        reason: String,
    },
    /// It sends more than there is room for.
    #[error(
        "{url} sends more than {} MiB, the limit for one repository; it is not fetched for an hour\nhint: if it needs more, raise `mirror-size` of [git]; a repository that no spec names gets a quarter of it", .limit >> 20
    )]
    TooLarge {
        /// The remote.
        url: String,
        /// How much its mirror may take, in bytes.
        limit: u64,
    },
    /// Its hashes are of a kind that nothing here knows.
    #[error("{url} is a repository with SHA-256 hashes, which neither Guix nor Gorget supports")]
    Sha256 {
        /// The remote.
        url: String,
    },
    /// It lacks a part of its history.
    #[error(
        "{url} is a shallow clone, which lacks a part of its history\nhint: `git fetch --unshallow` there gets the rest"
    )]
    Shallow {
        /// The remote.
        url: String,
    },
    /// It has no such branch, and does not give the commit without it either.
    #[error("{}", missing_branch(url, branch, .default.as_deref()))]
    MissingBranch {
        /// The remote.
        url: String,
        /// The branch that was asked for.
        branch: String,
        /// The one that it takes for its main one.
        default: Option<String>,
    },
    /// It has the branch, but gives no such commit.
    #[error(
        "{url} has no commit {commit:?} on branch {branch:?}\nhint: a commit that no branch leads to any more cannot be had from every server"
    )]
    MissingCommit {
        /// The remote.
        url: String,
        /// The branch that was asked for.
        branch: String,
        /// The commit that was asked for.
        commit: String,
    },
    /// git was killed because its time was over.
    #[error("{url} did not answer within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// The remote.
        url: String,
        /// How long it was given.
        limit: Duration,
    },
    /// Nobody can tell whether the commit is on the branch.
    #[error("{url}: {error}")]
    History {
        /// The remote.
        url: String,
        /// What is wrong with it.
        error: HistoryError,
    },
    /// The mirror on this machine cannot be made or read.
    #[error("cannot use the mirror {}: {source}", .path.display())]
    Mirror {
        /// The mirror's directory.
        path: PathBuf,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// Something on this machine failed, the remote is not at fault.
    #[error(transparent)]
    Local(#[from] io::Error),
}

/// What it means that a git which contacts `url` failed.
pub(super) fn run_failed(finished: &Finished, url: &str, limit: Duration) -> RemoteError {
    let url = presentable(url);
    match finished.status {
        None => RemoteError::TimedOut { url, limit },
        Some(_) => RemoteError::Unreachable { reason: presentable(&finished.reason()), url },
    }
}

/// That a remote lacks a branch, and which one may be meant.
pub fn missing_branch(url: &str, branch: &str, default: Option<&str>) -> String {
    let assumed = if branch == "master" { ", which is taken where none is given" } else { "" };
    let main = default.filter(|default| *default != branch);
    let main = main.map_or(String::new(), |main| format!(" (its main branch is {main:?})"));
    format!("{url} has no branch {branch:?}{assumed}{main}")
}

/// What may be shown of a text: one line, no control characters, no credentials.
pub(super) fn presentable(text: &str) -> String {
    let text = without_credentials(text);
    let lines = text.lines().map(|line| line.replace(char::is_control, ""));
    lines.collect::<Vec<_>>().join("; ").chars().take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_texts_hold_no_passwords_and_no_escapes() {
        let url = "https://me:s3cret@example.org/guix.git";
        let text = format!("\x1b[31mfatal\x07: unable to access '{url}/'\nsecond\x00 line\r");
        let shown = presentable(&text);
        assert_eq!(shown, "[31mfatal: unable to access 'https://***@example.org/guix.git/'; second line");
    }
}
