//! The work for one spec: fetches, authenticates and completes its revision, and requests its
//! evaluation.

use anyhow::Context as _;

use crate::clock::Clock;
use crate::db::{BranchState, Db, Evaluation, PollResult, PushKind, StoredSpec};
use crate::domain::revision::{ChannelCommit, Revision, is_brought};
use crate::git::{ChannelSearch, HistoryError, Mirrors, Resolver, Tips, descends, steps};

use super::block_reason;

/// The most evaluations that one push requests, if every commit is evaluated.
const MOST_STEPS: usize = 200;

/// What the work for one spec needs.
#[derive(Debug, Clone)]
pub(super) struct FetchJob {
    pub(super) db: Db,
    pub(super) resolver: Resolver,
    pub(super) clock: Clock,
}

impl FetchJob {
    /// Fetches the target of a spec, and requests its evaluation.
    pub(super) async fn fetch(
        &self,
        stored: &StoredSpec,
        named: Vec<ChannelCommit>,
        before: Option<&Evaluation>,
        tips: &Tips,
        search: &mut ChannelSearch,
    ) -> anyhow::Result<Result<(), block_reason::BlockReason>> {
        let revision = match self.resolver.resolve(named.clone(), tips, search).await {
            Ok(revision) => revision,
            Err(obstacle) => return Ok(Err(obstacle.into())),
        };
        let now = self.clock.now();
        for channel in revision.channels() {
            let mirrors = self.resolver.mirrors.of(revision.channels(), channel);
            if !is_brought(revision.channels(), channel) {
                self.db.record_fetch(&channel.url, now).await?;
            }
            self.name_pushes(&mirrors, channel).await?;
        }
        for channel in revision.channels() {
            let mirrors = self.resolver.mirrors.of(revision.channels(), channel);
            if let Some(rollback) = self.rollback(&mirrors, channel).await? {
                return Ok(Err(rollback));
            }
        }
        let between = match before {
            Some(before) if stored.spec.every_commit => {
                self.between(&before.revision, &named, tips, search).await?
            }
            _ => Vec::new(),
        };
        self.follow(&revision, tips).await?;
        for warning in revision.warnings() {
            tracing::warn!(spec.name = stored.spec.name, "{warning}");
        }
        for revision in between.iter().chain([&revision]) {
            self.request_evaluations(stored, revision).await?;
        }
        self.db.unblock_spec(stored.id).await?;
        Ok(Ok(()))
    }

    async fn request_evaluations(&self, stored: &StoredSpec, revision: &Revision) -> anyhow::Result<()> {
        let (spec, now) = (&stored.spec, self.clock.now());
        let asked = self.db.request_evaluations(stored.id, revision, &spec.build, &spec.systems, now).await?;
        tracing::info!(
            spec.name = spec.name,
            revision = revision.short(),
            evaluations = asked.len(),
            "evaluations requested"
        );
        Ok(())
    }

    /// Records the mirrors that exist now. A failed fetch takes space too, until the mirror is
    /// collected.
    pub(super) async fn note(&self, search: &ChannelSearch) -> anyhow::Result<()> {
        let now = self.clock.now();
        for url in search.brought() {
            self.db.touch_mirror(url, now).await?;
        }
        Ok(())
    }

    /// Checks that an authenticated commit of a channel descends from the commits before; returns
    /// the reason if it does not. A pinned commit may be older on purpose.
    async fn rollback(
        &self,
        mirrors: &Mirrors,
        channel: &ChannelCommit,
    ) -> anyhow::Result<Option<block_reason::BlockReason>> {
        let ChannelCommit { url, commit, origin, .. } = channel;
        if origin.signer.is_none() || origin.pinned {
            return Ok(None);
        }
        let Some(trust) = self.db.trust(url, &origin.branch).await? else { return Ok(None) };
        let mirror = mirrors.path(url);
        for base in &trust.bases {
            match descends(&mirror, commit, base).await {
                Ok(true) => return Ok(None),
                Ok(false) => {}
                Err(HistoryError::Io(error)) => return Err(error).context("comparing commits"),
                Err(error) => return Ok(Some(block_reason::BlockReason::unknown_ancestry(channel, &error))),
            }
        }
        Ok(Some(block_reason::BlockReason::rollback(channel, &trust)))
    }

