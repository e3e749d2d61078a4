//! Why a spec is blocked.

use crate::db::{BlockKind, BlockedSpec, MirrorProblem, NewBlock, PushId, StoredSpec, Trust};
use crate::domain::revision::ChannelCommit;
use crate::farm::fault::mentions_machine_fault;
use crate::farm::reconciler::retry_delay;
use crate::git::{HistoryError, MetadataError, Obstacle, RemoteError};

use super::Fetch;

/// Why the target of a spec is not evaluated.
#[derive(Debug)]
pub(super) struct BlockReason {
    kind: BlockKind,
    reason: String,
    /// The push that has to be acknowledged.
    push: Option<PushId>,
    /// The repository that gave no answer, or a wrong one.
    remote: Option<(String, MirrorProblem)>,
}

impl BlockReason {
    /// The commit of a channel does not descend from a commit that was evaluated before.
    pub(super) fn rollback(channel: &ChannelCommit, trust: &Trust) -> Self {
        let ChannelCommit { name, url, commit, origin } = channel;
        let base = trust.bases.last().map_or("", String::as_str);
        let hint = trust.push.map_or(String::new(), |push| {
            format!("\nhint: if that is meant, type `gorget acknowledge {push}`")
        });
        let reason = format!(
            "channel {name}: branch {} of {url} is at {commit}, which does not descend from {base}, \
             the last authentic commit that was evaluated{hint}",
            origin.branch
        );
        Self { kind: BlockKind::Rollback, reason, push: trust.push, remote: None }
    }

    /// It is unknown whether the commit of a channel descends from a commit that was evaluated
    /// before.
    pub(super) fn unknown_ancestry(channel: &ChannelCommit, error: &HistoryError) -> Self {
        let reason = format!("channel {}: {error}", channel.name);
        Self { kind: BlockKind::Failed, reason, push: None, remote: None }
    }
}

impl From<Obstacle> for BlockReason {
    fn from(obstacle: Obstacle) -> Self {
        let reason = obstacle.to_string();
        let mut remote = None;
        let kind = match obstacle {
            Obstacle::Bad { .. } | Obstacle::MissingIntroduction { .. } => BlockKind::Bad,
            Obstacle::Unknown { .. } => BlockKind::Unknown,
            Obstacle::Metadata { error: MetadataError::Wrong { .. }, .. } | Obstacle::TooMany { .. } => {
                BlockKind::Metadata
            }
            Obstacle::Remote { url, error, .. } => {
                // A repository that only this channel names must not delay the fetches of others.
                remote = url.map(|url| (url, problem(&error)));
                BlockKind::Failed
            }
            Obstacle::Metadata { .. }
            | Obstacle::Authentication { .. }
            | Obstacle::TooSlow { .. }
            | Obstacle::TooMuch { .. } => BlockKind::Failed,
        };
        Self { kind, reason, push: None, remote }
    }
}

fn problem(error: &RemoteError) -> MirrorProblem {
    match error {
        RemoteError::MissingBranch { .. } | RemoteError::MissingCommit { .. } => MirrorProblem::Missing,
        _ => MirrorProblem::Failed,
    }
}

impl Fetch {
    /// Records why a spec is blocked, and when to try again.
    pub(super) async fn block(
        &self,
        stored: &StoredSpec,
        target: &str,
        before: Option<&BlockedSpec>,
        trouble: &BlockReason,
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        let BlockReason { kind, reason, push, remote } = trouble;
        let name = &stored.spec.name;
        if before.is_none_or(|before| (before.target.as_str(), &before.reason) != (target, reason)) {
            tracing::warn!(spec.name = name, kind = kind.word(), "not evaluated: {reason}");
        }
        // A fault of the machine ends when it is repaired, so the fetch is retried soon.
        let soon = *kind == BlockKind::Failed && mentions_machine_fault(reason);
        let count = |failures: i64| if soon { 0 } else { failures };
        if let Some((url, problem)) = remote {
            let mirror = self.db.mirror(url).await?;
            let again = now + retry_delay(count(mirror.map_or(0, |mirror| mirror.failures)), url);
            self.db.record_fetch_failure(url, *problem, reason, now, again).await?;
        }
        let failures = before.filter(|before| before.target == target).map_or(0, |before| before.failures);
        let next_attempt = now + retry_delay(count(failures), name);
        let block = NewBlock { target, kind: *kind, reason, push: *push, next_attempt };
        Ok(self.db.block_spec(stored.id, &block, now).await?)
    }
}
