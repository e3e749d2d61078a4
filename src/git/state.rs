//! The state of a mirror, judged from its files alone.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use git2::{ErrorCode, Oid, Repository};

use super::blocking;
use super::tree::{BIGGEST_TREE, MOST_ENTRIES, root};

/// The state of a mirror, with respect to one commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is nothing.
    Absent,
    /// Something is there that cannot be a complete mirror.
    Broken,
    /// The mirror lacks the commit.
    Lacks,
    /// The mirror has the commit and all of its files.
    Holds,
}

/// The state of the mirror at `mirror`, with respect to `commit`.
pub(super) async fn state(mirror: &Path, commit: &str) -> State {
    let (mirror, commit) = (mirror.to_owned(), commit.to_owned());
    blocking(move || match inspect(&mirror, &commit) {
        Ok(state) => state,
        Err(_) if mirror.exists() => State::Broken,
        Err(_) => State::Absent,
    })
    .await
}

fn inspect(mirror: &Path, commit: &str) -> Result<State, git2::Error> {
    let repository = Repository::open_bare(mirror)?;
    let odb = repository.odb()?;
    for reference in repository.references()? {
        if reference?.target().is_none_or(|target| !odb.exists(target)) {
            return Ok(State::Broken);
        }
    }
    if !packs_are_whole(&mirror.join("objects/pack")).unwrap_or(false) {
        return Ok(State::Broken);
    }
    match repository.find_reference(&format!("refs/gorget/{commit}")) {
        Ok(_) if has_every_file(&repository, commit)? => Ok(State::Holds),
        Ok(_) => Ok(State::Broken),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(State::Lacks),
        Err(error) => Err(error),
    }
}

/// Whether every pack ends in the checksum that its index holds. A truncated pack does not.
fn packs_are_whole(directory: &Path) -> io::Result<bool> {
    fn checksum(path: &Path, from_end: i64) -> io::Result<[u8; 20]> {
        let mut file = fs_err::File::open(path)?;
        file.seek(SeekFrom::End(-from_end))?;
        let mut checksum = [0; 20];
        file.read_exact(&mut checksum).map(|()| checksum)
    }
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "idx")
            && checksum(&path, 40)? != checksum(&path.with_extension("pack"), 20)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether all directories of `commit` can be read and all of its files exist. A commit that is too
/// big to be checked out is not read to its end, because the checkout refuses it.
fn has_every_file(repository: &Repository, commit: &str) -> Result<bool, git2::Error> {
    let odb = repository.odb()?;
    let Some(root) = root(repository, Oid::from_str(commit)?)? else { return Ok(true) };
    let mut waiting = vec![root];
    let (mut seen, mut entries) = (HashSet::new(), 0);
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        if odb.read_header(id)?.0 > BIGGEST_TREE {
            return Ok(true);
        }
        let Ok(tree) = repository.find_tree(id) else {
            // Git permits more than libgit2: nothing is lost if the object can be read.
            odb.read(id)?;
            continue;
        };
        entries += tree.len();
        if entries > MOST_ENTRIES {
            return Ok(true);
        }
        for entry in &tree {
            match entry.filemode() {
                0o040_000 => waiting.push(entry.id()),
                0o160_000 => {}
                _ if odb.exists(entry.id()) => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}
