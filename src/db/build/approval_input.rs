//! The facts that decide whether an evaluation's builds await approval.

use crate::db::{EvaluationId, Result, SpecId, Tx};
use crate::domain::plan::guard::ApprovalInput;
use crate::domain::spec::{Spec, System};

/// An evaluation with builds that are queued or await approval.
#[derive(sqlx::FromRow)]
pub(in crate::db) struct EvaluationCounts {
    pub id: EvaluationId,
    pub spec_id: SpecId,
    pub system: String,
    pub approved: bool,
    pub builds: i64,
    pub held: i64,
    pub queued: i64,
}

pub(in crate::db) async fn approval_input(
    tx: &mut Tx,
    evaluation: &EvaluationCounts,
    spec: &Spec,
) -> Result<ApprovalInput> {
    let first = spec.systems.first().map(System::as_str);
    let before = match first.filter(|first| spec.staged && *first != evaluation.system) {
        Some(first) => open_before(tx, evaluation.id, first).await?,
        None => None,
    };
    Ok(ApprovalInput {
        spec: spec.name.clone(),
        budget: spec.budget.map(i64::from),
        builds: evaluation.builds,
        approved: evaluation.approved,
        before,
    })
}

/// The system that must come first, and how many of its builds for the same revision have not
/// ended: `None` as the count if its evaluation is not complete. `None` altogether if nobody
/// requested that evaluation.
async fn open_before(
    tx: &mut Tx,
    evaluation: EvaluationId,
    system: &str,
) -> Result<Option<(String, Option<i64>)>> {
    const FIRST: &str =
        "select f.id, f.state = 'complete' and not f.unscheduled from evaluation e join evaluation f
          on f.spec_id = e.spec_id and f.revision_id = e.revision_id and f.system = $2
        where e.id = $1 order by f.id desc limit 1";
    let open = sql!("select count(*) from build where evaluation_id = $1 and state in {wanted}");
    let found: Option<(EvaluationId, bool)> =
        each!(tx, tx => sqlx::query_as(FIRST).bind(evaluation).bind(system).fetch_optional(&mut **tx).await?);
    let Some((first, complete)) = found else { return Ok(None) };
    if !complete {
        return Ok(Some((system.to_owned(), None)));
    }
    let open: i64 = each!(tx, tx, open => sqlx::query_scalar(open).bind(first).fetch_one(&mut **tx).await?);
    Ok(Some((system.to_owned(), Some(open))))
}
