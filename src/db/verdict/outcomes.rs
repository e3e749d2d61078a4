use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::db::build::builds::Row;
use crate::db::{Build, BuildId, BuildState, Db, DerivationId, EvaluationId, Result, rows};
use crate::domain::spec::System;

/// The build of a set of outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputBuild {
    /// Its number.
    pub id: BuildId,
    /// The derivation that stands for it now.
    pub derivation: DerivationId,
    /// How far it is.
    pub state: BuildState,
    /// The 32 characters that name each derivation with which it failed.
    pub failed: BTreeSet<String>,
}

impl Db {
    /// The builds of sets of outputs, by the number of the set. Of some sets there may be none.
    pub async fn output_builds(
        &self,
        outputs: impl IntoIterator<Item = i64>,
    ) -> Result<HashMap<i64, OutputBuild>> {
        let sql =
            sql!("select output_set_id, id, derivation_id, state from build where output_set_id in ids($1)");
        let failures = sql!(
            "select b.output_set_id, f.hash from build b join failed_derivation f on f.build_id = b.id
             where b.state in {failed} and b.output_set_id in ids($1)"
        );
        let outputs = rows(outputs.into_iter().map(Value::from));
        let builds: Vec<(i64, BuildId, DerivationId, BuildState)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&outputs).fetch_all(pool).await?);
        let failures: Vec<(i64, String)> = each!(&self.readers, pool, failures => sqlx::query_as(failures).bind(&outputs).fetch_all(pool).await?);
        let build = |(outputs, id, derivation, state)| {
            (outputs, OutputBuild { id, derivation, state, failed: BTreeSet::new() })
        };
        let mut builds: HashMap<i64, OutputBuild> = builds.into_iter().map(build).collect();
        for (outputs, hash) in failures {
            if let Some(build) = builds.get_mut(&outputs) {
                build.failed.insert(hash);
            }
        }
        Ok(builds)
    }

    /// Builds by their numbers.
    pub async fn builds_numbered(&self, ids: impl IntoIterator<Item = BuildId>) -> Result<Vec<Build>> {
        let sql = sql!(builds!(), "where b.id in ids($1)");
        let ids = rows(ids.into_iter().map(|id| id.0.into()));
        let rows: Vec<Row> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(ids).fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// The names of the jobs that a complete evaluation has, and those that the jobs of its packages
    /// have in other evaluations for this system.
    pub async fn job_names(&self, evaluation: EvaluationId, system: &System) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for job in self.jobs(evaluation).await? {
            names.extend(job.metadata.package.map(|package| format!("{package}.{system}")));
            names.insert(job.name);
        }
        Ok(names)
    }
}
