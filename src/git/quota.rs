//! A fetch with a limit on what a server may send.
//!
//! While git fetches, the mirror is measured several times a second. git is killed once the mirror
//! is larger than `mirror-size`. If there was a mirror already, the fetch is tried once more into
//! an empty one. The holder of the mirror's lock removes what git leaves behind (`tmp_pack_*`,
//! locks) before and after each fetch. A repository that sent too much is not fetched for an hour.
//!
//! Objects are checked as they arrive (`fetch.fsckObjects`), except for faults that occur in real
//! histories and cause no trouble. Saving space (`git gc --auto`) is a separate step, which does
//! not count as part of what a server sends.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::blocking;
use super::remote::{Limits, RemoteError, presentable, run_failed};
use crate::sandbox::Tool;

/// The shortest time between two measurements of a mirror while git writes to it.
const PERIOD: Duration = Duration::from_millis(200);
/// One part in this many of the time may be spent on measuring.
const SHARE: u32 = 20;
/// How long a repository that sent too much is not fetched: the next try would send as much.
const REST: Duration = Duration::from_hours(1);

/// Repositories that sent too much recently, by their mirrors.
#[derive(Debug, Clone, Default)]
pub(super) struct FailedRepositories(Arc<Mutex<HashMap<PathBuf, Instant>>>);

impl FailedRepositories {
    pub(super) fn has(&self, mirror: &Path) -> bool {
        let mut cooling_down = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cooling_down.retain(|_, until| *until > Instant::now());
        cooling_down.contains_key(mirror)
    }

    pub(super) fn add(&self, mirror: &Path) {
        let mut cooling_down = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cooling_down.insert(mirror.to_owned(), Instant::now() + REST);
    }
}

/// Runs a git that writes to `mirror`, and kills it once the mirror exceeds its limit. Returns its
/// output.
pub(super) async fn run(git: &Tool, url: &str, mirror: &Path, limits: Limits) -> Result<String, RemoteError> {
    let mut process = git.spawn()?;
    let finished = tokio::select! {
        finished = process.finish(limits.fetch) => finished?,
        outgrown = outgrown(mirror, limits.size) => {
            outgrown?;
            process.kill();
            process.finish(limits.poll).await?;
            return Err(RemoteError::TooLarge { url: presentable(url), limit: limits.size });
        }
    };
    // git may have written more after the last measurement.
    if size(mirror).await? > limits.size {
        return Err(RemoteError::TooLarge { url: presentable(url), limit: limits.size });
    }
    if finished.success() {
        return Ok(String::from_utf8_lossy(&finished.stderr).into_owned());
    }
    Err(run_failed(&finished, url, limits.fetch))
}

/// Returns when the directory is larger than `limit`.
async fn outgrown(directory: &Path, limit: u64) -> io::Result<()> {
    loop {
        let begun = Instant::now();
        if size(directory).await? > limit {
            return Ok(());
        }
        tokio::time::sleep(PERIOD.max(begun.elapsed() * SHARE)).await;
    }
}

/// The total size of the files below a directory, in bytes.
pub(super) async fn size(directory: &Path) -> io::Result<u64> {
    let directory = directory.to_owned();
    blocking(move || {
        let (mut total, mut waiting) = (0, vec![directory]);
        while let Some(directory) = waiting.pop() {
            // git may remove and rename files meanwhile.
            let Ok(entries) = std::fs::read_dir(directory) else { continue };
            for entry in entries {
                let entry = entry?;
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    waiting.push(entry.path());
                }
                total += metadata.len();
            }
        }
        Ok(total)
    })
    .await
}

/// Removes what a killed git left behind: locks, which would block later runs, and incomplete
/// downloads.
pub(super) fn remove_leftovers(mirror: &Path) -> io::Result<()> {
    let mut waiting = vec![mirror.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs_err::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_left = ["tmp_", "incoming-", ".tmp-"].iter().any(|start| name.starts_with(start))
                || [".lock", ".temp", ".keep"].iter().any(|end| name.ends_with(end));
            match (entry.file_type()?.is_dir(), is_left) {
                (true, true) => fs_err::remove_dir_all(path)?,
                (true, false) => waiting.push(path),
                (false, true) => fs_err::remove_file(path)?,
                (false, false) => {}
            }
        }
    }
    Ok(())
}
