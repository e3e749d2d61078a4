//! Which derivations failed. Others that make the same outputs may still be built.

use serde_json::json;

use crate::clock::Seconds;
use crate::db::{BuildId, Db, Result, Tx, rows};

/// SQL for whether the derivation with the number `$derivation` failed when the build `$build` was tried with
/// it. A further condition on `f`, which says when that was, may follow.
macro_rules! has_failed {
    ($build:literal, $derivation:literal) => {
        has_failed!($build, $derivation, "")
    };
    ($build:literal, $derivation:literal, $further:literal) => {
        concat!(
            "exists (select 1 from failed_derivation f where f.build_id = ",
            $build,
            ".id and f.hash = (select k.hash from derivation k where k.id = ",
            $derivation,
            ")",
            $further,
            ")"
        )
    };
}

/// SQL for whether the derivation of the row that could not be inserted into `build` is better than that of the
/// row which is there, as long as no coordinator has it: that one failed and this one did not, or the spec that
/// wants this one has the better priority. Strangers who have others' outputs made in a way that fails cost them
/// no more than that attempt.
macro_rules! is_better {
    () => {
        concat!(
            "not ",
            has_failed!("build", "excluded.derivation_id"),
            " and (build.state in ",
            failed_states!(),
            " or build.state in ",
            waiting_states!(),
            " and not build.sent and (excluded.priority < build.priority or ",
            has_failed!("build", "build.derivation_id"),
            "))"
        )
    };
}

/// A derivation that failed, or that the coordinator rejected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct FailedDerivation {
    /// Its store path; only the 32 characters of that once it is known no more.
    pub derivation: String,
    /// When it failed last.
    pub failed_at: Seconds,
}

impl Db {
    /// The derivations with which a build was tried in vain, the last one last.
    pub async fn failed_derivations(&self, build: BuildId) -> Result<Vec<FailedDerivation>> {
        const SQL: &str = concat!(
            "select coalesce(",
            derivation_path!(),
            ", f.hash) as derivation, f.failed_at
             from failed_derivation f left join derivation d on ",
            has_hash!("d", "f.hash"),
            " where f.build_id = $1 order by f.failed_at, f.hash"
        );
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(build).fetch_all(pool).await?))
    }
}

/// Notes of builds that derivations failed, each by the 32 characters of its store path.
pub(in crate::db) async fn note_failures<'a>(
    tx: &mut Tx,
    failed: impl IntoIterator<Item = (BuildId, &'a str)>,
    now: Seconds,
) -> Result<()> {
    macro_rules! note {
        ($lines:literal) => {
            concat!(
                "insert into failed_derivation (build_id, hash, evaluation_id, failed_at, has_others)
                 select b.id, lines.hash, b.evaluation_id, $2, exists (select 1 from derivation d
                   where d.output_set_id = b.output_set_id and d.hash <> lines.hash)
                 from ",
                $lines,
                " join build b on b.id = lines.id where true
                 on conflict (build_id, hash) do update set evaluation_id = excluded.evaluation_id,
                   failed_at = excluded.failed_at, failures = failed_derivation.failures + 1,
                   has_others = excluded.has_others"
            )
        };
    }
    let lines: Vec<_> = failed.into_iter().map(|(id, hash)| json!({ "id": id, "hash": hash })).collect();
    if lines.is_empty() {
        return Ok(());
    }
    execute!(
        tx,
        [
            note!("(select value->>'id' as id, value->>'hash' as hash from json_each($1)) as lines"),
            note!("json_to_recordset($1::json) as lines (id bigint, hash text)")
        ],
        rows(lines),
        now
    );
    Ok(())
}
