//! The outputs that GC roots protect from the garbage collector of this machine's daemon.

use std::collections::HashSet;

use serde_json::Value;

use crate::db::{BuildId, Db, Error, Live, Result, rows};

impl Db {
    /// The outputs of a build: names, and base names of their store paths.
    pub async fn outputs(&self, build: BuildId) -> Result<Vec<(String, String)>> {
        let sql = sql!(
            "select outputs(o, d) from build b
               join output_set o on o.id = b.output_set_id join derivation d on d.id = b.derivation_id
             where b.id = $1"
        );
        let outputs: String =
            each!(&self.readers, pool, sql => sqlx::query_scalar(sql).bind(build).fetch_one(pool).await?);
        let damaged = |line: &str| Error::Damaged {
            what: format!("the outputs of build {build}"),
            reason: format!("`{line}` is not an output"),
        };
        let pair = |line: &str| {
            let (name, base_name) = line.split_once(' ').ok_or_else(|| damaged(line))?;
            Ok((name.to_owned(), base_name.to_owned()))
        };
        outputs.lines().map(pair).collect()
    }

    /// Those of the given builds whose outputs are to be kept. A job keeps them if it is wanted, or
    /// was wanted when it could last be evaluated. A build that is kept for a job also keeps the
    /// builds that it needs.
    pub async fn gc_roots(&self, builds: &[BuildId], live: &[Live]) -> Result<HashSet<BuildId>> {
        let sql = sql!(
            "with recursive needing(asked, id) as (
               select id, id from build where id in ids($1)
               union select needing.asked, b.needed_by from needing join build b on b.id = needing.id
                 where b.needed_by is not null)
             select distinct needing.asked from needing join build b on b.id = needing.id
               join derivation d on d.output_set_id = b.output_set_id join job j on j.derivation_id = d.id
             where j.spec_id in ids($2) and (j.last_evaluation is null or j.spec_id in ids($3)
               or exists (select 1 from evaluation_error x where x.name = j.name and x.evaluation_id =
                 (select max(id) from evaluation
                  where spec_id = j.spec_id and system = j.system and state = 'complete')))"
        );
        let ids = rows(builds.iter().map(|id| Value::from(id.0)));
        let specs = rows(live.iter().map(|live| Value::from(live.spec.0)));
        let every = live.iter().filter(|live| live.every_commit);
        let every = rows(every.map(|live| Value::from(live.spec.0)));
        let found: Vec<BuildId> = each!(&self.readers, pool, sql =>
            sqlx::query_scalar(sql).bind(&ids).bind(&specs).bind(&every).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }
}
