use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::db::{BuildId, BuildState, Db, Evaluation, JobError, OutputBuild, Result};
use crate::domain::diff::{self, Diff, compare};
use crate::domain::verdict::{ChangedJob, Compared, Outcome};

/// Most failed builds that are named as the causes of one job.
const CAUSES: usize = 20;

/// A branch compared with its base, and the builds that its jobs need and do not get.
pub(super) struct Comparison {
    pub(super) compared: Compared,
    /// For each of the jobs, the failed builds because of which it does not build.
    pub(super) causes: Vec<Vec<BuildId>>,
}

/// Compares an evaluation of a branch with one of its base. `set` has the names of jobs of which
/// everything has to be known.
pub(super) async fn compare_evaluations(
    db: &Db,
    [base, branch]: [&Evaluation; 2],
    set: &BTreeSet<String>,
) -> Result<Comparison> {
    let (first, second) = db.changed_jobs(base.id, branch.id).await?;
    let [base_errors, errors] = [db.errors(base.id).await?, db.errors(branch.id).await?];
    let builds = db.output_builds(first.iter().chain(&second).map(|job| job.outputs)).await?;
    let is_open = |build: &&OutputBuild| !is_done(build.state) && build.state != BuildState::Building;
    let open: Vec<_> = builds.values().filter(is_open).map(|build| (build.id, build.derivation)).collect();
    let roots = db.failed_roots(&open, CAUSES).await?;
    let sides = [(&first, base), (&second, branch)].map(|(jobs, evaluation)| Jobs {
        by_derivation: jobs.iter().map(|job| (job.derivation.as_str(), job)).collect(),
        builds: &builds,
        roots: &roots,
        evaluation,
    });
    let names = |errors: &[JobError]| errors.iter().map(|error| error.name.clone()).collect();
    let diff = compare(first.clone(), second.clone(), &names(&base_errors), &names(&errors));
    let (mut jobs, mut causes) = (Vec::new(), Vec::new());
    for (name, before, after) in pairs(&diff, &sides) {
        let [one, other] = [sides[0].outcome(before), sides[1].outcome(after)];
        causes.push(after.derivation().map(|path| sides[1].causes(path)).unwrap_or_default());
        jobs.push(ChangedJob { name: name.to_owned(), base: one, branch: other, in_set: set.contains(name) });
    }
    let compared = Compared {
        partial: branch.partial,
        base_partial: base.partial,
        new_errors: new_errors(&base_errors, &errors),
        unknown_sets: Vec::new(),
        jobs,
    };
    Ok(Comparison { compared, causes })
}

/// The names of errors that the base does not have. What has no name of its own is named by file
/// and line, and lines move.
fn new_errors(base: &[JobError], branch: &[JobError]) -> Vec<String> {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for error in base {
        *known.entry(without_line(&error.name)).or_default() += 1;
    }
    let is_new = |error: &&JobError| match known.get_mut(&without_line(&error.name)) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    branch.iter().filter(is_new).map(|error| error.name.clone()).collect()
}

/// `FILE:LINE.SYSTEM` without the line; other names as they are.
fn without_line(name: &str) -> String {
    let Some((file, rest)) = name.rsplit_once(':') else { return name.to_owned() };
    let system = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if system.len() == rest.len() { name.to_owned() } else { format!("{file}:{system}") }
}

/// What an evaluation has of a job.
#[derive(Debug, Clone, Copy)]
enum Seen<'a> {
    /// A derivation.
    Derivation(&'a str),
    /// An error.
    Error,
    /// Nothing.
    Nothing,
}

impl<'a> Seen<'a> {
    fn derivation(self) -> Option<&'a str> {
        if let Self::Derivation(path) = self { Some(path) } else { None }
    }
}

/// The jobs whose outputs differ, with what base and branch have of each.
fn pairs<'a>(diff: &'a Diff, sides: &[Jobs<'a>; 2]) -> Vec<(&'a str, Seen<'a>, Seen<'a>)> {
    use Seen::{Derivation, Error, Nothing};
    let [base, branch] = sides;
    let mut all = changed(diff, sides);
    for job in diff.added.iter().filter(|job| !branch.other_has_outputs(&job.derivation)) {
        all.push((&job.job, Nothing, Derivation(&job.derivation)));
    }
    for job in diff.fixed.iter().filter(|job| !branch.other_has_outputs(&job.derivation)) {
        all.push((&job.job, Error, Derivation(&job.derivation)));
    }
    all.extend(diff.broken.iter().map(|job| (job.job.as_str(), Derivation(&job.derivation), Error)));
    // A job that only has another name now is not gone.
    for job in diff.removed.iter().filter(|job| !base.other_has_outputs(&job.derivation)) {
        all.push((&job.job, Derivation(&job.derivation), Nothing));
    }
    all
}

