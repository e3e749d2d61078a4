//! Lists of builds, those of the newest evaluation first, a page at a time.
//!
//! A list has an index for each filter that can leave few of many builds: the name of the job, the
//! spec, the system and the state. `cross join` makes SQLite read the tables in the order in which
//! they are written, so that no list is sorted as a whole.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::db::build::builds::Row;
use crate::db::dialect::Texts;
use crate::db::{Build, BuildId, BuildState, Db, DerivationId, EvaluationId, Result, rows};
use crate::domain::spec::System;

/// With more names than this, builds are found by another filter. Many names leave many builds.
const FEW_NAMES: i64 = 500;

/// Selects builds. An empty filter selects all.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// Only those that this spec wanted first.
    pub spec: Option<String>,
    /// Only those for this system.
    pub system: Option<System>,
    /// Only those in this state.
    pub state: Option<BuildState>,
    /// Only those of jobs whose names begin with this.
    pub name: Option<String>,
    /// Only those whose last attempt failed perhaps because of the machine.
    pub is_disturbed: bool,
}

impl BuildFilter {
    /// Whether it selects all builds.
    pub fn is_empty(&self) -> bool {
        let Self { spec, system, state, name, is_disturbed } = self;
        spec.is_none() && system.is_none() && state.is_none() && name.is_none() && !is_disturbed
    }

    /// This sorts after every name that it selects. Both databases sort by bytes.
    fn last_name(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("{name}\u{10ffff}"))
    }
}

/// The place of a build in a list: the list goes on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildPlace {
    evaluation: EvaluationId,
    build: BuildId,
}

impl BuildPlace {
    /// The place of a build.
    pub fn of(build: &Build) -> Self {
        Self { evaluation: build.evaluation, build: build.id }
    }
}

impl fmt::Display for BuildPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.evaluation, self.build)
    }
}

impl FromStr for BuildPlace {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once('-').and_then(|(evaluation, build)| {
            let (evaluation, build) = (evaluation.parse().ok()?, build.parse().ok()?);
            Some(Self { evaluation: EvaluationId(evaluation), build: BuildId(build) })
        });
        numbers.ok_or_else(|| format!("no list has a place {text:?}"))
    }
}

/// A page of builds: the tables in the order in which they are read, and the evaluation by which
/// the list is sorted.
macro_rules! page {
    ($tables:literal, $evaluation:literal) => {
        sql!(
            builds!(),
            "where b.id in (select b.id from ",
            $tables,
            " and ($1 is null or e.spec_id = $1) and ($2 is null or e.system = $2) and ($3 is null or b.state = $3)
               and ",
            $evaluation,
            " <= $4 and (",
            $evaluation,
            " < $4 or b.id < $5) and ($7 is null or n.name >= $7 and n.name < $8)
               and (not $9 or (select x.attempt from build_event x where x.build_id = b.id order by x.id desc limit 1)
                 = 'failed-other')
             order by ",
            $evaluation,
            " desc, b.id desc limit $6) order by b.evaluation_id desc, b.id desc"
        )
    };
}

/// The query for a filter. It begins with the names if these are few.
fn query(filter: &BuildFilter, has_few_names: bool) -> Texts {
    let is_of_state = filter.state.is_some();
    match (has_few_names, &filter.spec, &filter.system) {
        (true, ..) => page!(
            "job_name n cross join build b cross join evaluation e
             where b.name_id = n.id and e.id = b.evaluation_id and n.name >= $7 and n.name < $8",
            "b.evaluation_id"
        ),
        (false, Some(_), _) if is_of_state => page!(
            "evaluation e cross join build b cross join job_name n
             where e.spec_id = $1 and b.evaluation_id = e.id and b.state = $3 and n.id = b.name_id",
            "e.id"
        ),
        (false, Some(_), _) => page!(
            "evaluation e cross join build b cross join job_name n
             where e.spec_id = $1 and b.evaluation_id = e.id and n.id = b.name_id",
            "e.id"
        ),
        (false, None, Some(_)) if is_of_state => page!(
            "evaluation e cross join build b cross join job_name n
             where e.system = $2 and b.evaluation_id = e.id and b.state = $3 and n.id = b.name_id",
            "e.id"
        ),
        (false, None, Some(_)) => page!(
            "evaluation e cross join build b cross join job_name n
             where e.system = $2 and b.evaluation_id = e.id and n.id = b.name_id",
            "e.id"
        ),
        (false, None, None) if is_of_state => page!(
            "build b cross join evaluation e cross join job_name n
             where b.state = $3 and e.id = b.evaluation_id and n.id = b.name_id",
            "b.evaluation_id"
        ),
        (false, None, None) => page!(
            "build b cross join evaluation e cross join job_name n
             where e.id = b.evaluation_id and n.id = b.name_id",
            "b.evaluation_id"
        ),
    }
}

