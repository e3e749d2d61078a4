//! One bare copy of every remote repository.
//!
//! A mirror holds the full history of each commit that was ever asked for, under the reference
//! `refs/gorget/COMMIT`, so that neither a force push nor a garbage collection takes it away. git
//! writes that reference only after it has seen that nothing is missing below it: the reference means
//! "complete". A first fetch goes to a directory of another name, which is renamed when it is done.
//!
//! Whoever changes a mirror holds a lock on the file beside it, so two processes can share a directory
//! of mirrors, and whatever looks half-made to the holder of the lock was left behind by a crash.

use std::collections::{BTreeMap, HashSet};
use std::fs::TryLockError;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use git2::{ErrorCode, Oid, Repository, RepositoryInitOptions};
use sha2::{Digest, Sha256};

use super::access::{Access, Contact};
use super::address::PrivateHosts;
use super::listing;
use super::remote::{Limits, RemoteError, git, presentable, run};
use super::{blocking, is_commit};
use crate::revision::{ChannelCommit, is_brought};

/// How often a mirror that somebody else is changing is asked for again.
const LOCK_PERIOD: Duration = Duration::from_millis(100);

/// Copies of remote repositories in one directory.
#[derive(Debug, Clone)]
pub struct Mirrors {
    directory: PathBuf,
    limits: Limits,
    private: PrivateHosts,
    access: Access,
}

/// What there is of a mirror, judged from its files alone.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Nothing.
    Absent,
    /// Something that cannot be a whole mirror.
    Broken,
    /// A mirror without the commit.
    Lacks,
    /// A mirror with the commit and all of its files.
    Holds,
}

impl Mirrors {
    /// Keeps mirrors in `directory`, which is made when it is needed.
    pub fn new(directory: impl Into<PathBuf>, limits: Limits) -> Self {
        let (private, access) = (PrivateHosts::default(), Access::Operator);
        Self { directory: directory.into(), limits, private, access }
    }

    /// Permits these hosts, though they are not public, to channels that the spec does not name.
    #[must_use]
    pub fn permitting(self, private: PrivateHosts) -> Self {
        Self { private, ..self }
    }

    /// The mirrors of repositories that only another channel names: fetched as anybody could, and kept
    /// apart from what was fetched with the operator's credentials.
    #[must_use]
    pub fn of_strangers(&self) -> Self {
        Self { access: Access::Stranger(self.private.clone()), ..self.clone() }
    }

    /// Whether the operator named what they mirror.
    pub(super) fn are_of_operator(&self) -> bool {
        matches!(self.access, Access::Operator)
    }

    /// Where `channel`, one of `channels` that belong together, is mirrored.
    #[must_use]
    pub fn of(&self, channels: &[ChannelCommit], channel: &ChannelCommit) -> Self {
        if is_brought(channels, channel) { self.of_strangers() } else { self.clone() }
    }

    /// Where the mirror of `url` is, or will be.
    pub fn path(&self, url: &str) -> PathBuf {
        let name = match self.access {
            Access::Operator => Sha256::digest(url),
            Access::Stranger(_) => Sha256::digest(format!("brought {url}")),
        };
        self.directory.join(HEXLOWER.encode(&name[..20]))
    }

    /// Asks a remote where some of its branches are; `None` for a branch that it does not have.
    ///
    /// Nothing is fetched or written. An error concerns all of the branches.
    pub async fn look(
        &self,
        url: &str,
        branches: &[&str],
    ) -> Result<BTreeMap<String, Option<String>>, RemoteError> {
        listing::look(&self.access, url, branches, self.limits.look).await
    }

    /// Asks a remote for all of its branches, like [`Mirrors::look`]. Branches whose names are not UTF-8
    /// are left out: nobody could write them down.
    pub async fn list(&self, url: &str) -> Result<BTreeMap<String, Option<String>>, RemoteError> {
        listing::list(&self.access, url, self.limits.look).await
    }

    /// Makes sure that the mirror of `url` holds `commit` with its whole history.
    ///
    /// A commit that is there needs no network. The commit is asked for by its hash first, which also
    /// works after a force push; from servers that refuse this it comes with `branch`. A damaged mirror
    /// is replaced by a new one.
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

    /// Removes the mirror of `url`: it turned out to be damaged, or nothing needs it.
    pub async fn discard(&self, url: &str) -> Result<(), RemoteError> {
        let _lock = self.lock(url).await?;
        let mirror = self.path(url);
        Ok(blocking(move || remove(&mirror)).await?)
    }

    async fn fetch_locked(&self, url: &str, branch: &str, commit: &str) -> Result<(), RemoteError> {
        let mirror = self.path(url);
        match state(&mirror, commit).await {
            State::Holds => return Ok(()),
            State::Lacks => match self.update(&mirror, url, branch, commit).await {
                // The remote is well, so the fault may be here.
                Err(RemoteError::Refused { .. }) if !self.is_connected(&mirror).await? => {}
                result => return result,
            },
            State::Absent | State::Broken => {}
        }
        let new = mirror.with_extension("new");
        let (path, description) = (new.clone(), presentable(url));
        blocking(move || create(&path, &description)).await?;
        self.update(&new, url, branch, commit).await?;
        blocking(move || {
            remove(&mirror)?;
            Ok(fs_err::rename(&new, &mirror)?)
        })
        .await
    }

