//! Removes checkouts, and Guixes that were built, when nothing needs them any more.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::channel::Checkouts;
use crate::daemon::{Keeper, Progress};
use crate::db::Db;
use crate::revision::Revision;

/// The keeper that removes.
///
/// Needed are the commits of evaluations that wait or run, and of the last complete one of each spec
/// and system, with which the next is compared. What somebody uses right now stays as well.
#[derive(Debug)]
pub struct Collect {
    /// Where evaluations stand.
    pub db: Db,
    /// What it removes from.
    pub checkouts: Checkouts,
    /// The directory of links to Guixes that were built, and of logs, by commit.
    pub time_machine: PathBuf,
}

impl Keeper for Collect {
    const NAME: &'static str = "collect";
    const PERIOD: Duration = Duration::from_mins(10);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let needed = self.db.needed_revisions().await?;
        let commits: HashSet<String> =
            needed.iter().flat_map(Revision::channels).map(|c| c.commit.clone()).collect();
        let links = unlink(&self.time_machine, &commits).context("removing links to built Guixes")?;
        if links > 0 {
            tracing::info!(links, "Guixes that were built are left to the garbage collector");
        }
        let removed = self.checkouts.remove_unused(commits).await.context("removing checkouts")?;
        if removed > 0 {
            tracing::info!(commits = removed, "checkouts were removed");
        }
        Ok(Progress::Idle)
    }
}

/// Removes the files of `directory` that are called by commits, unless these are `needed`.
fn unlink(directory: &Path, needed: &HashSet<String>) -> io::Result<usize> {
    if !directory.exists() {
        return Ok(0);
    }
    let mut links = 0;
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        let commit = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if commit.len() == 40 && !needed.contains(commit) {
            links += usize::from(path.is_symlink());
            fs_err::remove_file(path)?;
        }
    }
    Ok(links)
}
