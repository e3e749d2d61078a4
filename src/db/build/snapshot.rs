//! Everything that planning reads: the open builds, their missing inputs, and the specs that want
//! each build as a job, not as an input.
//!
//! The jobs that a failed or restarted evaluation has found still count, because they belong to the
//! branch.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::db::{BuildId, BuildState, Db, DerivationId, Error, EvaluationId, Live, Result, SpecId, rows};
use crate::domain::plan::order::{Claim, Graph, Node};
use crate::guix::edges;

/// Assumed seconds for a build, until the duration of some build is known.
const USUAL: u32 = 60;

/// A build that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OpenBuild {
    /// The number of the build.
    pub id: BuildId,
    /// The derivation to build.
    pub derivation_id: DerivationId,
    /// The evaluation that wanted it first.
    pub evaluation_id: EvaluationId,
    /// The spec of that evaluation.
    pub spec_id: SpecId,
    /// The name of that spec.
    pub spec: String,
    /// The system of that evaluation.
    pub system: String,
    /// The state of the build.
    pub state: BuildState,
    /// The priority for the coordinator: larger is sooner.
    pub urgency: i64,
    output_set_id: i64,
}

/// All builds that have not ended, their dependencies, and the specs that want them.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The open builds.
    pub builds: Vec<OpenBuild>,
    /// The missing derivations that they need. Its builds are those in `builds`.
    pub graph: Graph,
    /// For each build, the claim of the specs that want it as a job, not as an input.
    pub claims: Vec<Option<Claim>>,
}

/// A missing derivation that a build needs, directly or not, or that it builds.
#[derive(sqlx::FromRow)]
struct Missing {
    id: DerivationId,
    output_set_id: i64,
    inputs: Vec<u8>,
    name: String,
    system: String,
}

/// How long builds took, in seconds, by package name: the newest duration of each.
#[derive(Default)]
struct Durations {
    by_system: HashMap<(String, String), u32>,
    anywhere: HashMap<String, u32>,
}

impl Durations {
    /// The known duration for this package. If its own system has none, another system's is used: a
    /// build that is long there is long here.
    fn of(&self, derivation: &Missing) -> Option<u32> {
        let package = package(&derivation.name);
        let here = self.by_system.get(&(package.to_owned(), derivation.system.clone()));
        here.or_else(|| self.anywhere.get(package)).copied()
    }

    /// The mean of all known durations.
    fn usual(&self) -> u32 {
        let all: u64 = self.by_system.values().map(|seconds| u64::from(*seconds)).sum();
        let mean = all.checked_div(self.by_system.len() as u64);
        mean.and_then(|mean| u32::try_from(mean).ok()).unwrap_or(USUAL)
    }
}

impl Db {
    /// The input of a plan.
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
        // A build that ended in between needs no plan any more.
        builds.retain(|build| missing.contains_key(&build.derivation_id));
        let claims = self.claims(&builds, live).await?;
        let seconds = self.durations().await?;
        Ok(Snapshot { graph: graph(&builds, &missing, &seconds)?, builds, claims })
    }

    /// The claim on each build by specs that want it as a job, not as an input. A spec claims the
    /// jobs of its live evaluations, or of all evaluations if every commit counts; jobs in their
    /// last form, if the newest evaluation could not evaluate them; and the builds of incomplete
    /// evaluations until a later one is complete. When such an evaluation restarts or fails, its
    /// jobs are deleted, but its builds still belong to the branch.
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

    /// The builds that jobs want, with the specs and systems of those jobs.
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

    /// The evaluations that are not complete, and have no later complete one.
    async fn unfinished(&self) -> Result<HashSet<EvaluationId>> {
        const SQL: &str = "select e.id from evaluation e where e.state <> 'complete' and not exists
            (select 1 from evaluation c where c.spec_id = e.spec_id and c.system = e.system
               and c.state = 'complete' and c.id > e.id)";
        let found: Vec<EvaluationId> =
            each!(&self.readers, pool => sqlx::query_scalar(SQL).fetch_all(pool).await?);
        Ok(found.into_iter().collect())
    }

    /// The missing derivations that these builds need, including their own, by id. A derivation
    /// whose build has ended exists or never will, and is left out. One without a build, or with a
    /// canceled one, is followed to its inputs.
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

    /// How long builds took, where a coordinator reported it.
    async fn durations(&self) -> Result<Durations> {
        const SQL: &str = "select d.name, y.name, ended.happened_at - begun.happened_at
            from build_event begun join build_event ended
                on ended.build_id = begun.build_id and ended.reference = begun.reference and ended.attempt = 'succeeded'
              join build b on b.id = begun.build_id join derivation d on d.id = b.derivation_id
              join system y on y.id = d.system_id
            where begun.attempt = 'started' and ended.happened_at >= begun.happened_at
            order by begun.id desc limit 100000";
        let measured: Vec<(String, String, i64)> =
            each!(&self.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        let mut durations = Durations::default();
        for (name, system, seconds) in measured {
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