impl Db {
    /// The builds that a filter selects, those of the newest evaluation first; those after a place,
    /// if one is given.
    pub async fn builds(
        &self,
        filter: &BuildFilter,
        after: Option<BuildPlace>,
        limit: i64,
    ) -> Result<Vec<Build>> {
        const SPEC: &str = "select id from spec where name = $1";
        let spec: Option<i64> = match &filter.spec {
            None => None,
            Some(name) => {
                let id: Option<i64> = each!(&self.readers, pool => sqlx::query_scalar(SPEC).bind(name).fetch_optional(pool).await?);
                let Some(id) = id else { return Ok(Vec::new()) };
                Some(id)
            }
        };
        let sql = query(filter, self.has_few_names(filter).await?);
        let (evaluation, build) =
            after.map_or((i64::MAX, i64::MAX), |place| (place.evaluation.0, place.build.0));
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(spec).bind(filter.system.as_ref().map(System::as_str)).bind(filter.state).bind(evaluation)
            .bind(build).bind(limit).bind(&filter.name).bind(filter.last_name()).bind(filter.is_disturbed)
            .fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// Whether the filter leaves so few names that builds are found by these.
    async fn has_few_names(&self, filter: &BuildFilter) -> Result<bool> {
        const SQL: &str = "select count(*) from
            (select 1 as one from job_name where name >= $1 and name < $2 limit $3) as names";
        let Some(name) = &filter.name else { return Ok(false) };
        let count: i64 = each!(&self.readers, pool => sqlx::query_scalar(SQL)
            .bind(name).bind(filter.last_name()).bind(FEW_NAMES + 1).fetch_one(pool).await?);
        Ok(count <= FEW_NAMES)
    }

    /// The inputs of a build that are still to be built, or that failed: at most `limit`. Only what
    /// it needs directly.
    pub async fn missing_inputs(&self, build: &Build, limit: i64) -> Result<Vec<Build>> {
        let sql = sql!(
            builds!(),
            "where b.state in {missing}
               and b.output_set_id in (select i.output_set_id from derivation i where i.id in ids($1))
             order by b.id limit $2"
        );
        let found = self.derivation_inputs(&[build.derivation_id]).await?;
        let inputs = found.into_iter().flat_map(|(_, inputs)| inputs);
        let inputs = rows(inputs.map(|input| Value::from(input.0)));
        let rows: Vec<Row> = each!(&self.readers, pool, sql =>
            sqlx::query_as(sql).bind(&inputs).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// The builds that wait for this one, directly or not: their number, and the first `limit` of
    /// them. For a failed build, only derivations that failed count.
    pub async fn waiting_for(&self, build: &Build, limit: usize) -> Result<(usize, Vec<Build>)> {
        let own = sql!(
            "select d.id from derivation d join build b on b.output_set_id = d.output_set_id
             where b.id = $1 and (b.state not in {failed} or exists (failures(b, d.id)))"
        );
        let waiting = sql!("select id, derivation_id from build where state in {waiting} order by id");
        let targets =
            each!(&self.readers, pool, own => sqlx::query_scalar(own).bind(build.id).fetch_all(pool).await?);
        let waiting: Vec<(BuildId, DerivationId)> =
            each!(&self.readers, pool, waiting => sqlx::query_as(waiting).fetch_all(pool).await?);
        let targets = targets.into_iter().collect();
        let reaching = self.reaching(waiting.iter().map(|(_, derivation)| *derivation), &targets).await?;
        let ids =
            waiting.into_iter().filter(|(id, derivation)| *id != build.id && reaching.contains(derivation));
        let ids: Vec<BuildId> = ids.map(|(id, _)| id).collect();
        let count = ids.len();
        let mut first = self.builds_numbered(ids.into_iter().take(limit)).await?;
        first.sort_by_key(|build| build.id);
        Ok((count, first))
    }
}
