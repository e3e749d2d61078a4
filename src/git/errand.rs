//! What bounds the search for the channels of one spec.
//!
//! What a spec names was chosen by the operator; what its channels bring was chosen by strangers, whose
//! servers may answer late. So nothing that only a spec names waits for what another spec's channels
//! bring, and all that one spec's channels bring has to come within one time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Place, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// So many repositories that no spec names are fetched at the same time.
const BROUGHT_AT_ONCE: usize = 4;

/// Whose turn it is at each repository: fetching and authenticating the same commits twice at once would be
/// of no use.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    places: Arc<Mutex<HashMap<PathBuf, Weak<Place<()>>>>>,
    brought: Arc<Semaphore>,
}

/// A turn, which lasts as long as this.
#[derive(Debug)]
pub(super) struct Turn {
    _place: OwnedMutexGuard<()>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { places: Arc::default(), brought: Arc::new(Semaphore::new(BROUGHT_AT_ONCE)) }
    }
}

impl Turns {
    /// Waits until nobody else is at this mirror, and, if that `contacts` a stranger's server, until there is
    /// room for that.
    pub(super) async fn take(&self, mirror: PathBuf, contacts: bool) -> Turn {
        let place = self.place(mirror).lock_owned().await;
        let room = if contacts { Arc::clone(&self.brought).acquire_owned().await.ok() } else { None };
        Turn { _place: place, _room: room }
    }

    fn place(&self, mirror: PathBuf) -> Arc<Place<()>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, place| place.strong_count() > 0);
        let place = places.get(&mirror).and_then(Weak::upgrade).unwrap_or_default();
        places.insert(mirror, Arc::downgrade(&place));
        place
    }
}

/// One search for the channels of a spec.
#[derive(Debug)]
pub struct Errand {
    place: Whereabouts,
    limit: Duration,
    /// How much of that is left for what channels bring.
    left: Duration,
    /// The repositories that they brought, whatever came of it, and the sizes of their mirrors, in bytes.
    brought: HashMap<String, u64>,
}

/// At which of the repositories that the spec names an errand is; at none once it has them all.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts(Arc<Mutex<Option<String>>>);

impl Whereabouts {
    /// The repository.
    pub fn url(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, url: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }
}

impl Errand {
    /// One that begins at `url` and may spend so much time on what channels bring.
    pub(super) fn new(url: Option<&str>, limit: Duration) -> Self {
        let place = Whereabouts::default();
        place.set(url.map(str::to_owned));
        Self { place, limit, left: limit, brought: HashMap::new() }
    }

    /// Where it is, from now on.
    pub fn whereabouts(&self) -> Whereabouts {
        self.place.clone()
    }

    /// It goes on to the next repository that the spec names. Once it had all, it stays nowhere.
    pub(super) fn goes_to(&self, url: &str) {
        if self.place.url().is_some() {
            self.place.set(Some(url.to_owned()));
        }
    }

    /// It has all that the spec names.
    pub(super) fn has_named(&self) {
        self.place.set(None);
    }

    /// Notes the size of a mirror of what channels bring, in bytes; gives that of all of them.
    pub(super) fn weigh(&mut self, url: &str, size: u64) -> u64 {
        self.brought.insert(url.to_owned(), size);
        self.brought.values().sum()
    }

    /// The repositories that channels have brought so far, whatever came of it.
    pub fn brought(&self) -> impl Iterator<Item = &str> {
        self.brought.keys().map(String::as_str)
    }

    /// Does a part of what channels bring, in the time that is left; gives the whole time when that is over.
    pub(super) async fn spend<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Duration> {
        let begun = Instant::now();
        let done = tokio::time::timeout(self.left, work).await;
        self.left = self.left.saturating_sub(begun.elapsed());
        done.map_err(|_| self.limit)
    }
}
