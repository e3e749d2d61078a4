//! The part of `gorget status` about the newest evaluations.

use crate::cli::output;
use crate::clock::{Seconds, readable_span};
use crate::db::Db;
use crate::view::evaluation::Evaluation;

/// How many errors of an evaluation are listed.
const ERRORS: usize = 10;

/// Shows a table of evaluations, and their errors.
pub(super) async fn show(db: &Db, evaluations: &[Evaluation<'_>], now: Seconds) -> anyhow::Result<()> {
    let rows = evaluations.iter().map(|evaluation| {
        vec![
            evaluation.id.to_string(),
            evaluation.spec.to_owned(),
            evaluation.system.to_owned(),
            evaluation.revision.short(),
            evaluation.progress(),
            done(evaluation),
            evaluation.errors.to_string(),
            readable_span(evaluation.duration(now)),
        ]
    });
    output::table(&["NO.", "SPEC", "SYSTEM", "REVISION", "STATE", "DONE", "ERRORS", "TIME"], rows.collect())?;
    for evaluation in evaluations {
        show_errors(db, evaluation).await?;
    }
    Ok(())
}

/// The progress: of modules while they are compiled, then of jobs.
fn done(evaluation: &Evaluation<'_>) -> String {
    if evaluation.is_preparing() {
        format!("{}/{} modules", evaluation.modules_done, evaluation.modules_total)
    } else {
        format!("{}/{}", evaluation.jobs_done, evaluation.jobs_total.unwrap_or(0))
    }
}

async fn show_errors(db: &Db, evaluation: &Evaluation<'_>) -> anyhow::Result<()> {
    let id = evaluation.id;
    if let Some(reason) = evaluation.reason {
        output::paragraph(&format!("evaluation {id} failed:\n{reason}"))?;
    }
    let errors = if evaluation.errors > 0 { db.errors(id).await? } else { Vec::new() };
    if !errors.is_empty() {
        output::paragraph(&format!("errors of evaluation {id}:"))?;
    }
    for error in errors.iter().take(ERRORS) {
        output::entry(&format!("  {} ({}): {}", error.name, error.cause, error.message))?;
    }
    if errors.len() > ERRORS {
        let more = errors.len() - ERRORS;
        output::line(&format!("  … and {more} more (`gorget status {id}` shows all)"))?;
    }
    Ok(())
}
