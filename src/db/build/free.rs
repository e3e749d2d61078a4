//! Queues builds that await approval for one spec when another spec wants them and needs no
//! approval.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use crate::db::build::standing::{Waiting, standing};
use crate::db::{BuildId, DerivationId, EvaluationId, Result, SpecId, Tx, rows};
use crate::domain::plan::guard::awaits_approval;
use crate::domain::spec::{First, Spec};

/// An evaluation's wish for a build that awaits approval.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in crate::db) struct Wish {
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
pub(in crate::db) async fn held_jobs(tx: &mut Tx, specs: &HashMap<SpecId, Spec>) -> Result<Vec<Wish>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        wish: Wish,
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
    let counts =
        |row: &Row| row.is_later || specs.get(&row.spec_id).is_some_and(|s| s.first != First::Record);
    Ok(found.into_iter().filter(counts).map(|row| row.wish).collect())
}

/// Queues builds that await approval for another spec, if the evaluation that wants them may have
/// them all built in addition to its own builds. Evaluations of the best priority come first.
/// Returns the number of builds.
pub(in crate::db) async fn free(
    tx: &mut Tx,
    wishes: Vec<Wish>,
    specs: &HashMap<SpecId, Spec>,
) -> Result<u64> {
    const HELD: &str = "select b.id, e.spec_id from build b join evaluation e on e.id = b.evaluation_id
        where b.state = 'awaiting-approval'";
    if wishes.is_empty() {
        return Ok(0);
    }
    let held: Vec<(BuildId, SpecId)> = each!(tx, tx => sqlx::query_as(HELD).fetch_all(&mut **tx).await?);
    let mut held: HashMap<BuildId, SpecId> = held.into_iter().collect();
    let mut by_evaluation: HashMap<EvaluationId, BTreeMap<BuildId, Wish>> = HashMap::new();
    for wish in wishes {
        by_evaluation.entry(wish.evaluation).or_default().entry(wish.build).or_insert(wish);
    }
    let mut freed = 0;
    for mut evaluation in evaluations(tx, by_evaluation.keys()).await? {
        let Some(spec) = specs.get(&evaluation.spec_id) else { continue };
        let is_others = |build: &BuildId| held.get(build).is_some_and(|spec| *spec != evaluation.spec_id);
        let wishes = by_evaluation[&evaluation.id].values().filter(|wish| is_others(&wish.build));
        let wishes: Vec<&Wish> = wishes.collect();
        evaluation.builds += i64::try_from(wishes.len()).unwrap_or(i64::MAX);
        if !wishes.is_empty() && awaits_approval(&standing(tx, &evaluation, spec).await?).is_none() {
            freed += take(tx, &wishes).await?;
            let gone: HashSet<BuildId> = wishes.iter().map(|wish| wish.build).collect();
            held.retain(|build, _| !gone.contains(build));
        }
    }
    Ok(freed)
}

/// Loads these evaluations, those of the best priority first.
async fn evaluations(tx: &mut Tx, ids: impl Iterator<Item = &EvaluationId>) -> Result<Vec<Waiting>> {
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
async fn take(tx: &mut Tx, wishes: &[&Wish]) -> Result<u64> {
    let lines = wishes.iter().map(|wish| {
        json!({
            "build": wish.build, "evaluation": wish.evaluation, "derivation": wish.derivation,
            "name": wish.name, "needed_by": wish.needed_by,
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
