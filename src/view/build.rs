use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::{Seconds, readable};
use crate::db::{self, BuildId, BuildState, EvaluationId};
use crate::domain::revision::Revision;
use crate::view::sorted;

/// A build.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Build<'a> {
    /// The last answer of the coordinator, or another explanation of the state.
    pub answer: Option<&'a str>,
    /// How often the coordinator was asked for it.
    pub attempts: i64,
    /// The jobs of the failed builds that it needs. Only in answers that look for these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<Vec<&'a str>>,
    /// The coordinator that has it, or will get it.
    pub coordinator: Option<&'a str>,
    /// When it was queued or became known, as text.
    pub created: String,
    /// When it was queued or became known.
    pub created_at: Seconds,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// The evaluation that wanted it first.
    pub evaluation: EvaluationId,
    /// Its number.
    pub id: BuildId,
    /// The job that wanted it.
    pub job: &'a str,
    /// The priority of its spec, 0 (first) to 9 (last).
    pub priority: i64,
    /// The coordinator's id of it.
    pub reference: Option<&'a str>,
    /// The revision of the evaluation.
    #[serde(serialize_with = "sorted")]
    pub revision: &'a Revision,
    /// The spec of the evaluation.
    pub spec: &'a str,
    /// Its state.
    pub state: BuildState,
    /// The system of the evaluation.
    pub system: &'a str,
    /// Whether it is queued although no coordinator serves it.
    pub unserved: bool,
    /// The coordinator's priority: larger comes first.
    pub urgency: i64,
}

impl<'a> Build<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Build) -> Self {
        Self {
            answer: row.answer.as_deref(),
            attempts: row.attempts,
            blocked_by: None,
            coordinator: row.coordinator.as_deref().filter(|name| !name.is_empty()),
            created: readable(row.created_at),
            created_at: row.created_at,
            derivation: &row.derivation,
            evaluation: row.evaluation,
            id: row.id,
            job: &row.job,
            priority: row.priority,
            reference: row.reference.as_deref(),
            revision: &row.revision,
            spec: &row.spec,
            state: row.state,
            system: row.system.as_str(),
            unserved: row.state == BuildState::Queued && row.coordinator.as_deref() == Some(""),
            urgency: row.urgency,
        }
    }

    /// Adds the failed builds that it needs, of those in `blockers`.
    #[must_use]
    pub fn blocked(self, blockers: &'a [db::Blocker]) -> Self {
        let causes = blockers.iter().filter(|blocker| blocker.blocked.binary_search(&self.id).is_ok());
        Self { blocked_by: Some(causes.map(|blocker| blocker.build.job.as_str()).collect()), ..self }
    }

    /// The explanation of its state, in words.
    pub fn reason(&self) -> &'a str {
        match self.answer {
            None if self.unserved => "no coordinator serves it",
            answer => answer.unwrap_or_default(),
        }
    }
}

/// The builds of a queue.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Queue<'a> {
    /// Whether these are all.
    pub complete: bool,
    /// The builds, by state, in the order of submission.
    pub items: Vec<Build<'a>>,
}

/// A failed build that other builds wait for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Blocker<'a> {
    /// How many builds wait for it.
    pub blocks: usize,
    /// The store path of its derivation.
    pub derivation: &'a str,
    /// The job that wanted it.
    pub job: &'a str,
    /// The spec that wanted it first.
    pub spec: &'a str,
    /// Its state: failed or rejected.
    pub state: BuildState,
}

impl<'a> Blocker<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::Blocker) -> Self {
        let build = &row.build;
        Self {
            blocks: row.blocked.len(),
            derivation: &build.derivation,
            job: &build.job,
            spec: &build.spec,
            state: build.state,
        }
    }
}

/// How many builds of a spec and system are in one state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuildCount<'a> {
    /// How many.
    pub count: i64,
    /// The spec that wanted them first.
    pub spec: &'a str,
    /// Their state.
    pub state: BuildState,
    /// Their system.
    pub system: &'a str,
}

impl<'a> BuildCount<'a> {
    /// The view of a row.
    pub fn new(row: &'a db::BuildCount) -> Self {
        let db::BuildCount { spec, system, state, count } = row;
        Self { count: *count, spec, state: *state, system }
    }
}

/// The number of builds in each state that has any, in the order in which states are shown.
pub fn totals(counts: &[BuildCount<'_>]) -> Vec<(BuildState, i64)> {
    let total = |state| {
        let of_state = counts.iter().filter(|count| count.state == state);
        of_state.map(|count| count.count).reduce(|sum, count| sum + count)
    };
    BuildState::ALL.into_iter().filter_map(|state| Some((state, total(state)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_in_the_order_in_which_people_are_shown_states() {
        let count = |state, count| BuildCount { count, spec: "master", state, system: "x86_64-linux" };
        let counts =
            [count(BuildState::Failed, 1), count(BuildState::Queued, 2), count(BuildState::Failed, 4)];
        assert_eq!(totals(&counts), [(BuildState::Queued, 2), (BuildState::Failed, 5)]);
    }
}
