//! Fetches what specs want evaluated, and asks for its evaluation once all of it is here.

use std::collections::HashMap;
use std::time::Duration;

use crate::channel::{Mirrors, RemoteError};
use crate::clock::Clock;
use crate::daemon::{Bells, Keeper, Once, Progress, back_off};
use crate::db::{Db, Evaluation, MirrorProblem, StoredSpec};
use crate::revision::{ChannelCommit, Revision};

/// The keeper that fetches.
#[derive(Debug)]
pub struct Fetch {
    /// Where specs, branches and evaluations stand.
    pub db: Db,
    /// Where it fetches to.
    pub mirrors: Mirrors,
    /// What time it is.
    pub clock: Clock,
    /// Whom to wake.
    pub bells: Bells,
    /// Whether to try again what failed a moment ago.
    pub once: Once,
}

impl Keeper for Fetch {
    const NAME: &'static str = "fetch";
    const PERIOD: Duration = Duration::from_secs(15);

    async fn step(&mut self) -> anyhow::Result<Progress> {
        let newest = self.db.newest_evaluations().await?;
        let tips = self.tips().await?;
        for stored in self.db.specs().await? {
            if !stored.present || !stored.spec.active {
                continue;
            }
            let Some(revision) = wanted(&stored, &tips) else { continue };
            if is_asked_for(&stored, &revision, &newest) || !self.fetch(&stored, &revision).await? {
                continue;
            }
            let now = self.clock.now();
            let spec = &stored.spec;
            let asked =
                self.db.request_evaluations(stored.id, &revision, &spec.build, &spec.systems, now).await?;
            tracing::info!(
                spec.name = spec.name,
                revision = revision.short(),
                evaluations = asked.len(),
                "evaluations are asked for"
            );
            self.bells.evaluate.ring();
            return Ok(Progress::Worked);
        }
        Ok(Progress::Idle)
    }
}

impl Fetch {
    /// The commit of every branch that is known, by URL and name.
    async fn tips(&self) -> anyhow::Result<HashMap<(String, String), String>> {
        let branches = self.db.branches().await?.into_iter();
        Ok(branches.filter_map(|branch| Some(((branch.url, branch.name), branch.tip?))).collect())
    }

    /// Fetches the commits of a revision; false when that does not succeed now.
    async fn fetch(&mut self, stored: &StoredSpec, revision: &Revision) -> anyhow::Result<bool> {
        for channel in &stored.spec.channels {
            let commit = revision.channels().iter().find(|other| other.name == channel.name);
            let Some(ChannelCommit { url, commit, .. }) = commit else { return Ok(false) };
            let mirror = self.db.mirror(url).await?;
            let rests = mirror.as_ref().is_some_and(|mirror| mirror.next_fetch > self.clock.now());
            let attempt = format!("{url} {commit}");
            if !self.once.wants(&attempt, !rests) {
                return Ok(false);
            }
            let result = self.mirrors.fetch(url, &channel.branch, commit).await;
            let now = self.clock.now();
            if let Err(error) = result {
                self.once.done(&attempt);
                let again = now + back_off(mirror.map_or(0, |mirror| mirror.failures));
                tracing::warn!(url, commit, "cannot fetch: {error}");
                self.db.record_fetch_failure(url, problem(&error), &error.to_string(), now, again).await?;
                return Ok(false);
            }
            self.db.record_fetch(url, now).await?;
        }
        Ok(true)
    }
}

fn problem(error: &RemoteError) -> MirrorProblem {
    match error {
        RemoteError::MissingBranch { .. } | RemoteError::MissingCommit { .. } => MirrorProblem::Missing,
        _ => MirrorProblem::Failed,
    }
}

/// The revision that a spec wants evaluated, if all of its branches are known.
fn wanted(stored: &StoredSpec, tips: &HashMap<(String, String), String>) -> Option<Revision> {
    let channels = stored.spec.channels.iter().map(|channel| {
        let tip = || tips.get(&(channel.url.clone(), channel.branch.clone())).cloned();
        let commit = channel.commit.clone().or_else(tip)?;
        Some(ChannelCommit { name: channel.name.clone(), url: channel.url.clone(), commit })
    });
    channels.collect::<Option<Vec<_>>>().map(Revision::new)
}

/// Whether the newest evaluation of each of the spec's systems is of this revision and these jobs.
fn is_asked_for(stored: &StoredSpec, revision: &Revision, newest: &[Evaluation]) -> bool {
    stored.spec.systems.iter().all(|system| {
        newest.iter().any(|evaluation| {
            let same = evaluation.revision == *revision && evaluation.build == stored.spec.build;
            evaluation.spec_id == stored.id && evaluation.system == *system && same
        })
    })
}
