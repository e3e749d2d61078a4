//! A mirror that borrows its objects from a repository on this machine, so that nothing is copied.

use std::path::Path;

use git2::{Oid, Repository};

use super::blocking;
use super::mirror::{Mirrors, create};
use super::remote::RemoteError;

/// A mirror with more commits than this is made anew. Each commit is a working tree that was
/// compared.
const MOST_COMMITS: usize = 200;
/// The file that names the object directories that a repository borrows from.
const LENDERS: &str = "objects/info/alternates";

impl Mirrors {
    /// Makes a mirror of `url` that borrows the objects of the repository at `lender`, unless there
    /// is one already.
    pub async fn borrow(&self, url: &str, lender: &Path) -> Result<(), RemoteError> {
        let _lock = self.lock(url).await?;
        let (mirror, url, lender) = (self.path(url), url.to_owned(), lender.join("objects"));
        blocking(move || {
            let text = format!("{}\n", lender.display());
            if !is_whole(&mirror, &text) {
                create(&mirror, &url)?;
                fs_err::create_dir_all(mirror.join("objects/info"))?;
                fs_err::write(mirror.join(LENDERS), text)?;
            }
            Ok(())
        })
        .await
    }

    /// Makes references to `commits`, which the mirror of `url` must have.
    pub async fn refer(&self, url: &str, commits: &[String]) -> Result<(), RemoteError> {
        let _lock = self.lock(url).await?;
        let (path, commits) = (self.path(url), commits.to_vec());
        blocking(move || {
            let damaged = |source| RemoteError::Mirror { path: path.clone(), source };
            let repository = Repository::open_bare(&path).map_err(damaged)?;
            for commit in commits {
                let name = format!("refs/gorget/{commit}");
                let id = Oid::from_str(&commit).map_err(damaged)?;
                repository.reference(&name, id, true, "compared").map_err(damaged)?;
            }
            Ok(())
        })
        .await
    }
}

/// Whether the mirror borrows from `lenders`, has fewer than [`MOST_COMMITS`] commits, and lacks
/// none of them.
fn is_whole(mirror: &Path, lenders: &str) -> bool {
    let is_same = fs_err::read_to_string(mirror.join(LENDERS)).is_ok_and(|text| text == lenders);
    let commits = || -> Result<Vec<bool>, git2::Error> {
        let repository = Repository::open_bare(mirror)?;
        let odb = repository.odb()?;
        let references = repository.references()?;
        references.map(|reference| Ok(reference?.target().is_some_and(|target| odb.exists(target)))).collect()
    };
    is_same
        && commits().is_ok_and(|found| found.len() < MOST_COMMITS && found.iter().all(|is_there| *is_there))
}
