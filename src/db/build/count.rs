use crate::clock::Seconds;
use crate::db::{BuildState, Db, Result};

/// The number of builds with one spec, system and state.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct BuildCount {
    /// Name of the spec that wanted them first.
    pub spec: String,
    /// The system of that spec's evaluation.
    pub system: String,
    /// The state of the builds.
    pub state: BuildState,
    /// The number of builds.
    pub count: i64,
}

impl Db {
    /// The numbers of builds, by spec, system and state.
    pub async fn build_counts(&self) -> Result<Vec<BuildCount>> {
        const SQL: &str = "select s.name as spec, e.system, b.state, count(*) as count
            from build b join evaluation e on e.id = b.evaluation_id join spec s on s.id = e.spec_id
            group by s.name, e.system, b.state order by s.name, e.system, b.state";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }

    /// The systems with queued builds, each with the time when its oldest one was queued.
    pub async fn oldest_queued(&self) -> Result<Vec<(String, Seconds)>> {
        const SQL: &str = "select e.system, min(b.created_at) from build b
            join evaluation e on e.id = b.evaluation_id where b.state = 'queued'
            group by e.system order by e.system";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }
}
