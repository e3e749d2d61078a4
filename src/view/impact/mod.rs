//! Which rebuilds a change causes, and which packages are the causes.
//!
//! A rebuild is a set of outputs that the base lacks. A *cause* is a rebuilt package of which one
//! of these is true: none of its inputs is rebuilt, its version changed, or it is new. A package
//! that changed in another way, and also needs a changed package, cannot be told from one that is
//! rebuilt only because of that package. Each cause counts all rebuilds that need it, so one
//! rebuild can count for several causes.

/// Why one package is rebuilt.
pub mod why;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use crate::db::{self, Db, DerivationId};
use crate::domain::dependents::{count_dependents, independent};
use crate::domain::diff::{self, rebuild_range};
use crate::guix::store_path::StorePath;
use crate::view::diff::{Comparison, Rebuilds};
use crate::view::evaluation::JobError;

/// The cause of an error whose module failed to load.
pub const MODULE: &str = "module";
/// The impact of a change.
#[derive(Debug, Serialize)]
pub struct Impact {
    /// The base that the change is compared with.
    pub base: Commit,
    /// The change.
    pub change: Commit,
    /// The impact on each system.
    pub systems: Vec<SystemImpact>,
}

/// A commit and its name.
#[derive(Debug, Clone, Serialize)]
pub struct Commit {
    /// The commit.
    pub commit: String,
    /// The name of a branch, or a phrase for uncommitted changes.
    pub name: String,
}

/// The impact of a change on one system.
#[derive(Debug, Serialize)]
pub struct SystemImpact {
    /// Packages that only the change has.
    pub added: Vec<Package>,
    /// Rebuilt packages that cause rebuilds, with their numbers of rebuilds, the largest first.
    pub causes: Vec<Cause>,
    /// Packages that could not be evaluated in the base but can be in the change.
    pub fixed: Vec<Package>,
    /// Jobs that cannot be evaluated in the change, although the base could evaluate them or did
    /// not have them.
    pub new_errors: Vec<Fault>,
    /// The number of builds.
    pub rebuilds: Rebuilds,
    /// The packages that are rebuilt, sorted.
    pub rebuilt: Vec<Package>,
    /// Packages that only the base has.
    pub removed: Vec<Removed>,
    /// How many packages have another derivation with the same outputs, so that nothing is built.
    pub same_outputs: usize,
    /// The system.
    pub system: String,
    /// Packages with another version.
    pub updated: Vec<Updated>,
}

/// A package.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Package {
    /// The name of its job.
    pub job: String,
    /// Its version.
    pub version: Option<String>,
}

/// A package that causes rebuilds.
#[derive(Debug, Serialize)]
pub struct Cause {
    /// The name of its job.
    pub job: String,
    /// How many rebuilds need it, itself included.
    pub rebuilds: usize,
    /// Its version.
    pub version: Option<String>,
}

/// A package that was removed.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The name of its job.
    pub job: String,
    /// How many packages still need it.
    pub needed_by: usize,
    /// The version in the base.
    pub version: Option<String>,
}

/// A package with another version.
#[derive(Debug, Serialize)]
pub struct Updated {
    /// The version in the change.
    pub after: String,
    /// The version in the base.
    pub before: String,
    /// The name of its job.
    pub job: String,
}

/// A package that could not be evaluated.
#[derive(Debug, Serialize)]
pub struct Fault {
    /// The kind of error, in a word.
    pub cause: String,
    /// The message of the error.
    pub message: String,
    /// The job, or the module in parentheses.
    pub name: String,
}

/// The rows of two evaluations.
#[derive(Debug)]
#[expect(missing_docs, reason = "`SystemImpact` says what the fields become")]
pub struct Rows {
    pub compared: super::diff::Rows,
    pub causes: Vec<Cause>,
    pub needed_by: HashMap<String, usize>,
}

impl Impact {
    /// The most rebuilds of any system.
    pub fn most_rebuilds(&self) -> usize {
        self.systems.iter().map(|system| system.rebuilds.count).max().unwrap_or(0)
    }

    /// Whether there are new errors on any system.
    pub fn has_new_errors(&self) -> bool {
        self.systems.iter().any(|system| !system.new_errors.is_empty())
    }
}

impl Rows {
    /// Reads the rows of the base and the change.
    pub async fn load(db: &Db, evaluations: [db::Evaluation; 2]) -> db::Result<Self> {
        let change = evaluations[1].id;
        let compared = super::diff::Rows::load(db, evaluations).await?;
        let causes = causes(db, &compared.jobs).await?;
        let gone =
            compared.jobs.0.iter().filter(|job| !job.other_has_outputs).map(|job| job.derivation.as_str());
        let gone = numbers(db, gone).await?;
        // A job with a new derivation is not gone, but nothing needs its old derivation either.
        let roots = if gone.is_empty() { HashSet::new() } else { db.derivations_of_jobs(change).await? };
        let targets: Vec<(&String, DerivationId)> = gone.iter().map(|(path, id)| (path, *id)).collect();
        let graph =
            db.graph_between(roots.iter().copied(), &targets.iter().map(|(_, id)| *id).collect()).await?;
        let ids: Vec<i64> = targets.iter().map(|(_, id)| id.0).collect();
        let counts = count_dependents(&graph, &ids, &roots.iter().map(|id| id.0).collect());
        let needed_by =
            targets.iter().zip(counts).map(|((path, _), count)| ((*path).clone(), count)).collect();
        Ok(Self { compared, causes, needed_by })
    }
}

