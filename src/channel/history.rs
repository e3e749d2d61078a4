//! How commits of a mirror lie to each other.

use std::path::Path;

use git2::{Oid, Repository};

use super::blocking;

/// Whether the history of `commit` has `ancestor` in it, or is it. False when the repository has not
/// got both: a mirror has the whole history of what it has.
pub async fn descends(repository: &Path, commit: &str, ancestor: &str) -> Result<bool, git2::Error> {
    let (repository, commit, ancestor) = (repository.to_owned(), commit.to_owned(), ancestor.to_owned());
    blocking(move || {
        let repository = Repository::open_bare(repository)?;
        let (commit, ancestor) = (Oid::from_str(&commit)?, Oid::from_str(&ancestor)?);
        let odb = repository.odb()?;
        if !odb.exists(commit) || !odb.exists(ancestor) {
            return Ok(false);
        }
        Ok(commit == ancestor || repository.graph_descendant_of(commit, ancestor)?)
    })
    .await
}

/// The commits that a branch went through from `old`, which is left out, to `new`: the first parents,
/// the oldest first, of which the newest `limit` count. Only `new` when `old` is not among them.
pub async fn steps(
    repository: &Path,
    old: &str,
    new: &str,
    limit: usize,
) -> Result<Vec<String>, git2::Error> {
    let (repository, old, new) = (repository.to_owned(), old.to_owned(), new.to_owned());
    blocking(move || {
        let repository = Repository::open_bare(repository)?;
        let (old, new) = (Oid::from_str(&old)?, Oid::from_str(&new)?);
        if !repository.odb()?.exists(old) || !repository.graph_descendant_of(new, old)? {
            return Ok(vec![new.to_string()]);
        }
        let mut walk = repository.revwalk()?;
        walk.simplify_first_parent()?;
        walk.push(new)?;
        walk.hide(old)?;
        let steps: Result<Vec<String>, git2::Error> =
            walk.take(limit).map(|id| id.map(|id| id.to_string())).collect();
        steps.map(|mut steps| {
            steps.reverse();
            steps
        })
    })
    .await
}
