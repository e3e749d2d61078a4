//! One bare copy of every remote repository.
//!
//! A mirror holds the full history of each commit that was ever asked for, under the reference
//! `refs/gorget/COMMIT`, so that neither a force push nor a garbage collection removes it. git
//! writes that reference only after it has verified that nothing is missing below it, so the
//! reference means "complete". A first fetch goes to a directory with a temporary name, which is
//! renamed at the end.
//!
//! A process holds a lock on the file next to a mirror while it changes the mirror. So processes
//! can share a directory of mirrors, and anything incomplete that the holder of the lock finds was
//! left behind by a crash.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use git2::{Oid, Repository, RepositoryInitOptions};
use sha2::{Digest, Sha256};

use super::access::{Access, Contact};
use super::address::PrivateHosts;
use super::history::{HistoryError, descends, with_repository};
use super::listing::{self, Listing, Question};
use super::program::git;
use super::quota::{self, FailedRepositories, remove_leftovers};
use super::remote::{Limits, RemoteError, presentable};
use super::state::{State, state};
use super::{blocking, is_commit};
use crate::domain::revision::{ChannelCommit, is_brought};

/// How often the lock on a mirror is tried while another process or task holds it.
const LOCK_PERIOD: Duration = Duration::from_millis(100);

/// Copies of remote repositories in one directory.
#[derive(Debug, Clone)]
pub struct Mirrors {
    directory: PathBuf,
    limits: Limits,
    private: PrivateHosts,
    access: Access,
    cooling_down: FailedRepositories,
}

impl Mirrors {
    /// Keeps mirrors in `directory`, which is created when it is needed.
    pub fn new(directory: impl Into<PathBuf>, limits: Limits) -> Self {
        let (private, access) = (PrivateHosts::default(), Access::Operator);
        Self {
            directory: directory.into(),
            limits,
            private,
            access,
            cooling_down: FailedRepositories::default(),
        }
    }

    /// Permits these hosts, which are not public, to channels that the spec does not name.
    #[must_use]
    pub fn permitting(self, private: PrivateHosts) -> Self {
        Self { private, ..self }
    }

    /// The mirrors of repositories that only another channel names. They are fetched as anybody
    /// could fetch them, may be a quarter as large, and are kept apart from what was fetched with
    /// the operator's credentials.
    #[must_use]
    pub fn for_brought_channels(&self) -> Self {
        if !self.is_operator_access() {
            return self.clone();
        }
        let limits = Limits { size: self.limits.size / 4, ..self.limits };
        Self { access: Access::Stranger(self.private.clone()), limits, ..self.clone() }
    }

    /// The limits of git.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the operator named the mirrored repositories.
    pub(super) fn is_operator_access(&self) -> bool {
        matches!(self.access, Access::Operator)
    }

    /// The mirrors that have `channel`, one of the `channels` of a revision.
    #[must_use]
    pub fn of(&self, channels: &[ChannelCommit], channel: &ChannelCommit) -> Self {
        if is_brought(channels, channel) { self.for_brought_channels() } else { self.clone() }
    }

    /// The path of the mirror of `url`, whether it exists or not.
    pub fn path(&self, url: &str) -> PathBuf {
        let name = match self.access {
            Access::Operator => Sha256::digest(url),
            Access::Stranger(_) => Sha256::digest(format!("brought {url}")),
        };
        self.directory.join(HEXLOWER.encode(&name[..20]))
    }

    /// Asks a remote for the tips of some of its branches.
    ///
    /// Fetches and writes nothing. An error concerns all of the branches.
    pub async fn tips(&self, url: &str, branches: &[&str]) -> Result<Listing, RemoteError> {
        let question = Question { names: branches, matches: &|_| false, limit: 0, has_pattern: false };
        listing::list(&self.access, url, &question, self.limits.poll).await
    }

