//! Queues builds that await approval for one spec when another spec wants them and needs no
//! approval.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use crate::db::build::approval_input::{EvaluationCounts, approval_input};
use crate::db::{BuildId, DerivationId, EvaluationId, Result, SpecId, Tx, rows};
use crate::domain::plan::guard::awaits_approval;
use crate::domain::spec::{FirstEvaluation, Spec};

/// An evaluation's request for a build that awaits approval.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in crate::db) struct BuildRequest {
    /// The wanted build.
    pub build: BuildId,
    /// The evaluation that wants it.
    pub evaluation: EvaluationId,
    /// The derivation to build it from.
    pub derivation: DerivationId,
    /// The name of the job, if a job wants it.
    pub name: Option<i64>,
    /// The build that needs it, if no job wants it.
    #[sqlx(default)]
    pub needed_by: Option<BuildId>,
}

/// The jobs of other specs whose builds await approval.
pub(in crate::db) async fn wanted_by_other_specs(
    tx: &mut Tx,
    specs: &HashMap<SpecId, Spec>,
) -> Result<Vec<BuildRequest>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        request: BuildRequest,
        spec_id: SpecId,
        is_later: bool,
    }
    let sql = sql!(
        "select b.id as build, e.id as evaluation, j.derivation_id as derivation, j.name_id as name, e.spec_id,
           exists (select 1 from evaluation c where c.spec_id = e.spec_id and c.system = e.system
             and c.state = 'complete' and c.id < e.id) as is_later
         from build b join evaluation h on h.id = b.evaluation_id
           join derivation d on d.output_set_id = b.output_set_id
           join job j on j.derivation_id = d.id and j.last_evaluation is null
           join evaluation e on e.id = j.first_evaluation join spec s on s.id = e.spec_id
         where b.state = 'awaiting-approval' and e.spec_id <> h.spec_id and s.active and s.present
           and not exists (failures(b, j.derivation_id)) order by j.id"
    );
    let found: Vec<Row> = each!(tx, tx, sql => sqlx::query_as(sql).fetch_all(&mut **tx).await?);
    // Builds of a first evaluation may only be recorded as known.
    let counts = |row: &Row| {
        row.is_later || specs.get(&row.spec_id).is_some_and(|s| s.first != FirstEvaluation::Record)
    };
    Ok(found.into_iter().filter(counts).map(|row| row.request).collect())
}

/// Queues builds that await approval for another spec, if the evaluation that wants them may have
/// them all built in addition to its own builds. Evaluations of the best priority come first.
/// Returns the number of builds.
pub(in crate::db) async fn queue_for_other_specs(
    tx: &mut Tx,
    requests: Vec<BuildRequest>,
    specs: &HashMap<SpecId, Spec>,
) -> Result<u64> {
    const HELD: &str = "select b.id, e.spec_id from build b join evaluation e on e.id = b.evaluation_id
        where b.state = 'awaiting-approval'";
    if requests.is_empty() {
        return Ok(0);
    }
    let held: Vec<(BuildId, SpecId)> = each!(tx, tx => sqlx::query_as(HELD).fetch_all(&mut **tx).await?);
    let mut held: HashMap<BuildId, SpecId> = held.into_iter().collect();
    let mut by_evaluation: HashMap<EvaluationId, BTreeMap<BuildId, BuildRequest>> = HashMap::new();
    for request in requests {
        by_evaluation.entry(request.evaluation).or_default().entry(request.build).or_insert(request);
    }
    let mut queued = 0;
    for mut evaluation in evaluations(tx, by_evaluation.keys()).await? {
        let Some(spec) = specs.get(&evaluation.spec_id) else { continue };
        let is_others = |build: &BuildId| held.get(build).is_some_and(|spec| *spec != evaluation.spec_id);
        let requests = by_evaluation[&evaluation.id].values().filter(|request| is_others(&request.build));
        let requests: Vec<&BuildRequest> = requests.collect();
        evaluation.builds += i64::try_from(requests.len()).unwrap_or(i64::MAX);
        if !requests.is_empty() && awaits_approval(&approval_input(tx, &evaluation, spec).await?).is_none() {
            queued += queue_wanted(tx, &requests).await?;
            let gone: HashSet<BuildId> = requests.iter().map(|request| request.build).collect();
            held.retain(|build, _| !gone.contains(build));
        }
    }
    Ok(queued)
}

/// Loads these evaluations, those of the best priority first.
async fn evaluations(tx: &mut Tx, ids: impl Iterator<Item = &EvaluationId>) -> Result<Vec<EvaluationCounts>> {
    let sql = sql!(
        "select e.id, e.spec_id, e.system, e.approved_at is not null as approved,
           (select count(*) from build b where b.evaluation_id = e.id and b.state in {counted}) as builds,
           cast(0 as bigint) as held, cast(0 as bigint) as queued
         from evaluation e join spec s on s.id = e.spec_id where e.id in ids($1) order by s.priority, e.id"
    );
    let ids = rows(ids.map(|id| Value::from(id.0)));
    each!(tx, tx, sql => Ok(sqlx::query_as(sql).bind(&ids).fetch_all(&mut **tx).await?))
}

/// Queues builds that await approval, in the name of the evaluations that want them.
async fn queue_wanted(tx: &mut Tx, requests: &[&BuildRequest]) -> Result<u64> {
    let lines = requests.iter().map(|request| {
        json!({
            "build": request.build, "evaluation": request.evaluation, "derivation": request.derivation,
            "name": request.name, "needed_by": request.needed_by,
        })
    });
    let sql = sql!(
        "update build set state = 'queued', answer = null, evaluation_id = e.id, priority = s.priority,
           derivation_id = lines.derivation, name_id = coalesce(lines.name, build.name_id),
           needed_by = coalesce(lines.needed_by, build.needed_by), inputs_queued = false
         from records($1: build bigint, evaluation bigint, derivation bigint, name bigint, needed_by bigint) as lines
           join evaluation e on e.id = lines.evaluation join spec s on s.id = e.spec_id
         where build.id = lines.build and build.state = 'awaiting-approval'"
    );
    Ok(execute!(tx, sql, rows(lines)))
}
