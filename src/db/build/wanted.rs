//! The changes that planning decides on: builds to cancel, to queue again, and to order anew.
//!
//! # Races
//!
//! * A build that came to its end meanwhile stays as it is.
//! * A build that was canceled, and turns out to be at the coordinator all the same, is canceled
//!   there: it was on its way, or was started before that was known.

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::build::guard::guard;
use crate::db::build::live::store_plan;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{BuildId, BuildState, Db, Live, PlanInput, Result, Tx, rows};
use crate::domain::plan::order::unranked;

/// What is to be changed so that builds are as they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What nobody wants any more, each with the reason.
    pub unwanted: Vec<(BuildId, String)>,
    /// What is being canceled, and is needed again.
    pub needed_again: Vec<BuildId>,
    /// What is to be sooner or later than it was.
    pub urgencies: Vec<(BuildId, i64)>,
}

impl Db {
    /// Queues what was given up because nobody wanted it, and is a job again; and what was canceled for
    /// other reasons or failed before, if it is a job of a complete evaluation that is newer than the
    /// one that wanted it then. What failed is tried at once with the derivation of another job that makes the
    /// same, if that has not failed as well. `state` is [`BuildState::Pending`] or [`BuildState::Queued`]. Gives the
    /// number of builds that came to that state.
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

    /// What was given up, and turns out to be at the coordinator all the same, is to be canceled there: it
    /// was on its way when it was given up, or was begun before that was known. Gives the number of builds.
    pub async fn give_up_late(&self) -> Result<u64> {
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

    /// Makes the changes, and notes for what it was planned. What the coordinator has, or may have, is to be
    /// canceled there; the rest is canceled by that. What came to an end meanwhile stays as it is.
    pub async fn change(&self, changes: &Changes, outlook: &PlanInput, now: Seconds) -> Result<()> {
        let mut tx = self.begin().await?;
        let_go(&mut tx, &changes.unwanted, now).await?;
        reclaim_expired(&mut tx, &changes.needed_again).await?;
        reorder(&mut tx, &changes.urgencies).await?;
        // Somebody may want it now whose builds are served.
        execute!(&mut tx, "update build set coordinator = null where state = 'queued' and coordinator = ''");
        store_plan(&mut tx, outlook, now).await?;
        if !changes.unwanted.is_empty() || !changes.needed_again.is_empty() {
            log(&mut tx, EventKind::Builds, None, None, now).await?;
        }
        guard(&mut tx).await?;
        tx.commit().await
    }
}

async fn let_go(tx: &mut Tx, unwanted: &[(BuildId, String)], now: Seconds) -> Result<()> {
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

async fn reclaim_expired(tx: &mut Tx, needed_again: &[BuildId]) -> Result<()> {
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
