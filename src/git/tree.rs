//! The contents of a commit, which is not trusted.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Repository};
use tokio_util::sync::CancellationToken;

use super::is_commit;

/// The most files and directories that a commit may have.
pub(super) const MOST_ENTRIES: usize = 300_000;
/// How many directories a file may be nested in.
const DEEPEST: usize = 64;
/// The longest name, in bytes: file systems of Linux have no longer ones.
const LONGEST_NAME: usize = 255;
/// The longest path, in bytes.
const LONGEST_PATH: usize = 1024;
/// The total length of all paths of a commit, in bytes. Directories can be shared within a commit,
/// so a small repository can have any number of long paths.
const MOST_PATHS: usize = 64 << 20;
/// The longest list of one directory's entries that is read, in bytes.
pub(super) const BIGGEST_TREE: usize = 32 << 20;

/// The biggest file that is converted, in bytes.
pub(super) const BIGGEST_CONVERTED: usize = 8 << 20;
/// The most bytes that all converted files of a commit may have together.
pub(super) const MOST_CONVERTED: usize = 100 << 20;

/// The biggest commit object that is read, in bytes, without its files: messages can have any
/// length.
const BIGGEST_COMMIT: usize = 1 << 20;

/// The root directory of a commit; `None` if the commit or the list of the directory is too big.
pub(super) fn root(repository: &Repository, commit: Oid) -> Result<Option<Oid>, git2::Error> {
    let odb = repository.odb()?;
    if odb.read_header(commit)?.0 > BIGGEST_COMMIT {
        return Ok(None);
    }
    let tree = repository.find_commit(commit)?.tree_id();
    Ok((odb.read_header(tree)?.0 <= BIGGEST_TREE).then_some(tree))
}

/// Why a commit is not checked out.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The repository cannot be read. If it has the commit, it is damaged.
    #[error("cannot read commit {commit:?} in {}: {source}", .repository.display())]
    Repository {
        /// The repository's directory.
        repository: PathBuf,
        /// The commit.
        commit: String,
        /// What libgit2 says.
        source: git2::Error,
    },
    /// The repository has no such commit.
    #[error("there is no commit {commit:?} in {}", .repository.display())]
    MissingCommit {
        /// The repository's directory.
        repository: PathBuf,
        /// The commit.
        commit: String,
    },
    /// The commit contains something that must not be written to disk.
    #[error("commit {commit} is refused: {path:?} {refusal}")]
    Refused {
        /// The commit.
        commit: String,
        /// The path of the entry.
        path: PathBuf,
        /// The problem of the entry.
        refusal: Refusal,
    },
    /// Files cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The problem of an entry of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is empty, `.`, `..` or `.git`, or contains `/`.
    #[error("is not a name that a file may have")]
    Name,
    /// The name is longer than that of a file may be.
    #[error("has a name of more than {LONGEST_NAME} bytes, which no file may have")]
    LongName,
    /// Another entry of the directory has this name.
    #[error("occurs twice")]
    Twice,
    /// It is neither a file, directory, symbolic link nor submodule.
    #[error("has an unknown type")]
    Kind,
    /// It is in more directories than permitted, or its path is too long.
    #[error("is nested too deeply")]
    TooDeep,
    /// With it, the commit has too many entries.
    #[error("makes too many entries")]
    TooMany,
    /// With it, the commit has too much content.
    #[error("is too big")]
    TooBig,
    /// With it, attributes convert too much content.
    #[error(
        "is too big to be converted: `.gitattributes` may convert files of {} MiB, {} MiB in all\nhint: take `eol=crlf` and `ident` off it, or make it smaller",
        BIGGEST_CONVERTED >> 20, MOST_CONVERTED >> 20
    )]
    Conversion,
    /// It is a symbolic link to the empty path, or to a path with a zero byte.
    #[error("is a symbolic link that cannot be made")]
    Link,
    /// libgit2 cannot apply the attributes, or not in a reasonable time.
    #[error("has attributes that cannot be applied, or that take too long to apply")]
    Attributes,
}

/// A file or directory of a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path, relative to the commit's root. Each component is safe to join.
    pub path: PathBuf,
    pub kind: Kind,
    pub id: Oid,
}

/// What an entry becomes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    File,
    Executable,
    Link,
    Directory,
    /// An empty directory, because the content is in another repository.
    Submodule,
}

/// A commit of an open repository, with the details for errors.
pub(super) struct Source {
    pub repository: Repository,
    path: PathBuf,
    commit: String,
}

impl Source {
    pub(super) fn open(path: &Path, commit: &str) -> Result<Self, CheckoutError> {
        if !is_commit(commit) {
            let (repository, commit) = (path.to_owned(), commit.to_owned());
            return Err(CheckoutError::MissingCommit { repository, commit });
        }
        let (owned, commit) = (path.to_owned(), commit.to_owned());
        match Repository::open(path) {
            Ok(repository) => Ok(Self { repository, path: owned, commit }),
            Err(source) => Err(CheckoutError::Repository { repository: owned, commit, source }),
        }
    }

