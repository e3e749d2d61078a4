//! The results of asking a remote through the `git` program.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::history::HistoryError;
use crate::domain::spec::without_credentials;
use crate::sandbox::Finished;

/// The longest explanation by git that is kept, in characters. The rest is cut off.
const LONGEST_REASON: usize = 2000;

/// Limits of git.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time limit for listing a remote's branches.
    pub poll: Duration,
    /// Time limit for a fetch, also the first one of a big repository.
    pub fetch: Duration,
    /// Size limit of the mirror of one repository, in bytes.
    pub size: u64,
    /// How many branches of one repository patterns may match.
    pub branches: usize,
}

impl Default for Limits {
    /// A minute for a listing, an hour for a fetch, 4 GiB for a mirror, 500 branches.
    fn default() -> Self {
        Self { poll: Duration::from_mins(1), fetch: Duration::from_hours(1), size: 4 << 30, branches: 500 }
    }
}

/// Why a remote did not provide what was asked of it.
///
/// URLs and reasons are safe to show: without control characters and passwords.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The remote does not answer, does not speak Git, or denies access.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The URL of the remote.
        url: String,
        /// The output of git.
        reason: String,
    },
    /// A channel may not make us contact this place.
    #[error(
        "{url} is not fetched for a channel that needs it: {reason}\nhint: name the channel in the spec if that is meant; a host in a network of your own can be listed in `private-hosts` of [git]"
    )]
    Forbidden {
        /// The URL of the remote.
        url: String,
        /// Why the place is not permitted.
        reason: String,
    },
    /// The remote lists its branches, but a fetch fails.
    #[error("cannot fetch from {url}: {reason}")]
    Refused {
        /// The URL of the remote.
        url: String,
        /// The output of git.
        reason: String,
    },
    /// The remote answered with something that is not a list of branches.
    #[error("{url} sent an invalid list of branches: {reason}")]
    BadListing {
        /// The URL of the remote.
        url: String,
        /// What is wrong with the list.
        reason: String,
    },
    /// The remote sends more than the mirror may take.
    #[error(
        "{url} sends more than {} MiB, the limit for one repository; it is not fetched for an hour\nhint: if it needs more, raise `mirror-size` of [git]; a repository that no spec names gets a quarter of it", .limit >> 20
    )]
    TooLarge {
        /// The URL of the remote.
        url: String,
        /// The size limit of its mirror, in bytes.
        limit: u64,
    },
    /// The remote has SHA-256 hashes, which are not supported.
    #[error("{url} is a repository with SHA-256 hashes, which neither Guix nor Gorget supports")]
    Sha256 {
        /// The URL of the remote.
        url: String,
    },
    /// The remote is a shallow clone, which lacks a part of its history.
    #[error(
        "{url} is a shallow clone, which lacks a part of its history\nhint: `git fetch --unshallow` there gets the rest"
    )]
    Shallow {
        /// The URL of the remote.
        url: String,
    },
    /// The remote has no such branch, and does not provide the commit by its hash either.
    #[error("{}", missing_branch(url, branch, .default.as_deref()))]
    MissingBranch {
        /// The URL of the remote.
        url: String,
        /// The branch that was asked for.
        branch: String,
        /// The remote's main branch.
        default: Option<String>,
    },
    /// The remote has the branch, but does not provide the commit.
    #[error(
        "{url} has no commit {commit:?} on branch {branch:?}\nhint: not every server sends a commit that no branch contains"
    )]
    MissingCommit {
        /// The URL of the remote.
        url: String,
        /// The branch that was asked for.
        branch: String,
        /// The commit that was asked for.
        commit: String,
    },
    /// git was killed because its time was over.
    #[error("{url} did not answer within {} s", .limit.as_secs_f32())]
    TimedOut {
        /// The URL of the remote.
        url: String,
        /// The time limit.
        limit: Duration,
    },
    /// It is unknown whether the commit is on the branch.
    #[error("{url}: {error}")]
    History {
        /// The URL of the remote.
        url: String,
        /// Why the history cannot be read.
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
    /// Something on this machine failed; the remote is not at fault.
    #[error(transparent)]
    Local(#[from] io::Error),
}

/// The error of a git that contacted `url` and failed.
pub(super) fn run_failed(finished: &Finished, url: &str, limit: Duration) -> RemoteError {
    let url = presentable(url);
    match finished.status {
        None => RemoteError::TimedOut { url, limit },
        Some(_) => RemoteError::Unreachable { reason: presentable(&finished.reason()), url },
    }
}

/// The message that a remote lacks a branch, with the branch that may be meant instead.
pub fn missing_branch(url: &str, branch: &str, default: Option<&str>) -> String {
    let assumed = if branch == "master" { ", which is taken where none is given" } else { "" };
    let main = default.filter(|default| *default != branch);
    let main = main.map_or(String::new(), |main| format!(" (its main branch is {main:?})"));
    format!("{url} has no branch {branch:?}{assumed}{main}")
}

/// Makes a text safe to show: one line, no control characters, no credentials.
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
