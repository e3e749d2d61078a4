//! The outbox of a coordinator: builds to submit, to cancel, to update the urgency of, and to ask
//! about; and the coordinator's answers.
//!
//! # Guarantees
//!
//! * Each submission and each cancellation is recorded before it is sent, so it can be repeated
//!   after a crash.
//! * A build that became unwanted after it was sent still counts as submitted, so that it is
//!   canceled there.
//!
//! # Races
//!
//! * The coordinator can have an attempt whose identifier Gorget does not know yet. The identifier
//!   is stored when the coordinator reports the attempt. The report itself may be no news.
//! * A build that the coordinator has lost is queued again, perhaps for another one.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::build::builds::Row;
use crate::db::build::event::insert;
use crate::db::build::transition::transition;
use crate::db::log::audit::record;
use crate::db::{Build, BuildId, Db, Error, Result, Tx, rows};
use crate::domain::access::{Action, Author};
use crate::domain::attempt::Attempt;

/// SQL for the derivation of the build $1 that the attempt $2 is about, or else the one that is to
/// be built.
macro_rules! attempted {
    () => {
        "coalesce((select d.id from build_event k join derivation d on has_hash(d, k.derivation)
            where k.build_id = $1 and k.reference = $2 and d.output_set_id = build.output_set_id limit 1),
          derivation_id)"
    };
}

impl Db {
    /// Records that the coordinator has a build, with its own identifier if it gave one. A build
    /// that became unwanted after it was sent counts as submitted as well, so that it is canceled
    /// there.
    pub async fn record_submission(
        &self,
        build: &Build,
        reference: Option<&str>,
        answer: &str,
        now: Seconds,
    ) -> Result<()> {
        const SQL: &str = "update build set answer = case state when 'queued' then $2 else answer end,
            answered_at = $3, sent_urgency = $4, polled_at = $5, attempts = attempts + 1, in_doubt = false
            where id = $1 and (state = 'queued' or state = 'canceled' and unwanted_at is not null)";
        // An attempt without a known identifier must be looked up.
        let polled_at = if reference.is_some() { now } else { 0 };
        let mut tx = self.begin().await?;
        // A build that the coordinator had already keeps its old urgency there.
        let sent_urgency = reference.map(|_| build.urgency);
        execute!(&mut tx, SQL, build.id, answer, now, sent_urgency, polled_at);
        if let Some(reference) = reference {
            let line = json!({ "build": build.id, "reference": reference, "attempt": Attempt::Scheduled.word(),
                "hash": build.hash() });
            let new = insert(&mut tx, &rows([line]), None, now).await?;
            transition(&mut tx, &new, None, now).await?;
        }
        // Events of the attempt may have arrived earlier.
        mark_submitted(&mut tx, build, reference).await?;
        tx.commit().await
    }

    /// Records that the coordinator still has an attempt at a build that was to be canceled and is
    /// wanted again. Its urgency there is not known.
    pub async fn mark_still_submitted(&self, build: &Build, reference: &str, now: Seconds) -> Result<()> {
        const SQL: &str =
            "update build set answer = 'the coordinator had it already', answered_at = $2, sent_urgency = null,
            polled_at = 0 where id = $1 and state = 'queued'";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, build.id, now);
        mark_submitted(&mut tx, build, Some(reference)).await?;
        tx.commit().await
    }

