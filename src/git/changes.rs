//! The differences between two commits, read from the repository without opening files of a
//! checkout.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Odb, Oid};
use tokio_util::sync::CancellationToken;

use super::stoppable;
use super::tree::{CheckoutError, Kind, Source, refuse_stopped};

/// The largest file that is read, in bytes. Larger ones are skipped.
const LARGEST_TEXT: usize = 8 << 20;
/// How much is read for one comparison at most, in bytes.
const MOST_READ: usize = 256 << 20;

/// Both versions of a file that was added, removed or changed. A version is empty if it is not a
/// regular file.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// In the older commit.
    pub before: &'a [u8],
    /// In the newer commit.
    pub after: &'a [u8],
}

/// Folds the files that differ between two commits of the repository at `repository` into `state`,
/// in the order of their paths. Only files with the extension `extension` count.
///
/// Symbolic links do not count as files, files larger than 8 MiB are skipped, and the fold ends
/// when 256 MiB have been read.
pub async fn fold_changes<T: Send + 'static>(
    repository: &Path,
    [old, new]: [&str; 2],
    extension: &'static str,
    mut state: T,
    fold: fn(&mut T, Change<'_>) -> ControlFlow<()>,
) -> Result<T, CheckoutError> {
    let (repository, old, new) = (repository.to_owned(), old.to_owned(), new.to_owned());
    stoppable(move |stop| {
        let (old, new) = (Source::open(&repository, &old)?, Source::open(&repository, &new)?);
        let odb = new.repository.odb().map_err(|error| new.unreadable(error))?;
        let mut left = MOST_READ;
        for (path, [before, after]) in changed(&old, &new, stop)? {
            refuse_stopped(stop)?;
            if path.extension().is_none_or(|found| found != extension) {
                continue;
            }
            let mut read = |version| text(&odb, version, &mut left).map_err(|error| new.unreadable(error));
            let (Some(before), Some(after)) = (read(before)?, read(after)?) else { continue };
            if fold(&mut state, Change { before: &before, after: &after }).is_break() || left == 0 {
                break;
            }
        }
        Ok(state)
    })
    .await
}

/// The kind and content of a path in one commit; `None` if the commit lacks it.
type Version = Option<(Kind, Oid)>;

/// The files that were added or removed, or whose content or kind changed, sorted by path.
fn changed(
    old: &Source,
    new: &Source,
    stop: &CancellationToken,
) -> Result<Vec<(PathBuf, [Version; 2])>, CheckoutError> {
    let files = |source: &Source| -> Result<HashMap<PathBuf, (Kind, Oid)>, CheckoutError> {
        let entries = source.entries(stop)?;
        let files = entries.into_iter().filter(|entry| entry.kind != Kind::Directory);
        Ok(files.map(|entry| (entry.path, (entry.kind, entry.id))).collect())
    };
    let (old, mut new) = (files(old)?, files(new)?);
    let mut changed = Vec::new();
    for (path, before) in old {
        let after = new.remove(&path);
        if after != Some(before) {
            changed.push((path, [Some(before), after]));
        }
    }
    changed.extend(new.into_iter().map(|(path, after)| (path, [None, Some(after)])));
    changed.sort_unstable_by(|(path, _), (other, _)| path.cmp(other));
    Ok(changed)
}

/// The text of a regular file; `None` when it is too large. Subtracts its size from `left`.
fn text(odb: &Odb<'_>, version: Version, left: &mut usize) -> Result<Option<Vec<u8>>, git2::Error> {
    let Some((Kind::File | Kind::Executable, id)) = version else { return Ok(Some(Vec::new())) };
    let (size, kind) = odb.read_header(id)?;
    if kind != ObjectType::Blob || size > LARGEST_TEXT.min(*left) {
        *left = left.saturating_sub(size.min(LARGEST_TEXT));
        return Ok(None);
    }
    *left -= size;
    Ok(Some(odb.read(id)?.data().to_owned()))
}
