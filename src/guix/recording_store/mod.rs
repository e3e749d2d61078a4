//! A store daemon that only records.
//!
//! # Guarantees
//!
//! * Evaluated code never talks to a real daemon.
//! * Every derivation is checked as the real daemon would: output paths follow from the derivation.
//! * It tells a client only about what the evaluation itself added, and fetches nothing.
//! * It refuses builds, with an error that names what was to be built. If a spec permits builds,
//!   they are passed on to a real daemon (`Builds`).
//! * Its client is evaluated code: every length is limited, and a client that breaks the protocol
//!   is disconnected. The lock is held for look-ups only.
//!
//! # Design
//!
//! An evaluation asks the store daemon for one thing: to take texts and files and to return their
//! store paths. This server answers that on a Unix socket, without a store. It computes the paths
//! and passes everything on in the order in which it was added, inputs first. So it is the security
//! boundary, the fast path and the recording in one.

mod archive;
mod building;
mod builds;
mod connection;
#[cfg(fuzzing)]
pub mod fuzzed;
mod item;
mod queries;
mod recording;
mod requests;
mod streams;
mod unreadable;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

pub use builds::Builds;
pub use item::{Kind, RecordedDerivation, RecordedItem, StoreError};
pub use recording::{DrainGuard, Recording};
pub use requests::Requests;
pub use unreadable::Unreadable;

/// How many concurrent connections are accepted at most: a worker needs one.
const MOST_CONNECTIONS: usize = 256;

/// How long to wait after `accept` has failed.
const AFTER_A_FAULT: Duration = Duration::from_millis(50);

/// A running server.
#[derive(Debug)]
pub struct EvalStore {
    recording: Arc<Mutex<Arc<Recording>>>,
    directory: TempDir,
    stopping: Arc<AtomicBool>,
}

impl EvalStore {
    /// Listens on a new Unix socket.
    pub fn start(recording: Recording) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("gorget-store-").tempdir()?;
        let listener = UnixListener::bind(directory.path().join("socket"))?;
        let recording = Arc::new(Mutex::new(Arc::new(recording)));
        let stopping = Arc::new(AtomicBool::new(false));
        let store = Self { recording: recording.clone(), directory, stopping: stopping.clone() };
        thread::Builder::new()
            .name("eval-store".into())
            .spawn(move || accept(&listener, &recording, &stopping))?;
        Ok(store)
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The current recording.
    pub fn recording(&self) -> Arc<Recording> {
        lock(&self.recording).clone()
    }

    /// Clients that connect from now on use `recording`. Requests of earlier clients are refused.
    pub fn renew(&self, recording: Recording) -> Arc<Recording> {
        let new = Arc::new(recording);
        std::mem::replace(&mut *lock(&self.recording), new.clone()).close();
        new
    }
}

fn lock(recording: &Mutex<Arc<Recording>>) -> MutexGuard<'_, Arc<Recording>> {
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for EvalStore {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        lock(&self.recording).close();
        // Wakes the accepting thread, which then sees that it should stop.
        let _ = UnixStream::connect(self.socket());
    }
}

fn accept(listener: &UnixListener, recording: &Mutex<Arc<Recording>>, stopping: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            // Most likely there are no descriptors left.
            thread::sleep(AFTER_A_FAULT);
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (recording, count) = (lock(recording).clone(), open.clone());
        let served = thread::Builder::new().name("eval-store-client".into()).spawn(move || {
            if let Err(error) = connection::serve(&stream, &stream, &recording) {
                tracing::debug!(%error, "connection of a client of the recording store closed");
            }
            count.fetch_sub(1, Ordering::SeqCst);
        });
        if served.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
