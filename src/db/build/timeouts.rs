use std::collections::HashSet;

use crate::db::{Build, BuildId, Db, DerivationId, Result};

/// How long the builder of a job may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Times {
    /// How long it may print nothing, in seconds; 0 is for ever.
    pub max_silent_time: i64,
    /// How long it may take, in seconds; 0 is for ever.
    pub timeout: i64,
}

impl Db {
    /// Those of the builds that need, directly or not, another one which is still to be made or failed.
    pub async fn needing_others(&self, builds: &[Build]) -> Result<HashSet<BuildId>> {
        let sql = sql!(
            "select d.id from derivation d join build b on b.output_set_id = d.output_set_id
             where b.state in {missing} and (b.state not in {failed} or exists (failures(b, d.id)))"
        );
        let targets: Vec<DerivationId> =
            each!(&self.readers, pool, sql => sqlx::query_scalar(sql).fetch_all(pool).await?);
        let roots = builds.iter().map(|build| build.derivation_id);
        let waiting = self.reaching(roots, &targets.into_iter().collect()).await?;
        Ok(builds
            .iter()
            .filter(|build| waiting.contains(&build.derivation_id))
            .map(|build| build.id)
            .collect())
    }

    /// How long the builder of a derivation may take, as some job says.
    pub async fn times(&self, derivation: DerivationId) -> Result<Times> {
        const SQL: &str =
            "select f.max_silent_time, f.timeout from job_interval j join job_metadata f on f.id = j.metadata_id
            where j.derivation_id = $1 order by j.id limit 1";
        let times: Option<Times> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(derivation).fetch_optional(pool).await?);
        Ok(times.unwrap_or_default())
    }
}
