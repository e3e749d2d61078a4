//! Builds that an evaluation asks for. A real daemon makes them if the spec permits it.
//!
//! With `builds-while-evaluating`, everything that the evaluation adds is kept in an unnamed file.
//! When it asks for a build, the derivation and everything that it needs, inputs first, are added
//! to the machine's daemon, and nothing else. The build runs over a connection that stays open, so
//! that its results are not garbage-collected before the evaluation ends.
//!
//! The timeouts of units are suspended during a build. The timeout of the evaluation is not: when
//! it expires, the connection is cut and the daemon stops the build.
//!
//! The sandbox shows the whole store of the daemon, read-only. Its mounts are fixed when it starts,
//! before it is known what will be built, and copying the closures of outputs would take longer
//! than many builds. So such a spec can read what other builds of that machine left; stores are
//! readable by everybody anyway. It cannot have anything else built: the only valid paths are those
//! that it added, those that were built for it, and their references.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::archive::Archive;
use super::item::{Kind, RecordedItem};
use crate::guix::daemon::{ConnectionCloser, Contents, Daemon, DaemonError, Log};
use crate::guix::store_path::StorePath;

/// How many of the last lines of a build's output its error has.
const LAST_LINES: usize = 12;
/// The longest part of each such line that is kept, in bytes.
const LONGEST_LINE: usize = 300;

/// Makes the builds of an evaluation.
#[derive(Debug)]
pub struct Builds {
    socket: PathBuf,
    archive: Mutex<Archive>,
    /// The lock permits one build at a time; the daemon decides what it does in parallel within it.
    daemon: Mutex<Option<Daemon>>,
    /// Store paths of outputs that were built, and of their known references.
    built: Mutex<HashSet<Vec<u8>>>,
    progress: Mutex<Progress>,
    /// The log of the output of all builds.
    log: Option<Arc<Mutex<Log<fs_err::File>>>>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The running build, and when it started.
    current: Option<(String, Instant)>,
    /// The time that finished builds took.
    total: Duration,
    closer: Option<ConnectionCloser>,
    closed: bool,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("it is not a derivation that this evaluation added")]
    Unknown,
    #[error("the evaluation is over")]
    Closed,
    #[error(
        "the daemon at {} cannot be reached: {error}\nhint: start guix-daemon, or say in gorget.toml where it is: `daemon-socket` in [evaluate]",
        socket.display()
    )]
    Unreachable { socket: PathBuf, error: io::Error },
    #[error(transparent)]
    Kept(#[from] io::Error),
    #[error("{error}{log}")]
    Failed { error: DaemonError, log: String },
}

impl From<DaemonError> for BuildError {
    fn from(error: DaemonError) -> Self {
        Self::Failed { error, log: String::new() }
    }
}

impl Builds {
    /// Builds with the daemon at `socket`, to which it connects when the first build is asked for.
    pub fn new(socket: PathBuf) -> io::Result<Self> {
        Ok(Self {
            socket,
            archive: Mutex::new(Archive::new()?),
            daemon: Mutex::default(),
            built: Mutex::default(),
            progress: Mutex::default(),
            log: None,
        })
    }

    /// Also writes the output of builds to a file.
    #[must_use]
    pub fn logged_to(self, log: Arc<Mutex<Log<fs_err::File>>>) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Registers the link at `root`, which leads into the store, to keep its target from being
    /// garbage-collected.
    pub(super) fn root(&self, root: &Path) -> Result<(), BuildError> {
        let mut daemon = lock(&self.daemon);
        Ok(self.connected(&mut daemon)?.add_indirect_root(root)?)
    }

    /// Stores an added item.
    pub(super) fn archive(&self, item: &RecordedItem) -> io::Result<()> {
        lock(&self.archive).append(item)
    }

    /// Whether `path` is an output that was built for this evaluation, or a known reference of one.
    pub(super) fn has_built(&self, path: &[u8]) -> bool {
        lock(&self.built).contains(path)
    }

    /// The running build.
    pub(super) fn current(&self) -> Option<String> {
        lock(&self.progress).current.as_ref().map(|(what, _)| what.clone())
    }

