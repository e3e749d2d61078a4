//! Compares two evaluations: the jobs that differ.

use std::collections::BTreeSet;
use std::iter::Peekable;

use schemars::JsonSchema;
use serde::Serialize;

/// A job with a derivation that only one of the two evaluations has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// The name of the job.
    pub name: String,
    /// Store path of the derivation.
    pub derivation: String,
    /// Number of the set of outputs. Derivations with the same outputs share it.
    pub outputs: i64,
    /// Version of the package.
    pub version: Option<String>,
    /// Whether the other evaluation has these outputs as well, by any job or derivation.
    pub other_has_outputs: bool,
}

/// The difference between two evaluations. Every list is sorted by job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diff {
    /// Jobs that only the second evaluation has.
    pub added: Vec<Added>,
    /// Jobs that only the first one has, and that the second one could have had.
    pub removed: Vec<Removed>,
    /// Jobs whose derivation changed.
    pub changed: Vec<Changed>,
    /// Jobs that the first one has and the second one could not evaluate. They are not removed.
    pub broken: Vec<Removed>,
    /// Jobs that the first one could not evaluate and the second one has.
    pub fixed: Vec<Added>,
    /// Number of builds of the second evaluation whose outputs the first one does not have.
    #[serde(skip)]
    pub rebuilds: usize,
}

/// Most rebuilds of a change that goes to Guix's `master`.
pub const SMALL: usize = 300;
/// A change with more rebuilds than this rebuilds a large part of Guix.
pub const LARGE: usize = 1800;

/// The range that a number of rebuilds is in. The bounds are those that Guix has used for its
/// branches: up to 300 on `master`, up to 1,800 on `staging`, more on `core-updates`.
pub fn rebuild_range(rebuilds: usize) -> &'static str {
    match rebuilds {
        0 => "none",
        1..=SMALL => "1-300",
        _ if rebuilds <= LARGE => "301-1800",
        _ => "over 1800",
    }
}

/// A job that only the second evaluation has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Added {
    /// The name of the job.
    pub job: String,
    /// Store path of the derivation.
    pub derivation: String,
    /// Version of the package.
    pub version: Option<String>,
}

/// A job that only the first evaluation has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Removed {
    /// The name of the job.
    pub job: String,
    /// Store path of the derivation in the first evaluation.
    pub derivation: String,
    /// Version of the package in the first evaluation.
    pub version: Option<String>,
}

/// A job whose derivation changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Changed {
    /// The name of the job.
    pub job: String,
    /// Store path of the derivation in the first evaluation.
    pub before: String,
    /// Store path of the derivation in the second evaluation.
    pub after: String,
    /// The versions of the package before and after, if they differ.
    pub versions: Option<(String, String)>,
    /// Whether both derivations produce the same outputs. Then there is nothing to build.
    pub same_outputs: bool,
}

/// Compares two evaluations. `first` and `second` hold the jobs that only that evaluation has; the
/// sets hold the names of the jobs that each could not evaluate.
///
/// Several jobs can have one name (several versions of a package). They are paired by similarity.
pub fn compare(
    first: Vec<Job>,
    second: Vec<Job>,
    failed_first: &BTreeSet<String>,
    failed_second: &BTreeSet<String>,
) -> Diff {
    let new: BTreeSet<i64> =
        second.iter().filter(|job| !job.other_has_outputs).map(|job| job.outputs).collect();
    let mut diff = Diff { rebuilds: new.len(), ..Diff::default() };
    for (name, mut before, mut after) in by_name(first, second) {
        diff.changed.extend(pair(&mut before, &mut after));
        let gone = before.into_iter().map(|Job { name, derivation, version, .. }| Removed {
            job: name,
            derivation,
            version,
        });
        let come = after.into_iter().map(|Job { name, derivation, version, .. }| Added {
            job: name,
            derivation,
            version,
        });
        if failed_second.contains(&name) {
            diff.broken.extend(gone);
        } else {
            diff.removed.extend(gone);
        }
        if failed_first.contains(&name) { diff.fixed.extend(come) } else { diff.added.extend(come) }
    }
    diff
}

/// Groups the jobs by name, sorted: for each name those of the first and those of the second.
fn by_name(mut first: Vec<Job>, mut second: Vec<Job>) -> Vec<(String, Vec<Job>, Vec<Job>)> {
    first.sort();
    second.sort();
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    let mut groups = Vec::new();
    while let Some(name) = first.peek().into_iter().chain(second.peek()).map(|job| job.name.clone()).min() {
        let of_name = |jobs: &mut Peekable<_>| {
            std::iter::from_fn(|| jobs.next_if(|job: &Job| job.name == name)).collect::<Vec<Job>>()
        };
        let (before, after) = (of_name(&mut first), of_name(&mut second));
        groups.push((name, before, after));
    }
    groups
}

/// Removes pairs of jobs of one name from both lists, the most similar first, until one is empty.
fn pair(before: &mut Vec<Job>, after: &mut Vec<Job>) -> Vec<Changed> {
    let mut changed = Vec::new();
    let alike: [fn(&Job, &Job) -> bool; 3] =
        [|a, b| a.outputs == b.outputs, |a, b| a.version == b.version, |_, _| true];
    for alike in alike {
        before.retain(|old| {
            let Some(index) = after.iter().position(|new| alike(old, new)) else { return true };
            let new = after.remove(index);
            let versions = old.version.clone().zip(new.version);
            changed.push(Changed {
                job: old.name.clone(),
                before: old.derivation.clone(),
                versions: versions.filter(|(before, after)| before != after),
                same_outputs: old.outputs == new.outputs,
                after: new.derivation,
            });
            false
        });
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, version: &str, outputs: i64) -> Job {
        let derivation = format!("/gnu/store/{:032}-{outputs}.drv", 0);
        Job {
            name: name.into(),
            derivation,
            outputs,
            version: Some(version.into()),
            other_has_outputs: false,
        }
    }

    fn names(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn versions_of_one_name_are_told_apart() {
        let first = vec![job("gcc.x", "13.1", 1), job("gcc.x", "14.1", 2)];
        let second = vec![
            job("gcc.x", "15.0", 3),
            job("gcc.x", "14.1", 4),
            Job { other_has_outputs: true, ..job("gcc.x", "9", 1) },
        ];
        let diff = compare(first, second, &names(&[]), &names(&[]));
        let versions: Vec<_> = diff.changed.iter().map(|c| (c.versions.clone(), c.same_outputs)).collect();
        assert_eq!(versions, [(Some(("13.1".into(), "9".into())), true), (None, false)]);
        assert_eq!(diff.added.len(), 1);
        assert!(diff.removed.is_empty());
        assert_eq!(diff.rebuilds, 2, "9 is there already");
    }

    #[test]
    fn rebuilds_are_in_one_of_four_ranges() {
        let ranges = [0, 1, 300, 301, 1800, 1801].map(rebuild_range);
        assert_eq!(ranges, ["none", "1-300", "1-300", "301-1800", "301-1800", "over 1800"]);
    }

    #[test]
    fn what_could_not_be_evaluated_is_never_removed() {
        let first = vec![job("a.x", "1", 1), job("b.x", "1", 2)];
        let diff = compare(first, vec![job("c.x", "1", 3)], &names(&["c.x"]), &names(&["a.x"]));
        assert_eq!(diff.broken[0].job, "a.x");
        assert_eq!(diff.removed[0].job, "b.x");
        assert_eq!(diff.fixed[0].job, "c.x");
        assert!(diff.added.is_empty());
    }
}
