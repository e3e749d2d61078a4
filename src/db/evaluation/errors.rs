use crate::db::{Db, EvaluationId, JobError, Result};

impl Db {
    /// The errors of an evaluation by name, of one cause or of all, at most `limit`, each with its
    /// number; those after the one with the number `after`, if that is given. `None` if there is no
    /// error with that number.
    pub async fn errors_after(
        &self,
        evaluation: EvaluationId,
        cause: Option<&str>,
        after: Option<i64>,
        limit: i64,
    ) -> Result<Option<Vec<(i64, JobError)>>> {
        const NAME: &str = "select name from evaluation_error where id = $1 and evaluation_id = $2";
        const SQL: &str = "select id, name, cause, message from evaluation_error where evaluation_id = $1
              and ($2 is null or cause = $2) and name >= $3 and (name > $3 or id > $4) order by name, id limit $5";
        let name: Option<String> = match after {
            None => Some(String::new()),
            Some(id) => each!(&self.readers, pool =>
                sqlx::query_scalar(NAME).bind(id).bind(evaluation).fetch_optional(pool).await?),
        };
        let Some(name) = name else { return Ok(None) };
        let rows: Vec<(i64, String, String, String)> = each!(&self.readers, pool => sqlx::query_as(SQL)
            .bind(evaluation).bind(cause).bind(&name).bind(after.unwrap_or(0)).bind(limit).fetch_all(pool).await?);
        let error = |(id, name, cause, message)| (id, JobError { name, cause, message });
        Ok(Some(rows.into_iter().map(error).collect()))
    }

    /// The causes of the errors of an evaluation, each with the number of its errors, the most
    /// frequent first.
    pub async fn error_causes(&self, evaluation: EvaluationId) -> Result<Vec<(String, i64)>> {
        const SQL: &str = "select cause, count(*) from evaluation_error where evaluation_id = $1
            group by cause order by count(*) desc, cause";
        each!(&self.readers, pool => Ok(sqlx::query_as(SQL).bind(evaluation).fetch_all(pool).await?))
    }
}