    /// Watches the branches of needed channels, and records authentic commits.
    async fn follow(&self, revision: &Revision, tips: &Tips) -> anyhow::Result<()> {
        let now = self.clock.now();
        for channel in revision.channels() {
            let ChannelCommit { url, commit, origin, .. } = channel;
            if origin.pinned {
                continue;
            }
            if !tips.contains_key(&(url.clone(), origin.branch.clone())) {
                self.db.ensure_branches(url, &[&origin.branch]).await?;
                let branches = self.db.branches().await?;
                let of_channel = branches.iter().filter(|b| b.url == *url && b.name == origin.branch);
                let seen = BranchState::At(commit.clone());
                let looks =
                    of_channel.map(|b| PollResult { branch: b.id, seen: seen.clone(), next_poll: now });
                self.db.record_polls(&looks.collect::<Vec<_>>(), now).await?;
            }
            if origin.signer.is_some() {
                self.db.record_trusted(url, &origin.branch, commit).await?;
            }
        }
        Ok(())
    }

    /// The revisions between the last one that was requested and the one that is wanted now: one
    /// channel after the other moves from commit to commit. A revision that cannot be fetched is
    /// left out.
    async fn between(
        &self,
        before: &Revision,
        named: &[ChannelCommit],
        tips: &Tips,
        search: &mut ChannelSearch,
    ) -> anyhow::Result<Vec<Revision>> {
        let mut now: Vec<ChannelCommit> = named.to_vec();
        for channel in &mut now {
            let old = before.channels().iter().find(|old| old.name == channel.name && old.url == channel.url);
            if let Some(old) = old {
                channel.commit.clone_from(&old.commit);
            }
        }
        let mut revisions = Vec::new();
        for (place, channel) in named.iter().enumerate() {
            let mirror = self.resolver.mirrors.path(&channel.url);
            let commits = steps(&mirror, &now[place].commit, &channel.commit, MOST_STEPS).await;
            let commits = commits.or_else(|error| match error {
                HistoryError::Io(error) => Err(error),
                error => {
                    tracing::warn!(url = channel.url, "commits skipped: {error}");
                    Ok(vec![channel.commit.clone()])
                }
            });
            for commit in commits.context("walking a history")? {
                now[place].commit = commit;
                match self.resolver.resolve(now.clone(), tips, search).await {
                    Ok(revision) => revisions.push(revision),
                    Err(obstacle) => tracing::warn!(url = channel.url, "commit skipped: {obstacle}"),
                }
            }
        }
        // The last one is the revision that is wanted now.
        revisions.pop();
        Ok(revisions)
    }

    /// Sets the kinds of pushes to the channel's branch, now that their commits are in the mirror.
    /// If a history is too long to walk, the kind stays unknown.
    async fn name_pushes(&self, mirrors: &Mirrors, channel: &ChannelCommit) -> anyhow::Result<()> {
        let ChannelCommit { url, origin, .. } = channel;
        for push in self.db.unnamed_pushes(url, &origin.branch).await? {
            let (Some(before), Some(after)) = (&push.before, &push.after) else { continue };
            match kind(mirrors, url, before, after).await {
                Ok(Some(kind)) => self.db.name_push(push.id, kind).await?,
                Ok(None) => {}
                Err(HistoryError::Io(error)) => return Err(error).context("comparing commits"),
                Err(error) => {
                    tracing::warn!(url, "cannot determine the kind of a push: {error}");
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The kind of a push; `None` when its commits were never fetched.
async fn kind(
    mirrors: &Mirrors,
    url: &str,
    before: &str,
    after: &str,
) -> Result<Option<PushKind>, HistoryError> {
    let mirror = mirrors.path(url);
    if !descends(&mirror, after, after).await? {
        return Ok(None);
    }
    Ok(Some(if descends(&mirror, after, before).await? {
        PushKind::Forward
    } else if descends(&mirror, before, after).await? {
        PushKind::Returned
    } else {
        // If the mirror lacks the commit before, that commit is not in the history.
        PushKind::Forced
    }))
}
