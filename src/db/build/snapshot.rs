//! Everything that planning reads: the builds that are not at their ends, what they need and is
//! not there, and who wants each for its own sake.
//!
//! What an evaluation that failed or started again has found is not forgotten: it was the
//! branch's.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::db::{BuildId, BuildState, Db, DerivationId, Error, EvaluationId, Live, Result, SpecId, rows};
use crate::domain::plan::order::{Claim, Graph, Node};
use crate::guix::edges;

/// How long a build takes, in seconds, while nothing is known of any.
const USUAL: u32 = 60;

/// A build that is not at its end.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OpenBuild {
    /// Its number.
    pub id: BuildId,
    /// The derivation to build.
    pub derivation_id: DerivationId,
    /// The evaluation that wanted it first.
    pub evaluation_id: EvaluationId,
    /// The spec of that.
    pub spec_id: SpecId,
    /// The name of that.
    pub spec: String,
    /// The system of the evaluation.
    pub system: String,
    /// How far it is.
    pub state: BuildState,
    /// The coordinator's priority: larger is sooner.
    pub urgency: i64,
    output_set_id: i64,
}

/// All builds that are not at their ends, how they depend on each other, and who wants them.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The builds.
    pub builds: Vec<OpenBuild>,
    /// What they need that is not there; its builds are those above.
    pub graph: Graph,
    /// Who wants each for its own sake.
    pub claims: Vec<Option<Claim>>,
}

/// A derivation that a build needs, directly or not, and that is not there.
#[derive(sqlx::FromRow)]
struct Missing {
    id: DerivationId,
    output_set_id: i64,
    inputs: Vec<u8>,
    name: String,
    system: String,
}

/// How long builds took, in seconds, by the names of their packages: the newest of each.
#[derive(Default)]
struct Durations {
    by_system: HashMap<(String, String), u32>,
    anywhere: HashMap<String, u32>,
}

impl Durations {
    /// How long this takes by what is known. Where its system has not built the package, others may have: what is long
    /// there is long here.
    fn of(&self, derivation: &Missing) -> Option<u32> {
        let package = package(&derivation.name);
        let here = self.by_system.get(&(package.to_owned(), derivation.system.clone()));
        here.or_else(|| self.anywhere.get(package)).copied()
    }

    /// The mean.
    fn usual(&self) -> u32 {
        let all: u64 = self.by_system.values().map(|seconds| u64::from(*seconds)).sum();
        let mean = all.checked_div(self.by_system.len() as u64);
        mean.and_then(|mean| u32::try_from(mean).ok()).unwrap_or(USUAL)
    }
}

impl Db {
    /// What is to be planned.
    pub async fn snapshot(&self, live: &[Live]) -> Result<Snapshot> {
        let open = sql!(
            "select b.id, b.derivation_id, b.evaluation_id, e.spec_id, s.name as spec, e.system, b.state, b.urgency,
               b.output_set_id
             from build b join evaluation e on e.id = b.evaluation_id join spec s on s.id = e.spec_id
             where b.state in {open}"
        );
        let mut builds: Vec<OpenBuild> =
            each!(&self.readers, pool, open => sqlx::query_as(open).fetch_all(pool).await?);
        let missing = self.missing(&builds).await?;
        // What came to its end in between is none of our business any more.
        builds.retain(|build| missing.contains_key(&build.derivation_id));
        let claims = self.claims(&builds, live).await?;
        let seconds = self.durations().await?;
        Ok(Snapshot { graph: graph(&builds, &missing, &seconds)?, builds, claims })
    }

    /// Who wants each build for its own sake: jobs of live evaluations, or of all evaluations where every
    /// commit counts; jobs as they were last, where the newest evaluation could not evaluate them; and
    /// evaluations that are not complete, for as long as no later one is. What those have found is
    /// forgotten when they are begun again or fail, but it was the branch's.
    async fn claims(&self, builds: &[OpenBuild], live: &[Live]) -> Result<Vec<Option<Claim>>> {
        let jobs = self.claiming_jobs(live).await?;
        let unfinished = self.unfinished().await?;
        let found_by = builds.iter().filter(|build| unfinished.contains(&build.evaluation_id));
        let found_by = found_by.map(|build| (build.id, build.spec_id, build.system.clone()));
        let by_place: HashMap<(SpecId, &str), Claim> =
            live.iter().map(|live| ((live.spec, live.system.as_str()), claim(live))).collect();
        let mut least: HashMap<BuildId, Claim> = HashMap::new();
        for (build, spec, system) in jobs.into_iter().chain(found_by) {
            let Some(claim) = by_place.get(&(spec, system.as_str())) else { continue };
            least.entry(build).and_modify(|least| *least = (*least).min(*claim)).or_insert(*claim);
        }
        Ok(builds.iter().map(|build| least.get(&build.id).copied()).collect())
    }

