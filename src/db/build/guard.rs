//! Builds that await approval: over a spec's budget, or before the first system of a staged spec.
//!
//! Every transaction that queues builds applies this rule, so a build that needs approval never
//! shows up in the queue.

use std::collections::HashMap;

use crate::clock::Seconds;
use crate::db::build::approval_input::{EvaluationCounts, approval_input};
use crate::db::build::other_specs::{queue_for_other_specs, wanted_by_other_specs};
use crate::db::log::audit::record;
use crate::db::{Db, EvaluationId, Result, SpecId, Tx, stored};
use crate::domain::access::{Action, Author};
use crate::domain::plan::guard::awaits_approval;
use crate::domain::spec::Spec;

/// Builds of one evaluation that await approval.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AwaitingApproval {
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// The name of the evaluation's spec.
    pub spec: String,
    /// The system of the evaluation.
    pub system: String,
    /// The number of builds.
    pub count: i64,
    /// Why they await approval.
    pub reason: String,
}

impl Db {
    /// Holds builds that need approval, and releases those that no longer need it. Returns the
    /// number of builds that this queued.
    pub async fn guard(&self) -> Result<u64> {
        if self.awaiting_approval().await?.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let released = guard(&mut tx).await?;
        tx.commit().await?;
        Ok(released)
    }

    /// The evaluations with builds that await approval, in the order of their specs' priorities.
    pub async fn awaiting_approval(&self) -> Result<Vec<AwaitingApproval>> {
        const SQL: &str = "select e.id as evaluation, s.name as spec, e.system, count(*) as count,
              coalesce(max(b.answer), '') as reason
            from build b join evaluation e on e.id = b.evaluation_id join spec s on s.id = e.spec_id
            where b.state = 'awaiting-approval' group by e.id, s.name, e.system, s.priority order by s.priority, s.name, e.id";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// Approves all builds of these evaluations, including those that they want later. Returns the
    /// number of builds that were queued.
    pub async fn approve(&self, evaluations: &[EvaluationId], author: &Author, now: Seconds) -> Result<u64> {
        let mut tx = self.begin().await?;
        for id in evaluations {
            record(&mut tx, author, Action::Approve, &format!("evaluation {id}"), now).await?;
            execute!(&mut tx, "update evaluation set approved_at = $2 where id = $1", id, now);
        }
        let released = guard(&mut tx).await?;
        tx.commit().await?;
        Ok(released)
    }
}

/// Applies the rule to each evaluation that has builds which are queued or await approval. Must be
/// called wherever builds are queued, before the transaction ends, so that builds that need
/// approval never show up in the queue.
pub(in crate::db) async fn guard(tx: &mut Tx) -> Result<u64> {
    const HELD: &str =
        "select count(*) from (select 1 from build where state = 'awaiting-approval' limit 1) as one";
    // Builds that a coordinator may have stay there.
    const HOLD: &str = "update build set state = 'awaiting-approval', answer = $2
        where evaluation_id = $1 and state = 'queued' and not sent";
    const REASON: &str = "update build set answer = $2 where evaluation_id = $1 and state = 'awaiting-approval' and answer <> $2";
    const RELEASE: &str = "update build set state = 'queued', answer = null where evaluation_id = $1 and state = 'awaiting-approval'";
    let evaluations = sql!(
        "select e.id, e.spec_id, e.system, e.approved_at is not null as approved,
          sum(case when b.state in {counted} then 1 else 0 end) as builds,
          sum(case when b.state = 'awaiting-approval' then 1 else 0 end) as held,
          sum(case when b.state = 'queued' then 1 else 0 end) as queued
        from build b join evaluation e on e.id = b.evaluation_id
        where e.id in (select evaluation_id from build where state in ('queued', 'awaiting-approval'))
        group by e.id, e.spec_id, e.system, e.approved_at"
    );
    let specs = specs_by_id(tx).await?;
    let held: i64 = each!(tx, tx => sqlx::query_scalar(HELD).fetch_one(&mut **tx).await?);
    if held == 0 && !specs.values().any(|spec| spec.budget.is_some() || spec.staged) {
        return Ok(0);
    }
    let evaluations: Vec<EvaluationCounts> =
        each!(tx, tx, evaluations => sqlx::query_as(evaluations).fetch_all(&mut **tx).await?);
    let mut released = 0;
    for evaluation in evaluations {
        let Some(spec) = specs.get(&evaluation.spec_id) else { continue };
        match awaits_approval(&approval_input(tx, &evaluation, spec).await?) {
            Some(reason) => {
                if evaluation.queued > 0 {
                    execute!(tx, HOLD, evaluation.id, &reason);
                }
                execute!(tx, REASON, evaluation.id, &reason);
            }
            None if evaluation.held > 0 => released += execute!(tx, RELEASE, evaluation.id),
            None => {}
        }
    }
    // Builds that another spec may have built no longer await approval.
    let requests = wanted_by_other_specs(tx, &specs).await?;
    Ok(released + queue_for_other_specs(tx, requests, &specs).await?)
}

/// The definitions of all specs.
pub(in crate::db) async fn specs_by_id(tx: &mut Tx) -> Result<HashMap<SpecId, Spec>> {
    const SPECS: &str = "select id, definition from spec";
    let definitions: Vec<(SpecId, String)> =
        each!(tx, tx => sqlx::query_as(SPECS).fetch_all(&mut **tx).await?);
    let read = |(id, definition): (SpecId, String)| Ok((id, stored(&definition, || format!("spec {id}"))?));
    definitions.into_iter().map(read).collect()
}
