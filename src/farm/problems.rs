//! The problems of a farm, read from its database.

use crate::db::{Branch, Db, EvaluationState, Result, StoredSpec, Unserved};

/// A problem that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong; lines that begin with `hint:` say what to do.
    pub text: String,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Gorget could not do something that it was asked to do.
    Error,
    /// The farm waits for a person, as it was told to.
    Note,
}

impl Problem {
    fn error(text: String) -> Self {
        Self { severity: Severity::Error, text }
    }

    fn note(text: String) -> Self {
        Self { severity: Severity::Note, text }
    }
}

/// All problems, in the order of the flow.
pub async fn problems(db: &Db) -> Result<Vec<Problem>> {
    let specs = db.specs().await?;
    let mut problems = Vec::new();
    for branch in db.branches().await? {
        if let Some(reason) = branch.reason.as_ref().filter(|_| is_watched(&branch, &specs)) {
            problems.push(Problem::error(format!("branch {} of {}: {reason}", branch.name, branch.url)));
        }
    }
    for pause in db.pauses().await? {
        let what = format!("{} {}", pause.kind, pause.name);
        let text = format!("{} is paused by {}", what.trim_end(), pause.author);
        problems.push(Problem::note(format!("{text}\nhint: `gorget resume` lets it go on")));
    }
    for block in db.blocked_specs().await? {
        problems.push(Problem::error(format!("{} is not evaluated: {}", block.spec, block.reason)));
    }
    for server in db.failing_servers().await? {
        problems.push(Problem::error(format!("substitute server {}: {}", server.url, server.reason)));
    }
    for held in db.awaiting_approval().await? {
        problems.push(Problem::note(format!(
            "{} builds of {} for {} are held: {}\nhint: `gorget approve {}` has them built",
            held.count, held.spec, held.system, held.reason, held.evaluation
        )));
    }
    for Unserved { spec, system, count } in db.unserved().await? {
        problems.push(Problem::error(format!(
            "no coordinator serves {count} builds of {spec} for {system}\nhint: say in gorget.toml which one does"
        )));
    }
    let newest = db.newest_evaluations().await?.into_iter();
    for failed in newest.filter(|evaluation| evaluation.state == EvaluationState::Failed) {
        let reason = failed.reason.unwrap_or_default();
        problems.push(Problem::error(format!("{} for {}: {reason}", failed.spec, failed.system)));
    }
    Ok(problems)
}

/// Whether an active spec names the branch. Other branches were watched before, or belong to a
/// channel that a spec needs; a problem of such a channel blocks the spec and is reported as the
/// reason.
fn is_watched(branch: &Branch, specs: &[StoredSpec]) -> bool {
    let names = |stored: &StoredSpec| {
        let channels = &stored.spec.channels;
        channels.iter().any(|channel| (&channel.url, &channel.branch) == (&branch.url, &branch.name))
    };
    specs.iter().any(|stored| stored.present && stored.spec.active && names(stored))
}
