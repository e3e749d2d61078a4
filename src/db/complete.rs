use crate::db::{Db, Error, EvaluationId, Result};

/// A complete evaluation. Its jobs are the intervals that contain it.
#[derive(Clone, Copy)]
pub(in crate::db) struct Complete {
    pub(in crate::db) id: EvaluationId,
    /// The number of the sequence of its spec and system.
    pub(in crate::db) sequence: i64,
}

impl Complete {
    /// Finds the evaluation; an error if it is not complete.
    pub(in crate::db) async fn find(db: &Db, id: EvaluationId) -> Result<Self> {
        const SQL: &str = "select coalesce((select q.id from sequence q where q.spec_id = e.spec_id
            and q.system = e.system), 0) from evaluation e where e.id = $1 and e.state = 'complete'";
        let found: Option<i64> =
            each!(&db.readers, pool => sqlx::query_scalar(SQL).bind(id).fetch_optional(pool).await?);
        Ok(Self { id, sequence: found.ok_or(Error::NotComplete(id))? })
    }
}
