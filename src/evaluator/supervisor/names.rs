//! The names that the jobs of a unit may have.
//!
//! Untrusted code computes jobs, and could give one the name of another's package. Most units are
//! one job that has the unit's label as its name, whatever the unit returns. Only units that
//! `(gnu ci)` or a module of the channel computes as a whole name their jobs themselves (`custom`,
//! `images` and the like). Such a name must be neither the label of another unit nor a name that
//! another unit has already given. Several units can have the same label, as versions of a package
//! do in `(gnu ci)`.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::domain::spec::Subset;

/// Longest name of a job, in bytes.
const LONGEST_NAME: usize = 1000;

/// Which unit gave which name. Names are kept as keyed hashes: there may be a million, and nobody
/// knows the key.
#[derive(Debug, Default)]
pub(super) struct Names {
    hasher: RandomState,
    /// Labels of all units, if units name their jobs themselves.
    labels: Option<HashSet<u64>>,
    /// Other names, with the label of the unit that has given each.
    given: HashMap<u64, u64>,
}

impl Names {
    /// No names yet, for units with these labels.
    pub(super) fn new(subset: &Subset, labels: &[String]) -> Self {
        let hasher = RandomState::new();
        let labels = match subset {
            Subset::Guix | Subset::Images | Subset::SystemTests | Subset::Tarball | Subset::Custom(_) => {
                Some(labels.iter().map(|label| hasher.hash_one(label.as_str())).collect())
            }
            Subset::All
            | Subset::Core
            | Subset::Hello
            | Subset::Channels(_)
            | Subset::Packages(_)
            | Subset::Manifests(_) => None,
        };
        Self { hasher, labels, given: HashMap::new() }
    }

    /// How many jobs a unit may have at most.
    pub(super) fn most_jobs(&self) -> usize {
        if self.labels.is_some() { usize::MAX } else { 1 }
    }

    /// Gives a job of the unit with this label a name. The error says why it cannot have that name.
    pub(super) fn give(&mut self, label: &str, name: &str) -> Result<(), String> {
        if name.len() > LONGEST_NAME {
            return Err(format!("it gives a job a name of {} bytes", name.len()));
        }
        if name == label {
            return Ok(());
        }
        if name.is_empty() {
            return Err("it gives a job no name".to_owned());
        }
        let Some(labels) = &self.labels else { return Err(format!("it gives its job the name {name:?}")) };
        let [name_hash, label] = [name, label].map(|text| self.hasher.hash_one(text));
        let is_others = labels.contains(&name_hash) || *self.given.entry(name_hash).or_insert(label) != label;
        if is_others {
            Err(format!("it gives a job the name {name:?}, which another unit has"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(subset: &Subset) -> Names {
        Names::new(subset, &["hello.x".to_owned(), "(a ci)".to_owned(), "(b ci)".to_owned()])
    }

    #[test]
    fn what_is_one_job_is_called_by_its_label() {
        let mut names = names(&Subset::All);
        assert_eq!(names.give("hello.x", "hello.x"), Ok(()));
        assert_eq!(names.give("hello.x", "hello.x"), Ok(()), "of another version");
        for name in ["", "hello.y", "(a ci)"] {
            assert!(names.give("hello.x", name).is_err(), "{name}");
        }
        assert_eq!(names.most_jobs(), 1);
    }

    #[test]
    fn who_names_jobs_cannot_take_the_names_of_others() {
        let mut names = names(&Subset::Custom(Vec::new()));
        assert_eq!(names.give("(a ci)", "one"), Ok(()));
        assert_eq!(names.give("(a ci)", "one"), Ok(()), "of another version");
        assert_eq!(names.give("(b ci)", "two"), Ok(()));
        for name in ["", "one", "hello.x", "(a ci)", &"x".repeat(LONGEST_NAME + 1)] {
            assert!(names.give("(b ci)", name).is_err(), "{name}");
        }
        // The order does not matter.
        assert_eq!(names.give("hello.x", "hello.x"), Ok(()));
    }
}
