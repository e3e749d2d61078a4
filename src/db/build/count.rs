use crate::db::{BuildState, Db, Result};

/// How many builds there are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct BuildCount {
    /// Name of the spec that wanted them first.
    pub spec: String,
    /// For which system.
    pub system: String,
    /// In which state.
    pub state: BuildState,
    /// How many.
    pub count: i64,
}

impl Db {
    /// How many builds there are, by spec, system and state.
    pub async fn build_counts(&self) -> Result<Vec<BuildCount>> {
        const SQL: &str = "select s.name as spec, e.system, b.state, count(*) as count
            from build b join evaluation e on e.id = b.evaluation_id join spec s on s.id = e.spec_id
            group by s.name, e.system, b.state order by s.name, e.system, b.state";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).fetch_all(pool).await?))
    }
}
