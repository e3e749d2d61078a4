use std::collections::{BTreeSet, HashMap};

use crate::db::{Build, BuildId, BuildState, Db, Evaluation, OutputBuild, Result};
use crate::domain::diff::{self, Diff, compare};
use crate::domain::verdict::{Compared, JobFacts, Outcome};

/// The failed builds that each build waits for.
pub(super) type Roots = HashMap<BuildId, Vec<BuildId>>;

/// Two evaluations, and the builds that jobs of the second need and do not get.
pub(super) struct Comparison {
    pub(super) facts: Compared,
    /// For each of the jobs, the failed builds that it does not build for the sake of.
    pub(super) causes: Vec<Vec<BuildId>>,
}

/// The failed builds that others wait for, by what waits.
pub(super) async fn roots(db: &Db) -> Result<Roots> {
    let mut roots = Roots::new();
    for blocker in db.blockers().await? {
        let Build { id, .. } = blocker.build;
        blocker.blocked.into_iter().for_each(|waiting| roots.entry(waiting).or_default().push(id));
    }
    Ok(roots)
}

/// Compares an evaluation of a branch with one of its base. `set` has the names of jobs of which all has to be
/// known.
pub(super) async fn compare_evaluations(
    db: &Db,
    [base, branch]: [&Evaluation; 2],
    roots: &Roots,
    set: &BTreeSet<String>,
) -> Result<Comparison> {
    let (first, second) = db.changed_jobs(base.id, branch.id).await?;
    let names = |errors: Vec<crate::db::JobError>| -> BTreeSet<String> {
        errors.into_iter().map(|error| error.name).collect()
    };
    let [base_errors, errors] = [names(db.errors(base.id).await?), names(db.errors(branch.id).await?)];
    let outputs = first.iter().chain(&second).map(|job| job.outputs);
    let builds = db.output_builds(outputs).await?;
    let sides = [&first, &second].map(|jobs| Jobs::new(jobs, &builds, roots));
    let diff = compare(first.clone(), second.clone(), &base_errors, &errors);
    let (mut jobs, mut causes) = (Vec::new(), Vec::new());
    for (name, before, after) in pairs(&diff, &sides) {
        let [one, other] = [sides[0].outcome(before), sides[1].outcome(after)];
        causes.push(after.seen().map(|path| sides[1].causes(path)).unwrap_or_default());
        jobs.push(JobFacts { name: name.to_owned(), base: one, branch: other, in_set: set.contains(name) });
    }
    let facts = Compared {
        partial: branch.partial,
        base_partial: base.partial,
        new_errors: errors.difference(&base_errors).cloned().collect(),
        unknown_sets: Vec::new(),
        jobs,
    };
    Ok(Comparison { facts, causes })
}

/// What an evaluation has of a job.
#[derive(Clone, Copy)]
enum Seen<'a> {
    /// A derivation.
    Derivation(&'a str),
    /// An error.
    Error,
    /// Nothing.
    Nothing,
}

impl<'a> Seen<'a> {
    fn seen(self) -> Option<&'a str> {
        if let Self::Derivation(path) = self { Some(path) } else { None }
    }
}

/// The jobs whose outputs differ, with what base and branch have of each.
fn pairs<'a>(diff: &'a Diff, [base, branch]: &[Jobs<'_>; 2]) -> Vec<(&'a str, Seen<'a>, Seen<'a>)> {
    use Seen::{Derivation, Error, Nothing};
    let mut all = Vec::new();
    for job in diff.changed.iter().filter(|job| !job.same_outputs && !branch.had(&job.after)) {
        all.push((job.job.as_str(), Derivation(&job.before), Derivation(&job.after)));
    }
    for job in diff.added.iter().filter(|job| !branch.had(&job.derivation)) {
        all.push((&job.job, Nothing, Derivation(&job.derivation)));
    }
    for job in diff.mended.iter().filter(|job| !branch.had(&job.derivation)) {
        all.push((&job.job, Error, Derivation(&job.derivation)));
    }
    all.extend(diff.broken.iter().map(|job| (job.job.as_str(), Derivation(&job.derivation), Error)));
    // A job that is only called otherwise now is not gone.
    for job in diff.removed.iter().filter(|job| !base.had(&job.derivation)) {
        all.push((&job.job, Derivation(&job.derivation), Nothing));
    }
    all
}

/// The jobs that only one of the two evaluations has, by derivation.
struct Jobs<'a> {
    by_derivation: HashMap<String, (i64, bool)>,
    builds: &'a HashMap<i64, OutputBuild>,
    roots: &'a Roots,
}

impl<'a> Jobs<'a> {
    fn new(jobs: &[diff::Job], builds: &'a HashMap<i64, OutputBuild>, roots: &'a Roots) -> Self {
        let by_derivation = jobs.iter().map(|job| (job.derivation.clone(), (job.outputs, job.had))).collect();
        Self { by_derivation, builds, roots }
    }

    /// Whether the other evaluation has the outputs of a derivation as well.
    fn had(&self, derivation: &str) -> bool {
        self.by_derivation.get(derivation).is_some_and(|(_, had)| *had)
    }

    fn build(&self, derivation: &str) -> Option<&OutputBuild> {
        self.builds.get(&self.by_derivation.get(derivation)?.0)
    }

    fn outcome(&self, seen: Seen<'_>) -> Outcome {
        let derivation = match seen {
            Seen::Derivation(path) => path,
            Seen::Error => return Outcome::Error,
            Seen::Nothing => return Outcome::Absent,
        };
        let Some(build) = self.build(derivation) else { return Outcome::Unwanted };
        match build.state {
            BuildState::Succeeded | BuildState::Substituted => Outcome::Good,
            BuildState::Failed | BuildState::Rejected if has_failed(build, derivation) => Outcome::Failed,
            state if state.is_wanted() && self.roots.contains_key(&build.id) => Outcome::Blocked,
            BuildState::AwaitingApproval => Outcome::Held,
            state if state.is_wanted() => Outcome::Open,
            _ => Outcome::Unwanted,
        }
    }

    /// The failed builds for the sake of which a derivation is not built.
    fn causes(&self, derivation: &str) -> Vec<BuildId> {
        let Some(build) = self.build(derivation) else { return Vec::new() };
        if build.state.has_failed() {
            return vec![build.id];
        }
        self.roots.get(&build.id).cloned().unwrap_or_default()
    }
}

/// Whether a build failed with just this derivation.
fn has_failed(build: &OutputBuild, derivation: &str) -> bool {
    let name = derivation.rsplit('/').next().and_then(|name| name.split('-').next());
    name.is_some_and(|hash| build.failed.contains(hash))
}
