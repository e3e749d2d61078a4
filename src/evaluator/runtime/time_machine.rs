//! A revision's Guix, built by a real daemon as `guix time-machine` has it built.
//!
//! The channel's own script says what to build. It runs in a sandbox and asks the recording store
//! for builds, which passes them on to the daemon. A link for each commit keeps the result from
//! the daemon's garbage collector until no evaluation needs it.

use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::evaluator::Daemon;
use crate::guix::daemon::Log;
use crate::guix::recording_store::{Builds, EvalStore, Recording};
use crate::guix::store_path::StorePath;
use crate::sandbox::{Finished, Limits};

use super::{InstalledGuix, RuntimeError, Source, installed_environment};

/// What computing the derivation may add to the evaluation store, in bytes.
const MOST_STORED: usize = 4 << 30;
/// Memory for computing the derivation, in bytes.
const MEMORY: u64 = 8 << 30;
/// How much of the log is kept, in bytes.
const LOG_SIZE: u64 = 16 << 20;

/// Builds Guix, and keeps the result.
#[derive(Debug, Clone)]
pub struct TimeMachine {
    /// The directory of links to what was built, and of logs, by commit. The daemon has to be able to
    /// read it.
    pub directory: PathBuf,
    /// The daemon that builds.
    pub daemon: Daemon,
    /// How long a build may take.
    pub limit: Duration,
}

impl TimeMachine {
    /// The Guix of the channel `guix`. Builds it unless it was built before.
    ///
    /// # Errors
    /// When it cannot be built, or what was built does not answer as a Guix does.
    pub(super) async fn guix(
        &self,
        installed: &InstalledGuix,
        channel: &Source,
    ) -> Result<InstalledGuix, RuntimeError> {
        let store = self.store()?;
        let link = self.directory.join(&channel.commit);
        let there = || fs_err::read_link(&link).ok().filter(|path| is_in(&store, path));
        let path = match there() {
            Some(path) => path,
            None => self.build(installed, channel, &store, &link).await?,
        };
        InstalledGuix::probe_built(&installed.root, &path.join("bin/guix"), &store).await
    }

    fn store(&self) -> Result<PathBuf, RuntimeError> {
        let Daemon { socket, store } = &self.daemon;
        let unreachable = |error| RuntimeError::NoDaemon { socket: socket.clone(), error };
        UnixStream::connect(socket).map_err(unreachable)?;
        Ok(fs_err::canonicalize(store)?)
    }

    async fn build(
        &self,
        installed: &InstalledGuix,
        channel: &Source,
        store: &Path,
        link: &Path,
    ) -> Result<PathBuf, RuntimeError> {
        fs_err::create_dir_all(&self.directory)?;
        let log = link.with_extension("log");
        let printed = Arc::new(Mutex::new(Log::new(fs_err::File::create(&log)?, LOG_SIZE)));
        let builds = Builds::new(self.daemon.socket.clone())?.logged_to(Arc::clone(&printed));
        let server = EvalStore::start(Recording::new(true, MOST_STORED).with_builds(builds))?;
        tracing::info!(commit = channel.commit, log = %log.display(), "building Guix");
        let finished = self.run(installed, channel, store, server.socket()).await?;
        append_log(&printed, &finished.stderr)?;
        // The script prints its result last.
        let said = finished.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        let said = said.filter(|_| finished.success());
        let path = said.and_then(|said| StorePath::parse(said).ok());
        let path = path.map(|path| PathBuf::from(path.to_string())).filter(|path| is_in(store, path));
        let Some(path) = path else {
            let (commit, reason) = (channel.commit.clone(), finished.reason());
            return Err(RuntimeError::NotBuilt { commit, reason, log });
        };
        // The daemon keeps the result as long as this store is connected; after that, the link
        // keeps it.
        let new = tempfile::tempdir_in(&self.directory)?;
        symlink(&path, new.path().join("link"))?;
        fs_err::rename(new.path().join("link"), link)?;
        let (recording, root) = (server.recording(), link.to_owned());
        let rooted = tokio::task::spawn_blocking(move || recording.root(&root)).await;
        rooted.map_err(io::Error::other)??;
        Ok(path)
    }

    /// Runs the script.
    async fn run(
        &self,
        installed: &InstalledGuix,
        channel: &Source,
        store: &Path,
        socket: PathBuf,
    ) -> Result<Finished, RuntimeError> {
        let work = tempfile::Builder::new().prefix("gorget-").tempdir()?;
        let script = work.path().join("time-machine.scm");
        fs_err::write(&script, include_str!("time_machine.scm"))?;
        // The clock goes on while the daemon builds.
        let limits = Limits::sandbox(MEMORY, self.limit);
        let inside = "/gorget/time-machine.scm";
        let mut process = installed_environment(installed, &[])?
            .confine(&installed.root, limits)
            .args(["--no-auto-compile", inside, &channel.commit, &channel.url, &MEMORY.to_string()])
            .readable(&script, inside)
            .readable(fs_err::canonicalize(&channel.checkout)?, "/gorget/source")
            .readable(store, "/gnu/store")
            .readable(socket, "/run/store")
            .env("GUIX_DAEMON_SOCKET", "/run/store")
            .spawn()?;
        Ok(process.finish(self.limit).await?)
    }
}

/// Whether the store has this item.
fn is_in(store: &Path, path: &Path) -> bool {
    path.file_name().is_some_and(|name| store.join(name).is_dir())
}

/// Ends the log with what the script printed itself.
fn append_log(log: &Mutex<Log<fs_err::File>>, stderr: &[u8]) -> io::Result<()> {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.take(stderr)?;
    log.finish()
}
