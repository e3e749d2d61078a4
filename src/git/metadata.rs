//! The description of a channel: the file `.guix-channel` in its top directory.
//!
//! Its format is that of Guix ("Writing Channels" in its manual), read as Guile reads it. Here the
//! file is hostile: it must not name what its author could not reach, nor lead out of its
//! repository. A channel that it asks for never replaces one that the spec names, and is never
//! written into the spec.

use std::path::{Path, PathBuf};

use git2::{Oid, Repository, Tree};

use super::blocking;
use super::description::{Metadata, describe};
use super::tree::root;
use crate::guix::guile::{self, Fault};

/// The biggest file that is read, in bytes.
const BIGGEST: usize = 64 << 10;

/// Why the description of a channel cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The description is malformed, or says something that it must not.
    #[error(".guix-channel{place}: {reason}")]
    Wrong {
        /// `:LINE:COLUMN`, or empty if no place is known.
        place: String,
        /// What is wrong, with the commit, and a hint.
        reason: String,
    },
    /// The repository cannot be read.
    #[error("cannot read commit {commit} in {}: {source}", .repository.display())]
    Repository {
        /// The repository's directory.
        repository: PathBuf,
        /// The commit.
        commit: String,
        /// What libgit2 says.
        source: git2::Error,
    },
}

/// Reads the description in `commit` of the repository at `repository`, a mirror of `url`.
pub async fn metadata(repository: &Path, url: &str, commit: &str) -> Result<Metadata, MetadataError> {
    let (repository, url, commit) = (repository.to_owned(), url.to_owned(), commit.to_owned());
    blocking(move || {
        let unreadable = |source| MetadataError::Repository {
            repository: repository.clone(),
            commit: commit.clone(),
            source,
        };
        let git = Repository::open_bare(&repository).map_err(unreadable)?;
        let found = Oid::from_str(&commit).and_then(|id| root(&git, id)).map_err(unreadable)?;
        let Some(found) = found else {
            let reason =
                format!("the commit, or the list of its files, is too big to be read (commit {commit})");
            return Err(MetadataError::Wrong { place: String::new(), reason });
        };
        let tree = git.find_tree(found).map_err(unreadable)?;
        match text(&git, &tree).map_err(unreadable)? {
            None => Ok(Metadata::default()),
            Some(Err(reason)) => {
                let reason = format!("{reason} (commit {commit})");
                Err(MetadataError::Wrong { place: String::new(), reason })
            }
            Some(Ok(text)) => guile::read(&text)
                .and_then(|datum| describe(&datum, &url, &tree))
                .map_err(|fault| misplaced(&text, &fault, &commit)),
        }
    })
    .await
}

fn misplaced(text: &str, fault: &Fault, commit: &str) -> MetadataError {
    let (line, column) = guile::position(text, fault.at);
    let hint = fault.hint.map_or(String::new(), |hint| format!("\nhint: {hint}"));
    let reason = format!("{fault} (commit {commit}){hint}");
    MetadataError::Wrong { place: format!(":{line}:{column}"), reason }
}

/// The text of the description, or why it cannot be read; `None` without such a file.
fn text(git: &Repository, tree: &Tree<'_>) -> Result<Option<Result<String, String>>, git2::Error> {
    let Some(entry) = tree.get_name(".guix-channel") else { return Ok(None) };
    if !matches!(entry.filemode(), 0o100_644 | 0o100_664 | 0o100_755) {
        return Ok(Some(Err("it is not a file".to_owned())));
    }
    let (size, _) = git.odb()?.read_header(entry.id())?;
    if size > BIGGEST {
        return Ok(Some(Err(format!("it is bigger than {BIGGEST} bytes"))));
    }
    // Guile decodes it the same way: bytes that are not UTF-8 may occur in a comment.
    let blob = git.find_blob(entry.id())?;
    let text = String::from_utf8_lossy(blob.content());
    Ok(Some(Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())))
}
