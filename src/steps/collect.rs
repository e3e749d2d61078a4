//! Removes checkouts, mirrors, and links to built Guixes and outputs that are no longer needed.
//! Also deletes the rows of old pushes and of branches that nothing watches.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::clock::{Clock, Seconds};
use crate::db::{BranchId, BuildId, Db};
use crate::domain::revision::Revision;
use crate::farm::context::Context;
use crate::farm::reconciler::{Reconciler, StepOutcome};
use crate::git::{Checkouts, Mirrors};

/// How long an unneeded mirror is kept after its last fetch: specs come back, and first fetches are
/// slow.
const MIRROR_RETENTION: Seconds = 30 * 24 * 60 * 60;
/// The total size limit of the logs of builds, in bytes.
const MOST_LOGS: u64 = 10 << 30;
/// The same for a mirror that no spec names, only a channel: strangers can cause any number of new
/// ones.
const BROUGHT_RETENTION: Seconds = 3 * DAY;
/// How much longer the row of a mirror is kept, so that every machine has time to remove its own
/// copy.
const GRACE: Seconds = DAY;
const DAY: Seconds = 24 * 60 * 60;
/// How long an unwatched branch is remembered after its last poll: if it existed then, and if it
/// was gone.
const BRANCH_RETENTION: Seconds = 30 * DAY;
const GONE_RETENTION: Seconds = DAY;
/// The same for a branch with an authentic commit that later commits must descend from.
const TRUST_RETENTION: Seconds = 365 * DAY;

/// The reconciler that removes what is no longer needed.
///
/// It keeps the commits of pending and running evaluations, and of the last complete evaluation of
/// each spec and system, with which the next is compared. It also keeps what is in use right now.
#[derive(Debug)]
pub struct Collect {
    db: Db,
    clock: Clock,
    places: Places,
}

/// The places that files are removed from.
#[derive(Debug)]
pub struct Places {
    /// The checkouts of commits.
    pub checkouts: Checkouts,
    /// The mirrors of repositories.
    pub mirrors: Mirrors,
    /// The directory with links to built Guixes, and with logs, both named by commit.
    pub time_machine: PathBuf,
    /// The directory with links, named `BUILD-OUTPUT`, to what this machine built.
    pub roots: PathBuf,
    /// The directory of logs of builds on this machine.
    pub logs: PathBuf,
}

impl Reconciler for Collect {
    const NAME: &'static str = "collect";
    const PERIOD: Duration = Duration::from_mins(10);

    async fn step(&mut self) -> anyhow::Result<StepOutcome> {
        let needed = self.db.needed_revisions().await?;
        let commits: HashSet<String> =
            needed.iter().flat_map(Revision::channels).map(|c| c.commit.clone()).collect();
        let links =
            unlink(&self.places.time_machine, &commits).context("removing GC roots of built Guixes")?;
        if links > 0 {
            tracing::info!(links, "GC roots of built Guixes removed");
        }
        let links = self.unlink_outputs().await.context("removing GC roots of outputs")?;
        if links > 0 {
            tracing::info!(links, "GC roots of outputs removed");
        }
        let logs = self.places.logs.clone();
        let removed = tokio::task::spawn_blocking(move || remove_logs(&logs, MOST_LOGS)).await?;
        let removed = removed.context("removing logs of builds")?;
        if removed > 0 {
            tracing::info!(removed, "oldest logs of builds removed: they took more space than allowed");
        }
        let removed = self.places.checkouts.remove_unused(commits).await.context("removing checkouts")?;
        if removed > 0 {
            tracing::info!(commits = removed, "checkouts removed");
        }
        self.remove_mirrors(&needed).await?;
        self.forget().await?;
        Ok(StepOutcome::Idle)
    }
}

impl Collect {
    /// Removes from `places`.
    pub fn new(context: &Context, places: Places) -> Self {
        Self { db: context.db.clone(), clock: context.clock.clone(), places }
    }