    /// Those of the given builds with an attempt that failed, for whatever reason.
    pub async fn failed_before(&self, ids: &[BuildId]) -> Result<HashSet<BuildId>> {
        let ids = rows(ids.iter().map(|id| Value::from(id.0)));
        let sql = sql!(
            "select distinct build_id from build_event where attempt in ('failed', 'failed-other')
             and build_id in ids($1)"
        );
        let found: Vec<BuildId> =
            each!(&self.readers, pool, sql => sqlx::query_scalar(sql).bind(ids).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }

    /// The builds that a coordinator is to cancel, and may be asked about now. Records that it was
    /// asked.
    pub async fn begin_cancellations(
        &self,
        coordinator: &str,
        now: Seconds,
        limit: i64,
    ) -> Result<Vec<Build>> {
        let sql = sql!(
            builds!(),
            "where b.state = 'canceling' and b.coordinator = $1 and b.next_attempt <= $2
             order by b.derivation_id desc limit $3"
        );
        let found: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(coordinator).bind(now).bind(limit).fetch_all(pool).await?);
        let builds = found.into_iter().map(Build::try_from).collect::<Result<Vec<_>>>()?;
        let lines = rows(builds.iter().map(|build| json!({ "id": build.id, "reference": build.reference })));
        if !builds.is_empty() {
            let mut tx = self.begin().await?;
            let sql = sql!(
                "update build set canceled_attempt = new.reference
                 from records($1: id bigint, reference text) as new
                 where build.id = new.id and new.reference is not null"
            );
            execute!(&mut tx, sql, lines);
            tx.commit().await?;
        }
        Ok(builds)
    }

    /// Records that the coordinator was asked to cancel this attempt, whose identifier was not
    /// known before.
    pub async fn record_cancel_request(&self, id: BuildId, reference: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "update build set canceled_attempt = $2 where id = $1", id, reference);
        tx.commit().await
    }

    /// Records that the coordinator was asked for all of its attempts at these builds.
    pub async fn clear_in_doubt(&self, ids: &[BuildId]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = rows(ids.iter().map(|id| Value::from(id.0)));
        let mut tx = self.begin().await?;
        execute!(&mut tx, sql!("update build set in_doubt = false where id in ids($1)"), ids);
        tx.commit().await
    }

    /// Records that the coordinator has nothing to cancel for an unwanted build.
    pub async fn record_nothing_to_cancel(&self, id: BuildId) -> Result<()> {
        const SQL: &str = "update build set state = 'canceled', sent = false, in_doubt = false
            where id = $1 and state = 'canceling'";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, id);
        tx.commit().await
    }

    /// The builds that a coordinator has with another urgency than the current one, the most urgent
    /// first.
    pub async fn unsent_urgencies(&self, coordinator: &str, limit: i64) -> Result<Vec<Build>> {
        let sql = sql!(
            builds!(),
            "where b.state = 'submitted' and b.reference is not null and not b.in_doubt
               and b.sent_urgency is distinct from b.urgency and b.coordinator = $1 order by b.urgency desc limit $2"
        );
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(coordinator).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// Records the urgency that the coordinator was told.
    pub async fn record_urgency(&self, build: &Build) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "update build set sent_urgency = $2 where id = $1", build.id, build.urgency);
        tx.commit().await
    }

    /// The builds that a coordinator has and was not asked about since `then`, the least recent
    /// first.
    pub async fn next_polled(&self, coordinator: &str, then: Seconds, limit: i64) -> Result<Vec<Build>> {
        let sql = sql!(
            builds!(),
            "where b.state in ('submitted', 'building', 'canceling') and b.coordinator = $1 and b.polled_at < $2
             order by b.polled_at limit $3"
        );
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(coordinator).bind(then).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// Stores the coordinator's identifiers for attempts at builds that it has, where they were not
    /// known. The coordinator may have reported the attempts before; then the events are no news.
    pub async fn record_references(&self, attempts: &[(BuildId, String)]) -> Result<()> {
        let sql = sql!(
            "update build set reference = $2, derivation_id = ",
            attempted!(),
            " where id = $1 and state in {submitted} and (reference is null or in_doubt)"
        );
        for (id, reference) in attempts {
            let mut tx = self.begin().await?;
            execute!(&mut tx, sql, id, reference);
            tx.commit().await?;
        }
        Ok(())
    }

    /// Records that the coordinator was asked about these builds; for some it said why they wait.
    pub async fn record_polled(&self, read: &[(BuildId, Option<String>)], now: Seconds) -> Result<()> {
        let lines = rows(read.iter().map(|(id, note)| json!({ "id": id, "note": note })));
        let mut tx = self.begin().await?;
        let sql = sql!(
            "update build set polled_at = $2, answer = coalesce(new.note, answer)
             from records($1: id bigint, note text) as new where build.id = new.id"
        );
        execute!(&mut tx, sql, lines, now);
        tx.commit().await
    }

    /// Records that the coordinator has lost builds. They are submitted again, perhaps to another
    /// coordinator, or count as canceled if they are no longer wanted.
    pub async fn record_loss(&self, builds: &[Build], now: Seconds) -> Result<()> {
        let mut tx = self.begin().await?;
        requeue_lost(&mut tx, builds, now).await?;
        tx.commit().await
    }

    /// Takes the builds from a coordinator that is gone, at an author's request; otherwise the same
    /// as a loss.
    pub async fn reassign(
        &self,
        coordinator: &str,
        builds: &[Build],
        author: &Author,
        now: Seconds,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        requeue_lost(&mut tx, builds, now).await?;
        record(&mut tx, author, Action::Reassign, &format!("coordinator {coordinator}"), now).await?;
        tx.commit().await
    }

    /// Cancels unwanted builds at once, except those at one of these coordinators, which must be
    /// told first. Returns the number of builds.
    pub async fn cancel_unassigned(&self, configured: &[String]) -> Result<u64> {
        const CANCELING: &str =
            "select distinct coalesce(coordinator, '') from build where state = 'canceling'";
        let names: Vec<String> =
            each!(&self.readers, pool => sqlx::query_scalar(CANCELING).fetch_all(pool).await?);
        let mut count = 0;
        for name in names.iter().filter(|name| !configured.contains(name)) {
            let mut tx = self.begin().await?;
            count += execute!(
                &mut tx,
                "update build set state = 'canceled', sent = false, in_doubt = false
                 where state = 'canceling' and coalesce(coordinator, '') = $1",
                name
            );
            tx.commit().await?;
        }
        Ok(count)
    }

    /// Store path of one output of a build.
    pub async fn an_output(&self, build: &Build) -> Result<String> {
        let outputs = self.outputs(build.id).await?;
        let damaged = || Error::Damaged {
            what: format!("the outputs of build {}", build.id),
            reason: "there are none".to_owned(),
        };
        let (_, base_name) = outputs.first().ok_or_else(damaged)?;
        Ok(format!("/gnu/store/{base_name}"))
    }
}