    /// The time that all builds have taken so far.
    pub(super) fn time(&self) -> Duration {
        let progress = lock(&self.progress);
        progress.total + progress.current.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// Stops the running build, and refuses all later ones.
    pub(super) fn close(&self) {
        let mut progress = lock(&self.progress);
        progress.closed = true;
        if let Some(closer) = progress.closer.take() {
            closer.close();
        }
    }

    /// Builds `wanted`: derivations, each with or without `!` and an output. Afterwards, `outputs`
    /// exist.
    pub(super) fn build(&self, wanted: &[Vec<u8>], outputs: &[StorePath]) -> Result<(), BuildError> {
        let derivations = wanted.iter().map(|text| derivation_of(text).ok_or(BuildError::Unknown));
        let derivations = derivations.collect::<Result<Vec<_>, _>>()?;
        let what = match &derivations[..] {
            [] => return Ok(()),
            [one] => one.to_string(),
            [one, others @ ..] => format!("{one} and {} more", others.len()),
        };
        let mut daemon = lock(&self.daemon);
        let begun = Instant::now();
        lock(&self.progress).current = Some((what.clone(), begun));
        let result = self.build_with(&mut daemon, &derivations, wanted);
        let closed = {
            let mut progress = lock(&self.progress);
            progress.current = None;
            progress.total += begun.elapsed();
            progress.closed
        };
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(()) => {
                tracing::info!(derivation = what, duration_ms, "built while evaluating");
                let outputs: Vec<Vec<u8>> =
                    outputs.iter().map(|path| path.to_string().into_bytes()).collect();
                lock(&self.built).extend(outputs);
            }
            Err(BuildError::Failed { error: DaemonError::Broken(_), .. }) => *daemon = None,
            Err(_) => {}
        }
        if closed { Err(BuildError::Closed) } else { result }
    }

    fn build_with(
        &self,
        daemon: &mut Option<Daemon>,
        derivations: &[StorePath],
        wanted: &[Vec<u8>],
    ) -> Result<(), BuildError> {
        let daemon = self.connected(daemon)?;
        let closure = lock(&self.archive).closure(derivations)?.ok_or(BuildError::Unknown)?;
        for entry in &closure {
            let contents = lock(&self.archive).contents(entry)?;
            let references: Vec<String> = entry.references.iter().map(ToString::to_string).collect();
            daemon.add(
                &entry.path,
                match entry.kind {
                    Kind::Text => Contents::Text(&contents, &references),
                    Kind::Nar => Contents::Nar(&contents),
                },
            )?;
        }
        let mut log = LastLines::default();
        let result = daemon.build(wanted, |text| {
            // A full disk is no reason to abandon a build.
            let _ = self.log.as_ref().map(|log| lock(log).take(text));
            log.take(text);
        });
        result.map_err(|error| BuildError::Failed { error, log: log.end() })
    }

    /// The references of `path`, which was built.
    pub(super) fn references(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, BuildError> {
        let mut daemon = lock(&self.daemon);
        let references = self.connected(&mut daemon)?.references(path)?;
        lock(&self.built).extend(references.iter().cloned());
        Ok(references)
    }

    fn connected<'a>(&self, daemon: &'a mut Option<Daemon>) -> Result<&'a mut Daemon, BuildError> {
        if daemon.is_none() {
            let unreachable = |error| BuildError::Unreachable { socket: self.socket.clone(), error };
            let (connected, closer) = Daemon::connect(&self.socket).map_err(unreachable)?;
            lock(&self.progress).closer = Some(closer);
            *daemon = Some(connected);
        }
        // Either `close` finds the connection that was just stored, or this sees that it has run.
        if lock(&self.progress).closed {
            return Err(BuildError::Closed);
        }
        daemon.as_mut().ok_or(BuildError::Closed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of the derivation in `PATH` or `PATH!OUTPUT`.
pub(super) fn derivation_of(wanted: &[u8]) -> Option<StorePath> {
    let end = wanted.iter().position(|byte| *byte == b'!').unwrap_or(wanted.len());
    StorePath::parse(&wanted[..end]).ok().filter(|path| path.derivation_name().is_some())
}

/// The last lines of the output of builds.
#[derive(Debug, Default)]
struct LastLines {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl LastLines {
    fn take(&mut self, text: &[u8]) {
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.open.len());
            self.open.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.line();
            }
        }
    }

    fn line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.open)).trim_end().to_owned();
        if !line.is_empty() {
            tracing::debug!(?line, "a build while evaluating");
            self.lines.push_back(line);
        }
        if self.lines.len() > LAST_LINES {
            self.lines.pop_front();
        }
    }

    fn end(mut self) -> String {
        self.line();
        self.lines.iter().fold(String::new(), |text, line| text + "\n  " + line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_end_is_kept() {
        let mut log = LastLines::default();
        for number in 0..100 {
            log.take(format!("{number}\n\nbegun ").as_bytes());
        }
        log.take(&[b'x'; 10_000]);
        let end = log.end();
        assert!(end.starts_with("\n  begun 89\n  begun 90\n") && end.len() < 500, "{end}");
    }
}
