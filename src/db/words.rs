use serde_json::Value;

use super::{Db, Result, rows, stored};

/// Reads numbers and what they stand for, in columns, of the rows of a table whose numbers are in the JSON array $1.
macro_rules! words {
    (sqlite $column:literal, $table:literal) => {
        concat!(
            "select json_group_array(t.id), json_group_array(t.",
            $column,
            ") from json_each($1) w cross join ",
            $table,
            " t on t.id = w.value"
        )
    };
    (postgres $column:literal, $table:literal) => {
        concat!(
            "select cast(coalesce(json_agg(t.id), '[]') as text), cast(coalesce(json_agg(t.",
            $column,
            "), '[]') as text) from json_array_elements_text($1::json) w (value) cross join lateral (select * from ",
            $table,
            " where id = w.value::bigint offset 0) t"
        )
    };
}

/// What numbers stand for, by those.
pub(super) struct Words(Vec<(i64, String)>);

impl Words {
    /// The word with this number, and its place among all.
    pub(super) fn get(&self, id: i64) -> Option<(usize, &str)> {
        let place = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some((place, &self.0[place].1))
    }

    /// For each word, the place that it would have if they were sorted.
    pub(super) fn ranks(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_unstable_by_key(|place| &self.0[*place].1);
        let mut ranks = vec![0; order.len()];
        for (rank, place) in order.into_iter().enumerate() {
            ranks[place] = rank;
        }
        ranks
    }
}

impl Db {
    /// Names of jobs by their numbers.
    pub(super) async fn job_names(&self, ids: Vec<i64>) -> Result<Words> {
        self.words(words!(sqlite "name", "job_name"), words!(postgres "name", "job_name"), ids).await
    }

    /// Versions of packages by the numbers of facts.
    pub(super) async fn versions(&self, ids: Vec<i64>) -> Result<Words> {
        self.words(words!(sqlite "version", "job_facts"), words!(postgres "version", "job_facts"), ids).await
    }

    async fn words(&self, sqlite: &'static str, postgres: &'static str, ids: Vec<i64>) -> Result<Words> {
        let ids = rows(ids.into_iter().map(Value::from));
        let (ids, words): (String, String) = each!(&self.readers, pool, sql: sqlite, postgres =>
            sqlx::query_as(sql).bind(&ids).fetch_one(pool).await?);
        let what = || "names and versions of jobs".to_owned();
        let (ids, words): (Vec<i64>, Vec<String>) = (stored(&ids, what)?, stored(&words, what)?);
        let mut words: Vec<(i64, String)> = ids.into_iter().zip(words).collect();
        words.sort_unstable_by_key(|(id, _)| *id);
        Ok(Words(words))
    }
}