    /// Asks a remote for `branches` like [`Mirrors::tips`], and also for branches that `matches` accepts.
    /// If there are more than `limit` of those, the first by name are kept.
    pub async fn list(
        &self,
        url: &str,
        branches: &[&str],
        matches: &(dyn Fn(&str) -> bool + Sync),
        limit: usize,
    ) -> Result<Listing, RemoteError> {
        let question = Question { names: branches, matches, limit, has_pattern: true };
        listing::list(&self.access, url, &question, self.limits.poll).await
    }

    /// Ensures that the mirror of `url` has `commit` with its whole history.
    ///
    /// Does not contact the remote if the mirror has the commit already. Otherwise asks for the
    /// commit by its hash first, which also works after a force push. From servers that refuse
    /// this, the commit comes with `branch`. A damaged mirror is replaced by a new one.
    pub async fn fetch(&self, url: &str, branch: &str, commit: &str) -> Result<(), RemoteError> {
        if !is_commit(commit) {
            return Err(missing_commit(url, branch, commit));
        }
        let lock = self.lock(url).await?;
        let work = self.fetch_locked(url, branch, commit);
        let limit = self.limits.fetch;
        let result = tokio::time::timeout(limit, work).await;
        drop(lock);
        result.unwrap_or_else(|_| Err(RemoteError::TimedOut { url: presentable(url), limit }))
    }

    /// Whether the mirror of `url` has all of `commit`, so that it need not be fetched.
    pub(super) async fn has(&self, url: &str, commit: &str) -> bool {
        is_commit(commit) && state(&self.path(url), commit).await == State::Holds
    }

    /// Removes the mirror of `url`, because it is damaged or nothing needs it.
    pub async fn discard(&self, url: &str) -> Result<(), RemoteError> {
        let _lock = self.lock(url).await?;
        let mirror = self.path(url);
        Ok(blocking(move || remove(&mirror)).await?)
    }

    async fn fetch_locked(&self, url: &str, branch: &str, commit: &str) -> Result<(), RemoteError> {
        let mirror = self.path(url);
        let state = state(&mirror, commit).await;
        if state == State::Holds {
            return Ok(());
        }
        if self.cooling_down.has(&mirror) {
            return Err(RemoteError::TooLarge { url: presentable(url), limit: self.limits.size });
        }
        if state == State::Lacks {
            match self.update(&mirror, url, branch, commit).await {
                // The remote can be listed, so the fault may be in this mirror.
                Err(RemoteError::Refused { .. }) if !self.is_connected(&mirror).await? => {}
                // The mirror may hold much that is no longer needed: try an empty one.
                Err(RemoteError::TooLarge { .. }) => {}
                result => return result,
            }
        }
        let new = mirror.with_extension("new");
        let (path, description) = (new.clone(), presentable(url));
        blocking(move || create(&path, &description)).await?;
        if let Err(error) = self.update(&new, url, branch, commit).await {
            if matches!(error, RemoteError::TooLarge { .. }) {
                self.cooling_down.add(&mirror);
            }
            blocking(move || remove(&new)).await?;
            return Err(error);
        }
        blocking(move || {
            remove(&mirror)?;
            Ok(fs_err::rename(&new, &mirror)?)
        })
        .await
    }

    /// Fetches into a complete mirror, and removes everything that an interrupted git leaves there.
    async fn update(&self, mirror: &Path, url: &str, branch: &str, commit: &str) -> Result<(), RemoteError> {
        self.clear(mirror).await?;
        let result = self.fetch_by_hash_or_branch(mirror, url, branch, commit).await;
        self.clear(mirror).await?;
        if result.is_ok() {
            let git = git(mirror).args(["gc", "--quiet", "--auto"]);
            // A failure to save space is not a failure to fetch.
            let _ = git.spawn()?.finish(self.limits.fetch).await?;
            self.clear(mirror).await?;
        }
        result
    }

    async fn clear(&self, mirror: &Path) -> Result<(), RemoteError> {
        let mirror = mirror.to_owned();
        Ok(blocking(move || remove_leftovers(&mirror)).await?)
    }

