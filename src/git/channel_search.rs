//! Limits on the search for the channels of one spec.
//!
//! The operator chose what a spec names. Strangers chose what its channels bring, and their servers
//! may answer late. So a spec never waits, for channels that it names itself, for what another
//! spec's channels bring; and everything that one spec's channels bring has to arrive within one
//! time limit.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// How many repositories that no spec names are fetched at the same time.
const BROUGHT_AT_ONCE: usize = 4;

/// One lock per mirror, because it would be of no use to fetch and authenticate the same commits
/// twice at the same time.
#[derive(Debug, Clone)]
pub(super) struct MirrorLocks {
    locks: Arc<Mutex<HashMap<PathBuf, Weak<AsyncMutex<()>>>>>,
    brought: Arc<Semaphore>,
}

/// A lock on a mirror, held until this is dropped.
#[derive(Debug)]
pub(super) struct MirrorLock {
    _lock: OwnedMutexGuard<()>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for MirrorLocks {
    fn default() -> Self {
        Self { locks: Arc::default(), brought: Arc::new(Semaphore::new(BROUGHT_AT_ONCE)) }
    }
}

impl MirrorLocks {
    /// Waits for the lock on this mirror. If the work `contacts` a stranger's server, also waits
    /// until fewer than [`BROUGHT_AT_ONCE`] such servers are contacted.
    pub(super) async fn take(&self, mirror: PathBuf, contacts: bool) -> MirrorLock {
        let lock = self.lock(mirror).lock_owned().await;
        let room = if contacts { Arc::clone(&self.brought).acquire_owned().await.ok() } else { None };
        MirrorLock { _lock: lock, _room: room }
    }

    fn lock(&self, mirror: PathBuf) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = locks.get(&mirror).and_then(Weak::upgrade).unwrap_or_default();
        locks.insert(mirror, Arc::downgrade(&lock));
        lock
    }
}

/// One search for the channels of a spec.
#[derive(Debug)]
pub struct ChannelSearch {
    position: SearchPosition,
    limit: Duration,
    /// How much of `limit` is left for what channels bring.
    left: Duration,
    /// The repositories that channels brought, whether that succeeded or not, and the sizes of
    /// their mirrors, in bytes.
    brought: HashMap<String, u64>,
}

/// Which of the repositories that the spec names the search is at; `None` once it has them all.
#[derive(Debug, Clone, Default)]
pub struct SearchPosition(Arc<Mutex<Option<String>>>);

impl SearchPosition {
    /// The URL of the repository.
    pub fn url(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, url: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }
}

impl ChannelSearch {
    /// A search that starts at `url` and may spend `limit` on what channels bring.
    pub(super) fn new(url: Option<&str>, limit: Duration) -> Self {
        let position = SearchPosition::default();
        position.set(url.map(str::to_owned));
        Self { position, limit, left: limit, brought: HashMap::new() }
    }

    /// A handle that tells where the search is from now on.
    pub fn position(&self) -> SearchPosition {
        self.position.clone()
    }

    /// Moves on to the next repository that the spec names. Has no effect after
    /// [`ChannelSearch::finish_named`].
    pub(super) fn move_to(&self, url: &str) {
        if self.position.url().is_some() {
            self.position.set(Some(url.to_owned()));
        }
    }

    /// Records that the search has all that the spec names.
    pub(super) fn finish_named(&self) {
        self.position.set(None);
    }

    /// Records the size of the mirror of a repository that channels brought, in bytes; returns the
    /// total.
    pub(super) fn record_size(&mut self, url: &str, size: u64) -> u64 {
        self.brought.insert(url.to_owned(), size);
        self.brought.values().sum()
    }

    /// The repositories that channels have brought so far, whether that succeeded or not.
    pub fn brought(&self) -> impl Iterator<Item = &str> {
        self.brought.keys().map(String::as_str)
    }

    /// Does a part of what channels bring, in the time that is left. If that runs out, returns the
    /// whole time limit.
    pub(super) async fn within_time_left<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Duration> {
        let begun = Instant::now();
        let done = tokio::time::timeout(self.left, work).await;
        self.left = self.left.saturating_sub(begun.elapsed());
        done.map_err(|_| self.limit)
    }
}
