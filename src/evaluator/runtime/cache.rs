//! Compiled modules by key, on disk.
//!
//! An evaluation that uses an entry has a hard link to it, so the cache can be trimmed at any time.
//! The file system's times tell which entry has been unused for longest. Each spec has a cache of
//! its own, because code that runs while compiling could forge entries.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::budget::BLOCK;
use super::hash::Hash;
use crate::domain::spec::Introduction;

/// Largest compiled module, in bytes.
pub(super) const MAX_COMPILED: u64 = 64 << 20;

/// Compiled modules that were made for earlier revisions, and modules that failed to compile.
///
/// Entries are written whole and never changed, so any number of evaluations can share a cache. An
/// evaluation takes a hard link to each entry that it uses, so an entry can be removed at any time.
/// The file system records when a file was last linked, which tells how long an entry has been
/// unused.
///
/// While a module is compiled, the code of everything that it imports runs, and could write a
/// compiled module that differs from its source. A sandbox cannot prevent that. So each entry
/// belongs to a *domain*, and is never used in another. A domain has two parts: the domain of the
/// cache, one for branches whose committers trust each other, and the channels that the sandbox
/// saw: see `Cache::for_channels`.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    domain: String,
}

impl Cache {
    /// Opens the cache in `directory` for the domain `domain`. Creates the directory if it is
    /// missing, and removes leftovers of a crash.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn new(directory: impl Into<PathBuf>, domain: impl Into<String>) -> io::Result<Self> {
        let cache = Self { directory: directory.into(), domain: domain.into() };
        for name in ["compiled", "failed", "work"] {
            fs_err::create_dir_all(cache.directory.join(name))?;
        }
        let directory = fs_err::canonicalize(&cache.directory)?;
        let cache = Self { directory, ..cache };
        cache.sweep()?;
        Ok(cache)
    }

    /// The same cache for modules that are compiled where only these channels are seen. A channel
    /// is given as its name, its URL and its introduction.
    pub(super) fn for_channels(&self, channels: &[(&str, &str, Option<&Introduction>)]) -> Self {
        let domain = format!("{:?} {channels:?}", self.domain);
        Self { domain, ..self.clone() }
    }

    /// Removes leftovers of crashed processes, unless other work is in progress.
    fn sweep(&self) -> io::Result<()> {
        let lock = self.lock()?;
        if lock.file().try_lock().is_err() {
            return Ok(());
        }
        for entry in fs_err::read_dir(self.directory.join("work"))? {
            let path = entry?.path();
            if path.is_dir() { fs_err::remove_dir_all(path)? } else { fs_err::remove_file(path)? }
        }
        Ok(())
    }

    /// The file on which every [`Work`] holds a shared lock.
    fn lock(&self) -> io::Result<fs_err::File> {
        fs_err::OpenOptions::new().create(true).append(true).open(self.directory.join("lock"))
    }

    /// A new directory for work in progress. It is removed when it is dropped.
    pub(super) fn work(&self, prefix: &str) -> io::Result<Work> {
        let lock = self.lock()?;
        lock.file().lock_shared()?;
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(self.directory.join("work"))?;
        Ok(Work { directory, _lock: lock })
    }

    /// The path of the compiled module with `key`, which need not exist.
    fn compiled(&self, key: &Hash) -> PathBuf {
        self.directory.join("compiled").join(self.name(key))
    }

    /// The file name of the entry with `key`.
    fn name(&self, key: &Hash) -> String {
        let hash = Sha256::new_with_prefix(self.domain.as_bytes()).chain_update([0]).chain_update(key);
        format!("{}.go", data_encoding::HEXLOWER.encode(&hash.finalize()))
    }

    /// Links the compiled module with `key` to `place`; `false` when there is none.
    pub(super) fn link_to(&self, key: &Hash, place: &Path) -> io::Result<bool> {
        match fs_err::hard_link(self.compiled(key), place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Removes entries of all domains, least recently used first, until no more than `limit` bytes
    /// are left. Entries in use are removed last; whatever uses one has its own link. Returns the
    /// number of removed entries.
    ///
    /// # Errors
    /// When a directory cannot be read or a file cannot be removed.
    pub fn trim(&self, limit: u64) -> io::Result<usize> {
        let mut entries = Vec::new();
        for name in ["compiled", "failed"] {
            for entry in fs_err::read_dir(self.directory.join(name))? {
                let entry = entry?;
                // Another process may trim at the same time.
                let Ok(metadata) = entry.metadata() else { continue };
                let used = (metadata.nlink() > 1, metadata.ctime(), metadata.ctime_nsec());
                entries.push((used, entry.path(), metadata.size().next_multiple_of(BLOCK)));
            }
        }
        entries.sort();
        let mut size: u64 = entries.iter().map(|(.., size)| size).sum();
        let mut removed = 0;
        for (_, path, bytes) in entries {
            if size <= limit {
                break;
            }
            match fs_err::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {
                    size -= bytes;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Why the module with the failure key `key` does not compile, if that is known.
    pub(super) fn failure(&self, key: &Hash) -> Option<String> {
        let text = fs_err::read(self.directory.join("failed").join(self.name(key))).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Moves `file` into the cache; `false` when it is not a compiled module. The file has what a
    /// sandbox handed over, and is on the file system of the entries.
    pub(super) fn add(&self, key: &Hash, file: &Path) -> io::Result<bool> {
        let Ok(metadata) = file.symlink_metadata() else { return Ok(false) };
        if !metadata.is_file() || metadata.len() > MAX_COMPILED {
            return Ok(false);
        }
        let compiled = fs_err::File::open(file)?;
        let mut start = Vec::new();
        (&compiled).take(4).read_to_end(&mut start)?;
        if start != b"\x7fELF" {
            return Ok(false);
        }
        // Without this, a power loss could leave an empty file of that name, which would be used
        // forever. Compiling took far longer than this takes.
        compiled.file().sync_data()?;
        fs_err::rename(file, self.compiled(key))?;
        Ok(true)
    }

    /// Remembers that the module with the failure key `key` does not compile.
    pub(super) fn add_failure(&self, key: &Hash, message: &str) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.directory.join("work"))?;
        file.write_all(message.as_bytes())?;
        file.as_file().sync_data()?;
        file.persist(self.directory.join("failed").join(self.name(key))).map_err(|error| error.error)?;
        Ok(())
    }
}

/// A directory for work in progress. It is removed when this is dropped, or, after a crash, when a
/// [`Cache`] is opened while no work is in progress.
#[derive(Debug)]
pub(super) struct Work {
    directory: tempfile::TempDir,
    _lock: fs_err::File,
}

impl Work {
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_where_other_channels_were_seen_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path(), "spec").unwrap();
        let work = cache.work("test-").unwrap();
        let introduction = Introduction { commit: "c".to_owned(), signer: "S".to_owned() };
        let guix = ("guix", "https://guix", None);
        let all = [
            vec![guix],
            vec![("guix", "https://elsewhere", None)],
            vec![("guix", "https://guix", Some(&introduction))],
            vec![guix, ("evil", "https://evil", None)],
        ];
        let key = Hash::default();
        for (number, seen) in all.iter().enumerate() {
            let part = cache.for_channels(seen);
            assert!(!part.link_to(&key, &work.path().join("taken")).unwrap() && part.failure(&key).is_none());
            let file = work.path().join("handed-over");
            fs_err::write(&file, b"\x7fELF").unwrap();
            assert!(part.add(&key, &file).unwrap());
            part.add_failure(&key, "it fails").unwrap();
            let again = Cache::new(directory.path(), "spec").unwrap().for_channels(seen);
            assert!(again.link_to(&key, &work.path().join(number.to_string())).unwrap());
            assert_eq!(again.failure(&key).as_deref(), Some("it fails"));
        }
    }
}