/// Marks a build as submitted, unless the attempt has already ended: that may have been reported
/// before, and the build queued again since.
async fn mark_submitted(tx: &mut Tx, build: &Build, reference: Option<&str>) -> Result<()> {
    let sql = sql!(
        "update build set state = 'submitted', sent = true, reference = $2, coordinator = $3, derivation_id = ",
        attempted!(),
        " where id = $1 and (state = 'queued' or state = 'canceled' and unwanted_at is not null)
          and not exists (select 1 from build_event where build_id = $1 and reference = $2
            and attempt not in ('scheduled', 'started'))"
    );
    execute!(tx, sql, build.id, reference, build.coordinator.as_deref());
    Ok(())
}

/// See [`Db::record_loss`].
async fn requeue_lost(tx: &mut Tx, builds: &[Build], now: Seconds) -> Result<()> {
    let unnamed = sql!(
        "update build set state = case state when 'canceling' then 'canceled' else 'queued' end, next_attempt = 0
         where unindexed(state) in ('submitted', 'canceling') and reference is null and id in ids($1)"
    );
    let lost = sql!(
        "update build set coordinator = null, sent = false, in_doubt = false
         where unindexed(state) = 'queued' and id in ids($1)"
    );
    for build in builds {
        if let Some(reference) = &build.reference {
            execute!(tx, "update build set canceled_attempt = $2 where id = $1", build.id, reference);
            let attempt = Attempt::Canceled.word();
            let line = json!({ "build": build.id, "reference": reference, "attempt": attempt });
            let new = insert(tx, &rows([line]), None, now).await?;
            transition(tx, &new, None, now).await?;
        }
    }
    let ids = rows(builds.iter().map(|build| Value::from(build.id.0)));
    execute!(tx, unnamed, &ids);
    execute!(tx, lost, ids);
    Ok(())
}
