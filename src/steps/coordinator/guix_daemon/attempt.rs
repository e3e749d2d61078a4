//! One build by the daemon, in a thread of its own.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::db::{Db, ItemKind, Times};
use crate::domain::attempt::Attempt;
use crate::guix::daemon::{ConnectionCloser, Contents, Daemon, DaemonError, Log};
use crate::guix::store_path::StorePath;

/// The daemon's status for a builder that failed, and for one that timed out.
const BUILD_FAILED: [u64; 2] = [100, 101];

/// The build to make.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) db: Db,
    /// Store path of the derivation.
    pub(super) derivation: String,
    pub(super) times: Times,
    /// Where the output is logged, and how much of it, in bytes.
    pub(super) log: PathBuf,
    pub(super) log_size: u64,
    /// Garbage collection roots for the outputs: each link, and its target.
    pub(super) roots: Vec<(PathBuf, String)>,
}

/// Stops an attempt from another thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    closer: Option<ConnectionCloser>,
}

impl Stop {
    /// Stops the attempt, at once or as soon as it is connected.
    pub(super) fn now(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        if let Some(closer) = state.closer.take() {
            closer.close();
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// Registers the connection to cut. Cuts it at once if the attempt was stopped already.
    pub(super) fn watch(&self, closer: ConnectionCloser) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            closer.close();
        }
        state.closer = Some(closer);
    }
}

/// Why the build was not made.
#[derive(Debug, thiserror::Error)]
enum Obstacle {
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("{0} is not among the items that evaluations added")]
    Missing(String),
    #[error("cannot read from the database what to build: {0}")]
    Db(#[from] crate::db::Error),
    #[error("cannot keep its log or its outputs: {0}")]
    Files(#[from] io::Error),
}

/// Builds; returns how it ended, and why if it did not succeed.
pub(super) fn build(work: &Work, mut daemon: Daemon, stop: &Stop) -> (Attempt, Option<String>) {
    match try_to_build(work, &mut daemon) {
        Ok(()) => (Attempt::Succeeded, None),
        Err(_) if stop.is_wanted() => (Attempt::Canceled, None),
        Err(obstacle) => {
            let failed = match &obstacle {
                Obstacle::Daemon(DaemonError::Refused { status, .. }) => BUILD_FAILED.contains(status),
                Obstacle::Daemon(DaemonError::OtherPath(_)) | Obstacle::Missing(_) => true,
                Obstacle::Daemon(DaemonError::Broken(_)) | Obstacle::Db(_) | Obstacle::Files(_) => false,
            };
            (if failed { Attempt::Failed } else { Attempt::FailedOther }, Some(obstacle.to_string()))
        }
    }
}

fn try_to_build(work: &Work, daemon: &mut Daemon) -> Result<(), Obstacle> {
    daemon.limit(work.times.max_silent_time, work.times.timeout)?;
    add_closure(&work.db, daemon, &work.derivation)?;
    let mut log = Log::new(fs_err::File::create(&work.log)?, work.log_size);
    let mut kept = Ok(());
    let built = daemon.build(&[&work.derivation], |text| {
        if kept.is_ok() {
            kept = log.take(text);
        }
    });
    // If the build failed, the end of the log has the reason. A build does not fail because its log
    // is incomplete.
    if let Err(error) = kept.and_then(|()| log.finish()) {
        tracing::warn!(log = %work.log.display(), "the log of a build is incomplete: {error}");
    }
    built?;
    add_gc_roots(work, daemon)
}

/// Makes the daemon keep the outputs. While the connection is open, it keeps them anyway.
fn add_gc_roots(work: &Work, daemon: &mut Daemon) -> Result<(), Obstacle> {
    for (link, output) in &work.roots {
        match fs_err::os::unix::fs::symlink(output, link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        daemon.add_indirect_root(link)?;
    }
    Ok(())
}

/// Adds the missing items of a derivation's closure to the daemon's store, inputs first.
fn add_closure(db: &Db, daemon: &mut Daemon, derivation: &str) -> Result<(), Obstacle> {
    let mut seen = HashSet::new();
    let mut waiting = Vec::new();
    let mut next = Some(derivation.to_owned());
    loop {
        if let Some(path) = next.take().filter(|path| seen.insert(path.clone())) {
            let missing = || Obstacle::Missing(path.clone());
            let path = StorePath::parse(path.as_bytes()).map_err(|_| missing())?;
            // If an item is in the store, so is everything that it refers to.
            if !daemon.hold(&path)? {
                let item = Handle::current().block_on(db.item(&path.hash_text()))?;
                let item = item.filter(|item| item.name == path.name()).ok_or_else(missing)?;
                let references: Vec<String> =
                    item.references(&path).iter().map(|name| format!("/gnu/store/{name}")).collect();
                waiting.push((path, item, references, 0));
            }
        }
        let Some((path, item, references, done)) = waiting.last_mut() else { return Ok(()) };
        next = references.get(*done).cloned();
        *done += 1;
        if next.is_none() {
            let contents = match item.kind {
                ItemKind::Text => Contents::Text(&item.contents, references),
                ItemKind::Nar => Contents::Nar(&item.contents),
            };
            daemon.add(path, contents)?;
            waiting.pop();
        }
    }
}
