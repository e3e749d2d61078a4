//! Retries of failed builds at an author's request.

use serde_json::Value;

use crate::clock::Seconds;
use crate::db::build::guard::guard;
use crate::db::farm::notify::{Wake, ring};
use crate::db::log::audit::record;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{BuildId, BuildState, Db, Result, rows};
use crate::domain::access::{Action, Author};

impl Db {
    /// Queues those of the builds that failed or were rejected once more; `subject` names them in
    /// the audit log. Planning cancels builds that no live evaluation wants. Returns the number of
    /// builds.
    pub async fn retry_builds(
        &self,
        ids: &[BuildId],
        subject: &str,
        author: &Author,
        now: Seconds,
    ) -> Result<u64> {
        let sql = sql!(
            "update build set ",
            wanted_anew!("again"),
            " from (select id, derivation_id, evaluation_id, name_id, priority, urgency from build
                where id in ids($1) and state in {failed}) as again where build.id = again.id"
        );
        let ids = rows(ids.iter().map(|id| Value::from(id.0)));
        let mut tx = self.begin().await?;
        let count = execute!(&mut tx, sql, &ids, BuildState::Queued, now);
        if count > 0 {
            guard(&mut tx).await?;
            record(&mut tx, author, Action::RetryBuild, &format!("{subject} ({count})"), now).await?;
            log(&mut tx, EventKind::Builds, None, None, now).await?;
            ring(&mut tx, Wake::Schedule).await?;
        }
        tx.commit().await?;
        Ok(count)
    }
}
