//! The changes that planning decides on: builds to cancel, to queue again, and to reorder.
//!
//! # Races
//!
//! * A build that ended meanwhile stays as it is.
//! * A canceled build can turn out to be at the coordinator all the same: its submission was under
//!   way, or it started before the cancellation was known. Then it is canceled there.

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::build::guard::guard;
use crate::db::build::live::store_plan;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{BuildId, BuildState, Db, Live, PlanInput, Result, Tx, rows};
use crate::domain::plan::order::unranked;

/// The changes that bring the builds in line with a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Builds that are no longer wanted, each with the reason.
    pub unwanted: Vec<(BuildId, String)>,
    /// Builds that are being canceled, but are needed again.
    pub needed_again: Vec<BuildId>,
    /// Builds with a new urgency.
    pub urgencies: Vec<(BuildId, i64)>,
}

impl Db {
    /// Queues builds that were canceled as unwanted and belong to a job again. Also queues builds
    /// that were canceled for other reasons or failed before, if they belong to a job of a complete
    /// evaluation that is newer than the one that wanted them then. A failed build is retried at
    /// once with the derivation of another job that makes the same outputs, unless that has failed
    /// as well. `state` is [`BuildState::Pending`] or [`BuildState::Queued`]. Returns the number of
    /// builds that got that state.
    pub async fn queue_again(&self, live: &[Live], state: BuildState, now: Seconds) -> Result<u64> {
        let sql = sql!(
            "update build set ",
            wanted_anew!("again"),
            " from (select b.id, j.name_id, j.derivation_id, l.evaluation as evaluation_id, l.priority, l.urgency,
                 row_number() over (partition by b.id order by l.urgency desc, l.evaluation, j.id) as place
               from build b join derivation d on d.output_set_id = b.output_set_id
                 join job j on j.derivation_id = d.id and j.last_evaluation is null
                 join records($1: spec bigint, system text, evaluation bigint, priority bigint, urgency bigint,
                     known bigint, failed_up_to bigint) as l
                   on l.spec = j.spec_id and l.system = j.system
               where b.state in ('canceling', 'canceled', 'failed', 'rejected')
                 and j.first_evaluation <= l.evaluation and j.first_evaluation > l.known
                 and (b.state in ('canceling', 'canceled') and b.unwanted_at is not null
                   or b.state = 'canceled' and b.evaluation_id < l.evaluation
                   or b.state in {failed} and not exists (failures(b, j.derivation_id))
                   or b.state = 'failed' and exists (failures(b, j.derivation_id)
                     and f.evaluation_id < l.evaluation and f.failed_at <= l.failed_up_to))) as again
             where build.id = again.id and again.place = 1"
        );
        let lines = rows(live.iter().filter_map(|live| {
            Some(json!({
                "spec": live.spec, "system": live.system, "evaluation": live.evaluation?,
                "priority": live.priority, "urgency": unranked(live.priority, live.place),
                "known": live.known.map_or(0, |known| known.0), "failed_up_to": live.retry_failed.up_to(now),
            }))
        }));
        let mut tx = self.begin().await?;
        let count = execute!(&mut tx, sql, &lines, state, now);
        guard(&mut tx).await?;
        if count > 0 {
            log(&mut tx, EventKind::Builds, None, None, now).await?;
        }
        tx.commit().await?;
        Ok(count)
    }

    /// Cancels builds that were canceled as unwanted, but turn out to be at the coordinator all the
    /// same: the submission was under way at that time, or they started before the cancellation was
    /// known. Returns the number of builds.
    pub async fn cancel_late_submissions(&self) -> Result<u64> {
        let late = sql!("select count(*) from build where unwanted_at is not null and state in {submitted}");
        let sql = sql!(
            "update build set state = 'canceling' where unwanted_at is not null and state in {submitted}"
        );
        let late: i64 = each!(&self.readers, pool, late => sqlx::query_scalar(late).fetch_one(pool).await?);
        if late == 0 {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let count = execute!(&mut tx, sql);
        tx.commit().await?;
        Ok(count)
    }

    /// Makes the changes, and records the input of the plan. Unwanted builds that the coordinator
    /// has, or may have, are to be canceled there; other unwanted builds are canceled right away. A
    /// build that ended meanwhile stays as it is.
    pub async fn apply_changes(&self, changes: &Changes, input: &PlanInput, now: Seconds) -> Result<()> {
        let mut tx = self.begin().await?;
        cancel_unwanted(&mut tx, &changes.unwanted, now).await?;
        requeue_needed(&mut tx, &changes.needed_again).await?;
        reorder(&mut tx, &changes.urgencies).await?;
        // A spec whose builds are served may want them now.
        execute!(&mut tx, "update build set coordinator = null where state = 'queued' and coordinator = ''");
        store_plan(&mut tx, input, now).await?;
        if !changes.unwanted.is_empty() || !changes.needed_again.is_empty() {
            log(&mut tx, EventKind::Builds, None, None, now).await?;
        }
        guard(&mut tx).await?;
        tx.commit().await
    }
}

async fn cancel_unwanted(tx: &mut Tx, unwanted: &[(BuildId, String)], now: Seconds) -> Result<()> {
    let lines = rows(unwanted.iter().map(|(id, reason)| json!({ "id": id, "reason": reason })));
    let sql = sql!(
        "update build set answer = lines.reason, unwanted_at = $2, next_attempt = 0, inputs_queued = false,
           state = case when sent or state in {submitted} then 'canceling' else 'canceled' end
         from records($1: id bigint, reason text) as lines
         where build.id = lines.id and unindexed(state) in {wanted}"
    );
    execute!(tx, sql, lines, now);
    Ok(())
}

async fn requeue_needed(tx: &mut Tx, needed_again: &[BuildId]) -> Result<()> {
    let sql = sql!(
        "update build set state = 'queued', answer = null, unwanted_at = null, sent_urgency = null
         where unindexed(state) = 'canceling' and id in ids($1)"
    );
    execute!(tx, sql, rows(needed_again.iter().map(|id| Value::from(id.0))));
    Ok(())
}

async fn reorder(tx: &mut Tx, urgencies: &[(BuildId, i64)]) -> Result<()> {
    let lines = rows(urgencies.iter().map(|(id, urgency)| json!({ "id": id, "urgency": urgency })));
    let sql = sql!(
        "update build set urgency = lines.urgency
         from records($1: id bigint, urgency bigint) as lines where build.id = lines.id"
    );
    execute!(tx, sql, lines);
    Ok(())
}