    /// Fetches into a whole mirror.
    async fn update(&self, mirror: &Path, url: &str, branch: &str, commit: &str) -> Result<(), RemoteError> {
        remove_stale_locks(mirror)?;
        match self.get(mirror, url, &format!("{commit}:refs/gorget/{commit}")).await {
            // git takes some words for no remote at all, and is content with having fetched nothing.
            Ok(()) if state(mirror, commit).await == State::Holds => return Ok(()),
            Ok(()) | Err(RemoteError::Unreachable { .. }) => {}
            error => return error,
        }
        let tips = self.look(url, &[branch]).await?;
        let (Some(name), Some(Some(_))) = (listing::reference(branch), tips.get(branch)) else {
            let (url, branch) = (presentable(url), branch.to_owned());
            return Err(RemoteError::MissingBranch { url, branch });
        };
        self.get(mirror, url, &format!("+{name}:refs/tip")).await.map_err(|error| match error {
            RemoteError::Unreachable { url, reason } => RemoteError::Refused { url, reason },
            other => other,
        })?;
        let (path, wanted) = (mirror.to_owned(), commit.to_owned());
        match blocking(move || keep(&path, &wanted)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(missing_commit(url, branch, commit)),
            Err(source) => Err(RemoteError::Mirror { path: mirror.to_owned(), source }),
        }
    }

    async fn get(&self, mirror: &Path, url: &str, refspec: &str) -> Result<(), RemoteError> {
        let options = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-prune"];
        let Contact { git, url: place } = self.access.contact(mirror, url, self.limits.look).await?;
        let git = git.args(options).args(["--", place.as_str(), refspec]);
        run(&git, url, self.limits.fetch).await.map(drop)
    }

    /// Whether git finds everything that the references of a mirror lead to.
    async fn is_connected(&self, mirror: &Path) -> Result<bool, RemoteError> {
        let git = git(mirror).args(["fsck", "--connectivity-only", "--no-dangling"]);
        Ok(git.spawn()?.finish(self.limits.fetch).await?.success())
    }

    /// Waits until nobody else changes the mirror of `url`; lets go when the file is dropped.
    async fn lock(&self, url: &str) -> Result<fs_err::File, RemoteError> {
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

/// Makes an empty mirror in the place of whatever is there.
fn create(path: &Path, description: &str) -> Result<(), RemoteError> {
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

/// Removes the lock files of a git that was killed: as long as they lie there, no other can work.
fn remove_stale_locks(mirror: &Path) -> io::Result<()> {
    for directory in ["", "refs", "refs/gorget"] {
        let Ok(entries) = fs_err::read_dir(mirror.join(directory)) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "lock") {
                fs_err::remove_file(path)?;
            }
        }
    }
    Ok(())
}

async fn state(mirror: &Path, commit: &str) -> State {
    let (mirror, commit) = (mirror.to_owned(), commit.to_owned());
    blocking(move || match inspect(&mirror, &commit) {
        Ok(state) => state,
        Err(_) if mirror.exists() => State::Broken,
        Err(_) => State::Absent,
    })
    .await
}

fn inspect(mirror: &Path, commit: &str) -> Result<State, git2::Error> {
    let repository = Repository::open_bare(mirror)?;
    let odb = repository.odb()?;
    for reference in repository.references()? {
        if reference?.target().is_none_or(|target| !odb.exists(target)) {
            return Ok(State::Broken);
        }
    }
    if !packs_are_whole(&mirror.join("objects/pack")).unwrap_or(false) {
        return Ok(State::Broken);
    }
    match repository.find_reference(&format!("refs/gorget/{commit}")) {
        Ok(_) if has_every_file(&repository, commit)? => Ok(State::Holds),
        Ok(_) => Ok(State::Broken),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(State::Lacks),
        Err(error) => Err(error),
    }
}

/// Whether every pack ends in the checksum that its index holds: one cut off does not.
fn packs_are_whole(directory: &Path) -> io::Result<bool> {
    fn checksum(path: &Path, from_end: i64) -> io::Result<[u8; 20]> {
        let mut file = fs_err::File::open(path)?;
        file.seek(SeekFrom::End(-from_end))?;
        let mut checksum = [0; 20];
        file.read_exact(&mut checksum).map(|()| checksum)
    }
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "idx")
            && checksum(&path, 40)? != checksum(&path.with_extension("pack"), 20)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether all directories of `commit` can be read and all of its files exist.
fn has_every_file(repository: &Repository, commit: &str) -> Result<bool, git2::Error> {
    let odb = repository.odb()?;
    let mut waiting = vec![repository.find_commit(Oid::from_str(commit)?)?.tree_id()];
    let mut seen = HashSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Ok(tree) = repository.find_tree(id) else {
            // Git allows more than libgit2: nothing is lost as long as the object can be read.
            odb.read(id)?;
            continue;
        };
        for entry in &tree {
            match entry.filemode() {
                0o040_000 => waiting.push(entry.id()),
                0o160_000 => {}
                _ if odb.exists(entry.id()) => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// Refers to `commit` if the tip that was just fetched leads to it.
fn keep(mirror: &Path, commit: &str) -> Result<bool, git2::Error> {
    let repository = Repository::open_bare(mirror)?;
    let tip = repository.refname_to_id("refs/tip")?;
    let wanted = Oid::from_str(commit)?;
    if !repository.odb()?.exists(wanted) || tip != wanted && !repository.graph_descendant_of(tip, wanted)? {
        return Ok(false);
    }
    repository.reference(&format!("refs/gorget/{commit}"), wanted, true, "fetched")?;
    Ok(true)
}
