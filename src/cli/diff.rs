//! `gorget diff`: two evaluations compared.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Exit, at_fault, browse, tell};
use crate::config::Config;
use crate::db::{Db, Evaluation, EvaluationId, EvaluationState, Job};
use crate::diff::{self, compare};

/// Compares two evaluations: which jobs were added, removed, changed, or could not be evaluated
#[derive(Debug, clap::Args)]
pub(super) struct Diff {
    /// Number of the first evaluation, as `gorget status` shows it
    a: i64,
    /// Number of the second one
    b: i64,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Diff, config: Config) -> anyhow::Result<Exit> {
    let db = browse::open(&config).await?;
    let (a, b) = (complete(&db, args.a).await?, complete(&db, args.b).await?);
    let (first, second) = db.changed_jobs(a.id, b.id).await?;
    let (failed_first, failed_second) = (db.errors(a.id).await?, db.errors(b.id).await?);
    let names =
        |errors: &[crate::db::JobError]| errors.iter().map(|e| e.name.clone()).collect::<BTreeSet<_>>();
    let diff = compare(jobs(first), jobs(second), &names(&failed_first), &names(&failed_second));
    let new_errors: Vec<_> = failed_second.iter().filter(|error| !failed_first.contains(error)).collect();
    if args.json {
        let errors: Vec<_> = new_errors
            .iter()
            .map(|e| json!({ "name": e.name, "cause": e.cause, "message": e.message }))
            .collect();
        tell::json(&json!({
            "a": { "evaluation": a.id.0, "revision": a.revision, "system": a.system },
            "b": { "evaluation": b.id.0, "revision": b.revision, "system": b.system },
            "diff": diff,
            "new_errors": errors,
        }))?;
        return Ok(Exit::Done);
    }
    show(&diff)?;
    for error in &new_errors {
        tell::line(&format!("! {} ({}): {}", error.name, error.cause, error.message))?;
    }
    tell::line(&format!(
        "{} changed, {} added, {} removed, {} broken, {} mended; {} new",
        diff.changed.len(),
        diff.added.len(),
        diff.removed.len(),
        diff.broken.len(),
        diff.mended.len(),
        tell::count(new_errors.len(), "error", "errors")
    ))?;
    Ok(Exit::Done)
}

fn show(diff: &diff::Diff) -> std::io::Result<()> {
    let named = |job: &str, version: &Option<String>| match version {
        Some(version) => format!("{job} {version}"),
        None => job.to_owned(),
    };
    for job in diff.added.iter().chain(&diff.mended) {
        tell::line(&format!("+ {}", named(&job.job, &job.version)))?;
    }
    for job in &diff.removed {
        tell::line(&format!("- {}", named(&job.job, &job.version)))?;
    }
    for job in &diff.broken {
        tell::line(&format!("! {} could not be evaluated", job.job))?;
    }
    for change in &diff.changed {
        let what = match (&change.versions, change.same_outputs) {
            (Some((before, after)), _) => format!(" {before} -> {after}"),
            (None, true) => " (same outputs, nothing to build)".to_owned(),
            (None, false) => String::new(),
        };
        tell::line(&format!("~ {}{what}", change.job))?;
    }
    Ok(())
}

fn jobs(jobs: Vec<Job>) -> Vec<diff::Job> {
    jobs.into_iter()
        .map(|Job { name, derivation, outputs, facts }| diff::Job {
            name,
            derivation,
            outputs,
            version: facts.version,
        })
        .collect()
}

async fn complete(db: &Db, number: i64) -> anyhow::Result<Evaluation> {
    let hint = "hint: `gorget status` shows the numbers of evaluations";
    let evaluation = db
        .evaluation(EvaluationId(number))
        .await?
        .ok_or_else(|| at_fault(format!("there is no evaluation {number}\n{hint}")))?;
    if evaluation.state == EvaluationState::Complete {
        return Ok(evaluation);
    }
    Err(at_fault(format!(
        "evaluation {number} is {}, not complete\n{hint}",
        super::status::word(evaluation.state)
    )))
}
