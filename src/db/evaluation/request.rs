//! Requests for evaluations.

use crate::clock::Seconds;
use crate::db::evaluation::evaluations::EvaluationState;
use crate::db::farm::notify::{Wake, ring};
use crate::db::log::event_log::log_evaluations;
use crate::db::{Db, EvaluationId, Result, SpecId, Tx, stored};
use crate::domain::revision::Revision;
use crate::domain::spec::{Build, Spec, System};

impl Db {
    /// Requests an evaluation of the spec at this revision, for each of `systems`. Returns the
    /// evaluations that are pending for it now and were not before.
    ///
    /// If the newest evaluation has this revision and the same requested jobs, nothing is added. If
    /// the newest one is still pending, it changes to this revision, unless the spec wants every
    /// commit. Otherwise a new evaluation is added, also for an earlier revision.
    pub async fn request_evaluations(
        &self,
        spec: SpecId,
        revision: &Revision,
        build: &Build,
        systems: &[System],
        now: Seconds,
    ) -> Result<Vec<EvaluationId>> {
        let mut tx = self.begin().await?;
        let wanted = Wanted {
            revision: revision_id(&mut tx, revision, now).await?,
            channels: serde_json::json!(revision).to_string(),
            build: serde_json::json!(build).to_string(),
        };
        let mut requested = Vec::new();
        for system in systems {
            requested.extend(request(&mut tx, spec, &wanted, system, now).await?);
        }
        if !requested.is_empty() {
            log_evaluations(&mut tx, &requested, now).await?;
            ring(&mut tx, Wake::Evaluate).await?;
        }
        tx.commit().await?;
        Ok(requested)
    }
}

/// The number of a revision; a new one is stored.
async fn revision_id(tx: &mut Tx, revision: &Revision, now: Seconds) -> Result<i64> {
    const ADD: &str = "insert into revision (key, channels, created_at) values ($1, $2, $3)
        on conflict (key) do nothing";
    const FIND: &str = "select id from revision where key = $1";
    let (key, channels) = (revision.key(), serde_json::json!(revision).to_string());
    execute!(tx, ADD, &key, &channels, now);
    each!(tx, tx => Ok(sqlx::query_scalar(FIND).bind(&key).fetch_one(&mut **tx).await?))
}

/// A request in the form in which it is stored.
struct Wanted {
    revision: i64,
    /// The same revision, with the origins of its channels.
    channels: String,
    build: String,
}

async fn request(
    tx: &mut Tx,
    spec: SpecId,
    wanted: &Wanted,
    system: &System,
    now: Seconds,
) -> Result<Option<EvaluationId>> {
    const NEWEST: &str =
        "select id, revision_id, build, state from evaluation where spec_id = $1 and system = $2
        order by id desc limit 1";
    const EVERY: &str = "select definition from spec where id = $1";
    const ORIGINS: &str = "update evaluation set channels = $2 where id = $1";
    const TURN: &str = "update evaluation set revision_id = $2, channels = $3, build = $4, created_at = $5,
        attempts = 0 where id = $1";
    const ADD: &str =
        "insert into evaluation (spec_id, revision_id, channels, build, system, state, created_at)
        values ($1, $2, $3, $4, $5, 'pending', $6) returning id";
    let Wanted { revision, channels, build } = wanted;
    let newest: Option<(EvaluationId, i64, String, EvaluationState)> = each!(tx, tx =>
        sqlx::query_as(NEWEST).bind(spec).bind(system.as_str()).fetch_optional(&mut **tx).await?);
    let definition: String =
        each!(tx, tx => sqlx::query_scalar(EVERY).bind(spec).fetch_one(&mut **tx).await?);
    let every_commit = stored::<Spec>(&definition, || format!("spec {spec}"))?.every_commit;
    match newest {
        Some((id, same, jobs, _)) if (same, &jobs) == (*revision, build) => {
            execute!(tx, ORIGINS, id, channels);
            Ok(None)
        }
        Some((id, _, _, EvaluationState::Pending)) if !every_commit => {
            execute!(tx, TURN, id, revision, channels, build, now);
            Ok(Some(id))
        }
        _ => {
            each!(tx, tx => Ok(sqlx::query_scalar(ADD).bind(spec).bind(revision).bind(channels).bind(build)
            .bind(system.as_str()).bind(now).fetch_optional(&mut **tx).await?))
        }
    }
}
