//! What was recorded, on its way to the database, and what all of it takes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::item::RecordedItem;
use super::super::requests::Requests;
use super::{MOST_ARRIVING, Recording};

/// More items than this are freed by a thread of their own.
const FREED_AT_ONCE: usize = 10_000;

/// What was drained and is not yet somewhere else.
#[derive(Debug)]
pub struct Held {
    memory: Arc<Recording>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.state.lock().unwrap_or_else(PoisonError::into_inner).held_bytes -= self.bytes;
        self.memory.drained.notify_all();
    }
}

impl Recording {
    /// Takes what was recorded since the last call, in the order in which it was added.
    pub fn drain(&self) -> Vec<RecordedItem> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending_bytes = 0;
        self.drained.notify_all();
        std::mem::take(&mut state.pending)
    }

    /// The same; it counts as recorded here until the second thing is dropped.
    pub fn drain_and_hold(self: Arc<Self>) -> (Vec<RecordedItem>, Held) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::take(&mut state.pending_bytes);
        state.held_bytes += bytes;
        let items = std::mem::take(&mut state.pending);
        drop(state);
        (items, Held { memory: self, bytes })
    }

    /// Bytes that wait to be drained.
    pub fn pending_bytes(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pending_bytes
    }

    /// Counts CPU time that answering took.
    pub(in super::super) fn count_cpu(&self, used: Duration) {
        self.cpu_ns.fetch_add(u64::try_from(used.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// CPU time that answering has taken up to now.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    /// Counts bytes that a client begins to send; false when too many are on their way.
    pub(in super::super) fn register(&self, bytes: usize) -> bool {
        self.arriving.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST_ARRIVING
    }

    /// They have all been dealt with.
    pub(in super::super) fn arrived(&self, bytes: usize) {
        self.arriving.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many requests were answered up to now.
    pub fn requests(&self) -> Requests {
        self.asked.so_far()
    }

    /// How many items and how many bytes were added.
    pub fn totals(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.known.len(), state.bytes)
    }

    /// Refuses everything from now on, and lets waiting clients go.
    pub(in super::super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.drained.notify_all();
        if let Some(builds) = &self.builds {
            builds.close();
        }
    }
}

impl Drop for Recording {
    /// Freeing a great many small things takes long, and this may be an asynchronous task.
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        if state.known.len() > FREED_AT_ONCE {
            let _ = thread::Builder::new().name("eval-store-end".into()).spawn(move || drop(state));
        }
    }
}
