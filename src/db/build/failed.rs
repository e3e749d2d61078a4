//! Failed derivations. Other derivations that make the same outputs may still be built.

use serde_json::json;

use crate::clock::Seconds;
use crate::db::{BuildId, Db, Result, Tx, rows};

/// SQL for whether the derivation of the row that conflicts on insert into `build` is better than
/// that of the existing row, as long as no coordinator has the build. It is better if the existing
/// one failed and this one did not, or if the spec that wants this one has the better priority. So
/// a spec that has others' outputs built in a way that fails costs them no more than that attempt.
macro_rules! is_better {
    () => {
        "not exists (failures(build, excluded.derivation_id)) and (build.state in {failed} or build.state in {waiting}
           and not build.sent and (excluded.priority < build.priority
             or exists (failures(build, build.derivation_id))))"
    };
}

/// A derivation that failed, or that the coordinator rejected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema, sqlx::FromRow)]
pub struct FailedDerivation {
    /// Store path of the derivation; only the 32 characters of its hash part once the derivation is
    /// no longer recorded.
    pub derivation: String,
    /// When it failed last.
    pub failed_at: Seconds,
}

impl Db {
    /// The derivations that a build failed with, the last failure last.
    pub async fn failed_derivations(&self, build: BuildId) -> Result<Vec<FailedDerivation>> {
        let sql = sql!(
            "select coalesce(derivation_path(d), f.hash) as derivation, f.failed_at
             from failed_derivation f left join derivation d on has_hash(d, f.hash)
             where f.build_id = $1 order by f.failed_at, f.hash"
        );
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(build).fetch_all(pool).await?))
    }
}

/// Records which derivations failed, each by its build and the 32 characters of its store path.
pub(in crate::db) async fn note_failures<'a>(
    tx: &mut Tx,
    failed: impl IntoIterator<Item = (BuildId, &'a str)>,
    now: Seconds,
) -> Result<()> {
    let lines: Vec<_> = failed.into_iter().map(|(id, hash)| json!({ "id": id, "hash": hash })).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let sql = sql!(
        "insert into failed_derivation (build_id, hash, evaluation_id, failed_at, has_others)
         select b.id, lines.hash, b.evaluation_id, $2, exists (select 1 from derivation d
           where d.output_set_id = b.output_set_id and d.hash <> lines.hash)
         from records($1: id bigint, hash text) as lines join build b on b.id = lines.id where true
         on conflict (build_id, hash) do update set evaluation_id = excluded.evaluation_id,
           failed_at = excluded.failed_at, failures = failed_derivation.failures + 1,
           has_others = excluded.has_others"
    );
    execute!(tx, sql, rows(lines), now);
    Ok(())
}
