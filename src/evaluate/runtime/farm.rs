//! The directories in which Guile finds a revision's modules.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Cache;
use super::cache::Work;
use super::index::Hash;

/// `scm/` and `go/`, with symbolic links to what is in the sandbox, and hard links to compiled modules of
/// the cache: what is removed there, or belongs to others, is none of its business.
#[derive(Debug)]
pub(super) struct Farm {
    work: Work,
}

impl Farm {
    /// One without any module. It goes when it is dropped.
    pub(super) fn new(cache: &Cache) -> io::Result<Self> {
        Ok(Self { work: cache.work("farm-")? })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.work.path()
    }

    /// Finds the source of a module at `target` in the sandbox.
    pub(super) fn source(&self, path: &str, target: &Path) -> io::Result<()> {
        let place = self.place(Path::new("scm").join(path))?;
        symlink(target, place)
    }

    /// Finds the compiled form of a module at `target` in the sandbox.
    pub(super) fn compiled(&self, path: &str, target: &Path) -> io::Result<()> {
        let place = self.place(go(path))?;
        symlink(target, place)
    }

    /// Takes the compiled form of a module from the cache; `false` when it is not there.
    pub(super) fn take(&self, path: &str, cache: &Cache, key: &Hash) -> io::Result<bool> {
        let place = self.place(go(path))?;
        cache.take(key, &place)
    }

    /// Makes the directory of a file.
    fn place(&self, path: PathBuf) -> io::Result<PathBuf> {
        let place = self.path().join(path);
        place.parent().map_or(Ok(()), fs_err::create_dir_all)?;
        Ok(place)
    }
}

/// The place of the compiled form of a source file.
fn go(path: &str) -> PathBuf {
    Path::new("go").join(path).with_extension("go")
}