/// The jobs with other outputs. Of several with one name and version nobody can tell which was
/// which, so those are paired that build, and those that do not.
fn changed<'a>(diff: &'a Diff, [base, branch]: &[Jobs<'a>; 2]) -> Vec<(&'a str, Seen<'a>, Seen<'a>)> {
    let mut alike: BTreeMap<_, (Vec<Seen<'a>>, Vec<Seen<'a>>)> = BTreeMap::new();
    for job in diff.changed.iter().filter(|job| !job.same_outputs) {
        let versions = (base.version(&job.before), branch.version(&job.after));
        let (before, after) = alike.entry((job.job.as_str(), versions)).or_default();
        before.push(Seen::Derivation(&job.before));
        after.push(Seen::Derivation(&job.after));
    }
    let mut all = Vec::new();
    for ((name, _), (mut before, mut after)) in alike {
        before.sort_by_key(|seen| rank(base.outcome(*seen)));
        after.sort_by_key(|seen| rank(branch.outcome(*seen)));
        all.extend(before.into_iter().zip(after).map(|(before, after)| (name, before, after)));
    }
    all
}

/// What builds comes first, then what is not known, then what does not build.
fn rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Good => 0,
        outcome if outcome.is_bad() => 2,
        _ => 1,
    }
}

/// The jobs that only one of the two evaluations has.
struct Jobs<'a> {
    by_derivation: HashMap<&'a str, &'a diff::Job>,
    builds: &'a HashMap<i64, OutputBuild>,
    /// The failed builds that other builds need.
    roots: &'a HashMap<BuildId, Vec<BuildId>>,
    evaluation: &'a Evaluation,
}

impl Jobs<'_> {
    /// Whether the other evaluation has the outputs of a derivation as well.
    fn other_has_outputs(&self, derivation: &str) -> bool {
        self.by_derivation.get(derivation).is_some_and(|job| job.other_has_outputs)
    }

    fn version(&self, derivation: &str) -> Option<String> {
        self.by_derivation.get(derivation)?.version.clone()
    }

    fn build(&self, derivation: &str) -> Option<&OutputBuild> {
        self.builds.get(&self.by_derivation.get(derivation)?.outputs)
    }

    fn outcome(&self, seen: Seen<'_>) -> Outcome {
        // The builds of an evaluation that was not scheduled yet are on their way.
        let unwanted = if self.evaluation.unscheduled { Outcome::Open } else { Outcome::Unwanted };
        let derivation = match seen {
            Seen::Derivation(path) => path,
            Seen::Error => return Outcome::Error,
            // A job may be missing because its module does not load.
            Seen::Nothing if self.evaluation.partial => return Outcome::Unwanted,
            Seen::Nothing => return Outcome::Absent,
        };
        let Some(build) = self.build(derivation) else { return unwanted };
        match build.state {
            BuildState::Succeeded | BuildState::Substituted => Outcome::Good,
            BuildState::Failed if has_failed(build, derivation) => Outcome::Failed,
            // Another derivation failed, or the coordinator would not have it.
            BuildState::Failed | BuildState::Rejected => Outcome::Unwanted,
            _ if self.roots.contains_key(&build.id) => Outcome::Blocked,
            BuildState::AwaitingApproval => Outcome::AwaitingApproval,
            state if state.is_wanted() => Outcome::Open,
            _ => unwanted,
        }
    }

    /// The failed builds because of which a derivation is not built.
    fn causes(&self, derivation: &str) -> Vec<BuildId> {
        let Some(build) = self.build(derivation) else { return Vec::new() };
        if build.state.has_failed() {
            return vec![build.id];
        }
        self.roots.get(&build.id).cloned().unwrap_or_default()
    }
}

/// Whether it is known what came of a build.
fn is_done(state: BuildState) -> bool {
    matches!(state, BuildState::Succeeded | BuildState::Substituted) || state.has_failed()
}

/// Whether a build failed with just this derivation.
fn has_failed(build: &OutputBuild, derivation: &str) -> bool {
    let name = derivation.rsplit('/').next().and_then(|name| name.split('-').next());
    name.is_some_and(|hash| build.failed.contains(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(names: &[&str]) -> Vec<JobError> {
        let error =
            |name: &&str| JobError { name: (*name).to_owned(), cause: "x".into(), message: "y".into() };
        names.iter().map(error).collect()
    }

    #[test]
    fn an_error_on_another_line_is_not_new_and_a_second_one_is() {
        let base = errors(&["a.x86_64-linux", "gnu/p.scm:10.x86_64-linux"]);
        let branch =
            errors(&["a.x86_64-linux", "gnu/p.scm:12.x86_64-linux", "gnu/p.scm:40.x86_64-linux", "(gnu q)"]);
        assert_eq!(new_errors(&base, &branch), ["gnu/p.scm:40.x86_64-linux", "(gnu q)"]);
        assert_eq!(new_errors(&branch, &base), [""; 0]);
        assert_eq!(without_line("(a b:c)"), "(a b:c)");
    }
}