    /// Fetches a commit by its hash, or with its branch if that fails.
    async fn fetch_by_hash_or_branch(
        &self,
        mirror: &Path,
        url: &str,
        branch: &str,
        commit: &str,
    ) -> Result<(), RemoteError> {
        match self.get(mirror, url, &format!("{commit}:refs/gorget/{commit}")).await {
            // git ignores refspecs with some words, and succeeds without having fetched anything.
            Ok(_) if state(mirror, commit).await == State::Holds => return Ok(()),
            Ok(_) | Err(RemoteError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        let listing = self.tips(url, &[branch]).await?;
        let (Some(name), Some(_)) = (listing::reference(branch), listing.tip()) else {
            let (url, branch) = (presentable(url), branch.to_owned());
            return Err(RemoteError::MissingBranch { url, branch, default: listing.default });
        };
        let said =
            self.get(mirror, url, &format!("+{name}:refs/tip")).await.map_err(|error| match error {
                RemoteError::Unreachable { url, reason } => RemoteError::Refused { url, reason },
                other => other,
            })?;
        if said.contains("shallow roots are not allowed") {
            return Err(RemoteError::Shallow { url: presentable(url) });
        }
        match reference_commit(mirror, commit).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(missing_commit(url, branch, commit)),
            Err(HistoryError::Io(error)) => Err(error.into()),
            Err(error) => Err(RemoteError::History { url: presentable(url), error }),
        }
    }

    /// Runs one fetch; returns the output of git.
    async fn get(&self, mirror: &Path, url: &str, refspec: &str) -> Result<String, RemoteError> {
        let options = [
            "fetch",
            "--no-auto-maintenance",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-prune",
            "--no-progress",
        ];
        let Contact { git, url: place } = self.access.contact(mirror, url, self.limits.poll).await?;
        let git = git.args(options).args(["--", place.as_str(), refspec]);
        quota::run(&git, url, mirror, self.limits).await
    }

    /// Whether git finds every object that is reachable from the references of a mirror.
    async fn is_connected(&self, mirror: &Path) -> Result<bool, RemoteError> {
        let git = git(mirror).args(["fsck", "--connectivity-only", "--no-dangling"]);
        Ok(git.spawn()?.finish(self.limits.fetch).await?.success())
    }

    /// Waits for the lock on the mirror of `url`. Dropping the file releases it.
    pub(super) async fn lock(&self, url: &str) -> Result<fs_err::File, RemoteError> {
        fs_err::create_dir_all(&self.directory)?;
        let path = self.path(url).with_extension("lock");
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        loop {
            match file.file().try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PERIOD).await,
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
    }
}

fn missing_commit(url: &str, branch: &str, commit: &str) -> RemoteError {
    let (branch, commit) = (branch.to_owned(), commit.to_owned());
    RemoteError::MissingCommit { url: presentable(url), branch, commit }
}

/// Creates an empty mirror, replacing whatever is there.
pub(super) fn create(path: &Path, description: &str) -> Result<(), RemoteError> {
    remove(path)?;
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false).description(description);
    let made = Repository::init_opts(path, &options);
    made.map(drop).map_err(|source| RemoteError::Mirror { path: path.to_owned(), source })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a reference to `commit` if it is in the history of the tip that was just fetched.
async fn reference_commit(mirror: &Path, commit: &str) -> Result<bool, HistoryError> {
    let tip = with_repository(mirror, |repository| repository.refname_to_id("refs/tip")).await?;
    if !descends(mirror, &tip.to_string(), commit).await? {
        return Ok(false);
    }
    let commit = commit.to_owned();
    with_repository(mirror, move |repository| {
        let (name, wanted) = (format!("refs/gorget/{commit}"), Oid::from_str(&commit)?);
        repository.reference(&name, wanted, true, "fetched").map(|_| true)
    })
    .await
}
