//! Answers of substitute servers, each cached for a limited time, and the servers that fail.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::build::guard::guard;
use crate::db::log::event_log::{EventKind, log};
use crate::db::{BuildId, Db, Result, rows};

/// A build that waits for an answer of the substitute servers. It is queued unless a server has all
/// of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedBuild {
    /// The number of the build.
    pub id: BuildId,
    /// Since when it is wanted.
    pub created_at: Seconds,
    /// Base names of the outputs' store paths.
    pub outputs: Vec<String>,
}

/// A substitute server's answer about a store item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The hash part of the store path, 32 characters.
    pub hash: String,
    /// Whether the server has the item.
    pub present: bool,
    /// When the answer expires.
    pub expires_at: Seconds,
}

/// A substitute server that failed on the last request.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SubstituteServer {
    /// Its URL, without credentials.
    pub url: String,
    /// Number of failures in a row.
    pub failures: i64,
    /// Not asked before this time.
    pub next_attempt: Seconds,
    /// The error of the last request.
    pub reason: String,
}

impl Db {
    /// The builds for which substitute servers may be asked now, the most urgent first.
    pub async fn wanted_builds(&self, now: Seconds, limit: i64) -> Result<Vec<WantedBuild>> {
        let sql = sql!(
            "select b.id, b.created_at, outputs(o, d) from build b
               join output_set o on o.id = b.output_set_id join derivation d on d.id = b.derivation_id
             where b.state = 'pending' and b.next_attempt <= $1 order by b.urgency desc, b.derivation_id limit $2"
        );
        let rows: Vec<(BuildId, Seconds, String)> = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(now).bind(limit).fetch_all(pool).await?);
        let read = |(id, created_at, outputs): (_, _, String)| {
            let paths = outputs.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
            WantedBuild { id, created_at, outputs: paths.collect() }
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// The cached answers of `server` about these store items that have not expired: whether it has
    /// each.
    pub async fn lookups(
        &self,
        server: &str,
        hashes: &[&str],
        now: Seconds,
    ) -> Result<HashMap<String, bool>> {
        let wanted = rows(hashes.iter().map(|hash| Value::from(*hash)));
        let sql = sql!(
            "select hash, present from substitute_answer where server = $2 and unindexed(expires_at) > $3
               and hash in texts($1)"
        );
        let found: Vec<(String, bool)> = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(&wanted).bind(server).bind(now).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }

    /// Caches answers of `server`.
    pub async fn store_lookups(&self, server: &str, answers: &[Answered]) -> Result<()> {
        let lines = rows(answers.iter().map(|answer| {
            json!({ "hash": answer.hash, "present": answer.present, "expires_at": answer.expires_at })
        }));
        let mut tx = self.begin().await?;
        let sql = sql!(
            "insert into substitute_answer (server, hash, present, expires_at)
             select $2, hash, present, expires_at
             from records($1: hash text, present boolean, expires_at bigint) as new where true
             on conflict (server, hash) do update set present = excluded.present, expires_at = excluded.expires_at"
        );
        execute!(&mut tx, sql, &lines, server);
        tx.commit().await
    }

    /// Deletes expired answers.
    pub async fn forget_lookups(&self, now: Seconds) -> Result<()> {
        const OLD: &str = "select count(*) from substitute_answer where expires_at <= $1";
        let old: i64 = each!(&self.readers, pool => sqlx::query_scalar(OLD).bind(now).fetch_one(pool).await?);
        if old > 0 {
            let mut tx = self.begin().await?;
            execute!(&mut tx, "delete from substitute_answer where expires_at <= $1", now);
            tx.commit().await?;
        }
        Ok(())
    }

    /// Records the result for builds: a substitute server has the outputs (true) or the build is
    /// queued (false), each with the reason.
    pub async fn apply_lookups(&self, settled: &[(BuildId, bool, String)], now: Seconds) -> Result<()> {
        let lines = rows(settled.iter().map(|(id, present, reason)| {
            json!({ "id": id, "state": if *present { "substituted" } else { "queued" }, "answer": reason })
        }));
        let mut tx = self.begin().await?;
        // Without `unindexed`, SQLite would scan all wanted builds, and the list for each.
        let sql = sql!(
            "update build set state = new.state, answer = new.answer, attempts = 0, next_attempt = 0,
               answered_at = case new.state when 'substituted' then $2 end
             from records($1: id bigint, state text, answer text) as new
             where build.id = new.id and unindexed(build.state) = 'pending'"
        );
        if execute!(&mut tx, sql, &lines, now) > 0 {
            log(&mut tx, EventKind::Builds, None, None, now).await?;
        }
        guard(&mut tx).await?;
        tx.commit().await
    }

    /// Records that a substitute server failed, and is not to be asked before `next_attempt`.
    pub async fn record_server_failure(
        &self,
        server: &str,
        reason: &str,
        next_attempt: Seconds,
    ) -> Result<()> {
        const SQL: &str = "insert into substitute_server (url, failures, next_attempt, reason)
            values ($1, 1, $3, $2) on conflict (url) do update set
            failures = substitute_server.failures + 1, next_attempt = excluded.next_attempt,
            reason = excluded.reason";
        let mut tx = self.begin().await?;
        execute!(&mut tx, SQL, server, reason, next_attempt);
        tx.commit().await
    }

    /// Deletes the failures of a substitute server that answers again.
    pub async fn forget_server_failures(&self, server: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        execute!(&mut tx, "delete from substitute_server where url = $1", server);
        tx.commit().await
    }

    /// Deletes the failures of servers that are not among these, the configured ones.
    pub async fn forget_other_servers(&self, servers: &[&str]) -> Result<()> {
        let kept = rows(servers.iter().map(|url| Value::from(*url)));
        let mut tx = self.begin().await?;
        execute!(&mut tx, sql!("delete from substitute_server where url not in texts($1)"), &kept);
        tx.commit().await
    }

    /// The substitute servers that failed on their last request.
    pub async fn failing_servers(&self) -> Result<Vec<SubstituteServer>> {
        const SQL: &str = "select url, failures, next_attempt, reason from substitute_server order by url";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }
}
