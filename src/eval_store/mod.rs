//! A store daemon that only records.
//!
//! An evaluation asks the store daemon for one thing: to take texts and files and say what their
//! store paths are. This server answers that, on a Unix socket, without a store: it computes the
//! paths, checks every derivation as the real daemon would, and keeps what it was given for
//! [`EvalStore::drain`]. It refuses to build, to fetch and to tell about anything that the
//! evaluation did not add itself.
//!
//! It is the security boundary (the evaluated code never meets a real daemon), the fast path and
//! the recording in one. Evaluated code is its client: every length is bounded, and a client that
//! breaks the protocol loses its connection.

mod connection;
#[cfg(fuzzing)]
pub mod fuzzed;
mod memory;
mod wire;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

pub use memory::{Kind, Memory, Recorded, RecordedDerivation, StoreError};

/// More connections than this at a time are refused: a worker needs one.
const MOST_CONNECTIONS: usize = 256;

/// A running server.
#[derive(Debug)]
pub struct EvalStore {
    memory: Arc<Memory>,
    directory: TempDir,
    stopping: Arc<AtomicBool>,
}

impl EvalStore {
    /// Listens on a new Unix socket.
    pub fn start(memory: Memory) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("gorget-store-").tempdir()?;
        let listener = UnixListener::bind(directory.path().join("socket"))?;
        let memory = Arc::new(memory);
        let stopping = Arc::new(AtomicBool::new(false));
        let store = Self { memory: memory.clone(), directory, stopping: stopping.clone() };
        thread::Builder::new()
            .name("eval-store".into())
            .spawn(move || accept(&listener, &memory, &stopping))?;
        Ok(store)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// What has been recorded.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Drop for EvalStore {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.memory.close();
        // Wakes the accepting thread so that it sees that it is over.
        let _ = UnixStream::connect(self.socket());
    }
}

fn accept(listener: &UnixListener, memory: &Arc<Memory>, stopping: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (memory, count) = (memory.clone(), open.clone());
        let served = thread::Builder::new().name("eval-store-client".into()).spawn(move || {
            if let Err(error) = connection::serve(&stream, &stream, &memory) {
                tracing::debug!(%error, "a client of the evaluation store was cut off");
            }
            count.fetch_sub(1, Ordering::SeqCst);
        });
        if served.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
