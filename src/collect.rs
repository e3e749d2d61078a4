//! Removes checkouts that nothing needs any more.

use std::collections::HashSet;
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
}

impl Keeper for Collect {
    const NAME: &'static str = "collect";
    const PERIOD: Duration = Duration::from_mins(10);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let needed = self.db.needed_revisions().await?;
        let commits: HashSet<String> =
            needed.iter().flat_map(Revision::channels).map(|c| c.commit.clone()).collect();
        let removed = self.checkouts.remove_unused(commits).await.context("removing checkouts")?;
        if removed > 0 {
            tracing::info!(commits = removed, "checkouts were removed");
        }
        Ok(Progress::Idle)
    }
}
