//! Whether substitute servers have the outputs of the newest jobs.

use serde_json::json;

use crate::clock::Seconds;
use crate::db::complete::Complete;
use crate::db::history::interval::path;
use crate::db::{BuildId, BuildState, Db, EvaluationId, Result, rows};

/// A set of outputs, and what a server said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// The number of the set.
    pub outputs: i64,
    /// The number of the server.
    pub server: i64,
    /// Whether it has all outputs.
    pub present: bool,
    /// When it said so last.
    pub asked_at: Seconds,
}

/// A set of outputs for which a server is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueOutputs {
    /// The number of the set.
    pub outputs: i64,
    /// The base names of its store paths.
    pub names: Vec<String>,
    /// Whether an answer will do that was given before: it was not asked for here, and not built.
    pub may_be_cached: bool,
}

/// A job whose outputs no server is known to have.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct MissingJob {
    /// The name of the job.
    pub job: String,
    /// The number of its build, if there is one.
    pub build: Option<BuildId>,
    /// The state of its build.
    pub state: Option<BuildState>,
    /// How many servers are known not to have its outputs.
    pub absent_at: i64,
}

/// A server's new answer about a set of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPresence {
    /// The number of the set.
    pub outputs: i64,
    /// Whether it has all outputs.
    pub present: bool,
}

/// A server that just built something is asked for it so often, in seconds, for a day.
const FRESH: Seconds = 600;
/// The longest time between two questions for something that a server does not have.
const ABSENT: Seconds = 6 * 3600;
/// Sets of outputs to forget at a time.
const FORGOTTEN: usize = 5000;
/// The time between two questions for something that it has.
const PRESENT: Seconds = 24 * 3600;

/// The sets of outputs of the complete evaluation $1 of the sequence $2, as `its`; $3 is the path of
/// the evaluation.
macro_rules! its {
    () => {
        "with its as (select d.output_set_id as id, min(d.id) as derivation from
           (select derivation_id from job_interval where sequence_id = $2
              and last_evaluation is null and first_evaluation <= $1
            union
            select derivation_id from job_interval where sequence_id = $2
              and on_path($3) and last_evaluation >= $1 and first_evaluation <= $1) as at_it
           join derivation d on d.id = at_it.derivation_id group by d.output_set_id) "
    };
}

impl Db {
    /// The number of a substitute server.
    pub async fn presence_server(&self, url: &str) -> Result<i64> {
        const FIND: &str = "select id from presence_server where url = $1";
        const ADD: &str = "insert into presence_server (url) values ($1) on conflict do nothing";
        let find = async || -> Result<Option<i64>> {
            Ok(each!(&self.readers, pool => sqlx::query_scalar(FIND).bind(url).fetch_optional(pool).await?))
        };
        if let Some(id) = find().await? {
            return Ok(id);
        }
        let mut tx = self.begin().await?;
        execute!(&mut tx, ADD, url);
        let id = each!(&mut tx, tx => sqlx::query_scalar(FIND).bind(url).fetch_one(&mut **tx).await?);
        tx.commit().await?;
        Ok(id)
    }