    /// The builds of jobs that want them for their own sake, and the specs and systems of those.
    async fn claiming_jobs(&self, live: &[Live]) -> Result<Vec<(BuildId, SpecId, String)>> {
        let current = sql!(
            "select distinct b.id, j.spec_id, j.system
             from build b join derivation d on d.output_set_id = b.output_set_id
               join job j on j.derivation_id = d.id
             where b.state in {open} and (j.last_evaluation is null or j.spec_id in ids($1))"
        );
        let broken = sql!(
            "select distinct b.id, j.spec_id, j.system
             from build b join derivation d on d.output_set_id = b.output_set_id
               join job j on j.derivation_id = d.id and j.last_evaluation is not null
               join evaluation n on n.id = (select max(id) from evaluation
                 where spec_id = j.spec_id and system = j.system and state = 'complete')
             where b.state in {open}
               and not exists (select 1 from job k where k.spec_id = j.spec_id and k.system = j.system
                 and k.name = j.name and k.last_evaluation is null)
               and j.last_evaluation = (select max(k.last_evaluation) from job k where k.spec_id = j.spec_id
                 and k.system = j.system and k.name = j.name and k.last_evaluation is not null)
               and (exists (select 1 from evaluation_error x where x.evaluation_id = n.id and x.name = j.name)
                 or n.partial and j.last_evaluation >= (select coalesce(max(w.id), 0) from evaluation w
                   where w.spec_id = j.spec_id and w.system = j.system and w.state = 'complete' and not w.partial))"
        );
        let every = live.iter().filter(|live| live.every_commit);
        let every = rows(every.map(|live| Value::from(live.spec.0)));
        let mut jobs: Vec<(BuildId, SpecId, String)> = each!(&self.readers, pool, current =>
            sqlx::query_as(current).bind(&every).fetch_all(pool).await?);
        let broken: Vec<(BuildId, SpecId, String)> =
            each!(&self.readers, pool, broken => sqlx::query_as(broken).fetch_all(pool).await?);
        jobs.extend(broken);
        Ok(jobs)
    }

    /// The evaluations that are not complete, and after which none is.
    async fn unfinished(&self) -> Result<HashSet<EvaluationId>> {
        const SQL: &str = "select e.id from evaluation e where e.state <> 'complete' and not exists
            (select 1 from evaluation c where c.spec_id = e.spec_id and c.system = e.system
               and c.state = 'complete' and c.id > e.id)";
        let found: Vec<EvaluationId> =
            each!(&self.readers, pool => sqlx::query_scalar(SQL).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }

    /// What these builds need and is not there, themselves included, by id. What has a build that is
    /// over is there, or will not be; what has none, or one that was canceled, is looked through.
    async fn missing(&self, builds: &[OpenBuild]) -> Result<BTreeMap<DerivationId, Missing>> {
        let sql = sql!(
            "select d.id, d.output_set_id, d.inputs, d.name, y.name as system
             from derivation d join system y on y.id = d.system_id left join build b on b.output_set_id = d.output_set_id
             where d.id in ids($1) and (b.id is null or b.state = 'canceled' or b.state in {open})"
        );
        let mut level: Vec<DerivationId> = builds.iter().map(|build| build.derivation_id).collect();
        let mut seen: HashSet<DerivationId> = level.iter().copied().collect();
        let mut missing = BTreeMap::new();
        while !level.is_empty() {
            let ids = rows(level.drain(..).map(|id| Value::from(id.0)));
            let found: Vec<Missing> =
                each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&ids).fetch_all(pool).await?);
            for derivation in found {
                let inputs = inputs(&derivation)?.into_iter();
                level.extend(inputs.filter(|&input| seen.insert(input)));
                missing.insert(derivation.id, derivation);
            }
        }
        Ok(missing)
    }

    /// How long builds took, as far as a coordinator told.
    async fn durations(&self) -> Result<Durations> {
        const SQL: &str = "select d.name, y.name, ended.happened_at - begun.happened_at
            from build_event begun join build_event ended
                on ended.build_id = begun.build_id and ended.reference = begun.reference and ended.attempt = 'succeeded'
              join build b on b.id = begun.build_id join derivation d on d.id = b.derivation_id
              join system y on y.id = d.system_id
            where begun.attempt = 'started' and ended.happened_at >= begun.happened_at
            order by begun.id desc limit 100000";
        let told: Vec<(String, String, i64)> =
            each!(&self.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        let mut durations = Durations::default();
        for (name, system, seconds) in told {
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
            durations.anywhere.entry(package(&name).to_owned()).or_insert(seconds);
            durations.by_system.entry((package(&name).to_owned(), system)).or_insert(seconds);
        }
        Ok(durations)
    }
}

fn claim(live: &Live) -> Claim {
    Claim { priority: live.priority, place: live.place, spec: live.spec.0, share: live.share }
}

fn inputs(derivation: &Missing) -> Result<Vec<DerivationId>> {
    let damaged = |error: edges::Damaged| Error::Damaged {
        what: format!("derivation {}", derivation.id),
        reason: error.to_string(),
    };
    Ok(edges::decode(&derivation.inputs).map_err(damaged)?.into_iter().map(DerivationId).collect())
}

/// The name of a derivation without the version.
fn package(name: &str) -> &str {
    let mut dashes = name.match_indices('-').map(|(at, _)| at);
    let version = dashes.find(|at| name.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit));
    &name[..version.unwrap_or(name.len())]
}

fn graph(
    builds: &[OpenBuild],
    missing: &BTreeMap<DerivationId, Missing>,
    durations: &Durations,
) -> Result<Graph> {
    let places: HashMap<DerivationId, usize> = missing.keys().copied().zip(0..).collect();
    let by_outputs: HashMap<i64, usize> =
        builds.iter().enumerate().map(|(place, build)| (build.output_set_id, place)).collect();
    let usual = durations.usual();
    let mut nodes = Vec::with_capacity(missing.len());
    for derivation in missing.values() {
        let build = by_outputs.get(&derivation.output_set_id).copied();
        let seconds = build.map_or(0, |_| durations.of(derivation).unwrap_or(usual));
        let inputs = inputs(derivation)?.iter().filter_map(|input| places.get(input).copied()).collect();
        nodes.push(Node { inputs, build, seconds });
    }
    let builds = builds.iter().map(|build| places[&build.derivation_id]);
    Ok(Graph { builds: builds.collect(), nodes })
}
