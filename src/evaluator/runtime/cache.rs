//! Compiled modules by key, on disk.
//!
//! An evaluation that uses an entry has a hard link to it, so the cache can be cut to its size at
//! any time. The file system's times say which entry was not used for longest. Each spec has a
//! cache of its own, because code that runs while compiling could forge entries.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::budget::BLOCK;
use super::hash::Hash;
use crate::domain::spec::Introduction;

/// A compiled module may be so large, in bytes.
pub(super) const MAX_COMPILED: u64 = 64 << 20;

/// Compiled modules that were made for earlier revisions, and what failed to compile.
///
/// Entries are written whole and never changed, so any number of evaluations can share a cache. Who
/// uses one takes a hard link to it, so it can be removed at any time; and a file system notes when
/// a file was linked last, so it knows which entries nobody has used for long.
///
/// While a module is compiled, the code of everything that it imports runs, and could write a
/// compiled module that does something else than its source says. A sandbox cannot prevent that.
/// Hence the *domain*: entries made for one domain are never used in another. It has two parts: the
/// domain of the cache, one for branches whose committers trust each other, and the channels that
/// the sandbox saw: see `Cache::where_seen`.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    domain: String,
}

impl Cache {
    /// The cache in `directory`, which is made when it is missing, for the domain `domain`. Leftovers of
    /// a crash are removed.
    ///
    /// # Errors
    /// When the directory cannot be made.
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

    /// The same cache for what is made where only these channels are seen: their names, where they
    /// come from, and what vouches for them.
    pub(super) fn where_seen(&self, channels: &[(&str, &str, Option<&Introduction>)]) -> Self {
        let domain = format!("{:?} {channels:?}", self.domain);
        Self { domain, ..self.clone() }
    }

    /// Removes what was left by who did not come to an end.
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

    /// The file on which everybody with work in progress holds a shared lock.
    fn lock(&self) -> io::Result<fs_err::File> {
        fs_err::OpenOptions::new().create(true).append(true).open(self.directory.join("lock"))
    }

    /// A directory for work in progress; it goes when it is dropped.
    pub(super) fn work(&self, prefix: &str) -> io::Result<Work> {
        let lock = self.lock()?;
        lock.file().lock_shared()?;
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(self.directory.join("work"))?;
        Ok(Work { directory, _lock: lock })
    }

    /// Where the compiled module with `key` is, if it is there.
    fn compiled(&self, key: &Hash) -> PathBuf {
        self.directory.join("compiled").join(self.name(key))
    }

    /// The file name of what has `key`.
    fn name(&self, key: &Hash) -> String {
        let hash = Sha256::new_with_prefix(self.domain.as_bytes()).chain_update([0]).chain_update(key);
        format!("{}.go", data_encoding::HEXLOWER.encode(&hash.finalize()))
    }

    /// Puts the compiled module with `key` at `place`; `false` when there is none.
    pub(super) fn take(&self, key: &Hash, place: &Path) -> io::Result<bool> {
        match fs_err::hard_link(self.compiled(key), place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// Removes entries of all domains until no more than `limit` bytes are left, beginning with
    /// what was not used for longest. What somebody uses now goes last; who uses it has a link of
    /// their own. Gives the number of those removed.
    ///
    /// # Errors
    /// When a directory cannot be read or a file not be removed.
    pub fn trim(&self, limit: u64) -> io::Result<usize> {
        let mut entries = Vec::new();
        for name in ["compiled", "failed"] {
            for entry in fs_err::read_dir(self.directory.join(name))? {
                let entry = entry?;
                // Somebody else may trim, too.
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

    /// Why the module with the failure key `key` does not compile, when that is known.
    pub(super) fn failure(&self, key: &Hash) -> Option<String> {
        let text = fs_err::read(self.directory.join("failed").join(self.name(key))).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Takes in `file`, which has what a sandbox handed over, and lies beside the entries; `false`
    /// when it is no compiled module.
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
        // After a power loss, an empty file of that name would be used for ever. Compiling took far
        // longer.
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

/// A directory for work in progress. It goes when this is dropped, or, after a crash, when somebody makes
/// a [`Cache`] while nobody works.
#[derive(Debug)]
pub(super) struct Work {
    directory: tempfile::TempDir,
    _lock: fs_err::File,
}

impl Work {
    /// Where it is.
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
            let part = cache.where_seen(seen);
            assert!(!part.take(&key, &work.path().join("taken")).unwrap() && part.failure(&key).is_none());
            let file = work.path().join("handed-over");
            fs_err::write(&file, b"\x7fELF").unwrap();
            assert!(part.add(&key, &file).unwrap());
            part.add_failure(&key, "it fails").unwrap();
            let again = Cache::new(directory.path(), "spec").unwrap().where_seen(seen);
            assert!(again.take(&key, &work.path().join(number.to_string())).unwrap());
            assert_eq!(again.failure(&key).as_deref(), Some("it fails"));
        }
    }
}
