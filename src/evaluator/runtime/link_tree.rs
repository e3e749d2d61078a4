//! The directories in which Guile finds a revision's modules.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Cache;
use super::cache::Work;
use super::hash::Hash;

/// The directory of sources.
pub(super) const SOURCES: &str = "scm";

/// `scm/` and `go/`, with symbolic links to files in the sandbox, and hard links to compiled
/// modules of the cache. Entries that are removed from the cache, or belong to others, do not
/// affect it.
///
/// Each channel other than Guix has its own directory of compiled modules, and a sandbox is shown
/// only those of the channels that it sees. Channels have numbers; Guix and its libraries have the
/// number 0.
#[derive(Debug)]
pub(super) struct LinkTree {
    work: Work,
}

impl LinkTree {
    /// A link tree without modules, for this many channels. It is removed when it is dropped.
    pub(super) fn new(cache: &Cache, channels: usize) -> io::Result<Self> {
        let link_tree = Self { work: cache.work("farm-")? };
        fs_err::create_dir(link_tree.path(SOURCES))?;
        fs_err::create_dir(link_tree.path("others"))?;
        for channel in 0..channels {
            fs_err::create_dir(link_tree.path(compiled(channel)))?;
        }
        Ok(link_tree)
    }

    /// The directories for a sandbox that sees the channels `seen`: paths here, and below the
    /// directory of links in the sandbox.
    pub(super) fn binds(&self, seen: &[usize]) -> Vec<(PathBuf, PathBuf)> {
        let parts = seen.iter().map(|channel| compiled(*channel));
        let parts = std::iter::once(SOURCES.to_owned()).chain(parts);
        parts.map(|part| (self.path(&part), PathBuf::from(part))).collect()
    }

    fn path(&self, part: impl AsRef<Path>) -> PathBuf {
        self.work.path().join(part)
    }

    /// Links the source of a module to `target` in the sandbox.
    pub(super) fn source(&self, path: &str, target: &Path) -> io::Result<()> {
        symlink(target, self.place(Path::new(SOURCES).join(path))?)
    }

    /// Links the compiled form of a module of Guix or a library to `target` in the sandbox.
    pub(super) fn compiled(&self, path: &str, target: &Path) -> io::Result<()> {
        symlink(target, self.place(go(0, path))?)
    }

    /// Takes the compiled form of a module of `channel` from the cache; `false` when it is not
    /// there.
    pub(super) fn take(&self, channel: usize, path: &str, cache: &Cache, key: &Hash) -> io::Result<bool> {
        let place = self.place(go(channel, path))?;
        cache.link_to(key, &place)
    }

    /// The path of a file here. Creates its directory.
    fn place(&self, path: PathBuf) -> io::Result<PathBuf> {
        let place = self.path(path);
        place.parent().map_or(Ok(()), fs_err::create_dir_all)?;
        Ok(place)
    }
}

/// The directory of the compiled modules of `channel`.
pub(super) fn compiled(channel: usize) -> String {
    if channel == 0 { "go".to_owned() } else { format!("others/{channel}") }
}

/// The path of the compiled form of a source file of `channel`.
fn go(channel: usize, path: &str) -> PathBuf {
    Path::new(&compiled(channel)).join(path).with_extension("go")
}
