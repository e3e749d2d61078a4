//! Hands recorded items over to the database, and counts what all of them take.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::item::RecordedItem;
use super::super::requests::Requests;
use super::{MOST_ARRIVING, Recording};

/// If there are more items than this, a separate thread frees them.
const FREED_AT_ONCE: usize = 10_000;

/// Bytes that were drained and are not stored elsewhere yet.
#[derive(Debug)]
pub struct DrainGuard {
    recording: Arc<Recording>,
    bytes: usize,
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.recording.state.lock().unwrap_or_else(PoisonError::into_inner).held_bytes -= self.bytes;
        self.recording.drained.notify_all();
    }
}

impl Recording {
    /// Takes the items that were recorded since the last call, in the order in which they were
    /// added.
    pub fn drain(&self) -> Vec<RecordedItem> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending_bytes = 0;
        self.drained.notify_all();
        std::mem::take(&mut state.pending)
    }

    /// Like [`Recording::drain`], but the items count as recorded here until the returned `DrainGuard` is
    /// dropped.
    pub fn drain_guarded(self: Arc<Self>) -> (Vec<RecordedItem>, DrainGuard) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::take(&mut state.pending_bytes);
        state.held_bytes += bytes;
        let items = std::mem::take(&mut state.pending);
        drop(state);
        (items, DrainGuard { recording: self, bytes })
    }

    /// How many bytes wait to be drained.
    pub fn pending_bytes(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pending_bytes
    }

    /// Adds CPU time that was spent on answers.
    pub(in super::super) fn count_cpu(&self, used: Duration) {
        self.cpu_ns.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The CPU time that answers have taken so far.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// Counts bytes of an unfinished request; false when all clients together have sent too many.
    pub(in super::super) fn reserve_bytes(&self, bytes: usize) -> bool {
        self.arriving.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST_ARRIVING
    }

    /// Takes back that count: the request is finished.
    pub(in super::super) fn release_bytes(&self, bytes: usize) {
        self.arriving.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The number of requests so far.
    pub fn requests(&self) -> Requests {
        self.request_counts.so_far()
    }

    /// The number of items, and the number of bytes, that were added.
    pub fn totals(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.known.len(), state.bytes)
    }

    /// Refuses all later requests, and wakes waiting clients.
    pub(in super::super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.drained.notify_all();
        if let Some(builds) = &self.builds {
            builds.close();
        }
    }
}

impl Drop for Recording {
    /// Freeing a great many small objects is slow, and this may run in an async task.
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        if state.known.len() > FREED_AT_ONCE {
            let _ = thread::Builder::new().name("eval-store-end".into()).spawn(move || drop(state));
        }
    }
}
