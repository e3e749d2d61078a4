use std::collections::HashSet;

use crate::db::{Build, BuildId, Db, DerivationId, Result};

/// The timeouts of a job's builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct Times {
    /// Longest time without output, in seconds; 0 means no limit.
    pub max_silent_time: i64,
    /// Longest time in total, in seconds; 0 means no limit.
    pub timeout: i64,
}

impl Db {
    /// Those of the given builds that need, directly or not, another build that has not ended or
    /// has failed.
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

    /// The timeouts of a derivation, from the first job that has it.
    pub async fn times(&self, derivation: DerivationId) -> Result<Times> {
        const SQL: &str =
            "select f.max_silent_time, f.timeout from job_interval j join job_metadata f on f.id = j.metadata_id
            where j.derivation_id = $1 order by j.id limit 1";
        let times: Option<Times> =
            each!(&self.readers, pool => sqlx::query_as(SQL).bind(derivation).fetch_optional(pool).await?);
        Ok(times.unwrap_or_default())
    }
}