    /// Sets of outputs of a complete evaluation for which a server is to be asked
    /// now, each once.
    pub async fn due_outputs(
        &self,
        evaluation: EvaluationId,
        server: i64,
        now: Seconds,
        limit: i64,
    ) -> Result<Vec<DueOutputs>> {
        // Something that was built meanwhile is asked for soon.
        let sql = sql!(
            its!(),
            "select its.id, outputs(o, d), p.output_set_id is null and coalesce(b.state <> 'succeeded', true)
             from its join output_set o on o.id = its.id
               join derivation d on d.id = its.derivation
               left join presence p on p.output_set_id = its.id and p.server_id = $4
               left join build b on b.output_set_id = its.id
             where p.output_set_id is null or p.next_attempt <= $5
               or not p.present and b.state = 'succeeded' and p.asked_at <= $5 - $6
                 and p.asked_at - b.answered_at < 86400
             order by its.id limit $7"
        );
        let at = Complete::find(self, evaluation).await?;
        let found: Vec<(i64, String, bool)> = each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(at.id)
            .bind(at.sequence).bind(path(at.id)).bind(server).bind(now).bind(FRESH).bind(limit).fetch_all(pool).await?);
        let names = |paths: String| {
            paths.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
        };
        let due =
            |(outputs, paths, may_be_cached)| DueOutputs { outputs, names: names(paths), may_be_cached };
        Ok(found.into_iter().map(due).collect())
    }

    /// Records a server's answers.
    pub async fn record_presence(&self, server: i64, answers: &[NewPresence], now: Seconds) -> Result<()> {
        let lines =
            rows(answers.iter().map(|answer| json!({ "id": answer.outputs, "present": answer.present })));
        // The longer something has been absent, the less often it is asked for.
        let sql = sql!(
            "insert into presence (output_set_id, server_id, present, since, asked_at, next_attempt)
             select o.id, $2, new.present, $3, $3, $3 + case when new.present then $4 else $5 end
             from records($1: id bigint, present boolean) as new join output_set o on o.id = new.id where true
             on conflict (output_set_id, server_id) do update set
               since = case when presence.present = excluded.present then presence.since
                 else excluded.since end,
               next_attempt = case when presence.present = excluded.present and not excluded.present
                 and (excluded.asked_at - presence.since) / 4 > $5
                 then excluded.asked_at + case when (excluded.asked_at - presence.since) / 4 < $6
                   then (excluded.asked_at - presence.since) / 4 else $6 end
                 else excluded.next_attempt end,
               present = excluded.present, asked_at = excluded.asked_at"
        );
        let mut tx = self.begin().await?;
        execute!(&mut tx, sql, lines, server, now, PRESENT, FRESH, ABSENT);
        tx.commit().await
    }

    /// All sets of outputs of a complete evaluation.
    pub async fn newest_outputs(&self, evaluation: EvaluationId) -> Result<Vec<i64>> {
        let sql = sql!(its!(), "select id from its order by id");
        let at = Complete::find(self, evaluation).await?;
        each!(&self.readers, pool, sql =>
            Ok(sqlx::query_scalar(sql).bind(at.id).bind(at.sequence).bind(path(at.id)).fetch_all(pool).await?))
    }

    /// What servers said of the outputs of a complete evaluation.
    pub async fn presence(&self, evaluation: EvaluationId) -> Result<Vec<Presence>> {
        let sql = sql!(
            its!(),
            "select p.output_set_id, p.server_id, p.present, p.asked_at
             from its join presence p on p.output_set_id = its.id"
        );
        let at = Complete::find(self, evaluation).await?;
        let found: Vec<(i64, i64, bool, Seconds)> = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(at.id).bind(at.sequence).bind(path(at.id)).fetch_all(pool).await?);
        let presence = |(outputs, server, present, asked_at)| Presence { outputs, server, present, asked_at };
        Ok(found.into_iter().map(presence).collect())
    }

    /// The jobs of a complete evaluation that come after a name and whose outputs no server is known to
    /// have, by name. Answers from before `since` do not count.
    pub async fn missing_jobs(
        &self,
        evaluation: EvaluationId,
        after: &str,
        since: Seconds,
        limit: i64,
    ) -> Result<Vec<MissingJob>> {
        let sql = sql!(
            "with its as (select name_id, derivation_id from job_interval where sequence_id = $2
                and last_evaluation is null and first_evaluation <= $1
              union
              select name_id, derivation_id from job_interval where sequence_id = $2
                and on_path($3) and last_evaluation >= $1 and first_evaluation <= $1)
             select n.name as job, b.id as build, b.state,
               (select count(*) from presence p where p.output_set_id = d.output_set_id
                  and p.asked_at >= $5 and not p.present) as absent_at
             from its join job_name n on n.id = its.name_id join derivation d on d.id = its.derivation_id
               left join build b on b.output_set_id = d.output_set_id
             where n.name > $4 and not exists (select 1 from presence p
               where p.output_set_id = d.output_set_id and p.asked_at >= $5 and p.present)
             order by n.name limit $6"
        );
        let at = Complete::find(self, evaluation).await?;
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(at.id).bind(at.sequence)
            .bind(path(at.id)).bind(after).bind(since).bind(limit).fetch_all(pool).await?))
    }

    /// Forgets what servers had that are not among these, and the outputs that no newest evaluation has.
    pub async fn forget_presence(&self, servers: &[i64]) -> Result<()> {
        const UNNEEDED: &str = "select distinct p.output_set_id from presence p
            where not exists (select 1 from derivation d join job_interval i on i.derivation_id = d.id
              where d.output_set_id = p.output_set_id and i.last_evaluation is null)";
        let kept = rows(servers.iter().map(|id| (*id).into()));
        let mut tx = self.begin().await?;
        execute!(&mut tx, sql!("delete from presence where server_id not in ids($1)"), &kept);
        execute!(&mut tx, sql!("delete from presence_server where id not in ids($1)"), kept);
        tx.commit().await?;
        let unneeded: Vec<i64> =
            each!(&self.readers, pool => sqlx::query_scalar(UNNEEDED).fetch_all(pool).await?);
        for piece in unneeded.chunks(FORGOTTEN) {
            let sets = rows(piece.iter().map(|id| (*id).into()));
            let mut tx = self.begin().await?;
            execute!(&mut tx, sql!("delete from presence where output_set_id in ids($1)"), sets);
            tx.commit().await?;
        }
        Ok(())
    }
}
