//! What substitute servers have of the newest evaluations, and how that grew.
//!
//! Tables: `presence_server`, `presence`, `coverage`.

pub(in crate::db) mod presence;

use serde_json::json;

use crate::clock::Seconds;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{Db, EvaluationId, Result, SpecId, rows, stored};
use crate::domain::coverage::{Counts, Missing};

/// How much of an evaluation a server had at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// The name of its spec.
    pub spec: String,
    /// The system it is for.
    pub system: String,
    /// When it was wanted.
    pub created_at: Seconds,
    /// The URL of the server; empty for all of them together.
    pub server: String,
    /// Counted so many hours after the evaluation was wanted; 0: last.
    pub hours: i64,
    /// When it was counted.
    pub counted_at: Seconds,
    /// The numbers of sets of outputs.
    pub counts: Counts,
    /// What keeps the absent ones back; only of the last count of all servers together.
    pub missing: Option<Missing>,
}

/// All columns of a [`Row`]; a condition may follow.
macro_rules! coverage {
    () => {
        "select c.evaluation_id as evaluation, s.name as spec, e.system, e.created_at, c.server, c.hours,
           c.counted_at, c.present, c.absent, c.unknown, c.missing
         from coverage c join evaluation e on e.id = c.evaluation_id join spec s on s.id = e.spec_id "
    };
}

/// A count that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCoverage {
    /// The URL of the server; empty for all of them together.
    pub server: String,
    /// Counted so many hours after the evaluation was wanted; 0: now.
    pub hours: i64,
    /// The numbers of sets of outputs.
    pub counts: Counts,
    /// What keeps the absent ones back.
    pub missing: Option<Missing>,
}

#[derive(sqlx::FromRow)]
struct Row {
    evaluation: EvaluationId,
    spec: String,
    system: String,
    created_at: Seconds,
    server: String,
    hours: i64,
    counted_at: Seconds,
    present: i64,
    absent: i64,
    unknown: i64,
    missing: Option<String>,
}

impl TryFrom<Row> for Coverage {
    type Error = crate::db::Error;

    fn try_from(row: Row) -> Result<Self> {
        let what = || format!("the coverage of evaluation {}", row.evaluation);
        Ok(Self {
            missing: row.missing.as_deref().map(|missing| stored(missing, what)).transpose()?,
            counts: Counts { present: row.present, absent: row.absent, unknown: row.unknown },
            evaluation: row.evaluation,
            spec: row.spec,
            system: row.system,
            created_at: row.created_at,
            server: row.server,
            hours: row.hours,
            counted_at: row.counted_at,
        })
    }
}

impl Db {
    /// What servers have of the newest complete evaluation of each present spec and system; the counts
    /// of all servers together come first.
    pub async fn coverage(&self, spec: Option<&str>) -> Result<Vec<Coverage>> {
        const SQL: &str = concat!(
            coverage!(),
            "where s.present and ($1 is null or s.name = $1) and e.id in (select max(n.id) from evaluation n
              where n.state = 'complete' group by n.spec_id, n.system)
            order by s.name, e.system, c.server, c.hours"
        );
        let rows: Vec<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(spec).fetch_all(pool).await?);
        rows.into_iter().map(Coverage::try_from).collect()
    }

    /// The last counts of all servers together of the evaluations of a spec, those of the newest
    /// evaluation of a day for each system, the oldest first.
    pub async fn coverage_history(&self, spec: SpecId, since: Seconds) -> Result<Vec<Coverage>> {
        const SQL: &str = concat!(
            coverage!(),
            "where c.server = '' and c.hours = 0 and c.evaluation_id in (
               select max(x.evaluation_id) from coverage x join evaluation y on y.id = x.evaluation_id
               where y.spec_id = $1 and x.server = '' and x.hours = 0 and x.counted_at >= $2
               group by y.system, x.counted_at / 86400)
             order by c.counted_at, c.evaluation_id"
        );
        let rows: Vec<Row> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(spec).bind(since).fetch_all(pool).await?);
        rows.into_iter().map(Coverage::try_from).collect()
    }

    /// Records counts of an evaluation. A count some hours after the evaluation was wanted is recorded
    /// once, any other replaces the one before.
    pub async fn record_coverage(
        &self,
        (spec, evaluation): (SpecId, EvaluationId),
        counts: &[NewCoverage],
        now: Seconds,
    ) -> Result<()> {
        const LAST: &str = "select server, present, absent, unknown from coverage
            where evaluation_id = $1 and hours = 0 order by server";
        let lines = rows(counts.iter().map(|new| {
            let Counts { present, absent, unknown } = new.counts;
            let missing = new.missing.as_ref().map(|missing| json!(missing).to_string());
            json!({ "server": new.server, "hours": new.hours, "present": present, "absent": absent,
                    "unknown": unknown, "missing": missing })
        }));
        let sql = sql!(
            "insert into coverage (evaluation_id, server, hours, counted_at, present, absent, unknown, missing)
             select $1, server, hours, $2, present, absent, unknown, missing
             from records($3: server text, hours bigint, present bigint, absent bigint, unknown bigint,
               missing text) as new where true
             on conflict (evaluation_id, server, hours) do update set counted_at = excluded.counted_at,
               present = excluded.present, absent = excluded.absent, unknown = excluded.unknown,
               missing = excluded.missing where excluded.hours = 0"
        );
        let mut tx = self.begin().await?;
        let before: Vec<(String, i64, i64, i64)> =
            each!(&mut tx, tx => sqlx::query_as(LAST).bind(evaluation).fetch_all(&mut **tx).await?);
        execute!(&mut tx, sql, evaluation, now, lines);
        execute!(
            &mut tx,
            sql!("delete from coverage where evaluation_id = $1 and hours = 0 and server not in texts($2)"),
            evaluation,
            rows(counts.iter().map(|new| new.server.as_str().into())),
        );
        let after: Vec<(String, i64, i64, i64)> =
            each!(&mut tx, tx => sqlx::query_as(LAST).bind(evaluation).fetch_all(&mut **tx).await?);
        if before != after {
            log(&mut tx, EventKind::Coverage, Some(spec), Some(evaluation), now).await?;
        }
        tx.commit().await
    }
}
