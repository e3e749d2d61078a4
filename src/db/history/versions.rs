use crate::clock::Seconds;
use crate::db::{Db, EvaluationId, Result, stored};
use crate::domain::revision::Revision;

/// A derivation that a job had in a range of evaluations of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The name of the job.
    pub job: String,
    /// The name of the spec.
    pub spec: String,
    /// The system of the evaluations.
    pub system: String,
    /// Store path of the derivation.
    pub derivation: String,
    /// Number of the set of outputs.
    pub outputs: i64,
    /// Version of the package.
    pub version: Option<String>,
    /// The first evaluation that had it.
    pub first: EvaluationId,
    /// The revision of that evaluation.
    pub revision: Revision,
    /// When that evaluation was complete; `None` while it runs.
    pub since: Option<Seconds>,
    /// The last evaluation that had it; `None` when the newest has it.
    pub last: Option<EvaluationId>,
    /// When that evaluation was complete.
    pub until: Option<Seconds>,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    spec: String,
    system: String,
    derivation: String,
    outputs: i64,
    version: Option<String>,
    first: EvaluationId,
    channels: String,
    since: Option<Seconds>,
    last: Option<EvaluationId>,
    until: Option<Seconds>,
}

/// All columns of a [`Row`] of the jobs of a package or of one name ($1; $2 sorts after all of them),
/// of a spec ($3); a further condition may follow.
macro_rules! spans {
    () => {
        "select j.name, s.name as spec, j.system, derivation_path(d) as derivation, d.output_set_id as outputs, f.version, j.first_evaluation as first,
               coalesce(a.channels, r.channels) as channels, a.finished_at as since, j.last_evaluation as last,
               z.finished_at as until
             from job j join spec s on s.id = j.spec_id join derivation d on d.id = j.derivation_id
               join evaluation a on a.id = j.first_evaluation join revision r on r.id = a.revision_id
               left join evaluation z on z.id = j.last_evaluation left join job_metadata f on f.id = j.metadata_id
             where j.name >= $1 and j.name < $2 and (j.name = $1 or f.package = $1)
               and (j.name = $1 or substr(j.name, length($1) + 1, 1) not between '0' and '9'
                 and lower(substr(j.name, length($1) + 1, 1)) not between 'a' and 'z')
               and ($3 is null or s.name = $3)"
    };
}

impl Db {
    /// The derivations of the job called `word`, or of the jobs of the package called `word`, the
    /// newest first; of all specs, or of only one. The jobs of a package are those whose names
    /// begin with the package's name, followed by neither a letter nor a digit. Jobs of other
    /// packages are not even read.
    pub async fn history(&self, word: &str, spec: Option<&str>, limit: i64) -> Result<Vec<Span>> {
        let sql = sql!(spans!(), " order by j.first_evaluation desc, j.name, j.id desc limit $4");
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(word).bind(after(word)).bind(spec).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Span::try_from).collect()
    }

    /// The same jobs as in the newest evaluations that are complete or run, by name, spec and
    /// system. SQLite must not read all jobs of those evaluations.
    pub async fn current_spans(&self, word: &str, spec: Option<&str>, limit: i64) -> Result<Vec<Span>> {
        let sql = sql!(
            spans!(),
            " and unindexed(j.last_evaluation) is null order by j.name, s.name, j.system, j.id limit $4"
        );
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(word).bind(after(word)).bind(spec).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Span::try_from).collect()
    }

    /// The complete evaluations with a commit that begins with `prefix` in their revision, the
    /// newest first. Only the newest one for each spec, system and revision is listed.
    pub async fn evaluations_of_commit(&self, prefix: &str) -> Result<Vec<EvaluationId>> {
        const SQL: &str = "select max(e.id) from revision r join evaluation e on e.revision_id = r.id
            where r.channels like '%\"commit\":\"' || $1 || '%' and e.state = 'complete'
            group by e.spec_id, e.system, e.revision_id order by 1 desc";
        let prefix = prefix.to_ascii_lowercase();
        each!(&self.readers, pool => Ok(sqlx::query_scalar(SQL).bind(&prefix).fetch_all(pool).await?))
    }

    /// For each system, the last evaluation of a spec that was complete at that time.
    pub async fn complete_at(&self, spec: &str, time: Seconds) -> Result<Vec<EvaluationId>> {
        const SYSTEMS: &str = "select distinct e.system from evaluation e join spec s on s.id = e.spec_id
            where s.name = $1 order by e.system";
        const NEWEST: &str = "select e.id from evaluation e join spec s on s.id = e.spec_id
            where s.name = $1 and e.system = $2 and e.state = 'complete' and e.finished_at <= $3
            order by e.finished_at desc, e.id desc limit 1";
        let systems: Vec<String> =
            each!(&self.readers, pool => sqlx::query_scalar(SYSTEMS).bind(spec).fetch_all(pool).await?);
        let mut newest = Vec::new();
        for system in systems {
            let found: Option<EvaluationId> = each!(&self.readers, pool => sqlx::query_scalar(NEWEST)
                .bind(spec).bind(&system).bind(time).fetch_optional(pool).await?);
            newest.extend(found);
        }
        Ok(newest)
    }
}

/// A text that sorts after every text that begins with a word. Both databases sort by bytes.
fn after(word: &str) -> String {
    format!("{word}\u{10ffff}")
}

impl TryFrom<Row> for Span {
    type Error = crate::db::Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            revision: stored(&row.channels, || format!("the revision of evaluation {}", row.first))?,
            job: row.name,
            spec: row.spec,
            system: row.system,
            derivation: row.derivation,
            outputs: row.outputs,
            version: row.version.filter(|version| !version.is_empty()),
            first: row.first,
            since: row.since,
            last: row.last,
            until: row.until,
        })
    }
}
