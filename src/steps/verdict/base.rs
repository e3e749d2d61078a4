use std::collections::HashMap;

use super::{Farm, Judge};
use crate::db::{Evaluation, EvaluationState, StoredSpec};
use crate::domain::spec::{Channel, Spec, System};
use crate::git::newest_ancestor;

/// How many of the newest evaluations of a base a branch may descend from.
const CANDIDATES: i64 = 300;

/// What a branch is compared with, or why there is nothing.
pub(super) type Base = Result<Evaluation, String>;

impl Judge {
    /// The evaluation to compare one of a branch with.
    pub(super) async fn base(
        &self,
        farm: &Farm,
        stored: &StoredSpec,
        base: &str,
        evaluation: &Evaluation,
    ) -> anyhow::Result<Base> {
        let Some(base) = farm.specs.iter().find(|one| one.present && one.spec.name == base) else {
            return Ok(Err(format!("there is no spec {base}, which `base` names")));
        };
        let Some(channel) = differing(&stored.spec, &base.spec) else {
            return Ok(Err(format!("{} has no channel in common with the spec", base.spec.name)));
        };
        let mut candidates = self.candidates(base, &evaluation.system, &channel.name).await?;
        let name = &base.spec.name;
        if candidates.is_empty() {
            return Ok(Err(format!("{name} has no complete evaluation for {}", evaluation.system)));
        }
        let commits = evaluation.revision.channels();
        let Some(at) = commits.iter().find(|one| one.name == channel.name) else {
            return Ok(Err(format!("evaluation {} has no channel {}", evaluation.id, channel.name)));
        };
        let among = candidates.keys().map(String::as_str).collect();
        let mirror = self.mirrors.of(commits, at).path(&at.url);
        Ok(match newest_ancestor(&mirror, &at.commit, &among).await {
            Ok(Some(commit)) => candidates.remove(&commit).ok_or_else(|| "the base is gone".to_owned()),
            Ok(None) => Err(format!("the branch contains no commit of {name} that was evaluated")),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The newest complete evaluations of a base, by the commit of a channel; of each commit, the newest.
    async fn candidates(
        &self,
        base: &StoredSpec,
        system: &System,
        channel: &str,
    ) -> anyhow::Result<HashMap<String, Evaluation>> {
        let mut candidates = HashMap::new();
        for one in self.db.evaluations(Some(&base.spec.name), Some(system), CANDIDATES).await? {
            let at = one.revision.channels().iter().find(|at| at.name == channel);
            if let (EvaluationState::Complete, Some(at)) = (one.state, at) {
                candidates.entry(at.commit.clone()).or_insert(one);
            }
        }
        Ok(candidates)
    }
}

/// The channel of a spec that is on another branch than the same channel of its base; if none is, the first
/// that both have.
fn differing<'a>(spec: &'a Spec, base: &Spec) -> Option<&'a Channel> {
    let both = || {
        spec.channels.iter().filter_map(|ours| {
            let other = base.channels.iter().find(|other| other.name == ours.name)?;
            Some((ours, (&ours.url, &ours.branch) != (&other.url, &other.branch)))
        })
    };
    both().find(|(_, differs)| *differs).or_else(|| both().next()).map(|(ours, _)| ours)
}