    /// Removes the links to outputs that are no longer wanted.
    async fn unlink_outputs(&self) -> anyhow::Result<usize> {
        if !self.places.roots.exists() {
            return Ok(0);
        }
        let mut links: Vec<(BuildId, PathBuf)> = Vec::new();
        for entry in fs_err::read_dir(&self.places.roots)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok());
            links.extend(number.map(|number| (BuildId(number), entry.path())));
        }
        let builds: Vec<BuildId> = links.iter().map(|(build, _)| *build).collect();
        let kept = self.db.gc_roots(&builds, &self.db.plan_input().await?.live).await?;
        links.retain(|(build, _)| !kept.contains(build));
        for (_, link) in &links {
            fs_err::remove_file(link)?;
        }
        Ok(links.len())
    }

    /// Deletes pushes, branches and specs that a repository could otherwise make grow without
    /// limit.
    async fn forget(&self) -> anyhow::Result<()> {
        let specs = self.db.specs().await?;
        let present = || specs.iter().filter(|stored| stored.present);
        let mut watched: HashSet<(&str, &str)> = present()
            .flat_map(|stored| &stored.spec.channels)
            .map(|channel| (channel.url.as_str(), channel.branch.as_str()))
            .collect();
        let newest = self.db.newest_evaluations().await?;
        let newest = newest.iter().filter(|newest| present().any(|stored| stored.id == newest.spec_id));
        let channels = newest.flat_map(|evaluation| evaluation.revision.channels());
        watched.extend(channels.map(|channel| (channel.url.as_str(), channel.origin.branch.as_str())));
        let trusted: HashSet<BranchId> = self.db.trusted_branches().await?.into_iter().collect();
        let now = self.clock.now();
        let branches = self.db.branches().await?;
        let unwatched = branches.iter().filter(|b| !watched.contains(&(b.url.as_str(), b.name.as_str())));
        let forgotten = unwatched.filter(|branch| {
            let rest = match &branch.tip {
                _ if trusted.contains(&branch.id) => TRUST_RETENTION,
                None => GONE_RETENTION,
                Some(_) => BRANCH_RETENTION,
            };
            branch.polled_at.is_some_and(|polled_at| polled_at < now - rest)
        });
        let forgotten: Vec<BranchId> = forgotten.map(|branch| branch.id).collect();
        let branches = self.db.forget_branches(&forgotten).await?;
        let specs = self.db.forget_made_specs().await?;
        let pushes = self.db.forget_old_pushes().await?;
        if branches + specs + pushes > 0 {
            tracing::info!(branches, specs, pushes, "old branches, specs and pushes removed");
        }
        Ok(())
    }

    /// Removes the mirrors of repositories that, for a long time, neither a spec has named nor a
    /// needed revision has used.
    async fn remove_mirrors(&self, needed: &[Revision]) -> anyhow::Result<()> {
        let specs = self.db.specs().await?;
        let named = specs.iter().filter(|stored| stored.present).flat_map(|stored| &stored.spec.channels);
        let mut urls: HashSet<&str> = named.map(|channel| channel.url.as_str()).collect();
        urls.extend(needed.iter().flat_map(Revision::channels).map(|channel| channel.url.as_str()));
        let long_ago = self.clock.now() - MIRROR_RETENTION;
        for mirror in self.db.mirrors().await? {
            let touched = mirror.fetched_at.max(mirror.failed_at).unwrap_or_default();
            if urls.contains(mirror.url.as_str()) {
                continue;
            }
            for (mirrors, rest) in [
                (&self.places.mirrors, MIRROR_RETENTION),
                (&self.places.mirrors.for_brought_channels(), BROUGHT_RETENTION),
            ] {
                if touched < self.clock.now() - rest && mirrors.path(&mirror.url).exists() {
                    mirrors.discard(&mirror.url).await.context("removing a mirror")?;
                    tracing::info!(url = mirror.url, "unused mirror removed");
                }
            }
            if touched < long_ago - GRACE {
                self.db.forget_mirror(&mirror.url).await?;
            }
        }
        Ok(())
    }
}

/// Removes the oldest files of `directory` until the others take at most `most` bytes.
fn remove_logs(directory: &Path, most: u64) -> io::Result<usize> {
    if !directory.exists() {
        return Ok(0);
    }
    let mut files = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_file() {
            files.push((found.modified()?, found.len(), entry.path()));
        }
    }
    files.sort_unstable();
    let mut left: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    let mut removed = 0;
    for (_, bytes, path) in files {
        if left <= most {
            break;
        }
        fs_err::remove_file(path)?;
        left -= bytes;
        removed += 1;
    }
    Ok(removed)
}

/// Removes the files of `directory` that are named after commits, except those of `needed` ones.
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_oldest_logs_go_when_they_take_too_much() {
        let directory = tempfile::tempdir().unwrap();
        for (age, name) in ["new", "old", "older"].iter().enumerate() {
            let file = fs_err::File::create(directory.path().join(name)).unwrap();
            file.set_len(1000).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(10 - age as u64)).unwrap();
        }
        assert_eq!(remove_logs(directory.path(), 3000).unwrap(), 0);
        assert_eq!(remove_logs(directory.path(), 1999).unwrap(), 2);
        assert!(directory.path().join("new").exists());
        assert_eq!(remove_logs(&directory.path().join("none"), 0).unwrap(), 0);
    }
}
