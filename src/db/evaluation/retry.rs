use crate::clock::Seconds;
use crate::db::farm::notify::{Wake, ring};
use crate::db::log::audit::record;
use crate::db::log::event_log::log_evaluations;
use crate::db::{Db, EvaluationId, Result};
use crate::domain::access::{Action, Author};

impl Db {
    /// Requests another evaluation of the same revision for the same system, with the same jobs.
    /// Returns the number of the new evaluation; `None` when the old one has not ended, or is not
    /// the newest of its spec and system.
    pub async fn retry_evaluation(
        &self,
        id: EvaluationId,
        author: &Author,
        now: Seconds,
    ) -> Result<Option<EvaluationId>> {
        const ADD: &str =
            "insert into evaluation (spec_id, revision_id, channels, build, system, state, created_at)
             select e.spec_id, e.revision_id, e.channels, e.build, e.system, 'pending', $2 from evaluation e
             where e.id = $1 and e.state in ('complete', 'failed') and not exists
               (select 1 from evaluation o where o.spec_id = e.spec_id and o.system = e.system and o.id > e.id)
             returning id";
        let mut tx = self.begin().await?;
        let added: Option<EvaluationId> =
            each!(&mut tx, tx => sqlx::query_scalar(ADD).bind(id).bind(now).fetch_optional(&mut **tx).await?);
        if let Some(new) = added {
            record(&mut tx, author, Action::Retry, &format!("evaluation {id}"), now).await?;
            log_evaluations(&mut tx, &[new], now).await?;
        }
        ring(&mut tx, Wake::Evaluate).await?;
        tx.commit().await?;
        Ok(added)
    }
}
