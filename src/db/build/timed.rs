//! Builds with the times of their attempts and with their outputs, as compatible APIs list them.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::Value;

use crate::clock::Seconds;
use crate::db::build::builds::Row;
use crate::db::build::transition::stored_attempt;
use crate::db::dialect::Texts;
use crate::db::{Build, BuildFilter, BuildId, BuildState, Db, Error, EvaluationId, Result, SpecId, rows};
use crate::domain::attempt::Attempt;
use crate::domain::spec::System;

/// A build, its times and its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedBuild {
    /// The build.
    pub build: Build,
    /// When the last attempt began, if any has.
    pub started_at: Option<Seconds>,
    /// When the last attempt ended, if any has.
    pub ended_at: Option<Seconds>,
    /// The outputs: names, and base names of their store paths.
    pub outputs: Vec<(String, String)>,
}

/// Which builds to list. An empty filter lists those in all `states`.
#[derive(Debug, Clone, Default)]
pub struct TimedFilter {
    /// Only those that this spec wanted first.
    pub spec: Option<String>,
    /// Only those for this system.
    pub system: Option<String>,
    /// Only those that this job wanted.
    pub job: Option<String>,
    /// Only those that this evaluation wanted first.
    pub evaluation: Option<EvaluationId>,
    /// Only those in one of these states.
    pub states: Vec<BuildState>,
}

/// The build of a job in a complete evaluation.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct JobBuild {
    /// The evaluation.
    pub evaluation: EvaluationId,
    /// The name of the job.
    pub job: String,
    /// The build of its outputs.
    pub build: BuildId,
    /// The state of that build.
    pub state: BuildState,
}

/// The order of a list of builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildOrder {
    /// Those of the newest evaluation first.
    Newest,
    /// Those that are building first, then by priority and age.
    Queue,
}

/// The builds that a filter selects: a condition by which they are found, and their order.
macro_rules! filtered {
    ($found:literal, $order:literal) => {
        sql!(
            builds!(),
            "where ",
            $found,
            " and ($2 is null or s.name = $2) and ($3 is null or e.system = $3)
               and ($4 is null or n.name = $4) and ($5 is null or b.evaluation_id = $5)
             order by ",
            $order,
            " limit $6"
        )
    };
}

impl Db {
    /// The builds that a filter selects.
    pub async fn timed_builds(
        &self,
        filter: &TimedFilter,
        order: BuildOrder,
        limit: i64,
    ) -> Result<Vec<TimedBuild>> {
        let builds = match order {
            BuildOrder::Newest if filter.evaluation.is_some() => {
                let sql = filtered!("b.evaluation_id = $5 and b.state in texts($1)", "b.id desc");
                self.selected(sql, filter, limit).await?
            }
            BuildOrder::Newest if filter.job.is_some() => {
                let sql = filtered!(
                    "b.name_id = (select j.id from job_name j where j.name = $4) and b.state in texts($1)",
                    "b.evaluation_id desc, b.id desc"
                );
                self.selected(sql, filter, limit).await?
            }
            BuildOrder::Newest => self.newest_in_states(filter, limit).await?,
            BuildOrder::Queue => {
                let sql = filtered!(
                    "b.state in texts($1)",
                    "case b.state when 'building' then 0 else 1 end, b.priority, b.created_at, b.id"
                );
                self.selected(sql, filter, limit).await?
            }
        };
        self.with_times(builds).await
    }