    pub(super) fn unreadable(&self, source: git2::Error) -> CheckoutError {
        let (repository, commit) = (self.path.clone(), self.commit.clone());
        CheckoutError::Repository { repository, commit, source }
    }

    pub(super) fn refused(&self, path: impl Into<PathBuf>, refusal: Refusal) -> CheckoutError {
        CheckoutError::Refused { commit: self.commit.clone(), path: path.into(), refusal }
    }

    /// All entries, each directory before its contents.
    pub(super) fn entries(&self, stop: &CancellationToken) -> Result<Vec<Entry>, CheckoutError> {
        let mut entries = Vec::new();
        let mut left = MOST_PATHS;
        let mut waiting = vec![(self.root()?, PathBuf::new(), 0)];
        while let Some((tree, directory, depth)) = waiting.pop() {
            refuse_stopped(stop)?;
            let start = entries.len();
            self.read_directory(tree, &directory, &mut entries)?;
            for entry in &entries[start..] {
                left = left
                    .checked_sub(entry.path.as_os_str().len())
                    .ok_or_else(|| self.refused(&entry.path, Refusal::TooMany))?;
            }
            for entry in entries[start..].iter().filter(|entry| entry.kind == Kind::Directory) {
                if depth == DEEPEST {
                    return Err(self.refused(&entry.path, Refusal::TooDeep));
                }
                waiting.push((entry.id, entry.path.clone(), depth + 1));
            }
        }
        Ok(entries)
    }

    /// The size of a file, in bytes.
    pub(super) fn size(&self, entry: &Entry) -> Result<usize, CheckoutError> {
        let header = self.repository.odb().and_then(|odb| odb.read_header(entry.id));
        header.map(|(size, _)| size).map_err(|error| self.unreadable(error))
    }

    pub(super) fn id(&self) -> Result<Oid, git2::Error> {
        Oid::from_str(&self.commit)
    }

    fn root(&self) -> Result<Oid, CheckoutError> {
        let id = self.id().map_err(|error| self.unreadable(error))?;
        match root(&self.repository, id) {
            Ok(Some(tree)) => Ok(tree),
            Ok(None) => Err(self.refused("", Refusal::TooBig)),
            Err(error) if error.code() == ErrorCode::NotFound => Err(CheckoutError::MissingCommit {
                repository: self.path.clone(),
                commit: self.commit.clone(),
            }),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    fn read_directory(
        &self,
        tree: Oid,
        directory: &Path,
        entries: &mut Vec<Entry>,
    ) -> Result<(), CheckoutError> {
        let odb = self.repository.odb().map_err(|error| self.unreadable(error))?;
        let (size, kind) = odb.read_header(tree).map_err(|error| self.unreadable(error))?;
        if kind != ObjectType::Tree {
            return Err(self.refused(directory, Refusal::Kind));
        }
        if size > BIGGEST_TREE {
            return Err(self.refused(directory, Refusal::TooBig));
        }
        let tree = self.repository.find_tree(tree).map_err(|error| self.unreadable(error))?;
        if entries.len() + tree.len() > MOST_ENTRIES {
            return Err(self.refused(directory, Refusal::TooMany));
        }
        let mut names = HashSet::new();
        for entry in &tree {
            let name = entry.name_bytes();
            let path = directory.join(OsStr::from_bytes(name));
            let kind = check(name, entry.filemode()).map_err(|refusal| self.refused(&path, refusal))?;
            if !names.insert(name.to_owned()) {
                return Err(self.refused(path, Refusal::Twice));
            }
            if path.as_os_str().len() > LONGEST_PATH {
                return Err(self.refused(path, Refusal::TooDeep));
            }
            entries.push(Entry { path, kind, id: entry.id() });
        }
        Ok(())
    }
}

/// Fails if nothing waits for the work any more.
pub(super) fn refuse_stopped(stop: &CancellationToken) -> io::Result<()> {
    if stop.is_cancelled() { Err(io::Error::other("stopped")) } else { Ok(()) }
}

fn check(name: &[u8], mode: i32) -> Result<Kind, Refusal> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.eq_ignore_ascii_case(b".git") {
        return Err(Refusal::Name);
    }
    if name.len() > LONGEST_NAME {
        return Err(Refusal::LongName);
    }
    match mode {
        0o100_644 | 0o100_664 => Ok(Kind::File),
        0o100_755 => Ok(Kind::Executable),
        0o120_000 => Ok(Kind::Link),
        0o040_000 => Ok(Kind::Directory),
        0o160_000 => Ok(Kind::Submodule),
        _ => Err(Refusal::Kind),
    }
}
