//! Builds that failed or await approval, but that others need with derivations that did not fail.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::build::guard::{guard, specs_by_id};
use crate::db::build::other_specs::{BuildRequest, queue_for_other_specs};
use crate::db::{BuildId, BuildState, Db, DerivationId, Error, EvaluationId, Result, SpecId, Tx, rows};
use crate::guix::edges;

/// What needs a derivation: a build, which may be the derivation's own, and an evaluation that
/// wants it.
#[derive(Clone, Copy)]
struct User {
    build: BuildId,
    evaluation: EvaluationId,
}

/// A needed derivation, and the state of the build with the same outputs.
#[derive(sqlx::FromRow)]
struct Needed {
    id: DerivationId,
    inputs: Vec<u8>,
    build: BuildId,
    state: BuildState,
    failed: bool,
}

/// The needed builds that must be decided on.
#[derive(Default)]
struct Found {
    /// Failed builds, each with a derivation that did not fail.
    untried: BTreeMap<BuildId, (DerivationId, User)>,
    /// Builds that await approval.
    awaiting_approval: Vec<BuildRequest>,
}

impl Db {
    /// Queues failed builds if builds of these specs need them with a derivation that has not
    /// failed. Also queues builds that await approval for another spec, if a spec that needs them
    /// has them within its budget. `state` is [`BuildState::Pending`] or [`BuildState::Queued`].
    /// Returns the number of builds.
    ///
    /// Derivations with the same outputs need inputs with the same outputs. So the inputs of a
    /// build are searched below the derivations of all jobs that it is made for, not only below the
    /// submitted one.
    pub async fn queue_other_inputs(&self, specs: &[SpecId], state: BuildState, now: Seconds) -> Result<u64> {
        let any = sql!(
            "select count(*) from (select 1 from build b where b.state = 'awaiting-approval' or b.state in {failed}
               and exists (select 1 from derivation d where d.output_set_id = b.output_set_id
                 and not exists (failures(b, d.id))) limit 1) as one"
        );
        let any: i64 = each!(&self.readers, pool, any => sqlx::query_scalar(any).fetch_one(pool).await?);
        if any == 0 || specs.is_empty() {
            return Ok(0);
        }
        let Found { untried, awaiting_approval } = self.others_needed(specs).await?;
        if untried.is_empty() && awaiting_approval.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let definitions = specs_by_id(&mut tx).await?;
        let count = queue_untried(&mut tx, &untried, state, now).await?;
        let queued = queue_for_other_specs(&mut tx, awaiting_approval, &definitions).await?;
        guard(&mut tx).await?;
        tx.commit().await?;
        Ok(count + queued)
    }

    async fn others_needed(&self, specs: &[SpecId]) -> Result<Found> {
        let mut level = self.users(specs).await?;
        let mut seen: HashSet<DerivationId> = level.keys().copied().collect();
        let mut found = Found::default();
        while !level.is_empty() {
            let mut next = BTreeMap::new();
            for needed in self.needed(&level).await? {
                let Needed { id, build, state, failed, .. } = needed;
                let user = level[&id];
                match state {
                    BuildState::AwaitingApproval => found.awaiting_approval.push(BuildRequest {
                        build,
                        evaluation: user.evaluation,
                        derivation: id,
                        name: None,
                        needed_by: Some(user.build),
                    }),
                    BuildState::Failed | BuildState::Rejected if failed => {}
                    BuildState::Failed | BuildState::Rejected => {
                        found.untried.entry(build).or_insert((id, user));
                    }
                    _ => {
                        let new = inputs(&needed)?.into_iter().filter(|input| seen.insert(*input));
                        next.extend(new.map(|input| (input, User { build, ..user })));
                    }
                }
            }
            level = next;
        }
        Ok(found)
    }

    /// The derivations of builds that are queued for these specs, and those of their jobs whose
    /// outputs a queued build makes.
    async fn users(&self, specs: &[SpecId]) -> Result<BTreeMap<DerivationId, User>> {
        let sql = sql!(
            "select b.derivation_id, b.id, b.evaluation_id from build b
               join evaluation e on e.id = b.evaluation_id
             where b.state in {in_queue} and e.spec_id in ids($1) union all
             select j.derivation_id, b.id, j.first_evaluation from build b
               join derivation d on d.output_set_id = b.output_set_id
               join job j on j.derivation_id = d.id and j.last_evaluation is null
             where b.state in {in_queue} and j.spec_id in ids($1)"
        );
        let specs = rows(specs.iter().map(|id| Value::from(id.0)));
        let found: Vec<(DerivationId, BuildId, EvaluationId)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&specs).fetch_all(pool).await?);
        Ok(found.into_iter().map(|(id, build, evaluation)| (id, User { build, evaluation })).collect())
    }

    /// Those of the given derivations whose builds are in the queue, await approval or failed.
    async fn needed(&self, level: &BTreeMap<DerivationId, User>) -> Result<Vec<Needed>> {
        let sql = sql!(
            "select d.id, d.inputs, b.id as build, b.state, exists (failures(b, d.id)) as failed
             from derivation d join build b on b.output_set_id = d.output_set_id
             where d.id in ids($1) and b.state <> 'pending' and b.state in {missing}"
        );
        let ids = rows(level.keys().map(|id| Value::from(id.0)));
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(&ids).fetch_all(pool).await?))
    }
}

fn inputs(needed: &Needed) -> Result<Vec<DerivationId>> {
    let damaged = |error: edges::Damaged| Error::Damaged {
        what: format!("derivation {}", needed.id),
        reason: error.to_string(),
    };
    Ok(edges::decode(&needed.inputs).map_err(damaged)?.into_iter().map(DerivationId).collect())
}

async fn queue_untried(
    tx: &mut Tx,
    untried: &BTreeMap<BuildId, (DerivationId, User)>,
    state: BuildState,
    now: Seconds,
) -> Result<u64> {
    let lines = untried.iter().map(|(build, (derivation, user))| {
        json!({ "id": build, "derivation": derivation, "needing": user.build, "evaluation": user.evaluation })
    });
    let sql = sql!(
        "update build set derivation_id = lines.derivation, evaluation_id = lines.evaluation,
           name_id = coalesce((select n.id from job_name n join derivation d on n.name = d.name || '.drv'
             where d.id = lines.derivation), build.name_id),
           needed_by = u.id, priority = u.priority, urgency = u.urgency, sent_urgency = null, state = $2,
           created_at = $3, answered_at = null, reference = null, answer = null, attempts = 0,
           next_attempt = 0, unwanted_at = null, inputs_queued = false, coordinator = null
         from records($1: id bigint, derivation bigint, needing bigint, evaluation bigint) as lines
           join build u on u.id = lines.needing
         where build.id = lines.id and build.state in {failed}"
    );
    Ok(execute!(tx, sql, rows(lines), state, now))
}