impl SystemImpact {
    /// Computes the impact from rows.
    pub fn new(rows: Rows) -> Self {
        let Rows { compared, causes, needed_by } = rows;
        let package = |job: &diff::Job| Package { job: job.name.clone(), version: job.version.clone() };
        let mut rebuilt: Vec<Package> = rebuilt(&compared.jobs.1).into_values().map(package).collect();
        rebuilt.sort_unstable();
        let Comparison { b, diff, new_errors, .. } =
            Comparison::of(compared.jobs, &compared.evaluations, &compared.errors);
        let [_, change] = &compared.evaluations;
        let package = |added: diff::Added| Package { job: added.job, version: added.version };
        let updated = diff.changed.iter().filter_map(|changed| {
            let (before, after) = changed.versions.clone()?;
            Some(Updated { after, before, job: changed.job.clone() })
        });
        let broken: BTreeSet<&str> = diff.broken.iter().map(|job| job.job.as_str()).collect();
        let known: BTreeSet<&str> = compared.errors[0].iter().map(|error| error.name.as_str()).collect();
        let new_errors = new_errors.iter().filter(|error| is_new(error, &broken, &known)).map(Fault::new);
        let mut new_errors: Vec<Fault> = new_errors.collect();
        let mut removed = Vec::new();
        for diff::Removed { job, derivation, version } in diff.removed {
            // It is unknown which jobs a module has that failed to load.
            if change.partial {
                let message = "a module failed to load, and the job may be in it".to_owned();
                new_errors.push(Fault { cause: MODULE.to_owned(), message, name: job });
            } else {
                let needed_by = needed_by.get(&derivation).copied().unwrap_or(0);
                removed.push(Removed { job, needed_by, version });
            }
        }
        Self {
            updated: updated.collect(),
            same_outputs: diff.changed.iter().filter(|changed| changed.same_outputs).count(),
            rebuilds: Rebuilds { count: diff.rebuilds, range: rebuild_range(diff.rebuilds) },
            rebuilt,
            causes,
            added: diff.added.into_iter().map(package).collect(),
            fixed: diff.fixed.into_iter().map(package).collect(),
            removed,
            new_errors,
            system: b.system.to_owned(),
        }
    }
}

/// Whether the change caused an error: the base could evaluate the job, or did not have it. A
/// different message alone is not new, because messages contain line numbers and addresses.
fn is_new(error: &JobError<'_>, broken: &BTreeSet<&str>, known: &BTreeSet<&str>) -> bool {
    // If the module of a job failed to load, it is only known that the evaluation before had the
    // job.
    let is_of_module = error.cause == MODULE && !error.name.starts_with('(');
    broken.contains(error.name) || !is_of_module && !known.contains(error.name)
}

impl Fault {
    fn new(error: &JobError<'_>) -> Self {
        Self { cause: error.cause.to_owned(), message: error.message.to_owned(), name: error.name.to_owned() }
    }
}

/// The jobs that only the change has, and whose outputs the base lacks: one for each set of
/// outputs.
fn rebuilt(only_in_change: &[diff::Job]) -> BTreeMap<i64, &diff::Job> {
    let mut rebuilt = BTreeMap::new();
    for job in only_in_change.iter().filter(|job| !job.other_has_outputs) {
        rebuilt.entry(job.outputs).or_insert(job);
    }
    rebuilt
}

/// The causes, given the jobs that only the base has and those that only the change has.
async fn causes(db: &Db, (base, change): &(Vec<diff::Job>, Vec<diff::Job>)) -> db::Result<Vec<Cause>> {
    let rebuilt = rebuilt(change);
    let numbers = numbers(db, rebuilt.values().map(|job| job.derivation.as_str())).await?;
    let ids: HashSet<DerivationId> = numbers.values().copied().collect();
    let graph = db.graph_between(ids.iter().copied(), &ids).await?;
    let changed: BTreeSet<i64> = ids.iter().map(|id| id.0).collect();
    let mut causes: BTreeSet<i64> = independent(&graph, &changed).into_iter().collect();
    // A version that no job of that name had before is a change of the package itself.
    let known: HashSet<_> = base.iter().map(|job| (&job.name, &job.version)).collect();
    let own = rebuilt.values().filter(|job| !known.contains(&(&job.name, &job.version)));
    causes.extend(own.filter_map(|job| numbers.get(&job.derivation)).map(|id| id.0));
    let jobs: HashMap<i64, &&diff::Job> =
        rebuilt.values().filter_map(|job| Some((numbers.get(&job.derivation)?.0, job))).collect();
    let causes: Vec<i64> = causes.into_iter().collect();
    let counts = count_dependents(&graph, &causes, &changed);
    let cause = |(id, rebuilds)| {
        let job = jobs.get(id)?;
        Some(Cause { job: job.name.clone(), rebuilds, version: job.version.clone() })
    };
    let mut causes: Vec<Cause> = causes.iter().zip(counts).filter_map(cause).collect();
    causes.sort_by(|a, b| {
        b.rebuilds.cmp(&a.rebuilds).then_with(|| (&a.job, &a.version).cmp(&(&b.job, &b.version)))
    });
    Ok(causes)
}

/// The ids of derivations, by their store paths.
async fn numbers(db: &Db, paths: impl Iterator<Item = &str>) -> db::Result<HashMap<String, DerivationId>> {
    let hash = |path: &str| Some((StorePath::parse(path.as_bytes()).ok()?.hash_text(), path.to_owned()));
    let paths: HashMap<String, String> = paths.filter_map(hash).collect();
    let ids = db.derivation_ids(&paths.keys().collect::<Vec<_>>()).await?;
    Ok(paths.into_iter().filter_map(|(hash, path)| Some((path, *ids.get(&hash)?))).collect())
}