    async fn selected(&self, sql: Texts, filter: &TimedFilter, limit: i64) -> Result<Vec<Build>> {
        let states = rows(filter.states.iter().map(|state| Value::from(state.word())));
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(&states).bind(&filter.spec).bind(&filter.system).bind(&filter.job)
            .bind(filter.evaluation).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// The newest builds of a filter without a job and an evaluation. There is an index for the newest
    /// builds in one state, so these are read for each state, and merged.
    async fn newest_in_states(&self, filter: &TimedFilter, limit: i64) -> Result<Vec<Build>> {
        let system = filter.system.as_deref().map(System::new);
        if system == Some(None) {
            return Ok(Vec::new());
        }
        let mut newest = Vec::new();
        for state in &filter.states {
            let of_state = BuildFilter {
                spec: filter.spec.clone(),
                system: system.clone().flatten(),
                state: Some(*state),
                ..BuildFilter::default()
            };
            newest.extend(self.builds(&of_state, None, limit).await?);
        }
        newest.sort_unstable_by_key(|build| Reverse((build.evaluation, build.id)));
        newest.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(newest)
    }

    /// The build of the outputs of a derivation, by the 32 characters of the derivation's store path.
    pub async fn build_of_derivation(&self, hash: &str) -> Result<Option<BuildId>> {
        let sql = sql!(
            "select b.id from derivation d join build b on b.output_set_id = d.output_set_id
             where has_hash(d, $1)"
        );
        each!(&self.readers, pool, sql => Ok(sqlx::query_scalar(sql).bind(hash).fetch_optional(pool).await?))
    }

    /// Adds times and outputs.
    pub async fn with_times(&self, builds: Vec<Build>) -> Result<Vec<TimedBuild>> {
        let times = sql!(
            "select build_id, attempt, max(coalesce(happened_at, received_at)) from build_event
             where build_id in ids($1) group by build_id, attempt"
        );
        let outputs = sql!(
            "select b.id, outputs(o, d) from build b
               join output_set o on o.id = b.output_set_id join derivation d on d.id = b.derivation_id
             where b.id in ids($1)"
        );
        let ids = rows(builds.iter().map(|build| build.id.0.into()));
        let times: Vec<(BuildId, String, Seconds)> =
            each!(&self.readers, pool, times => sqlx::query_as(times).bind(&ids).fetch_all(pool).await?);
        let outputs: Vec<(BuildId, String)> =
            each!(&self.readers, pool, outputs => sqlx::query_as(outputs).bind(&ids).fetch_all(pool).await?);
        let outputs: HashMap<BuildId, String> = outputs.into_iter().collect();
        let mut began: HashMap<BuildId, Seconds> = HashMap::new();
        let mut ended: HashMap<BuildId, Seconds> = HashMap::new();
        for (id, word, at) in times {
            let attempt = stored_attempt(id, &word)?;
            let newest = match attempt {
                Attempt::Scheduled => continue,
                Attempt::Started => began.entry(id).or_insert(at),
                _ => ended.entry(id).or_insert(at),
            };
            *newest = at.max(*newest);
        }
        let complete = builds.into_iter().map(|build| {
            let lines = outputs.get(&build.id).map(String::as_str).unwrap_or_default();
            Ok(TimedBuild {
                started_at: began.get(&build.id).copied(),
                ended_at: ended.get(&build.id).copied(),
                outputs: lines.lines().map(|line| pair(build.id, line)).collect::<Result<_>>()?,
                build,
            })
        });
        complete.collect()
    }

    /// The builds of the jobs with these names in the newest complete evaluations of a spec, at most
    /// `limit`, newest first. Only evaluations for systems for which it has had one of the jobs count.
    pub async fn builds_of_jobs(&self, spec: SpecId, names: &[&str], limit: i64) -> Result<Vec<JobBuild>> {
        let sql = sql!(
            "with newest as (
               select e.id from evaluation e where e.spec_id = $2 and e.state = 'complete' and e.system in
                 (select q.system from sequence q where q.spec_id = $2 and exists
                   (select 1 from job_name n join job_interval i on i.name_id = n.id
                    where n.name in texts($1) and i.sequence_id = q.id))
               order by e.id desc limit $3)
             select distinct e.id as evaluation, n.name as job, b.id as build, b.state
             from job_name n join job_interval i on i.name_id = n.id join sequence q on q.id = i.sequence_id
               join evaluation e on e.spec_id = q.spec_id and e.system = q.system
               join derivation d on d.id = i.derivation_id join build b on b.output_set_id = d.output_set_id
             where n.name in texts($1) and q.spec_id = $2 and e.id in (select id from newest)
               and e.id >= i.first_evaluation and (i.last_evaluation is null or e.id <= i.last_evaluation)
               and (i.last_evaluation is null or i.last_evaluation >= (select min(id) from newest))
             order by evaluation desc, job, build"
        );
        let names = rows(names.iter().map(|name| Value::from(*name)));
        each!(&self.readers, pool, sql => Ok(sqlx::query_as(sql).bind(&names).bind(spec).bind(limit)
            .fetch_all(pool).await?))
    }
}

fn pair(build: BuildId, line: &str) -> Result<(String, String)> {
    let (name, base_name) = line.split_once(' ').ok_or_else(|| Error::Damaged {
        what: format!("the outputs of build {build}"),
        reason: format!("`{line}` is none"),
    })?;
    Ok((name.to_owned(), base_name.to_owned()))
}
