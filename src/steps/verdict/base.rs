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
        let name = &base.spec.name;
        let complete = self.complete(base, &evaluation.system).await?;
        if complete.is_empty() {
            return Ok(Err(format!("{name} has no complete evaluation for {}", evaluation.system)));
        }
        let candidates = candidates(complete, evaluation, &channel.name);
        if candidates.is_empty() {
            let text =
                "no evaluation of it computes the same jobs, with the same commits of all other channels";
            return Ok(Err(format!("{name}: {text}")));
        }
        let commits = evaluation.revision.channels();
        let Some(at) = commits.iter().find(|one| one.name == channel.name) else {
            return Ok(Err(format!("evaluation {} has no channel {}", evaluation.id, channel.name)));
        };
        let among = candidates.keys().map(String::as_str).collect();
        let mirror = self.mirrors.of(commits, at).path(&at.url);
        Ok(match newest_ancestor(&mirror, &at.commit, &among).await {
            Ok(found) => found.and_then(|commit| candidates.get(&commit).cloned()).ok_or_else(|| {
                format!("none of the evaluated commits of {name} is among the newest of the branch's history")
            }),
            Err(error) => {
                tracing::warn!(spec.name = stored.spec.name, "no base: {error}");
                Err("the history of the branch cannot be read on this host".to_owned())
            }
        })
    }

    /// The newest complete evaluations of a spec.
    async fn complete(&self, spec: &StoredSpec, system: &System) -> anyhow::Result<Vec<Evaluation>> {
        let newest = self.db.evaluations(Some(&spec.spec.name), Some(system), CANDIDATES).await?;
        Ok(newest.into_iter().filter(|one| one.state == EvaluationState::Complete).collect())
    }
}

/// Those of the evaluations of a base that differ from one of a branch in the commit of `channel`
/// at most, by that commit; of each commit, the newest.
fn candidates(complete: Vec<Evaluation>, branch: &Evaluation, channel: &str) -> HashMap<String, Evaluation> {
    let others = |one: &Evaluation| -> Vec<(String, String)> {
        let named = one.revision.named().filter(|at| at.name != channel);
        named.map(|at| (at.name.clone(), at.commit.clone())).collect()
    };
    let wanted = others(branch);
    let mut candidates = HashMap::new();
    for one in complete {
        let at = one.revision.channels().iter().find(|at| at.name == channel).map(|at| at.commit.clone());
        if let Some(at) = at
            && one.build == branch.build
            && others(&one) == wanted
        {
            candidates.entry(at).or_insert(one);
        }
    }
    candidates
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
