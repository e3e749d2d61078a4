use std::collections::HashMap;

use serde_json::Value;

use crate::db::{BuildId, BuildState, Db, Result, rows};

/// A recorded derivation.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DerivationRecord {
    /// Its store path.
    pub path: String,
    /// The system that it is built on.
    pub system: String,
    /// The build of its outputs.
    pub build: Option<BuildId>,
    /// The state of that build.
    pub state: Option<BuildState>,
}

impl Db {
    /// The derivation with this hash in its store path.
    pub async fn derivation(&self, hash: &str) -> Result<Option<DerivationRecord>> {
        let sql = sql!(
            "select derivation_path(d) as path, y.name as system, b.id as build, b.state
             from derivation d join system y on y.id = d.system_id
               left join build b on b.output_set_id = d.output_set_id
             where has_hash(d, $1)"
        );
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(hash).fetch_optional(pool).await?))
    }

    /// The builds of the outputs of derivations, by the hash in the store path of each derivation.
    pub async fn builds_of_derivations(
        &self,
        hashes: &[String],
    ) -> Result<HashMap<String, (BuildId, BuildState)>> {
        let sql = sql!("of_hashes(derivation: t.hash, t.output_set_id)");
        let wanted = rows(hashes.iter().map(|hash| Value::from(hash.as_str())));
        let found: Vec<(String, i64)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&wanted).fetch_all(pool).await?);
        let builds = self.output_builds(found.iter().map(|(_, outputs)| *outputs)).await?;
        let build = |(hash, outputs)| builds.get(&outputs).map(|build| (hash, (build.id, build.state)));
        Ok(found.into_iter().filter_map(build).collect())
    }
}
